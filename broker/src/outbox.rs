//! One client's bounded queue and how it empties: a send that never waits, then the flusher.
//!
//! Whoever has something for a client puts it here on its own thread. An idle outbox hands the
//! bytes to its [`Sink`] at once; what the sink does not take is queued, and the flusher sends it
//! when there is room. Messages that would push the queue over its limit are dropped and reported
//! in their place; answers are never dropped, their asker waits instead. The outbox knows no frame
//! and no socket: the wire gives it bytes and a [`Wording`] for the two things it says itself.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::ops::{AddAssign, Range};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::memory::{Charge, Memory};
use crate::stage::{self, Stage};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};

/// A run shorter than this is copied to the end of the queue, a longer one shared.
pub(crate) const COPY_BELOW_BYTES: usize = 1024;

/// Small runs are collected in pieces of this size.
const COLLECTED_BYTES: usize = 16 * 1024;

/// How many stretches one send is given at most.
const SLICES: usize = 16;

/// How much the flusher sends before it lets go of the lock.
const FLUSH_BYTES: usize = 256 * 1024;

/// With more answers than this waiting, a client is not read from.
const ANSWER_BYTES: usize = 64 * 1024;

/// Where the bytes of an outbox leave.
pub(crate) trait Sink: Send + Sync {
    /// Sends what can be sent without waiting; `WouldBlock` if that is nothing.
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// The same for bytes that the stage holds too, for a sink that can send them from there.
    fn send_staged(&self, _stage: &Stage, bytes: &[u8]) -> io::Result<usize> {
        self.send(&[IoSlice::new(bytes)])
    }

    /// Asks for one call of [`Outbox::flush`] once there is room. Called under the outbox's lock.
    fn arm(&self) -> io::Result<()>;
}

/// How a wire words what an outbox itself has to say, and where its messages end.
pub(crate) struct Wording {
    /// That many messages were dropped here.
    pub(crate) gap: fn(count: u64) -> Vec<u8>,
    /// So many publishes have been answered; so many copies were made of the newly answered.
    pub(crate) receipt: fn(answered: u64, copies: u64) -> Vec<u8>,
    /// How long the first message is, or what is left of it.
    pub(crate) first: fn(messages: &[u8]) -> usize,
    /// How much of this whole messages are that fit into `room` bytes.
    pub(crate) fitting: fn(messages: &[u8], room: usize) -> usize,
    /// How many messages end in this.
    pub(crate) count: fn(messages: &[u8]) -> u64,
}

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
struct Kept {
    bytes: Bytes,
    charge: Arc<Charge>,
}

impl Kept {
    fn new(bytes: Bytes, size: usize, memory: &Arc<Memory>) -> Self {
        let charge = Arc::new(memory.charge(size));
        Self { bytes, charge }
    }

    fn copy(bytes: &[u8], memory: &Arc<Memory>) -> Self {
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

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// Without a stage it is sent all the same.
    fn stage(&self) -> Option<&Stage> {
        self.stage
            .get_or_init(|| Stage::new(self.bytes).ok())
            .as_ref()
    }

    /// Some of it, kept together with the rest.
    fn keep(&self, part: Range<usize>, memory: &Arc<Memory>) -> Kept {
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

/// The way to one client.
pub(crate) struct Outbox {
    id: u64,
    limit: usize,
    memory: Arc<Memory>,
    wording: &'static Wording,
    /// A hint for publishers, written under the lock.
    blocked: AtomicBool,
    /// How often the client has unsubscribed.
    departures: AtomicU64,
    queue: Mutex<Queue>,
    /// Signalled when something left the queue and somebody waits for that.
    moved: Condvar,
}

/// What an outbox has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Messages handed to the sink, to their last byte.
    pub(crate) written: u64,
    /// Messages dropped because the queue was full.
    pub(crate) dropped: u64,
    /// Messages that were still waiting when the outbox was closed.
    pub(crate) discarded: u64,
    /// Bytes of all kinds handed to the sink.
    pub(crate) bytes: u64,
}

/// What an outbox has been handed, and where it is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stock {
    /// Messages it was handed.
    pub(crate) taken: u64,
    /// Messages that stand in the queue; of the first, a part may have left.
    pub(crate) waiting: u64,
    pub(crate) tally: Tally,
}

/// What is left of a closed outbox.
pub(crate) struct Remains {
    pub(crate) tally: Tally,
    /// Why sending failed, if it did.
    pub(crate) failure: Option<io::Error>,
    /// Messages for one member of a group that this member did not take.
    pub(crate) orphans: Vec<Orphan>,
}

/// Whole messages for another member of a group.
pub(crate) struct Orphan {
    /// The filter of the group.
    pub(crate) filter: Arc<str>,
    pub(crate) bytes: Bytes,
}

struct Queue {
    state: State,
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that have been sent.
    sent: usize,
    /// Bytes of messages and notices that wait.
    message_bytes: usize,
    /// Bytes of answers that wait.
    answer_bytes: usize,
    /// The queue was full and is not yet half empty: nothing is taken in.
    dropping: bool,
    /// Dropped and not yet reported.
    gap: u64,
    /// The last answer has been queued; no message may follow it.
    ending: bool,
    /// Nobody shall wait for this client any more.
    hurried: bool,
    waiters: usize,
    failure: Option<io::Error>,
    /// Of a closed outbox.
    orphans: Vec<Orphan>,
    /// Messages it was handed, but for the orphans.
    taken: u64,
    tally: Tally,
}

enum State {
    /// Nothing waits.
    Idle(Box<dyn Sink>),
    /// Something waits, and the sink is armed exactly once.
    Blocked(Box<dyn Sink>),
    /// The end. Nothing is taken in, nothing is held.
    Closed,
}

struct Chunk {
    data: Data,
    kind: Kind,
    /// If they are for one member of a group, the filter of that group.
    share: Option<Arc<str>>,
}

enum Data {
    Shared(Kept),
    /// With what its capacity takes of the memory.
    Owned(
        Vec<u8>,
        #[expect(dead_code, reason = "it gives back when it is dropped")] Charge,
    ),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// So many messages end in this chunk.
    Messages(u64),
    Answer,
    /// The newest receipt, which a newer one may replace until it has begun to leave.
    Receipt {
        copies: u64,
    },
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.written += other.written;
        self.dropped += other.dropped;
        self.discarded += other.discarded;
        self.bytes += other.bytes;
    }
}

