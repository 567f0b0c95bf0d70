//! The configuration file: names for servers, and the default server.
//!
//! It is read only if a command needs it: a mistake in it does not affect a command line that names
//! its server.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

/// An example of the file.
pub(crate) const EXAMPLE: &str = "\
default = \"home\"

[servers.home]
url = \"localhost\"

[servers.work]
url = \"dallal://broker.example.org:1373\"
";

/// The contents of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Configuration {
    /// URLs by name. Whether a URL is valid depends on the command.
    pub(crate) servers: BTreeMap<String, String>,
    pub(crate) default: Option<String>,
}

/// The file as deserialized, before it is checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    default: Option<Spanned<String>>,
    #[serde(default)]
    servers: BTreeMap<String, RawServer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    url: Spanned<String>,
}

/// Why the configuration, or one server in it, cannot be used.
#[derive(Debug)]
pub(crate) enum ConfigurationError {
    /// Neither variable names the user's folder.
    NoHome,
    Unreadable {
        path: PathBuf,
        why: io::Error,
    },
    Mistake {
        path: PathBuf,
        mistake: Mistake,
    },
    NoSuchServer {
        path: PathBuf,
        name: String,
        known: Vec<String>,
    },
}

/// A mistake in the file, and its line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    line: usize,
    why: String,
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHome => write!(
                f,
                "the folder of the configuration file is not known; set HOME or XDG_CONFIG_HOME"
            ),
            Self::Unreadable { path, why } => write!(f, "cannot read {} ({why})", path.display()),
            Self::Mistake {
                path,
                mistake: Mistake { line, why },
            } => write!(
                f,
                "{}, line {line}: {why}; correct it there, `client config` shows an example",
                path.display()
            ),
            Self::NoSuchServer { path, name, known } => {
                write!(f, "{} has no server {name:?}", path.display())?;
                match &known[..] {
                    [] => write!(f, "; `client config` shows how to give names to servers"),
                    known => write!(f, "; it has {}", known.join(", ")),
                }
            }
        }
    }
}

/// The path of the file, whether it exists or not.
pub(crate) fn path() -> Result<PathBuf, ConfigurationError> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|it| it.is_absolute())
    };
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    let folder = folder.ok_or(ConfigurationError::NoHome)?;
    Ok(folder.join("dallal/client.toml"))
}

impl Configuration {
    /// Reads the file; `None` if it does not exist. `check` validates a URL.
    pub(crate) fn read(
        path: &Path,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Option<Self>, ConfigurationError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            // A file in the place of a folder on the path means that the file does not exist
            // either.
            Err(why)
                if matches!(
                    why.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(why) => {
                let path = path.to_owned();
                return Err(ConfigurationError::Unreadable { path, why });
            }
        };
        Self::parse(&text, check)
            .map(Some)
            .map_err(|mistake| ConfigurationError::Mistake {
                path: path.to_owned(),
                mistake,
            })
    }

    fn parse(text: &str, check: impl Fn(&str) -> Result<(), String>) -> Result<Self, Mistake> {
        let mistake = |span: Option<Range<usize>>, why: String| {
            let at = span.map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text.as_bytes()[..at]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            Mistake { line, why }
        };
        let raw: RawFile = toml::from_str(text).map_err(|error| {
            // The text becomes part of a sentence on one line.
            mistake(error.span(), error.message().replace('\n', ", "))
        })?;
        if let Some(default) = &raw.default
            && !raw.servers.contains_key(default.get_ref())
        {
            let why = format!("there is no [servers.{}]", default.get_ref());
            return Err(mistake(Some(default.span()), why));
        }
        for RawServer { url } in raw.servers.values() {
            if let Err(why) = check(url.get_ref()) {
                let why = format!("{:?} is not a server: {why}", url.get_ref());
                return Err(mistake(Some(url.span()), why));
            }
        }
        let servers = raw.servers.into_iter();
        Ok(Self {
            servers: servers
                .map(|(name, server)| (name, server.url.into_inner()))
                .collect(),
            default: raw.default.map(Spanned::into_inner),
        })
    }

    /// The URL of the server with this name.
    pub(crate) fn find(
        name: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<String, ConfigurationError> {
        let path = path()?;
        let mut servers = Self::read(&path, check)?.map_or_else(BTreeMap::new, |it| it.servers);
        servers
            .remove(name)
            .ok_or_else(|| ConfigurationError::NoSuchServer {
                path,
                name: name.to_owned(),
                known: servers.into_keys().collect(),
            })
    }

    /// The URL of the default server, if the file has one.
    pub(crate) fn find_default(
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Option<String>, ConfigurationError> {
        // Without a folder for the file there is no default.
        let Ok(path) = path() else {
            return Ok(None);
        };
        let found = Self::read(&path, check)?;
        Ok(found.and_then(|mut it| it.servers.remove(&it.default?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str) -> Result<(), String> {
        match url {
            "bad" => Err("give HOST:PORT".to_owned()),
            _ => Ok(()),
        }
    }

    fn parsed(text: &str) -> Result<Configuration, Mistake> {
        Configuration::parse(text, check)
    }

    #[test]
    fn the_example_is_understood() {
        let example = parsed(EXAMPLE).expect("the example");
        assert_eq!(example.default.as_deref(), Some("home"));
        let names: Vec<_> = example.servers.into_keys().collect();
        assert_eq!(names, ["home", "work"]);
        let commented: String = EXAMPLE.lines().map(|line| format!("# {line}\n")).collect();
        assert!(parsed(&commented).is_ok());
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        for (text, line, why) in [
            ("default = home\n", 1, ""),
            ("\ndefault = \"home\"\n", 2, "there is no [servers.home]"),
            (
                "[servers.a]\nulr = \"x\"\n",
                2,
                "unknown field `ulr`, expected `url`",
            ),
            ("x = 1\n", 1, "unknown field `x`"),
            (
                "[servers.a]\n\nurl = \"bad\"\n",
                3,
                "\"bad\" is not a server: give HOST:PORT",
            ),
            ("[servers.a]\n", 1, "missing field `url`"),
            ("\n[servers.a]\nurl = 1\n", 3, "expected a string"),
            ("[servers.a\n", 1, ""),
        ] {
            let mistake = parsed(text).expect_err(text);
            assert_eq!(mistake.line, line, "{text}: {mistake:?}");
            assert!(mistake.why.contains(why), "{text}: {mistake:?}");
            assert!(
                !mistake.why.is_empty() && !mistake.why.contains('\n'),
                "{mistake:?}"
            );
        }
    }
}
