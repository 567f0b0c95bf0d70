//! `client bench`: a real broker loses nothing, and a broker that does is detected.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use broker::{Broker, Config, Handle};
use client::Client;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::run::{Ended, Run, command};
use crate::scripted::{Peer, ScriptedBroker};

/// A broker for one test.
struct RealBroker {
    address: SocketAddr,
    handle: Handle,
    serving: Option<JoinHandle<()>>,
}

impl RealBroker {
    fn start() -> Self {
        Self::with_data(None)
    }

    /// With a store in this folder, if any.
    fn with_data(folder: Option<&TempDir>) -> Self {
        let config = Config {
            port: 0,
            data: folder.map(|folder| folder.path().to_owned()),
            ..Config::default()
        };
        let broker = Broker::bind(config).expect("a free port");
        Self {
            address: broker.local_addr(),
            handle: broker.handle(),
            serving: Some(thread::spawn(|| broker.run())),
        }
    }

    fn bench(&self, arguments: &str) -> Run {
        self.bench_by("", arguments)
    }

    /// With this scheme before its address.
    fn bench_by(&self, scheme: &str, arguments: &str) -> Run {
        let address = self.address;
        let command_line = format!("bench -s {scheme}{address} {arguments}");
        Run::spawn(&mut command(&command_line))
    }
}

