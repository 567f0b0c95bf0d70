//! The socket of a room for datagrams, with the one thread that reads it and serves all its members.
//!
//! `wire` decides what a datagram does and how much may be sent to an address; this file gives each member
//! a client of the engine with a [`Sink`]. The thread waits for no client.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{SendFlags, sendto};

use crate::clock::latency::Latency;
use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::outbox::{Outbox, Sink};
use crate::engine::session::clients::ClientRecord;
use crate::net::datagram_socket::{DatagramSocket, LONGEST};
use crate::wire::room::datagrams::{Action, DATAGRAM_BYTES, DatagramRoom};
use crate::wire::room::{self, ASKING, Allowance, NotSaid, RateWindow, Room, Verdict};

/// Maximum bytes queued for a member, before and after it is proven that its address is its own.
const UNPROVEN_OUTBOX_BYTES: usize = 8 * 1024;
const OUTBOX_BYTES: usize = 64 * 1024;

/// Maximum datagrams handled before members that wait get what they may be sent.
const AT_ONCE: usize = 64;

/// Interval at which members that wait are sent more.
const FLUSH: Duration = Duration::from_millis(100);

/// Interval at which silent members and changed limits are looked for.
const GLANCE: Duration = Duration::from_secs(1);

/// The socket of a room for datagrams.
pub(crate) struct RoomSocket {
    shared: Arc<Shared>,
    room: Arc<Room>,
}

/// What the thread and the sinks of its members share.
struct Shared {
    socket: DatagramSocket,
    /// What may be sent to all members together whose addresses are not proven. Lock order: after the
    /// allowance of a member, which is locked under its outbox.
    unproven: Mutex<RateWindow>,
    /// Members whose outboxes wait. Locked alone.
    waiting: Mutex<Vec<SocketAddr>>,
}

impl Shared {
    /// Sends one datagram. What the system cannot send is lost, as datagrams are, but for want of room in
    /// its buffer it is tried again.
    fn send(&self, datagram: &[u8], to: SocketAddr) -> Result<(), Errno> {
        match sendto(&self.socket.socket, datagram, SendFlags::DONTWAIT, &to) {
            Err(err @ (Errno::AGAIN | Errno::NOBUFS)) => Err(err),
            _ => Ok(()),
        }
    }
}

/// Sends to one member, each line in a datagram of its own.
struct DatagramSink {
    shared: Arc<Shared>,
    peer: SocketAddr,
    allowance: Arc<Mutex<Allowance>>,
}

impl DatagramSink {
    fn send_line(&self, line: &[u8], now: Instant) -> bool {
        let mut allowance = self.allowance.lock();
        // The second lock: see `Shared::unproven`.
        let mut unproven = self.shared.unproven.lock();
        match allowance.take(line.len(), &mut unproven, now) {
            Verdict::Yes => {}
            Verdict::AskFirst => {
                let _ = self.shared.send(ASKING, self.peer);
                return false;
            }
            Verdict::Later | Verdict::WhenHeard => return false,
        }
        let is_sent = self.shared.send(line, self.peer).is_ok();
        if !is_sent {
            allowance.give_back(line.len(), &mut unproven);
        }
        is_sent
    }
}

impl Sink for DatagramSink {
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let now = Instant::now();
        let mut sent = 0;
        // Lines are whole, but for one at the end that is offered again with its rest.
        for line in slices
            .iter()
            .flat_map(|slice| slice.split_inclusive(|&byte| byte == b'\n'))
        {
            if line.last() != Some(&b'\n') || !self.send_line(line, now) {
                break;
            }
            sent += line.len();
        }
        match sent {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(sent),
        }
    }

    fn arm(&self) -> io::Result<()> {
        // The next datagram from the member flushes the outbox; it takes the outbox's lock, under which
        // this is called, so it does so after this.
        if self.allowance.lock().is_held() {
            return Ok(());
        }
        let mut waiting = self.shared.waiting.lock();
        waiting.push(self.peer);
        let is_first = waiting.len() == 1;
        drop(waiting);
        if is_first {
            self.shared.socket.wake();
        }
        Ok(())
    }
}

/// A member, as the thread knows it.
struct DatagramMember<'e> {
    client: Box<Client<'e>>,
    record: Arc<ClientRecord>,
    nick: Box<str>,
    allowance: Arc<Mutex<Allowance>>,
    is_announced: bool,
}

