//! The list of retained messages.

use client::inquiry::{Retained, RetainedTopic};

use super::Listing;
use crate::table::{Column, Kind, descending};
use crate::units::{bytes, grouped, plural, time};

impl Listing for Retained {
    type Row = RetainedTopic;

    const NOUN: &'static str = "retained message";

    fn columns() -> &'static [Column<RetainedTopic>] {
        COLUMNS
    }

    fn note(&self) -> Option<String> {
        let (count, used) = (plural(self.total, Self::NOUN), bytes(self.bytes));
        let (max_count, max_bytes) = (grouped(self.max_count), bytes(self.max_bytes));
        Some(format!(
            "{count}; the broker keeps at most {max_count}, and all it keeps take {used} of {max_bytes}"
        ))
    }

    fn into_rows(self) -> (Vec<RetainedTopic>, u64) {
        (self.retained, self.total)
    }
}

const COLUMNS: &[Column<RetainedTopic>] = &[
    Column {
        head: "topic",
        kind: Kind::Text,
        rank: 0,
        cell: |row| row.topic.clone(),
        order: |one, other| one.topic.cmp(&other.topic),
    },
    Column {
        head: "size",
        kind: Kind::Number,
        rank: 1,
        cell: |row| bytes(row.bytes),
        order: |one, other| descending(&one.bytes, &other.bytes),
    },
    Column {
        head: "age",
        kind: Kind::Number,
        rank: 2,
        cell: |row| time(row.age_s),
        order: |one, other| descending(&one.age_s, &other.age_s),
    },
];
