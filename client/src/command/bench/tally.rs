//! The tally of one subscriber: whether each message arrived once and in order.
//!
//! Messages are numbered from 0 in each *stream*, which is one publisher on one topic.

use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Maximum number of holes that are remembered. A message that fills another one later counts as
/// doubled.
const MAX_HOLES: usize = 65_536;

/// The tally of one subscriber.
#[derive(Debug)]
pub(crate) struct Tally {
    /// The next number of each stream.
    next: Vec<u64>,
    /// Ranges of skipped numbers: from stream and first number to the end.
    holes: BTreeMap<(usize, u64), u64>,
    /// Received and lost messages of all streams.
    passed: u64,
    faults: Faults,
    received: u64,
}

/// Faults of a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
}

impl Faults {
    pub(crate) fn any(self) -> bool {
        self != Self::default()
    }
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
    }
}

impl Tally {
    pub(crate) fn new(streams: usize) -> Self {
        Self {
            next: vec![0; streams],
            holes: BTreeMap::new(),
            passed: 0,
            faults: Faults::default(),
            received: 0,
        }
    }

    /// Counts a message.
    pub(crate) fn push(&mut self, stream: usize, number: u64) {
        self.received += 1;
        let next = &mut self.next[stream];
        if number == *next {
            *next += 1;
            self.passed += 1;
        } else {
            self.push_out_of_turn(stream, number);
        }
    }

    #[cold]
    fn push_out_of_turn(&mut self, stream: usize, number: u64) {
        let next = self.next[stream];
        if number > next {
            self.skip(stream, number);
            self.next[stream] = number + 1;
            self.passed += 1;
        } else if self.fill(stream, number) {
            self.faults.lost -= 1;
            self.faults.reordered += 1;
        } else {
            self.faults.doubled += 1;
        }
    }

    /// Counts the numbers from the next one up to `until` as lost.
    fn skip(&mut self, stream: usize, until: u64) {
        let next = self.next[stream];
        self.faults.lost += until - next;
        self.passed += until - next;
        if self.holes.len() < MAX_HOLES {
            self.holes.insert((stream, next), until);
        }
    }

    /// Removes a number from the holes; returns whether it was in one.
    fn fill(&mut self, stream: usize, number: u64) -> bool {
        let before = self.holes.range(..=(stream, number)).next_back();
        let Some((&(hole_stream, start), &end)) = before else {
            return false;
        };
        if hole_stream != stream || number >= end {
            return false;
        }
        self.holes.remove(&(stream, start));
        if start < number {
            self.holes.insert((stream, start), number);
        }
        if number + 1 < end {
            self.holes.insert((stream, number + 1), end);
        }
        true
    }

    /// Ends a stream: what was published and has not arrived is lost.
    pub(crate) fn end(&mut self, stream: usize, published: u64) {
        let next = self.next[stream];
        if published > next {
            self.skip(stream, published);
            self.next[stream] = published;
        }
    }

    /// Number of messages received or lost.
    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn faults(&self) -> Faults {
        self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These numbers arrive on one stream, of which ten were published.
    fn check(numbers: &[u64], lost: u64, doubled: u64, reordered: u64) {
        let mut tally = Tally::new(2);
        for &number in numbers {
            tally.push(1, number);
        }
        tally.end(1, 10);
        let faults = Faults {
            lost,
            doubled,
            reordered,
        };
        assert_eq!(tally.faults(), faults, "{numbers:?}");
        assert_eq!(tally.received(), numbers.len() as u64);
        assert_eq!(tally.passed(), 10);
    }

    #[test]
    fn all_in_order_is_no_fault() {
        check(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0, 0, 0);
    }

    #[test]
    fn a_missing_message_is_lost() {
        check(&[1, 2, 3, 6, 7], 5, 0, 0);
        check(&[], 10, 0, 0);
    }

    #[test]
    fn a_repeated_message_is_doubled() {
        check(&[0, 1, 1, 2, 3, 4, 5, 6, 7, 0, 8, 9], 0, 2, 0);
    }

    #[test]
    fn a_late_message_is_reordered_and_not_lost() {
        check(&[0, 2, 1, 3, 4, 5, 6, 7, 8, 9], 0, 0, 1);
        check(&[9, 4, 3, 5, 0], 5, 0, 4);
    }

    #[test]
    fn a_message_can_be_reordered_and_doubled() {
        check(&[0, 5, 2, 2, 6, 7, 8, 9], 3, 1, 1);
    }
}
