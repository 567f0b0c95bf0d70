//! A poll of several descriptors with a deadline.

use std::io;
use std::time::Instant;

use rustix::event::{PollFd, Timespec};
use rustix::io::Errno;

/// Waits until one of `fds` is ready or `until` passes; returns how many are ready. A signal may
/// end the wait early, with none ready.
pub(crate) fn poll(fds: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<usize> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    // A time that the system call cannot represent means no timeout.
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match rustix::event::poll(fds, left.as_ref()) {
        Ok(ready) => Ok(ready),
        Err(Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
