//! What a session in the store costs a publisher: one that matches everything, whose client is there or away, beside a
//! client without such a session, and none.

use std::io;
use std::process::Stdio;
use std::time::Instant;

use tests::mqtt::{Hello, Mqtt, MqttClient};
use tests::{TestBroker, eventually, folder, foreign};

use crate::rounds::median;
use crate::stdout::say;

const MESSAGES: usize = 2_000_000;

const ROUNDS: usize = 5;

/// How many are written at once.
const AT_ONCE: usize = 10_000;

/// Who has subscribed to everything at QoS 1.
#[derive(Clone, Copy, PartialEq)]
enum Subscriber {
    None,
    Clean,
    Lasting,
    Away,
}

const CASES: [(Subscriber, &str); 4] = [
    (Subscriber::None, "no subscriber"),
    (Subscriber::Clean, "mosquitto_sub with a clean session"),
    (
        Subscriber::Lasting,
        "mosquitto_sub with a session in the store",
    ),
    (Subscriber::Away, "a session in the store, its client away"),
];

pub(crate) fn measure() -> io::Result<bool> {
    say(format_args!(
        "{MESSAGES} lines of 128 bytes payload from one publisher, until all are acknowledged; medians of {ROUNDS} rounds in turns"
    ));
    let mut rates = CASES.map(|_| Vec::new());
    let mut appended = CASES.map(|_| 0.0);
    for _ in 0..ROUNDS {
        for (case, (subscriber, _)) in CASES.iter().enumerate() {
            let (rate, bytes) = round(*subscriber)?;
            rates[case].push(rate);
            appended[case] = bytes;
        }
    }
    for ((rates, bytes), (_, name)) in rates.into_iter().zip(appended).zip(CASES) {
        let rate = median(rates) / 1e6;
        say(format_args!(
            "{name:<42} {rate:>6.2} M messages/s, {bytes:>4.0} bytes of log for each"
        ));
    }
    Ok(true)
}

/// The messages a second, and the bytes of log that each took.
fn round(subscriber: Subscriber) -> io::Result<(f64, f64)> {
    let folder = folder();
    let broker = TestBroker::with_store(folder.path(), &[]);
    let lasting = matches!(subscriber, Subscriber::Lasting | Subscriber::Away);
    if lasting {
        let (mut client, _) =
            MqttClient::enter(broker.address(), Mqtt::V3, &Hello::lasting("lasting"));
        client.subscribe("#", 1);
        client.leave();
    }
    let mut running = None;
    if matches!(subscriber, Subscriber::Clean | Subscriber::Lasting) {
        let mut command = foreign::mosquitto("mosquitto_sub", broker.address());
        command.args(["-i", "lasting", "-q", "1", "-t", "#"]);
        if lasting {
            command.arg("-c");
        }
        running = Some(command.stdout(Stdio::null()).spawn()?);
        eventually("it is there and has subscribed", || {
            metric(&broker, "dallal_subscriptions") == 1.0
                && metric(&broker, "dallal_sessions_detached") == 0.0
        });
    }
    let payload = "x".repeat(128);
    let lines = format!("PUBLISH house/lamp {payload}\n").repeat(AT_ONCE);
    let before = appended(&broker);
    let mut publisher = broker.connect();
    let start = Instant::now();
    for _ in 0..MESSAGES / AT_ONCE {
        publisher.write(&lines);
    }
    publisher.read_until_prefix(&format!("PUBACK {MESSAGES} "));
    let rate = MESSAGES as f64 / start.elapsed().as_secs_f64();
    let bytes = (appended(&broker) - before) / MESSAGES as f64;
    if let Some(mut running) = running {
        running.kill()?;
        running.wait()?;
    }
    Ok((rate, bytes))
}

/// Bytes that were appended to the log.
fn appended(broker: &TestBroker) -> f64 {
    metric(broker, "dallal_store_appended_bytes_total")
}

fn metric(broker: &TestBroker, name: &str) -> f64 {
    let mut http = broker.connect();
    http.write("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let metrics = http.read_to_end();
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("there is no {name}"));
    value.trim().parse().expect("a number")
}
