//! `client play`: publishes a recording of `client record` with its timing.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use client::{
    ACK, AckLevel, Client, Error, PAST, POSITION, Publisher, RETAIN, RETAINED, Receipt, Topic,
};
use command_line::recording::{RecordedEvent, RecordedLine};

use crate::command::publish::level;
use crate::exit::{self, Exit, Failure, Stop};
use crate::interruption::Interruption;
use crate::lines::Lines;
use crate::server::ServerArguments;
use crate::stderr::say;
use crate::units::messages;
use crate::value;

const FAILED: &str = "playing failed";

const EXAMPLES: &str = "\
Messages that were retained when they were recorded are retained again.

Examples:
  client play today.jsonl                         at the pace of the recording
  client play today.jsonl --speed max             as fast as the broker takes it
  client play - --topic-prefix test/ < today.jsonl
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::PUBLISH_HELP].join("\n"))]
pub(crate) struct Arguments {
    /// A recording of `client record`; - is standard input
    file: PathBuf,
    /// The speed: a multiple of the recorded one, or `max`
    #[arg(long, value_name = "X", default_value = "1")]
    speed: Speed,
    /// Put TEXT before each topic
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    #[arg(value_parser = prefix)]
    topic_prefix: String,
    /// Fail if it is less safe than mem, os or disk
    #[arg(long, value_name = "LEVEL", hide_possible_values = true, value_parser = value::ack_level())]
    ack: Option<AckLevel>,
    #[command(flatten)]
    server: ServerArguments,
}

/// The speed of playback.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    /// A multiple of the recorded speed.
    Times(f64),
    /// Without pauses.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse::<f64>() {
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Self::Times(times)),
            _ => Err("give a number above zero, such as 2 or 0.5, or max".to_owned()),
        }
    }
}

fn prefix(text: &str) -> Result<String, String> {
    // A prefix is valid if a topic of the prefix and one more character is valid.
    match Topic::parse(&format!("{text}x")) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let interruption = Interruption::watch()?;
    let input = arguments
        .open()
        .map_err(|error| arguments.cannot_read(&error))?;
    let (server, interrupt) = (&arguments.server, interruption.interrupt());
    let connected = server.first(interrupt, || server.connect(interrupt));
    let mut client = match connected {
        Ok(client) => client,
        Err(error) => return interruption.end(error.into(), FAILED),
    };
    let mut player = Player {
        prefix: &arguments.topic_prefix,
        ack: arguments.ack,
        timeline: Timeline::new(arguments.speed),
        line: 0,
        gaps: 0,
        answered: 0,
        delays: Delays::default(),
    };
    let began = Instant::now();
    let played = player.play(&mut client, input);
    match played {
        Ok(receipt) => player.tell(&receipt, began.elapsed()),
        Err(PlayFailure::Connection(error)) => {
            let before = messages(player.answered);
            say(format_args!("client: published before: {before}"));
            interruption.end(Stop::Connection(error), FAILED)
        }
        Err(PlayFailure::Input(error)) => Err(arguments.cannot_read(&error)),
        Err(PlayFailure::Line(why)) => {
            let (name, line) = (arguments.name(), player.line);
            let before = messages(player.delays.count);
            let why = format_args!("{name}, line {line}: {why}; published before it: {before}");
            Err(Failure::new(Exit::Failed, FAILED, why))
        }
    }
}

impl Arguments {
    fn open(&self) -> io::Result<File> {
        if self.file == Path::new("-") {
            return io::stdin().as_fd().try_clone_to_owned().map(File::from);
        }
        File::open(&self.file)
    }

    fn name(&self) -> String {
        if self.file == Path::new("-") {
            return "standard input".to_owned();
        }
        self.file.display().to_string()
    }

    fn cannot_read(&self, error: &io::Error) -> Failure {
        let why = format_args!("cannot read {} ({error})", self.name());
        Failure::new(Exit::Failed, FAILED, why)
    }
}

/// Why playback stopped.
#[derive(Debug)]
enum PlayFailure {
    Connection(Error),
    Input(io::Error),
    /// A line that is not part of a recording.
    Line(String),
}

impl From<Error> for PlayFailure {
    fn from(error: Error) -> Self {
        Self::Connection(error)
    }
}

