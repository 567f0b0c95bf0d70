//! Who one is and where, and which topics that means.

use super::name::Name;

/// A room, and a name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) room: Name,
    pub(crate) nick: Name,
}

/// What a topic of the room is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// What everybody hears.
    Room,
    /// What only those called as we are hear.
    Private,
    /// Who is here: the one whose name this is.
    Presence(&'a str),
}

impl Place {
    /// Where everybody is heard.
    pub(crate) fn room_topic(&self) -> &str {
        self.room.as_str()
    }

    /// Where `nick` alone hears.
    pub(crate) fn private_topic(&self, nick: &Name) -> String {
        format!("{}/@{nick}", self.room)
    }

    /// Where it stands, retained, that we are here.
    pub(crate) fn presence_topic(&self) -> String {
        format!("{}/$who/{}", self.room, self.nick)
    }

    /// Where it stands who is here.
    pub(crate) fn presence_filter(&self) -> String {
        format!("{}/$who/+", self.room)
    }

    /// All that one subscribes to here.
    pub(crate) fn filters(&self) -> [String; 3] {
        [
            self.room_topic().to_owned(),
            self.private_topic(&self.nick),
            self.presence_filter(),
        ]
    }

    /// What a topic is for; `None` if it is none of this place.
    pub(crate) fn part<'a>(&self, topic: &'a str) -> Option<Part<'a>> {
        let within = topic.strip_prefix(self.room.as_str())?;
        if within.is_empty() {
            return Some(Part::Room);
        }
        let level = within.strip_prefix('/')?;
        if let Some(nick) = level.strip_prefix("$who/") {
            return Some(Part::Presence(nick));
        }
        let nick = level.strip_prefix('@')?;
        (nick == self.nick.as_str()).then_some(Part::Private)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_its_part() {
        let place = Place {
            room: Name::room("lobby").expect("a name"),
            nick: Name::nick("ann").expect("a name"),
        };
        assert_eq!(place.filters(), ["lobby", "lobby/@ann", "lobby/$who/+"]);
        assert_eq!(place.part("lobby"), Some(Part::Room));
        assert_eq!(place.part("lobby/@ann"), Some(Part::Private));
        assert_eq!(place.part("lobby/$who/bob"), Some(Part::Presence("bob")));
        assert_eq!(
            place.part(&place.presence_topic()),
            Some(Part::Presence("ann"))
        );
        for elsewhere in ["lobby2", "lobb", "lobby/@bob", "lobby/x", "attic/@ann"] {
            assert_eq!(place.part(elsewhere), None, "{elsewhere}");
        }
    }
}
