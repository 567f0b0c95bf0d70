//! A yardstick, not a broker: what this machine's kernel allows a program with a thread for each
//! connection.
//!
//!     cargo run --release -p tests --example relay -- 1373
//!
//! It looks for line ends, writes `MESSAGE` over `PUBLISH` in place, and sends what one read
//! brought to every connection that has subscribed to anything. It routes nothing, bounds nothing
//! and waits for connections that do not read, so it is of use for `tests/peers` only.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;

/// How much one read takes at first, and once reads have filled it. It grows further for a line that
/// is longer.
const FIRST_BYTES: usize = 4 * 1024;
const BUFFER_BYTES: usize = 256 * 1024;

const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// Enough for the calls below, and little where connections are many.
const STACK_BYTES: usize = 64 * 1024;

const PUBLISH: &[u8] = b"PUBLISH ";
const MESSAGE: &[u8] = b"MESSAGE ";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().and_then(|port| port.parse().ok());
    let (Some(port), None) = (port, arguments.next()) else {
        return fail(2, "usage: relay PORT");
    };
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(listener) => accept_loop(&listener),
        Err(error) => fail(1, &format!("relay: cannot listen on port {port} ({error})")),
    }
}

fn fail(code: u8, why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{why}");
    ExitCode::from(code)
}

fn accept_loop(listener: &TcpListener) -> ! {
    let subscribers = Arc::new(Subscribers::default());
    loop {
        // A client that left before it was accepted, or found no room, is not served.
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        let subscribers = Arc::clone(&subscribers);
        let serve = move || {
            // How a connection ends is of no interest.
            let _ = Connection::new(stream).and_then(|connection| connection.serve(&subscribers));
        };
        let _ = thread::Builder::new().stack_size(STACK_BYTES).spawn(serve);
    }
}

/// The connections that have subscribed.
type Subscribers = RwLock<Vec<Arc<Connection>>>;

/// One connection. Several threads write to it, one at a time.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    turn: Mutex<()>,
}

impl Connection {
    fn new(stream: TcpStream) -> io::Result<Arc<Self>> {
        stream.set_nodelay(true)?;
        let turn = Mutex::new(());
        Ok(Arc::new(Self { stream, turn }))
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.stream).write_all(bytes)
    }

    fn serve(self: &Arc<Self>, subscribers: &Subscribers) -> io::Result<()> {
        let mut conversation = Conversation {
            connection: self,
            subscribers,
            published: 0,
        };
        let served = read_loop(&self.stream, |lines| conversation.take(lines));
        let mut subscribers = subscribers.write().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| !Arc::ptr_eq(subscriber, self));
        served
    }
}

/// Passes on whole lines, as many as a read brought.
fn read_loop(
    mut stream: impl Read,
    mut take: impl FnMut(&mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; FIRST_BYTES];
    let mut held = 0;
    loop {
        if held >= MAX_LINE_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let read = stream.read(&mut buffer[held..])?;
        if read == 0 {
            return Ok(());
        }
        let end = held + read;
        // What was held has no line end.
        let lines = memchr::memrchr(b'\n', &buffer[held..end]).map_or(0, |at| held + at + 1);
        if lines > 0 {
            take(&mut buffer[..lines])?;
            buffer.copy_within(lines..end, 0);
        }
        held = end - lines;
        if end == buffer.len() && (end < BUFFER_BYTES || lines == 0) {
            buffer.resize(2 * end, 0);
        }
    }
}

struct Conversation<'a> {
    connection: &'a Arc<Connection>,
    subscribers: &'a Subscribers,
    published: u64,
}

impl Conversation<'_> {
    /// Answers whole lines; messages that stand one after another leave together.
    fn take(&mut self, lines: &mut [u8]) -> io::Result<()> {
        let mut run = 0..0;
        let mut at = 0;
        while at < lines.len() {
            let line =
                at..memchr::memchr(b'\n', &lines[at..]).map_or(lines.len(), |end| at + end + 1);
            at = line.end;
            if lines[line.clone()].starts_with(PUBLISH) {
                lines[line.start..][..MESSAGE.len()].copy_from_slice(MESSAGE);
                run.end = line.end;
                self.published += 1;
            } else {
                self.send_to_all(&lines[run])?;
                run = at..at;
                self.answer(&lines[line])?;
            }
        }
        self.send_to_all(&lines[run])
    }

    /// Sends messages to all subscribers, and a receipt to their publisher.
    fn send_to_all(&self, messages: &[u8]) -> io::Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let subscribers = self
            .subscribers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        for subscriber in subscribers.iter() {
            // Its own thread notices that it is gone.
            let _ = subscriber.send(messages);
        }
        let receipt = format!("PUBACK {} {}\n", self.published, subscribers.len());
        drop(subscribers);
        self.connection.send(receipt.as_bytes())
    }

    fn answer(&self, line: &[u8]) -> io::Result<()> {
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("SUBSCRIBE") => {
                self.subscribe();
                let answers: String = words.map(|topic| format!("SUBACK {topic}\n")).collect();
                self.connection.send(answers.as_bytes())
            }
            Some("PING") => self.connection.send(b"PONG\n"),
            _ => Ok(()),
        }
    }

    fn subscribe(&self) {
        let mut subscribers = self
            .subscribers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if !subscribers
            .iter()
            .any(|subscriber| Arc::ptr_eq(subscriber, self.connection))
        {
            subscribers.push(Arc::clone(self.connection));
        }
    }
}
