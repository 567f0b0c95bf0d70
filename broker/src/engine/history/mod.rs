//! The past of topics: which messages are kept, where they are in the log, and how they are read.

pub(crate) mod lines;
pub(crate) mod past;
pub(crate) mod rules;
pub(crate) mod tail;
pub(crate) mod topic;
pub(crate) mod topics;
mod total;
mod visible;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;
use std::ops::{Bound, Range};
use std::sync::Arc;

use protocol::{AckLevel, Filter, Incomplete, PastStart, Position, Topic};

use crate::storage::clean_segment::NeededRun;
use crate::storage::frame::FrameKind;
use crate::storage::log::NewFrame;
use crate::storage::store::Store;
use crate::storage::{NotKept, now_ms};
use crate::sync::{AtomicU64, Mutex, Ordering, RwLock};

use lines::LineReader;
use past::{Chosen, Past};
use tail::HistoryTail;
use topic::{KeptRun, KeptTopic};
use topics::KeptTopics;
use visible::Visible;

/// Bytes of a frame, unless one topic has more in one batch.
const FRAME_BYTES: usize = 64 * 1024;

/// Below this number it is not worthwhile to leave the newest runs alone.
const LEAST_RUNS: u64 = 4096;

/// All topics that keep messages.
pub(crate) struct History {
    store: Arc<Store>,
    topics: KeptTopics,
    /// Held by publishers until what they have appended is known to its topic. Lock order: before the end of the log, and
    /// before a topic.
    appending: RwLock<()>,
    tail: Arc<HistoryTail>,
    visible: Visible,
    /// The number behind the last message of topics that are no more, because they have nothing. Lock order: after that of
    /// all topics.
    removed_end: Mutex<u64>,
    /// The lowest numbers that messages may have which are on their way to the log and to the retained ones.
    retaining: Mutex<Vec<u64>>,
    /// There is no room for messages before this number.
    forgotten_before: AtomicU64,
}

/// A message on its way to the log and to the retained ones.
pub(crate) struct Retaining<'h> {
    history: &'h History,
    /// It has this number or a higher one.
    number: u64,
}

impl Drop for Retaining<'_> {
    fn drop(&mut self) {
        let mut retaining = self.history.retaining.lock();
        let at = retaining.iter().position(|&it| it == self.number);
        at.map(|at| retaining.swap_remove(at));
    }
}

/// Messages of one topic that are to be kept: lines, one after the other.
pub(crate) struct KeptLines {
    /// None if they are kept for sessions alone.
    pub(crate) topic: Option<Arc<KeptTopic>>,
    /// The buffer that they are in, and where.
    pub(crate) buffer: usize,
    pub(crate) bytes: Range<usize>,
    pub(crate) messages: u32,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// How safe they are before their publisher is told so.
    pub(crate) level: AckLevel,
}

impl History {
    pub(crate) fn new(store: Arc<Store>, topics: KeptTopics) -> Self {
        let tail = Arc::default();
        Self {
            store,
            topics,
            appending: RwLock::new(()),
            visible: Visible::new(&tail),
            tail,
            removed_end: Mutex::default(),
            retaining: Mutex::default(),
            forgotten_before: AtomicU64::new(0),
        }
    }

    /// Whether the topic keeps what is published on it.
    pub(crate) fn keeps(&self, name: Topic<'_>) -> bool {
        self.topics.keeps(name)
    }

