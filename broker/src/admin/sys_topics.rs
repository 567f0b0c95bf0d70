//! The thread that publishes the broker's own figures under `$SYS/broker/`, as retained messages, when
//! they have changed.
//!
//! It publishes as an `engine::Client` without a connection. The figures themselves come from `values`.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use foldhash::fast::RandomState;
use protocol::{Escaped, Topic};

use crate::admin;
use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::outbox::{Outbox, Sink};
use crate::engine::session::clients::ClientRecord;
use crate::wire::line;

/// The number of no connection.
const NOBODY: u64 = 0;

/// Nobody is sent anything.
struct Nowhere;

impl Sink for Nowhere {
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn arm(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Publishes what has changed, now and then at each interval, until `stopped` is closed. `first` is
/// dropped when there is a value of everything.
pub(crate) fn proclaim_loop(
    engine: &Engine,
    interval: Duration,
    stopped: &Receiver<()>,
    first: Sender<()>,
) {
    let outbox = Outbox::new(
        NOBODY,
        0,
        engine.memory.clone(),
        &line::ENCODER,
        Box::new(Nowhere),
    );
    let nobody = (Ipv4Addr::UNSPECIFIED, 0).into();
    let record = Arc::new(ClientRecord::new(Arc::new(outbox), nobody));
    engine.clients.set_own(record.clone());
    let mut client = Client::new(engine, &record);
    let mut known = HashMap::default();
    proclaim(&mut client, &mut known);
    drop(first);
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        proclaim(&mut client, &mut known);
    }
}

fn proclaim(client: &mut Client<'_>, known: &mut HashMap<String, String, RandomState>) {
    client.begin();
    client.note_heard(0);
    for (name, value) in admin::values(client.engine) {
        if known.get(&name) == Some(&value) {
            continue;
        }
        if let Ok(topic) = Topic::parse(name.as_bytes()) {
            client.publish_own(topic, &Escaped::escape(value.as_bytes()));
        }
        known.insert(name, value);
    }
    client.settle();
    // What it remembers of its subscribers would keep those who have left.
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
