//! The configuration file: names for servers, what belongs to each of them, and the default server.
//!
//! It is read only if a command needs it: a mistake in it does not affect a command line that names
//! its server.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use client::Secret;
use command_line::shell_word;
use serde::Deserialize;
use toml::Spanned;

use crate::address;
use crate::credentials::{CredentialSettings, SecretSource};
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
    pub(crate) credential: CredentialSettings,
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
    user: Option<String>,
    password: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    token: Option<Spanned<String>>,
    token_file: Option<Spanned<PathBuf>>,
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
        let (text, is_private) = match read(path) {
            Ok(read) => read,
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
        let place = FilePlace {
            path,
            folder,
            is_private,
        };
        Self::parse(&text, place, check)
            .map(Some)
            .map_err(|mistake| ConfigurationError::Mistake {
                path: path.to_owned(),
                mistake,
            })
    }

    fn parse(
        text: &str,
        place: FilePlace<'_>,
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
                let shown = address::without_password(url.get_ref());
                let why = format!("{shown:?} is not a server: {why}");
                return Err(mistake(Some(url.span()), why));
            }
            let checked = server.checked(place);
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

/// The text of the file, and whether its owner alone may read and write it.
fn read(path: &Path) -> io::Result<(String, bool)> {
    let mut file = File::open(path)?;
    let is_private = file.metadata()?.permissions().mode().trailing_zeros() >= 6;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, is_private))
}

/// The file that is read.
#[derive(Clone, Copy, Debug)]
struct FilePlace<'a> {
    path: &'a Path,
    /// Files that it names are looked for here, unless their paths are absolute.
    folder: &'a Path,
    /// Whether its owner alone may read and write it.
    is_private: bool,
}

impl RawServer {
    /// The error has the place of the mistake.
    fn checked(self, place: FilePlace<'_>) -> Result<ConfiguredServer, (Range<usize>, String)> {
        let path = |path: Option<PathBuf>| path.map(|path| place.folder.join(path));
        let credential = CredentialSettings {
            secret: self.secret(place)?,
            user: self.user,
        };
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
            credential,
        })
    }

    fn secret(&self, place: FilePlace<'_>) -> Result<Option<SecretSource>, (Range<usize>, String)> {
        let in_file = |secret: &Option<Spanned<String>>, of: fn(Secret) -> SecretSource| {
            let secret = secret.as_ref()?;
            Some((secret.span(), true, of(secret.get_ref().as_str().into())))
        };
        let beside = |path: &Option<Spanned<PathBuf>>, of: fn(PathBuf) -> SecretSource| {
            let path = path.as_ref()?;
            Some((path.span(), false, of(place.folder.join(path.get_ref()))))
        };
        let mut given = [
            in_file(&self.password, SecretSource::Password),
            beside(&self.password_file, SecretSource::PasswordFile),
            in_file(&self.token, SecretSource::Token),
            beside(&self.token_file, SecretSource::TokenFile),
        ]
        .into_iter()
        .flatten();
        let Some((span, is_secret, source)) = given.next() else {
            return Ok(None);
        };
        if let Some((other, ..)) = given.next() {
            let why = "a server has one secret, a password or a token, here or in a file";
            return Err((other, why.to_owned()));
        }
        if is_secret && !place.is_private {
            let path = shell_word(place.path);
            let why = format!("other users may read this secret; type: chmod 600 {path}");
            return Err((span, why));
        }
        Ok(Some(source))
    }
}

impl ConfiguredServer {
    /// The names of the keys that are given beside the URL.
    pub(crate) fn keys(&self) -> Vec<&'static str> {
        [self.tls.keys(), self.credential.keys()].concat()
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
        parsed_with(text, false)
    }

    fn parsed_with(text: &str, is_private: bool) -> Result<Configuration, Mistake> {
        let place = FilePlace {
            path: Path::new("/home/ann/my client.toml"),
            folder: Path::new("/home/ann"),
            is_private,
        };
        Configuration::parse(text, place, check)
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

    #[test]
    fn a_secret_is_taken_only_from_a_file_that_others_cannot_read() {
        let text = "[servers.a]\nurl = \"a\"\nuser = \"ann\"\npassword = \"hunter2\"\n";
        let mistake = parsed(text).expect_err("others may read it");
        assert_eq!(mistake.line, 4);
        let advice = "type: chmod 600 '/home/ann/my client.toml'";
        assert!(mistake.why.ends_with(advice), "{mistake:?}");
        let mut servers = parsed_with(text, true).expect("a private file").servers;
        let server = servers.remove("a").expect("it is there");
        assert_eq!(server.keys(), ["user", "password"]);
        assert!(!format!("{server:?}").contains("hunter2"));
        let both = format!("{text}token-file = \"t\"\n");
        let mistake = parsed_with(&both, true).expect_err("two secrets");
        assert_eq!(mistake.line, 5);
        let beside = "[servers.a]\nurl = \"a\"\ntoken-file = \"t\"\n";
        let server = parsed(beside).expect("no secret").servers.remove("a");
        let secret = server.expect("it is there").credential.secret;
        assert_eq!(secret, Some(SecretSource::TokenFile("/home/ann/t".into())));
    }
}
