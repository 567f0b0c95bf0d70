//! Limits of access files: how much of what an identity, or an address, may have.

use std::fmt;
use std::sync::Arc;

use super::rule::Who;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKind {
    /// Connections at a time.
    Connections,
    /// Sessions that outlast their connections.
    Sessions,
    /// Subscriptions of all connections and sessions together.
    Subscriptions,
    /// Their bytes, as they count to the memory of the broker.
    SubscriptionBytes,
    /// Retained messages.
    Retained,
    /// Their bytes, with the topics.
    RetainedBytes,
    /// Messages published in a second.
    Publish,
    /// Bytes sent to the broker in a second.
    Bytes,
    /// Bytes of a line, or of a packet or a message of another protocol.
    Line,
    /// Credentials shown in a minute that are wrong.
    Attempts,
}

/// A limit that counts for a client, and the line that says so.
#[derive(Clone, Debug)]
pub struct Limit {
    /// What is limited.
    pub kind: LimitKind,
    /// The most that there may be.
    pub most: u64,
    line: Arc<LimitLine>,
}

/// The limits of one identity: of each kind the one that counts. At least one.
#[derive(Clone, Debug)]
pub struct IdentityLimits(Box<[Limit]>);

/// The limits of each address.
#[derive(Clone, Debug, Default)]
pub struct AddressLimits {
    /// Of connections.
    pub connections: Option<Limit>,
    /// Of failed credentials in a minute.
    pub attempts: Option<Limit>,
}

/// A line `limit ...` of an access file. `Display` is `FILE:LINE: TEXT`.
#[derive(Debug)]
pub(super) struct LimitLine {
    pub(super) file: Arc<str>,
    pub(super) line: usize,
    /// Its words, with one space between.
    pub(super) text: Box<str>,
    pub(super) subject: LimitSubject,
    pub(super) limits: Box<[(LimitKind, u64)]>,
}

/// What a line is about.
#[derive(Debug)]
pub(super) enum LimitSubject {
    /// Each address.
    Address,
    /// Each identity of these.
    Identities { who: Box<[Who]>, except: Box<[Who]> },
}

/// A line about identities, as a table looks it up by what it has for the words of identities.
#[derive(Debug)]
pub(super) struct TableLimit<I> {
    pub(super) line: Arc<LimitLine>,
    pub(super) who: Box<[(I, Nearness)]>,
    pub(super) except: Box<[I]>,
}

/// How near a word is to the one identity that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nearness {
    Everyone,
    /// All that are known, or all that are not.
    Known,
    Group,
    Name,
}

impl LimitKind {
    /// All that an identity can have.
    pub(super) const OF_IDENTITIES: [Self; 9] = [
        Self::Connections,
        Self::Sessions,
        Self::Subscriptions,
        Self::SubscriptionBytes,
        Self::Retained,
        Self::RetainedBytes,
        Self::Publish,
        Self::Bytes,
        Self::Line,
    ];

    /// All that an address can have.
    pub(super) const OF_ADDRESSES: [Self; 2] = [Self::Connections, Self::Attempts];

    /// The word for it in files and figures.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Sessions => "sessions",
            Self::Subscriptions => "subscriptions",
            Self::SubscriptionBytes => "subscription-bytes",
            Self::Retained => "retained",
            Self::RetainedBytes => "retained-bytes",
            Self::Publish => "publish",
            Self::Bytes => "bytes",
            Self::Line => "line",
            Self::Attempts => "attempts",
        }
    }

    /// What follows a value.
    fn unit(self) -> &'static str {
        match self {
            Self::Publish | Self::Bytes => "/s",
            Self::Attempts => "/min",
            Self::Connections
            | Self::Sessions
            | Self::Subscriptions
            | Self::SubscriptionBytes
            | Self::Retained
            | Self::RetainedBytes
            | Self::Line => "",
        }
    }

    /// Whether a value is a size.
    pub(super) fn is_size(self) -> bool {
        match self {
            Self::SubscriptionBytes | Self::RetainedBytes | Self::Bytes | Self::Line => true,
            Self::Connections
            | Self::Sessions
            | Self::Subscriptions
            | Self::Retained
            | Self::Publish
            | Self::Attempts => false,
        }
    }
}

