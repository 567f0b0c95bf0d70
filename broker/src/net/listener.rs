//! Accepts connections, starts their threads, and rejects those above the limit.
//!
//! It also ends connections whose peers have vanished, and all connections when the broker stops.
//! Everything else is done by the connection's own thread (`connection.rs`).

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use foldhash::fast::RandomState;
use ipnet::IpNet;
use parking_lot::{Condvar, Mutex};

use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::memory::heap;
use crate::engine::stats::log_limit::LogLimit;
use crate::net::connection::{Connection, ConnectionHandle};
use crate::net::datagrams::RoomSocket;
use crate::net::endpoint;
use crate::net::line_datagrams::LineSocket;
use crate::net::newcomers::{self, Newcomers};
use crate::net::places::Places;
use crate::net::shutdown::ShutdownDeadline;
use crate::net::tcp_info;
use crate::wire::Entrance;

/// Bytes of a thread's stack. Little of it is ever used, and untouched pages take no memory.
const STACK_BYTES: usize = 128 * 1024;

/// Maximum time for goodbyes when the broker stops.
const GOODBYES: Duration = Duration::from_secs(5);

/// Maximum time in which the threads of cut connections end.
const CUTS: Duration = Duration::from_secs(2);

/// Pause after an error that is likely to occur again at once.
const BREATH: Duration = Duration::from_millis(50);

/// Freed bytes after which memory is returned to the system. Fewer are not worth the call, which walks
/// the whole heap.
const WORTH_TRIMMING: usize = 16 * 1024 * 1024;

/// Interval at which places are checked for clients that say nothing.
const GLANCE: Duration = Duration::from_secs(1);

/// Interval at which connections are checked for vanished peers.
const WATCH: Duration = Duration::from_secs(10);

/// In the error of a socket that does not tell its own address.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The listening sockets and all connections accepted from them.
pub(crate) struct Listener {
    doors: Vec<Door>,
    /// For lines in datagrams.
    datagrams: Vec<LineSocket>,
    engine: Arc<Engine>,
    /// Connections from these addresses begin with a PROXY header.
    proxies: Vec<IpNet>,
    next_id: AtomicU64,
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
}

/// A listening socket, and what it is for.
struct Door {
    socket: TcpListener,
    entrance: Entrance,
    /// The same port for datagrams, of a room.
    datagrams: Option<RoomSocket>,
}

impl Door {
    fn open(socket: TcpListener, entrance: Entrance) -> Result<Self, (SocketAddr, io::Error)> {
        let datagrams = match &entrance {
            Entrance::Wires(_) => None,
            Entrance::Room(room) => {
                let address = socket.local_addr().map_err(|err| (UNKNOWN, err))?;
                room.set_port(address.port());
                Some(RoomSocket::bind(address, room.clone()).map_err(|err| (address, err))?)
            }
        };
        Ok(Self {
            socket,
            entrance,
            datagrams,
        })
    }
}

impl Listener {
    /// Listens on endpoints, each the addresses of one host and port, and on those for lines in
    /// datagrams.
    pub(crate) fn bind(
        endpoints: Vec<(Vec<SocketAddr>, Entrance)>,
        datagrams: &[SocketAddr],
        engine: Arc<Engine>,
        proxies: Vec<IpNet>,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let mut doors = Vec::new();
        for (addresses, entrance) in endpoints {
            for socket in endpoint::bind(&addresses)? {
                doors.push(Door::open(socket, entrance.clone())?);
            }
        }
        let bind = |&address| LineSocket::bind(address).map_err(|err| (address, err));
        Ok(Self {
            doors,
            datagrams: datagrams.iter().map(bind).collect::<Result<_, _>>()?,
            engine,
            proxies,
            next_id: AtomicU64::new(1),
            newcomers: Arc::default(),
            shutdown: Arc::default(),
            connections: Mutex::default(),
            places: Mutex::default(),
            empty: Condvar::new(),
            spare: Mutex::new(spare()),
            refusals: LogLimit::default(),
        })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The addresses on which it serves all protocols, with the ports that the system chose.
    pub(crate) fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        let wires = self
            .doors
            .iter()
            .filter(|door| matches!(door.entrance, Entrance::Wires(_)));
        wires.map(|door| door.socket.local_addr()).collect()
    }

