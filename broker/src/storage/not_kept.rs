//! Why something is not kept.

use std::fmt;

/// Why something was not kept. `Display` says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotKept {
    NoRoom,
    /// As many topics keep messages as may.
    TooManyTopics,
    /// The disk has failed.
    Failed,
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoom => {
                "the disk of the broker is full; nothing was published, try again later"
            }
            Self::TooManyTopics => {
                "as many topics keep messages as --keep-topics allows; nothing was published"
            }
            Self::Failed => {
                "the disk of the broker has failed; nothing was published, tell its operator"
            }
        })
    }
}

impl std::error::Error for NotKept {}