impl Limit {
    /// The file and the number of the line, as `home.access:12`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.line.file, self.line.line)
    }

    /// The whole line with its place.
    #[must_use]
    pub fn line(&self) -> String {
        self.line.to_string()
    }

    /// As in a file: `publish 50/s`.
    #[must_use]
    pub fn words(&self) -> String {
        let (kind, most, unit) = (self.kind, self.most, self.kind.unit());
        match kind.is_size() {
            true => format!("{} {}{unit}", kind.as_str(), shown_size(most)),
            false => format!("{} {most}{unit}", kind.as_str()),
        }
    }
}

/// A size in the largest unit that leaves no rest.
pub(super) fn shown_size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = |shift: &u32| bytes > 0 && bytes.trailing_zeros() >= *shift;
    match units.iter().find(|(_, shift)| whole(shift)) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

impl IdentityLimits {
    /// The limits by these lines for one that they call so; none if no line is about it.
    ///
    /// Of several lines that are about it, that counts which names it most nearly: its name before a group, a
    /// group before `known` or `anonymous`, these before `everyone`. Of equally near ones the lowest.
    pub(super) fn of<'a, I: PartialEq + 'a>(
        lines: impl Iterator<Item = &'a TableLimit<I>>,
        ids: &[I],
    ) -> Option<Self> {
        let mut nearest: Vec<(Nearness, Limit)> = Vec::new();
        for found in lines {
            let is_left_out = found.except.iter().any(|who| ids.contains(who));
            let called = found.who.iter().filter(|(who, _)| ids.contains(who));
            let Some(nearness) = called.map(|(_, near)| *near).max().filter(|_| !is_left_out)
            else {
                continue;
            };
            for &(kind, most) in &found.line.limits {
                let limit = Limit {
                    kind,
                    most,
                    line: found.line.clone(),
                };
                match nearest.iter_mut().find(|(_, known)| known.kind == kind) {
                    None => nearest.push((nearness, limit)),
                    Some(known) => {
                        let is_nearer = nearness > known.0;
                        if is_nearer || nearness == known.0 && limit.is_lower_than(&known.1) {
                            *known = (nearness, limit);
                        }
                    }
                }
            }
        }
        nearest.sort_by_key(|(_, limit)| limit.kind);
        let limits: Box<[Limit]> = nearest.into_iter().map(|(_, limit)| limit).collect();
        (!limits.is_empty()).then_some(Self(limits))
    }

    /// The limit of a kind, if there is one.
    #[must_use]
    pub fn get(&self, kind: LimitKind) -> Option<&Limit> {
        self.0.iter().find(|limit| limit.kind == kind)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.0.iter()
    }
}

impl Limit {
    /// Whether it counts before another one; of equal ones that of the first line, whatever the order of lines.
    fn is_lower_than(&self, other: &Self) -> bool {
        let rank = |limit: &Self| (limit.most, limit.line.file.clone(), limit.line.line);
        rank(self) < rank(other)
    }
}

impl AddressLimits {
    pub(super) fn add(&mut self, line: &Arc<LimitLine>) {
        for &(kind, most) in &line.limits {
            let limit = Limit {
                kind,
                most,
                line: line.clone(),
            };
            let place = match kind {
                LimitKind::Attempts => &mut self.attempts,
                _ => &mut self.connections,
            };
            if place
                .as_ref()
                .is_none_or(|known| limit.is_lower_than(known))
            {
                *place = Some(limit);
            }
        }
    }
}

impl Nearness {
    pub(super) fn of(who: &Who) -> Self {
        match who {
            Who::Everyone => Self::Everyone,
            Who::Known | Who::Anonymous => Self::Known,
            Who::Group(_) => Self::Group,
            Who::Name(_) => Self::Name,
        }
    }
}

