//! The open doors of a broker, and how a reload changes them: first all that is new is bound, and only
//! when that has succeeded the threads of the new ones start and those of the others end.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::net::datagrams::RoomSocket;
use crate::net::door::{Door, ListeningSocket};
use crate::net::endpoints::{Endpoints, ListenAddress};
use crate::net::inherited::{Activated, InheritedSockets, KEPT, OWN, PassedSocket};
use crate::net::line_datagrams::LineSocket;
use crate::net::tcp_socket;
use crate::net::unix_socket::UnixSocket;
use crate::wire::Entrance;
use crate::wire::room::Rooms;

/// In the error of a socket that does not tell its own address.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Why a socket is not there.
#[derive(Debug)]
pub(crate) struct BindFailure {
    pub(crate) address: ListenAddress,
    pub(crate) source: io::Error,
}

/// Something that threads serve.
struct Served<T> {
    what: Arc<T>,
    threads: Vec<JoinHandle<()>>,
}

/// The open doors, and the sockets for lines in datagrams.
#[derive(Default)]
pub(crate) struct Doors {
    doors: Vec<Served<Door>>,
    datagrams: Vec<Served<LineSocket>>,
}

/// What is to be open, all of it bound. Dropped, it closes what was bound for it.
#[derive(Default)]
pub(crate) struct Provision {
    doors: Vec<Arc<Door>>,
    datagrams: Vec<Arc<LineSocket>>,
}

/// What the doors of a broker lead to.
pub(crate) struct Entrances {
    pub(crate) wires: Entrance,
    pub(crate) rooms: Arc<Rooms>,
}

/// What starts the threads that serve something.
pub(crate) trait Serve {
    fn serve_door(&self, door: &Arc<Door>) -> io::Result<Vec<JoinHandle<()>>>;
    fn serve_datagrams(&self, socket: &Arc<LineSocket>) -> io::Result<Vec<JoinHandle<()>>>;
}

impl Doors {
    /// Binds what is wanted and not open. Nothing is accepted there, and nothing that is open changes.
    pub(crate) fn provision(
        &self,
        wanted: &Endpoints,
        entrances: &Entrances,
        inherited: &mut InheritedSockets,
    ) -> Result<Provision, BindFailure> {
        let mut open: Vec<Arc<Door>> = self.doors.iter().map(|door| door.what.clone()).collect();
        let mut provision = Provision::default();
        for addresses in &wanted.wires {
            provision.bind(&mut open, inherited, addresses, &entrances.wires)?;
        }
        for (addresses, topic) in &wanted.rooms {
            let entrance = Entrance::Room(Arc::new(entrances.rooms.open(topic)));
            provision.bind(&mut open, inherited, addresses, &entrance)?;
        }
        for place in &wanted.unix {
            provision.bind_unix(&mut open, &place.path, &entrances.wires, || match inherited
                .take_unix(&place.path)
            {
                Some(listener) => {
                    UnixSocket::opened(listener, &place.path, inherited.keeps(&place.path))
                }
                None => UnixSocket::bind(place),
            })?;
        }
        for path in &wanted.opened_unix {
            provision.bind_unix(&mut open, path, &entrances.wires, || {
                let gone = || io::Error::from(io::ErrorKind::NotFound);
                let listener = inherited.take_unix(path).ok_or_else(gone)?;
                UnixSocket::opened(listener, path, true)
            })?;
        }
        let mut open: Vec<_> = self.datagrams.iter().map(|it| it.what.clone()).collect();
        for &address in &wanted.datagrams {
            let socket = match open.iter().position(|socket| socket.address == address) {
                Some(at) => open.swap_remove(at),
                None => {
                    let socket = match inherited.take_udp(address) {
                        Some(socket) => LineSocket::on(address, socket),
                        None => LineSocket::bind(address),
                    };
                    Arc::new(socket.map_err(failed(address))?)
                }
            };
            provision.datagrams.push(socket);
        }
        Ok(provision)
    }

