//! The thread that carries out the orders of the operator, and the reload as a transaction.
//!
//! A reload reads and checks everything, binds what is new, and only then changes the running broker: it
//! applies all of the new configuration, or nothing of it.

pub(crate) mod bind_error;
pub(crate) mod certificates;
pub(crate) mod identities;
mod order_events;
mod rights;
pub(crate) mod security_log;
pub(crate) mod store;
mod successor;

use std::mem;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};

use crate::auth::access::AccessTable;
use crate::auth::identity::{IdentityFiles, Users, Verifier};
use crate::config::{self, Config};
use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::limits::Limits;
use crate::engine::orders::{Change, Done, GivenOrder, Kicked, Order, ReloadReport};
use crate::engine::session::Expiry;
use crate::net::capacity::{self, Capacity};
use crate::net::doors::Provision;
use crate::net::inherited::InheritedSockets;
use crate::net::listener::Listener;
use crate::net::socket::Dismissal;
use crate::net::tls::material::TlsMaterial;
use crate::net::tls::watched::WatchedTls;
use crate::wire::http::SiteSettings;
use bind_error::BindError;
use certificates::Certificates;
use security_log::{SecurityFile, SecurityLog};

/// Where a reload gets the configuration from. An error is each mistake in it.
pub(crate) type ConfigSource = Box<dyn Fn() -> Result<Config, Vec<String>> + Send + Sync>;

/// The command that starts a process which goes on with the listening sockets.
pub(crate) type SuccessorCommand = Box<dyn Fn() -> Command + Send + Sync>;

/// What is told about the state of the broker, for a service manager.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It serves.
    Ready,
    /// It reads its configuration again; [`Event::Reloaded`] follows.
    Reloading,
    /// The reload is over; the text says what came of it.
    Reloaded(String),
    /// The process with this number goes on with its listening sockets; [`Event::Stopping`] follows.
    HandedOver(u32),
    /// It takes no newcomers and stops soon.
    Stopping,
}

/// Told of each event.
pub(crate) type Observer = Box<dyn Fn(Event) + Send + Sync>;

/// Carries out orders.
pub(crate) struct Operator<'a> {
    pub(crate) listener: &'a Arc<Listener>,
    pub(crate) engine: &'a Engine,
    /// What is in force.
    pub(crate) config: Config,
    pub(crate) source: Option<ConfigSource>,
    pub(crate) successor: Option<SuccessorCommand>,
    pub(crate) observer: &'a Observer,
    /// Where a new interval of the figures is told.
    pub(crate) interval: Sender<Duration>,
    /// Where other users are told.
    pub(crate) users_changed: Sender<()>,
    pub(crate) certificates: Certificates,
    pub(crate) security_log: &'a SecurityLog,
}

/// A new configuration of which everything has succeeded that can fail.
struct Prepared {
    next: Config,
    limits: Limits,
    site: SiteSettings,
    tls: Option<TlsMaterial>,
    certificates: Certificates,
    provision: Provision,
    identities: PreparedIdentities,
    access: Arc<AccessTable>,
    /// About the rules.
    warnings: Vec<String>,
    /// Another security log, if it is another; then it is this one, or none.
    security_file: Option<Option<SecurityFile>>,
}

/// The users of a new configuration, and the keys of JWTs.
enum PreparedIdentities {
    /// Those of other files, or of none.
    Another(Option<Arc<Verifier>>),
    /// Those of the same files, as they are now.
    Same(Option<(Arc<Verifier>, IdentityFiles)>),
}

impl PreparedIdentities {
    fn users(&self) -> Option<Arc<Users>> {
        match self {
            Self::Another(verifier) => verifier.as_ref()?.in_force().users,
            Self::Same(same) => same.as_ref()?.1.users.clone(),
        }
    }
}

