//! Promises of `docs/storage.md`: what outlives the broker.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;
use tests::mqtt::{Mqtt, MqttClient};
use tests::{Random, SmallDisk, TestBroker, eventually, folder, outcome};

/// A broker that keeps what it has in this folder.
fn broker(data: &Path) -> TestBroker {
    TestBroker::with_store(data, &[])
}

/// The retained messages, by topic.
fn retained(broker: &TestBroker) -> BTreeMap<String, String> {
    let mut client = broker.subscribe("#");
    let lines = client.read_to_fence();
    let values = lines.iter().map(|line| {
        let message = line
            .strip_prefix("@retained MESSAGE ")
            .expect("a retained message");
        let (topic, value) = message.split_once(' ').expect("a value");
        (topic.to_owned(), value.to_owned())
    });
    values.collect()
}

fn retain(broker: &TestBroker, topic: &str, value: &str) {
    let mut client = broker.connect();
    client.send(format!("@retain PUBLISH {topic} {value}").trim_end());
    client.expect_prefix("PUBACK ");
}

fn killed(broker: TestBroker) {
    assert_eq!(broker.stop_by(Signal::KILL).code, None);
}

#[test]
fn retained_messages_outlive_a_stop_and_a_kill() {
    let folder = folder();
    let first = broker(folder.path());
    retain(&first, "lamp", "on");
    retain(&first, "door", "open");
    retain(&first, "gone", "x");
    retain(&first, "gone", "");
    let expected = BTreeMap::from([("door", "open"), ("lamp", "on")]);
    let expected: BTreeMap<_, _> = expected
        .iter()
        .map(|it| (it.0.to_string(), it.1.to_string()))
        .collect();
    assert_eq!(first.stop().code, Some(0));
    let second = broker(folder.path());
    assert_eq!(retained(&second), expected);
    retain(&second, "lamp", "off");
    killed(second);
    let third = broker(folder.path());
    assert_eq!(retained(&third)["lamp"], "off");
    third.wait_for_log("2 retained messages");
}

/// Without the flag nothing is written, and the next broker knows nothing.
#[test]
fn without_a_folder_nothing_outlives_the_broker() {
    let broker = TestBroker::start();
    retain(&broker, "lamp", "on");
    broker.stop();
    assert!(retained(&TestBroker::start()).is_empty());
}

#[test]
fn a_folder_has_one_broker_at_a_time_and_others_see_none_of_it() {
    let folder = folder();
    let data = folder.path().join("data");
    let _first = broker(&data);
    let mode = fs::metadata(&data)
        .expect("it made the folder")
        .permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o700
    );
    does_not_start(&data, "another broker has it");
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let folder = folder();
    let missing = folder.path().join("a/b");
    does_not_start(&missing, "a/b: No such file or directory");
}

#[track_caller]
fn does_not_start(data: &Path, why: &str) {
    let data = data.to_str().expect("a path of text");
    let (code, _, complaints) = outcome(&mut TestBroker::command(&["--data", data]));
    assert_eq!(code, Some(1), "{complaints}");
    assert!(complaints.contains(why), "{complaints}");
}

/// A will is kept like any message.
#[test]
fn messages_of_all_wires_are_kept_with_their_quality_of_service() {
    let folder = folder();
    let first = broker(folder.path());
    let mut client = MqttClient::connect(first.address(), Mqtt::V5, "a");
    client.publish_as(0x33, "one", 7, b"1");
    client.packet();
    client.leave();
    let mut dying = first.connect();
    dying.send("@retain WILL zero gone");
    dying.send("PING").read_until("PONG");
    dying.vanish();
    eventually("the will is retained", || {
        retained(&first).contains_key("zero")
    });
    let mut http = first.connect();
    http.write("POST /topics/two?retain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nConnection: close\r\n\r\n2");
    assert!(http.read_to_end().starts_with("HTTP/1.1 200"));
    killed(first);
    let second = broker(folder.path());
    let mut client = MqttClient::connect(second.address(), Mqtt::V3, "b");
    client.subscribe("#", 1);
    let first = client.message();
    assert_eq!((first.topic.as_str(), first.flags & 0x07), ("one", 0x03));
    assert_eq!(client.message().topic, "two");
    assert_eq!(client.message().topic, "zero");
}

