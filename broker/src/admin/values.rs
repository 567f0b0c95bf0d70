//! The broker's figures as topics and values, under the names that MQTT brokers use where they have one.

use jiff::Timestamp;

use super::load::Total;
use super::store::StoreAnswer;
use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::stats::tally::Tally;

/// Each topic with its current value. The values are not of one moment: only an audit, which pauses all
/// batches, is consistent.
pub(crate) fn values(engine: &Engine) -> Vec<(String, String)> {
    let ledger = engine.clients.ledger();
    let retained = engine.retained.read().size();
    let (account, tally) = (ledger.account, ledger.tally);
    let subscriptions = engine.clients.subscriptions();
    let dropped = tally.dropped.total();
    let (connected, away) = (engine.clients.connected(), engine.clients.detached());
    let (connected, away) = (connected as u64, away as u64);
    let uptime = Moment::now().ms_since(engine.began) / 1000;
    let memory = engine.memory.limit();

    let mut values = vec![
        ("version", version()),
        ("uptime", format!("{uptime} seconds")),
        ("reload", last_reload(engine)),
    ];
    if let Some(end) = tls_end(engine) {
        values.push(("tls/expires", end));
    }
    let mut count = |name, count: u64| values.push((name, count.to_string()));
    count("clients/connected", connected);
    count("clients/disconnected", away);
    count("clients/total", connected + away);
    count("clients/maximum", engine.clients.most() as u64);
    count("clients/expired", engine.metrics.expired.get());
    count("subscriptions/count", subscriptions as u64);
    count(
        "shared_subscriptions/count",
        engine.clients.shared_subscriptions() as u64,
    );
    count("bytes/received", account.bytes);
    count("bytes/sent", tally.bytes);
    count("messages/received", account.published);
    count("messages/sent", tally.written);
    count("messages/stored", retained.count as u64 + ledger.waiting);
    count(
        "store/messages/count",
        retained.count as u64 + ledger.waiting,
    );
    count(
        "store/messages/bytes",
        retained.bytes as u64 + ledger.waiting_bytes,
    );
    count("publish/bytes/received", account.publish_bytes);
    count("publish/bytes/sent", publish_bytes_sent(tally));
    count("publish/messages/received", account.published);
    count("publish/messages/sent", tally.written);
    count("publish/messages/dropped", dropped);
    count(r"retained\smessages/count", retained.count as u64);
    count("retained/count", retained.count as u64);
    count("retained/bytes", retained.bytes as u64);
    count("memory/used", (memory - engine.memory.free()) as u64);
    count("memory/max", memory as u64);
    count("ledger/published", account.published);
    count("ledger/matched", account.matched);
    count("ledger/unmatched", account.unmatched);
    count("ledger/kept", account.kept);
    count("ledger/refused", account.refused);
    count("ledger/copies", account.copies);
    count("ledger/written", tally.written);
    count("ledger/waiting", ledger.waiting);
    count("ledger/dropped", dropped);
    count("ledger/discarded", tally.discarded);
    count("ledger/withdrawn", account.withdrawn);

    let store = StoreAnswer::of(engine).map_or_else(Vec::new, |store| store.values());
    let named = values
        .into_iter()
        .chain(store)
        .map(|(name, value)| (format!("$SYS/broker/{name}"), value));
    let by_reason = tally.dropped.iter().map(|(reason, count)| {
        let name = format!("$SYS/broker/dropped/{}", reason.as_str());
        (name, count.to_string())
    });
    named.chain(by_reason).collect()
}

/// When the first certificate of the broker ends, if it has one.
fn tls_end(engine: &Engine) -> Option<String> {
    let seconds = i64::try_from(engine.metrics.tls_expires.get()).ok()?;
    let end = Timestamp::from_second(seconds).ok()?;
    (seconds > 0).then(|| end.to_string())
}

/// The counts whose averages are published.
pub(crate) fn totals(engine: &Engine) -> Vec<Total> {
    let ledger = engine.clients.ledger();
    let (account, tally) = (ledger.account, ledger.tally);
    let connections = engine.clients.connected() as u64 + engine.metrics.ended.get();
    let counts = [
        ("messages/received", account.published),
        ("messages/sent", tally.written),
        ("publish/received", account.published),
        ("publish/sent", tally.written),
        ("publish/dropped", tally.dropped.total()),
        ("bytes/received", account.bytes),
        ("bytes/sent", tally.bytes),
        ("connections", connections),
    ];
    let totals = counts.map(|(name, count)| Total { name, count });
    totals.into()
}

/// Bytes sent that were no answers. Answers that are queued are counted before they are sent.
fn publish_bytes_sent(tally: Tally) -> u64 {
    tally.bytes.saturating_sub(tally.answer_bytes)
}

fn last_reload(engine: &Engine) -> String {
    let last = engine.orders.last_reload();
    last.map_or_else(
        || "none since the start".to_owned(),
        |last| last.to_string(),
    )
}

fn version() -> String {
    format!("dallal version {}", env!("CARGO_PKG_VERSION"))
}
