//! A channel that can be waited for together with sockets: for threads that hand something to one
//! that looks after several things at once.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{self, Receiver, Sender};

/// The sending end.
#[derive(Debug)]
pub(crate) struct Ringer<T> {
    sender: Sender<T>,
    bell: PipeWriter,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Bell<T> {
    receiver: Receiver<T>,
    /// Readable when there is something: it is rung once for each.
    bell: PipeReader,
}

/// Both ends of a new one.
pub(crate) fn bell<T>() -> io::Result<(Ringer<T>, Bell<T>)> {
    let (sender, receiver) = mpsc::channel();
    let (reader, writer) = io::pipe()?;
    let ringer = Ringer {
        sender,
        bell: writer,
    };
    let bell = Bell {
        receiver,
        bell: reader,
    };
    Ok((ringer, bell))
}

impl<T> Ringer<T> {
    /// Hands something over; `false` if nobody listens any more.
    pub(crate) fn ring(&mut self, what: T) -> bool {
        self.sender.send(what).is_ok() && self.bell.write_all(b"!").is_ok()
    }
}

impl<T> Bell<T> {
    /// The next that was handed over, without waiting.
    pub(crate) fn next(&mut self) -> Option<T> {
        let what = self.receiver.try_recv().ok()?;
        // It is rung just after that was sent, so this waits for no longer than that takes.
        let _ = self.bell.read_exact(&mut [0]);
        Some(what)
    }
}

impl<T> AsFd for Bell<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn what_is_rung_can_be_waited_for_and_taken_once() {
        let (mut ringer, mut bell) = bell().expect("a pipe");
        assert_eq!(bell.next(), None);
        let ringing = thread::spawn(move || ringer.ring(1) && ringer.ring(2));
        let mut fds = [PollFd::new(&bell, PollFlags::IN)];
        assert_eq!(poll(&mut fds, None).expect("a pipe"), 1);
        assert!(ringing.join().expect("no panic"));
        let taken: Vec<i32> = std::iter::from_fn(|| bell.next()).collect();
        assert_eq!(taken, [1, 2]);
    }

    #[test]
    fn nobody_is_told_when_nobody_listens() {
        let (mut ringer, bell) = bell::<()>().expect("a pipe");
        drop(bell);
        assert!(!ringer.ring(()));
    }
}