/// Numbers from one on, published as fast as they are acknowledged.
struct Publisher {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
    /// The line of a number.
    line: fn(usize) -> String,
    /// How many of all publishers are acknowledged.
    acknowledged: Arc<AtomicUsize>,
}

/// Messages that are on their way at a time.
const WINDOW: usize = 8;
/// Topics of retained messages.
const TOPICS: usize = 8;
/// A number that is a multiple of this clears its topic.
const CLEARS: usize = 10;

/// Publishers of topics that keep messages. The topic of a number tells the publisher and the number.
const KEPT: [fn(usize) -> String; 3] = [
    |number| format!("PUBLISH {} {number}\n", kept_topic(0, number)),
    |number| format!("@ack=os PUBLISH {} {number}\n", kept_topic(1, number)),
    |number| {
        let topic = kept_topic(2, number);
        format!("@retain;ack=disk PUBLISH {topic} {number}\n")
    },
];

fn kept_topic(publisher: usize, number: usize) -> String {
    format!("kept/{publisher}/{}", number % 4)
}

/// A message that is retained, or clears what was, with each level in turn.
fn retained_line(number: usize) -> String {
    let level = ["", ";ack=os", ";ack=disk"][number % 3];
    let topic = number % TOPICS;
    match number.is_multiple_of(CLEARS) {
        true => format!("@retain{level} PUBLISH t{topic}\n"),
        false => format!("@retain{level} PUBLISH t{topic} {number}\n"),
    }
}

impl Publisher {
    fn connect(
        broker: &TestBroker,
        line: fn(usize) -> String,
        acknowledged: &Arc<AtomicUsize>,
    ) -> Self {
        let stream = TcpStream::connect(broker.address()).expect("it listens");
        let lines = BufReader::new(stream.try_clone().expect("a descriptor"));
        let acknowledged = acknowledged.clone();
        Self {
            stream,
            lines,
            line,
            acknowledged,
        }
    }

    /// Publishes until the broker is gone. Returns how many numbers from `first` on were acknowledged, and how many
    /// were sent.
    fn run(mut self, first: usize) -> (usize, usize) {
        let (mut sent, mut acknowledged) = (0, 0);
        loop {
            while sent < acknowledged + WINDOW {
                let line = (self.line)(first + sent);
                if self.stream.write_all(line.as_bytes()).is_err() {
                    return (acknowledged, sent);
                }
                sent += 1;
            }
            let mut line = String::new();
            match self.lines.read_line(&mut line) {
                Ok(len) if len > 0 && line.ends_with('\n') => {}
                _ => return (acknowledged, sent),
            }
            assert!(!line.starts_with("@level=mem"), "{line}");
            let count = line.rsplit_once("PUBACK ").map(|(_, counts)| counts);
            let count = count.and_then(|counts| counts.split(' ').next());
            let now = count.and_then(|it| it.parse().ok()).expect("a receipt");
            self.acknowledged
                .fetch_add(now - acknowledged, Ordering::Relaxed);
            acknowledged = now;
        }
    }
}

/// What publishers have been told before a kill, by their first numbers.
struct Told {
    first: usize,
    acknowledged: usize,
    sent: usize,
}

/// The values of topics that retain one.
#[derive(Default)]
struct RetainedValues(BTreeMap<usize, usize>);

