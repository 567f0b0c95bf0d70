//! A room: its topic, and what its members do. Over TCP and in datagrams they do the same.

use std::collections::HashMap;
use std::sync::OnceLock;

use foldhash::fast::RandomState;
use protocol::{Attributes, Escaped, Filter, RETAIN, Topic};

use crate::engine::client::{Client, Message};
use crate::engine::outbox::delivery::subscriptions::SubscriptionOptions;
use crate::sync::Mutex;

use super::text;
use super::writer::{ENCODER, RoomWriter};

/// A room on a port of its own.
pub(crate) struct Room {
    topic: Box<str>,
    /// The name under which its members act: they cannot say who they are.
    identity: OnceLock<Box<str>>,
    /// Members by nick, because several may have the same.
    nicks: Mutex<HashMap<Box<str>, usize, RandomState>>,
}

/// Why a text was not said. The member is told so.
pub(crate) struct NotSaid(pub(crate) String);

impl Room {
    /// The room with this topic, which must be valid and have room for a presence below it.
    pub(crate) fn new(topic: &str) -> Self {
        Self {
            topic: topic.into(),
            identity: OnceLock::new(),
            nicks: Mutex::default(),
        }
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// Sets its port, which its members have in common. Only the first call counts.
    pub(crate) fn set_port(&self, port: u16) {
        let _ = self.identity.set(format!("room:{port}").into());
    }

    /// The name under which its members act.
    fn identity(&self) -> &str {
        self.identity.get().map_or("room", |identity| identity)
    }

    /// Lets a client in under a checked nick: from now on it hears the room. Lines for it have at most
    /// `line_bytes`, with their ends. Like all that members do, this is part of a batch.
    pub(crate) fn join(&self, client: &mut Client<'_>, nick: &str, line_bytes: usize) {
        client.set_name(nick);
        let (id, identity) = (client.id(), self.identity());
        log::debug!(
            "connection {id} ({nick:?}) joins the room {} as {identity}",
            self.topic
        );
        client.attach_session(&ENCODER, Box::new(RoomWriter { line_bytes }), b"");
        let others = {
            let mut nicks = self.nicks.lock();
            let count = nicks.entry(nick.into()).or_default();
            *count += 1;
            *count - 1
        };
        if others > 0 || client.has_retained(topic(&self.presence(nick))) {
            let notice = format!("{nick} is taken; another member here has the same nick");
            client.answer(&text::notice(&notice));
        }
        let filter = Filter::parse(&*self.topic).expect("a topic is a filter");
        let options = SubscriptionOptions {
            no_local: true,
            ..SubscriptionOptions::default()
        };
        match client.subscribe_with([(Ok(filter), options)]).pop() {
            Some(Ok(subscribed)) => client.send_retained(filter, &subscribed),
            _ => client.answer(&text::notice(
                "there is no memory for another member; you hear nothing here",
            )),
        }
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
        let payload = text::said(nick, said);
        let payload = Escaped::escape(&payload);
        let most = client.limits().line_bytes;
        if payload.as_line().len() + self.topic.len() + "PUBLISH  ".len() > most {
            let why = format!("this text is too long for a broker with lines of {most} bytes");
            return Err(NotSaid(why));
        }
        let message = Message::of_line(topic(&self.topic), payload, Attributes::default());
        client.publish(&[], message).map(drop).map_err(|_| {
            let why = "only the broker itself may publish in this room";
            NotSaid(why.to_owned())
        })
    }

    /// Takes a member out: it hears no more, and its presence ends, unless another member has its nick.
    pub(crate) fn leave(&self, client: &mut Client<'_>, nick: &str, was_announced: bool) {
        let filter = Filter::parse(&*self.topic).expect("a topic is a filter");
        client.unsubscribe(filter);
        client.forget_will();
        if self.forget(nick) && was_announced {
            let gone = self.presence(nick);
            let gone = topic(&gone);
            let message = Message::of_line(gone, Escaped::default(), attributes_of_presence());
            let _ = client.publish(&[], message);
        }
    }

    /// Removes a nick; returns whether no other member has it.
    fn forget(&self, nick: &str) -> bool {
        let mut nicks = self.nicks.lock();
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

    fn presence(&self, nick: &str) -> String {
        format!("{}/$who/{nick}", self.topic)
    }
}

/// The answer to a client for which there is no place.
pub(crate) fn busy(why: &str) -> Vec<u8> {
    text::notice(&format!("{why}; try again later"))
}

fn topic(name: &str) -> Topic<'_> {
    Topic::parse(name).expect("topics of a room are checked")
}

fn attributes_of_presence() -> Attributes<'static> {
    let mut attributes = Attributes::default();
    attributes.push_flag(RETAIN).expect("it is a valid key");
    attributes
}
