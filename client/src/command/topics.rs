//! `client topics`: what has been published on, how much and how often.

use client::inquiry::Topics;

use crate::exit::{self, Exit, Failure, Stop};
use crate::interruption::Interruption;
use crate::listing::{self, ListFlags};
use crate::server::ServerArguments;
use crate::value;

const EXAMPLES: &str = "\
Examples:
  client topics                         all that the broker remembers
  client topics 'home/#' --sort rate    the busiest below home first
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// Those alone that match
    #[arg(value_parser = value::filter)]
    filter: Option<String>,
    /// Which comes first: by name from A to Z, by figures the largest or newest
    #[arg(long, value_name = "COLUMN", value_parser = listing::sort_key::<Topics>())]
    sort: Option<String>,
    #[command(flatten)]
    list: ListFlags,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments {
        filter,
        sort,
        list,
        server,
    } = arguments;
    let interruption = Interruption::watch()?;
    let connected = server.connect(interruption.interrupt());
    connected
        .map_err(Stop::from)
        .and_then(|mut client| {
            listing::list::<Topics>(&mut client, filter.as_deref(), sort.as_deref(), list)
        })
        .or_else(|stop| interruption.end(stop, "client"))
}
