//! A publish/subscribe broker as a value: [`Broker::bind`], [`Broker::run`], and a [`Handle`] to
//! stop it. Two of them in one process share nothing.
//!
//! ```
//! let config = broker::Config { port: 0, ..Default::default() };
//! let broker = broker::Broker::bind(config)?;
//! let (address, handle) = (broker.local_addr(), broker.handle());
//! let serving = std::thread::spawn(move || broker.run());
//! assert!(std::net::TcpStream::connect(address).is_ok());
//! handle.stop();
//! serving.join().expect("the broker does not panic");
//! # Ok::<(), broker::BindError>(())
//! ```

mod admin;
mod clock;
mod config;
mod engine;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod net;
mod sync;
mod wire;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

pub use config::{Arguments, BadConfig, Config, LogFormat, LogSettings, RoomConfig};
pub use ipnet::IpNet;

use engine::Engine;
use engine::limits::Limits;
use net::capacity::{self, Capacity};
use net::door::ListenAddress;
use net::doors::{BindFailure, Entrances, Provision};
use net::listener::Listener;
use wire::Entrance;
use wire::http::Site;
use wire::room::Rooms;
use wire::talking::WebChat;

/// A broker that listens and does not accept yet.
pub struct Broker {
    listener: Arc<Listener>,
    /// What is bound, until it is served.
    provision: Provision,
    engine: Arc<Engine>,
    addresses: Vec<SocketAddr>,
    rooms: Vec<(SocketAddr, String)>,
    datagrams: Vec<SocketAddr>,
    unix: Vec<PathBuf>,
    capacity: Capacity,
    /// Zero for never.
    sys_interval: Duration,
}

/// Stops a [`Broker`] from another thread.
#[derive(Clone)]
pub struct Handle(Arc<Listener>);

impl Broker {
    /// Binds the addresses. Clients can connect from here on; [`Broker::run`] serves them.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        config.check().map_err(BindError::Config)?;
        let capacity = Capacity::of_machine(config.max_connections);
        if let Some(shortage) = capacity.shortage() {
            return Err(BindError::NoConnections(shortage));
        }
        let engine = Engine::new(limits(&config, capacity)).map_err(BindError::Machine)?;
        let engine = Arc::new(engine);
        let names = config.host_names().map_err(BindError::Config)?;
        let origins = config.origins().map_err(BindError::Config)?;
        let rooms = Arc::<Rooms>::default();
        let chat_path = config.chat_path().map_err(BindError::Config)?;
        let site = Site::new(&names, &origins, &engine.limits).with_chat_path(chat_path);
        let entrances = Entrances {
            wires: Entrance::wires(site, WebChat::new(rooms.clone())),
            rooms,
        };
        let endpoints = config.endpoints();
        let listener = Listener::new(engine.clone(), entrances, config.proxies);
        let provision = listener.provision(&endpoints)?;
        Ok(Self {
            addresses: provision.network_addresses().map_err(BindError::Machine)?,
            rooms: provision.room_addresses().map_err(BindError::Machine)?,
            datagrams: provision.datagram_addresses().map_err(BindError::Machine)?,
            unix: endpoints.unix.into_iter().map(|it| it.path).collect(),
            listener: Arc::new(listener),
            provision,
            engine,
            capacity,
            sys_interval: config.sys_interval,
        })
    }

    /// The first address on which it serves all protocols, with the port that the system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All these addresses.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses of the rooms for raw text, with their topics.
    #[must_use]
    pub fn room_addrs(&self) -> &[(SocketAddr, String)] {
        &self.rooms
    }

    /// The addresses for lines in datagrams.
    #[must_use]
    pub fn datagram_addrs(&self) -> &[SocketAddr] {
        &self.datagrams
    }

    /// The paths of the Unix sockets on which it serves all protocols.
    #[must_use]
    pub fn unix_paths(&self) -> &[PathBuf] {
        &self.unix
    }

    /// A handle to stop it from another thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.listener.clone())
    }

    /// Serves until it is stopped. Then all clients are told so (BYE on the line protocol) and receive
    /// their queued messages, for at most five seconds.
    pub fn run(self) {
        let Capacity { connections, bound } = self.capacity;
        for address in &self.addresses {
            log::info!("listening on {address}, at most {connections} connections ({bound})");
        }
        for (address, topic) in &self.rooms {
            log::info!("room for raw text on {address}, with the topic {topic}");
        }
        for address in &self.datagrams {
            log::info!("lines in datagrams on {address}");
        }
        for path in &self.unix {
            log::info!("listening on unix:{}", path.display());
        }
        let flusher = self.engine.flusher.clone();
        let (stop_watching, stopped) = crossbeam_channel::bounded(0);
        let interval = self.sys_interval;
        thread::scope(|scope| {
            scope.spawn(|| flusher.run());
            scope.spawn(|| engine::expiry::expire_loop(&self.engine));
            scope.spawn(|| self.listener.watch_loop(&stopped));
            if !interval.is_zero() {
                // The first client that subscribes to the figures must find values.
                let (first, done) = crossbeam_channel::bounded(0);
                let (engine, stopped) = (&self.engine, &stopped);
                scope.spawn(move || {
                    admin::sys_topics::publish_loop(engine, interval, stopped, first)
                });
                let _ = done.recv();
            }
            match self.listener.open(self.provision) {
                Ok(()) => self.listener.wait_for_stop(),
                Err(err) => log::error!("cannot serve: there is no thread for it ({err})"),
            }
            log::info!("stopping");
            self.listener.close_doors();
            drop(stop_watching);
            self.listener.close_all();
            self.engine.sessions.close();
            flusher.stop();
        });
        log_audit(&self.engine);
        let metrics = &self.engine.metrics;
        log::info!(
            "stopped; {} connections served, {} turned away, {} found stale, {} ended by a bug, \
             {} messages dropped for slow clients, {} waits for memory of {} ms together, \
             {} for slow clients that block of {} ms",
            metrics.ended.get(),
            metrics.refused.get(),
            metrics.stale.get(),
            metrics.panicked.get(),
            metrics.dropped.get(),
            metrics.waits.get(),
            metrics.waited.get() / 1000,
            metrics.blocks.get(),
            metrics.blocked.get() / 1000,
        );
    }
}

