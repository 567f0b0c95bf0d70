//! The configuration as a file: what is in force, with the source of each value, and an example with all
//! defaults.

use std::fmt::Write;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::file::{FileSettings, is_setting, takes_bool, takes_number};

/// What is in force: each key with its value, and behind it where that comes from. It can be used as a file.
pub(super) fn in_force(command: &Command, matches: &ArgMatches, files: &FileSettings) -> String {
    let mut text = String::new();
    for flag in command.get_arguments().filter(|flag| is_setting(flag)) {
        let key = flag.get_long().unwrap_or_default();
        let values = matches.get_raw(flag.get_id().as_str());
        let values: Vec<String> = values
            .into_iter()
            .flatten()
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        let source = match matches.value_source(flag.get_id().as_str()) {
            Some(ValueSource::CommandLine) => format!("--{key}"),
            Some(ValueSource::EnvVariable) => variable(flag),
            _ => match files.settings.get(key) {
                Some(setting) => setting.place.clone(),
                None => "default".to_owned(),
            },
        };
        let _ = match values[..] {
            [] => writeln!(text, "# {key} is not set{}", unset(flag)),
            _ => writeln!(text, "{key} = {}  # {source}", toml(flag, &values)),
        };
    }
    text
}

/// A file with each key, what it means, and its default, all as comments.
pub(super) fn example(command: &Command) -> String {
    let mut text = "\
# The configuration of the broker: each flag is a key. A flag and a variable of the environment count more.
# Below stand the defaults.

# Files to read first. A key of this file replaces the same key of theirs.
#include = []
"
    .to_owned();
    for flag in command.get_arguments().filter(|flag| is_setting(flag)) {
        let key = flag.get_long().unwrap_or_default();
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        let defaults = flag.get_default_values().iter();
        let defaults: Vec<String> = defaults
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        let _ = write!(text, "\n# {help}\n");
        let _ = match (&defaults[..], flag.get_action()) {
            ([], ArgAction::Append) => writeln!(text, "#{key} = []"),
            ([], _) => writeln!(text, "#{key} ="),
            _ => writeln!(text, "#{key} = {}", toml(flag, &defaults)),
        };
    }
    text
}

fn variable(flag: &Arg) -> String {
    let name = flag.get_env().map(|name| name.to_string_lossy());
    name.unwrap_or_default().into_owned()
}

/// What holds for a flag without a value, as its help says.
fn unset(flag: &Arg) -> String {
    let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
    let default = help
        .split_once("[default: ")
        .and_then(|(_, rest)| rest.strip_suffix(']'));
    default.map_or(String::new(), |default| format!(": {default}"))
}

/// The values of a flag in the file.
fn toml(flag: &Arg, values: &[String]) -> String {
    let value = |text: &String| match takes_number(flag) || takes_bool(flag) {
        true => text.clone(),
        // A JSON string is one of TOML as well.
        false => serde_json::to_string(text).expect("texts are valid JSON"),
    };
    match (flag.get_action(), values) {
        (ArgAction::Append, _) => {
            let values: Vec<String> = values.iter().map(value).collect();
            format!("[{}]", values.join(", "))
        }
        (_, [only]) => value(only),
        _ => String::new(),
    }
}
