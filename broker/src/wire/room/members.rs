//! A room: its topic, and what its members do. Over TCP, in datagrams and in the web chat they do the
//! same.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use protocol::{Attributes, Escaped, Filter, RETAIN, Topic};

use crate::auth::identity::ClientIdentity;
use crate::engine::client::{Client, Message, PublishError, SubscribeError};
use crate::engine::outbox::delivery::subscriptions::SubscriptionOptions;
use crate::sync::Mutex;

use super::text;
use super::writer::{ENCODER, RoomWriter};

/// A room.
pub(crate) struct Room {
    topic: Box<str>,
    /// As which its members act: they cannot say who they are.
    identity: OnceLock<Arc<ClientIdentity>>,
    nicks: Arc<Nicks>,
}

/// The nicks of the members of one topic, whichever way they came, with their number, because several
/// may have the same.
#[derive(Default)]
pub(super) struct Nicks(Mutex<HashMap<Box<str>, usize, RandomState>>);

/// Why a text was not said. The member is told so.
pub(crate) struct NotSaid(pub(crate) String);

impl Room {
    /// The room with this topic, which must be valid and have room for a presence below it.
    pub(super) fn new(topic: &str, nicks: Arc<Nicks>) -> Self {
        Self {
            topic: topic.into(),
            identity: OnceLock::new(),
            nicks,
        }
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// Sets its port, which its members have in common. Only the first call counts.
    pub(crate) fn set_port(&self, port: u16) {
        let _ = self.identity.set(Arc::new(ClientIdentity::of_room(port)));
    }

    /// Makes a client act as all members do, and checks whether it may have this nick.
    pub(crate) fn check(&self, client: &mut Client<'_>, nick: &str) -> Result<(), NotSaid> {
        client.assume(self.identity.get().cloned());
        client
            .count_connection()
            .map_err(|over| NotSaid(over.to_string()))?;
        client
            .check_nick(nick)
            .map_err(|denied| NotSaid(denied.to_string()))
    }

    /// Lets a client in under a checked nick: from now on it hears the room. Lines for it have at most
    /// `line_bytes`, with their ends. Like all that members do, this is part of a batch.
    pub(crate) fn join(&self, client: &mut Client<'_>, nick: &str, line_bytes: usize) {
        let (id, identity) = (client.id(), client.identity());
        log::debug!(
            "connection {id} ({nick:?}) joins the room {} as {}",
            self.topic,
            identity.name
        );
        client.attach_session(&ENCODER, Box::new(RoomWriter { line_bytes }), b"");
        if self.enter(client, nick) {
            let notice = format!("{nick} is taken; another member here has the same nick");
            client.answer(&text::notice(&notice));
        }
        let options = SubscriptionOptions {
            no_local: true,
            ..SubscriptionOptions::default()
        };
        if let Err(NotSaid(why)) = hear(client, &self.topic, options) {
            let notice = format!("{why}; you hear nothing here");
            client.answer(&text::notice(&notice));
        }
    }

    /// Counts a client in under a checked nick; returns whether another member has it. What the client
    /// hears is for the caller to say.
    pub(crate) fn enter(&self, client: &Client<'_>, nick: &str) -> bool {
        client.set_name(nick);
        let others = self.nicks.add(nick);
        others > 0 || client.has_retained(topic(&self.presence(nick)))
    }

    /// Publishes the presence of a member, so that others find it.
    pub(crate) fn announce(&self, client: &mut Client<'_>, nick: &str) {
        let name = self.presence(nick);
        let presence = topic(&name);
        let retained = attributes_of_presence();
        // Without a will, the presence of a member that vanishes would stay; without memory for a will
        // it does.
        let _ = client.set_will(presence, Escaped::default(), retained.clone(), 0);
        let here = text::presence(nick);
        let message = Message::of_line(presence, Escaped::escape(&here), retained);
        // Without room for another retained message, the member is in no list.
        let _ = client.publish(&[], message);
    }

    /// Publishes what a member says.
    pub(crate) fn say(
        &self,
        client: &mut Client<'_>,
        nick: &str,
        said: &[u8],
    ) -> Result<(), NotSaid> {
        publish(client, &self.topic, &text::said(nick, said)).map(drop)
    }

    /// Takes a member out: it hears no more, and its presence ends, unless another member has its nick.
    pub(crate) fn leave(&self, client: &mut Client<'_>, nick: &str, was_announced: bool) {
        client.unsubscribe(filter(&self.topic));
        client.forget_will();
        if self.nicks.remove(nick) && was_announced {
            let gone = self.presence(nick);
            let gone = topic(&gone);
            let message = Message::of_line(gone, Escaped::default(), attributes_of_presence());
            let _ = client.publish(&[], message);
        }
    }

    fn presence(&self, nick: &str) -> String {
        format!("{}/$who/{nick}", self.topic)
    }
}

impl Nicks {
    /// Adds a nick; returns the number of others that have it.
    fn add(&self, nick: &str) -> usize {
        let mut nicks = self.0.lock();
        let count = nicks.entry(nick.into()).or_default();
        *count += 1;
        *count - 1
    }

