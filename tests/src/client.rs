//! A client that knows no more of the protocol than a person at netcat: it sends lines and reads
//! lines.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

use crate::PATIENCE;

/// A receive buffer that makes a client slow soon, in bytes.
pub const SMALL_BUFFER: usize = 8 * 1024;

/// How many received lines the report of a failure shows.
const REMEMBERED_LINES: usize = 8;

/// How much of each of them.
const SHOWN_BYTES: usize = 120;

/// One connection, read with patience: what does not come within [`PATIENCE`] fails the test.
#[derive(Debug)]
pub struct TestClient {
    stream: BufReader<TcpStream>,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The beginnings of the last lines that came, for the report.
    before: VecDeque<Vec<u8>>,
    fences: u64,
}

/// Why there is no line.
#[derive(Debug)]
enum NoLine {
    End,
    Reset,
    Nothing,
}

impl TestClient {
    /// A new connection.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE);
        Self::over(stream.unwrap_or_else(|err| panic!("no connection to {address}: {err}")))
    }

    /// A new connection whose kernel keeps only [`SMALL_BUFFER`] for a client that does not read.
    #[track_caller]
    pub fn connect_with_small_buffer(address: SocketAddr) -> Self {
        let socket = socket(family_of(address), SocketType::STREAM, None).expect("a socket");
        // Only before the connection is made does it bound the window that is offered.
        sockopt::set_socket_recv_buffer_size(&socket, SMALL_BUFFER).expect("a buffer size");
        connect(&socket, &address)
            .unwrap_or_else(|err| panic!("no connection to {address}: {err}"));
        Self::over(socket.into())
    }

    /// A new connection from this address of the machine.
    #[track_caller]
    pub fn connect_from(own: IpAddr, address: SocketAddr) -> Self {
        let socket = socket(family_of(address), SocketType::STREAM, None).expect("a socket");
        bind(&socket, &SocketAddr::new(own, 0)).expect("an address of this machine");
        connect(&socket, &address)
            .unwrap_or_else(|err| panic!("no connection to {address}: {err}"));
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a connected socket");
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&stream, Some(PATIENCE)).expect("a connected socket");
        }
        Self {
            stream: BufReader::with_capacity(64 * 1024, stream),
            line: Vec::new(),
            before: VecDeque::new(),
            fences: 0,
        }
    }

    /// Sends a line and its LF.
    #[track_caller]
    pub fn send(&mut self, line: impl AsRef<[u8]>) -> &mut Self {
        self.write([line.as_ref(), b"\n"].concat())
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let written = self.stream.get_mut().write_all(bytes.as_ref());
        written.unwrap_or_else(|err| panic!("the broker does not take what is sent: {err}"));
        self
    }

    /// The next line without its LF, as bytes; `None` at the end of the connection.
    #[track_caller]
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        match self.poll_line() {
            Ok(line) => Some(line),
            Err(NoLine::End) => None,
            Err(NoLine::Reset) => panic!("the connection was reset; before: {}", self.before()),
            Err(NoLine::Nothing) => panic!("nothing came; before: {}", self.before()),
        }
    }

    /// All that comes until the broker closes the connection, whatever its form.
    #[track_caller]
    pub fn read_to_end(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.line);
        let read = self.stream.read_to_end(&mut rest);
        read.unwrap_or_else(|err| panic!("the end does not come: {err}"));
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// The next line as text.
    #[track_caller]
    pub fn read_line(&mut self) -> String {
        match self.next_line() {
            Some(line) => String::from_utf8_lossy(&line).into_owned(),
            None => panic!("the connection has ended; before: {}", self.before()),
        }
    }

    /// Takes the next line, which has to be this.
    #[track_caller]
    pub fn expect(&mut self, line: impl AsRef<[u8]>) -> &mut Self {
        let Some(came) = self.next_line() else {
            panic!(
                "the connection has ended; before: {}; expected: {:?}",
                self.before(),
                shown(line.as_ref())
            );
        };
        assert!(
            came == line.as_ref(),
            "expected {:?}, came {:?}",
            shown(line.as_ref()),
            shown(&came)
        );
        self
    }

    /// Takes the next line, which has to begin so.
    #[track_caller]
    pub fn expect_prefix(&mut self, prefix: &str) -> &mut Self {
        let line = self.read_line();
        assert!(
            line.starts_with(prefix),
            "expected {prefix}..., came {line:?}"
        );
        self
    }

    /// Takes an `ERROR` about `subject` with a text for people.
    #[track_caller]
    pub fn expect_error(&mut self, code: &str, subject: &str) -> &mut Self {
        let line = self.read_line();
        let start = format!("ERROR {code} {subject} ");
        let text = line.strip_prefix(&start);
        assert!(
            text.is_some_and(|text| !text.is_empty()),
            "expected {start}<text>, came {line:?}"
        );
        self
    }

    /// The lines before `last`, which is taken as well.
    #[track_caller]
    pub fn read_until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.read_line();
            if line == last {
                return lines;
            }
            lines.push(line);
        }
    }

    /// Passes over all lines up to one that begins so, and returns that one.
    #[track_caller]
    pub fn read_until_prefix(&mut self, prefix: &str) -> String {
        loop {
            let line = self.read_line();
            if line.starts_with(prefix) {
                return line;
            }
        }
    }

    /// Sends a PING and returns what came before its PONG: all that the broker had for this client.
    #[track_caller]
    pub fn read_to_fence(&mut self) -> Vec<String> {
        let token = self.next_fence();
        self.send(format!("PING {token}"));
        self.read_until(&format!("PONG {token}"))
    }

    /// Nothing has come but what was taken: silence, without sleeping.
    #[track_caller]
    pub fn expect_silence(&mut self) -> &mut Self {
        let came = self.read_to_fence();
        assert!(came.is_empty(), "expected silence, came {came:?}");
        self
    }

    fn next_fence(&mut self) -> String {
        self.fences += 1;
        format!("fence-{}", self.fences)
    }

    /// The broker has closed the connection in order, and sent nothing more.
    #[track_caller]
    pub fn expect_end(&mut self) {
        match self.poll_line() {
            Err(NoLine::End) => {}
            other => panic!("expected the end, came {}", described(&other)),
        }
    }

    /// The broker has closed the connection and sent nothing more. What it did not read may
    /// have reset the connection.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        match self.poll_line() {
            Err(NoLine::End | NoLine::Reset) => {}
            other => panic!("expected the end, came {}", described(&other)),
        }
    }

    /// Closes the sending side only.
    pub fn half_close(&mut self) -> &mut Self {
        let stream = self.stream.get_ref();
        stream
            .shutdown(Shutdown::Write)
            .expect("an open connection");
        self
    }

    /// The same connection for a second thread that sends.
    pub fn writer(&self) -> TcpStream {
        self.stream.get_ref().try_clone().expect("a descriptor")
    }

    /// Makes the end of the connection a reset, as if the machine had lost its power.
    pub fn vanish(self) {
        let stream = self.stream.get_ref();
        sockopt::set_socket_linger(stream, Some(Duration::ZERO)).expect("an open connection");
    }

    /// The client's own address.
    pub fn local_addr(&self) -> SocketAddr {
        self.stream
            .get_ref()
            .local_addr()
            .expect("a connected socket")
    }

    fn before(&self) -> String {
        let lines: Vec<String> = self.before.iter().map(|line| shown(line)).collect();
        format!("{lines:?}")
    }

    fn poll_line(&mut self) -> Result<Vec<u8>, NoLine> {
        match self.stream.read_until(b'\n', &mut self.line) {
            Ok(_) if self.line.last() == Some(&b'\n') => {}
            Ok(_) if self.line.is_empty() => return Err(NoLine::End),
            Ok(_) => panic!(
                "the connection ended inside a line: {:?}",
                shown(&self.line)
            ),
            Err(err) if is_reset(&err) => return Err(NoLine::Reset),
            Err(err) if is_timeout(&err) => return Err(NoLine::Nothing),
            Err(err) => panic!("the connection broke: {err}"),
        }
        let mut line = std::mem::take(&mut self.line);
        line.pop();
        if self.before.len() == REMEMBERED_LINES {
            self.before.pop_front();
        }
        self.before
            .push_back(line[..line.len().min(SHOWN_BYTES)].to_vec());
        Ok(line)
    }
}

fn is_reset(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::ConnectionReset
}

/// Which of the two a timeout is differs between systems.
fn is_timeout(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn described(line: &Result<Vec<u8>, NoLine>) -> String {
    match line {
        Ok(line) => format!("{:?}", shown(line)),
        Err(no_line) => format!("{no_line:?}"),
    }
}

/// The beginning of a line, fit for a report.
fn shown(line: &[u8]) -> String {
    let text = line[..line.len().min(SHOWN_BYTES)]
        .escape_ascii()
        .to_string();
    if line.len() > SHOWN_BYTES {
        format!("{text}... ({} bytes)", line.len())
    } else {
        text
    }
}

fn family_of(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}
