//! `client who`, `client sessions`, `client topics`, `client filters` and `client kept`: the lists that a broker gives,
//! printed.

use std::marker::PhantomData;

use client::inquiry::{Filters, KeptTopics, Sessions, Topics, Who};

use crate::exit::{self, Exit, Failure};
use crate::listing::{self, ListFlags, Listing};
use crate::server::ServerArguments;
use crate::value;

/// A list with a command of its own.
pub(crate) trait ListCommand: Listing {
    /// The help of the filter argument.
    const FILTER_HELP: &'static str;
    const EXAMPLES: &'static str;
}

impl ListCommand for Who {
    const FILTER_HELP: &'static str =
        "Only connections that may get messages on this filter or topic";
    const EXAMPLES: &'static str = "\
Examples:
  client who                            all connections, by number
  client who 'home/#' --sort waiting    those that overlap home, the slowest first
  client who --json | jq .name
";
}

impl ListCommand for Sessions {
    const FILTER_HELP: &'static str = "Only sessions that may get messages on this filter or topic";
    const EXAMPLES: &'static str = "\
Examples:
  client sessions                       all, by client identifier
  client sessions --sort waiting        those for which most waits first
";
}

impl ListCommand for Topics {
    const FILTER_HELP: &'static str = "Only topics that match";
    const EXAMPLES: &'static str = "\
Examples:
  client topics                         all that the broker remembers
  client topics 'home/#' --sort rate    the busiest below home first
";
}

impl ListCommand for Filters {
    const FILTER_HELP: &'static str = "Only filters that overlap this one";
    const EXAMPLES: &'static str = "\
Examples:
  client filters                        all, from A to Z
  client filters --sort messages        those that match most first
";
}

impl ListCommand for KeptTopics {
    const FILTER_HELP: &'static str = "Only topics that match";
    const EXAMPLES: &'static str = "\
Examples:
  client kept                           all, except topics that begin with $
  client kept 'chat/#' --sort size      those that take most below chat first
";
}

#[derive(Debug, clap::Args)]
#[command(after_help = [L::EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments<L: ListCommand> {
    #[arg(help = L::FILTER_HELP, value_parser = value::filter)]
    filter: Option<String>,
    /// Sort by this column: names from A to Z, figures with the largest or newest first
    #[arg(long, value_name = "COLUMN", value_parser = listing::sort_key::<L>())]
    sort: Option<String>,
    #[command(flatten)]
    list: ListFlags,
    #[command(flatten)]
    server: ServerArguments,
    #[arg(skip)]
    listed: PhantomData<L>,
}

pub(crate) fn run<L: ListCommand>(arguments: &Arguments<L>) -> Result<Exit, Failure> {
    let Arguments {
        filter,
        sort,
        list,
        server,
        listed: PhantomData,
    } = arguments;
    server.run(|client| listing::list::<L>(client, filter.as_deref(), sort.as_deref(), list))
}
