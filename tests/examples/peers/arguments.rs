//! What the command line says.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Parser, value_parser};
use regex::Regex;

use crate::case::Case;
use crate::cases::CASES;
use crate::folders::target_folder;
use crate::peer::{self, PEERS};
use crate::trouble::Trouble;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

/// Longer runs would tell nothing more.
const MAX_SECONDS: f64 = 600.0;

const EXAMPLES: &str = "\
Examples:
  tests/peers                                          everything
  tests/peers --cases latency --brokers dallal,nats    a part, which leaves docs as it is
  tests/peers --cases MQTT --rounds 5                  brokers of MQTT
  tests/peers --cases web --brokers dallal             HTTP and WebSocket
  tests/peers --cases unix --brokers dallal,redis      Unix sockets beside TCP
  tests/peers --cases TLS --brokers dallal,nats,mosquitto
  tests/peers --cases store --brokers dallal,nats,redis
  tests/peers --from docs/benchmarks/results.jsonl     the document again, without measuring

Exit codes:
  0 done   1 failed, or dallal lost, doubled or reordered messages   2 wrong usage   130 interrupted";

/// Measure dallal beside other brokers, and write docs/benchmarks.md
#[derive(Debug, Parser)]
#[command(name = "tests/peers", bin_name = "tests/peers", after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Measure everything this many times, the brokers in turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Load a broker for this long in a run
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Only cases whose names match this regular expression
    #[arg(
        long,
        value_name = "REGEX",
        default_value = "",
        hide_default_value = true
    )]
    cases: Regex,
    /// Only these brokers, with commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = names())]
    #[arg(default_values_t = all_names(), hide_default_value = true)]
    brokers: Vec<String>,
    /// Write benchmarks.md and benchmarks/ there [default: docs, or target/peers for a part]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Measure nothing, and write what these results say; of several files, the last with a case counts
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["rounds", "seconds", "cases", "brokers"])]
    pub(crate) from: Vec<PathBuf>,
    /// Where a broker's program is
    #[arg(long = "program", value_name = "BROKER=PATH", value_parser = program)]
    pub(crate) programs: Vec<(String, PathBuf)>,
}

fn all_names() -> Vec<String> {
    PEERS.map(|peer| peer.name.to_owned()).into()
}

fn names() -> PossibleValuesParser {
    PEERS.map(|peer| peer.name).into()
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= MAX_SECONDS => Ok(seconds),
        _ => Err(format!(
            "give seconds, such as 2 or 0.5, at most {MAX_SECONDS}"
        )),
    }
}

fn program(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if peer::find(name).is_some() => Ok((name.to_owned(), path.into())),
        _ => Err("give the name of a broker and a path, such as nats=/tmp/nats-server".to_owned()),
    }
}

impl Arguments {
    /// The cases that were asked for; none is wrong usage.
    pub(crate) fn chosen_cases(&self) -> Result<Vec<&'static Case>, Trouble> {
        let cases = CASES.iter().filter(|case| self.cases.is_match(case.name));
        let cases: Vec<_> = cases.collect();
        if cases.is_empty() {
            return Err(Trouble::NoCase(self.cases.to_string()));
        }
        Ok(cases)
    }

    /// Where the document goes. That of a part never replaces that of everything.
    pub(crate) fn folder(&self) -> PathBuf {
        let is_part = CASES.iter().any(|case| !self.cases.is_match(case.name))
            || PEERS.iter().any(|peer| !self.asks_for(peer.name));
        match &self.out {
            Some(folder) => folder.clone(),
            None if is_part => target_folder().join("peers"),
            None => DOCS.into(),
        }
    }

    pub(crate) fn asks_for(&self, broker: &str) -> bool {
        self.brokers.iter().any(|name| name == broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &str) -> Result<Arguments, String> {
        let words = ["peers"].into_iter().chain(arguments.split_whitespace());
        Arguments::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn without_arguments_everything_is_measured() {
        let arguments = parsed("").expect("the defaults are good");
        assert_eq!(
            arguments.chosen_cases().map(|c| c.len()).ok(),
            Some(CASES.len())
        );
        assert!(PEERS.iter().all(|peer| arguments.asks_for(peer.name)));
        assert_eq!(arguments.folder(), PathBuf::from(DOCS));
    }

    #[test]
    fn a_part_can_be_chosen() {
        let arguments = parsed("--cases ^1x1.16 --brokers dallal,relay").expect("good");
        let cases = arguments.chosen_cases().expect("a case");
        assert_eq!(cases.len(), 1);
        assert!(arguments.asks_for("relay") && !arguments.asks_for("redis"));
        assert!(arguments.folder().ends_with("peers"));
    }

    #[test]
    fn wrong_usage_says_what_would_be_right() {
        for (arguments, hint) in [
            ("--brokers kafka", "mosquitto"),
            ("--seconds 0", "such as 2 or 0.5"),
            ("--rounds 0", "1..=100"),
            ("--cases (", "regex"),
            ("--program x", "name of a broker"),
            ("--from a --rounds 2", "cannot be used with"),
        ] {
            let error = parsed(arguments).expect_err(arguments);
            assert!(error.contains(hint), "{error}");
        }
    }
}
