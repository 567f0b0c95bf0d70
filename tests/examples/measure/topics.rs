//! What it costs a publisher to go round many topics instead of staying with one.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tests::TestBroker;

use crate::client::{Client, ask_for_the_end};
use crate::flood::{Flood, ROUND, count};
use crate::rounds::median;
use crate::stdout::say;
use crate::threads::joined;

const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(1);

/// The filters of one SUBSCRIBE.
const AT_ONCE: usize = 100;

pub(crate) fn measure() -> io::Result<bool> {
    let mut all_told = true;
    for subscribers in [1, 10] {
        let (mut ratios, mut alone, mut round) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let single = rate(1, |_| "t/00000".to_owned(), &mut all_told)?;
            let many = rate(subscribers, |n| format!("t/{n:05}"), &mut all_told)?;
            ratios.push(many / single);
            alone.push(single);
            round.push(many);
        }
        say(format_args!(
            "{ROUND} topics, divided among {subscribers} subscribers: {:.2} of the rate of one topic \
             ({:.2} of {:.2} million messages/s; medians of {ROUNDS})",
            median(ratios),
            median(round),
            median(alone),
        ));
    }
    Ok(all_told)
}

/// Millions of messages a second that have reached their subscriber.
fn rate(
    subscribers: usize,
    topic: impl Fn(usize) -> String,
    all_told: &mut bool,
) -> io::Result<f64> {
    let broker = TestBroker::start();
    let mut clients: Vec<Client> = (0..subscribers)
        .map(|_| Client::connect(&broker))
        .collect::<io::Result<_>>()?;
    let mut topics: Vec<String> = (0..ROUND).map(&topic).collect();
    topics.dedup();
    for (number, client) in clients.iter_mut().enumerate() {
        let own: Vec<String> = topics
            .iter()
            .skip(number)
            .step_by(subscribers)
            .cloned()
            .collect();
        own.chunks(AT_ONCE)
            .try_for_each(|some| client.subscribe(some))?;
    }
    let writers: Vec<TcpStream> = clients
        .iter()
        .map(Client::writer)
        .collect::<io::Result<_>>()?;
    let mut flood = Flood::new(&broker, topic)?;
    let (done, came) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let readers: Vec<_> = clients
            .iter_mut()
            .map(|client| scope.spawn(|| client.read_to_end(|_| count(&came))))
            .collect();
        let began = Instant::now();
        let flooding = scope.spawn(|| flood.run_with(&came, &done));
        thread::sleep(TIME);
        done.store(true, Ordering::Relaxed);
        let published = joined(flooding)?;
        writers.iter().try_for_each(ask_for_the_end)?;
        for reader in readers {
            joined(reader)?;
        }
        *all_told &= came.load(Ordering::Relaxed) == published;
        Ok(published as f64 / began.elapsed().as_secs_f64() / 1e6)
    })
}
