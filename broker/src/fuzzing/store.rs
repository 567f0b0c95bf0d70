//! A store whose files are anything: the input, or those of a sound store that were changed as the input says.

use std::io;
use std::sync::Arc;

use crate::storage::SnapshotWriter;
use crate::storage::disk::memory::MemoryDisk;
use crate::storage::disk::{Disk, write_all};
use crate::storage::frame::{FrameHeader, FrameKind, FrameSecret, seal};
use crate::storage::log::NewFrame;
use crate::storage::reader::LogReader;
use crate::storage::record::{Apply, Record, RetainedRecord};
use crate::storage::snapshot_source::SnapshotSource;
use crate::storage::store::{Store, StoreError};
use crate::storage::survey::{Extent, StoreFound};

/// Small, so that a short input reaches several.
const SEGMENT_BYTES: u64 = 1024;

/// Bytes of a change.
const CHANGE_BYTES: usize = 5;

/// What a store begins with, so that an input leads to the same bytes each time: its secret is no random one.
const FORMAT: &[u8] = b"dallal store 1\nid k3f9\ngeneration 1\nclean no\nsecret 5ea15ea1\n";
const SECRET: FrameSecret = FrameSecret(0x5ea1_5ea1);

const LINES: FrameKind = FrameKind::Lines {
    qos: 1,
    retain: false,
};

/// The bits of the first byte of an input.
const AFTER_STOP: u8 = 1;
const RAW: u8 = 2;
const WHOLE: u8 = 4;
const SEALED: u8 = 8;
const GOES_ON: u8 = 16;
const STOPS: u8 = 32;

/// What a start has got of a store.
#[derive(Default, Debug, PartialEq, Eq)]
struct Entries {
    records: Vec<Vec<u8>>,
    /// Each with its first number.
    lines: Vec<(u64, Vec<u8>)>,
}

impl Apply for Entries {
    fn record(&mut self, record: &Record<'_>) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        self.records.push(bytes);
    }

    fn lines(&mut self, header: &FrameHeader, lines: &[u8]) {
        self.lines.push((header.first, lines.to_vec()));
    }
}

struct State;

impl SnapshotSource for State {
    fn oldest_needed(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn write(&self, snapshot: &mut SnapshotWriter) {
        (0..3).for_each(|n| snapshot.write(&retained(n)));
    }
}

/// Starts on any files, reads all of what it found, and starts again: after a kill, a stop, or more that was kept.
pub fn store(input: &[u8]) {
    let Some((&choice, changes)) = input.split_first() else {
        return;
    };
    let disk = match choice & RAW {
        0 => {
            let disk = sound(choice & AFTER_STOP != 0).killed();
            changes
                .chunks_exact(CHANGE_BYTES)
                .for_each(|it| change(&disk, it));
            disk
        }
        _ => raw(changes, choice & SEALED != 0),
    };
    let extent = if choice & WHOLE != 0 {
        Extent::All
    } else {
        Extent::Needed
    };
    let mut entries = Entries::default();
    let (store, found) = match open(&disk, extent, &mut entries) {
        Ok(opened) => opened,
        Err(StoreError::Newer(_)) => return,
        Err(err) => panic!("content is no reason not to start: {err}"),
    };
    let is_in_place = choice & RAW != 0 || !changes.chunks_exact(CHANGE_BYTES).any(moves);
    read(&store, &entries, changes, is_in_place);
    if choice & GOES_ON != 0 {
        go_on(&store, &mut entries);
    }
    let next = store.log().next();
    if choice & STOPS != 0 {
        store.close().expect("nothing fails on this disk");
    }
    drop(store);
    let mut again = Entries::default();
    let opened = open(&disk.killed(), extent, &mut again);
    let (store, found_again) = opened.expect("it did start");
    if extent == Extent::Needed {
        // That is what leads to the state; of messages it reads what lies there.
        entries.lines.clear();
        again.lines.clear();
    }
    assert_eq!(again, entries, "{found:?}\n{found_again:?}");
    assert_eq!(store.log().next(), next, "{found:?}\n{found_again:?}");
    read(&store, &entries, changes, is_in_place);
}

fn open(
    disk: &MemoryDisk,
    extent: Extent,
    entries: &mut Entries,
) -> Result<(Store, StoreFound), StoreError> {
    let disk = Arc::new(disk.clone());
    Store::open_extent(disk, None, SEGMENT_BYTES, extent, entries)
}

/// Keeps more, which has to be there after the next start.
fn go_on(store: &Store, entries: &mut Entries) {
    let record = retained(7);
    store.keep(&record).expect("there is room");
    entries.record(&record);
    let first = keep_lines(store, 2);
    let header = FrameHeader::new(LINES, first, 2);
    entries.lines(&header, b"m\nm\n");
}

/// All lines that a start has got are in the log under their numbers, unless a segment has another name than it had, and
/// other numbers lead to nothing else.
fn read(store: &Store, entries: &Entries, others: &[u8], is_in_place: bool) {
    let mut reader = LogReader::new(store.log());
    for (first, lines) in &entries.lines {
        let frame = reader.frame(*first).expect("nothing fails on this disk");
        match frame {
            Some(frame) => assert_eq!(frame.body, lines, "{first}"),
            None => assert!(!is_in_place, "{first} is not found"),
        }
    }
    for other in others.chunks_exact(CHANGE_BYTES) {
        let other = u64::from(other[0]) << (other[1] % 57);
        let frame = reader.frame(other).expect("nothing fails on this disk");
        if let Some(header) = frame.map(|frame| frame.header) {
            assert!((header.first..header.end()).contains(&other));
        }
        let _ = store.log().younger(other);
    }
}

/// A store with a snapshot and several segments, of a process that was stopped or killed.
fn sound(is_stopped: bool) -> MemoryDisk {
    let disk = MemoryDisk::default();
    put(&disk, "format", FORMAT);
    let opened = open(&disk, Extent::Needed, &mut Entries::default());
    let (store, _) = opened.expect("it is empty");
    for n in 0..24 {
        store.keep(&retained(n)).expect("there is room");
        keep_lines(&store, 1 + u32::from(n) % 3);
        if n % 4 == 1 {
            store.sync().expect("nothing fails on this disk");
        }
        if n % 10 == 3 {
            let made = store.make_snapshot(&State);
            made.expect("nothing fails on this disk");
        }
    }
    if is_stopped {
        store.close().expect("nothing fails on this disk");
    }
    disk
}

fn retained(number: u8) -> Record<'static> {
    const LINE: &[u8] = b"@retained MESSAGE topic something of some length\n";
    Record::Retained(RetainedRecord {
        line: &LINE[..LINE.len() - usize::from(number)],
        qos: number % 3,
        since_ms: 7,
        owner: b"ann",
    })
}

