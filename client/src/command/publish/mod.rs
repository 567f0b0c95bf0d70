//! `client publish`: publishes one message, or one for each line, and reports the result.

mod feed;
pub(super) mod level;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use client::{ACK, AckLevel, Attributes, RETAIN, Receipt};

use crate::duration;
use crate::exit::{self, Exit, Failure};
use crate::interruption::Interruption;
use crate::lines;
use crate::stderr::say;
use crate::value;
use crate::wire::{MORE_HELP, WireArguments};

use feed::{FAILED, Feed, Input};

const EXAMPLES: &str = "\
Examples:
  client publish news 'hello, world'      publish one message
  client publish news < letter.txt        publish a whole file as one message
  tail -f app.log | client publish --lines logs
  client publish -r -H unit:C attic 21.5  retain it for later subscribers
  client publish -s mqtt://localhost -q 2 news hello
";

#[derive(Debug, clap::Args)]
#[command(after_help = [MORE_HELP, EXAMPLES, exit::PUBLISH_HELP].join("\n"))]
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
    /// Fail if it is less safe than mem, os or disk
    #[arg(long, value_name = "LEVEL", hide_possible_values = true, value_parser = value::ack_level())]
    ack: Option<AckLevel>,
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
    /// End when the connection is lost
    #[arg(long)]
    no_retry: bool,
    #[command(flatten)]
    server: WireArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let interruption = Interruption::watch()?;
    let target = &arguments.server.0;
    let wrong = |why: String| Failure::new(Exit::Usage, FAILED, why);
    target.check(&arguments.attributes()).map_err(wrong)?;
    if arguments.ack.is_some() && !target.is_acknowledged() {
        let why =
            "a message with QoS 0 has no receipt, so it has no level; give -q 1, -q 2 or no --ack";
        return Err(wrong(why.to_owned()));
    }
    let feed = Feed::new(
        &arguments.topic,
        arguments.attributes(),
        arguments.feed_input()?,
    );
    let interrupt = interruption.interrupt();
    let wire = target
        .first(interrupt, None, || target.connect(interrupt))
        .map_err(|error| Failure::of(&error, FAILED))?
        .expect("there is no deadline");
    // One message is its caller's to repeat.
    let retry = (arguments.lines || arguments.repeat > 1) && !arguments.no_retry;
    let cannot_read = |error: &_| arguments.cannot_read(error);
    let receipt = feed.run(wire, target, interrupt, retry, cannot_read)?;
    tell(&receipt, arguments)
}

impl Arguments {
    fn feed_input(&self) -> Result<Input, Failure> {
        let repeated = |message| Input::repeated(message, self.repeat, self.delay);
        if let Some(message) = &self.message {
            return Ok(repeated(message.as_bytes().to_vec()));
        }
        let input = self.input()?;
        if self.lines {
            return Ok(Input::lines(input));
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
        let whole = whole.map_err(|error| self.cannot_read(&error))?;
        if whole.is_empty() && self.file.is_none() {
            // Retained, it would clear the last value, as in a script whose variable is not set.
            let why = "standard input is empty; for an empty message, write '' behind the topic";
            return Err(Failure::new(Exit::Usage, FAILED, why));
        }
        Ok(repeated(whole))
    }

    fn input(&self) -> Result<File, Failure> {
        let input = match &self.file {
            Some(path) => File::open(path),
            None => io::stdin().as_fd().try_clone_to_owned().map(File::from),
        };
        input.map_err(|error| self.cannot_read(&error))
    }

    fn cannot_read(&self, error: &io::Error) -> Failure {
        let why = format_args!("cannot read {} ({error})", self.input_name());
        Failure::new(Exit::Failed, FAILED, why)
    }

    fn input_name(&self) -> Cow<'_, str> {
        match &self.file {
            Some(path) => path.to_string_lossy(),
            None => "standard input".into(),
        }
    }

    fn attributes(&self) -> Attributes<'static> {
        let mut attributes = Attributes::default();
        if self.retain {
            attributes.push_flag(RETAIN).expect("it is a key");
        }
        if let Some(level) = self.ack {
            let pushed = attributes.push(ACK, level.as_str().as_bytes());
            pushed.expect("it is a key");
        }
        for (key, value) in &self.attributes {
            let pushed = attributes.push(key, value.as_bytes());
            pushed.expect("the key was checked when it was parsed");
        }
        attributes
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
    let reached = arguments
        .ack
        .map(|asked| level::check(asked, receipt, level::to_keep(arguments.retain)))
        .transpose()?;
    let mut text = match receipt.published {
        1 => "your message published successfully\n".to_owned(),
        n => format!("your {n} messages published successfully\n"),
    };
    if let Some(reached) = reached {
        text += &level::line(&reached);
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .map_err(|error| Failure::of_output(&error))?;
    if receipt.copies == 0 {
        let topic = &arguments.topic;
        let command = arguments.server.0.hint("subscribe", &[topic]);
        say(format_args!(
            "client: no client listens to {topic} right now; to listen, type: {command}"
        ));
    }
    Ok(Exit::Done)
}
