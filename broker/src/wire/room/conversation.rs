//! One member over TCP.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::members::{NotSaid, Room};
use super::reader::{TEXT_BYTES, TextReader, TextStep};
use super::text;
use super::writer::ENCODER;
use crate::engine::client::{Answers, Client};
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::wire::close::Finished;
use crate::wire::detect::detect;
use crate::wire::end::End;
use crate::wire::http;
use crate::wire::protocols::Protocol;
use crate::wire::source::{Arrival, Source, take_limits};

/// How long a text without a line end waits for more.
const PAUSE: Duration = Duration::from_millis(50);

/// The conversation with one client.
struct RoomConversation<'a, 'b> {
    room: &'a Room,
    client: &'a mut Client<'b>,
    reader: TextReader,
    /// None until the client has said it.
    nick: Option<Box<str>>,
    /// The first bytes, until it is certain that they are no HTTP.
    first: Option<Vec<u8>>,
    /// Unread bytes that have been looked at.
    seen: usize,
}

/// Serves a client of a room until the conversation has ended.
// Out of line: inlined, its locals would lie on the stack of every idle connection.
#[inline(never)]
pub(crate) fn serve(
    client: &mut Client<'_>,
    source: &mut impl Source,
    buffer: &mut ReadBuffer,
    room: &Room,
) -> Finished {
    client.set_encoder(&ENCODER);
    let mut conversation = RoomConversation {
        room,
        client,
        reader: TextReader::default(),
        nick: None,
        first: Some(Vec::new()),
        seen: 0,
    };
    let end = conversation.read_loop(source, buffer);
    if let Some(nick) = conversation.nick {
        client.begin();
        room.leave(client, &nick, true);
        finish(client);
    }
    Finished::new(Protocol::Room, end)
}

impl RoomConversation<'_, '_> {
    fn read_loop(&mut self, source: &mut impl Source, buffer: &mut ReadBuffer) -> End {
        // Longer than the longest text with its line end, so that one that is too long is seen.
        let most = TEXT_BYTES + b"x\r\n".len();
        let mut is_over = false;
        loop {
            let is_new = self.nick.is_none();
            if let ControlFlow::Break(end) = self.handle(buffer, is_over) {
                return end;
            }
            if is_new && self.nick.is_some() {
                source.note_first_request();
            }
            take_limits(self.client, source);
            let waits = self.seen > 0 && !is_over && self.reader.needs_pause();
            let arrival = match waits {
                true => source.fill_by(buffer, most, Instant::now() + PAUSE),
                false => source.fill(buffer, most),
            };
            is_over = waits && matches!(arrival, Arrival::Silence);
            match arrival {
                Arrival::Bytes => self.client.note_heard(buffer.unread().len() - self.seen),
                Arrival::Pause => self.client.pause(),
                Arrival::Silence => {}
                Arrival::NoMemory => {
                    buffer.give_up();
                    self.seen = 0;
                    self.tell("there is no memory for this text now; send it again later");
                }
                Arrival::End => return self.end(buffer),
                Arrival::Stopping => return End::Stopping,
                Arrival::Failed(err) => return err.into(),
            }
        }
    }

    /// The client has ended its side: what has no line end is said all the same.
    fn end(&mut self, buffer: &mut ReadBuffer) -> End {
        self.reader.end();
        match self.handle(buffer, true) {
            ControlFlow::Break(end) => end,
            ControlFlow::Continue(()) => End::Left,
        }
    }

    /// Handles all texts. `is_over` if no more comes for now.
    fn handle(&mut self, buffer: &mut ReadBuffer, is_over: bool) -> ControlFlow<End> {
        self.refuse_http(&buffer.unread()[self.seen..])?;
        self.client.begin();
        let handled = self.handle_texts(buffer, is_over);
        finish(self.client);
        self.seen = buffer.unread().len();
        handled
    }

    /// A page may send anything to any port, so what begins in the form of HTTP says nothing here.
    fn refuse_http(&mut self, new: &[u8]) -> ControlFlow<End> {
        let Some(first) = &mut self.first else {
            return ControlFlow::Continue(());
        };
        first.extend_from_slice(new);
        match detect(first) {
            None => ControlFlow::Continue(()),
            Some(Protocol::Http) => {
                self.client.signal(&http::not_here(
                    "this port is a room for raw text; the page and HTTP are on the broker's own port",
                ));
                ControlFlow::Break(End::Refused("it speaks HTTP in a room for raw text".into()))
            }
            Some(_) => {
                self.first = None;
                ControlFlow::Continue(())
            }
        }
    }

    fn handle_texts(&mut self, buffer: &mut ReadBuffer, is_over: bool) -> ControlFlow<End> {
        loop {
            match self.reader.next(buffer.unread(), is_over) {
                TextStep::Text(len, end) => {
                    let text = buffer.unread()[..len].to_vec();
                    buffer.consume(len + end);
                    self.take(&text)?;
                }
                TextStep::TooLong(len) => {
                    buffer.consume(len);
                    self.client.note_refused(1);
                    self.tell(&format!(
                        "a text has at most {TEXT_BYTES} bytes; this one is left out"
                    ));
                }
                TextStep::Skip(len) => buffer.consume(len),
                TextStep::More => return ControlFlow::Continue(()),
            }
        }
    }

    fn take(&mut self, said: &[u8]) -> ControlFlow<End> {
        if said == text::BYE {
            return ControlFlow::Break(End::SaidBye);
        }
        if said.is_empty() {
            return ControlFlow::Continue(());
        }
        let Some(nick) = &self.nick else {
            self.take_nick(said);
            return ControlFlow::Continue(());
        };
        self.client.note_publish_bytes(said.len());
        if let Err(NotSaid(why)) = self.room.say(self.client, nick, said) {
            self.client.note_refused(1);
            self.tell(&why);
        }
        ControlFlow::Continue(())
    }

    fn take_nick(&mut self, said: &[u8]) {
        match text::nick(said) {
            Ok(nick) => {
                if let Err(NotSaid(why)) = self.room.check(self.client, nick) {
                    self.client.note_refused(1);
                    return self.tell(&why);
                }
                self.room.join(self.client, nick, usize::MAX);
                self.room.announce(self.client, nick);
                self.nick = Some(nick.into());
                self.first = None;
            }
            Err(why) => {
                self.client.note_refused(1);
                self.tell(why.notice());
            }
        }
    }

    fn tell(&self, notice: &str) {
        self.client.answer(&text::notice(notice));
    }
}

fn finish(client: &mut Client<'_>) {
    client.finish_batch(None, Answers::new(&mut Vec::new()));
}
