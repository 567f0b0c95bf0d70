//! What connections that do nothing cost, and how soon a message reaches all of them.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use tests::TestBroker;

use crate::stdout::say;

const BROADCASTS: usize = 10;

/// Long enough for a connection to have given back what it does not need.
pub(crate) const SETTLED: Duration = Duration::from_secs(3);

/// Many connections with a subscription each, then one message to all of them.
pub(crate) fn measure(connections: usize) -> io::Result<bool> {
    let broker = TestBroker::start();
    let mut publisher = TcpStream::connect(broker.address())?;
    let before = broker.resident_kib();
    let began = Instant::now();
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut client = TcpStream::connect(broker.address())?;
        client.set_read_timeout(Some(tests::PATIENCE))?;
        client.write_all(b"SUBSCRIBE news\n")?;
        take(&mut client, b"SUBACK news\n")?;
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
            take(client, b"MESSAGE news to all\n")?;
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    say(format_args!(
        "{connections} connections, each subscribed: {:.1} KB of resident memory for each, \
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
