//! The outbox of one client: a non-blocking send, and a queue that the flusher empties.
//!
//! A publisher delivers to the outbox on its own thread. An idle outbox passes the bytes to its
//! [`Sink`] at once; what the sink does not accept is queued, and the flusher sends it later. The
//! outbox knows no socket.

#[cfg(test)]
mod ahead;
pub(crate) mod delivery;
pub(crate) mod encoder;
pub(crate) mod flusher;
pub(crate) mod follow;
pub(crate) mod following;
mod guard;
mod hold;
pub(crate) mod memfd;
pub(crate) mod queue;
pub(crate) mod receipt;
mod release;
pub(crate) mod run;
mod special;
pub(crate) mod waiting;
mod walks;

use std::io::{self, IoSlice};
use std::mem;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Moment;
use crate::clock::latency::Latency;
use crate::engine::memory::budget::Memory;
use crate::engine::outbox::delivery::DeliveryState;
use crate::engine::outbox::encoder::Encoder;
use crate::engine::outbox::memfd::MemFd;
use crate::engine::outbox::queue::{Queue, QueueLimits, SLICES, Stock};
use crate::engine::outbox::run::{Redelivery, Run};
use crate::engine::stats::tally::Tally;
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, Ordering};

use following::Following;
use waiting::WaitingAnswers;
use walks::Walks;

pub(crate) use guard::OutboxGuard;

/// Maximum bytes that the flusher sends before it releases the lock.
const FLUSH_BYTES: usize = 256 * 1024;

/// If more bytes of answers than this are queued, the client is not read from.
const ANSWER_BYTES: usize = 64 * 1024;

/// The destination of an outbox's bytes.
pub(crate) trait Sink: Send + Sync {
    /// Sends what can be sent without blocking; `WouldBlock` if that is nothing. What is not accepted is
    /// offered again.
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Sends bytes that `memfd` also holds, for a sink that can send them from there.
    fn send_memfd(&self, _memfd: &MemFd, bytes: &[u8]) -> io::Result<usize> {
        self.send(&[IoSlice::new(bytes)])
    }

    /// Bytes after those that were accepted last which the sink has made ready, such as by encrypting them.
    /// They are offered again first, unchanged.
    fn ahead(&self) -> usize {
        0
    }

    /// Sends what the sink has of its own, without blocking. Returns whether all of it has left.
    fn finish(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Requests one call of [`Outbox::flush`] when the sink accepts bytes again. Called under the
    /// outbox's lock.
    fn arm(&self) -> io::Result<()>;

    /// Ends the reading direction, so that the thread that reads from this client finds its end.
    fn end_reading(&self) {}
}

/// The outbox of one client.
pub(crate) struct Outbox {
    id: u64,
    /// Whether the queue is not empty; a hint for publishers, written under the lock.
    blocked: AtomicBool,
    /// Whether it has no connection; likewise.
    detached: AtomicBool,
    /// Whether its session is kept in the store, so that it gets from the log what it has to acknowledge.
    is_stored: AtomicBool,
    /// Unsubscribe epoch, incremented before UNSUBACK is sent; publishers compare it under the lock.
    unsubscribe_epoch: AtomicU64,
    inside: Mutex<Inside>,
    /// Signalled when bytes have left the queue and a thread waits for that.
    moved: Condvar,
}

/// A connection that moves from one outbox to another.
pub(crate) struct Connected {
    connection: u64,
    sink: Box<dyn Sink>,
    /// The broker stops: threads do not wait for this client any more.
    hurried: bool,
}

/// The result of closing or detaching an outbox.
pub(crate) struct Remains {
    pub(crate) tally: Tally,
    /// Why sending failed, if it did.
    pub(crate) failure: Option<io::Error>,
    /// Messages for one member of a group that this member did not take.
    pub(crate) redeliveries: Vec<Redelivery>,
}

/// The state under the lock.
struct Inside {
    terms: QueueLimits,
    state: OutboxState,
    /// The number of the connection it sends through, until that has ended.
    connection: Option<u64>,
    queue: Queue,
    /// The final answer has been queued; no message may follow it.
    ending: bool,
    /// Threads must not wait for this client any more.
    hurried: bool,
    waiters: usize,
    failure: Option<io::Error>,
    /// When the queue last became non-empty.
    blocked_at: Option<Moment>,
    /// Decides on each message, if the session needs it. Such an outbox continues without a sink.
    delivery: Option<Box<DeliveryState>>,
    /// Number of messages that the client still wants. With none left, the final answer has been sent.
    quota: Option<NonZeroU64>,
    /// Walks over retained messages for the client.
    walks: Option<Box<Walks>>,
    /// Answers that wait for the store; none if there are none.
    waiting: Option<Box<WaitingAnswers>>,
    /// What the client follows, if it follows anything.
    following: Option<Box<Following<Outbox>>>,
}

enum OutboxState {
    /// The queue is empty.
    Idle(Box<dyn Sink>),
    /// The queue is not empty, or the sink has something of its own, and the sink is armed exactly once.
    Blocked(Box<dyn Sink>),
    /// There is no connection. The delivery state, if there is one, keeps messages for the next.
    Detached,
    /// Final: accepts nothing and holds nothing.
    Closed,
}

impl Outbox {
    pub(crate) fn new(
        id: u64,
        limit: usize,
        memory: Arc<Memory>,
        encoder: &'static Encoder,
        sink: Box<dyn Sink>,
    ) -> Self {
        Self::with_state(id, limit, memory, encoder, OutboxState::Idle(sink))
    }

