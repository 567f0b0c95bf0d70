//! Latencies in an open loop: each message bears the time it was *due*, so that one that could not
//! be sent in time counts with all of its delay.

use std::fmt;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, number};
use crate::rounds::median;

/// How long messages took, in microseconds.
#[derive(Clone, Default)]
pub(crate) struct Latencies(Vec<u32>);

/// Three figures of many.
#[derive(Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl Latencies {
    /// Notes a message that came `now` and was due at the time it bears in front of its payload.
    pub(crate) fn note(&mut self, message: &[u8], topic: &str, clock: Instant, now: Instant) {
        let payload = message
            .strip_prefix(b"MESSAGE ")
            .and_then(|rest| rest.strip_prefix(topic.as_bytes()))
            .and_then(|rest| rest.strip_prefix(b" "));
        let due = payload
            .and_then(|payload| payload.split(|&byte| byte == b' ').next())
            .and_then(number);
        if let Some(due) = due {
            let took = (now - clock).as_micros().saturating_sub(u128::from(due));
            self.0.push(u32::try_from(took).unwrap_or(u32::MAX));
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn summary(mut self) -> Summary {
        self.0.sort_unstable();
        let at = |share: f64| {
            let rank = (self.0.len() as f64 * share) as usize;
            let micros = self.0.get(rank).or(self.0.last()).copied();
            Duration::from_micros(micros.unwrap_or(0).into())
        };
        Summary {
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

impl Summary {
    /// Each figure the one in the middle of some rounds.
    pub(crate) fn middle(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> Duration| {
            let seconds = rounds.iter().map(|each| figure(each).as_secs_f64());
            Duration::from_secs_f64(median(seconds.collect()))
        };
        Self {
            p50: of(|each| each.p50),
            p99: of(|each| each.p99),
            max: of(|each| each.max),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "p50 {:7.2} ms, p99 {:7.2} ms, max {:7.2} ms",
            millis(self.p50),
            millis(self.p99),
            millis(self.max)
        )
    }
}

/// Publishes at this rate for some time, whatever becomes of the messages; returns how many.
pub(crate) fn publish_in_time(
    publisher: &mut Client,
    topic: &str,
    payload_bytes: usize,
    per_second: u32,
    time: Duration,
    clock: Instant,
) -> io::Result<u64> {
    let interval = Duration::from_secs(1) / per_second;
    let count = (time.as_secs_f64() * f64::from(per_second)) as u32;
    let began = Instant::now();
    for n in 0..count {
        let due = began + interval * n;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let stamp = (due - clock).as_micros().to_string();
        let pad = "x".repeat(payload_bytes.saturating_sub(stamp.len() + 1));
        publisher.write(format!("PUBLISH {topic} {stamp} {pad}\n").as_bytes())?;
    }
    let receipt = |line: &[u8]| {
        let answered = line.strip_prefix(b"PUBACK ")?.split(|&byte| byte == b' ');
        answered.clone().next().and_then(number)
    };
    // A connection publishes in one measurement only, so its receipts count from one.
    while receipt(publisher.line()?) < Some(count.into()) {}
    Ok(count.into())
}
