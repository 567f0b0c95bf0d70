//! A received message, of either protocol.

use client::Attributes;

/// A message to print.
#[derive(Debug)]
pub(crate) struct Arrived<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) attributes: &'a Attributes<'a>,
}
