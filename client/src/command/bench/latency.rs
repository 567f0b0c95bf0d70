//! Latency at a fixed rate.
//!
//! The loop is open: each message is due at a time that is fixed before the run, whether or not
//! earlier messages have arrived. Latency counts from that time, so a broker that stalls a
//! publisher cannot hide it. The report also has the latency from the time of sending, which
//! excludes the lateness of the publisher. With several subscribers it also has the time until the
//! last of them has the message.

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroU64;
use std::path::Path;
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::HumanFloatCount;

use crate::exit::{Exit, Failure};

use super::failure::BenchFailure;
use super::layout::Layout;
use super::link::TICK;
use super::payload;
use super::phase::run_phase;
use super::publisher::{BenchPublisher, Extent};
use super::reader::Arrival;
use super::report::BenchReport;
use super::settings::RunSettings;
use super::times::{histogram, record, write_distribution};

/// Maximum number of messages that have reached some of their subscribers but not all. Beyond it
/// the time until all have a message is not measured.
const MAX_UNFINISHED: usize = 1 << 20;

/// The options of a run at a fixed rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LatencyOptions<'a> {
    /// Messages per second of all publishers together.
    pub(crate) rate: f64,
    /// Messages due before this do not count.
    pub(crate) warmup: Duration,
    /// The file for the distribution.
    pub(crate) hdr: Option<&'a Path>,
}

/// When each message is due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    interval_ns: f64,
    publishers: usize,
}

impl Schedule {
    /// When a message is due. The publishers take turns.
    fn due_ns(&self, publisher: usize, turn: u64) -> u64 {
        let place = turn * self.publishers as u64 + publisher as u64;
        (place as f64 * self.interval_ns) as u64
    }
}

pub(crate) fn run(
    settings: &RunSettings,
    options: LatencyOptions<'_>,
) -> Result<BenchReport, Failure> {
    let cannot_write = |error| {
        let path = options.hdr.unwrap_or(Path::new(""));
        let why = format_args!("cannot write {} ({error})", path.display());
        Failure::new(Exit::Failed, "client", why)
    };
    // An error shows before the run, which may be long.
    let file = options
        .hdr
        .map(File::create)
        .transpose()
        .map_err(cannot_write)?;
    let schedule = Schedule {
        interval_ns: 1e9 / options.rate,
        publishers: settings.layout.publishers,
    };
    let warmup_ns = options.warmup.as_nanos() as u64;
    let mut times = Times::default();
    let settings = &with_warmup(settings, options);
    let result = run_phase(
        settings,
        u64::MAX,
        |publisher| publish(publisher, schedule),
        |arrival| times.add(&settings.layout, schedule, warmup_ns, arrival),
    )?;
    if let Some(file) = file {
        write_distribution(file, &times.from_schedule).map_err(cannot_write)?;
    }
    let mut report = BenchReport::new("latency", settings);
    report.participants(settings);
    report.with(&format!("{} msg/s", HumanFloatCount(options.rate)));
    report.figure("rate", options.rate);
    result.report_published(&mut report, settings.size);
    result.report_delivered(&mut report, settings.size);
    report.times_head();
    report.times("scheduled", "from_schedule", &times.from_schedule);
    report.times("sent", "from_sending", &times.from_sending);
    if settings.layout.fan_out() > 1 {
        report.times("to all", "to_all", &times.to_all);
    }
    result.report_end(&mut report);
    Ok(report)
}

/// The settings with the messages of the warm-up added.
fn with_warmup(settings: &RunSettings, options: LatencyOptions<'_>) -> RunSettings {
    let messages = |time: Duration| (time.as_secs_f64() * options.rate).ceil() as u64;
    let measured = match settings.extent {
        Extent::Time(time) => messages(time),
        Extent::Count(count) => count,
    };
    RunSettings {
        extent: Extent::Count(messages(options.warmup) + measured),
        ..settings.clone()
    }
}

#[derive(Debug)]
struct Times {
    from_schedule: Histogram<u64>,
    from_sending: Histogram<u64>,
    /// From the schedule until the last subscriber has the message.
    to_all: Histogram<u64>,
    /// How many subscribers have a message, by publisher and turn.
    unfinished: HashMap<(usize, u64), usize>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            from_schedule: histogram(),
            from_sending: histogram(),
            to_all: histogram(),
            unfinished: HashMap::new(),
        }
    }
}

