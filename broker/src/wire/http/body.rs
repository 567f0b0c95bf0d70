//! The body of a request, piece by piece as it comes.

use std::ops::Range;
use std::time::{Duration, Instant};

use http::StatusCode;
use httparse::Status;

use super::request::{Framing, Refused};
use super::site::{Site, Unfinished};
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::wire::{Arrival, End, Source};

/// So much is read at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// A body may pause for so long.
const PAUSE: Duration = Duration::from_secs(30);

/// The longest line with the size of a chunk, and the longest trailers.
const CHUNK_HEAD_BYTES: usize = 1024;

/// What is still to come.
pub(crate) struct Body<'a> {
    site: &'a Site,
    /// Taken once more has to be waited for: what came with its head is not slow.
    place: Option<Unfinished<'a>>,
    state: State,
    /// Whether it may pause for longer.
    pub(crate) may_rest: bool,
    /// Bytes read so far, beyond those that came with the head.
    pub(crate) read: usize,
}

#[derive(Debug)]
enum State {
    Left(u64),
    ChunkSize,
    ChunkLeft(u64),
    ChunkEnd,
    Trailers,
    Done,
}

/// Why there is no more of it.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The client is to be told this.
    Refused(Refused),
    End(End),
}

impl<'a> Body<'a> {
    pub(crate) fn new(framing: Framing, site: &'a Site) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Left(length),
            Framing::Chunked => State::ChunkSize,
        };
        Self {
            site,
            place: None,
            state,
            may_rest: false,
            read: 0,
        }
    }

    /// Where in the block the next piece stands, until more is read; `None` at the end.
    pub(crate) fn next(
        &mut self,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
    ) -> Result<Option<Range<usize>>, Broken> {
        loop {
            match self.step(buffer)? {
                Step::Piece(piece) => return Ok(Some(piece)),
                Step::Done => return Ok(None),
                Step::More => {
                    if self.place.is_none() {
                        self.place = Some(self.site.begin().map_err(Broken::Refused)?);
                    }
                    self.fill(source, buffer)?;
                }
            }
        }
    }

    /// Takes what is there already.
    fn step(&mut self, buffer: &mut ReadBuffer) -> Result<Step, Broken> {
        loop {
            let unread = buffer.unread();
            match &mut self.state {
                State::Left(left) | State::ChunkLeft(left) => {
                    let len = unread
                        .len()
                        .min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if len == 0 {
                        return Ok(Step::More);
                    }
                    *left -= len as u64;
                    if *left == 0 {
                        self.state = match self.state {
                            State::ChunkLeft(_) => State::ChunkEnd,
                            _ => State::Done,
                        };
                    }
                    let start = buffer.start();
                    buffer.consume(len);
                    return Ok(Step::Piece(start..start + len));
                }
                State::ChunkSize => match httparse::parse_chunk_size(unread) {
                    Ok(Status::Complete((len, size))) => {
                        buffer.consume(len);
                        self.state = match size {
                            0 => State::Trailers,
                            _ => State::ChunkLeft(size),
                        };
                    }
                    Ok(Status::Partial) if unread.len() < CHUNK_HEAD_BYTES => {
                        return Ok(Step::More);
                    }
                    _ => return Err(bad_chunk()),
                },
                State::ChunkEnd => {
                    if unread.len() < 2 {
                        return Ok(Step::More);
                    }
                    if !unread.starts_with(b"\r\n") {
                        return Err(bad_chunk());
                    }
                    buffer.consume(2);
                    self.state = State::ChunkSize;
                }
                State::Trailers => {
                    let mut trailers = [httparse::EMPTY_HEADER; 16];
                    match httparse::parse_headers(unread, &mut trailers) {
                        Ok(Status::Complete((len, _))) => {
                            buffer.consume(len);
                            self.state = State::Done;
                        }
                        Ok(Status::Partial) if unread.len() < CHUNK_HEAD_BYTES => {
                            return Ok(Step::More);
                        }
                        _ => return Err(bad_chunk()),
                    }
                }
                State::Done => return Ok(Step::Done),
            }
        }
    }

    fn fill(&mut self, source: &mut impl Source, buffer: &mut ReadBuffer) -> Result<(), Broken> {
        let before = buffer.unread().len();
        loop {
            return match source.fill_by(buffer, PIECE_BYTES, Instant::now() + PAUSE) {
                Arrival::Bytes => {
                    self.read += buffer.unread().len() - before;
                    Ok(())
                }
                Arrival::NoMemory => Err(refused(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "there is no memory for more of this body now; try again later",
                )),
                Arrival::Pause => continue,
                Arrival::Silence if self.may_rest => continue,
                Arrival::Silence => Err(refused(
                    StatusCode::REQUEST_TIMEOUT,
                    "the rest of the body did not come in time",
                )),
                Arrival::End => Err(Broken::End(End::Left)),
                Arrival::Stopping => Err(Broken::End(End::Stopping)),
                Arrival::Failed(err) => Err(Broken::End(err.into())),
            };
        }
    }
}

enum Step {
    Piece(Range<usize>),
    More,
    Done,
}

fn bad_chunk() -> Broken {
    refused(
        StatusCode::BAD_REQUEST,
        "the body is not in chunks as its header says",
    )
}

fn refused(status: StatusCode, text: &str) -> Broken {
    Broken::Refused(Refused::new(status, text))
}
