//! Flags and environment: parses the command line into a [`Config`].
//!
//! `--help`, `--man`, `--version` and wrong usage are answered here, and end the process.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use bytesize::ByteSize;
use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use ipnet::IpNet;

use super::failure::{Failure, fail, warn};
use super::file::{self, FileSettings};
use super::parsers::{
    Host, List, ListeningPlace, Owner, RoomFlag, address_ranges, addresses, flattened, host,
    log_format, mode, owner, paths, places, rooms, time_or_never, words,
};
use super::store_flags::StoreFlags;
use super::tool::ToolLine;
use super::{Arguments, Config, LogFormat, LogSettings, RoomConfig, print};
use crate::net::tls::settings::{ClientCertMode, ClientNameSource, TlsConfig, TlsMode, TlsVersion};
use crate::wire::http;

/// A message broker that you can talk to with netcat.
#[derive(Debug, Parser)]
#[command(name = "broker", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Flags {
    /// Port to listen on; 0 picks a free one
    #[arg(
        short,
        long,
        env = "BROKER_PORT",
        hide_env = true,
        default_value = "1373"
    )]
    port: u16,
    /// Address or name to listen on
    #[arg(long, env = "BROKER_HOST", hide_env = true, default_value = "127.0.0.1", value_parser = host)]
    host: Host,
    /// Listen there too, such as 0.0.0.0:1883; repeatable
    #[arg(long, env = "BROKER_LISTEN", hide_env = true, value_name = "HOST:PORT", value_parser = addresses)]
    listen: Vec<List<Vec<SocketAddr>>>,
    /// Listen on this Unix socket too; repeatable
    #[arg(long, env = "BROKER_UNIX", hide_env = true, value_name = "PATH", value_parser = paths)]
    unix: Vec<List<PathBuf>>,
    /// Permissions of its file
    #[arg(long, env = "BROKER_UNIX_MODE", hide_env = true, hide_short_help = true, default_value = "660", value_name = "OCTAL",
          value_parser = mode)]
    unix_mode: u32,
    /// Owner of its file, as dallal or dallal:staff
    #[arg(long, env = "BROKER_UNIX_OWNER", hide_env = true, hide_short_help = true, value_name = "USER[:GROUP]", value_parser = owner)]
    unix_owner: Option<Owner>,
    /// Room for raw text, TCP and UDP, as 12345=lobby; repeatable
    #[arg(long = "room", env = "BROKER_ROOM", hide_env = true, value_name = "[HOST:]PORT=TOPIC", value_parser = rooms)]
    rooms: Vec<List<RoomFlag>>,
    /// Most members in datagrams of one room
    #[arg(
        long,
        env = "BROKER_ROOM_MEMBERS",
        hide_env = true,
        hide_short_help = true,
        default_value = "1000",
        value_name = "N"
    )]
    room_members: usize,
    /// Silence after which such a member is forgotten
    #[arg(long, env = "BROKER_ROOM_IDLE", hide_env = true, hide_short_help = true, default_value = "10m", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    room_idle: Duration,
    /// Take lines in datagrams there, as 1373; repeatable
    #[arg(long, env = "BROKER_UDP", hide_env = true, value_name = "[HOST:]PORT", value_parser = places)]
    udp: Vec<List<ListeningPlace>>,
    /// Clients have to say who they are: the users in this file
    #[arg(long, env = "BROKER_USERS", hide_env = true, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Clients may say who they are by JWTs that keys in this file (JWKS) have signed
    #[arg(
        long,
        env = "BROKER_JWT_KEYS",
        hide_env = true,
        hide_short_help = true,
        value_name = "FILE"
    )]
    jwt_keys: Option<PathBuf>,
    /// What iss of a JWT has to be
    #[arg(
        long,
        env = "BROKER_JWT_ISSUER",
        hide_env = true,
        hide_short_help = true,
        value_name = "TEXT"
    )]
    jwt_issuer: Option<String>,
    /// What has to be in aud of a JWT
    #[arg(
        long,
        env = "BROKER_JWT_AUDIENCE",
        hide_env = true,
        hide_short_help = true,
        value_name = "TEXT"
    )]
    jwt_audience: Option<String>,
    /// Who may do what: the rules in this file
    #[arg(long, env = "BROKER_ACCESS", hide_env = true, value_name = "FILE")]
    access: Option<PathBuf>,
    /// Any client that can reach it may do everything
    #[arg(long, action = ArgAction::Set, env = "BROKER_OPEN", hide_env = true, hide_possible_values = true, default_value = "false", hide_default_value = true,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    open: bool,
    /// Longest line taken
    #[arg(
        long,
        env = "BROKER_MAX_LINE",
        hide_env = true,
        default_value = "64MiB",
        value_name = "BYTES"
    )]
    max_line: ByteSize,
    /// Most connections at a time [default: what the machine bears]
    #[arg(
        long,
        env = "BROKER_MAX_CONNECTIONS",
        hide_env = true,
        value_name = "N"
    )]
    max_connections: Option<usize>,
    /// Most from one other address [default: half of all]
    #[arg(
        long,
        env = "BROKER_MAX_PER_ADDRESS",
        hide_env = true,
        value_name = "N"
    )]
    max_per_address: Option<usize>,
    /// Most bytes queued for one slow client
    #[arg(
        long,
        env = "BROKER_OUTBOX_BYTES",
        hide_env = true,
        default_value = "64MiB",
        value_name = "BYTES"
    )]
    outbox_bytes: ByteSize,
    /// Most bytes queued for all [default: half of the machine's]
    #[arg(long, env = "BROKER_MEMORY", hide_env = true, value_name = "BYTES")]
    memory: Option<ByteSize>,
    /// Longest wait for slow=block; 0s for never
    #[arg(long, env = "BROKER_MAX_BLOCK", hide_env = true, default_value = "1s", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    max_block: Duration,
    /// Silence before a PING is sent; 0s for never
    #[arg(long, env = "BROKER_PING_INTERVAL", hide_env = true, default_value = "30s", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    ping_interval: Duration,
    /// Interval of $SYS/broker/; 0s for never
    #[arg(long, env = "BROKER_SYS_INTERVAL", hide_env = true, default_value = "10s", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    sys_interval: Duration,
    /// Most subscriptions of one connection
    #[arg(
        long,
        env = "BROKER_MAX_SUBSCRIPTIONS",
        hide_env = true,
        default_value = "250000",
        value_name = "N"
    )]
    max_subscriptions: usize,
    /// Most retained messages
    #[arg(
        long,
        env = "BROKER_MAX_RETAINED",
        hide_env = true,
        default_value = "1000000",
        value_name = "N"
    )]
    max_retained: usize,
    /// Most bytes of retained messages
    #[arg(
        long,
        env = "BROKER_MAX_RETAINED_BYTES",
        hide_env = true,
        default_value = "256MiB",
        value_name = "BYTES"
    )]
    max_retained_bytes: ByteSize,
    /// Most at QoS 1 and 2 for one client of MQTT
    #[arg(
        long,
        env = "BROKER_MAX_QUEUED",
        hide_env = true,
        default_value = "100000",
        value_name = "N"
    )]
    max_queued: usize,
    /// Longest stay of a session of MQTT, or never
    #[arg(long, env = "BROKER_SESSION_EXPIRY_MAX", hide_env = true, default_value = "7d", value_name = "TIME",
          value_parser = time_or_never)]
    session_expiry_max: Duration,
    /// Longest keep alive of MQTT 5
    #[arg(long, env = "BROKER_MAX_KEEP_ALIVE", hide_env = true,  value_name = "TIME",
          value_parser = humantime::parse_duration)]
    max_keep_alive: Option<Duration>,
    /// Most sessions of MQTT [default: 10 for each connection]
    #[arg(long, env = "BROKER_MAX_SESSIONS", hide_env = true, value_name = "N")]
    max_sessions: Option<usize>,
    /// Most of them for one address
    #[arg(
        long,
        env = "BROKER_MAX_SESSIONS_PER_ADDRESS",
        hide_env = true,
        hide_short_help = true,
        default_value = "1000",
        value_name = "N"
    )]
    max_sessions_per_address: usize,
    /// Name that browsers may know it by; repeatable
    #[arg(long = "name", env = "BROKER_NAME", hide_env = true, value_name = "NAME", value_parser = words)]
    names: Vec<List<String>>,
    /// Site whose pages may use it, as https://a.example; repeatable
    #[arg(long = "allow-origin", env = "BROKER_ALLOW_ORIGIN", hide_env = true, value_name = "ORIGIN",
          value_parser = words)]
    allow_origins: Vec<List<String>>,
    /// Path of the web chat of tutorials
    #[arg(
        long,
        env = "BROKER_TALKING",
        hide_env = true,
        hide_short_help = true,
        default_value = http::CHAT_PATH,
        value_name = "PATH"
    )]
    talking: String,
    /// Address or range of a proxy with PROXY headers; repeatable
    #[arg(long = "proxy", env = "BROKER_PROXY", hide_env = true, value_name = "ADDRESS",
          value_parser = address_ranges)]
    proxies: Vec<List<IpNet>>,
    /// Certificate in PEM, for TLS on all ports; repeatable
    #[arg(long = "tls-cert", env = "BROKER_TLS_CERT", hide_env = true, hide_short_help = true, value_name = "FILE", value_parser = paths)]
    tls_certs: Vec<List<PathBuf>>,
    /// Its key, in the same order
    #[arg(long = "tls-key", env = "BROKER_TLS_KEY", hide_env = true, hide_short_help = true, value_name = "FILE", value_parser = paths)]
    tls_keys: Vec<List<PathBuf>>,
    /// Whether TLS is off, offered or required [default: required beyond loopback once there is a certificate]
    #[arg(
        long,
        env = "BROKER_TLS",
        hide_env = true,
        hide_short_help = true,
        value_name = "MODE"
    )]
    tls: Option<TlsMode>,
    /// Lowest version of TLS, 1.2 or 1.3
    #[arg(
        long,
        env = "BROKER_TLS_MIN",
        hide_env = true,
        hide_short_help = true,
        default_value = "1.2",
        value_name = "VERSION"
    )]
    tls_min: TlsVersion,
    /// Authorities of certificates that clients show
    #[arg(
        long,
        env = "BROKER_CLIENT_CA",
        hide_env = true,
        hide_short_help = true,
        value_name = "FILE"
    )]
    client_ca: Option<PathBuf>,
    /// Certificates that these have revoked
    #[arg(
        long,
        env = "BROKER_CLIENT_CRL",
        hide_env = true,
        hide_short_help = true,
        value_name = "FILE"
    )]
    client_crl: Option<PathBuf>,
    /// Whether clients show one: off, asked or required [default: asked with --client-ca]
    #[arg(
        long,
        env = "BROKER_CLIENT_CERT",
        hide_env = true,
        hide_short_help = true,
        value_name = "MODE"
    )]
    client_cert: Option<ClientCertMode>,
    /// Where their names are in them, in this order
    #[arg(
        long,
        env = "BROKER_CLIENT_NAME",
        hide_env = true,
        hide_short_help = true,
        value_delimiter = ',',
        default_value = "san-uri,san-dns,cn",
        value_name = "PLACES"
    )]
    client_name: Vec<ClientNameSource>,
    /// Time to drain before a stop
    #[arg(long, env = "BROKER_DRAIN", hide_env = true, default_value = "0s", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    drain: Duration,
    /// Form of the log, text or json
    #[arg(long, env = "BROKER_LOG_FORMAT", hide_env = true, default_value = "text", value_name = "FORM",
          value_parser = log_format)]
    log_format: LogFormat,
    /// Append the log to this file [default: standard error]
    #[arg(long, env = "BROKER_LOG_FILE", hide_env = true, value_name = "FILE")]
    log_file: Option<PathBuf>,
    #[command(flatten)]
    store: StoreFlags,
    /// Append events of security to this file, as JSON
    #[arg(
        long,
        env = "BROKER_SECURITY_LOG",
        hide_env = true,
        hide_short_help = true,
        value_name = "FILE"
    )]
    security_log: Option<PathBuf>,
    /// Read this file [default: /etc/dallal/broker.toml, if there]
    #[arg(
        short,
        long,
        env = "BROKER_CONFIG",
        hide_env = true,
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long, conflicts_with_all = ["print_config", "example_config"])]
    check: bool,
    /// Print the configuration in force with its sources and exit
    #[arg(long, conflicts_with = "example_config")]
    print_config: bool,
    /// Print a file with all defaults and exit
    #[arg(long)]
    example_config: bool,
    /// Print the manual page and exit: broker --man | man -l -
    #[arg(long)]
    man: bool,
}

