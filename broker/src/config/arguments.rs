//! What the flags ask of the program, besides the [`Config`] of its broker.

use std::fmt;
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

impl LogSettings {
    /// Why a running process cannot change to other settings; empty if they are the same.
    pub(super) fn changes(&self, next: &Self) -> Vec<String> {
        let file = |file: &Option<PathBuf>| match file {
            None => "standard error".to_owned(),
            Some(path) => path.display().to_string(),
        };
        let pairs = [
            (
                "log-format",
                self.format.to_string(),
                next.format.to_string(),
            ),
            ("log-file", file(&self.file), file(&next.file)),
        ];
        let changed = pairs.into_iter().filter(|(_, from, to)| from != to);
        changed
            .map(|(key, from, to)| needs_restart(key, &from, &to))
            .collect()
    }
}

/// A change that a reload cannot make.
pub(crate) fn needs_restart(key: &str, from: &str, to: &str) -> String {
    format!("{key}: {from} -> {to} needs a restart (client restart); nothing has changed")
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}
