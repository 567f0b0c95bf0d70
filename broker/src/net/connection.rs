//! One connection from accept to its end: its one thread, its cleanup, its log lines.
//!
//! What happens only at the end is kept out of line, so that its stack need not be there before.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{RecvFlags, recv};

use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::outbox::{Outbox, Remains};
use crate::engine::routing::subscribers::Subscriber;
use crate::engine::session::clients::ClientRecord;
use crate::engine::stats::tally::Tally;
use crate::net::shutdown::ShutdownDeadline;
use crate::net::socket::{Socket, SocketSink, SocketSource};
use crate::wire::http::{self, Site};
use crate::wire::line::{self, Conversation};
use crate::wire::mqtt;
use crate::wire::websocket::{self, Inside, Tunnel};
use crate::wire::{Arrival, End, Source, Wire, sniff};

/// How long a client may take to close after the broker has.
const LINGER: Duration = Duration::from_millis(500);

/// One connection.
pub(crate) struct Connection {
    id: u64,
    socket: Arc<Socket>,
    record: Arc<ClientRecord>,
    shutdown: Arc<ShutdownDeadline>,
    site: Arc<Site>,
}

impl Connection {
    pub(crate) fn new(
        id: u64,
        socket: TcpStream,
        peer: SocketAddr,
        engine: &Engine,
        shutdown: Arc<ShutdownDeadline>,
        site: Arc<Site>,
    ) -> Self {
        let socket = Arc::new(Socket::new(socket));
        let sink = SocketSink::new(id, socket.clone(), engine.flusher.clone());
        let outbox = Outbox::new(
            id,
            engine.limits.load().outbox_bytes,
            engine.memory.clone(),
            &line::ENCODER,
            Box::new(sink),
        );
        Self {
            id,
            socket,
            record: Arc::new(ClientRecord::new(Arc::new(outbox), peer)),
            shutdown,
            site,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// How others can end it.
    pub(crate) fn handle(&self) -> ConnectionHandle {
        ConnectionHandle {
            id: self.id,
            socket: self.socket.clone(),
            outbox: self.record.outbox.clone(),
        }
    }

    /// Serves the client until the end.
    pub(crate) fn run(&self, engine: &Engine) {
        self.run_with(engine, |client, source| self.converse(client, source));
    }

    /// A panic in `serve` ends this connection alone.
    fn run_with(
        &self,
        engine: &Engine,
        serve: impl FnOnce(&mut Client<'_>, &mut SocketSource<'_>) -> End,
    ) {
        let began = Instant::now();
        engine.flusher.register(self.id, self.record.outbox.clone());
        engine.clients.enter(self.record.clone());
        let mut client = Client::new(engine, &self.record);
        // Limits that were replaced before it entered have not been set here.
        self.record.outbox.set_limit(client.limits().outbox_bytes);
        let ping_interval = client.limits().ping_interval;
        let mut source = SocketSource::new(&self.socket, &self.shutdown, ping_interval);
        let end = panic::catch_unwind(AssertUnwindSafe(|| serve(&mut client, &mut source)));
        self.part(
            &mut client,
            end.unwrap_or(End::Panicked),
            began,
            source.bytes,
        );
    }

    /// Takes the client out of the engine and ends the connection.
    #[inline(never)]
    fn part(&self, client: &mut Client<'_>, mut end: End, began: Instant, read: u64) {
        let engine = client.engine;
        self.record.begin(&engine.clients);
        let Remains {
            tally,
            failure,
            redeliveries,
        } = client.part();
        let last = panic::catch_unwind(AssertUnwindSafe(|| {
            client.redeliver(&redeliveries);
            if !matches!(end, End::SaidBye | End::Stopping) {
                client.publish_will();
            }
        }));
        if last.is_err() {
            end = End::Panicked;
        }
        client.settle();
        client.stand_up();
        engine.flusher.unregister(self.id);
        self.hang_up(&end);

        let end = match (end, failure) {
            (End::Left, Some(err)) => err.into(),
            (end, _) => end,
        };
        engine.metrics.ended.add(1);
        engine.metrics.dropped.add(tally.dropped.total());
        if matches!(end, End::Panicked) {
            engine.metrics.panicked.add(1);
        }
        self.log_end(&end, began, read, client.account.published, &tally);
    }

    fn converse(&self, client: &mut Client<'_>, source: &mut SocketSource<'_>) -> End {
        let mut buffer = ReadBuffer::new(&client.engine.memory);
        let line_bytes = client.limits().line_bytes;
        let wire = loop {
            if let Some(wire) = sniff(buffer.unread()) {
                break wire;
            }
            match source.fill(&mut buffer, line_bytes) {
                Arrival::Bytes | Arrival::NoMemory | Arrival::Pause | Arrival::Silence => {}
                Arrival::End => return End::Left,
                Arrival::Stopping => return self.say_goodbye(client),
                Arrival::Failed(err) => return err.into(),
            }
        };
        client.note_heard(buffer.unread().len());
        match wire {
            Wire::Line => {}
            Wire::Http => return self.converse_in_http(client, source, &mut buffer),
            Wire::Mqtt => return self.converse_in_mqtt(client, source, &mut buffer),
            Wire::Tls => return End::NotSpoken(wire),
        }
        let end = Conversation::new(client).read_loop(source, &mut buffer);
        self.conclude(client, end)
    }

    #[inline(never)]
    fn converse_in_http(
        &self,
        client: &mut Client<'_>,
        source: &mut SocketSource<'_>,
        buffer: &mut ReadBuffer,
    ) -> End {
        self.record.outbox.set_encoder(&http::ENCODER);
        let mut conversation = http::Conversation::new(client, &self.site);
        let end = conversation.read_loop(source, buffer);
        if let Some(inside) = conversation.switched() {
            return self.converse_in_tunnel(client, source, buffer, inside);
        }
        self.conclude(client, end)
    }

    /// The line protocol or MQTT in a WebSocket.
    #[inline(never)]
    fn converse_in_tunnel(
        &self,
        client: &mut Client<'_>,
        source: &mut SocketSource<'_>,
        raw: &mut ReadBuffer,
        inside: Inside,
    ) -> End {
        let outbox = client.outbox.clone();
        outbox.set_encoder(inside.encoder());
        let mut buffer = ReadBuffer::new(&client.engine.memory);
        let mut tunnel = Tunnel::new(source, &outbox, inside, raw);
        let mut end = match inside {
            Inside::Line => Conversation::new(client).read_loop(&mut tunnel, &mut buffer),
            Inside::Mqtt => {
                self.exchange_packets(client, &mut tunnel, &mut buffer, websocket::MQTT)
            }
        };
        // What MQTT has published may be asked after while its client takes its last.
        client.settle();
        let outbox = outbox.current();
        let closed = tunnel.into_end();
        let mut guard = outbox.lock();
        if self.shutdown.deadline().is_some() {
            end = End::Stopping;
            guard.goodbye();
        }
        guard.signal(&closed.last_frame(&end));
        drop(guard);
        if closed.is_closing() && matches!(end, End::Left) {
            end = End::Answered;
        }
        match inside {
            Inside::Line => self.conclude(client, end),
            Inside::Mqtt => {
                let linger = Instant::now() + LINGER;
                outbox.drain(Some(self.shutdown.deadline().unwrap_or(linger)));
                end
            }
        }
    }

    /// The conversation is over: what waits is sent.
    fn conclude(&self, client: &Client<'_>, end: End) -> End {
        match end {
            End::Stopping => return self.say_goodbye(client),
            End::Left | End::SaidBye | End::Answered => self.record.outbox.drain(None),
            End::Vanished
            | End::NotSpoken(_)
            | End::Refused(_)
            | End::Failed(_)
            | End::Panicked => {}
        }
        match self.shutdown.deadline() {
            Some(_) => self.say_goodbye(client),
            None => end,
        }
    }

    #[inline(never)]
    fn converse_in_mqtt(
        &self,
        client: &mut Client<'_>,
        source: &mut SocketSource<'_>,
        buffer: &mut ReadBuffer,
    ) -> End {
        match self.exchange_packets(client, source, buffer, mqtt::ENCODERS) {
            End::Stopping => self.say_goodbye(client),
            end => end,
        }
    }

    fn exchange_packets(
        &self,
        client: &mut Client<'_>,
        source: &mut impl Source,
        buffer: &mut ReadBuffer,
        encoders: mqtt::Encoders,
    ) -> End {
        mqtt::Conversation::new(client, encoders).read_loop(source, buffer)
    }

    /// The broker stops: what waits is sent as long as there is time.
    #[inline(never)]
    fn say_goodbye(&self, client: &Client<'_>) -> End {
        client.outbox.lock().goodbye();
        client.outbox.drain(self.shutdown.deadline());
        End::Stopping
    }

    /// Ends the connection so that what was sent last arrives: closing a socket with unread bytes
    /// would make the client's system throw it away.
    #[inline(never)]
    fn hang_up(&self, end: &End) {
        if self.socket.stream.shutdown(Shutdown::Write).is_err()
            || !matches!(
                end,
                End::SaidBye | End::Answered | End::NotSpoken(_) | End::Refused(_)
            )
        {
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
    fn log_end(&self, end: &End, began: Instant, read: u64, published: u64, tally: &Tally) {
        let name = self.record.name().map(|name| format!(" ({name:?})"));
        log::info!(
            "connection {}{} from {} ends after {:.3} s: {end}; \
             read {read} bytes, {published} published; wrote {} bytes, {} delivered, {}, {} discarded",
            self.id,
            name.unwrap_or_default(),
            self.record.peer,
            began.elapsed().as_secs_f64(),
            tally.bytes,
            tally.written,
            tally.dropped,
            tally.discarded,
        );
    }
}

/// How others can end a connection.
#[derive(Clone)]
pub(crate) struct ConnectionHandle {
    id: u64,
    socket: Arc<Socket>,
    outbox: Subscriber,
}

impl ConnectionHandle {
    /// Wakes the connection's thread wherever it waits: [`ShutdownDeadline`] tells it why.
    pub(crate) fn wake(&self) {
        self.outbox.hurry();
        let _ = self.socket.stream.shutdown(Shutdown::Read);
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket.stream
    }

    /// Ends it at once, for this reason; what still waits is lost.
    pub(crate) fn cut(&self, why: io::ErrorKind) {
        self.outbox.fail(self.id, why.into());
        let _ = self.socket.stream.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;

    use protocol::Topic;

    use super::*;
    use crate::engine::limits::Limits;
    use crate::engine::outbox::run::Run;

    /// A connection and the client's end of its connection.
    fn connection(engine: &Engine, id: u64) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let client = TcpStream::connect(address).expect("it listens");
        let (socket, peer) = listener.accept().expect("somebody connected");
        let site = Arc::new(Site::new(&[], &[], &engine.limits));
        let connection = Connection::new(id, socket, peer, engine, Arc::default(), site);
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
                    scope.spawn(|| Conversation::new(client).read_loop(source, &mut buffer));
                let mut line = String::new();
                BufReader::new(&peer).read_line(&mut line).expect("a line");
                assert_eq!(line, "SUBACK a\n");
                let hash = engine.router.hash(b"a");
                assert_eq!(engine.router.route(topic, hash).subscribers.len(), 1);
                connection.handle().cut(io::ErrorKind::Other);
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
                .outbox
                .lock()
                .deliver(&[&Run::borrowed(b"x", 1)])
        );
    }
}