    /// A message is about to be appended that is retained afterwards; until the result is dropped, followers do not rely on
    /// finding it there.
    pub(crate) fn note_retaining(&self) -> Retaining<'_> {
        let mut retaining = self.retaining.lock();
        // Behind the lock: a follower that has not seen it in `now` begins at this number or before it.
        let number = self.store.log().next_seen();
        retaining.push(number);
        Retaining {
            history: self,
            number,
        }
    }

    /// The number from which on a client follows that wants what is new, under the lock of the retained messages. It waits
    /// for no disk. What is on its way to the log and to those comes to it from the log.
    pub(crate) fn now(&self) -> u64 {
        let end = self.store.log().next_seen();
        let end = end.min(self.visible.first_hidden());
        // Inside the lock of the retained messages, and before no other.
        let retaining = self.retaining.lock();
        let first = retaining.iter().copied().min();
        first.map_or(end, |first| first.min(end))
    }

    /// Where the message with this number is.
    pub(crate) fn position(&self, number: u64) -> Position {
        self.store.position(number)
    }

    /// The end of the log as followers see it.
    pub(crate) fn tail(&self) -> &HistoryTail {
        &self.tail
    }

    /// The number behind the last message that followers may see.
    pub(crate) fn visible_end(&self) -> u64 {
        self.visible.end(&self.store)
    }

    /// The number of the next message.
    pub(crate) fn next(&self) -> u64 {
        self.store.log().next()
    }

    /// Reads what is kept.
    pub(crate) fn reader(&self) -> LineReader<'_> {
        LineReader::new(&self.store)
    }

    /// The number of the oldest message of a topic that was not forgotten; one behind all if there is none.
    pub(crate) fn oldest_of(&self, name: &str) -> u64 {
        self.topics.oldest_of(name)
    }

    /// The number of the oldest entry that the log may have.
    pub(crate) fn oldest(&self) -> u64 {
        self.store.log().oldest()
    }

    /// Bytes that were appended since the start.
    pub(crate) fn appended(&self) -> u64 {
        self.store.log().appended()
    }

    /// The topic, if it keeps what is published on it.
    pub(crate) fn topic(&self, name: Topic<'_>) -> Result<Option<Arc<KeptTopic>>, NotKept> {
        self.topics.topic(name)
    }

    /// Takes room for lines of so many bytes, with the frames around them.
    pub(crate) fn admit(&self, bytes: u64) -> Result<(), NotKept> {
        self.store.log().admit(bytes)
    }

    /// Gives back what was not needed.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.store.log().give_back(bytes);
    }

    /// Keeps messages, which survive the end of this process from then on. Returns the sequence number of the first; the
    /// others follow on. `admitted` is the room that was taken for them, and for `record`, which comes right before them.
    pub(crate) fn append(
        &self,
        all: &[KeptLines],
        buffers: [&[u8]; 2],
        admitted: u64,
        record: Option<&[u8]>,
    ) -> Result<u64, NotKept> {
        let groups = groups(all);
        let bodies: Vec<Vec<&[u8]>> = groups.iter().map(|group| pieces(group, buffers)).collect();
        let record = record.as_slice();
        let record = (!record.is_empty()).then(|| NewFrame::new(FrameKind::State, 1, record));
        let records = u64::from(record.is_some());
        let lines = groups.iter().zip(&bodies).map(|(group, body)| {
            let count = group.iter().map(|lines| lines.messages).sum();
            let (qos, retain) = (group[0].qos, group[0].retain);
            NewFrame::new(FrameKind::Lines { qos, retain }, count, body)
        });
        let frames: Vec<NewFrame<'_>> = record.into_iter().chain(lines).collect();
        let _appending = self.appending.read();
        let is_hidden = all.iter().any(|lines| lines.level == AckLevel::Disk);
        let hiding = is_hidden.then(|| self.visible.hide(&self.store));
        let first = self.store.append_lines(&frames, admitted)? + records;
        if let Some(hiding) = hiding {
            let messages = all.iter().map(|lines| u64::from(lines.messages));
            hiding.note(first..first + messages.sum::<u64>());
        }
        let mut next = first;
        for lines in all {
            if let Some(topic) = &lines.topic {
                let run = KeptRun {
                    first: next,
                    messages: lines.messages,
                    bytes: u32::try_from(lines.bytes.len()).unwrap_or(u32::MAX),
                };
                self.topics.add(topic, run);
            }
            next += u64::from(lines.messages);
        }
        self.tail.wake();
        Ok(first)
    }

    /// Forgets what is too old, and topics that have nothing more. Returns the number of the oldest message that is kept,
    /// or one behind all.
    pub(crate) fn forget_old(&self) -> io::Result<u64> {
        // Whatever is appended later comes behind this one, and what was before is known to its topic once the lock is had.
        let mut oldest = self.store.log().next();
        drop(self.appending.write());
        let mut younger = Younger::default();
        for topic in self.topics.all.read().values() {
            self.forget_old_of(topic, &mut younger)?;
            let size = topic.size();
            if size.messages > 0 {
                oldest = oldest.min(size.oldest);
            }
        }
        // A publisher that has remembered a topic adds to that one.
        let is_needed = |topic: &Arc<KeptTopic>| Arc::strong_count(topic) > 1;
        let mut topics = self.topics.all.write();
        let mut removed_end = self.removed_end.lock();
        topics.retain(|_, topic| {
            let stays = topic.size().messages > 0 || is_needed(topic);
            if !stays {
                *removed_end = topic.forgotten_end().max(*removed_end);
            }
            stays
        });
        Ok(oldest)
    }

    fn forget_old_of(&self, topic: &KeptTopic, younger: &mut Younger) -> io::Result<()> {
        let Some(age) = topic.age_ms() else {
            return Ok(());
        };
        let first = match younger.0.get(&age) {
            Some(&first) => first,
            None => {
                let first = self.store.log().younger(now_ms().saturating_sub(age))?;
                younger.0.insert(age, first);
                first
            }
        };
        self.topics.forget_before(topic, first);
        Ok(())
    }

    /// Forgets all messages before this number: there is no room for them.
    pub(crate) fn forget_before(&self, sequence: u64) {
        self.forgotten_before.store(sequence, Ordering::Relaxed);
        let topics = self.topics.all.read();
        let forgotten: u64 = topics
            .values()
            .map(|topic| self.topics.forget_before(topic, sequence))
            .sum();
        if forgotten > 0 {
            log::info!(
                "the store: {forgotten} messages are more than --keep-total allows, and are forgotten"
            );
        }
    }

    /// The number before which there is no room for messages.
    pub(crate) fn forgotten_before(&self) -> u64 {
        self.forgotten_before.load(Ordering::Relaxed)
    }

    /// How many topics keep messages, or were about to.
    pub(crate) fn topic_count(&self) -> usize {
        self.topics.all.read().len()
    }

    /// How many messages are kept, and in how many topics.
    pub(crate) fn size(&self) -> (u64, usize) {
        let topics = self.topics.all.read();
        let messages = topics.values().map(|topic| topic.size().messages).sum();
        (messages, topics.len())
    }

    /// Bytes of the messages that are kept.
    pub(crate) fn bytes(&self) -> u64 {
        let topics = self.topics.all.read();
        topics.values().map(|topic| topic.size().bytes).sum()
    }

    /// The messages with these numbers that are kept, in order.
    pub(crate) fn needed_in(&self, numbers: Range<u64>) -> Vec<NeededRun> {
        // What was appended before is known to its topic once the lock is had.
        drop(self.appending.write());
        let mut runs = Vec::new();
        for topic in self.topics.all.read().values() {
            topic.runs_in(numbers.clone(), &mut runs);
        }
        runs.sort_unstable_by_key(|run| run.first);
        let needed = runs.into_iter().map(|run| NeededRun {
            numbers: run.first..run.end(),
            bytes: run.bytes.into(),
        });
        needed.collect()
    }

    /// Maximum topics that keep messages.
    pub(crate) fn most_topics(&self) -> usize {
        self.topics.most()
    }

    /// Calls `each` with topics that the filter matches and what they keep, from the name `from` on, in order. Looks at
    /// about `at_a_time` topics; returns the name to go on from, or none at the end.
    pub(crate) fn look(
        &self,
        filter: Filter<'_>,
        from: &str,
        at_a_time: usize,
        mut each: impl FnMut(&str, KeptFound),
    ) -> Option<String> {
        let (topics, next) = {
            let all = self.topics.all.read();
            let mut rest = all.range::<str, _>((Bound::Included(from), Bound::Unbounded));
            let part = rest.by_ref().take(at_a_time);
            let topics: Vec<Arc<KeptTopic>> = part
                .filter(|(name, _)| Topic::parse(&***name).is_ok_and(|topic| filter.matches(topic)))
                .map(|(_, topic)| topic.clone())
                .collect();
            (topics, rest.next().map(|(name, _)| name.to_string()))
        };
        let mut younger = Younger::default();
        for topic in topics {
            // What is too old does not count any more. A disk that cannot be read is told where messages are.
            let _ = self.forget_old_of(&topic, &mut younger);
            let size = topic.size();
            if size.messages > 0 {
                let oldest_ms = self.store.log().time_ms(size.oldest);
                let found = KeptFound {
                    messages: size.messages,
                    bytes: size.bytes,
                    oldest: self.store.position(size.oldest),
                    newest: self.store.position(size.newest),
                    oldest_ms: oldest_ms.ok().flatten(),
                };
                each(topic.name(), found);
            }
        }
        next
    }

    /// The messages that a client asks for, of those topics that match the filter and that it may see.
    pub(crate) fn past(
        &self,
        filter: Filter<'_>,
        start: PastStart,
        may_see: impl Fn(Topic<'_>) -> bool,
    ) -> io::Result<PastFound> {
        let log = self.store.log();
        // What comes later is not of the past, and what was before is known to its topic once the lock is had.
        let end = self.visible_end();
        drop(self.appending.write());
        let is_asked = |topic: Topic<'_>| filter.matches(topic) && may_see(topic);
        let topics: Vec<Arc<KeptTopic>> = {
            let all = self.topics.all.read();
            let all = match filter.is_exact() {
                true => {
                    let only = Bound::Included(filter.pattern());
                    all.range::<str, _>((only, only))
                }
                false => all.range::<str, _>(..),
            };
            all.filter(|(name, _)| Topic::parse(&***name).is_ok_and(is_asked))
                .map(|(_, topic)| topic.clone())
                .collect()
        };
        let mut younger = Younger::default();
        for topic in &topics {
            self.forget_old_of(topic, &mut younger)?;
        }
        let (mut asked, mut since_ms) = (None, 0);
        let first = match start {
            PastStart::Now => end,
            PastStart::Each(_) | PastStart::All => 0,
            PastStart::Last(most) => first_of_newest(&topics, most, end),
            PastStart::After(position) => {
                let first = self.first_after(position, end)?.unwrap_or(0);
                asked = Some(first);
                first
            }
            PastStart::Ago(seconds) => {
                since_ms = now_ms().saturating_sub(seconds.saturating_mul(1000));
                log.younger(since_ms)?
            }
            PastStart::At(time_ms) => {
                since_ms = time_ms;
                log.younger(since_ms)?
            }
        };
        let incomplete = asked.and_then(|first| self.incomplete(filter, &topics, first));
        let chosen = topics.into_iter().map(|topic| {
            let first = match start {
                PastStart::Each(most) => topic.first_of_newest(most, end),
                _ => first,
            };
            Chosen {
                places: topic.place_of(first)..topic.place_of(end),
                topic,
                is_wanted: true,
                first,
            }
        });
        Ok(PastFound {
            incomplete,
            end,
            past: Past::new(&self.store, chosen.collect(), end, since_ms),
        })
    }

    /// Whether messages from this number on have been removed.
    fn incomplete(
        &self,
        filter: Filter<'_>,
        topics: &[Arc<KeptTopic>],
        first: u64,
    ) -> Option<Incomplete> {
        let only = Topic::parse(filter.pattern());
        if only.is_ok_and(|topic| !self.topics.keeps(topic)) {
            return Some(Incomplete { oldest: None });
        }
        let ends = topics.iter().map(|topic| topic.forgotten_end());
        let gone = ends.max().unwrap_or(0).max(*self.removed_end.lock());
        let is_complete = first >= self.store.log().oldest() && first >= gone;
        let numbers = topics.iter().map(|topic| topic.oldest());
        let oldest = numbers.min().unwrap_or(u64::MAX).min(self.next());
        (!is_complete).then(|| Incomplete {
            oldest: Some(self.store.position(oldest)),
        })
    }

    /// The number of the first message behind a position; none if this store has never given it.
    fn first_after(&self, position: Position, end: u64) -> io::Result<Option<u64>> {
        let now = self.store.position(position.sequence);
        let is_of_here = position.store == now.store && position.generation <= now.generation;
        if !is_of_here {
            return Ok(None);
        }
        // What a crash has taken was given again: then that comes behind it.
        let given_again = match position.generation == now.generation {
            true => None,
            false => self.store.log().end_of_generation(position.generation)?,
        };
        let first = position.sequence.saturating_add(1);
        match given_again {
            Some(again) => Ok(Some(first.min(again))),
            None => Ok((position.sequence < end).then_some(first)),
        }
    }

    /// The level that holds for a message of this topic, or of one that is kept for sessions alone.
    pub(crate) fn level(&self, topic: Option<&KeptTopic>, asked: Option<AckLevel>) -> AckLevel {
        if self.store.is_in_memory() {
            return AckLevel::Mem;
        }
        let of_topic = topic.and_then(KeptTopic::level);
        let level = asked.or(of_topic).unwrap_or(self.store.level());
        // It is written to the system in any case.
        level.max(AckLevel::Os)
    }
}

