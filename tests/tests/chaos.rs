//! Clients that do by chance whatever clients do: they come in crowds, flood, stall, send rubbish, are
//! cut off in the middle of a line. Whatever happens, every message is accounted for, the memory stays
//! within its limit, and clients that behave are served.
//!
//! What each client does depends on its number and the seed; how they meet is up to the machine. Two
//! variables help: `CHAOS_SECONDS=60` goes on for longer, `CHAOS_SEED=7` begins elsewhere.

use std::env;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use tests::{Random, TestBroker, TestClient};

const ACTORS: u64 = 12;

/// Topics and filters are made of these, so that many match.
const LEVELS: [&str; 4] = ["a", "b", "c", "room"];

const CHOICES: [&str; 6] = [
    "",
    "",
    "@slow=drop-oldest ",
    "@slow=drop-newest ",
    "@slow=latest ",
    "@slow=block ",
];

const RUBBISH: [&str; 10] = [
    "\n",
    "publish\n",
    "PUBLISH a/# no topic\n",
    "SUBSCRIBE a#\n",
    "@=; PUBLISH a x\n",
    "@slow=maybe SUBSCRIBE a\n",
    "PUBLISH $SYS/x mine\n",
    "GET / HTTP/1.1\r\n",
    "\u{fffd}\u{0} \\ \n",
    "UNSUBSCRIBE nobody/has/this\n",
];

const MEMORY_KIB: u64 = 8 * 1024;

fn number(name: &str, usual: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => usual,
    }
}

/// One client after another, until the time is up.
fn act(broker: &TestBroker, mut random: Random, end: Instant) {
    while Instant::now() < end {
        let client = if random.below(3) == 0 {
            TestClient::connect_with_small_buffer(broker.address())
        } else {
            broker.connect()
        };
        live(&client.writer(), &mut random, end);
        match random.below(4) {
            0 => client.vanish(),
            1 => leave_by_bye(&client.writer()),
            _ => drop(client),
        }
    }
}

/// What one client does until it leaves. It reads now and then, and never waits for long.
fn live(mut stream: &TcpStream, random: &mut Random, end: Instant) {
    let a_moment = Some(Duration::from_millis(20));
    stream.set_read_timeout(a_moment).expect("it is connected");
    stream.set_write_timeout(a_moment).expect("it is connected");
    for _ in 0..random.below(40) {
        if Instant::now() >= end {
            return;
        }
        let said = match random.below(12) {
            0 | 1 => {
                let choice = CHOICES[random.below(CHOICES.len())];
                let filters: Vec<String> = (0..=random.below(3)).map(|_| filter(random)).collect();
                format!("{choice}SUBSCRIBE {}\n", filters.join(" "))
            }
            2 => format!("UNSUBSCRIBE {}\n", filter(random)),
            3 => format!(
                "WILL {} gone\nNAME actor {}\n",
                topic(random),
                random.below(100)
            ),
            4 => RUBBISH[random.below(RUBBISH.len())].repeat(1 + random.below(50)),
            5 => format!(
                "@retain PUBLISH {} {}\n",
                topic(random),
                "x".repeat(random.below(300))
            ),
            6 => flood(random, 2000, 20),
            7 => flood(random, 40, 20_000),
            8 | 9 => {
                read_some(stream, random);
                "PING\n".repeat(random.below(30))
            }
            10 => {
                // It stalls; what comes meanwhile waits.
                thread::sleep(Duration::from_millis(random.below(100) as u64));
                String::new()
            }
            _ => format!("PUBLISH {} a line without its e", topic(random)),
        };
        // Where it is not taken in time, a part of it is: the next line is glued to that.
        match stream.write_all(said.as_bytes()) {
            Err(err) if !matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return;
            }
            _ => {}
        }
    }
}

fn read_some(mut stream: &TcpStream, random: &mut Random) {
    let mut bin = vec![0; 1 + random.below(256 * 1024)];
    let _ = stream.read(&mut bin);
}