fn keep_lines(store: &Store, count: u32) -> u64 {
    let body = b"m\n".repeat(count as usize);
    let parts = [&body[..]];
    let frame = NewFrame::new(LINES, count, &parts);
    let bytes = frame.bytes();
    store.log().admit(bytes).expect("there is room");
    let first = store.append_lines(&[frame], bytes);
    first.expect("nothing fails on this disk")
}

/// Files with these bytes: a segment of the log, and a snapshot.
fn raw(bytes: &[u8], is_sealed: bool) -> MemoryDisk {
    let disk = MemoryDisk::default();
    let mut bytes = bytes.to_vec();
    if is_sealed {
        seal(&mut bytes, SECRET);
    }
    put(&disk, "log/00000000000000000001.log", &bytes);
    put(&disk, "state/00000000000000000001.snap", &bytes);
    disk
}

fn put(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    let file = disk.create(name).expect("nothing fails on this disk");
    write_all(&*file, &[bytes], 0).expect("nothing fails on this disk");
}

/// Whether a change gives a file another name.
fn moves(change: &[u8]) -> bool {
    change.first().is_some_and(|what| what % 8 == 5)
}

/// Makes one change: what, in which file, where, and how.
fn change(disk: &MemoryDisk, change: &[u8]) {
    let &[what, file, low, high, value] = change else {
        return;
    };
    let names = disk.all_names();
    let Some(name) = names.get(usize::from(file) % names.len().max(1)) else {
        return;
    };
    let at = usize::from(u16::from_le_bytes([low, high]));
    match what % 8 {
        4 => disk.lose(name),
        5 => {
            let number = match value % 3 {
                0 => u64::MAX - at as u64,
                _ => at as u64,
            };
            let to = match value % 2 {
                0 => format!("log/{number:020}.log"),
                _ => format!("state/{number:020}.snap"),
            };
            disk.rename(name, &to).expect("nothing fails on this disk");
        }
        _ => disk.damage(name, |bytes| {
            let at = at.min(bytes.len());
            match what % 8 {
                0 => bytes[at..].iter_mut().take(1).for_each(|it| *it ^= value),
                1 => bytes[at..].iter_mut().take(8).for_each(|it| *it = value),
                2 => bytes.truncate(at),
                3 => {
                    let zeros = 8 * usize::from(value);
                    bytes[at..].iter_mut().take(zeros).for_each(|it| *it = 0);
                }
                6 => seal(bytes, SECRET),
                _ => bytes.extend_from_within(at..bytes.len().min(at + 8 * usize::from(value))),
            }
        }),
    }
}
