//! Outboxes, and batches on their way into many of them.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use protocol::{Filter, Topic};

use crate::client::{blocked, idle};
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::outbox::run::{PublishOptions, Run};
use crate::engine::publish::{Dispatch, Place};
use crate::engine::routing::router::Router;

/// Messages in a batch.
const BATCH: usize = 64;

#[divan::bench(args = [16, 128, 1024])]
fn deliver_to_an_idle_outbox(bencher: Bencher, bytes: usize) {
    let (client, text) = (idle(1), message("a", bytes));
    let run = Run::borrowed(text.as_bytes(), 1);
    bencher
        .counter(ItemsCount::new(1usize))
        .bench_local(|| client.lock().deliver(&[&run]));
}

/// Fills the outbox to its limit, and then measures a drop.
#[divan::bench(args = [16, 128, 1024])]
fn deliver_to_a_full_outbox(bencher: Bencher, bytes: usize) {
    let (client, text) = (blocked(1), message("a", bytes));
    let run = Run::borrowed(text.as_bytes(), 1);
    let fill = 2 * 1024 * 1024 / text.len();
    assert!((0..fill).all(|_| client.lock().deliver(&[&run])));
    bencher
        .counter(ItemsCount::new(1usize))
        .bench_local(|| client.lock().deliver(&[&run]));
}

/// Queues 256 KiB for a client whose sink accepts nothing.
#[divan::bench(args = [16, 128, 1024])]
fn fill_a_blocked_outbox(bencher: Bencher, bytes: usize) {
    let text = message("a", bytes);
    let run = Run::borrowed(text.as_bytes(), 1);
    let count = 256 * 1024 / text.len();
    bencher
        .counter(ItemsCount::new(count))
        .with_inputs(|| blocked(1))
        .bench_local_refs(|client| (0..count).all(|_| client.lock().deliver(&[&run])));
}

/// A batch on one topic, which is one run.
#[divan::bench(args = [1, 10, 1000])]
fn dispatch_one_topic(bencher: Bencher, subscribers: u64) {
    dispatch(bencher, subscribers, &["a"]);
}

/// A batch on two topics in turn with different subscribers: as many runs as messages.
#[divan::bench(args = [1, 10, 1000])]
fn dispatch_topics_in_turn(bencher: Bencher, subscribers: u64) {
    dispatch(bencher, subscribers, &["a", "b"]);
}

fn dispatch(bencher: Bencher, subscribers: u64, topics: &[&str]) {
    let router = Arc::new(Router::new());
    let subscribe = |topic: &str, id| {
        let filter = Filter::parse(topic).expect("a filter");
        router.subscribe(filter, &idle(id));
    };
    let first = idle(0);
    for topic in topics {
        let filter = Filter::parse(*topic).expect("a filter");
        router.subscribe(filter, &first);
    }
    (1..subscribers).for_each(|id| subscribe("a", id));
    subscribe("b", subscribers);
    let mut dispatch = Dispatch::new(router, Arc::default());
    let mut buffer = ReadBuffer::new(&crate::client::memory());
    let bytes = buffer.fill(1 << 20).expect("there is memory");
    let mut messages = Vec::new();
    for topic in topics.iter().cycle().take(BATCH) {
        let start = bytes.len();
        bytes.extend_from_slice(message(topic, 128).as_bytes());
        messages.push((*topic, start..start + topic.len(), start..bytes.len()));
    }
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for (name, topic, all) in &messages {
            let known = dispatch.add_known(buffer.bytes(), topic.clone(), all.clone());
            if known.is_none() {
                let name = Topic::parse(*name).expect("a topic");
                dispatch
                    .add(
                        name,
                        Place::Buffer,
                        topic.clone(),
                        all.clone(),
                        PublishOptions::LINE,
                        None,
                    )
                    .expect("it is not kept");
            }
        }
        dispatch.deliver(buffer.bytes());
    });
}

fn message(topic: &str, payload: usize) -> String {
    format!("{topic} {}\n", "x".repeat(payload))
}
