//! The retained messages: the last message of each topic that was published with the retain flag.
//!
//! Stores complete lines; the publishing client adds the flag that marks them as retained.

use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use protocol::{Filter, Topic};

use crate::clock::Moment;
use crate::engine::outbox::run::PublishOptions;
use crate::engine::usage::{Reached, SizedMost, Usage};

/// Retained messages as lines, by topic. They belong to no session and outlive that of their publisher
/// [MQTT-3.1.2-7].
pub(crate) struct Retained {
    messages: Messages,
    /// Those under `$SYS/`. What the broker publishes is not counted.
    own: Messages,
    /// The number of those under `$SYS/` that clients have published.
    bridges: usize,
    bytes: usize,
    max_count: usize,
    max_bytes: usize,
    /// The number of messages retained so far.
    newest: u64,
}

/// A moment in the history of the retained messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetainedMark(u64);

/// Why a message could not be retained. `Display` says what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Count(usize),
    Bytes(usize),
    /// The identity for which it would be retained has as many as it may have.
    OfOwner(Reached),
}

/// The identity for which a message is retained, and how much of that it may have.
pub(crate) struct RetainedOwner {
    pub(crate) usage: Arc<Usage>,
    pub(crate) most: SizedMost,
}

/// Maximum names examined, and bytes of messages found, at a time: publishers of retained messages wait
/// for that long.
const NAMES_AT_ONCE: usize = 1024;
const BYTES_AT_ONCE: usize = 64 * 1024;

type Messages = BTreeMap<Box<str>, KeptEntry>;

/// A retained message, and for whom it counts.
struct KeptEntry {
    entry: Entry,
    owner: Option<Arc<Usage>>,
}

/// A part of the messages that a filter matches.
#[derive(Debug, Default)]
pub(crate) struct RetainedPart {
    pub(crate) entries: Vec<Entry>,
    /// The name to continue from, if there may be more.
    pub(crate) next: Option<String>,
}

/// A retained message.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its line.
    pub(crate) message: Bytes,
    /// The QoS at which it was published.
    pub(crate) qos: u8,
    pub(crate) kept: RetainedInfo,
    /// Its place among all messages that were retained.
    number: u64,
}

/// Facts about a retained message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetainedInfo {
    /// Bytes of the payload.
    pub(crate) payload: usize,
    pub(crate) since: Moment,
}

/// The number and bytes of the retained messages, with their limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) count: usize,
    /// With the topics.
    pub(crate) bytes: usize,
    pub(crate) max_count: usize,
    pub(crate) max_bytes: usize,
}

impl Retained {
    pub(crate) fn new(max_count: usize, max_bytes: usize) -> Self {
        Self {
            messages: Messages::new(),
            own: Messages::new(),
            bridges: 0,
            bytes: 0,
            max_count,
            max_bytes,
            newest: 0,
        }
    }

    /// This moment: messages retained from now on are newer.
    pub(crate) fn mark(&self) -> RetainedMark {
        RetainedMark(self.newest)
    }

