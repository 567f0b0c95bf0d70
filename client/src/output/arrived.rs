//! A message that is to be shown, whatever protocol it came over.

use client::Attributes;

/// A message that is to be shown.
#[derive(Debug)]
pub(crate) struct Arrived<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) attributes: &'a Attributes<'a>,
}