/// What one topic keeps.
pub(crate) struct KeptFound {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest: Position,
    pub(crate) newest: Position,
    /// When the oldest was published, or up to a minute before, in milliseconds since 1970; none if the log cannot be
    /// read.
    pub(crate) oldest_ms: Option<u64>,
}

/// The first numbers that are younger than some ages, in milliseconds.
#[derive(Default)]
struct Younger(HashMap<u64, u64>);

/// What was found of the past.
pub(crate) struct PastFound {
    pub(crate) incomplete: Option<Incomplete>,
    /// The number of the first message behind it.
    pub(crate) end: u64,
    pub(crate) past: Past,
}

/// The number of the first of the newest messages of all topics, of which there are at most so many.
fn first_of_newest(topics: &[Arc<KeptTopic>], most: u64, end: u64) -> u64 {
    let mut newest = Vec::new();
    for topic in topics {
        topic.newest(most, end, &mut newest);
        // Those of many topics are more than are wanted.
        if newest.len() as u64 > 2 * most + LEAST_RUNS {
            keep_newest(&mut newest, most);
        }
    }
    keep_newest(&mut newest, most);
    newest.last().map_or(end, |run| run.first)
}

/// Leaves the newest messages, the newest first.
fn keep_newest(runs: &mut Vec<KeptRun>, mut most: u64) {
    runs.sort_unstable_by_key(|run| Reverse(run.first));
    runs.retain_mut(|run| {
        let messages = u64::from(run.messages).min(most);
        run.first = run.end() - messages;
        run.messages = messages as u32;
        most -= messages;
        messages > 0
    });
}

