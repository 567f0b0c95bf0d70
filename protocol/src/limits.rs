//! Every maximum of the protocol, each with its reason.

/// The longest topic or filter, in bytes. Long enough for any path that a person writes; short
/// enough to echo, log and hash without a limit of its own.
pub const TOPIC_BYTES: usize = 1024;

/// The longest name of a client, in bytes: log lines and columns of tables contain it.
pub const NAME_BYTES: usize = 128;

/// The most levels of a topic or filter. It bounds the depth of every walk through a filter tree.
pub const TOPIC_LEVELS: usize = 128;

/// The longest line that a broker accepts by default, in bytes without its line end. Large enough
/// for a picture or a firmware image, small enough to buffer one line for each sender.
pub const LINE_BYTES: usize = 64 * 1024 * 1024;

/// The longest word that an `ERROR` repeats, in bytes; the rest is cut. A valid filter always fits.
pub const ECHO_BYTES: usize = TOPIC_BYTES;

/// Most messages of the past that a client may ask for by their number, unless a broker has another limit. A broker finds
/// them in memory before it sends the first.
pub const PAST_MESSAGES: u64 = 100_000;