/// The rules of a configuration that serves all protocols on these addresses, with warnings. An error is each
/// mistake in their files.
pub(crate) fn access_table(
    config: &Config,
    addresses: &[SocketAddr],
    users: Option<&Users>,
) -> Result<(AccessTable, Vec<String>), Vec<String>> {
    match &config.access {
        Some(path) => {
            let groups = users.map(Users::groups).unwrap_or_default();
            // Any group may come with a JWT.
            let groups = config.jwt_keys.is_none().then_some(&groups);
            AccessTable::read(path, groups)
        }
        None if config.asks_for_identities(addresses) => Ok((AccessTable::known(), Vec::new())),
        None => Ok((AccessTable::open(), Vec::new())),
    }
}

/// Reads the users of a configuration, and the keys of JWTs, and starts to watch them. An error is each mistake in
/// their files.
pub(crate) fn verifier(
    config: &Config,
    changed: Sender<()>,
) -> Result<Option<Arc<Verifier>>, Vec<String>> {
    if !config.has_verifier() {
        return Ok(None);
    }
    let verifier = Verifier::start(config.verifier_settings(), move || {
        // One that waits already tells enough.
        let _ = changed.try_send(());
    })?;
    warn_of_identities(config, &verifier.in_force());
    Ok(Some(Arc::new(verifier)))
}

/// Tells what is likely not meant.
fn warn_of_identities(config: &Config, files: &IdentityFiles) {
    let users = files.users.as_ref().zip(config.users.as_ref());
    if let Some((users, path)) = users
        && users.users.is_empty()
        && config.jwt_keys.is_none()
    {
        log::warn!(
            "{0} has no user, so no client is let in; add one: broker user add ann --users {0}",
            path.display()
        );
    }
}

