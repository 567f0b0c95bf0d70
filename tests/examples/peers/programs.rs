//! Where the programs are, and of which version.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::account::as_nobody;
use crate::arguments::Arguments;
use crate::folders::profile_folder;
use crate::peer::{PEERS, Peer, Program, Role};
use crate::trouble::Trouble;

/// A program to be measured.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) peer: &'static Peer,
    pub(crate) path: PathBuf,
    /// Empty if it has none of its own.
    pub(crate) version: String,
}

#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) found: Vec<Found>,
    /// What loads them.
    pub(crate) client: PathBuf,
    left_out: Vec<(&'static str, String)>,
    /// Holds copies that any user may run.
    _copies: TempDir,
}

impl Programs {
    /// Those that were asked for and are there.
    pub(crate) fn find(arguments: &Arguments) -> Result<Self, Trouble> {
        let profile = profile_folder();
        let client = built(profile.join("client"))?;
        let copies = tempfile::tempdir().map_err(|error| Trouble::file(&env::temp_dir(), error))?;
        let (mut found, mut left_out) = (Vec::new(), Vec::new());
        for peer in &PEERS {
            if !arguments.asks_for(peer.name) {
                left_out.push((peer.name, "it was not asked for".to_owned()));
                continue;
            }
            let named = arguments
                .programs
                .iter()
                .find(|(name, _)| name == peer.name);
            let path = match (named, peer.program) {
                (Some((_, path)), _) => reachable(path, peer, copies.path()),
                (None, Program::Broker) => Ok(built(profile.join("broker"))?),
                (None, Program::Example(name)) => Ok(built(profile.join("examples").join(name))?),
                (None, Program::Installed(name)) => installed(name),
                (None, Program::Named) => Err(format!("give --program {}=PATH", peer.name)),
            };
            match path {
                Ok(path) => found.push(Found {
                    version: version(peer, &path),
                    peer,
                    path,
                }),
                Err(why) => left_out.push((peer.name, why)),
            }
        }
        if found.is_empty() {
            return Err(Trouble::NoBroker);
        }
        Ok(Self {
            found,
            client,
            left_out,
            _copies: copies,
        })
    }

    /// Which brokers are not measured, and why.
    pub(crate) fn left_out(&self) -> &[(&'static str, String)] {
        &self.left_out
    }
}

fn built(path: PathBuf) -> Result<PathBuf, Trouble> {
    if path.is_file() {
        Ok(path)
    } else {
        Err(Trouble::NotBuilt(path))
    }
}

fn installed(name: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut files = folders.map(|folder| folder.join(name));
    files
        .find(|file| file.is_file())
        .ok_or_else(|| format!("there is no program {name}"))
}

/// Downloaded programs run as the user `nobody`, which may not read the folder of the download.
fn reachable(path: &Path, peer: &Peer, copies: &Path) -> Result<PathBuf, String> {
    let copied = || {
        if peer.role != Role::Rival || !geteuid().is_root() {
            return fs::canonicalize(path);
        }
        let copy = copies.join(peer.name);
        fs::copy(path, &copy)?;
        for open in [copies, &copy] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o755))?;
        }
        io::Result::Ok(copy)
    };
    copied().map_err(|error| format!("{}: {error}", path.display()))
}

fn version(peer: &Peer, path: &Path) -> String {
    let flag = match peer.program {
        Program::Example(_) => return String::new(),
        Program::Broker | Program::Installed(_) | Program::Named => "--version",
    };
    let mut command = Command::new(path);
    as_nobody(&mut command, peer);
    // Mosquitto takes no such flag, and says its version all the same.
    let output = command.arg(flag).stdin(Stdio::null()).output();
    let said = output.map(|output| [output.stdout, output.stderr].concat());
    first_version(&String::from_utf8_lossy(&said.unwrap_or_default()))
}

fn first_version(said: &str) -> String {
    let pattern = Regex::new(r"\d+\.\d+\.\d+[\w.+-]*").expect("a regular expression");
    let found = pattern.find(said).map(|found| found.as_str());
    found.unwrap_or("of unknown version").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_a_program_says() {
        for (said, version) in [
            ("nats-server: v2.9.10\n", "2.9.10"),
            (
                "Redis server v=7.0.15 sha=0:0 malloc=jemalloc-5.3.0",
                "7.0.15",
            ),
            ("mosquitto version 2.0.11\n\nmosquitto is", "2.0.11"),
            ("dallal 0.1.0-rc.1", "0.1.0-rc.1"),
            ("hello", "of unknown version"),
        ] {
            assert_eq!(first_version(said), version);
        }
    }
}
