//! One connection from accept to close: its thread, its cleanup, its log line.
//!
//! `wire` serves and closes the conversation; this file gives it a socket, and removes the client from
//! the engine. Functions used only at the end are out of line: inlined, their locals would lie on the
//! stack of every idle connection.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};

use crate::clock::Moment;
use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::outbox::{Outbox, Remains, Sink};
use crate::engine::peer::Peer;
use crate::engine::session::clients::ClientRecord;
use crate::engine::stats::tally::Tally;
use crate::net::door::Door;
use crate::net::line_by_line::LineByLine;
use crate::net::places::TakenPlace;
use crate::net::shutdown::{GOODBYES, ShutdownDeadline};
use crate::net::socket::{Dismissal, Socket, SocketSink, SocketSource};
use crate::net::tls::server::TlsServer;
use crate::wire::{self, Admit, Closing, End, Entrance, Finished, Protocol, line};

/// Maximum time for the first whole line, request or CONNECT where places are scarce.
const FIRST_LINE_TIME: Duration = Duration::from_secs(10);

/// Maximum time for a health check in a place that is kept for those.
const HEALTH_CHECK_TIME: Duration = Duration::from_secs(2);

/// Maximum time that a client may take to close the connection after the broker has.
const LINGER: Duration = Duration::from_millis(500);

/// How a connection has been let in.
pub(crate) struct Admitted {
    pub(crate) place: TakenPlace,
    pub(crate) entrance: Entrance,
    /// The client must use TLS.
    pub(crate) requires_tls: bool,
}

/// One connection.
pub(crate) struct Connection {
    id: u64,
    socket: Arc<Socket>,
    record: Arc<ClientRecord>,
    place: TakenPlace,
    shutdown: Arc<ShutdownDeadline>,
    entrance: Entrance,
}

