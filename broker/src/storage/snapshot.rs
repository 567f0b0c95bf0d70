//! Snapshots: all that the broker keeps, as records in one file, so that the log before it is not needed.
//!
//! A snapshot has the sequence number at which its writing began. What it says may be newer; the log from that
//! number on leads to the same state, because records may be applied again.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, ReadDisk, read_all, write_all};
use super::frame::{ALIGNMENT, FrameHeader, FrameKind, FrameSecret, HEADER_BYTES, LogFrame};
use super::record::{Apply, Record, records};
use super::segment::sequence;

/// The folder of the snapshots.
pub(crate) const FOLDER: &str = "state";

/// Bytes of records that are written together.
const BODY_BYTES: usize = 64 * 1024;

/// A snapshot that is being written.
pub(crate) struct SnapshotWriter {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    secret: FrameSecret,
    first: u64,
    end: u64,
    body: Vec<u8>,
    in_body: u32,
    count: u64,
    /// The first failure; nothing is written after it.
    failure: Option<io::Error>,
}

impl SnapshotWriter {
    pub(crate) fn begin(disk: Arc<dyn Disk>, secret: FrameSecret, first: u64) -> io::Result<Self> {
        let file = disk.create(&unfinished_name(first))?;
        Ok(Self {
            disk,
            file,
            secret,
            first,
            end: 0,
            body: Vec::new(),
            in_body: 0,
            count: 0,
            failure: None,
        })
    }

    pub(crate) fn write(&mut self, record: &Record<'_>) {
        record.encode(&mut self.body);
        self.in_body += 1;
        self.count += 1;
        if self.body.len() >= BODY_BYTES {
            self.flush(FrameKind::State);
        }
    }

    fn flush(&mut self, kind: FrameKind) {
        let header = FrameHeader::new(kind, self.first, self.in_body).of(&[&self.body]);
        let (head, padding) = (header.encode(self.secret), [0; ALIGNMENT]);
        let padding = &padding[..header.frame_bytes() - HEADER_BYTES - self.body.len()];
        if self.failure.is_none() {
            let written = write_all(&*self.file, &[&head, &self.body, padding], self.end);
            self.failure = written.err();
        }
        self.end += header.frame_bytes() as u64;
        self.body.clear();
        self.in_body = 0;
    }

    /// The bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// Makes it durable under its name. All that it says has to be durable in the log before.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if self.in_body > 0 {
            self.flush(FrameKind::State);
        }
        // The end says how many records there are, so that no part passes for the whole.
        self.body.extend_from_slice(&self.count.to_le_bytes());
        self.flush(FrameKind::Mark);
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.file.sync()?;
        let (from, to) = (unfinished_name(self.first), name(self.first));
        self.disk.rename(&from, &to)?;
        self.disk.sync_folder(FOLDER)
    }
}

/// Removes what processes that ended in the middle have left.
pub(crate) fn remove_unfinished(disk: &dyn Disk) -> io::Result<()> {
    let names = disk.names(FOLDER)?;
    let mut unfinished = names.iter().filter(|name| name.ends_with(".new"));
    unfinished.try_for_each(|name| disk.remove(&format!("{FOLDER}/{name}")))
}

/// The sequence numbers of the snapshots that are there, the oldest first.
pub(crate) fn list(disk: &dyn ReadDisk) -> io::Result<Vec<u64>> {
    let names = disk.names(FOLDER)?;
    let mut found: Vec<u64> = names.iter().filter_map(|name| first(name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// Reads a snapshot. False, before anything is applied, if it is not sound from beginning to end.
pub(crate) fn read(
    disk: &dyn ReadDisk,
    secret: FrameSecret,
    first: u64,
    apply: &mut dyn Apply,
) -> io::Result<bool> {
    let bytes = read_all(&*disk.open(&name(first))?)?;
    let Some(bodies) = bodies(&bytes, secret, first) else {
        return Ok(false);
    };
    for body in bodies {
        records(body).for_each(|record| apply.record(&record));
    }
    Ok(true)
}

/// The bodies with the records of a snapshot that is sound.
fn bodies(mut bytes: &[u8], secret: FrameSecret, first: u64) -> Option<Vec<&[u8]>> {
    let (mut bodies, mut count) = (Vec::new(), 0_u64);
    loop {
        let frame = LogFrame::at(bytes, secret)?;
        if frame.header.first != first {
            return None;
        }
        bytes = bytes.get(frame.header.frame_bytes()..)?;
        match frame.header.kind {
            FrameKind::State => {
                count += u64::from(frame.header.count);
                bodies.push(frame.body);
            }
            // Messages are in the log alone.
            FrameKind::Lines { .. } | FrameKind::Removed => return None,
            FrameKind::Mark => {
                let is_whole = frame.body == count.to_le_bytes() && bytes.is_empty();
                return is_whole.then_some(bodies);
            }
        }
    }
}

pub(crate) fn name(first: u64) -> String {
    format!("{FOLDER}/{first:020}.snap")
}

fn unfinished_name(first: u64) -> String {
    format!("{FOLDER}/{first:020}.new")
}

fn first(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".snap")?;
    sequence(digits)
}
