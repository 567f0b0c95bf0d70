//! `client record`: writes messages to a file that `client play` can publish again.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use client::{Client, Delivery, Error, Following, Interrupt, PastStart};
use command_line::recording;

use crate::duration;
use crate::exit::{self, Exit, Failure, Stop};
use crate::interruption::Interruption;
use crate::output::incomplete;
use crate::reconnect::{Pauses, regained};
use crate::server::ServerArguments;
use crate::stderr::say;
use crate::units::{bytes, messages};
use crate::value;
use crate::visible;

const FAILED: &str = "recording failed";

/// Size of the output buffer. It is also flushed when no message is ready.
const BUFFER_BYTES: usize = 64 * 1024;

const EXAMPLES: &str = "\
Each line of FILE is a JSON object with time, topic, payload and attributes.

Examples:
  client record -o today.jsonl                everything, until interrupted
  client record 'sensors/#' --duration 10s | grep attic > attic.jsonl
  client play today.jsonl --speed 10          publish it ten times as fast
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// The topics: + matches one level, # all levels below
    #[arg(value_name = "FILTER", default_value = "#", value_parser = value::filter)]
    filters: Vec<String>,
    /// Write to FILE instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite FILE without a question
    #[arg(long, requires = "output")]
    force: bool,
    /// End after N messages
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after TIME
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    duration: Option<Duration>,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let interruption = Interruption::watch()?;
    if arguments.output.is_none() {
        interruption.watch_output()?;
    }
    let output = arguments
        .open()
        .map_err(|error| arguments.cannot_write(&error))?;
    if !arguments.may_overwrite(&output)? {
        say("nothing was recorded");
        return Ok(Exit::Done);
    }
    let interrupt = interruption.interrupt();
    let following = Following::new(&arguments.filters, PastStart::Now);
    let mut following = following.map_err(|why| Failure::new(Exit::Usage, FAILED, why))?;
    let subscribed = arguments
        .server
        .first(interrupt, || arguments.subscribe(interrupt, &mut following));
    let client = match subscribed {
        Ok(client) => client,
        Err(error) => return interruption.end(error.into(), FAILED),
    };
    // Not before the broker was found: until then an older recording is worth more.
    arguments
        .empty(&output)
        .map_err(|error| arguments.cannot_write(&error))?;
    let filters = arguments.filters.join(", ");
    say(format_args!("recording {filters}"));
    let mut recorder = Recorder {
        out: BufWriter::with_capacity(BUFFER_BYTES, output),
        began: Instant::now(),
        recorded: 0,
        missed: 0,
        left: arguments.count,
        following,
    };
    let followed = follow(arguments, client, interruption.interrupt(), &mut recorder);
    recorder.tell();
    followed.or_else(|stop| match stop {
        Stop::Output(error) => Err(arguments.cannot_write(&error)),
        stop => interruption.end(stop, "client"),
    })
}

impl Arguments {
    fn open(&self) -> io::Result<File> {
        match &self.output {
            Some(path) => {
                let mut options = File::options();
                options.write(true).create(true).truncate(false).open(path)
            }
            None => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        }
    }

