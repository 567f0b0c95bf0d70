//! `client publish`: publishes one message, or one for each line, and reports the result.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use client::{Attributes, RETAIN, Receipt};

use crate::duration;
use crate::exit::{self, Exit, Failure};
use crate::interruption::Interruption;
use crate::lines::{self, Lines};
use crate::stderr::say;
use crate::value;
use crate::wire::{MORE_HELP, Sender, Wire, WireArguments};

const FAILED: &str = "your message publishing failed";

const EXAMPLES: &str = "\
Examples:
  client publish news 'hello, world'      publish one message
  client publish news < letter.txt        publish a whole file as one message
  tail -f app.log | client publish --lines logs
  client publish -r -H unit:C attic 21.5  retain it for later subscribers
  client publish -s mqtt://localhost -q 2 news hello
";

#[derive(Debug, clap::Args)]
#[command(after_help = [MORE_HELP, EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// The topic, such as sensors/attic
    #[arg(value_parser = value::topic)]
    topic: String,
    /// The payload; without it, standard input
    #[arg(allow_negative_numbers = true)]
    message: Option<OsString>,
    /// Publish each line as one message
    #[arg(short, long, conflicts_with = "message")]
    lines: bool,
    /// Read the message, or the lines, from FILE
    #[arg(short, long, conflicts_with = "message")]
    file: Option<PathBuf>,
    /// Retain it as the topic's last value
    #[arg(short, long)]
    retain: bool,
    /// Add an attribute; may be repeated
    #[arg(short = 'H', long = "attribute", value_name = "KEY:VALUE", value_parser = value::attribute)]
    attributes: Vec<(String, String)>,
    /// Publish the same message N times
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "lines")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// Wait for TIME between two messages
    #[arg(long, value_name = "TIME", requires = "repeat", value_parser = duration::parse)]
    delay: Option<Duration>,
    #[command(flatten)]
    server: WireArguments,
}

/// The input to publish.
enum Source {
    Message(Vec<u8>),
    Lines(File),
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let interruption = Interruption::watch()?;
    let target = &arguments.server.0;
    let checked = target.check(&arguments.attributes());
    checked.map_err(|why| Failure::new(Exit::Usage, FAILED, why))?;
    let source = arguments.source()?;
    let mut wire = target
        .connect(interruption.interrupt())
        .map_err(|error| Failure::of(&error, FAILED))?;
    let receipt = match source {
        Source::Message(message) => arguments.publish_message(&mut wire, &message)?,
        Source::Lines(input) => arguments.publish_lines(&mut wire, input)?,
    };
    wire.close();
    tell(&receipt, arguments)
}

impl Arguments {
    fn source(&self) -> Result<Source, Failure> {
        if let Some(message) = &self.message {
            return Ok(Source::Message(message.as_bytes().to_vec()));
        }
        let input = self.input()?;
        if self.lines {
            return Ok(Source::Lines(input));
        }
        if self.file.is_none() && input.is_terminal() {
            return Err(Failure::new(
                Exit::Usage,
                "client",
                "there is no message; write it behind the topic, pipe it in, or type one \
                 message a line with --lines",
            ));
        }
        let whole = lines::read_whole(input);
        whole
            .map(Source::Message)
            .map_err(|error| self.cannot_read(&error))
    }

    fn input(&self) -> Result<File, Failure> {
        let input = match &self.file {
            Some(path) => File::open(path),
            None => io::stdin().as_fd().try_clone_to_owned().map(File::from),
        };
        input.map_err(|error| self.cannot_read(&error))
    }

    fn cannot_read(&self, error: &io::Error) -> Failure {
        let name = match &self.file {
            Some(path) => path.to_string_lossy(),
            None => "standard input".into(),
        };
        let why = format_args!("cannot read {name} ({error})");
        Failure::new(Exit::Failed, FAILED, why)
    }

    fn attributes(&self) -> Attributes<'static> {
        let mut attributes = Attributes::default();
        if self.retain {
            attributes.push_flag(RETAIN).expect("it is a key");
        }
        for (key, value) in &self.attributes {
            let pushed = attributes.push(key, value.as_bytes());
            pushed.expect("the key was checked when it was parsed");
        }
        attributes
    }

    fn publish_message(&self, wire: &mut Wire, message: &[u8]) -> Result<Receipt, Failure> {
        let attributes = self.attributes();
        let mut sender = wire.sender();
        let repeated = (1..=self.repeat).try_for_each(|time| {
            sender.publish(&self.topic, message, &attributes)?;
            match self.delay {
                Some(delay) if time < self.repeat => sender.rest(delay),
                _ => Ok(()),
            }
        });
        repeated
            .and_then(|()| sender.finish())
            .map_err(|error| Failure::of(&error, FAILED))
    }

    fn publish_lines(&self, wire: &mut Wire, mut input: File) -> Result<Receipt, Failure> {
        let attributes = self.attributes();
        let failed = |error| Failure::of(&error, FAILED);
        let publish = |sender: &mut Sender<'_>, line: &[u8]| {
            sender
                .publish(&self.topic, line, &attributes)
                .map_err(failed)
        };
        let cannot_read = |error| self.cannot_read(&error);
        let mut sender = wire.sender();
        let mut lines = Lines::new();
        loop {
            sender.wait_for_input(&input).map_err(failed)?;
            if !lines.fill(&mut input).map_err(cannot_read)? {
                break;
            }
            while let Some(line) = lines.next().map_err(cannot_read)? {
                publish(&mut sender, line)?;
            }
        }
        if let Some(line) = lines.rest() {
            publish(&mut sender, line)?;
        }
        sender.finish().map_err(failed)
    }
}

fn tell(receipt: &Receipt, arguments: &Arguments) -> Result<Exit, Failure> {
    if let Some(refusal) = &receipt.first_refusal {
        let exit = Exit::of_refusal(refusal);
        let why = match (receipt.refused, receipt.published) {
            (1, 1) => refusal.to_string(),
            (refused, all) => format!("{refused} of {all} were refused, the first: {refusal}"),
        };
        return Err(Failure::new(exit, FAILED, why));
    }
    if receipt.published == 0 {
        say("client: there was no line, so nothing was published");
        return Ok(Exit::Done);
    }
    let text = match receipt.published {
        1 => "your message published successfully".to_owned(),
        n => format!("your {n} messages published successfully"),
    };
    writeln!(io::stdout().lock(), "{text}").map_err(|error| Failure::of_output(&error))?;
    if receipt.copies == 0 {
        let topic = &arguments.topic;
        let command = arguments.server.0.hint("subscribe", &[topic]);
        say(format_args!(
            "client: nobody listens to {topic} right now; to listen, type: {command}"
        ));
    }
    Ok(Exit::Done)
}
