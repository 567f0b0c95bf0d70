//! Gives followers that are live what is appended.

use std::io;
use std::mem;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use super::{FollowAccount, log_not_readable, topic_of};
use crate::engine::Engine;
use crate::engine::history::History;
use crate::engine::history::lines::LineReader;
use crate::engine::history::tail::TailWake;
use crate::engine::outbox::run::PublishOptions;
use crate::engine::publish::Dispatch;
use crate::sync::sleep;

/// Bytes of messages that are delivered at a time, about.
const BATCH_BYTES: usize = 128 * 1024;

/// After this time without a message, cached routes are forgotten.
const QUIET: Duration = Duration::from_secs(1);

/// How long the log is left alone if it cannot be read.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The thread, until [`super::stop`].
pub(crate) fn tail_loop(engine: &Engine) {
    let Some(history) = engine.router.history() else {
        return;
    };
    let mut tailer = Tailer {
        history,
        account: FollowAccount::new(engine),
        dispatch: Dispatch::new(engine.router.clone(), engine.topic_stats.clone()).for_followers(),
        reader: history.reader(),
        appended: history.appended(),
        batch: TailBatch::default(),
    };
    let mut quiet_at = None;
    loop {
        match history.tail().wait(quiet_at) {
            TailWake::News => tailer.deliver_all(),
            TailWake::Quiet => {
                // Cached routes would keep the outboxes of clients that have disconnected.
                tailer.dispatch.forget();
                quiet_at = None;
                continue;
            }
            TailWake::Stop => return,
        }
        quiet_at = Some(Instant::now() + QUIET);
    }
}

struct Tailer<'a> {
    history: &'a History,
    account: FollowAccount<'a>,
    dispatch: Dispatch,
    reader: LineReader<'a>,
    /// The value of [`History::appended`] when the reader was refreshed last.
    appended: u64,
    batch: TailBatch,
}

/// Messages from the log, with their positions.
#[derive(Default)]
struct TailBatch {
    lines: Vec<u8>,
    found: Vec<TailMessage>,
}

/// Where a message and its topic are among the lines.
struct TailMessage {
    topic: Range<usize>,
    line: Range<usize>,
    options: PublishOptions,
}

impl Tailer<'_> {
    fn deliver_all(&mut self) {
        loop {
            match self.deliver_next() {
                Ok(true) => {}
                Ok(false) => return,
                Err(err) => {
                    log_not_readable(self.account.engine, &err);
                    sleep(TRY_AGAIN);
                    return self.history.tail().wake();
                }
            }
        }
    }

    /// Reads and delivers a batch. Returns whether there was one.
    fn deliver_next(&mut self) -> io::Result<bool> {
        let first = *self.history.tail().lock();
        let end = self.history.visible_end();
        if first >= end {
            return Ok(false);
        }
        let appended = self.history.appended();
        let news = appended - mem::replace(&mut self.appended, appended);
        self.reader.refresh(news);
        let next = self.batch.read(&mut self.reader, first, end)?;
        // An audit waits until what follows is counted.
        self.account.begin();
        let mut tail = self.history.tail().lock();
        // If the last follower has left and another has come, that one begins later.
        if *tail == first {
            self.deliver(first, next);
            *tail = next;
        }
        drop(tail);
        let copies = self.dispatch.take_accepted();
        self.account.settle(copies);
        Ok(true)
    }

    fn deliver(&mut self, first: u64, next: u64) {
        let TailBatch { lines, found } = &self.batch;
        self.dispatch.set_numbers(first, next);
        for message in found {
            let TailMessage {
                topic,
                line,
                options,
            } = message;
            self.dispatch
                .add_logged(lines, topic.clone(), line.clone(), *options);
        }
        self.dispatch.deliver(lines);
    }
}

impl TailBatch {
    /// Reads messages with these numbers until there are enough. Returns the number of the first that was not read.
    fn read(&mut self, reader: &mut LineReader<'_>, first: u64, end: u64) -> io::Result<u64> {
        let Self { lines, found } = self;
        lines.clear();
        found.clear();
        let mut next = first;
        while next < end && lines.len() < BATCH_BYTES {
            let read = reader.read(next, end, |message| {
                if lines.len() >= BATCH_BYTES {
                    return ControlFlow::Break(());
                }
                let begin = lines.len();
                if message.write(lines, false) {
                    // What comes behind the attributes is as it was.
                    let topic = topic_of(message.line);
                    let behind = message.line.as_ptr_range().end as usize - topic.as_ptr() as usize;
                    let at = lines.len() - behind;
                    found.push(TailMessage {
                        topic: at..at + topic.len(),
                        line: begin..lines.len(),
                        options: PublishOptions {
                            qos: message.qos,
                            retain: message.retain,
                        },
                    });
                }
                ControlFlow::Continue(())
            })?;
            // What is damaged is left out. For what has been removed it is told elsewhere.
            next = read.unwrap_or_else(|| reader.oldest().clamp(next + 1, end));
        }
        Ok(next)
    }
}