    /// Starts the threads of what is new, and takes out what is not wanted any more; the caller then ends
    /// that. If a thread does not start, nothing has changed.
    pub(crate) fn change(&mut self, to: Provision, server: &impl Serve) -> io::Result<Self> {
        let mut new = Self::default();
        let started = new.start(&self.doors, &self.datagrams, &to, server);
        if let Err(err) = started {
            drop(new.close());
            return Err(err);
        }
        let is_wanted = |door: &Served<Door>| to.doors.iter().any(|it| Arc::ptr_eq(it, &door.what));
        let (kept, gone) = std::mem::take(&mut self.doors)
            .into_iter()
            .partition(is_wanted);
        let is_wanted = |socket: &Served<LineSocket>| {
            to.datagrams.iter().any(|it| Arc::ptr_eq(it, &socket.what))
        };
        let datagrams = std::mem::take(&mut self.datagrams);
        let (kept_datagrams, gone_datagrams) = datagrams.into_iter().partition(is_wanted);
        self.doors = kept;
        self.doors.append(&mut new.doors);
        self.datagrams = kept_datagrams;
        self.datagrams.append(&mut new.datagrams);
        Ok(Self {
            doors: gone,
            datagrams: gone_datagrams,
        })
    }

    fn start(
        &mut self,
        doors: &[Served<Door>],
        datagrams: &[Served<LineSocket>],
        wanted: &Provision,
        server: &impl Serve,
    ) -> io::Result<()> {
        for door in &wanted.doors {
            if !doors.iter().any(|it| Arc::ptr_eq(&it.what, door)) {
                let threads = server.serve_door(door)?;
                let what = door.clone();
                self.doors.push(Served { what, threads });
            }
        }
        for socket in &wanted.datagrams {
            if !datagrams.iter().any(|it| Arc::ptr_eq(&it.what, socket)) {
                let threads = server.serve_datagrams(socket)?;
                let what = socket.clone();
                self.datagrams.push(Served { what, threads });
            }
        }
        Ok(())
    }

    /// Where all protocols are served, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> Vec<ListenAddress> {
        let doors = self.doors.iter().map(|door| &door.what);
        let doors = doors.filter(|door| !door.entrance.is_room());
        let addresses = doors.map(|door| match door.socket.network_address() {
            Some(Ok(local)) => ListenAddress::Network(local),
            _ => door.address.clone(),
        });
        addresses.collect()
    }

    /// Copies of all sockets, for a process that goes on with them, each with its name.
    pub(crate) fn sockets(&self, activated: &Activated) -> io::Result<Vec<PassedSocket>> {
        let mut sockets = Vec::new();
        for Served { what: door, .. } in &self.doors {
            let is_kept = match &*door.socket {
                ListeningSocket::Tcp(socket) => activated.has(socket.local_addr()?),
                ListeningSocket::Unix(socket) => socket.is_kept(),
            };
            let name = if is_kept { KEPT } else { OWN };
            sockets.push((door.socket.as_fd().try_clone_to_owned()?, name));
            if let Some(datagrams) = &door.datagrams {
                sockets.push((datagrams.as_fd().try_clone_to_owned()?, OWN));
            }
        }
        for Served { what, .. } in &self.datagrams {
            sockets.push((what.as_fd().try_clone_to_owned()?, OWN));
        }
        Ok(sockets)
    }

    /// Another process goes on with the sockets: the files of Unix sockets stay.
    pub(crate) fn hand_over(&self) {
        for Served { what: door, .. } in &self.doors {
            if let ListeningSocket::Unix(socket) = &*door.socket {
                socket.hand_over();
            }
        }
    }

    /// Ends the threads that serve the doors, and waits for them. Connections stay. Returns the doors, whose
    /// sockets are closed when they are dropped.
    pub(crate) fn close(self) -> Vec<Arc<Door>> {
        for door in &self.doors {
            door.what.close();
        }
        for socket in &self.datagrams {
            socket.what.close();
        }
        let (doors, threads): (Vec<_>, Vec<_>) = self
            .doors
            .into_iter()
            .map(|door| (door.what, door.threads))
            .unzip();
        let datagrams = self.datagrams.into_iter().flat_map(|it| it.threads);
        for thread in threads.into_iter().flatten().chain(datagrams) {
            // Its panic has been logged.
            let _ = thread.join();
        }
        doors
    }
}

