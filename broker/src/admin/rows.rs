//! The number of rows in answers, how an answer that is too long is shortened, and how its topics are
//! spelled.

use std::fmt::Display;

use protocol::decode_spaces;
use serde::Serializer;

/// Maximum rows of an answer whose question sets no limit.
pub(crate) const ROWS: usize = 1000;

/// Maximum rows that a question may ask for.
pub(crate) const MOST_ROWS: usize = 100_000;

/// Writes a topic or filter that is spelled as on a line: in JSON a space is a space.
pub(super) fn meant<T: AsRef<str>, S: Serializer>(
    written: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&decode_spaces(written.as_ref()))
}

/// Writes a value as it is displayed.
pub(super) fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Drops the second half of the rows; returns false if there are none.
pub(super) fn halve<T>(rows: &mut Vec<T>) -> bool {
    let any = !rows.is_empty();
    rows.truncate(rows.len() / 2);
    any
}
