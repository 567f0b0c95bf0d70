//! One run of `client bench` against one broker, and what it cost the broker.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::case::{Case, Lengths, Load};
use crate::figure::Figure;
use crate::interruption::Interruption;
use crate::server::Server;
use crate::trouble::Trouble;
use crate::usage;

/// Figures by their keys.
pub(crate) type Figures = BTreeMap<String, f64>;

/// How often memory is looked at while connections come.
const PAUSE: Duration = Duration::from_millis(20);

/// How long `client bench` waits for a broker that does not move.
const WAIT: &str = "60s";

/// A run that takes so much longer than it should hangs.
const MAX_DELAY: Duration = Duration::from_secs(180);

/// What `client bench` ends with when messages were lost, doubled or reordered.
const ASTRAY: i32 = 7;

/// What memory is measured at: this part of the time that the connections are held.
const SETTLED: f64 = 0.9;

/// What was seen of a broker before a run.
#[derive(Clone, Copy, Debug)]
struct Before {
    processor_ns: Option<f64>,
    resident: Option<f64>,
}

/// `Ok(Err(why))` if the run failed; the others can go on.
pub(crate) fn run(
    client: &Path,
    server: &Server,
    case: &Case,
    lengths: Lengths,
    interruption: &Interruption,
) -> Result<Result<Figures, String>, Trouble> {
    let before = Before {
        processor_ns: usage::processor_ns(server.pid()),
        resident: usage::resident_bytes(server.pid()),
    };
    let mut load = match Running::start(client, server, case, lengths) {
        Ok(load) => load,
        Err(error) => return Ok(Err(format!("client bench cannot start: {error}"))),
    };
    let longest = Duration::from_secs_f64(case.seconds(lengths)) + MAX_DELAY;
    let mut memory = Vec::new();
    let status = loop {
        interruption.check()?;
        match load.child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if load.begin.elapsed() > longest => {
                return Ok(Err(format!("not done after {} s", longest.as_secs())));
            }
            Ok(None) => {}
            Err(error) => return Ok(Err(error.to_string())),
        }
        if case.load == Load::Idle {
            let now = usage::resident_bytes(server.pid());
            memory.extend(now.map(|bytes| (load.begin.elapsed(), bytes)));
        }
        thread::sleep(PAUSE);
    };
    let processor_ns = usage::processor_ns(server.pid());
    Ok(load.told(status).map(|told| {
        let connecting = told["connected_seconds"].as_f64();
        let settled = connecting.map(|seconds| seconds + SETTLED * lengths.hold());
        let settled = settled.and_then(|seconds| last_until(&memory, seconds));
        let figures = told_figures(case.load, &told);
        let costs = [
            (
                Figure::Cpu,
                cpu(&before, processor_ns, messages(case.load, &told)),
            ),
            (Figure::Peak, usage::peak_bytes(server.pid())),
        ];
        let grown = settled
            .zip(before.resident)
            .map(|(then, before)| then - before);
        let each = grown.map(|bytes| (bytes / f64::from(case.place)).round());
        let memory = [(Figure::Resident, grown), (Figure::PerConnection, each)];
        by_key(figures.into_iter().chain(costs).chain(memory))
    }))
}

/// Processor time for each message, to a tenth of a nanosecond.
fn cpu(before: &Before, after_ns: Option<f64>, messages: Option<f64>) -> Option<f64> {
    let spent_ns = after_ns? - before.processor_ns?;
    Some((10.0 * spent_ns / messages?).round() / 10.0)
}

fn by_key(figures: impl Iterator<Item = (Figure, Option<f64>)>) -> Figures {
    let known = figures.filter_map(|(figure, value)| Some((figure.key().to_owned(), value?)));
    known.collect()
}

/// Dropping it kills it.
#[derive(Debug)]
struct Running {
    child: Child,
    begin: Instant,
}

