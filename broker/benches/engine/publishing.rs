//! A publisher's conversation, from the bytes it sends to the bytes its subscriber receives, without
//! the kernel.

use divan::Bencher;
use divan::counter::ItemsCount;
use protocol::Filter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::access::AccessTable;
use crate::client::idle;
use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::limits::Limits;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::routing::subscribers::Subscriber;
use crate::engine::session::clients::ClientRecord;
use crate::wire::line::LineConversation;
use crate::wire::{Arrival, Source};

/// Messages in a round.
const MESSAGES: usize = 10_000;

const LINE_BYTES: usize = 1 << 20;

/// A stream: name, number of topics, bytes of a payload.
const WORKLOADS: [(&str, usize, usize); 5] = [
    ("one-topic-16", 1, 16),
    ("one-topic-128", 1, 128),
    ("ten-topics-16", 10, 16),
    ("ten-topics-128", 10, 128),
    ("ten-thousand-topics-16", 10_000, 16),
];

/// After the name of a workload: the publisher may publish by a rule, and a rule takes other topics away.
const BY_RULES: &str = "-by-rules";

const RULES: &str =
    "allow everyone publish subscribe sensors/#\ndeny everyone publish sensors/secret/#\n";

/// The same lines over and over, as many at a time as fit into the buffer.
struct Rounds<'a> {
    lines: &'a [u8],
    at: usize,
    left: usize,
}

impl Source for Rounds<'_> {
    fn fill(&mut self, buffer: &mut ReadBuffer, most: usize) -> Arrival {
        if self.left == 0 {
            return Arrival::End;
        }
        let room = buffer.fill(most).expect("there is memory");
        let rest = &self.lines[self.at..];
        let part = &rest[..rest.len().min(room.capacity() - room.len())];
        room.extend_from_slice(part);
        self.at += part.len();
        if self.at == self.lines.len() {
            (self.at, self.left) = (0, self.left - 1);
        }
        Arrival::Bytes
    }

    fn fill_by(&mut self, buffer: &mut ReadBuffer, most: usize, _deadline: Instant) -> Arrival {
        self.fill(buffer, most)
    }

    fn wait_for_end(&mut self) -> Arrival {
        Arrival::End
    }

    fn set_interval(&mut self, _: Duration) {}
}

fn limits() -> Limits {
    Limits {
        line_bytes: LINE_BYTES,
        ..Limits::default()
    }
}

struct Scene {
    engine: Engine,
    subscriber: Subscriber,
    publisher: Arc<ClientRecord>,
    lines: Vec<u8>,
}

impl Scene {
    fn new(name: &str) -> Self {
        let (name, rules) = match name.strip_suffix(BY_RULES) {
            Some(name) => (name, Some(RULES)),
            None => (name, None),
        };
        let found = WORKLOADS.iter().find(|(each, _, _)| *each == name);
        let &(_, topics, payload) = found.expect("the name of a workload");
        let scene = Self {
            engine: Engine::new(limits()).expect("an engine"),
            subscriber: idle(1),
            publisher: Arc::new(ClientRecord::new(idle(2), ([127, 0, 0, 1], 1).into())),
            lines: (0..MESSAGES)
                .flat_map(|number| {
                    let payload = "x".repeat(payload);
                    format!("PUBLISH sensors/{} {payload}\n", number % topics).into_bytes()
                })
                .collect(),
        };
        if let Some(rules) = rules {
            let table = AccessTable::parse("rules", rules).expect("they are right");
            scene.engine.access.replace(Arc::new(table));
        }
        for number in 0..topics {
            let text = format!("sensors/{number}");
            let filter = Filter::parse(&text).expect("a filter");
            scene.engine.router.subscribe(filter, &scene.subscriber);
        }
        scene
    }

    fn source(&self, rounds: usize) -> Rounds<'_> {
        Rounds {
            lines: &self.lines,
            at: 0,
            left: rounds,
        }
    }
}

/// Plays rounds of ten thousand messages.
pub(crate) fn play(name: &str, rounds: usize) {
    let scene = Scene::new(name);
    let mut client = Client::new(&scene.engine, &scene.publisher);
    let mut conversation = LineConversation::new(&mut client);
    conversation.read_loop(
        &mut scene.source(rounds),
        &mut ReadBuffer::new(&scene.engine.memory),
    );
    let written = scene.subscriber.close().tally.written;
    assert_eq!(written, (MESSAGES * rounds) as u64);
}

#[divan::bench(args = WORKLOADS.map(|(name, _, _)| name))]
fn publish(bencher: Bencher, name: &str) {
    let scene = Scene::new(name);
    let mut client = Client::new(&scene.engine, &scene.publisher);
    let mut conversation = LineConversation::new(&mut client);
    let mut buffer = ReadBuffer::new(&scene.engine.memory);
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .bench_local(|| conversation.read_loop(&mut scene.source(1), &mut buffer));
}
