//! The configuration file: names for servers, what belongs to each of them, and the default server.
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

use crate::tls_flags::TlsSettings;

/// An example of the file.
pub(crate) const EXAMPLE: &str = "\
default = \"home\"

[servers.home]
url = \"localhost\"

[servers.work]
url = \"tls://broker.example.org:1373\"
ca = \"work-ca.pem\"
";

/// The contents of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Configuration {
    /// The servers by name.
    pub(crate) servers: BTreeMap<String, ConfiguredServer>,
    pub(crate) default: Option<String>,
}

/// What the file says of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfiguredServer {
    /// Whether a URL is valid depends on the command.
    pub(crate) url: String,
    pub(crate) tls: TlsSettings,
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
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawServer {
    url: Spanned<String>,
    #[serde(default)]
    tls: bool,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    fingerprint: Option<Spanned<String>>,
    server_name: Option<String>,
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
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder, check)
            .map(Some)
            .map_err(|mistake| ConfigurationError::Mistake {
                path: path.to_owned(),
                mistake,
            })
    }

    /// Files that the text names are looked for in `folder`, unless their paths are absolute.
    fn parse(
        text: &str,
        folder: &Path,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Self, Mistake> {
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
        let mut servers = BTreeMap::new();
        for (name, server) in raw.servers {
            let url = &server.url;
            if let Err(why) = check(url.get_ref()) {
                let why = format!("{:?} is not a server: {why}", url.get_ref());
                return Err(mistake(Some(url.span()), why));
            }
            let checked = server.checked(folder);
            servers.insert(
                name,
                checked.map_err(|(span, why)| mistake(Some(span), why))?,
            );
        }
        Ok(Self {
            servers,
            default: raw.default.map(Spanned::into_inner),
        })
    }

    /// The server with this name.
    pub(crate) fn find(
        name: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<ConfiguredServer, ConfigurationError> {
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

    /// The default server, if the file has one.
    pub(crate) fn find_default(
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Option<ConfiguredServer>, ConfigurationError> {
        // Without a folder for the file there is no default.
        let Ok(path) = path() else {
            return Ok(None);
        };
        let found = Self::read(&path, check)?;
        Ok(found.and_then(|mut it| it.servers.remove(&it.default?)))
    }
}

impl RawServer {
    /// The error has the place of the mistake.
    fn checked(self, folder: &Path) -> Result<ConfiguredServer, (Range<usize>, String)> {
        let path = |path: Option<PathBuf>| path.map(|path| folder.join(path));
        let fingerprint = self.fingerprint.map(|text| {
            let parsed = text.get_ref().parse();
            parsed.map_err(|why: String| (text.span(), format!("a fingerprint: {why}")))
        });
        Ok(ConfiguredServer {
            url: self.url.into_inner(),
            tls: TlsSettings {
                is_on: self.tls,
                ca: path(self.ca),
                cert: path(self.cert),
                key: path(self.key),
                fingerprint: fingerprint.transpose()?,
                server_name: self.server_name,
            },
        })
    }
}

impl ConfiguredServer {
    /// The names of the keys that are given beside the URL.
    pub(crate) fn keys(&self) -> Vec<&'static str> {
        self.tls.keys()
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
        Configuration::parse(text, Path::new("/home/ann"), check)
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
                "unknown field `ulr`, expected one of `url`",
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
            (
                "[servers.a]\nurl = \"x\"\nfingerprint = \"AB\"\n",
                3,
                "a fingerprint: give the 64 hexadecimal digits",
            ),
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

    #[test]
    fn a_file_that_belongs_to_a_server_is_looked_for_beside_the_configuration() {
        let text =
            "[servers.a]\nurl = \"a\"\nca = \"ca.pem\"\ncert = \"/c.pem\"\nserver-name = \"b\"\n";
        let server = parsed(text).expect("no mistake").servers.remove("a");
        let server = server.expect("it is there");
        assert_eq!(server.keys(), ["ca", "cert", "server-name"]);
        assert_eq!(server.tls.ca, Some("/home/ann/ca.pem".into()));
        assert_eq!(server.tls.cert, Some("/c.pem".into()));
    }
}
