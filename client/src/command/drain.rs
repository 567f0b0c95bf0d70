//! `client drain`: has the broker end once its clients have left.

use std::time::Duration;

use client::orders::Drain;

use crate::duration;
use crate::exit::{self, Exit, Failure};
use crate::listing;
use crate::server::OperatorArguments;
use crate::units::plural;

const EXAMPLES: &str = "\
Examples:
  client drain                          the time is that of the broker's --drain
  client drain 30s                      its clients have half a minute
  client drain -s unix:/tmp/a.sock      instead of /run/dallal/broker.sock
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// How long its clients may take to leave
    #[arg(value_parser = duration::parse)]
    time: Option<Duration>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: OperatorArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let argument = arguments.time.map(argument).unwrap_or_default();
    arguments.server.run(|client| {
        let drain: Drain = client.order(&argument)?;
        let sentence = format!("{}\n", sentence(&drain));
        listing::print_answer(&drain, sentence, arguments.json)?;
        Ok(Exit::Done)
    })
}

/// A time as the broker reads it.
fn argument(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn sentence(drain: &Drain) -> String {
    let connections = plural(drain.connections, "connection");
    let time = humantime::format_duration(Duration::from_secs(drain.seconds));
    format!("draining: {connections} may take {time} to leave, then the broker ends")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_the_broker_reads_it() {
        for (typed, sent) in [
            ("30", "30s"),
            ("2m 30s", "2m 30s"),
            ("0", "0s"),
            ("0.5", "500ms"),
        ] {
            assert_eq!(duration::parse(typed).map(argument).as_deref(), Ok(sent));
        }
    }

    #[test]
    fn how_long_the_broker_waits_is_told() {
        let drain = Drain {
            connections: 12,
            seconds: 90,
        };
        let said = "draining: 12 connections may take 1m 30s to leave, then the broker ends";
        assert_eq!(sentence(&drain), said);
    }
}
