//! Ends a command on a signal, or when the reader of its output is gone.
//!
//! After SIGINT the exit code is 130. After SIGTERM, with which services are stopped, and SIGHUP the
//! program ends by that signal, once it has tidied up.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use client::{Error, Interrupt};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::exit::{Exit, Failure, Stop};

/// How long a command may take to end after a signal. It may block on a pipe without a reader.
const GRACE: Duration = Duration::from_secs(2);

/// The signal that came; 0 for none.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Ends the program by the signal that it has received, if that is one to end by.
pub(crate) fn end_by_signal() {
    let signal = RECEIVED.load(Ordering::Relaxed);
    if [SIGTERM, SIGHUP].contains(&signal) {
        // It fails only for a signal that cannot be received.
        let _ = emulate_default_handler(signal);
    }
}

/// Whether SIGHUP is ignored, as `nohup` asks for. Watching would end that.
fn is_hang_up_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = |line: &str| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok();
    let mask = status.lines().find_map(mask);
    mask.is_some_and(|mask| mask & 1 << (SIGHUP - 1) != 0)
}

/// Watches signals and standard output for the whole run.
#[derive(Clone, Debug)]
pub(crate) struct Interruption {
    interrupt: Interrupt,
    is_reader_gone: Arc<AtomicBool>,
}

impl Interruption {
    /// Starts to watch for SIGINT, SIGTERM and SIGHUP.
    pub(crate) fn watch() -> Result<Self, Failure> {
        Self::start().map_err(|error| {
            let why = format_args!("cannot watch for signals ({error})");
            Failure::new(Exit::Failed, "client", why)
        })
    }

    fn start() -> io::Result<Self> {
        let interrupt = Interrupt::new()?;
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        if !is_hang_up_ignored() {
            signals.add_signal(SIGHUP)?;
        }
        let raised = interrupt.clone();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    RECEIVED.store(signal, Ordering::Relaxed);
                    raised.raise();
                    thread::sleep(GRACE);
                    end_by_signal();
                    process::exit(Exit::Interrupted as i32);
                }
            })?;
        Ok(Self {
            interrupt,
            is_reader_gone: Arc::default(),
        })
    }

    /// Also watches for the end of a pipe on standard output. Otherwise a command that prints
    /// rarely would run on without a reader until its next line.
    pub(crate) fn watch_output(&self) -> Result<(), Failure> {
        let this = self.clone();
        thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || {
                wait_for_hang_up(io::stdout());
                this.is_reader_gone.store(true, Ordering::Release);
                this.interrupt.raise();
            })
            .map(drop)
            .map_err(|error| Failure::new(Exit::Failed, "client", error))
    }

    /// The interrupt that ends every wait.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// The result of a command that was stopped while it did `what`.
    pub(crate) fn end(&self, stop: Stop, what: &str) -> Result<Exit, Failure> {
        match stop {
            Stop::Connection(Error::Interrupted) if self.is_reader_gone() => Ok(Exit::Done),
            Stop::Connection(Error::Interrupted) => Ok(Exit::Interrupted),
            Stop::Connection(error) => Err(Failure::of(&error, what)),
            Stop::Output(error) => Err(Failure::of_output(&error)),
        }
    }

    fn is_reader_gone(&self) -> bool {
        self.is_reader_gone.load(Ordering::Acquire)
    }
}

/// Waits until one of `inputs` is readable, at most for `timeout`; returns which of them are.
pub(crate) fn wait_for_any<const N: usize>(
    inputs: [Option<BorrowedFd<'_>>; N],
    timeout: Option<Duration>,
    interrupt: &Interrupt,
) -> Result<[bool; N], Stop> {
    let mut fds = vec![PollFd::new(interrupt, PollFlags::IN)];
    let given = inputs.iter().flatten();
    fds.extend(given.map(|input| PollFd::from_borrowed_fd(*input, PollFlags::IN)));
    // A time that the system call cannot represent means no timeout.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match rustix::event::poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(io::Error::from(error).into()),
    }
    if interrupt.is_raised() {
        return Err(Error::Interrupted.into());
    }
    let mut is_ready = fds[1..].iter().map(|fd| !fd.revents().is_empty());
    Ok(inputs.map(|input| input.is_some() && is_ready.next() == Some(true)))
}

/// Returns on an error or hang-up, which a poll reports even without requested events. Never
/// returns for a file or a terminal.
fn wait_for_hang_up(output: impl AsFd) {
    loop {
        match rustix::event::poll(&mut [PollFd::new(&output, PollFlags::empty())], None) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return,
            // Without a poll the next write reports the end.
            Err(_) => loop {
                thread::park();
            },
        }
    }
}
