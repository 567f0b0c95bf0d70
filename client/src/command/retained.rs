//! `client retained`: lists and clears retained messages.

use std::io::{self, BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use clap::Subcommand;
use client::inquiry::{MAX_LIMIT, Retained};
use client::{Attributes, Client, RETAIN, Receipt, Woken, encode_spaces};

use crate::exit::{self, Exit, Failure, Stop};
use crate::listing::{self, ListFlags, Listing};
use crate::server::ServerArguments;
use crate::stderr::say;
use crate::units::plural;
use crate::value;

const EXAMPLES: &str = "\
Examples:
  client retained ls                      all, except topics that begin with $
  client retained ls 'home/#' --sort age  the oldest first
  client retained rm 'home/#'             clear them, after confirmation
";

const LIST_EXAMPLES: &str = "\
Examples:
  client retained ls 'home/#' --sort size      the largest first
  client retained ls --json | jq -r .topic
";

const REMOVE_EXAMPLES: &str = "\
Examples:
  client retained rm home/door                 after confirmation
  client retained rm 'home/#' --yes            without confirmation
";

#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = [EXAMPLES, exit::HELP].join("\n"),
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List retained messages with their sizes and ages
    Ls(ListArguments),
    /// Clear retained messages: later subscribers get none
    Rm(RemoveArguments),
}

#[derive(Debug, clap::Args)]
#[command(after_help = [LIST_EXAMPLES, exit::HELP].join("\n"))]
struct ListArguments {
    /// Only topics that match
    #[arg(value_parser = value::filter)]
    filter: Option<String>,
    /// Sort by this column: names from A to Z, figures with the largest first
    #[arg(long, value_name = "COLUMN", value_parser = listing::sort_key::<Retained>())]
    sort: Option<String>,
    #[command(flatten)]
    list: ListFlags,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = [REMOVE_EXAMPLES, exit::HELP].join("\n"))]
struct RemoveArguments {
    /// A topic, or a filter that matches several
    #[arg(value_parser = value::filter)]
    filter: String,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let server = match &arguments.action {
        Action::Ls(list) => &list.server,
        Action::Rm(remove) => {
            if !remove.yes && !io::stdin().is_terminal() {
                let why = "there is no terminal to ask at whether they are to be cleared; \
                           give --yes to clear them without a question";
                return Err(Failure::new(Exit::Usage, "client", why));
            }
            &remove.server
        }
    };
    server.run(|client| match &arguments.action {
        Action::Ls(arguments) => list(arguments, client),
        Action::Rm(arguments) => remove(arguments, client),
    })
}

fn list(arguments: &ListArguments, client: &mut Client) -> Result<Exit, Stop> {
    let ListArguments {
        filter, sort, list, ..
    } = arguments;
    listing::list::<Retained>(client, filter.as_deref(), sort.as_deref(), list)
}

fn remove(arguments: &RemoveArguments, client: &mut Client) -> Result<Exit, Stop> {
    let RemoveArguments { filter, yes, .. } = arguments;
    let mut found: Retained = client.inquire(filter, Some(MAX_LIMIT))?;
    if found.total == 0 {
        say(format_args!("nothing is retained on {filter}"));
        return Ok(Exit::Done);
    }
    if !yes && !is_wanted(client, found.total, filter)? {
        say("nothing was cleared");
        return Ok(Exit::Done);
    }
    let (mut cleared, mut left) = (0, found.total);
    loop {
        let receipt = clear(client, &found)?;
        cleared += receipt.published - receipt.refused;
        if let Some(refusal) = receipt.first_refusal {
            let count = plural(cleared, Retained::NOUN);
            say(format_args!(
                "cleared {count}; others were refused: {refusal}"
            ));
            return Ok(Exit::of_refusal(&refusal));
        }
        // There were more messages than one answer can hold. `left` bounds the loop, because other
        // clients may retain new ones meanwhile.
        left = left.saturating_sub(found.retained.len() as u64);
        if left == 0 || found.retained.is_empty() {
            break;
        }
        found = client.inquire(filter, Some(MAX_LIMIT.min(left)))?;
    }
    say(format_args!("cleared {}", plural(cleared, Retained::NOUN)));
    Ok(Exit::Done)
}

/// Clears retained messages: publishes an empty one with `retain` on each topic.
fn clear(client: &mut Client, found: &Retained) -> Result<Receipt, Stop> {
    let mut attributes = Attributes::default();
    attributes.push_flag(RETAIN).expect("it is a key");
    let mut publisher = client.publisher();
    for row in &found.retained {
        publisher.publish_with(&encode_spaces(&row.topic), "", &attributes)?;
    }
    Ok(publisher.finish()?)
}

/// Asks the user for confirmation.
fn is_wanted(client: &mut Client, count: u64, filter: &str) -> Result<bool, Stop> {
    let question = format!(
        "clear {} on {filter}? [y/N] ",
        plural(count, Retained::NOUN)
    );
    write!(io::stderr().lock(), "{question}")?;
    // The wait answers the broker's PINGs.
    while client.wait_with(Some(io::stdin().as_fd()), None)? != Woken::Input {
        client.take_ready(|_| ControlFlow::Continue(()))?;
    }
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
