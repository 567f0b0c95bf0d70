//! The stop of the broker: the request for it, and the deadline that all connections read.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Maximum time for goodbyes when the broker stops.
pub(crate) const GOODBYES: Duration = Duration::from_secs(5);

/// Whether the broker stops, and when its last connection must have ended.
#[derive(Default)]
pub(crate) struct ShutdownDeadline(OnceLock<Instant>);

impl ShutdownDeadline {
    /// Begins the shutdown. If it is called again, the first deadline holds.
    pub(crate) fn begin(&self, deadline: Instant) {
        let _ = self.0.set(deadline);
    }

    /// When the last connection must have ended; none while the broker runs.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}

/// When the broker is to stop, if it is. Until then it drains: it takes no newcomers.
#[derive(Default)]
pub(crate) struct StopRequest {
    at: Mutex<Option<Instant>>,
    changed: Condvar,
}

impl StopRequest {
    /// Asks for a stop at this time. Of several requests, the earliest holds.
    pub(crate) fn request(&self, at: Instant) {
        let mut requested = self.at.lock();
        let earliest = requested.map_or(at, |before| before.min(at));
        *requested = Some(earliest);
        self.changed.notify_all();
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.at.lock().is_some()
    }

    /// Waits for at most this time, or for an earlier request; returns when the broker is to stop.
    pub(crate) fn wait_for(&self, time: Duration) -> Option<Instant> {
        let mut requested = self.at.lock();
        self.changed.wait_for(&mut requested, time);
        *requested
    }

    /// Waits for a request; returns when the broker is to stop.
    pub(crate) fn wait(&self) -> Instant {
        let mut requested = self.at.lock();
        loop {
            match *requested {
                Some(at) => return at,
                None => self.changed.wait(&mut requested),
            }
        }
    }
}
