//! The rights that a rule gives or takes, and the words for them.

use std::fmt;

use super::effect::Effect;
use crate::auth::identity::mistake::unknown;

/// A right as it is written in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AccessRight {
    Publish,
    Retain,
    Subscribe,
    /// Subscribe, where a filter that asks for more is narrowed to what is allowed.
    SubscribeNarrow,
    /// Subscriptions shared in this group, or in any.
    Share(Option<Box<str>>),
    Will,
    History,
    Block,
    /// An inquiry, or any.
    Inquire(Option<&'static str>),
    Admin,
    Client,
    Nick,
    /// All but [`AccessRight::Admin`] and the names; with filters those that have some.
    All,
}

/// What a right is about, without what is behind its colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RightKind {
    Publish,
    Retain,
    Subscribe,
    Share,
    Will,
    History,
    Block,
    Inquire,
    Admin,
    Client,
    Nick,
}

/// What a client asks to do. With topics are all from [`AskedRight::Publish`] to [`AskedRight::History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedRight<'a> {
    /// Publish to a topic.
    Publish,
    /// Have a message retained, which also asks for [`AskedRight::Publish`].
    Retain,
    /// Subscribe to a filter.
    Subscribe,
    /// Subscribe to a filter as a member of this group.
    Share(&'a str),
    /// Have a will: what may be published, and what is allowed for wills alone.
    Will,
    /// Read what was published before.
    History,
    /// Subscribe so that publishers wait.
    Block,
    /// Inquire this.
    Inquire(&'a str),
    /// Give orders.
    Admin,
    /// Have a client identifier.
    Client,
    /// Have a name in rooms.
    Nick,
}

/// What may be asked behind `inquire:`.
pub(crate) const INQUIRIES: [&str; 8] = [
    "audit", "broker", "filters", "kept", "retained", "topics", "who", "why",
];

const RIGHTS: [&str; 12] = [
    "publish",
    "retain",
    "subscribe",
    "share",
    "will",
    "history",
    "block",
    "inquire",
    "admin",
    "client",
    "nick",
    "all",
];

/// Rights that have topics.
const OF_TOPICS: [RightKind; 6] = [
    RightKind::Publish,
    RightKind::Retain,
    RightKind::Subscribe,
    RightKind::Share,
    RightKind::Will,
    RightKind::History,
];

/// What is in `all` besides, if it is without topics.
const WITHOUT_TOPICS: [RightKind; 2] = [RightKind::Block, RightKind::Inquire];

impl AccessRight {
    /// Whether a word is meant as a right, also if what is behind its colon is wrong.
    pub(super) fn is_meant(word: &str) -> bool {
        let head = word.split_once(':').map_or(word, |(head, _)| head);
        RIGHTS.contains(&head)
    }

    /// Parses a word. An error is the place in it, and what would be right.
    pub(super) fn parse(word: &str) -> Result<Self, (usize, String)> {
        let (head, tail) = match word.split_once(':') {
            Some((head, tail)) => (head, Some(tail)),
            None => (word, None),
        };
        let at = head.len() + 1;
        let right = match (head, tail) {
            ("subscribe", Some("narrow")) => Self::SubscribeNarrow,
            ("subscribe", Some(tail)) => {
                return Err((at, unknown("way to subscribe", tail, &["narrow"])));
            }
            ("share", None) => Self::Share(None),
            ("share", Some(group)) => Self::Share(Some(share_group(group).ok_or_else(|| {
                let why = "the group of a shared subscription is one level without + and #";
                (at, why.to_owned())
            })?)),
            ("inquire", None) => Self::Inquire(None),
            ("inquire", Some(tail)) => {
                let known = INQUIRIES.iter().find(|known| **known == tail);
                let why = || (at, unknown("inquiry", tail, &INQUIRIES));
                Self::Inquire(Some(known.ok_or_else(why)?))
            }
            (_, Some(_)) if RIGHTS.contains(&head) => {
                let why = format!("nothing follows {head}; leave out the colon and what is behind");
                return Err((head.len(), why));
            }
            ("publish", None) => Self::Publish,
            ("retain", None) => Self::Retain,
            ("subscribe", None) => Self::Subscribe,
            ("will", None) => Self::Will,
            ("history", None) => Self::History,
            ("block", None) => Self::Block,
            ("admin", None) => Self::Admin,
            ("client", None) => Self::Client,
            ("nick", None) => Self::Nick,
            ("all", None) => Self::All,
            _ => return Err((0, unknown("right", word, &RIGHTS))),
        };
        Ok(right)
    }

    /// What it is about, in a rule with filters or without.
    pub(super) fn kinds(&self, has_filters: bool) -> Vec<RightKind> {
        let kind = match self {
            Self::Publish => RightKind::Publish,
            Self::Retain => RightKind::Retain,
            Self::Subscribe | Self::SubscribeNarrow => RightKind::Subscribe,
            Self::Share(_) => RightKind::Share,
            Self::Will => RightKind::Will,
            Self::History => RightKind::History,
            Self::Block => RightKind::Block,
            Self::Inquire(_) => RightKind::Inquire,
            Self::Admin => RightKind::Admin,
            Self::Client => RightKind::Client,
            Self::Nick => RightKind::Nick,
            Self::All if has_filters => return OF_TOPICS.to_vec(),
            Self::All => return [&OF_TOPICS[..], &WITHOUT_TOPICS].concat(),
        };
        vec![kind]
    }

    /// Whether a rule with it must have filters.
    pub(super) fn needs_filters(&self) -> bool {
        !matches!(self, Self::All) && self.takes_filters()
    }

    /// Whether a rule with it may have filters.
    pub(super) fn takes_filters(&self) -> bool {
        self.kinds(true).iter().any(|kind| kind.has_topics())
    }

    /// Whether a rule with it has names, which are no topics.
    pub(super) fn takes_names(&self) -> bool {
        matches!(self, Self::Client | Self::Nick)
    }
}

impl fmt::Display for AccessRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish => f.write_str("publish"),
            Self::Retain => f.write_str("retain"),
            Self::Subscribe => f.write_str("subscribe"),
            Self::SubscribeNarrow => f.write_str("subscribe:narrow"),
            Self::Share(None) => f.write_str("share"),
            Self::Share(Some(group)) => write!(f, "share:{group}"),
            Self::Will => f.write_str("will"),
            Self::History => f.write_str("history"),
            Self::Block => f.write_str("block"),
            Self::Inquire(None) => f.write_str("inquire"),
            Self::Inquire(Some(inquiry)) => write!(f, "inquire:{inquiry}"),
            Self::Admin => f.write_str("admin"),
            Self::Client => f.write_str("client"),
            Self::Nick => f.write_str("nick"),
            Self::All => f.write_str("all"),
        }
    }
}

