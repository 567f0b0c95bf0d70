//! Why a broker cannot start, or cannot reload: what to do about it, in words.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::BadConfig;
use crate::net::doors::BindFailure;
use crate::net::endpoints::ListenAddress;

/// Why a broker could not start. `Display` says what to do about it.
#[derive(Debug)]
pub enum BindError {
    /// The configuration is invalid.
    Config(BadConfig),
    /// The broker cannot listen on the address.
    Address {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The broker cannot listen on the Unix socket.
    Unix {
        /// The path of its file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The users file cannot be read, or has these mistakes.
    Users(Vec<String>),
    /// A certificate or a key cannot be used: each mistake, with its file.
    Tls(Vec<String>),
    /// The security log cannot be opened; the text says what to do.
    SecurityLog(String),
    /// The store in this folder cannot be opened; the text says what to do.
    Store {
        /// The folder.
        folder: PathBuf,
        /// What to do.
        why: String,
    },
    /// The limits of the system leave no connection; the text names the limit.
    NoConnections(String),
    /// The system denies a resource that every broker needs.
    Machine(io::Error),
}

impl BindError {
    /// Whether another configuration is needed, and no other machine.
    #[must_use]
    pub fn is_wrong_usage(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Users(_))
    }
}

impl From<BindFailure> for BindError {
    fn from(failure: BindFailure) -> Self {
        let source = failure.source;
        match failure.address {
            ListenAddress::Network(address) => Self::Address { address, source },
            ListenAddress::Unix(path) => Self::Unix { path, source },
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(why) => why.fmt(f),
            Self::Address { address, source } => match source.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "{address} is taken; stop what listens there, or choose another port with \
                     --port or --listen (0 picks a free one)"
                ),
                io::ErrorKind::AddrNotAvailable => write!(
                    f,
                    "{} is no address of this machine; choose another with --host",
                    address.ip()
                ),
                io::ErrorKind::PermissionDenied => write!(
                    f,
                    "listening on {address} is not allowed; choose a port above 1023 with --port"
                ),
                _ => write!(f, "cannot listen on {address}: {source}"),
            },
            Self::Unix { path, source } => {
                let path = path.display();
                match source.kind() {
                    io::ErrorKind::AddrInUse => write!(
                        f,
                        "unix:{path} is taken; stop the program that listens there, or choose \
                         another path with --unix"
                    ),
                    io::ErrorKind::NotFound => write!(
                        f,
                        "the folder of unix:{path} is not there; make it, or choose another path \
                         with --unix"
                    ),
                    io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => write!(
                        f,
                        "the path of unix:{path} is too long; it has at most 107 bytes"
                    ),
                    _ => write!(f, "cannot listen on unix:{path}: {source}"),
                }
            }
            Self::Users(mistakes) => f.write_str(&mistakes.join("\n")),
            Self::Tls(mistakes) => f.write_str(&mistakes.join("\n")),
            Self::SecurityLog(why) => f.write_str(why),
            Self::Store { folder, why } => write!(f, "the store {}: {why}", folder.display()),
            Self::NoConnections(shortage) => f.write_str(shortage),
            Self::Machine(source) => write!(f, "the system refuses what a broker needs: {source}"),
        }
    }
}

impl std::error::Error for BindError {}
