//! Flags and environment: parses the command line into a [`Config`].
//!
//! `--help`, `--man`, `--version` and wrong usage are answered here, and end the process.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use bytesize::ByteSize;
use clap::error::ErrorKind;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use ipnet::IpNet;
use nix::unistd::{Group, User};
use protocol::Topic;

use super::file::{self, FileSettings};
use super::{Arguments, Config, LogFormat, LogSettings, RoomConfig, print};
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
        default_value = "1000",
        value_name = "N"
    )]
    room_members: usize,
    /// Silence after which such a member is forgotten
    #[arg(long, env = "BROKER_ROOM_IDLE", hide_env = true, default_value = "10m", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    room_idle: Duration,
    /// Take lines in datagrams there, as 1373; repeatable
    #[arg(long, env = "BROKER_UDP", hide_env = true, value_name = "[HOST:]PORT", value_parser = places)]
    udp: Vec<List<ListeningPlace>>,
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
        default_value = http::CHAT_PATH,
        value_name = "PATH"
    )]
    talking: String,
    /// Address or range of a proxy with PROXY headers; repeatable
    #[arg(long = "proxy", env = "BROKER_PROXY", hide_env = true, value_name = "ADDRESS",
          value_parser = address_ranges)]
    proxies: Vec<List<IpNet>>,
    /// Form of the log, text or json
    #[arg(long, env = "BROKER_LOG_FORMAT", hide_env = true, default_value = "text", value_name = "FORM",
          value_parser = log_format)]
    log_format: LogFormat,
    /// Append the log to this file [default: standard error]
    #[arg(long, env = "BROKER_LOG_FILE", hide_env = true, value_name = "FILE")]
    log_file: Option<PathBuf>,
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

/// The addresses of a host.
#[derive(Clone, Debug)]
struct Host(Vec<IpAddr>);

/// A room as typed.
#[derive(Clone, Debug)]
struct RoomFlag {
    place: ListeningPlace,
    topic: String,
}

/// The numbers of a user and of a group.
#[derive(Clone, Debug)]
struct Owner {
    user: Option<u32>,
    group: Option<u32>,
}

/// Where to listen.
#[derive(Clone, Debug)]
enum ListeningPlace {
    /// On the hosts of `--host`.
    Port(u16),
    At(Vec<SocketAddr>),
}

impl ListeningPlace {
    fn addresses(self, hosts: &[IpAddr]) -> Vec<SocketAddr> {
        match self {
            Self::Port(port) => hosts.iter().map(|&host| (host, port).into()).collect(),
            Self::At(addresses) => addresses,
        }
    }
}

/// A value with commas in it.
#[derive(Clone, Debug)]
struct List<T>(Vec<T>);

const AFTER_HELP: &str = "\
Examples:
  broker --host 0.0.0.0      serve the network (anyone may publish)
  nc 127.0.0.1 1373          talk to it; type HELP

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
            names: flattened(flags.names),
            allow_origins: flattened(flags.allow_origins),
            talking: flags.talking,
            proxies: flattened(flags.proxies),
        }
    }
}

