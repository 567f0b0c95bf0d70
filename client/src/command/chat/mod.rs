//! `client chat`: a room in which people talk. The room is a topic, so anybody who can publish is
//! in it; `docs/chat.md` has what goes over the wire.
//!
//! `room.rs` knows what happens without any I/O, `visit.rs` goes between it, the broker and a
//! [`Front`](front::Front): the full screen of `screen/`, or the lines of `plain.rs`.

mod door;
mod front;
mod letters;
mod line;
mod name;
mod place;
mod plain;
mod room;
mod said;
mod screen;
mod typed;
mod visit;

use std::env;
use std::io::{self, IsTerminal};
use std::time::SystemTime;

use client::Client;

use crate::exit::{self, Exit, Failure, Stop};
use crate::interruption::Interruption;
use crate::server::ServerArguments;

use door::Door;
use front::Front;
use name::Name;
use place::Place;
use plain::Plain;
use room::Room;
use said::Badge;
use screen::Screen;
use visit::Visit;

const FAILED: &str = "chatting failed";

const EXAMPLES: &str = "\
Examples:
  client chat lobby --nick ann            a room on the whole screen; /help says more
  echo 'it is done' | client chat lobby --nick build
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// The room: a topic of one level
    #[arg(value_parser = Name::room)]
    room: Name,
    /// What to be called there; without it, the user's name
    #[arg(short, long, value_name = "NAME", env = "USER", hide_env_values = true, value_parser = Name::nick)]
    nick: Name,
    /// Lines in and lines out, as if this were a pipe
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let interruption = Interruption::watch()?;
    let door = Door {
        server: arguments.server.clone(),
        interrupt: interruption.interrupt().clone(),
    };
    let room = arguments.room();
    let entered = door.enter(room.place(), &room.presence());
    let client = match entered {
        Ok(client) => client,
        Err(error) => return interruption.end(error.into(), FAILED),
    };
    let stayed = if arguments.is_plain() {
        interruption.watch_output()?;
        stay(door, room, client, Plain::new())
    } else {
        stay(door, room, client, Screen::open())
    };
    match stayed {
        Ok(0) => Ok(Exit::Done),
        Ok(unsent) => {
            let why = format_args!("{unsent} messages were not sent, because the broker was lost");
            Err(Failure::new(Exit::NoConnection, "client", why))
        }
        Err(stop) => interruption.end(stop, "client"),
    }
}

fn stay(
    door: Door,
    room: Room,
    client: Client,
    front: io::Result<impl Front>,
) -> Result<usize, Stop> {
    Visit::new(door, room, client, front?).stay()
}

impl Arguments {
    fn room(&self) -> Room {
        let place = Place {
            room: self.room.clone(),
            nick: self.nick.clone(),
        };
        let badge = Badge {
            id: format!("{:016x}", fastrand::u64(..)),
            since: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        };
        Room::new(place, badge)
    }

    fn is_plain(&self) -> bool {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        self.plain || !is_terminal || env::var_os("TERM").is_none_or(|term| term == "dumb")
    }
}
