//! The table: every statement that can be seen to hold or not from outside.

mod connect;
mod delivery;
mod end;
mod filter;
mod flow;
mod form;
mod property;
mod publish;
mod session;
mod share;
mod subscribe;
mod will;

use super::case::Case;
use super::version::MqttVersion;

/// In the order of the standard, as far as that serves its reader.
const CHAPTERS: [&[Case]; 12] = [
    form::CASES,
    connect::CASES,
    will::CASES,
    session::CASES,
    publish::CASES,
    property::CASES,
    delivery::CASES,
    flow::CASES,
    subscribe::CASES,
    filter::CASES,
    share::CASES,
    end::CASES,
];

/// Those of a version whose number or sentence contains one of `patterns`, or all if there are none.
pub(super) fn chosen(version: MqttVersion, patterns: &[String]) -> Vec<Case> {
    let is_chosen = |number: &str, sentence: &str| {
        let number = format!("MQTT-{number}");
        let is_in = |pattern: &String| number.contains(pattern) || sentence.contains(pattern);
        patterns.is_empty() || patterns.iter().any(is_in)
    };
    let cases = CHAPTERS.into_iter().flatten();
    let cases = cases.filter(|case| {
        let number = case.number(version);
        number.is_some_and(|number| is_chosen(number, case.sentence))
    });
    cases.copied().collect()
}
