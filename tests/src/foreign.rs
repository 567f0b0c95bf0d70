//! Programs and libraries that others wrote, in the versions that `tests/versions` pins: where `tests/run`
//! has put them, below the folder that cargo builds into.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::{installed, program};

/// A Python script, with the packages that are there.
#[track_caller]
pub fn python(script: &str, args: &[&str]) -> Command {
    let mut command = Command::new(foreign("python/bin/python"));
    command.args(["-u", "-c", script]).args(args);
    command
}

/// A script for node, with the packages that are there.
#[track_caller]
pub fn node(script: &str, args: &[&str]) -> Command {
    let mut command = installed("node", "nodejs");
    command.args(["-e", script, "--"]).args(args);
    command.env("NODE_PATH", foreign("node/node_modules"));
    command
}

/// A client of mosquitto, such as `mosquitto_sub`, for a broker at this port of this machine.
#[track_caller]
pub fn mosquitto(program: &str, address: SocketAddr) -> Command {
    installed(program, "mosquitto-clients");
    // It would keep what it has to say until there is more of it.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", program, "-h", "localhost", "-p"]);
    command.arg(address.port().to_string());
    command
}

/// A program or a file of a package for node.
#[track_caller]
pub fn node_package(path: &str) -> PathBuf {
    foreign(&format!("node/node_modules/{path}"))
}

#[track_caller]
fn foreign(path: &str) -> PathBuf {
    let programs = program("broker");
    let target = programs
        .ancestors()
        .nth(2)
        .expect("<target>/<profile>/broker");
    let path = target.join("foreign").join(path);
    assert!(
        path.exists(),
        "there is no {}; `tests/run --install` puts it there",
        path.display()
    );
    path
}
