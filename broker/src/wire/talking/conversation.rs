//! One client of the web chat.

use super::reader::{ObjectReader, ObjectStep};
use super::request::{self, ChatRequest};
use super::topics;
use super::web_chat::WebChat;
use super::writer::ObjectWriter;
use crate::engine::client::{Answers, Client};
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::outbox::delivery::subscriptions::SubscriptionOptions;
use crate::engine::outbox::encoder::Encoder;
use crate::wire::chat_object;
use crate::wire::end::End;
use crate::wire::room::{self, NotSaid, Room};
use crate::wire::source::{Arrival, Source, take_limits};

/// Maximum bytes of an object.
const OBJECT_BYTES: usize = 1024 * 1024;

/// What a longer object needed is released at once; the next may be long in coming.
const LONG_BYTES: usize = 64 * 1024;

/// Maximum rooms in which the recipient of a private message is looked for.
const ROOMS_OF_NICK: usize = 64;

/// Maximum bytes of the name of a room: 32 characters.
const ROOM_BYTES: usize = 32 * 4;

const BAD_NICK: &str =
    "a nickname is one word of at most 32 characters, without / + # and control characters";

const BAD_ROOM: &str = "a room is one word of at most 32 characters, without / + # and control characters, and \
                        does not begin with $";

/// The conversation with one client.
struct ChatConversation<'a, 'b> {
    chat: &'a WebChat,
    client: &'a mut Client<'b>,
    reader: ObjectReader,
    login: Option<ChatLogin>,
}

/// The login of a client.
struct ChatLogin {
    nick: Box<str>,
    room: Room,
}

/// Serves a client until the conversation has ended. `encoder` wraps objects for it.
// Out of line: inlined, its locals would lie on the stack of every idle connection.
#[inline(never)]
pub(crate) fn serve(
    client: &mut Client<'_>,
    source: &mut impl Source,
    buffer: &mut ReadBuffer,
    encoder: &'static Encoder,
    chat: &WebChat,
) -> End {
    let _session = chat.sessions().enter(client.session().id());
    let writer = Box::new(ObjectWriter::new(chat.sessions()));
    client.attach_session(encoder, writer, b"");
    let mut conversation = ChatConversation {
        chat,
        client,
        reader: ObjectReader::default(),
        login: None,
    };
    let end = conversation.read_loop(source, buffer);
    conversation.client.begin();
    conversation.leave();
    conversation.finish();
    end
}

impl ChatConversation<'_, '_> {
    fn read_loop(&mut self, source: &mut impl Source, buffer: &mut ReadBuffer) -> End {
        loop {
            take_limits(self.client, source);
            let most = OBJECT_BYTES.min(self.client.line_bytes());
            self.handle(buffer, most);
            let seen = buffer.unread().len();
            // Longer than the longest object with its end, so that one that is too long is seen.
            match source.fill(buffer, most + 2) {
                Arrival::Bytes => self.client.note_heard(buffer.unread().len() - seen),
                Arrival::Pause => self.client.pause(),
                Arrival::Silence => {}
                Arrival::NoMemory => {
                    buffer.give_up();
                    self.reader.skip();
                    self.client.begin();
                    self.refuse("there is no memory for this object now; send it again later");
                    self.finish();
                }
                Arrival::End => return End::Left,
                Arrival::Stopping => return End::Stopping,
                Arrival::Failed(err) => return err.into(),
            }
        }
    }

    /// Handles all messages that have come, as one batch.
    fn handle(&mut self, buffer: &mut ReadBuffer, most: usize) {
        let mut longest = 0;
        self.client.begin();
        loop {
            match self.reader.next(buffer.unread(), most) {
                ObjectStep::Object(len) => {
                    longest = longest.max(len);
                    self.client.note_publish_bytes(len);
                    if let Err(why) = self.take(&buffer.unread()[..len]) {
                        self.refuse(&why);
                    }
                    buffer.consume(len + 1);
                }
                ObjectStep::Binary(len) => {
                    buffer.consume(len);
                    self.refuse("send objects in text messages; this one was binary");
                }
                ObjectStep::TooLong(len) => {
                    buffer.consume(len);
                    self.refuse(&format!(
                        "an object has at most {most} bytes; this one is left out"
                    ));
                }
                ObjectStep::Skip(len) => buffer.consume(len),
                ObjectStep::More => break,
            }
        }
        self.finish();
        if longest > LONG_BYTES {
            self.client.pause();
        }
    }

    /// Does what an object asks for, or says why not.
    fn take(&mut self, object: &[u8]) -> Result<(), String> {
        let login = self.login.as_ref().ok_or_else(request::login_first);
        match ChatRequest::parse(object)? {
            ChatRequest::Login { nickname, room } => self.log_in(&nickname, &room),
            ChatRequest::Room { room, text } => {
                let login = login?;
                let own = login.room.topic();
                match room {
                    Some(other) if other.trim() != own => Err(format!(
                        "you are in {own}, not in {}; log in there first",
                        request::quoted(&other)
                    )),
                    _ => say(self.client, login, &text, object).map_err(|NotSaid(why)| why),
                }
            }
            ChatRequest::Private { to, text } => tell(self.client, login?, &to, &text, object),
        }
    }

