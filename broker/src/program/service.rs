//! What a service manager such as systemd is told about the broker (sd_notify(3)): that it serves, reloads or
//! stops, how many connections it has, and for its watchdog that it answers.
//!
//! Without `NOTIFY_SOCKET` nothing of this runs. A thread of its own tells it all, so that no other waits for the
//! service manager.

use std::env;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use broker::{Broker, Event, Handle};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use sd_notify::NotifyState;

/// Interval at which the status is told if it has changed, and at which a broker that drains asks for more time.
const TELL: Duration = Duration::from_secs(10);

/// The time that it asks for. Enough for the next question and, after the drain, for goodbyes and the log.
const MORE_TIME: Duration = Duration::from_secs(30);

/// Maximum time for an answer while the broker drains.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shortest time of the watchdog; a shorter one is taken for this.
const SHORTEST_LIMIT: Duration = Duration::from_millis(100);

/// Any answer to it will do. It takes a place that is kept for health checks, is logged at debug, and is answered
/// while the broker drains.
const QUESTION: &[u8] = b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n";

/// The connection to the service manager, for as long as the broker runs.
pub(crate) struct Service {
    events: Sender<Event>,
    /// Closed when everything is told.
    told: Receiver<()>,
}

impl Service {
    /// Prepares to tell the service manager of this broker; none if there is none. [`Service::observer`] has to
    /// be told of its events.
    pub(crate) fn start(broker: &Broker) -> io::Result<Option<Self>> {
        if env::var_os("NOTIFY_SOCKET").is_none_or(|path| path.is_empty()) {
            return Ok(None);
        }
        let (events, happened) = unbounded();
        let (telling, told) = bounded(0);
        let reporter = Reporter::new(broker);
        let thread = thread::Builder::new().name("service".to_owned());
        thread.spawn(move || {
            reporter.run(&happened);
            drop(telling);
        })?;
        Ok(Some(Self { events, told }))
    }

    /// For [`Broker::tell`].
    pub(crate) fn observer(&self) -> impl Fn(Event) + Send + Sync + use<> {
        let events = self.events.clone();
        // The thread ends before the broker if another process is the service.
        move |event| drop(events.send(event))
    }

    /// Waits until everything is told, at most for `time`: the service manager may have stopped reading.
    pub(crate) fn end(self, time: Duration) {
        drop(self.events);
        let _ = self.told.recv_timeout(time);
    }
}

/// The thread that tells all of it.
struct Reporter {
    handle: Handle,
    last_reload: Option<String>,
    is_stopping: bool,
    /// As it was told.
    status: String,
    next_status: Instant,
    /// The limit of the watchdog, if there is one.
    limit: Option<Duration>,
    /// None until the broker serves.
    next_beat: Option<Instant>,
}

impl Reporter {
    fn new(broker: &Broker) -> Self {
        let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
        Self {
            handle: broker.handle(),
            last_reload: None,
            is_stopping: false,
            status: String::new(),
            next_status: Instant::now() + TELL,
            limit: limit.map(|limit| limit.max(SHORTEST_LIMIT)),
            next_beat: None,
        }
    }

    fn probe(&self) -> Probe {
        let (network, unix) = self.handle.addresses();
        let unix = unix.into_iter().map(ProbeAddress::Unix);
        let network = network.into_iter().map(ProbeAddress::Network);
        Probe {
            addresses: unix.chain(network).collect(),
        }
    }