    fn with_state(
        id: u64,
        limit: usize,
        memory: Arc<Memory>,
        encoder: &'static Encoder,
        state: OutboxState,
    ) -> Self {
        Self {
            id,
            blocked: AtomicBool::new(false),
            detached: AtomicBool::new(false),
            is_stored: AtomicBool::new(false),
            unsubscribe_epoch: AtomicU64::new(0),
            inside: Mutex::new(Inside {
                terms: QueueLimits {
                    limit,
                    memory,
                    encoder,
                },
                state,
                connection: Some(id),
                queue: Queue::default(),
                ending: false,
                hurried: false,
                waiters: 0,
                failure: None,
                blocked_at: None,
                delivery: None,
                quota: None,
                walks: None,
                waiting: None,
                following: None,
            }),
            moved: Condvar::new(),
        }
    }

    /// The outbox of a session whose client is away.
    pub(crate) fn away(id: u64, limit: usize, memory: Arc<Memory>) -> Self {
        Self::with_state(id, limit, memory, &Encoder::NONE, OutboxState::Detached)
    }

    /// An outbox that never has a connection, for the broker's own messages.
    pub(crate) fn unconnected(memory: Arc<Memory>) -> Self {
        Self::with_state(0, 0, memory, &Encoder::NONE, OutboxState::Closed)
    }

    /// The number of the connection.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether the queue is not empty; may be outdated when it is read.
    pub(crate) fn seems_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Whether its session waits for a connection; may be outdated when it is read.
    pub(crate) fn seems_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }

    /// Whether its session is kept in the store.
    pub(crate) fn is_stored(&self) -> bool {
        self.is_stored.load(Ordering::Relaxed)
    }

    /// Its session is kept in the store from now on. Before it follows a filter.
    pub(crate) fn set_stored(&self) {
        self.is_stored.store(true, Ordering::Relaxed);
    }

    /// Updates the hints for publishers. Called under the lock.
    fn note_state(&self, state: &OutboxState) {
        let blocked = matches!(state, OutboxState::Blocked(_));
        self.blocked.store(blocked, Ordering::Relaxed);
        let detached = matches!(state, OutboxState::Detached);
        self.detached.store(detached, Ordering::Relaxed);
    }

    /// Sets the encoder for everything sent from now on. Only before the client has been sent anything.
    pub(crate) fn set_encoder(&self, encoder: &'static Encoder) {
        self.inside.lock().terms.encoder = encoder;
    }

    /// The connection has ended and its session continues: drops queued bytes that the delivery state
    /// does not keep.
    pub(crate) fn detach(&self) -> Remains {
        let mut guard = self.lock();
        // If a panic has ended a walk, its session gets what waited for that.
        guard.release_held();
        let mut inside = guard.inside;
        inside.detach();
        inside.connection = None;
        (inside.ending, inside.hurried) = (false, false);
        self.remains(&mut inside)
    }

    /// Clears the final answer, which concerned the last connection.
    pub(crate) fn reopen(&self) {
        let mut inside = self.inside.lock();
        (inside.ending, inside.hurried) = (false, false);
    }

    /// Closes this outbox and returns its connection, for another outbox. After [`Outbox::drain`].
    pub(crate) fn take_connection(&self) -> Option<Connected> {
        let mut inside = self.inside.lock();
        let connection = inside.connection.take()?;
        match mem::replace(&mut inside.state, OutboxState::Closed) {
            OutboxState::Idle(sink) => Some(Connected {
                connection,
                sink,
                hurried: inside.hurried,
            }),
            // The broker ends the connection, so that the drain was cut short. The rest of what is queued must not
            // be missing in front of what the other outbox sends, which would also take for its own what TLS
            // has encrypted of it.
            OutboxState::Blocked(_) | OutboxState::Detached | OutboxState::Closed => None,
        }
    }

    /// Unsubscribe epoch, incremented before UNSUBACK is sent; publishers compare it under the lock.
    pub(crate) fn unsubscribe_epoch(&self) -> &AtomicU64 {
        &self.unsubscribe_epoch
    }

    /// The messages it was given, and where they are.
    pub(crate) fn stock(&self) -> Stock {
        let inside = self.inside.lock();
        let mut stock = inside.queue.stock();
        if let Some(delivery) = &inside.delivery {
            stock.waiting += delivery.kept();
            stock.kept_bytes = delivery.kept_bytes();
        }
        stock.waiting += inside.held();
        stock
    }

