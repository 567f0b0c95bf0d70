//! Every maximum of the protocol, each with its reason.

/// The longest topic or filter, in bytes. Long enough for any path a person would write; short
/// enough that a name can be echoed, logged and hashed without a thought.
pub const TOPIC_BYTES: usize = 1024;

/// The longest name of a client, in bytes: it stands in log lines and in columns.
pub const NAME_BYTES: usize = 128;

/// The most levels of a topic or filter. It bounds the depth of every walk through a tree of
/// filters.
pub const TOPIC_LEVELS: usize = 128;

/// The longest line a broker takes unless it is told otherwise, in bytes without its line end.
/// Large enough for a picture or a firmware image, small enough to be held in memory once per
/// sender.
pub const LINE_BYTES: usize = 64 * 1024 * 1024;

/// How much of a refused word is repeated in an `ERROR`, in bytes. A valid filter always fits.
pub const ECHO_BYTES: usize = TOPIC_BYTES;
