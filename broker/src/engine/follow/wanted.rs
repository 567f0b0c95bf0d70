//! Which messages of the log a follower gets.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use protocol::{Filter, Topic};

use crate::engine::Engine;
use crate::engine::history::History;
use crate::engine::outbox::following::FollowedFilter;

/// Topics of which the decision is remembered.
const MOST_KNOWN: usize = 10_000;

/// Decides for one follower, as long as its filters do not change.
pub(super) struct WantedTopics<'a> {
    engine: &'a Engine,
    history: &'a History,
    follower: u64,
    filters: &'a [FollowedFilter],
    known: HashMap<Box<[u8]>, WantedFrom, RandomState>,
}

/// What a follower gets of a topic.
#[derive(Clone, Copy)]
pub(super) struct WantedFrom {
    /// Messages with lower numbers are not for it.
    pub(super) from: u64,
    /// Those with lower numbers are forgotten.
    pub(super) oldest: u64,
}

impl<'a> WantedTopics<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        history: &'a History,
        follower: u64,
        filters: &'a [FollowedFilter],
    ) -> Self {
        Self {
            engine,
            history,
            follower,
            filters,
            known: HashMap::default(),
        }
    }

    pub(super) fn of(&mut self, topic: &[u8]) -> WantedFrom {
        if let Some(&known) = self.known.get(topic) {
            return known;
        }
        let wanted = self.decide(topic).unwrap_or(WantedFrom {
            from: u64::MAX,
            oldest: 0,
        });
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(topic.into(), wanted);
        wanted
    }

    /// None if it gets nothing of the topic.
    fn decide(&self, topic: &[u8]) -> Option<WantedFrom> {
        let topic = Topic::parse(topic).ok()?;
        let matching = self.filters.iter().filter(|it| {
            Filter::parse(it.filter.as_bytes()).is_ok_and(|filter| filter.matches(topic))
        });
        let from = matching.map(|it| it.from).min()?;
        let may_see = self.engine.router.sieves();
        may_see
            .let_through(self.follower, topic)
            .then(|| WantedFrom {
                from,
                oldest: self.history.oldest_of(topic.as_str()),
            })
    }
}
