//! The threads on which handshakes are computed. On a connection's own thread the arithmetic would leave
//! touched stack behind, and what the library frees would stay with the thread's allocator, both for as long as
//! the connection lives. So all that the library reads, computes and says happens here.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{self, Arc, Condvar, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

use super::handshake::Handshake;

/// Bytes of the stack of each thread.
const STACK_BYTES: usize = 256 * 1024;

/// A few threads that take their work from one queue. Its length is the number of handshakes under way.
pub(super) struct HandshakeThreads {
    /// Taken at the end.
    running: Mutex<Option<Running>>,
}

struct Running {
    jobs: Sender<Job>,
    threads: Vec<JoinHandle<()>>,
}

struct Job {
    handshake: Box<Handshake>,
    made: Arc<MadeStep>,
}

/// Where a handshake is found again after a step. Of the standard library, and one for all steps: what waits by a
/// channel or by `parking_lot` takes some hundred bytes, which its thread would keep.
#[derive(Default)]
pub(super) struct MadeStep {
    /// The handshake, or none if it is lost.
    handshake: sync::Mutex<Option<Option<Box<Handshake>>>>,
    changed: Condvar,
}

impl HandshakeThreads {
    /// Starts as many threads as there are processors.
    pub(super) fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let (jobs, queue) = unbounded();
        let threads = (0..count).map(|_| {
            let queue: Receiver<Job> = queue.clone();
            thread::Builder::new()
                .name("handshake".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || queue.into_iter().for_each(Job::work))
        });
        let threads: Vec<JoinHandle<()>> = threads.collect::<io::Result<_>>()?;
        Ok(Self {
            running: Mutex::new(Some(Running { jobs, threads })),
        })
    }

    /// Has the next step of a handshake made, while this thread waits. `None` at the deadline, after a panic, and
    /// when the broker stops; the handshake is lost then. `made` is for this handshake alone.
    pub(super) fn step(
        &self,
        handshake: Box<Handshake>,
        made: &Arc<MadeStep>,
        deadline: Instant,
    ) -> Option<Box<Handshake>> {
        let jobs = self.running.lock().as_ref()?.jobs.clone();
        let job = Job {
            handshake,
            made: made.clone(),
        };
        jobs.send(job).ok()?;
        drop(jobs);
        made.wait(deadline)
    }

    /// Ends the threads when the queue is empty, and waits for that.
    pub(super) fn stop(&self) {
        let Some(Running { jobs, threads }) = self.running.lock().take() else {
            return;
        };
        drop(jobs);
        for thread in threads {
            // A panic of a job has been told by its hook, and ends no thread.
            let _ = thread.join();
        }
    }
}

impl MadeStep {
    fn put(&self, made: Option<Box<Handshake>>) {
        let mut handshake = self
            .handshake
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *handshake = Some(made);
        self.changed.notify_one();
    }

    fn wait(&self, deadline: Instant) -> Option<Box<Handshake>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let handshake = self
            .handshake
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(handshake, left, |made| made.is_none());
        let (mut handshake, _) = waited.unwrap_or_else(PoisonError::into_inner);
        handshake.take()?
    }
}

impl Job {
    fn work(self) {
        let Self {
            mut handshake,
            made,
        } = self;
        let handshake = panic::catch_unwind(AssertUnwindSafe(move || {
            handshake.step();
            handshake
        }));
        // The one that waits may have given up; the last of the two frees it.
        made.put(handshake.ok());
    }
}

impl Drop for HandshakeThreads {
    fn drop(&mut self) {
        self.stop();
    }
}
