//! The configuration file: each flag with a value is a key of the same name, with the same units.
//!
//! The flags are the one source: which keys there are, and which values they take, is asked of them.
//! All mistakes of a file are found, and each is told with its place.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// The key that names further files.
const INCLUDE: &str = "include";

/// Maximum depth of files that include others.
const MOST_DEPTH: usize = 8;

/// What the files set.
#[derive(Debug, Default)]
pub(super) struct FileSettings {
    /// By the name of the flag.
    pub(super) settings: BTreeMap<String, Setting>,
}

/// A value in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// As one would type them behind the flag; several for a list.
    pub(super) values: Vec<String>,
    /// `FILE:LINE`.
    pub(super) place: String,
}

/// Reads a file and those that it includes. `command` has the flags.
pub(super) fn read(path: &Path, command: &Command) -> Result<FileSettings, Vec<String>> {
    let mut reader = FileReader {
        command,
        found: FileSettings::default(),
        mistakes: Vec::new(),
        open: Vec::new(),
    };
    reader.read(path, None);
    match reader.mistakes.is_empty() {
        true => Ok(reader.found),
        false => Err(reader.mistakes),
    }
}

/// Whether a flag is a key of the file.
pub(super) fn is_setting(flag: &Arg) -> bool {
    flag.get_action().takes_values() && flag.get_long().is_some() && flag.get_id() != "config"
}

/// Whether a flag is true or false.
pub(super) fn takes_bool(flag: &Arg) -> bool {
    flag.get_value_parser().type_id() == TypeId::of::<bool>()
}

/// Whether the values of a flag are numbers without a unit.
pub(super) fn takes_number(flag: &Arg) -> bool {
    let kind = flag.get_value_parser().type_id();
    let is = |number| kind == number;
    is(TypeId::of::<u16>()) || is(TypeId::of::<u64>()) || is(TypeId::of::<usize>())
}

struct FileReader<'a> {
    command: &'a Command,
    found: FileSettings,
    mistakes: Vec<String>,
    /// The files that are being read, each included by the one before.
    open: Vec<PathBuf>,
}

/// Where a mistake is, and what it is.
type Mistake = (Range<usize>, String);

/// The text of one file, for the places in it.
struct FileText<'a> {
    path: &'a Path,
    text: &'a str,
}

impl FileText<'_> {
    /// The line and the column, counted from one, of a byte. Columns count characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(at)];
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[start..].chars().count() + 1)
    }

    fn mistake(&self, span: Range<usize>, why: &str) -> String {
        let (line, column) = self.position(span.start);
        format!("{}:{line}:{column}: {why}", self.path.display())
    }
}

impl FileReader<'_> {
    /// Reads one file. `asked_at` is where another one includes it.
    fn read(&mut self, path: &Path, asked_at: Option<&str>) {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(why) => {
                let place = asked_at.map_or(String::new(), |place| format!("{place}: "));
                let path = path.display();
                return self
                    .mistakes
                    .push(format!("{place}{path} cannot be read: {why}"));
            }
        };
        self.open.push(path.to_owned());
        let file = FileText { path, text: &text };
        let mut mistakes = Vec::new();
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            mistakes.push((error.span().unwrap_or_default(), error.message().to_owned()));
        }
        // Those that are included first: what stands here counts more.
        for (key, value) in table.get_ref() {
            if key.get_ref() == INCLUDE {
                self.include(&file, value, &mut mistakes);
            }
        }
        for (key, value) in table.get_ref() {
            if key.get_ref() != INCLUDE {
                let set = self.set(&file, key, value);
                mistakes.extend(set);
            }
        }
        // In the order of the file: the table has its keys in another.
        mistakes.sort_by_key(|(span, _)| span.start);
        let told = mistakes
            .into_iter()
            .map(|(span, why)| file.mistake(span, &why));
        self.mistakes.extend(told);
        self.open.pop();
    }

    fn include(
        &mut self,
        file: &FileText<'_>,
        value: &Spanned<DeValue<'_>>,
        mistakes: &mut Vec<Mistake>,
    ) {
        let names = match value.get_ref() {
            DeValue::Array(names) => names.iter().collect(),
            _ => vec![value],
        };
        for name in names {
            let DeValue::String(text) = name.get_ref() else {
                let why = "`include` is the name of a file, or a list of names, in quotes";
                mistakes.push((name.span(), why.to_owned()));
                continue;
            };
            let folder = file.path.parent().unwrap_or(Path::new("."));
            let path = folder.join(text.as_ref());
            let problem = if self.open.contains(&path) {
                Some(format!("{} includes itself", path.display()))
            } else if self.open.len() >= MOST_DEPTH {
                Some(format!(
                    "files include each other {MOST_DEPTH} deep, the most"
                ))
            } else {
                None
            };
            match problem {
                Some(why) => mistakes.push((name.span(), why)),
                None => {
                    let (line, column) = file.position(name.span().start);
                    let place = format!("{}:{line}:{column}", file.path.display());
                    self.read(&path, Some(&place));
                }
            }
        }
    }

    /// Sets a key. Returns the mistakes in it.
    fn set(
        &mut self,
        file: &FileText<'_>,
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Vec<Mistake> {
        let (key, at) = (key.get_ref().as_ref(), key.span());
        let mut flags = self.command.get_arguments();
        let flag = flags.find(|flag| flag.get_long() == Some(key) && is_setting(flag));
        let Some(flag) = flag else {
            return vec![(at, unknown(self.command, key))];
        };
        let is_list = matches!(flag.get_action(), ArgAction::Append);
        let elements = match value.get_ref() {
            DeValue::Array(elements) if is_list => elements.iter().collect(),
            _ => vec![value],
        };
        let (mut values, mut mistakes) = (Vec::new(), Vec::new());
        for element in elements {
            match value_of(self.command, flag, key, element.get_ref()) {
                Ok(text) => values.push(text),
                Err(why) => mistakes.push((element.span(), why)),
            }
        }
        let (line, _) = file.position(at.start);
        let place = format!("{}:{line}", file.path.display());
        let setting = Setting { values, place };
        self.found.settings.insert(key.to_owned(), setting);
        mistakes
    }
}

