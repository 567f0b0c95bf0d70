//! The threads on which handshakes are computed. On a connection's own thread the arithmetic would leave
//! touched stack behind, for as long as the connection lives.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::Mutex;
use rustls::{Error, ServerConnection};

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
    connection: Box<ServerConnection>,
    done: Sender<Processed>,
}

/// A connection that has looked at what has come, and what it has found.
pub(super) type Processed = (Box<ServerConnection>, Result<(), Error>);

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

    /// Lets the connection look at what has come, while this thread waits. `None` at the deadline, after a
    /// panic, and when the broker stops; the connection is lost then.
    pub(super) fn process(
        &self,
        connection: Box<ServerConnection>,
        deadline: Instant,
    ) -> Option<Processed> {
        let (done, result) = bounded(1);
        let jobs = self.running.lock().as_ref()?.jobs.clone();
        jobs.send(Job { connection, done }).ok()?;
        drop(jobs);
        result.recv_deadline(deadline).ok()
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

impl Job {
    fn work(self) {
        let Self {
            mut connection,
            done,
        } = self;
        let processed = panic::catch_unwind(AssertUnwindSafe(move || {
            let result = connection.process_new_packets().map(drop);
            (connection, result)
        }));
        if let Ok(processed) = processed {
            // The one that waits may have given up.
            let _ = done.send(processed);
        }
    }
}

impl Drop for HandshakeThreads {
    fn drop(&mut self) {
        self.stop();
    }
}
