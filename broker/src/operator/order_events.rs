//! What the security log is told of orders that are carried out.

use crate::engine::Engine;
use crate::engine::event_client::{OrderGiver, clipped};
use crate::engine::orders::{Change, Done, Kicked, Order};
use crate::engine::security_events::SecurityEvent;

/// Maximum changes, mistakes and connections that an event lists.
const MOST_LISTED: usize = 100;

/// Whether an order only asks.
pub(super) fn is_question(order: &Order) -> bool {
    matches!(order, Order::Reload { is_dry: true })
}

/// An order of this giver is carried out, and this has come of it.
pub(super) fn note_order(engine: &Engine, giver: OrderGiver, done: &Done) {
    engine.security.note(|| match done {
        Done::Reload(report) => SecurityEvent::Reload {
            giver,
            applied: report.applied,
            changes: listed(&report.changes, |change| Change {
                key: change.key,
                from: clipped(&change.from),
                to: clipped(&change.to),
                concerns: clipped(&change.concerns),
            }),
            errors: listed(&report.errors, |error| clipped(error)),
        },
        Done::Drain { seconds, .. } => SecurityEvent::Drain {
            giver,
            seconds: *seconds,
        },
        Done::Restart { pid } => SecurityEvent::Restart { giver, pid: *pid },
        Done::Kick { kicked } => SecurityEvent::Kick {
            giver,
            kicked: listed(kicked, Kicked::clone),
        },
        Done::EndSession { ended, .. } => SecurityEvent::SessionEnded {
            giver,
            client_id: clipped(ended),
        },
    });
}

fn listed<T>(all: &[T], each: impl Fn(&T) -> T) -> Vec<T> {
    all.iter().take(MOST_LISTED).map(each).collect()
}
