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
pub mod auth;
mod clock;
mod config;
mod engine;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod net;
mod operator;
mod storage;
mod sync;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender};

pub use config::{
    AccessTool, Arguments, BadConfig, CertTool, Config, LogFormat, LogSettings, RoomConfig,
    SecretPlace, StoreTool, TokenTool, Tool, UserTool, UsersPlace,
};
pub use engine::history::rules::{KeepLimits, KeepRule};
pub use engine::offline_history::{
    KeptLoss, KeptTrial, LogRead, LoggedMessage, read_log, try_rules,
};
pub use engine::offline_store::{
    ImportError, StoreImport, StoreRepair, back_up_store, import_into_store, look_at_store,
    repair_store,
};
pub use engine::stored_messages::{NotStored, StoreChanges, StoredMessages};
pub use ipnet::IpNet;
pub use net::inherited::InheritedSockets;
pub use net::tls::settings::{ClientCertMode, ClientNameSource, TlsConfig, TlsMode, TlsVersion};
pub use operator::Event;
pub use operator::bind_error::BindError;
pub use storage::report::{DamagedPlace, LogTail, SnapshotReport, StoreIdentity, StoreReport};
pub use storage::store::StoreError;

use engine::Engine;
use engine::event_client::OrderGiver;
use engine::orders::{Done, GivenOrder, Order};
use net::capacity::Capacity;
use net::doors::{Entrances, Provision};
use net::endpoints::ListenAddress;
use net::listener::Listener;
use net::tls::watched::WatchedTls;
use operator::certificates::Certificates;
use operator::identities;
use operator::security_log::{self, SecurityLog};
use operator::{ConfigSource, Observer, Operator, SuccessorCommand};
use storage::survey::StoreFound;
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
    certificates: Certificates,
    config: Config,
    security_log: SecurityLog,
    /// What the store had.
    found: Option<StoreFound>,
    /// Orders that are given before it runs wait here.
    orders: Receiver<GivenOrder>,
    /// What is left of what other processes have opened.
    inherited: InheritedSockets,
    source: Option<ConfigSource>,
    successor: Option<SuccessorCommand>,
    observer: Observer,
    /// Where other users are told, and where that is heard.
    users_changed: Sender<()>,
    changed: Receiver<()>,
}

/// Stops a [`Broker`] from another thread.
#[derive(Clone)]
pub struct Handle(Arc<Listener>);

