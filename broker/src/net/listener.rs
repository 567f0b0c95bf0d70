//! Accepts connections, starts their threads, and rejects those above the limit.
//!
//! It also ends connections whose peers have vanished, and all connections when the broker stops.
//! Everything else is done by the connection's own thread (`connection.rs`).

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use foldhash::fast::RandomState;
use ipnet::IpNet;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::clock::Moment;
use crate::clock::log_limit::LogLimit;
use crate::engine::Engine;
use crate::engine::memory::heap;
use crate::engine::peer::Peer;
use crate::net::connection::{Admitted, Connection, ConnectionHandle};
use crate::net::door::Door;
use crate::net::doors::{BindFailure, Doors, Entrances, Provision, Serve};
use crate::net::endpoints::{Endpoints, ListenAddress};
use crate::net::inherited::{Activated, InheritedSockets, PassedSocket};
use crate::net::line_datagrams::LineSocket;
use crate::net::newcomers::{self, Newcomers};
use crate::net::places::{PlaceLimits, Places};
use crate::net::shutdown::{GOODBYES, ShutdownDeadline, StopRequest};
use crate::net::socket::{self, Dismissal};
use crate::net::tcp_info;
use crate::net::tls::material::TlsMaterial;
use crate::net::tls::server::TlsServer;
use crate::net::tls::settings::TlsConfig;
use crate::wire::http::SiteSettings;

/// Bytes of a thread's stack. Little of it is ever used, and untouched pages take no memory.
const STACK_BYTES: usize = 128 * 1024;

/// Maximum time in which the threads of cut connections end.
const CUTS: Duration = Duration::from_secs(2);

/// Pause after an error that is likely to occur again at once.
const BREATH: Duration = Duration::from_millis(50);

/// Freed bytes after which memory is returned to the system. Fewer are not worth the call, which walks
/// the whole heap.
const WORTH_TRIMMING: usize = 16 * 1024 * 1024;

/// Interval at which places are checked for clients that say nothing.
const GLANCE: Duration = Duration::from_secs(1);

/// Interval at which clients are told while the broker drains.
const TELL: Duration = Duration::from_millis(50);

/// Interval at which connections are checked for vanished peers.
const WATCH: Duration = Duration::from_secs(10);

/// The open doors and all connections accepted from them.
pub(crate) struct Listener {
    doors: Mutex<Doors>,
    entrances: Entrances,
    /// What a service manager has opened.
    activated: Activated,
    engine: Arc<Engine>,
    /// Connections from these addresses begin with a PROXY header.
    proxies: RwLock<Vec<IpNet>>,
    stop: StopRequest,
    /// The time to drain, unless another is asked for. Locked alone.
    grace: Mutex<Duration>,
    shutdown: Arc<ShutdownDeadline>,
    connections: Mutex<HashMap<u64, ConnectionHandle, RandomState>>,
    /// Lock order: after `connections`.
    places: Mutex<Places>,
    /// Signalled when the last connection has ended; used with the lock of `connections`.
    empty: Condvar,
    /// Closed for a moment when no other descriptor is left, to accept a connection and reject it.
    spare: Mutex<Option<File>>,
    newcomers: Arc<Newcomers>,
    refusals: LogLimit,
    tls: Arc<TlsServer>,
}

impl Serve for Arc<Listener> {
    fn serve_door(&self, door: &Arc<Door>) -> io::Result<Vec<JoinHandle<()>>> {
        let (listener, accepting) = (self.clone(), door.clone());
        let mut threads = vec![
            thread::Builder::new()
                .name("accept".to_owned())
                .spawn(move || listener.accept_loop(&accepting))?,
        ];
        if door.datagrams.is_some() {
            let (listener, door) = (self.clone(), door.clone());
            let thread = thread::Builder::new().name("datagrams".to_owned());
            threads.push(thread.spawn(move || {
                if let Some(datagrams) = &door.datagrams {
                    datagrams.serve(&listener.engine);
                }
            })?);
        }
        Ok(threads)
    }

