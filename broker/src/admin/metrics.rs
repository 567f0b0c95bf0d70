//! The broker's figures as OpenMetrics text, generated for each request.

use std::fmt;
use std::fs;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use rustix::param::page_size;
use rustix::time::{ClockId, clock_gettime};

use crate::clock::latency::{BOUNDS, Latencies};
use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::follow::FollowerFigures;
use crate::storage::figures::StoreState;

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = [(&'static str, &'static str); 1];

/// Must be called outside a batch: it takes the ledger by an audit, which waits for all batches.
// Out of line: inlined, its locals would lie on the stack of every idle connection.
#[inline(never)]
pub(crate) fn text(client: &Client<'_>) -> String {
    let engine = client.engine();
    let mut registry = Registry::default();
    let figures = registry.sub_registry_with_prefix("dallal");
    messages(figures, engine);
    figures.register_with_unit(
        "publish_to_write",
        "How long copies took from the reading of their message to the last byte handed to a socket",
        Unit::Seconds,
        engine.latency.read(),
    );
    connections(figures, engine);
    memory(figures, engine);
    denials(figures, engine);
    security_log(figures, engine);
    limits(figures, engine);
    orders(figures, engine);
    tls(figures, engine);
    store(figures, engine);
    process(registry.sub_registry_with_prefix("process"));
    let mut written = String::new();
    text::encode(&mut written, &registry).expect("writing to a string does not fail");
    written
}

fn messages(figures: &mut Registry, engine: &Engine) {
    let ledger = engine.clients.audit().ledger;
    let (account, tally) = (ledger.account, ledger.tally);
    for (name, help, value) in [
        ("messages_published", "Messages accepted", account.published),
        (
            "messages_unmatched",
            "Messages without a subscriber that were not kept either",
            account.unmatched,
        ),
        ("messages_kept", "Messages kept in the log", account.kept),
        (
            "requests_refused",
            "Frames, filters and requests answered by an error",
            account.refused,
        ),
        (
            "copies",
            "Copies made, one for each subscriber of each message",
            account.copies,
        ),
        (
            "copies_written",
            "Copies handed to the sockets of subscribers",
            tally.written,
        ),
        (
            "copies_discarded",
            "Copies still queued when their connection ended",
            tally.discarded,
        ),
        (
            "copies_withdrawn",
            "Copies whose subscriber left before their delivery",
            account.withdrawn,
        ),
        ("bytes_read", "Bytes that came from clients", account.bytes),
        ("bytes_written", "Bytes handed to sockets", tally.bytes),
    ] {
        count(figures, name, help, value);
    }
    let dropped = Family::<Labels, Counter>::default();
    for (reason, copies) in tally.dropped.iter() {
        let labels = [("reason", reason.as_str())];
        dropped.get_or_create(&labels).inc_by(copies);
    }
    let help = "Copies lost because their subscriber was slow";
    figures.register("copies_dropped", help, dropped);
    let help = "Copies queued for slow subscribers";
    gauge(figures, "copies_waiting", help, ledger.waiting);
    let retained = engine.retained.read().size();
    gauge(
        figures,
        "retained_messages",
        "Retained messages",
        retained.count as u64,
    );
    let help = "Bytes of retained messages and their topics";
    gauge(figures, "retained_bytes", help, retained.bytes as u64);
}

/// The memory for queued messages, and how often publishers wait because of slow subscribers.
fn memory(figures: &mut Registry, engine: &Engine) {
    let help = "Free part of the memory for slow clients";
    let free = engine.memory.free() as u64;
    gauge(figures, "memory_free_bytes", help, free);
    let help = "Memory for slow clients and incomplete lines";
    let limit = engine.memory.limit() as u64;
    gauge(figures, "memory_limit_bytes", help, limit);
    let waits = Family::<Labels, Counter>::default();
    let seconds = Family::<Labels, Counter<f64, AtomicU64>>::default();
    let metrics = &engine.metrics;
    for (reason, count, micros) in [
        ("memory", &metrics.waits, &metrics.waited),
        ("block", &metrics.blocks, &metrics.blocked),
    ] {
        let labels = [("reason", reason)];
        waits.get_or_create(&labels).inc_by(count.get());
        let time = Duration::from_micros(micros.get()).as_secs_f64();
        seconds.get_or_create(&labels).inc_by(time);
    }
    let help = "Waits of publishers for slow subscribers: for memory, or for those that block";
    figures.register("publish_waits", help, waits);
    let help = "Time of these waits";
    figures.register("publish_wait_seconds", help, seconds);
}