impl Outbox {
    pub(crate) fn new(
        id: u64,
        limit: usize,
        memory: Arc<Memory>,
        wording: &'static Wording,
        sink: Box<dyn Sink>,
    ) -> Self {
        Self {
            id,
            limit,
            memory,
            wording,
            blocked: AtomicBool::new(false),
            departures: AtomicU64::new(0),
            queue: Mutex::new(Queue {
                state: State::Idle(sink),
                chunks: VecDeque::new(),
                sent: 0,
                message_bytes: 0,
                answer_bytes: 0,
                dropping: false,
                gap: 0,
                ending: false,
                hurried: false,
                waiters: 0,
                failure: None,
                orphans: Vec::new(),
                taken: 0,
                tally: Tally::default(),
            }),
            moved: Condvar::new(),
        }
    }

    /// The number of the connection.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// How many bytes of messages may wait now.
    fn room(&self) -> usize {
        self.limit.min(self.memory.free())
    }

    /// Bytes that only this outbox has.
    fn own(&self, bytes: Vec<u8>) -> Data {
        let charge = self.memory.charge(bytes.capacity());
        Data::Owned(bytes, charge)
    }

    /// Whether something waits; may be old by the time it is read.
    pub(crate) fn seems_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// How often the client has unsubscribed; moved before it is told that it has.
    pub(crate) fn departures(&self) -> &AtomicU64 {
        &self.departures
    }

    /// What it was handed and where that is.
    pub(crate) fn stock(&self) -> Stock {
        let queue = self.queue.lock();
        let waiting = queue.chunks.iter().map(|chunk| match chunk.kind {
            Kind::Messages(messages) => messages,
            Kind::Answer | Kind::Receipt { .. } => 0,
        });
        Stock {
            taken: queue.taken,
            waiting: waiting.sum(),
            tally: queue.tally,
        }
    }

