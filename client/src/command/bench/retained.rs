//! Clears what a run has retained.

use crate::stderr::say;

use super::failure::BenchFailure;
use super::layout::Layout;
use super::settings::RunSettings;
use super::wire::PublishOptions;

/// Bytes of one write.
const WRITE_BYTES: usize = 64 * 1024;

/// Clears the topics of a run. If it cannot, it says so.
pub(crate) fn clear(settings: &RunSettings) {
    if try_clear(settings).is_err() {
        say(
            "client: retained messages of this run may be left; to clear them, type: client retained rm 'bench/#'",
        );
    }
}

fn try_clear(settings: &RunSettings) -> Result<(), BenchFailure> {
    let mut link = settings.dialer.uninterrupted()?.dial("clear", false)?;
    let mut bytes = Vec::new();
    for topic in 0..settings.layout.topics {
        let name = Layout::topic(link.wire, topic);
        link.wire
            .publish(&name, b"", PublishOptions::RETAINED, &mut bytes);
        if bytes.len() >= WRITE_BYTES {
            link.send(&bytes)?;
            bytes.clear();
        }
    }
    link.send(&bytes)?;
    link.settle()
}
