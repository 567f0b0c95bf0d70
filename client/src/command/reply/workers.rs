//! Runs commands in parallel, one for each request, up to a limit.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::exit::{Exit, Failure};
use crate::lines;
use crate::stderr::say;
use crate::waker::{self, WakeReceiver, Waker};

use super::request::{ReplyMessage, Request};

/// The exit status of a shell that cannot run a command.
const CANNOT_RUN: i32 = 126;

/// A shell adds this to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;

/// Threads that each run one command at a time.
#[derive(Debug)]
pub(super) struct Workers {
    size: usize,
    running: usize,
    requests: Sender<Request>,
    ended: WakeReceiver<Option<ReplyMessage>>,
}

impl Workers {
    pub(super) fn spawn(command: &OsStr, size: u64) -> Result<Self, Failure> {
        Self::start_threads(command, size as usize).map_err(|error| {
            let why = format_args!("cannot run that many commands at a time ({error})");
            Failure::new(Exit::Failed, "client", why)
        })
    }

    fn start_threads(command: &OsStr, size: usize) -> io::Result<Self> {
        let (requests, to_run) = mpsc::channel();
        let to_run = Arc::new(Mutex::new(to_run));
        let (waker, ended) = waker::channel()?;
        for _ in 0..size {
            let worker = Worker {
                command: command.to_owned(),
                requests: Arc::clone(&to_run),
                ended: waker.clone(),
            };
            let named = thread::Builder::new().name("command".to_owned());
            named.spawn(move || worker.work())?;
        }
        Ok(Self {
            size,
            running: 0,
            requests,
            ended,
        })
    }

    pub(super) fn has_room(&self) -> bool {
        self.running < self.size
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running == 0
    }

    /// Runs the command for a request.
    pub(super) fn start(&mut self, request: Request) {
        self.running += 1;
        let sent = self.requests.send(request);
        sent.expect("the threads go on until this sender is gone");
    }

    /// A command that has ended, with the answer if the request wants one.
    pub(super) fn next_ended(&mut self) -> Option<Option<ReplyMessage>> {
        let ended = self.ended.next()?;
        self.running -= 1;
        Some(ended)
    }
}

/// Readable when a command has ended.
impl AsFd for Workers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}

/// One of the threads.
struct Worker {
    command: OsString,
    requests: Arc<Mutex<Receiver<Request>>>,
    ended: Waker<Option<ReplyMessage>>,
}

impl Worker {
    fn work(self) {
        while let Some(request) = self.next() {
            if !self.ended.send(answer(&self.command, request)) {
                return;
            }
        }
    }

    fn next(&self) -> Option<Request> {
        let requests = self
            .requests
            .lock()
            .expect("no thread panics with the lock");
        requests.recv().ok()
    }
}

/// Runs the command; returns the answer if the request wants one.
fn answer(command: &OsStr, request: Request) -> Option<ReplyMessage> {
    let tell = |what: &dyn std::fmt::Display| {
        let (command, topic) = (command.display(), request.shown_topic());
        say(format_args!(
            "client: `{command}` {what} for a request on {topic}"
        ));
    };
    let (payload, error) = match run(command, &request) {
        Ok((payload, status)) => match error(status) {
            None => (payload, None),
            Some(code) => {
                tell(&format_args!("failed ({status})"));
                (payload, Some(code))
            }
        },
        Err(why) => {
            tell(&format_args!("could not be run ({why})"));
            (Vec::new(), Some(CANNOT_RUN))
        }
    };
    request.answer(payload, error)
}

/// The exit status as a shell reports it; `None` for success.
fn error(status: ExitStatus) -> Option<i32> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(code),
        (None, signal) => Some(SIGNALLED + signal.unwrap_or_default()),
    }
}

fn run(command: &OsStr, request: &Request) -> io::Result<(Vec<u8>, ExitStatus)> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command);
    shell.env("DALLAL_TOPIC", &request.topic);
    match &request.id {
        // An environment variable cannot contain a zero byte.
        Some(id) if !id.contains(&0) => shell.env("DALLAL_ID", OsStr::from_bytes(id)),
        _ => shell.env_remove("DALLAL_ID"),
    };
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let payload = exchange(&mut child, &request.payload);
    if payload.is_err() {
        // Its output is not read any more.
        let _ = child.kill();
    }
    let status = child.wait()?;
    Ok((payload?, status))
}

/// Writes the input and reads the output at the same time, because the command may do either first.
fn exchange(child: &mut Child, payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut input = child.stdin.take().expect("it is piped");
    let output = child.stdout.take().expect("it is piped");
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, move || {
            // A command may exit without reading its input.
            let _ = input.write_all(payload);
        })?;
        lines::read_whole(output)
    })
}

#[cfg(test)]
mod tests {
    use client::{Attributes, Escaped, ID, REPLY, Topic};

    use super::*;

    fn request(payload: &[u8], id: &[u8]) -> Request {
        let mut attributes = Attributes::default();
        attributes.push(REPLY, b"here").expect("a key");
        attributes.push(ID, id).expect("a key");
        let topic = Topic::parse("a/b").expect("a topic");
        Request::new(topic, &Escaped::escape(payload), &attributes)
    }

    fn check(command: &str, payload: &[u8], id: &[u8], output: &[u8], code: Option<i32>) {
        let ran = run(OsStr::new(command), &request(payload, id));
        let (came, status) = ran.expect("a shell");
        assert!(came == output, "{command}: {}", came.escape_ascii());
        assert_eq!(error(status), code, "{command}");
    }

    #[test]
    fn a_command_gets_the_payload_and_knows_which_request_it_is() {
        check("cat", b"x\0\ny", b"1", b"x\0\ny", None);
        let which = "printf '%s %s' \"$DALLAL_TOPIC\" \"${DALLAL_ID-none}\"";
        check(which, b"", b"7 up", b"a/b 7 up", None);
        check(which, b"", b"a\0b", b"a/b none", None);
    }

    #[test]
    fn a_command_that_fails_has_its_status_and_its_output() {
        check("echo half; exit 3", b"", b"1", b"half\n", Some(3));
        check("kill -KILL $$", b"", b"1", b"", Some(137));
        check(
            "exec no-such-program-here 2> /dev/null",
            b"",
            b"1",
            b"",
            Some(127),
        );
    }

    #[test]
    fn neither_side_waits_for_the_other_with_more_than_a_pipe_holds() {
        let payload = vec![b'x'; 1_000_000];
        check("cat", &payload, b"1", &payload, None);
        check("true", &payload, b"1", b"", None);
    }

    #[test]
    fn each_request_ends_once_and_wakes_once() {
        let mut workers = Workers::spawn(OsStr::new("cat"), 2).expect("two threads");
        for _ in 0..2 {
            assert!(workers.has_room());
            workers.start(request(b"x", b"1"));
        }
        assert!(!workers.has_room());
        let mut ended = 0;
        while !workers.is_idle() {
            ended += usize::from(workers.next_ended().is_some());
            thread::yield_now();
        }
        assert_eq!(ended, 2);
        assert!(workers.next_ended().is_none());
    }
}
