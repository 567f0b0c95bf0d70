//! `client chat`: a chat room. The room is a topic, so every client that can publish on it can take
//! part; `docs/chat.md` describes the wire format.
//!
//! `room.rs` has the state without any I/O. `session.rs` connects it with the broker and a
//! [`Ui`](ui::Ui): the full screen of `screen/`, or the lines of `plain.rs`.

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
use ui::Ui;

const FAILED: &str = "chatting failed";

const EXAMPLES: &str = "\
Examples:
  client chat lobby --nick ann            full screen; /help lists its commands
  echo 'it is done' | client chat lobby --nick build
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// The room: a topic of one level
    #[arg(value_parser = ChatName::room)]
    room: ChatName,
    /// Your nick; without it, the user's name
    #[arg(short, long, value_name = "NAME", env = "USER", hide_env_values = true, value_parser = ChatName::nick)]
    nick: ChatName,
    /// Read and write lines, as in a pipe
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
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
    fn room(&self) -> Room {
        let topics = RoomTopics {
            room: self.room.clone(),
            nick: self.nick.clone(),
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
