//! The state of a room without any I/O: deliveries go in, and lines to show and actions come out.

use std::collections::BTreeMap;

use client::{Account, Delivery, ID, RETAINED, Refusal};

use super::line::ChatLine;
use super::name::ChatName;
use super::payload::{self, ChatMessage, Presence};
use super::pending::{OutgoingMessage, Pending};
use super::topics::{RoomTopics, TopicRole};
use super::ui::ChatStatus;
use crate::visible;

/// Maximum number of participants that are counted. Messages of others are shown nevertheless.
const MAX_PEOPLE: usize = 1000;

/// The effect of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RoomEvent {
    Show(ChatLine),
    /// Publish our presence again, because another client with the same nick has cleared it.
    Announce,
    /// Subscribe to the presences again, to count the participants.
    Recount,
}

/// The room and our nick, the other participants, and our unconfirmed messages.
#[derive(Debug)]
pub(crate) struct Room {
    topics: RoomTopics,
    own_presence: Presence,
    /// Known presences: the nick in the topic, with the id in the payload.
    present: BTreeMap<String, Option<String>>,
    pub(crate) pending: Pending,
}

impl Room {
    pub(crate) fn new(topics: RoomTopics, own_presence: Presence) -> Self {
        Self {
            topics,
            own_presence,
            present: BTreeMap::new(),
            pending: Pending::default(),
        }
    }

    pub(crate) fn topics(&self) -> &RoomTopics {
        &self.topics
    }

    pub(crate) fn own_presence(&self) -> &Presence {
        &self.own_presence
    }

    /// The payload of our presence.
    pub(crate) fn presence_payload(&self) -> String {
        self.own_presence.payload(self.topics.nick.as_str())
    }

    /// Whether the presence under our nick is ours, so that we have to clear it when we leave.
    pub(crate) fn is_announced(&self) -> bool {
        let known = self.present.get(self.topics.nick.as_str());
        known.is_none_or(|id| self.is_ours(id.as_deref()))
    }

    fn is_ours(&self, id: Option<&str>) -> bool {
        id == Some(&self.own_presence.id)
    }

    /// Changes the room or the nick.
    pub(crate) fn move_to(&mut self, topics: RoomTopics) {
        if topics.room != self.topics.room {
            self.forget_people();
        } else if self.is_announced() {
            self.present.remove(self.topics.nick.as_str());
        }
        self.topics = topics;
    }

    /// Forgets the presences before they are received again.
    pub(crate) fn forget_people(&mut self) {
        self.present.clear();
    }

