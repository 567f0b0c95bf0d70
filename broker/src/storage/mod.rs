//! What outlives the process: one append-only log of frames, and snapshots of the state that it leads to.
//!
//! The engine appends [`record::Record`]s before anything is delivered, and gets them back at the start. Nothing here
//! knows a topic, a client or a wire. `docs/storage.md` draws the files and states what survives.

pub(crate) mod backup;
pub(crate) mod clean_segment;
mod cleaner;
#[cfg(test)]
mod crash;
pub(crate) mod disk;
pub(crate) mod figures;
pub(crate) mod format;
pub(crate) mod frame;
pub(crate) mod log;
mod not_kept;
pub(crate) mod reader;
pub(crate) mod record;
mod recovery;
pub(crate) mod report;
mod secret;
mod segment;
mod segment_list;
mod snapshot;
pub(crate) mod snapshot_source;
mod spares;
pub(crate) mod store;
pub(crate) mod survey;
mod undurable;
pub(crate) mod waiters;

pub(crate) use self::log::now_ms;
pub(crate) use not_kept::NotKept;
pub(crate) use snapshot::SnapshotWriter;
