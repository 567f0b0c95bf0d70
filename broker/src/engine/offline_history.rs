//! What the log of a store has of the past, for tools, which start no engine: read, and held against rules.

use std::collections::BTreeMap;
use std::path::Path;

use protocol::{MessageLine, POSITION, PastStart, Position, StoreId, Topic};

use crate::engine::history::rules::{KeepRule, KeepRules};
use crate::engine::history::topics::KeptTopics;
use crate::engine::offline_store::read_store;
use crate::engine::stored_messages::with_time_left;
use crate::storage::format::Format;
use crate::storage::frame::FrameHeader;
use crate::storage::now_ms;
use crate::storage::record::{Apply, Record};
use crate::storage::report::StoreReport;
use crate::storage::store::StoreError;

/// A message of the log.
#[derive(Debug)]
pub struct LoggedMessage<'a> {
    /// When it was published, in milliseconds since 1970.
    pub time_ms: u64,
    /// The message with its position, and with the seconds that are left of its `ttl`.
    pub line: MessageLine<'a>,
}

/// What came of reading the log.
#[derive(Debug)]
pub struct LogRead {
    /// What is in the store.
    pub report: StoreReport,
    /// False if the position that was asked for is not of this store, or messages behind it have been removed.
    pub is_complete: bool,
}

/// Calls `each` with the messages of the log that are asked for, the oldest first, but for those whose `ttl` has run out:
/// those that topics keep by some rules, without rules all. They are read as they are called with, also while a broker
/// has the store. None if the folder has no store.
///
/// # Errors
///
/// The folder cannot be read, or a newer broker has written it.
pub fn read_log(
    folder: &Path,
    rules: &[KeepRule],
    start: PastStart,
    each: &mut dyn FnMut(LoggedMessage<'_>),
) -> Result<Option<LogRead>, StoreError> {
    let now = now_ms();
    let mut kept = (!rules.is_empty()).then(|| RuledTopics::new(rules, now));
    if let Some(kept) = &mut kept {
        read_store(folder, |disk| {
            *kept = RuledTopics::new(rules, now);
            StoreReport::read(disk, kept)
        })?;
        kept.forget_old();
    }
    let (mut is_of_here, mut next) = (true, 0);
    let read = read_store(folder, |disk| {
        let format = Format::read(disk)?;
        let id = format.as_ref().map(|format| format.id);
        let generation = format.map_or(0, |format| format.generation);
        let after = match start {
            PastStart::After(position) => Some(position),
            _ => None,
        };
        let is_here = |at: &Position| Some(at.store) == id && at.generation <= generation;
        is_of_here = after.is_none_or(|at| is_here(&at));
        let mut lines = LogLines {
            kept: kept.as_ref(),
            after: after.filter(is_here),
            since_ms: match start {
                PastStart::Ago(seconds) => now.saturating_sub(seconds.saturating_mul(1000)),
                PastStart::At(time_ms) => time_ms,
                PastStart::Now => u64::MAX,
                _ => 0,
            },
            id,
            now_ms: now,
            next: &mut next,
            each,
        };
        StoreReport::read(disk, &mut lines)
    })?;
    Ok(read.map(|report| LogRead {
        is_complete: match start {
            PastStart::After(at) => {
                let first = at.sequence.saturating_add(1);
                is_of_here && (report.changes.start..=report.changes.end).contains(&first)
            }
            _ => true,
        },
        report,
    }))
}

/// What a topic loses.
#[derive(Debug, PartialEq, Eq)]
pub struct KeptLoss {
    /// Its name.
    pub topic: String,
    /// How many messages it has.
    pub messages: u64,
    /// How many of them it loses.
    pub lost: u64,
}

/// What topics keep by some rules.
#[derive(Debug, PartialEq, Eq)]
pub struct KeptTrial {
    /// Messages, and topics that have some.
    pub messages: u64,
    /// The number of these topics.
    pub topics: usize,
    /// The topics that lose some, by their names.
    pub losses: Vec<KeptLoss>,
}

/// What topics would keep of the log by these rules, and what they would lose of what they keep by other ones, or of all
/// that the log has if there are none. None if the folder has no store.
///
/// # Errors
///
/// The folder cannot be read, or a newer broker has written it.
pub fn try_rules(
    folder: &Path,
    rules: &[KeepRule],
    before: &[KeepRule],
) -> Result<Option<KeptTrial>, StoreError> {
    let now = now_ms();
    let mut trial = RulesTrial::new(rules, before, now);
    let read = read_store(folder, |disk| {
        trial = RulesTrial::new(rules, before, now);
        StoreReport::read(disk, &mut trial)
    })?;
    Ok(read.map(|_| trial.end()))
}

/// Reads messages for `each`.
struct LogLines<'a> {
    kept: Option<&'a RuledTopics>,
    after: Option<Position>,
    since_ms: u64,
    id: Option<StoreId>,
    now_ms: u64,
    /// The number behind the last message that was read: another attempt goes on there.
    next: &'a mut u64,
    each: &'a mut dyn FnMut(LoggedMessage<'_>),
}