fn connections(figures: &mut Registry, engine: &Engine) {
    let open = Family::<Labels, Gauge>::default();
    let (mut subscriptions, mut waiting) = (0, 0);
    for record in engine.clients.present() {
        if record.is_connected() {
            let wire = record.outbox().wire();
            open.get_or_create(&[("wire", wire)]).inc();
        }
        subscriptions += record.session().subscriptions().len() as u64;
        waiting += record.outbox().stock().waiting_bytes as u64;
    }
    gauge(
        figures,
        "subscriptions",
        "Filters subscribed to, of all connections",
        subscriptions,
    );
    gauge(
        figures,
        "waiting_bytes",
        "Bytes queued for slow subscribers",
        waiting,
    );
    figures.register("connections", "Connections that are open", open);
    let limit = engine.limits.load().connections as u64;
    let help = "Maximum connections at a time";
    gauge(figures, "connections_limit", help, limit);
    let help = "Sessions of MQTT whose clients are away";
    let detached = engine.clients.detached() as u64;
    gauge(figures, "sessions_detached", help, detached);
    let metrics = &engine.metrics;
    for (name, help, counter) in [
        (
            "connections_ended",
            "Connections that have ended",
            &metrics.ended,
        ),
        (
            "connections_refused",
            "Connections that were turned away",
            &metrics.refused,
        ),
        (
            "auth_ok",
            "Clients that said who they are, and were right",
            &metrics.auth_ok,
        ),
        (
            "auth_failed",
            "Clients that said who they are, and were not believed",
            &metrics.auth_failed,
        ),
        (
            "connections_stale",
            "Connections found not to answer a PING",
            &metrics.stale,
        ),
        (
            "connections_panicked",
            "Connections ended by a bug of the broker",
            &metrics.panicked,
        ),
        (
            "sessions_expired",
            "Sessions of MQTT that ended while their clients were away",
            &metrics.expired,
        ),
    ] {
        count(figures, name, help, counter.get());
    }
    let verifier = engine.verifier.read().clone();
    let hashes = verifier.map_or(0, |verifier| verifier.hashes_computed());
    let help = "Hashes of passwords that were computed, also for users that are not there";
    count(figures, "password_hashes", help, hashes);
}

fn denials(figures: &mut Registry, engine: &Engine) {
    let denied = Family::<Labels, Counter>::default();
    for (right, count) in engine.denials.counts() {
        let labels = [("right", right)];
        denied.get_or_create(&labels).inc_by(count);
    }
    figures.register(
        "denied",
        "What clients asked for and may not do, by right",
        denied,
    );
    gauge(
        figures,
        "access_number",
        "Changes of the rules in force, and of what is known about identities, since the start",
        engine.access.version(),
    );
}

fn security_log(figures: &mut Registry, engine: &Engine) {
    let help = "Events written to the security log";
    let written = engine.security.written.get();
    count(figures, "security_events_written", help, written);
    let help = "Events for which the security log had no room";
    let lost = engine.security.lost.get();
    count(figures, "security_events_lost", help, lost);
}

/// What identities and addresses asked for beyond their limits, and how long clients rested for their rates.
fn limits(figures: &mut Registry, engine: &Engine) {
    let limited = Family::<Labels, Counter>::default();
    let metrics = &engine.metrics;
    for (limit, count) in metrics.limited.iter() {
        limited.get_or_create(&[("limit", limit)]).inc_by(count);
    }
    let help = "What clients asked for beyond the limits of access files, by limit";
    figures.register("limited", help, limited);
    let seconds = Counter::<f64, AtomicU64>::default();
    seconds.inc_by(Duration::from_micros(metrics.throttled.get()).as_secs_f64());
    figures.register(
        "throttled_seconds",
        "Time for which clients were not read from for the rates of access files",
        seconds,
    );
    gauge(
        figures,
        "throttled_clients",
        "Clients that are not read from now for the rates of access files",
        engine.usages.resting() as u64,
    );
}

fn orders(figures: &mut Registry, engine: &Engine) {
    let last = engine.orders.last_reload();
    let has_failed = last.is_some_and(|last| !last.report.applied);
    gauge(
        figures,
        "reload_failed",
        "1 if the last reload has changed nothing because of a mistake, else 0",
        u64::from(has_failed),
    );
    gauge(
        figures,
        "draining",
        "1 while the broker is about to stop and takes no newcomers, else 0",
        u64::from(engine.orders.is_draining()),
    );
}