/// Takes what waits for it, in vain if it is much.
fn leave_by_bye(mut stream: &TcpStream) {
    if stream.write_all(b"\nBYE\n").is_ok() {
        let mut bin = vec![0; 64 * 1024];
        for _ in 0..50 {
            if matches!(stream.read(&mut bin), Ok(0)) {
                return;
            }
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn topic(random: &mut Random) -> String {
    let level = |random: &mut Random| LEVELS[random.below(LEVELS.len())];
    let (one, two) = (level(random), level(random));
    match random.below(2) {
        0 => one.to_owned(),
        _ => format!("{one}/{two}"),
    }
}

fn filter(random: &mut Random) -> String {
    match random.below(6) {
        0 => "#".to_owned(),
        1 => format!("{}/+", LEVELS[random.below(LEVELS.len())]),
        2 => format!("$share/{}/{}", random.below(2), topic(random)),
        3 => format!("$share/{}/#", random.below(2)),
        _ => topic(random),
    }
}

/// Some messages on two topics, with payloads of some length.
fn flood(random: &mut Random, most: usize, longest: usize) -> String {
    let messages = 1 + random.below(most);
    let (one, two) = (topic(random), topic(random));
    let line = |n: usize, random: &mut Random| {
        let topic = if n.is_multiple_of(3) { &two } else { &one };
        format!(
            "PUBLISH {topic} {n} {}\n",
            "y".repeat(random.below(longest))
        )
    };
    (0..messages).map(|n| line(n, random)).collect()
}

#[test]
fn whatever_clients_do_every_message_is_accounted_for() {
    let seconds = number("CHAOS_SECONDS", 20);
    let seed = number("CHAOS_SEED", 1);
    let memory = format!("{MEMORY_KIB}KiB");
    let broker = TestBroker::with_args(&[
        "--max-line",
        "64KiB",
        "--outbox-bytes",
        "128KiB",
        "--memory",
        &memory,
        "--max-block",
        "20ms",
        "--max-connections",
        "40",
        "--max-retained",
        "8",
        "--ping-interval",
        "1s",
    ]);
    let mut witness = broker.connect();
    witness
        .send("SUBSCRIBE quiet/corner")
        .expect("SUBACK quiet/corner");
    let mut speaker = broker.connect();
    let _sleeper = broker.connect_slow("#");
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut most, mut audits) = (0, 0);
    thread::scope(|scope| {
        for actor in 0..ACTORS {
            let random = Random::new(seed * ACTORS + actor);
            let broker = &broker;
            scope.spawn(move || act(broker, random, end));
        }
        // Meanwhile two clients that behave are served, and the ledger balances at any moment.
        let mut said = 0;
        while Instant::now() < end {
            said += 1;
            speaker.send(format!("PUBLISH quiet/corner {said}"));
            expect(&mut witness, &format!("MESSAGE quiet/corner {said}"));
            expect(&mut speaker, &format!("PUBACK {said} "));
            if said % 100 == 0 {
                // On a busy machine some batch may go on for longer than an audit waits for it.
                let ledger = broker.ledger();
                let is_exact = !ledger.contains("batches are under way");
                assert!(
                    ledger.starts_with("balanced") || !is_exact,
                    "seed {seed}: {ledger}"
                );
                audits += usize::from(is_exact);
                most = most.max(broker.resident_kib());
            }
            thread::sleep(Duration::from_millis(2));
        }
    });
    // What waits, a mebibyte that each of forty publishers gathers in, stacks, and what the heap keeps
    // for later. Gibibytes go through meanwhile.
    assert!(
        most < 4 * MEMORY_KIB + 128 * 1024,
        "seed {seed}: {most} KiB in use, {MEMORY_KIB} of them allowed for what waits"
    );
    tests::eventually("all of them have ended", || broker.connections() == Some(3));
    let ledger = broker.ledger();
    assert!(ledger.starts_with("balanced"), "seed {seed}: {ledger}");
    assert!(audits > 0, "no audit was exact");
    assert!(!ledger.contains(" 0 written"), "nothing happened: {ledger}");
    assert!(
        !ledger.contains(" 0 dropped"),
        "no client was slow: {ledger}"
    );
}

/// The next line but for the broker's own PINGs, which has to begin so.
#[track_caller]
fn expect(client: &mut TestClient, line: &str) {
    loop {
        let came = client.read_line();
        if came != "PING" {
            assert!(came.starts_with(line), "expected {line}, came {came}");
            return;
        }
    }
}

/// Cut off is: with a reset, as if the machine had lost its power.
#[test]
fn two_hundred_clients_cut_off_in_the_middle_of_everything_leave_nothing_behind() {
    const CROWDS: usize = 10;
    const CROWD: usize = 20;
    // A reset may discard what a client has sent, and then the end of its connection is no event.
    let broker = TestBroker::with_log(&[], "info,broker::net=debug");
    let mut random = Random::new(number("CHAOS_SEED", 1));
    for _ in 0..CROWDS {
        let crowd: Vec<TcpStream> = (0..CROWD).map(|_| broker.connect().writer()).collect();
        for mut stream in &crowd {
            let said = format!(
                "SUBSCRIBE # $share/g/#\n{}PUBLISH a",
                flood(&mut random, 20, 500)
            );
            let _ = stream.write_all(said.as_bytes());
        }
        for stream in crowd {
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("it is connected");
        }
    }
    tests::eventually("all of them are forgotten", || {
        broker.log().matches(" ends after ").count() == CROWDS * CROWD
    });
    let mut last = broker.connect();
    last.send("PUBLISH a x").expect("PUBACK 1 0");
}
