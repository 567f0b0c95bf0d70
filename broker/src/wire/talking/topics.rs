//! The topics of the web chat, besides those of every room.
//!
//! No wildcard matches a first level that begins with `$`, so a logger on `#` does not get a message twice;
//! and none at all matches below `$private`.

use protocol::{Filter, Topic};

/// The level below which objects for rooms are published. It takes the place of a room in the topic of objects
/// for a nick: no room has that name.
const OBJECTS: &str = "$talking";

/// The level below which each topic is for one nick.
const PRIVATE: &str = "$private";

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Objects, as they were sent.
    Objects,
    /// Private messages of any chat.
    Private,
    /// Messages of any chat to a room.
    Room,
}

impl Purpose {
    pub(super) fn of(topic: Topic<'_>) -> Self {
        let mut levels = topic.levels();
        match (levels.next(), levels.nth(1)) {
            (Some(OBJECTS), _) | (Some(PRIVATE), Some(OBJECTS)) => Self::Objects,
            (Some(PRIVATE), _) => Self::Private,
            _ => Self::Room,
        }
    }
}

/// Objects for all of a room.
pub(super) fn objects(room: &str) -> String {
    format!("{OBJECTS}/{room}")
}

/// Objects for a nick, in whatever room.
pub(super) fn private_objects(nick: &str) -> String {
    private(nick, OBJECTS)
}

/// Private messages to a nick in a room.
pub(super) fn private(nick: &str, room: &str) -> String {
    format!("{PRIVATE}/{nick}/{room}")
}

/// The presences of a nick in all rooms.
pub(super) fn presences(nick: &str) -> String {
    format!("+/$who/{nick}")
}

/// The room of a topic that [`presences`] matches.
pub(super) fn room_of_presence(topic: &str) -> Option<&str> {
    topic.split('/').next()
}

/// The filter of exactly this topic.
pub(super) fn filter(topic: &str) -> Filter<'_> {
    Filter::parse(topic).expect("nicks and rooms are checked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_its_purpose() {
        for (name, purpose) in [
            (objects("lobby"), Purpose::Objects),
            (private_objects("ann"), Purpose::Objects),
            (private("ann", "lobby"), Purpose::Private),
            ("lobby".to_owned(), Purpose::Room),
        ] {
            let topic = Topic::parse(&name).expect("a topic");
            assert_eq!(Purpose::of(topic), purpose, "{name}");
        }
        let presences = presences("ann");
        let topic = Topic::parse("lobby/$who/ann").expect("a topic");
        assert!(filter(&presences).matches(topic));
        assert_eq!(room_of_presence(topic.as_str()), Some("lobby"));
    }
}
