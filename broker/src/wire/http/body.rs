//! The body of a request, read in pieces.

use std::ops::Range;
use std::time::{Duration, Instant};

use http::StatusCode;
use httparse::Status;

use super::request::{Framing, RequestRefusal};
use super::site::{Site, Unfinished};
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::wire::end::End;
use crate::wire::source::{Arrival, Source};

/// Maximum bytes of a piece.
const PIECE_BYTES: usize = 64 * 1024;

/// Maximum pause in a body.
const PAUSE: Duration = Duration::from_secs(30);

/// Maximum bytes of the line with the size of a chunk, and of the trailers.
const CHUNK_HEAD_BYTES: usize = 1024;

/// The rest of a body.
pub(crate) struct RequestBody<'a> {
    site: &'a Site,
    /// Taken when the client must be waited for: a body that arrived with its head is not slow.
    place: Option<Unfinished<'a>>,
    state: BodyState,
    /// Whether longer pauses are allowed.
    pub(crate) may_rest: bool,
    /// Bytes read so far, beyond those that arrived with the head.
    pub(crate) read: usize,
}

#[derive(Debug)]
enum BodyState {
    Left(u64),
    ChunkSize,
    ChunkLeft(u64),
    ChunkEnd,
    Trailers,
    Done,
}

/// Why the body ends early.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The client must be sent this answer.
    Refused(RequestRefusal),
    End(End),
}

impl<'a> RequestBody<'a> {
    pub(crate) fn new(framing: Framing, site: &'a Site) -> Self {
        let state = match framing {
            Framing::Length(0) => BodyState::Done,
            Framing::Length(length) => BodyState::Left(length),
            Framing::Chunked => BodyState::ChunkSize,
        };
        Self {
            site,
            place: None,
            state,
            may_rest: false,
            read: 0,
        }
    }

    /// The range of the next piece in the buffer, valid until more is read; `None` at the end.
    pub(crate) fn next(
        &mut self,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
    ) -> Result<Option<Range<usize>>, BodyError> {
        loop {
            match self.step(buffer)? {
                Step::Piece(piece) => return Ok(Some(piece)),
                Step::Done => return Ok(None),
                Step::More => {
                    if self.place.is_none() {
                        self.place = Some(self.site.begin().map_err(BodyError::Refused)?);
                    }
                    self.fill(source, buffer)?;
                }
            }
        }
    }

    /// Takes bytes that have arrived already.
    fn step(&mut self, buffer: &mut ReadBuffer) -> Result<Step, BodyError> {
        loop {
            let unread = buffer.unread();
            match &mut self.state {
                BodyState::Left(left) | BodyState::ChunkLeft(left) => {
                    let len = unread
                        .len()
                        .min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if len == 0 {
                        return Ok(Step::More);
                    }
                    *left -= len as u64;
                    if *left == 0 {
                        self.state = match self.state {
                            BodyState::ChunkLeft(_) => BodyState::ChunkEnd,
                            _ => BodyState::Done,
                        };
                    }
                    let start = buffer.start();
                    buffer.consume(len);
                    return Ok(Step::Piece(start..start + len));
                }
                BodyState::ChunkSize => match httparse::parse_chunk_size(unread) {
                    Ok(Status::Complete((len, size))) => {
                        buffer.consume(len);
                        self.state = match size {
                            0 => BodyState::Trailers,
                            _ => BodyState::ChunkLeft(size),
                        };
                    }
                    Ok(Status::Partial) if unread.len() < CHUNK_HEAD_BYTES => {
                        return Ok(Step::More);
                    }
                    _ => return Err(bad_chunk()),
                },
                BodyState::ChunkEnd => {
                    if unread.len() < 2 {
                        return Ok(Step::More);
                    }
                    if !unread.starts_with(b"\r\n") {
                        return Err(bad_chunk());
                    }
                    buffer.consume(2);
                    self.state = BodyState::ChunkSize;
                }
                BodyState::Trailers => {
                    let mut trailers = [httparse::EMPTY_HEADER; 16];
                    match httparse::parse_headers(unread, &mut trailers) {
                        Ok(Status::Complete((len, _))) => {
                            buffer.consume(len);
                            self.state = BodyState::Done;
                        }
                        Ok(Status::Partial) if unread.len() < CHUNK_HEAD_BYTES => {
                            return Ok(Step::More);
                        }
                        _ => return Err(bad_chunk()),
                    }
                }
                BodyState::Done => return Ok(Step::Done),
            }
        }
    }

    fn fill(&mut self, source: &mut impl Source, buffer: &mut ReadBuffer) -> Result<(), BodyError> {
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
                Arrival::End => Err(BodyError::End(End::Left)),
                Arrival::Stopping => Err(BodyError::End(End::Stopping)),
                Arrival::Failed(err) => Err(BodyError::End(err.into())),
            };
        }
    }
}

enum Step {
    Piece(Range<usize>),
    More,
    Done,
}

fn bad_chunk() -> BodyError {
    refused(
        StatusCode::BAD_REQUEST,
        "the body is not chunked as its header says",
    )
}

fn refused(status: StatusCode, text: &str) -> BodyError {
    BodyError::Refused(RequestRefusal::new(status, text))
}