impl From<io::Error> for PlayFailure {
    fn from(error: io::Error) -> Self {
        Self::Input(error)
    }
}

/// Publishes a recording line by line.
#[derive(Debug)]
struct Player<'a> {
    prefix: &'a str,
    /// The level that each message asks for.
    ack: Option<AckLevel>,
    timeline: Timeline,
    /// The number of the last line read.
    line: u64,
    /// Number of messages missing in the recording.
    gaps: u64,
    /// Number of messages with a receipt when the connection failed.
    answered: u64,
    delays: Delays,
}

impl Player<'_> {
    fn play(&mut self, client: &mut Client, input: File) -> Result<Receipt, PlayFailure> {
        let mut publisher = client.publisher();
        let published = self.publish_all(&mut publisher, input);
        let settled = match published {
            Err(failure @ PlayFailure::Connection(_)) => Err(failure),
            other => publisher.settle().map_err(PlayFailure::from).and(other),
        };
        let receipt = publisher.receipt();
        self.answered = receipt.published;
        settled.map(|()| receipt)
    }

    fn publish_all(
        &mut self,
        publisher: &mut Publisher<'_>,
        mut input: File,
    ) -> Result<(), PlayFailure> {
        let mut lines = Lines::new();
        loop {
            publisher.wait_for_input(&input)?;
            if !lines.fill(&mut input)? {
                break;
            }
            while let Some(line) = lines.next()? {
                self.publish(publisher, line)?;
            }
        }
        match lines.rest() {
            Some(line) => self.publish(publisher, line),
            None => Ok(()),
        }
    }

    fn publish(&mut self, publisher: &mut Publisher<'_>, line: &[u8]) -> Result<(), PlayFailure> {
        self.line += 1;
        let entry = RecordedLine::parse(line).map_err(|bad| PlayFailure::Line(bad.to_string()))?;
        let due = self.timeline.due(entry.offset, Instant::now());
        let (topic, payload, mut attributes) = match entry.event {
            RecordedEvent::Gap(count) => {
                self.gaps = self.gaps.saturating_add(count);
                return Ok(());
            }
            RecordedEvent::Message {
                topic,
                payload,
                attributes,
            } => (format!("{}{topic}", self.prefix), payload, attributes),
        };
        // The broker that it is played to gives positions of its own.
        if [POSITION, PAST].iter().any(|key| attributes.contains(key)) {
            attributes = attributes.without(&[POSITION, PAST]);
        }
        if let Some(level) = self.ack {
            attributes = attributes.without(&[ACK]);
            let pushed = attributes.push(ACK, level.as_str().as_bytes());
            pushed.expect("it is a key");
        }
        Topic::parse(&topic).map_err(|bad| PlayFailure::Line(bad.to_string()))?;
        if attributes.contains(RETAINED) {
            attributes = attributes.without(&[RETAINED, RETAIN]);
            attributes.push_flag(RETAIN).expect("it is a key");
        }
        if let Some(due) = due {
            let early = due.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                publisher.rest(early)?;
            }
        }
        publisher.publish_with(&topic, &payload, &attributes)?;
        let now = Instant::now();
        self.delays.add(now - due.unwrap_or(now).min(now));
        Ok(())
    }

    fn tell(&self, receipt: &Receipt, took: Duration) -> Result<Exit, Failure> {
        if self.gaps > 0 {
            let gaps = messages(self.gaps);
            say(format_args!(
                "client: missed when this was recorded: {gaps}"
            ));
        }
        if let Some(refusal) = &receipt.first_refusal {
            let (refused, all) = (receipt.refused, receipt.published);
            let why = format_args!("{refused} of {all} were refused, the first: {refusal}");
            return Err(Failure::new(Exit::of_refusal(refusal), FAILED, why));
        }
        // There is no level of no messages.
        let asked = self.ack.filter(|_| receipt.published > 0);
        let to_keep =
            "not all is kept: start the broker with --data DIR and a rule --keep for the topics";
        let reached = asked.map(|asked| level::check(asked, receipt, to_keep));
        let reached = reached.transpose()?.map(|it| level::line(&it));
        let (published, took) = (messages(receipt.published), took.as_secs_f64());
        let late = match self.timeline.speed {
            Speed::Max => String::new(),
            Speed::Times(_) => format!("; {}", self.delays),
        };
        writeln!(
            io::stdout().lock(),
            "published {published} in {took:.3} s{late}{}",
            reached.map_or_else(String::new, |line| format!("\n{}", line.trim_end()))
        )
        .map_err(|error| Failure::of_output(&error))?;
        Ok(Exit::Done)
    }
}

