//! A million subscriptions: what they weigh, how fast they come and go, and what publishers notice
//! while clients come, go, or leave with a hundred thousand of them.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tests::TestBroker;

use crate::client::{Client, ask_for_the_end};
use crate::flood::{Flood, ROUND, count};
use crate::latency::{Latencies, Summary, publish_in_time};
use crate::rounds::median;
use crate::stdout::say;
use crate::threads::joined;

const HOLDERS: usize = 10;
const FILTERS: usize = 100_000;
const ROUNDS: usize = 3;

/// The filters of one SUBSCRIBE.
const AT_ONCE: usize = 50;

const CHURN_PER_SECOND: u32 = 1000;
const CHURN_THREADS: u32 = 2;
const CHURN_TIME: Duration = Duration::from_secs(1);

const PER_SECOND: u32 = 1000;
const PAYLOAD_BYTES: usize = 64;
const TIME: Duration = Duration::from_secs(2);

const RETAINED: usize = 100_000;

/// The filters that the subscriber of a pair subscribes to.
const ASKED: usize = 16;

pub(crate) fn measure() -> io::Result<bool> {
    let broker = TestBroker::start();
    let mut holders: Vec<Client> = (0..HOLDERS)
        .map(|_| Client::connect(&broker))
        .collect::<io::Result<_>>()?;
    let weighed = |what: &str, count: usize, from: u64, time: Duration| {
        say(format_args!(
            "{what}: {:.0} bytes of resident memory and {:.2} us for each, {:.0} thousand a second",
            broker.resident_kib().saturating_sub(from) as f64 * 1024.0 / count as f64,
            time.as_secs_f64() * 1e6 / count as f64,
            count as f64 / time.as_secs_f64() / 1e3,
        ));
    };
    let before = broker.resident_kib();
    let time = ask_all(&mut holders[..1], "SUBSCRIBE", "SUBACK")?;
    let what = format!("one client subscribes to {FILTERS} filters, a third with wildcards");
    weighed(&what, FILTERS, before, time);
    let with_one = broker.resident_kib();
    let time = ask_all(&mut holders[1..], "SUBSCRIBE", "SUBACK")?;
    let what = format!("{} more to the same filters, all at a time", HOLDERS - 1);
    weighed(&what, FILTERS * (HOLDERS - 1), with_one, time);

    pauses(&broker)?;
    retained()?;
    let all_told = churn(&broker)?;
    let time = ask_all(&mut holders, "UNSUBSCRIBE", "UNSUBACK")?;
    say(format_args!(
        "all unsubscribe, all at a time: {:.2} us for each, {:.0} thousand a second",
        time.as_secs_f64() * 1e6 / (HOLDERS * FILTERS) as f64,
        (HOLDERS * FILTERS) as f64 / time.as_secs_f64() / 1e3,
    ));
    Ok(all_told)
}

/// Filters of a client, all different; a third with wildcards.
fn filters(of: &str) -> Vec<String> {
    (0..FILTERS)
        .map(|n| match n % 6 {
            0 => format!("{of}/{n}/#"),
            3 => format!("{of}/{n}/+/state"),
            _ => format!("{of}/{n}/door/state"),
        })
        .collect()
}

/// Each client asks for all filters, all clients at a time; returns how long that took.
fn ask_all(clients: &mut [Client], verb: &str, answer: &str) -> io::Result<Duration> {
    let filters = filters("site");
    let began = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .map(|client| scope.spawn(|| ask(client, &filters, verb, answer)))
            .collect();
        threads.into_iter().try_for_each(joined)
    })?;
    Ok(began.elapsed())
}

fn ask(client: &mut Client, filters: &[String], verb: &str, answer: &str) -> io::Result<()> {
    // The unread answers to this many frames fit into the kernel's buffers.
    for some in filters.chunks(20 * AT_ONCE) {
        let frames: String = some
            .chunks(AT_ONCE)
            .map(|filters| format!("{verb} {}\n", filters.join(" ")))
            .collect();
        client.write(frames.as_bytes())?;
        for _ in some {
            let line = client.line()?;
            if !line.starts_with(answer.as_bytes()) {
                return Err(io::Error::other(String::from_utf8_lossy(line).into_owned()));
            }
        }
    }
    Ok(())
}

/// The latencies of a pair while a client with a hundred thousand subscriptions of its own leaves,
/// and of the same pair while none does.
fn pauses(broker: &TestBroker) -> io::Result<()> {
    let own = filters("own");
    let (mut quiet, mut leaving, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut leaver = Client::connect(broker)?;
        ask(&mut leaver, &own, "SUBSCRIBE", "SUBACK")?;
        quiet.push(pair(broker, |_| Ok(()))?.0);
        let (latencies, time) = pair(broker, |_| {
            thread::sleep(TIME / 4);
            leaver.leave(broker)
        })?;
        leaving.push(latencies);
        gone.push(time.saturating_sub(TIME / 4).as_secs_f64() * 1e3);
    }
    say(format_args!(
        "a pair at {PER_SECOND} messages/s; medians of {ROUNDS}:\n  \
         no client leaves:                          {}\n  \
         a client with {FILTERS} subscriptions leaves: {}; it was gone after {:.0} ms",
        Summary::middle(&quiet),
        Summary::middle(&leaving),
        median(gone),
    ));
    Ok(())
}