    fn next_number(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// Sets the limits. Retained messages stay, even if they exceed them.
    pub(crate) fn set_limits(&mut self, max_count: usize, max_bytes: usize) {
        (self.max_count, self.max_bytes) = (max_count, max_bytes);
    }

    /// Sets the retained message of `topic` to `message`, which has `payload` payload bytes. It
    /// replaces an earlier one [MQTT-3.3.1-5], at QoS 0 as well [MQTT-3.3.1-7]. From then on it counts for `owner`.
    pub(crate) fn set_for(
        &mut self,
        topic: Topic<'_>,
        message: &[u8],
        payload: usize,
        qos: u8,
        owner: Option<&RetainedOwner>,
    ) -> Result<(), Full> {
        self.check(topic, message.len(), owner)?;
        let owner = owner.map(|owner| owner.usage.clone());
        self.put(topic, message, RetainedInfo::new(payload), qos, owner);
        Ok(())
    }

    /// Whether a message of this many bytes may be retained now.
    pub(crate) fn check(
        &self,
        topic: Topic<'_>,
        message: usize,
        owner: Option<&RetainedOwner>,
    ) -> Result<(), Full> {
        let name = topic.as_str();
        let is_own = topic.is_brokers_own();
        let kept = if is_own { &self.own } else { &self.messages }.get(name);
        let before = kept.map(|old| size(name, &old.entry.message));
        if before.is_none() && self.count() >= self.max_count {
            return Err(Full::Count(self.max_count));
        }
        let size = name.len() + message;
        let bytes = self.bytes - before.unwrap_or(0) + size;
        // Above a limit that was lowered, a message may still be replaced by one that is not longer.
        if bytes > self.max_bytes.max(self.bytes) {
            return Err(Full::Bytes(self.max_bytes));
        }
        match owner {
            Some(owner) => owner.check(kept, size, before).map_err(Full::OfOwner),
            None => Ok(()),
        }
    }

    /// Retains a message, whatever there may be. It counts for `owner`.
    pub(crate) fn put(
        &mut self,
        topic: Topic<'_>,
        message: &[u8],
        kept: RetainedInfo,
        qos: u8,
        owner: Option<Arc<Usage>>,
    ) {
        let name = topic.as_str();
        let size = size(name, message);
        if let Some(owner) = &owner {
            owner.retained.add(1, size);
        }
        self.bytes += size;
        let kept = KeptEntry {
            entry: Entry {
                message: Bytes::copy_from_slice(message),
                qos,
                kept,
                number: self.next_number(),
            },
            owner,
        };
        let is_own = topic.is_brokers_own();
        let replaced = if is_own {
            self.own.insert(name.into(), kept)
        } else {
            self.messages.insert(name.into(), kept)
        };
        match replaced {
            Some(replaced) => {
                self.bytes -= self::size(name, &replaced.entry.message);
                replaced.release(name);
            }
            None => self.bridges += usize::from(is_own),
        }
    }

    /// The next messages from the name `start` on, with the identity for which each counts; not those under `$SYS/`.
    /// Returns the name to continue from, if there may be more.
    pub(crate) fn part_from(
        &self,
        start: &str,
        mut show: impl FnMut(&Entry, Option<&Arc<Usage>>),
    ) -> Option<String> {
        let mut names = from(&self.messages, start);
        for (_, kept) in names.by_ref().take(NAMES_AT_ONCE) {
            show(&kept.entry, kept.owner.as_ref());
        }
        names.next().map(|(name, _)| name.to_string())
    }

    /// The same for a figure of the broker's own, without limits.
    pub(crate) fn set_own(&mut self, topic: Topic<'_>, message: &[u8], payload: usize) {
        let qos = PublishOptions::LINE.qos;
        let kept = KeptEntry {
            entry: Entry {
                message: Bytes::copy_from_slice(message),
                qos,
                kept: RetainedInfo::new(payload),
                number: self.next_number(),
            },
            owner: None,
        };
        if let Some(replaced) = self.own.insert(topic.as_str().into(), kept) {
            replaced.release(topic.as_str());
        }
    }

    fn count(&self) -> usize {
        self.messages.len() + self.bridges
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The number and bytes of the retained messages, with their limits.
    pub(crate) fn size(&self) -> Size {
        Size {
            count: self.count(),
            bytes: self.bytes,
            max_count: self.max_count,
            max_bytes: self.max_bytes,
        }
    }

    /// Removes the retained message of `topic`, as an empty message asks for [MQTT-3.3.1-10] (3.1.1)
    /// [MQTT-3.3.1-6] (5.0).
    pub(crate) fn clear(&mut self, topic: Topic<'_>) {
        let is_own = topic.is_brokers_own();
        let messages = if is_own {
            &mut self.own
        } else {
            &mut self.messages
        };
        if let Some(old) = messages.remove(topic.as_str()) {
            self.bridges -= usize::from(is_own);
            self.bytes -= size(topic.as_str(), &old.entry.message);
            old.release(topic.as_str());
        }
    }

    /// The messages that `filter` matches, which a new subscription receives [MQTT-3.3.1-6] (3.1.1)
    /// [MQTT-3.3.1-9] (5.0), in the order of topics: the next of them, from the name `start` on. Those
    /// retained after `since` are passed over, because they have been delivered. Subtrees that cannot
    /// match are skipped, so a filter costs as much as a walk through a tree of levels.
    pub(crate) fn find_from(
        &self,
        filter: Filter<'_>,
        start: &str,
        since: RetainedMark,
    ) -> RetainedPart {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let next = self.walk(filter, start, NAMES_AT_ONCE, |_, entry| {
            if !entry.is_newer_than(since) {
                bytes += entry.message.len();
                entries.push(entry.clone());
            }
            bytes < BYTES_AT_ONCE
        });
        RetainedPart { entries, next }
    }

    /// Facts about the retained message of `topic`.
    pub(crate) fn find(&self, topic: Topic<'_>) -> Option<RetainedInfo> {
        let messages = if topic.is_brokers_own() {
            &self.own
        } else {
            &self.messages
        };
        messages.get(topic.as_str()).map(|kept| kept.entry.kept)
    }

    /// Visits the messages that `filter` matches, from the name `start` on, until `most` names were
    /// examined. Returns the name to continue from, if there may be more.
    pub(crate) fn look(
        &self,
        filter: Filter<'_>,
        start: &str,
        most: usize,
        mut show: impl FnMut(&str, RetainedInfo),
    ) -> Option<String> {
        self.walk(filter, start, most, |name, entry| {
            show(name, entry.kept);
            true
        })
    }

    /// Visits the messages that `filter` matches, from the name `start` on, until `most` names were
    /// examined or `visit` returns false. Returns the name to continue from, if there may be more.
    fn walk(
        &self,
        filter: Filter<'_>,
        start: &str,
        mut most: usize,
        mut visit: impl FnMut(&str, &Entry) -> bool,
    ) -> Option<String> {
        let messages = self.seen_by(filter);
        let mut names = from(messages, start.max(first_name(filter)));
        while let Some((name, KeptEntry { entry, .. })) = names.next() {
            if most == 0 {
                return Some(name.to_string());
            }
            most -= 1;
            match leap(filter.pattern(), name) {
                Leap::Matches if visit(name, entry) => {}
                Leap::Matches => most = 0,
                Leap::Next => {}
                Leap::To(target) => names = from(messages, &target),
                Leap::End => return None,
            }
        }
        None
    }

    /// A filter matches either topics under `$SYS/` or others, never both.
    fn seen_by(&self, filter: Filter<'_>) -> &Messages {
        match filter.pattern().split('/').next() {
            Some("$SYS") => &self.own,
            _ => &self.messages,
        }
    }
}

#[cfg(test)]
impl Retained {
    /// The same for a message that is no one's.
    pub(crate) fn set(
        &mut self,
        topic: Topic<'_>,
        message: &[u8],
        payload: usize,
        qos: u8,
    ) -> Result<(), Full> {
        self.set_for(topic, message, payload, qos, None)
    }
}

impl Entry {
    /// Whether it was retained after this moment.
    pub(crate) fn is_newer_than(&self, mark: RetainedMark) -> bool {
        self.number > mark.0
    }
}

impl RetainedInfo {
    /// Of a message that is retained now.
    pub(crate) fn new(payload: usize) -> Self {
        let since = Moment::now();
        Self { payload, since }
    }
}

impl KeptEntry {
    /// The message is retained no more.
    fn release(&self, name: &str) {
        if let Some(owner) = &self.owner {
            owner.retained.remove(1, size(name, &self.entry.message));
        }
    }
}

impl RetainedOwner {
    /// Whether it may have another message of this many bytes, in the place of one with `before` bytes.
    fn check(
        &self,
        kept: Option<&KeptEntry>,
        bytes: usize,
        before: Option<usize>,
    ) -> Result<(), Reached> {
        let has = &self.usage.retained;
        let is_own = |owner: &Arc<Usage>| Arc::ptr_eq(owner, &self.usage);
        let replaces_own = kept
            .and_then(|kept| kept.owner.as_ref())
            .is_some_and(is_own);
        if !replaces_own && has.count() >= self.most.count {
            return Err(Reached::Count);
        }
        let given_back = before.filter(|_| replaces_own).unwrap_or(0);
        let next = has.bytes() - given_back + bytes;
        // Above a limit that was lowered, a message may still be replaced by one that is not longer.
        match next > self.most.bytes.max(has.bytes()) {
            true => Err(Reached::Bytes),
            false => Ok(()),
        }
    }
}

fn from<'a>(messages: &'a Messages, name: &str) -> btree_map::Range<'a, Box<str>, KeptEntry> {
    let bounds = (Bound::Included(name), Bound::Unbounded);
    messages.range::<str, _>(bounds)
}