    /// What is shown around the lines. `disconnected` is why the connection is lost, if it is.
    pub(crate) fn status(&self, disconnected: Option<&str>) -> ChatStatus<'_> {
        let RoomTopics { room, nick } = &self.topics;
        let title = match disconnected {
            Some(disconnected) => format!("{room} · {nick} · {disconnected}"),
            None => format!("{room} · {nick} · {} here", self.present.len()),
        };
        ChatStatus {
            title,
            hint: format!("say something to {room}, or /help"),
            pending: self.pending.unconfirmed().collect(),
        }
    }

    /// The notice after joining.
    pub(crate) fn greeting(&self) -> ChatLine {
        let RoomTopics { room, nick } = &self.topics;
        let others: Vec<String> = self.others().collect();
        ChatLine::Notice(if others.is_empty() {
            format!("you are {nick} in {room}; nobody else is known to be here")
        } else {
            format!("you are {nick} in {room}; also here: {}", others.join(", "))
        })
    }

    /// The output of `/who`.
    pub(crate) fn who(&self) -> ChatLine {
        let RoomTopics { room, nick } = &self.topics;
        let mut people = vec![format!("{nick} (you)")];
        people.extend(self.others());
        ChatLine::Notice(format!("{} in {room}: {}", people.len(), people.join(", ")))
    }

    fn others(&self) -> impl Iterator<Item = String> {
        let own = self.topics.nick.as_str();
        let names = self.present.keys().filter(move |name| *name != own);
        names.map(|name| visible::name(name))
    }

    /// The notice if another client uses this nick.
    pub(crate) fn is_taken(&self, nick: &ChatName) -> Option<ChatLine> {
        let id = self.present.get(nick.as_str())?;
        (!self.is_ours(id.as_deref())).then(|| taken(nick))
    }

    /// Queues a message to the room under a random id.
    pub(crate) fn say(&mut self, id: String, text: &str) {
        let RoomTopics { room, nick } = &self.topics;
        let line = ChatLine::Said {
            nick: nick.to_string(),
            text: visible::text(text),
            own: true,
        };
        let payload = payload::message(nick.as_str(), text);
        self.pending.push(OutgoingMessage {
            id,
            topic: room.to_string(),
            payload,
            line,
        });
    }

    /// Queues a private message under a random id.
    pub(crate) fn say_to(&mut self, id: String, to: &ChatName, text: &str) {
        let nick = self.topics.nick.as_str();
        let line = ChatLine::Private {
            from: nick.to_owned(),
            to: to.to_string(),
            text: visible::text(text),
            own: true,
        };
        let (topic, payload) = (self.topics.private_topic(to), payload::message(nick, text));
        self.pending.push(OutgoingMessage {
            id,
            topic,
            payload,
            line,
        });
    }

    /// Handles receipts and a refusal; returns the lines to show.
    pub(crate) fn settle(&mut self, account: &Account, refusal: Option<&Refusal>) -> Vec<ChatLine> {
        let present = &self.present;
        let is_here = |nick: &str| present.contains_key(nick);
        self.pending.settle(account, refusal, is_here)
    }

    /// Handles a delivery; returns its effects in order.
    pub(crate) fn hear(&mut self, delivery: &Delivery<'_>) -> Vec<RoomEvent> {
        let (topic, payload, attributes) = match delivery {
            // The chat does not ask for the past.
            Delivery::Incomplete { .. } | Delivery::Current { .. } | Delivery::End { .. } => {
                return Vec::new();
            }
            Delivery::Gap { count } => {
                let missed = match count {
                    1 => "1 message was missed here".to_owned(),
                    n => format!("{n} messages were missed here"),
                };
                return vec![
                    RoomEvent::Show(ChatLine::Notice(missed)),
                    RoomEvent::Recount,
                ];
            }
            Delivery::Message {
                topic,
                payload,
                attributes,
            } => (topic, payload, attributes),
        };
        let payload = payload.unescape();
        match self.topics.role(topic.as_str()) {
            Some(TopicRole::Presence(nick)) => {
                let is_news = !attributes.contains(RETAINED);
                self.hear_presence(nick, &payload, is_news)
            }
            Some(role) => {
                let id = attributes.get(ID).unwrap_or_default();
                let line = match self.pending.take_copy(&id, &payload) {
                    Some(own) => own,
                    None => Some(self.heard(role, &payload)),
                };
                line.map(RoomEvent::Show).into_iter().collect()
            }
            None => Vec::new(),
        }
    }

    fn heard(&self, role: TopicRole<'_>, payload: &[u8]) -> ChatLine {
        let ChatMessage { nick, text } = ChatMessage::read(payload);
        match role {
            TopicRole::Private => ChatLine::Private {
                from: nick,
                to: self.topics.nick.to_string(),
                text,
                own: false,
            },
            TopicRole::Room | TopicRole::Presence(_) => ChatLine::Said {
                nick,
                text,
                own: false,
            },
        }
    }

    fn hear_presence(&mut self, nick: &str, payload: &[u8], is_news: bool) -> Vec<RoomEvent> {
        let is_own_name = nick == self.topics.nick.as_str();
        if payload.is_empty() {
            let was_here = self.present.remove(nick).is_some();
            return match (is_own_name, was_here) {
                // Another client with our nick has left, or an earlier connection of ours has
                // ended.
                (true, _) => vec![RoomEvent::Announce],
                (false, true) => vec![notice(nick, "left")],
                (false, false) => Vec::new(),
            };
        }
        let id = payload::presence_id(payload);
        if is_own_name {
            let is_new = self.present.insert(nick.to_owned(), id.clone()) != Some(id.clone());
            let is_other = is_new && !self.is_ours(id.as_deref());
            let taken = is_other.then(|| RoomEvent::Show(taken(&self.topics.nick)));
            return taken.into_iter().collect();
        }
        if let Some(known) = self.present.get_mut(nick) {
            *known = id;
            return Vec::new();
        }
        if self.is_ours(id.as_deref()) {
            // The nick that we are about to take.
            self.present.insert(nick.to_owned(), id);
            return Vec::new();
        }
        // A client that changes its nick announces the new one before it clears the old one.
        let renamed = id.as_ref().and_then(|id| {
            let mut people = self.present.iter();
            let (old, _) = people.find(|(_, known)| known.as_ref() == Some(id))?;
            Some(old.clone())
        });
        if let Some(old) = renamed.as_ref().filter(|_| is_news) {
            self.present.remove(old);
        }
        if self.present.len() < MAX_PEOPLE {
            self.present.insert(nick.to_owned(), id);
        }
        match renamed {
            _ if !is_news => Vec::new(),
            Some(old) => {
                let new = visible::name(nick);
                vec![notice(&old, &format!("is now called {new}"))]
            }
            None => vec![notice(nick, "joined")],
        }
    }
}

