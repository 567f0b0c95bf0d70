//! The plain user interface: lines in and lines out, for pipes and scripts.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::line::ChatLine;
use super::ui::{ChatStatus, Ui};
use crate::lines::Lines;

/// Standard input and standard output.
#[derive(Debug)]
pub(crate) struct Plain {
    input: File,
    lines: Lines,
    has_ended: bool,
    out: BufWriter<File>,
    /// Whether the terminal echoes what is typed.
    is_echoed: bool,
}

impl Plain {
    pub(crate) fn new() -> io::Result<Self> {
        let file = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
        Ok(Self {
            input: file(io::stdin().as_fd())?,
            lines: Lines::new(),
            has_ended: false,
            out: BufWriter::new(file(io::stdout().as_fd())?),
            is_echoed: io::stdin().is_terminal(),
        })
    }
}

impl Ui for Plain {
    fn show(&mut self, line: ChatLine) -> io::Result<()> {
        if self.is_echoed && line.is_own() {
            return Ok(());
        }
        writeln!(self.out, "{line}")
    }

    fn refresh(&mut self, _status: &ChatStatus<'_>) -> io::Result<()> {
        self.out.flush()
    }

    fn input(&self, is_ready: bool) -> Option<BorrowedFd<'_>> {
        (is_ready && !self.has_ended).then(|| self.input.as_fd())
    }

    fn read(&mut self) -> io::Result<Vec<String>> {
        let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        let mut typed = Vec::new();
        self.has_ended = !self.lines.fill(&self.input)?;
        while let Some(line) = self.lines.next()? {
            typed.push(text(line));
        }
        if self.has_ended {
            typed.extend(self.lines.rest().map(text));
        }
        Ok(typed)
    }

    fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn is_impatient(&self) -> bool {
        false
    }
}