/// No name before this one matches.
fn first_name(filter: Filter<'_>) -> &str {
    let pattern = filter.pattern();
    let wildcard = pattern.find(['+', '#']).unwrap_or(pattern.len());
    // `a/#` also matches `a`, so the slash before `#` is not part of the common prefix.
    pattern[..wildcard].trim_end_matches('/')
}

/// Where the next matching name may be.
enum Leap {
    /// At this name, and perhaps at the next.
    Matches,
    Next,
    /// Not before this name.
    To(String),
    End,
}

/// Compares a name with a pattern. Names are ordered by their bytes, in which `/` is followed by `0`:
/// so all names below `a/` are less than `a0`.
fn leap(pattern: &str, name: &str) -> Leap {
    if name.starts_with('$') && pattern.starts_with(['+', '#']) {
        return Leap::To("%".to_owned());
    }
    let mut wanted = pattern.split('/').peekable();
    let mut names = name.split('/').peekable();
    // The offset of the current level.
    let mut start = 0;
    loop {
        match (wanted.next(), names.next()) {
            (Some("#"), _) | (None, None) => return Leap::Matches,
            (Some("+"), Some(level)) => start += level.len() + 1,
            (Some(literal), Some(level)) if literal == level => start += level.len() + 1,
            (Some(literal), Some(_)) => {
                let mut target = format!("{}{literal}", &name[..start]);
                // `a/x!` lies between `a/x` and all names below it.
                if target.as_str() <= name && wanted.peek().is_some() {
                    target.push('/');
                }
                return if target.as_str() > name {
                    Leap::To(target)
                } else {
                    after_all_below(&name[..start])
                };
            }
            (Some(_), None) => return Leap::Next,
            (None, Some(_)) => return after_all_below(&name[..start]),
        }
    }
}

