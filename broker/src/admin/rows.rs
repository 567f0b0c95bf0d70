//! The number of rows in answers, and how an answer that is too long is shortened.

/// Maximum rows of an answer whose question sets no limit.
pub(crate) const ROWS: usize = 1000;

/// Maximum rows that a question may ask for.
pub(crate) const MOST_ROWS: usize = 100_000;

/// Drops the second half of the rows; returns false if there are none.
pub(super) fn halve<T>(rows: &mut Vec<T>) -> bool {
    let any = !rows.is_empty();
    rows.truncate(rows.len() / 2);
    any
}
