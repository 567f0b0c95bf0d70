//! `client who`: who is connected, and what each of them has said and heard.

use client::inquiry::Who;

use crate::exit::{self, Exit, Failure};
use crate::listing::{self, ListFlags};
use crate::server::ServerArguments;
use crate::value;

const EXAMPLES: &str = "\
Examples:
  client who                            everybody, by number
  client who 'home/#' --sort waiting    who has to do with home, the slowest first
  client who --json | jq .name
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// Those alone who may get what is published there: a filter, or a topic
    #[arg(value_parser = value::filter)]
    filter: Option<String>,
    /// Which comes first: by name from A to Z, by figures the largest or newest
    #[arg(long, value_name = "COLUMN", value_parser = listing::sort_key::<Who>())]
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
    listing::run::<Who>(filter.as_deref(), sort.as_deref(), list, server)
}