const AFTER_HELP: &str = "\
Examples:
  broker user add ann --users U      add a user to the file U; see broker user -h, broker token -h
  broker --host 0.0.0.0 --users U    serve the network
  nc 127.0.0.1 1373                  talk to it; type HELP

Exit: 0 stopped by a signal   1 cannot serve   2 wrong usage    Variables: BROKER_PORT for --port";

impl From<Flags> for Config {
    fn from(flags: Flags) -> Self {
        let bytes = |size: ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        let rooms = flattened(flags.rooms).into_iter().map(|room| RoomConfig {
            addresses: room.place.addresses(&flags.host.0),
            topic: room.topic,
        });
        let udp = flattened(flags.udp).into_iter();
        Self {
            rooms: rooms.collect(),
            udp: udp.map(|place| place.addresses(&flags.host.0)).collect(),
            host: flags.host.0,
            port: flags.port,
            listen: flattened(flags.listen),
            unix: flattened(flags.unix),
            unix_mode: flags.unix_mode,
            unix_owner: flags
                .unix_owner
                .map_or((None, None), |owner| (owner.user, owner.group)),
            max_line: bytes(flags.max_line),
            max_connections: flags.max_connections,
            max_per_address: flags.max_per_address,
            outbox_bytes: bytes(flags.outbox_bytes),
            memory: flags.memory.map(bytes),
            max_block: flags.max_block,
            ping_interval: flags.ping_interval,
            sys_interval: flags.sys_interval,
            max_subscriptions: flags.max_subscriptions,
            max_retained: flags.max_retained,
            max_retained_bytes: bytes(flags.max_retained_bytes),
            max_queued: flags.max_queued,
            session_expiry_max: flags.session_expiry_max,
            max_sessions: flags.max_sessions,
            max_sessions_per_address: flags.max_sessions_per_address,
            max_keep_alive: flags.max_keep_alive.unwrap_or_default(),
            room_members: flags.room_members,
            room_idle: flags.room_idle,
            users: flags.users,
            jwt_keys: flags.jwt_keys,
            jwt_issuer: flags.jwt_issuer,
            jwt_audience: flags.jwt_audience,
            access: flags.access,
            open: flags.open,
            names: flattened(flags.names),
            allow_origins: flattened(flags.allow_origins),
            talking: flags.talking,
            drain: flags.drain,
            proxies: flattened(flags.proxies),
            tls: TlsConfig {
                certs: flattened(flags.tls_certs),
                keys: flattened(flags.tls_keys),
                mode: flags.tls,
                min: flags.tls_min,
                client_ca: flags.client_ca,
                client_crl: flags.client_crl,
                client_cert: flags.client_cert,
                client_names: flags.client_name,
            },
            security_log: flags.security_log,
            data: flags.store.data,
            ack: flags.store.ack,
            sync_interval: flags.store.sync_interval,
            keep: flattened(flags.store.keep),
            keep_total: flags.store.keep_total.map(|bytes| bytes.as_u64()),
            keep_topics: flags.store.keep_topics,
            data_reserve: flags.store.data_reserve.as_u64(),
            history_max: flags.store.history_max,
        }
    }
}

