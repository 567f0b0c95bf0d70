//! The rooms of a broker: members of one topic share their nicks, whichever way they come.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;

use super::members::{Nicks, Room};
use crate::sync::Mutex;

/// The nicks of the rooms that are in use.
#[derive(Default)]
pub(crate) struct Rooms(Mutex<OpenRooms>);

#[derive(Default)]
struct OpenRooms {
    by_topic: HashMap<Box<str>, Weak<Nicks>, RandomState>,
    /// Number of entries at which those are removed that are in use no more.
    prune_at: usize,
}

/// The first number of entries at which some may be removed.
const FEW_ENTRIES: usize = 16;

impl Rooms {
    /// A room with this topic, which must be valid and have room for a presence below it.
    pub(crate) fn open(&self, topic: &str) -> Room {
        Room::new(topic, self.nicks(topic))
    }

    fn nicks(&self, topic: &str) -> Arc<Nicks> {
        let mut open = self.0.lock();
        if let Some(nicks) = open.by_topic.get(topic).and_then(Weak::upgrade) {
            return nicks;
        }
        if open.by_topic.len() >= open.prune_at {
            open.by_topic.retain(|_, nicks| nicks.strong_count() > 0);
            open.prune_at = 2 * open.by_topic.len() + FEW_ENTRIES;
        }
        let nicks = Arc::<Nicks>::default();
        open.by_topic.insert(topic.into(), Arc::downgrade(&nicks));
        nicks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_of_a_topic_share_their_nicks_and_those_that_are_over_take_no_memory() {
        let rooms = Rooms::default();
        let (one, other) = (rooms.nicks("a"), rooms.nicks("b"));
        assert!(Arc::ptr_eq(&one, &rooms.nicks("a")));
        assert!(!Arc::ptr_eq(&one, &other));
        for number in 0..10_000 {
            rooms.open(&number.to_string());
        }
        let entries = rooms.0.lock().by_topic.len();
        assert!(entries <= 2 * (2 + FEW_ENTRIES), "{entries}");
        assert!(Arc::ptr_eq(&one, &rooms.nicks("a")));
    }
}