    /// The addresses for lines in datagrams.
    pub(crate) fn datagram_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.datagrams.iter().map(LineSocket::local_addr).collect()
    }

    /// The addresses of the rooms, with their topics.
    pub(crate) fn room_addrs(&self) -> io::Result<Vec<(SocketAddr, String)>> {
        let rooms = self.doors.iter().filter_map(|door| match &door.entrance {
            Entrance::Wires(_) => None,
            Entrance::Room(room) => Some((&door.socket, room.topic())),
        });
        rooms
            .map(|(socket, topic)| Ok((socket.local_addr()?, topic.to_owned())))
            .collect()
    }

    /// Accepts on all sockets until the broker stops.
    pub(crate) fn accept(self: &Arc<Self>) {
        thread::scope(|scope| {
            let (first, others) = self.doors.split_first().expect("there is at least one");
            for door in others {
                scope.spawn(|| self.accept_loop(door));
            }
            for datagrams in self.doors.iter().filter_map(|door| door.datagrams.as_ref()) {
                scope.spawn(|| datagrams.serve(&self.engine, &self.next_id, &self.shutdown));
            }
            for datagrams in &self.datagrams {
                scope.spawn(|| datagrams.serve(&self.engine, &self.shutdown));
            }
            self.accept_loop(first);
        });
    }

    fn accept_loop(self: &Arc<Self>, door: &Door) {
        loop {
            let accepted = door.socket.accept();
            if self.shutdown.deadline().is_some() {
                return;
            }
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, &door.entrance),
                Err(err) if is_out_of_descriptors(&err) => self.turn_away_with_spare(door, &err),
                Err(err) if is_passing(&err) => {}
                Err(err) => {
                    self.warn_refusal(&err);
                    thread::sleep(BREATH);
                }
            }
        }
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

    /// Ends [`Listener::accept`], from any thread.
    pub(crate) fn stop(&self) {
        self.shutdown.begin(Instant::now() + GOODBYES);
        self.datagrams.iter().for_each(LineSocket::wake);
        for Door {
            socket, datagrams, ..
        } in &self.doors
        {
            if let Some(datagrams) = datagrams {
                datagrams.wake();
            }
            if let Err(err) = rustix::net::shutdown(socket, rustix::net::Shutdown::Read) {
                log::error!("a listening socket cannot be shut down: {err}");
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, entrance: &Entrance) {
        // A socket for IPv6 accepts clients of IPv4 as well, under addresses such as ::ffff:10.0.0.5.
        let peer = match peer.ip().to_canonical() {
            ip @ IpAddr::V4(_) => SocketAddr::new(ip, peer.port()),
            IpAddr::V6(_) => peer,
        };
        let by_proxy = self.is_proxy(peer.ip());
        let limits = self.engine.limits.load();
        let taken = self.places.lock().take(peer.ip(), by_proxy, &limits);
        let place = match taken {
            Ok(place) => place,
            Err(why) => {
                let in_room = entrance.is_room();
                self.newcomers
                    .turn_away(stream, why.to_string(), by_proxy, in_room);
                return self.warn_refusal(&why);
            }
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let connection = Connection::new(
            id,
            stream,
            peer,
            &self.engine,
            place,
            self.shutdown.clone(),
            entrance.clone(),
        );
        self.connections.lock().insert(id, connection.handle());
        // Logged by this thread, because the first log line takes a page or two more of a thread's
        // stack for good.
        log::debug!("connection {id} from {peer} begins");
        let listener = self.clone();
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
        let limits = self.engine.limits.load();
        let mut connections = self.connections.lock();
        let Some(handle) = connections.get_mut(&id) else {
            return Ok(());
        };
        // Under the lock of the connections, as at the end of one: the place that is given back then must
        // be this one.
        let moved = self.places.lock().move_to(address, handle.place(), &limits);
        let moved = moved.map_err(|why| {
            self.warn_refusal(&why);
            why.to_string()
        });
        handle.set_place(moved?);
        Ok(())
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|range| range.contains(&address))
    }

    /// No descriptors are left: accepts the next connection with the spare one. Unless others have become
    /// free by then, the connection is only told that the broker is full.
    fn turn_away_with_spare(self: &Arc<Self>, door: &Door, err: &io::Error) {
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
        if self.shutdown.deadline().is_some() {
            return;
        }
        match accepted {
            Ok((stream, peer)) if reserve.is_some() => self.admit(stream, peer, &door.entrance),
            Ok((stream, _)) => {
                self.turn_away_at_once(&stream, &err.to_string(), door.entrance.is_room());
                drop(stream);
                *reserve = spare();
            }
            Err(_) => thread::sleep(BREATH),
        }
    }

    /// Where there is no thread or no descriptor for waiting.
    fn turn_away_at_once(&self, stream: &TcpStream, why: &str, in_room: bool) {
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
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionReset
    )
}