impl Operator<'_> {
    /// Carries out orders until `stopped` is closed.
    pub(crate) fn run(mut self, orders: &Receiver<GivenOrder>, stopped: &Receiver<()>) {
        // Ends sessions, for which the ledger counts the wills as the broker's own.
        let mut client = Client::internal(self.engine);
        let looks = crossbeam_channel::tick(certificates::LOOK_INTERVAL);
        self.look_at_certificates();
        loop {
            let GivenOrder {
                order,
                giver,
                answer,
            } = select! {
                recv(looks) -> _ => {
                    self.look_at_certificates();
                    continue;
                }
                recv(orders) -> given => match given {
                    Ok(given) => given,
                    Err(_) => return,
                },
                recv(stopped) -> _ => return,
            };
            let is_question = order_events::is_question(&order);
            // A panic ends this order alone: the others, and the broker, go on.
            let done = panic::catch_unwind(AssertUnwindSafe(|| self.carry_out(order, &mut client)));
            let done = done.unwrap_or_else(|_| {
                self.engine.metrics.panicked.add(1);
                client = Client::internal(self.engine);
                Err("a bug of the broker has ended this order; its log says more".to_owned())
            });
            if let Some(done) = done.as_ref().ok().filter(|_| !is_question) {
                order_events::note_order(self.engine, giver, done);
            }
            // The connection that gave it may be gone.
            let _ = answer.send(done);
        }
    }

    /// A panic ends this look alone.
    fn look_at_certificates(&mut self) {
        let look = || {
            self.certificates
                .look(&self.config, self.listener, self.engine);
        };
        if panic::catch_unwind(AssertUnwindSafe(look)).is_err() {
            self.engine.metrics.panicked.add(1);
        }
    }

    fn carry_out(&mut self, order: Order, client: &mut Client<'_>) -> Result<Done, String> {
        match order {
            Order::Reload { is_dry } => Ok(Done::Reload(self.reload(is_dry))),
            Order::Drain(time) => {
                let time = time.unwrap_or(self.config.drain);
                let connections = self.listener.drain(time);
                let seconds = time.as_secs();
                Ok(Done::Drain {
                    connections,
                    seconds,
                })
            }
            Order::Restart => {
                let none = || "this broker cannot start another process".to_owned();
                let command = self.successor.as_ref().ok_or_else(none)?;
                let sockets = self.listener.sockets();
                let sockets = sockets.map_err(|err| format!("no descriptor is left: {err}"))?;
                let pid = successor::start(command(), sockets)?;
                log::info!("process {pid} goes on with the listening sockets");
                self.listener.hand_over();
                (self.observer)(Event::HandedOver(pid));
                self.listener.drain(self.config.drain);
                Ok(Done::Restart { pid })
            }
            Order::Kick(name) => self.kick(&name),
            Order::EndSession(client_id) => self.end_session(&client_id, client),
        }
    }

    /// Reads the configuration and applies it, or says why not.
    fn reload(&mut self, is_dry: bool) -> ReloadReport {
        if !is_dry {
            (self.observer)(Event::Reloading);
        }
        let mut report = ReloadReport::default();
        let prepared = self.prepare(&mut report.changes);
        let applied = match prepared {
            Ok(prepared) if !is_dry => self.apply(prepared).map_err(|why| vec![why]),
            prepared => prepared.map(drop),
        };
        match applied {
            Ok(()) => report.applied = !is_dry,
            Err(errors) => report.errors = errors,
        }
        if !is_dry {
            log_reload(&report);
            let last = self.engine.orders.note_reload(report.clone());
            (self.observer)(Event::Reloaded(format!("reload {last}")));
        }
        report
    }

    /// Does everything that can fail, and changes nothing that is in force.
    fn prepare(&self, changes: &mut Vec<Change>) -> Result<Prepared, Vec<String>> {
        let Some(source) = &self.source else {
            return Err(vec![
                "this broker has no configuration to read again".to_owned(),
            ]);
        };
        if self.engine.orders.is_draining() {
            return Err(vec!["the broker is about to stop".to_owned()]);
        }
        let next = source()?;
        *changes = self.config.changes(&next);
        self.explain(&next, changes);
        let one = |why: &dyn ToString| vec![why.to_string()];
        next.check().map_err(|why| one(&why))?;
        // A socket that is there keeps its file as it is.
        let keeps_unix = self.config.unix.iter().any(|path| next.unix.contains(path));
        let needs_restart = config::need_restart(changes, keeps_unix);
        if !needs_restart.is_empty() {
            return Err(needs_restart);
        }
        let (_, limits) = limits(&next).map_err(|why| one(&why))?;
        let watched = WatchedTls::new(&next.tls);
        let all = |mistakes| next.mistakes_with(mistakes);
        let tls = next.tls_material().map_err(all)?;
        let certificates = Certificates::new(watched, tls.as_ref());
        let certified = tls.as_ref().map_or(&[][..], |tls| &tls.names);
        let site = next.site_settings(certified).map_err(|why| one(&why))?;
        let provision = self
            .listener
            .provision(&next.endpoints(), &mut InheritedSockets::default());
        let provision = provision.map_err(|why| one(&BindError::from(why)))?;
        let addresses = provision.network_addresses();
        let addresses = addresses.map_err(|why| one(&why))?;
        next.check_reach(&addresses).map_err(|why| one(&why))?;
        let identities = self.prepare_identities(&next, changes).map_err(all)?;
        let users = identities.users();
        let (access, warnings) = access_table(&next, &addresses, users.as_deref())?;
        let access = Arc::new(access);
        let is_other_log = next.security_log != self.config.security_log;
        let security_file = is_other_log.then(|| security_log::open(next.security_log.as_deref()));
        let security_file = security_file.transpose().map_err(|why| vec![why])?;
        changes.extend(rights::changes(self.engine, &access, users.as_deref()));
        Ok(Prepared {
            limits,
            site,
            tls,
            certificates,
            provision,
            identities,
            access,
            warnings,
            security_file,
            next,
        })
    }

    /// Changes the running broker. The doors come first: only there something can fail, and then they are
    /// as before.
    fn apply(&mut self, prepared: Prepared) -> Result<(), String> {
        let Prepared {
            next,
            limits,
            site,
            tls,
            certificates,
            provision,
            identities,
            access,
            warnings,
            security_file,
        } = prepared;
        let replaced = self.listener.replace_tls(tls.as_ref(), &next.tls);
        let is_other_tls =
            replaced.map_err(|err| format!("there is no thread for handshakes ({err})"))?;
        let opened = self.listener.open(provision);
        opened.map_err(|err| format!("there is no thread for a new listener ({err})"))?;
        for warning in warnings {
            log::warn!("{warning}");
        }
        self.apply_identities(identities);
        self.engine.access.replace(access);
        identities::renew(self.engine, self.listener);
        rights::enforce(self.engine, self.listener);
        self.engine.replace_limits(limits);
        self.listener.replace_site(site);
        self.listener.replace_proxies(next.proxies.clone());
        self.listener.set_grace(next.drain);
        if next.sys_interval != self.config.sys_interval {
            // It ends only when the broker stops.
            let _ = self.interval.send(next.sys_interval);
        }
        let events = &self.engine.security;
        match security_file {
            Some(file) => self.security_log.replace(file, events),
            None => events.reopen(),
        }
        self.config = next;
        self.certificates = certificates;
        if let Some(ends) = self.certificates.ends().filter(|_| is_other_tls) {
            certificates::note_changed(self.engine, ends);
        }
        self.look_at_certificates();
        Ok(())
    }

    /// Reads the users and the keys of JWTs, or starts to watch others. Adds what is different in them.
    fn prepare_identities(
        &self,
        next: &Config,
        changes: &mut Vec<Change>,
    ) -> Result<PreparedIdentities, Vec<String>> {
        let sources = |config: &Config| {
            let Config {
                users,
                jwt_keys,
                jwt_issuer,
                jwt_audience,
                ..
            } = config.clone();
            (users, jwt_keys, jwt_issuer, jwt_audience)
        };
        if sources(next) != sources(&self.config) {
            let verifier = verifier(next, self.users_changed.clone())?;
            return Ok(PreparedIdentities::Another(verifier));
        }
        let Some(verifier) = self.engine.verifier.read().clone() else {
            return Ok(PreparedIdentities::Same(None));
        };
        let (before, files) = (verifier.in_force(), verifier.read_again()?);
        if let Some((before, users)) = before.users.as_ref().zip(files.users.as_ref())
            && before != users
        {
            changes.push(Change {
                key: "users",
                from: before.to_string(),
                to: users.to_string(),
                concerns: "newcomers from now on, and connections of users that are gone"
                    .to_owned(),
            });
        }
        if let Some((before, keys)) = before.jwt_keys.as_ref().zip(files.jwt_keys.as_ref())
            && before != keys
        {
            changes.push(Change {
                key: "jwt-keys",
                from: before.to_string(),
                to: keys.to_string(),
                concerns:
                    "newcomers from now on, and connections whose JWT a key has signed that is gone"
                        .to_owned(),
            });
        }
        Ok(PreparedIdentities::Same(Some((verifier, files))))
    }

    fn apply_identities(&self, identities: PreparedIdentities) {
        match identities {
            PreparedIdentities::Same(None) => return,
            PreparedIdentities::Same(Some((verifier, files))) => verifier.replace(files),
            PreparedIdentities::Another(verifier) => {
                let before = mem::replace(&mut *self.engine.verifier.write(), verifier);
                // Its threads end when the last client that asks it has its answer.
                if let Some(before) = before {
                    before.stop();
                }
            }
        }
        // One that waits already tells enough.
        let _ = self.users_changed.try_send(());
    }

    /// Adds to each change whom it concerns, and from when.
    fn explain(&self, next: &Config, changes: &mut [Change]) {
        let all = connections(self.engine.clients.connected());
        let staying = match self.listener.connections_without_door(&next.endpoints()) {
            0 => "newcomers from now on".to_owned(),
            staying => {
                let staying = connections(staying);
                format!("newcomers from now on; {staying} of what closes stay")
            }
        };
        for change in changes {
            if !change.concerns.is_empty() {
                continue;
            }
            change.concerns = match change.key {
                "port" | "host" | "listen" | "unix" | "room" | "udp" => staying.clone(),
                "unix-mode" | "unix-owner" => "the files of Unix sockets".to_owned(),
                "name" | "allow-origin" | "talking" => {
                    "requests of pages from now on; those that are connected stay".to_owned()
                }
                "proxy" => "connections from now on".to_owned(),
                "users" | "jwt-keys" | "jwt-issuer" | "jwt-audience" | "open" | "access" => {
                    format!("newcomers from now on, and {all}")
                }
                "tls-cert" | "tls-key" | "tls" | "tls-min" | "client-ca" | "client-crl"
                | "client-cert" | "client-name" => {
                    "connections from now on; those that are there stay".to_owned()
                }
                "sys-interval" => "subscribers of $SYS/broker/, from now on".to_owned(),
                "max-connections" | "max-per-address" => {
                    format!("newcomers from now on; {all} stay")
                }
                "drain" => "the next stop".to_owned(),
                "security-log" => "events from now on".to_owned(),
                _ => format!("{all}, from the next batch"),
            };
        }
    }

    fn kick(&self, name: &str) -> Result<Done, String> {
        let number = name.strip_prefix('#').map(str::parse::<u64>);
        let mut records = self.engine.clients.present();
        records.retain(|record| {
            record.is_connected()
                && match &number {
                    Some(Ok(id)) => record.id() == *id,
                    Some(Err(_)) => false,
                    None => record.name().as_deref() == Some(name),
                }
        });
        let ids: Vec<u64> = records.iter().map(|record| record.id()).collect();
        let kicked = self.listener.dismiss(&ids, Dismissal::Kicked);
        if kicked.is_empty() {
            return Err(match records.is_empty() {
                true => format!("there is no connection {name:?}; `client who` lists all"),
                false => {
                    format!("{name:?} sends datagrams and has no connection that could be ended")
                }
            });
        }
        records.retain(|record| kicked.contains(&record.id()));
        let kicked = records.iter().map(|record| Kicked {
            id: record.id(),
            name: record.name().map(String::from),
            peer: record.peer().to_string(),
        });
        Ok(Done::Kick {
            kicked: kicked.collect(),
        })
    }

    fn end_session(&self, client_id: &str, client: &mut Client<'_>) -> Result<Done, String> {
        let sessions = &self.engine.sessions;
        let found = sessions.find(|key| key.is_meant_by(client_id));
        let session = match &found[..] {
            [only] => only,
            [] => {
                return Err(format!(
                    "there is no session {client_id:?}; `client sessions` lists all"
                ));
            }
            several => {
                let keys = several.iter().filter_map(|session| session.key());
                let keys: Vec<String> = keys.map(|key| format!("{:?}", key.to_string())).collect();
                return Err(format!(
                    "more than one identity has a session {client_id:?}; name one of them: {}",
                    keys.join(", ")
                ));
            }
        };
        let queued = session.outbox().stock().waiting;
        if sessions.end_detached(session) {
            client.begin();
            client.end_session(session);
            client.settle();
            // Cached routes would keep the outboxes of clients that have disconnected.
            client.pause();
        } else {
            // It ends with its connection.
            session.set_expiry(Expiry::AtOnce);
            let records = self.engine.clients.present();
            let of_session = records
                .iter()
                .filter(|record| record.session().id() == session.id());
            let ids: Vec<u64> = of_session.map(|record| record.id()).collect();
            self.listener.dismiss(&ids, Dismissal::Kicked);
        }
        Ok(Done::EndSession {
            ended: client_id.into(),
            queued,
        })
    }
}

/// The limits of a configuration, with the machine's where none are configured, and what bounds the number
/// of connections.
pub(crate) fn limits(config: &Config) -> Result<(Capacity, Limits), BindError> {
    let capacity = Capacity::of_machine(config.max_connections);
    if let Some(shortage) = capacity.shortage() {
        return Err(BindError::NoConnections(shortage));
    }
    let memory = config.memory.unwrap_or_else(capacity::half_of_memory);
    Ok((capacity, config.limits(capacity.connections, memory)))
}

fn connections(number: usize) -> String {
    match number {
        1 => "1 connection".to_owned(),
        number => format!("{number} connections"),
    }
}

fn log_reload(report: &ReloadReport) {
    for error in &report.errors {
        log::error!("reload: {error}");
    }
    for change in &report.changes {
        let Change {
            key,
            from,
            to,
            concerns,
        } = change;
        let done = if report.applied { "" } else { " not changed:" };
        log::info!("reload:{done} {key}: {from} -> {to} ({concerns})");
    }
    match report.applied {
        true => log::info!("reload: applied, changes: {}", report.changes.len()),
        false => log::error!("reload: nothing has changed"),
    }
}