impl Config {
    /// Parses this process's arguments and environment, and the file that they name. Wrong usage, mistakes
    /// in the file, `--help`, `--check` and others that only print end the process.
    #[must_use]
    pub fn from_arguments() -> Arguments {
        let mut warnings = Vec::new();
        let (flags, printed) = parse(command(&mut warnings), env::args_os().collect())
            .unwrap_or_else(|failure| failure.exit());
        if let Some(text) = printed {
            print(text.as_bytes());
        }
        let is_checked = flags.check;
        let log = flags.log();
        let config = Self::from(flags);
        if let Err(why) = config.check() {
            Flags::command()
                .error(ErrorKind::ValueValidation, why)
                .exit();
        }
        // All mistakes at once, also where a start would end with the first file that it cannot take.
        let doubtful = config.check_files();
        let doubtful = doubtful.unwrap_or_else(|mistakes| fail(&mistakes));
        if is_checked {
            warnings.extend(doubtful);
            warn(&warnings);
            print(b"the configuration is valid\n");
        }
        Arguments {
            config,
            log,
            warnings,
        }
    }
}

impl LogSettings {
    /// Parses the arguments again, because the file may have changed, for a process with these settings. An
    /// error is each mistake.
    pub fn read_again(&self) -> Result<Config, Vec<String>> {
        // The log has told at the start which variables are passed over.
        let command = command(&mut Vec::new());
        let (flags, _) = parse(command, env::args_os().collect()).map_err(Failure::into_lines)?;
        let changes = self.changes(&flags.log());
        match changes.is_empty() {
            true => Ok(Config::from(flags)),
            false => Err(changes),
        }
    }
}

