//! Tables that fit a terminal: wide cells are cut, and if that is not enough, the least important
//! columns are left out. Empty columns are left out too.
//!
//! A [`Column`] describes the cells; this module does not know the type of the rows.

use std::borrow::Borrow;
use std::cmp::Ordering;

use crate::cells::{clipped, width};
use crate::visible;

/// Cells between two columns.
const GAP: usize = 2;

/// Minimum width of a cut text.
const MIN_TEXT: usize = 12;

/// One column of a table with rows of type `R`.
pub(crate) struct Column<R> {
    /// Its head, which is also its sort key.
    pub(crate) head: &'static str,
    pub(crate) kind: Kind,
    /// If there is not room for all columns, the one with the highest rank is left out first.
    pub(crate) rank: u8,
    pub(crate) cell: fn(&R) -> String,
    /// The order of the rows when they are sorted by this column.
    pub(crate) order: fn(&R, &R) -> Ordering,
}

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Left-aligned, and cut if necessary.
    Text,
    /// Left-aligned and never cut: useless without its end.
    Whole,
    /// Right-aligned and never cut.
    Number,
}

/// Largest first; `None` last.
pub(crate) fn descending<T: PartialOrd>(one: &T, other: &T) -> Ordering {
    other.partial_cmp(one).unwrap_or(Ordering::Equal)
}

/// Smallest first; `None` last.
pub(crate) fn latest(one: Option<f64>, other: Option<f64>) -> Ordering {
    let age = |age: Option<f64>| age.unwrap_or(f64::INFINITY);
    age(one).total_cmp(&age(other))
}

/// A table cut to a width: its head and its rows as lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fitted {
    pub(crate) head: String,
    /// The heads that are shown.
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<String>,
}

/// Formats rows as a table of at most `room` cells. Control characters are replaced.
pub(crate) fn fit<R>(columns: &[Column<R>], rows: &[impl Borrow<R>], room: usize) -> Fitted {
    let cells: Vec<Vec<String>> = columns
        .iter()
        .map(|column| {
            let cells = rows.iter().map(|row| (column.cell)(row.borrow()));
            cells.map(|cell| visible::line(&cell)).collect()
        })
        .collect();
    let wanted: Vec<usize> = columns
        .iter()
        .zip(&cells)
        .map(|(column, cells)| {
            let widths = cells.iter().map(|cell| width(cell));
            widths.fold(width(column.head), usize::max)
        })
        .collect();
    let is_blank =
        |at: usize| !rows.is_empty() && cells[at].iter().all(|cell| cell.trim().is_empty());
    let told: Vec<usize> = (0..columns.len()).filter(|at| !is_blank(*at)).collect();
    let shown = choose(columns, told, &wanted, room);
    let last = shown.last().map(|(at, _)| *at);
    let line = |cell: &dyn Fn(usize) -> String| {
        let mut line = String::new();
        for &(at, cells) in &shown {
            if !line.is_empty() {
                line.push_str(&" ".repeat(GAP));
            }
            let is_last = Some(at) == last;
            line.push_str(&set(&cell(at), columns[at].kind, cells, is_last));
        }
        line
    };
    Fitted {
        head: line(&|at| columns[at].head.to_owned()),
        columns: shown.iter().map(|(at, _)| columns[*at].head).collect(),
        rows: (0..rows.len())
            .map(|row| line(&|at| cells[at][row].clone()))
            .collect(),
    }
}

