//! The broker as a program: arguments, signals, exit code.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::panic;
use std::process::ExitCode;
use std::thread;

use broker::{Broker, Config, Handle};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

fn main() -> ExitCode {
    let config = Config::from_arguments();
    let logging = env_logger::Env::default().default_filter_or("info");
    env_logger::Builder::from_env(logging).init();
    panic::set_hook(Box::new(|bug| log::error!("a bug of the broker: {bug}")));
    let broker = match Broker::bind(config) {
        Ok(broker) => broker,
        Err(why) => return fail(&why),
    };
    if let Err(why) = obey_signals(broker.handle()) {
        return fail(&why);
    }
    greet(broker.local_addrs());
    broker.run();
    ExitCode::SUCCESS
}

fn obey_signals(handle: Handle) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1])?;
    thread::spawn(move || {
        for signal in &mut signals {
            match signal {
                SIGUSR1 => handle.log_audit(),
                _ => handle.stop(),
            }
        }
    });
    Ok(())
}

/// Prints the addresses, and commands to try.
fn greet(addresses: &[SocketAddr]) {
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
    say(format_args!(
        "dallal {} listens on {address}\n  \
         netcat:  nc {host} {port}   and then type  SUBSCRIBE news  or  PUBLISH news hello\n  \
         client:  cargo run --release --bin client -- subscribe --server {server} news\n  \
         browser: http://{server}/   a chat room, and what goes on",
        env!("CARGO_PKG_VERSION"),
    ));
    for address in &addresses[1..] {
        say(format_args!("  also on {address}"));
    }
    for address in addresses.iter().filter(|each| !each.ip().is_loopback()) {
        log::warn!("anyone who can reach {address} may publish and subscribe");
    }
}

fn fail(why: &dyn std::fmt::Display) -> ExitCode {
    say(format_args!("broker: {why}"));
    ExitCode::FAILURE
}

/// Ignores errors: a broker whose standard error is closed continues.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}