/// Skips all names that begin with `above`, which ends with a slash or is empty.
fn after_all_below(above: &str) -> Leap {
    match above.strip_suffix('/') {
        Some(above) => Leap::To(format!("{above}0")),
        None => Leap::End,
    }
}

fn size(name: &str, message: &[u8]) -> usize {
    name.len() + message.len()
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(most) => write!(
                f,
                "the broker retains {most} messages and no more; clear one with an empty payload"
            ),
            Self::Bytes(most) => write!(
                f,
                "the broker retains {most} bytes and no more; clear a message with an empty payload"
            ),
            Self::OfOwner(_) => f.write_str(
                "its publisher has as many retained messages as it may have; clear one with an empty payload",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::usage::Usages;

    fn topic(name: &str) -> Topic<'_> {
        Topic::parse(name).expect("a topic")
    }

    /// The lines of all messages that match, and the number of pieces in which they were found.
    fn in_pieces(retained: &Retained, filter: &str) -> (Vec<String>, usize) {
        let filter = Filter::parse(filter).expect("a filter");
        let (mut lines, mut pieces, mut next) = (Vec::new(), 0, Some(String::new()));
        while let Some(start) = next {
            let found = retained.find_from(filter, &start, retained.mark());
            let found_now = found.entries.iter().map(|entry| &entry.message);
            lines.extend(found_now.map(|line| String::from_utf8_lossy(line).into_owned()));
            (pieces, next) = (pieces + 1, found.next);
        }
        (lines, pieces)
    }

    fn matching(retained: &Retained, filter: &str) -> Vec<String> {
        in_pieces(retained, filter).0
    }

    #[test]
    fn a_message_counts_for_the_identity_that_published_it_last() {
        let usages = Usages::default();
        let [ann, bob] = ["ann", "bob"].map(|name| usages.of(&name.parse().expect("a name")));
        let most = SizedMost {
            count: 2,
            bytes: 20,
        };
        let owner = |usage: &Arc<Usage>| RetainedOwner {
            usage: usage.clone(),
            most,
        };
        let (of_ann, of_bob) = (owner(&ann), owner(&bob));
        let mut retained = Retained::new(10, 1000);
        let mut set = |name, bytes: usize, owner| {
            let line = vec![b'x'; bytes];
            let set = retained.set_for(topic(name), &line, 0, 0, owner);
            set.map_err(|full| matches!(full, Full::OfOwner(Reached::Bytes)))
        };
        let has = |usage: &Usage| (usage.retained.count(), usage.retained.bytes());
        assert_eq!(set("a", 9, Some(&of_ann)), Ok(()));
        assert_eq!(set("b", 10, Some(&of_ann)), Err(true));
        assert_eq!(set("b", 9, Some(&of_ann)), Ok(()));
        assert_eq!(set("c", 1, Some(&of_ann)), Err(false));
        assert_eq!(has(&ann), (2, 20));
        // In the place of one of its own.
        assert_eq!(set("a", 10, Some(&of_ann)), Err(true));
        assert_eq!(set("a", 8, Some(&of_ann)), Ok(()));
        assert_eq!(has(&ann), (2, 19));
        assert_eq!(set("a", 5, Some(&of_bob)), Ok(()));
        assert_eq!(set("b", 5, None), Ok(()));
        assert_eq!((has(&ann), has(&bob)), ((0, 0), (1, 6)));
        retained.clear(topic("a"));
        retained.clear(topic("a"));
        assert_eq!(has(&bob), (0, 0));
        // Above a limit that was lowered, a message may still be replaced by one that is not longer.
        ann.retained.add(0, 30);
        let mut set = |bytes: usize| {
            let line = vec![b'x'; bytes];
            retained.set_for(topic("a"), &line, 0, 0, Some(&of_ann))
        };
        assert!(set(1).is_err());
        ann.retained.remove(0, 30);
        assert!(set(10).is_ok());
        ann.retained.add(0, 30);
        assert!(set(11).is_err() && set(10).is_ok());
    }

    #[test]
    fn much_is_found_in_pieces_by_names_and_by_bytes() {
        let mut retained = Retained::new(10_000, 1 << 30);
        for n in 0..3000 {
            let name = format!("a/{n:04}/x");
            retained
                .set(topic(&name), name.as_bytes(), 0, 1)
                .expect("room");
        }
        assert_eq!(in_pieces(&retained, "a/1500/x").1, 1);
        // The last piece finds that there is no more.
        let (all, pieces) = in_pieces(&retained, "a/#");
        assert_eq!((all.len(), pieces), (3000, 3));
        assert!(all.is_sorted());
        // Nothing matches, and each name is looked at and skipped.
        let (none, pieces) = in_pieces(&retained, "a/+/y");
        assert_eq!(none.len(), 0);
        assert!(pieces >= 3, "{pieces}");
        for n in 0..10 {
            let name = format!("b/{n}");
            let line = vec![b'x'; BYTES_AT_ONCE / 2];
            retained.set(topic(&name), &line, 0, 1).expect("room");
        }
        let (all, pieces) = in_pieces(&retained, "b/#");
        assert_eq!((all.len(), pieces), (10, 5));
    }

    #[test]
    fn what_is_retained_during_a_walk_is_not_part_of_it() {
        let mut retained = Retained::new(10, 1000);
        for name in ["a", "b", "c"] {
            retained.set(topic(name), b"old", 0, 1).expect("room");
        }
        let since = retained.mark();
        retained.set(topic("b"), b"new", 0, 1).expect("room");
        retained.set(topic("d"), b"new", 0, 1).expect("room");
        retained.clear(topic("c"));
        let found = retained.find_from(Filter::parse("#").expect("a filter"), "", since);
        let lines: Vec<_> = found
            .entries
            .iter()
            .map(|entry| &entry.message[..])
            .collect();
        assert_eq!(lines, [b"old"]);
    }

    #[test]
    fn a_filter_gets_its_messages_in_topic_order() {
        let mut retained = Retained::new(10, 1000);
        for name in ["b", "a/x", "a", "ab", "a/b/c", "$x/x"] {
            retained
                .set(topic(name), name.as_bytes(), 0, 1)
                .expect("room");
        }
        assert_eq!(matching(&retained, "#"), ["a", "a/b/c", "a/x", "ab", "b"]);
        assert_eq!(matching(&retained, "a/#"), ["a", "a/b/c", "a/x"]);
        assert_eq!(matching(&retained, "a/+"), ["a/x"]);
        assert_eq!(matching(&retained, "+/x"), ["a/x"]);
        assert_eq!(matching(&retained, "a"), ["a"]);
        assert_eq!(matching(&retained, "c"), [""; 0]);
    }

    /// Names made of few, awkward levels, so that many are prefixes of others.
    fn names() -> Vec<String> {
        let levels = ["", "a", "a!", "a0", "b", "$x"];
        let mut names: Vec<String> = levels[1..].iter().map(|&level| level.to_owned()).collect();
        for depth in 0..2 {
            for at in 0..names.len() {
                for level in levels {
                    if depth == 0 || at % 3 == 0 {
                        names.push(format!("{}/{level}", names[at]));
                    }
                }
            }
        }
        names
    }

    #[test]
    fn what_is_found_is_what_matches_one_by_one() {
        let mut retained = Retained::new(10_000, 1 << 20);
        let mut names = names();
        for name in &names {
            retained
                .set(topic(name), name.as_bytes(), 0, 1)
                .expect("room");
        }
        names.sort_unstable();
        names.dedup();
        let mut filters: Vec<String> = names.clone();
        for name in &names {
            for (from, to) in [("a", "+"), ("b", "+"), ("$x", "+"), ("a!", "+")] {
                filters.push(name.replace(from, to));
            }
            filters.push(format!("{name}/#"));
            filters.push(format!("+/{name}/#"));
        }
        filters.extend(["#", "+", "+/#", "+/+", "/#", "c/#", "+/c"].map(str::to_owned));
        let mut checked = 0;
        for text in &filters {
            let Ok(filter) = Filter::parse(text) else {
                continue;
            };
            let expected: Vec<String> = names
                .iter()
                .filter(|name| filter.matches(topic(name)))
                .cloned()
                .collect();
            assert_eq!(matching(&retained, text), expected, "{text}");
            checked += 1;
        }
        assert!(checked > 500, "{checked}");
    }

    #[test]
    fn a_wildcard_looks_at_no_more_than_the_branches_it_has_to() {
        // A hundred rooms with a hundred sensors each: one sensor of each room matches.
        let names: Vec<String> = (0..10_000)
            .map(|n| format!("home/{:02}/{:02}", n / 100, n % 100))
            .collect();
        let names: std::collections::BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let (mut from, mut looked, mut found) = ("home".to_owned(), 0, 0);
        while let Some(name) = {
            let bounds = (Bound::Included(from.as_str()), Bound::Unbounded);
            names.range::<str, _>(bounds).next()
        } {
            looked += 1;
            from = match leap("home/+/50", name) {
                Leap::Matches => {
                    found += 1;
                    format!("{name}\0")
                }
                Leap::Next => format!("{name}\0"),
                Leap::To(target) => target,
                Leap::End => break,
            };
        }
        assert_eq!(found, 100);
        assert!(looked <= 301, "{looked} names looked at for {found}");
    }

    #[test]
    fn the_limits_hold_and_a_new_value_takes_the_place_of_the_old() {
        let mut retained = Retained::new(2, 10);
        retained.set(topic("a"), b"1234", 0, 1).expect("room");
        retained.set(topic("a"), b"12345", 0, 1).expect("room");
        assert_eq!(
            retained.set(topic("b"), b"1234", 0, 1),
            Err(Full::Bytes(10))
        );
        retained.set(topic("b"), b"123", 0, 1).expect("room");
        assert_eq!(retained.set(topic("c"), b"", 0, 1), Err(Full::Count(2)));
        retained.clear(topic("a"));
        retained.set(topic("c"), b"12345", 0, 1).expect("room");
        assert_eq!(matching(&retained, "#"), ["123", "12345"]);
    }

    #[test]
    fn lower_limits_keep_what_there_is_and_take_no_more() {
        let mut retained = Retained::new(3, 20);
        retained.set(topic("a"), b"1234", 0, 1).expect("room");
        retained.set(topic("b"), b"1234", 0, 1).expect("room");
        retained.set_limits(1, 5);
        assert_eq!(retained.set(topic("c"), b"", 0, 1), Err(Full::Count(1)));
        assert_eq!(
            retained.set(topic("a"), b"12345", 0, 1),
            Err(Full::Bytes(5))
        );
        retained.set(topic("a"), b"4321", 0, 1).expect("no longer");
        assert_eq!(matching(&retained, "#"), ["4321", "1234"]);
        retained.set_limits(3, 20);
        retained.set(topic("c"), b"1", 0, 1).expect("room");
    }

    #[test]
    fn what_is_shown_in_parts_is_all_that_matches() {
        let mut retained = Retained::new(10_000, 1 << 20);
        for name in names() {
            retained
                .set(topic(&name), name.as_bytes(), name.len(), 1)
                .expect("room");
        }
        for text in ["#", "a/+", "+/a/#", "$x/#", "a", "nothing/#"] {
            let filter = Filter::parse(text).expect("a filter");
            let (mut shown, mut from) = (Vec::new(), Some(String::new()));
            while let Some(name) = from {
                from = retained.look(filter, &name, 3, |name, kept| {
                    assert_eq!(kept.payload, name.len());
                    shown.push(name.to_owned());
                });
            }
            assert_eq!(shown, matching(&retained, text), "{text}");
        }
    }

    #[test]
    fn what_clients_publish_under_sys_is_counted() {
        let mut retained = Retained::new(2, 100);
        let names = ["x", "y", "z"].map(|id| format!("$SYS/broker/connection/{id}/state"));
        let [x, y, z] = names.each_ref().map(|name| topic(name));
        retained.set_own(topic("$SYS/broker/uptime"), b"1", 1);
        retained.set(x, b"1", 1, 1).expect("room");
        retained.set(x, b"0", 1, 1).expect("room");
        retained.set(y, b"1", 1, 1).expect("room");
        assert_eq!(retained.size().count, 2);
        assert_eq!(retained.set(z, b"1", 1, 1), Err(Full::Count(2)));
        assert_eq!(
            matching(&retained, "$SYS/broker/connection/+/state"),
            ["0", "1"]
        );
        retained.clear(x);
        assert_eq!(retained.size().count, 1);
        assert_eq!(retained.size().bytes, y.as_str().len() + 1);
        retained.set(topic("a"), b"1", 1, 1).expect("room");
    }

    #[test]
    fn what_is_the_brokers_own_is_not_counted_and_not_seen_by_others() {
        let mut retained = Retained::new(1, 20);
        retained.set(topic("a"), b"12345", 0, 1).expect("room");
        for (name, text) in [("$SYS/b", "b"), ("$SYS/a", "a"), ("$SYS/b", "bb")] {
            retained.set_own(topic(name), text.repeat(100).as_bytes(), 100);
        }
        assert_eq!(retained.size().count, 1);
        assert_eq!(retained.size().bytes, 6);
        assert_eq!(matching(&retained, "#"), ["12345"]);
        assert_eq!(matching(&retained, "$SYS/#").len(), 2);
        assert_eq!(matching(&retained, "$SYS/b"), ["bb".repeat(100)]);
        assert!(retained.find(topic("$SYS/a")).is_some());
        assert!(retained.find(topic("$SYS/c")).is_none());
    }
}