impl Running {
    fn start(client: &Path, server: &Server, case: &Case, lengths: Lengths) -> io::Result<Self> {
        let begin = Instant::now();
        let child = Command::new(client)
            .env_remove("BROKER_URL")
            .args(["bench", "--json", "--wait", WAIT])
            .args(server.bench_arguments(case))
            .args(case.bench_arguments(lengths))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Self { child, begin })
    }

    /// What it told, which is one line, or why it told nothing.
    fn told(&mut self, status: ExitStatus) -> Result<Value, String> {
        let (mut out, mut complaint) = (String::new(), String::new());
        if let Some(mut stream) = self.child.stdout.take() {
            stream
                .read_to_string(&mut out)
                .map_err(|error| error.to_string())?;
        }
        if let Some(mut stream) = self.child.stderr.take() {
            // Without it, the status says enough.
            let _ = stream.read_to_string(&mut complaint);
        }
        if !matches!(status.code(), Some(0 | ASTRAY)) {
            let line = complaint.lines().next().unwrap_or_default();
            let line = line.strip_prefix("client: ").unwrap_or(line);
            return Err(format!("{line} ({status})"));
        }
        serde_json::from_str(&out).map_err(|error| format!("client bench told no JSON: {error}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What counts of all that `client bench` tells.
fn told_figures(load: Load, told: &Value) -> [(Figure, Option<f64>); 10] {
    let times = match load {
        Load::Receipts | Load::Kept => &told["ack_after"],
        Load::RoundTrips => &told["round_trip"],
        Load::Latency => &told["from_schedule"],
        Load::LatencyToAll => &told["to_all"],
        Load::Throughput | Load::Idle => &Value::Null,
    };
    let from_us = |value: &Value| value.as_f64().map(|us| us * 1e3);
    [
        (Figure::Delivered, told["delivered_per_s"].as_f64()),
        (Figure::Acked, told["acked_per_s"].as_f64()),
        (Figure::RoundTrips, told["round_trips_per_s"].as_f64()),
        (Figure::Connected, told["connected_per_s"].as_f64()),
        (Figure::P50, from_us(&times["p50_us"])),
        (Figure::P99, from_us(&times["p99_us"])),
        (Figure::Broadcast, from_us(&told["broadcast"]["p50_us"])),
        (Figure::Lost, told["lost"].as_f64()),
        (Figure::Doubled, told["doubled"].as_f64()),
        (Figure::Reordered, told["reordered"].as_f64()),
    ]
}

/// How many messages the broker delivered, or kept where that is all it does; `None` if it was there for neither.
fn messages(load: Load, told: &Value) -> Option<f64> {
    let messages = match load {
        Load::Throughput | Load::Receipts | Load::Latency | Load::LatencyToAll => {
            told["delivered"].as_f64()
        }
        Load::Kept => told["acked"].as_f64(),
        // A question and an answer.
        Load::RoundTrips => told["round_trips"].as_f64().map(|trips| 2.0 * trips),
        Load::Idle => None,
    };
    messages.filter(|messages| *messages > 0.0)
}

/// The last of what was seen in these seconds.
fn last_until(seen: &[(Duration, f64)], seconds: f64) -> Option<f64> {
    let until = seen
        .iter()
        .take_while(|(at, _)| at.as_secs_f64() <= seconds);
    until.last().map(|(_, bytes)| *bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_load_has_times_of_its_own() {
        let told = json!({
            "from_schedule": {"p50_us": 1.5},
            "to_all": {"p50_us": 7.0},
            "delivered_per_s": 9.0,
            "lost": 0,
        });
        let figures = |load| by_key(told_figures(load, &told).into_iter());
        let p50 = |load| figures(load).get("p50_ns").copied();
        assert_eq!(p50(Load::Latency), Some(1500.0));
        assert_eq!(p50(Load::LatencyToAll), Some(7000.0));
        assert_eq!(p50(Load::Throughput), None);
        assert_eq!(figures(Load::Throughput).len(), 2);
    }

    #[test]
    fn a_round_trip_is_two_messages() {
        let told = json!({"round_trips": 5, "delivered": 0});
        assert_eq!(messages(Load::RoundTrips, &told), Some(10.0));
        assert_eq!(messages(Load::Throughput, &told), None);
    }

    #[test]
    fn what_is_kept_counts_though_nothing_is_delivered() {
        let told = json!({"acked": 7, "delivered": 0, "ack_after": {"p50_us": 2.0}});
        assert_eq!(messages(Load::Kept, &told), Some(7.0));
        let figures = by_key(told_figures(Load::Kept, &told).into_iter());
        assert_eq!(figures.get("p50_ns"), Some(&2000.0));
    }

    #[test]
    fn memory_is_that_of_the_settled_connections() {
        let seen = [1, 2, 3].map(|second| (Duration::from_secs(second), second as f64));
        assert_eq!(last_until(&seen, 2.5), Some(2.0));
        assert_eq!(last_until(&seen, 0.5), None);
    }
}
