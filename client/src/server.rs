//! The options that name a broker.

use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches};
use client::{Client, Credential, Interrupt, Options, Tls};

use crate::address::{Login, Security, Server, Url, UrlParser};
use crate::configuration::{Configuration, ConfiguredServer};
use crate::credentials::CredentialArguments;
use crate::duration;
use crate::exit::{Exit, Failure, Stop};
use crate::hint;
use crate::interruption::Interruption;
use crate::reconnect;
use crate::tls_flags::TlsArguments;

/// The default address.
const USUAL: &str = "127.0.0.1:1373";

/// The options of every command that connects to a broker, as parsed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServerFlags {
    /// The broker; also unix:PATH
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        env = "BROKER_URL",
        hide_env_values = true,
        default_value = USUAL,
        hide_default_value = true,
        value_parser = UrlParser::<Url>::new()
    )]
    server: Url,
    /// Use this server of the configuration file
    #[arg(short, long, value_name = "NAME")]
    configured: Option<String>,
    /// Another host than that of --server
    #[arg(long)]
    host: Option<String>,
    /// Another port than that of --server
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Wait at most TIME for each answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse_positive)]
    wait: Duration,
    /// Wait until the broker can be reached
    #[arg(long, hide = true)]
    wait_for_broker: bool,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    credential: CredentialArguments,
}

/// The address after flags, environment and configuration file have been combined.
#[derive(Clone, Debug)]
pub(crate) struct ServerArguments {
    server: Server,
    tls: Option<Tls>,
    credential: Option<Credential>,
    wait: Duration,
    /// Whether an option names the server.
    is_typed: bool,
    /// The options of this command that another one needs for the same server and the same user.
    typed: Vec<String>,
    waits_for_broker: bool,
}

/// What flags, environment and configuration file say together.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) url: Url,
    /// What protects the connections.
    pub(crate) tls: Option<Tls>,
    /// Who the client says it is.
    pub(crate) login: Login,
    /// The timeout of an answer.
    pub(crate) wait: Duration,
    /// Whether an option names the server.
    pub(crate) is_typed: bool,
    /// The options of this command that another one needs for the same server and the same user.
    pub(crate) typed: Vec<String>,
    /// Whether the first connection waits until the broker can be reached.
    pub(crate) waits_for_broker: bool,
}

impl Args for ServerArguments {
    fn augment_args(command: clap::Command) -> clap::Command {
        ServerFlags::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        ServerFlags::augment_args_for_update(command)
    }
}

impl FromArgMatches for ServerArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Self::of(decide(matches, None, |_| false)?)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Combines flags, environment and configuration file.
///
/// A server that is named nowhere is `unnamed`, if there is such a one. `is_mqtt` says of a URL whether
/// MQTT is spoken.
pub(crate) fn decide(
    matches: &ArgMatches,
    unnamed: Option<Server>,
    is_mqtt: impl FnOnce(&Url) -> bool,
) -> Result<Decision, clap::Error> {
    let mut flags = ServerFlags::from_arg_matches(matches)?;
    let given = choose(matches, flags.configured.as_deref(), |url| {
        url.parse::<Url>().map(drop)
    })?;
    let conflict = |why: String| clap::Error::raw(ErrorKind::ArgumentConflict, format!("{why}\n"));
    let mut url: Url = match &given {
        None => flags.server.clone(),
        Some(given) => {
            let url = given.url.parse();
            url.expect("it was checked when the file was read")
        }
    };
    let moved = url.server.but_at(flags.host.as_deref(), flags.port);
    url.server = moved.map_err(conflict)?;
    let names = ["server", "configured", "host", "port"];
    let is_typed = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
    let is_typed = names.into_iter().any(is_typed);
    let is_usual = matches.value_source("server") == Some(ValueSource::DefaultValue);
    if let Some(server) = unnamed
        && is_usual
        && !is_typed
        && given.is_none()
    {
        url = Url { server, mqtt: None };
        // Over a socket the system says who the user is. What variables say is meant for other brokers.
        flags.credential.forget_variables();
    }
    let configured = given.as_ref().map(|given| &given.tls);
    let tls = flags.tls.tls(&url.server, configured).map_err(conflict)?;
    if tls.is_some() {
        url.server = url.server.with(Security::Tls);
    }
    let login = flags.credential.login(
        &url.server,
        tls.is_some(),
        url.mqtt.as_ref(),
        given.as_ref().map(|given| &given.credential),
        is_mqtt(&url),
    );
    let login = login.map_err(conflict)?;
    let is_in_address = is_typed && given.is_none();
    let typed = [
        match given {
            // The file says more of a server than its address.
            Some(_) => flags.typed_words(),
            None if is_typed => vec!["-s".to_owned(), url.server.to_string()],
            None => Vec::new(),
        },
        flags.tls.typed_words(is_in_address),
        flags.credential.typed_words(),
    ];
    Ok(Decision {
        url,
        tls,
        login,
        wait: flags.wait,
        waits_for_broker: flags.wait_for_broker,
        is_typed,
        typed: typed.concat(),
    })
}

