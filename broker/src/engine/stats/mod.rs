//! Statistics: the ledger of messages, topics, and the rate limit of warnings.

pub(crate) mod denials;
pub(crate) mod ledger;
pub(crate) mod metrics;
pub(crate) mod tally;
pub(crate) mod topic_stats;
