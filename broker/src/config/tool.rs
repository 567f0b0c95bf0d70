//! The command lines of the tools: `broker user ...`, `broker token ...`, `broker access ...`, `broker cert ...` and
//! `broker store ...`.
//!
//! A first word without a hyphen is a command; the flags of a broker are not looked at then.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Command, FromArgMatches, Parser, Subcommand};

use super::store_tool::StoreTool;
use crate::auth::access::AskedRight;
use crate::auth::identity::{IdentityName, TokenId, TokenNote};

/// What the program does instead of serving.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Add users, change, list and remove them
    #[command(subcommand, after_help = EXITS)]
    User(UserTool),
    /// Make tokens for programs and devices, list and remove them
    #[command(subcommand, after_help = EXITS)]
    Token(TokenTool),
    /// Check an access file, and ask what a client may do and have by it
    #[command(subcommand)]
    Access(AccessTool),
    /// Make certificates for TLS, with an authority of one's own
    #[command(after_help = CERTIFICATES)]
    Cert(CertTool),
    /// Check the store of a broker, repair it, export and import what it has
    #[command(subcommand)]
    Store(StoreTool),
}

/// A look at access files.
#[derive(Debug, Subcommand)]
pub enum AccessTool {
    /// Check a file with those that it includes, and tell all mistakes
    #[command(after_help = EXITS)]
    Check {
        /// The access file
        access_file: PathBuf,
        /// Whose groups may be in it.
        #[command(flatten)]
        file: UsersPlace,
    },
    /// Say whether a client may do something, and which rule decides
    #[command(after_help = ANSWERS)]
    May {
        /// The identity: a user, anonymous, unix:USER or room:PORT
        who: String,
        /// As in a rule: publish, subscribe, inquire:who ...
        #[arg(value_parser = asked_right)]
        right: String,
        /// The topic, the filter or the name, if the right has one
        topic: Option<String>,
        /// The access file [default: the rules of a broker without one]
        #[arg(long, value_name = "FILE")]
        access: Option<PathBuf>,
        /// Its client identifier
        #[arg(long, value_name = "ID")]
        client: Option<String>,
        /// Where its groups are.
        #[command(flatten)]
        file: UsersPlace,
    },
    /// List the limits of a client, and which line each is from
    #[command(after_help = EXITS)]
    Limits {
        /// The identity: a user, anonymous, unix:USER or room:PORT
        who: String,
        /// The access file
        #[arg(long, value_name = "FILE")]
        access: PathBuf,
        /// Where its groups are.
        #[command(flatten)]
        file: UsersPlace,
    },
}

/// A certificate to make.
#[derive(Debug, Args)]
pub struct CertTool {
    /// Names and addresses of the broker, separated by commas
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        conflicts_with = "client",
        required_unless_present = "client"
    )]
    pub names: Vec<String>,
    /// The client that it is for
    #[arg(long, value_name = "NAME")]
    pub client: Option<IdentityName>,
    /// Folder of the authority and of what it signs
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
}

/// A change of users, or a look at them.
#[derive(Debug, Subcommand)]
pub enum UserTool {
    /// Add a user; the file is made if it is not there
    #[command(after_help = SECRETS)]
    Add {
        /// Letters, digits and -_.@:
        name: IdentityName,
        /// Groups that it belongs to, separated by commas
        #[arg(long, value_name = "GROUPS", value_delimiter = ',')]
        groups: Vec<IdentityName>,
        /// A user that has tokens only
        #[arg(long, conflicts_with = "secret_file")]
        no_password: bool,
        /// Where the password comes from.
        #[command(flatten)]
        secret: SecretPlace,
        /// The file.
        #[command(flatten)]
        file: UsersPlace,
    },
    /// Change the password of a user
    #[command(after_help = SECRETS)]
    Passwd {
        /// The user
        name: IdentityName,
        /// Where the password comes from.
        #[command(flatten)]
        secret: SecretPlace,
        /// The file.
        #[command(flatten)]
        file: UsersPlace,
    },
    /// Remove a user with its tokens
    Rm {
        /// The user
        name: IdentityName,
        /// The file.
        #[command(flatten)]
        file: UsersPlace,
    },
    /// List the users: name, groups, password, tokens, state
    List {
        /// The file.
        #[command(flatten)]
        file: UsersPlace,
    },
    /// Keep a user out for now, with its tokens
    Disable {
        /// The user
        name: IdentityName,
        /// The file.
        #[command(flatten)]
        file: UsersPlace,
    },
    /// Let a user in again
    Enable {
        /// The user
        name: IdentityName,
        /// The file.
        #[command(flatten)]
        file: UsersPlace,
    },
}