/// Chooses the columns that fit, with their widths.
fn choose<R>(
    columns: &[Column<R>],
    mut shown: Vec<usize>,
    wanted: &[usize],
    room: usize,
) -> Vec<(usize, usize)> {
    let least = |at: usize| match columns[at].kind {
        Kind::Text => wanted[at].min(MIN_TEXT.max(width(columns[at].head))),
        Kind::Whole | Kind::Number => wanted[at],
    };
    let total = |shown: &[usize]| {
        let widths: usize = shown.iter().map(|at| least(*at)).sum();
        widths + GAP * shown.len().saturating_sub(1)
    };
    while shown.len() > 1 && total(&shown) > room {
        let goes = shown.iter().copied().max_by_key(|at| columns[*at].rank);
        shown.retain(|at| Some(*at) != goes);
    }
    let mut free = room.saturating_sub(total(&shown));
    let mut widths: Vec<(usize, usize)> = shown.iter().map(|&at| (at, least(at))).collect();
    // The narrowest of the cut columns gets the next cell, so that the cut is shared evenly.
    while free > 0 {
        let cut = widths
            .iter_mut()
            .filter(|(at, cells)| *cells < wanted[*at])
            .min_by_key(|(_, cells)| *cells);
        let Some((_, cells)) = cut else { break };
        *cells += 1;
        free -= 1;
    }
    // A single column may still exceed the room.
    if let [(_, cells)] = &mut widths[..] {
        *cells = (*cells).min(room);
    }
    widths
}

/// Formats one cell. The last text of a line is not padded.
fn set(text: &str, kind: Kind, cells: usize, is_last: bool) -> String {
    let text = cut(text, cells);
    let pad = " ".repeat(cells.saturating_sub(width(&text)));
    match kind {
        Kind::Number => format!("{pad}{text}"),
        Kind::Text | Kind::Whole if is_last => text,
        Kind::Text | Kind::Whole => format!("{text}{pad}"),
    }
}

/// Cuts a text to a width, with an ellipsis if it is longer.
pub(crate) fn cut(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    format!("{}…", clipped(text, cells.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (&'static str, u64);

    const COLUMNS: [Column<Row>; 3] = [
        Column {
            head: "topic",
            kind: Kind::Text,
            rank: 0,
            cell: |row| row.0.to_owned(),
            order: |one, other| one.0.cmp(other.0),
        },
        Column {
            head: "messages",
            kind: Kind::Number,
            rank: 1,
            cell: |row| row.1.to_string(),
            order: |one, other| descending(&one.1, &other.1),
        },
        Column {
            head: "note",
            kind: Kind::Text,
            rank: 2,
            cell: |row| "x".repeat(row.1.min(20) as usize),
            order: |_, _| Ordering::Equal,
        },
    ];

    fn check(rows: &[Row], room: usize, expected: &[&str]) {
        let Fitted { head, rows, .. } = fit(&COLUMNS, rows, room);
        let lines: Vec<String> = std::iter::once(head).chain(rows).collect();
        assert_eq!(lines, expected, "in {room}");
        assert!(lines.iter().all(|line| width(line) <= room), "in {room}");
    }

    #[test]
    fn numbers_are_right_aligned_and_texts_left_aligned() {
        check(
            &[("a/b", 7), ("kitchen", 12345)],
            80,
            &[
                "topic    messages  note",
                "a/b             7  xxxxxxx",
                "kitchen     12345  xxxxxxxxxxxxxxxxxxxx",
            ],
        );
    }

    #[test]
    fn wide_columns_are_cut_and_then_left_out() {
        let rows = [("home/kitchen/temperature", 20)];
        check(
            &rows,
            50,
            &[
                "topic                messages  note",
                "home/kitchen/tempe…        20  xxxxxxxxxxxxxxxxxx…",
            ],
        );
        check(
            &rows,
            38,
            &[
                "topic          messages  note",
                "home/kitchen…        20  xxxxxxxxxxxx…",
            ],
        );
        check(
            &rows,
            30,
            &[
                "topic                 messages",
                "home/kitchen/temper…        20",
            ],
        );
        check(&rows, 10, &["topic", "home/kitc…"]);
        check(&rows, 3, &["to…", "ho…"]);
    }

    #[test]
    fn an_empty_column_is_left_out() {
        check(&[("a", 0)], 80, &["topic  messages", "a             0"]);
    }

    #[test]
    fn no_cell_commands_a_terminal_or_is_cut_in_two() {
        check(&[("\x1b[2J你好你好你", 1)], 8, &["topic", "�[2J你…"]);
    }

    #[test]
    fn none_comes_last() {
        assert_eq!(latest(Some(1.0), None), Ordering::Less);
        assert_eq!(latest(Some(1.0), Some(2.0)), Ordering::Less);
        assert_eq!(descending(&None, &Some(0.1)), Ordering::Greater);
    }
}
