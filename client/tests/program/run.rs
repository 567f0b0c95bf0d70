//! One run of the program.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::scripted::ScriptedBroker;

/// The program, started.
pub(crate) struct Run {
    child: Child,
    input: Option<ChildStdin>,
    out: BufReader<ChildStdout>,
    err: BufReader<ChildStderr>,
}

/// The exit code and output of a run.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

/// The program with these arguments, separated by spaces, and without variables of the environment.
pub(crate) fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("BROKER_")) {
        command.env_remove(name);
    }
    command.args(arguments.split(' '));
    // A folder that does not exist has no configuration file.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

/// The same for a broker.
pub(crate) fn command_for(broker: &ScriptedBroker, arguments: &str) -> Command {
    let mut command = command(arguments);
    command.env("BROKER_URL", broker.address().to_string());
    command
}

/// Runs to its end without any broker.
pub(crate) fn end(arguments: &str) -> Ended {
    Run::spawn(&mut command(arguments)).end()
}

impl Run {
    /// Starts the program for a broker.
    pub(crate) fn start(broker: &ScriptedBroker, arguments: &str) -> Self {
        Self::spawn(&mut command_for(broker, arguments))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built");
        Self {
            input: child.stdin.take(),
            out: BufReader::new(child.stdout.take().expect("it is piped")),
            err: BufReader::new(child.stderr.take().expect("it is piped")),
            child,
        }
    }

    /// Types something.
    pub(crate) fn input(&mut self, text: &[u8]) -> &mut Self {
        let input = self.input.as_mut().expect("it is open");
        input.write_all(text).expect("a reader");
        self
    }

    /// Ends its input.
    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// The next line on standard output, without its end.
    pub(crate) fn line(&mut self) -> String {
        line(&mut self.out)
    }

    /// The next line on standard error, without its end.
    pub(crate) fn said(&mut self) -> String {
        line(&mut self.err)
    }

    /// Closes the pipe, as `head` does.
    pub(crate) fn close_output(self) -> Closed {
        let Self {
            child, err, input, ..
        } = self;
        drop(input);
        Closed { child, err }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Ends its input and waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        self.input = None;
        let mut out = Vec::new();
        self.out.read_to_end(&mut out).expect("a pipe");
        let mut ended = wait(self.child, self.err);
        ended.out = out;
        ended
    }
}

/// A run whose standard output has no reader any more.
pub(crate) struct Closed {
    child: Child,
    err: BufReader<ChildStderr>,
}

impl Closed {
    pub(crate) fn end(self) -> Ended {
        wait(self.child, self.err)
    }
}

fn wait(mut child: Child, mut err: BufReader<ChildStderr>) -> Ended {
    let mut text = String::new();
    err.read_to_string(&mut text).expect("text");
    let status = child.wait().expect("a child");
    Ended {
        code: status.code(),
        signal: status.signal(),
        out: Vec::new(),
        err: text,
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("text");
    line.trim_end_matches('\n').to_owned()
}

impl Ended {
    /// Checks the exit code, and that standard error contains this text.
    pub(crate) fn expect(&self, code: i32, err: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(err), "{err:?} in {self:?}");
    }

    /// Checks that it ended as this signal asks for.
    pub(crate) fn expect_end_by(&self, signal: Signal) {
        let ended = match signal {
            Signal::INT => (Some(130), None),
            signal => (None, Some(signal.as_raw())),
        };
        assert_eq!((self.code, self.signal), ended, "{self:?}");
    }

    /// Checks the whole standard output.
    pub(crate) fn expect_out(&self, out: &str) {
        assert_eq!(String::from_utf8_lossy(&self.out), out, "{self:?}");
    }
}
