//! Subscriptions: the time to add and remove them, their memory, and the time to look up a topic.

use std::fs;
use std::time::Instant;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use protocol::{Filter, Topic};

use crate::client::idle;
use crate::engine::routing::filter_tree::{FilterTree, Matched};
use crate::engine::routing::route_cache::{Item, Known, LogRoute, RouteCache, TopicCount};
use crate::engine::routing::router::Router;
use crate::engine::routing::subscribers::{Counters, Subscriber};

const FILTERS: usize = 100_000;
const SUBSCRIBERS_PER_FILTER: usize = 10;
const CLIENTS: u64 = 1000;

/// Filters with wildcards; a broker has fewer of them than of exact ones.
const WILD: usize = 10_000;

fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("sensors/{}/{number}/state", number % 100))
        .collect()
}

fn patterns(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("sensors/{}/{number}/+", number % 100))
        .collect()
}

fn topic(name: &str) -> Topic<'_> {
    Topic::parse(name).expect("a topic")
}

fn filter(text: &str) -> Filter<'_> {
    Filter::parse(text).expect("a filter")
}

fn clients() -> Vec<Subscriber> {
    (1..=CLIENTS).map(idle).collect()
}

/// Subscribes ten clients to each filter, taking the clients in turn.
fn subscribe_all(router: &Router, filters: &[String], clients: &[Subscriber]) {
    let mut next = clients.iter().cycle();
    for text in filters {
        for client in next.by_ref().take(SUBSCRIBERS_PER_FILTER) {
            router.subscribe(filter(text), client);
        }
    }
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn subscribe_a_million_exact(bencher: Bencher) {
    subscribe_a_million(bencher, &names(FILTERS));
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn subscribe_a_million_wild(bencher: Bencher) {
    subscribe_a_million(bencher, &patterns(FILTERS));
}

fn subscribe_a_million(bencher: Bencher, filters: &[String]) {
    let clients = clients();
    bencher
        .counter(ItemsCount::new(FILTERS * SUBSCRIBERS_PER_FILTER))
        .with_inputs(Router::new)
        .bench_local_refs(|router| subscribe_all(router, filters, &clients));
}

/// Looks up this many topics in turn, each with ten subscribers.
#[divan::bench(args = [1, 1000, FILTERS])]
fn route_exact(bencher: Bencher, count: usize) {
    let (router, names) = (Router::new(), names(count));
    subscribe_all(&router, &names, &clients());
    let mut next = names.iter().cycle();
    bencher.bench_local(|| {
        let name = next.next().expect("it goes round");
        router.route(topic(name), router.hash(name.as_bytes()))
    });
}

/// The same, each matched by one filter with a wildcard.
#[divan::bench(args = [1, WILD])]
fn route_wild(bencher: Bencher, count: usize) {
    let (router, names) = (Router::new(), names(count));
    subscribe_all(&router, &patterns(count), &clients());
    let mut next = names.iter().cycle();
    bencher.bench_local(|| {
        let name = next.next().expect("it goes round");
        router.route(topic(name), router.hash(name.as_bytes()))
    });
}

#[divan::bench(args = [1, WILD])]
fn collect_from_tree(bencher: Bencher, count: usize) {
    let (mut tree, names, one) = (FilterTree::new(), names(count), idle(1));
    for text in patterns(count) {
        tree.insert(Filter::parse(&text).expect("a filter"), &one);
    }
    let mut next = names.iter().cycle();
    let mut matched = Matched::default();
    bencher.bench_local(|| {
        matched.subscribers.clear();
        let name = next.next().expect("it goes round");
        tree.collect(topic(name), &mut matched);
        matched.subscribers.len()
    });
}

/// Looks up a remembered route and checks that it is current.
#[divan::bench(args = [1, 10, 10_000])]
fn known_route(bencher: Bencher, count: usize) {
    let (router, mut cache, names) = (Router::new(), RouteCache::default(), names(count));
    for _ in 0..10 {
        for name in &names {
            let hash = router.hash(name.as_bytes());
            let item = Item {
                name: name.as_str().into(),
                versions: router.route(topic(name), hash).versions(),
                known: Known {
                    audience: 0,
                    groups: None,
                    is_kept: false,
                },
                log: LogRoute::default(),
                count: TopicCount::new(Counters::default()),
            };
            cache.insert(hash, item);
        }
    }
    let mut next = names.iter().cycle();
    bencher.bench_local(|| {
        let name = black_box(next.next().expect("it goes round").as_bytes());
        let hash = router.hash(name);
        cache
            .get(name, hash)
            .is_some_and(|(_, item)| router.is_current(item.versions, hash))
    });
}

/// Memory that the subscriptions of a large broker take, as reported by the kernel.
#[allow(
    clippy::print_stdout,
    reason = "a measurement is told where those before it were"
)]
pub(crate) fn print_memory() {
    let clients = clients();
    for (kind, filters) in [("exact", names(FILTERS)), ("wild", patterns(FILTERS))] {
        let (before, began) = (resident_bytes(), Instant::now());
        let router = Router::new();
        subscribe_all(&router, &filters, &clients);
        let (took, bytes) = (began.elapsed(), resident_bytes() - before);
        let count = FILTERS * SUBSCRIBERS_PER_FILTER;
        println!(
            "{count} {kind} subscriptions to {FILTERS} filters: {} bytes each, {:.0} a second",
            bytes / count,
            count as f64 / took.as_secs_f64(),
        );
        // Leaked, so that the next kind cannot reuse its memory.
        std::mem::forget(router);
    }
}

fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    1024 * kibibytes
        .and_then(|number| number.parse::<usize>().ok())
        .expect("a number")
}
