//! Messages that arrived while the client waited for something else, in order.
//!
//! It is bounded like the broker's outbox: beyond the limit new messages are dropped and counted,
//! and a gap takes their place.

use std::collections::VecDeque;

use protocol::Reply;

use crate::message::Delivery;

/// Maximum size in bytes. It is the maximum size of a message, so any single message fits.
const LIMIT_BYTES: usize = protocol::limits::LINE_BYTES + protocol::limits::TOPIC_BYTES;

/// A bounded queue of deliveries as lines.
#[derive(Debug)]
pub(crate) struct Backlog {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    limit: usize,
    /// Number of messages dropped after the last line.
    missed: u64,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            lines: VecDeque::new(),
            bytes: 0,
            limit: LIMIT_BYTES,
            missed: 0,
        }
    }
}

impl Backlog {
    /// Keeps a delivery, or counts it as missed.
    pub(crate) fn push(&mut self, delivery: Delivery<'_>) {
        let lost = match delivery {
            Delivery::Message { .. } => 1,
            Delivery::Gap { count } => count,
            Delivery::Incomplete { .. } | Delivery::Current { .. } | Delivery::End { .. } => 0,
        };
        let line = line(delivery);
        // After a gap nothing is kept until half of the space is free; otherwise messages and gaps
        // would alternate.
        let limit = match self.missed {
            0 => self.limit,
            _ => self.limit / 2,
        };
        // What is no message is short and rare, and a client that resumes relies on it.
        if lost > 0 && self.bytes + line.len() > limit {
            self.missed = self.missed.saturating_add(lost);
            return;
        }
        if let Some(gap) = self.take_gap() {
            self.push_line(gap);
        }
        self.push_line(line);
    }

    /// Removes the oldest delivery, as a line without its end; see [`delivery`].
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        match self.lines.pop_front() {
            Some(line) => {
                self.bytes -= line.len();
                Some(line)
            }
            None => self.take_gap(),
        }
    }

    fn push_line(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    fn take_gap(&mut self) -> Option<Vec<u8>> {
        match std::mem::take(&mut self.missed) {
            0 => None,
            count => Some(line(Delivery::Gap { count })),
        }
    }
}

fn line(delivery: Delivery<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    delivery.into_reply().encode(&mut line);
    line.truncate(line.len() - b"\n".len());
    line
}

/// Decodes a line of [`Backlog::pop`].
pub(crate) fn delivery(line: &[u8]) -> Delivery<'_> {
    let reply = Reply::decode(line).expect("the line was encoded here");
    Delivery::from_reply(reply).expect("the line was a delivery")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(backlog: &mut Backlog, lines: &[&str]) {
        for line in lines {
            backlog.push(delivery(line.as_bytes()));
        }
    }

    fn pop(backlog: &mut Backlog) -> Option<String> {
        let line = backlog.pop()?;
        Some(String::from_utf8(line).expect("text"))
    }

    fn drained(backlog: &mut Backlog) -> Vec<String> {
        std::iter::from_fn(|| pop(backlog)).collect()
    }

    #[test]
    fn deliveries_come_out_in_order() {
        let mut backlog = Backlog::default();
        let lines = ["MESSAGE a x\\ny", "GAP 3", "@retained;k=v MESSAGE b"];
        push(&mut backlog, &lines);
        assert_eq!(drained(&mut backlog), lines);
        assert_eq!(backlog.bytes, 0);
    }

    #[test]
    fn beyond_the_limit_a_gap_replaces_messages() {
        let mut backlog = Backlog {
            limit: 40,
            ..Backlog::default()
        };
        let lines = ["MESSAGE a 11", "MESSAGE a 22", "MESSAGE a 33"];
        push(&mut backlog, &lines);
        push(&mut backlog, &["MESSAGE a 44", "GAP 5"]);
        assert_eq!(pop(&mut backlog).as_deref(), Some("MESSAGE a 11"));
        push(&mut backlog, &["MESSAGE a 55"]);
        assert_eq!(pop(&mut backlog).as_deref(), Some("MESSAGE a 22"));
        assert_eq!(pop(&mut backlog).as_deref(), Some("MESSAGE a 33"));
        push(&mut backlog, &["MESSAGE a 66"]);
        assert_eq!(drained(&mut backlog), ["GAP 7", "MESSAGE a 66"]);
    }

    #[test]
    fn a_gap_at_the_end_is_told_too() {
        let mut backlog = Backlog {
            limit: 5,
            ..Backlog::default()
        };
        push(&mut backlog, &["MESSAGE a", "MESSAGE a"]);
        assert_eq!(drained(&mut backlog), ["GAP 2"]);
    }
}