    /// Ends with the last sender of events, or when another process is the service.
    fn run(mut self, events: &Receiver<Event>) {
        loop {
            let next = self.next_beat.unwrap_or(self.next_status);
            match events.recv_deadline(next.min(self.next_status)) {
                Ok(Event::HandedOver(pid)) => return self.hand_over(pid),
                Ok(event) => self.tell_event(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            // Before the broker is asked: the question is a connection as well.
            if now >= self.next_status {
                self.next_status = now + TELL;
                self.tell_status();
            }
            if let (Some(next), Some(limit)) = (self.next_beat, self.limit)
                && now >= next
            {
                self.next_beat = Some(now + self.beat(limit));
            }
        }
    }

    fn tell_event(&mut self, event: Event) {
        match event {
            Event::Ready => {
                self.renew_status();
                self.tell(&[NotifyState::Ready, NotifyState::Status(&self.status)]);
                self.next_beat = self.limit.map(|_| Instant::now());
            }
            // A broker that stops does not become ready again.
            Event::Reloading if !self.is_stopping => {
                // The time tells which order of the service manager this belongs to (Type=notify-reload).
                let states = [
                    Ok(NotifyState::Reloading),
                    NotifyState::monotonic_usec_now(),
                ];
                let states: Vec<_> = states.into_iter().flatten().collect();
                self.tell(&states);
            }
            Event::Reloaded(text) => {
                self.last_reload = Some(text);
                self.renew_status();
                let states = [NotifyState::Ready, NotifyState::Status(&self.status)];
                self.tell(&states[usize::from(self.is_stopping)..]);
            }
            Event::Stopping => {
                self.is_stopping = true;
                self.renew_status();
                let status = NotifyState::Status(&self.status);
                self.tell(&[NotifyState::Stopping, status, more_time()]);
            }
            _ => {}
        }
    }

    /// Names the process that is the service from now on. What that has told before was not listened to, so that
    /// its state and its first heartbeat come from here.
    fn hand_over(&self, pid: u32) {
        let status = format!("serving in process {pid} since a restart");
        self.tell(&[
            NotifyState::MainPid(pid),
            NotifyState::Status(&status),
            NotifyState::Watchdog,
        ]);
    }

    fn tell_status(&mut self) {
        if self.renew_status() {
            self.tell(&[NotifyState::Status(&self.status)]);
        }
        // Only as long as it drains: a stop that hangs after that has to end.
        if self.is_stopping && self.probe().ask(PATIENCE) == Ok(Health::Answers) {
            self.tell(&[more_time()]);
        }
    }

    /// Returns whether it has changed.
    fn renew_status(&mut self) -> bool {
        let word = match self.is_stopping {
            true => "stopping",
            false => "serving",
        };
        let mut status = format!("{word}, connections: {}", self.handle.connections());
        if let Some(reload) = &self.last_reload {
            status.push_str("; ");
            status.push_str(reload);
        }
        let has_changed = status != self.status;
        self.status = status;
        has_changed
    }

    /// Tells the watchdog that the broker answers, if it does. Returns when to do so again: twice within the
    /// limit, and so often that two questions without an answer leave time for a third.
    fn beat(&mut self, limit: Duration) -> Duration {
        match self.probe().ask(limit / 4) {
            Ok(_) => {
                self.tell(&[NotifyState::Watchdog]);
                limit / 2
            }
            Err(why) => {
                log::error!("watchdog: the broker does not answer itself on {why}");
                limit / 4
            }
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if let Err(why) = sd_notify::notify(states) {
            log::warn!("the service manager cannot be told ({why}); see NOTIFY_SOCKET");
        }
    }
}

fn more_time() -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(MORE_TIME.as_micros() as u32)
}

/// Where the broker is asked whether it answers.
enum ProbeAddress {
    Unix(PathBuf),
    Network(SocketAddr),
}

/// What came of a question that did not fail.
#[derive(Debug, PartialEq, Eq)]
enum Health {
    Answers,
    /// It listens at none of the addresses, because it stops. One that is stuck keeps them.
    Closed,
}

/// Asks the broker as a client does.
///
/// An answer, also a refusal, proves that its thread for newcomers accepts, that it can start a thread for a
/// connection, and that this takes a place, enters the list of clients, reads, answers and sends. It proves
/// nothing about the threads of other clients, whose own peers notice, nor about the flusher.
struct Probe {
    addresses: Vec<ProbeAddress>,
}

impl Probe {
    /// Asks at the first place that is open. The error names the place that is silent for `time`.
    fn ask(&self, time: Duration) -> Result<Health, String> {
        for address in &self.addresses {
            match address.ask(time) {
                Ok(()) => return Ok(Health::Answers),
                Err(why) if is_closed(&why) => {}
                Err(why) if is_late(&why) => return Err(format!("{address} in {time:?}")),
                Err(why) => return Err(format!("{address}: {why}")),
            }
        }
        Ok(Health::Closed)
    }
}

impl ProbeAddress {
    fn ask(&self, time: Duration) -> io::Result<()> {
        match self {
            Self::Unix(path) => {
                // It waits where the queue of newcomers is full. Then nothing is told either.
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(time))?;
                ask_on(stream)
            }
            Self::Network(address) => {
                let stream = TcpStream::connect_timeout(address, time)?;
                stream.set_read_timeout(Some(time))?;
                ask_on(stream)
            }
        }
    }
}

fn ask_on(mut stream: impl Read + Write) -> io::Result<()> {
    let answered = stream
        .write_all(QUESTION)
        .and_then(|()| stream.read(&mut [0]));
    match answered {
        // To close a connection is an answer as well.
        Err(why) if !is_end(&why) => Err(why),
        _ => Ok(()),
    }
}

fn is_end(why: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(why.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}

fn is_late(why: &io::Error) -> bool {
    use io::ErrorKind::{TimedOut, WouldBlock};
    matches!(why.kind(), TimedOut | WouldBlock)
}

/// Whether no socket listens there, or one that is not for this user.
fn is_closed(why: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    matches!(why.kind(), ConnectionRefused | NotFound | PermissionDenied)
}

impl fmt::Display for ProbeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Network(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    fn probe(addresses: impl IntoIterator<Item = ProbeAddress>) -> Probe {
        let addresses = addresses.into_iter().collect();
        Probe { addresses }
    }

    #[test]
    fn a_broker_that_accepts_nothing_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let silent = probe([ProbeAddress::Network(address)]).ask(SOON);
        assert!(silent.is_err_and(|why| why.starts_with(&address.to_string())));
    }

    #[test]
    fn a_refusal_and_a_close_are_answers() {
        for answer in [&b"ERROR busy line\n"[..], b""] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("an address");
            let answering = thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("a client");
                stream.write_all(answer).expect("it reads");
            });
            let asked = probe([ProbeAddress::Network(address)]).ask(Duration::from_secs(10));
            assert_eq!(asked, Ok(Health::Answers));
            answering.join().expect("it has answered");
        }
    }

    #[test]
    fn addresses_that_are_closed_are_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let (gone, open) = (folder.path().join("gone"), folder.path().join("open"));
        let closed = probe([ProbeAddress::Unix(gone.clone())]).ask(SOON);
        assert_eq!(closed, Ok(Health::Closed));
        drop(UnixListener::bind(&gone).expect("the path is free"));
        let _open = UnixListener::bind(&open).expect("the path is free");
        let silent = probe([ProbeAddress::Unix(gone), ProbeAddress::Unix(open.clone())]).ask(SOON);
        assert!(silent.is_err_and(|why| why.ends_with("open in 50ms")));
    }
}
