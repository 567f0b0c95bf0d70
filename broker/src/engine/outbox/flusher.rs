//! The thread that continues sending for full sockets.
//!
//! An outbox whose socket is full arms it here. When the socket is writable, the thread calls
//! [`Outbox::flush`], which sends what fits and arms again if something is left.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

use crate::clock::latency::Latency;
use crate::engine::outbox::Outbox;
use crate::sync::{AtomicBool, Mutex, Ordering};

/// The key of the event that stops the thread; no connection has this number.
const STOP: u64 = 0;

const EVENTS: usize = 256;

/// Watches the sockets of blocked outboxes.
pub(crate) struct Flusher {
    epoll: OwnedFd,
    stop: OwnedFd,
    stopped: AtomicBool,
    outboxes: Mutex<HashMap<u64, Arc<Outbox>, RandomState>>,
    latency: Arc<Latency>,
}

impl Flusher {
    pub(crate) fn new(latency: Arc<Latency>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        // One event is enough, because `stopped` is set before it; and Miri knows edge-triggered epoll only.
        let once = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), once)?;
        Ok(Self {
            epoll,
            stop,
            stopped: AtomicBool::new(false),
            outboxes: Mutex::default(),
            latency,
        })
    }

    /// Registers an outbox under the number of its connection, so that it can be armed.
    pub(crate) fn register(&self, id: u64, outbox: Arc<Outbox>) {
        self.outboxes.lock().insert(id, outbox);
    }

    /// Removes an outbox; an event already on its way is ignored.
    pub(crate) fn unregister(&self, id: u64) {
        self.outboxes.lock().remove(&id);
    }

    /// Watches a socket until it is writable, once. `known` tells whether it was watched before.
    pub(crate) fn arm(&self, socket: impl AsFd, id: u64, known: &AtomicBool) -> io::Result<()> {
        let (data, flags) = (
            EventData::new_u64(id),
            EventFlags::OUT | EventFlags::ONESHOT,
        );
        if known.swap(true, Ordering::Relaxed) {
            epoll::modify(&self.epoll, socket, data, flags)?;
        } else {
            epoll::add(&self.epoll, socket, data, flags)?;
        }
        Ok(())
    }

    /// Handles events until it is stopped.
    pub(crate) fn run(&self) {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        // Acquire pairs with the Release in `stop`; the event that `stop` causes ends the wait below.
        while !self.stopped.load(Ordering::Acquire) {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(err) => {
                    log::error!("the flusher ends, slow clients will get nothing more: {err}");
                    return;
                }
            }
            for event in &events {
                let connection = event.data.u64();
                let outbox = self.outboxes.lock().get(&connection).cloned();
                if let Some(outbox) = outbox {
                    flush(&outbox, connection, &self.latency);
                }
            }
        }
    }

    /// Ends [`Flusher::run`].
    pub(crate) fn stop(&self) {
        // Release, and before the write: the thread that the write wakes must see it.
        self.stopped.store(true, Ordering::Release);
        // The write can fail only if the counter is full, and then the thread is awake anyway.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }
}

/// A panic in one outbox closes that one. The thread continues for all others.
fn flush(outbox: &Outbox, connection: u64, latency: &Latency) {
    if panic::catch_unwind(AssertUnwindSafe(|| outbox.flush(latency))).is_err() {
        outbox.fail(connection, io::Error::other("a bug of the broker"));
    }
}
