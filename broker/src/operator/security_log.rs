//! The security log: one file of JSON lines, written by one thread that no other waits for.
//!
//! Only whole lines stay in a file. What cannot be written, as on a full disk, is kept and tried again every second;
//! meanwhile events wait in their line, and those beyond it are counted. Written lines are brought to the disk at most
//! once a second.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use protocol::is_harmless;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::engine::security_events::{EventLine, SecurityEvents, SecurityWork};

/// Mode of a file that is made here, for its owner and a group that reads logs.
const MODE: u32 = 0o640;

/// Interval at which what was written is brought to the disk.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Time after which writing is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Where the thread that writes gets another file.
#[derive(Default)]
pub(crate) struct SecurityLog {
    /// What the next look finds: a file, or none from then on.
    next: Mutex<Option<Option<SecurityFile>>>,
}

/// An open file of the log.
pub(crate) struct SecurityFile {
    file: File,
    path: PathBuf,
}

impl SecurityFile {
    /// Opens the file to append to it, and makes it if it is not there. The error says what to do.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let file = open_file(path).map_err(|why| {
            format!(
                "the security log {} cannot be opened: {why}; make its folder, let this user write there, or give \
                 another --security-log",
                path.display()
            )
        })?;
        let path = path.to_owned();
        Ok(Self { file, path })
    }
}

/// The same for one that may not be wanted.
pub(crate) fn open(path: Option<&Path>) -> Result<Option<SecurityFile>, String> {
    path.map(SecurityFile::open).transpose()
}

fn open_file(path: &Path) -> io::Result<File> {
    let options = |is_read| {
        let mut options = OpenOptions::new();
        options.append(true).create(true).read(is_read).mode(MODE);
        // Opening a pipe without a reader would wait for one, and a terminal would become the process's.
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        options
    };
    // Its last byte is read, if that may be.
    let mut file = match options(true).open(path) {
        Err(why) if why.kind() == io::ErrorKind::PermissionDenied => options(false).open(path)?,
        opened => opened?,
    };
    let mut last = [b'\n'];
    let is_torn = file.metadata()?.is_file()
        && file.seek(SeekFrom::End(-1)).is_ok()
        && file.read(&mut last).is_ok()
        && last != *b"\n";
    if is_torn {
        // A process that was killed has left it. If there is no room, the first line tells.
        let _ = file.write_all(b"\n");
    }
    Ok(file)
}

impl SecurityLog {
    /// From now on events go to this file, or none is made.
    pub(crate) fn replace(&self, file: Option<SecurityFile>, events: &SecurityEvents) {
        events.switch(file.is_some());
        *self.next.lock() = Some(file);
        events.reopen();
    }

    /// Writes events until they are closed.
    pub(crate) fn run(&self, events: &SecurityEvents) {
        let mut output = SecurityOutput::default();
        loop {
            let deadline = output.deadline();
            let SecurityWork {
                lines,
                is_to_reopen,
                is_closing,
            } = events.next(!output.has_unwritten(), deadline);
            if is_to_reopen {
                match self.next.lock().take() {
                    Some(file) => output.take(file),
                    None => output.reopen(),
                }
            }
            for line in lines {
                output.add(&line);
            }
            // At the end once more, however short ago it has failed.
            let patience = if is_closing {
                RETRY_INTERVAL
            } else {
                Duration::ZERO
            };
            events.written.add(output.write(Instant::now() + patience));
            if is_closing {
                let lost = output.end();
                events.lost.add(lost);
                return;
            }
            output.sync(Instant::now());
        }
    }
}

/// The file and what is on its way there.
#[derive(Default)]
struct SecurityOutput {
    open: Option<SecurityFile>,
    /// Whole lines, of which this many bytes are written.
    waiting: Vec<u8>,
    written: usize,
    /// When writing has failed last, if it has not succeeded since.
    failed: Option<Instant>,
    is_unsynced: bool,
    synced: Option<Instant>,
}

impl SecurityOutput {
    fn has_unwritten(&self) -> bool {
        self.written < self.waiting.len()
    }

    /// When there is something to do without new events.
    fn deadline(&self) -> Option<Instant> {
        let retry = self.failed.filter(|_| self.has_unwritten());
        let retry = retry.map(|failed| failed + RETRY_INTERVAL);
        let sync = self.synced.map(|synced| synced + SYNC_INTERVAL);
        let sync = sync.filter(|_| self.is_unsynced);
        retry.into_iter().chain(sync).min()
    }

    fn add(&mut self, line: &EventLine) {
        if self.open.is_some() {
            encode(&mut self.waiting, line);
        }
    }

    /// Goes on with another file. A line of which a part is written begins anew there, and its part is taken back.
    fn take(&mut self, next: Option<SecurityFile>) {
        self.sync_now();
        let begun = self.waiting[..self.written]
            .iter()
            .rposition(|&byte| byte == b'\n');
        let whole = begun.map_or(0, |end| end + 1);
        let torn = (self.written - whole) as u64;
        if let Some(SecurityFile { file, .. }) = self.open.as_ref().filter(|_| torn > 0) {
            let length = file.metadata().map_or(0, |data| data.len());
            let _ = file.set_len(length.saturating_sub(torn));
        }
        self.written = whole;
        if next.is_none() {
            (self.waiting, self.written) = (Vec::new(), 0);
        }
        self.open = next;
        // Tried at once, and told again if that fails.
        self.failed = None;
    }

    /// Opens the file at its path anew; the old one goes on if that fails.
    fn reopen(&mut self) {
        let Some(open) = &self.open else {
            return;
        };
        match SecurityFile::open(&open.path) {
            Ok(next) => self.take(Some(next)),
            Err(why) => log::warn!("{why}; the old file goes on"),
        }
    }

