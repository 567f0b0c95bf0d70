//! Joins a room, and joins again after the connection was lost.

use std::io;
use std::thread;

use client::{Attributes, Client, Error, Interrupt, RETAIN};

use super::room::Room;
use super::topics::RoomTopics;
use crate::reconnect::Pauses;
use crate::server::ServerArguments;
use crate::waker::{self, WakeReceiver};

/// The address of the broker, and the interrupt that ends every wait.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) server: ServerArguments,
    pub(crate) interrupt: Interrupt,
}

impl Connector {
    /// Connects and joins. All retained messages of the room have arrived when this returns.
    pub(crate) fn join(&self, topics: &RoomTopics, presence: &str) -> Result<Client, Error> {
        let mut client = self.server.connect(&self.interrupt)?;
        client.subscribe_all(&topics.filters())?;
        client.set_name(topics.nick.as_str())?;
        client.set_will(&topics.presence_topic(), "", &retain())?;
        client.publish_with(&topics.presence_topic(), presence, &retain())?;
        Ok(client)
    }

    /// Changes the room or the nick over the same connection. After an error the change may be
    /// incomplete.
    pub(crate) fn switch(client: &mut Client, room: &Room, to: &RoomTopics) -> Result<(), Error> {
        let (old, new) = (room.topics().filters(), to.filters());
        let added: Vec<&String> = new.iter().filter(|filter| !old.contains(filter)).collect();
        client.subscribe_all(&added)?;
        // The new presence is published before the old one is cleared, so that others recognise the
        // change of the nick; and together with the will, so that no presence is left behind.
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

/// The attributes of a presence.
pub(crate) fn retain() -> Attributes<'static> {
    let mut attributes = Attributes::default();
    attributes.push_flag(RETAIN).expect("it is a key");
    attributes
}

/// Attempts to reconnect, on a thread of their own: the user can type meanwhile.
pub(crate) type Reconnecting = WakeReceiver<ReconnectEvent>;

/// How the attempts go.
#[derive(Debug)]
pub(crate) enum ReconnectEvent {
    /// The last attempt failed; the reason and the time of the next one.
    Retrying(String),
    /// Connected and joined again.
    Connected {
        client: Box<Client>,
        /// The backoff for the next loss.
        pauses: Pauses,
    },
    /// An error that another attempt cannot help.
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
        // The receiver is gone when the program ends.
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