/// The frames that lines make: of one kind, and not too long.
fn groups(all: &[KeptLines]) -> Vec<&[KeptLines]> {
    let mut bytes = 0;
    let mut groups = Vec::new();
    let mut begin = 0;
    for (at, lines) in all.iter().enumerate() {
        let is_other = (lines.qos, lines.retain) != (all[begin].qos, all[begin].retain);
        let ends = bytes + lines.bytes.len() > FRAME_BYTES || is_other;
        if at > begin && ends {
            groups.push(&all[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += lines.bytes.len();
    }
    if begin < all.len() {
        groups.push(&all[begin..]);
    }
    groups
}

/// The bytes of lines, in as few pieces as they are in.
fn pieces<'b>(group: &[KeptLines], buffers: [&'b [u8]; 2]) -> Vec<&'b [u8]> {
    let mut ranges: Vec<(usize, Range<usize>)> = Vec::new();
    for lines in group {
        match ranges.last_mut() {
            Some((buffer, range)) if *buffer == lines.buffer && range.end == lines.bytes.start => {
                range.end = lines.bytes.end;
            }
            _ => ranges.push((lines.buffer, lines.bytes.clone())),
        }
    }
    let ranges = ranges.into_iter();
    ranges
        .map(|(buffer, range)| &buffers[buffer][range])
        .collect()
}