impl Broker {
    /// Binds the addresses. Clients can connect from here on; [`Broker::run`] serves them.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        Self::bind_with(config, InheritedSockets::default())
    }

    /// The same, with sockets that another process has opened for this one. A socket at a configured
    /// address is used for it. Sockets of a service manager at no configured address serve all protocols,
    /// those of TCP instead of [`Config::host`] and [`Config::port`].
    pub fn bind_with(config: Config, mut inherited: InheritedSockets) -> Result<Self, BindError> {
        config.check().map_err(BindError::Config)?;
        let security_file = security_log::open(config.security_log.as_deref());
        let security_file = security_file.map_err(BindError::SecurityLog)?;
        let (capacity, limits) = operator::limits(&config)?;
        let engine = Engine::new(limits).map_err(BindError::Machine)?;
        let engine = Arc::new(engine);
        let security_log = SecurityLog::default();
        security_log.replace(security_file, &engine.security);
        let rooms = Arc::<Rooms>::default();
        let watched = WatchedTls::new(&config.tls);
        let tls = config.tls_material().map_err(BindError::Tls)?;
        let certified = tls.as_ref().map_or(&[][..], |tls| &tls.names);
        let settings = config.site_settings(certified);
        let settings = settings.map_err(BindError::Config)?;
        let site = Site::new(settings, &engine.limits);
        let entrances = Entrances {
            wires: Entrance::wires(site, WebChat::new(rooms.clone())),
            rooms,
        };
        let endpoints = config.endpoints();
        let activated = inherited.activated(&endpoints);
        let proxies = config.proxies.clone();
        let listener = Listener::new(engine.clone(), entrances, proxies, activated);
        listener.set_grace(config.drain);
        let replaced = listener.replace_tls(tls.as_ref(), &config.tls);
        replaced.map_err(BindError::Machine)?;
        let provision = listener.provision(&endpoints, &mut inherited)?;
        // Those that a service manager has opened are in no configuration.
        let addresses = provision.network_addresses().map_err(BindError::Machine)?;
        config.check_reach(&addresses).map_err(BindError::Config)?;
        let (users_changed, changed) = crossbeam_channel::bounded(1);
        let verifier = operator::verifier(&config, users_changed.clone());
        let verifier = verifier.map_err(BindError::Users)?;
        let users = verifier
            .as_ref()
            .and_then(|verifier| verifier.in_force().users);
        *engine.verifier.write() = verifier;
        let access = operator::access_table(&config, &addresses, users.as_deref());
        let (access, warnings) = access.map_err(BindError::Users)?;
        for warning in warnings {
            log::warn!("{warning}");
        }
        engine.access.replace(Arc::new(access));
        // When nothing else can fail: a process before this one is told to end for it.
        let found = operator::store::open(&engine, &config, &inherited)?;
        Ok(Self {
            found,
            addresses,
            rooms: provision.room_addresses().map_err(BindError::Machine)?,
            datagrams: provision.datagram_addresses().map_err(BindError::Machine)?,
            unix: provision.unix_paths(),
            inherited,
            successor: None,
            listener: Arc::new(listener),
            provision,
            orders: engine.orders.open(),
            engine,
            capacity,
            certificates: Certificates::new(watched, tls.as_ref()),
            config,
            security_log,
            source: None,
            observer: Box::new(|_| {}),
            users_changed,
            changed,
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

    /// Whether clients have to say who they are.
    #[must_use]
    pub fn has_users(&self) -> bool {
        self.config.has_verifier()
    }

    /// Whether clients may use TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.config.tls.is_on()
    }

    /// Whether clients must use TLS at this address.
    #[must_use]
    pub fn requires_tls(&self, address: SocketAddr) -> bool {
        self.config.tls.is_required(address.ip().is_loopback())
    }

    /// A handle to stop it from another thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.listener.clone())
    }

    /// Sets where [`Handle::reload`] and the operator's order get the configuration from. An error is each
    /// mistake in it.
    #[must_use]
    pub fn reload_from(
        mut self,
        source: impl Fn() -> Result<Config, Vec<String>> + Send + Sync + 'static,
    ) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Sets the command that the operator's order to restart runs. It gets the listening sockets as
    /// [`InheritedSockets::from_environment`] takes them.
    #[must_use]
    pub fn restart_by(mut self, command: impl Fn() -> Command + Send + Sync + 'static) -> Self {
        self.successor = Some(Box::new(command));
        self
    }

    /// Sets what is told of each [`Event`], such as a service manager.
    #[must_use]
    pub fn tell(mut self, observer: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// Serves until it is stopped. Then all clients are told so (BYE on the line protocol) and receive
    /// their queued messages, for at most five seconds.
    pub fn run(self) {
        self.log_endpoints();
        let Self {
            listener,
            provision,
            engine,
            config,
            inherited,
            orders,
            source,
            successor,
            observer,
            users_changed,
            changed,
            certificates,
            security_log,
            ..
        } = self;
        let flusher = engine.flusher.clone();
        let (stop_watching, stopped) = crossbeam_channel::bounded(0);
        let (set_interval, interval) = crossbeam_channel::unbounded();
        let first_interval = config.sys_interval;
        let sync_interval = config.sync_interval;
        let (stop_store, store_stopped) = crossbeam_channel::bounded(0);
        let operator = Operator {
            listener: &listener,
            engine: &engine,
            config,
            source,
            successor,
            observer: &observer,
            interval: set_interval,
            users_changed,
            certificates,
            security_log: &security_log,
        };
        thread::scope(|scope| {
            let stopped = &stopped;
            scope.spawn(|| flusher.run());
            scope.spawn(|| security_log.run(&engine.security));
            if let Some(store) = engine.store.get() {
                scope.spawn(|| store.run(sync_interval, &*engine, &store_stopped));
                scope.spawn(|| engine::follow::tail_loop(&engine));
                scope.spawn(|| engine::follow::catch_up_loop(&engine));
            }
            scope.spawn(|| engine::expiry::expire_loop(&engine));
            scope.spawn(|| listener.watch_loop(stopped));
            scope.spawn(|| identities::watch_loop(&engine, &listener, &changed, stopped));
            // The first client that subscribes to the figures must find values.
            let (first, done) = crossbeam_channel::bounded(0);
            let publishing = &engine;
            scope.spawn(move || {
                admin::sys_topics::publish_loop(
                    publishing,
                    first_interval,
                    &interval,
                    stopped,
                    first,
                )
            });
            let _ = done.recv();
            scope.spawn(move || operator.run(&orders, stopped));
            match listener.open(provision) {
                Ok(()) => {
                    observer(Event::Ready);
                    inherited.tell_predecessor();
                    // The rest of what the process before had is not wanted any more.
                    drop(inherited);
                    listener.serve_until_stop(|| observer(Event::Stopping));
                }
                Err(err) => log::error!("cannot serve: there is no thread for it ({err})"),
            }
            stop(&listener, &engine, stop_watching, stop_store);
        });
        log_end(&engine);
    }

    fn log_endpoints(&self) {
        let Capacity { connections, bound } = self.capacity;
        if self.config.jwt_keys.is_some() && self.config.jwt_audience.is_none() {
            log::warn!(
                "without --jwt-audience the broker takes JWTs that were issued for any other service, too; name its own"
            );
        }
        for address in &self.addresses {
            log::info!("listening on {address}, at most {connections} connections ({bound})");
        }
        if let Some((file, end)) = self.certificates.ends() {
            let file = file.display();
            log::info!("TLS with the certificate in {file}, which ends on {end}");
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
        operator::store::log_found(&self.engine, &self.config, self.found.as_ref());
    }
}

/// Ends all connections, and then the threads beside them.
fn stop(listener: &Listener, engine: &Engine, watching: Sender<()>, store: Sender<()>) {
    log::info!("stopping");
    listener.close_doors();
    engine.orders.close();
    drop(watching);
    if let Some(verifier) = &*engine.verifier.read() {
        verifier.stop();
    }
    listener.close_all();
    engine.sessions.close();
    engine.security.close();
    engine::follow::stop(engine);
    // The wills of the connections that ended are kept by now.
    drop(store);
    engine.flusher.stop();
    listener.stop_tls();
}

fn log_end(engine: &Engine) {
    log_audit(engine);
    let metrics = &engine.metrics;
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

    /// The number of connections now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.engine().clients.connected()
    }

    /// Where it serves all protocols now, as [`Broker::local_addrs`] and [`Broker::unix_paths`] say for the
    /// beginning.
    #[must_use]
    pub fn addresses(&self) -> (Vec<SocketAddr>, Vec<PathBuf>) {
        let (mut network, mut unix) = (Vec::new(), Vec::new());
        for address in self.0.addresses() {
            match address {
                ListenAddress::Network(address) => network.push(address),
                ListenAddress::Unix(path) => unix.push(path),
            }
        }
        (network, unix)
    }

    /// Reads the configuration from where [`Broker::reload_from`] says and applies all of it, or nothing.
    /// The error is each mistake. No connection ends. Listeners, rooms, names, origins and proxies come
    /// and go; limits hold from the next batch of each connection, and what already exceeds a lower one
    /// stays until it ends by itself. Waits until the broker runs.
    pub fn reload(&self) -> Result<(), Vec<String>> {
        let done = self
            .0
            .engine()
            .orders
            .give(Order::Reload { is_dry: false }, OrderGiver::PROCESS);
        match done {
            Ok(Done::Reload(report)) if !report.applied => Err(report.errors),
            Ok(_) => Ok(()),
            Err(why) => Err(vec![why]),
        }
    }

    /// Has the security log opened anew, as after its file was moved. Does not wait.
    pub fn reopen_security_log(&self) {
        self.0.engine().security.reopen();
    }

    /// Makes [`Broker::run`] return after the time [`Config::drain`], or as soon as all clients are gone;
    /// until then newcomers are turned away. Called again, it is [`Handle::stop`].
    pub fn drain(&self) {
        self.0.finish();
    }

    /// Makes [`Broker::run`] return soon. May be called at any time and more than once.
    pub fn stop(&self) {
        self.0.stop();
    }
}
