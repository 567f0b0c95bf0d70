//! The broker as a program: arguments, signals, exit code.

mod command;
mod program;

use std::env;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use broker::{BindError, Broker, Config, Handle, InheritedSockets, LogSettings, Tool};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;

use program::logging::Logging;
use program::service::Service;

/// Maximum time at the end for the log to be written, and for a service manager to be told.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Why there is no broker.
enum StartFailure {
    Bind(BindError),
    System(io::Error),
}

impl From<BindError> for StartFailure {
    fn from(why: BindError) -> Self {
        Self::Bind(why)
    }
}

impl From<io::Error> for StartFailure {
    fn from(why: io::Error) -> Self {
        Self::System(why)
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(why) => why.fmt(f),
            Self::System(why) => why.fmt(f),
        }
    }
}

/// The exit code for flags and files that are wrong.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    if let Some(tool) = Tool::from_arguments() {
        return command::run(tool);
    }
    let arguments = Config::from_arguments();
    // Before the thread of the log: this changes the environment.
    let inherited = InheritedSockets::from_environment();
    let logging = match Logging::start(&arguments.log) {
        Ok(logging) => logging,
        Err(why) => {
            let _ = writeln!(io::stderr(), "broker: {why}");
            return ExitCode::FAILURE;
        }
    };
    panic::set_hook(Box::new(|bug| log::error!("a bug of the broker: {bug}")));
    for warning in arguments.warnings {
        log::warn!("{warning}");
    }
    let served = inherited
        .map_err(StartFailure::from)
        .and_then(|inherited| serve(arguments.config, inherited, &arguments.log, &logging));
    if let Err(why) = &served {
        logging.say_failure(format_args!("broker: {why}"));
    }
    logging.close(LAST_LINES);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(StartFailure::Bind(why)) if why.is_wrong_usage() => ExitCode::from(WRONG_USAGE),
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(
    config: Config,
    inherited: InheritedSockets,
    log: &LogSettings,
    logging: &Logging,
) -> Result<(), StartFailure> {
    let log = log.clone();
    let program = env::current_exe()?;
    let broker = Broker::bind_with(config, inherited)?
        .reload_from(move || log.read_again())
        .restart_by(move || {
            // An upgrade has put a new program at the path of this one.
            let mut command = Command::new(&program);
            let mut arguments = env::args_os();
            if let Some(name) = arguments.next() {
                command.arg0(name);
            }
            command.args(arguments);
            command
        });
    obey_signals(broker.handle(), logging.clone())?;
    greet(logging, &broker);
    match Service::start(&broker)? {
        None => broker.run(),
        Some(service) => {
            broker.tell(service.observer()).run();
            service.end(LAST_LINES);
        }
    }
    Ok(())
}

fn obey_signals(handle: Handle, logging: Logging) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGXFSZ])?;
    thread::spawn(move || {
        for signal in &mut signals {
            match signal {
                SIGUSR1 => handle.log_audit(),
                SIGHUP => {
                    logging.reopen();
                    handle.reopen_security_log();
                    // The log tells what came of it.
                    let _ = handle.reload();
                }
                SIGTERM => handle.drain(),
                // The limit of a file's size: the write that reached it fails, instead of the process.
                SIGXFSZ => {}
                _ => handle.stop(),
            }
        }
    });
    Ok(())
}

/// Prints the addresses, and commands to try.
fn greet(logging: &Logging, broker: &Broker) {
    let addresses = broker.local_addrs();
    let address = addresses[0];
    let (host, port) = match address.ip() {
        ip if ip.is_unspecified() => ("localhost".to_owned(), address.port()),
        ip => (ip.to_string(), address.port()),
    };
    // With brackets around an address of IPv6.
    let server = match address.ip() {
        ip if ip.is_unspecified() => format!("{host}:{port}"),
        _ => address.to_string(),
    };
    let (auth, user) = match broker.has_users() {
        true => ("AUTH <user> <password>  and then  ", " --user <user>"),
        false => ("", ""),
    };
    let (netcat, tls, http) = match broker.requires_tls(address) {
        true => (
            format!("openssl: openssl s_client -quiet -connect {server}"),
            "tls://",
            "https",
        ),
        false => (format!("netcat:  nc {host} {port}"), "", "http"),
    };
    logging.say(format_args!(
        "dallal {} listens on {address}\n  \
         {netcat}   and then type  {auth}SUBSCRIBE news  or  PUBLISH news hello\n  \
         client:  {client} subscribe{user} --server {tls}{server} news\n  \
         browser: {http}://{server}/   a chat room, and what goes on",
        env!("CARGO_PKG_VERSION"),
        client = client_program(env::args_os().next().unwrap_or_default().as_ref()),
    ));
    for address in &addresses[1..] {
        logging.say(format_args!("  also on {address}"));
    }
    for path in broker.unix_paths() {
        logging.say(format_args!("  also on unix:{}", path.display()));
    }
    for (address, topic) in broker.room_addrs() {
        logging.say(format_args!(
            "  room {topic} on {address}, for raw text over TCP and UDP"
        ));
    }
    for address in broker.datagram_addrs() {
        logging.say(format_args!("  lines in datagrams on {address}"));
    }
    warn_of_others(broker);
}

/// Says for each address that others can reach what they can do there.
fn warn_of_others(broker: &Broker) {
    // A room has datagrams as well.
    let rooms = broker.room_addrs().iter().map(|(address, _)| address);
    let datagrams = rooms.chain(broker.datagram_addrs());
    let addresses = broker.local_addrs().iter().map(|it| (it, broker.has_tls()));
    for (address, has_tls) in addresses.chain(datagrams.map(|it| (it, false))) {
        if address.ip().is_loopback() {
            continue;
        }
        match (broker.has_users(), has_tls) {
            (true, true) => {}
            (true, false) => log::warn!(
                "names, passwords and messages on the way to {address} can be read by others, because there \
                 is no TLS"
            ),
            (false, _) => log::warn!("anyone who can reach {address} may publish and subscribe"),
        }
    }
}

/// How a shell calls the client: as the broker was called, if the client is in the same folder.
fn client_program(broker: &Path) -> String {
    let beside = broker.with_file_name("client");
    let is_beside = broker.parent().is_some_and(|it| it != Path::new("")) && beside.is_file();
    let client = if is_beside {
        beside
    } else {
        PathBuf::from("client")
    };
    command_line::shell_word(&client)
}
