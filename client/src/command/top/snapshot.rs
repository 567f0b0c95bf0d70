//! All that is known of a broker at one moment.

use std::time::Instant;

use client::inquiry::{Audit, Broker, Topics, Who};
use client::{Client, Error};

/// Answers to four inquiries, one right after the other.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    pub(crate) broker: Broker,
    pub(crate) audit: Audit,
    pub(crate) who: Who,
    pub(crate) topics: Topics,
}

impl Snapshot {
    /// Asks, for so many connections and topics at most.
    pub(crate) fn take(client: &mut Client, limit: u64) -> Result<Self, Error> {
        let at = Instant::now();
        let limit = Some(limit);
        Ok(Self {
            at,
            broker: client.inquire("", None)?,
            audit: client.inquire("", None)?,
            who: client.inquire("", limit)?,
            topics: client.inquire("", limit)?,
        })
    }
}