impl RightKind {
    /// Whether it has topics.
    pub(super) fn has_topics(self) -> bool {
        OF_TOPICS.contains(&self)
    }
}

impl<'a> AskedRight<'a> {
    /// Parses it as rules have it.
    ///
    /// # Errors
    ///
    /// What would be right.
    pub fn parse(word: &'a str) -> Result<Self, String> {
        let right = AccessRight::parse(word).map_err(|(_, why)| why)?;
        let tail = word.split_once(':').map(|(_, tail)| tail);
        Ok(match (right, tail) {
            (AccessRight::Publish, _) => Self::Publish,
            (AccessRight::Retain, _) => Self::Retain,
            (AccessRight::Subscribe, _) => Self::Subscribe,
            (AccessRight::Share(_), Some(group)) => Self::Share(group),
            (AccessRight::Will, _) => Self::Will,
            (AccessRight::History, _) => Self::History,
            (AccessRight::Block, _) => Self::Block,
            (AccessRight::Inquire(_), Some(what)) => Self::Inquire(what),
            (AccessRight::Admin, _) => Self::Admin,
            (AccessRight::Client, _) => Self::Client,
            (AccessRight::Nick, _) => Self::Nick,
            (AccessRight::Share(_), None) => return Err("name the group: share:GROUP".to_owned()),
            (AccessRight::Inquire(_), None) => {
                return Err(format!(
                    "name the inquiry, as inquire:who: {}",
                    INQUIRIES.join(", ")
                ));
            }
            (AccessRight::SubscribeNarrow, _) => return Err("ask for subscribe".to_owned()),
            (AccessRight::All, _) => return Err("ask for one right".to_owned()),
        })
    }

    /// Whether it is about topics or filters.
    #[must_use]
    pub fn has_topics(self) -> bool {
        self.kinds(Effect::Allow)
            .iter()
            .all(|kind| kind.has_topics())
    }

    /// Rules of which kinds allow it, or deny it.
    pub(super) fn kinds(self, effect: Effect) -> &'static [RightKind] {
        match (self, effect) {
            (Self::Publish, _) => &[RightKind::Publish],
            (Self::Retain, _) => &[RightKind::Retain],
            (Self::Subscribe, _) => &[RightKind::Subscribe],
            // What must not be seen is not seen in a group, nor later.
            (Self::Share(_), Effect::Allow) => &[RightKind::Share],
            (Self::Share(_), Effect::Deny) => &[RightKind::Share, RightKind::Subscribe],
            (Self::History, Effect::Allow) => &[RightKind::History],
            (Self::History, Effect::Deny) => &[RightKind::History, RightKind::Subscribe],
            (Self::Will, _) => &[RightKind::Will, RightKind::Publish],
            (Self::Block, _) => &[RightKind::Block],
            (Self::Inquire(_), _) => &[RightKind::Inquire],
            (Self::Admin, _) => &[RightKind::Admin],
            (Self::Client, _) => &[RightKind::Client],
            (Self::Nick, _) => &[RightKind::Nick],
        }
    }

    /// What stands between `may not` and what it is about.
    pub(super) fn action(self) -> &'static str {
        match self {
            // The wire says that it is about the will.
            Self::Publish | Self::Will => "publish to",
            Self::Retain => "publish retained messages to",
            Self::Subscribe | Self::Share(_) => "subscribe to",
            Self::History => "read the history of",
            Self::Block => "subscribe with slow=block",
            Self::Inquire(_) => "inquire",
            Self::Admin => "give orders",
            Self::Client => "use the client identifier",
            Self::Nick => "use the name",
        }
    }
}

fn share_group(text: &str) -> Option<Box<str>> {
    let filter = format!("$share/{text}/x");
    let filter = protocol::Filter::parse(&filter).ok()?;
    (filter.group() == Some(text)).then(|| text.into())
}

/// The nearest right, if a word is like one.
pub(super) fn meant_right(word: &str) -> Option<String> {
    let told = unknown("right", word, &RIGHTS);
    told.ends_with(" is one").then_some(told)
}

/// What follows the names in a rule.
pub(super) fn right_follows() -> String {
    format!("a right follows here: {}", RIGHTS.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_colon_is_told_of_rights_alone() {
        for (word, told) in [
            ("publish:x", "nothing follows publish;"),
            ("fly:x", "a right is one of: publish, retain,"),
            ("fly", "a right is one of: publish, retain,"),
        ] {
            let why = AskedRight::parse(word).expect_err("it is no right");
            assert!(why.starts_with(told), "{word}: {why}");
        }
    }
}
