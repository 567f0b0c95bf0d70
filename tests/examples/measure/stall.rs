//! One subscriber that does not read, beside some that do.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tests::TestBroker;

use crate::idle::take;
use crate::stdout::say;

const OTHERS: usize = 3;
const PAYLOAD_BYTES: usize = 100;

/// How many messages are published before the publisher waits for the receipt of all of them.
const BURST: u64 = 500;

/// The most messages that may be on their way to the subscribers that read.
const AHEAD: u64 = 20 * BURST;

/// One subscriber that does not read while a publisher works at full speed, beside some that do.
pub(crate) fn measure(time: Duration) -> io::Result<bool> {
    let broker = TestBroker::start();
    let mut stalled = subscriber(&broker, "news")?;
    let others = (0..OTHERS)
        .map(|_| subscriber(&broker, "news end"))
        .collect::<io::Result<Vec<_>>>()?;
    let before = broker.resident_kib();
    let (done, total) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
    let progress: [AtomicU64; OTHERS] = Default::default();
    thread::scope(|scope| {
        let (total, progress) = (&total, &progress);
        let others: Vec<_> = others
            .into_iter()
            .zip(progress)
            .map(|(mut other, came)| scope.spawn(move || count(&mut other, total, came)))
            .collect();
        let memory = scope.spawn(|| peak(&broker, &done));
        let published = publish(&broker, time, progress)?;
        done.store(true, Ordering::Relaxed);
        total.store(published, Ordering::Relaxed);
        // The subscribers that read are woken to see that.
        TcpStream::connect(broker.address())?.write_all(b"PUBLISH end\n")?;
        let grown = memory.join().map_err(|_| io::ErrorKind::Other)? - before;
        say(format_args!(
            "{published} messages of {PAYLOAD_BYTES} bytes in {} s; the broker's memory grew by {:.1} MB",
            time.as_secs(),
            grown as f64 * 1.024 / 1e3
        ));
        let mut all_told = true;
        let mut tell = |who: &str, seen: Seen| {
            let told = seen.came + seen.missed == published;
            all_told &= told && seen.in_order;
            say(format_args!(
                "{who}: {} came, {} told missing in {} gaps, {} in all: {}",
                seen.came,
                seen.missed,
                seen.gaps,
                seen.came + seen.missed,
                if told {
                    "exact"
                } else {
                    "NOT what was published"
                },
            ));
        };
        tell("stalled", count(&mut stalled, total, &AtomicU64::new(0))?);
        for other in others {
            tell("reading", other.join().map_err(|_| io::ErrorKind::Other)??);
        }
        Ok(all_told)
    })
}

/// Publishes numbered messages as fast as the others can read them, so that what the broker
/// holds, it holds for the one that does not.
fn publish(broker: &TestBroker, time: Duration, progress: &[AtomicU64]) -> io::Result<u64> {
    let mut publisher = BufReader::new(TcpStream::connect(broker.address())?);
    let pad = "x".repeat(PAYLOAD_BYTES);
    let deadline = Instant::now() + time;
    let (mut published, mut receipt) = (0, String::new());
    while Instant::now() < deadline {
        let came = progress.iter().map(|each| each.load(Ordering::Relaxed));
        if came.min().is_some_and(|least| published > least + AHEAD) {
            thread::yield_now();
            continue;
        }
        let burst: String = (published..published + BURST)
            .map(|n| format!("PUBLISH news {n} {pad}\n"))
            .collect();
        published += BURST;
        publisher.get_mut().write_all(burst.as_bytes())?;
        while !receipt.starts_with(&format!("PUBACK {published} ")) {
            receipt.clear();
            publisher.read_line(&mut receipt)?;
        }
    }
    Ok(published)
}

struct Seen {
    came: u64,
    missed: u64,
    gaps: u64,
    in_order: bool,
}

/// Reads until `published` messages came or are told missing, or nothing comes any more.
fn count(
    subscriber: &mut BufReader<TcpStream>,
    published: &AtomicU64,
    progress: &AtomicU64,
) -> io::Result<Seen> {
    let mut seen = Seen {
        came: 0,
        missed: 0,
        gaps: 0,
        in_order: true,
    };
    let mut line = String::new();
    while seen.came + seen.missed < published.load(Ordering::Relaxed) {
        line.clear();
        if subscriber.read_line(&mut line)? == 0 {
            break;
        }
        let due = seen.came + seen.missed;
        if let Some(rest) = line.strip_prefix("MESSAGE news ") {
            let number = rest.split(' ').next().and_then(|n| n.parse().ok());
            seen.in_order &= number == Some(due);
            seen.came += 1;
        } else if let Some(count) = line.strip_prefix("GAP ") {
            seen.missed += count.trim_end().parse::<u64>().map_err(io::Error::other)?;
            seen.gaps += 1;
        }
        progress.store(seen.came + seen.missed, Ordering::Relaxed);
    }
    Ok(seen)
}

fn subscriber(broker: &TestBroker, topics: &str) -> io::Result<BufReader<TcpStream>> {
    let mut client = TcpStream::connect(broker.address())?;
    client.set_read_timeout(Some(tests::PATIENCE))?;
    client.write_all(format!("SUBSCRIBE {topics}\n").as_bytes())?;
    for topic in topics.split(' ') {
        take(&mut client, format!("SUBACK {topic}\n").as_bytes())?;
    }
    Ok(BufReader::with_capacity(256 * 1024, client))
}

fn peak(broker: &TestBroker, done: &AtomicBool) -> u64 {
    let mut most = 0;
    while !done.load(Ordering::Relaxed) {
        most = most.max(broker.resident_kib());
        thread::sleep(Duration::from_millis(100));
    }
    most
}
