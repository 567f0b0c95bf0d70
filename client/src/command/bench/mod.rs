//! `client bench`: measures throughput and latency of a broker, and checks that each message
//! arrives once and in order.
//!
//! All brokers are loaded with the same code. `phase.rs` has what most kinds of runs share; `wire/`
//! has what differs between the brokers' protocols.

mod acked;
mod failure;
mod flow;
mod frames;
mod idle;
mod latency;
mod layout;
mod link;
mod payload;
mod phase;
mod progress;
mod publisher;
mod reader;
mod report;
mod request;
mod retained;
mod settings;
mod streams;
mod tally;
mod target;
mod template;
mod throughput;
mod times;
mod wire;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::{RangedU64ValueParser, TypedValueParser};
use client::AckLevel;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::duration;
use crate::exit::{self, Exit, Failure};
use crate::interruption::Interruption;
use crate::stderr::say;
use crate::value;

use latency::LatencyOptions;
use layout::Layout;
use link::Dialer;
use publisher::Extent;
use report::BenchReport;
use settings::RunSettings;
use target::TargetArguments;
use wire::PublishOptions;

/// A longer payload would not fit into a line of the broker.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Maximum window. MQTT numbers messages in flight with 16 bits.
const MAX_WINDOW: u64 = 65_535;

/// Maximum number of streams over all subscribers, each of which needs a counter.
const MAX_STREAMS: usize = 64 * 1024 * 1024;

const EXAMPLES: &str = "\
Examples:
  client bench --size 16 --subs 10         throughput
  client bench --rate 10000 --hdr h.txt    latency, with its distribution
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::BENCH_HELP].join("\n"))]
pub(crate) struct Arguments {
    /// Publishers
    #[arg(long, value_name = "P", default_value_t = 1, value_parser = within(1, payload::MAX_PUBLISHERS))]
    pubs: usize,
    /// Subscribers
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = within(0, 100_000))]
    subs: usize,
    /// Topics, of which every client has all
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = within(1, layout::MAX_TOPICS))]
    topics: usize,
    /// Give each topic to one publisher and one subscriber
    #[arg(long)]
    spread: bool,
    /// Bytes of a payload, at least 16 of them
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = size)]
    size: usize,
    /// Publish for TIME
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse_positive)]
    duration: Duration,
    /// Publish N messages instead
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Bytes a subscriber may be behind
    #[arg(long, value_name = "BYTES", default_value = "4MiB", value_parser = bytes)]
    cap: usize,
    /// Latency: publish R messages a second
    #[arg(long, value_name = "R", group = "mode", value_parser = rate)]
    rate: Option<f64>,
    /// With --rate: leave out the first TIME
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration::parse)]
    warmup: Duration,
    /// With --rate: write the distribution to FILE
    #[arg(long, value_name = "FILE", requires = "rate")]
    hdr: Option<PathBuf>,
    /// Receipts: at most W messages in flight
    #[arg(long, value_name = "W", group = "mode")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_WINDOW))]
    window: Option<u64>,
    /// With --window: receipts when that is safe
    #[arg(
        long,
        value_name = "LEVEL",
        requires = "window",
        hide_possible_values = true
    )]
    #[arg(value_parser = value::ack_level())]
    ack: Option<AckLevel>,
    /// Retain the messages, until the end of the run
    #[arg(long, conflicts_with_all = ["request", "idle"])]
    retain: bool,
    /// Round trips: request and answer
    #[arg(long, group = "mode", conflicts_with_all = ["pubs", "subs", "topics", "spread"])]
    request: bool,
    /// Idle: N connections that wait for a message
    #[arg(long, value_name = "N", group = "mode", conflicts_with_all = ["pubs", "subs", "topics", "spread", "duration", "count"])]
    #[arg(value_parser = within(1, 1_000_000))]
    idle: Option<usize>,
    /// With --idle: pause for TIME before the messages
    #[arg(
        long,
        value_name = "TIME",
        requires = "idle",
        default_value = "0s",
        hide_default_value = true
    )]
    #[arg(value_parser = duration::parse)]
    hold: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArguments,
}

/// Parses a number within bounds.
fn within(least: usize, most: usize) -> impl TypedValueParser<Value = usize> {
    let parser = RangedU64ValueParser::<u64>::new().range(least as u64..=most as u64);
    parser.map(|number| number as usize)
}