impl Provision {
    /// Binds the addresses of one host and port that are not open. What is taken out of `open` goes on.
    fn bind(
        &mut self,
        open: &mut Vec<Arc<Door>>,
        inherited: &mut InheritedSockets,
        addresses: &[SocketAddr],
        entrance: &Entrance,
    ) -> Result<(), BindFailure> {
        let mut missing = Vec::new();
        let mut port = None;
        for &address in addresses {
            let wanted = ListenAddress::Network(address);
            let Some(at) = open.iter().position(|door| door.address == wanted) else {
                missing.push(address);
                continue;
            };
            let door = open.swap_remove(at);
            if let Some(Ok(local)) = door.socket.network_address() {
                port = Some(local.port());
            }
            let door = match door.entrance.is_same(entrance) {
                true => door,
                false => with_entrance(&door, entrance).map_err(failed(address))?,
            };
            self.doors.push(door);
        }
        let bound = tcp_socket::bind(&missing, port, |address| inherited.take_tcp(address));
        let bound = bound.map_err(|(address, source)| failed(address)(source))?;
        for (address, socket) in bound {
            let socket = Arc::new(ListeningSocket::Tcp(socket));
            let local = socket.network_address().transpose();
            let local = local.map_err(failed(address))?.unwrap_or(UNKNOWN);
            let datagrams = match entrance {
                Entrance::Wires(_) => None,
                Entrance::Room(room) => {
                    room.set_port(local.port());
                    let socket = match inherited.take_udp(local) {
                        Some(socket) => RoomSocket::opened(socket, room.clone()),
                        None => RoomSocket::bind(local, room.clone()),
                    };
                    Some(socket.map_err(failed(local))?)
                }
            };
            let wanted = ListenAddress::Network(address);
            let door = Door::new(wanted, socket, entrance.clone(), datagrams);
            self.doors.push(Arc::new(door.map_err(failed(address))?));
        }
        Ok(())
    }

    fn bind_unix(
        &mut self,
        open: &mut Vec<Arc<Door>>,
        path: &Path,
        entrance: &Entrance,
        bind: impl FnOnce() -> io::Result<UnixSocket>,
    ) -> Result<(), BindFailure> {
        let address = ListenAddress::Unix(path.to_owned());
        let failed = |source| BindFailure {
            address: address.clone(),
            source,
        };
        let at = open.iter().position(|door| door.address == address);
        let door = match at.map(|at| open.swap_remove(at)) {
            Some(door) => door,
            None => {
                let socket = bind().map_err(failed)?;
                let socket = Arc::new(ListeningSocket::Unix(socket));
                let door = Door::new(address.clone(), socket, entrance.clone(), None);
                Arc::new(door.map_err(failed)?)
            }
        };
        self.doors.push(door);
        Ok(())
    }

    /// The addresses on which all protocols are served, with the ports that the system chose.
    pub(crate) fn network_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let wires = self.doors.iter().filter(|door| !door.entrance.is_room());
        let addresses = wires.filter_map(|door| door.socket.network_address());
        addresses.collect()
    }

    /// The addresses of the rooms, with their topics.
    pub(crate) fn room_addresses(&self) -> io::Result<Vec<(SocketAddr, String)>> {
        let rooms = self.doors.iter().filter_map(|door| match &door.entrance {
            Entrance::Wires(_) => None,
            Entrance::Room(room) => Some((door.socket.network_address()?, room.topic())),
        });
        rooms
            .map(|(address, topic)| Ok((address?, topic.to_owned())))
            .collect()
    }

    /// The paths of the Unix sockets.
    pub(crate) fn unix_paths(&self) -> Vec<PathBuf> {
        let paths = self.doors.iter().filter_map(|door| match &door.address {
            ListenAddress::Network(_) => None,
            ListenAddress::Unix(path) => Some(path.clone()),
        });
        paths.collect()
    }

    /// The addresses for lines in datagrams.
    pub(crate) fn datagram_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.datagrams.iter().map(|it| it.local_addr()).collect()
    }
}

/// A door with the sockets of another, for something else.
fn with_entrance(door: &Door, entrance: &Entrance) -> io::Result<Arc<Door>> {
    let local = door
        .socket
        .network_address()
        .transpose()?
        .unwrap_or(UNKNOWN);
    let datagrams = match entrance {
        Entrance::Wires(_) => None,
        Entrance::Room(room) => {
            room.set_port(local.port());
            Some(match &door.datagrams {
                Some(datagrams) => datagrams.for_room(room.clone())?,
                None => RoomSocket::bind(local, room.clone())?,
            })
        }
    };
    let address = door.address.clone();
    Door::new(address, door.socket.clone(), entrance.clone(), datagrams).map(Arc::new)
}

fn failed(address: SocketAddr) -> impl Fn(io::Error) -> BindFailure {
    move |source| BindFailure {
        address: ListenAddress::Network(address),
        source,
    }
}

impl fmt::Display for BindFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.source)
    }
}