fn tls(figures: &mut Registry, engine: &Engine) {
    let metrics = &engine.metrics;
    let handshakes = Family::<Labels, Counter>::default();
    let counts = &metrics.tls_handshakes;
    for (result, counter) in [
        ("ok", &counts.ok),
        ("failed", &counts.failed),
        ("too_long", &counts.too_long),
        ("left", &counts.left),
    ] {
        let labels = [("result", result)];
        handshakes.get_or_create(&labels).inc_by(counter.get());
    }
    let help = "Handshakes of TLS by what came of them";
    figures.register("tls_handshakes", help, handshakes);
    count(
        figures,
        "tls_reload_failed",
        "Changes of certificates, keys and lists that could not be taken",
        metrics.tls_reload_failed.get(),
    );
    let expires = metrics.tls_expires.get();
    if expires > 0 {
        gauge(
            figures,
            "tls_expires_timestamp_seconds",
            "When the first certificate of the broker ends, in seconds since 1970",
            expires,
        );
    }
}

fn followers(figures: &mut Registry, engine: &Engine) {
    let followers = FollowerFigures::of(engine);
    let states = Family::<Labels, Gauge<u64, AtomicU64>>::default();
    for (state, number) in [("live", followers.live), ("behind", followers.behind)] {
        states.get_or_create(&[("state", state)]).set(number as u64);
    }
    let help = "Clients that get from the log what topics keep, by whether they are up to date";
    figures.register("store_followers", help, states);
    let help = "Entries of the log that the follower which is the furthest behind has not had";
    gauge(figures, "store_followers_lag", help, followers.lag);
}

/// Nothing without a store.
fn store(figures: &mut Registry, engine: &Engine) {
    let Some(store) = engine.store.get() else {
        return;
    };
    let store = store.figures();
    let is_in = |state| u64::from(store.state == state);
    let history = engine.router.history();
    for (name, help, value) in [
        (
            "store_full",
            "1 while the disk has no room for more of what is to be kept, else 0",
            is_in(StoreState::Full),
        ),
        (
            "store_failing",
            "1 once the disk has failed, so that nothing more is kept until a restart, else 0",
            is_in(StoreState::Failing),
        ),
        ("store_bytes", "Bytes of the files of the log", store.bytes),
        ("store_segments", "Files of the log", store.segments as u64),
        (
            "store_oldest_number",
            "The sequence number of the oldest entry of the log",
            store.oldest.sequence,
        ),
        (
            "store_next_number",
            "The sequence number of the next entry of the log",
            store.next.sequence,
        ),
        (
            "store_topics",
            "Topics that keep messages",
            history.map_or(0, |history| history.topic_count()) as u64,
        ),
        (
            "store_receipts_waiting",
            "Clients whose receipts wait until something is durable",
            store.waiting as u64,
        ),
        (
            "store_damaged_places",
            "Damaged places of the log that the start has found",
            store.damage.places as u64,
        ),
        (
            "store_damaged_snapshots",
            "Damaged snapshots that the start has found",
            store.damage.snapshots as u64,
        ),
        (
            "store_lost_changes",
            "Changes and messages that the start has found lost to damage",
            store.damage.lost,
        ),
    ] {
        gauge(figures, name, help, value);
    }
    followers(figures, engine);
    let help = "Bytes appended to the log";
    count(figures, "store_appended_bytes", help, store.appended);
    let refused = Family::<Labels, Counter>::default();
    for (reason, messages) in engine.metrics.not_kept.iter() {
        let labels = [("reason", reason)];
        refused.get_or_create(&labels).inc_by(messages);
    }
    let help = "Messages that were not published because they could not be kept";
    figures.register("store_refused", help, refused);
    let help = "How long the disk took to make something durable";
    figures.register_with_unit("store_sync", help, Unit::Seconds, store.syncs);
}

impl EncodeMetric for Latencies {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS.iter().map(|bound| bound.as_secs_f64());
        let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(self.buckets).collect();
        encoder.encode_histogram::<NoLabelSet>(self.total_s, self.count(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Figures of the process, under the names that Prometheus clients use for them.
fn process(figures: &mut Registry) {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = Counter::<f64, AtomicU64>::default();
    seconds.inc_by(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9);
    figures.register("cpu_seconds", "Processor time, of user and system", seconds);
    if let Some(bytes) = resident_bytes() {
        gauge(figures, "resident_memory_bytes", "Memory in use", bytes);
    }
}

fn resident_bytes() -> Option<u64> {
    let sizes = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = sizes.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

fn count(figures: &mut Registry, name: &str, help: &str, value: u64) {
    let counter: Counter = Counter::default();
    counter.inc_by(value);
    figures.register(name, help, counter);
}

fn gauge(figures: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    figures.register(name, help, gauge);
}