impl ServerFlags {
    /// The typed options that choose a server of the configuration file, or change its address.
    fn typed_words(&self) -> Vec<String> {
        let port = self.port.map(|port| port.to_string());
        [
            ("-c", &self.configured),
            ("--host", &self.host),
            ("-p", &port),
        ]
        .into_iter()
        .filter_map(|(flag, value)| Some([flag.to_owned(), value.clone()?]))
        .flatten()
        .collect()
    }
}

/// The server of the configuration file, unless `--server` or the environment has one: a given name
/// wins over the environment, and the environment over the file's default.
fn choose(
    matches: &ArgMatches,
    configured: Option<&str>,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Option<ConfiguredServer>, clap::Error> {
    let chosen = match (configured, matches.value_source("server")) {
        (Some(_), Some(ValueSource::CommandLine)) => {
            let why = "--server and --configured each name a server; give one of them\n";
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, why));
        }
        (Some(name), _) => Configuration::find(name, check).map(Some),
        (None, Some(ValueSource::DefaultValue)) => Configuration::find_default(check),
        (None, _) => Ok(None),
    };
    chosen.map_err(|why| clap::Error::raw(ErrorKind::ValueValidation, format!("{why}\n")))
}

impl ServerArguments {
    fn of(decision: Decision) -> Result<Self, clap::Error> {
        let Decision {
            url: Url { server, mqtt },
            tls,
            login,
            wait,
            is_typed,
            typed,
            waits_for_broker,
        } = decision;
        if mqtt.is_some() {
            let why = "this command does not speak MQTT; publish, subscribe, ping, bench and \
                       selftest do\n";
            return Err(clap::Error::raw(ErrorKind::ValueValidation, why));
        }
        Ok(Self {
            server,
            tls,
            credential: login.credential(),
            wait,
            is_typed,
            typed,
            waits_for_broker,
        })
    }

    /// The address of the broker.
    pub(crate) fn server(&self) -> Server {
        self.server.clone()
    }

    /// How long to wait for each answer.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// Whether an option names the server.
    pub(crate) fn is_typed(&self) -> bool {
        self.is_typed
    }

    /// Another command for the same server and the same user, to be suggested. Both are named as far as
    /// the options of this command name them.
    pub(crate) fn hint(&self, command: &str, words: &[&str]) -> String {
        hint::client(command, &self.typed, words)
    }

    /// Connects. `interrupt` ends every wait.
    pub(crate) fn connect(&self, interrupt: &Interrupt) -> Result<Client, client::Error> {
        let options = Options {
            credential: self.credential.clone(),
            ..self.server.options(self.wait, interrupt, self.tls.as_ref())
        };
        Client::connect_with(self.server.place(), &options)
    }

    /// Calls `connect` for the first connection, again and again if the user wants to wait for the
    /// broker.
    pub(crate) fn first<T>(
        &self,
        interrupt: &Interrupt,
        connect: impl FnMut() -> Result<T, client::Error>,
    ) -> Result<T, client::Error> {
        let connected = reconnect::first(self.waits_for_broker, interrupt, None, connect)?;
        Ok(connected.expect("there is no deadline"))
    }

    /// Connects and runs a command over the connection, until its end or a signal.
    pub(crate) fn run(
        &self,
        command: impl FnOnce(&mut Client) -> Result<Exit, Stop>,
    ) -> Result<Exit, Failure> {
        let interruption = Interruption::watch()?;
        let interrupt = interruption.interrupt();
        let connected = self.first(interrupt, || self.connect(interrupt));
        connected
            .map_err(Stop::from)
            .and_then(|mut client| command(&mut client))
            .or_else(|stop| interruption.end(stop, "client"))
    }
}

/// Where a broker that runs as a service takes an operator's orders.
const OPERATORS_SOCKET: &str = "/run/dallal/broker.sock";

/// How long an order may take. A process that takes over has a minute to begin to serve.
const OPERATORS_WAIT: &str = "70s";

/// The same options for an operator's orders. A server that is named nowhere is that of the service,
/// because no broker takes orders over TCP.
#[derive(Clone, Debug)]
pub(crate) struct OperatorArguments(ServerArguments);

impl Args for OperatorArguments {
    fn augment_args(command: clap::Command) -> clap::Command {
        let command = ServerArguments::augment_args(command);
        command.mut_arg("wait", |wait| wait.default_value(OPERATORS_WAIT))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OperatorArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let server = Server::at_path(OPERATORS_SOCKET).expect("it is a short path");
        let decision = decide(matches, Some(server), |_| false)?;
        ServerArguments::of(decision).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl OperatorArguments {
    /// See [`ServerArguments::run`].
    pub(crate) fn run(
        &self,
        order: impl FnOnce(&mut Client) -> Result<Exit, Stop>,
    ) -> Result<Exit, Failure> {
        self.0.run(order)
    }
}
