//! The log of the program: bounded, and written by a thread of its own.
//!
//! Lines go into a buffer, and one thread writes them to an [`Output`]: no connection waits for what
//! reads the log. Lines that do not fit are left out, counted, and told later. So are lines that one
//! place of the code logs in large numbers, because clients may cause them. Nothing here knows what a
//! broker is.

mod output;

use std::collections::HashMap;
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use broker::{LogFormat, LogSettings};
use jiff::Timestamp;
use log::{Level, Log, Metadata, Record};
use parking_lot::{Condvar, Mutex};
use rustix::fs::fstat;
use serde::Serialize;

use output::Output;

/// Maximum bytes that wait to be written.
const BUFFER_BYTES: usize = 256 * 1024;

/// Maximum lines that one place of the code may log at once. One more follows every [`LINE_INTERVAL`].
const BURST: u32 = 1000;

const LINE_INTERVAL: Duration = Duration::from_millis(100);

/// What is logged if `RUST_LOG` does not say.
const USUAL_LEVEL: &str = "info";

/// The target of what the program itself says.
const PROGRAM: &str = "broker";

/// Interval at which the number of lines that were left out is logged.
const TELL: Duration = Duration::from_secs(10);

/// The log of this process.
#[derive(Clone, Default)]
pub(crate) struct Logging {
    buffer: Arc<LogBuffer>,
    format: LogFormat,
    is_file: bool,
}

/// Lines on their way to the output.
#[derive(Default)]
struct LogBuffer {
    lines: Mutex<Lines>,
    /// Signalled when there is something to do for the thread that writes, and when all is written at the end.
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    /// Whole lines.
    bytes: Vec<u8>,
    /// Lines for which there was no room.
    overflowed: u64,
    rates: HashMap<CallSite, LineRate>,
    /// How many of the bytes go to the old output, if it is to be opened anew.
    reopen_at: Option<usize>,
    is_closing: bool,
    is_written: bool,
}

/// A place of the code that logs: its module and its line.
type CallSite = (Option<&'static str>, Option<u32>);

/// How many lines one place may log now.
struct LineRate {
    room: u32,
    /// When `room` was last raised.
    raised: Instant,
    left_out: u64,
}

/// Passes records on if their place does not log too often.
struct BoundedLogger {
    inner: env_logger::Logger,
    buffer: Arc<LogBuffer>,
}

/// Takes the lines of [`env_logger`].
struct LineSink(Arc<LogBuffer>);

impl Logging {
    /// Makes this the log of the process. `RUST_LOG` and `RUST_LOG_STYLE` have their usual meaning. The error
    /// says what to do.
    pub(crate) fn start(settings: &LogSettings) -> Result<Self, String> {
        let mut output = match &settings.file {
            None => Output::standard_error().map_err(|why| format!("no standard error: {why}"))?,
            Some(path) => Output::open(path).map_err(|why| {
                format!(
                    "the log file {} cannot be opened: {why}; make its folder, let this user write there, or \
                     give another --log-file",
                    path.display()
                )
            })?,
        };
        let logging = Self {
            buffer: Arc::default(),
            format: settings.format,
            is_file: settings.file.is_some(),
        };
        let inner = logging.line_logger();
        let writing = logging.buffer.clone();
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writing.write_loop(&mut output, |text| log::warn!("{text}")))
            .map_err(|why| format!("no thread for the log: {why}"))?;
        log::set_max_level(inner.filter());
        let buffer = logging.buffer.clone();
        log::set_boxed_logger(Box::new(BoundedLogger { inner, buffer }))
            .map_err(|why| why.to_string())?;
        Ok(logging)
    }

    /// Makes lines of records, of those whose level is logged.
    fn line_logger(&self) -> env_logger::Logger {
        let has_colors = !self.is_file && has_colors();
        let environment = env_logger::Env::default()
            .default_filter_or(USUAL_LEVEL)
            .default_write_style_or(if has_colors { "always" } else { "never" });
        let mut builder = env_logger::Builder::from_env(environment);
        // Empty counts as unset, as with all variables.
        if env::var_os("RUST_LOG").is_some_and(|levels| levels.is_empty()) {
            builder.parse_filters(USUAL_LEVEL);
        }
        let journal = env::var_os("JOURNAL_STREAM");
        if self.format == LogFormat::Json {
            builder.format(|line, record| {
                line.write_all(&json_line(record.level(), record.target(), *record.args()))
            });
        } else if !self.is_file && is_stream(journal.as_deref(), io::stderr()) {
            builder.format_timestamp(None);
        }
        let sink = LineSink(self.buffer.clone());
        builder.target(env_logger::Target::Pipe(Box::new(sink)));
        builder.build()
    }

    /// Writes what the program says at any level of the log: as it is, or as one object of JSON.
    pub(crate) fn say(&self, text: fmt::Arguments<'_>) {
        self.push(Level::Info, text);
    }

    /// Writes why the program ends, also to standard error if the log is a file.
    pub(crate) fn say_failure(&self, why: fmt::Arguments<'_>) {
        self.push(Level::Error, why);
        if self.is_file {
            let _ = writeln!(io::stderr(), "{why}");
        }
    }

    fn push(&self, level: Level, text: fmt::Arguments<'_>) {
        let line = match self.format {
            LogFormat::Text => format!("{text}\n").into_bytes(),
            LogFormat::Json => {
                json_line(level, PROGRAM, format_args!("{}", text.to_string().trim()))
            }
        };
        self.buffer.push(&line);
    }

    /// Has the file of the log opened anew, if it is a file: what is logged from now on goes there. If it
    /// cannot be opened, the old one goes on, and a warning says why. Does not wait.
    pub(crate) fn reopen(&self) {
        let mut lines = self.buffer.lines.lock();
        lines.reopen_at = Some(lines.bytes.len());
        drop(lines);
        self.buffer.changed.notify_all();
    }

    /// Returns when everything is written, at the latest after `time`: what reads the log may have
    /// stopped reading.
    pub(crate) fn close(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let mut lines = self.buffer.lines.lock();
        lines.is_closing = true;
        self.buffer.changed.notify_all();
        while !lines.is_written
            && !self
                .buffer
                .changed
                .wait_until(&mut lines, deadline)
                .timed_out()
        {}
    }
}