impl RetainedValues {
    /// Each topic has the value that was acknowledged last, or one that was sent after it.
    #[track_caller]
    fn check(&mut self, broker: &TestBroker, told: &Told) {
        let found = retained(broker);
        let unsure = told.first + told.acknowledged..told.first + told.sent;
        for topic in 0..TOPICS {
            let of_topic =
                |range: std::ops::Range<usize>| range.filter(move |it| it % TOPICS == topic);
            let last = of_topic(told.first..unsure.start).next_back();
            let last = last.or_else(|| self.0.get(&topic).copied());
            let mut may_have: Vec<usize> = of_topic(unsure.clone()).collect();
            may_have.extend(last);
            let value = found
                .get(&format!("t{topic}"))
                .map(|it| it.parse::<usize>().expect("a number"));
            let is_right = match value {
                Some(value) => may_have.contains(&value),
                None => last.is_none() || may_have.iter().any(|it| it.is_multiple_of(CLEARS)),
            };
            assert!(
                is_right,
                "t{topic} has {value:?}, and may have {may_have:?}"
            );
            match value {
                Some(value) => self.0.insert(topic, value),
                None => self.0.remove(&topic),
            };
        }
    }
}

/// The messages of topics that keep all.
struct KeptMessages {
    /// Publisher and number of each, in the order of the log.
    all: Vec<(usize, usize)>,
    /// The position behind them.
    end: String,
}

impl KeptMessages {
    /// What was not there before is of each publisher what it has sent, in that order and without a hole, and no less
    /// than was acknowledged.
    #[track_caller]
    fn check(&mut self, broker: &TestBroker, told: &[Told]) {
        let (new, end) = kept_since(broker, &self.end);
        for (publisher, told) in told.iter().enumerate() {
            let numbers = new.iter().filter(|message| message.0 == publisher);
            let numbers: Vec<usize> = numbers.map(|message| message.1).collect();
            let expected: Vec<usize> = (told.first..told.first + numbers.len()).collect();
            assert_eq!(numbers, expected, "those of publisher {publisher}");
            assert!((told.acknowledged..=told.sent).contains(&numbers.len()));
        }
        self.all.extend(new);
        self.end = end;
    }

    #[track_caller]
    fn check_all(&self, broker: &TestBroker) {
        let (all, _) = kept_since(broker, "start");
        let differs = all
            .iter()
            .zip(&self.all)
            .position(|(it, before)| it != before);
        assert_eq!(
            differs,
            None,
            "of {} that were there before",
            self.all.len()
        );
        assert_eq!(all.len(), self.all.len());
    }
}

/// The messages behind a position, and the last position.
#[track_caller]
fn kept_since(broker: &TestBroker, since: &str) -> (Vec<(usize, usize)>, String) {
    let mut client = broker.connect();
    client.send(format!("@since={since};until=now SUBSCRIBE kept/#"));
    // Nothing is missing: that would be told here.
    client.expect("SUBACK kept/#");
    let mut messages = Vec::new();
    loop {
        let line = client.read_line();
        if let Some(end) = line.strip_prefix("END kept/# ") {
            return (messages, end.to_owned());
        }
        let (attributes, message) = line.split_once(" MESSAGE ").expect("a message");
        assert!(attributes.starts_with("@pos=") && attributes.ends_with(";past"));
        let (topic, number) = message.split_once(' ').expect("a value");
        let publisher = topic.split('/').nth(1).expect("a level");
        let publisher = publisher.parse().expect("a number");
        let number = number.parse().expect("a number");
        assert_eq!(topic, kept_topic(publisher, number));
        messages.push((publisher, number));
    }
}

