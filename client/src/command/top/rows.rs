//! Rows with rates: a connection or a topic with its current rates.

use client::inquiry::{Connection, SeenTopic};

use crate::table::{Column, Kind, descending};
use crate::units::{bytes, count, rate, time};

use super::history::History;

/// A connection with its rates.
#[derive(Debug)]
pub(crate) struct LiveConnection {
    pub(crate) of: Connection,
    /// Messages per second that it publishes.
    pub(crate) publishes: f64,
    /// Messages per second written to it.
    pub(crate) gets: f64,
    /// The sum of both rates over the last minute.
    pub(crate) history: History,
    /// The chart of the history.
    pub(crate) minute: String,
}

/// A topic with its rate.
#[derive(Debug)]
pub(crate) struct LiveTopic {
    pub(crate) of: SeenTopic,
    /// Messages per second.
    pub(crate) rate: f64,
    /// The rate over the last minute.
    pub(crate) history: History,
    /// The chart of the history.
    pub(crate) minute: String,
}

/// A row that can be searched.
pub(crate) trait Searchable {
    /// The text that is searched.
    fn text(&self) -> String;
}

impl Searchable for LiveConnection {
    fn text(&self) -> String {
        let Connection {
            id,
            name,
            peer,
            wire,
            filters,
            ..
        } = &self.of;
        let name = name.as_deref().unwrap_or_default();
        format!("{id} {name} {peer} {wire} {}", filters.join(" "))
    }
}

impl Searchable for LiveTopic {
    fn text(&self) -> String {
        self.of.topic.clone()
    }
}

/// Pads a figure so that the width of its column does not change with it.
fn steady(figure: &str, cells: usize) -> String {
    format!("{figure:>cells$}")
}

pub(crate) const CONNECTIONS: &[Column<LiveConnection>] = &[
    Column {
        head: "id",
        kind: Kind::Number,
        rank: 0,
        cell: |row| row.of.id.to_string(),
        order: |one, other| one.of.id.cmp(&other.of.id),
    },
    Column {
        head: "name",
        kind: Kind::Text,
        rank: 1,
        cell: |row| row.of.name.as_deref().unwrap_or("-").to_owned(),
        // Connections without a name come last.
        order: |one, other| {
            let key = |row: &LiveConnection| (row.of.name.is_none(), row.of.name.clone());
            key(one).cmp(&key(other))
        },
    },
    Column {
        head: "peer",
        kind: Kind::Whole,
        rank: 8,
        cell: |row| row.of.peer.clone(),
        order: |one, other| one.of.peer.cmp(&other.of.peer),
    },
    Column {
        head: "in",
        kind: Kind::Number,
        rank: 3,
        cell: |row| steady(&rate(row.publishes), 7),
        order: |one, other| descending(&one.publishes, &other.publishes),
    },
    Column {
        head: "out",
        kind: Kind::Number,
        rank: 2,
        cell: |row| steady(&rate(row.gets), 7),
        order: |one, other| descending(&one.gets, &other.gets),
    },
    Column {
        head: "minute",
        kind: Kind::Whole,
        rank: 7,
        cell: |row| row.minute.clone(),
        order: |one, other| {
            descending(&(one.publishes + one.gets), &(other.publishes + other.gets))
        },
    },
    Column {
        head: "waiting",
        kind: Kind::Number,
        rank: 4,
        cell: |row| count(row.of.waiting),
        order: |one, other| descending(&one.of.waiting, &other.of.waiting),
    },
    Column {
        head: "lag",
        kind: Kind::Number,
        rank: 6,
        cell: |row| steady(&row.of.lag_s.map_or("-".to_owned(), time), 5),
        order: |one, other| descending(&one.of.lag_s, &other.of.lag_s),
    },
    Column {
        head: "dropped",
        kind: Kind::Number,
        rank: 5,
        cell: |row| count(row.of.total_dropped()),
        order: |one, other| descending(&one.of.total_dropped(), &other.of.total_dropped()),
    },
    Column {
        head: "written",
        kind: Kind::Number,
        rank: 10,
        cell: |row| bytes(row.of.bytes),
        order: |one, other| descending(&one.of.bytes, &other.of.bytes),
    },
    Column {
        head: "idle",
        kind: Kind::Number,
        rank: 9,
        cell: |row| steady(&time(row.of.idle_s), 5),
        order: |one, other| descending(&one.of.idle_s, &other.of.idle_s),
    },
    Column {
        head: "since",
        kind: Kind::Number,
        rank: 11,
        cell: |row| steady(&time(row.of.connected_s), 5),
        order: |one, other| descending(&one.of.connected_s, &other.of.connected_s),
    },
    Column {
        head: "subscribed",
        kind: Kind::Text,
        rank: 12,
        cell: |row| row.of.filters.join(" "),
        order: |one, other| descending(&one.of.subscriptions, &other.of.subscriptions),
    },
];

pub(crate) const TOPICS: &[Column<LiveTopic>] = &[
    Column {
        head: "topic",
        kind: Kind::Text,
        rank: 0,
        cell: |row| row.of.topic.clone(),
        order: |one, other| one.of.topic.cmp(&other.of.topic),
    },
    Column {
        head: "rate",
        kind: Kind::Number,
        rank: 1,
        cell: |row| steady(&rate(row.rate), 7),
        order: |one, other| descending(&one.rate, &other.rate),
    },
    Column {
        head: "minute",
        kind: Kind::Whole,
        rank: 5,
        cell: |row| row.minute.clone(),
        order: |one, other| descending(&one.rate, &other.rate),
    },
    Column {
        head: "messages",
        kind: Kind::Number,
        rank: 3,
        cell: |row| count(row.of.messages),
        order: |one, other| descending(&one.of.messages, &other.of.messages),
    },
    Column {
        head: "copies",
        kind: Kind::Number,
        rank: 6,
        cell: |row| count(row.of.copies),
        order: |one, other| descending(&one.of.copies, &other.of.copies),
    },
    Column {
        head: "subscribers",
        kind: Kind::Number,
        rank: 2,
        cell: |row| count(row.of.subscribers),
        order: |one, other| descending(&one.of.subscribers, &other.of.subscribers),
    },
    Column {
        head: "last",
        kind: Kind::Number,
        rank: 4,
        cell: |row| steady(&time(row.of.last_s), 5),
        order: |one, other| one.of.last_s.total_cmp(&other.of.last_s),
    },
    Column {
        head: "retained",
        kind: Kind::Number,
        rank: 7,
        cell: |row| row.of.retained.map_or("-".to_owned(), bytes),
        order: |one, other| descending(&one.of.retained, &other.of.retained),
    },
];
