//! The lists in answers: how many rows they have, and how one that is too long becomes shorter.

/// How many rows a list has unless the question says how many.
pub(crate) const ROWS: usize = 1000;

/// The most rows that can be asked for.
pub(crate) const MOST_ROWS: usize = 100_000;

/// Leaves out the second half of the rows; false if there is none.
pub(super) fn halve<T>(rows: &mut Vec<T>) -> bool {
    let any = !rows.is_empty();
    rows.truncate(rows.len() / 2);
    any
}
