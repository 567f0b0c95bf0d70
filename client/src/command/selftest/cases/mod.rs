//! The table: every statement of the standard that can be checked from outside.

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

/// Mostly in the order of the standard.
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

/// The cases of a version whose number or sentence contains one of `patterns`, or all if there are
/// none.
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
