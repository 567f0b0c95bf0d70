//! Who the user says to be: from flags, the URL, a server of the configuration file, and the environment.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches};
use client::{Secret, reason};
use zeroize::Zeroizing;

use crate::address::{Login, Server};
use crate::stderr::say;

/// Maximum length of a secret: that of a field of MQTT.
const MOST_BYTES: usize = u16::MAX as usize;

/// The flags as parsed. They are hidden so that the help fits a screen; `docs/client.md` explains them.
#[derive(Clone, Debug, clap::Args)]
struct RawCredentialFlags {
    /// The user name
    #[arg(long, hide = true, env = "BROKER_USER", value_name = "NAME")]
    user: Option<String>,
    /// The password, which other users of this machine can see
    #[arg(long, hide = true, conflicts_with_all = ["password_file", "token_file"])]
    password: Option<Secret>,
    /// The file whose first line is the password
    #[arg(long, hide = true, value_name = "FILE", conflicts_with = "token_file")]
    password_file: Option<PathBuf>,
    /// The file whose first line is a token
    #[arg(long, hide = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// What one source says about the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CredentialSettings {
    pub(crate) user: Option<String>,
    pub(crate) secret: Option<SecretSource>,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretSource {
    Password(Secret),
    PasswordFile(PathBuf),
    Token(Secret),
    TokenFile(PathBuf),
}

/// What the flags and the environment say.
#[derive(Clone, Debug, Default)]
pub(crate) struct CredentialArguments {
    typed: CredentialSettings,
    variables: CredentialSettings,
}

impl Args for CredentialArguments {
    fn augment_args(command: clap::Command) -> clap::Command {
        RawCredentialFlags::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for CredentialArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = RawCredentialFlags::from_arg_matches(matches)?;
        let is_typed = matches.value_source("user") == Some(ValueSource::CommandLine);
        let (typed_user, user) = match is_typed {
            true => (flags.user, variable("BROKER_USER").and_then(text)),
            false => (None, flags.user),
        };
        let password = flags.password.map(SecretSource::Password);
        let password = password.or(flags.password_file.map(SecretSource::PasswordFile));
        // No flag takes them: all users of a machine can see the arguments of a program.
        let token = variable("BROKER_TOKEN").map(|bytes| SecretSource::Token(bytes.into()));
        let of_user = variable("BROKER_PASSWORD").map(|it| SecretSource::Password(it.into()));
        Ok(Self {
            typed: CredentialSettings {
                user: typed_user,
                secret: password.or(flags.token_file.map(SecretSource::TokenFile)),
            },
            variables: CredentialSettings {
                user,
                secret: token.or(of_user),
            },
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A variable of the environment, unless it is empty.
fn variable(name: &str) -> Option<Vec<u8>> {
    let value = env::var_os(name)?.into_vec();
    (!value.is_empty()).then_some(value)
}

fn text(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok()
}

impl CredentialArguments {
    /// Who the client is to say it is: a user with a secret, a secret that is a token, or, in MQTT, a user
    /// alone. Asks for a password at a terminal, and warns of what others may read.
    pub(crate) fn login(
        &self,
        server: &Server,
        has_tls: bool,
        in_url: Option<&Login>,
        configured: Option<&CredentialSettings>,
        is_mqtt: bool,
    ) -> Result<Login, String> {
        let in_url = in_url.cloned().unwrap_or_default();
        if in_url.password.as_ref().is_some_and(is_in_arguments) {
            warn_of_argument("a password in a URL");
        }
        if matches!(self.typed.secret, Some(SecretSource::Password(_))) {
            warn_of_argument("--password");
        }
        let in_url = CredentialSettings {
            user: in_url.user,
            secret: in_url.password.map(SecretSource::Password),
        };
        let nothing = CredentialSettings::default();
        let configured = configured.unwrap_or(&nothing);
        let login = chosen([&self.typed, &in_url, configured, &self.variables]);
        let login = login.read(is_mqtt, ask)?;
        if login.password.is_some() && !has_tls && !server.is_local() {
            say(format_args!(
                "client: without TLS, what says who you are can be read on the way to {server}; give \
                 --tls, or tls://HOST:PORT"
            ));
        }
        Ok(login)
    }
}

impl CredentialArguments {
    /// Whether an option says who the client is.
    pub(crate) fn is_typed(&self) -> bool {
        self.typed != CredentialSettings::default()
    }

    /// From now on only the options of this command say something.
    pub(crate) fn forget_variables(&mut self) {
        self.variables = CredentialSettings::default();
    }

    /// The options of this command that are to be typed for the same user.
    pub(crate) fn typed_words(&self) -> Vec<String> {
        let user = self.typed.user.clone().map(|user| ("--user", user));
        let secret = self.typed.secret.as_ref().and_then(|secret| match secret {
            SecretSource::PasswordFile(path) => Some(("--password-file", path)),
            SecretSource::TokenFile(path) => Some(("--token-file", path)),
            SecretSource::Password(_) | SecretSource::Token(_) => None,
        });
        let secret = secret.map(|(flag, path)| (flag, path.display().to_string()));
        let words = [user, secret].into_iter().flatten();
        words
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect()
    }
}

/// The first user and the first secret of these sources. A secret belongs to the user that its source
/// names, and is none of another.
fn chosen(sources: [&CredentialSettings; 4]) -> CredentialSettings {
    let user = sources.iter().find_map(|source| source.user.clone());
    let is_of_user = |source: &&&CredentialSettings| source.user.is_none() || source.user == user;
    let mut of_user = sources.iter().filter(is_of_user);
    let secret = of_user.find_map(|source| source.secret.clone());
    CredentialSettings { user, secret }
}

impl CredentialSettings {
    /// The keys of the configuration file that say something.
    pub(crate) fn keys(&self) -> Vec<&'static str> {
        let secret = self.secret.as_ref().map(|secret| match secret {
            SecretSource::Password(_) => "password",
            SecretSource::PasswordFile(_) => "password-file",
            SecretSource::Token(_) => "token",
            SecretSource::TokenFile(_) => "token-file",
        });
        let user = self.user.as_ref().map(|_| "user");
        [user, secret].into_iter().flatten().collect()
    }

    fn read(
        self,
        is_mqtt: bool,
        ask: impl FnOnce(&str) -> Result<Option<Secret>, io::Error>,
    ) -> Result<Login, String> {
        let user = self.user;
        let (is_token, secret) = match self.secret {
            Some(SecretSource::Password(secret)) => (false, Some(secret)),
            Some(SecretSource::PasswordFile(path)) => (false, Some(first_line(&path)?)),
            Some(SecretSource::Token(secret)) => (true, Some(secret)),
            Some(SecretSource::TokenFile(path)) => (true, Some(first_line(&path)?)),
            None => (false, None),
        };
        match (user, secret) {
            (None, None) => Ok(Login::default()),
            // A CONNECT of 3.1.1 with a password has a user name, too.
            (user, Some(token)) if is_token => Ok(Login {
                user: user.or_else(|| is_mqtt.then(String::new)),
                password: Some(token),
            }),
            (None, Some(_)) => Err(
                "a password belongs to a user; give --user NAME, or a token with --token-file FILE"
                    .to_owned(),
            ),
            (Some(user), None) => match ask(&user) {
                Ok(password) => Ok(Login {
                    user: Some(user),
                    password,
                }),
                // A broker of MQTT may know users without passwords.
                Err(_) if is_mqtt => Ok(Login {
                    user: Some(user),
                    password: None,
                }),
                Err(why) => Err(format!(
                    "there is no terminal to ask at for the password of {} ({}); give \
                     --password-file FILE, or BROKER_PASSWORD",
                    // One may have typed the password behind it, as in a URL.
                    user.split(':').next().unwrap_or_default(),
                    reason(&why)
                )),
            },
            (user @ Some(_), password) => Ok(Login { user, password }),
        }
    }
}

/// The password that the user types at the terminal; `None` if it is empty.
fn ask(user: &str) -> Result<Option<Secret>, io::Error> {
    let prompt = format!("Password for {}: ", crate::visible::line(user));
    let typed = Zeroizing::new(rpassword::prompt_password(prompt)?);
    Ok((!typed.is_empty()).then(|| typed.as_str().into()))
}

/// The first line of a file, without its end.
fn first_line(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    // Room for more than is taken, so that no copy is left behind by growth.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 3));
    let read =
        File::open(path).and_then(|file| file.take(MOST_BYTES as u64 + 2).read_to_end(&mut bytes));
    read.map_err(|why| format!("cannot read {shown} ({})", reason(&why)))?;
    let line = bytes
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.len() {
        0 => Err(format!(
            "the first line of {shown} is empty; write the secret there"
        )),
        1..=MOST_BYTES => Ok(line.to_vec().into()),
        _ => Err(format!(
            "the first line of {shown} is too long for a secret"
        )),
    }
}

/// Whether this password of a URL is typed, and not from a variable or a file.
fn is_in_arguments(password: &Secret) -> bool {
    let inside = Zeroizing::new([b":", password.as_bytes(), b"@"].concat());
    env::args_os().any(|word| {
        let word = word.as_bytes();
        word.windows(inside.len()).any(|part| part == &inside[..])
    })
}

fn warn_of_argument(what: &str) {
    say(format_args!(
        "client: all users of this machine can see {what}; give --password-file FILE, or \
         BROKER_PASSWORD, or have it asked for with --user NAME alone"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(user: Option<&str>, secret: Option<SecretSource>) -> CredentialSettings {
        let user = user.map(str::to_owned);
        CredentialSettings { user, secret }
    }

    fn password(text: &str) -> Option<SecretSource> {
        Some(SecretSource::Password(text.into()))
    }

    fn no_terminal(_: &str) -> Result<Option<Secret>, io::Error> {
        Err(io::ErrorKind::NotFound.into())
    }

    #[test]
    fn a_secret_is_never_shown_for_another_user_than_its_own() {
        let nothing = settings(None, None);
        let bob = settings(Some("bob"), password("of bob"));
        let open = settings(None, password("of any"));
        let ann = settings(Some("ann"), None);
        for (sources, expected) in [
            (
                [&ann, &nothing, &nothing, &bob],
                settings(Some("ann"), None),
            ),
            (
                [&ann, &nothing, &bob, &open],
                settings(Some("ann"), password("of any")),
            ),
            ([&nothing, &nothing, &bob, &open], bob.clone()),
            (
                [&open, &nothing, &nothing, &bob],
                settings(Some("bob"), password("of any")),
            ),
        ] {
            assert_eq!(chosen(sources), expected);
        }
    }

    #[test]
    fn a_user_without_a_secret_is_asked_for_it_and_a_password_wants_a_user() {
        let typed = |_: &str| Ok(Some("typed".into()));
        let asked = settings(Some("ann"), None)
            .read(false, typed)
            .expect("a password");
        assert_eq!(asked.password, Some("typed".into()));
        let without = |is_mqtt| settings(Some("ann"), None).read(is_mqtt, no_terminal);
        assert!(
            without(false)
                .expect_err("no terminal")
                .contains("--password-file")
        );
        assert_eq!(without(true).expect("a name").password, None);
        for is_mqtt in [false, true] {
            let nameless = settings(None, password("x")).read(is_mqtt, no_terminal);
            assert!(nameless.expect_err("no user").contains("--user NAME"));
        }
    }

    #[test]
    fn a_token_needs_no_user() {
        let token = || settings(None, Some(SecretSource::Token("dlt_a_b".into())));
        let user = |is_mqtt| token().read(is_mqtt, no_terminal).expect("a token").user;
        assert_eq!(user(false), None);
        assert_eq!(user(true).as_deref(), Some(""));
    }

    #[test]
    fn a_secret_is_the_first_line_without_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("room");
            first_line(&path)
        };
        for text in ["a b ", "a b \n", "a b \r\n", "a b \nsecond\n"] {
            assert_eq!(read(text), Ok("a b ".into()), "{text:?}");
        }
        for text in ["", "\n", "\nsecond"] {
            assert!(read(text).expect_err("no secret").contains("is empty"));
        }
        assert!(read(&"x".repeat(MOST_BYTES + 1)).is_err());
        assert!(
            first_line(Path::new("/nonexistent"))
                .expect_err("no file")
                .contains("cannot read")
        );
    }
}