impl Times {
    fn add(&mut self, layout: &Layout, schedule: Schedule, warmup_ns: u64, arrival: Arrival<'_>) {
        let turn = layout.turn(arrival.publisher, arrival.topic, arrival.number);
        let due_ns = schedule.due_ns(arrival.publisher, turn);
        if due_ns < warmup_ns {
            return;
        }
        let time_ns = arrival.now_ns.saturating_sub(due_ns);
        record(&mut self.from_schedule, time_ns);
        if layout.fan_out() > 1 && self.is_last((arrival.publisher, turn), layout.fan_out()) {
            record(&mut self.to_all, time_ns);
        }
        if let Some(sent_ns) = payload::time_ns(arrival.payload) {
            record(
                &mut self.from_sending,
                arrival.now_ns.saturating_sub(sent_ns),
            );
        }
    }

    /// Counts a subscriber that has the message; returns whether it was the last.
    fn is_last(&mut self, message: (usize, u64), fan_out: usize) -> bool {
        if self.unfinished.len() >= MAX_UNFINISHED && !self.unfinished.contains_key(&message) {
            return false;
        }
        let having = self.unfinished.entry(message).or_insert(0);
        *having += 1;
        let is_last = *having == fan_out;
        if is_last {
            self.unfinished.remove(&message);
        }
        is_last
    }
}

/// Publishes the messages that are due, and sleeps until the next one is.
fn publish(publisher: &mut BenchPublisher<'_>, schedule: Schedule) -> Result<(), BenchFailure> {
    // The default timer slack wakes a thread up to 50 µs late. If it cannot be changed, the delay
    // shows in the report.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    loop {
        let left = publisher.left();
        if left == 0 {
            return Ok(());
        }
        let now_ns = publisher.flow.now_ns();
        let next = publisher.published();
        let is_due = |turn| schedule.due_ns(publisher.number, turn) <= now_ns;
        let most = left.min(publisher.frames.count() as u64);
        let due = (next..next + most).take_while(|turn| is_due(*turn)).count();
        if due > 0 {
            publisher.frames.stamp(due, now_ns);
            publisher.publish(due)?;
            continue;
        }
        publisher.link.receive(|_, _| {})?;
        let wait_ns = schedule.due_ns(publisher.number, next) - now_ns;
        thread::sleep(Duration::from_nanos(wait_ns).min(TICK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_take_turns() {
        let schedule = Schedule {
            interval_ns: 1000.0,
            publishers: 2,
        };
        let due: Vec<_> = (0..3)
            .flat_map(|turn| [0, 1].map(|publisher| schedule.due_ns(publisher, turn)))
            .collect();
        assert_eq!(due, [0, 1000, 2000, 3000, 4000, 5000]);
    }

    #[test]
    fn a_stall_counts_for_all_that_was_due_meanwhile() {
        let schedule = Schedule {
            interval_ns: 1e6,
            publishers: 1,
        };
        let layout = Layout {
            publishers: 1,
            subscribers: 1,
            topics: 1,
            spread: false,
        };
        let mut times = Times::default();
        let mut payload = payload::blank(payload::MIN_BYTES);
        payload::set_time(&mut payload, 10_000_000);
        for number in 0..10 {
            let arrival = Arrival {
                publisher: 0,
                topic: 0,
                number,
                payload: &payload,
                now_ns: 10_001_000,
            };
            times.add(&layout, schedule, 2_000_000, arrival);
        }
        assert_eq!(times.from_schedule.len(), 8);
        assert!(times.from_schedule.max() >= 8_000_000);
        assert!(times.from_sending.max() < 1_100);
        assert_eq!(times.to_all.len(), 0);
    }

    #[test]
    fn a_message_has_reached_all_when_it_has_reached_the_last() {
        let schedule = Schedule {
            interval_ns: 1e6,
            publishers: 1,
        };
        let layout = Layout {
            publishers: 1,
            subscribers: 3,
            topics: 1,
            spread: false,
        };
        let mut times = Times::default();
        let payload = payload::blank(payload::MIN_BYTES);
        for (number, now_ns) in [(0, 100), (1, 1_000_100), (0, 300), (0, 7_000)] {
            let arrival = Arrival {
                publisher: 0,
                topic: 0,
                number,
                payload: &payload,
                now_ns,
            };
            times.add(&layout, schedule, 0, arrival);
        }
        assert_eq!((times.from_schedule.len(), times.to_all.len()), (4, 1));
        assert!(times.to_all.max() >= 7_000);
        assert_eq!(times.unfinished.len(), 1);
    }
}