/// The state of the thread.
struct RoomThread<'a, 'e> {
    shared: &'a Arc<Shared>,
    room: &'a Room,
    engine: &'e Engine,
    table: DatagramRoom,
    members: HashMap<SocketAddr, DatagramMember<'e>, RandomState>,
    /// Members whose outboxes wait until they may be sent more.
    waiting: Vec<SocketAddr>,
}

impl RoomSocket {
    /// Receives on this address.
    pub(crate) fn bind(address: SocketAddr, room: Arc<Room>) -> io::Result<Self> {
        Self::on(DatagramSocket::bind(address)?, room)
    }

    /// Receives on a socket that another process has opened.
    pub(crate) fn opened(socket: UdpSocket, room: Arc<Room>) -> io::Result<Self> {
        Self::on(DatagramSocket::on(Arc::new(socket))?, room)
    }

    /// For another room on the same socket.
    pub(crate) fn for_room(&self, room: Arc<Room>) -> io::Result<Self> {
        let socket = self.shared.socket.socket.clone();
        Self::on(DatagramSocket::on(socket)?, room)
    }

    fn on(socket: DatagramSocket, room: Arc<Room>) -> io::Result<Self> {
        let shared = Shared {
            socket,
            unproven: Mutex::new(RateWindow::for_bytes(Instant::now())),
            waiting: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            room,
        })
    }

    /// Serves the members until it is closed.
    pub(crate) fn serve(&self, engine: &Engine) {
        let limits = engine.limits.load();
        let mut thread = RoomThread {
            shared: &self.shared,
            room: &self.room,
            engine,
            table: DatagramRoom::new(limits.room_members, limits.room_idle, Instant::now()),
            members: HashMap::default(),
            waiting: Vec::new(),
        };
        drop(limits);
        thread.run();
    }

    /// Ends the thread that serves it.
    pub(crate) fn close(&self) {
        self.shared.socket.close();
    }
}

impl AsFd for RoomSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.socket.socket.as_fd()
    }
}

impl RoomThread<'_, '_> {
    fn run(&mut self) {
        let mut datagram = vec![0; LONGEST];
        let (mut flushed, mut glanced) = (Instant::now(), Instant::now());
        while !self.shared.socket.is_closed() {
            self.wait();
            for _ in 0..AT_ONCE {
                let Some((len, from)) = self.shared.socket.receive(&mut datagram) else {
                    break;
                };
                self.take(&datagram[..len], from);
            }
            self.waiting.append(&mut self.shared.waiting.lock());
            if flushed.elapsed() >= FLUSH {
                flushed = Instant::now();
                self.guarded(Self::flush);
            }
            if glanced.elapsed() >= GLANCE {
                glanced = Instant::now();
                self.guarded(Self::glance);
            }
        }
        self.guarded(Self::say_goodbye);
        let addresses: Vec<SocketAddr> = self.members.keys().copied().collect();
        for address in addresses {
            self.forget(address);
        }
    }

    /// A panic ends neither the thread nor the room.
    fn guarded(&mut self, work: impl FnOnce(&mut Self)) -> bool {
        let done = panic::catch_unwind(AssertUnwindSafe(|| work(self))).is_ok();
        if !done {
            self.engine.metrics.panicked.add(1);
        }
        done
    }

