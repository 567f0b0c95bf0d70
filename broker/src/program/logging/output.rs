//! Where the log goes: standard error, or a file that can be opened anew.
//!
//! Only whole lines stay. What cannot be written, as on a full disk, is left out and counted; it is told once
//! writing succeeds again. Only the log's own thread waits here.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Mode of a file that is made here, for its owner and a group that reads logs.
const MODE: u32 = 0o640;

/// The one place where lines are written.
pub(super) struct Output {
    file: File,
    /// `None` for standard error.
    path: Option<PathBuf>,
    /// Lines that could not be written since they were last told.
    unwritten: u64,
    /// Why the last write failed, if it did.
    failure: Option<io::Error>,
    /// Whether the last line has no end.
    is_torn: bool,
}

impl Output {
    /// Standard error.
    pub(super) fn standard_error() -> io::Result<Self> {
        let stream = io::stderr().as_fd().try_clone_to_owned()?;
        Ok(Self::new(stream.into(), None))
    }

    /// A file, which is made if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::new(open(path)?, Some(path.to_owned())))
    }

    fn new(file: File, path: Option<PathBuf>) -> Self {
        Self {
            file,
            path,
            unwritten: 0,
            failure: None,
            is_torn: false,
        }
    }

    /// Opens the file at the path anew. Standard error stays, and the open file does if this fails.
    pub(super) fn reopen(&mut self) -> Result<(), String> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        self.file = open(path).map_err(|why| {
            let path = path.display();
            format!("the log goes on in the old file: {path} cannot be opened: {why}")
        })?;
        self.is_torn = false;
        Ok(())
    }

    /// Writes whole lines, or counts those that cannot be written.
    pub(super) fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let (written, result) = self.write_some(lines);
        let Err(why) = result else {
            self.failure = None;
            return;
        };
        let end = lines[..written].iter().rposition(|&byte| byte == b'\n');
        let whole = end.map_or(0, |end| end + 1);
        self.cut(written - whole);
        let left_out = lines[whole..].iter().filter(|&&byte| byte == b'\n');
        self.unwritten += left_out.count() as u64;
        if self.failure.is_none() {
            self.complain(&why);
        }
        self.failure = Some(why);
    }

    /// Whether there is something for [`Output::take_unwritten`] to tell.
    pub(super) fn has_unwritten(&self) -> bool {
        // What says so could not be written either while writing fails.
        self.unwritten > 0 && self.failure.is_none()
    }

    /// A sentence about the lines that could not be written since the last call.
    pub(super) fn take_unwritten(&mut self) -> Option<String> {
        self.has_unwritten().then(|| {
            let count = mem::take(&mut self.unwritten);
            format!("{count} lines of the log are left out: they could not be written")
        })
    }

    /// How many of the bytes are written, and why it ended there.
    fn write_some(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        if self.is_torn {
            if let Err(why) = self.file.write_all(b"\n") {
                return (written, Err(why));
            }
            self.is_torn = false;
        }
        while written < lines.len() {
            match self.file.write(&lines[written..]) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                // A reader that is slow is waited for, as if the stream were one that blocks.
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {
                    is_writable(self.file.as_fd(), None);
                }
                Err(why) => return (written, Err(why)),
            }
        }
        (written, Ok(()))
    }

    /// Takes back these bytes, which begin a line that could not be written to its end.
    fn cut(&mut self, torn: usize) {
        if torn == 0 {
            return;
        }
        // Only a file of the log's own: another writer of standard error may have written behind them.
        let is_cut = self.path.is_some()
            && self.file.metadata().is_ok_and(|file| {
                let length = file.len().saturating_sub(torn as u64);
                self.file.set_len(length).is_ok()
            });
        self.is_torn = !is_cut;
    }

    /// Tells on standard error that the file cannot be written to, unless that would wait.
    fn complain(&self, why: &io::Error) {
        let Some(path) = &self.path else {
            return;
        };
        let stream = io::stderr();
        if is_writable(stream.as_fd(), Some(&Timespec::default())) {
            let path = path.display();
            let text = format!(
                "broker: the log cannot be written to {path}: {why}; its lines are left out until it can be\n"
            );
            let _ = stream.lock().write_all(text.as_bytes());
        }
    }
}

/// Opens a file to append to it.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        // Opening a pipe without a reader would wait for one, and a terminal would become the process's.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// Waits until a stream takes bytes, for ever without a time.
fn is_writable(stream: BorrowedFd<'_>, time: Option<&Timespec>) -> bool {
    poll(
        &mut [PollFd::from_borrowed_fd(stream, PollFlags::OUT)],
        time,
    )
    .is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{PipeReader, Read};
    use std::os::fd::OwnedFd;
    use std::thread;

    use super::*;

    pub(in crate::program::logging) fn pipe() -> (PipeReader, Output) {
        let (reader, writer) = io::pipe().expect("a pipe");
        let file = OwnedFd::from(writer).into();
        (reader, Output::new(file, None))
    }

    #[test]
    fn lines_that_cannot_be_written_are_told_once_writing_succeeds() {
        let mut output = Output::open(Path::new("/dev/full")).expect("it can be opened");
        output.write(b"one\ntwo\n");
        output.write(b"three\n");
        assert_eq!(output.take_unwritten(), None);
        let (mut reader, writer) = io::pipe().expect("a pipe");
        output.file = OwnedFd::from(writer).into();
        output.write(b"four\n");
        let told = "3 lines of the log are left out: they could not be written";
        assert_eq!(output.take_unwritten().as_deref(), Some(told));
        assert_eq!(output.take_unwritten(), None);
        drop(output);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        assert_eq!(text, "four\n");
    }

    #[test]
    fn a_stream_that_does_not_block_is_waited_for() {
        let (mut reader, mut output) = pipe();
        rustix::io::ioctl_fionbio(&output.file, true).expect("a pipe has the mode");
        let lines = "a line\n".repeat(64 * 1024);
        let reading = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("text");
            text
        });
        output.write(lines.as_bytes());
        assert!(!output.has_unwritten() && output.failure.is_none());
        drop(output);
        assert!(reading.join().expect("it reads") == lines);
    }

    #[test]
    fn a_stream_without_a_reader_counts_lines_and_no_pieces_of_them() {
        let (reader, mut output) = pipe();
        drop(reader);
        output.write(b"one\ntwo\n");
        assert_eq!(output.unwritten, 2);
        assert!(output.failure.is_some());
    }
}