impl Flags {
    fn log(&self) -> LogSettings {
        LogSettings {
            format: self.log_format,
            file: self.log_file.clone(),
        }
    }
}

/// The command without variables that are passed over, about which it warns.
fn command(warnings: &mut Vec<String>) -> Command {
    let command = command_line::command::<Flags>(|name, value| {
        let is_foreign = is_foreign(name, value);
        if is_foreign {
            warnings.push(format!(
                "{}={value:?} is passed over: it is set by an orchestrator for a service called broker",
                name.display()
            ));
        }
        is_foreign || value.to_string_lossy().trim().is_empty()
    });
    with_runtime_folder(command)
}

/// The socket in the folder that a service manager made for this service, if it did: it is listened on
/// unless another is chosen.
const SOCKET_OF_SERVICE: &str = "broker.sock";

/// Adds the socket in the folder of a service, as the default. systemd names the folder in a variable; of
/// several it is the first.
fn with_runtime_folder(command: Command) -> Command {
    let folders = env::var_os("RUNTIME_DIRECTORY").unwrap_or_default();
    match env::split_paths(&folders).find(|folder| !folder.as_os_str().is_empty()) {
        None => command,
        Some(folder) => command.mut_arg("unix", |flag| {
            flag.default_value(folder.join(SOCKET_OF_SERVICE).into_os_string())
        }),
    }
}