impl fmt::Display for LimitLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{any_name, table};
    use super::*;
    use crate::auth::identity::{ClientIdentity, IdentityKind};

    pub(super) fn identity(name: &str, groups: &[&str]) -> ClientIdentity {
        ClientIdentity {
            name: any_name(name),
            groups: groups.iter().map(|group| any_name(group)).collect(),
            kind: IdentityKind::Password,
        }
    }

    #[test]
    fn the_line_that_names_an_identity_most_nearly_counts_for_each_kind_and_of_equals_the_lowest() {
        let table = table(
            "group sensors meter-1\n\
             limit everyone -@admin connections 10 line 64KiB\n\
             limit known connections 8\n\
             limit @sensors @home connections 4 publish 50/s\n\
             limit @slow connections 5 publish 2/s\n\
             limit meter-1 connections 9 bytes 1MiB/s\n\
             limit address connections 100 attempts 10/min\n\
             limit address connections 50\n",
        );
        for (name, groups, expected) in [
            ("anonymous", &[][..], "2: connections 10; 2: line 64KiB"),
            ("ann", &[], "3: connections 8; 2: line 64KiB"),
            (
                "ann",
                &["home"],
                "4: connections 4; 4: publish 50/s; 2: line 64KiB",
            ),
            (
                "ann",
                &["slow", "home"],
                "4: connections 4; 5: publish 2/s; 2: line 64KiB",
            ),
            (
                "meter-1",
                &["slow"],
                "6: connections 9; 5: publish 2/s; 6: bytes 1MiB/s; 2: line 64KiB",
            ),
            ("root", &["admin"], "3: connections 8"),
        ] {
            let limits = table.limits_of(&identity(name, groups)).expect("some");
            let told = limits
                .iter()
                .map(|limit| format!("{}: {}", limit.line.line, limit.words()));
            assert_eq!(
                told.collect::<Vec<_>>().join("; "),
                expected,
                "{name} {groups:?}"
            );
        }
        let of_addresses = table.address_limits();
        let told = |limit: &Option<Limit>| limit.as_ref().map(|limit| (limit.place(), limit.most));
        assert_eq!(
            told(&of_addresses.connections),
            Some(("home.access:8".to_owned(), 50))
        );
        assert_eq!(
            told(&of_addresses.attempts),
            Some(("home.access:7".to_owned(), 10))
        );
        assert_eq!(table.limit_count(), 7);
        let limits = table.limits_of(&identity("ann", &[])).expect("some");
        let line = limits
            .get(LimitKind::Connections)
            .expect("it is there")
            .line();
        assert_eq!(line, "home.access:3: limit known connections 8");
    }

    #[test]
    fn sizes_are_told_as_they_can_be_read() {
        let read = |text: &str| {
            let table = table(&format!("limit ann {text}\n"));
            let limits = table.limits_of(&identity("ann", &[])).expect("some");
            let words: Vec<String> = limits.iter().map(Limit::words).collect();
            words.join(" ")
        };
        for (text, told) in [
            ("line 1MiB", "line 1MiB"),
            ("line 1536KiB", "line 1536KiB"),
            ("line 1kB", "line 1000B"),
            ("line 200", "line 200B"),
            ("retained-bytes 0", "retained-bytes 0B"),
            ("bytes 1024KiB/s", "bytes 1MiB/s"),
            ("retained 1024", "retained 1024"),
        ] {
            assert_eq!(read(text), told);
            assert_eq!(read(told), told);
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::examples::table;
    use super::tests::identity;
    use super::*;

    proptest! {
        /// Compared with a naive evaluation: the words of a line from the nearest to the farthest.
        #[test]
        fn neither_the_order_of_lines_nor_their_split_means_anything(
            lines in vec((select(vec!["everyone", "known", "anonymous", "@a", "@b", "ann", "bob"]), select(vec!["", "-@a", "-bob"]), 1..6_u64), 0..8),
            name in select(vec!["ann", "bob", "anonymous"]),
            in_a in any::<bool>(),
            in_b in any::<bool>(),
        ) {
            let groups: Vec<&str> = [("a", in_a), ("b", in_b)].iter().filter(|(_, is_in)| *is_in).map(|(group, _)| *group).collect();
            let is = |word: &str| match word {
                "everyone" => true,
                "known" => name != "anonymous",
                _ => word == name || word.strip_prefix('@').is_some_and(|group| groups.contains(&group)),
            };
            let near = |word: &str| match word {
                "everyone" => 0,
                "known" | "anonymous" => 1,
                group if group.starts_with('@') => 2,
                _ => 3,
            };
            let about = lines.iter().filter(|(who, except, _)| is(who) && (except.is_empty() || !is(&except[1..])));
            let expected = about.map(|(who, _, most)| (-near(who), *most)).min().map(|(_, most)| most);
            let text = |lines: &[(&str, &str, u64)]| -> String {
                lines.iter().map(|(who, except, most)| format!("limit {who} {except} retained {most}\n")).collect()
            };
            let mut turned = lines.clone();
            turned.reverse();
            for lines in [lines, turned] {
                let table = table(&text(&lines));
                let limits = table.limits_of(&identity(name, &groups));
                let most = limits.and_then(|limits| limits.get(LimitKind::Retained).map(|limit| limit.most));
                prop_assert_eq!(most, expected);
            }
        }
    }
}