    /// The same, and since when the queue has not been empty, if it is not.
    pub(crate) fn backlog(&self) -> (Stock, Option<Moment>) {
        let inside = self.inside.lock();
        let since = match inside.state {
            OutboxState::Blocked(_) => inside.blocked_at,
            OutboxState::Idle(_) | OutboxState::Detached | OutboxState::Closed => None,
        };
        (inside.queue.stock(), since)
    }

    /// Maximum bytes of queued messages.
    pub(crate) fn limit(&self) -> usize {
        self.inside.lock().terms.limit
    }

    /// Sets the maximum. Queued messages stay, even if they exceed it.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.inside.lock().terms.limit = limit;
    }

    /// The minimum number of recent drops on a topic, and the time of the last.
    pub(crate) fn dropped_on(&self, topic: &str) -> Option<(u64, Moment)> {
        self.inside.lock().queue.dropped_on(topic)
    }

    /// The name of its client's protocol.
    pub(crate) fn wire(&self) -> &'static str {
        self.inside.lock().terms.encoder.wire
    }

    /// The number of the connection it sends through, if it has one.
    pub(crate) fn connection(&self) -> Option<u64> {
        self.inside.lock().connection
    }

    /// Whether its client connects again elsewhere when it is told that the broker stops.
    pub(crate) fn moves_when_told(&self) -> bool {
        self.inside.lock().terms.encoder.moves_when_told
    }

    /// Sends from the queue without blocking. The flusher calls it once for each [`Sink::arm`].
    pub(crate) fn flush(&self, latency: &Latency) {
        let mut guard = self.lock();
        guard.inside.state = match guard.take_state() {
            OutboxState::Blocked(sink) => guard.flush_into(sink, latency),
            other => other,
        };
        guard.note_state();
        if guard.inside.following.is_some() {
            guard.note_room();
        }
        if guard.inside.waiters > 0 {
            self.moved.notify_all();
        }
    }

    /// Returns when few enough answers are queued, the client is gone, or the broker stops.
    pub(crate) fn wait_for_room(&self) {
        if self.seems_blocked() {
            self.wait(None, |inside| {
                inside.hurried || inside.queue.answer_bytes <= ANSWER_BYTES
            });
        }
    }

    /// Returns at `deadline`, or when the client is gone or the broker ends its connection.
    pub(crate) fn rest_until(&self, deadline: Instant) {
        self.wait(Some(deadline), |inside| inside.hurried);
    }

    /// Returns when the queue is empty, the client is gone, or at `deadline`. Without a deadline it
    /// also returns when the broker stops.
    pub(crate) fn drain(&self, deadline: Option<Instant>) {
        self.wait(deadline, |inside| {
            let is_sent = matches!(inside.state, OutboxState::Idle(_)) && inside.waiting.is_none();
            is_sent || (deadline.is_none() && inside.hurried)
        });
    }

    /// Returns when less than half of the limit is queued, the client is gone, the broker stops, or at
    /// `deadline`; the result is whether it was the deadline. If the client has taken nothing by then,
    /// publishers do not wait for it again until it does.
    pub(crate) fn wait_for_half(&self, deadline: Instant) -> bool {
        let bytes = |inside: &Inside| inside.queue.tally.bytes;
        let before = bytes(&self.inside.lock());
        let done = |inside: &Inside| inside.hurried || inside.queue.is_half_empty(&inside.terms);
        self.wait(Some(deadline), done);
        let mut inside = self.inside.lock();
        let in_vain =
            !done(&inside) && !matches!(inside.state, OutboxState::Detached | OutboxState::Closed);
        if in_vain && bytes(&inside) == before {
            inside.queue.give_up_waiting();
        }
        in_vain
    }

    /// Publishers have waited for the client as long as they may: until the queue has been empty, it is
    /// served as if it had chosen `drop-oldest`.
    pub(crate) fn stop_blocking(&self) {
        self.inside.lock().queue.stop_blocking();
    }

    /// Ends all waits without a deadline, now and later, because the broker stops.
    pub(crate) fn hurry(&self) {
        self.inside.lock().hurried = true;
        self.moved.notify_all();
    }

    /// Closes the outbox: drops the queue and accepts nothing any more.
    pub(crate) fn close(&self) -> Remains {
        let mut inside = self.inside.lock();
        inside.close();
        self.remains(&mut inside)
    }

    fn remains(&self, inside: &mut Inside) -> Remains {
        self.note_state(&inside.state);
        self.moved.notify_all();
        Remains {
            tally: inside.queue.tally,
            failure: inside.failure.take(),
            redeliveries: inside.queue.take_redeliveries(),
        }
    }

    /// Ends the connection with this number, because it has failed. Does nothing if that connection has
    /// ended before, even if the client has another one now.
    pub(crate) fn fail(&self, connection: u64, failure: io::Error) {
        let mut inside = self.inside.lock();
        if inside.connection != Some(connection) {
            return;
        }
        inside.failure.get_or_insert(failure);
        inside.detach();
        self.note_state(&inside.state);
        self.moved.notify_all();
    }

    fn wait(&self, deadline: Option<Instant>, done: impl Fn(&Inside) -> bool) {
        let mut inside = self.inside.lock();
        inside.waiters += 1;
        while !done(&inside) && !matches!(inside.state, OutboxState::Closed | OutboxState::Detached)
        {
            match deadline {
                None => self.moved.wait(&mut inside),
                Some(deadline) if self.moved.wait_until(&mut inside, deadline).timed_out() => break,
                Some(_) => {}
            }
        }
        inside.waiters -= 1;
    }
}

