//! How one gets into a room, and back in when the broker was lost.

use std::io;
use std::thread;

use client::{Attributes, Client, Error, Interrupt, RETAIN};

use super::place::Place;
use super::room::Room;
use crate::reconnect::Pauses;
use crate::server::ServerArguments;
use crate::waker::{self, WakeReceiver};

/// Where the broker is, and what ends every wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) server: ServerArguments,
    pub(crate) interrupt: Interrupt,
}

impl Door {
    /// Connects and goes in. Everything that was retained there has come when this returns.
    pub(crate) fn enter(&self, place: &Place, presence: &str) -> Result<Client, Error> {
        let mut client = self.server.connect(&self.interrupt)?;
        client.subscribe_all(&place.filters())?;
        client.set_name(place.nick.as_str())?;
        client.set_will(&place.presence_topic(), "", &retain())?;
        client.publish_with(&place.presence_topic(), presence, &retain())?;
        Ok(client)
    }

    /// Goes from one place to another over the same connection. After an error nobody knows where
    /// it has stopped.
    pub(crate) fn change(client: &mut Client, room: &Room, to: &Place) -> Result<(), Error> {
        let (old, new) = (room.place().filters(), to.filters());
        let added: Vec<&String> = new.iter().filter(|filter| !old.contains(filter)).collect();
        client.subscribe_all(&added)?;
        // The new name is announced before the old one is taken away, so that others see that it
        // is the same person; and in one piece with the will, so that no name is left behind.
        let presence = room.badge().presence(to.nick.as_str());
        client.post(&to.presence_topic(), presence.as_str(), &retain())?;
        if room.is_announced() {
            client.post(&room.place().presence_topic(), "", &retain())?;
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

/// A search for the broker on a thread of its own, so that a person can go on typing.
pub(crate) type Search = WakeReceiver<News>;

/// How the search goes.
#[derive(Debug)]
pub(crate) enum News {
    /// Not found yet; why, and when it goes on.
    Trouble(String),
    /// Found, and in the room again.
    Found {
        client: Box<Client>,
        /// For the next time.
        pauses: Pauses,
    },
    /// Searching on cannot help.
    GivenUp(Error),
}

/// Begins to search. `lost` is why.
pub(crate) fn search(
    door: Door,
    room: &Room,
    mut pauses: Pauses,
    lost: Error,
) -> io::Result<Search> {
    let (waker, search) = waker::channel()?;
    let (place, presence) = (room.place().clone(), room.presence());
    let tell = move |news| {
        // Nobody listens any more when the program ends.
        let _ = waker.send(news);
    };
    thread::Builder::new()
        .name("search".to_owned())
        .spawn(move || {
            let connect = || door.enter(&place, &presence);
            let trouble = |text| tell(News::Trouble(text));
            let found = pauses.reconnect(&lost, &door.interrupt, None, connect, trouble);
            match found {
                Ok(Some(client)) => tell(News::Found {
                    client: Box::new(client),
                    pauses,
                }),
                Ok(None) => {}
                Err(error) => tell(News::GivenUp(error)),
            }
        })?;
    Ok(search)
}