    fn serve_datagrams(&self, socket: &Arc<LineSocket>) -> io::Result<Vec<JoinHandle<()>>> {
        let (listener, socket) = (self.clone(), socket.clone());
        let thread = thread::Builder::new().name("datagrams".to_owned());
        Ok(vec![thread.spawn(move || socket.serve(&listener.engine))?])
    }
}

impl Listener {
    pub(crate) fn new(
        engine: Arc<Engine>,
        entrances: Entrances,
        proxies: Vec<IpNet>,
        activated: Activated,
    ) -> Self {
        Self {
            activated,
            doors: Mutex::default(),
            entrances,
            engine,
            proxies: RwLock::new(proxies),
            newcomers: Arc::default(),
            stop: StopRequest::default(),
            grace: Mutex::default(),
            shutdown: Arc::default(),
            connections: Mutex::default(),
            places: Mutex::default(),
            empty: Condvar::new(),
            spare: Mutex::new(spare()),
            refusals: LogLimit::default(),
            tls: Arc::default(),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Binds what is wanted and neither open yet nor inherited. Clients can connect from then on, and are
    /// served after [`Listener::open`].
    pub(crate) fn provision(
        &self,
        wanted: &Endpoints,
        inherited: &mut InheritedSockets,
    ) -> Result<Provision, BindFailure> {
        let wanted = self.activated.with(wanted);
        let doors = self.doors.lock();
        doors.provision(&wanted, &self.entrances, inherited)
    }

    /// Where all protocols are served now.
    pub(crate) fn addresses(&self) -> Vec<ListenAddress> {
        self.doors.lock().addresses()
    }

    /// Copies of all sockets, for a process that goes on with them.
    pub(crate) fn sockets(&self) -> io::Result<Vec<PassedSocket>> {
        self.doors.lock().sockets(&self.activated)
    }

    /// Closes all doors, because another process goes on with their sockets.
    pub(crate) fn hand_over(&self) {
        let doors = mem::take(&mut *self.doors.lock());
        doors.hand_over();
        drop(doors.close());
    }

    /// Serves what is provided, and closes what is not part of it. Connections stay. If the system has no
    /// thread for it, nothing changes.
    pub(crate) fn open(self: &Arc<Self>, provision: Provision) -> io::Result<()> {
        let mut doors = self.doors.lock();
        // Under the lock of the doors: those that the stop has closed must not be followed by others.
        if self.shutdown.deadline().is_some() {
            return Err(io::Error::other("the broker stops"));
        }
        let gone = doors.change(provision, self)?;
        drop(doors);
        for door in gone.close() {
            self.accept_rest(&door);
        }
        Ok(())
    }

    /// The number of connections that came through a door that is not wanted.
    pub(crate) fn connections_without_door(&self, wanted: &Endpoints) -> usize {
        let addresses = self.activated.with(wanted).listen_addresses();
        let came_there = |connection: &&ConnectionHandle| {
            let door = connection.door();
            door.is_some_and(|door| !addresses.contains(&door.address))
        };
        self.connections.lock().values().filter(came_there).count()
    }

    /// Ends the threads of handshakes.
    pub(crate) fn stop_tls(&self) {
        self.tls.stop();
    }

    /// Puts other certificates in force, as [`TlsServer::replace`], and ends connections whose clients have shown
    /// one that is revoked now. All others go on.
    pub(crate) fn replace_tls(
        &self,
        material: Option<&TlsMaterial>,
        config: &TlsConfig,
    ) -> io::Result<bool> {
        let is_other = self.tls.replace(material, config)?;
        if is_other {
            for connection in self.handles() {
                if connection.is_revoked() {
                    connection.cut(socket::revoked());
                }
            }
        }
        Ok(is_other)
    }

    pub(crate) fn replace_site(&self, settings: SiteSettings) {
        self.entrances.wires.replace_site(settings);
    }

    pub(crate) fn replace_proxies(&self, proxies: Vec<IpNet>) {
        *self.proxies.write() = proxies;
    }

    /// Sets the time to drain for [`Listener::finish`].
    pub(crate) fn set_grace(&self, time: Duration) {
        *self.grace.lock() = time;
    }

    /// Accepts the connections that wait at a door that is closed: their clients have been let in by the
    /// system, and would find themselves cut off.
    fn accept_rest(self: &Arc<Self>, door: &Arc<Door>) {
        // With another one, the socket goes on at another door.
        while Arc::strong_count(&door.socket) == 1 {
            match door.socket.accept() {
                Ok((stream, peer)) => self.admit(stream, peer, door),
                Err(_) => return,
            }
        }
    }

    /// Whether clients must use TLS at this door.
    fn requires_tls(&self, door: &Door) -> bool {
        match door.address {
            ListenAddress::Network(address) => self.tls.is_required(address.ip().is_loopback()),
            ListenAddress::Unix(_) => false,
        }
    }

    fn accept_loop(self: &Arc<Self>, door: &Arc<Door>) {
        while door.wait() {
            // Handshakes that do not go on must not take all places: who comes now waits at the door.
            let most = (self.engine.limits.load().connections / 2).max(1);
            if matches!(door.address, ListenAddress::Network(_)) && self.tls.is_crowded(most) {
                thread::sleep(BREATH);
                continue;
            }
            match door.socket.accept() {
                Ok((stream, peer)) => self.admit(stream, peer, door),
                Err(err) if is_out_of_descriptors(&err) => self.turn_away_with_spare(door, &err),
                Err(err) if is_passing(&err) => {}
                Err(err) => {
                    self.warn_refusal(&err);
                    thread::sleep(BREATH);
                }
            }
        }
    }

    /// Waits until the broker is to stop. If that is announced some time before, the broker drains until
    /// then: newcomers are turned away, except for health checks, and clients that connect again elsewhere
    /// are told, evenly over the first half of the time, so that they do not arrive there at once. Returns
    /// as soon as all are gone. `stopping` is called before the drain.
    pub(crate) fn serve_until_stop(&self, stopping: impl FnOnce()) {
        let (mut at, begun) = (self.stop.wait(), Instant::now());
        stopping();
        if at <= begun {
            return;
        }
        self.engine.orders.begin_draining();
        self.places.lock().drain();
        let half = at.saturating_duration_since(begun) / 2;
        let mut to_tell = self.handles();
        to_tell.retain(ConnectionHandle::moves_when_told);
        let (all, time) = (to_tell.len(), at.saturating_duration_since(begun));
        log::info!(
            "draining for {} s: {} connected, {all} are told early",
            time.as_secs_f64().round(),
            self.connections.lock().len(),
        );
        while Instant::now() < at && !self.connections.lock().is_empty() {
            let told = begun.elapsed().as_secs_f64() / half.as_secs_f64().max(f64::EPSILON);
            let left = all - (all as f64 * told.min(1.0)).ceil() as usize;
            for connection in to_tell.drain(left.min(to_tell.len())..) {
                connection.dismiss(Dismissal::Draining);
            }
            let wait = TELL.min(at.saturating_duration_since(Instant::now()));
            at = self.stop.wait_for(wait).unwrap_or(at);
        }
    }

    /// Asks for a stop after this time, in which the broker drains. Returns the number of connections.
    pub(crate) fn drain(&self, time: Duration) -> usize {
        self.stop.request(Instant::now() + time);
        self.connections.lock().len()
    }

    /// Begins to drain, or stops at once if that has begun.
    pub(crate) fn finish(&self) {
        let time = match self.stop.is_requested() {
            true => Duration::ZERO,
            false => *self.grace.lock(),
        };
        self.drain(time);
    }

    /// Ends these connections for this reason. Returns those that are there.
    pub(crate) fn dismiss(&self, ids: &[u64], why: Dismissal) -> Vec<u64> {
        // Their threads take this lock at their end, so it is not held while they are woken.
        let handles: Vec<ConnectionHandle> = {
            let connections = self.connections.lock();
            ids.iter()
                .filter_map(|id| connections.get(id).cloned())
                .collect()
        };
        for connection in &handles {
            connection.dismiss(why);
        }
        handles.iter().map(ConnectionHandle::id).collect()
    }

    /// Closes all doors, and from then on tells connections that the broker stops.
    pub(crate) fn close_doors(&self) {
        self.shutdown.begin(Instant::now() + GOODBYES);
        drop(mem::take(&mut *self.doors.lock()).close());
    }

    /// Makes all connections say goodbye, waits for them to end, and cuts those that do not.
    pub(crate) fn close_all(&self) {
        self.newcomers.finish();
        let deadline = self.shutdown.deadline().unwrap_or_else(Instant::now);
        let mut connections = self.connections.lock();
        // `wake` and `cut` lock outboxes under this lock. No thread takes this one under an outbox's
        // lock.
        connections.values().for_each(ConnectionHandle::wake);
        while !connections.is_empty()
            && !self
                .empty
                .wait_until(&mut connections, deadline)
                .timed_out()
        {}
        if connections.is_empty() {
            return;
        }
        log::warn!(
            "{} connections did not read their queued messages in time; they are cut",
            connections.len()
        );
        connections
            .values()
            .for_each(|connection| connection.cut(io::ErrorKind::Interrupted.into()));
        let deadline = Instant::now() + CUTS;
        while !connections.is_empty()
            && !self
                .empty
                .wait_until(&mut connections, deadline)
                .timed_out()
        {}
    }

    /// Ends connections whose peers have vanished while bytes were on the way to them, or say nothing where
    /// places are scarce, and returns freed memory to the system, until `stopped` is closed.
    pub(crate) fn watch_loop(&self, stopped: &Receiver<()>) {
        let mut watched = Instant::now();
        while stopped.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
            self.end_silent();
            if watched.elapsed() < WATCH {
                continue;
            }
            watched = Instant::now();
            for connection in self.handles() {
                if tcp_info::has_vanished(connection.socket()) {
                    connection.cut(io::ErrorKind::TimedOut.into());
                }
            }
            if self.engine.memory.take_returned() >= WORTH_TRIMMING {
                heap::trim();
            }
        }
    }

    fn handles(&self) -> Vec<ConnectionHandle> {
        self.connections.lock().values().cloned().collect()
    }

    /// Ends connections that have said nothing in their time, if others may need their places.
    fn end_silent(&self) {
        let most = self.engine.limits.load().connections;
        if !self.places.lock().are_scarce(most) {
            return;
        }
        let now = Moment::now();
        for connection in self.handles() {
            if connection.is_overdue(now) {
                connection.cut(io::Error::other("it said nothing in its time"));
            }
        }
    }

    /// Ends [`Listener::serve_until_stop`], from any thread.
    pub(crate) fn stop(&self) {
        self.stop.request(Instant::now());
    }

    fn admit(self: &Arc<Self>, stream: OwnedFd, peer: Peer, door: &Arc<Door>) {
        let entrance = &door.entrance;
        let by_proxy = self.is_proxy(&peer);
        let limits = PlaceLimits::of(&self.engine);
        let taken = self.places.lock().take(peer.ip(), by_proxy, &limits.limits);
        let place = match taken {
            Ok(place) => place,
            Err(why) => {
                let (why, in_room) = (limits.refusal(why, &self.engine), entrance.is_room());
                self.warn_refusal(&why);
                return self.newcomers.turn_away(stream, why, by_proxy, in_room);
            }
        };
        let id = self.engine.clients.next_id();
        let connection = Connection::new(
            id,
            stream,
            peer.clone(),
            &self.engine,
            Admitted {
                place,
                entrance: entrance.clone(),
                requires_tls: self.requires_tls(door),
            },
            self.shutdown.clone(),
            self.tls.clone(),
        );
        let handle = connection.handle(Arc::downgrade(door));
        self.connections.lock().insert(id, handle);
        // Logged by this thread, because the first log line takes a page or two more of a thread's
        // stack for good.
        log::debug!("connection {id} from {peer} begins");
        let listener = self.clone();
        // In a box: in the closure it would stand on the thread's stack twice, and a few bytes decide whether
        // each idle connection has touched another page of that.
        let connection = Box::new(connection);
        let builder = thread::Builder::new().stack_size(STACK_BYTES);
        let spawned = builder.spawn(move || {
            let leaving = Leaving {
                listener: &listener,
                id: connection.id(),
            };
            let admit = |address| listener.admit_behind_proxy(leaving.id, address);
            connection.run(&listener.engine, &admit);
            drop(leaving);
        });
        if let Err(err) = spawned
            && let Some(handle) = self.connections.lock().remove(&id)
        {
            self.places.lock().give_back(place);
            log::debug!("connection {id} from {peer} ends: it is turned away");
            let why = format!("no thread for it ({err})");
            self.turn_away_at_once(handle.socket(), &why, entrance.is_room());
        }
    }

    /// The proxy of a connection has told the address of its client, for which the connection counts from
    /// now on.
    fn admit_behind_proxy(&self, id: u64, address: IpAddr) -> Result<(), String> {
        let limits = PlaceLimits::of(&self.engine);
        let mut connections = self.connections.lock();
        let Some(handle) = connections.get_mut(&id) else {
            return Ok(());
        };
        // Under the lock of the connections, as at the end of one: the place that is given back then must
        // be this one.
        let moved = self
            .places
            .lock()
            .move_to(address, handle.place(), &limits.limits);
        let moved = moved.map_err(|why| {
            let why = limits.refusal(why, &self.engine);
            self.warn_refusal(&why);
            why
        });
        handle.set_place(moved?);
        Ok(())
    }

    fn is_proxy(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Network(address) => {
                let proxies = self.proxies.read();
                proxies.iter().any(|range| range.contains(&address.ip()))
            }
            Peer::Unix(_) => false,
        }
    }

