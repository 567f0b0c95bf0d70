//! The streams of NATS and Redis that a run publishes into: made before it, removed after it.

use crate::stderr::say;

use super::failure::BenchFailure;
use super::layout::Layout;
use super::settings::RunSettings;

/// Makes the streams that have to be there first.
pub(crate) fn make(settings: &RunSettings) -> Result<(), BenchFailure> {
    let mut link = settings.dialer.dial("streams", false)?;
    let mut bytes = Vec::new();
    link.wire.prepare(&topics(settings), &mut bytes);
    link.request(&bytes)
}

/// Removes all of them. If it cannot, it says so.
pub(crate) fn remove(settings: &RunSettings) {
    if try_remove(settings).is_err() {
        say("client: streams of this run, with names that begin with \"bench\", may be left");
    }
}

fn try_remove(settings: &RunSettings) -> Result<(), BenchFailure> {
    let mut link = settings.dialer.uninterrupted()?.dial("streams", false)?;
    let mut bytes = Vec::new();
    link.wire.remove(&topics(settings), &mut bytes);
    link.request(&bytes)
}

fn topics(settings: &RunSettings) -> Vec<String> {
    let wire = settings.dialer.target.wire;
    let all = 0..settings.layout.topics;
    all.map(|topic| Layout::topic(wire, topic)).collect()
}
