//! `client subscribe`: prints messages to standard output, and reconnects when the connection is
//! lost.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use client::{Attributes, Error, Filter, Following, Interrupt, PastStart, SLOW};

use crate::duration;
use crate::exit::{self, Exit, Failure, Stop};
use crate::interruption::Interruption;
use crate::output::{Format, Hiding, Printer, Style};
use crate::past_flags::PastFlags;
use crate::reconnect::{Pauses, regained};
use crate::stderr::say;
use crate::value;
use crate::wire::{MORE_HELP, Target, Wire, WireArguments};

const FAILED: &str = "subscribing failed";

const EXAMPLES: &str = "\
Examples:
  client subscribe 'sensors/#' -T sensors/attic    all except one
  client subscribe --last 20 -o json 'chat/#' | jq .payload
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
    #[command(flatten)]
    past: PastFlags,
    /// If slow: drop-oldest, drop-newest, latest, block
    #[arg(long, value_enum, value_name = "CHOICE", hide_possible_values = true)]
    #[arg(conflicts_with = "beginning")]
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

    /// What is remembered over all connections; none if each is a subscriber as any other.
    fn following(&self) -> Result<Option<Following>, Error> {
        // What a slow subscriber does not get is dropped on purpose, and an MQTT broker has sessions for this.
        if self.slow.is_some() || self.server.0.is_mqtt() {
            return Ok(None);
        }
        let start = self.past.start().unwrap_or(PastStart::Now);
        match self.past.until_now {
            true => Following::until_now(&self.filters, start).map(Some),
            false => Following::new(&self.filters, start).map(Some),
        }
    }

    fn subscribe(
        &self,
        target: &Target,
        interrupt: &Interrupt,
        following: Option<&mut Following>,
    ) -> Result<Wire, Error> {
        let mut wire = target.connect(interrupt)?;
        if let Some(following) = following {
            wire.follow(following)?;
            return Ok(wire);
        }
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
    let checked = arguments
        .past
        .check(&arguments.filters, arguments.server.0.is_mqtt());
    checked.map_err(|why| Failure::new(Exit::Usage, FAILED, why))?;
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
    let following = arguments.following();
    let mut following = following.map_err(|why| Failure::new(Exit::Usage, FAILED, why))?;
    let subscribed = target.first(interrupt, deadline, || {
        arguments.subscribe(target, interrupt, following.as_mut())
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
    let mut subscriber = Subscriber {
        arguments,
        interrupt,
        deadline,
        following,
    };
    subscriber
        .follow(wire, &mut printer)
        .or_else(|stop| interruption.end(stop, "client"))
}

/// What is the same over all connections.
struct Subscriber<'a> {
    arguments: &'a Arguments,
    interrupt: &'a Interrupt,
    deadline: Option<Instant>,
    following: Option<Following>,
}

impl Subscriber<'_> {
    /// Prints, and reconnects when the connection is lost.
    fn follow(&mut self, mut wire: Wire, printer: &mut Printer<'_, File>) -> Result<Exit, Stop> {
        let mut pauses = Pauses::of_follower();
        loop {
            let start = Instant::now();
            let printed = self.print_all(&mut wire, printer);
            // Flushes before any return.
            printer.flush()?;
            let lost = match printed {
                Err(Stop::Connection(lost)) if lost.is_disconnect() && !self.arguments.no_retry => {
                    lost
                }
                end => {
                    wire.close();
                    return end;
                }
            };
            pauses.connection_held(start.elapsed());
            let target = self.arguments.server.0.again();
            let again = || {
                let following = self.following.as_mut();
                self.arguments.subscribe(&target, self.interrupt, following)
            };
            let tell = |text| say(format_args!("client: {text}"));
            let found = pauses.reconnect(&lost, self.interrupt, self.deadline, again, tell)?;
            wire = match found {
                Some(wire) => wire,
                None => return Ok(Exit::TimedOut),
            };
            let is_resumed = self.following.as_ref().is_some_and(Following::is_resumed);
            say(format_args!("client: {}", regained(is_resumed)));
        }
    }

    /// Prints the deliveries of one connection.
    fn print_all(
        &mut self,
        wire: &mut Wire,
        printer: &mut Printer<'_, File>,
    ) -> Result<Exit, Stop> {
        loop {
            let taken = wire.print_ready(printer, self.following.as_mut())?;
            if printer.is_done() {
                return Ok(Exit::Done);
            }
            let now = Instant::now();
            let left = self
                .deadline
                .map(|deadline| deadline.saturating_duration_since(now));
            if left == Some(Duration::ZERO) {
                return Ok(Exit::TimedOut);
            }
            if taken > 0 {
                continue;
            }
            printer.flush()?;
            if let Some(following) = &mut self.following {
                if following.has_ended() {
                    return Ok(Exit::Done);
                }
                // Some of it has arrived already.
                if wire.go_on(following)? {
                    continue;
                }
            }
            wire.wait(left)?;
        }
    }
}