/// The configured limits, with the machine's where none are configured.
fn limits(config: &Config, capacity: Capacity) -> Limits {
    let memory = config.memory.unwrap_or_else(capacity::half_of_memory);
    config.limits(capacity.connections, memory)
}

fn log_audit(engine: &Engine) {
    let audit = engine.clients.audit();
    let busy = if audit.is_exact {
        ""
    } else {
        " (batches are under way; they may be missing)"
    };
    let balances = audit.ledger.is_balanced() || !audit.is_exact;
    let level = if balances {
        log::Level::Info
    } else {
        log::Level::Error
    };
    log::log!(level, "ledger {}{busy}", audit.ledger);
}

impl Handle {
    /// Logs the ledger of all messages so far.
    pub fn log_audit(&self) {
        log_audit(self.0.engine());
    }

    /// Replaces all limits of the running broker by those of `config`, after the checks of
    /// [`Broker::bind`]. Every connection applies them to its next batch, without reconnecting. What
    /// already exceeds a lower limit stays until it ends by itself. Only limits change: addresses,
    /// names, origins and `sys_interval` stay as they were at the start.
    pub fn replace_limits(&self, config: &Config) -> Result<(), BadConfig> {
        config.check()?;
        let capacity = Capacity::of_machine(config.max_connections);
        let Capacity { connections, bound } = capacity;
        self.0.engine().replace_limits(limits(config, capacity));
        log::info!("limits replaced, at most {connections} connections ({bound})");
        Ok(())
    }

    /// Makes [`Broker::run`] return soon. May be called at any time and more than once.
    pub fn stop(&self) {
        self.0.stop();
    }
}

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
    /// The limits of the system leave no connection; the text names the limit.
    NoConnections(String),
    /// The system denies a resource that every broker needs.
    Machine(io::Error),
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
                    io::ErrorKind::InvalidInput => write!(
                        f,
                        "the path of unix:{path} is too long; a socket has room for about 90 bytes"
                    ),
                    _ => write!(f, "cannot listen on unix:{path}: {source}"),
                }
            }
            Self::NoConnections(shortage) => f.write_str(shortage),
            Self::Machine(source) => write!(f, "the system refuses what a broker needs: {source}"),
        }
    }
}

impl std::error::Error for BindError {}
