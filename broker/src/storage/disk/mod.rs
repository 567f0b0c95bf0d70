//! What the store needs of a disk, so that tests can put one in its place that records each step, fails on
//! purpose, or loses what no sync has covered.

#[cfg(test)]
pub(crate) mod gated;
#[cfg(any(test, fuzzing))]
pub(crate) mod memory;
pub(crate) mod ram;
pub(crate) mod system;

use std::io::{self, IoSlice};

/// The folder of one store, to be read. Names are relative to it, such as `log/7.log`.
pub(crate) trait ReadDisk: Send + Sync {
    /// The names of the files in a folder, without it, in any order.
    fn names(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
}

/// The same, to be written.
pub(crate) trait Disk: ReadDisk {
    /// Makes a folder, if it is not there.
    fn make_folder(&self, name: &str) -> io::Result<()>;

    /// Makes an empty file. What had this name before is gone.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name. What had that name before is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Bytes that the file system of the folder has free for this process.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Makes durable which files are in a folder; the empty name is the folder of the store.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
}

/// An open file.
pub(crate) trait DiskFile: Send + Sync {
    fn len(&self) -> io::Result<u64>;

    /// Reads some bytes; none at the end.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes some bytes.
    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<usize>;

    /// Takes room for the file to become this long. It reads as zeros.
    fn reserve(&self, len: u64) -> io::Result<()>;

    /// Cuts off what lies behind.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes durable what was written, and the length.
    fn sync(&self) -> io::Result<()>;
}

/// Whether something failed for want of room.
pub(crate) fn is_full(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Writes all bytes of some slices.
pub(crate) fn write_all(file: &dyn DiskFile, slices: &[&[u8]], mut at: u64) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
    let mut left = &mut slices[..];
    // Without the empty ones, so that zero means that nothing can be written.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_at(left, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// The whole file.
pub(crate) fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let read = read_into(file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Reads from an offset on until these bytes are full or the file ends. Returns how many were read.
pub(crate) fn read_into(file: &dyn DiskFile, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], at + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(done)
}
