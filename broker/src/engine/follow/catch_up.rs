//! Reads for followers that are behind, one after the other, each as much as it has room for.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use protocol::Topic;

use super::wanted::WantedTopics;
use super::{FollowAccount, log_not_readable};
use crate::engine::Engine;
use crate::engine::history::History;
use crate::engine::history::lines::LineReader;
use crate::engine::history::past::PastPiece;
use crate::engine::outbox::Outbox;
use crate::engine::outbox::follow::LogPiece;
use crate::engine::outbox::following::{CatchUpTask, FollowedPast, LogTask};
use crate::engine::outbox::run::PublishOptions;
use crate::sync::sleep;

/// Bytes of messages that are read at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Bytes of the log that are looked through at a time.
const LOOKED_AT_BYTES: usize = 4 * 1024 * 1024;

/// Pieces that a follower gets before the next one has its turn.
const PIECES_AT_A_TIME: usize = 16;

/// How long the log is left alone if it cannot be read.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The thread, until [`super::stop`].
pub(crate) fn catch_up_loop(engine: &Engine) {
    let Some(history) = engine.router.history() else {
        return;
    };
    let mut catch_up = CatchUp {
        engine,
        history,
        account: FollowAccount::new(engine),
        reader: history.reader(),
        lines: Vec::with_capacity(PIECE_BYTES),
        piece: LogPiece::default(),
    };
    while let Some(outbox) = engine.catch_up.next() {
        // What was read for another one may have been followed by more.
        catch_up.reader.refresh(u64::MAX);
        match catch_up.serve(&outbox) {
            Ok(true) => engine.catch_up.ask(Arc::downgrade(&outbox)),
            Ok(false) => {}
            Err(err) => {
                log_not_readable(engine, &err);
                engine.catch_up.ask(Arc::downgrade(&outbox));
                sleep(TRY_AGAIN);
            }
        }
    }
}

struct CatchUp<'a> {
    engine: &'a Engine,
    history: &'a History,
    account: FollowAccount<'a>,
    reader: LineReader<'a>,
    lines: Vec<u8>,
    piece: LogPiece,
}

impl CatchUp<'_> {
    /// Reads for one follower. Returns whether it wants more.
    fn serve(&mut self, outbox: &Arc<Outbox>) -> io::Result<bool> {
        for _ in 0..PIECES_AT_A_TIME {
            // Locked for a moment each time: publishers to this client wait for that lock.
            let Some(task) = outbox.lock().catch_up_task() else {
                return Ok(false);
            };
            // An audit, and a change of the rules, wait until this piece is delivered.
            self.account.begin();
            let delivered = match task {
                CatchUpTask::Past(past) => self.read_past(outbox, past),
                CatchUpTask::Log(task) => self.read_log(outbox, &task),
            };
            self.account.settle(*delivered.as_ref().unwrap_or(&0));
            delivered?;
            if self.is_live(outbox) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes a follower live that has come to the end of the log.
    fn is_live(&self, outbox: &Outbox) -> bool {
        // Under the lock of the end: what is appended later is given to this one, too, or was read for it.
        let tail = self.history.tail().lock();
        outbox.lock().try_live(*tail)
    }

    fn read_past(&mut self, outbox: &Outbox, mut followed: FollowedPast) -> io::Result<u64> {
        let sieves = self.engine.router.sieves();
        let version = sieves.version();
        let asked = &mut followed.asked;
        if version != asked.sieves {
            let may_see = |name: &str| {
                let topic = Topic::parse(name);
                topic.is_ok_and(|topic| sieves.let_through(outbox.id(), topic))
            };
            asked.past.retain(may_see);
            asked.sieves = version;
        }
        self.lines.clear();
        let past = &mut asked.past;
        let (piece, failure) = match past.read(&mut self.reader, PIECE_BYTES, &mut self.lines) {
            Ok(piece) => (piece, None),
            // It is tried again.
            Err(err) => (PastPiece::default(), Some(err)),
        };
        let delivered = outbox.lock().deliver_past(followed, piece, &self.lines);
        failure.map_or(Ok(delivered), Err)
    }

    fn read_log(&mut self, outbox: &Outbox, task: &LogTask) -> io::Result<u64> {
        let end = self.history.visible_end();
        let piece = &mut self.piece;
        piece.clear();
        let filters = &task.filters;
        let mut topics = WantedTopics::new(self.engine, self.history, outbox, filters);
        let (mut next, mut looked_at) = (task.next, 0);
        let mut is_full = false;
        while next < end && !is_full {
            let read = self.reader.read(next, end, |found| {
                if piece.lines.len() >= PIECE_BYTES || looked_at >= LOOKED_AT_BYTES {
                    is_full = true;
                    return ControlFlow::Break(());
                }
                let wanted = topics.of(found);
                let is_wanted = found.sequence >= wanted.from;
                if is_wanted && found.sequence < wanted.oldest {
                    // What is missing is told in front of what was read.
                    if !piece.is_empty() {
                        is_full = true;
                        return ControlFlow::Break(());
                    }
                    piece.missing += u64::from(!found.is_over());
                } else if is_wanted && found.write(&mut piece.lines, false) {
                    piece.note_message(PublishOptions {
                        qos: found.qos,
                        retain: found.retain,
                    });
                }
                looked_at += found.line.len();
                ControlFlow::Continue(())
            })?;
            // What is damaged is left out, and so is what was removed with its file.
            next = read.unwrap_or_else(|| (next + 1).max(self.history.oldest()).min(end));
        }
        let mut guard = outbox.lock();
        Ok(guard.deliver_log(task, next, piece))
    }
}
