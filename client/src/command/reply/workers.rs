//! Runs commands in parallel, one for each request, up to a limit. No command outlives them: each
//! has a process group of its own, which is ended with the program.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use client::Interrupt;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::exit::{Exit, Failure};
use crate::lines;
use crate::stderr::say;
use crate::waker::{self, WakeReceiver, Waker};

use super::request::{ReplyMessage, Request};

/// The exit status of a shell that cannot run a command.
const CANNOT_RUN: i32 = 126;

/// A shell adds this to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;

/// How long commands have between SIGTERM and SIGKILL. The program itself ends soon afterwards.
const COMMAND_GRACE: Duration = Duration::from_secs(1);

/// What the threads report.
#[derive(Debug)]
enum WorkerEvent {
    /// A command has ended, with the answer if the request wants one.
    Ended(Option<ReplyMessage>),
    /// The program is to end.
    Stop,
}

/// The process groups of the commands that run.
#[derive(Debug, Default)]
struct RunningCommands {
    state: Mutex<CommandState>,
    /// Notified when a command has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct CommandState {
    is_stopping: bool,
    groups: Vec<Pid>,
}

impl RunningCommands {
    /// Starts a command in a process group of its own; fails once the program is to end.
    fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // Under the lock, so that `stop` sees either the command or that it was not started.
        let mut state = self.state.lock().expect("no thread panics with the lock");
        if state.is_stopping {
            return Err(io::Error::other("the responder is stopping"));
        }
        let child = command.process_group(0).spawn()?;
        state.groups.push(Pid::from_child(&child));
        Ok(child)
    }

    /// Waits for the end of a command.
    fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let pid = Pid::from_child(child);
        // Its number is not free for another process before it is taken off the list.
        let id = WaitId::Pid(pid);
        let until_ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(id.clone(), until_ended), Err(Errno::INTR)) {}
        let mut state = self.state.lock().expect("no thread panics with the lock");
        state.groups.retain(|group| *group != pid);
        self.ended.notify_all();
        child.wait()
    }

    /// Starts no more commands, and ends those that run.
    fn stop(&self) {
        let mut state = self.state.lock().expect("no thread panics with the lock");
        state.is_stopping = true;
        end_all(&state.groups, Signal::TERM);
        let is_running = |state: &mut CommandState| !state.groups.is_empty();
        let waited = self
            .ended
            .wait_timeout_while(state, COMMAND_GRACE, is_running);
        let (state, _) = waited.expect("no thread panics with the lock");
        end_all(&state.groups, Signal::KILL);
    }
}

fn end_all(groups: &[Pid], signal: Signal) {
    for group in groups {
        // It fails only if all of its processes have ended.
        let _ = kill_process_group(*group, signal);
    }
}

/// Threads that each run one command at a time.
#[derive(Debug)]
pub(super) struct Workers {
    size: usize,
    running: usize,
    is_stopping: bool,
    requests: Sender<Request>,
    events: WakeReceiver<WorkerEvent>,
    commands: Arc<RunningCommands>,
}

impl Workers {
    /// `interrupt` ends the commands.
    pub(super) fn spawn(
        command: &OsStr,
        size: u64,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        Self::start_threads(command, size as usize, interrupt).map_err(|error| {
            let why = format_args!("cannot run that many commands at a time ({error})");
            Failure::new(Exit::Failed, "client", why)
        })
    }

    fn start_threads(command: &OsStr, size: usize, interrupt: &Interrupt) -> io::Result<Self> {
        let (requests, to_run) = mpsc::channel();
        let to_run = Arc::new(Mutex::new(to_run));
        let (waker, events) = waker::channel()?;
        let commands = Arc::new(RunningCommands::default());
        for _ in 0..size {
            let worker = Worker {
                command: command.to_owned(),
                requests: Arc::clone(&to_run),
                events: waker.clone(),
                commands: Arc::clone(&commands),
            };
            let named = thread::Builder::new().name("command".to_owned());
            named.spawn(move || worker.work())?;
        }
        let (interrupt, to_stop) = (interrupt.clone(), Arc::clone(&commands));
        let named = thread::Builder::new().name("stop".to_owned());
        named.spawn(move || {
            interrupt.wait(Duration::MAX);
            waker.send(WorkerEvent::Stop);
            to_stop.stop();
        })?;
        Ok(Self {
            size,
            running: 0,
            is_stopping: false,
            requests,
            events,
            commands,
        })
    }

    pub(super) fn has_room(&self) -> bool {
        self.running < self.size && !self.is_stopping
    }

    /// Whether the program is to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
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
        loop {
            match self.events.next()? {
                WorkerEvent::Ended(answer) => {
                    self.running -= 1;
                    return Some(answer);
                }
                WorkerEvent::Stop => self.is_stopping = true,
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.commands.stop();
    }
}

/// Readable when a command has ended, or the program is to end.
impl AsFd for Workers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// One of the threads.
struct Worker {
    command: OsString,
    requests: Arc<Mutex<Receiver<Request>>>,
    events: Waker<WorkerEvent>,
    commands: Arc<RunningCommands>,
}

impl Worker {
    fn work(self) {
        while let Some(request) = self.next() {
            let answer = answer(&self.command, request, &self.commands);
            if !self.events.send(WorkerEvent::Ended(answer)) {
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
fn answer(command: &OsStr, request: Request, commands: &RunningCommands) -> Option<ReplyMessage> {
    let tell = |what: &dyn std::fmt::Display| {
        let (command, topic) = (command.display(), request.shown_topic());
        say(format_args!(
            "client: `{command}` {what} for a request on {topic}"
        ));
    };
    let (payload, error) = match run(command, &request, commands) {
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

fn run(
    command: &OsStr,
    request: &Request,
    commands: &RunningCommands,
) -> io::Result<(Vec<u8>, ExitStatus)> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command);
    shell.env("DALLAL_TOPIC", &request.topic);
    match &request.id {
        // An environment variable cannot contain a zero byte.
        Some(id) if !id.contains(&0) => shell.env("DALLAL_ID", OsStr::from_bytes(id)),
        _ => shell.env_remove("DALLAL_ID"),
    };
    shell.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = commands.spawn(&mut shell)?;
    let payload = exchange(&mut child, &request.payload);
    if payload.is_err() {
        // Its output is not read any more.
        let _ = child.kill();
    }
    let status = commands.wait(&mut child)?;
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
        let commands = RunningCommands::default();
        let ran = run(OsStr::new(command), &request(payload, id), &commands);
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
        let interrupt = Interrupt::new().expect("a pipe");
        let workers = Workers::spawn(OsStr::new("cat"), 2, &interrupt);
        let mut workers = workers.expect("two threads");
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
