//! `client may`: says whether an identity may do something, and which rule decides.

use std::fmt;

use client::inquiry::May;

use crate::exit::{self, Exit, Failure};
use crate::listing;
use crate::server::ServerArguments;
use crate::visible;

const EXAMPLES: &str = "\
Examples:
  client may ann publish home/door     whether ann may publish there
  client may ann subscribe 'home/#'    whether ann may subscribe to a filter
  client may ann admin                 whether ann may give orders
  client may anonymous inquire:who     clients that have not said who they are
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::MAY_HELP].join("\n"))]
pub(crate) struct Arguments {
    /// Whose rights: a user, anonymous, unix:USER, room:PORT; others than one's own need inquire:why
    #[arg(value_parser = word)]
    who: String,
    /// The right as access files have it: publish, retain, subscribe, will, inquire:WHAT ...
    #[arg(value_parser = word)]
    right: String,
    /// A topic, filter or name, where the right has one
    object: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { who, right, .. } = arguments;
    let object = arguments.object.as_deref().unwrap_or_default();
    arguments.server.run(|client| {
        let may: May = client.inquire(&format!("{who} {right} {object}"), None)?;
        listing::print_answer(&may, Reason(&may), arguments.json)?;
        Ok(match may.allowed {
            true => Exit::Done,
            false => Exit::Denied,
        })
    })
}

/// Parses a word of the question, in which a space would begin the next.
pub(crate) fn word(text: &str) -> Result<String, &'static str> {
    match text.is_empty() || text.contains(char::is_whitespace) {
        true => Err("write one word"),
        false => Ok(text.to_owned()),
    }
}

/// The answer for people.
struct Reason<'a>(&'a May);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", visible::line(&self.0.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_line_that_cannot_command_a_terminal() {
        let may = May {
            allowed: true,
            text: "allowed by a:1: \x1b[2J\n".to_owned(),
        };
        let shown = Reason(&may).to_string();
        assert_eq!(shown, "allowed by a:1: \u{fffd}[2J\u{fffd}\n");
    }

    #[test]
    fn who_and_the_right_are_one_word_each() {
        assert_eq!(word("unix:ann").as_deref(), Ok("unix:ann"));
        for text in ["", "ann publish", "ann\n"] {
            assert!(word(text).is_err(), "{text:?}");
        }
    }
}
