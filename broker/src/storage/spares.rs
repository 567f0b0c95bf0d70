//! Segments that will be used next: made before they are needed, or used again.

use std::io;
use std::time::Duration;

use bytesize::ByteSize;

use super::disk::{DiskFile, write_all};
use super::log::{Log, MAKING};
use super::segment::segment_name;

/// Segments that are not needed any more and wait to be used again, at most: a snapshot makes several free at once.
const MOST_SPARES: usize = 4;

/// A segment that is half full earlier gets a successor without zeros.
const HURRY: Duration = Duration::from_secs(10);

/// Zeros are written in pieces of this size.
const ZERO_BYTES: usize = 64 * 1024;

impl Log {
    /// Makes the next segment, if the newest is half full, or there was no room for one. Publishers do not wait for it.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        let is_hurried = {
            let tail = self.tail.lock();
            if !tail.spares.is_empty() {
                self.figures.note_room(&Ok(()));
                return Ok(());
            }
            if tail.end < tail.current().bytes / 2 && !self.figures.is_full() {
                return Ok(());
            }
            tail.since.elapsed() < HURRY
        };
        let made = self.make_spare(is_hurried).inspect_err(|_| {
            // On a full disk its part would take the room that is left. It may not be there.
            let _ = self.disk.remove(MAKING);
        })?;
        let tail = &mut *self.tail.lock();
        if !tail.spares.is_empty() {
            // A publisher could not wait for it.
            return self.disk.remove(MAKING);
        }
        let name = tail.spare_name();
        self.disk.rename(MAKING, &name)?;
        tail.spares.push((name, made));
        Ok(())
    }

    /// Whether so many bytes can be taken and others are left what is reserved to them. Asked once a segment, since a
    /// publisher may wait for it.
    pub(super) fn leave_reserve(&self, bytes: u64) -> io::Result<()> {
        if self.reserve_bytes == 0 {
            return Ok(());
        }
        // A file system that does not say how much is free says when nothing is.
        let free = self.disk.free_bytes().unwrap_or(u64::MAX);
        match free >= self.reserve_bytes.saturating_add(bytes) {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!(
                    "another segment would leave less than --data-reserve of the {} that its disk has free",
                    ByteSize(free)
                ),
            )),
        }
    }

    /// To overwrite zeros is cheaper to sync than to take room. Where much comes in little time that does not count, and
    /// the disk would write twice as much.
    fn make_spare(&self, is_hurried: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = self.make_file(MAKING, self.segment_bytes)?;
        if is_hurried {
            file.sync()?;
            return Ok(file);
        }
        let zeros = vec![0; ZERO_BYTES];
        let mut at = 0;
        while at < self.segment_bytes {
            let len = (self.segment_bytes - at).min(ZERO_BYTES as u64);
            write_all(&*file, &[&zeros[..len as usize]], at)?;
            at += len;
        }
        file.sync()?;
        Ok(file)
    }

    /// Removes a segment of which nothing is needed any more: it is used again, unless enough others wait for that.
    pub(crate) fn remove_segment(&self, first: u64) -> io::Result<()> {
        let name = segment_name(first);
        let tail = &mut *self.tail.lock();
        // Within the lock of the end, because the file may be used again.
        self.segments.remove(first);
        let file = self.disk.open(&name)?;
        // A stop, or a start, has cut it off behind its frames.
        let is_whole = file.len()? >= self.segment_bytes;
        if tail.spares.len() >= MOST_SPARES || !is_whole {
            return self.disk.remove(&name);
        }
        let spare = tail.spare_name();
        self.disk.rename(&name, &spare)?;
        // What it has comes before the number in its next name, so that it is never read.
        tail.spares.push((spare, file));
        Ok(())
    }
}
