//! `client topics`: what has been published on, how much and how often.

use client::inquiry::Topics;

use crate::exit::{self, Exit, Failure};
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
    listing::run::<Topics>(filter.as_deref(), sort.as_deref(), list, server)
}
