//! `client subscribe`: messages to standard output for as long as there are any, whatever happens
//! to the broker.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use client::{Attributes, Client, Error, Filter, Interrupt, SLOW};

use crate::duration;
use crate::exit::{self, Exit, Failure, Stop};
use crate::interruption::Interruption;
use crate::output::{Format, Hiding, Printer, Style};
use crate::reconnect::Pauses;
use crate::server::ServerArguments;
use crate::talk::say;
use crate::value;

const FAILED: &str = "subscribing failed";

const EXAMPLES: &str = "\
Examples:
  client subscribe 'sensors/#' -T sensors/attic    all but one
  client subscribe -o json '#' | jq .payload
  client subscribe --slow latest 'weather/#'       rather the newest than all
  client subscribe -C 1 -W 5 -o raw door > message wait up to 5 s for one message
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// What for: topics, where + stands for one level and # for all below
    #[arg(required = true, value_name = "FILTER", value_parser = value::filter)]
    filters: Vec<String>,
    /// End after N messages
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so long
    #[arg(short = 'W', long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// How to print each message
    #[arg(short, long, value_enum, value_name = "STYLE", default_value_t = Output::Human)]
    output: Output,
    /// Print %t topic, %p payload, %x its hex, %l its length, %j all as JSON
    #[arg(short = 'F', long, value_name = "FORMAT", conflicts_with = "output")]
    format: Option<Format>,
    /// Hide topics that match; may be given more than once
    #[arg(short = 'T', long, value_name = "FILTER", value_parser = value::filter)]
    hide: Vec<String>,
    /// Hide messages that were kept from before
    #[arg(long)]
    no_retained: bool,
    /// If too slow: drop-oldest, drop-newest, latest or block
    #[arg(long, value_enum, value_name = "CHOICE", hide_possible_values = true)]
    slow: Option<Slow>,
    /// End when the broker is lost, instead of looking for it
    #[arg(long)]
    no_retry: bool,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Human,
    Json,
    Raw,
}

/// What shall happen to messages for a client whose outbox is full. Its words are not explained in
/// `--help`, which has to fit a screen; `docs/protocol.md` does.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Slow {
    // The oldest make room.
    DropOldest,
    // Those that come are dropped until there is room.
    DropNewest,
    // Of each topic only the newest waits.
    Latest,
    // Those who publish wait.
    Block,
}

impl Slow {
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

    fn subscribe(&self, interrupt: &Interrupt) -> Result<Client, Error> {
        let mut client = self.server.connect(interrupt)?;
        let mut attributes = Attributes::default();
        if let Some(slow) = self.slow {
            let pushed = attributes.push(SLOW, slow.as_str().as_bytes());
            pushed.expect("it is a key");
        }
        client.subscribe_with(&self.filters, &attributes)?;
        Ok(client)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let interruption = Interruption::watch()?;
    interruption.watch_output()?;
    let printer = arguments.printer();
    let mut printer = printer.map_err(|error| Failure::of_output(&error))?;
    let subscribed = arguments.subscribe(interruption.interrupt());
    let client = match subscribed {
        Ok(client) => client,
        Err(error) => return interruption.end(error.into(), FAILED),
    };
    say(format_args!(
        "subscribing on {}",
        arguments.filters.join(", ")
    ));
    follow(arguments, client, interruption.interrupt(), &mut printer)
        .or_else(|stop| interruption.end(stop, "client"))
}

/// Prints, and starts over when the broker is lost.
fn follow(
    arguments: &Arguments,
    mut client: Client,
    interrupt: &Interrupt,
    printer: &mut Printer<'_, File>,
) -> Result<Exit, Stop> {
    let timeout = arguments.timeout;
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut pauses = Pauses::new();
    loop {
        let start = Instant::now();
        let printed = print_all(&mut client, printer, deadline);
        // All bytes leave, however it ended.
        printer.flush()?;
        let lost = match printed {
            Err(Stop::Connection(lost)) if lost.is_disconnect() && !arguments.no_retry => lost,
            end => return end,
        };
        pauses.connection_held(start.elapsed());
        let again = || arguments.subscribe(interrupt);
        let tell = |text| say(format_args!("client: {text}"));
        client = match pauses.reconnect(&lost, interrupt, deadline, again, tell)? {
            Some(client) => client,
            None => return Ok(Exit::TimedOut),
        };
    }
}

/// Prints what one connection delivers.
fn print_all(
    client: &mut Client,
    printer: &mut Printer<'_, File>,
    deadline: Option<Instant>,
) -> Result<Exit, Stop> {
    loop {
        let taken = print_ready(client, printer)?;
        if printer.is_done() {
            return Ok(Exit::Done);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(Exit::TimedOut);
        }
        if taken == 0 {
            printer.flush()?;
            client.wait(left)?;
        }
    }
}

/// Prints what is there; how many deliveries that were.
fn print_ready(client: &mut Client, printer: &mut Printer<'_, File>) -> Result<usize, Stop> {
    let mut printed = Ok(());
    let taken = client.take_ready(|delivery| {
        printer.print(&delivery).unwrap_or_else(|error| {
            printed = Err(error);
            ControlFlow::Break(())
        })
    });
    printed?;
    match taken {
        // The last message that was wanted came in time, whatever came after it.
        Err(_) if printer.is_done() => Ok(0),
        taken => Ok(taken?),
    }
}