    fn say_goodbye(&mut self) {
        for member in self.members.values() {
            member.client.goodbye();
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) {
        let time = match (self.waiting.is_empty(), self.table.is_empty()) {
            (false, _) => Some(FLUSH),
            (true, false) => Some(GLANCE),
            (true, true) => None,
        };
        self.shared.socket.wait(time);
    }

    /// Handles one datagram. A panic ends the member that sent it alone.
    fn take(&mut self, datagram: &[u8], from: SocketAddr) {
        let now = Instant::now();
        let is_handled = self.guarded(|thread| {
            for action in thread.table.handle(datagram, from, now) {
                thread.act(action, from, datagram.len(), now);
            }
        });
        if !is_handled {
            self.forget(from);
        }
    }

    fn act(&mut self, action: Action<'_>, from: SocketAddr, bytes: usize, now: Instant) {
        match action {
            Action::Join { nick, announced } => self.join(nick, announced, from, now),
            Action::Answer(answer) => {
                let _ = self.shared.send(&answer, from);
            }
            Action::Forget(other) => self.forget(other),
            Action::Leave => self.forget(from),
            Action::Heard { announces } => {
                if let Some(member) = self.members.get_mut(&from) {
                    member.hear(bytes, &self.engine.latency);
                    if announces {
                        member.announce(self.room);
                    }
                }
            }
            Action::Say(text) => {
                if let Some(member) = self.members.get_mut(&from) {
                    member.say(self.room, text, bytes);
                }
            }
        }
    }

    fn join(&mut self, nick: &str, announced: bool, from: SocketAddr, now: Instant) {
        let id = self.engine.clients.next_id();
        let allowance = Arc::new(Mutex::new(Allowance::new(now)));
        let sink = DatagramSink {
            shared: self.shared.clone(),
            peer: from,
            allowance: allowance.clone(),
        };
        let limit = self.engine.limits.load().outbox_bytes;
        let outbox = Outbox::new(
            id,
            UNPROVEN_OUTBOX_BYTES.min(limit),
            self.engine.memory.clone(),
            &room::ENCODER,
            Box::new(sink),
        );
        // A socket for IPv6 receives from IPv4 as well, from addresses such as ::ffff:10.0.0.5.
        let peer = SocketAddr::new(from.ip().to_canonical(), from.port());
        let record = Arc::new(ClientRecord::new(Arc::new(outbox), peer.into()));
        self.engine.clients.enter(record.clone());
        let mut member = DatagramMember {
            client: Client::new(self.engine, &record),
            record,
            nick: nick.into(),
            allowance,
            is_announced: false,
        };
        member.client.begin();
        if let Err(NotSaid(why)) = self.room.check(&mut member.client, nick) {
            member.client.note_refused(1);
            member.client.answer(&room::notice(&why));
        }
        self.room.join(&mut member.client, nick, DATAGRAM_BYTES);
        member.client.finish_without_waiting();
        if announced {
            member.announce(self.room);
        }
        self.members.insert(from, member);
    }

    /// Takes a member out, however it left.
    fn forget(&mut self, address: SocketAddr) {
        self.table.forget(address);
        if let Some(member) = self.members.remove(&address) {
            self.guarded(|thread| member.end(thread.room));
        }
    }

    /// Sends members that wait what they may be sent now.
    fn flush(&mut self) {
        for address in self.waiting.drain(..) {
            if let Some(member) = self.members.get(&address) {
                member.record.outbox().flush(&self.engine.latency);
            }
        }
    }

    /// Looks for members that have been silent for too long, and for limits that have changed.
    fn glance(&mut self) {
        let limits = self.engine.limits.load();
        self.table.set_limits(limits.room_members, limits.room_idle);
        for address in self.table.expire(Instant::now()) {
            if let Some(member) = self.members.get(&address) {
                member.client.farewell(&room::notice(
                    "you have said nothing for long and are out; send your nick to come back",
                ));
            }
            self.forget(address);
        }
    }
}

impl DatagramMember<'_> {
    /// It has sent a datagram that is not its first.
    fn hear(&mut self, bytes: usize, latency: &Latency) {
        self.client.begin();
        let has_new_limits = self.client.refresh_limits();
        self.client.note_heard(bytes);
        self.client.settle();
        let (was_proven, was_held) = {
            let mut allowance = self.allowance.lock();
            (allowance.is_proven(), allowance.note_heard())
        };
        let outbox = self.record.outbox();
        if has_new_limits || !was_proven {
            outbox.set_limit(OUTBOX_BYTES.min(self.client.limits().outbox_bytes));
        }
        if was_held {
            outbox.flush(latency);
        }
    }

    fn announce(&mut self, room: &Room) {
        self.is_announced = true;
        self.client.begin();
        room.announce(&mut self.client, &self.nick);
        self.client.finish_without_waiting();
    }

    /// Says a text. Where memory is short it is lost, as datagrams may be.
    fn say(&mut self, room: &Room, text: &[u8], bytes: usize) {
        if self.client.should_wait_for_memory() {
            return;
        }
        self.client.begin();
        self.client.note_publish_bytes(bytes);
        if let Err(NotSaid(why)) = room.say(&mut self.client, &self.nick, text) {
            self.client.note_refused(1);
            self.client.answer(&room::notice(&why));
        }
        self.client.finish_without_waiting();
    }

    fn end(mut self, room: &Room) {
        let engine = self.client.engine();
        self.client.begin();
        room.leave(&mut self.client, &self.nick, self.is_announced);
        let remains = self.client.end_connection();
        self.client.redeliver(&remains.redeliveries);
        self.client.settle_all();
        self.client.leave();
        engine.metrics.dropped.add(remains.tally.dropped.total());
        log::debug!(
            "connection {} ({:?}) from {} leaves the room {}",
            self.record.id(),
            self.nick,
            self.record.peer(),
            room.topic()
        );
    }
}