/// The file that is read if it is there and none is named.
const USUAL_FILE: &str = "/etc/dallal/broker.toml";

/// Parses arguments and environment, and the file that they name, or the usual one. Also returns what they
/// ask to print, if they do.
fn parse(command: Command, arguments: Vec<OsString>) -> Result<(Flags, Option<String>), Failure> {
    let matches = command.clone().try_get_matches_from(&arguments)?;
    let flags = flags_of(matches)?;
    if flags.example_config {
        return Ok((flags, Some(print::example(&command))));
    }
    if flags.man {
        print_manual();
    }
    let usual = || Path::new(USUAL_FILE).exists().then(|| USUAL_FILE.into());
    let files = match flags.config.clone().or_else(usual) {
        None => FileSettings::default(),
        Some(path) => file::read(&path, &command).map_err(Failure::File)?,
    };
    // What the files set is the default of a flag, so that a flag and its variable count more.
    let with_files = files
        .settings
        .iter()
        .fold(command.clone(), |command, (key, setting)| {
            let flag = command
                .get_arguments()
                .find(|flag| flag.get_long() == Some(key));
            let id = flag.expect("a key is a flag").get_id().clone();
            command.mut_arg(id, |flag| flag.default_values(setting.values.clone()))
        });
    let matches = with_files.try_get_matches_from(&arguments)?;
    let printed = matches
        .get_flag("print_config")
        .then(|| print::in_force(&command, &matches, &files));
    Ok((flags_of(matches)?, printed))
}

fn flags_of(mut matches: ArgMatches) -> Result<Flags, clap::Error> {
    Flags::from_arg_matches_mut(&mut matches)
}

/// Prints a text and ends the process.
fn print(text: &[u8]) -> ! {
    let printed = io::stdout().lock().write_all(text);
    process::exit(i32::from(printed.is_err()))
}

