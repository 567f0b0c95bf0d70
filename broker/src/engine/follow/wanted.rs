//! Which messages of the log a follower gets.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use protocol::{Filter, Topic};

use super::topic_of;
use crate::engine::Engine;
use crate::engine::history::History;
use crate::engine::history::lines::FoundLine;
use crate::engine::outbox::Outbox;
use crate::engine::outbox::following::FollowedFilter;

/// Topics of which the decision is remembered.
const MOST_KNOWN: usize = 10_000;

/// Decides for one follower, as long as its filters do not change.
pub(super) struct WantedTopics<'a> {
    engine: &'a Engine,
    history: &'a History,
    follower: u64,
    /// It is a session, which gets what it has to acknowledge.
    is_session: bool,
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
        follower: &Outbox,
        filters: &'a [FollowedFilter],
    ) -> Self {
        Self {
            engine,
            history,
            follower: follower.id(),
            is_session: follower.is_stored(),
            filters,
            known: HashMap::default(),
        }
    }

    /// What it gets of the topic of a message, if it may get that one.
    pub(super) fn of(&mut self, found: &FoundLine<'_>) -> WantedFrom {
        const NOTHING: WantedFrom = WantedFrom {
            from: u64::MAX,
            oldest: 0,
        };
        // To sessions it came from its publisher.
        if self.is_session && found.qos == 0 {
            return NOTHING;
        }
        let topic = topic_of(found.line);
        if let Some(&known) = self.known.get(topic) {
            return known;
        }
        let wanted = self.decide(topic).unwrap_or(NOTHING);
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
        let is_kept = match self.is_session {
            // As in the router.
            true => !topic.is_brokers_own(),
            false => self.history.keeps(topic),
        };
        if !is_kept {
            return None;
        }
        let may_see = self.engine.router.sieves();
        may_see
            .let_through(self.follower, topic)
            .then(|| WantedFrom {
                from,
                // What a topic forgets by its rule is still there for sessions.
                oldest: match self.is_session {
                    true => 0,
                    false => self.history.oldest_of(topic.as_str()),
                },
            })
    }
}
