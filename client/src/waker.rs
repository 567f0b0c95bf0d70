//! A channel whose receiver can be polled together with sockets.
//!
//! Threads send values; the thread that polls takes them without waiting.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

/// The sending end. Clones send to the same receiver.
#[derive(Debug)]
pub(crate) struct Waker<T> {
    sender: Sender<T>,
    pipe: Arc<PipeWriter>,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct WakeReceiver<T> {
    receiver: Receiver<T>,
    /// Holds one byte for each value that was sent and not taken, so that a poll sees it.
    pipe: PipeReader,
}

/// Both ends of a new channel.
pub(crate) fn channel<T>() -> io::Result<(Waker<T>, WakeReceiver<T>)> {
    let (sender, receiver) = mpsc::channel();
    let (reader, writer) = io::pipe()?;
    let waker = Waker {
        sender,
        pipe: Arc::new(writer),
    };
    let receiver = WakeReceiver {
        receiver,
        pipe: reader,
    };
    Ok((waker, receiver))
}

impl<T> Waker<T> {
    /// Sends a value; `false` if the receiver is gone.
    pub(crate) fn send(&self, value: T) -> bool {
        self.sender.send(value).is_ok() && (&*self.pipe).write_all(b"!").is_ok()
    }
}

impl<T> Clone for Waker<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            pipe: Arc::clone(&self.pipe),
        }
    }
}

impl<T> WakeReceiver<T> {
    /// The next value, without waiting.
    pub(crate) fn next(&mut self) -> Option<T> {
        let value = self.receiver.try_recv().ok()?;
        // The sender writes its byte right after the value, so this read does not block for long.
        let _ = self.pipe.read_exact(&mut [0]);
        Some(value)
    }
}

impl<T> AsFd for WakeReceiver<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn a_value_wakes_a_poll_and_is_taken_once() {
        let (waker, mut receiver) = channel().expect("a pipe");
        assert_eq!(receiver.next(), None);
        let other = waker.clone();
        let sending = thread::spawn(move || waker.send(1) && other.send(2));
        let mut fds = [PollFd::new(&receiver, PollFlags::IN)];
        assert_eq!(poll(&mut fds, None).expect("a pipe"), 1);
        assert!(sending.join().expect("no panic"));
        let taken: Vec<i32> = std::iter::from_fn(|| receiver.next()).collect();
        assert_eq!(taken, [1, 2]);
    }

    #[test]
    fn sending_fails_once_the_receiver_is_gone() {
        let (waker, receiver) = channel::<()>().expect("a pipe");
        drop(receiver);
        assert!(!waker.send(()));
    }
}
