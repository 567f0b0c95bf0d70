//! What a quiet publisher and its subscriber notice of one that publishes at full speed.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use tests::TestBroker;

use crate::client::{Account, Client, ask_for_the_end};
use crate::flood::Flood;
use crate::latency::{Latencies, Summary, publish_in_time};
use crate::stdout::say;
use crate::threads::joined;

const PER_SECOND: u32 = 1000;
const PAYLOAD_BYTES: usize = 64;
const TIME: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

/// What else goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    /// As many busy threads as a loud pair needs, with no broker between them.
    BusyMachine,
    /// A loud publisher and a subscriber of its own.
    LoudPair,
    /// A loud publisher whose messages are for the same subscriber.
    LoudToo,
}

impl Beside {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "alone:                     ",
            Self::BusyMachine => "on a machine as busy:      ",
            Self::LoudPair => "beside a loud pair:        ",
            Self::LoudToo => "to the loud one's own:     ",
        }
    }

    fn is_loud(self) -> bool {
        match self {
            Self::Nothing | Self::BusyMachine => false,
            Self::LoudPair | Self::LoudToo => true,
        }
    }
}

/// What one round has shown.
struct Round {
    latencies: Summary,
    /// Quiet messages that were dropped, which happens only where loud ones wait, too.
    lost: u64,
    /// Loud messages, and how many of both kinds were told missing.
    loud: u64,
    missed: u64,
    exact: bool,
}

pub(crate) fn measure() -> io::Result<bool> {
    say(format_args!(
        "a quiet pair, {PER_SECOND} messages/s of {PAYLOAD_BYTES} bytes; medians of {ROUNDS} rounds of {} s",
        TIME.as_secs()
    ));
    let all = [
        Beside::Nothing,
        Beside::BusyMachine,
        Beside::LoudPair,
        Beside::LoudToo,
    ];
    let mut rounds = all.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (beside, rounds) in all.into_iter().zip(&mut rounds) {
            rounds.push(round(beside)?);
        }
    }
    let mut all_told = true;
    for (beside, rounds) in all.into_iter().zip(&rounds) {
        let summaries: Vec<Summary> = rounds.iter().map(|round| round.latencies).collect();
        let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum::<u64>();
        all_told &= rounds.iter().all(|round| round.exact);
        let loud = match beside.is_loud() {
            true => format!(
                "; loud: {:.1} million/s; of all, {} quiet ones lost, {} told missing",
                sum(|round| round.loud) as f64 / ROUNDS as f64 / TIME.as_secs_f64() / 1e6,
                sum(|round| round.lost),
                sum(|round| round.missed),
            ),
            false => String::new(),
        };
        say(format_args!(
            "{} {}{loud}",
            beside.name(),
            Summary::middle(&summaries)
        ));
    }
    Ok(all_told)
}

fn round(beside: Beside) -> io::Result<Round> {
    let broker = TestBroker::start();
    let clock = Instant::now();
    let mut quiet = Client::connect(&broker)?;
    quiet.subscribe(&["quiet".to_owned()])?;
    let mut loud = match beside {
        Beside::LoudPair => {
            let mut loud = Client::connect(&broker)?;
            loud.subscribe(&["loud".to_owned()])?;
            Some(loud)
        }
        Beside::LoudToo => {
            quiet.subscribe(&["loud".to_owned()])?;
            None
        }
        Beside::Nothing | Beside::BusyMachine => None,
    };
    let ends: Vec<TcpStream> = loud
        .iter()
        .chain([&quiet])
        .map(Client::writer)
        .collect::<io::Result<_>>()?;
    let mut flood = Flood::new(&broker, |_| "loud".to_owned())?;
    let mut publisher = Client::connect(&broker)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut latencies = Latencies::default();
            let account = quiet.read_to_end(|line| {
                if line.starts_with(b"MESSAGE quiet ") {
                    latencies.note(line, "quiet", clock, Instant::now());
                }
            })?;
            Ok((account, latencies))
        });
        let loud = loud
            .as_mut()
            .map(|loud| scope.spawn(|| loud.read_to_end(|_| {})));
        let flooding = match beside {
            Beside::Nothing => None,
            Beside::BusyMachine => Some(busy(scope, &done)?),
            Beside::LoudPair | Beside::LoudToo => Some(scope.spawn(|| flood.run(&done))),
        };
        let published = publish_in_time(
            &mut publisher,
            "quiet",
            PAYLOAD_BYTES,
            PER_SECOND,
            TIME,
            clock,
        );
        done.store(true, Ordering::Relaxed);
        let flooded = flooding.map_or(Ok(0), joined)?;
        ends.iter().try_for_each(ask_for_the_end)?;
        let (quiet, latencies) = joined(reader)?;
        let loud = loud.map_or(Ok(Account::default()), joined)?;
        let published = published?;
        Ok(Round {
            lost: published - latencies.count() as u64,
            latencies: latencies.summary(),
            loud: flooded,
            missed: quiet.missed + loud.missed,
            exact: quiet.total() + loud.total() == published + flooded,
        })
    })
}

/// Two threads that are busy with bytes that go past the broker.
fn busy<'scope>(
    scope: &'scope Scope<'scope, '_>,
    done: &'scope AtomicBool,
) -> io::Result<ScopedJoinHandle<'scope, io::Result<u64>>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut writer = TcpStream::connect(listener.local_addr()?)?;
    let (mut reader, _) = listener.accept()?;
    scope.spawn(move || {
        let mut bin = vec![0; 64 * 1024];
        while matches!(reader.read(&mut bin), Ok(1..)) {}
    });
    Ok(scope.spawn(move || {
        let bytes = vec![b'x'; 64 * 1024];
        while !done.load(Ordering::Relaxed) {
            writer.write_all(&bytes)?;
        }
        Ok(0)
    }))
}
