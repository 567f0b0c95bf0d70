//! Messages on their way from a publisher into outboxes.

use std::cell::{OnceCell, RefCell};
use std::ops::Range;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use protocol::MessageLine;

use crate::engine::memory::budget::{Charge, Memory};
use crate::engine::outbox::encoder::{Encode, Encoder};
use crate::engine::outbox::memfd::{self, MemFd};

/// What a message begins with on its way through the engine, attributes aside.
pub(crate) const MESSAGE: &[u8] = MessageLine::VERB;

/// Whole messages one after another, on their way into outboxes. They are sent from where they
/// are; the first outbox that must keep them makes a copy, which all others share.
pub(crate) struct Run<'a> {
    body: RunBody<'a>,
    messages: u64,
    options: PublishOptions,
    /// The number of the client that published it.
    publisher: u64,
    kept: OnceCell<Kept>,
    /// Copies for outboxes that keep lines of it.
    copies: OnceCell<Box<Copies>>,
    /// The filter for whose sake it is delivered, if that is not whatever matches.
    target: Option<RunTarget>,
    /// The line of a message for one member of a group, if that is not what `body` holds.
    line: Option<Bytes>,
    /// How many outboxes it goes to, if that is known.
    outboxes: usize,
    /// Where many sockets can be sent it from, made when the first needs it; none if it cannot be
    /// made or is not worth it.
    memfd: OnceCell<Option<MemFd>>,
    /// The same in the words of other wires, made when the first outbox of that wire comes.
    encoded: RefCell<Vec<(&'static Encoder, EncodedRuns)>>,
}

/// Copies of lines, made when the first needs them.
#[derive(Default)]
struct Copies {
    whole: OnceCell<Bytes>,
    /// By the number of the line; empty where there is none yet.
    single: RefCell<Vec<Bytes>>,
}

/// For whose sake a run is delivered.
enum RunTarget {
    /// One member of the group with this filter.
    OneOf(Arc<str>),
    /// A subscription to this filter alone: retained messages are.
    Filter(Arc<str>),
}

type EncodedRuns = Rc<[Run<'static>]>;

/// What a publisher asked for beside the bytes of a message; all messages of a run have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublishOptions {
    /// 0 at most once, 1 at least once, 2 exactly once.
    pub(crate) qos: u8,
    /// It was to be retained.
    pub(crate) retain: bool,
}

impl PublishOptions {
    /// A message of the line protocol, whose receipt promises what QoS 1 does.
    pub(crate) const LINE: Self = Self {
        qos: 1,
        retain: false,
    };
}

/// Whole messages for another member of a group.
pub(crate) struct Redelivery {
    /// The filter of the group.
    pub(crate) filter: Arc<str>,
    /// Their lines.
    pub(crate) bytes: Bytes,
    pub(crate) options: PublishOptions,
}

