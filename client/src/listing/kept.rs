//! The list of topics that keep messages.

use client::inquiry::{KeptTopic, KeptTopics};

use super::Listing;
use crate::table::{Column, Kind, descending};
use crate::units::{bytes, grouped, plural, time};

impl Listing for KeptTopics {
    type Row = KeptTopic;

    const NOUN: &'static str = "kept topic";

    fn columns() -> &'static [Column<KeptTopic>] {
        COLUMNS
    }

    fn note(&self) -> Option<String> {
        let (messages, size) = (plural(self.messages, "message"), bytes(self.bytes));
        let (topics, most) = (plural(self.total, "topic"), grouped(self.max_topics));
        (self.total > 0).then(|| {
            format!(
                "{messages} in {topics}, {size}; the broker keeps those of at most {most} topics"
            )
        })
    }

    fn into_rows(self) -> (Vec<KeptTopic>, u64) {
        (self.kept, self.total)
    }
}

const COLUMNS: &[Column<KeptTopic>] = &[
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
        rank: 1,
        cell: |row| grouped(row.messages),
        order: |one, other| descending(&one.messages, &other.messages),
    },
    Column {
        head: "size",
        kind: Kind::Number,
        rank: 2,
        cell: |row| bytes(row.bytes),
        order: |one, other| descending(&one.bytes, &other.bytes),
    },
    Column {
        head: "age",
        kind: Kind::Number,
        rank: 3,
        cell: |row| row.age_s.map_or("-".to_owned(), time),
        order: |one, other| descending(&one.age_s, &other.age_s),
    },
    Column {
        head: "oldest",
        kind: Kind::Text,
        rank: 5,
        cell: |row| row.oldest.clone(),
        order: |one, other| one.oldest.cmp(&other.oldest),
    },
    Column {
        head: "newest",
        kind: Kind::Text,
        rank: 4,
        cell: |row| row.newest.clone(),
        order: |one, other| one.newest.cmp(&other.newest),
    },
];
