//! `client request`: sends a request to a topic and prints the answers.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;

use client::{Attributes, Client, ID, Message, REPLY, decode_spaces};

use crate::exit::{self, Exit, Failure, Stop};
use crate::interruption::Interruption;
use crate::lines;
use crate::output::{Arrived, Style};
use crate::server::ServerArguments;
use crate::stderr::say;
use crate::value;
use crate::visible;

const FAILED: &str = "your request failed";

const EXAMPLES: &str = "\
Examples:
  client request time                         ask, and print the answer
  client request --wait 2s -C 3 status ''
  client request resize < large.png --raw > small.png
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::REQUEST_HELP].join("\n"))]
pub(crate) struct Arguments {
    /// The topic that responders subscribe to
    #[arg(value_parser = value::topic)]
    topic: String,
    /// The payload; without it, standard input, or nothing at a terminal
    #[arg(allow_negative_numbers = true)]
    message: Option<OsString>,
    /// Wait for N answers
    #[arg(short = 'C', long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Print each answer as one JSON object
    #[arg(long)]
    json: bool,
    /// Print the bytes of the answers without line ends
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Print raw answers at a terminal, too
    #[arg(long, requires = "raw")]
    force: bool,
    /// Add an attribute; may be repeated
    #[arg(short = 'H', long = "attribute", value_name = "KEY:VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
    #[command(flatten)]
    server: ServerArguments,
}

fn attribute(text: &str) -> Result<(String, String), String> {
    match value::attribute(text)? {
        (key, _) if key == REPLY || key == ID => Err(format!("{key} is set by the request itself")),
        checked => Ok(checked),
    }
}

/// The outcome of a request.
#[derive(Debug)]
struct RequestOutcome {
    /// Number of subscribers that got it.
    copies: u64,
    /// Number of answers.
    came: u64,
    /// Whether an answer reports an error.
    failed: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.raw {
        exit::check_raw(arguments.force, FAILED)?;
    }
    let interruption = Interruption::watch()?;
    let message = arguments.message()?;
    let (server, interrupt) = (&arguments.server, interruption.interrupt());
    let connected = server.first(interrupt, || server.connect(interrupt));
    let asked = connected
        .map_err(Stop::from)
        .and_then(|mut client| arguments.ask(&mut client, &message));
    match asked {
        Ok(asked) if asked.came < arguments.count => Err(arguments.unanswered(&asked)),
        Ok(asked) if asked.failed => Ok(Exit::Failed),
        Ok(_) => Ok(Exit::Done),
        Err(stop) => interruption.end(stop, FAILED),
    }
}

impl Arguments {
    fn message(&self) -> Result<Vec<u8>, Failure> {
        if let Some(message) = &self.message {
            return Ok(message.as_bytes().to_vec());
        }
        let input = io::stdin();
        if input.is_terminal() {
            return Ok(Vec::new());
        }
        lines::read_whole(input.lock()).map_err(|error| {
            let why = format_args!("cannot read standard input ({error})");
            Failure::new(Exit::Failed, FAILED, why)
        })
    }

    fn style(&self) -> Style {
        if self.json {
            Style::Json
        } else if self.raw {
            Style::Raw
        } else if io::stdout().is_terminal() {
            Style::TerminalText
        } else {
            Style::Text
        }
    }

    fn ask(&self, client: &mut Client, message: &[u8]) -> Result<RequestOutcome, Stop> {
        let mut attributes = Attributes::default();
        for (key, value) in &self.attributes {
            let pushed = attributes.push(key, value.as_bytes());
            pushed.expect("the key was checked when it was parsed");
        }
        let mut answers = client.request_with(&self.topic, message, &attributes)?;
        let mut asked = RequestOutcome {
            copies: answers.copies(),
            came: 0,
            failed: false,
        };
        while asked.copies > 0 && asked.came < self.count {
            let Some(answer) = answers.next(Some(self.server.wait()))? else {
                break;
            };
            self.print(&answer)?;
            asked.came += 1;
            if let Some(error) = answer.error() {
                asked.failed = true;
                let error = visible::line(&error);
                say(format_args!("client: the answer is an error: {error}"));
            }
        }
        Ok(asked)
    }

    fn print(&self, answer: &Message) -> io::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        let arrived = Arrived {
            topic: &answer.topic,
            name: decode_spaces(&answer.topic),
            payload: &answer.payload,
            attributes: &answer.attributes,
        };
        self.style().write(&mut out, &arrived)?;
        out.flush()
    }

    fn unanswered(&self, asked: &RequestOutcome) -> Failure {
        let Self { topic, count, .. } = self;
        let wait = self.server.wait();
        let RequestOutcome { copies, came, .. } = asked;
        let got = match copies {
            0 => {
                let command = self.server.hint("reply", &[topic, "TEXT"]);
                let why =
                    format_args!("no client listens to {topic}; to answer there, type: {command}");
                return Failure::new(Exit::Unanswered, FAILED, why);
            }
            1 => "1 subscriber".to_owned(),
            copies => format!("{copies} subscribers"),
        };
        let who = match came {
            0 => "nobody answered".to_owned(),
            came => format!("{came} of {count} answers came and then none"),
        };
        let list = self.server.hint("who", &[topic]);
        let why = format_args!(
            "{who} within {wait:?}, though {got} got it; give --wait a longer time, or type: {list}"
        );
        Failure::new(Exit::Unanswered, FAILED, why)
    }
}
