//! The state of a broker at one moment.

use std::time::Instant;

use client::inquiry::{Audit, Broker, Topics, Who};
use client::{Client, Error};

/// The answers to four consecutive inquiries.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    pub(crate) broker: Broker,
    pub(crate) audit: Audit,
    pub(crate) who: Who,
    pub(crate) topics: Topics,
}

impl Snapshot {
    /// Asks the broker for at most `limit` connections and topics.
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