/// Why a key is none, with the nearest right one.
fn unknown(command: &Command, key: &str) -> String {
    let nearest = nearest(command, key);
    let advice = nearest.map_or(String::new(), |nearest| format!("; `{nearest}` is one"));
    format!("there is no key `{key}`{advice}")
}

/// The flag that is nearest to a misspelt one.
fn nearest(command: &Command, key: &str) -> Option<String> {
    let flag = format!("--{}", key.replace('_', "-").to_lowercase());
    let is_one = |name: &str| {
        let mut flags = command.get_arguments();
        flags.any(|flag| flag.get_long() == Some(name) && is_setting(flag))
    };
    if is_one(&flag[2..]) {
        return Some(flag[2..].to_owned());
    }
    let error = command
        .clone()
        .try_get_matches_from(["broker", &flag])
        .err()?;
    let found = match error.get(ContextKind::SuggestedArg)? {
        ContextValue::String(found) => found.strip_prefix("--")?.to_owned(),
        ContextValue::Strings(found) => found.first()?.strip_prefix("--")?.to_owned(),
        _ => return None,
    };
    is_one(&found).then_some(found)
}

/// A value as one would type it behind the flag, if the flag takes it.
fn value_of(
    command: &Command,
    flag: &Arg,
    key: &str,
    value: &DeValue<'_>,
) -> Result<String, String> {
    let kind = flag.get_value_parser().type_id();
    let (is_number, is_bool) = (takes_number(flag), takes_bool(flag));
    let text = match value {
        DeValue::Boolean(value) if is_bool => value.to_string(),
        DeValue::String(text) if !is_number && !is_bool => text.to_string(),
        DeValue::Integer(number) if is_number || kind == TypeId::of::<ByteSize>() => {
            let value = i64::from_str_radix(number.as_str(), number.radix());
            value.map_or_else(|_| number.as_str().to_owned(), |value| value.to_string())
        }
        DeValue::Integer(number) if kind == TypeId::of::<Duration>() => {
            let number = number.as_str();
            return Err(format!(
                "`{key}` is a time with its unit, such as \"{number}s\""
            ));
        }
        other => {
            let wanted = if is_bool {
                "true or false without quotes"
            } else if is_number {
                "a whole number without quotes"
            } else {
                "a text in quotes"
            };
            return Err(format!("`{key}` is {wanted}, not {}", named(other)));
        }
    };
    check(command, key, &text)?;
    Ok(text)
}

/// A value that is of the wrong type.
fn named(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Whether the flag takes this value.
fn check(command: &Command, key: &str, value: &str) -> Result<(), String> {
    let typed = ["broker".to_owned(), format!("--{key}={value}")];
    let Err(error) = command.clone().try_get_matches_from(typed) else {
        return Ok(());
    };
    let source = std::error::Error::source(&error).map(ToString::to_string);
    let why = source.unwrap_or_else(|| error.kind().to_string());
    Err(format!("`{key}` cannot be {value:?}: {why}"))
}
