//! A broker is a value: many run in one process, know nothing of each other, and stop when asked.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use broker::{Broker, Config, Handle};
use tests::TestClient;

struct Running {
    address: SocketAddr,
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Running {
    fn start() -> Self {
        let config = Config {
            port: 0,
            ..Config::default()
        };
        let broker = Broker::bind(config).expect("a free port");
        Self {
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
