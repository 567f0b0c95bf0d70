//! `client filters`: what is subscribed to, and how much that has matched.

use client::inquiry::Filters;

use crate::exit::{self, Exit, Failure};
use crate::listing::{self, ListFlags};
use crate::server::ServerArguments;
use crate::value;

const EXAMPLES: &str = "\
Examples:
  client filters                        all, from A to Z
  client filters --sort messages        those that match most first
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// Those alone that have a topic in common with this one
    #[arg(value_parser = value::filter)]
    filter: Option<String>,
    /// Which comes first: by name from A to Z, by figures the largest or newest
    #[arg(long, value_name = "COLUMN", value_parser = listing::sort_key::<Filters>())]
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
    listing::run::<Filters>(filter.as_deref(), sort.as_deref(), list, server)
}
