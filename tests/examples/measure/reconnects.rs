//! How soon many clients with TLS are back after all of them lost their connections at once.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use tests::certificates::{Authority, Wanted};
use tests::{TestBroker, TlsClient, TlsOffer};

use crate::stdout::say;
use crate::threads::joined;

/// Threads of the clients. Each connects one client after another.
const THREADS: usize = 8;

/// Clients that connect and subscribe; then all connections end, and all connect again.
pub(crate) fn measure(clients: usize) -> io::Result<bool> {
    let ca = Authority::new();
    let files = ca.sign("broker", &Wanted::HERE);
    let broker = TestBroker::with_args(&files.flags());
    let offer = TlsOffer::new(&ca.pem());
    let ways = [
        ("whole handshakes", offer.without_tickets()),
        ("with tickets", offer),
    ];
    for (way, offer) in ways {
        let before = all_connect(&broker, &offer, clients)?.0;
        drop(before);
        let (again, took) = all_connect(&broker, &offer, clients)?;
        say(format_args!(
            "{clients} clients with TLS, {way}: all back and subscribed after {:.1} s",
            took.as_secs_f64()
        ));
        drop(again);
    }
    Ok(true)
}

fn all_connect(
    broker: &TestBroker,
    offer: &TlsOffer,
    clients: usize,
) -> io::Result<(Vec<TlsClient>, Duration)> {
    let began = Instant::now();
    let connected = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let own = (thread..clients).step_by(THREADS);
                scope.spawn(move || own.map(|_| connect(broker, offer)).collect())
            })
            .collect();
        let each = threads.into_iter().map(joined);
        each.collect::<io::Result<Vec<Vec<TlsClient>>>>()
    })?;
    Ok((connected.into_iter().flatten().collect(), began.elapsed()))
}

fn connect(broker: &TestBroker, offer: &TlsOffer) -> io::Result<TlsClient> {
    let mut client = offer.try_connect(broker.address(), "localhost")?;
    client.try_send("SUBSCRIBE news")?;
    match client.try_line()?.as_deref() {
        Some("SUBACK news") => Ok(client),
        other => Err(io::Error::other(format!("unexpected: {other:?}"))),
    }
}
