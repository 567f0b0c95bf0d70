//! The open doors of a broker, and how a reload changes them: first all that is new is bound, and only
//! when that has succeeded the threads of the new ones start and those of the others end.

use std::fmt;
use std::io;
use std::mem;
use std::net::SocketAddr;
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
use crate::wire::room::{Room, Rooms};

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

impl<T> Served<T> {
    /// Starts the threads of what is wanted and not open. After an error, `started` has those that run.
    fn start(
        started: &mut Vec<Self>,
        wanted: &[Arc<T>],
        open: &[Self],
        serve: impl Fn(&Arc<T>) -> io::Result<Vec<JoinHandle<()>>>,
    ) -> io::Result<()> {
        for what in wanted {
            if !open.iter().any(|served| Arc::ptr_eq(&served.what, what)) {
                let threads = serve(what)?;
                let what = what.clone();
                started.push(Self { what, threads });
            }
        }
        Ok(())
    }

    /// Takes out what is not wanted, and adds what has been started.
    fn replace(open: &mut Vec<Self>, wanted: &[Arc<T>], started: &mut Vec<Self>) -> Vec<Self> {
        let is_wanted = |served: &Self| wanted.iter().any(|it| Arc::ptr_eq(it, &served.what));
        let (kept, gone) = mem::take(open).into_iter().partition(is_wanted);
        *open = kept;
        open.append(started);
        gone
    }
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
        let started = Served::start(&mut new.doors, &to.doors, &self.doors, |door| {
            server.serve_door(door)
        })
        .and_then(|()| {
            let open = &self.datagrams;
            Served::start(&mut new.datagrams, &to.datagrams, open, |socket| {
                server.serve_datagrams(socket)
            })
        });
        if let Err(err) = started {
            drop(new.close());
            return Err(err);
        }
        Ok(Self {
            doors: Served::replace(&mut self.doors, &to.doors, &mut new.doors),
            datagrams: Served::replace(&mut self.datagrams, &to.datagrams, &mut new.datagrams),
        })
    }

    /// Where all protocols are served, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> Vec<ListenAddress> {
        let doors = self.doors.iter().map(|door| &door.what);
        let doors = doors.filter(|door| !door.entrance.is_room());
        let addresses = doors.map(|door| match door.socket.network_address() {
            Ok(Some(local)) => ListenAddress::Network(local),
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
            let local = door.socket.network_address().map_err(failed(address))?;
            port = local.map(|local| local.port());
            let door = match door.entrance.is_same(entrance) {
                true => door,
                false => {
                    let local = local.unwrap_or(address);
                    with_entrance(&door, local, entrance).map_err(failed(address))?
                }
            };
            self.doors.push(door);
        }
        let bound = tcp_socket::bind(&missing, port, |address| inherited.take_tcp(address));
        let bound = bound.map_err(|(address, source)| failed(address)(source))?;
        for (address, socket) in bound {
            let local = socket.local_addr().map_err(failed(address))?;
            let socket = Arc::new(ListeningSocket::Tcp(socket));
            let datagrams = for_room(entrance, local, |room| match inherited.take_udp(local) {
                Some(socket) => RoomSocket::opened(socket, room),
                None => RoomSocket::bind(local, room),
            });
            let datagrams = datagrams.map_err(failed(local))?;
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
        let addresses = wires.filter_map(|door| door.socket.network_address().transpose());
        addresses.collect()
    }

    /// The addresses of the rooms, with their topics.
    pub(crate) fn room_addresses(&self) -> io::Result<Vec<(SocketAddr, String)>> {
        let rooms = self.doors.iter().filter_map(|door| match &door.entrance {
            Entrance::Wires(_) => None,
            Entrance::Room(room) => Some((&door.socket, room.topic())),
        });
        let addresses = rooms.filter_map(|(socket, topic)| {
            let address = socket.network_address().transpose()?;
            Some(address.map(|address| (address, topic.to_owned())))
        });
        addresses.collect()
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

/// A door with the sockets of another at this address, for something else.
fn with_entrance(door: &Door, local: SocketAddr, entrance: &Entrance) -> io::Result<Arc<Door>> {
    let datagrams = for_room(entrance, local, |room| match &door.datagrams {
        Some(datagrams) => datagrams.for_room(room),
        None => RoomSocket::bind(local, room),
    })?;
    let address = door.address.clone();
    Door::new(address, door.socket.clone(), entrance.clone(), datagrams).map(Arc::new)
}

/// What `open` opens for datagrams at this address, if it leads to a room.
fn for_room(
    entrance: &Entrance,
    local: SocketAddr,
    open: impl FnOnce(Arc<Room>) -> io::Result<RoomSocket>,
) -> io::Result<Option<RoomSocket>> {
    let Entrance::Room(room) = entrance else {
        return Ok(None);
    };
    room.set_port(local.port());
    open(room.clone()).map(Some)
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
