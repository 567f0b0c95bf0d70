//! Asks the broker again and again, on a thread of its own, and looks for it when it is lost: so
//! that a person can go on looking at what is known.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, Error, Interrupt};

use super::snapshot::Snapshot;
use crate::reconnect::{Pauses, is_worth_another_try};
use crate::server::ServerArguments;
use crate::waker::{self, WakeReceiver, Waker};

const NAME: &str = "client top";

/// What is new.
#[derive(Debug)]
pub(crate) enum FeedEvent {
    Snapshot(Box<Snapshot>),
    /// There is no broker; why, and when it goes on.
    Retrying(String),
    /// Asking on cannot help.
    GivenUp(Error),
}

/// How to ask.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) server: ServerArguments,
    pub(crate) interrupt: Interrupt,
    pub(crate) interval: Duration,
    pub(crate) limit: u64,
}

/// Connects under a name by which everybody who looks at the lists knows this program.
pub(crate) fn connect(server: &ServerArguments, interrupt: &Interrupt) -> Result<Client, Error> {
    let mut client = server.connect(interrupt)?;
    client.set_name(NAME)?;
    Ok(client)
}

impl Feed {
    /// Begins to ask, for the first time after one interval.
    pub(crate) fn begin(self, client: Client) -> io::Result<WakeReceiver<FeedEvent>> {
        let (waker, events) = waker::channel()?;
        thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || {
                if let Err(error) = self.go_on(client, &waker) {
                    // Nobody listens any more when the program ends.
                    let _ = waker.send(FeedEvent::GivenUp(error));
                }
            })?;
        Ok(events)
    }

    fn go_on(&self, mut client: Client, waker: &Waker<FeedEvent>) -> Result<(), Error> {
        let mut pauses = Pauses::new();
        let mut rest = self.interval;
        loop {
            let start = Instant::now();
            let lost = match self.ask(&mut client, rest, waker) {
                Ok(()) => return Ok(()),
                Err(error) if is_worth_another_try(&error) => error,
                Err(error) => return Err(error),
            };
            pauses.connection_held(start.elapsed());
            rest = Duration::ZERO;
            let connect = || connect(&self.server, &self.interrupt);
            let tell = |text| {
                let _ = waker.send(FeedEvent::Retrying(text));
            };
            match pauses.reconnect(&lost, &self.interrupt, None, connect, tell)? {
                Some(found) => client = found,
                None => return Ok(()),
            }
        }
    }

    /// Asks for as long as somebody listens.
    fn ask(
        &self,
        client: &mut Client,
        mut rest: Duration,
        waker: &Waker<FeedEvent>,
    ) -> Result<(), Error> {
        loop {
            client.rest(rest)?;
            let start = Instant::now();
            let snapshot = Snapshot::take(client, self.limit)?;
            if !waker.send(FeedEvent::Snapshot(Box::new(snapshot))) {
                return Ok(());
            }
            rest = self.interval.saturating_sub(start.elapsed());
        }
    }
}
