//! A file in memory whose pages many sockets can send without a copy.
//!
//! A send copies its bytes into the kernel once for each socket, which dominates a wide fan-out.
//! `sendfile` sends the pages of a file in memory, which all sockets share.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, pwrite};

/// Minimum receivers; with fewer, a copy for each costs no more than the file.
const WIDE_AUDIENCE: usize = 8;

/// Minimum bytes; fewer are not worth a file.
const MEMFD_FROM_BYTES: usize = 16 * 1024;

/// Whether this many bytes for this many receivers should be put into a file.
pub(crate) fn is_worth_it(bytes: usize, receivers: usize) -> bool {
    bytes >= MEMFD_FROM_BYTES && receivers >= WIDE_AUDIENCE
}

/// A file in memory that is never changed. Its pages live until the last socket has sent them, even if
/// the file is closed before.
pub(crate) struct MemFd(OwnedFd);

impl MemFd {
    pub(crate) fn new(bytes: &[u8]) -> io::Result<Self> {
        let file = memfd_create(c"messages", MemfdFlags::CLOEXEC)?;
        let mut written = 0;
        while written < bytes.len() {
            match pwrite(&file, &bytes[written..], written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => written += len,
                Err(Errno::INTR) => {}
                Err(err) => return Err(err.into()),
            }
        }
        Ok(Self(file))
    }
}

impl AsFd for MemFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
