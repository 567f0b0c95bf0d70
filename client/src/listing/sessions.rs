//! The list of sessions that outlast connections.

use client::inquiry::{ResumableSession, Sessions};

use super::Listing;
use crate::table::{Column, Kind, descending};
use crate::units::{bytes, count, time};

impl Listing for Sessions {
    type Row = ResumableSession;

    const NOUN: &'static str = "session";

    fn columns() -> &'static [Column<ResumableSession>] {
        COLUMNS
    }

    fn into_rows(self) -> (Vec<ResumableSession>, u64) {
        (self.sessions, self.total)
    }
}

const COLUMNS: &[Column<ResumableSession>] = &[
    Column {
        head: "client-id",
        kind: Kind::Text,
        rank: 0,
        cell: |row| row.client_id.clone(),
        order: |one, other| one.client_id.cmp(&other.client_id),
    },
    Column {
        head: "identity",
        kind: Kind::Text,
        rank: 1,
        cell: |row| super::identity(&row.identity).to_owned(),
        order: |one, other| one.identity.cmp(&other.identity),
    },
    Column {
        head: "client",
        kind: Kind::Whole,
        rank: 2,
        cell: |row| state(row).to_owned(),
        // Absent clients come first.
        order: |one, other| other.away.cmp(&one.away),
    },
    Column {
        head: "peer",
        kind: Kind::Whole,
        rank: 7,
        cell: |row| row.peer.clone(),
        order: |one, other| one.peer.cmp(&other.peer),
    },
    Column {
        head: "wire",
        kind: Kind::Whole,
        rank: 9,
        cell: |row| row.wire.clone(),
        order: |one, other| one.wire.cmp(&other.wire),
    },
    Column {
        head: "idle",
        kind: Kind::Number,
        rank: 5,
        cell: |row| time(row.idle_s),
        order: |one, other| descending(&one.idle_s, &other.idle_s),
    },
    Column {
        head: "expires",
        kind: Kind::Number,
        rank: 6,
        cell: |row| row.expires_s.map_or("-".to_owned(), time),
        // Those that never expire come last.
        order: |one, other| {
            let after = |row: &ResumableSession| row.expires_s.unwrap_or(f64::INFINITY);
            after(one).total_cmp(&after(other))
        },
    },
    Column {
        head: "filters",
        kind: Kind::Number,
        rank: 8,
        cell: |row| count(row.subscriptions),
        order: |one, other| descending(&one.subscriptions, &other.subscriptions),
    },
    Column {
        head: "waiting",
        kind: Kind::Number,
        rank: 3,
        cell: |row| count(row.waiting),
        order: |one, other| descending(&one.waiting, &other.waiting),
    },
    Column {
        head: "size",
        kind: Kind::Number,
        rank: 4,
        cell: |row| bytes(row.waiting_bytes),
        order: |one, other| descending(&one.waiting_bytes, &other.waiting_bytes),
    },
    Column {
        head: "lag",
        kind: Kind::Number,
        rank: 10,
        cell: |row| row.lag.map_or("-".to_owned(), count),
        order: |one, other| descending(&one.lag, &other.lag),
    },
];

fn state(row: &ResumableSession) -> &'static str {
    match row.away {
        true => "away",
        false => "connected",
    }
}