    /// No descriptors are left: accepts the next connection with the spare one. Unless others have become
    /// free by then, the connection is only told that the broker is full.
    fn turn_away_with_spare(self: &Arc<Self>, door: &Arc<Door>, err: &io::Error) {
        // Locked until the connection is admitted, so that two accept loops do not use the spare at
        // once. Lock order: this one, then `connections`.
        let mut reserve = self.spare.lock();
        if reserve.take().is_none() {
            *reserve = spare();
            self.warn_refusal(err);
            thread::sleep(BREATH);
            return;
        }
        let accepted = door.socket.accept();
        *reserve = spare();
        match accepted {
            Ok((stream, peer)) if reserve.is_some() => self.admit(stream, peer, door),
            Ok((stream, _)) => {
                self.turn_away_at_once(&stream, &err.to_string(), door.entrance.is_room());
                drop(stream);
                *reserve = spare();
            }
            Err(_) => thread::sleep(BREATH),
        }
    }

    /// Where there is no thread or no descriptor for waiting.
    fn turn_away_at_once(&self, stream: impl AsFd, why: &str, in_room: bool) {
        newcomers::answer_at_once(stream, why, in_room);
        self.warn_refusal(&why);
    }

    fn warn_refusal(&self, why: &dyn std::fmt::Display) {
        self.engine.metrics.refused.add(1);
        if let Some(more) = self.refusals.say(Instant::now()) {
            log::warn!("a connection was turned away: {why}{more}");
        }
    }
}

/// Removes a connection from the list, however its thread ends.
struct Leaving<'a> {
    listener: &'a Listener,
    id: u64,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut connections = self.listener.connections.lock();
        if let Some(handle) = connections.remove(&self.id) {
            // Under the lock of the connections, so that their number and that of the places agree.
            self.listener.places.lock().give_back(handle.place());
        }
        if connections.is_empty() {
            self.listener.empty.notify_all();
        }
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

fn is_out_of_descriptors(err: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(err);
    errno == Some(Errno::MFILE) || errno == Some(Errno::NFILE)
}

/// Whether the error concerns only the connection to be accepted.
fn is_passing(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        // Another process with the same socket was faster.
        io::ErrorKind::WouldBlock
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionReset
    )
}