/// The latencies of a pair whose subscriber asks for what is retained, all of which has to be
/// looked through and nothing of which matches.
fn retained() -> io::Result<()> {
    let broker = TestBroker::start();
    let mut publisher = Client::connect(&broker)?;
    for n in 0..RETAINED {
        publisher.write(format!("@retain PUBLISH kept/{n}/state on\n").as_bytes())?;
    }
    ask_for_the_end(&publisher.writer()?)?;
    publisher.read_to_end(|_| {})?;
    let (mut quiet, mut asking) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        quiet.push(pair(&broker, |_| Ok(()))?.0);
        let (latencies, _) = pair(&broker, |mut subscriber| {
            thread::sleep(TIME / 4);
            let filters: String = (0..ASKED).map(|n| format!(" +/+/none-{n}")).collect();
            subscriber.write_all(format!("SUBSCRIBE{filters}\n").as_bytes())
        })?;
        asking.push(latencies);
    }
    say(format_args!(
        "a pair at {PER_SECOND} messages/s beside {RETAINED} retained messages; medians of {ROUNDS}:\n  \
         its subscriber does not subscribe anew:    {}\n  \
         its subscriber does, to {ASKED} wildcards:      {}",
        Summary::middle(&quiet),
        Summary::middle(&asking),
    ));
    Ok(())
}

/// The latencies of a publisher and a subscriber at a fixed rate while `other` happens, and how
/// long that took. `other` gets the subscriber's connection.
fn pair(
    broker: &TestBroker,
    other: impl FnOnce(&TcpStream) -> io::Result<()> + Send,
) -> io::Result<(Summary, Duration)> {
    let clock = Instant::now();
    let mut subscriber = Client::connect(broker)?;
    subscriber.subscribe(&["pair".to_owned()])?;
    let writer = subscriber.writer()?;
    let mut publisher = Client::connect(broker)?;
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut latencies = Latencies::default();
            subscriber.read_to_end(|line| latencies.note(line, "pair", clock, Instant::now()))?;
            Ok(latencies)
        });
        let other = scope.spawn(|| {
            let began = Instant::now();
            other(&writer)?;
            Ok(began.elapsed())
        });
        let topic = "pair";
        publish_in_time(
            &mut publisher,
            topic,
            PAYLOAD_BYTES,
            PER_SECOND,
            TIME,
            clock,
        )?;
        let time = joined(other)?;
        ask_for_the_end(&writer)?;
        Ok((joined(reader)?.summary(), time))
    })
}

/// A publisher at full speed, alone and while clients subscribe and leave; as much else happens to
/// the machine if they do so at another broker.
fn churn(broker: &TestBroker) -> io::Result<bool> {
    let other = TestBroker::start();
    let mut all_told = true;
    for (topics, wild) in [(1, false), (1, true), (ROUND, false), (ROUND, true)] {
        let (mut elsewhere, mut here, mut came) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut rate = |visited| rate(broker, topics, visited, wild, &mut all_told);
            let (beside, _) = rate(Some(&other))?;
            let (alone, _) = rate(None)?;
            let (within, clients) = rate(Some(broker))?;
            elsewhere.push(beside / alone);
            here.push(within / alone);
            came.push(clients as f64 / CHURN_TIME.as_secs_f64());
        }
        say(format_args!(
            "a publisher to {topics} topics while {:.0} clients/s subscribe to {} and leave: {:.2} of its rate alone; \
             {:.2} if they do so at another broker (medians of {ROUNDS})",
            median(came),
            if wild {
                "a topic and a wildcard"
            } else {
                "two other topics"
            },
            median(here),
            median(elsewhere),
        ));
    }
    Ok(all_told)
}

/// Messages a second that reach a steady subscriber while clients come and go at `visited`, and
/// how many did.
fn rate(
    broker: &TestBroker,
    topics: usize,
    visited: Option<&TestBroker>,
    wild: bool,
    all_told: &mut bool,
) -> io::Result<(f64, u64)> {
    let mut subscriber = Client::connect(broker)?;
    subscriber.subscribe(&["steady/+".to_owned()])?;
    let writer: TcpStream = subscriber.writer()?;
    let mut flood = Flood::new(broker, |n| format!("steady/{}", n % topics))?;
    let (done, came) = (AtomicBool::new(false), AtomicU64::new(0));
    let visitors = AtomicU64::new(0);
    thread::scope(|scope| {
        let reader = scope.spawn(|| subscriber.read_to_end(|_| count(&came)));
        let began = Instant::now();
        let flooding = scope.spawn(|| flood.run_with(&came, &done));
        let (done, visitors) = (&done, &visitors);
        let threads: Vec<_> = visited
            .iter()
            .flat_map(|visited| (0..CHURN_THREADS).map(move |_| visited))
            .map(|visited| scope.spawn(move || come_and_go(visited, wild, done, visitors)))
            .collect();
        thread::sleep(CHURN_TIME);
        done.store(true, Ordering::Relaxed);
        let published = joined(flooding)?;
        threads.into_iter().try_for_each(joined)?;
        ask_for_the_end(&writer)?;
        joined(reader)?;
        *all_told &= came.load(Ordering::Relaxed) == published;
        let rate = published as f64 / began.elapsed().as_secs_f64();
        Ok((rate, visitors.load(Ordering::Relaxed)))
    })
}

/// Clients that subscribe and leave, each at its time as far as the machine bears that.
fn come_and_go(
    broker: &TestBroker,
    wild: bool,
    done: &AtomicBool,
    visitors: &AtomicU64,
) -> io::Result<()> {
    let interval = Duration::from_secs(1) * CHURN_THREADS / CHURN_PER_SECOND;
    let mut due = Instant::now();
    while !done.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += interval;
        let n = visitors.fetch_add(1, Ordering::Relaxed);
        let second = if wild { "+" } else { "b" };
        let mut visitor = Client::connect(broker)?;
        visitor.subscribe(&[format!("visit/{n}/a"), format!("visit/{n}/{second}")])?;
    }
    Ok(())
}
