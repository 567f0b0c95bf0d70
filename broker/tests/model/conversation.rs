//! Concurrent conversations of the line protocol, checked against the order of answers and messages
//! that `docs/protocol.md` promises.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::{Filter, Topic};
use shuttle::thread;

use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::limits::Limits;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::session::clients::ClientRecord;
use crate::socket::{Flushing, Socket};
use crate::wire::line::{self, LineConversation};
use crate::wire::{Arrival, Source};

pub(crate) fn limits() -> Limits {
    Limits {
        line_bytes: 1000,
        subscriptions: 10,
        ..Limits::default()
    }
}

/// A client that sends its pieces, one in each read, and then waits for the end.
pub(crate) struct Script(std::vec::IntoIter<Vec<u8>>);

impl Script {
    pub(crate) fn new(pieces: Vec<Vec<u8>>) -> Self {
        Self(pieces.into_iter())
    }

    pub(crate) fn of_lines(reads: &[String]) -> Self {
        let pieces = reads.iter().map(|lines| lines.clone().into_bytes());
        Self::new(pieces.collect())
    }
}

impl Source for Script {
    fn fill(&mut self, buffer: &mut ReadBuffer, most: usize) -> Arrival {
        thread::yield_now();
        match self.0.next() {
            Some(bytes) => {
                buffer
                    .fill(most)
                    .expect("there is memory")
                    .extend_from_slice(&bytes);
                Arrival::Bytes
            }
            None => Arrival::Stopping,
        }
    }

    fn fill_by(&mut self, buffer: &mut ReadBuffer, most: usize, _deadline: Instant) -> Arrival {
        self.fill(buffer, most)
    }

    fn wait_for_end(&mut self) -> Arrival {
        Arrival::Stopping
    }

    fn set_interval(&mut self, _: Duration) {}
}

/// Each client sends its lines on its own thread. Returns the lines that each received, and the engine.
fn converse<const N: usize>(scripts: [Vec<String>; N]) -> ([Vec<String>; N], Engine) {
    let engine = Engine::new(limits()).expect("an engine");
    converse_with(engine, 60, scripts, |_, _| {})
}

/// The same with this engine, and sockets that take this much at once; `meanwhile` is called while they speak.
pub(crate) fn converse_with<const N: usize>(
    engine: Engine,
    most: usize,
    scripts: [Vec<String>; N],
    meanwhile: impl FnOnce(&Engine, [&ClientRecord; N]),
) -> ([Vec<String>; N], Engine) {
    let flushing = Flushing::new();
    let mut id = 0;
    let clients = scripts.map(|script| {
        id += 1;
        let (socket, record) = connect(&engine, &flushing, id, most);
        (script, socket, record)
    });
    thread::scope(|scope| {
        scope.spawn(|| flushing.run());
        let speaking: Vec<_> = clients
            .iter()
            .map(|(script, _, record)| {
                let mut source = Script::of_lines(script);
                let engine = &engine;
                scope.spawn(move || {
                    let mut client = Client::new(engine, record);
                    let mut conversation = LineConversation::new(&mut client);
                    conversation.read_loop(&mut source, &mut ReadBuffer::new(&engine.memory));
                })
            })
            .collect();
        meanwhile(&engine, clients.each_ref().map(|(_, _, record)| &**record));
        for client in speaking {
            client.join().expect("it speaks");
        }
        flushing.end();
    });
    let audit = engine.clients.audit();
    assert!(
        audit.is_exact && audit.ledger.is_balanced(),
        "{}",
        audit.ledger
    );
    let heard = clients.map(|(_, socket, _)| socket.text().lines().map(str::to_owned).collect());
    (heard, engine)
}

/// A new connection whose socket takes this much at once.
pub(crate) fn connect(
    engine: &Engine,
    flushing: &Arc<Flushing>,
    id: u64,
    most: usize,
) -> (Socket, Arc<ClientRecord>) {
    let socket = Socket::new(id, most, flushing);
    let outbox = socket.outbox(1_000_000, &line::ENCODER);
    let record = Arc::new(ClientRecord::new(outbox, ([127, 0, 0, 1], 1).into()));
    engine.clients.enter(record.clone());
    (socket, record)
}

pub(crate) fn lines(reads: &[&str]) -> Vec<String> {
    reads.iter().map(|lines| (*lines).to_owned()).collect()
}

/// The index of this line.
pub(crate) fn place(heard: &[String], line: &str) -> usize {
    let found = heard.iter().position(|each| each == line);
    found.unwrap_or_else(|| panic!("no {line} in {heard:?}"))
}

