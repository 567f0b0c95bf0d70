//! `client kick`: closes the connections of a client.

use std::fmt;

use clap::builder::NonEmptyStringValueParser;
use client::orders::{Kick, Kicked};

use crate::exit::{self, Exit, Failure};
use crate::listing;
use crate::server::OperatorArguments;
use crate::visible;

const EXAMPLES: &str = "\
Examples:
  client kick ann                       every client with this name or MQTT id
  client kick '#17'                     the connection 17 of `client who`
  client kick ann -s unix:/tmp/a.sock   instead of /run/dallal/broker.sock
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// The client's name, its MQTT id, or '#' and the number of a connection
    #[arg(value_name = "NAME|#ID", value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: OperatorArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    arguments.server.run(|client| {
        let kick: Kick = client.order(&arguments.name)?;
        listing::print_answer(&kick, Closed(&kick.kicked), arguments.json)?;
        Ok(Exit::Done)
    })
}

/// The connections for people, each on a line.
struct Closed<'a>(&'a [Kicked]);

impl fmt::Display for Closed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Kicked { id, name, peer } in self.0 {
            let name = name.as_deref().unwrap_or("-");
            let (name, peer) = (visible::line(name), visible::line(peer));
            writeln!(f, "closed #{id} {name} ({peer})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_connection_is_a_line_that_cannot_command_a_terminal() {
        let kicked = |id, name: Option<&str>, peer: &str| Kicked {
            id,
            name: name.map(str::to_owned),
            peer: peer.to_owned(),
        };
        let all = [
            kicked(17, Some("ann\x1b[2J\n"), "10.0.0.7:5123"),
            kicked(18, None, "unix:root"),
        ];
        let expected =
            "closed #17 ann\u{fffd}[2J\u{fffd} (10.0.0.7:5123)\nclosed #18 - (unix:root)\n";
        assert_eq!(Closed(&all).to_string(), expected);
    }
}
