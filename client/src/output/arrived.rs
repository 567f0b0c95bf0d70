//! A received message, of either protocol.

use std::borrow::Cow;
use std::io::{self, Write};

use client::Attributes;
use command_line::json;

/// A message to print.
#[derive(Debug)]
pub(crate) struct Arrived<'a> {
    /// As it came: spelled as on a line, except from MQTT.
    pub(crate) topic: &'a str,
    /// The topic itself, where a space is a space.
    pub(crate) name: Cow<'a, str>,
    pub(crate) payload: &'a [u8],
    pub(crate) attributes: &'a Attributes<'a>,
}

impl Arrived<'_> {
    /// As a JSON object, without a line end.
    pub(crate) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        json::write_message(out, &self.name, self.payload, self.attributes)
    }
}
