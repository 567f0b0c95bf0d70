//! How one gets into a room, and back in when the broker was lost.

use std::io;
use std::thread;

use client::{Attributes, Client, Error, Interrupt, RETAIN};

use super::room::Room;
use super::topics::RoomTopics;
use crate::reconnect::Pauses;
use crate::server::ServerArguments;
use crate::waker::{self, WakeReceiver};

/// Where the broker is, and what ends every wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) server: ServerArguments,
    pub(crate) interrupt: Interrupt,
}

impl Connector {
    /// Connects and goes in. Everything that was retained there has come when this returns.
    pub(crate) fn join(&self, topics: &RoomTopics, presence: &str) -> Result<Client, Error> {
        let mut client = self.server.connect(&self.interrupt)?;
        client.subscribe_all(&topics.filters())?;
        client.set_name(topics.nick.as_str())?;
        client.set_will(&topics.presence_topic(), "", &retain())?;
        client.publish_with(&topics.presence_topic(), presence, &retain())?;
        Ok(client)
    }

    /// Goes from one place to another over the same connection. After an error nobody knows where
    /// it has stopped.
    pub(crate) fn switch(client: &mut Client, room: &Room, to: &RoomTopics) -> Result<(), Error> {
        let (old, new) = (room.topics().filters(), to.filters());
        let added: Vec<&String> = new.iter().filter(|filter| !old.contains(filter)).collect();
        client.subscribe_all(&added)?;
        // The new name is announced before the old one is taken away, so that others see that it
        // is the same person; and in one piece with the will, so that no name is left behind.
        let presence = room.own_presence().payload(to.nick.as_str());
        client.post(&to.presence_topic(), presence.as_str(), &retain())?;
        if room.is_announced() {
            client.post(&room.topics().presence_topic(), "", &retain())?;
        }
        client.set_will(&to.presence_topic(), "", &retain())?;
        client.set_name(to.nick.as_str())?;
        let removed = old.iter().filter(|filter| !new.contains(filter));
        removed
            .into_iter()
            .try_for_each(|filter| client.unsubscribe(filter))
    }
}

/// What makes a presence stay, and go.
pub(crate) fn retain() -> Attributes<'static> {
    let mut attributes = Attributes::default();
    attributes.push_flag(RETAIN).expect("it is a key");
    attributes
}

/// Attempts to reconnect, on a thread of their own: the user can go on typing meanwhile.
pub(crate) type Reconnecting = WakeReceiver<ReconnectEvent>;

/// How the attempts go.
#[derive(Debug)]
pub(crate) enum ReconnectEvent {
    /// Not found yet; why, and when it goes on.
    Retrying(String),
    /// Found, and in the room again.
    Connected {
        client: Box<Client>,
        /// For the next time.
        pauses: Pauses,
    },
    /// Searching on cannot help.
    GivenUp(Error),
}

/// Begins to reconnect after the error `lost`.
pub(crate) fn reconnect(
    connector: Connector,
    room: &Room,
    mut pauses: Pauses,
    lost: Error,
) -> io::Result<Reconnecting> {
    let (waker, reconnecting) = waker::channel()?;
    let (topics, presence) = (room.topics().clone(), room.presence_payload());
    let tell = move |news| {
        // Nobody listens any more when the program ends.
        let _ = waker.send(news);
    };
    thread::Builder::new()
        .name("reconnect".to_owned())
        .spawn(move || {
            let connect = || connector.join(&topics, &presence);
            let retrying = |text| tell(ReconnectEvent::Retrying(text));
            let found = pauses.reconnect(&lost, &connector.interrupt, None, connect, retrying);
            match found {
                Ok(Some(client)) => tell(ReconnectEvent::Connected {
                    client: Box::new(client),
                    pauses,
                }),
                Ok(None) => {}
                Err(error) => tell(ReconnectEvent::GivenUp(error)),
            }
        })?;
    Ok(reconnecting)
}