    /// Writes what waits, as far as it goes. Returns the number of lines that are whole now.
    fn write(&mut self, now: Instant) -> u64 {
        let is_early = self
            .failed
            .is_some_and(|failed| now < failed + RETRY_INTERVAL);
        let Some(SecurityFile { file, path }) = self.open.as_mut().filter(|_| !is_early) else {
            return 0;
        };
        let mut lines = 0;
        while self.written < self.waiting.len() {
            let why = match file.write(&self.waiting[self.written..]) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(count) => {
                    let done = &self.waiting[self.written..self.written + count];
                    lines += done.iter().filter(|&&byte| byte == b'\n').count() as u64;
                    self.written += count;
                    self.is_unsynced = true;
                    continue;
                }
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) => why,
            };
            if self.failed.is_none() {
                log::error!(
                    "the security log cannot be written to {}: {why}; it is tried again every second, and events \
                     that do not fit into memory are counted",
                    path.display()
                );
            }
            self.failed = Some(now);
            return lines;
        }
        if self.failed.take().is_some() {
            log::info!("the security log {} is written again", path.display());
        }
        (self.waiting, self.written) = (Vec::new(), 0);
        lines
    }

    /// Brings what was written to the disk, if it is time.
    fn sync(&mut self, now: Instant) {
        let is_early = self
            .synced
            .is_some_and(|synced| now < synced + SYNC_INTERVAL);
        if self.is_unsynced && !is_early {
            self.sync_now();
            self.synced = Some(now);
        }
    }

    fn sync_now(&mut self) {
        if let Some(SecurityFile { file, path }) = self.open.as_ref().filter(|_| self.is_unsynced)
            && let Err(why) = file.sync_data()
            // A pipe and a terminal have no disk.
            && why.kind() != io::ErrorKind::InvalidInput
        {
            log::error!(
                "the security log {} may not be on the disk: {why}",
                path.display()
            );
        }
        self.is_unsynced = false;
    }

    /// The last events have been tried. Returns the number of those that are lost.
    fn end(&mut self) -> u64 {
        self.sync_now();
        let unwritten = mem::take(&mut self.waiting).split_off(self.written);
        let lost = unwritten.iter().filter(|&&byte| byte == b'\n').count() as u64;
        if lost > 0 {
            log::error!("{lost} events are missing in the security log: they could not be written");
        }
        lost
    }
}

/// Adds a line. What commands a terminal or turns the direction of a text is a `\u` escape, also where JSON needs none.
fn encode(bytes: &mut Vec<u8>, line: &EventLine) {
    let mut serializer = Serializer::with_formatter(&mut *bytes, PrintableJson);
    line.serialize(&mut serializer)
        .expect("an event is valid JSON");
    bytes.push(b'\n');
}

struct PrintableJson;

impl Formatter for PrintableJson {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        to: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for letter in fragment.chars() {
            let (mut utf_8, mut utf_16) = ([0; 4], [0; 2]);
            match is_harmless(letter) {
                true => to.write_all(letter.encode_utf8(&mut utf_8).as_bytes())?,
                false => {
                    for unit in letter.encode_utf16(&mut utf_16) {
                        write!(to, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::*;
    use crate::engine::event_client::OrderGiver;
    use crate::engine::security_events::SecurityEvent;

    fn ended(client_id: &str) -> SecurityEvent {
        SecurityEvent::SessionEnded {
            giver: OrderGiver::PROCESS,
            client_id: client_id.to_owned(),
        }
    }

    fn lines(events: &SecurityEvents) -> Vec<EventLine> {
        events.next(true, Some(Instant::now())).lines
    }

    #[test]
    fn no_text_of_an_event_reaches_a_terminal_unescaped() {
        let events = SecurityEvents::default();
        events.switch(true);
        let text = "a\"\\\n\x1b[2J\x7f\u{9b}\u{202e}\u{2028}é\u{1f469}";
        events.note(|| ended(text));
        let mut bytes = Vec::new();
        encode(&mut bytes, &lines(&events)[0]);
        let line = str::from_utf8(&bytes).expect("text").trim_end();
        assert!(line.chars().all(is_harmless), "{line}");
        assert!(line.contains("\\u009b\\u202e\\u2028é\u{1f469}"), "{line}");
        let value: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(value["client_id"], text);
        assert_eq!(value["event"], "session_ended");
    }

    #[test]
    fn what_a_full_disk_does_not_take_goes_to_the_next_file_in_whole_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let (full, next) = (Path::new("/dev/full"), folder.path().join("next"));
        let events = SecurityEvents::default();
        events.switch(true);
        let mut output = SecurityOutput::default();
        output.take(SecurityFile::open(full).ok());
        for client_id in ["one", "two"] {
            events.note(|| ended(client_id));
        }
        for line in lines(&events) {
            output.add(&line);
        }
        let now = Instant::now();
        assert_eq!(output.write(now), 0);
        assert!(output.has_unwritten() && output.deadline() == Some(now + RETRY_INTERVAL));
        // As if the disk had taken a part of the second line.
        let first = output.waiting.iter().position(|&byte| byte == b'\n');
        output.written = first.expect("a line") + 5;
        fs::write(&next, "torn").expect("room");
        output.take(SecurityFile::open(&next).ok());
        assert_eq!(output.write(now), 1);
        assert!(!output.has_unwritten());
        let text = fs::read_to_string(&next).expect("text");
        let (torn, rest) = text.split_once('\n').expect("two lines");
        assert!(torn == "torn" && rest.contains("\"two\"") && rest.lines().count() == 1);
        assert_eq!(output.end(), 0);
    }
}