    /// Takes the lock, so that several things can be said with nothing in between.
    pub(crate) fn hold(&self) -> Held<'_> {
        Held {
            outbox: self,
            queue: self.queue.lock(),
        }
    }

    /// Sends what waits, as far as that goes without waiting. For the flusher, once per
    /// [`Sink::arm`].
    pub(crate) fn flush(&self) {
        let mut held = self.hold();
        if let State::Blocked(sink) = held.take_state() {
            held.queue.state = held.flush_into(sink);
        }
        held.note_state();
        if held.queue.waiters > 0 {
            self.moved.notify_all();
        }
    }

    /// Returns when the client has taken enough of its answers, is gone, or nobody shall wait.
    pub(crate) fn wait_for_room(&self) {
        if self.seems_blocked() {
            self.wait(None, |queue| {
                queue.hurried || queue.answer_bytes <= ANSWER_BYTES
            });
        }
    }

    /// Returns when nothing waits any more, the client is gone, or it is `deadline`. Without a
    /// deadline it also returns when nobody shall wait.
    pub(crate) fn drain(&self, deadline: Option<Instant>) {
        self.wait(deadline, |queue| {
            matches!(queue.state, State::Idle(_)) || (deadline.is_none() && queue.hurried)
        });
    }

    /// Ends all waiting without a deadline, now and later: the broker stops.
    pub(crate) fn hurry(&self) {
        self.queue.lock().hurried = true;
        self.moved.notify_all();
    }

    /// Closes: what waits is given up, nothing is taken in any more.
    pub(crate) fn close(&self) -> Remains {
        let mut queue = self.queue.lock();
        queue.close(self.wording);
        self.blocked.store(false, Ordering::Relaxed);
        self.moved.notify_all();
        Remains {
            tally: queue.tally,
            failure: queue.failure.take(),
            orphans: mem::take(&mut queue.orphans),
        }
    }

    /// Closes because the connection has failed.
    pub(crate) fn fail(&self, failure: io::Error) {
        let mut queue = self.queue.lock();
        queue.failure.get_or_insert(failure);
        queue.close(self.wording);
        self.blocked.store(false, Ordering::Relaxed);
        self.moved.notify_all();
    }

    fn wait(&self, deadline: Option<Instant>, done: impl Fn(&Queue) -> bool) {
        let mut queue = self.queue.lock();
        queue.waiters += 1;
        while !done(&queue) && !matches!(queue.state, State::Closed) {
            match deadline {
                None => self.moved.wait(&mut queue),
                Some(deadline) if self.moved.wait_until(&mut queue, deadline).timed_out() => break,
                Some(_) => {}
            }
        }
        queue.waiters -= 1;
    }
}

/// An outbox under its lock.
pub(crate) struct Held<'a> {
    outbox: &'a Outbox,
    queue: MutexGuard<'a, Queue>,
}