    /// Removes a nick; returns whether no other member has it.
    fn remove(&self, nick: &str) -> bool {
        let mut nicks = self.0.lock();
        match nicks.get_mut(nick) {
            Some(count @ 2..) => {
                *count -= 1;
                false
            }
            _ => {
                nicks.remove(nick);
                true
            }
        }
    }
}

/// Lets a client hear a topic, which must be valid.
pub(crate) fn hear(
    client: &mut Client<'_>,
    name: &str,
    options: SubscriptionOptions,
) -> Result<(), NotSaid> {
    let filter = filter(name);
    match client.subscribe_with([(Ok(filter), options)]).pop() {
        Some(Ok(subscribed)) => {
            client.send_retained(filter, &subscribed);
            Ok(())
        }
        Some(Err(SubscribeError::Denied(denied))) => Err(NotSaid(denied.to_string())),
        Some(Err(SubscribeError::OverLimit(over))) => Err(NotSaid(over.to_string())),
        _ => Err(NotSaid("there is no memory for another member".to_owned())),
    }
}

/// Publishes a payload on a valid topic; returns the number of copies.
pub(crate) fn publish(client: &mut Client<'_>, name: &str, payload: &[u8]) -> Result<u64, NotSaid> {
    let payload = checked(client, name, payload)?;
    let message = Message::of_line(topic(name), payload, Attributes::default());
    client.publish(&[], message).map_err(|refused| {
        NotSaid(match refused {
            PublishError::BrokersOwn => {
                "only the broker itself may publish in this room".to_owned()
            }
            PublishError::Denied(denied) => denied.to_string(),
            PublishError::Full(full) => full.to_string(),
            PublishError::OverLimit(over) => over.to_string(),
            PublishError::NotKept(why) => why.to_string(),
            PublishError::BadAckLevel(why) => why.to_string(),
        })
    })
}

/// Whether a payload is short enough to be published.
pub(crate) fn check_length(client: &Client<'_>, name: &str, payload: &[u8]) -> Result<(), NotSaid> {
    checked(client, name, payload).map(drop)
}

fn checked<'p>(client: &Client<'_>, name: &str, payload: &'p [u8]) -> Result<Escaped<'p>, NotSaid> {
    let payload = Escaped::escape(payload);
    let most = client.line_bytes();
    match payload.as_line().len() + name.len() + "PUBLISH  ".len() > most {
        true => Err(NotSaid(format!(
            "this text is too long for a broker with lines of {most} bytes"
        ))),
        false => Ok(payload),
    }
}

/// The answer to a client for which there is no place.
pub(crate) fn busy(why: &str) -> Vec<u8> {
    text::notice(&format!("{why}; try again later"))
}

fn topic(name: &str) -> Topic<'_> {
    Topic::parse(name).expect("topics of a room are checked")
}

fn filter(name: &str) -> Filter<'_> {
    Filter::parse(name).expect("a topic is a filter")
}

fn attributes_of_presence() -> Attributes<'static> {
    let mut attributes = Attributes::default();
    attributes.push_flag(RETAIN).expect("it is a valid key");
    attributes
}
