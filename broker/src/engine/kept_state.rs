//! What of the engine's state a store keeps: how it is written there, and how a start takes it back.

use std::path::Path;

use protocol::AckLevel;

use crate::auth::identity::IdentityName;
use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::retained::{Entry, RetainedInfo};
use crate::engine::stored_messages::StoredChange;
use crate::engine::usage::Usage;
use crate::storage::record::{Record, RetainedRecord};
use crate::storage::store::{SnapshotSource, Store, StoreError, Waiting};
use crate::storage::survey::StoreFound;
use crate::storage::{SnapshotWriter, now_ms};

impl Engine {
    /// Opens the store in a folder, and takes back what it keeps. Limits are no reason to lose any of it.
    pub(crate) fn open_store(
        &self,
        folder: &Path,
        level: AckLevel,
        waiting: Waiting<'_>,
    ) -> Result<StoreFound, StoreError> {
        let now = (Moment::now(), now_ms());
        let mut unreadable = 0_u64;
        let (store, found) = Store::open(folder, level, waiting, &mut |record| {
            unreadable += u64::from(self.take_back(record, now).is_none());
        })?;
        if unreadable > 0 {
            // Their checksums are right, so they are not damaged.
            log::error!(
                "the store has {unreadable} records that this broker cannot read; it goes on without them"
            );
        }
        let _ = self.store.set(store);
        Ok(found)
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
        }
        Some(())
    }
}

impl SnapshotSource for Engine {
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
