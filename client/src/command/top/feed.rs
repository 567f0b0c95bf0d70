//! Polls the broker on a thread of its own, and reconnects when the connection is lost, so that the
//! screen stays responsive.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, Error, Interrupt};

use super::snapshot::Snapshot;
use crate::reconnect::{Pauses, is_worth_another_try};
use crate::server::ServerArguments;
use crate::waker::{self, WakeReceiver, Waker};

const NAME: &str = "client top";

/// What the thread reports.
#[derive(Debug)]
pub(crate) enum FeedEvent {
    Snapshot(Box<Snapshot>),
    /// The connection is lost; the reason and the time of the next attempt.
    Retrying(String),
    /// An error that another attempt cannot help.
    GivenUp(Error),
}

/// The parameters of the thread.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) server: ServerArguments,
    pub(crate) interrupt: Interrupt,
    pub(crate) interval: Duration,
    pub(crate) limit: u64,
}

/// Connects and sets a name, by which lists show this program.
pub(crate) fn connect(server: &ServerArguments, interrupt: &Interrupt) -> Result<Client, Error> {
    let mut client = server.connect(interrupt)?;
    client.set_name(NAME)?;
    Ok(client)
}

impl Feed {
    /// Starts the thread. The first inquiry follows after one interval.
    pub(crate) fn begin(self, client: Client) -> io::Result<WakeReceiver<FeedEvent>> {
        let (waker, events) = waker::channel()?;
        thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || {
                if let Err(error) = self.go_on(client, &waker) {
                    // The receiver is gone when the program ends.
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

    /// Polls until the receiver is gone.
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
