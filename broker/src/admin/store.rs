//! The figures of the store.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::Position;
use serde::Serialize;

use super::rows::text;
use crate::engine::Engine;
use crate::engine::follow::FollowerFigures;

/// The store, if the broker has one.
#[derive(Debug, Serialize)]
pub(super) struct StoreAnswer {
    state: &'static str,
    bytes: u64,
    segments: usize,
    #[serde(serialize_with = "text")]
    oldest: Position,
    #[serde(serialize_with = "text")]
    next: Position,
    /// Topics that keep messages.
    topics: usize,
    followers: FollowersAnswer,
    syncs: SyncFigures,
    /// Clients whose receipts wait for a sync.
    waiting: usize,
    /// Messages that were not kept and not published either, by why.
    refused: BTreeMap<&'static str, u64>,
    damaged: DamageFigures,
}

/// Clients that get from the log what topics keep.
#[derive(Debug, Serialize)]
struct FollowersAnswer {
    live: usize,
    behind: usize,
    /// Entries that the last of them has not had.
    lag: u64,
}

#[derive(Debug, Serialize)]
struct SyncFigures {
    count: u64,
    /// Half of them took at most this long, and all but one in a hundred.
    p50_s: Option<f64>,
    p99_s: Option<f64>,
}

/// What the start has found.
#[derive(Debug, Serialize)]
struct DamageFigures {
    lost: u64,
    places: usize,
    snapshots: usize,
}

impl StoreAnswer {
    pub(super) fn of(engine: &Engine) -> Option<Self> {
        let figures = engine.store.get()?.figures();
        let at_most = |part| {
            figures
                .syncs
                .at_most(part)
                .as_ref()
                .map(Duration::as_secs_f64)
        };
        let history = engine.router.history();
        let followers = FollowerFigures::of(engine);
        Some(Self {
            state: figures.state.as_str(),
            bytes: figures.bytes,
            segments: figures.segments,
            oldest: figures.oldest,
            next: figures.next,
            topics: history.map_or(0, |history| history.topic_count()),
            followers: FollowersAnswer {
                live: followers.live,
                behind: followers.behind,
                lag: followers.lag,
            },
            syncs: SyncFigures {
                count: figures.syncs.count(),
                p50_s: at_most(0.5),
                p99_s: at_most(0.99),
            },
            waiting: figures.waiting,
            refused: engine.metrics.not_kept.iter().collect(),
            damaged: DamageFigures {
                lost: figures.damage.lost,
                places: figures.damage.places,
                snapshots: figures.damage.snapshots,
            },
        })
    }

    /// Each figure as a name and a value.
    pub(super) fn values(&self) -> Vec<(&'static str, String)> {
        let seconds =
            |time: Option<f64>| time.map_or_else(|| "none".to_owned(), |time| time.to_string());
        vec![
            ("store/state", self.state.to_owned()),
            ("store/bytes", self.bytes.to_string()),
            ("store/segments", self.segments.to_string()),
            ("store/oldest", self.oldest.to_string()),
            ("store/next", self.next.to_string()),
            ("store/topics", self.topics.to_string()),
            ("store/followers/live", self.followers.live.to_string()),
            ("store/followers/behind", self.followers.behind.to_string()),
            ("store/followers/lag", self.followers.lag.to_string()),
            ("store/syncs/count", self.syncs.count.to_string()),
            ("store/syncs/p50", seconds(self.syncs.p50_s)),
            ("store/syncs/p99", seconds(self.syncs.p99_s)),
            ("store/waiting", self.waiting.to_string()),
            (
                "store/refused",
                self.refused.values().sum::<u64>().to_string(),
            ),
            ("store/damaged/lost", self.damaged.lost.to_string()),
            ("store/damaged/places", self.damaged.places.to_string()),
            (
                "store/damaged/snapshots",
                self.damaged.snapshots.to_string(),
            ),
        ]
    }
}
