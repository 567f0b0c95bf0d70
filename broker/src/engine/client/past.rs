//! What a client asks for of the past.

use std::io;
use std::time::Instant;

use protocol::{Filter, Incomplete, PastStart, Position, Topic};

use super::{Client, SubscribeError};
use crate::engine::Engine;
use crate::engine::outbox::OutboxGuard;

/// Bytes that are read and sent at a time, between which the client may be waited for.
const PIECE_BYTES: usize = 64 * 1024;

/// What a wire is told of the past that its client asks for, in this order.
pub(crate) enum PastStep<'a> {
    /// It begins.
    Begin(Option<Incomplete>),
    /// Messages, as lines that say where they are.
    Lines(&'a [u8]),
    /// There are no more. What is newer is behind this position; none if nothing is kept at all.
    End { position: Option<Position> },
}

/// Why the past was not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PastError {
    Refused(SubscribeError),
    /// A group has no past.
    Shared,
    /// The disk cannot be read.
    NotReadable,
}

/// What a client is told that asks for the past where nothing is kept: a position is what it wants to go on from.
pub(super) fn without_history(start: PastStart) -> Option<Incomplete> {
    matches!(start, PastStart::After(_)).then_some(Incomplete { oldest: None })
}

pub(super) fn not_readable(engine: &Engine, filter: Filter<'_>, err: &io::Error) -> PastError {
    if let Some(more) = engine.not_read_log.say(Instant::now()) {
        log::error!(
            "the store: what is kept of {} cannot be read: {err}{more}",
            filter.as_str()
        );
    }
    PastError::NotReadable
}

impl Client<'_> {
    /// Reads what is kept of the past and what the client may see of that. `answer` sends it to the client. The caller
    /// must have delivered everything published before.
    #[inline(never)]
    pub(crate) fn read_past(
        &mut self,
        filter: Filter<'_>,
        start: PastStart,
        mut answer: impl FnMut(&mut OutboxGuard<'_>, PastStep<'_>),
    ) -> Result<(), PastError> {
        if filter.group().is_some() {
            return Err(PastError::Shared);
        }
        self.check_past(filter).map_err(PastError::Refused)?;
        let outbox = self.outbox.clone();
        let Some(history) = self.engine.router.history() else {
            let mut guard = outbox.lock();
            answer(&mut guard, PastStep::Begin(without_history(start)));
            answer(&mut guard, PastStep::End { position: None });
            return Ok(());
        };
        let may_see = |topic: Topic<'_>| self.may_receive(topic, None);
        let found = history.past(filter, start, may_see);
        let mut found = found.map_err(|err| not_readable(self.engine, filter, &err))?;
        answer(&mut outbox.lock(), PastStep::Begin(found.incomplete));
        let mut reader = history.reader();
        let mut lines = Vec::with_capacity(PIECE_BYTES);
        loop {
            lines.clear();
            let read = found.past.read(&mut reader, PIECE_BYTES, &mut lines);
            let piece = read.map_err(|err| not_readable(self.engine, filter, &err))?;
            let mut guard = outbox.lock();
            guard.tell_gap(piece.missing);
            answer(&mut guard, PastStep::Lines(&lines));
            drop(guard);
            if piece.is_last {
                break;
            }
            // Outside of the batch, so that no audit waits for a client that reads slowly.
            self.settle();
            outbox.wait_for_room();
            self.begin();
            if !outbox.lock().is_open() {
                return Ok(());
            }
        }
        let position = Some(history.position(found.end - 1));
        answer(&mut outbox.lock(), PastStep::End { position });
        Ok(())
    }
}