fn bytes(text: &str) -> Result<usize, String> {
    let ByteSize(bytes) = text.parse()?;
    match usize::try_from(bytes) {
        Ok(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("give bytes, such as 1000 or 4MiB".to_owned()),
    }
}

fn size(text: &str) -> Result<usize, String> {
    match bytes(text)? {
        size @ payload::MIN_BYTES..=MAX_BYTES => Ok(size),
        _ => Err("give 16 bytes to 32MiB; fewer cannot be numbered".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("give messages a second, such as 10000".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let layout = arguments.layout()?;
    let target = arguments.target.target(arguments.window);
    let target = target.map_err(|why| Failure::new(Exit::Usage, "client", why))?;
    let publish = PublishOptions {
        acked: arguments.window.is_some(),
        retain: arguments.retain,
        level: arguments.ack,
    };
    let checked = target.wire.check(publish);
    checked.map_err(|why| Failure::new(Exit::Usage, "client", why))?;
    let subscribed = (layout.subscribers > 0).then(|| layout.subscribed_by(0).len());
    let wire = target.wire.of_subscribers().unwrap_or(target.wire);
    if subscribed > Some(wire.most_topics()) {
        let why = "a stream of events has one topic; give --topics 1, or --spread and a subscriber for each";
        return Err(Failure::new(Exit::Usage, "client", why));
    }
    let has_streams = arguments.target.keep.is_some();
    if has_streams && layout.subscribers > 0 {
        let why = "--keep needs --subs 0; bench reads nothing from streams";
        return Err(Failure::new(Exit::Usage, "client", why));
    }
    let interruption = Interruption::watch()?;
    raise_open_files();
    let settings = RunSettings {
        dialer: Dialer {
            target,
            wait: arguments.target.wait,
            interrupt: interruption.interrupt().clone(),
        },
        layout,
        size: arguments.size,
        extent: arguments
            .count
            .map_or(Extent::Time(arguments.duration), Extent::Count),
        publish,
        cap: arguments.cap,
        progress: !arguments.json || io::stdout().is_terminal(),
    };
    if has_streams {
        streams::make(&settings)?;
    }
    let measured = arguments.measure(&settings);
    if settings.publish.retain {
        retained::clear(&settings);
    }
    if has_streams {
        streams::remove(&settings);
    }
    let report = measured?;
    report.print(arguments.json)?;
    Ok(end(&report))
}

/// Raises the limit of open files, because each connection is one. If the limit stays too low,
/// connecting fails.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn end(report: &BenchReport) -> Exit {
    if report.interrupted {
        return Exit::Interrupted;
    }
    if report.faults.any() {
        say("client: messages were lost, doubled or reordered on their way");
        return Exit::Astray;
    }
    if report.is_less_safe {
        say(
            "client: messages were acknowledged at a lower level than --ack; give --retain, and start the broker with --data DIR",
        );
        return Exit::LessSafe;
    }
    Exit::Done
}

impl Arguments {
    fn layout(&self) -> Result<Layout, Failure> {
        let wrong = |why| Err(Failure::new(Exit::Usage, "client", why));
        let layout = Layout {
            publishers: self.pubs,
            subscribers: self.idle.unwrap_or(self.subs),
            topics: self.topics,
            spread: self.spread,
        };
        let Layout {
            publishers,
            subscribers,
            topics,
            spread,
        } = layout;
        if spread && (subscribers == 0 || topics < publishers.max(subscribers)) {
            return wrong("--spread needs a topic for each publisher and each subscriber");
        }
        if layout.streams().saturating_mul(subscribers) > MAX_STREAMS {
            return wrong("that needs too many counters; give fewer --topics, or --spread");
        }
        Ok(layout)
    }

    fn measure(&self, settings: &RunSettings) -> Result<BenchReport, Failure> {
        if let Some(rate) = self.rate {
            let options = LatencyOptions {
                rate,
                warmup: self.warmup,
                hdr: self.hdr.as_deref(),
            };
            return latency::run(settings, options);
        }
        let measured = if let Some(window) = self.window {
            acked::run(settings, window)
        } else if self.request {
            request::run(settings)
        } else if self.idle.is_some() {
            idle::run(settings, self.hold)
        } else {
            throughput::run(settings)
        };
        Ok(measured?)
    }
}