impl Inside {
    fn enqueue(&mut self, run: &Run<'_>, from: usize) {
        self.queue.push(run, from, &self.terms);
    }

    fn end_dropping(&mut self) {
        self.queue.end_dropping(&self.terms);
    }

    fn close(&mut self) {
        self.state = OutboxState::Closed;
        self.queue.clear(self.terms.encoder);
        self.waiting = None;
        self.following = None;
        self.give_up_held();
        if let Some(mut delivery) = self.delivery.take() {
            let mut redeliveries = Vec::new();
            self.queue.tally.discarded += delivery.end(&mut redeliveries);
            self.queue.add_redeliveries(redeliveries);
        }
    }

    /// The connection ends. The session decides whether it ends too: an outbox with a delivery state
    /// continues until it is closed.
    fn detach(&mut self) {
        match &mut self.delivery {
            Some(delivery) => {
                delivery.detach();
                self.state = OutboxState::Detached;
                self.queue.clear(self.terms.encoder);
                self.waiting = None;
            }
            None => self.close(),
        }
    }
}

/// Sends at most [`SLICES`] of them.
fn send_runs(sink: &dyn Sink, runs: &[&Run<'_>]) -> io::Result<usize> {
    if let [only] = runs
        && let Some(memfd) = only.memfd()
    {
        return send(|| sink.send_memfd(memfd, only.bytes()));
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
    for (slice, run) in slices.iter_mut().zip(runs) {
        *slice = IoSlice::new(run.bytes());
    }
    send(|| sink.send(&slices[..runs.len()]))
}

/// Calls `once` again after an interrupt; a full sink accepts zero bytes.
fn send(once: impl Fn() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match once() {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Calls [`Sink::finish`] again after an interrupt.
fn finish(sink: &dyn Sink) -> io::Result<bool> {
    loop {
        match sink.finish() {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use protocol::{Filter, OverflowPolicy};

    use super::*;
    use crate::engine::limits::{CachedLimits, Limits, SharedLimits};
    use crate::engine::memory::read_buffer::ReadBuffer;
    use crate::engine::outbox::delivery::writer::{Details, PacketWriter, Written};
    use crate::engine::outbox::queue::COPY_BELOW_BYTES;
    use crate::engine::outbox::receipt::Receipt;

    /// A sink that accepts as much as a test allows.
    #[derive(Default)]
    pub(crate) struct Pipe {
        pub(crate) taken: Vec<u8>,
        room: usize,
        armed: u32,
        pub(super) broken: bool,
        pub(super) has_ended_reading: bool,
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

        fn end_reading(&self) {
            self.0.lock().has_ended_reading = true;
        }
    }

    pub(super) const ENCODER: Encoder = Encoder {
        wire: "test",
        gap: |count| format!("<gap {count}>").into_bytes(),
        receipt: |receipt| format!("<{}:{}>", receipt.answered, receipt.copies).into_bytes(),
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
        topic: |message| &message[..1],
        goodbye: b"<bye>",
        kicked: b"<kicked>",
        auth_ended: b"<auth ended>",
        withdrawn: Some(<[u8]>::to_vec),
        auth_ends_soon: b"<auth ends soon>",
        moves_when_told: false,
        taken_over: b"<taken>",
        encode: None,
        answer: None,
    };

    /// The messages of lines, in capital letters.
    pub(super) const LOUD: Encoder = Encoder {
        encode: Some(|lines| {
            let mut loud = lines.to_ascii_uppercase();
            for byte in &mut loud {
                if *byte == b'\n' {
                    *byte = b';';
                }
            }
            loud
        }),
        ..ENCODER
    };

    /// An outbox whose sink accepts `room` bytes for now.
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
        let outbox = Outbox::new(id, limit, memory, &ENCODER, Box::new(sink.clone()));
        (Arc::new(outbox), sink)
    }

    impl TestSink {
        /// The bytes received since the last call.
        pub(crate) fn taken(&self) -> String {
            let taken = mem::take(&mut self.0.lock().taken);
            String::from_utf8(taken).expect("tests send text")
        }

        /// The sink accepts this much from now on.
        pub(crate) fn set_room(&self, room: usize) {
            self.0.lock().room = room;
        }

        /// Lets the sink accept more, and makes the call that the outbox has requested.
        pub(crate) fn make_room(&self, outbox: &Outbox, room: usize) {
            let armed = {
                let mut pipe = self.0.lock();
                pipe.room = room;
                mem::take(&mut pipe.armed)
            };
            assert!(armed <= 1, "armed more than once");
            if armed == 1 {
                outbox.flush(&Latency::default());
            }
        }
    }

    pub(super) fn receipt(answered: u64, copies: u64) -> Receipt {
        Receipt {
            answered,
            copies,
            reached: None,
        }
    }

    fn deliver(outbox: &Outbox, messages: &[&str]) {
        let runs: Vec<_> = messages
            .iter()
            .map(|message| Run::borrowed(message.as_bytes(), 1))
            .collect();
        outbox.lock().deliver(&runs.iter().collect::<Vec<_>>());
    }

    fn choose(outbox: &Outbox, filter: &str, slow: OverflowPolicy) {
        let filter = Filter::parse(filter).expect("a filter");
        let chosen = outbox.lock().choose(filter, Some(slow));
        assert_eq!(chosen, Ok(()));
    }

    #[test]
    fn an_idle_outbox_sends_at_once_and_holds_nothing() {
        let (outbox, sink) = outbox(1, 100, usize::MAX);
        deliver(&outbox, &["a", "b"]);
        outbox.lock().answer(b"c");
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
        outbox.lock().answer(b"!");
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
            outbox.lock().receipt(receipt(1, 1));
        }
        assert_eq!(sink.0.lock().armed, 1);
        sink.make_room(&outbox, 1);
        assert_eq!(sink.0.lock().armed, 1);
    }

    #[test]
    fn what_is_dropped_is_told_in_its_place() {
        let (outbox, sink) = outbox(1, 80, 0);
        choose(&outbox, "+", OverflowPolicy::DropNewest);
        let message = |digit: &str| digit.repeat(40);
        let [one, two, three, four] = ["1", "2", "3", "4"].map(message);
        deliver(&outbox, &[&one, &two, &three, &four]);
        sink.make_room(&outbox, 20);
        // 60 of 80 bytes are queued, more than half of the limit: nothing is accepted.
        deliver(&outbox, &["5"]);
        sink.make_room(&outbox, 20);
        deliver(&outbox, &["6"]);
        sink.make_room(&outbox, 1000);
        assert_eq!(sink.taken(), format!("{one}{two}<gap 3>6"));
        assert_eq!(outbox.close().tally.dropped.total(), 3);
    }

    #[test]
    fn a_gap_is_told_when_nothing_follows_it() {
        let (outbox, sink) = outbox(1, 4, 0);
        choose(&outbox, "+", OverflowPolicy::DropNewest);
        deliver(&outbox, &["1111", "2222"]);
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "1111<gap 1>");
    }

    #[test]
    fn an_answer_comes_after_the_gap_it_follows_and_is_never_dropped() {
        let (outbox, sink) = outbox(1, 4, 0);
        choose(&outbox, "+", OverflowPolicy::DropNewest);
        deliver(&outbox, &["1111", "2222"]);
        outbox.lock().answer(b"PONG");
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
        choose(&outbox, "+", OverflowPolicy::DropNewest);
        let run = Run::borrowed(b"111;222;333;444;", 4);
        outbox.lock().deliver(&[&run]);
        deliver(&outbox, &["555;"]);
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "111;222;<gap 3>");
        let tally = outbox.close().tally;
        assert_eq!((tally.written, tally.dropped.total()), (2, 3));
    }

    #[test]
    fn an_empty_queue_has_room_for_the_longest_message() {
        let (outbox, sink) = outbox(1, 4, 0);
        outbox.lock().answer(b"a");
        deliver(&outbox, &["12345"]);
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "a12345");
    }

    #[test]
    fn waiting_receipts_become_one() {
        let (outbox, sink) = outbox(1, 100, 1);
        outbox.lock().receipt(receipt(1, 1)); // Its first byte leaves.
        outbox.lock().receipt(receipt(2, 1));
        outbox.lock().receipt(receipt(5, 4));
        sink.make_room(&outbox, 4 + 1);
        outbox.lock().receipt(receipt(6, 1));
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "<1:1><5:5><6:1>");
    }

    #[test]
    fn no_message_follows_the_last_answer() {
        let (outbox, sink) = outbox(1, 100, 0);
        deliver(&outbox, &["a"]);
        outbox.lock().farewell(b"BYE");
        outbox.lock().farewell(b"BYE");
        let run = Run::borrowed(b"b", 1);
        assert!(!outbox.lock().deliver(&[&run]));
        sink.make_room(&outbox, 100);
        assert_eq!(sink.taken(), "aBYE");
    }

    #[test]
    fn a_closed_outbox_takes_nothing_and_tells_what_was_lost() {
        let (outbox, sink) = outbox(1, 100, 0);
        deliver(&outbox, &["a", "b"]);
        assert_eq!(outbox.close().tally.discarded, 2);
        deliver(&outbox, &["c"]);
        outbox.lock().answer(b"d");
        outbox.flush(&Latency::default());
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
    fn a_connection_that_is_over_cannot_end_what_its_client_goes_on_with() {
        let (session, _) = outbox(1, 100, 100);
        begin_session(&session);
        session.detach();
        let (next, sink) = outbox(2, 100, 100);
        let connected = next.take_connection().expect("it is there");
        drop(session.attach(connected, &ENCODER, Box::new(Plain)));
        // The thread that finds the first connection dead may report it late.
        session.fail(1, io::ErrorKind::TimedOut.into());
        deliver(&session, &["a;"]);
        assert_eq!(sink.0.lock().taken, b"a;");
        session.fail(2, io::ErrorKind::TimedOut.into());
        deliver(&session, &["b;"]);
        assert_eq!(sink.0.lock().taken, b"a;");
        assert!(session.close().failure.is_some());
    }

    #[test]
    fn a_connection_with_something_queued_moves_to_no_other_outbox() {
        let (next, sink) = outbox(2, 100, 1);
        next.lock().answer(b"ab");
        assert!(next.take_connection().is_none());
        sink.make_room(&next, 100);
        assert_eq!(sink.taken(), "a");
    }

    /// Writes everything unchanged.
    struct Plain;

    impl PacketWriter for Plain {
        fn is_plain(&self) -> bool {
            true
        }

        fn max_in_flight(&self) -> usize {
            1
        }

        fn write(&mut self, line: &[u8], _: &Details<'_>, out: &mut Vec<u8>) -> Written {
            out.extend_from_slice(line);
            Written::Yes
        }

        fn write_release(&mut self, _: u16, _: &mut Vec<u8>) {}
    }

    fn begin_session(outbox: &Outbox) {
        let limits = Arc::new(SharedLimits::new(Limits::default()));
        let limits = CachedLimits::new(&limits);
        let charge = Arc::new(Memory::new(usize::MAX)).charge(0);
        let delivery =
            DeliveryState::new(outbox.id(), limits, Arc::default(), Box::new(Plain), charge);
        drop(outbox.begin_session(&ENCODER, delivery));
    }

    #[test]
    fn an_outbox_without_a_connection_is_gone_unless_it_has_a_delivery_state() {
        let (plain, _) = outbox(1, 100, 100);
        let (session, _) = outbox(2, 100, 100);
        begin_session(&session);
        for outbox in [&plain, &session] {
            outbox.fail(outbox.id(), io::ErrorKind::TimedOut.into());
        }
        assert!(!plain.lock().deliver(&[&Run::borrowed(b"a;", 1)]));
        assert!(session.lock().deliver(&[&Run::borrowed(b"a;", 1)]));
        session.close();
        assert!(!session.lock().deliver(&[&Run::borrowed(b"a;", 1)]));
    }

    #[test]
    fn a_connection_that_is_taken_over_is_told_and_ends() {
        let (outbox, sink) = outbox(1, 100, 100);
        outbox.lock().take_over();
        assert!(outbox.lock().is_ending());
        assert_eq!(sink.0.lock().taken, b"<taken>");
        assert!(sink.0.lock().has_ended_reading);
        outbox.reopen();
        assert!(!outbox.lock().is_ending());
    }

    #[test]
    fn a_connection_takes_along_that_nothing_waits_for_it_any_more() {
        let (session, _) = outbox(1, 100, 0);
        begin_session(&session);
        session.detach();
        let (next, _) = outbox(2, 100, 0);
        next.hurry();
        let connected = next.take_connection().expect("it is there");
        assert!(next.take_connection().is_none());
        drop(session.attach(connected, &ENCODER, Box::new(Plain)));
        session.lock().answer(b"x");
        // Would wait for ever without the hurry.
        session.drain(None);
    }

    #[test]
    fn long_runs_are_copied_once_for_all() {
        let long = "x".repeat(COPY_BELOW_BYTES);
        let run = Run::borrowed(long.as_bytes(), 1);
        let ((one, _), (two, _)) = (outbox(1, 10_000, 0), outbox(2, 10_000, 0));
        one.lock().deliver(&[&run]);
        two.lock().deliver(&[&run]);
        let kept = |outbox: &Outbox| outbox.inside.lock().queue.first_bytes().as_ptr();
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
            outbox.lock().deliver(&[&run]);
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
    fn what_clients_keep_stays_as_it_was_while_its_block_is_filled_again() {
        const LEN: usize = COPY_BELOW_BYTES + COPY_BELOW_BYTES / 2;
        let clients = [1, 2].map(|id| outbox(id, 1 << 20, 0));
        let mut block = ReadBuffer::new(&Arc::new(Memory::new(usize::MAX)));
        std::thread::scope(|scope| {
            for round in *b"123" {
                let room = block.fill(1 << 20).expect("there is memory");
                room.extend_from_slice(&[round; LEN]);
                block.consume(LEN);
                let (size, lent) = (block.size(), block.lend());
                for (outbox, sink) in &clients {
                    sink.0.lock().room = 0;
                    let run = Run::shared(&lent, 1, size);
                    outbox.lock().deliver(&[&run]);
                    scope.spawn(|| sink.make_room(outbox, usize::MAX));
                }
                block.take_back(lent, block.start());
            }
        });
        for (outbox, sink) in &clients {
            // The last flush may have armed it without sending anything.
            sink.make_room(outbox, usize::MAX);
            let expected = ["1", "2", "3"].map(|round| round.repeat(LEN)).concat();
            assert_eq!(sink.taken(), expected);
        }
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
            choose(outbox, "+", OverflowPolicy::DropNewest);
            for _ in 0..100 {
                deliver(outbox, &[&message]);
            }
        }
        // A queue stops growing when it is as long as the free memory: a half, a quarter, an eighth.
        let waiting = clients
            .iter()
            .map(|(outbox, _)| outbox.inside.lock().queue.message_bytes);
        let waiting: Vec<usize> = waiting.map(|bytes| bytes / COPY_BELOW_BYTES).collect();
        assert_eq!(waiting, [13, 25, 50]);
        assert_eq!(memory.free(), 12 * COPY_BELOW_BYTES);
        // Half of the free memory is enough to accept messages again.
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
    fn what_another_wire_sends_is_made_once_for_all_of_its_clients() {
        let clients: Vec<_> = (1..=3)
            .map(|id| outbox(id, 10_000, if id == 1 { usize::MAX } else { 0 }))
            .collect();
        let line = format!("{}\n", "x".repeat(COPY_BELOW_BYTES));
        let lines = line.repeat(2);
        let run = Run::borrowed(lines.as_bytes(), 2);
        for (outbox, _) in &clients {
            outbox.set_encoder(&LOUD);
            assert!(outbox.lock().deliver(&[&run]));
        }
        let loud = format!("{};", "X".repeat(COPY_BELOW_BYTES)).repeat(2);
        assert_eq!(clients[0].1.taken(), loud);
        let kept = |at: usize| {
            let inside = clients[at].0.inside.lock();
            inside.queue.first_bytes().as_ptr()
        };
        assert_eq!(kept(1), kept(2));
        for (outbox, sink) in &clients[1..] {
            sink.make_room(outbox, usize::MAX);
            assert_eq!(sink.taken(), loud);
        }
    }

    #[test]
    fn what_a_member_with_other_words_leaves_behind_are_lines() {
        let (outbox, sink) = outbox(1, 10_000, 4);
        outbox.set_encoder(&LOUD);
        let run = Run::borrowed(b"ab\ncd\nef\n", 3).for_one_of(&"$share/g/a".into());
        outbox.lock().deliver(&[&run]);
        assert_eq!(sink.taken(), "AB;C");
        let remains = outbox.close();
        let left: Vec<_> = remains
            .redeliveries
            .iter()
            .map(|each| &each.bytes[..])
            .collect();
        assert_eq!(left, [b"cd\n", b"ef\n"]);
        assert_eq!(remains.tally.written, 1);
    }

    #[test]
    fn the_oldest_make_room_for_the_newest_in_their_place() {
        let (outbox, sink) = outbox(1, 80, 0);
        let message = |digit: &str| format!("{};", digit.repeat(19));
        let [one, two, three, four, five] = ["1", "2", "3", "4", "5"].map(message);
        deliver(&outbox, &[&one, &two]);
        outbox.lock().answer(b"!");
        deliver(&outbox, &[&three, &four, &five]);
        sink.make_room(&outbox, usize::MAX);
        assert_eq!(sink.taken(), format!("<gap 2>!<gap 1>{four}{five}"));
        let dropped = outbox.close().tally.dropped;
        assert_eq!(dropped.to_string(), "3 dropped (3 full)");
    }

    #[test]
    fn of_what_comes_at_once_the_newest_is_kept_and_what_has_begun_is_finished() {
        let (outbox, sink) = outbox(1, 12, 2);
        let run = Run::borrowed(b"111;222;333;444;555;", 5);
        outbox.lock().deliver(&[&run]);
        sink.make_room(&outbox, usize::MAX);
        assert_eq!(sink.taken(), "111;<gap 3>555;");
        assert_eq!(outbox.close().tally.written, 2);
    }

    #[test]
    fn only_the_newest_of_each_topic_is_kept_where_that_is_chosen() {
        let (outbox, sink) = outbox(1, 100, 1);
        choose(&outbox, "+", OverflowPolicy::Latest);
        deliver(&outbox, &["a1;", "b1;", "a2;", "c1;", "a3;", "b2;"]);
        assert_eq!(sink.taken(), "a");
        sink.make_room(&outbox, 2);
        assert_eq!(sink.taken(), "1;");
        deliver(&outbox, &["b3;", "a4;"]);
        // A partly sent message is finished.
        sink.make_room(&outbox, 8);
        assert_eq!(sink.taken(), "<gap 2>b");
        deliver(&outbox, &["b4;", "b5;"]);
        sink.make_room(&outbox, usize::MAX);
        assert_eq!(sink.taken(), "3;<gap 2>a4;c1;<gap 1>b5;");
        let tally = outbox.close().tally;
        assert_eq!(tally.dropped.to_string(), "5 dropped (5 replaced)");
        assert_eq!(tally.written, 5);
    }

    #[test]
    fn what_others_chose_to_keep_is_not_dropped_for_a_flood() {
        let (outbox, sink) = outbox(1, 30, 0);
        choose(&outbox, "k", OverflowPolicy::Block);
        deliver(&outbox, &["k1;", "k2;", "x1;", "k3;", "x2;"]);
        assert!(!outbox.lock().take_backpressure(), "less than half waits");
        for _ in 0..100 {
            deliver(&outbox, &["x3;"]);
        }
        sink.make_room(&outbox, usize::MAX);
        let came = sink.taken();
        let kept: Vec<_> = came
            .split_inclusive(';')
            .filter(|part| part.contains('k'))
            .collect();
        assert_eq!(kept, ["k1;", "k2;", "<gap 1>k3;"], "{came}");
    }

    #[test]
    fn a_publisher_waits_for_who_blocks_until_half_is_free_or_it_is_in_vain() {
        let (outbox, sink) = outbox(1, 20, 0);
        choose(&outbox, "k", OverflowPolicy::Block);
        let soon = || Instant::now() + Duration::from_millis(50);
        let late = || Instant::now() + Duration::from_secs(60);
        deliver(&outbox, &["k1;", "k2;", "k3;", "k4;"]);
        assert!(outbox.lock().take_backpressure());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| outbox.wait_for_half(late()));
            sink.make_room(&outbox, 3);
            assert!(!waiter.join().expect("it returns"));
        });
        deliver(&outbox, &["k5;", "k6;"]);
        assert!(outbox.lock().take_backpressure());
        assert!(outbox.wait_for_half(soon()), "nothing was taken");
        // Publishers do not wait for it again until it takes something.
        deliver(&outbox, &["k7;"]);
        assert!(!outbox.lock().take_backpressure());
        assert!(!outbox.wait_for_half(late()));
        sink.make_room(&outbox, 1);
        deliver(&outbox, &["k8;"]);
        assert!(outbox.lock().take_backpressure());
    }

    /// Publishes at random to a client that reads at random.
    #[test]
    fn every_message_arrives_or_is_reported_in_its_place_under_every_policy() {
        const TOPICS: [&str; 3] = ["a", "b", "c"];
        for seed in 0..3000 {
            let mut random = fastrand::Rng::with_seed(seed);
            // Long messages are stored in another way than short ones.
            let size = [1, 80][random.usize(0..2)];
            let memory = Arc::new(Memory::new(size * random.usize(200..2000)));
            let (outbox, sink) = outbox_with(1, size * random.usize(20..200), memory, 0);
            let mut has_latest = false;
            for topic in TOPICS {
                if random.u8(0..3) > 0 {
                    let slow = OverflowPolicy::ALL[random.usize(0..OverflowPolicy::ALL.len())];
                    has_latest |= slow == OverflowPolicy::Latest;
                    choose(&outbox, topic, slow);
                }
            }
            let mut number = 0;
            let mut taken = 0;
            for _ in 0..random.usize(1..60) {
                match random.u8(0..10) {
                    0 => outbox.lock().answer(format!("!{number};").as_bytes()),
                    1..4 => sink.make_room(&outbox, size * random.usize(0..60)),
                    _ => {
                        let mut text = String::new();
                        let messages = random.u64(1..6);
                        for _ in 0..messages {
                            number += 1;
                            let topic = TOPICS[random.usize(0..TOPICS.len())];
                            let pad = "x".repeat(size * random.usize(0..12));
                            text += &format!("{topic}{number}{pad};");
                        }
                        let run = Run::borrowed(text.as_bytes(), messages);
                        assert!(outbox.lock().deliver(&[&run]));
                        taken += messages;
                    }
                }
                let mut latest = outbox.inside.lock().queue.latest_topics();
                latest.sort_unstable();
                assert!(latest.is_sorted_by(|one, next| one < next), "{seed}");
            }
            // A flush sends a part at a time.
            while outbox.seems_blocked() {
                sink.make_room(&outbox, 1 << 20);
            }
            let heard = sink.taken();
            let (mut came, mut missing, mut last) = (0, 0, [0; TOPICS.len()]);
            for part in heard.replace('>', ">;").split_terminator(';') {
                if let Some(count) = part.strip_prefix("<gap ") {
                    let count = count.trim_end_matches('>').parse::<u64>();
                    missing += count.expect("a number");
                } else if let Some(before) = part.strip_prefix('!') {
                    if !has_latest {
                        assert_eq!(before, (came + missing).to_string(), "{seed}: {heard}");
                    }
                } else {
                    let (topic, rest) = part.split_at(1);
                    let at = TOPICS
                        .iter()
                        .position(|each| *each == topic)
                        .expect("a topic");
                    let number: u64 = rest.trim_end_matches('x').parse().expect("a number");
                    assert!(number > last[at], "{seed}: {heard}");
                    last[at] = number;
                    came += 1;
                    if !has_latest {
                        assert_eq!(number, came + missing, "{seed}: {heard}");
                    }
                }
            }
            let tally = outbox.close().tally;
            assert_eq!(tally.written, came, "{seed}: {heard}");
            assert_eq!(tally.dropped.total(), missing, "{seed}: {heard}");
            assert_eq!(came + missing, taken, "{seed}: {heard}");
        }
    }

    #[test]
    fn a_waiter_returns_when_there_is_room_or_hurry() {
        let (outbox, sink) = outbox(1, 100, 0);
        outbox.lock().answer(&[b'x'; 2 * ANSWER_BYTES]);
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
