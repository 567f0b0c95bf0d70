//! Exit codes and failures, the same for every command.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use client::TlsFailure::Untrusted;
use client::{Distrust, Error, Refusal, TlsError, TlsFailure, Verb};

use crate::address;
use crate::stderr::say;

/// The codes as shown by `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0 done   1 refused or failed   2 wrong usage   3 no connection   4 not allowed
  6 not authenticated   124 timed out   130 interrupted";

/// The codes of `publish`.
pub(crate) const PUBLISH_HELP: &str = "\
Exit codes:
  0 done   1 refused or failed   2 wrong usage   3 no connection   4 not allowed
  6 not authenticated   8 published, but less safe than --ack   130 interrupted";

/// The codes of `bench`, which has one of its own.
pub(crate) const BENCH_HELP: &str = "\
Exit codes:
  0 done   1 failed   2 wrong usage   3 no connection   6 not authenticated
  7 lost, doubled or reordered   8 less safe than --ack   130 interrupted";

/// The codes of `audit`.
pub(crate) const AUDIT_HELP: &str = "\
Exit codes:
  0 the ledger balances   1 refused or failed   2 wrong usage   3 no connection
  4 not allowed   6 not authenticated   7 the ledger does not balance
  130 interrupted";

/// The codes of `request`.
pub(crate) const REQUEST_HELP: &str = "\
Exit codes:
  0 done   1 failed, or the answer is an error   2 wrong usage   3 no connection
  4 not allowed   5 no answer   6 not authenticated   130 interrupted";

/// The codes of `why`.
pub(crate) const WHY_HELP: &str = "\
Exit codes:
  0 it has a subscriber   1 none, or it failed   2 wrong usage   3 no connection
  4 not allowed   6 not authenticated   130 interrupted";

/// The codes of `may`.
pub(crate) const MAY_HELP: &str = "\
Exit codes:
  0 allowed   1 the question has no answer, or it failed   2 wrong usage
  3 no connection   4 not allowed   6 not authenticated   130 interrupted";

/// The exit code of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    /// The broker refused it or did not answer, something failed locally, `why` found no
    /// subscriber, or `reload` errors.
    Failed = 1,
    /// The code that `clap` uses.
    Usage = 2,
    /// There is no connection to a broker, or it was lost.
    NoConnection = 3,
    /// The broker does not permit it to this client.
    Denied = 4,
    /// A request got no answer.
    Unanswered = 5,
    /// The broker does not know who this client is, or what it has shown is wrong or over.
    Unauthenticated = 6,
    /// `bench` found messages lost, doubled or reordered, or `audit` a ledger that does not balance.
    Astray = 7,
    /// `publish` or `bench` has published, but what it published is less safe than was asked for.
    LessSafe = 8,
    /// The code of `timeout(1)`.
    TimedOut = 124,
    /// The code of a shell for Ctrl-C. After another signal the program ends by that signal.
    Interrupted = 130,
}

impl Exit {
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Refused(refusal) | Error::NotInquirable { refusal, .. } => {
                Self::of_refusal(refusal)
            }
            Error::Interrupted => Self::Interrupted,
            Error::BadTopic(_) | Error::BadFilter(_) | Error::BadName(_) => Self::Usage,
            Error::NobodyListens | Error::NobodyAnswered { .. } => Self::Unanswered,
            Error::OtherServer { .. } | Error::Tls(_) => Self::NoConnection,
            _ if error.is_disconnect() => Self::NoConnection,
            _ => Self::Failed,
        }
    }

    pub(crate) fn of_refusal(refusal: &Refusal) -> Self {
        if refusal.is_denied() {
            Self::Denied
        } else if refusal.is_auth() {
            Self::Unauthenticated
        } else {
            Self::Failed
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure with its text for the user.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    /// Empty if there is nothing to print.
    text: String,
}

impl Failure {
    /// What failed, and why.
    pub(crate) fn new(exit: Exit, what: &str, why: impl Display) -> Self {
        let text = format!("{what}: {why}");
        Self { exit, text }
    }

    /// What failed, why, and what to do about it.
    pub(crate) fn of(error: &Error, what: &str) -> Self {
        let advice = match error {
            Error::Tls(why) => return Self::of_tls(why, what),
            _ if error.is_for_want_of_tls() => {
                "; give --tls, or tls://HOST:PORT, mqtts:// or wss://"
            }
            Error::Unreachable { server, why } => unreachable_advice(server, why),
            Error::NotTheProtocol(_) | Error::OtherServer { .. } => {
                "; give the right --server HOST:PORT"
            }
            Error::NoAnswer { to: Verb::Auth, .. } => {
                "; after wrong ones from this address a broker answers later: give --wait a longer time, as 40s"
            }
            Error::NoAnswer { .. } => "; try again, or give --wait a longer time",
            Error::NobodyListens => "; start a responder with `client reply`",
            Error::NobodyAnswered { .. } => {
                "; give --wait a longer time, or list the subscribers with `client who`"
            }
            Error::ClosedUnanswered => "; a broker of MQTT is named mqtt://HOST:PORT",
            _ if error.is_disconnect() => "; try again when it is ready",
            _ => "",
        };
        Self::new(Exit::of(error), what, format_args!("{error}{advice}"))
    }

    fn of_tls(error: &TlsError, what: &str) -> Self {
        let advice = tls_advice(&error.failure);
        Self::new(Exit::NoConnection, what, format_args!("{error}; {advice}"))
    }

    /// The same failure with more text behind it.
    pub(crate) fn and(mut self, text: impl Display) -> Self {
        self.text.push_str(&text.to_string());
        self
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Writing to standard output failed. A closed pipe is not a failure.
    pub(crate) fn of_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self {
                exit: Exit::Done,
                text: String::new(),
            },
            _ => Self::new(
                Exit::Failed,
                "client",
                format_args!("cannot write to standard output ({error})"),
            ),
        }
    }

    /// Prints the text to standard error; returns the exit code.
    pub(crate) fn tell(self) -> Exit {
        if !self.text.is_empty() {
            say(&self.text);
        }
        self.exit
    }
}

