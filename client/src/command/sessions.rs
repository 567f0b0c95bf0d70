//! `client sessions`: lists the sessions that wait for their clients, and ends one.

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use client::inquiry::Sessions;
use client::orders::EndSession;

use super::list;
use crate::exit::{self, Exit, Failure};
use crate::listing;
use crate::server::OperatorArguments;
use crate::units::plural;
use crate::visible;

const REMOVE_EXAMPLES: &str = "\
Examples:
  client sessions rm meter-7                        what waits for it is gone
  client sessions rm meter-7 -s unix:/tmp/a.sock    not /run/dallal/broker.sock
";

// The group of the inner arguments has the same name.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    list: list::Arguments<Sessions>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// End a session, and drop what waits for its client
    Rm(RemoveArguments),
}

#[derive(Debug, clap::Args)]
#[command(after_help = [REMOVE_EXAMPLES, exit::HELP].join("\n"))]
struct RemoveArguments {
    /// The identifier of its client
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    client_id: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: OperatorArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.action {
        None => list::run(&arguments.list),
        Some(Action::Rm(arguments)) => remove(arguments),
    }
}

fn remove(arguments: &RemoveArguments) -> Result<Exit, Failure> {
    arguments.server.run(|client| {
        let ended: EndSession = client.order(&arguments.client_id)?;
        let sentence = format!("{}\n", sentence(&ended));
        listing::print_answer(&ended, sentence, arguments.json)?;
        Ok(Exit::Done)
    })
}

fn sentence(ended: &EndSession) -> String {
    let (id, queued) = (visible::line(&ended.ended), ended.queued);
    match queued {
        0 => format!("ended the session {id}"),
        _ => format!(
            "ended the session {id}; dropped {}",
            plural(queued, "message")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_is_told_on_a_line() {
        let ended = |id: &str, queued| EndSession {
            ended: id.to_owned(),
            queued,
        };
        assert_eq!(sentence(&ended("a\nb", 0)), "ended the session a\u{fffd}b");
        let said = "ended the session meter-7; dropped 12 messages";
        assert_eq!(sentence(&ended("meter-7", 12)), said);
    }
}
