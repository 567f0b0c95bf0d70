//! A writing side for programs that take each send for one text.

use std::io::{self, IoSlice};

use crate::engine::outbox::Sink;

/// A sink that sends each line by itself, so that a program that reads one text at a time finds one.
pub(crate) struct LineByLine<S>(pub(crate) S);

impl<S: Sink> Sink for LineByLine<S> {
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut sent = 0;
        let mut lines = slices
            .iter()
            .flat_map(|slice| slice.split_inclusive(|&byte| byte == b'\n'));
        // After a part of a line, as after an error, the rest waits. The next call tells of an error again.
        loop {
            let Some(line) = lines.next() else {
                return Ok(sent);
            };
            match self.0.send(&[IoSlice::new(line)]) {
                Ok(len) if len == line.len() => sent += len,
                Ok(len) => return Ok(sent + len),
                Err(err) if sent == 0 => return Err(err),
                Err(_) => return Ok(sent),
            }
        }
    }

    fn ahead(&self) -> usize {
        self.0.ahead()
    }

    fn finish(&self) -> io::Result<bool> {
        self.0.finish()
    }

    fn arm(&self) -> io::Result<()> {
        self.0.arm()
    }

    fn end_reading(&self) {
        self.0.end_reading();
    }
}
