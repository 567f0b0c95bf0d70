//! The thread that publishes the broker's figures under `$SYS/broker/`, as retained messages, when they
//! have changed.
//!
//! It publishes as an `engine::Client` without a connection. `values` computes the figures.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};
use foldhash::fast::RandomState;
use protocol::{Escaped, Topic};

use crate::admin;
use crate::admin::load::Load;
use crate::engine::Engine;
use crate::engine::client::Client;

/// Publishes the changed figures now and at each interval, until `stopped` is closed. An interval of zero
/// is for never; a new one comes from `intervals`. Drops `first` once every figure has a value.
pub(crate) fn publish_loop(
    engine: &Engine,
    mut interval: Duration,
    intervals: &Receiver<Duration>,
    stopped: &Receiver<()>,
    first: Sender<()>,
) {
    let mut client = Client::internal(engine);
    let mut known = HashMap::default();
    let (mut load, mut at) = (Load::default(), Instant::now());
    load.update(&admin::totals(engine), Duration::ZERO);
    if !interval.is_zero() {
        publish_changes(&mut client, &load, &mut known);
    }
    drop(first);
    loop {
        let pause = match interval.is_zero() {
            true => crossbeam_channel::never(),
            false => crossbeam_channel::after(interval),
        };
        select! {
            recv(pause) -> _ => {}
            // The figures change with it at once.
            recv(intervals) -> next => match next {
                Ok(next) if next.is_zero() => {
                    interval = next;
                    continue;
                }
                Ok(next) => interval = next,
                Err(_) => return,
            },
            recv(stopped) -> _ => return,
        }
        let now = Instant::now();
        load.update(&admin::totals(engine), now - at);
        at = now;
        publish_changes(&mut client, &load, &mut known);
    }
}

fn publish_changes(
    client: &mut Client<'_>,
    load: &Load,
    known: &mut HashMap<String, String, RandomState>,
) {
    client.begin();
    client.note_heard(0);
    let load = load.values();
    let load = load.map(|(name, value)| (format!("$SYS/broker/{name}"), value));
    for (name, value) in admin::values(client.engine()).into_iter().chain(load) {
        if known.get(&name) == Some(&value) {
            continue;
        }
        if let Ok(topic) = Topic::parse(name.as_bytes()) {
            client.publish_own(topic, Escaped::escape(value.as_bytes()));
        }
        known.insert(name, value);
    }
    client.settle();
    // Cached routes would keep the outboxes of clients that have disconnected.
    client.pause();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::limits::Limits;

    #[test]
    fn every_figure_has_a_topic_of_its_own_that_can_be_published_to() {
        let engine = Engine::new(Limits::default()).expect("an engine");
        let mut values = admin::values(&engine);
        values.sort();
        for (name, _) in &values {
            let topic = Topic::parse(name.as_bytes()).expect("a topic");
            assert!(topic.is_brokers_own(), "{name}");
        }
        assert!(values.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
