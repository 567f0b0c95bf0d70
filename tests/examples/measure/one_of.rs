//! What many subscribers notice of one among them that stalls, trickles or vanishes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tests::TestBroker;

use crate::client::{Account, Client, ask_for_the_end};
use crate::crowd::Crowd;
use crate::latency::{Summary, publish_in_time};
use crate::stdout::say;
use crate::threads::joined;

const PER_SECOND: u32 = 100;
const PAYLOAD_BYTES: usize = 128;
const TIME: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

/// Small enough that the odd one's is full all the time, and large enough for all others.
const OUTBOX_BYTES: &str = "16384";

/// Published to the odd one alone, before time is taken: more than the two kernels hold for it.
const FILLING: u64 = 5000;
const FILLING_BYTES: usize = 1000;

/// About a kilobyte a second.
const TRICKLE: Duration = Duration::from_millis(140);

/// What the odd one does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Odd {
    /// It is not there.
    Absent,
    Stalls,
    Trickles,
    /// It does not read, and its connection is reset after half of the time.
    Vanishes,
}

impl Odd {
    fn name(self) -> &'static str {
        match self {
            Self::Absent => "none is odd:  ",
            Self::Stalls => "one stalls:   ",
            Self::Trickles => "one trickles: ",
            Self::Vanishes => "one vanishes: ",
        }
    }
}

/// What one round has shown.
struct Round {
    latencies: Summary,
    /// What the odd one has seen, or what the broker's log says of it.
    odd_one: Option<String>,
    all_told: bool,
}

pub(crate) fn measure(subscribers: usize) -> io::Result<bool> {
    let others = subscribers.saturating_sub(1);
    say(format_args!(
        "{others} subscribers of one topic, {PER_SECOND} messages/s of {PAYLOAD_BYTES} bytes to all of them, \
         and one more; --outbox-bytes {OUTBOX_BYTES}; medians of {ROUNDS} rounds of {} s",
        TIME.as_secs()
    ));
    let all = [Odd::Absent, Odd::Stalls, Odd::Trickles, Odd::Vanishes];
    let mut rounds = all.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (odd, rounds) in all.into_iter().zip(&mut rounds) {
            rounds.push(round(odd, others)?);
        }
    }
    let mut all_told = true;
    for (odd, rounds) in all.into_iter().zip(&rounds) {
        let summaries: Vec<Summary> = rounds.iter().map(|round| round.latencies).collect();
        say(format_args!(
            "{} the others: {}",
            odd.name(),
            Summary::middle(&summaries)
        ));
        for round in rounds {
            all_told &= round.all_told;
            if let Some(account) = &round.odd_one {
                say(format_args!("    the odd one: {account}"));
            }
            if !round.all_told {
                say(format_args!("    SOMETHING IS MISSING"));
            }
        }
    }
    Ok(all_told)
}

fn round(odd: Odd, others: usize) -> io::Result<Round> {
    let args = ["--max-line", OUTBOX_BYTES, "--outbox-bytes", OUTBOX_BYTES];
    let broker = TestBroker::with_args(&args);
    let clock = Instant::now();
    let mut crowd = Crowd::connect(&broker, others, "news")?;
    let mut odd_one = match odd {
        Odd::Absent => None,
        Odd::Stalls | Odd::Trickles | Odd::Vanishes => Some(filled(&broker)?),
    };
    let id = others + 1;
    let mut publisher = Client::connect(&broker)?;
    let expected = u64::from(PER_SECOND) * TIME.as_secs();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let latencies = crowd.read(expected, "news", clock)?;
            Ok((latencies, crowd.account()))
        });
        let done = &done;
        let behaving = scope.spawn(move || match odd {
            Odd::Absent => Ok((None, Account::default())),
            Odd::Stalls => Ok((odd_one, Account::default())),
            Odd::Trickles => {
                let mut account = Account::default();
                while let Some(one) = &mut odd_one
                    && !done.load(Ordering::Relaxed)
                {
                    account.add(one.line()?);
                    thread::sleep(TRICKLE);
                }
                Ok((odd_one, account))
            }
            Odd::Vanishes => {
                thread::sleep(TIME / 2);
                odd_one.map_or(Ok(()), Client::vanish)?;
                Ok((None, Account::default()))
            }
        });
        let topic = "news";
        publish_in_time(
            &mut publisher,
            topic,
            PAYLOAD_BYTES,
            PER_SECOND,
            TIME,
            clock,
        )?;
        let (latencies, sum) = joined(reader)?;
        done.store(true, Ordering::Relaxed);
        let (odd_one, mut account) = joined(behaving)?;
        let expected_by_all = expected * others as u64;
        let mut all_told = sum.came == expected_by_all && sum.missed == 0;
        let odd_one = match (odd, odd_one) {
            (Odd::Vanishes, _) => Some(last_line(&broker, id)),
            (_, None) => None,
            (_, Some(mut one)) => {
                ask_for_the_end(&one.writer()?)?;
                let rest = one.read_to_end(|_| {})?;
                account.came += rest.came;
                account.missed += rest.missed;
                all_told &= account.total() == FILLING + expected;
                Some(format!(
                    "{} came + {} told missing = {} of {} published",
                    account.came,
                    account.missed,
                    account.total(),
                    FILLING + expected,
                ))
            }
        };
        Ok(Round {
            latencies: latencies.summary(),
            odd_one,
            all_told,
        })
    })
}

/// A subscriber whose outbox is full and that has not read anything yet.
fn filled(broker: &TestBroker) -> io::Result<Client> {
    let mut odd_one = Client::connect_with_small_buffer(broker)?;
    odd_one.subscribe(&["news".to_owned(), "odd".to_owned()])?;
    let mut publisher = Client::connect(broker)?;
    let frame = format!("PUBLISH odd {}\n", "x".repeat(FILLING_BYTES));
    for _ in 0..FILLING {
        publisher.write(frame.as_bytes())?;
    }
    ask_for_the_end(&publisher.writer()?)?;
    publisher.read_to_end(|_| {})?;
    Ok(odd_one)
}

/// What the broker's log says of a connection that has ended.
fn last_line(broker: &TestBroker, id: usize) -> String {
    let about = format!("connection {id} from ");
    let log = broker.log();
    let line = log
        .lines()
        .find(|line| line.contains(&about) && line.contains(" ends after "));
    line.and_then(|line| line.split_once(" ends after "))
        .map_or_else(
            || "its end is not in the log".to_owned(),
            |(_, rest)| format!("ended after {rest}"),
        )
}
