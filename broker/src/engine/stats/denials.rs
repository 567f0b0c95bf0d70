//! What clients were denied lately: for the log, and for those that ask why.

use std::collections::HashMap;
use std::time::Instant;

use foldhash::fast::RandomState;
use serde::Serialize;

use crate::auth::access::Denial;
use crate::auth::identity::IdentityName;
use crate::clock::log_limit::{LogLimit, Suppressed};
use crate::engine::stats::metrics::Counter;
use crate::sync::Mutex;

/// What clients were denied.
#[derive(Default)]
pub(crate) struct Denials {
    counts: [Counter; RIGHTS.len()],
    recent: Mutex<HashMap<DenialKey, RecentDenial, RandomState>>,
}

/// The rights that can be denied, as rules call them.
pub(crate) const RIGHTS: [&str; 10] = [
    "publish",
    "retain",
    "subscribe",
    "block",
    "history",
    "will",
    "client",
    "nick",
    "inquire",
    "admin",
];

/// Maximum kinds that are remembered. The one that was denied longest ago makes room.
const MOST_RECENT: usize = 1024;

/// Denials with the same key are of one kind: the log has the first, and then how many there were.
#[derive(PartialEq, Eq, Hash)]
struct DenialKey {
    identity: IdentityName,
    right: &'static str,
    /// The rule that denies; empty if none allows it.
    rule: Box<str>,
}

struct RecentDenial {
    /// What was asked for last.
    object: Box<str>,
    count: u64,
    last: Instant,
    log: LogLimit,
}

/// A kind of denials, for those that ask why.
#[derive(Debug, Serialize)]
pub(crate) struct DenialRow {
    identity: String,
    right: &'static str,
    /// What was asked for last: a topic, a filter or a name.
    object: Box<str>,
    /// The rule that denies; none if no rule allows it.
    rule: Option<Box<str>>,
    count: u64,
    seconds_ago: f64,
}

impl Denials {
    /// Counts a denial. Returns what was suppressed before, if the log is to have it.
    pub(crate) fn note(
        &self,
        identity: &IdentityName,
        right: &'static str,
        object: &str,
        denial: &Denial,
        now: Instant,
    ) -> Option<Suppressed> {
        if let Some(at) = RIGHTS.iter().position(|known| *known == right) {
            self.counts[at].add(1);
        }
        let rule = denial.rule().map(ToString::to_string).unwrap_or_default();
        let key = DenialKey {
            identity: identity.clone(),
            right,
            rule: rule.into(),
        };
        let mut recent = self.recent.lock();
        if recent.len() >= MOST_RECENT && !recent.contains_key(&key) {
            // Half of them, so that this is rare.
            let mut times: Vec<Instant> = recent.values().map(|each| each.last).collect();
            let (_, middle, _) = times.select_nth_unstable(MOST_RECENT / 2);
            let middle = *middle;
            recent.retain(|_, each| each.last > middle);
        }
        let entry = recent.entry(key).or_insert_with(|| RecentDenial {
            object: Box::default(),
            count: 0,
            last: now,
            log: LogLimit::default(),
        });
        entry.count += 1;
        entry.last = now;
        entry.object = object.into();
        entry.log.say(now)
    }

    /// The number of denials by right.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter().map(Counter::get);
        RIGHTS.into_iter().zip(counts)
    }

    /// Those of which `is_wanted` holds for right and object, the last first.
    pub(crate) fn rows(
        &self,
        now: Instant,
        is_wanted: impl Fn(&'static str, &str) -> bool,
    ) -> Vec<DenialRow> {
        let recent = self.recent.lock();
        let wanted = recent
            .iter()
            .filter(|(key, each)| is_wanted(key.right, &each.object));
        let mut rows: Vec<DenialRow> = wanted
            .map(|(key, each)| DenialRow {
                identity: key.identity.to_string(),
                right: key.right,
                object: each.object.clone(),
                rule: (!key.rule.is_empty()).then(|| key.rule.clone()),
                count: each.count,
                seconds_ago: now.duration_since(each.last).as_secs_f64(),
            })
            .collect();
        drop(recent);
        rows.sort_by(|one, other| one.seconds_ago.total_cmp(&other.seconds_ago));
        rows
    }
}
