//! A broker is a value: many run in one process, know nothing of each other, and stop when asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use broker::{Broker, Config, Handle};
use tests::TestClient;

struct Running {
    address: SocketAddr,
    handle: Handle,
    thread: JoinHandle<()>,
    /// What a reload reads.
    config: Arc<Mutex<Config>>,
}

impl Running {
    fn start() -> Self {
        Self::with(&Config::default())
    }

    fn with(config: &Config) -> Self {
        let config = Config {
            port: 0,
            ..config.clone()
        };
        let read = Arc::new(Mutex::new(config.clone()));
        let source = read.clone();
        let broker = Broker::bind(config).expect("a free port");
        let broker = broker.reload_from(move || Ok(source.lock().expect("no panic").clone()));
        Self {
            config: read,
            address: broker.local_addr(),
            handle: broker.handle(),
            thread: thread::spawn(move || {
                broker.run();
            }),
        }
    }

    fn connect(&self) -> TestClient {
        TestClient::connect(self.address)
    }

    fn reload(&self, config: &Config) -> Result<(), Vec<String>> {
        *self.config.lock().expect("no panic") = Config {
            port: 0,
            ..config.clone()
        };
        self.handle.reload()
    }

    fn stop(self) {
        self.handle.stop();
        self.thread.join().expect("a broker does not panic");
    }
}

#[test]
fn ten_brokers_in_one_process_know_nothing_of_each_other() {
    let brokers: Vec<Running> = (0..10).map(|_| Running::start()).collect();
    let mut subscribers: Vec<TestClient> = brokers.iter().map(Running::connect).collect();
    for subscriber in &mut subscribers {
        subscriber
            .send("SUBSCRIBE news $share/g/jobs")
            .expect("SUBACK news");
        subscriber.expect("SUBACK $share/g/jobs");
    }
    let mut publishers: Vec<TestClient> = brokers.iter().map(Running::connect).collect();
    for (n, publisher) in publishers.iter_mut().enumerate() {
        publisher
            .send(format!("PUBLISH news {n}"))
            .expect("PUBACK 1 1");
        publisher
            .send(format!("PUBLISH jobs {n}"))
            .expect("PUBACK 2 1");
        publisher
            .send(format!("@retain PUBLISH kept/{n} x"))
            .expect("PUBACK 3 0");
    }
    for (n, subscriber) in subscribers.iter_mut().enumerate() {
        subscriber
            .expect(format!("MESSAGE news {n}"))
            .expect(format!("MESSAGE jobs {n}"));
        subscriber.send("SUBSCRIBE kept/+").expect("SUBACK kept/+");
        subscriber
            .expect(format!("@retained MESSAGE kept/{n} x"))
            .expect_silence();
    }
    for broker in brokers {
        broker.stop();
    }
    for client in subscribers.iter_mut().chain(&mut publishers) {
        client.expect("BYE").expect_end();
    }
}

#[test]
fn stopping_one_broker_leaves_the_others_running() {
    let (one, two) = (Running::start(), Running::start());
    let (mut ann, mut bob) = (one.connect(), two.connect());
    ann.send("PING").expect("PONG");
    bob.send("PING").expect("PONG");
    one.stop();
    ann.expect("BYE").expect_end();
    bob.send("PING").expect("PONG");
    two.stop();
    bob.expect("BYE").expect_end();
}

#[test]
fn a_broker_can_be_stopped_twice_and_before_it_runs() {
    let one = Running::start();
    let handle = one.handle.clone();
    one.stop();
    handle.stop();

    let config = Config {
        port: 0,
        ..Config::default()
    };
    let early = Broker::bind(config).expect("a free port");
    early.handle().stop();
    early.run();
}

#[test]
fn a_port_that_is_taken_is_an_error_of_bind() {
    let one = Running::start();
    let config = Config {
        port: one.address.port(),
        ..Config::default()
    };
    let Err(refused) = Broker::bind(config) else {
        panic!("two brokers listen on {}", one.address);
    };
    assert!(
        refused
            .to_string()
            .contains(&one.address.port().to_string()),
        "{refused}"
    );
    one.stop();
}

/// A few limits that a test can reach.
fn small() -> Config {
    Config {
        max_line: 40,
        max_subscriptions: 1,
        max_retained: 1,
        max_connections: Some(2),
        ..Config::default()
    }
}

