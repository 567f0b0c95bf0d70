//! Figures: what became of messages, how long they took, and how often a warning is worth a line.

pub(crate) mod latency;
pub(crate) mod ledger;
pub(crate) mod log_limit;
pub(crate) mod metrics;
pub(crate) mod tally;
pub(crate) mod topic_stats;