impl Connection {
    pub(crate) fn new(
        id: u64,
        socket: OwnedFd,
        peer: Peer,
        engine: &Engine,
        admitted: Admitted,
        shutdown: Arc<ShutdownDeadline>,
        tls: Arc<TlsServer>,
    ) -> Self {
        let Admitted {
            place,
            entrance,
            requires_tls,
        } = admitted;
        let socket = Arc::new(Socket::new(socket, tls, requires_tls));
        let sink = SocketSink::new(id, socket.clone(), engine.flusher.clone());
        let sink: Box<dyn Sink> = match entrance {
            Entrance::Wires(_) => Box::new(sink),
            Entrance::Room(_) => Box::new(LineByLine(sink)),
        };
        let outbox = Outbox::new(
            id,
            engine.limits.load().outbox_bytes,
            engine.memory.clone(),
            &line::ENCODER,
            sink,
        );
        let record = ClientRecord::new(Arc::new(outbox), peer);
        record.set_for_health(place.is_for_health);
        Self {
            id,
            socket,
            record: Arc::new(record),
            place,
            shutdown,
            entrance,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The handle by which other threads end it.
    pub(crate) fn handle(&self, door: Weak<Door>) -> ConnectionHandle {
        ConnectionHandle {
            door,
            id: self.id,
            socket: self.socket.clone(),
            record: self.record.clone(),
            place: self.place,
        }
    }

    /// Serves the client until the connection ends. If a proxy passes the client on, `admit` decides on the
    /// address that the proxy tells.
    pub(crate) fn run(&self, engine: &Engine, admit: Admit<'_>) {
        let behind_proxy = self.place.by_proxy.then_some(admit);
        self.run_with(engine, |client, source| {
            wire::serve(client, source, &self.entrance, behind_proxy)
        });
    }

    /// A panic in `serve` ends this connection alone.
    fn run_with(
        &self,
        engine: &Engine,
        serve: impl FnOnce(&mut Client<'_>, &mut SocketSource<'_>) -> Finished,
    ) {
        let began = Instant::now();
        engine
            .flusher
            .register(self.id, self.record.outbox().clone());
        engine.clients.enter(self.record.clone());
        let mut client = Client::new(engine, &self.record);
        // Limits replaced after the outbox was made and before `enter` have not reached it.
        self.record.outbox().set_limit(client.limits().outbox_bytes);
        let ping_interval = client.limits().ping_interval;
        let mut source = SocketSource::new(&self.socket, &self.shutdown, ping_interval);
        let finished = panic::catch_unwind(AssertUnwindSafe(|| {
            let finished = serve(&mut client, &mut source);
            self.close(&mut client, finished)
        }));
        let finished = finished.unwrap_or(Finished::new(Protocol::Line, End::Panicked));
        self.part(&mut client, finished, began, source.bytes);
    }

    /// Ends the conversation as its end asks for.
    #[inline(never)]
    fn close(&self, client: &mut Client<'_>, mut finished: Finished) -> Finished {
        if matches!(finished.end, End::Stopping) {
            match self.socket.dismissal() {
                Some(Dismissal::Kicked) => finished.end = End::Kicked,
                Some(Dismissal::AuthEnded) => finished.end = End::AuthEnded,
                Some(Dismissal::Draining) | None => {}
            }
        }
        wire::close(client, finished, || self.deadline())
    }

    /// When the connection must have ended, if the broker ends it.
    fn deadline(&self) -> Option<Instant> {
        let dismissal = || self.socket.dismissal().map(|_| Instant::now() + GOODBYES);
        self.shutdown.deadline().or_else(dismissal)
    }

    /// Removes the client from the engine and ends the connection.
    #[inline(never)]
    fn part(&self, client: &mut Client<'_>, finished: Finished, began: Instant, read: u64) {
        let Finished {
            protocol, mut end, ..
        } = finished;
        let engine = client.engine();
        self.record.begin(&engine.clients);
        let Remains {
            tally,
            failure,
            redeliveries,
        } = client.end_connection();
        let last = panic::catch_unwind(AssertUnwindSafe(|| {
            client.redeliver(&redeliveries);
            // However else it has ended, also after a protocol error [MQTT-3.1.2-8].
            if !matches!(end, End::SaidBye | End::Stopping) {
                client.publish_will();
            }
        }));
        if last.is_err() {
            end = End::Panicked;
        }
        // Nothing hands in later what it published last, so that its topics would never be listed.
        client.settle_all();
        client.leave();
        engine.flusher.unregister(self.id);
        // After a bug the records may be incomplete, so the client must not take them for all there was.
        if !matches!(end, End::Panicked) {
            self.socket.close_tls();
        }
        self.hang_up(Closing::of(protocol, &end).linger);

        let end = match (end, failure) {
            (End::Left, Some(err)) => err.into(),
            // In TLS an end that the broker has made looks like one that nothing has announced.
            (End::Failed(seen), Some(err)) if seen.kind() == io::ErrorKind::UnexpectedEof => {
                err.into()
            }
            (end, _) => end,
        };
        engine.metrics.ended.add(1);
        engine.metrics.dropped.add(tally.dropped.total());
        if matches!(end, End::Panicked) {
            engine.metrics.panicked.add(1);
        }
        let is_failed_handshake = protocol == Protocol::Tls && matches!(end, End::Refused(_));
        let level = match is_failed_handshake {
            // These have lines of their own, which are limited.
            true => log::Level::Debug,
            false => log::Level::Info,
        };
        self.log_end(&end, level, began, read, client.published(), &tally);
    }

    /// Shuts the connection down so that the last bytes arrive: closing a socket with unread bytes
    /// sends a reset, and the client's system would discard them.
    #[inline(never)]
    fn hang_up(&self, linger: bool) {
        if shutdown(&self.socket.stream, Shutdown::Write).is_err() || !linger {
            return;
        }
        let _ = sockopt::set_socket_timeout(&self.socket.stream, Timeout::Recv, Some(LINGER));
        self.socket.wait_again();
        let deadline = Instant::now() + LINGER;
        let mut bin = [0; 512];
        while Instant::now() < deadline
            && matches!(
                recv(&self.socket.stream, &mut bin[..], RecvFlags::empty()),
                Ok((_, 1..))
            )
        {}
    }

    #[inline(never)]
    fn log_end(
        &self,
        end: &End,
        level: log::Level,
        began: Instant,
        read: u64,
        published: u64,
        tally: &Tally,
    ) {
        let name = self.record.name().map(|name| format!(" ({name:?})"));
        // Load balancers look every second whether the broker is there.
        let is_probe = read == 0 || self.record.is_health_check();
        let level = if is_probe && !matches!(end, End::Panicked) {
            log::Level::Debug
        } else {
            level
        };
        log::log!(
            level,
            "connection {}{} from {} ends after {:.3} s: {end}; \
             read {read} bytes, {published} published; wrote {} bytes, {} delivered, {}, {} discarded",
            self.id,
            name.unwrap_or_default(),
            self.record.peer(),
            began.elapsed().as_secs_f64(),
            tally.bytes,
            tally.written,
            tally.dropped,
            tally.discarded,
        );
    }
}

/// The handle by which other threads end a connection.
#[derive(Clone)]
pub(crate) struct ConnectionHandle {
    id: u64,
    socket: Arc<Socket>,
    record: Arc<ClientRecord>,
    place: TakenPlace,
    /// Weak, because the socket of a door that has been closed must not stay open with its connections.
    door: Weak<Door>,
}

impl ConnectionHandle {
    /// The open door through which it came.
    pub(crate) fn door(&self) -> Option<Arc<Door>> {
        self.door.upgrade()
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Its place, to be given back when it has ended.
    pub(crate) fn place(&self) -> TakenPlace {
        self.place
    }

    pub(crate) fn set_place(&mut self, place: TakenPlace) {
        self.place = place;
    }

    /// Whether its client has had its time, in a broker whose places are scarce, and has said nothing. A
    /// health check in a place that is kept for those must be over by then.
    pub(crate) fn is_overdue(&self, now: Moment) -> bool {
        let age = now.since(self.record.since);
        if self.place.is_for_health {
            age >= HEALTH_CHECK_TIME
        } else {
            age >= FIRST_LINE_TIME && self.socket.is_silent(age)
        }
    }

    /// Wakes the connection's thread from any wait; [`ShutdownDeadline`] tells it the reason.
    pub(crate) fn wake(&self) {
        self.record.hurry();
        let _ = shutdown(&self.socket.stream, Shutdown::Read);
    }

    /// Ends it alone, for this reason, and tells the client so.
    pub(crate) fn dismiss(&self, why: Dismissal) {
        self.socket.dismiss(why);
        self.wake();
    }

    /// Whether its client connects again elsewhere when it is told that the broker stops.
    pub(crate) fn moves_when_told(&self) -> bool {
        self.record.outbox().moves_when_told()
    }

    /// Whether its client has shown a certificate that is revoked.
    pub(crate) fn is_revoked(&self) -> bool {
        self.socket.is_revoked()
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.stream.as_fd()
    }

    /// Closes it at once with this error. Queued bytes are lost.
    pub(crate) fn cut(&self, why: io::Error) {
        self.record.outbox().fail(self.id, why);
        let _ = shutdown(&self.socket.stream, Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::thread;

    use protocol::Topic;

    use super::*;
    use crate::engine::limits::Limits;
    use crate::engine::memory::read_buffer::ReadBuffer;
    use crate::engine::outbox::run::Run;
    use crate::net::places::Places;
    use crate::wire::http::{Site, SiteSettings};
    use crate::wire::line::LineConversation;
    use crate::wire::talking::WebChat;
    use crate::wire::{Arrival, Source};

    /// A connection, and the client's end of its socket.
    fn connection(engine: &Engine, id: u64) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let client = TcpStream::connect(address).expect("it listens");
        let (socket, peer) = listener.accept().expect("a connection waits");
        let site = Site::new(SiteSettings::default(), &engine.limits);
        let entrance = Entrance::wires(site, WebChat::default());
        let place = Places::default().take(peer.ip(), false, &Limits::default());
        let place = place.expect("there is room");
        let connection = Connection::new(
            id,
            socket.into(),
            peer.into(),
            engine,
            Admitted {
                place,
                entrance,
                requires_tls: false,
            },
            Arc::default(),
            Arc::default(),
        );
        (connection, client)
    }

    #[test]
    fn a_panic_ends_one_connection_and_leaves_nothing_behind() {
        let engine = Engine::new(Limits::default()).expect("an engine");
        let (connection, mut peer) = connection(&engine, 1);
        peer.write_all(b"SUBSCRIBE a\n")
            .expect("the socket is open");
        connection.run_with(&engine, |client, source| {
            let mut buffer = ReadBuffer::new(&engine.memory);
            assert!(matches!(source.fill(&mut buffer, 1024), Arrival::Bytes));
            let _ = peer.shutdown(Shutdown::Write);
            let topic = Topic::parse("a").expect("a topic");
            thread::scope(|scope| {
                let reader =
                    scope.spawn(|| LineConversation::new(client).read_loop(source, &mut buffer));
                let mut line = String::new();
                BufReader::new(&peer).read_line(&mut line).expect("a line");
                assert_eq!(line, "SUBACK a\n");
                let hash = engine.router.hash(b"a");
                assert_eq!(engine.router.route(topic, hash).subscribers.len(), 1);
                connection
                    .handle(Weak::new())
                    .cut(io::ErrorKind::Other.into());
                let _ = reader.join();
            });
            panic!("a bug");
        });
        let topic = Topic::parse("a").expect("a topic");
        let hash = engine.router.hash(b"a");
        assert_eq!(engine.router.route(topic, hash).subscribers.len(), 0);
        assert_eq!(engine.metrics.panicked.get(), 1);
        assert!(
            !connection
                .record
                .outbox()
                .lock()
                .deliver(&[&Run::borrowed(b"x", 1)])
        );
    }
}
