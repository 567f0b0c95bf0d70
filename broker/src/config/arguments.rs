//! What the flags ask of the program, besides the [`Config`] of its broker.

use std::path::PathBuf;

use super::Config;

/// What the command line, the environment and the configuration file ask for.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// The broker.
    pub config: Config,
    /// The log of the process.
    pub log: LogSettings,
    /// Sentences about variables that were passed over, for the log.
    pub warnings: Vec<String>,
}

/// Where the log of a process goes, and its form.
#[derive(Clone, Debug, Default)]
pub struct LogSettings {
    /// The form.
    pub format: LogFormat,
    /// A file that the log is appended to; standard error if there is none.
    pub file: Option<PathBuf>,
}

/// The form of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people, with the time unless the reader has its own.
    #[default]
    Text,
    /// An object of JSON a line: `time` (RFC 3339, UTC, milliseconds), `level`, `target`, `message`.
    Json,
}