/// What to do about a server that cannot be reached.
fn unreachable_advice(server: &str, why: &io::Error) -> &'static str {
    if !address::split_scheme(server).is_some_and(|(scheme, _)| address::is_of_path(scheme)) {
        return "; start one with `broker`, or give --server HOST:PORT";
    }
    match why.kind() {
        io::ErrorKind::NotFound => {
            "; start one with `broker --unix PATH`, or give -s unix:PATH of its socket"
        }
        io::ErrorKind::ConnectionRefused => {
            "; the socket is there, and no program listens on it: start one with `broker --unix PATH`"
        }
        io::ErrorKind::PermissionDenied => {
            "; the permissions of the socket and of its folders are for other users: ask the \
             operator of the broker"
        }
        _ => "; give -s unix:PATH of a broker's socket",
    }
}

/// What to do about a server that is not spoken to over TLS.
fn tls_advice(failure: &TlsFailure) -> Cow<'static, str> {
    let Untrusted { why, shown } = failure else {
        return match failure {
            TlsFailure::NotTls => {
                "give --port of one that does, or leave out TLS: dallal://HOST:PORT"
            }
            TlsFailure::NoCertificate => "give --cert FILE and --key FILE",
            TlsFailure::Refused(_) => "give --cert FILE of one that it takes",
            TlsFailure::UnknownName => "give --server-name NAME",
            _ => "ask its operator what it speaks",
        }
        .into();
    };
    let pin = format!("--fingerprint SHA256 of what it shows, if that is its own: {shown}");
    match why {
        Distrust::UnknownIssuer => format!("give --ca FILE, or {pin}"),
        Distrust::OtherNames(_) => format!("give --server-name NAME of these, or {pin}"),
        Distrust::OtherFingerprint => {
            format!("it shows {shown}; ask its operator whether the certificate is a new one")
        }
        Distrust::NotYetValid(_) => format!("set the clock of this machine, or give {pin}"),
        Distrust::Expired(_) => format!("have its operator renew it, or give {pin}"),
        _ => format!("give {pin}"),
    }
    .into()
}

/// Fails if raw bytes of peers would reach a terminal and the user has not said that they may.
pub(crate) fn check_raw(is_forced: bool, what: &str) -> Result<(), Failure> {
    if is_forced || !io::stdout().is_terminal() {
        return Ok(());
    }
    let why = "raw bytes can command the terminal; write them to a file, or give --force";
    Err(Failure::new(Exit::Usage, what, why))
}

/// Why a command stopped early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Writing to standard output failed.
    Output(io::Error),
    Connection(Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Connection(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_enough_is_a_quiet_end() {
        let failure = Failure::of_output(&io::ErrorKind::BrokenPipe.into());
        assert_eq!((failure.exit, &*failure.text), (Exit::Done, ""));
        let failure = Failure::of_output(&io::ErrorKind::StorageFull.into());
        assert_eq!(failure.exit, Exit::Failed);
    }

    #[test]
    fn a_path_that_may_not_be_connected_to_has_an_advice_of_its_own() {
        for server in ["unix:/a", "mqtt+unix:/a"] {
            let failure = Failure::of(
                &Error::Unreachable {
                    server: server.to_owned(),
                    why: io::ErrorKind::PermissionDenied.into(),
                },
                "client",
            );
            let text = &failure.text;
            assert!(text.starts_with("client: no broker at "), "{text}");
            assert!(text.ends_with(": ask the operator of the broker"), "{text}");
        }
    }

    #[test]
    fn a_late_answer_to_a_password_is_told_as_such() {
        let advice = |to| {
            let after = std::time::Duration::from_secs(10);
            Failure::of(&Error::NoAnswer { to, after }, "client").text
        };
        assert!(advice(Verb::Auth).contains("answers later: give --wait"));
        assert!(advice(Verb::Ping).ends_with("; try again, or give --wait a longer time"));
    }

    #[test]
    fn a_denied_request_has_its_own_code() {
        let refusal = |code: &str| {
            Error::Refused(Refusal {
                code: code.to_owned(),
                subject: "publish:1".to_owned(),
                text: "no".to_owned(),
            })
        };
        assert_eq!(Exit::of(&refusal("denied")), Exit::Denied);
        assert_eq!(Exit::of(&refusal("auth")), Exit::Unauthenticated);
        assert_eq!(Exit::of(&refusal("too-long")), Exit::Failed);
        assert_eq!(Exit::of(&Error::Closed), Exit::NoConnection);
        assert_eq!(Exit::of(&Error::NobodyListens), Exit::Unanswered);
    }
}
