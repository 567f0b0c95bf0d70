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

/// The verb with which the line of a message begins in the engine, after its attributes.
pub(crate) const MESSAGE: &[u8] = MessageLine::VERB;

/// Consecutive whole messages on their way into outboxes. They are sent from where they are; the first
/// outbox that must keep them makes a copy, which all others share.
pub(crate) struct Run<'a> {
    body: RunBody<'a>,
    messages: u64,
    options: PublishOptions,
    /// The number of the client that published it.
    publisher: u64,
    kept: OnceCell<Kept>,
    /// Copies of single lines, for outboxes that keep them.
    copies: OnceCell<Box<Copies>>,
    /// The filter for which it is delivered, if that is not every matching one.
    target: Option<RunTarget>,
    /// The line of a message for one member of a group, if `body` has another format.
    line: Option<Bytes>,
    /// The number of outboxes it goes to, or one if that is unknown.
    outboxes: usize,
    /// The same bytes in a file that sockets can send from, made when first needed; none if it cannot
    /// be made or is not worth it.
    memfd: OnceCell<Option<MemFd>>,
    /// The same messages in other formats, encoded for the first outbox of each.
    encoded: RefCell<Vec<(&'static Encoder, EncodedRuns)>>,
}

/// Copies of lines, made when first needed.
#[derive(Default)]
struct Copies {
    whole: OnceCell<Bytes>,
    /// By the index of the line; empty until it is copied.
    single: RefCell<Vec<Bytes>>,
}

/// The filter for which a run is delivered.
enum RunTarget {
    /// For one member of the group with this filter.
    OneOf(Arc<str>),
    /// For a subscription to this filter alone, such as retained messages.
    Filter(Arc<str>),
}

type EncodedRuns = Rc<[Run<'static>]>;

/// The options of a published message; all messages of a run have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublishOptions {
    /// 0 at most once, 1 at least once, 2 exactly once.
    pub(crate) qos: u8,
    /// The publisher set the retain flag.
    pub(crate) retain: bool,
}

impl PublishOptions {
    /// A message of the line protocol, whose receipt confirms as much as QoS 1.
    pub(crate) const LINE: Self = Self {
        qos: 1,
        retain: false,
    };
}

/// Whole messages for another member of a group.
pub(crate) struct Redelivery {
    /// The filter of the group.
    pub(crate) filter: Arc<str>,
    /// The lines of the messages.
    pub(crate) bytes: Bytes,
    pub(crate) options: PublishOptions,
}

enum RunBody<'a> {
    Borrowed(&'a [u8]),
    /// Can be kept without a copy; keeping it takes this many bytes of memory.
    Lent(&'a Bytes, usize),
    Own(Bytes),
}

/// Bytes that outboxes share, charged to the memory budget once.
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

    /// `messages` messages in `bytes`, which are copied if they must be kept.
    pub(crate) fn borrowed(bytes: &'a [u8], messages: u64) -> Self {
        Self::new(RunBody::Borrowed(bytes), messages)
    }

    /// `messages` messages in `bytes`, which can be kept without a copy; that takes `size` bytes of
    /// memory.
    pub(crate) fn shared(bytes: &'a Bytes, messages: u64, size: usize) -> Self {
        Self::new(RunBody::Lent(bytes, size), messages)
    }

    /// The same run, for this number of outboxes.
    pub(crate) fn to(mut self, outboxes: usize) -> Self {
        self.outboxes = outboxes;
        if memfd::is_worth_it(self.bytes().len(), outboxes) {
            self.memfd = OnceCell::new();
        }
        self
    }

    /// The same run, for one member of the group with this filter. Messages that the member cannot take
    /// are returned when its outbox is closed.
    pub(crate) fn for_one_of(mut self, filter: &Arc<str>) -> Self {
        self.target = Some(RunTarget::OneOf(filter.clone()));
        self
    }

    /// The same run, delivered for one filter of its receiver alone.
    pub(crate) fn for_filter(mut self, filter: &Arc<str>) -> Self {
        self.target = Some(RunTarget::Filter(filter.clone()));
        self
    }

    /// The same run, published by this client with these options.
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

    /// Whether it is delivered for one filter alone that is no group's, as retained messages are.
    pub(crate) fn is_for_filter(&self) -> bool {
        matches!(self.target, Some(RunTarget::Filter(_)))
    }

    /// The filter for which it is delivered alone, if there is one.
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

    /// The same messages in the format of `encoder`: as one run, or as one for each message if they are
    /// for one member of a group, so that each can be redelivered separately.
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

    /// The file with its bytes, if it is worth one. Without one, the bytes are sent from where they
    /// are.
    pub(crate) fn memfd(&self) -> Option<&MemFd> {
        self.memfd
            .get_or_init(|| MemFd::new(self.bytes()).ok())
            .as_ref()
    }

    /// One of its lines, by its index, to be kept separately. It shares the memory of the whole run
    /// only if it is a large part of it.
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

    /// A part of it, kept as a part of the whole.
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
