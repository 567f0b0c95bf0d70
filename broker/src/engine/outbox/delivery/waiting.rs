//! The queue of messages at QoS 1 and 2 that have not been sent to one client yet.
//!
//! Only this file knows how they are stored, so that later the queue can be a cursor in a log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::engine::memory::budget::Charge;
use crate::engine::outbox::run::{PublishOptions, Redelivery};

/// Bytes accounted for a kept message besides its line, as measured by `measure -- kept`, and for its
/// extras if it has any.
const QUEUED_BYTES: usize = 88;
const EXTRAS_BYTES: usize = 64;

/// Maximum capacity, in messages, that an empty queue keeps.
const MAX_IDLE_CAPACITY: usize = 4096;

/// Bytes charged to the shared memory budget at a time, if that much is needed.
const CHARGE_BYTES: usize = 4096;

/// A message kept for one client until it is acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) line: Bytes,
    /// Its number in the log, if it comes from there; otherwise zero.
    pub(crate) sequence: u64,
    pub(crate) came: Instant,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Boxed, because few messages have any.
    pub(crate) extras: Option<Box<Extras>>,
}

/// Properties that few kept messages have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    /// The subscription identifiers of the matching filters.
    pub(crate) identifiers: Option<Arc<[u32]>>,
    /// Maximum time that it may wait.
    pub(crate) ttl: Option<Duration>,
    /// Number of messages dropped before it.
    pub(crate) gap: u64,
    /// The filter of the group for which this client was chosen.
    pub(crate) share: Option<Arc<str>>,
}

impl Extras {
    pub(crate) fn is_any(&self) -> bool {
        *self != Self::default()
    }
}

impl Queued {
    /// The number of bytes accounted for it.
    pub(crate) fn size(&self) -> usize {
        size(&self.line, self.extras.is_some())
    }

    pub(crate) fn gap(&self) -> u64 {
        self.extras.as_ref().map_or(0, |extras| extras.gap)
    }

    pub(crate) fn identifiers(&self) -> &[u32] {
        let extras = self.extras.as_ref();
        let identifiers = extras.and_then(|extras| extras.identifiers.as_deref());
        identifiers.unwrap_or_default()
    }

    /// Whether it has not expired [MQTT-3.3.2-5].
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        let ttl = self.extras.as_ref().and_then(|extras| extras.ttl);
        ttl.is_none_or(|ttl| now.duration_since(self.came) <= ttl)
    }

    /// The same message for another member of its group, if it has one.
    pub(crate) fn redelivery(self) -> Option<Redelivery> {
        let filter = self.extras?.share?;
        Some(Redelivery {
            filter,
            bytes: self.line,
            options: PublishOptions {
                qos: self.qos,
                retain: self.retain,
            },
        })
    }

    #[cfg(test)]
    pub(crate) fn of_test(line: &'static [u8], qos: u8) -> Self {
        Self {
            line: Bytes::from_static(line),
            sequence: 0,
            came: Instant::now(),
            qos,
            retain: false,
            extras: None,
        }
    }
}

/// The number of bytes accounted for a kept line.
pub(crate) fn size(line: &[u8], has_extras: bool) -> usize {
    line.len() + QUEUED_BYTES + if has_extras { EXTRAS_BYTES } else { 0 }
}

/// Messages in the order of arrival, which is the order of sending [MQTT-4.6.0-5] (3.1.1)
/// [MQTT-4.6.0-6] (5.0).
#[derive(Debug, Default)]
pub(crate) struct WaitingQueue {
    messages: VecDeque<Queued>,
    bytes: usize,
}

impl WaitingQueue {
    pub(crate) fn push(&mut self, message: Queued) {
        self.bytes += message.size();
        self.messages.push_back(message);
    }

    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.size();
        Some(message)
    }

    pub(crate) fn pop_newest(&mut self) -> Option<Queued> {
        let message = self.messages.pop_back()?;
        self.bytes -= message.size();
        Some(message)
    }

    pub(crate) fn first(&self) -> Option<&Queued> {
        self.messages.front()
    }

    /// The number in the log of the first that comes from there.
    pub(crate) fn first_logged(&self) -> Option<u64> {
        let mut numbers = self.messages.iter().map(|message| message.sequence);
        numbers.find(|&sequence| sequence > 0)
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The number of bytes accounted for all.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Releases capacity that was needed while the client was disconnected.
    pub(crate) fn shrink(&mut self) {
        if self.messages.is_empty() && self.messages.capacity() > MAX_IDLE_CAPACITY {
            self.messages = VecDeque::new();
        }
    }

    /// Removes the messages of which this does not hold.
    pub(crate) fn take_unless(&mut self, holds: impl FnMut(&Queued) -> bool) -> Vec<Queued> {
        let (kept, taken): (Vec<_>, Vec<_>) = self.take_all().partition(holds);
        self.bytes = kept.iter().map(Queued::size).sum();
        self.messages = kept.into();
        taken
    }

    /// Removes all messages.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Queued> + use<> {
        std::mem::take(self).messages.into_iter()
    }
}

