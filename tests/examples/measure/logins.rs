//! How soon many clients with passwords are in after a restart, while a pair that is in already goes on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use tests::{Random, TestBroker, UsersFile};

use crate::client::{Client, ask_for_the_end};
use crate::latency::{Latencies, Summary, publish_in_time};
use crate::stdout::say;
use crate::threads::joined;

const PER_SECOND: u32 = 1000;
const PAYLOAD_BYTES: usize = 64;
const ROUND: Duration = Duration::from_secs(5);

/// A client that is told to come back waits so long at first, and twice as long each time, as clients of MQTT do.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The pair as it is without logins, then with them all at once, and at last once more, when the passwords are known.
pub(crate) fn measure(clients: usize) -> io::Result<bool> {
    let users = users(clients)?;
    let broker = TestBroker::with_args(&["--users", users.path()]);
    let alone = beside(&broker, || Ok(()))?;
    say(format_args!(
        "a pair at {PER_SECOND} messages/s, alone:      {alone}"
    ));
    for what in ["after a restart", "once more     "] {
        let mut took = Duration::ZERO;
        let pair = beside(&broker, || {
            let began = Instant::now();
            let fleet = Fleet::log_in(&broker, clients)?;
            took = began.elapsed();
            drop(fleet);
            Ok(())
        })?;
        say(format_args!(
            "{clients} clients with passwords, {what}: all in after {:.1} s; the pair: {pair}, p99 {:.2} times that alone",
            took.as_secs_f64(),
            pair.p99.as_secs_f64() / alone.p99.as_secs_f64()
        ));
    }
    Ok(true)
}

/// Users with names of their own. They have one hash, because to compute it for each would take as long as to check it.
pub(crate) fn users(count: usize) -> io::Result<UsersFile> {
    let users = UsersFile::of(&[("u0", "pw"), ("pair", "pw")]);
    let text = fs::read_to_string(users.path())?;
    let first = text.lines().find(|line| line.starts_with("user u0 "));
    let first = first.ok_or_else(|| io::Error::other("there is no line of a user"))?;
    let others = (1..count).map(|number| first.replacen("u0", &format!("u{number}"), 1) + "\n");
    fs::write(users.path(), text.clone() + &others.collect::<String>())?;
    Ok(users)
}

/// The latencies of a pair during something.
pub(crate) fn beside(
    broker: &TestBroker,
    what: impl FnOnce() -> io::Result<()>,
) -> io::Result<Summary> {
    let clock = Instant::now();
    let mut subscriber = Client::connect(broker)?;
    subscriber.log_in("pair", "pw")?;
    subscriber.subscribe(&["pair".to_owned()])?;
    let end = subscriber.writer()?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut latencies = Latencies::default();
            subscriber.read_to_end(|line| latencies.note(line, "pair", clock, Instant::now()))?;
            Ok(latencies)
        });
        let publishing = scope.spawn(|| {
            // Also if what is measured takes no time, one round is published.
            loop {
                let mut publisher = Client::connect(broker)?;
                publisher.log_in("pair", "pw")?;
                publish_in_time(
                    &mut publisher,
                    "pair",
                    PAYLOAD_BYTES,
                    PER_SECOND,
                    ROUND,
                    clock,
                )?;
                if done.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
        });
        let measured = what();
        done.store(true, Ordering::Relaxed);
        joined(publishing)?;
        ask_for_the_end(&end)?;
        let latencies = joined(reader)?;
        measured?;
        Ok(latencies.summary())
    })
}

/// Clients that log in, all at once, read by one thread: a thread for each would measure the machine's scheduler.
struct Fleet {
    epoll: OwnedFd,
    members: Vec<Member>,
}

struct Member {
    stream: TcpStream,
    answer: Vec<u8>,
    pause: Duration,
}

/// How far a member has come.
enum Login {
    Waits,
    In,
    ComesBack(Duration),
}

impl Fleet {
    fn log_in(broker: &TestBroker, count: usize) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let members = (0..count).map(|number| {
            let mut stream = TcpStream::connect(broker.address())?;
            stream.write_all(&credential(number))?;
            stream.set_nonblocking(true)?;
            epoll::add(
                &epoll,
                &stream,
                EventData::new_u64(number as u64),
                EventFlags::IN,
            )?;
            Ok(Member {
                stream,
                answer: Vec::new(),
                pause: FIRST_PAUSE,
            })
        });
        let members = members.collect::<io::Result<_>>()?;
        let mut fleet = Self { epoll, members };
        fleet.run()?;
        Ok(fleet)
    }

    /// Until all are in.
    fn run(&mut self) -> io::Result<()> {
        let mut random = Random::new(1);
        let mut events: Vec<Event> = Vec::with_capacity(256);
        // The members that come back, the next first.
        let mut waiting: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
        let mut left = self.members.len();
        while left > 0 {
            // To the millisecond: members that come back in bunches would be a load that a fleet is not.
            let now = Instant::now();
            let next = waiting.peek().map_or(LONGEST_PAUSE, |next| {
                next.0.0.saturating_duration_since(now)
            });
            let next = Timespec::try_from(next).map_err(io::Error::other)?;
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&next))?;
            for event in &events {
                let number = event.data.u64() as usize;
                match self.members[number].read(&mut random)? {
                    Login::Waits => {}
                    Login::In => left -= 1,
                    Login::ComesBack(pause) => {
                        waiting.push(Reverse((Instant::now() + pause, number)));
                    }
                }
            }
            let now = Instant::now();
            while let Some(next) = waiting.peek_mut().filter(|next| next.0.0 <= now) {
                let Reverse((_, number)) = PeekMut::pop(next);
                self.members[number].stream.write_all(&credential(number))?;
            }
        }
        Ok(())
    }
}

impl Member {
    /// Reads what is there.
    fn read(&mut self, random: &mut Random) -> io::Result<Login> {
        let mut bytes = [0; 512];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err(io::Error::other("the broker has closed a connection")),
            Ok(came) => self.answer.extend_from_slice(&bytes[..came]),
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(Login::Waits),
            Err(err) => return Err(err),
        }
        while let Some(end) = self.answer.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.answer.drain(..=end).collect();
            if line.starts_with(b"AUTHACK ") {
                return Ok(Login::In);
            }
            if line.starts_with(b"ERROR too-many ") {
                // Spread, so that they do not come back together.
                let spread = random.below(1000) as u32;
                let pause = self.pause / 2 + self.pause * spread / 1000;
                self.pause = LONGEST_PAUSE.min(2 * self.pause);
                return Ok(Login::ComesBack(pause));
            } else if line != b"PING\n" {
                let line = String::from_utf8_lossy(&line).into_owned();
                return Err(io::Error::other(format!("unexpected: {line:?}")));
            }
        }
        Ok(Login::Waits)
    }
}

fn credential(number: usize) -> Vec<u8> {
    format!("AUTH u{number} pw\n").into_bytes()
}
