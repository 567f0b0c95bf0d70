//! Time to match a filter with a topic, and to check the syntax of both.
//!
//! One filter at a time; the broker's tree of filters has benchmarks of its own.

use divan::{Bencher, black_box};
use protocol::{Filter, Topic};

const TOPIC: &str = "sensors/house/kitchen/temperature/celsius";

const FILTERS: [&str; 5] = [
    TOPIC,
    "sensors/house/kitchen/temperature/fahrenheit",
    "sensors/+/+/temperature/+",
    "sensors/house/#",
    "$share/workers/#",
];

fn main() {
    divan::main();
}

#[divan::bench(args = FILTERS)]
fn matches(bencher: Bencher, filter: &str) {
    let topic = Topic::parse(TOPIC).expect("a topic");
    let filter = Filter::parse(filter).expect("a filter");
    bencher.bench(|| black_box(filter).matches(black_box(topic)));
}

#[divan::bench]
fn parse_topic() -> bool {
    Topic::parse(black_box(TOPIC)).is_ok()
}

#[divan::bench(args = FILTERS)]
fn parse_filter(filter: &str) -> bool {
    Filter::parse(black_box(filter)).is_ok()
}
