//! The figures of a run: lines for people, or one JSON object.

use std::io::{self, Write};
use std::time::Duration;

use client::AckLevel;
use hdrhistogram::Histogram;
use indicatif::HumanCount;
use serde_json::{Map, Value, json};

use crate::exit::Failure;
use crate::output::json;
use crate::units::plural;

use super::settings::RunSettings;
use super::tally::Faults;

/// The reported percentiles, in per cent.
const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 50.0),
    ("p90", 90.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("p99.99", 99.99),
];

/// The figures of a run, and how it ended.
#[derive(Debug)]
pub(crate) struct BenchReport {
    text: String,
    json: Map<String, Value>,
    pub(crate) faults: Faults,
    /// Messages are less safe than they were to be.
    pub(crate) is_less_safe: bool,
    pub(crate) interrupted: bool,
}

impl BenchReport {
    pub(crate) fn new(mode: &str, settings: &RunSettings) -> Self {
        let target = &settings.dialer.target;
        let mut report = Self {
            text: format!("{mode} at {target}"),
            json: Map::new(),
            faults: Faults::default(),
            is_less_safe: false,
            interrupted: false,
        };
        report.figure("mode", mode);
        report.figure("server", target.to_string());
        report
    }

    /// One value for programs.
    pub(crate) fn figure(&mut self, key: &str, value: impl Into<Value>) {
        self.json.insert(key.replace(' ', "_"), value.into());
    }

    /// One line for people.
    pub(crate) fn line(&mut self, label: &str, text: &str) {
        self.text.push_str(&format!("\n  {label:<12}{text}"));
    }

    /// The publishers, subscribers and topics.
    pub(crate) fn participants(&mut self, settings: &RunSettings) {
        let layout = &settings.layout;
        let size = settings.size;
        let text = format!(
            "{}, {}, {}{}, {size} bytes",
            plural(layout.publishers as u64, "publisher"),
            plural(layout.subscribers as u64, "subscriber"),
            plural(layout.topics as u64, "topic"),
            if layout.spread { " spread" } else { "" },
        );
        self.text.push_str(&format!(": {text}"));
        self.figure("publishers", layout.publishers);
        self.figure("subscribers", layout.subscribers);
        self.figure("topics", layout.topics);
        self.figure("spread", layout.spread);
        self.figure("size", size);
        if settings.publish.retain {
            self.with("retained");
            self.figure("retained", true);
        }
    }

    /// The level that was asked for, and the lowest that was reached; `None` if it is unknown.
    pub(crate) fn level(&mut self, asked: AckLevel, reached: Option<AckLevel>) {
        let reached_name = reached.map(AckLevel::as_str);
        self.with(&format!("asking for {asked}"));
        self.line("level", reached_name.unwrap_or("unknown"));
        self.figure("ack", asked.as_str());
        self.figure("level", reached_name);
        self.is_less_safe = reached < Some(asked);
    }

    /// Adds to the first line.
    pub(crate) fn with(&mut self, text: &str) {
        self.text.push_str(", ");
        self.text.push_str(text);
    }

    /// The number of connections.
    pub(crate) fn connections(&mut self, count: usize, size: usize) {
        let text = format!(": {}, {size} bytes", plural(count as u64, "connection"));
        self.text.push_str(&text);
        self.figure("connections", count);
        self.figure("size", size);
    }

    /// A count of messages of `size` bytes, and its rate.
    pub(crate) fn rate(&mut self, what: &str, count: u64, size: usize, time: Duration) {
        let (seconds, rate) = per_second(count, time);
        let megabytes = rate * size as f64 / 1e6;
        let text = format!(
            "{:>13} msg/s {megabytes:>10.1} MB/s {:>15} in {seconds:.2} s",
            HumanCount(rate as u64).to_string(),
            HumanCount(count).to_string(),
        );
        self.line(what, &text);
        self.rate_figures(what, count, seconds, rate);
        self.figure(&format!("{what}_mb_per_s"), rounded(megabytes));
    }

    /// A count without a size, and its rate.
    pub(crate) fn pace(&mut self, what: &str, count: u64, time: Duration) {
        let (seconds, rate) = per_second(count, time);
        let text = format!(
            "{:>13}/s {:>15} in {seconds:.2} s",
            HumanCount(rate as u64).to_string(),
            HumanCount(count).to_string(),
        );
        self.line(what, &text);
        self.rate_figures(what, count, seconds, rate);
    }

    fn rate_figures(&mut self, what: &str, count: u64, seconds: f64, rate: f64) {
        self.figure(what, count);
        self.figure(&format!("{what}_seconds"), rounded(seconds));
        self.figure(&format!("{what}_per_s"), rate.round());
    }

    pub(crate) fn faults(&mut self, faults: Faults) {
        let Faults {
            lost,
            doubled,
            reordered,
        } = faults;
        let text = format!(
            "{} lost, {} doubled, {} reordered",
            HumanCount(lost),
            HumanCount(doubled),
            HumanCount(reordered)
        );
        self.line("faults", &text);
        self.figure("lost", lost);
        self.figure("doubled", doubled);
        self.figure("reordered", reordered);
        self.faults = faults;
    }

    /// The heads of the columns of times.
    pub(crate) fn times_head(&mut self) {
        let names = PERCENTILES.iter().map(|(name, _)| name);
        let names: String = names
            .chain([&"max"])
            .map(|name| format!("{name:>11}"))
            .collect();
        self.line("µs", &names);
    }

    /// A row of percentiles.
    pub(crate) fn times(&mut self, what: &str, key: &str, times: &Histogram<u64>) {
        let at = PERCENTILES.map(|(name, percent)| (name, times.value_at_percentile(percent)));
        let all = at.into_iter().chain([("max", times.max())]);
        let mut row = String::new();
        let mut object = Map::new();
        for (name, nanoseconds) in all {
            let microseconds = nanoseconds as f64 / 1e3;
            row.push_str(&format!("{microseconds:>11.1}"));
            object.insert(
                format!("{}_us", name.replace('.', "_")),
                json!(rounded(microseconds)),
            );
        }
        object.insert("count".to_owned(), times.len().into());
        self.line(what, &row);
        self.figure(key, object);
    }

    /// Prints to standard output.
    pub(crate) fn print(&self, as_json: bool) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let printed = if as_json {
            writeln!(out, "{}", json::to_text(&self.json))
        } else {
            writeln!(out, "{}", self.text)
        };
        printed.map_err(|error| Failure::of_output(&error))
    }
}

/// A time in seconds, and how many of `count` there were in each.
fn per_second(count: u64, time: Duration) -> (f64, f64) {
    let seconds = time.as_secs_f64();
    let rate = if count == 0 {
        0.0
    } else {
        count as f64 / seconds
    };
    (seconds, rate)
}

/// Rounds to three decimal places.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_behind_the_point() {
        assert_eq!(rounded(1.23456), 1.235);
    }
}
