//! Orders of the operator: handed by the connection that gives one to the thread that carries it out.
//!
//! One thread carries out all of them, one after another, because two reloads at once would undo each
//! other, and because reading a configuration takes more stack than a connection has.

use std::fmt;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use jiff::Timestamp;
use serde::Serialize;

use crate::engine::event_client::OrderGiver;
use crate::sync::{AtomicBool, Mutex, Ordering};

/// Maximum orders that wait. Those who give more wait longer.
const MOST_WAITING: usize = 16;

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Reads the configuration again and applies it; a dry one only tells what would change.
    Reload { is_dry: bool },
    /// Takes no newcomers and stops when all are gone, at the latest after this time; without one, after
    /// that of the configuration.
    Drain(Option<Duration>),
    /// Starts a new process that goes on with the listening sockets, and drains.
    Restart,
    /// Ends the connections of this name, or one by its number with `#` before it.
    Kick(Box<str>),
    /// Ends the session of this client of MQTT, with its connection if it has one.
    EndSession(Box<str>),
}

/// What came of an order that could be carried out.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Done {
    Reload(ReloadReport),
    Drain { connections: usize, seconds: u64 },
    Restart { pid: u32 },
    Kick { kicked: Vec<Kicked> },
    EndSession { ended: Box<str>, queued: u64 },
}

/// What a reload has changed, or would.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ReloadReport {
    pub(crate) applied: bool,
    pub(crate) changes: Vec<Change>,
    /// Why nothing has changed: each mistake, with what to do about it.
    pub(crate) errors: Vec<String>,
}

/// A key of the configuration whose value changes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Change {
    pub(crate) key: &'static str,
    pub(crate) from: String,
    pub(crate) to: String,
    /// Whom it concerns, and from when.
    pub(crate) concerns: String,
}

/// A connection that the operator has ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Kicked {
    pub(crate) id: u64,
    pub(crate) name: Option<String>,
    pub(crate) peer: String,
}

/// An order on its way to the thread.
pub(crate) struct GivenOrder {
    pub(crate) order: Order,
    pub(crate) giver: OrderGiver,
    pub(crate) answer: Sender<Result<Done, String>>,
}

impl fmt::Display for LastReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, report } = self;
        match report.applied {
            true => write!(f, "applied {at:.0}, changes: {}", report.changes.len()),
            false => write!(f, "failed {at:.0}, errors: {}", report.errors.len()),
        }
    }
}

/// Where orders are given, and what came of the last reload.
#[derive(Default)]
pub(crate) struct Orders {
    /// None before and after the broker.
    given: Mutex<Option<Sender<GivenOrder>>>,
    is_draining: AtomicBool,
    last_reload: Mutex<Option<LastReload>>,
}

/// The last reload that was more than a dry one.
#[derive(Clone)]
pub(crate) struct LastReload {
    at: Timestamp,
    pub(crate) report: ReloadReport,
}

impl Orders {
    /// Gives an order and waits for its end; the error says why it was not carried out.
    pub(crate) fn give(&self, order: Order, giver: OrderGiver) -> Result<Done, String> {
        let none = || "the broker takes no orders, because it stops".to_owned();
        let given = self.given.lock().clone().ok_or_else(none)?;
        let (answer, answered) = crossbeam_channel::bounded(1);
        given
            .send(GivenOrder {
                order,
                giver,
                answer,
            })
            .map_err(|_| none())?;
        drop(given);
        // Without an answer the thread has ended.
        answered.recv().map_err(|_| none())?
    }

    /// Begins to take orders, for the thread that calls this.
    pub(crate) fn open(&self) -> Receiver<GivenOrder> {
        let (given, taken) = crossbeam_channel::bounded(MOST_WAITING);
        *self.given.lock() = Some(given);
        taken
    }

    /// Takes no orders any more. Those that wait are refused when the thread drops its receiver.
    pub(crate) fn close(&self) {
        *self.given.lock() = None;
    }

    pub(crate) fn begin_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether the broker is about to stop and takes no newcomers.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Notes that this has come of a reload now.
    pub(crate) fn note_reload(&self, report: ReloadReport) -> LastReload {
        let at = Timestamp::now();
        let last = LastReload { at, report };
        *self.last_reload.lock() = Some(last.clone());
        last
    }

    /// The last reload, if there was one.
    pub(crate) fn last_reload(&self) -> Option<LastReload> {
        self.last_reload.lock().clone()
    }
}