pub(crate) fn a_suback_comes_first_and_nothing_follows_an_unsuback() {
    let publisher = lines(&[
        "PUBLISH x 1\nPUBLISH x 2\n",
        "PUBLISH x 3\nPUBLISH y 4\nPUBLISH x 5\n",
        "PUBLISH x 6\n",
    ]);
    let subscriber = lines(&["SUBSCRIBE x\n", "PING\n", "UNSUBSCRIBE x\n", "PING\n"]);
    let ([heard, ..], _) = converse([subscriber, publisher.clone(), publisher]);
    assert_eq!(heard[0], "SUBACK x");
    let end = place(&heard, "UNSUBACK x");
    assert_eq!(heard[end + 1..], ["PONG"], "{heard:?}");
    // The received messages are those published in between, without a gap.
    let came = |number: usize| {
        let message = format!("MESSAGE x {number}");
        heard.iter().filter(|line| **line == message).count()
    };
    let total: usize = [1, 2, 3, 5, 6].map(came).iter().sum();
    assert_eq!(total, heard.len() - 4, "{heard:?}");
}

pub(crate) fn retained_messages_come_once_and_before_newer_ones() {
    let publisher = |name: char| {
        lines(&[
            &format!("@retain PUBLISH x {name}1\n"),
            &format!("@retain PUBLISH x {name}2\n@retain PUBLISH x {name}3\n"),
        ])
    };
    let subscriber = lines(&["SUBSCRIBE x\n"]);
    let ([heard, ..], engine) = converse([subscriber, publisher('a'), publisher('b')]);
    assert_eq!(heard[0], "SUBACK x");
    let payload = |line: &str| line.trim_end().rsplit(' ').next().unwrap_or("").to_owned();
    let payloads: Vec<String> = heard[1..].iter().map(|line| payload(line)).collect();
    for publisher in ['a', 'b'] {
        let all = ["1", "2", "3"].map(|number| format!("{publisher}{number}"));
        let of_publisher = |text: &&String| text.starts_with(publisher);
        let came: Vec<String> = payloads.iter().filter(of_publisher).cloned().collect();
        assert!(all.ends_with(&came), "{heard:?}");
    }
    // A client that subscribes later receives the message that the others received last.
    let retained = engine.retained.read();
    let filter = Filter::parse("x").expect("a filter");
    let found = retained.find_from(filter, "", retained.mark());
    let kept = found
        .entries
        .first()
        .map(|message| String::from_utf8_lossy(&message.message).into_owned());
    assert_eq!(
        payloads.last().cloned(),
        kept.map(|line| payload(&line)),
        "{heard:?}"
    );
}

/// Each retained message is as long as what one lock is held for, so the walk takes three pieces.
pub(crate) fn a_long_walk_over_retained_messages_comes_before_newer_ones() {
    let engine = Engine::new(limits()).expect("an engine");
    let old = "o".repeat(64 * 1024);
    for name in ["x", "y", "z"] {
        let line = format!("@retained MESSAGE {name} {old}\n");
        let topic = Topic::parse(name).expect("a topic");
        let mut retained = engine.retained.write();
        retained.set(topic, line.as_bytes(), 1, 1).expect("room");
    }
    let publisher = lines(&[
        "PUBLISH z 1\nPUBLISH x 2\n",
        "@retain PUBLISH z 3\n@retain PUBLISH y 4\n",
        "PUBLISH y 5\n",
    ]);
    let subscriber = lines(&["SUBSCRIBE #\n"]);
    let ([heard, _], _) = converse_with(engine, 100_000, [subscriber, publisher], |_, _| {});
    assert_eq!(heard[0], "SUBACK #");
    let of_walk = |line: &&String| line.starts_with('@');
    let walked: Vec<_> = heard[1..].iter().take_while(of_walk).collect();
    let newer = &heard[1 + walked.len()..];
    assert!(walked.is_sorted(), "{walked:.20?}");
    assert!(newer.iter().all(|line| !of_walk(&line)), "{newer:.20?}");
    // The newer ones are the last of those published, without a gap.
    let all = ["z 1", "x 2", "z 3", "y 4", "y 5"].map(|message| format!("MESSAGE {message}"));
    assert!(all.ends_with(newer), "{newer:.20?}");
    // A topic has its retained message, or a newer one that was retained meanwhile.
    for (name, later) in [
        ("x", "MESSAGE x -"),
        ("y", "MESSAGE y 4"),
        ("z", "MESSAGE z 3"),
    ] {
        let start = format!("@retained MESSAGE {name} ");
        let came = walked.iter().any(|line| line.starts_with(&start));
        assert!(
            came || newer.contains(&later.to_owned()),
            "{name}: {newer:.20?}"
        );
    }
}

pub(crate) fn a_receipt_comes_after_what_it_promises() {
    let publisher = lines(&["SUBSCRIBE x\n", "PUBLISH x 1\nPUBLISH x 2\nPING a\n"]);
    let ([heard, other], _) = converse([publisher, lines(&["PUBLISH x 3\nPUBLISH z 4\n"])]);
    let receipt = place(&heard, "PUBACK 2 2");
    for line in ["MESSAGE x 1", "MESSAGE x 2"] {
        assert!(place(&heard, line) < receipt, "{heard:?}");
    }
    assert!(receipt < place(&heard, "PONG a"), "{heard:?}");
    assert!(
        other == ["PUBACK 2 0"] || other == ["PUBACK 2 1"],
        "{other:?}"
    );
}