fn notice(nick: &str, what: &str) -> RoomEvent {
    RoomEvent::Show(ChatLine::Notice(format!("{} {what}", visible::name(nick))))
}

fn taken(nick: &ChatName) -> ChatLine {
    ChatLine::notice(format_args!(
        "another client here is called {nick} as well, and gets your private messages too; \
         /nick NAME gives you another name"
    ))
}

#[cfg(test)]
mod tests {
    use client::{Attributes, Escaped, Topic};

    use super::*;

    fn room() -> Room {
        let topics = topics("lobby", "ann");
        let own_presence = Presence {
            id: "id-of-ann".to_owned(),
            since: "2026-01-01T00:00:00Z".to_owned(),
        };
        let mut room = Room::new(topics, own_presence);
        let presence = room.presence_payload();
        assert_eq!(hear(&mut room, "", "lobby/$who/ann", &presence), [""; 0]);
        room
    }

    fn topics(room: &str, nick: &str) -> RoomTopics {
        RoomTopics {
            room: ChatName::room(room).expect("a name"),
            nick: ChatName::nick(nick).expect("a name"),
        }
    }

    /// The effects of a delivery as text.
    fn hear(room: &mut Room, id_or_flag: &str, topic: &str, payload: &str) -> Vec<String> {
        let mut attributes = Attributes::default();
        match id_or_flag {
            "" => {}
            RETAINED => attributes.push_flag(RETAINED).expect("a key"),
            id => attributes.push(ID, id.as_bytes()).expect("a key"),
        }
        let delivery = Delivery::Message {
            topic: Topic::parse(topic).expect("a topic"),
            payload: Escaped::escape(payload.as_bytes()),
            attributes,
        };
        words(room.hear(&delivery))
    }

    fn words(events: Vec<RoomEvent>) -> Vec<String> {
        let word = |event| match event {
            RoomEvent::Show(line) => line.to_string(),
            RoomEvent::Announce => "announce".to_owned(),
            RoomEvent::Recount => "recount".to_owned(),
        };
        events.into_iter().map(word).collect()
    }

    fn presence(nick: &str, id: &str) -> String {
        Presence {
            id: id.to_owned(),
            since: String::new(),
        }
        .payload(nick)
    }

    #[test]
    fn messages_go_to_the_room_and_private_ones_to_one_nick() {
        let mut room = room();
        let payload = payload::message("bob", "hi");
        assert_eq!(hear(&mut room, "", "lobby", &payload), ["bob: hi"]);
        assert_eq!(
            hear(&mut room, "", "$private/ann/lobby", &payload),
            ["bob -> ann: hi"]
        );
        assert_eq!(hear(&mut room, "", "$private/eve/lobby", &payload), [""; 0]);
        assert_eq!(
            hear(&mut room, "", "lobby", "typed by hand"),
            ["?: typed by hand"]
        );
    }

    #[test]
    fn our_own_message_is_shown_once_although_another_has_our_name() {
        let mut room = room();
        room.say("id-1".to_owned(), "hello");
        let account = client::Account {
            published: 0,
            answered: 0,
            copies: 0,
        };
        let letter = room.pending.next(&account).expect("a letter").clone();
        assert_eq!(letter.topic, "lobby");
        room.pending.mark_posted(1, &account);
        assert_eq!(
            hear(&mut room, "id-1", "lobby", &letter.payload),
            ["ann: hello"]
        );
        assert_eq!(
            hear(&mut room, "id-2", "lobby", &letter.payload),
            ["ann: hello"]
        );
        assert_eq!(
            hear(&mut room, "", "lobby", &letter.payload),
            ["ann: hello"]
        );
    }