/// Whether a variable is not meant for this broker. For a service called `broker`, Kubernetes sets
/// `BROKER_PORT` to a URL in every container, and Docker does for a link, together with a path in
/// `BROKER_NAME`.
fn is_foreign(name: &OsStr, value: &OsStr) -> bool {
    let value = value.to_string_lossy();
    let is_url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    is_url || (name == "BROKER_NAME" && value.starts_with('/'))
}

/// Prints the page and ends the process.
fn print_manual() -> ! {
    let mut page = Vec::new();
    // A page has room for the variables, which `--help` leaves out.
    let command = Flags::command().mut_args(|argument| argument.hide_env(false));
    let tools = ToolLine::command().mut_subcommands(|tool| {
        tool.mut_subcommands(|each| each.mut_args(|argument| argument.hide_env(false)))
    });
    let written = command_line::write_page(&mut page, &command)
        .and_then(|()| command_line::write_commands(&mut page, &tools));
    match written {
        Ok(()) => print(&page),
        Err(_) => process::exit(1),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn the_flags_have_the_defaults_of_the_config() {
        let flags = Config::from(Flags::parse_from(["broker"]));
        assert_eq!(format!("{flags:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn a_reload_tells_of_each_flag() {
        let command = Flags::command();
        let flags = command
            .get_arguments()
            .filter(|flag| file::is_setting(flag));
        let flags = flags.filter_map(clap::Arg::get_long);
        // These are of the program, and told by it.
        let flags = flags.filter(|flag| !["log-format", "log-file"].contains(flag));
        let flags: BTreeSet<&str> = flags.collect();
        let values = Config::default().values();
        let told: BTreeSet<&str> = values.iter().map(|(key, _)| *key).collect();
        assert_eq!(told, flags);
    }

    #[test]
    fn sizes_may_have_units() {
        let flags = Flags::parse_from(["broker", "--max-line", "2KiB", "--memory", "1MiB"]);
        let config = Config::from(flags);
        assert_eq!((config.max_line, config.memory), (2048, Some(1 << 20)));
    }

    #[test]
    fn a_session_may_be_kept_for_ever() {
        let parse = |time| Flags::try_parse_from(["broker", "--session-expiry-max", time]);
        for (time, seconds) in [("never", u64::MAX), ("1h", 3600), ("0s", 0)] {
            let config = Config::from(parse(time).expect("a time"));
            assert_eq!(config.session_expiry_max.as_secs(), seconds);
        }
        let why = parse("always").expect_err("no time").to_string();
        assert!(why.contains("or never"), "{why}");
    }

    #[test]
    fn an_address_of_ipv6_may_have_brackets() {
        for text in ["::1", "[::1]"] {
            let config = Config::from(Flags::parse_from(["broker", "--host", text]));
            assert_eq!(config.host, [Ipv6Addr::LOCALHOST], "{text}");
        }
        let scoped = Flags::try_parse_from(["broker", "--host", "fe80::1%1"]);
        let why = scoped.expect_err("it has a scope").to_string();
        assert!(why.contains("--listen '[fe80::1%1]:PORT'"), "{why}");
    }

    #[test]
    fn the_elements_of_a_list_are_trimmed_and_empty_ones_left_out() {
        let flags = [
            "broker",
            "--name",
            " a , b,",
            "--name=c",
            "--listen",
            "[::1]:1, 127.0.0.1:2 ,",
        ];
        let config = Config::from(Flags::parse_from(flags));
        assert_eq!(config.names, ["a", "b", "c"]);
        let listen = config.listen.iter().flatten();
        let listen: Vec<String> = listen.map(ToString::to_string).collect();
        assert_eq!(listen, ["[::1]:1", "127.0.0.1:2"]);
        for empty in ["", " ", ",", " , "] {
            for flag in ["--name", "--allow-origin", "--listen"] {
                assert!(
                    Flags::try_parse_from(["broker", flag, empty]).is_err(),
                    "{flag} {empty:?}"
                );
            }
        }
    }

    #[test]
    fn help_fits_a_screen() {
        let help = Flags::command().render_help().to_string();
        assert!(help.lines().count() <= 50, "{}", help.lines().count());
    }
}