impl Apply for LogLines<'_> {
    fn record(&mut self, _: &Record<'_>) {}

    fn lines(&mut self, header: &FrameHeader, lines: &[u8]) {
        if header.time_ms < self.since_ms {
            return;
        }
        let waited_ms = self.now_ms.saturating_sub(header.time_ms);
        for (number, line) in (header.first..).zip(lines.split_inclusive(|&byte| byte == b'\n')) {
            // What a crash has taken was given again: then that comes behind the position.
            let is_before =
                |at: Position| header.generation <= at.generation && number <= at.sequence;
            if number < *self.next || self.after.is_some_and(is_before) {
                continue;
            }
            *self.next = number + 1;
            let Some(line) = with_time_left(line, waited_ms) else {
                continue;
            };
            let Some(mut line) = MessageLine::decode(&line) else {
                continue;
            };
            if self.kept.is_some_and(|kept| !kept.has(line.topic, number)) {
                continue;
            }
            if let Some(store) = self.id {
                let position = Position {
                    store,
                    generation: header.generation,
                    sequence: number,
                };
                let pushed = line
                    .attributes
                    .push(POSITION, position.to_string().as_bytes());
                pushed.expect("it is a key");
            }
            let time_ms = header.time_ms;
            (self.each)(LoggedMessage { time_ms, line });
        }
    }
}

/// What topics keep by some rules.
struct RuledTopics {
    topics: KeptTopics,
    now_ms: u64,
    /// For each age of a rule, in milliseconds, the number of the first message that is younger.
    younger: BTreeMap<u64, Option<u64>>,
}

impl RuledTopics {
    fn new(rules: &[KeepRule], now_ms: u64) -> Self {
        let ages = rules.iter().filter_map(|rule| rule.keeps?.age_ms());
        Self {
            younger: ages.map(|age| (age, None)).collect(),
            topics: KeptTopics::new(KeepRules::new(rules.to_vec()), usize::MAX),
            now_ms,
        }
    }

    /// Forgets what is too old, once all messages are there.
    fn forget_old(&self) {
        for topic in self.topics.list() {
            let younger = topic.age_ms().and_then(|age| self.younger.get(&age));
            if let Some(first) = younger {
                self.topics.forget_before(&topic, first.unwrap_or(u64::MAX));
            }
        }
    }

    /// How many messages each topic keeps.
    fn sizes(&self) -> BTreeMap<Box<str>, u64> {
        let topics = self.topics.list().into_iter();
        let sizes = topics.map(|topic| (topic.name().into(), topic.size().messages));
        sizes.filter(|(_, messages)| *messages > 0).collect()
    }

    fn has(&self, topic: Topic<'_>, number: u64) -> bool {
        self.topics.oldest_of(topic.as_str()) <= number
    }
}

impl Apply for RuledTopics {
    fn record(&mut self, _: &Record<'_>) {}

    fn lines(&mut self, header: &FrameHeader, lines: &[u8]) {
        for (&age_ms, first) in &mut self.younger {
            if first.is_none() && header.time_ms >= self.now_ms.saturating_sub(age_ms) {
                *first = Some(header.first);
            }
        }
        self.topics.take_back(header.first, lines);
    }
}

/// Rules beside others.
struct RulesTrial {
    after: RuledTopics,
    before: Option<RuledTopics>,
    /// How many messages each topic has in the log, without rules before.
    logged: BTreeMap<Box<str>, u64>,
}

impl RulesTrial {
    fn new(rules: &[KeepRule], before: &[KeepRule], now_ms: u64) -> Self {
        Self {
            after: RuledTopics::new(rules, now_ms),
            before: (!before.is_empty()).then(|| RuledTopics::new(before, now_ms)),
            logged: BTreeMap::new(),
        }
    }

    fn end(mut self) -> KeptTrial {
        self.after.forget_old();
        if let Some(before) = &self.before {
            before.forget_old();
            self.logged = before.sizes();
        }
        let left = self.after.sizes();
        let losses = self.logged.into_iter().map(|(topic, messages)| KeptLoss {
            lost: messages.saturating_sub(left.get(&topic).copied().unwrap_or(0)),
            topic: topic.into(),
            messages,
        });
        KeptTrial {
            messages: left.values().sum(),
            topics: left.len(),
            losses: losses.filter(|it| it.lost > 0).collect(),
        }
    }
}

impl Apply for RulesTrial {
    fn record(&mut self, _: &Record<'_>) {}

    fn lines(&mut self, header: &FrameHeader, lines: &[u8]) {
        self.after.lines(header, lines);
        if let Some(before) = &mut self.before {
            return before.lines(header, lines);
        }
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            let Some(line) = MessageLine::decode(line) else {
                continue;
            };
            match self.logged.get_mut(line.topic.as_str()) {
                Some(messages) => *messages += 1,
                None => {
                    self.logged.insert(line.topic.as_str().into(), 1);
                }
            }
        }
    }
}
