//! A million retained messages: what they weigh, and how long a subscriber waits for all of them, for
//! one level and for one topic. Prints the part of `docs/benchmarks.md` that tells of it, which
//! `tests/peers` takes from `docs/benchmarks/retained.md`:
//!
//!     cargo run --release -p tests --example measure -- retained > docs/benchmarks/retained.md

use std::io;
use std::time::{Duration, Instant};

use tests::TestBroker;

use crate::client::{Client, ask_for_the_end};
use crate::rounds::median;
use crate::stdout::say;

/// Houses, rooms in each, sensors in each.
const SIDE: usize = 100;
const TOPICS: usize = SIDE * SIDE * SIDE;

const ROUNDS: usize = 5;

/// How many are published before an answer is waited for.
const AT_ONCE: usize = 10_000;

const PAYLOAD: &str = "temperature 21.5";

/// What is asked for, and how many messages that are.
const ASKED: [(&str, &str, usize); 5] = [
    ("all", "#", TOPICS),
    ("all below one level", "home/50/#", SIDE * SIDE),
    ("one level", "home/50/50/+", SIDE),
    ("one of each branch", "home/+/50/50", SIDE),
    ("one topic", "home/50/50/50", 1),
];

pub(crate) fn measure() -> io::Result<bool> {
    let broker = TestBroker::start();
    let mut publisher = Client::connect(&broker)?;
    publish(&mut publisher, 0..1)?;
    let before = broker.resident_kib();
    let began = Instant::now();
    publish(&mut publisher, 1..TOPICS)?;
    let took = began.elapsed();
    let each = broker.resident_kib().saturating_sub(before) as f64 * 1024.0 / TOPICS as f64;
    let name = topic(TOPICS - 1);
    say(format_args!(
        "## Retained messages\n\n\
         `cargo run --release -p tests --example measure -- retained` prints this part; medians of {ROUNDS}.\n\n\
         {TOPICS} topics such as `{name}`, with payloads of {} bytes: {each:.0} bytes of resident memory \
         each, \
         of which {} are the topic and the message as it is sent. They were published in {:.1} s.\n",
        PAYLOAD.len(),
        2 * name.len() + "@retained MESSAGE  ".len() + PAYLOAD.len() + 1,
        took.as_secs_f64(),
    ));
    say(format_args!(
        "| a SUBSCRIBE to | messages | until the SUBACK | until the last message |\n|---|---|---|---|"
    ));
    let mut all_came = true;
    for (what, filter, count) in ASKED {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut client = Client::connect(&broker)?;
            let began = Instant::now();
            client.subscribe(&[filter.to_owned()])?;
            first.push(began.elapsed());
            ask_for_the_end(&client.writer()?)?;
            let mut came = 0;
            let mut read = || -> io::Result<bool> {
                let line = client.line()?;
                came += usize::from(line.starts_with(b"@retained MESSAGE "));
                Ok(line.starts_with(b"PONG"))
            };
            while !read()? {}
            last.push(began.elapsed());
            all_came &= came == count;
        }
        say(format_args!(
            "| {what}: `{filter}` | {count} | {} | {} |",
            shown(first),
            shown(last)
        ));
    }
    Ok(all_came)
}

fn topic(number: usize) -> String {
    let (house, room, sensor) = (number / SIDE / SIDE, number / SIDE % SIDE, number % SIDE);
    format!("home/{house:02}/{room:02}/{sensor:02}")
}

fn publish(client: &mut Client, numbers: std::ops::Range<usize>) -> io::Result<()> {
    let numbers: Vec<usize> = numbers.collect();
    for some in numbers.chunks(AT_ONCE) {
        let lines: String = some
            .iter()
            .map(|number| format!("@retain PUBLISH {} {PAYLOAD}\n", topic(*number)))
            .collect();
        client.write(lines.as_bytes())?;
        ask_for_the_end(&client.writer()?)?;
        client.read_to_end(|_| {})?;
    }
    Ok(())
}

/// The median.
fn shown(rounds: Vec<Duration>) -> String {
    let seconds = median(rounds.iter().map(Duration::as_secs_f64).collect());
    match seconds {
        1.0.. => format!("{seconds:.1} s"),
        0.001.. => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{:.0} µs", seconds * 1e6),
    }
}
