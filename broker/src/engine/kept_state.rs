//! What of the engine's state a store keeps: how it is written there, and how a start takes it back.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::auth::identity::IdentityName;
use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::follow::{oldest_unread, pass_over};
use crate::engine::history::History;
use crate::engine::history::rules::{KeepRule, KeepRules};
use crate::engine::history::topics::KeptTopics;
use crate::engine::retained::{Entry, RetainedInfo};
use crate::engine::stored_messages::StoredChange;
use crate::engine::stored_sessions::{PartAhead, StoredSessions};
use crate::engine::usage::Usage;
use crate::storage::clean_segment::NeededRun;
use crate::storage::frame::FrameHeader;
use crate::storage::record::{Apply, Record, RetainedRecord, SessionRecord};
use crate::storage::snapshot_source::SnapshotSource;
use crate::storage::store::{Store, StoreError, StoreTerms, Waiting};
use crate::storage::survey::StoreFound;
use crate::storage::{SnapshotWriter, now_ms};

/// What is kept, and how.
pub(crate) struct StoreSettings {
    pub(crate) log: StoreTerms,
    pub(crate) rules: Vec<KeepRule>,
    /// Maximum topics that keep messages.
    pub(crate) most_topics: usize,
}

impl Engine {
    /// Opens the store in a folder, and takes back what it keeps. Limits are no reason to lose any of it.
    pub(crate) fn open_store(
        &self,
        folder: &Path,
        settings: StoreSettings,
        waiting: Waiting<'_>,
    ) -> Result<StoreFound, StoreError> {
        let now = (Moment::now(), now_ms());
        let topics = KeptTopics::new(KeepRules::new(settings.rules), settings.most_topics);
        let mut taking = TakingBack {
            engine: self,
            topics: &topics,
            now,
            sessions: StoredSessions::default(),
            unreadable: 0,
        };
        let (store, found) = Store::open(folder, &settings.log, waiting, &mut taking)?;
        let TakingBack {
            mut sessions,
            mut unreadable,
            ..
        } = taking;
        if let Some(PartAhead { key, part, .. }) = sessions.end() {
            // Before anything else follows it in the log.
            let kept = store.keep(&Record::Session(SessionRecord {
                value: sessions.part(&key, &part),
                key: &key,
                part: &part,
                messages: 0,
            }));
            kept.map_err(|why| io::Error::other(why.to_string()))?;
        }
        let store = Arc::new(store);
        let history = History::new(store.clone(), topics);
        self.router.set_history(Arc::new(history));
        unreadable += self.restore_sessions(sessions);
        if unreadable > 0 {
            // Their checksums are right, so they are not damaged.
            log::error!(
                "the store has {unreadable} records that this broker cannot read; it goes on without them"
            );
        }
        let _ = self.store.set(store);
        Ok(found)
    }

    /// Has topics keep messages in memory, until this process ends.
    pub(crate) fn keep_in_memory(&self, settings: StoreSettings) -> Result<(), StoreError> {
        let store = Arc::new(Store::in_memory(settings.log.most_bytes)?);
        let topics = KeptTopics::new(KeepRules::new(settings.rules), settings.most_topics);
        let history = History::new(store.clone(), topics);
        self.router.set_history(Arc::new(history));
        let _ = self.store.set(store);
        Ok(())
    }

    fn take_back(&self, record: &Record<'_>, (now, now_ms): (Moment, u64)) -> Option<()> {
        match StoredChange::read(record)? {
            StoredChange::Retained(message, record) => {
                let owner = str::from_utf8(record.owner).ok()?;
                let owner: Option<IdentityName> = match owner {
                    "" => None,
                    name => Some(Box::<str>::from(name).try_into().ok()?),
                };
                let kept = RetainedInfo {
                    payload: message.payload.unescape().len(),
                    since: now.earlier(now_ms.saturating_sub(record.since_ms)),
                };
                let owner = owner.map(|name| self.usages.of(&name));
                let mut retained = self.retained.write();
                retained.put(message.topic, record.line, kept, record.qos, owner);
            }
            StoredChange::Cleared(topic) => self.retained.write().clear(topic),
            // All parts of a session are there at the end.
            StoredChange::Session(_) => {}
        }
        Some(())
    }
}

/// What a start takes back.
struct TakingBack<'a> {
    engine: &'a Engine,
    topics: &'a KeptTopics,
    now: (Moment, u64),
    sessions: StoredSessions,
    unreadable: u64,
}

impl Apply for TakingBack<'_> {
    fn record(&mut self, record: &Record<'_>) {
        if let Record::Session(record) = record {
            return self.sessions.apply(record);
        }
        self.sessions.note_record();
        let taken = self.engine.take_back(record, self.now);
        self.unreadable += u64::from(taken.is_none());
    }

    fn lines(&mut self, header: &FrameHeader, lines: &[u8]) {
        self.sessions.note_messages(lines);
        self.topics.take_back(header.first, lines);
    }
}

impl SnapshotSource for Engine {
    fn oldest_needed(&self) -> io::Result<u64> {
        let Some(history) = self.router.history() else {
            return Ok(u64::MAX);
        };
        // What is appended meanwhile is behind both.
        let oldest = self.oldest_of_sessions(history);
        Ok(history.forget_old()?.min(oldest))
    }

    fn needed_whole_from(&self) -> u64 {
        let Some(history) = self.router.history() else {
            return 0;
        };
        // What limits have removed is counted for a follower as it is read.
        self.oldest_of_sessions(history)
            .min(oldest_unread(self, history))
    }

    fn needed_bytes(&self) -> u64 {
        self.router.history().map_or(0, |history| history.bytes())
    }

    fn needed_in(&self, numbers: Range<u64>) -> Vec<NeededRun> {
        let history = self.router.history();
        history.map_or_else(Vec::new, |history| history.needed_in(numbers))
    }

    fn keep_progress(&self) {
        self.keep_sessions_progress();
    }

    fn forget_before(&self, sequence: u64) {
        if let Some(history) = self.router.history() {
            history.forget_before(sequence);
        }
    }

    fn pass_over(&self, before: u64) -> io::Result<()> {
        pass_over(self, before)
    }

    fn write(&self, snapshot: &mut SnapshotWriter) {
        let now = (Moment::now(), now_ms());
        let mut next = Some(String::new());
        while let Some(start) = next {
            // Locked for a part at a time: publishers of retained messages wait for that long.
            let retained = self.retained.read();
            next = retained.part_from(&start, |entry, owner| {
                snapshot.write(&record(entry, owner.map(|it| &**it), now));
            });
        }
        self.write_sessions(snapshot);
    }
}

fn record<'a>(
    entry: &'a Entry,
    owner: Option<&'a Usage>,
    (now, now_ms): (Moment, u64),
) -> Record<'a> {
    Record::Retained(RetainedRecord {
        line: &entry.message,
        qos: entry.qos,
        since_ms: now_ms.saturating_sub(now.ms_since(entry.kept.since)),
        owner: owner.map_or("", |owner| owner.name.as_str()).as_bytes(),
    })
}
