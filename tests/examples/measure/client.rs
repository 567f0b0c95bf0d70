//! A connection as the measurements use it: bytes out, lines in. It costs little for each line, so
//! that the broker is measured and not its clients.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;
use tests::{TestBroker, TestClient};

/// The token of the PING behind which a client has nothing more to expect.
const LAST: &[u8] = b"PING that was all\n";
const LAST_ANSWER: &[u8] = b"PONG that was all";

/// One connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    line: Vec<u8>,
}

/// What a subscriber has got, and been told that it has not.
#[derive(Clone, Copy, Default)]
pub(crate) struct Account {
    pub(crate) came: u64,
    pub(crate) missed: u64,
}

impl Client {
    pub(crate) fn connect(broker: &TestBroker) -> io::Result<Self> {
        let stream = TcpStream::connect(broker.address())?;
        stream.set_nodelay(true)?;
        Self::over(stream, 256 * 1024)
    }

    /// A client that is slow as soon as it does not read.
    pub(crate) fn connect_with_small_buffer(broker: &TestBroker) -> io::Result<Self> {
        let stream = TestClient::connect_with_small_buffer(broker.address()).writer();
        Self::over(stream, 128)
    }

    fn over(stream: TcpStream, buffer_bytes: usize) -> io::Result<Self> {
        stream.set_read_timeout(Some(tests::PATIENCE))?;
        stream.set_write_timeout(Some(tests::PATIENCE))?;
        Ok(Self {
            stream: BufReader::with_capacity(buffer_bytes, stream),
            line: Vec::new(),
        })
    }

    /// Says who it is.
    pub(crate) fn log_in(&mut self, user: &str, password: &str) -> io::Result<()> {
        self.write(format!("AUTH {user} {password}\n").as_bytes())?;
        self.expect(format!("AUTHACK {user}").as_bytes())
    }

    /// Subscribes to some filters and takes the answers.
    pub(crate) fn subscribe(&mut self, filters: &[String]) -> io::Result<()> {
        self.write(format!("SUBSCRIBE {}\n", filters.join(" ")).as_bytes())?;
        for filter in filters {
            self.expect(format!("SUBACK {filter}").as_bytes())?;
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The same connection for another thread.
    pub(crate) fn writer(&self) -> io::Result<TcpStream> {
        self.stream.get_ref().try_clone()
    }

    /// The next line, without its LF. The broker's PING is passed over: it asks clients that have
    /// been silent, and goes without an answer.
    pub(crate) fn line(&mut self) -> io::Result<&[u8]> {
        loop {
            self.line.clear();
            self.stream.read_until(b'\n', &mut self.line)?;
            if self.line.pop() != Some(b'\n') {
                return Err(io::Error::other("the broker has closed the connection"));
            }
            if self.line != b"PING" {
                return Ok(&self.line);
            }
        }
    }

    /// Takes the next line, which has to be this.
    pub(crate) fn expect(&mut self, line: &[u8]) -> io::Result<()> {
        let came = self.line()?;
        if came == line {
            return Ok(());
        }
        let came = String::from_utf8_lossy(came).into_owned();
        Err(io::Error::other(format!("unexpected: {came:?}")))
    }

    /// Hands over all messages up to the answer to [`ask_for_the_end`], and counts what came.
    pub(crate) fn read_to_end(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<Account> {
        let mut account = Account::default();
        loop {
            let line = self.line()?;
            if line == LAST_ANSWER {
                return Ok(account);
            }
            if account.add(line) {
                each(line);
            }
        }
    }

    /// Leaves, and returns when the broker has forgotten all about it.
    pub(crate) fn leave(self, broker: &TestBroker) -> io::Result<()> {
        let address = self.stream.get_ref().local_addr()?;
        drop(self);
        broker.wait_for_log(&format!("from {address} ends after "));
        Ok(())
    }

    /// Ends with a reset, as if the machine had lost its power.
    pub(crate) fn vanish(self) -> io::Result<()> {
        sockopt::set_socket_linger(self.stream.get_ref(), Some(Duration::ZERO))?;
        Ok(())
    }
}

impl Account {
    /// Counts a line, and says whether it is a message.
    pub(crate) fn add(&mut self, line: &[u8]) -> bool {
        if line.starts_with(b"MESSAGE ") {
            self.came += 1;
            return true;
        }
        if let Some(count) = line.strip_prefix(b"GAP ") {
            // What is no number is missing in the account, and so shows.
            self.missed += number(count).unwrap_or(0);
        }
        false
    }

    pub(crate) fn total(self) -> u64 {
        self.came + self.missed
    }
}

/// Asks for an answer that comes behind all that was published before, to be read by
/// [`Client::read_to_end`].
pub(crate) fn ask_for_the_end(mut writer: &TcpStream) -> io::Result<()> {
    writer.write_all(LAST)
}

pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
