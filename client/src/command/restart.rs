//! `client restart`: has another process of the broker take over, without a refused connection.

use client::orders::Restart;

use crate::exit::{self, Exit, Failure};
use crate::listing;
use crate::server::OperatorArguments;

const EXAMPLES: &str = "\
Examples:
  client restart                        after a new version was installed
  client restart -s unix:/tmp/a.sock    instead of /run/dallal/broker.sock
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: OperatorArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    arguments.server.run(|client| {
        let restart: Restart = client.order("")?;
        let sentence = format!("process {} serves now\n", restart.pid);
        listing::print_answer(&restart, sentence, arguments.json)?;
        Ok(Exit::Done)
    })
}
