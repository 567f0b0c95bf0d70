//! The store of the configuration: opened at the start, and what was found there told in the log.

use std::io;
use std::path::Path;

use bytesize::ByteSize;

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::kept_state::StoreSettings;
use crate::net::inherited::InheritedSockets;
use crate::operator::bind_error::BindError;
use crate::storage::store::{StoreTerms, Waiting};
use crate::storage::survey::{Extent, StoreFound};

/// How long the log is if the configuration does not say it: in a folder, and in memory.
const DISK_BYTES: u64 = 10 << 30;
const MEMORY_BYTES: u64 = 256 << 20;

/// Opens the store, if one is configured. A process that takes the place of another waits until that has left it,
/// while its clients wait to be accepted.
pub(crate) fn open(
    engine: &Engine,
    config: &Config,
    inherited: &InheritedSockets,
) -> Result<Option<StoreFound>, BindError> {
    let settings = settings(config);
    let Some(folder) = &config.data else {
        if !config.keep.is_empty() {
            let kept = engine.keep_in_memory(settings);
            kept.map_err(|why| BindError::Machine(io::Error::other(why.to_string())))?;
        }
        return Ok(None);
    };
    let tell = || {
        log::info!(
            "store {}: waiting for the broker that has it",
            folder.display()
        );
        inherited.tell_predecessor();
    };
    let waiting = match inherited.has_predecessor() {
        true => Waiting::ForPredecessor(&tell),
        false => Waiting::No,
    };
    let found = engine.open_store(folder, settings, waiting);
    found.map(Some).map_err(|why| BindError::Store {
        folder: folder.clone(),
        why: why.to_string(),
    })
}

fn settings(config: &Config) -> StoreSettings {
    let most_bytes = match config.data {
        Some(_) => DISK_BYTES,
        None => MEMORY_BYTES,
    };
    StoreSettings {
        log: StoreTerms {
            level: config.ack,
            most_bytes: config.keep_total.unwrap_or(most_bytes),
            reserve_bytes: config.data_reserve,
            extent: match config.keep.is_empty() {
                true => Extent::Needed,
                false => Extent::All,
            },
        },
        rules: config.keep.clone(),
        most_topics: config.keep_topics,
    }
}

/// Says in the log what there is, and what was found wrong.
pub(crate) fn log_found(engine: &Engine, config: &Config, found: Option<&StoreFound>) {
    let (Some(folder), Some(found)) = (&config.data, found) else {
        if engine.router.history().is_some() {
            log::info!(
                "topics keep messages in memory, until this process ends; name a folder by --data DIR to keep them for longer"
            );
        }
        return;
    };
    log_wrong(folder, found);
    let interval = humantime::format_duration(config.sync_interval);
    let retained = engine.retained.read().size().count;
    let sessions = engine.clients.detached();
    let kept = match (engine.router.history(), config.keep.is_empty()) {
        (Some(history), false) => {
            let (messages, topics) = history.size();
            format!("{messages} messages in {topics} topics, ")
        }
        _ => String::new(),
    };
    log::info!(
        "store {}: {kept}{retained} retained messages, {sessions} sessions, {}; acknowledges at {}, synced every {interval}",
        folder.display(),
        ByteSize(found.recovered.bytes),
        config.ack,
    );
}

fn log_wrong(folder: &Path, found: &StoreFound) {
    let folder = folder.display();
    let recovered = &found.recovered;
    if found.is_secret_lost {
        log::error!(
            "store {folder}: the secret of its frames is lost with its file `format`; what cannot be read without may be \
             sound, and is kept in damaged/"
        );
    }
    if found.bad_snapshots > 0 {
        log::warn!(
            "store {folder}: {} snapshots are damaged; the state comes from the one before and the log",
            found.bad_snapshots
        );
    }
    if recovered.lost > 0 {
        log::warn!(
            "store {folder}: {} changes are lost, because the log is damaged; all others are there",
            recovered.lost
        );
    }
    if recovered.cut_bytes > 0 {
        log::info!(
            "store {folder}: the log ends {} earlier than its files, with what was never durable",
            ByteSize(recovered.cut_bytes)
        );
    }
    for name in &recovered.kept_aside {
        log::info!("store {folder}: the bytes as they were found are kept in {name}");
    }
}