impl Held<'_> {
    /// Takes in messages, or drops them if the queue is full; both count as done. Returns false if
    /// the client is gone or has said goodbye.
    pub(crate) fn deliver(&mut self, runs: &[&Run<'_>]) -> bool {
        if self.queue.ending || matches!(self.queue.state, State::Closed) {
            return false;
        }
        self.queue.taken += runs.iter().map(|run| run.messages).sum::<u64>();
        self.queue.state = match self.take_state() {
            State::Idle(sink) => self.send_now(sink, runs),
            State::Blocked(sink) => {
                for run in runs {
                    self.queue.take(run, 0, self.outbox);
                }
                State::Blocked(sink)
            }
            State::Closed => State::Closed,
        };
        self.note_state();
        true
    }

    /// Takes in an answer. It is never dropped, and what was dropped before it is reported first.
    pub(crate) fn answer(&mut self, bytes: &[u8]) {
        self.report_gap();
        self.say(bytes, Kind::Answer);
    }

    /// Takes in the last answer: no message follows it.
    pub(crate) fn farewell(&mut self, bytes: &[u8]) {
        if !mem::replace(&mut self.queue.ending, true) {
            self.answer(bytes);
        }
    }

    /// Takes in a receipt. One that still waits behind everything else is replaced by it, so that
    /// a publisher that reads no receipts does not pile them up.
    pub(crate) fn receipt(&mut self, answered: u64, copies: u64) {
        let sent = self.queue.sent;
        let alone = self.queue.chunks.len() == 1;
        let wording = self.outbox.wording;
        if let Some(Chunk { data, kind, .. }) = self.queue.chunks.back_mut()
            && let Kind::Receipt { copies: before } = *kind
            && !(alone && sent > 0)
        {
            let bytes = (wording.receipt)(answered, before + copies);
            let grown = bytes.len() as isize - data.as_slice().len() as isize;
            *kind = Kind::Receipt {
                copies: before + copies,
            };
            *data = self.outbox.own(bytes);
            self.queue.answer_bytes = self.queue.answer_bytes.saturating_add_signed(grown);
        } else {
            self.say(
                &(wording.receipt)(answered, copies),
                Kind::Receipt { copies },
            );
        }
    }

    /// Leaves `Closed` behind, so that a panic before the next state is known ends the outbox.
    fn take_state(&mut self) -> State {
        mem::replace(&mut self.queue.state, State::Closed)
    }

    fn note_state(&self) {
        let blocked = matches!(self.queue.state, State::Blocked(_));
        self.outbox.blocked.store(blocked, Ordering::Relaxed);
    }

    /// Sends from where the bytes are; keeps what is left over.
    fn send_now(&mut self, sink: Box<dyn Sink>, runs: &[&Run<'_>]) -> State {
        let mut groups = runs.chunks(SLICES);
        while let Some(group) = groups.next() {
            let mut sent = match send_runs(&*sink, group) {
                Ok(sent) => sent,
                Err(failure) => {
                    for run in group.iter().chain(groups.flatten()) {
                        let bytes = || Bytes::copy_from_slice(run.bytes);
                        self.queue.give_up(run.share.as_ref(), run.messages, bytes);
                    }
                    return self.fail(failure);
                }
            };
            self.queue.tally.bytes += sent as u64;
            let mut left = false;
            for run in group {
                let from = sent.min(run.bytes.len());
                sent -= from;
                if from < run.bytes.len() {
                    left = true;
                    self.queue.take(run, from, self.outbox);
                } else {
                    self.queue.tally.written += run.messages;
                }
            }
            if left {
                for run in groups.flatten() {
                    self.queue.take(run, 0, self.outbox);
                }
                return self.arm(sink);
            }
        }
        State::Idle(sink)
    }

    /// Sends or queues something that is not a message.
    fn say(&mut self, bytes: &[u8], kind: Kind) {
        self.queue.state = match self.take_state() {
            State::Idle(sink) => match send(|| sink.send(&[IoSlice::new(bytes)])) {
                Ok(sent) => {
                    self.queue.tally.bytes += sent as u64;
                    if sent == bytes.len() {
                        State::Idle(sink)
                    } else {
                        // A receipt of which a part has left is an answer like any other.
                        let kind = if sent > 0 { Kind::Answer } else { kind };
                        self.queue
                            .push(self.outbox.own(bytes[sent..].to_vec()), kind, None);
                        self.arm(sink)
                    }
                }
                Err(failure) => self.fail(failure),
            },
            State::Blocked(sink) => {
                self.queue.push(self.outbox.own(bytes.to_vec()), kind, None);
                State::Blocked(sink)
            }
            State::Closed => State::Closed,
        };
        self.note_state();
    }

    fn flush_into(&mut self, sink: Box<dyn Sink>) -> State {
        // There may be nothing but a gap to tell.
        self.end_dropping();
        let mut budget = FLUSH_BYTES;
        while !self.queue.chunks.is_empty() {
            if budget == 0 {
                return self.arm(sink);
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let (count, offered) = self.queue.front_slices(&mut slices, budget);
            match send(|| sink.send(&slices[..count])) {
                Ok(sent) => {
                    self.queue.advance(sent);
                    self.end_dropping();
                    if sent < offered {
                        return self.arm(sink);
                    }
                    budget -= sent;
                }
                Err(failure) => return self.fail(failure),
            }
        }
        debug_assert_eq!(self.queue.gap, 0, "idle with a gap to tell");
        self.queue.chunks = VecDeque::new();
        State::Idle(sink)
    }

    /// Below half the limit messages are taken in again, after the notice of those that were not.
    fn end_dropping(&mut self) {
        if self.queue.dropping && self.queue.message_bytes <= self.outbox.room() / 2 {
            self.queue.dropping = false;
            self.report_gap();
        }
    }

    fn report_gap(&mut self) {
        if self.queue.gap > 0 {
            let notice = (self.outbox.wording.gap)(mem::take(&mut self.queue.gap));
            self.queue
                .push(self.outbox.own(notice), Kind::Messages(0), None);
        }
    }

    fn arm(&mut self, sink: Box<dyn Sink>) -> State {
        match sink.arm() {
            Ok(()) => State::Blocked(sink),
            Err(failure) => self.fail(failure),
        }
    }

    /// The client's own thread learns of it from its socket.
    fn fail(&mut self, failure: io::Error) -> State {
        self.queue.failure = Some(failure);
        self.queue.close(self.outbox.wording);
        State::Closed
    }
}

impl Queue {
    /// Queues a run from byte `from` on, as much of it as there is room for. A message that has
    /// begun to leave is finished, and an empty queue has room for any one message that the memory
    /// has room for: the limit is never less than the longest.
    fn take(&mut self, run: &Run<'_>, from: usize, outbox: &Outbox) {
        if from == 0 && self.dropping {
            return self.drop_messages(run.messages);
        }
        let rest = &run.bytes[from..];
        let room = outbox.room().saturating_sub(self.message_bytes);
        let fitting = if rest.len() <= room {
            rest.len()
        } else {
            let first = (outbox.wording.first)(rest);
            let whole = (outbox.wording.fitting)(rest, room);
            if from > 0 || (self.message_bytes == 0 && first <= outbox.memory.free()) {
                whole.max(first)
            } else {
                whole
            }
        };
        let dropped = match &rest[fitting..] {
            [] => 0,
            left => (outbox.wording.count)(left),
        };
        if fitting > 0 {
            let mut messages = run.messages - dropped;
            let mut start = from;
            if run.share.is_some() && from > 0 {
                // What has left as a whole is done with; of a message that has begun to leave all is
                // kept, because it may have to go to another member.
                start = (outbox.wording.fitting)(run.bytes, from);
                if start > 0 {
                    let left = (outbox.wording.count)(&run.bytes[..start]);
                    self.tally.written += left;
                    messages -= left;
                }
            }
            self.take_part(run, start..from + fitting, messages, outbox);
            if start < from {
                self.sent = from - start;
                self.message_bytes -= self.sent;
            }
        }
        if dropped > 0 {
            self.dropping = true;
            self.drop_messages(dropped);
        }
    }

    fn drop_messages(&mut self, messages: u64) {
        self.gap += messages;
        self.tally.dropped += messages;
    }

    /// Queues a part of a run, in which so many messages end.
    fn take_part(&mut self, run: &Run<'_>, part: Range<usize>, messages: u64, outbox: &Outbox) {
        let bytes = &run.bytes[part.clone()];
        if bytes.len() >= COPY_BELOW_BYTES {
            // All of the run is kept only for nearly all of it.
            let kept = if bytes.len() * 4 >= run.bytes.len() * 3 {
                run.keep(part, &outbox.memory)
            } else {
                Kept::copy(bytes, &outbox.memory)
            };
            let share = run.share.clone();
            return self.push(Data::Shared(kept), Kind::Messages(messages), share);
        }
        if let Some(Chunk {
            data: Data::Owned(collected, _),
            kind: Kind::Messages(before),
            share,
        }) = self.chunks.back_mut()
            && *share == run.share
            && collected.capacity() - collected.len() >= bytes.len()
        {
            collected.extend_from_slice(bytes);
            *before += messages;
            self.message_bytes += bytes.len();
        } else {
            let capacity = COLLECTED_BYTES.min(outbox.room()).max(bytes.len());
            let mut collected = Vec::with_capacity(capacity);
            collected.extend_from_slice(bytes);
            let share = run.share.clone();
            self.push(outbox.own(collected), Kind::Messages(messages), share);
        }
    }

    fn push(&mut self, data: Data, kind: Kind, share: Option<Arc<str>>) {
        *self.bytes_of(kind) += data.as_slice().len();
        self.chunks.push_back(Chunk { data, kind, share });
    }

    fn bytes_of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Messages(_) => &mut self.message_bytes,
            Kind::Answer | Kind::Receipt { .. } => &mut self.answer_bytes,
        }
    }

    /// What to send next: how many slices, and how many bytes they hold.
    fn front_slices<'a>(
        &'a self,
        slices: &mut [IoSlice<'a>; SLICES],
        budget: usize,
    ) -> (usize, usize) {
        let (mut count, mut offered) = (0, 0);
        for (at, (chunk, slice)) in self.chunks.iter().zip(slices).enumerate() {
            let bytes = chunk.data.as_slice();
            let bytes = if at == 0 { &bytes[self.sent..] } else { bytes };
            let bytes = &bytes[..bytes.len().min(budget - offered)];
            if bytes.is_empty() {
                break;
            }
            *slice = IoSlice::new(bytes);
            count += 1;
            offered += bytes.len();
        }
        (count, offered)
    }

    /// Forgets `sent` bytes at the front.
    fn advance(&mut self, mut sent: usize) {
        self.tally.bytes += sent as u64;
        while let Some(chunk) = self.chunks.front() {
            let left = chunk.data.as_slice().len() - self.sent;
            let kind = chunk.kind;
            let gone = left.min(sent);
            *self.bytes_of(kind) -= gone;
            sent -= gone;
            if gone < left {
                self.sent += gone;
                return;
            }
            self.sent = 0;
            self.chunks.pop_front();
            if let Kind::Messages(messages) = kind {
                self.tally.written += messages;
            }
        }
    }

    fn close(&mut self, wording: &Wording) {
        self.state = State::Closed;
        let mut sent = mem::take(&mut self.sent);
        for chunk in mem::take(&mut self.chunks) {
            let begun = mem::take(&mut sent);
            let Kind::Messages(messages) = chunk.kind else {
                continue;
            };
            let bytes = chunk.data.as_slice();
            // Messages of the first chunk that have left as a whole.
            let gone = match begun {
                0 => 0,
                _ => (wording.fitting)(bytes, begun),
            };
            let left = match gone {
                0 => messages,
                _ => (wording.count)(&bytes[gone..]),
            };
            self.tally.written += messages - left;
            let rest = || Bytes::copy_from_slice(&bytes[gone..]);
            self.give_up(chunk.share.as_ref(), left, rest);
        }
        (self.message_bytes, self.answer_bytes) = (0, 0);
    }

    /// Messages that this client does not get: they are lost, unless another member of the group
    /// can get them.
    fn give_up(&mut self, share: Option<&Arc<str>>, messages: u64, bytes: impl FnOnce() -> Bytes) {
        match share {
            Some(filter) if messages > 0 => {
                self.taken -= messages;
                self.orphans.push(Orphan {
                    filter: filter.clone(),
                    bytes: bytes(),
                });
            }
            _ => self.tally.discarded += messages,
        }
    }
}

