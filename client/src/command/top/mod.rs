//! `client top`: shows connections and topics with their rates in full screen.
//!
//! `watch.rs` has the state without any I/O, `render.rs` turns it into rows, `feed.rs` polls the
//! broker.

mod feed;
mod history;
mod list;
mod render;
mod rows;
mod screen;
mod snapshot;
mod watch;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use client::inquiry::MAX_LIMIT;
use client::{Client, Error, Interrupt};

use crate::duration;
use crate::exit::{self, Exit, Failure, Stop};
use crate::fullscreen;
use crate::interruption::{Interruption, wait_for_any};
use crate::listing;
use crate::server::ServerArguments;
use crate::waker::WakeReceiver;

use feed::{Feed, FeedEvent};
use screen::TopScreen;
use snapshot::Snapshot;
use watch::Watch;

const EXAMPLES: &str = "\
Examples:
  client top                   until q is pressed; the last row shows the keys
  client top --once            one snapshot as text, without a terminal
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// Print one snapshot with the rates of one interval, and end
    #[arg(long)]
    once: bool,
    /// The time between two updates
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = duration::parse_positive)]
    interval: Duration,
    /// Ask for no more than N connections and N topics
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_LIMIT))]
    limit: u64,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if !arguments.once && !fullscreen::is_available() {
        let why = "this needs a terminal; give --once for one snapshot as text";
        return Err(Failure::new(Exit::Usage, "client", why));
    }
    let interruption = Interruption::watch()?;
    let connected = arguments.connect(interruption.interrupt());
    connected
        .map_err(Stop::from)
        .and_then(|client| {
            if arguments.once {
                arguments.show_once(client)
            } else {
                arguments.show(client, interruption.interrupt())
            }
        })
        .or_else(|stop| interruption.end(stop, "client"))
}

impl Arguments {
    fn connect(&self, interrupt: &Interrupt) -> Result<Client, Error> {
        self.server
            .first(interrupt, || feed::connect(&self.server, interrupt))
    }

    fn watch(&self) -> Watch {
        Watch::new(self.server.server().to_string(), self.interval)
    }

    /// Takes two snapshots, so that rates are known.
    fn show_once(&self, mut client: Client) -> Result<Exit, Stop> {
        let mut watch = self.watch();
        watch.take(Snapshot::take(&mut client, self.limit)?);
        client.rest(self.interval)?;
        watch.take(Snapshot::take(&mut client, self.limit)?);
        let picture = render::plain(&mut watch, listing::width());
        io::stdout().lock().write_all(picture.as_bytes())?;
        Ok(Exit::Done)
    }

    fn show(&self, mut client: Client, interrupt: &Interrupt) -> Result<Exit, Stop> {
        let mut watch = self.watch();
        // An error of the first inquiry is printed before the terminal switches to full screen.
        watch.take(Snapshot::take(&mut client, self.limit)?);
        let feed = Feed {
            server: self.server.clone(),
            interrupt: interrupt.clone(),
            interval: self.interval,
            limit: self.limit,
        };
        let mut events = feed.begin(client)?;
        let mut screen = TopScreen::open()?;
        loop {
            take_events(&mut watch, &mut events)?;
            if !screen.handle_events(&mut watch)? {
                return Ok(Exit::Done);
            }
            screen.draw(&mut watch)?;
            wait_for_any(
                [Some(screen.as_fd()), Some(events.as_fd())],
                None,
                interrupt,
            )?;
        }
    }
}

fn take_events(watch: &mut Watch, events: &mut WakeReceiver<FeedEvent>) -> Result<(), Error> {
    while let Some(event) = events.next() {
        match event {
            FeedEvent::Snapshot(snapshot) => watch.take(*snapshot),
            FeedEvent::Retrying(text) => watch.disconnected = Some(text),
            FeedEvent::GivenUp(error) => return Err(error),
        }
    }
    Ok(())
}