    /// Whether the file is new, or empty, or the user wants it to be overwritten.
    fn may_overwrite(&self, output: &File) -> Result<bool, Failure> {
        let Some(path) = self.output.as_ref().filter(|_| !self.force) else {
            return Ok(true);
        };
        let file = output
            .metadata()
            .map_err(|error| self.cannot_write(&error))?;
        if !file.is_file() || file.len() == 0 {
            return Ok(true);
        }
        let (path, size) = (path.display(), bytes(file.len()));
        if !io::stdin().is_terminal() {
            let why = format_args!("{path} has {size} already; give --force to overwrite it");
            return Err(Failure::new(Exit::Usage, FAILED, why));
        }
        let question = visible::lines(&format!("overwrite {path} ({size})? [y/N] "));
        let asked = write!(io::stderr().lock(), "{question}");
        asked.map_err(|error| Failure::new(Exit::Failed, FAILED, error))?;
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        read.map_err(|error| Failure::new(Exit::Failed, FAILED, error))?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    fn empty(&self, output: &File) -> io::Result<()> {
        match &self.output {
            // A pipe or a device cannot be cut.
            Some(_) if output.metadata()?.is_file() => output.set_len(0),
            _ => Ok(()),
        }
    }

    fn cannot_write(&self, error: &io::Error) -> Failure {
        match &self.output {
            Some(path) => {
                let why = format_args!("cannot write {} ({error})", path.display());
                Failure::new(Exit::Failed, FAILED, why)
            }
            None => Failure::of_output(error),
        }
    }

    fn subscribe(&self, interrupt: &Interrupt, following: &mut Following) -> Result<Client, Error> {
        let mut client = self.server.connect(interrupt)?;
        following.subscribe(&mut client)?;
        Ok(client)
    }
}

/// Records, and reconnects when the connection is lost.
fn follow(
    arguments: &Arguments,
    mut client: Client,
    interrupt: &Interrupt,
    recorder: &mut Recorder,
) -> Result<Exit, Stop> {
    let deadline = arguments
        .duration
        .and_then(|time| recorder.began.checked_add(time));
    let mut pauses = Pauses::of_follower();
    loop {
        let start = Instant::now();
        let recorded = recorder.record(&mut client, deadline);
        // Flushes before any return.
        recorder.out.flush()?;
        let lost = match recorded {
            Err(Stop::Connection(lost)) if lost.is_disconnect() => lost,
            end => return end.map(|()| Exit::Done),
        };
        pauses.connection_held(start.elapsed());
        let again = || arguments.subscribe(interrupt, &mut recorder.following);
        let tell = |text| say(format_args!("client: {text}"));
        client = match pauses.reconnect(&lost, interrupt, deadline, again, tell)? {
            Some(client) => client,
            None => return Ok(Exit::Done),
        };
        let is_resumed = recorder.following.is_resumed();
        say(format_args!("client: {}", regained(is_resumed)));
    }
}

/// Writes deliveries to the file.
#[derive(Debug)]
struct Recorder {
    out: BufWriter<File>,
    began: Instant,
    recorded: u64,
    missed: u64,
    /// How many more messages to record; `None` for all.
    left: Option<u64>,
    /// What has been recorded, so that nothing is missing or there twice when the connection was lost.
    following: Following,
}

impl Recorder {
    /// Records the deliveries of one connection until the wanted count or the deadline is reached.
    fn record(&mut self, client: &mut Client, deadline: Option<Instant>) -> Result<(), Stop> {
        loop {
            let mut written = Ok(());
            let taken = client.take_ready(|delivery| {
                written = self.write(&delivery);
                match &written {
                    Ok(()) if self.left != Some(0) => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(()),
                }
            });
            written?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if self.left == Some(0) || left == Some(Duration::ZERO) {
                return Ok(());
            }
            if taken? == 0 {
                self.out.flush()?;
                client.wait(left)?;
            }
        }
    }

    fn write(&mut self, delivery: &Delivery<'_>) -> io::Result<()> {
        if !self.following.take(delivery) {
            return Ok(());
        }
        let offset = self.began.elapsed();
        match delivery {
            Delivery::Gap { count } => {
                self.missed += count;
                recording::write_gap(&mut self.out, offset, *count)
            }
            Delivery::Incomplete { filter, oldest } => {
                let missing = incomplete(filter.as_str(), *oldest);
                say(format_args!("client: {missing}"));
                Ok(())
            }
            Delivery::Current { .. } | Delivery::End { .. } => Ok(()),
            Delivery::Message {
                topic,
                payload,
                attributes,
            } => {
                self.recorded += 1;
                self.left = self.left.map(|left| left - 1);
                let payload = payload.unescape();
                recording::write_message(&mut self.out, offset, *topic, &payload, attributes)
            }
        }
    }

    fn tell(&self) {
        let missing = match self.missed {
            0 => String::new(),
            missed => format!("; {missed} are missing, because this client was too slow"),
        };
        let recorded = messages(self.recorded);
        say(format_args!("recorded {recorded}{missing}"));
    }
}