impl Data {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(kept) => &kept.bytes,
            Self::Owned(bytes, _) => bytes,
        }
    }
}

/// At most [`SLICES`] of them.
fn send_runs(sink: &dyn Sink, runs: &[&Run<'_>]) -> io::Result<usize> {
    if let [only] = runs
        && let Some(stage) = only.stage()
    {
        return send(|| sink.send_staged(stage, only.bytes));
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
    for (slice, run) in slices.iter_mut().zip(runs) {
        *slice = IoSlice::new(run.bytes);
    }
    send(|| sink.send(&slices[..runs.len()]))
}

/// A full sink takes nothing; an interrupted one is asked again.
fn send(once: impl Fn() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match once() {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;

    /// A sink that takes what a test lets it take.
    #[derive(Default)]
    pub(crate) struct Pipe {
        pub(crate) taken: Vec<u8>,
        room: usize,
        armed: u32,
        broken: bool,
    }

    #[derive(Clone, Default)]
    pub(crate) struct TestSink(pub(crate) Arc<Mutex<Pipe>>);

    impl Sink for TestSink {
        fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let mut pipe = self.0.lock();
            if pipe.broken {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let mut sent = 0;
            for slice in slices {
                let fits = slice.len().min(pipe.room);
                pipe.taken.extend_from_slice(&slice[..fits]);
                pipe.room -= fits;
                sent += fits;
            }
            match sent {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(sent),
            }
        }

        fn arm(&self) -> io::Result<()> {
            self.0.lock().armed += 1;
            Ok(())
        }
    }

    const WORDING: Wording = Wording {
        gap: |count| format!("<gap {count}>").into_bytes(),
        receipt: |answered, copies| format!("<{answered}:{copies}>").into_bytes(),
        first: |messages| {
            messages
                .iter()
                .position(|&byte| byte == b';')
                .map_or(messages.len(), |at| at + 1)
        },
        fitting: |messages, room| {
            messages[..room]
                .iter()
                .rposition(|&byte| byte == b';')
                .map_or(0, |at| at + 1)
        },
        count: |messages| 1.max(messages.iter().filter(|&&byte| byte == b';').count() as u64),
    };

    /// An outbox whose sink takes `room` bytes for now.
    pub(crate) fn outbox(id: u64, limit: usize, room: usize) -> (Arc<Outbox>, TestSink) {
        let memory = Arc::new(Memory::new(usize::MAX));
        outbox_with(id, limit, memory, room)
    }

    fn outbox_with(
        id: u64,
        limit: usize,
        memory: Arc<Memory>,
        room: usize,
    ) -> (Arc<Outbox>, TestSink) {
        let sink = TestSink::default();
        sink.0.lock().room = room;
        let outbox = Outbox::new(id, limit, memory, &WORDING, Box::new(sink.clone()));
        (Arc::new(outbox), sink)
    }

    impl TestSink {
        /// What came since the last call.
        pub(crate) fn taken(&self) -> String {
            let taken = mem::take(&mut self.0.lock().taken);
            String::from_utf8(taken).expect("tests send text")
        }

        /// Gives room, and the call that the outbox has asked for.
        fn make_room(&self, outbox: &Outbox, room: usize) {
            let armed = {
                let mut pipe = self.0.lock();
                pipe.room = room;
                mem::take(&mut pipe.armed)
            };
            assert!(armed <= 1, "armed more than once");
            if armed == 1 {
                outbox.flush();
            }
        }
    }

    fn deliver(outbox: &Outbox, messages: &[&str]) {
        let runs: Vec<_> = messages
            .iter()
            .map(|message| Run::borrowed(message.as_bytes(), 1))
            .collect();
        outbox.hold().deliver(&runs.iter().collect::<Vec<_>>());
    }

    #[test]
    fn an_idle_outbox_sends_at_once_and_holds_nothing() {
        let (outbox, sink) = outbox(1, 100, usize::MAX);
        deliver(&outbox, &["a", "b"]);
        outbox.hold().answer(b"c");
        assert_eq!(sink.taken(), "abc");
        assert_eq!(sink.0.lock().armed, 0);
        let tally = outbox.close().tally;
        assert_eq!((tally.written, tally.bytes, tally.discarded), (2, 3, 0));
    }

    #[test]
    fn what_does_not_fit_is_finished_in_order_when_there_is_room() {
        let (outbox, sink) = outbox(1, 100, 3);
        deliver(&outbox, &["12", "34", "56"]);
        assert!(outbox.seems_blocked());
        deliver(&outbox, &["78"]);
        outbox.hold().answer(b"!");
        assert_eq!(sink.taken(), "123");
        sink.make_room(&outbox, 2);
        assert_eq!(sink.taken(), "45");
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "678!");
        assert!(!outbox.seems_blocked());
        sink.make_room(&outbox, 100);
        assert_eq!(outbox.close().tally.written, 4);
    }

    #[test]
    fn it_is_armed_exactly_once_while_something_waits() {
        let (outbox, sink) = outbox(1, 100, 0);
        for _ in 0..5 {
            deliver(&outbox, &["x"]);
            outbox.hold().receipt(1, 1);
        }
        assert_eq!(sink.0.lock().armed, 1);
        sink.make_room(&outbox, 1);
        assert_eq!(sink.0.lock().armed, 1);
    }

    #[test]
    fn what_is_dropped_is_told_in_its_place() {
        let (outbox, sink) = outbox(1, 80, 0);
        let message = |digit: &str| digit.repeat(40);
        let [one, two, three, four] = ["1", "2", "3", "4"].map(message);
        deliver(&outbox, &[&one, &two, &three, &four]);
        sink.make_room(&outbox, 20);
        // 60 of 80 bytes wait, more than half of the limit: nothing is taken in.
        deliver(&outbox, &["5"]);
        sink.make_room(&outbox, 20);
        deliver(&outbox, &["6"]);
        sink.make_room(&outbox, 1000);
        assert_eq!(sink.taken(), format!("{one}{two}<gap 3>6"));
        assert_eq!(outbox.close().tally.dropped, 3);
    }

    #[test]
    fn a_gap_is_told_when_nothing_follows_it() {
        let (outbox, sink) = outbox(1, 4, 0);
        deliver(&outbox, &["1111", "2222"]);
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "1111<gap 1>");
    }

    #[test]
    fn an_answer_comes_after_the_gap_it_follows_and_is_never_dropped() {
        let (outbox, sink) = outbox(1, 4, 0);
        deliver(&outbox, &["1111", "2222"]);
        outbox.hold().answer(b"PONG");
        deliver(&outbox, &["3333"]);
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "1111<gap 1>PONG<gap 1>");
    }

    #[test]
    fn a_message_that_has_begun_to_leave_is_finished() {
        let (outbox, sink) = outbox(1, 4, 2);
        deliver(&outbox, &["123456"]);
        deliver(&outbox, &["78"]);
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "123456<gap 1>");
    }

    #[test]
    fn of_a_run_as_many_messages_are_taken_as_there_is_room_for() {
        let (outbox, sink) = outbox(1, 9, 2);
        let run = Run::borrowed(b"111;222;333;444;", 4);
        outbox.hold().deliver(&[&run]);
        deliver(&outbox, &["555;"]);
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "111;222;<gap 3>");
        let tally = outbox.close().tally;
        assert_eq!((tally.written, tally.dropped), (2, 3));
    }

    #[test]
    fn an_empty_queue_has_room_for_the_longest_message() {
        let (outbox, sink) = outbox(1, 4, 0);
        outbox.hold().answer(b"a");
        deliver(&outbox, &["12345"]);
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "a12345");
    }

    #[test]
    fn waiting_receipts_become_one() {
        let (outbox, sink) = outbox(1, 100, 1);
        outbox.hold().receipt(1, 1); // Its first byte leaves.
        outbox.hold().receipt(2, 1);
        outbox.hold().receipt(5, 4);
        sink.make_room(&outbox, 4 + 1);
        outbox.hold().receipt(6, 1);
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "<1:1><5:5><6:1>");
    }

    #[test]
    fn no_message_follows_the_last_answer() {
        let (outbox, sink) = outbox(1, 100, 0);
        deliver(&outbox, &["a"]);
        outbox.hold().farewell(b"BYE");
        outbox.hold().farewell(b"BYE");
        let run = Run::borrowed(b"b", 1);
        assert!(!outbox.hold().deliver(&[&run]));
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "aBYE");
    }

    #[test]
    fn a_closed_outbox_takes_nothing_and_tells_what_was_lost() {
        let (outbox, sink) = outbox(1, 100, 0);
        deliver(&outbox, &["a", "b"]);
        assert_eq!(outbox.close().tally.discarded, 2);
        deliver(&outbox, &["c"]);
        outbox.hold().answer(b"d");
        outbox.flush();
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "");
    }

    #[test]
    fn a_broken_sink_closes_and_leaves_its_reason() {
        let (outbox, sink) = outbox(1, 100, 100);
        sink.0.lock().broken = true;
        deliver(&outbox, &["a"]);
        let failure = outbox.close().failure;
        assert_eq!(
            failure.map(|err| err.kind()),
            Some(io::ErrorKind::BrokenPipe)
        );
        outbox.drain(None);
    }

    #[test]
    fn long_runs_are_copied_once_for_all() {
        let long = "x".repeat(COPY_BELOW_BYTES);
        let run = Run::borrowed(long.as_bytes(), 1);
        let ((one, _), (two, _)) = (outbox(1, 10_000, 0), outbox(2, 10_000, 0));
        one.hold().deliver(&[&run]);
        two.hold().deliver(&[&run]);
        let kept = |outbox: &Outbox| outbox.queue.lock().chunks[0].data.as_slice().as_ptr();
        assert_eq!(kept(&one), kept(&two));
    }

    #[test]
    fn a_run_that_many_keep_takes_memory_once_and_until_the_last_has_sent_it() {
        let memory = Arc::new(Memory::new(10 * COPY_BELOW_BYTES));
        let long = "x".repeat(COPY_BELOW_BYTES);
        let clients: Vec<_> = (1..=4)
            .map(|id| outbox_with(id, 1 << 20, memory.clone(), 0))
            .collect();
        let run = Run::borrowed(long.as_bytes(), 1);
        for (outbox, _) in &clients {
            outbox.hold().deliver(&[&run]);
        }
        drop(run);
        assert_eq!(memory.free(), 9 * COPY_BELOW_BYTES);
        for (outbox, sink) in &clients[1..] {
            sink.make_room(outbox, usize::MAX);
        }
        assert_eq!(memory.free(), 9 * COPY_BELOW_BYTES);
        clients[0].0.close();
        assert_eq!(memory.free(), 10 * COPY_BELOW_BYTES);
    }

    #[test]
    fn queues_share_the_memory_and_what_is_dropped_for_want_of_it_is_told() {
        const ALL: usize = 100 * COPY_BELOW_BYTES;
        let memory = Arc::new(Memory::new(ALL));
        let clients: Vec<_> = (1..=3)
            .map(|id| outbox_with(id, ALL, memory.clone(), 0))
            .collect();
        let message = format!("{};", "x".repeat(COPY_BELOW_BYTES - 1));
        for (outbox, _) in clients.iter().rev() {
            for _ in 0..100 {
                deliver(outbox, &[&message]);
            }
        }
        // A queue stops growing when it is as long as what is free: a half, a quarter, an eighth.
        let waiting = clients
            .iter()
            .map(|(outbox, _)| outbox.queue.lock().message_bytes);
        let waiting: Vec<usize> = waiting.map(|bytes| bytes / COPY_BELOW_BYTES).collect();
        assert_eq!(waiting, [13, 25, 50]);
        assert_eq!(memory.free(), 12 * COPY_BELOW_BYTES);
        // Half of what is free is room enough again.
        let (outbox, sink) = &clients[2];
        sink.make_room(outbox, usize::MAX);
        let came = sink.taken();
        assert_eq!(came, format!("{}<gap 50>", message.repeat(50)));
    }

    #[test]
    fn a_gap_is_told_even_if_there_was_no_memory_for_a_single_message() {
        let memory = Arc::new(Memory::new(1000));
        let taken = memory.charge(1000);
        let (outbox, sink) = outbox_with(1, 100, memory.clone(), 2);
        deliver(&outbox, &["1111;"]);
        deliver(&outbox, &["2222;", "3333;"]);
        assert!(outbox.seems_blocked());
        sink.make_room(&outbox, usize::MAX);
        drop(taken);
        deliver(&outbox, &["4444;"]);
        assert_eq!(sink.taken(), "1111;<gap 2>4444;");
        assert!(!outbox.seems_blocked());
        let other = memory.charge(1000);
        sink.make_room(&outbox, 0);
        deliver(&outbox, &["5555;"]);
        sink.make_room(&outbox, usize::MAX);
        assert_eq!(sink.taken(), "<gap 1>");
        drop(other);
    }

    #[test]
    fn a_waiter_returns_when_there_is_room_or_hurry() {
        let (outbox, sink) = outbox(1, 100, 0);
        outbox.hold().answer(&[b'x'; 2 * ANSWER_BYTES]);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| outbox.wait_for_room());
            sink.make_room(&outbox, ANSWER_BYTES);
            waiter.join().expect("it returns");
            let waiter = scope.spawn(|| outbox.drain(None));
            outbox.hurry();
            waiter.join().expect("it returns");
            outbox.drain(Some(Instant::now()));
        });
    }
}
