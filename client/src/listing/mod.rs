//! Lists from the broker: their columns, and how they are printed.
//!
//! `top` has columns of its own, for rows with rates.

mod filters;
mod kept;
mod retained;
mod sessions;
mod topics;
mod who;

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};

use clap::builder::PossibleValuesParser;
use client::Client;
use client::inquiry::{Answer, MAX_LIMIT};
use ratatui::crossterm::terminal;
use serde::Serialize;

use crate::exit::{Exit, Stop};
use crate::output::json;
use crate::stderr::say;
use crate::table::{self, Column, Fitted};
use crate::units::{grouped, plural};

/// The width of a table that is not printed to a terminal.
const USUAL_WIDTH: usize = 80;

/// An answer that is a list.
pub(crate) trait Listing: Answer {
    /// What is listed.
    type Row: Serialize + 'static;

    /// The noun for one row.
    const NOUN: &'static str;

    /// The columns. The broker sorts the rows by the first.
    fn columns() -> &'static [Column<Self::Row>];

    /// A note to print after the rows.
    fn note(&self) -> Option<String> {
        None
    }

    /// The rows, and their number without the limit.
    fn into_rows(self) -> (Vec<Self::Row>, u64);
}

/// The flags of every command that prints a list.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ListFlags {
    /// Print each as one JSON object
    #[arg(long)]
    json: bool,
    /// Print no more than N
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_LIMIT))]
    limit: u64,
}

/// Parses the head of a column.
pub(crate) fn sort_key<L: Listing>() -> PossibleValuesParser {
    L::columns().iter().map(|column| column.head).into()
}

/// Sorts rows by a column. The sort is stable.
pub(crate) fn sort<L: Listing>(rows: &mut [L::Row], head: &str) {
    if let Some(column) = L::columns().iter().find(|column| column.head == head) {
        rows.sort_by(column.order);
    }
}

/// Asks for a list and prints it.
pub(crate) fn list<L: Listing>(
    client: &mut Client,
    filter: Option<&str>,
    sort_by: Option<&str>,
    flags: &ListFlags,
) -> Result<Exit, Stop> {
    // The broker applies the limit in its own order, so sorting by another column needs all rows.
    let asked = if sort_by.is_some() {
        MAX_LIMIT
    } else {
        flags.limit
    };
    let answer: L = client.inquire(filter.unwrap_or_default(), Some(asked))?;
    let note = answer.note();
    let (mut rows, total) = answer.into_rows();
    if let Some(head) = sort_by {
        sort::<L>(&mut rows, head);
    }
    rows.truncate(usize::try_from(flags.limit).unwrap_or(usize::MAX));
    print::<L>(&rows, flags.json)?;
    tell_the_rest(rows.len() as u64, total, L::NOUN, note);
    Ok(Exit::Done)
}

/// Prints rows, as a table or as JSON.
fn print<L: Listing>(rows: &[L::Row], as_json: bool) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if as_json {
        rows.iter().try_for_each(|row| write_json(&mut out, row))?;
    } else if !rows.is_empty() {
        let Fitted { head, rows, .. } = table::fit(L::columns(), rows, width());
        writeln!(out, "{head}")?;
        rows.iter().try_for_each(|row| writeln!(out, "{row}"))?;
    }
    out.flush()
}

/// Prints an answer that is not a list: as text for people, or as one JSON object.
pub(crate) fn print_answer(
    answer: &impl Serialize,
    sentences: impl Display,
    as_json: bool,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if as_json {
        write_json(&mut out, answer)
    } else {
        write!(out, "{sentences}")
    }
}

/// Writes one JSON object as a line.
fn write_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Reports rows beyond the limit, an empty list, and the note.
fn tell_the_rest(shown: u64, total: u64, noun: &str, note: Option<String>) {
    if shown < total {
        let (shown, total) = (grouped(shown), plural(total, noun));
        say(format_args!(
            "client: these are {shown} of {total}; give --limit for more, or a filter"
        ));
    }
    if let Some(note) = note {
        say(format_args!("client: {note}"));
    } else if total == 0 {
        say(format_args!("client: there is no {noun}"));
    }
}

/// An identity as it is shown: empty for a client that has shown none.
pub(crate) fn identity(name: &str) -> &str {
    match name {
        "anonymous" => "",
        name => name,
    }
}

/// The width of a line on standard output, in cells.
pub(crate) fn width() -> usize {
    let size = io::stdout().is_terminal().then(terminal::size);
    match size {
        // A terminal without a known size reports 0.
        Some(Ok((columns, _))) if columns > 0 => usize::from(columns),
        _ => USUAL_WIDTH,
    }
}