/// Whether standard error is a terminal that shows colors.
fn has_colors() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// Whether `stream` is the one that the value of `JOURNAL_STREAM` names by its device and inode, so that the
/// journal of systemd reads it. The variable alone does not say so: a parent may have redirected the stream
/// and left the variable (systemd.exec(5)).
fn is_stream(journal: Option<&OsStr>, stream: impl AsFd) -> bool {
    let name = fstat(stream).map(|it| format!("{}:{}", it.st_dev, it.st_ino));
    name.is_ok_and(|name| journal.is_some_and(|journal| *journal == *name))
}

/// A line of the log in JSON.
#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    level: String,
    target: &'a str,
    message: fmt::Arguments<'a>,
}

fn json_line(level: Level, target: &str, message: fmt::Arguments<'_>) -> Vec<u8> {
    let line = JsonLine {
        time: format!("{:.3}", Timestamp::now()),
        level: level.as_str().to_ascii_lowercase(),
        target,
        message,
    };
    let mut line = serde_json::to_vec(&line).expect("texts are valid JSON");
    line.push(b'\n');
    line
}

impl LogBuffer {
    /// Adds whole lines, unless there is no room for them.
    fn push(&self, text: &[u8]) {
        let mut lines = self.lines.lock();
        if lines.bytes.len() + text.len() > BUFFER_BYTES {
            lines.overflowed += 1;
        } else {
            lines.bytes.extend_from_slice(text);
        }
        drop(lines);
        self.changed.notify_all();
    }

    /// Whether this place may log another line.
    fn allows(&self, place: CallSite, now: Instant) -> bool {
        let mut lines = self.lines.lock();
        let rate = lines.rates.entry(place).or_insert_with(|| LineRate {
            room: BURST,
            raised: now,
            left_out: 0,
        });
        rate.allows(now)
    }

    /// Writes lines until the log is closed. `tell` is given the sentences about what was left out, as
    /// long as there is something new, every [`TELL`] and at the end.
    fn write_loop(&self, output: &mut Output, mut tell: impl FnMut(String)) {
        let mut told = Instant::now();
        loop {
            let mut lines = self.lines.lock();
            while lines.bytes.is_empty() && lines.reopen_at.is_none() && !lines.is_closing {
                if !lines.has_left_out() && !output.has_unwritten() {
                    self.changed.wait(&mut lines);
                } else if self.changed.wait_until(&mut lines, told + TELL).timed_out() {
                    break;
                }
            }
            let bytes = mem::take(&mut lines.bytes);
            let reopen_at = lines.reopen_at.take();
            let mut left_out = Vec::new();
            if lines.is_closing || told.elapsed() >= TELL {
                told = Instant::now();
                left_out = lines.take_left_out();
                left_out.extend(output.take_unwritten());
            }
            if lines.is_closing && bytes.is_empty() && left_out.is_empty() {
                lines.is_written = true;
                self.changed.notify_all();
                return;
            }
            // Unlocked: the write may block for as long as the log is not read, and `tell` adds lines.
            drop(lines);
            let (before, after) = bytes.split_at(reopen_at.unwrap_or(bytes.len()));
            // A broker whose standard error is closed continues.
            output.write(before);
            if reopen_at.is_some()
                && let Err(why) = output.reopen()
            {
                tell(why);
            }
            output.write(after);
            left_out.into_iter().for_each(&mut tell);
        }
    }
}

