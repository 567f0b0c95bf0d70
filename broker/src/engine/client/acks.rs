//! What of the messages of a client is kept, and what it was told of that.

use std::mem;

use protocol::{AckLevel, Position, Reached};

use crate::engine::publish::KeptOutcome;

/// Only of a client that has published something that is kept, or has asked for a level.
pub(super) struct Acks {
    /// The client has asked for a level once, so its receipts say which was reached.
    pub(super) is_told: bool,
    /// The number of messages that it had published when the last receipt was made.
    pub(super) receipted: u64,
    /// What has come of those since then that are kept.
    pub(super) kept: KeptMessages,
    /// What came of the last message, if it asked for a level.
    pub(super) last: Option<Reached>,
    /// What has to be durable before the next answers leave: up to this sequence number.
    pub(super) until: u64,
}

/// Messages that are kept.
#[derive(Default)]
pub(super) struct KeptMessages {
    count: u64,
    /// The lowest level of all, and the position of the last.
    reached: Option<Reached>,
}

impl Acks {
    /// Those of a client that has published so many messages, and was told of them.
    pub(super) fn new(published: u64) -> Self {
        Self {
            is_told: false,
            receipted: published,
            kept: KeptMessages::default(),
            last: None,
            until: 0,
        }
    }

    /// More messages are kept, the last of them at this position.
    pub(super) fn add(&mut self, kept: &KeptOutcome, position: Position) {
        let level = kept.lowest.unwrap_or(AckLevel::Os);
        let reached = Reached {
            level,
            position: Some(position),
        };
        self.last = self.last.map(|_| reached);
        self.kept.count += kept.messages;
        let lowest = self.kept.reached.map_or(level, |it| it.level.min(level));
        self.kept.reached = Some(Reached {
            level: lowest,
            ..reached
        });
        self.until = self.until.max(kept.until);
    }

    /// What the receipt for all messages up to this number says of them.
    pub(super) fn take(&mut self, published: u64) -> Option<Reached> {
        let all = published - mem::replace(&mut self.receipted, published);
        let kept = mem::take(&mut self.kept);
        if !self.is_told || all == 0 {
            return None;
        }
        let position = kept.reached.and_then(|it| it.position);
        let level = match kept.reached {
            Some(reached) if kept.count == all => reached.level,
            // Some of them are in outboxes alone, or none was published.
            _ => AckLevel::Mem,
        };
        Some(Reached { level, position })
    }
}
