//! Following filters: the past that a client asks for, and what comes behind it, read from the log.

use std::io;

use protocol::{Filter, Incomplete, PastStart, Position, Topic};

use super::Client;
use super::past::{PastError, not_readable, without_history};
use super::subscribe::Answering;
use crate::engine::history::{History, PastFound};
use crate::engine::outbox::delivery::subscriptions::SubscriptionOptions;
use crate::engine::outbox::following::{NewPast, Present};

/// What a wire says for a filter that its client follows from now on.
pub(crate) trait FollowAnswers {
    /// What comes first.
    fn begin(&self, answering: &mut Answering<'_, '_>, incomplete: Option<Incomplete>);

    /// What comes between the past and what is new, which is behind this position; none if nothing is kept at all.
    fn current(&self, position: Option<Position>) -> Vec<u8>;
}

impl Client<'_> {
    /// Subscribes to a filter so that nothing is missed that topics keep, from `start` on. The caller must have delivered
    /// everything published before.
    #[inline(never)]
    pub(crate) fn follow(
        &mut self,
        filter: Filter<'_>,
        start: PastStart,
        answers: &impl FollowAnswers,
    ) -> Result<(), PastError> {
        if filter.group().is_some() {
            return Err(PastError::Shared);
        }
        let Some(history) = self.engine.router.history().cloned() else {
            return self.subscribe_current(filter, start, answers);
        };
        self.check_past(filter).map_err(PastError::Refused)?;
        let present = Present::new(&history);
        let sieves = self.engine.router.sieves().version();
        let may_see = |topic: Topic<'_>| self.may_receive(topic, None);
        let found = match start {
            PastStart::Now => None,
            _ => {
                let found = history.past(filter, start, may_see);
                Some(found.map_err(|err: io::Error| not_readable(self.engine, filter, &err))?)
            }
        };
        let past = found.map(|found| (found, sieves));
        self.follow_from(&history, filter, (present, past), answers)
    }

    /// Without topics that keep messages there is no past, and what is new comes from its publishers.
    fn subscribe_current(
        &mut self,
        filter: Filter<'_>,
        start: PastStart,
        answers: &impl FollowAnswers,
    ) -> Result<(), PastError> {
        let current = answers.current(None);
        let mut result = Ok(());
        self.subscribe(
            [((), Ok(filter))],
            None,
            |answering, (), subscribed| match subscribed {
                Ok(()) => {
                    answers.begin(answering, without_history(start));
                    if start == PastStart::Now {
                        answering.answers.extend_from_slice(&current);
                    }
                }
                Err(why) => result = Err(PastError::Refused(why)),
            },
        );
        // Behind the retained messages: what follows is new.
        if result.is_ok() && start != PastStart::Now {
            self.outbox.lock().answer(&current);
        }
        result
    }

    /// Follows a filter: first with what was found of the past, by this version of the sieves, if that is wanted.
    fn follow_from(
        &mut self,
        history: &History,
        filter: Filter<'_>,
        (present, past): (Present, Option<(PastFound, u64)>),
        answers: &impl FollowAnswers,
    ) -> Result<(), PastError> {
        let engine = self.engine;
        let permitted = self.permit(filter, None).map_err(PastError::Refused)?;
        // The first lock, as for any other subscription: what is retained on topics that keep nothing comes once.
        let retained = engine.retained.read();
        let since = retained.mark();
        let found = retained.find_from(filter, "", since);
        // Under it: what is retained is not new, and what is on its way comes from the log.
        let end = past
            .as_ref()
            .map_or_else(|| history.now(), |(past, _)| past.end);
        let current = answers.current(Some(history.position(end - 1)));
        // The second: followers that are live are given nothing until it is certain what this one has had.
        let tail = history.tail().lock();
        let outbox = self.outbox.clone();
        // The third, for the reasons in `register`.
        let mut guard = outbox.lock();
        self.admit(&mut guard, permitted, None)
            .map_err(PastError::Refused)?;
        // The fourth, of the registry, inside the others.
        engine.router.follow(filter, &outbox);
        let mut answering = Answering::new(&mut guard);
        let incomplete = past.as_ref().and_then(|(past, _)| past.incomplete);
        answers.begin(&mut answering, incomplete);
        if past.is_none() {
            answering.answers.extend_from_slice(&current);
        }
        answering.send();
        let me = (&outbox, &engine.catch_up, present);
        let past = past.map(|(found, sieves)| NewPast {
            past: found.past,
            current,
            sieves,
        });
        guard.follow(filter.as_str(), end, past, me, *tail);
        drop(tail);
        let options = SubscriptionOptions::default();
        let walk = self.begin_walk(&mut guard, filter, options, since, found);
        drop((guard, retained));
        if let Some(walk) = walk {
            self.finish_walk(walk);
        }
        Ok(())
    }
}
