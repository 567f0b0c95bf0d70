//! The walks over retained messages for one client: what waits for the end of one, and which are over.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::memory::budget::Charge;
use crate::engine::outbox::delivery::subscriptions::SubscriptionOptions;
use crate::engine::outbox::run::{PublishOptions, Run};

/// Maximum walks that an outbox remembers.
pub(super) const MAX_REMEMBERED: usize = 16;

/// The walks over retained messages for one client.
#[derive(Default)]
pub(super) struct Walks {
    /// Set while a walk goes on.
    pub(super) held: Option<Held>,
    /// Walks that are over, and whose messages may not all have left.
    pub(super) past: Vec<PastWalk>,
}

/// Messages that wait for the end of a walk.
pub(super) struct Held {
    pub(super) runs: VecDeque<HeldRun>,
    pub(super) messages: u64,
    pub(super) charge: Charge,
    /// Bytes of the runs; as many are charged.
    pub(super) bytes: usize,
    /// Messages dropped in front of the first run.
    pub(super) dropped: u64,
}

pub(super) struct HeldRun {
    lines: Bytes,
    pub(super) messages: u64,
    publisher: u64,
    pub(super) options: PublishOptions,
    share: Option<Arc<str>>,
}

pub(super) struct PastWalk {
    pub(super) filter: Box<str>,
    pub(super) options: SubscriptionOptions,
    /// The number of messages given to the outbox up to its end.
    pub(super) end: u64,
}

impl HeldRun {
    pub(super) fn of(run: &Run<'_>) -> Self {
        Self {
            lines: Bytes::copy_from_slice(run.bytes()),
            messages: run.messages(),
            publisher: run.publisher(),
            options: run.options(),
            share: run.share().cloned(),
        }
    }

    pub(super) fn run(&self) -> Run<'_> {
        let run = Run::shared(&self.lines, self.messages, self.lines.len());
        let run = run.by(self.publisher, self.options);
        match &self.share {
            Some(filter) => run.for_one_of(filter),
            None => run,
        }
    }
}

impl Walks {
    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Number of messages held.
    pub(super) fn held(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.messages)
    }
}

impl Held {
    pub(super) fn pop(&mut self) -> Option<HeldRun> {
        let run = self.runs.pop_front()?;
        self.messages -= run.messages;
        self.bytes -= run.lines.len();
        self.charge.resize(self.bytes);
        Some(run)
    }
}
