//! `client chat`: a chat room. The room is a topic, so every client that can publish on it can take
//! part; `docs/chat.md` describes the wire format.
//!
//! `room.rs` has the state without any I/O. `session.rs` connects it with the broker and a
//! [`Ui`](ui::Ui): the full screen of `screen/`, or the lines of `plain.rs`. `two_person/` is another
//! chat with the same interfaces, over UDP and without a broker.

mod connect;
mod input;
mod line;
mod name;
mod payload;
mod pending;
mod plain;
mod room;
mod screen;
mod session;
mod topics;
mod two_person;
mod ui;

use std::io;
use std::time::SystemTime;

use client::Client;

use crate::exit::{self, Exit, Failure, Stop};
use crate::fullscreen;
use crate::interruption::Interruption;
use crate::server::ServerArguments;

use connect::Connector;
use name::ChatName;
use payload::Presence;
use plain::Plain;
use room::Room;
use screen::ChatScreen;
use session::ChatSession;
use topics::RoomTopics;
use two_person::{TwoPersonChat, UdpEnd, UdpPlace};
use ui::Ui;

const FAILED: &str = "chatting failed";

/// The nick of a user without a name, in a chat where no other sees it.
const NAMELESS: &str = "me";

const EXAMPLES: &str = "\
Examples:
  client chat lobby --nick ann            full screen; /help lists its commands
  echo 'it is done' | client chat lobby --nick build
  client chat --udp-listen :12345         with one program, over UDP
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// The room: a topic of one level
    #[arg(value_parser = ChatName::room, required_unless_present_any = ["udp", "udp_listen"])]
    room: Option<ChatName>,
    /// Your nick; without it, the user's name
    #[arg(short, long, value_name = "NAME", env = "USER", hide_env_values = true, value_parser = ChatName::nick)]
    #[arg(required_unless_present_any = ["udp", "udp_listen"])]
    nick: Option<ChatName>,
    /// Read and write lines, as in a pipe
    #[arg(long)]
    plain: bool,
    /// Chat with a program at HOST:PORT over UDP, no broker
    #[arg(long, value_name = "PLACE", value_parser = UdpPlace::peer, conflicts_with = "room")]
    udp: Option<UdpPlace>,
    /// The same, but wait at [HOST]:PORT for its first text
    #[arg(long, value_name = "PLACE", value_parser = UdpPlace::listen)]
    #[arg(conflicts_with_all = ["room", "udp"])]
    udp_listen: Option<UdpPlace>,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match arguments.udp_end() {
        Some(end) => run_two_person(arguments, &end),
        None => run_room(arguments),
    }
}

fn run_two_person(arguments: &Arguments, end: &UdpEnd) -> Result<Exit, Failure> {
    if arguments.server.is_typed() {
        let why = "a chat over UDP has no broker; leave out --server, --configured, --host and \
                   --port";
        return Err(Failure::new(Exit::Usage, "client", why));
    }
    let interruption = Interruption::watch()?;
    let nick = arguments.nick.as_ref().map_or(NAMELESS, ChatName::as_str);
    let chat = TwoPersonChat::open(end, nick)?;
    let is_plain = arguments.is_plain();
    let ended = if is_plain {
        interruption.watch_output()?;
        chat.run(&interruption, Plain::new())
    } else {
        chat.run(&interruption, ChatScreen::open())
    };
    match ended {
        Ok(ending) => two_person::end(ending, is_plain),
        Err(stop) => interruption.end(stop, "client"),
    }
}

fn run_room(arguments: &Arguments) -> Result<Exit, Failure> {
    let interruption = Interruption::watch()?;
    let connector = Connector {
        server: arguments.server.clone(),
        interrupt: interruption.interrupt().clone(),
    };
    let room = arguments.room();
    let joined = connector.server.first(&connector.interrupt, || {
        connector.join(room.topics(), &room.presence_payload())
    });
    let client = match joined {
        Ok(client) => client,
        Err(error) => return interruption.end(error.into(), FAILED),
    };
    let ended = if arguments.is_plain() {
        interruption.watch_output()?;
        run_session(connector, room, client, Plain::new())
    } else {
        run_session(connector, room, client, ChatScreen::open())
    };
    match ended {
        Ok(0) => Ok(Exit::Done),
        Ok(unsent) => {
            let why = format_args!("{unsent} messages were not sent, because the broker was lost");
            Err(Failure::new(Exit::NoConnection, "client", why))
        }
        Err(stop) => interruption.end(stop, "client"),
    }
}

fn run_session(
    connector: Connector,
    room: Room,
    client: Client,
    ui: io::Result<impl Ui>,
) -> Result<usize, Stop> {
    ChatSession::new(connector, room, client, ui?).run()
}

impl Arguments {
    fn udp_end(&self) -> Option<UdpEnd> {
        let begins = self.udp.clone().map(UdpEnd::Begins);
        begins.or_else(|| self.udp_listen.clone().map(UdpEnd::Listens))
    }

    fn room(&self) -> Room {
        let given = "clap asks for it, unless the chat is over UDP";
        let topics = RoomTopics {
            room: self.room.clone().expect(given),
            nick: self.nick.clone().expect(given),
        };
        let own_presence = Presence {
            id: format!("{:016x}", fastrand::u64(..)),
            since: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        };
        Room::new(topics, own_presence)
    }

    fn is_plain(&self) -> bool {
        self.plain || !fullscreen::is_available()
    }
}