impl Config {
    /// Parses this process's arguments and environment, and the file that they name. Wrong usage, mistakes
    /// in the file, `--help`, `--check` and others that only print end the process.
    #[must_use]
    pub fn from_arguments() -> Arguments {
        let mut warnings = Vec::new();
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
        let command = with_runtime_folder(command);
        let (flags, printed) = parse(command, env::args_os().collect());
        if let Some(text) = printed {
            print(text.as_bytes());
        }
        let is_checked = flags.check;
        let log = LogSettings {
            format: flags.log_format,
            file: flags.log_file.clone(),
        };
        let config = Self::from(flags);
        if let Err(why) = config.check() {
            Flags::command()
                .error(ErrorKind::ValueValidation, why)
                .exit();
        }
        if is_checked {
            print(b"the configuration is valid\n");
        }
        Arguments {
            config,
            log,
            warnings,
        }
    }
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
/// ask to print, if they do. Wrong usage and mistakes in the file end the process.
fn parse(command: Command, arguments: Vec<OsString>) -> (Flags, Option<String>) {
    let matches = command.clone().get_matches_from(&arguments);
    let flags = flags_of(matches);
    if flags.example_config {
        return (flags, Some(print::example(&command)));
    }
    if flags.man {
        print_manual();
    }
    let usual = || Path::new(USUAL_FILE).exists().then(|| USUAL_FILE.into());
    let files = match flags.config.clone().or_else(usual) {
        None => FileSettings::default(),
        Some(path) => file::read(&path, &command).unwrap_or_else(|mistakes| {
            fail(&mistakes);
        }),
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
    let matches = with_files.clone().get_matches_from(&arguments);
    let printed = matches
        .get_flag("print_config")
        .then(|| print::in_force(&command, &matches, &files));
    (flags_of(matches), printed)
}

fn flags_of(mut matches: ArgMatches) -> Flags {
    Flags::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
}

/// Tells the mistakes of a configuration and ends the process.
fn fail(mistakes: &[String]) -> ! {
    let mut text = String::new();
    for mistake in mistakes {
        text.push_str(mistake);
        text.push('\n');
    }
    // Without standard error, the exit code tells.
    let _ = io::stderr().lock().write_all(text.as_bytes());
    process::exit(WRONG_USAGE)
}

/// The exit code of `clap`.
const WRONG_USAGE: i32 = 2;

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
    match command_line::write_page(&mut page, &command) {
        Ok(()) => print(&page),
        Err(_) => process::exit(1),
    }
}

/// Parses the form of the log.
fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("it is text or json".to_owned()),
    }
}

/// Parses a time that may be without end.
fn time_or_never(text: &str) -> Result<Duration, String> {
    match text.trim() {
        "never" => Ok(Duration::MAX),
        time => humantime::parse_duration(time)
            .map_err(|err| format!("{err}; a time is such as 30d, or never")),
    }
}

/// The elements of a list with commas, without the spaces around them. Empty ones are left out.
fn elements(text: &str) -> Result<Vec<&str>, String> {
    let elements = text.split(',').map(str::trim);
    let elements: Vec<&str> = elements.filter(|element| !element.is_empty()).collect();
    match elements[..] {
        [] => Err("it is empty".to_owned()),
        _ => Ok(elements),
    }
}

fn words(text: &str) -> Result<List<String>, String> {
    let elements = elements(text)?;
    Ok(List(elements.into_iter().map(str::to_owned).collect()))
}

fn paths(text: &str) -> Result<List<PathBuf>, String> {
    let elements = elements(text)?;
    Ok(List(elements.into_iter().map(PathBuf::from).collect()))
}

/// Parses permissions of a file.
fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.trim(), 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "permissions are such as 660, from 000 to 777".to_owned())
}

/// Parses `USER`, `USER:GROUP` or `:GROUP`; each is a name or a number.
fn owner(text: &str) -> Result<Owner, String> {
    let (user, group) = text.trim().split_once(':').unwrap_or((text.trim(), ""));
    let number = |name: &str, found: Option<u32>, kind: &str| match (name, name.parse()) {
        ("", _) => Ok(None),
        (_, Ok(number)) => Ok(Some(number)),
        _ => found
            .map(Some)
            .ok_or_else(|| format!("there is no {kind} {name:?} on this machine")),
    };
    let found_user = User::from_name(user).ok().flatten();
    let found_group = Group::from_name(group).ok().flatten();
    if user.is_empty() && group.is_empty() {
        return Err("an owner is such as dallal, dallal:staff or :staff".to_owned());
    }
    Ok(Owner {
        user: number(user, found_user.map(|it| it.uid.as_raw()), "user")?,
        group: number(group, found_group.map(|it| it.gid.as_raw()), "group")?,
    })
}

