//! What the store asks of that which has the state, and knows which messages are needed.

use std::io;
use std::ops::Range;

use super::clean_segment::NeededRun;
use super::snapshot::SnapshotWriter;

/// Where the state for a snapshot comes from, and what of the log is needed.
pub(crate) trait SnapshotSource: Sync {
    /// Writes all that is kept now, as records. Publishers go on meanwhile.
    fn write(&self, snapshot: &mut SnapshotWriter);

    /// The number of the oldest message in the log that is needed, or one behind all.
    fn oldest_needed(&self) -> io::Result<u64>;

    /// From this number on all of the log is needed, also what is not kept.
    fn needed_whole_from(&self) -> u64 {
        0
    }

    /// About how many bytes of messages are needed.
    fn needed_bytes(&self) -> u64 {
        0
    }

    /// The messages with these numbers that are needed, in order.
    fn needed_in(&self, _numbers: Range<u64>) -> Vec<NeededRun> {
        Vec::new()
    }

    /// Messages before this number are not needed any more, because there is no room for them.
    fn forget_before(&self, _sequence: u64) {}

    /// Keeps what need not be kept at once. Called every tenth of a second.
    fn keep_progress(&self) {}

    /// Messages before this number are about to be removed from the log.
    fn pass_over(&self, _before: u64) -> io::Result<()> {
        Ok(())
    }
}