impl Drop for RealBroker {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

fn figures(ended: &Ended) -> Value {
    serde_json::from_slice(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// Checks that the run succeeds with these figures, written as JSON.
fn loses_nothing(arguments: &str, expected: &str) -> Value {
    loses_nothing_by("", arguments, expected)
}

fn loses_nothing_by(scheme: &str, arguments: &str, expected: &str) -> Value {
    let broker = RealBroker::start();
    let run = broker.bench_by(scheme, &format!("{arguments} --json"));
    let ended = run.end();
    ended.expect(0, "");
    let figures = figures(&ended);
    let expected: Value = serde_json::from_str(expected).expect("JSON");
    let faultless = serde_json::json!({"lost": 0, "doubled": 0, "reordered": 0});
    for wanted in [&expected, &faultless] {
        for (key, value) in wanted.as_object().expect("an object") {
            assert_eq!(&figures[key], value, "{key} in {figures}");
        }
    }
    figures
}

#[test]
fn as_much_as_goes_through_is_counted_and_none_is_lost() {
    loses_nothing(
        "--count 20001 --pubs 2 --subs 3 --topics 7 --size 16",
        r#"{"mode": "throughput", "published": 20001, "delivered": 60003, "size": 16}"#,
    );
}

#[test]
fn spread_topics_reach_one_subscriber_each() {
    loses_nothing(
        "--count 20001 --pubs 2 --subs 3 --topics 7 --spread",
        r#"{"published": 20001, "delivered": 20001}"#,
    );
}

#[test]
fn web_sockets_and_event_streams_are_measured_as_lines_are() {
    for scheme in ["ws://", "http://"] {
        loses_nothing_by(
            scheme,
            "--count 5001 --subs 3 --size 16",
            r#"{"mode": "throughput", "published": 5001, "delivered": 15003}"#,
        );
        loses_nothing_by(
            scheme,
            "--count 2001 --pubs 2 --subs 3 --topics 3 --spread",
            r#"{"published": 2001, "delivered": 2001}"#,
        );
        loses_nothing_by(
            scheme,
            "--count 100 --request",
            r#"{"mode": "request", "round_trips": 100}"#,
        );
        loses_nothing_by(scheme, "--idle 20", r#"{"mode": "idle", "connected": 20}"#);
    }
    loses_nothing_by(
        "ws://",
        "--count 1001 --topics 5 --window 10",
        r#"{"acked": 1001, "delivered": 1001}"#,
    );
    let broker = RealBroker::start();
    let ended = broker.bench_by("http://", "--topics 2").end();
    ended.expect(2, "client: a stream of events has one topic; give");
}

#[test]
fn a_small_cap_only_slows_publishers_down() {
    loses_nothing(
        "--count 2000 --size 64KiB --cap 100KiB --subs 2",
        r#"{"published": 2000, "delivered": 4000}"#,
    );
}

#[test]
fn a_run_without_subscribers_counts_what_was_published() {
    loses_nothing(
        "--duration 200ms --subs 0",
        r#"{"delivered": 0, "subscribers": 0}"#,
    );
}

#[test]
fn a_fixed_rate_measures_every_message_after_the_warm_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("distribution.txt");
    let arguments = format!(
        "--rate 2000 --count 300 --warmup 100ms --pubs 2 --topics 3 --hdr {}",
        file.display()
    );
    let figures = loses_nothing(&arguments, r#"{"published": 500, "delivered": 500}"#);
    assert_eq!(figures["from_schedule"]["count"], 300, "{figures}");
    assert_eq!(figures["from_sending"]["count"], 300, "{figures}");
    let distribution = std::fs::read_to_string(file).expect("a file");
    assert!(distribution.contains("1/(1-Percentile)"), "{distribution}");
    assert!(distribution.contains("Total count    =          300]"));
}

#[test]
fn with_several_subscribers_the_last_of_them_is_measured_too() {
    let figures = loses_nothing(
        "--rate 2000 --count 200 --warmup 50ms --subs 3",
        r#"{"published": 300, "delivered": 900}"#,
    );
    assert_eq!(figures["from_schedule"]["count"], 600, "{figures}");
    assert_eq!(figures["to_all"]["count"], 200, "{figures}");
}

#[test]
fn with_a_window_every_message_gets_its_receipt() {
    for window in [1, 1000] {
        let figures = loses_nothing(
            &format!("--window {window} --count 3001 --pubs 2"),
            r#"{"mode": "acknowledged", "acked": 3001, "delivered": 3001}"#,
        );
        assert_eq!(figures["ack_after"]["count"], 3001, "{figures}");
    }
}

#[test]
fn receipts_that_wait_for_the_disk_are_measured_and_nothing_stays_retained() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RealBroker::with_data(Some(&folder));
    for (scheme, mqtt, level) in [
        ("", "", "disk"),
        ("", "", "os"),
        ("ws://", "", "disk"),
        ("", " --mqtt 5 --qos 1", "disk"),
    ] {
        for window in [1, 300] {
            let arguments = format!(
                "--count 601 --pubs 2 --topics 7 --window {window} --retain --ack {level}{mqtt} --json"
            );
            let ended = broker.bench_by(scheme, &arguments).end();
            ended.expect(0, "");
            let figures = figures(&ended);
            for key in ["acked", "delivered"] {
                assert_eq!(figures[key], 601, "{figures}");
            }
            assert_eq!(figures["ack_after"]["count"], 601, "{figures}");
            let levels = [&figures["ack"], &figures["level"]];
            assert_eq!(levels, [level, level], "{figures}");
        }
    }
    let mut client = Client::connect(broker.address).expect("a broker");
    client.subscribe("bench/#").expect("a subscription");
    // The retained messages follow the answer to SUBSCRIBE, so they have come before that to PING.
    client.ping().expect("an answer");
    let left = client.next_message(Some(Duration::ZERO));
    assert_eq!(left.expect("a connection"), None);
}

#[test]
fn a_run_below_the_level_that_was_asked_for_has_an_exit_code_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    for (folder, retain) in [(Some(&folder), ""), (None, " --retain")] {
        let broker = RealBroker::with_data(folder);
        let arguments = format!("--count 30 --window 10 --ack os{retain} --json");
        let ended = broker.bench(&arguments).end();
        ended.expect(8, "give --retain, and start the broker with --data DIR");
        assert_eq!(figures(&ended)["level"], "mem", "{ended:?}");
    }
    let mosquitto_like = ScriptedBroker::start();
    let arguments = "bench --count 1 --subs 0 --window 1 --ack mem";
    let run = Run::start(&mosquitto_like, arguments);
    let mut publisher = mosquitto_like.accept();
    publisher.expect("PING").say("PONG");
    let line = String::from_utf8(publisher.line()).expect("text");
    assert!(line.starts_with("@ack=mem PUBLISH bench/"), "{line}");
    publisher.say("PUBACK 1 0").expect("PING").say("PONG");
    let ended = run.end();
    ended.expect(8, "lower level than --ack");
    let out = String::from_utf8(ended.out).expect("text");
    assert!(
        out.contains("asking for mem") && out.contains("level       unknown"),
        "{out}"
    );
}

#[test]
fn every_question_is_answered() {
    let figures = loses_nothing("--request --count 200", r#"{"round_trips": 200}"#);
    assert_eq!(figures["round_trip"]["count"], 200, "{figures}");
}

#[test]
fn a_broadcast_reaches_all_connections() {
    let figures = loses_nothing(
        "--idle 50 --hold 50ms",
        r#"{"connected": 50, "connections": 50}"#,
    );
    assert_eq!(figures["broadcast"]["count"], 20, "{figures}");
}

#[test]
fn people_get_lines() {
    let broker = RealBroker::start();
    let ended = broker.bench("--count 1000").end();
    ended.expect(0, "");
    let out = String::from_utf8(ended.out).expect("text");
    let address = broker.address;
    let head = format!(
        "throughput at dallal://{address}: 1 publisher, 1 subscriber, 1 topic, 128 bytes\n"
    );
    assert!(out.starts_with(&head), "{out}");
    assert!(out.contains("0 lost, 0 doubled, 0 reordered"), "{out}");
}

#[test]
fn an_interrupted_run_reports_its_measurements() {
    for mode in ["", "--rate 1000", "--window 10", "--request"] {
        let broker = RealBroker::start();
        let mut witness = Client::connect(broker.address).expect("a broker");
        witness.subscribe("bench/#").expect("a subscription");
        let arguments = format!("--duration 1h --json {mode}");
        let run = broker.bench(arguments.trim_end());
        let message = witness.messages().next().expect("a message");
        message.expect("a connection");
        run.signal(Signal::INT);
        let ended = run.end();
        ended.expect(130, "");
        assert_eq!(figures(&ended)["lost"], 0, "{mode}: {ended:?}");
    }
}

/// The broker's side of a bench with one subscriber and one publisher.
struct Bench {
    run: Run,
    subscriber: Peer,
    publisher: Peer,
    /// The published lines, without the verb.
    published: Vec<String>,
}

/// A run of three messages that the test delivers itself.
fn bench_of_three(broker: &ScriptedBroker) -> Bench {
    let run = Run::start(broker, "bench --count 3 --wait 1s --json");
    let mut subscriber = broker.accept();
    subscriber.expect("PING").say("PONG");
    let subscribe = String::from_utf8(subscriber.line()).expect("text");
    let topic = subscribe.strip_prefix("SUBSCRIBE ").expect("a SUBSCRIBE");
    subscriber.say(&format!("SUBACK {topic}"));
    let mut publisher = broker.accept();
    publisher.expect("PING").say("PONG");
    let published = (0..3).map(|_| {
        let line = String::from_utf8(publisher.line()).expect("text");
        let message = line.strip_prefix("PUBLISH ").expect("a PUBLISH");
        message.to_owned()
    });
    let published = published.collect();
    publisher.expect("PING").say("PUBACK 3 3").say("PONG");
    Bench {
        run,
        subscriber,
        publisher,
        published,
    }
}

/// Checks that a broker that delivers only these of three messages is detected.
fn finds(delivered: &[usize], lost: u64, doubled: u64, reordered: u64) {
    let broker = ScriptedBroker::start();
    let mut bench = bench_of_three(&broker);
    for &message in delivered {
        let message = &bench.published[message];
        bench.subscriber.say(&format!("MESSAGE {message}"));
    }
    let ended = bench.run.end();
    drop(bench.publisher);
    ended.expect(7, "messages were lost, doubled or reordered");
    let figures = figures(&ended);
    let found = ["lost", "doubled", "reordered"].map(|key| figures[key].as_u64());
    assert_eq!(found, [lost, doubled, reordered].map(Some), "{figures}");
}

#[test]
fn a_lost_message_is_found_wherever_it_was() {
    finds(&[0, 2], 1, 0, 0);
    finds(&[0, 1], 1, 0, 0);
    finds(&[], 3, 0, 0);
}

#[test]
fn a_doubled_message_is_found() {
    finds(&[0, 1, 1, 2], 0, 1, 0);
}

#[test]
fn a_reordered_message_is_found() {
    finds(&[1, 0, 2], 0, 0, 1);
}

#[test]
fn a_broker_that_asks_is_answered() {
    let broker = ScriptedBroker::start();
    let mut bench = bench_of_three(&broker);
    bench.subscriber.say("PING still there?");
    bench.subscriber.expect("PONG still there?");
    for message in &bench.published {
        bench.subscriber.say(&format!("MESSAGE {message}"));
    }
    bench.run.end().expect(0, "");
}

#[test]
fn a_broker_that_leaves_ends_the_run() {
    let broker = ScriptedBroker::start();
    let bench = bench_of_three(&broker);
    drop(bench.subscriber);
    bench
        .run
        .end()
        .expect(3, "client: the broker closed the connection");
}

#[test]
fn a_refusal_of_the_broker_is_reported() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "bench");
    broker
        .accept()
        .expect("PING")
        .say("ERROR busy line come back later");
    run.end()
        .expect(1, "the broker said: ERROR busy line come back later");
}

#[test]
fn a_foreign_message_is_not_counted() {
    let broker = ScriptedBroker::start();
    let mut bench = bench_of_three(&broker);
    bench.subscriber.say("MESSAGE news hi");
    bench
        .run
        .end()
        .expect(1, "a message came that was not published here");
}

#[test]
fn without_a_broker_it_names_the_address_and_a_remedy() {
    let ended = crate::run::end("bench -s nats://127.0.0.1 -p 1");
    ended.expect(
        3,
        "client: no broker at nats://127.0.0.1:1 (connection refused); start one with",
    );
    ended.expect_out("");
}

#[test]
fn a_distribution_that_cannot_be_written_is_known_before_the_run() {
    let ended = crate::run::end("bench --rate 1 --hdr /nowhere/at/all");
    ended.expect(1, "client: cannot write /nowhere/at/all (");
}

#[test]
fn an_impossible_measurement_is_wrong_usage() {
    for (arguments, why) in [
        ("bench --size 15", "16 bytes"),
        ("bench --rate 0", "messages a second"),
        ("bench --rate 1 --window 1", "cannot be used with"),
        ("bench --hdr file", "--rate"),
        ("bench --hold 1s", "--idle"),
        ("bench --ack disk", "--window"),
        ("bench --retain --request", "cannot be used with"),
        (
            "bench --window 1 --ack os --mqtt 3.1.1",
            "cannot ask for a level; give --mqtt 5",
        ),
        (
            "bench -s nats://x --retain",
            "--retain and --ack are for dallal and MQTT",
        ),
        ("bench --spread --pubs 2", "a topic for each publisher"),
        ("bench -s amqp://x", "not a protocol of bench"),
        ("bench -s redis://x --user ann", "leave out --user"),
        ("bench -s nats+tls://x --token-file t", "leave out --user"),
    ] {
        crate::run::end(arguments).expect(2, why);
    }
}
