//! Copies a store, also one that a broker has and goes on writing to.

use std::io;

use super::disk::{Disk, DiskFile, ReadDisk, read_all, read_into, write_all};
use super::format::{Format, FormatError};
use super::frame::{FrameSecret, LogFrame};
use super::{segment, snapshot, survey};

/// Bytes that are copied at a time.
const PART_BYTES: usize = 1 << 20;

/// Copies what a start needs. The copy is what an orderly end at that moment would have left, with an identifier of its own.
/// Fails with `NotFound` or `ResourceBusy` if the broker removes meanwhile what is copied.
pub(crate) fn copy(from: &dyn ReadDisk, to: &dyn Disk) -> Result<(), FormatError> {
    let format = Format::read(from)?;
    let noted = format.as_ref().map(|format| format.secret);
    let secret = copy_files(from, to, noted).map_err(FormatError::Io)?;
    let new = Format {
        id: Format::new_id().map_err(FormatError::Io)?,
        secret,
        generation: format.map_or(0, |format| format.generation),
        is_clean: true,
    };
    // Last, when all that it stands for is durable.
    new.write(to).map_err(FormatError::Io)
}

/// Returns the secret of the frames.
fn copy_files(
    from: &dyn ReadDisk,
    to: &dyn Disk,
    noted: Option<FrameSecret>,
) -> io::Result<FrameSecret> {
    for folder in [snapshot::FOLDER, segment::FOLDER] {
        to.make_folder(folder)?;
    }
    // Before the log, which is removed only if a later snapshot does without it.
    let snapshots = snapshot::list(from)?;
    let newest = snapshots.len().saturating_sub(2);
    for &first in &snapshots[newest..] {
        let name = snapshot::name(first);
        let file = from.open(&name)?;
        copy_file(&*file, file.len()?, to, &name)?;
    }
    let mut segments = segments(from)?;
    segments.sort_unstable();
    let secret = survey::secret(from, &snapshots, &segments, noted)?.value;
    for (at, &first) in segments.iter().enumerate() {
        let name = segment::segment_name(first);
        let file = from.open(&name)?;
        let end = match at + 1 == segments.len() {
            // It is written to. All before its last whole frame was written before that one.
            true => end_of(&read_all(&*file)?, first, secret),
            false => file.len()?,
        };
        copy_file(&*file, end, to, &name)?;
        // A file gets another name before it is used again, so what was copied is what this name stood for.
        if !self::segments(from)?.contains(&first) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
    }
    to.sync_folder(snapshot::FOLDER)?;
    to.sync_folder(segment::FOLDER)?;
    Ok(secret)
}

/// The numbers of the segments, in any order.
fn segments(disk: &dyn ReadDisk) -> io::Result<Vec<u64>> {
    let names = disk.names(segment::FOLDER)?;
    let numbers = names.iter().filter_map(|name| segment::segment_first(name));
    Ok(numbers.collect())
}

/// Where the last frame of a segment ends.
fn end_of(bytes: &[u8], first: u64, secret: FrameSecret) -> u64 {
    let (mut end, mut next) = (0, first);
    loop {
        // What is left of an earlier use of the file has lower numbers.
        let follows =
            LogFrame::at(&bytes[end..], secret).filter(|frame| frame.header.first >= next);
        if let Some(frame) = follows {
            next = frame.header.end();
            end = bytes.len().min(end + frame.header.frame_bytes());
            continue;
        }
        // Behind damage there may be more.
        match LogFrame::next_behind(bytes, end, next, secret) {
            Some((at, _)) => end = at,
            None => return end as u64,
        }
    }
}

fn copy_file(file: &dyn DiskFile, end: u64, to: &dyn Disk, name: &str) -> io::Result<()> {
    let copy = to.create(name)?;
    let mut part = vec![0; PART_BYTES];
    let mut at = 0;
    while at < end {
        let wanted = PART_BYTES.min(usize::try_from(end - at).unwrap_or(PART_BYTES));
        let read = read_into(file, &mut part[..wanted], at)?;
        if read == 0 {
            break;
        }
        write_all(&*copy, &[&part[..read]], at)?;
        at += read as u64;
    }
    copy.sync()
}

/// Removes what [`copy`] has made.
pub(crate) fn remove_copy(disk: &dyn Disk) -> io::Result<()> {
    for folder in [snapshot::FOLDER, segment::FOLDER] {
        for name in disk.names(folder)? {
            disk.remove(&format!("{folder}/{name}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::disk::memory::MemoryDisk;
    use super::super::frame::FrameKind;
    use super::super::log::{Log, NewFrame};
    use super::*;

    const SEGMENT_BYTES: u64 = 4096;
    const SECRET: FrameSecret = FrameSecret(7);
    const FIRST: &str = "log/00000000000000000001.log";

    fn filled(frames: usize) -> MemoryDisk {
        let disk = MemoryDisk::default();
        disk.make_folder("log").expect("no fault");
        let begun = Log::begin(
            Arc::new(disk.clone()),
            SEGMENT_BYTES,
            SECRET,
            1,
            1,
            0,
            false,
        );
        let log = begun.expect("no fault");
        for _ in 0..frames {
            let body: [&[u8]; 1] = [&[b'x'; 200]];
            let frame = NewFrame::new(
                FrameKind::Lines {
                    qos: 0,
                    retain: false,
                },
                1,
                &body,
            );
            log.append(&frame).expect("no fault");
        }
        disk
    }

    #[test]
    fn a_copy_ends_behind_the_last_whole_frame() {
        let disk = filled(3);
        let whole = end_of(&disk.bytes(FIRST), 1, SECRET);
        assert!(whole < SEGMENT_BYTES);
        // What lies behind is of an earlier use of the file, or was not written to its end.
        assert_eq!(end_of(&disk.bytes(FIRST), 100, SECRET), 0);
        let last_begin = whole as usize - 8;
        disk.damage(FIRST, |bytes| bytes[last_begin - 100] ^= 1);
        let before = end_of(&disk.bytes(FIRST), 1, SECRET);
        assert!(before < whole && before > 0);
        // Damage in the middle ends nothing.
        disk.damage(FIRST, |bytes| bytes[last_begin - 100] ^= 1);
        disk.damage(FIRST, |bytes| bytes[120] ^= 1);
        assert_eq!(end_of(&disk.bytes(FIRST), 1, SECRET), whole);
        let copy = MemoryDisk::default();
        assert!(super::copy(&disk, &copy).is_ok());
        assert_eq!(
            copy.bytes(FIRST),
            disk.bytes(FIRST)[..whole as usize].to_vec()
        );
    }

    /// A disk of which a file goes as soon as it has been opened.
    struct Vanishing(MemoryDisk, &'static str);

    impl ReadDisk for Vanishing {
        fn names(&self, folder: &str) -> io::Result<Vec<String>> {
            self.0.names(folder)
        }

        fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
            let file = self.0.open(name);
            if name == self.1 {
                self.0.lose(name);
            }
            file
        }
    }

    #[test]
    fn a_file_that_goes_while_it_is_copied_ends_the_copy() {
        let copy = MemoryDisk::default();
        let copied = super::copy(&Vanishing(filled(30), FIRST), &copy);
        let Err(FormatError::Io(err)) = copied else {
            panic!("{copied:?}");
        };
        let is_known = [io::ErrorKind::ResourceBusy, io::ErrorKind::NotFound].contains(&err.kind());
        assert!(is_known, "{err}");
        remove_copy(&copy).expect("no fault");
        assert_eq!(copy.all_names(), [""; 0]);
    }
}
