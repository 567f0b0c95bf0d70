//! The figures in `docs/operating.md`, measured on the real broker. Prints what it finds, and ends
//! with 1 if a message was lost without a notice.
//!
//!     cargo run --release -p tests --example measure -- idle 10000
//!     cargo run --release -p tests --example measure -- fairness
//!
//! Each measurement has a file of its own. Times depend on the machine and on what else it does, so
//! everything that is compared is measured in the same run, in turns.

mod burst;
mod client;
mod crowd;
mod fairness;
mod flood;
mod idle;
mod kept;
mod latency;
mod logins;
mod one_of;
mod reconnects;
mod registry;
mod reload;
mod retained;
mod rounds;
mod sessions;
mod stall;
mod stdout;
mod threads;
mod topics;

use std::io;
use std::num::ParseIntError;
use std::process::ExitCode;
use std::time::Duration;

use stdout::say;

const USAGE: &str = "usage: measure WHAT
  idle CONNECTIONS     memory of connections that do nothing, and a broadcast to all of them
  idle-tls CONNECTIONS the same with TLS
  stall SECONDS        one subscriber that does not read, and a publisher at full speed
  fairness             a quiet pair, alone and beside a publisher at full speed
  one-of SUBSCRIBERS   one that stalls, trickles or vanishes, and what the others notice
  reconnects CLIENTS   clients with TLS that all come back at once
  logins CLIENTS       clients with passwords after a restart, and what a pair notices of them
  reload USERS         a reload of so many users and rules, and what a pair notices of it
  registry             a million subscriptions, and clients that come and go
  retained             a million retained messages; prints a part of docs/benchmarks.md
  kept                 messages that are kept for MQTT clients who are away
  sessions             what a session in the store costs a publisher; prints figures of docs/storage.md
  topics               a publisher that goes round 10,000 topics
  idle-after-burst     memory of connections that were busy and are not any more";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match measure(&arguments) {
        Ok(Some(Ok(true))) => ExitCode::SUCCESS,
        Ok(Some(Ok(false))) => ExitCode::FAILURE,
        Ok(Some(Err(err))) => {
            say(format_args!("measure: {err}"));
            ExitCode::FAILURE
        }
        Ok(None) => {
            say(format_args!("{USAGE}"));
            ExitCode::from(2)
        }
        Err(err) => {
            say(format_args!("measure: the number: {err}"));
            ExitCode::from(2)
        }
    }
}

/// Whether all messages are accounted for; `None` if there is no such measurement.
fn measure(arguments: &[&str]) -> Result<Option<io::Result<bool>>, ParseIntError> {
    Ok(Some(match *arguments {
        ["idle", connections] => idle::measure(connections.parse()?),
        ["idle-tls", connections] => idle::measure_tls(connections.parse()?),
        ["stall", seconds] => stall::measure(Duration::from_secs(seconds.parse()?)),
        ["fairness"] => fairness::measure(),
        ["one-of", subscribers] => one_of::measure(subscribers.parse()?),
        ["reconnects", clients] => reconnects::measure(clients.parse()?),
        ["logins", clients] => logins::measure(clients.parse()?),
        ["reload", users] => reload::measure(users.parse()?),
        ["registry"] => registry::measure(),
        ["retained"] => retained::measure(),
        ["kept"] => kept::measure(),
        ["sessions"] => sessions::measure(),
        ["topics"] => topics::measure(),
        ["idle-after-burst"] => burst::measure(),
        _ => return Ok(None),
    }))
}
