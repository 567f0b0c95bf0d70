//! The command line of `broker store ...`.

use std::path::PathBuf;

use clap::Subcommand;
use protocol::{BadPast, Filter, PastStart, escape_spaces};

use super::parsers::keep_rule;
use crate::engine::history::rules::KeepRule;

/// A look at a store, or a change of it, while no broker serves from it.
#[derive(Debug, Subcommand)]
pub enum StoreTool {
    /// Tell what is in a store, and what is wrong with it
    #[command(after_help = CHECK)]
    Check {
        /// The folder of --data
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Also tell what topics would lose with these rules; may be given several times
        #[arg(long, value_name = "RULE", value_delimiter = ' ', value_parser = keep_rule)]
        keep: Vec<KeepRule>,
        /// The rules until now; without them all counts that the log has
        #[arg(long, value_name = "RULE", value_delimiter = ' ', value_parser = keep_rule, requires = "keep")]
        instead_of: Vec<KeepRule>,
    },
    /// Copy a store, also while a broker has it
    #[command(after_help = BACKUP)]
    Backup {
        /// The folder of --data
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// The folder of the copy, which is made; it may be there if it is empty
        #[arg(value_name = "TO")]
        to: PathBuf,
    },
    /// Mend a damaged store; damaged bytes are kept in DIR/damaged
    #[command(after_help = REPAIR)]
    Repair {
        /// The folder of --data
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Print the retained messages, or those of the log, each as a line of JSON
    #[command(after_help = EXPORT)]
    Export {
        /// The folder of --data
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Only topics that it matches; may be given several times
        #[arg(long = "filter", value_name = "FILTER", value_parser = filter)]
        filters: Vec<String>,
        /// In the place of the retained messages those of the log behind this position or time, or start
        #[arg(long, value_name = "X", value_parser = since)]
        since: Option<PastStart>,
        /// Of these only what topics keep by this rule; may be given several times
        #[arg(long, value_name = "RULE", value_delimiter = ' ', value_parser = keep_rule, requires = "since")]
        keep: Vec<KeepRule>,
    },
    /// Retain each message of an export or a recording
    #[command(after_help = IMPORT)]
    Import {
        /// The folder of --data; it is made if it is not there
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// The file; - is standard input
        #[arg(default_value = "-", hide_default_value = true)]
        file: PathBuf,
    },
}

const CHECK: &str = "\
Reads only, also while a broker has the store: figures may then be a moment
old, and what the broker has not finished writing is no damage.

With --keep it tells as well what a start with these rules would leave, and
what each topic would lose of what it keeps by the rules of --instead-of.

Example:
  broker store check /var/lib/dallal --keep 'chat/#=100' --instead-of 'chat/#=1000'

Exit: 0 sound   4 damaged   5 written by a newer broker   1 cannot be read   2 wrong usage";

const BACKUP: &str = "\
The copy has all that the broker had acknowledged before, and is a store of
its own: broker --data TO starts on it. The broker is not asked and goes on.

Exit: 0 done   4 the store is damaged, and so is the copy   5 written by a newer broker
      1 not done, with the reason   2 wrong usage";

const REPAIR: &str = "\
Does what a start of the broker does, and makes a snapshot, so that the next
start finds nothing wrong. No broker may have the store.

Exit: 0 done   5 written by a newer broker   1 not done, with the reason   2 wrong usage";

const EXPORT: &str = "\
The form is that of `client record`: for `client play`, and for broker store
import. Reads only, also while a broker has the store, or a damaged one.

With --since the messages of the log are printed, the oldest first, also those
that a limit has removed and that still take room, unless --keep is given.

Examples:
  broker store export /var/lib/dallal > retained.jsonl
  broker store export /var/lib/dallal --filter 'home/#' | client play -
  broker store export /var/lib/dallal --since 1d --keep 'chat/#=1000' > chat.jsonl

Exit: 0 done   4 the store is damaged, all that is sound is printed   5 written by a newer broker
      1 not done, with the reason   2 wrong usage";

const IMPORT: &str = "\
All lines are read before anything is changed; a line that cannot be read ends
it. A message without a payload clears its topic. No broker may have the store.

Examples:
  broker store import /var/lib/dallal retained.jsonl
  broker store export old | broker store import new

Exit: 0 done   5 written by a newer broker   1 not done, with the reason   2 wrong usage";

/// Parses where the past begins.
fn since(text: &str) -> Result<PastStart, BadPast> {
    PastStart::since(text.as_bytes())
}

/// Takes a filter as a line of the protocol writes it. A group would say nothing.
fn filter(text: &str) -> Result<String, String> {
    let text = escape_spaces(text);
    let filter = Filter::parse(&*text).map_err(|why| why.to_string())?;
    match filter.group() {
        None => Ok(filter.to_string()),
        Some(_) => Err("leave out $share/ and the group".to_owned()),
    }
}
