//! What connections that do nothing cost, and how soon a message reaches all of them.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use tests::certificates::{Authority, Wanted};
use tests::{TestBroker, TlsClient, TlsOffer};

use crate::stdout::say;

const BROADCASTS: usize = 10;

/// Long enough for a connection to have given back what it does not need.
pub(crate) const SETTLED: Duration = Duration::from_secs(3);

/// A connection that speaks in lines.
trait LineClient {
    fn send(&mut self, line: &str) -> io::Result<()>;

    /// Reads the next line, which has to be this.
    fn take(&mut self, line: &str) -> io::Result<()>;
}

impl LineClient for TcpStream {
    fn send(&mut self, line: &str) -> io::Result<()> {
        self.write_all(format!("{line}\n").as_bytes())
    }

    fn take(&mut self, line: &str) -> io::Result<()> {
        take(self, format!("{line}\n").as_bytes())
    }
}

impl LineClient for TlsClient {
    fn send(&mut self, line: &str) -> io::Result<()> {
        self.try_send(line)
    }

    fn take(&mut self, line: &str) -> io::Result<()> {
        match self.try_line()? {
            Some(came) if came == line => Ok(()),
            came => Err(io::Error::other(format!("unexpected: {came:?}"))),
        }
    }
}

/// Many connections with a subscription each, then one message to all of them.
pub(crate) fn measure(connections: usize) -> io::Result<bool> {
    let broker = TestBroker::start();
    measure_of(&broker, connections, "connections", || {
        let client = TcpStream::connect(broker.address())?;
        client.set_read_timeout(Some(tests::PATIENCE))?;
        Ok(client)
    })
}

/// The same with TLS.
pub(crate) fn measure_tls(connections: usize) -> io::Result<bool> {
    let ca = Authority::new();
    let files = ca.sign("broker", &Wanted::HERE);
    let broker = TestBroker::with_args(&files.flags());
    let offer = TlsOffer::new(&ca.pem());
    measure_of(&broker, connections, "connections with TLS", || {
        offer.try_connect(broker.address(), "localhost")
    })
}

fn measure_of<C: LineClient>(
    broker: &TestBroker,
    connections: usize,
    what: &str,
    mut connect: impl FnMut() -> io::Result<C>,
) -> io::Result<bool> {
    let mut publisher = TcpStream::connect(broker.address())?;
    // What the first of all needs, such as the libraries that it has read in, is not of each.
    let mut first = connect()?;
    first.send("PING")?;
    first.take("PONG")?;
    let before = broker.resident_kib();
    let began = Instant::now();
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut client = connect()?;
        client.send("SUBSCRIBE news")?;
        client.take("SUBACK news")?;
        clients.push(client);
    }
    let rate = connections as f64 / began.elapsed().as_secs_f64();
    thread::sleep(SETTLED);
    let grown = broker.resident_kib() - before;
    let mut times = Vec::new();
    for _ in 0..BROADCASTS {
        let began = Instant::now();
        publisher.write_all(b"PUBLISH news to all\n")?;
        for client in &mut clients {
            client.take("MESSAGE news to all")?;
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    say(format_args!(
        "{connections} {what}, each subscribed: {:.1} KB of resident memory for each, \
         {rate:.0} connects/s, a broadcast reached all of them in {:.0} ms (median of {BROADCASTS})",
        grown as f64 * 1.024 / connections as f64,
        times[times.len() / 2].as_secs_f64() * 1e3,
    ));
    Ok(true)
}

pub(crate) fn take(client: &mut TcpStream, expected: &[u8]) -> io::Result<()> {
    let mut came = vec![0; expected.len()];
    client.read_exact(&mut came)?;
    if came == expected {
        return Ok(());
    }
    let came = String::from_utf8_lossy(&came).into_owned();
    Err(io::Error::other(format!("unexpected: {came:?}")))
}