#[test]
fn limits_that_are_replaced_hold_for_what_an_open_connection_sends_next() {
    let broker = Running::with(&small());
    let long = "x".repeat(50);
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    ann.send("SUBSCRIBE b")
        .expect_error("too-many", "subscribe:b");
    ann.send(format!("PUBLISH a {long}"))
        .expect_error("too-long", "publish:1")
        .expect("PUBACK 1 0");
    ann.send("@retain PUBLISH kept/1 x").expect("PUBACK 2 0");
    ann.send("@retain PUBLISH kept/2 x")
        .expect_error("too-many", "publish:3")
        .expect("PUBACK 3 0");

    let larger = Config {
        max_line: 100,
        max_subscriptions: 2,
        max_retained: 2,
        ..small()
    };
    broker.reload(&larger).expect("they fit");
    ann.send("SUBSCRIBE b").expect("SUBACK b");
    ann.send("SUBSCRIBE c")
        .expect_error("too-many", "subscribe:c");
    ann.send(format!("PUBLISH a {long}"))
        .expect(format!("MESSAGE a {long}"))
        .expect("PUBACK 4 1");
    ann.send("@retain PUBLISH kept/2 x").expect("PUBACK 5 0");

    // What there is already stays; nothing is added.
    broker.reload(&small()).expect("they fit");
    ann.send("SUBSCRIBE c")
        .expect_error("too-many", "subscribe:c");
    ann.send("PUBLISH b x")
        .expect("MESSAGE b x")
        .expect("PUBACK 6 1");
    ann.send(format!("PUBLISH a {long}"))
        .expect_error("too-long", "publish:7")
        .expect("PUBACK 7 0");
    ann.send("@retain PUBLISH kept/2 y").expect("PUBACK 8 0");
    ann.send("@retain PUBLISH kept/3 x")
        .expect_error("too-many", "publish:9")
        .expect("PUBACK 9 0");
    broker.stop();
}

#[test]
fn a_line_that_has_begun_is_held_to_the_limits_of_its_end() {
    let broker = Running::with(&small());
    let mut ann = broker.connect();
    let begun = format!("PUBLISH a {}", "x".repeat(25));
    ann.write(format!("PING 1\n{begun}")).expect("PONG 1");
    let larger = Config {
        max_line: 100,
        ..small()
    };
    broker.reload(&larger).expect("they fit");
    ann.write(format!("{}\n", "x".repeat(25)))
        .expect("PUBACK 1 0");
    broker.reload(&small()).expect("they fit");
    // A line that is being skipped stays refused, whatever is allowed meanwhile.
    ann.write(format!("{begun}{begun}"))
        .expect_error("too-long", "publish:2")
        .expect("PUBACK 2 0");
    broker.reload(&larger).expect("they fit");
    ann.write("xxx\nPING 2\n").expect("PONG 2");
    broker.stop();
}

#[test]
fn limits_of_all_connections_together_can_be_replaced() {
    let broker = Running::with(&small());
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("PING").expect("PONG");
    bob.send("PING").expect("PONG");
    broker.connect().expect_error("busy", "line");
    let larger = Config {
        max_connections: Some(3),
        ..small()
    };
    broker.reload(&larger).expect("they fit");
    broker.connect().send("PING").expect("PONG");
    broker.stop();
}

#[test]
fn a_ping_interval_that_is_replaced_holds_from_the_next_line_on() {
    let broker = Running::with(&Config {
        ping_interval: Duration::ZERO,
        ..Config::default()
    });
    let mut ann = broker.connect();
    ann.send("PING").expect("PONG");
    let shorter = Config {
        ping_interval: Duration::from_millis(100),
        ..Config::default()
    };
    broker.reload(&shorter).expect("they fit");
    ann.send("PING").expect("PONG").expect("PING");
    broker.stop();
}

#[test]
fn limits_that_contradict_themselves_are_refused_and_the_old_ones_stay() {
    let broker = Running::with(&small());
    let mut ann = broker.connect();
    let wrong = Config {
        max_line: 0,
        max_subscriptions: 10,
        ..small()
    };
    let refused = broker.reload(&wrong).expect_err("a line has a byte");
    assert_eq!(refused, ["--max-line is from 1 byte to 1 GiB"]);
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    ann.send("SUBSCRIBE b")
        .expect_error("too-many", "subscribe:b");
    broker.stop();
}
