//! The list of connections.

use client::inquiry::{Connection, Who};

use super::Listing;
use crate::table::{Column, Kind, descending, latest};
use crate::units::{bytes, count, time};

impl Listing for Who {
    type Row = Connection;

    const NOUN: &'static str = "connection";

    fn columns() -> &'static [Column<Connection>] {
        COLUMNS
    }

    fn into_rows(self) -> (Vec<Connection>, u64) {
        (self.connections, self.total)
    }
}

const COLUMNS: &[Column<Connection>] = &[
    Column {
        head: "id",
        kind: Kind::Number,
        rank: 0,
        cell: |row| row.id.to_string(),
        order: |one, other| one.id.cmp(&other.id),
    },
    Column {
        head: "name",
        kind: Kind::Text,
        rank: 1,
        cell: |row| row.name.as_deref().unwrap_or("-").to_owned(),
        // Connections without a name come last.
        order: |one, other| {
            (one.name.is_none(), &one.name).cmp(&(other.name.is_none(), &other.name))
        },
    },
    Column {
        head: "identity",
        kind: Kind::Text,
        rank: 2,
        cell: |row| super::identity(&row.identity).to_owned(),
        order: |one, other| one.identity.cmp(&other.identity),
    },
    Column {
        head: "kind",
        kind: Kind::Whole,
        rank: 17,
        cell: |row| match &*row.kind {
            "none" => String::new(),
            kind => kind.to_owned(),
        },
        order: |one, other| one.kind.cmp(&other.kind),
    },
    Column {
        head: "peer",
        kind: Kind::Whole,
        rank: 6,
        cell: |row| peer(row).to_owned(),
        order: |one, other| peer(one).cmp(peer(other)),
    },
    Column {
        head: "wire",
        kind: Kind::Whole,
        rank: 12,
        cell: |row| row.wire.clone(),
        order: |one, other| one.wire.cmp(&other.wire),
    },
    Column {
        head: "since",
        kind: Kind::Number,
        rank: 11,
        cell: |row| time(row.connected_s),
        order: |one, other| descending(&one.connected_s, &other.connected_s),
    },
    Column {
        head: "idle",
        kind: Kind::Number,
        rank: 8,
        cell: |row| time(row.idle_s),
        order: |one, other| descending(&one.idle_s, &other.idle_s),
    },
    Column {
        head: "filters",
        kind: Kind::Number,
        rank: 9,
        cell: |row| count(row.subscriptions),
        order: |one, other| descending(&one.subscriptions, &other.subscriptions),
    },
    Column {
        head: "published",
        kind: Kind::Number,
        rank: 7,
        cell: |row| count(row.published),
        order: |one, other| descending(&one.published, &other.published),
    },
    Column {
        head: "written",
        kind: Kind::Number,
        rank: 5,
        cell: |row| count(row.written),
        order: |one, other| descending(&one.written, &other.written),
    },
    Column {
        head: "waiting",
        kind: Kind::Number,
        rank: 4,
        cell: |row| count(row.waiting),
        order: |one, other| descending(&one.waiting, &other.waiting),
    },
    Column {
        head: "lag",
        kind: Kind::Number,
        rank: 10,
        cell: |row| row.lag_s.map_or("-".to_owned(), time),
        order: |one, other| descending(&one.lag_s, &other.lag_s),
    },
    Column {
        head: "dropped",
        kind: Kind::Number,
        rank: 3,
        cell: |row| count(row.total_dropped()),
        order: |one, other| descending(&one.total_dropped(), &other.total_dropped()),
    },
    Column {
        head: "last-drop",
        kind: Kind::Number,
        rank: 14,
        cell: |row| row.dropped_last_s.map_or("-".to_owned(), time),
        order: |one, other| latest(one.dropped_last_s, other.dropped_last_s),
    },
    Column {
        head: "throttled",
        kind: Kind::Number,
        rank: 18,
        cell: |row| row.throttled_s.map_or(String::new(), time),
        order: |one, other| descending(&one.throttled_s, &other.throttled_s),
    },
    Column {
        head: "bytes",
        kind: Kind::Number,
        rank: 13,
        cell: |row| bytes(row.bytes),
        order: |one, other| descending(&one.bytes, &other.bytes),
    },
    Column {
        head: "refused",
        kind: Kind::Number,
        rank: 15,
        cell: |row| count(row.refused),
        order: |one, other| descending(&one.refused, &other.refused),
    },
    Column {
        head: "subscribed",
        kind: Kind::Text,
        rank: 16,
        cell: subscribed,
        order: |one, other| one.filters.cmp(&other.filters),
    },
];