/// Computes when each message is due.
#[derive(Debug)]
struct Timeline {
    speed: Speed,
    /// A point in time and its offset in the recording.
    anchor: Option<(Instant, Duration)>,
    last: Duration,
}

impl Timeline {
    fn new(speed: Speed) -> Self {
        Self {
            speed,
            anchor: None,
            last: Duration::ZERO,
        }
    }

    /// When a message with this offset is due; `None` without pauses. The first message is due at
    /// once. An offset that goes back starts another recording, whose first message is due at once
    /// too.
    fn due(&mut self, offset: Duration, now: Instant) -> Option<Instant> {
        let Speed::Times(times) = self.speed else {
            return None;
        };
        let (then, from) = match self.anchor {
            Some(anchor) if offset >= self.last => anchor,
            _ => (now, offset),
        };
        self.anchor = Some((then, from));
        self.last = offset;
        let wait = (offset - from).as_secs_f64() / times;
        // A wait that overflows becomes a deadline in the far future.
        let wait = Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX);
        Some(then.checked_add(wait).unwrap_or(now + FAR))
    }
}

/// A deadline that is never reached.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Statistics of how late messages were published.
#[derive(Debug, Default)]
struct Delays {
    count: u64,
    sum: Duration,
    longest: Duration,
}

impl Delays {
    fn add(&mut self, delay: Duration) {
        self.count += 1;
        self.sum += delay;
        self.longest = self.longest.max(delay);
    }
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let mean = millis(self.sum) / self.count.max(1) as f64;
        let longest = millis(self.longest);
        write!(
            f,
            "late by {mean:.3} ms on average, {longest:.3} ms at most"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn messages_are_due_as_far_apart_as_they_came() {
        let now = Instant::now();
        for (speed, apart) in [("1", SECOND), ("2", SECOND / 2), ("0.5", 2 * SECOND)] {
            let mut timeline = Timeline::new(speed.parse().expect("a speed"));
            assert_eq!(timeline.due(3600 * SECOND, now), Some(now));
            // When the second is asked for does not matter.
            let later = now + 5 * SECOND;
            assert_eq!(timeline.due(3601 * SECOND, later), Some(now + apart));
        }
        let mut timeline = Timeline::new(Speed::Max);
        assert_eq!(timeline.due(3600 * SECOND, now), None);
    }

    #[test]
    fn a_recording_behind_another_begins_when_that_has_ended() {
        let now = Instant::now();
        let mut timeline = Timeline::new(Speed::Times(1.0));
        timeline.due(5 * SECOND, now);
        let later = now + 2 * SECOND;
        assert_eq!(timeline.due(SECOND, later), Some(later));
        assert_eq!(timeline.due(2 * SECOND, later), Some(later + SECOND));
    }

    #[test]
    fn a_time_beyond_all_clocks_is_only_far_away() {
        let now = Instant::now();
        let mut timeline = Timeline::new(Speed::Times(1e-300));
        timeline.due(Duration::ZERO, now);
        let due = timeline.due(Duration::from_micros(u64::MAX), now);
        assert!(due.is_some_and(|due| due > now + 1000 * SECOND));
    }

    #[test]
    fn a_speed_is_a_number_above_zero_or_max() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("1e3".parse(), Ok(Speed::Times(1000.0)));
        for text in ["0", "-1", "fast", "inf", "NaN", ""] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_can_begin_a_topic() {
        assert_eq!(prefix("test/"), Ok("test/".to_owned()));
        for text in ["a b", "#", "+/"] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn delays_are_told_by_their_mean_and_their_longest() {
        let mut delays = Delays::default();
        for millis in [1, 2, 6] {
            delays.add(Duration::from_millis(millis));
        }
        let told = "late by 3.000 ms on average, 6.000 ms at most";
        assert_eq!(delays.to_string(), told);
    }
}
