//! Counts what followers miss because it is removed from the log before they could be sent it.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::wanted::WantedTopics;
use crate::engine::Engine;
use crate::engine::history::History;
use crate::engine::outbox::Outbox;
use crate::engine::outbox::following::LogTask;

/// How often it is counted again for a follower whose filters have changed meanwhile.
const TRIES: usize = 3;

/// A follower, and what would be read for it.
struct Passed {
    outbox: Arc<Outbox>,
    task: LogTask,
    missing: u64,
}

/// Messages before this number are about to be removed: tells those followers how many they miss that are not so far.
pub(crate) fn pass_over(engine: &Engine, before: u64) -> io::Result<()> {
    let Some(history) = engine.router.history() else {
        return Ok(());
    };
    for _ in 0..TRIES {
        let mut passed = passed(engine, history, before);
        if passed.is_empty() {
            return Ok(());
        }
        count(engine, history, before, &mut passed)?;
        let told = passed.iter().map(|it| {
            let mut guard = it.outbox.lock();
            guard.pass_over(&it.task, before, it.missing)
        });
        // All of them, also behind one that has changed.
        if told.fold(true, |all, told| all & told) {
            return Ok(());
        }
    }
    Ok(())
}

/// The number of the first message that a follower has not had; one behind all if there is no follower.
pub(crate) fn oldest_unread(engine: &Engine, history: &History) -> u64 {
    let present = engine.clients.present();
    // Before the places of followers are read: those that are live are at this one or behind it.
    let tail = *history.tail().lock();
    let unread = present.iter().filter_map(|record| {
        // Under no other lock: that of the tail was held for a copy.
        record.outbox().lock().had(tail)
    });
    unread.min().unwrap_or(u64::MAX)
}

/// The followers that are not so far.
fn passed(engine: &Engine, history: &History, before: u64) -> Vec<Passed> {
    let present = engine.clients.present();
    // Held while it is asked how far each is: none becomes live meanwhile, and those that are live are given nothing.
    let tail = history.tail().lock();
    let unread = present.iter().filter_map(|record| {
        let outbox = record.outbox();
        // Behind the end of the log, as everywhere.
        let task = outbox.lock().unread_before(before, *tail)?;
        Some(Passed {
            outbox: outbox.clone(),
            task,
            missing: 0,
        })
    });
    unread.collect()
}

fn count(engine: &Engine, history: &History, before: u64, passed: &mut [Passed]) -> io::Result<()> {
    let mut wanted: Vec<_> = passed
        .iter_mut()
        .map(|it| {
            let filters = &it.task.filters;
            let wanted = WantedTopics::new(engine, history, &it.outbox, filters);
            let had = it.outbox.lock().had_before();
            (wanted, had, it.task.next, &mut it.missing)
        })
        .collect();
    let mut next = wanted.iter().map(|it| it.2).min().unwrap_or(before);
    let mut reader = history.reader();
    while next < before {
        let read = reader.read(next, before, |found| {
            if found.is_over() {
                return ControlFlow::Continue(());
            }
            for (wanted, had, next, missing) in &mut wanted {
                let from = wanted.of(found).from.max(*next);
                let is_done = had.as_ref().is_some_and(|it| it.is_done(found.sequence));
                **missing += u64::from(found.sequence >= from && !is_done);
            }
            ControlFlow::Continue(())
        })?;
        // What is damaged is left out.
        next = read.unwrap_or_else(|| (next + 1).max(history.oldest()));
    }
    Ok(())
}
