//! Prints verdicts to standard output: lines for people, or one JSON object per line.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::json;

use crate::output::json;
use crate::visible;

use super::case::Case;

use super::finding::Finding;
use super::run::Outcome;
use super::version::MqttVersion;

/// Prints and counts the outcomes of cases.
#[derive(Debug)]
pub(crate) struct SelftestReport<W: Write> {
    out: W,
    json: bool,
    /// Counts of the current version.
    now: Count,
    checked: u64,
    failed: u64,
}

#[derive(Debug, Default)]
struct Count {
    passed: u64,
    failed: u64,
    unsupported: u64,
    statements: BTreeSet<&'static str>,
}

impl<W: Write> SelftestReport<W> {
    pub(crate) fn new(out: W, json: bool) -> Self {
        Self {
            out,
            json,
            now: Count::default(),
            checked: 0,
            failed: 0,
        }
    }

    /// Prints the statements.
    pub(crate) fn list(&mut self, version: MqttVersion, cases: &[Case]) -> io::Result<()> {
        for case in cases {
            let number = number(case, version);
            let sentence = case.sentence;
            if self.json {
                let row = json!({
                    "mqtt": version.to_string(), "number": number, "sentence": sentence,
                });
                writeln!(self.out, "{}", json::to_text(&row))?;
            } else {
                writeln!(self.out, "{version:<6}[{number}] {sentence}")?;
            }
        }
        Ok(())
    }

    pub(crate) fn begin(&mut self, version: MqttVersion, server: &str) -> io::Result<()> {
        self.now = Count::default();
        if self.json {
            return Ok(());
        }
        writeln!(self.out, "MQTT {version} at {server}")
    }

    pub(crate) fn add(&mut self, version: MqttVersion, outcome: &Outcome) -> io::Result<()> {
        let Outcome {
            case,
            checked,
            took,
        } = outcome;
        let verdict = match checked {
            Ok(()) => {
                self.now.passed += 1;
                "pass"
            }
            Err(Finding::Differs { .. }) => {
                self.now.failed += 1;
                "fail"
            }
            Err(Finding::Unsupported(_)) => {
                self.now.unsupported += 1;
                "unsupported"
            }
        };
        let number = number(case, version);
        let sentence = case.sentence;
        self.now.statements.extend(case.number(version));
        if self.json {
            let mut row = json!({
                "mqtt": version.to_string(),
                "number": number,
                "sentence": sentence,
                "verdict": verdict,
                "ms": took.as_millis() as u64,
            });
            match checked {
                Ok(()) => {}
                Err(Finding::Differs { expected, came }) => {
                    row["expected"] = json!(expected);
                    row["came"] = json!(came);
                }
                Err(Finding::Unsupported(what)) => row["why"] = json!(what),
            }
            return writeln!(self.out, "{}", json::to_text(&row));
        }
        writeln!(self.out, "{verdict:<12}[{number}] {sentence}")?;
        if let Err(finding) = checked {
            let finding = visible::line(&finding.to_string());
            writeln!(self.out, "{:12}{finding}", "")?;
        }
        self.out.flush()
    }

    pub(crate) fn end(&mut self, version: MqttVersion) -> io::Result<()> {
        let Count {
            passed,
            failed,
            unsupported,
            statements,
        } = &self.now;
        let all = passed + failed + unsupported;
        self.checked += all;
        self.failed += failed;
        let statements = statements.len();
        if self.json {
            let row = json!({
                "mqtt": version.to_string(), "passed": passed, "failed": failed,
                "unsupported": unsupported, "cases": all, "statements": statements,
            });
            return writeln!(self.out, "{}", json::to_text(&row));
        }
        writeln!(
            self.out,
            "MQTT {version}: {passed} passed, {failed} failed, {unsupported} unsupported, \
             of {all} checks of {statements} statements"
        )
    }

    /// Number of checked cases in all versions.
    pub(crate) fn checked(&self) -> u64 {
        self.checked
    }

    pub(crate) fn has_failures(&self) -> bool {
        self.failed > 0
    }
}

fn number(case: &Case, version: MqttVersion) -> String {
    format!("MQTT-{}", case.number(version).unwrap_or("none"))
}
