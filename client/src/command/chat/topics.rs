//! A room and a nick, and their topics.

use super::name::ChatName;

/// A room, and a nick in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoomTopics {
    pub(crate) room: ChatName,
    pub(crate) nick: ChatName,
}

/// The role of a topic of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicRole<'a> {
    /// Messages to the room.
    Room,
    /// Private messages to our nick.
    Private,
    /// The presence of this nick.
    Presence(&'a str),
}

impl RoomTopics {
    /// The topic of messages to the room.
    pub(crate) fn room_topic(&self) -> &str {
        self.room.as_str()
    }

    /// The topic of private messages to `nick`. Brokers refuse wildcards below `$private`, but any client
    /// can subscribe to the exact topic.
    pub(crate) fn private_topic(&self, nick: &ChatName) -> String {
        format!("$private/{nick}/{}", self.room)
    }

    /// The topic of our presence, a retained message.
    pub(crate) fn presence_topic(&self) -> String {
        format!("{}/$who/{}", self.room, self.nick)
    }

    /// The filter of all presences.
    pub(crate) fn presence_filter(&self) -> String {
        format!("{}/$who/+", self.room)
    }

    /// All filters to subscribe to.
    pub(crate) fn filters(&self) -> [String; 3] {
        [
            self.room_topic().to_owned(),
            self.private_topic(&self.nick),
            self.presence_filter(),
        ]
    }

    /// The role of a topic; `None` if it does not belong to this room.
    pub(crate) fn role<'a>(&self, topic: &'a str) -> Option<TopicRole<'a>> {
        if topic == self.private_topic(&self.nick) {
            return Some(TopicRole::Private);
        }
        let within = topic.strip_prefix(self.room.as_str())?;
        if within.is_empty() {
            return Some(TopicRole::Room);
        }
        within.strip_prefix("/$who/").map(TopicRole::Presence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_its_part() {
        let topics = RoomTopics {
            room: ChatName::room("lobby").expect("a name"),
            nick: ChatName::nick("ann").expect("a name"),
        };
        assert_eq!(
            topics.filters(),
            ["lobby", "$private/ann/lobby", "lobby/$who/+"]
        );
        assert_eq!(topics.role("lobby"), Some(TopicRole::Room));
        assert_eq!(topics.role("$private/ann/lobby"), Some(TopicRole::Private));
        assert_eq!(
            topics.role("lobby/$who/bob"),
            Some(TopicRole::Presence("bob"))
        );
        assert_eq!(
            topics.role(&topics.presence_topic()),
            Some(TopicRole::Presence("ann"))
        );
        for elsewhere in [
            "lobby2",
            "lobb",
            "lobby/x",
            "lobby/@ann",
            "$private/bob/lobby",
            "$private/ann/attic",
        ] {
            assert_eq!(topics.role(elsewhere), None, "{elsewhere}");
        }
    }
}
