//! The list of topics.

use client::inquiry::{SeenTopic, Topics};

use super::Listing;
use crate::table::{Column, Kind, descending};
use crate::units::{bytes, count, plural, rate, time};

impl Listing for Topics {
    type Row = SeenTopic;

    const NOUN: &'static str = "topic";

    fn columns() -> &'static [Column<SeenTopic>] {
        COLUMNS
    }

    fn note(&self) -> Option<String> {
        let times = plural(self.forgotten, "time");
        (self.forgotten > 0)
            .then(|| format!("a topic was forgotten {times}, to make room for another"))
    }

    fn into_rows(self) -> (Vec<SeenTopic>, u64) {
        (self.topics, self.total)
    }
}

const COLUMNS: &[Column<SeenTopic>] = &[
    Column {
        head: "topic",
        kind: Kind::Text,
        rank: 0,
        cell: |row| row.topic.clone(),
        order: |one, other| one.topic.cmp(&other.topic),
    },
    Column {
        head: "messages",
        kind: Kind::Number,
        rank: 2,
        cell: |row| count(row.messages),
        order: |one, other| descending(&one.messages, &other.messages),
    },
    Column {
        head: "rate",
        kind: Kind::Number,
        rank: 1,
        cell: |row| rate(row.rate),
        order: |one, other| descending(&one.rate, &other.rate),
    },
    Column {
        head: "copies",
        kind: Kind::Number,
        rank: 5,
        cell: |row| count(row.copies),
        order: |one, other| descending(&one.copies, &other.copies),
    },
    Column {
        head: "subscribers",
        kind: Kind::Number,
        rank: 3,
        cell: |row| count(row.subscribers),
        order: |one, other| descending(&one.subscribers, &other.subscribers),
    },
    Column {
        head: "last",
        kind: Kind::Number,
        rank: 4,
        cell: |row| time(row.last_s),
        order: |one, other| one.last_s.total_cmp(&other.last_s),
    },
    Column {
        head: "retained",
        kind: Kind::Number,
        rank: 6,
        cell: |row| row.retained.map_or("-".to_owned(), bytes),
        order: |one, other| descending(&one.retained, &other.retained),
    },
];