    #[test]
    fn people_come_go_and_change_their_names() {
        let mut room = room();
        assert_eq!(
            hear(&mut room, RETAINED, "lobby/$who/bob", &presence("bob", "b")),
            [""; 0]
        );
        assert_eq!(
            hear(&mut room, "", "lobby/$who/eve", "here"),
            ["* eve joined"]
        );
        assert_eq!(
            room.greeting().text(),
            "you are ann in lobby; also here: bob, eve"
        );
        assert_eq!(hear(&mut room, "", "lobby/$who/eve", "still here"), [""; 0]);
        assert_eq!(
            hear(&mut room, "", "lobby/$who/rob", &presence("rob", "b")),
            ["* bob is now called rob"]
        );
        assert_eq!(hear(&mut room, "", "lobby/$who/bob", ""), [""; 0]);
        assert_eq!(room.who().text(), "3 in lobby: ann (you), eve, rob");
        assert_eq!(hear(&mut room, "", "lobby/$who/eve", ""), ["* eve left"]);
        assert_eq!(room.present.len(), 2);
    }

    #[test]
    fn another_client_with_our_nick_is_reported_once() {
        let mut room = room();
        let other = presence("ann", "another");
        let said = hear(&mut room, "", "lobby/$who/ann", &other);
        assert!(
            said[0].contains("another client here is called ann"),
            "{said:?}"
        );
        assert_eq!(hear(&mut room, "", "lobby/$who/ann", &other), [""; 0]);
        assert!(!room.is_announced(), "it is not ours to take away");
    }

    #[test]
    fn our_presence_is_said_again_when_another_has_taken_it_away() {
        let mut room = room();
        assert_eq!(hear(&mut room, "", "lobby/$who/ann", ""), ["announce"]);
        assert!(room.is_announced());
    }

    #[test]
    fn our_own_new_name_is_no_news() {
        for is_early in [true, false] {
            let mut room = room();
            let new = presence("anna", "id-of-ann");
            if is_early {
                assert_eq!(hear(&mut room, "", "lobby/$who/anna", &new), [""; 0]);
            }
            room.move_to(topics("lobby", "anna"));
            assert_eq!(hear(&mut room, "", "lobby/$who/anna", &new), [""; 0]);
            assert_eq!(hear(&mut room, "", "lobby/$who/ann", ""), [""; 0]);
            assert_eq!(room.who().text(), "1 in lobby: anna (you)");
            assert_eq!(room.present.len(), 1);
            assert!(room.is_announced());
        }
    }

    #[test]
    fn a_name_that_another_has_is_taken() {
        let mut room = room();
        hear(&mut room, "", "lobby/$who/bob", "here");
        assert!(room.is_taken(&topics("lobby", "bob").nick).is_some());
        assert!(room.is_taken(&topics("lobby", "eve").nick).is_none());
        assert!(room.is_taken(&topics("lobby", "ann").nick).is_none());
    }

    #[test]
    fn in_another_room_other_people_are_present() {
        let mut room = room();
        hear(&mut room, "", "lobby/$who/bob", "here");
        room.move_to(topics("attic", "ann"));
        assert_eq!(
            room.greeting().text(),
            "you are ann in attic; nobody else is known to be here"
        );
        assert_eq!(hear(&mut room, "", "lobby", "late"), [""; 0]);
    }

    #[test]
    fn a_gap_is_told_and_people_are_counted_again() {
        let mut room = room();
        let mut gap = |count| words(room.hear(&Delivery::Gap { count }));
        assert_eq!(gap(12), ["* 12 messages were missed here", "recount"]);
        assert_eq!(gap(1), ["* 1 message was missed here", "recount"]);
    }

    #[test]
    fn a_stranger_cannot_command_the_terminal_with_any_part() {
        let mut room = room();
        for (topic, payload) in [
            ("lobby", "\x1b[2J\x07"),
            ("lobby", &*payload::message("\x1b]0;x\x07", "\x1b[31m")),
            ("$private/ann/lobby", "\u{9b}2J"),
            ("lobby/$who/a\u{9b}2J", "here"),
            ("lobby/$who/a\u{9b}2J", ""),
        ] {
            let lines = hear(&mut room, "", topic, payload);
            let is_plain = lines.iter().all(|line| !line.contains(char::is_control));
            assert!(is_plain && !lines.is_empty(), "{lines:?}");
        }
    }
}
