//! `client reload`: has the broker read its configuration again, and shows the difference.

use std::fmt;

use client::orders::{Change, Reload};

use crate::exit::{self, Exit, Failure};
use crate::listing;
use crate::server::OperatorArguments;
use crate::stderr::say;
use crate::units::plural;
use crate::visible;

const EXAMPLES: &str = "\
Examples:
  client reload --dry                   show what would change
  client reload                         change it, all or nothing
  client reload -s unix:/tmp/a.sock     instead of /run/dallal/broker.sock
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// Show what would change, and change nothing
    #[arg(long)]
    dry: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: OperatorArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let argument = if arguments.dry { Reload::DRY } else { "" };
    arguments.server.run(|client| {
        let reload: Reload = client.order(argument)?;
        listing::print_answer(&reload, Changes(&reload.changes), arguments.json)?;
        for error in &reload.errors {
            say(visible::line(error));
        }
        say(format_args!("client: {}", verdict(&reload, arguments.dry)));
        Ok(if reload.errors.is_empty() {
            Exit::Done
        } else {
            Exit::Failed
        })
    })
}

/// The changes for people, each on a line.
struct Changes<'a>(&'a [Change]);

impl fmt::Display for Changes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in self.0 {
            let [key, from, to, concerns] =
                [&change.key, &change.from, &change.to, &change.concerns]
                    .map(|it| visible::line(it));
            write!(f, "{key}: {from} -> {to}")?;
            if !concerns.is_empty() {
                write!(f, " ({concerns})")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// What became of the changes.
fn verdict(reload: &Reload, is_dry: bool) -> String {
    let changes = plural(reload.changes.len() as u64, "change");
    match reload {
        Reload { errors, .. } if !errors.is_empty() => {
            let errors = plural(errors.len() as u64, "error");
            format!("nothing was changed, because of {errors}; correct the configuration")
        }
        Reload { changes, .. } if changes.is_empty() => {
            "the configuration is the one in force".to_owned()
        }
        Reload { applied: true, .. } => format!("{changes} in force"),
        _ if is_dry => format!("{changes}, none of them made; leave out --dry to make them"),
        _ => format!("nothing was changed, and the broker does not say why ({changes})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reload(applied: bool, changes: usize, errors: usize) -> Reload {
        let change = Change {
            key: "max-line".to_owned(),
            from: "1.0 MiB".to_owned(),
            to: "64.0 KiB".to_owned(),
            concerns: "12 connections, from the next batch".to_owned(),
        };
        Reload {
            applied,
            changes: vec![change; changes],
            errors: vec!["a.toml:3:1: no".to_owned(); errors],
        }
    }

    #[test]
    fn a_change_is_a_line_that_cannot_command_a_terminal() {
        let mut reload = reload(true, 1, 0);
        let line = "max-line: 1.0 MiB -> 64.0 KiB (12 connections, from the next batch)\n";
        assert_eq!(Changes(&reload.changes).to_string(), line);
        reload.changes[0] = Change {
            key: "name".to_owned(),
            from: String::new(),
            to: "a\x1b[2J\nb".to_owned(),
            concerns: String::new(),
        };
        let line = "name:  -> a\u{fffd}[2J\u{fffd}b\n";
        assert_eq!(Changes(&reload.changes).to_string(), line);
    }

    #[test]
    fn what_became_of_the_changes_is_told() {
        for (reload, is_dry, said) in [
            (reload(true, 2, 0), false, "2 changes in force"),
            (
                reload(false, 1, 0),
                true,
                "1 change, none of them made; leave",
            ),
            (
                reload(false, 0, 0),
                true,
                "the configuration is the one in force",
            ),
            (
                reload(true, 0, 0),
                false,
                "the configuration is the one in force",
            ),
            (
                reload(false, 2, 1),
                false,
                "nothing was changed, because of 1 error;",
            ),
            (
                reload(false, 2, 2),
                true,
                "nothing was changed, because of 2 errors;",
            ),
            (reload(false, 2, 0), false, "does not say why"),
        ] {
            let verdict = verdict(&reload, is_dry);
            assert!(verdict.contains(said), "{verdict}");
        }
    }
}
