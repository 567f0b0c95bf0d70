//! The list of filters.

use client::inquiry::{Filters, HeldFilter};

use super::Listing;
use crate::table::{Column, Kind, descending};
use crate::units::count;

impl Listing for Filters {
    type Row = HeldFilter;

    const NOUN: &'static str = "filter";

    fn columns() -> &'static [Column<HeldFilter>] {
        COLUMNS
    }

    fn into_rows(self) -> (Vec<HeldFilter>, u64) {
        (self.filters, self.total)
    }
}

const COLUMNS: &[Column<HeldFilter>] = &[
    Column {
        head: "filter",
        kind: Kind::Text,
        rank: 0,
        cell: |row| row.filter.clone(),
        order: |one, other| one.filter.cmp(&other.filter),
    },
    Column {
        head: "subscribers",
        kind: Kind::Number,
        rank: 1,
        cell: |row| count(row.subscribers),
        order: |one, other| descending(&one.subscribers, &other.subscribers),
    },
    Column {
        head: "messages",
        kind: Kind::Number,
        rank: 2,
        cell: |row| count(row.messages),
        order: |one, other| descending(&one.messages, &other.messages),
    },
];
