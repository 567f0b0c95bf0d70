//! Delivers what is in the log to those that follow it, and counts for publishers the copies that come of it.

use std::mem;
use std::ops::Range;

use protocol::Topic;

use super::Dispatch;
use super::batch::Place;
use crate::engine::outbox::run::PublishOptions;
use crate::engine::routing::route_cache::Known;

impl Dispatch {
    /// Delivers to followers what is in the log.
    pub(crate) fn for_followers(mut self) -> Self {
        self.is_for_followers = true;
        self
    }

    /// The messages that are added next have these numbers, up to the one before `end`. Only for followers.
    pub(crate) fn set_numbers(&mut self, first: u64, end: u64) {
        self.outcome.numbers.set(Some((first, end)));
    }

    /// Adds a message from the log. Only for followers.
    pub(crate) fn add_logged(
        &mut self,
        lines: &[u8],
        topic: Range<usize>,
        line: Range<usize>,
        options: PublishOptions,
    ) {
        self.begin();
        let name = &lines[topic.clone()];
        let hash = self.router.hash(name);
        let known = match (self.known(name, hash), Topic::parse(name)) {
            (Some(known), _) => known,
            // It fails for messages alone that are to be kept.
            (None, Ok(name)) => match self.look_up(name, hash) {
                Ok(known) => known,
                Err(_) => return,
            },
            (None, Err(_)) => return,
        };
        let unacknowledged = self.cache.at(self.place).map(|it| it.log.unacknowledged);
        let audience = match options.qos {
            0 => unacknowledged.unwrap_or(known.audience),
            _ => known.audience,
        };
        let known = Known { audience, ..known };
        self.add_to(known, Place::Buffer, topic, line, options);
    }

    /// The number of copies that followers have accepted since this was asked last.
    pub(crate) fn take_accepted(&mut self) -> u64 {
        self.outcome.accepted.take()
    }

    /// The number of copies that followers get, of messages that were kept since this was asked last.
    pub(crate) fn take_followed(&mut self) -> u64 {
        mem::take(&mut self.followed)
    }
}