enum RunBody<'a> {
    Borrowed(&'a [u8]),
    /// Can be kept without a copy, which takes so much of the memory.
    Lent(&'a Bytes, usize),
    Own(Bytes),
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
    fn new(body: RunBody<'a>, messages: u64) -> Self {
        Self {
            body,
            messages,
            options: PublishOptions::LINE,
            publisher: 0,
            kept: OnceCell::new(),
            copies: OnceCell::new(),
            target: None,
            line: None,
            outboxes: 1,
            memfd: OnceCell::from(None),
            encoded: RefCell::default(),
        }
    }

    /// `messages` messages in `bytes`, copied if they must be kept.
    pub(crate) fn borrowed(bytes: &'a [u8], messages: u64) -> Self {
        Self::new(RunBody::Borrowed(bytes), messages)
    }

    /// `messages` messages in `bytes`, which can be kept without a copy. `size` is what keeping them
    /// takes of the memory.
    pub(crate) fn shared(bytes: &'a Bytes, messages: u64, size: usize) -> Self {
        Self::new(RunBody::Lent(bytes, size), messages)
    }

    /// The same run, on its way to so many outboxes.
    pub(crate) fn to(mut self, outboxes: usize) -> Self {
        self.outboxes = outboxes;
        if memfd::is_worth_it(self.bytes().len(), outboxes) {
            self.memfd = OnceCell::new();
        }
        self
    }

    /// The same run, for one member of the group with this filter. What the member cannot take
    /// comes back when its outbox is closed.
    pub(crate) fn for_one_of(mut self, filter: &Arc<str>) -> Self {
        self.target = Some(RunTarget::OneOf(filter.clone()));
        self
    }

    /// The same run, for the sake of one filter of its receiver alone.
    pub(crate) fn for_filter(mut self, filter: &Arc<str>) -> Self {
        self.target = Some(RunTarget::Filter(filter.clone()));
        self
    }

    /// The same run, published so by this client.
    pub(crate) fn by(mut self, publisher: u64, options: PublishOptions) -> Self {
        (self.publisher, self.options) = (publisher, options);
        self
    }

    pub(crate) fn options(&self) -> PublishOptions {
        self.options
    }

    pub(crate) fn publisher(&self) -> u64 {
        self.publisher
    }

    pub(crate) fn share(&self) -> Option<&Arc<str>> {
        match &self.target {
            Some(RunTarget::OneOf(filter)) => Some(filter),
            Some(RunTarget::Filter(_)) | None => None,
        }
    }

    /// The only filter that counts, if it is for the sake of one.
    pub(crate) fn only_filter(&self) -> Option<&Arc<str>> {
        match &self.target {
            Some(RunTarget::OneOf(filter) | RunTarget::Filter(filter)) => Some(filter),
            None => None,
        }
    }

    pub(crate) fn line(&self) -> Option<&Bytes> {
        self.line.as_ref()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.body {
            RunBody::Borrowed(bytes) => bytes,
            RunBody::Lent(bytes, _) => bytes,
            RunBody::Own(bytes) => bytes,
        }
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// The same messages in the words of a wire that `encode`s its own: one run, or one for each
    /// message if they are for one of a group, so that each can come back by itself.
    pub(crate) fn encoded(&self, encoder: &'static Encoder, encode: Encode) -> EncodedRuns {
        let mut encoded = self.encoded.borrow_mut();
        if let Some((_, runs)) = encoded.iter().find(|(known, _)| ptr::eq(*known, encoder)) {
            return runs.clone();
        }
        let lines = self.bytes();
        let own = |lines: &[u8], messages| {
            Run::new(RunBody::Own(encode(lines).into()), messages).to(self.outboxes)
        };
        let runs: EncodedRuns = match self.share() {
            None => Rc::new([own(lines, self.messages)]),
            Some(filter) => lines
                .split_inclusive(|&byte| byte == b'\n')
                .map(|line| Run {
                    line: Some(Bytes::copy_from_slice(line)),
                    ..own(line, 1).for_one_of(filter)
                })
                .collect(),
        };
        encoded.push((encoder, runs.clone()));
        runs
    }

    /// Without a stage it is sent all the same.
    pub(crate) fn memfd(&self) -> Option<&MemFd> {
        self.memfd
            .get_or_init(|| MemFd::new(self.bytes()).ok())
            .as_ref()
    }

    /// One of its lines and its number among them, to be kept by itself: together with the rest only if
    /// it is much of that.
    pub(crate) fn keep_line(&self, line: Range<usize>, number: usize) -> Bytes {
        let whole = self.bytes();
        let is_much = line.len() * 4 >= whole.len();
        if let RunBody::Own(bytes) = &self.body
            && is_much
        {
            return bytes.slice(line);
        }
        if !is_much && self.outboxes == 1 {
            return Bytes::copy_from_slice(&whole[line]);
        }
        let Copies {
            whole: shared,
            single,
        } = &**self.copies.get_or_init(Box::default);
        if is_much {
            let shared = shared.get_or_init(|| Bytes::copy_from_slice(whole));
            return shared.slice(line);
        }
        let mut single = single.borrow_mut();
        if single.len() <= number {
            single.resize(number + 1, Bytes::new());
        }
        if single[number].is_empty() {
            single[number] = Bytes::copy_from_slice(&whole[line]);
        }
        single[number].clone()
    }

    /// Some of it, kept together with the rest.
    pub(crate) fn keep(&self, part: Range<usize>, memory: &Arc<Memory>) -> Kept {
        let kept = self.kept.get_or_init(|| match &self.body {
            RunBody::Borrowed(bytes) => Kept::copy(bytes, memory),
            RunBody::Lent(bytes, size) => Kept::new((*bytes).clone(), *size, memory),
            RunBody::Own(bytes) => Kept::new(bytes.clone(), bytes.len(), memory),
        });
        Kept {
            bytes: kept.bytes.slice(part),
            charge: kept.charge.clone(),
        }
    }
}
