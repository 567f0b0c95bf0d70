//! `client subscribe`: prints messages to standard output, and reconnects when the connection is
//! lost.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use client::{Attributes, Error, Filter, Interrupt, SLOW};

use crate::duration;
use crate::exit::{self, Exit, Failure, Stop};
use crate::interruption::Interruption;
use crate::output::{Format, Hiding, Printer, Style};
use crate::reconnect::Pauses;
use crate::stderr::say;
use crate::value;
use crate::wire::{MORE_HELP, Target, Wire, WireArguments};

const FAILED: &str = "subscribing failed";

const EXAMPLES: &str = "\
Examples:
  client subscribe 'sensors/#' -T sensors/attic    all except one
  client subscribe -o json '#' | jq .payload
  client subscribe --slow latest 'weather/#'       only the newest, if too slow
  client subscribe -C 1 -W 5 -o raw door           one message, within 5 s
  client subscribe -s mqtt://ann@localhost -q 2 '#'
";

#[derive(Debug, clap::Args)]
#[command(after_help = [MORE_HELP, EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// The topics: + matches one level, # all levels below
    #[arg(required = true, value_name = "FILTER", value_parser = value::filter)]
    filters: Vec<String>,
    /// End after N messages
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after TIME
    #[arg(short = 'W', long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// Output style: human, json or raw
    #[arg(short, long, value_enum, value_name = "STYLE", default_value_t = Output::Human)]
    #[arg(hide_possible_values = true)]
    output: Output,
    /// Print raw payloads at a terminal, too
    #[arg(long, hide = true)]
    force: bool,
    /// %t topic, %p payload, %j JSON, %r time; see docs
    #[arg(short = 'F', long, value_name = "FORMAT", conflicts_with = "output")]
    format: Option<Format>,
    /// Hide topics that match; may be repeated
    #[arg(short = 'T', long, value_name = "FILTER", value_parser = value::filter)]
    hide: Vec<String>,
    /// Hide retained messages
    #[arg(long)]
    no_retained: bool,
    /// If too slow: drop-oldest, drop-newest, latest, block
    #[arg(long, value_enum, value_name = "CHOICE", hide_possible_values = true)]
    slow: Option<OverflowPolicy>,
    /// End when the connection is lost
    #[arg(long)]
    no_retry: bool,
    #[command(flatten)]
    server: WireArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Human,
    Json,
    Raw,
}

/// The overflow policy of the client's outbox. `docs/protocol.md` explains the values; `--help` has
/// to fit a screen.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OverflowPolicy {
    // Drops the oldest messages.
    DropOldest,
    // Drops new messages.
    DropNewest,
    // Keeps only the newest message of each topic.
    Latest,
    // Makes publishers wait.
    Block,
}

impl OverflowPolicy {
    fn as_str(self) -> &'static str {
        match self {
            Self::DropOldest => "drop-oldest",
            Self::DropNewest => "drop-newest",
            Self::Latest => "latest",
            Self::Block => "block",
        }
    }
}

impl Arguments {
    fn printer(&self) -> io::Result<Printer<'_, File>> {
        let style = match (&self.format, self.output) {
            (Some(format), _) if io::stdout().is_terminal() => {
                Style::TerminalFormat(format.clone())
            }
            (Some(format), _) => Style::Format(format.clone()),
            (None, Output::Human) if io::stdout().is_terminal() => Style::Terminal,
            (None, Output::Human) => Style::Human,
            (None, Output::Json) => Style::Json,
            (None, Output::Raw) => Style::Raw,
        };
        let topics = self.hide.iter().map(|filter| {
            Filter::parse(filter).expect("the filter was checked when it was parsed")
        });
        let hiding = Hiding {
            topics: topics.collect(),
            retained: self.no_retained,
        };
        Printer::to_stdout(style, hiding, self.count)
    }

    fn subscribe(&self, target: &Target, interrupt: &Interrupt) -> Result<Wire, Error> {
        let mut wire = target.connect(interrupt)?;
        let mut attributes = Attributes::default();
        if let Some(slow) = self.slow {
            let pushed = attributes.push(SLOW, slow.as_str().as_bytes());
            pushed.expect("it is a key");
        }
        wire.subscribe(&self.filters, &attributes)?;
        Ok(wire)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.slow.is_some() && arguments.server.0.is_mqtt() {
        let why = "--slow is for the line protocol; MQTT has no such option";
        return Err(Failure::new(Exit::Usage, FAILED, why));
    }
    if matches!(arguments.output, Output::Raw) {
        exit::check_raw(arguments.force, FAILED)?;
    }
    let interruption = Interruption::watch()?;
    interruption.watch_output()?;
    let printer = arguments.printer();
    let mut printer = printer.map_err(|error| Failure::of_output(&error))?;
    let (target, interrupt) = (&arguments.server.0, interruption.interrupt());
    let timeout = arguments.timeout;
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let subscribed = target.first(interrupt, deadline, || {
        arguments.subscribe(target, interrupt)
    });
    let wire = match subscribed {
        Ok(Some(wire)) => wire,
        Ok(None) => return Ok(Exit::TimedOut),
        Err(error) => return interruption.end(error.into(), FAILED),
    };
    say(format_args!(
        "subscribing on {}",
        arguments.filters.join(", ")
    ));
    follow(arguments, wire, interrupt, deadline, &mut printer)
        .or_else(|stop| interruption.end(stop, "client"))
}

/// Prints, and reconnects when the connection is lost.
fn follow(
    arguments: &Arguments,
    mut wire: Wire,
    interrupt: &Interrupt,
    deadline: Option<Instant>,
    printer: &mut Printer<'_, File>,
) -> Result<Exit, Stop> {
    let mut pauses = Pauses::new();
    loop {
        let start = Instant::now();
        let printed = print_all(&mut wire, printer, deadline);
        // Flushes before any return.
        printer.flush()?;
        let lost = match printed {
            Err(Stop::Connection(lost)) if lost.is_disconnect() && !arguments.no_retry => lost,
            end => {
                wire.close();
                return end;
            }
        };
        pauses.connection_held(start.elapsed());
        let again = || arguments.subscribe(&arguments.server.0.again(), interrupt);
        let tell = |text| say(format_args!("client: {text}"));
        wire = match pauses.reconnect(&lost, interrupt, deadline, again, tell)? {
            Some(wire) => wire,
            None => return Ok(Exit::TimedOut),
        };
    }
}

/// Prints the deliveries of one connection.
fn print_all(
    wire: &mut Wire,
    printer: &mut Printer<'_, File>,
    deadline: Option<Instant>,
) -> Result<Exit, Stop> {
    loop {
        let taken = wire.print_ready(printer)?;
        if printer.is_done() {
            return Ok(Exit::Done);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(Exit::TimedOut);
        }
        if taken == 0 {
            printer.flush()?;
            wire.wait(left)?;
        }
    }
}