    /// Lets the client into a room. One that is in a room leaves it.
    fn log_in(&mut self, nickname: &str, room: &str) -> Result<(), String> {
        let nick = room::nick(nickname.as_bytes()).map_err(|_| BAD_NICK)?;
        let name = room::nick(room.as_bytes()).map_err(|_| BAD_ROOM)?;
        if name.starts_with('$') {
            return Err(BAD_ROOM.to_owned());
        }
        let asked = self.client.check_nick(nick);
        asked.map_err(|denied| denied.to_string())?;
        let is_there = |login: &ChatLogin| &*login.nick == nick && login.room.topic() == name;
        if self.login.as_ref().is_some_and(is_there) {
            return Ok(());
        }
        // Its own messages come back to it before it leaves.
        self.client.finish_part(&[], Answers::new(&mut Vec::new()));
        self.leave();
        let room = self.chat.rooms().open(name);
        if room.enter(self.client, nick) {
            let notice = format!("{nick} is taken; another member here has the same nick");
            self.answer(chat_object::notice(&notice));
        }
        let options = SubscriptionOptions::default();
        let own = own_topics(nick, name);
        let mut all = own.iter().map(String::as_str).chain([name]);
        let heard = all.try_for_each(|topic| room::hear(self.client, topic, options));
        if let Err(NotSaid(why)) = heard {
            self.refuse(&format!("{why}; you do not hear all of the room"));
        }
        room.announce(self.client, nick);
        self.login = Some(ChatLogin {
            nick: nick.into(),
            room,
        });
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(ChatLogin { nick, room }) = self.login.take() {
            for topic in own_topics(&nick, room.topic()) {
                self.client.unsubscribe(topics::filter(&topic));
            }
            room.leave(self.client, &nick, true);
        }
    }

    fn refuse(&mut self, why: &str) {
        self.client.note_refused(1);
        self.answer(chat_object::error(why));
    }

    /// Sends an object of the broker itself, behind what was said before.
    fn answer(&mut self, mut object: Vec<u8>) {
        self.client.finish_part(&[], Answers::new(&mut object));
        // A client may send much that is refused, and not read why.
        self.client.wait_for_room();
    }

    fn finish(&mut self) {
        self.client
            .finish_batch(None, Answers::new(&mut Vec::new()));
    }
}

/// The topics that a member hears besides that of the room.
fn own_topics(nick: &str, room: &str) -> [String; 3] {
    [
        topics::objects(room),
        topics::private_objects(nick),
        topics::private(nick, room),
    ]
}

/// Publishes what a member says to its room: the object, and its text.
fn say(
    client: &mut Client<'_>,
    login: &ChatLogin,
    text: &str,
    object: &[u8],
) -> Result<(), NotSaid> {
    let objects = topics::objects(login.room.topic());
    // Either all members get it or none.
    room::check_length(client, &objects, object)?;
    login.room.say(client, &login.nick, text.as_bytes())?;
    room::publish(client, &objects, object).map(drop)
}

/// Publishes a private message of a member: the object, and its text in each room where there is a member
/// of that nick.
fn tell(
    client: &mut Client<'_>,
    login: &ChatLogin,
    to: &str,
    text: &str,
    object: &[u8],
) -> Result<(), String> {
    let to = room::nick(to.as_bytes()).map_err(|_| BAD_NICK)?;
    let said = room::said(&login.nick, text.as_bytes());
    let objects = topics::private_objects(to);
    let longest = topics::private(to, &"x".repeat(ROOM_BYTES));
    for (topic, payload) in [(&objects, object), (&longest, &said)] {
        room::check_length(client, topic, payload).map_err(|NotSaid(why)| why)?;
    }
    let presences = topics::presences(to);
    let presences = client.retained_topics(topics::filter(&presences), ROOMS_OF_NICK);
    let rooms = presences
        .iter()
        .filter_map(|topic| topics::room_of_presence(topic));
    let mut copies = 0;
    // A longer name is that of no room where private messages are taken.
    for room in rooms.filter(|name| room::nick(name.as_bytes()) == Ok(*name)) {
        let topic = topics::private(to, room);
        copies += room::publish(client, &topic, &said).unwrap_or(0);
    }
    copies += room::publish(client, &objects, object).unwrap_or(0);
    match (copies, presences.is_empty()) {
        (0, true) => Err(format!("there is no member with the nick {to}")),
        (0, false) => Err(format!("{to} takes no private messages")),
        _ => Ok(()),
    }
}
