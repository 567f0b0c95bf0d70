//! Messages on their way from a publisher into outboxes.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::memory::{Charge, Memory};
use crate::stage::{self, Stage};

/// Whole messages one after another, on their way into outboxes. They are sent from where they
/// are; the first outbox that must keep them makes a copy, which all others share.
pub(crate) struct Run<'a> {
    bytes: &'a [u8],
    messages: u64,
    /// What can be kept without a copy, and how much that takes.
    shared: Option<(&'a Bytes, usize)>,
    kept: OnceCell<Kept>,
    /// If it is for one member of a group, the filter of that group.
    share: Option<Arc<str>>,
    /// Where many sockets can be sent it from, made when the first needs it; none if it cannot be
    /// made or is not worth it.
    stage: OnceCell<Option<Stage>>,
}

/// Bytes that outboxes share, and the memory that is taken for them once.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) bytes: Bytes,
    charge: Arc<Charge>,
}

impl Kept {
    fn new(bytes: Bytes, size: usize, memory: &Arc<Memory>) -> Self {
        let charge = Arc::new(memory.charge(size));
        Self { bytes, charge }
    }

    pub(crate) fn copy(bytes: &[u8], memory: &Arc<Memory>) -> Self {
        Self::new(Bytes::copy_from_slice(bytes), bytes.len(), memory)
    }
}

impl<'a> Run<'a> {
    /// `messages` messages in `bytes`, copied if they must be kept.
    pub(crate) fn borrowed(bytes: &'a [u8], messages: u64) -> Self {
        Self {
            bytes,
            messages,
            shared: None,
            share: None,
            kept: OnceCell::new(),
            stage: OnceCell::from(None),
        }
    }

    /// `messages` messages in `bytes`, which can be kept without a copy. `size` is what keeping them
    /// takes of the memory.
    pub(crate) fn shared(bytes: &'a Bytes, messages: u64, size: usize) -> Self {
        Self {
            bytes,
            messages,
            shared: Some((bytes, size)),
            share: None,
            kept: OnceCell::new(),
            stage: OnceCell::from(None),
        }
    }

    /// The same run, on its way to so many outboxes.
    pub(crate) fn to(mut self, outboxes: usize) -> Self {
        if stage::is_worth_it(self.bytes.len(), outboxes) {
            self.stage = OnceCell::new();
        }
        self
    }

    /// The same run, for one member of the group with this filter. What the member cannot take
    /// comes back when its outbox is closed.
    pub(crate) fn for_one_of(mut self, filter: &Arc<str>) -> Self {
        self.share = Some(filter.clone());
        self
    }

    pub(crate) fn share(&self) -> Option<&Arc<str>> {
        self.share.as_ref()
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// Without a stage it is sent all the same.
    pub(crate) fn stage(&self) -> Option<&Stage> {
        self.stage
            .get_or_init(|| Stage::new(self.bytes).ok())
            .as_ref()
    }

    /// Some of it, kept together with the rest.
    pub(crate) fn keep(&self, part: Range<usize>, memory: &Arc<Memory>) -> Kept {
        let kept = self.kept.get_or_init(|| match self.shared {
            Some((bytes, size)) => Kept::new(bytes.clone(), size, memory),
            None => Kept::copy(self.bytes, memory),
        });
        Kept {
            bytes: kept.bytes.slice(part),
            charge: kept.charge.clone(),
        }
    }
}
