//! A program that runs beside the test: what it says is collected, and it does not outlive its test.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    out: Collector,
    err: Collector,
    /// How much of `out` has been taken by [`Process::next_line`].
    taken: usize,
}

impl Process {
    /// Starts a program with all three streams connected to the test.
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|err| panic!("{name} cannot be started: {err}"));
        Self {
            stdin: child.stdin.take(),
            out: Collector::start(child.stdout.take().expect("stdout is a pipe")),
            err: Collector::start(child.stderr.take().expect("stderr is a pipe")),
            taken: 0,
            child,
            name,
        }
    }

    /// Writes to its standard input.
    #[track_caller]
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        if let Err(err) = stdin.write_all(bytes.as_ref()) {
            panic!("{} does not read: {err}{}", self.name, self.complaint());
        }
        self
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) -> &mut Self {
        self.stdin = None;
        self
    }

    /// The next line of its standard output.
    #[track_caller]
    pub fn next_line(&mut self) -> String {
        let Some(line) = self.out.line(self.taken) else {
            panic!("{} said nothing more{}", self.name, self.complaint());
        };
        self.taken += line.len() + 1;
        String::from_utf8_lossy(&line).into_owned()
    }

    /// Takes lines of its standard output up to one that has `text` in it.
    #[track_caller]
    pub fn wait_for_line(&mut self, text: &str) -> &mut Self {
        while !self.next_line().contains(text) {}
        self
    }

    /// Takes the next line of its standard output, which has to be this.
    #[track_caller]
    pub fn expect(&mut self, line: &str) -> &mut Self {
        assert_eq!(self.next_line(), line, "said by {}", self.name);
        self
    }

    /// Waits for its end and returns the rest of its standard output, behind the lines that were taken.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        let taken = self.taken;
        let (_, out, _) = self.end();
        String::from_utf8_lossy(out.get(taken..).unwrap_or_default()).into_owned()
    }

    /// Waits until its standard error holds `text`.
    #[track_caller]
    pub fn wait_for_complaint(&self, text: &str) {
        let found = self.err.wait_for(text);
        assert!(
            found,
            "{} did not say {text:?}{}",
            self.name,
            self.complaint()
        );
    }

    /// Waits until its standard error, whole, is as wanted.
    #[track_caller]
    pub fn wait_for_complaints(&self, wanted: impl Fn(&str) -> bool) {
        let found = self
            .err
            .wait(|collected| wanted(&String::from_utf8_lossy(&collected.bytes)).then_some(()));
        assert!(
            found.is_some(),
            "{} did not say what is wanted{}",
            self.name,
            self.complaint()
        );
    }

    /// Its standard error so far.
    pub fn complaints(&self) -> String {
        String::from_utf8_lossy(&self.err.so_far()).into_owned()
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a process of ours takes signals");
    }

    /// Waits for its end and returns its exit status, standard output and standard error.
    #[track_caller]
    pub fn end(&mut self) -> (ExitStatus, Vec<u8>, String) {
        self.stdin = None;
        let (out, err) = (self.out.whole(), self.err.whole());
        let (Some(out), Some(err)) = (out, err) else {
            panic!("{} does not end{}", self.name, self.complaint());
        };
        let status = self.child.wait().expect("a child can be waited for");
        (status, out, String::from_utf8_lossy(&err).into_owned())
    }

    fn complaint(&self) -> String {
        match self.complaints() {
            nothing if nothing.is_empty() => String::new(),
            complaints => format!("; its standard error:\n{complaints}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end, which has to be this exit code; its output and its complaint.
#[track_caller]
pub fn ended(command: &mut Command, code: i32) -> (String, String) {
    let (status, out, err) = Process::start(command).end();
    let out = String::from_utf8_lossy(&out).into_owned();
    assert_eq!(status.code(), Some(code), "{command:?}: {out}{err}");
    (out, err)
}

/// Runs a command with its own standard input to its end; its exit code, output and errors.
pub fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("it runs");
    let [out, err] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text"));
    (output.status.code(), out, err)
}

/// Reads a stream to its end on a thread of its own, so that the program never waits for us.
#[derive(Clone, Debug)]
struct Collector(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Debug, Default)]
struct Collected {
    bytes: Vec<u8>,
    ended: bool,
}

impl Collector {
    fn start(mut stream: impl Read + Send + 'static) -> Self {
        let collector = Self(Arc::default());
        let shared = collector.clone();
        thread::spawn(move || {
            let mut chunk = [0; 16 * 1024];
            loop {
                let count = stream.read(&mut chunk).unwrap_or(0);
                let (collected, changed) = &*shared.0;
                let mut collected = collected.lock().expect("no thread panics with the lock");
                collected.bytes.extend_from_slice(&chunk[..count]);
                collected.ended = count == 0;
                changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        collector
    }

    /// Waits until `find` finds something, the stream ends, or patience does.
    fn wait<T>(&self, mut find: impl FnMut(&Collected) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let (collected, changed) = &*self.0;
        let mut collected = collected.lock().expect("no thread panics with the lock");
        loop {
            if let Some(found) = find(&collected) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if collected.ended || left.is_zero() {
                return None;
            }
            let (again, _) = changed
                .wait_timeout(collected, left)
                .expect("no thread panics with the lock");
            collected = again;
        }
    }

    fn line(&self, start: usize) -> Option<Vec<u8>> {
        self.wait(|collected| {
            let rest = &collected.bytes[start..];
            let end = rest.iter().position(|&byte| byte == b'\n')?;
            Some(rest[..end].to_vec())
        })
    }

    fn wait_for(&self, text: &str) -> bool {
        let mut searched = 0;
        let found = self.wait(|collected| {
            let found = collected.bytes[searched..]
                .windows(text.len())
                .any(|window| window == text.as_bytes());
            searched = collected.bytes.len().saturating_sub(text.len());
            found.then_some(())
        });
        found.is_some()
    }

    fn whole(&self) -> Option<Vec<u8>> {
        self.wait(|collected| collected.ended.then(|| collected.bytes.clone()))
    }

    fn so_far(&self) -> Vec<u8> {
        let (collected, _) = &*self.0;
        let collected = collected.lock().expect("no thread panics with the lock");
        collected.bytes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_can_be_read_line_by_line_and_whole() {
        let mut cat = Process::start(&mut Command::new("cat"));
        cat.write("one\ntwo\n").expect("one").expect("two");
        let (status, out, err) = cat.write("three").end();
        assert!(status.success());
        assert_eq!((&out[..], &err[..]), (&b"one\ntwo\nthree"[..], ""));
    }
}