/// The peer, or `away` for a session without a connection.
fn peer(row: &Connection) -> &str {
    match row.away {
        true => "away",
        false => &row.peer,
    }
}

/// The filters; an ellipsis means that there are more.
fn subscribed(row: &Connection) -> String {
    let mut filters = row.filters.join(" ");
    if row.subscriptions > row.filters.len() as u64 {
        filters.push_str(" …");
    }
    filters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::fit;

    #[test]
    fn identities_have_a_column_if_a_client_has_shown_one() {
        let row = |identity: &str, kind: &str| Connection {
            identity: identity.to_owned(),
            kind: kind.to_owned(),
            ..Connection::default()
        };
        let anonymous = row("anonymous", "none");
        let fitted = fit(COLUMNS, std::slice::from_ref(&anonymous), 250);
        assert!(!fitted.columns.contains(&"identity"), "{}", fitted.head);
        let of_older_broker = fit(COLUMNS, &[Connection::default()], 250);
        assert!(!of_older_broker.columns.contains(&"identity"));
        let fitted = fit(COLUMNS, &[anonymous, row("ann", "token")], 250);
        assert!(
            fitted.head.starts_with("id  name  identity  kind   "),
            "{}",
            fitted.head
        );
        assert!(
            fitted.rows[0].starts_with(" 0  -                      "),
            "{}",
            fitted.rows[0]
        );
        assert!(
            fitted.rows[1].starts_with(" 0  -     ann       token  "),
            "{}",
            fitted.rows[1]
        );
    }

    #[test]
    fn the_time_in_rests_has_a_column_if_a_client_has_rested() {
        let resting = Connection {
            throttled_s: Some(12.5),
            ..Connection::default()
        };
        let fitted = fit(COLUMNS, &[Connection::default(), resting], 250);
        assert!(fitted.head.contains("throttled"), "{}", fitted.head);
        assert!(fitted.rows[1].contains(" 12s "), "{}", fitted.rows[1]);
        let fitted = fit(COLUMNS, &[Connection::default()], 250);
        assert!(!fitted.head.contains("throttled"), "{}", fitted.head);
    }

    #[test]
    fn a_session_without_a_connection_has_no_peer() {
        let row = Connection {
            peer: "127.0.0.1:40000".to_owned(),
            away: true,
            ..Connection::default()
        };
        let fitted = fit(COLUMNS, &[row], 200);
        assert!(fitted.rows[0].contains(" away "), "{}", fitted.rows[0]);
        assert!(!fitted.rows[0].contains("127.0.0.1"), "{}", fitted.rows[0]);
    }

    #[test]
    fn a_connection_takes_one_row_at_any_width() {
        let row = Connection {
            id: 7,
            name: Some("the lamp".to_owned()),
            peer: "127.0.0.1:40000".to_owned(),
            wire: "line".to_owned(),
            connected_s: 4000.0,
            idle_s: 2.5,
            subscriptions: 12,
            filters: vec!["a".to_owned(), "b/#".to_owned()],
            waiting: 3,
            waiting_bytes: 90,
            lag_s: Some(0.5),
            published: 12_345,
            written: 10,
            bytes: 1_500,
            dropped: [("full".to_owned(), 2), ("memory".to_owned(), 3)].into(),
            ..Connection::default()
        };
        let rows = [row];
        let at = |room| {
            let fitted = fit(COLUMNS, &rows, room);
            [fitted.head, fitted.rows[0].clone()]
        };
        assert_eq!(
            at(80),
            [
                "id  name      peer             idle  published  written  waiting  dropped",
                " 7  the lamp  127.0.0.1:40000    2s      12.3k       10        3        5",
            ]
        );
        assert_eq!(
            at(40),
            [
                "id  name      written  waiting  dropped",
                " 7  the lamp       10        3        5",
            ]
        );
        assert!(
            at(250)[1].ends_with("1.5 KiB        0  a b/# …"),
            "{:?}",
            at(250)
        );
    }
}
