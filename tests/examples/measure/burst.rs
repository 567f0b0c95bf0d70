//! Whether the memory that a burst needed goes back to the system when the burst is over.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tests::TestBroker;

use crate::client::{Client, ask_for_the_end};
use crate::idle::SETTLED;
use crate::stdout::say;
use crate::threads::joined;

const CONNECTIONS: usize = 500;
const BURST_BYTES: usize = 2 * 1024 * 1024;

/// Fewer that read late: for each of them the kernel holds some megabytes, too.
const LATE_CONNECTIONS: usize = 50;
const LATE_BYTES: usize = 8 * 1024 * 1024;

const THREADS: usize = 4;
const PAYLOAD_BYTES: usize = 200;
const BURSTS: usize = 2;

/// Whose buffers a burst fills.
#[derive(Clone, Copy)]
enum Burst {
    /// Those of connections that publish without subscribers.
    Publishers,
    /// Those of connections that publish to themselves, and read when they have published.
    Both,
    /// Those of subscribers that read when all has been published.
    Subscribers,
}

pub(crate) fn measure() -> io::Result<bool> {
    let mut all_told = true;
    for burst in [Burst::Publishers, Burst::Both, Burst::Subscribers] {
        all_told &= measure_some(burst)?;
    }
    Ok(all_told)
}

fn measure_some(burst: Burst) -> io::Result<bool> {
    let broker = TestBroker::start();
    let mut publisher = Client::connect(&broker)?;
    let mut clients = (0..burst.connections())
        .map(|number| burst.connect(&broker, number))
        .collect::<io::Result<Vec<_>>>()?;
    thread::sleep(SETTLED);
    let before = broker.resident_kib();
    let mut all_told = true;
    for number in 1..=BURSTS {
        let done = AtomicBool::new(false);
        let (peak, came) = thread::scope(|scope| {
            let peak = scope.spawn(|| Ok(peak(&broker, &done)));
            let came = match burst {
                Burst::Publishers | Burst::Both => Ok(()),
                Burst::Subscribers => publish_to_all(&mut publisher),
            };
            let came = came.and_then(|()| exchange(&mut clients, burst));
            done.store(true, Ordering::Relaxed);
            io::Result::Ok((joined(peak)?, came?))
        })?;
        all_told &= came == burst.messages();
        let quiet = Instant::now();
        let after = [1, 3, 11].map(|seconds| {
            thread::sleep(Duration::from_secs(seconds).saturating_sub(quiet.elapsed()));
            broker.resident_kib()
        });
        let megabytes = |kib: u64| kib as f64 * 1.024 / 1e3;
        say(format_args!(
            "{}, burst {number}: {:.1} MB before, {:.1} MB at the peak, {:.1}, {:.1}, {:.1} MB after 1, 3, 11 s",
            burst.name(),
            megabytes(before),
            megabytes(peak),
            megabytes(after[0]),
            megabytes(after[1]),
            megabytes(after[2]),
        ));
    }
    Ok(all_told)
}

impl Burst {
    fn name(self) -> String {
        let (who, bytes) = match self {
            Self::Publishers => ("connections publish", BURST_BYTES),
            Self::Both => ("connections publish to themselves", BURST_BYTES),
            Self::Subscribers => ("connections read late", LATE_BYTES),
        };
        format!("{} {who} {} MiB each", self.connections(), bytes >> 20)
    }

    fn connections(self) -> usize {
        match self {
            Self::Publishers | Self::Both => CONNECTIONS,
            Self::Subscribers => LATE_CONNECTIONS,
        }
    }

    /// How many messages come in all.
    fn messages(self) -> u64 {
        let each = match self {
            Self::Publishers => 0,
            Self::Both => BURST_BYTES / frame(0).len(),
            Self::Subscribers => LATE_BYTES / frame(0).len(),
        };
        (each * self.connections()) as u64
    }

    fn connect(self, broker: &TestBroker, number: usize) -> io::Result<Client> {
        let mut client = match self {
            Self::Publishers | Self::Both => Client::connect(broker)?,
            Self::Subscribers => Client::connect_with_small_buffer(broker)?,
        };
        match self {
            Self::Publishers => {}
            Self::Both | Self::Subscribers => client.subscribe(&[topic(number)])?,
        }
        Ok(client)
    }
}

/// All publish, if they are to, then all read; returns how many messages came.
fn exchange(clients: &mut [Client], burst: Burst) -> io::Result<u64> {
    let share = clients.len().div_ceil(THREADS);
    thread::scope(|scope| {
        let exchange_some = |at: usize, some: &mut [Client]| {
            for (number, client) in (at * share..).zip(&mut *some) {
                match burst {
                    Burst::Publishers | Burst::Both => {
                        let frame = frame(number);
                        let count = BURST_BYTES / frame.len();
                        client.write(frame.repeat(count).as_bytes())?;
                    }
                    Burst::Subscribers => {}
                }
            }
            let mut came = 0;
            for client in some {
                ask_for_the_end(&client.writer()?)?;
                came += client.read_to_end(|_| {})?.came;
            }
            Ok(came)
        };
        let threads: Vec<_> = clients
            .chunks_mut(share)
            .enumerate()
            .map(|(at, some)| scope.spawn(move || exchange_some(at, some)))
            .collect();
        threads.into_iter().map(joined).sum()
    })
}

/// To each in turn, so that each outbox is filled by small pieces.
fn publish_to_all(publisher: &mut Client) -> io::Result<()> {
    let round: String = (0..LATE_CONNECTIONS).map(frame).collect();
    for _ in 0..LATE_BYTES / frame(0).len() {
        publisher.write(round.as_bytes())?;
    }
    ask_for_the_end(&publisher.writer()?)?;
    publisher.read_to_end(|_| {})?;
    Ok(())
}

fn topic(number: usize) -> String {
    format!("own/{number:03}")
}

fn frame(number: usize) -> String {
    format!("PUBLISH {} {}\n", topic(number), "x".repeat(PAYLOAD_BYTES))
}

fn peak(broker: &TestBroker, done: &AtomicBool) -> u64 {
    let mut most = 0;
    while !done.load(Ordering::Relaxed) {
        most = most.max(broker.resident_kib());
        thread::sleep(Duration::from_millis(10));
    }
    most
}
