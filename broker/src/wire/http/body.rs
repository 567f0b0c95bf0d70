//! The body of a request, read in pieces.

use std::ops::Range;
use std::time::{Duration, Instant};

use http::StatusCode;
use httparse::Status;
use memchr::memchr_iter;

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
    /// Bytes that further chunks may have.
    room: usize,
    /// Its maximum bytes.
    most: usize,
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
    /// A chunk with which the body has more than `most` bytes is refused before it has arrived.
    pub(crate) fn new(framing: Framing, most: usize, site: &'a Site) -> Self {
        let state = match framing {
            Framing::Length(0) => BodyState::Done,
            Framing::Length(length) => BodyState::Left(length),
            Framing::Chunked => BodyState::ChunkSize,
        };
        Self {
            site,
            place: None,
            state,
            room: most,
            most,
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
                BodyState::ChunkSize => {
                    let Some((len, size)) = chunk_size(unread)? else {
                        return Ok(Step::More);
                    };
                    let room = usize::try_from(size).ok();
                    let room = room.and_then(|size| self.room.checked_sub(size));
                    let Some(room) = room else {
                        return Err(BodyError::Refused(RequestRefusal::too_long(self.most)));
                    };
                    self.room = room;
                    buffer.consume(len);
                    self.state = match size {
                        0 => BodyState::Trailers,
                        _ => BodyState::ChunkLeft(size),
                    };
                }
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
                        Ok(Status::Complete((len, _))) if has_line_ends(&unread[..len]) => {
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

/// The length of the line with the size of a chunk, and the size; `None` if more bytes are needed. The
/// extensions mean nothing here, but their bytes decide where other readers see the end of the line (RFC
/// 9112 §7.1.1).
fn chunk_size(unread: &[u8]) -> Result<Option<(usize, u64)>, BodyError> {
    let end = unread
        .iter()
        .take(CHUNK_HEAD_BYTES)
        .position(|&byte| byte == b'\n');
    let (line, is_cut) = match end {
        Some(end) => (&unread[..=end], false),
        None => (unread, true),
    };
    let content = line.strip_suffix(b"\r\n");
    let content = content.or(is_cut.then(|| line.strip_suffix(b"\r").unwrap_or(line)));
    let is_good = content.is_some_and(|content| {
        let first = content.first();
        first.map_or(is_cut, u8::is_ascii_hexdigit)
            && content.len() < CHUNK_HEAD_BYTES
            && !content
                .iter()
                .any(|&byte| byte.is_ascii_control() && byte != b'\t')
    });
    match httparse::parse_chunk_size(line) {
        Ok(Status::Complete(size)) if is_good => Ok(Some(size)),
        Ok(Status::Partial) if is_good => Ok(None),
        _ => Err(bad_chunk()),
    }
}

/// Whether each line ends with CR LF, as all readers of a body understand it.
fn has_line_ends(lines: &[u8]) -> bool {
    memchr_iter(b'\n', lines).all(|at| lines[..at].ends_with(b"\r"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_with_the_size_of_a_chunk_has_only_what_all_readers_see_in_it() {
        for (line, size) in [
            ("2\r\n", 2),
            ("1a;x=y;z=\"\t q\"\r\n", 26),
            ("0\r\n", 0),
            ("A \t; x\r\n", 10),
        ] {
            for end in 0..line.len() {
                let cut = chunk_size(&line.as_bytes()[..end]);
                assert!(matches!(cut, Ok(None)), "{line:?} to {end}");
            }
            let whole = format!("{line}more\n");
            let came = chunk_size(whole.as_bytes()).expect("a size");
            assert_eq!(came, Some((line.len(), size)), "{line:?}");
        }
        for line in [
            "2\n",
            "2;\nxx\r\n",
            "2;a\rb\r\n",
            "2;a\0\r\n",
            "2;\x7f\r\n",
            "2;\x1b[",
            "\r\n",
            ";x\r\n",
            " 2\r\n",
            "g\r\n",
            "0x2\r\n",
            "-1\r\n",
            "2\r\r\n",
            "11111111111111111\r\n",
        ] {
            assert!(chunk_size(line.as_bytes()).is_err(), "{line:?}");
        }
        let long = format!("2;{}", "x".repeat(CHUNK_HEAD_BYTES));
        assert!(chunk_size(long.as_bytes()).is_err());
        assert!(chunk_size(format!("{long}\r\n").as_bytes()).is_err());
    }

    #[test]
    fn a_trailer_ends_as_all_readers_see_it() {
        assert!(has_line_ends(b"A: b\r\nC: d\r\n\r\n"));
        assert!(!has_line_ends(b"A: b\n\r\n"));
        assert!(!has_line_ends(b"\n"));
    }
}
