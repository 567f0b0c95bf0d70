//! The flags of what outlives the process.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use protocol::AckLevel;
use protocol::limits::PAST_MESSAGES;

use super::parsers::{List, ack_level, keep_rules};
use crate::engine::history::rules::KeepRule;

#[derive(Debug, Args)]
pub(super) struct StoreFlags {
    /// Keep retained messages, and what --keep says, in this folder
    #[arg(long, env = "BROKER_DATA", hide_env = true, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Keep what is published on these topics, such as 'chat/#=1000,7d,64MiB'
    #[arg(long, env = "BROKER_KEEP", hide_env = true, hide_short_help = true, value_name = "RULE", value_parser = keep_rules)]
    pub(super) keep: Vec<List<KeepRule>>,
    /// Most bytes of the log with what they keep; 10GiB, or 256MiB without --data
    #[arg(
        long,
        env = "BROKER_KEEP_TOTAL",
        hide_env = true,
        hide_short_help = true,
        value_name = "BYTES"
    )]
    pub(super) keep_total: Option<ByteSize>,
    /// Free bytes of the disk with --data that are left to others
    #[arg(
        long,
        env = "BROKER_DATA_RESERVE",
        hide_env = true,
        hide_short_help = true,
        default_value = "256MiB",
        value_name = "BYTES"
    )]
    pub(super) data_reserve: ByteSize,
    /// Most topics that keep messages
    #[arg(
        long,
        env = "BROKER_KEEP_TOPICS",
        hide_env = true,
        hide_short_help = true,
        default_value_t = 1_000_000,
        value_name = "N"
    )]
    pub(super) keep_topics: usize,
    /// Most messages that last= and each= ask for
    #[arg(long, env = "BROKER_HISTORY_MAX", hide_env = true, hide_short_help = true, default_value_t = PAST_MESSAGES,
          value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) history_max: u64,
    /// How safe what is kept is when its publisher is told so, os or disk
    #[arg(long, env = "BROKER_ACK", hide_env = true, hide_short_help = true, default_value = "os", value_name = "LEVEL",
          value_parser = ack_level)]
    pub(super) ack: AckLevel,
    /// How often what is kept is made durable
    #[arg(long, env = "BROKER_SYNC_INTERVAL", hide_env = true, hide_short_help = true, default_value = "100ms",
          value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) sync_interval: Duration,
}
