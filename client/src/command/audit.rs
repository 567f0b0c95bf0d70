//! `client audit`: the broker's ledger, and whether it balances.

use std::fmt;

use client::Client;
use client::inquiry::Audit;

use crate::exit::{self, Exit, Failure, Stop};
use crate::listing;
use crate::server::ServerArguments;
use crate::stderr::say;
use crate::units::grouped;
use crate::visible;

/// Maximum number of inquiries. Figures that are not of one moment may not balance although nothing
/// is lost.
const ATTEMPTS: u32 = 3;

const EXAMPLES: &str = "\
Examples:
  client audit                          the ledger of messages and copies
  client audit > /dev/null || echo 'something is lost'
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::AUDIT_HELP].join("\n"))]
pub(crate) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    arguments.server.run(|client| {
        let audit = audit(client)?;
        listing::print_answer(&audit, AuditTable(&audit), arguments.json)?;
        Ok(verdict(&audit))
    })
}

/// Repeats the inquiry until the figures balance or are of one moment.
fn audit(client: &mut Client) -> Result<Audit, Stop> {
    let mut attempt = 1;
    loop {
        let audit: Audit = client.inquire("", None)?;
        if audit.exact || audit.is_balanced() || attempt == ATTEMPTS {
            return Ok(audit);
        }
        say("client: messages moved while they were counted; asking again");
        attempt += 1;
    }
}

fn verdict(audit: &Audit) -> Exit {
    if audit.is_balanced() {
        Exit::Done
    } else {
        say("client: the ledger does not balance; please report it, with the output above");
        Exit::Astray
    }
}

/// The ledger as a table for people.
struct AuditTable<'a>(&'a Audit);

impl fmt::Display for AuditTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audit = self.0;
        let mut rows = vec![
            ("published".to_owned(), audit.published),
            ("  matched".to_owned(), audit.matched),
            ("  unmatched".to_owned(), audit.unmatched),
            ("copies".to_owned(), audit.copies),
            ("  written".to_owned(), audit.written),
            ("  waiting".to_owned(), audit.waiting),
            ("  dropped".to_owned(), audit.total_dropped()),
        ];
        let reasons = audit.dropped.iter().filter(|(_, count)| **count > 0);
        rows.extend(reasons.map(|(why, count)| (format!("    {}", visible::line(why)), *count)));
        rows.extend([
            ("  discarded".to_owned(), audit.discarded),
            ("  withdrawn".to_owned(), audit.withdrawn),
            ("kept".to_owned(), audit.kept),
            ("refused".to_owned(), audit.refused),
        ]);
        let label = rows.iter().map(|(label, _)| label.chars().count());
        let label = label.max().unwrap_or_default();
        let digits = rows.iter().map(|(_, count)| grouped(*count).len());
        let digits = digits.max().unwrap_or_default();
        for (name, count) in &rows {
            writeln!(f, "{name:label$}  {:>digits$}", grouped(*count))?;
        }
        let verdict = |holds| if holds { "holds" } else { "DOES NOT HOLD" };
        let messages = verdict(audit.messages_balance());
        let copies = verdict(audit.copies_balance());
        writeln!(f, "\npublished = matched + unmatched: {messages}")?;
        writeln!(
            f,
            "copies = written + waiting + dropped + discarded + withdrawn: {copies}"
        )?;
        if audit.messages_balance() && audit.copies_balance() && !audit.balanced {
            writeln!(f, "the broker's own account: DOES NOT HOLD")?;
        }
        if !audit.exact {
            writeln!(
                f,
                "Not exact: messages moved while they were counted, so the figures are of \
                 different moments."
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balanced() -> Audit {
        Audit {
            balanced: true,
            exact: true,
            published: 1_300,
            matched: 1_200,
            unmatched: 100,
            kept: 20,
            refused: 1,
            copies: 2_400,
            written: 2_000,
            waiting: 300,
            dropped: [("full".to_owned(), 90), ("memory".to_owned(), 0)].into(),
            discarded: 10,
            withdrawn: 0,
        }
    }

    #[test]
    fn a_ledger_shows_its_figures_and_two_equations() {
        let shown = AuditTable(&balanced()).to_string();
        let expected = "\
published    1,300
  matched    1,200
  unmatched    100
copies       2,400
  written    2,000
  waiting      300
  dropped       90
    full        90
  discarded     10
  withdrawn      0
kept            20
refused          1

published = matched + unmatched: holds
copies = written + waiting + dropped + discarded + withdrawn: holds
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_equation_that_does_not_hold_is_shown() {
        let mut audit = balanced();
        audit.written += 1;
        audit.exact = false;
        let shown = AuditTable(&audit).to_string();
        assert!(shown.contains("unmatched: holds\n"), "{shown}");
        assert!(shown.contains("withdrawn: DOES NOT HOLD\n"), "{shown}");
        assert!(shown.contains("\nNot exact: "), "{shown}");
        assert_eq!(verdict(&audit), Exit::Astray);

        let doubted = Audit {
            balanced: false,
            ..balanced()
        };
        let shown = AuditTable(&doubted).to_string();
        assert!(shown.ends_with("own account: DOES NOT HOLD\n"), "{shown}");
        assert_eq!(verdict(&doubted), Exit::Astray);
    }
}
