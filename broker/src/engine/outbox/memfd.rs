//! Bytes on their way to many sockets, put where the kernel can send them from without a copy.
//!
//! A send copies its bytes into the kernel once for each socket, and a wide fan-out soon does little
//! else. Put into a file in memory once, they are sent from its pages, which all sockets share.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, pwrite};

/// With fewer receivers than this, a copy for each costs no more than the file.
const WIDE_AUDIENCE: usize = 8;

/// Less than this is not worth a file.
const MEMFD_FROM_BYTES: usize = 16 * 1024;

/// Whether so many bytes for so many receivers shall be staged.
pub(crate) fn is_worth_it(bytes: usize, receivers: usize) -> bool {
    bytes >= MEMFD_FROM_BYTES && receivers >= WIDE_AUDIENCE
}

/// A file in memory that holds some bytes and is never changed: its pages live on until the last
/// socket has sent them, whatever becomes of the file.
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
