//! The values of a configuration as one would type them, and what is different in another.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

use super::Config;
use super::arguments::needs_restart;
use crate::engine::orders::Change;

/// The value of a limit that is not set.
const BY_MACHINE: &str = "what the machine bears";

/// The mode of TLS that is not set.
const BY_CERTIFICATE: &str = "required beyond loopback once there is a certificate";

/// The keys of Unix sockets that change only with a restart.
const UNIX_NEED_RESTART: [&str; 2] = ["unix-mode", "unix-owner"];

/// The other keys that change only with a restart.
const NEED_RESTART: [&str; 7] = [
    "data",
    "keep",
    "keep-total",
    "keep-topics",
    "data-reserve",
    "ack",
    "sync-interval",
];

/// The changes that a reload cannot make, each as a mistake; those of Unix sockets if it `keeps_unix`.
pub(crate) fn need_restart(changes: &[Change], keeps_unix: bool) -> Vec<String> {
    let need_restart = changes.iter().filter(|it| {
        let is_of_unix = keeps_unix && UNIX_NEED_RESTART.contains(&it.key);
        is_of_unix || NEED_RESTART.contains(&it.key)
    });
    need_restart
        .map(|it| needs_restart(it.key, &it.from, &it.to))
        .collect()
}

impl Config {
    /// Each key whose value differs in `next`. Whom that concerns is left empty.
    pub(crate) fn changes(&self, next: &Self) -> Vec<Change> {
        let pairs = self.values().into_iter().zip(next.values());
        let changed = pairs.filter(|((_, from), (_, to))| from != to);
        changed
            .map(|((key, from), (_, to))| Change {
                key,
                from,
                to,
                concerns: String::new(),
            })
            .collect()
    }

    /// Each key with its value.
    pub(crate) fn values(&self) -> Vec<(&'static str, String)> {
        let mut values = self.values_of_endpoints();
        values.extend(self.values_of_limits());
        values.extend(self.values_of_access());
        values.extend(self.tls_values());
        values
    }

    fn values_of_endpoints(&self) -> Vec<(&'static str, String)> {
        let owner = match self.unix_owner {
            (None, None) => "the broker's".to_owned(),
            (user, group) => {
                let number = |it: Option<u32>| it.map(|it| it.to_string()).unwrap_or_default();
                format!("{}:{}", number(user), number(group))
            }
        };
        let rooms = self.rooms.iter().map(|room| {
            let places = list(room.addresses.iter());
            format!("{places}={}", room.topic)
        });
        vec![
            ("port", self.port.to_string()),
            ("host", list(self.host.iter())),
            ("listen", places(&self.listen)),
            ("unix", list(self.unix.iter().map(|path| path.display()))),
            ("unix-mode", format!("{:03o}", self.unix_mode)),
            ("unix-owner", owner),
            ("room", list(rooms)),
            ("room-members", self.room_members.to_string()),
            ("room-idle", time(self.room_idle)),
            ("udp", places(&self.udp)),
        ]
    }

    fn values_of_limits(&self) -> Vec<(&'static str, String)> {
        let bytes = |bytes: usize| ByteSize::b(bytes as u64).to_string();
        let optional = |number: Option<usize>| {
            number.map_or_else(|| BY_MACHINE.to_owned(), |number| number.to_string())
        };
        vec![
            ("max-line", bytes(self.max_line)),
            ("max-connections", optional(self.max_connections)),
            (
                "max-per-address",
                self.max_per_address
                    .map_or_else(|| "half of all".to_owned(), |most| most.to_string()),
            ),
            ("outbox-bytes", bytes(self.outbox_bytes)),
            (
                "memory",
                self.memory.map_or_else(|| BY_MACHINE.to_owned(), bytes),
            ),
            ("max-block", time(self.max_block)),
            ("ping-interval", time(self.ping_interval)),
            ("sys-interval", time(self.sys_interval)),
            ("max-subscriptions", self.max_subscriptions.to_string()),
            ("max-retained", self.max_retained.to_string()),
            ("max-retained-bytes", bytes(self.max_retained_bytes)),
            ("max-queued", self.max_queued.to_string()),
            (
                "max-sessions",
                self.max_sessions.map_or_else(
                    || "10 for each connection".to_owned(),
                    |most| most.to_string(),
                ),
            ),
            (
                "max-sessions-per-address",
                self.max_sessions_per_address.to_string(),
            ),
            ("session-expiry-max", time(self.session_expiry_max)),
            ("max-keep-alive", time(self.max_keep_alive)),
        ]
    }

