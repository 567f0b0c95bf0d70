//! `client reply`: answers requests, and reconnects when the connection is lost.

mod request;
mod responder;
mod workers;

use std::ffi::OsString;
use std::time::Instant;

use client::{Client, Error, Interrupt};

use crate::exit::{self, Exit, Failure};
use crate::interruption::Interruption;
use crate::reconnect::Pauses;
use crate::server::ServerArguments;
use crate::stderr::say;
use crate::value;

use responder::Responder;

const FAILED: &str = "replying failed";

/// Maximum number of commands at a time. Each has a thread here and a process.
const MAX_JOBS: u64 = 1024;

const EXAMPLES: &str = "\
CMD gets the topic in $DALLAL_TOPIC and the request's id in $DALLAL_ID. If it
fails, the answer has the attribute error=STATUS. CMD also runs for a message
without a reply topic, which gets no answer.

Examples:
  client reply time --exec date          answer with the output of a command
  client reply 'who/#' 'ann is here'     answer with a text
  client reply '$share/workers/jobs' -j 2 --exec 'timeout 60 ./work'
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// The topics: + matches one level, # all levels below
    #[arg(value_parser = value::filter)]
    filter: String,
    /// The answer to each request
    #[arg(required_unless_present = "exec", conflicts_with = "exec")]
    #[arg(allow_negative_numbers = true)]
    text: Option<OsString>,
    /// Run CMD in a shell for each request: payload in, answer out
    #[arg(short = 'x', long, value_name = "CMD")]
    exec: Option<OsString>,
    /// Run up to N commands at a time
    #[arg(short, long, value_name = "N", default_value_t = 8, requires = "exec")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_JOBS))]
    jobs: u64,
    /// End after N requests
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    server: ServerArguments,
}

impl Arguments {
    fn responder(&self, interrupt: &Interrupt) -> Result<Responder, Failure> {
        match (&self.exec, &self.text) {
            (Some(command), _) => {
                Responder::with_command(command, self.jobs, self.count, interrupt)
            }
            (None, Some(text)) => Ok(Responder::with_text(text, self.count)),
            (None, None) => unreachable!("one of the two is required"),
        }
    }

    fn subscribe(&self, interrupt: &Interrupt) -> Result<Client, Error> {
        let mut client = self.server.connect(interrupt)?;
        client.subscribe(&self.filter)?;
        Ok(client)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let interruption = Interruption::watch()?;
    let mut responder = arguments.responder(interruption.interrupt())?;
    // Commands that are ended have answers, for which the connection has to stay usable.
    let connection_interrupt = match &arguments.exec {
        Some(_) => Interrupt::new().map_err(|error| Failure::new(Exit::Failed, "client", error))?,
        None => interruption.interrupt().clone(),
    };
    let subscribed = arguments.server.first(interruption.interrupt(), || {
        arguments.subscribe(&connection_interrupt)
    });
    let client = match subscribed {
        Ok(client) => client,
        Err(error) => return interruption.end(error.into(), FAILED),
    };
    say(format_args!("replying on {}", arguments.filter));
    let interrupts = Interrupts {
        program: interruption.interrupt(),
        connection: &connection_interrupt,
    };
    follow(arguments, client, &interrupts, &mut responder)
        .or_else(|error| interruption.end(error.into(), "client"))
}

/// What ends waits.
struct Interrupts<'a> {
    program: &'a Interrupt,
    connection: &'a Interrupt,
}

/// Answers, and reconnects when the connection is lost.
fn follow(
    arguments: &Arguments,
    mut client: Client,
    interrupts: &Interrupts<'_>,
    responder: &mut Responder,
) -> Result<Exit, Error> {
    let mut pauses = Pauses::new();
    loop {
        let start = Instant::now();
        let lost = match responder.serve(&mut client) {
            Ok(()) => return Ok(Exit::Done),
            Err(lost) if lost.is_disconnect() || matches!(lost, Error::NoAnswer { .. }) => lost,
            Err(error) => return Err(error),
        };
        pauses.connection_held(start.elapsed());
        let again = || arguments.subscribe(interrupts.connection);
        let tell = |text| say(format_args!("client: {text}"));
        let connected = pauses.reconnect(&lost, interrupts.program, None, again, tell)?;
        client = connected.expect("there is no deadline");
    }
}