/// Parses hosts with ports.
fn addresses(text: &str) -> Result<List<Vec<SocketAddr>>, String> {
    parsed(text, |place| {
        found_once(place.to_socket_addrs()).map_err(|why| format!("{place}: {why}"))
    })
}

/// Parses rooms.
fn rooms(text: &str) -> Result<List<RoomFlag>, String> {
    parsed(text, |room| {
        let (place, topic) = room
            .split_once('=')
            .ok_or_else(|| format!("{room} is no room, such as 12345=lobby"))?;
        Topic::parse(topic).map_err(|why| format!("{room}: {why}"))?;
        Ok(RoomFlag {
            place: place_of(place)?,
            topic: topic.to_owned(),
        })
    })
}

/// Parses several `[HOST:]PORT`.
fn places(text: &str) -> Result<List<ListeningPlace>, String> {
    parsed(text, place_of)
}

/// Parses `[HOST:]PORT`.
fn place_of(text: &str) -> Result<ListeningPlace, String> {
    match text.parse() {
        Ok(port) => Ok(ListeningPlace::Port(port)),
        Err(_) => match found_once(text.to_socket_addrs()) {
            Ok(addresses) => Ok(ListeningPlace::At(addresses)),
            Err(why) => Err(format!("{text}: {why}")),
        },
    }
}

/// Parses addresses and ranges of them.
fn address_ranges(text: &str) -> Result<List<IpNet>, String> {
    parsed(text, address_range)
}

fn parsed<T>(text: &str, parse: fn(&str) -> Result<T, String>) -> Result<List<T>, String> {
    let elements = elements(text)?.into_iter();
    elements.map(parse).collect::<Result<_, _>>().map(List)
}

fn flattened<T>(lists: Vec<List<T>>) -> Vec<T> {
    lists.into_iter().flat_map(|list| list.0).collect()
}

/// Parses an address, with or without brackets, or resolves a name.
fn host(text: &str) -> Result<Host, String> {
    let inside = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let found = found_once((inside.unwrap_or(text), 0).to_socket_addrs())?;
    let is_scoped =
        |address: &SocketAddr| matches!(address, SocketAddr::V6(it) if it.scope_id() > 0);
    if let Some(scoped) = found.iter().find(|address| is_scoped(address)) {
        let place = scoped.to_string();
        let place = place.strip_suffix("0").unwrap_or(&place);
        return Err(format!(
            "it holds on one interface only; give --listen '{place}PORT'"
        ));
    }
    Ok(Host(found.iter().map(SocketAddr::ip).collect()))
}

/// Parses an address, or a range such as `10.0.0.0/8`.
fn address_range(text: &str) -> Result<IpNet, String> {
    let range = text.parse::<IpAddr>().map(IpNet::from);
    range
        .or_else(|_| text.parse::<IpNet>())
        .map(|range| range.trunc())
        .map_err(|_| {
            format!("{text} is no address, such as 10.0.0.7, and no range, such as 10.0.0.0/8")
        })
}

/// Each address of a name once: a name may be found in several sources.
fn found_once(
    found: io::Result<impl Iterator<Item = SocketAddr>>,
) -> Result<Vec<SocketAddr>, String> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.map_err(|err| err.to_string())? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses[..] {
        [] => Err("the name has no address".to_owned()),
        _ => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn the_flags_have_the_defaults_of_the_config() {
        let flags = Config::from(Flags::parse_from(["broker"]));
        assert_eq!(format!("{flags:?}"), format!("{:?}", Config::default()));
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
    fn an_address_of_a_name_is_taken_once() {
        let [one, two] = ["[::1]:1", "127.0.0.1:1"].map(|it| it.parse().expect("an address"));
        let found = found_once(Ok([one, two, one].into_iter()));
        assert_eq!(found, Ok(vec![one, two]));
        assert!(found_once(Ok([].into_iter())).is_err());
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