/// The memory charged for the kept messages of one client.
pub(crate) struct KeptBytes {
    bytes: usize,
    /// Bytes charged for them. The budget is charged for many messages at once, including some that
    /// have not arrived yet.
    charged: usize,
    charge: Charge,
    /// They wait for an absent client.
    is_absent: bool,
}

impl KeptBytes {
    pub(crate) fn new(charge: Charge) -> Self {
        Self {
            bytes: 0,
            charged: 0,
            charge,
            is_absent: false,
        }
    }

    pub(crate) fn get(&self) -> usize {
        self.bytes
    }

    pub(crate) fn charged(&self) -> usize {
        self.charged
    }

    /// Whether the client is absent. What waits for it then counts to the share of those.
    pub(crate) fn set_absent(&mut self, is_absent: bool) {
        match (self.is_absent, is_absent) {
            (false, true) => self.charge.memory().add_absent(self.charged),
            (true, false) => self.charge.memory().remove_absent(self.charged),
            _ => {}
        }
        self.is_absent = is_absent;
    }

    /// Whether more is kept for an absent client than its part of their share.
    pub(crate) fn exceeds_share(&self) -> bool {
        self.is_absent && self.bytes > self.charge.memory().free_for_absent()
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes > self.charged {
            self.settle();
        }
    }

    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        let unused = self.charged - self.bytes;
        if unused >= 2 * CHARGE_BYTES || unused >= self.charged / 4 * 3 {
            self.settle();
        }
    }

    pub(crate) fn give_all_back(&mut self) {
        self.bytes = 0;
        self.settle();
    }

    fn settle(&mut self) {
        let was_absent = self.is_absent;
        self.set_absent(false);
        self.charged = match self.bytes {
            0 => 0,
            few @ ..CHARGE_BYTES => few.next_power_of_two(),
            many => many.next_multiple_of(CHARGE_BYTES),
        };
        self.charge.resize(self.charged);
        self.set_absent(was_absent);
    }
}

impl Drop for KeptBytes {
    fn drop(&mut self) {
        self.set_absent(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::budget::Memory;

    #[test]
    fn a_message_is_fresh_until_its_time_to_live_is_over() {
        let mut message = Queued::of_test(b"MESSAGE a hi\n", 1);
        let later = message.came + Duration::from_secs(10);
        assert!(message.is_fresh(later));
        message.extras = Some(Box::new(Extras {
            ttl: Some(Duration::from_secs(10)),
            ..Extras::default()
        }));
        assert!(message.is_fresh(later));
        assert!(!message.is_fresh(later + Duration::from_millis(1)));
    }

    #[test]
    fn extras_are_accounted_for() {
        let plain = Queued::of_test(b"MESSAGE a hi\n", 1);
        assert_eq!(plain.size(), 13 + QUEUED_BYTES);
        assert!(!Extras::default().is_any());
        let extras = Extras {
            gap: 1,
            ..Extras::default()
        };
        assert!(extras.is_any());
        let message = Queued {
            extras: Some(Box::new(extras)),
            ..plain
        };
        assert_eq!(message.size(), 13 + QUEUED_BYTES + EXTRAS_BYTES);
        assert_eq!(message.gap(), 1);
        assert!(message.redelivery().is_none());
    }

    #[test]
    fn what_waits_for_an_absent_client_counts_to_their_share_until_it_is_back_or_gone() {
        let memory = Arc::new(Memory::new(4 * 1000));
        let mut kept = KeptBytes::new(memory.charge(0));
        kept.add(500);
        assert_eq!(memory.free_for_absent(), 1000);
        kept.set_absent(true);
        assert_eq!(memory.free_for_absent(), 1000 - 512);
        assert!(kept.exceeds_share());
        kept.give_back(400);
        assert_eq!(memory.free_for_absent(), 1000 - 128);
        assert!(!kept.exceeds_share());
        kept.set_absent(false);
        assert_eq!(memory.free_for_absent(), 1000);
        kept.set_absent(true);
        drop(kept);
        assert_eq!((memory.free_for_absent(), memory.free()), (1000, 4000));
    }

    #[test]
    fn memory_is_charged_in_steps_and_given_back() {
        let memory = Arc::new(Memory::new(1 << 20));
        let mut kept = KeptBytes::new(memory.charge(0));
        kept.add(100);
        assert_eq!(memory.limit() - memory.free(), 128);
        kept.add(CHARGE_BYTES);
        assert_eq!(memory.limit() - memory.free(), 2 * CHARGE_BYTES);
        kept.give_back(CHARGE_BYTES);
        assert_eq!(memory.limit() - memory.free(), 128);
        kept.give_back(100);
        assert_eq!(memory.limit() - memory.free(), 0);
    }
}