    fn values_of_access(&self) -> Vec<(&'static str, String)> {
        vec![
            ("users", files(self.users.as_slice())),
            ("jwt-keys", files(self.jwt_keys.as_slice())),
            ("jwt-issuer", list(self.jwt_issuer.iter())),
            ("jwt-audience", list(self.jwt_audience.iter())),
            ("access", files(self.access.as_slice())),
            ("open", self.open.to_string()),
            ("proxy", list(self.proxies.iter())),
            ("name", list(self.names.iter())),
            ("allow-origin", list(self.allow_origins.iter())),
            ("talking", self.talking.clone()),
            ("drain", time(self.drain)),
            ("security-log", files(self.security_log.as_slice())),
            ("data", files(self.data.as_slice())),
            ("keep", list(self.keep.iter())),
            (
                "keep-total",
                self.keep_total
                    .map_or_else(String::new, |bytes| bytes.to_string()),
            ),
            ("data-reserve", ByteSize::b(self.data_reserve).to_string()),
            ("keep-topics", self.keep_topics.to_string()),
            ("history-max", self.history_max.to_string()),
            ("ack", self.ack.to_string()),
            ("sync-interval", time(self.sync_interval)),
        ]
    }

    fn tls_values(&self) -> Vec<(&'static str, String)> {
        vec![
            ("tls-cert", files(&self.tls.certs)),
            ("tls-key", files(&self.tls.keys)),
            (
                "tls",
                self.tls
                    .mode
                    .map_or_else(|| BY_CERTIFICATE.to_owned(), |mode| mode.to_string()),
            ),
            ("tls-min", self.tls.min.to_string()),
            ("client-ca", files(self.tls.client_ca.as_slice())),
            ("client-crl", files(self.tls.client_crl.as_slice())),
            (
                "client-cert",
                self.tls.client_cert.map_or_else(
                    || "asked with client-ca".to_owned(),
                    |mode| mode.to_string(),
                ),
            ),
            ("client-name", list(self.tls.client_names.iter())),
        ]
    }
}

fn time(time: Duration) -> String {
    match time {
        Duration::MAX => "never".to_owned(),
        time => humantime::format_duration(time).to_string(),
    }
}

fn list(values: impl Iterator<Item = impl Display>) -> String {
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    match values.is_empty() {
        true => "none".to_owned(),
        false => values.join(", "),
    }
}

fn files(paths: &[PathBuf]) -> String {
    list(paths.iter().map(|path| path.display()))
}

fn places(places: &[Vec<SocketAddr>]) -> String {
    list(places.iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_in_the_units_one_would_type() {
        let config = Config::default();
        assert!(config.changes(&config.clone()).is_empty());
        let next = Config {
            max_line: 64 * 1024,
            ping_interval: Duration::from_secs(90),
            session_expiry_max: Duration::MAX,
            names: vec!["a".to_owned(), "b".to_owned()],
            max_connections: Some(7),
            ..Config::default()
        };
        let changes = config.changes(&next);
        let told = changes.iter().map(|change| {
            let Change { key, from, to, .. } = change;
            format!("{key}: {from} -> {to}")
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                "max-line: 64.0 MiB -> 64.0 KiB",
                "max-connections: what the machine bears -> 7",
                "ping-interval: 30s -> 1m 30s",
                "session-expiry-max: 7days -> never",
                "name: none -> a, b",
            ]
        );
    }
}