/// Fifty kills under load, or as many as the environment variable STORE_KILLS says. Publishers ask for different levels;
/// what they were told is there afterwards.
#[test]
#[expect(clippy::print_stderr, reason = "a long run says how far it is")]
fn a_broker_that_is_killed_loses_nothing_acknowledged() {
    let kills = env::var("STORE_KILLS").map_or(50, |kills| kills.parse().expect("a number"));
    let folder = folder();
    let start = || {
        let data = folder.path().to_str().expect("a path of text");
        TestBroker::with_args(&["--data", data, "--keep", "kept/#=all"])
    };
    let mut random = Random::new(17);
    let mut values = RetainedValues::default();
    let mut broker = start();
    let mut kept = KeptMessages {
        all: Vec::new(),
        end: kept_since(&broker, "start").1,
    };
    let lines = [&[retained_line as fn(usize) -> String], &KEPT[..]].concat();
    let mut firsts = vec![1; lines.len()];
    let mut acknowledged = vec![0; lines.len()];
    for kill in 1..=kills {
        let so_far = Arc::default();
        let publishers: Vec<_> = firsts
            .iter()
            .zip(&lines)
            .map(|(&first, &line)| {
                let publisher = Publisher::connect(&broker, line, &so_far);
                thread::spawn(move || (first, publisher.run(first)))
            })
            .collect();
        let enough = 1 + random.below(600);
        eventually("the broker is under load", || {
            so_far.load(Ordering::Relaxed) >= enough
        });
        killed(broker);
        let told: Vec<Told> = publishers
            .into_iter()
            .map(|publisher| {
                let (first, (acknowledged, sent)) = publisher.join().expect("no panic");
                Told {
                    first,
                    acknowledged,
                    sent,
                }
            })
            .collect();
        broker = start();
        values.check(&broker, &told[0]);
        kept.check(&broker, &told[1..]);
        for (at, told) in told.iter().enumerate() {
            firsts[at] += told.sent;
            acknowledged[at] += told.acknowledged;
        }
        // Every other process only starts.
        if kill % 2 == 0 {
            killed(broker);
            broker = start();
        }
        if kill % (kills / 2).max(1) == 0 {
            kept.check_all(&broker);
        }
        if kill % 50 == 0 {
            eprintln!("{kill} kills; acknowledged of each publisher: {acknowledged:?}");
        }
    }
    assert!(
        acknowledged.iter().all(|&it| it >= kills),
        "{acknowledged:?}"
    );
}

/// A disk that is full: what would be kept is refused and told, everything else goes on, and it recovers by itself.
#[test]
fn a_full_disk_refuses_what_would_be_kept_and_recovers_by_itself() {
    let folder = folder();
    let disk = SmallDisk::start(folder.path(), &[]);
    let broker = &disk.broker;
    let mut client = broker.connect();
    let mut number = 0;
    let value = "x".repeat(60_000);
    let refused = loop {
        number += 1;
        client.send(format!("@retain PUBLISH t/{number} {value}"));
        let answer = client.read_line();
        if !answer.starts_with("PUBACK ") {
            break answer;
        }
        assert!(number < 2000, "the disk is never full");
    };
    let told = format!(
        "ERROR no-room publish:{number} the disk of the broker is full; nothing was published, try again later"
    );
    assert_eq!(refused, told);
    // Its receipt, as that of any PUBLISH.
    client.expect_prefix(&format!("PUBACK {number} 0"));
    client.send("PUBLISH t/1 y");
    client.expect_prefix("PUBACK ");
    let mut http = broker.connect();
    http.write(format!("POST /topics/t/0?retain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\nConnection: close\r\n\r\n{value}"));
    assert!(http.read_to_end().starts_with("HTTP/1.1 507"));
    let mut mqtt = MqttClient::connect(broker.address(), Mqtt::V3, "old");
    mqtt.publish_as(0x33, "t/0", 7, value.as_bytes());
    mqtt.expect_closed();
    let has = |topic: &str| {
        let expected = format!("@retained MESSAGE {topic} {value}");
        broker.subscribe(topic).expect(expected);
    };
    has("t/1");
    disk.make_room();
    client.send(format!("@retain PUBLISH t/{number} {value}"));
    client.expect_prefix("PUBACK ");
    has(&format!("t/{number}"));
}