/// A change of tokens, or a look at them.
#[derive(Debug, Subcommand)]
pub enum TokenTool {
    /// Make a token and print it, this once
    Add {
        /// The user that its holder is
        owner: IdentityName,
        /// Time until it ends, as 90d [default: it does not end]
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires: Option<Duration>,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        note: Option<TokenNote>,
        /// The file.
        #[command(flatten)]
        file: UsersPlace,
    },
    /// Remove a token
    Rm {
        /// The letters between dlt_ and the next _
        id: TokenId,
        /// The file.
        #[command(flatten)]
        file: UsersPlace,
    },
    /// List the tokens: id, owner, end, note
    List {
        /// The file.
        #[command(flatten)]
        file: UsersPlace,
    },
}

/// Where a secret comes from.
#[derive(Debug, Args)]
pub struct SecretPlace {
    /// The first line of this file is the password
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

/// Where the users file is.
#[derive(Debug, Args)]
pub struct UsersPlace {
    /// The users file [default: /etc/dallal/users, if there]
    #[arg(long, env = "BROKER_USERS", hide_env = true, value_name = "FILE")]
    pub users: Option<PathBuf>,
}

const SECRETS: &str = "\
The password is asked for twice at a terminal, without an echo; elsewhere it
is the first line of standard input. No flag takes it, because all users of a
machine can see the arguments of a program.";

const CERTIFICATES: &str = "\
Makes ca.pem and ca-key.pem in the folder if they are not there, and signs
server.pem with server-key.pem, or client-NAME.pem with client-NAME-key.pem;
good for 825 days. Run it again to renew them: the broker takes what is new.

Exit: 0 done   1 not done, with the reason   2 wrong usage";

const EXITS: &str = "\
Exit: 0 done   1 not done, with the reason   2 wrong usage
Variables: BROKER_USERS for --users";

const ANSWERS: &str = "\
Exit: 0 allowed, if only in part   1 not allowed   2 the question cannot be answered
Variables: BROKER_USERS for --users";

/// Takes what a client can ask for.
fn asked_right(word: &str) -> Result<String, String> {
    AskedRight::parse(word).map(|_| word.to_owned())
}

#[derive(Debug, Parser)]
#[command(
    name = "broker",
    version,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(super) struct ToolLine {
    #[command(subcommand)]
    tool: Tool,
}

impl Tool {
    /// Parses this process's arguments, if they ask for a tool. Wrong usage and `--help` end the process.
    #[must_use]
    pub fn from_arguments() -> Option<Self> {
        let first = env::args_os().nth(1)?;
        if first.is_empty() || first.as_encoded_bytes().starts_with(b"-") {
            return None;
        }
        let command = command_line::command::<ToolLine>(|_, _| false);
        match parse(command, env::args_os()) {
            Ok(line) => Some(line.tool),
            Err(error) => error.exit(),
        }
    }
}

/// Parses the arguments. The error does not show an argument too many: it may be a secret in the wrong place.
fn parse(
    mut command: Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<ToolLine, clap::Error> {
    let parsed = command
        .try_get_matches_from_mut(arguments)
        .and_then(|mut matches| ToolLine::from_arg_matches_mut(&mut matches));
    parsed.map_err(|mut error| {
        if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
            && error.kind() == ErrorKind::UnknownArgument
            && !word.starts_with('-')
        {
            let hidden = ContextValue::String("***".to_owned());
            error.insert(ContextKind::InvalidArg, hidden);
        }
        error.format(&mut command)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold() {
        ToolLine::command().debug_assert();
    }

    #[test]
    fn no_flag_takes_a_secret() {
        let parse = |words: &[&str]| ToolLine::try_parse_from([&["broker"], words].concat());
        assert!(parse(&["user", "add", "ann", "--groups", "a,b"]).is_ok());
        assert!(parse(&["store", "export", "a", "--filter", "a b/#", "--filter", "c"]).is_ok());
        for words in [
            &["user", "add", "ann", "secret"][..],
            &["user", "add", "ann", "--password", "secret"],
            &["user", "passwd", "ann", "--password=secret"],
            &["user", "add", "a/b"],
            &["token", "add", "ann", "--expires", "90"],
            &["token", "add", "ann", "--note", "\u{1b}[2J"],
            &["access", "may", "ann", "pubish", "a"],
            &["access", "check"],
            &["store", "check"],
            &["store", "export", "a", "--filter", "a/#/b"],
            &["store", "export", "a", "--filter", "$share/g/a"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