impl Lines {
    fn has_left_out(&self) -> bool {
        self.overflowed > 0 || self.rates.values().any(|rate| rate.left_out > 0)
    }

    /// Sentences about the lines left out since the last call.
    fn take_left_out(&mut self) -> Vec<String> {
        let mut sentences = Vec::new();
        if let count @ 1.. = mem::take(&mut self.overflowed) {
            sentences.push(format!(
                "{count} lines of the log are left out: what reads it was too slow"
            ));
        }
        for ((module, line), rate) in &mut self.rates {
            if let count @ 1.. = mem::take(&mut rate.left_out) {
                sentences.push(format!(
                    "{count} more lines of {}:{} are left out: there were too many",
                    module.unwrap_or("?"),
                    line.unwrap_or(0)
                ));
            }
        }
        sentences
    }
}

impl LineRate {
    fn allows(&mut self, now: Instant) -> bool {
        let passed = now.duration_since(self.raised).as_nanos() / LINE_INTERVAL.as_nanos();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.raised += LINE_INTERVAL * passed;
        self.room = self.room.saturating_add(passed).min(BURST);
        let has_room = self.room > 0;
        if has_room {
            self.room -= 1;
        } else {
            self.left_out += 1;
        }
        has_room
    }
}

impl Log for BoundedLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let place = (record.module_path_static(), record.line());
        if self.inner.matches(record) && self.buffer.allows(place, Instant::now()) {
            self.inner.log(record);
        }
    }

    fn flush(&self) {}
}

impl Write for LineSink {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use super::*;

    #[test]
    fn one_place_logs_a_burst_and_then_one_line_an_interval() {
        let start = Instant::now();
        let mut rate = LineRate {
            room: BURST,
            raised: start,
            left_out: 0,
        };
        let mut allowed_at = |ms, lines: u32| {
            let now = start + Duration::from_millis(ms);
            (0..lines).filter(|_| rate.allows(now)).count()
        };
        assert_eq!(allowed_at(0, 2 * BURST), BURST as usize);
        assert_eq!(allowed_at(99, 5), 0);
        assert_eq!(allowed_at(100, 5), 1);
        assert_eq!(allowed_at(350, 5), 2);
        assert_eq!(allowed_at(1_000_000, 2 * BURST), BURST as usize);
        assert_eq!(rate.left_out, u64::from(2 * BURST) + 5 + 4 + 3);
    }

    #[test]
    fn places_do_not_share_their_lines() {
        let (buffer, now) = (LogBuffer::default(), Instant::now());
        let noisy = (Some("noisy"), Some(7));
        assert!((0..=BURST).any(|_| !buffer.allows(noisy, now)));
        assert!(buffer.allows((Some("noisy"), Some(8)), now));
        let sentences = buffer.lines.lock().take_left_out();
        assert_eq!(
            sentences,
            ["1 more lines of noisy:7 are left out: there were too many"]
        );
        assert!(!buffer.lines.lock().has_left_out());
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_and_the_rest_is_written_in_order() {
        let logging = Logging::default();
        let line = "x".repeat(BUFFER_BYTES / 2 - 1);
        logging.say(format_args!("{line}"));
        logging.say(format_args!("{line}"));
        logging.say(format_args!("left out"));
        let (mut reader, mut output) = output::tests::pipe();
        let writing = logging.clone();
        let writer = thread::spawn(move || {
            let told = writing.buffer.clone();
            let tell = |text: String| told.push(format!("{text}\n").as_bytes());
            writing.buffer.write_loop(&mut output, tell);
        });
        let closing = thread::spawn(move || logging.close(Duration::from_secs(10)));
        let mut written = String::new();
        reader.read_to_string(&mut written).expect("text");
        for thread in [writer, closing] {
            thread.join().expect("no panic");
        }
        let expected = format!(
            "{line}\n{line}\n1 lines of the log are left out: what reads it was too slow\n"
        );
        assert!(written == expected, "{}", written.len());
    }

    #[test]
    fn what_is_logged_after_a_reopening_was_asked_for_is_in_the_new_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut output = Output::open(&path).expect("a file");
        fs::rename(&path, &old).expect("it is there");
        let logging = Logging::default();
        logging.say(format_args!("before"));
        logging.reopen();
        logging.say(format_args!("after"));
        thread::scope(|scope| {
            scope.spawn(|| logging.buffer.write_loop(&mut output, |_| {}));
            logging.close(Duration::from_secs(10));
        });
        let texts = [old, path].map(|path| fs::read_to_string(path).expect("a file"));
        assert_eq!(texts, ["before\n", "after\n"]);
    }

    #[test]
    fn a_log_that_is_not_read_delays_the_end_for_a_limited_time() {
        let logging = Logging::default();
        logging.say(format_args!("no thread writes this"));
        let began = Instant::now();
        logging.close(Duration::from_millis(50));
        assert!(began.elapsed() >= Duration::from_millis(50));
    }
}
