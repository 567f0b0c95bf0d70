//! Clients follow what topics keep, while it is published and while they read slowly: each message comes once and in order,
//! also where the thread at the end of the log takes over from the one that reads, and back.

use std::ops::RangeInclusive;
use std::sync::Arc;

use protocol::AckLevel;
use shuttle::thread;

use crate::conversation::{Script, limits, lines};
use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::follow::{catch_up_loop, stop, tail_loop};
use crate::engine::history::rules::{KeepLimits, KeepRule};
use crate::engine::kept_state::StoreSettings;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::session::clients::ClientRecord;
use crate::socket::{Flushing, Socket};
use crate::storage::store::StoreTerms;
use crate::storage::survey::Extent;
use crate::wire::line::{self, LineConversation};

/// Messages that are published before a follower comes, and while it is there.
const BEFORE: u64 = 2;
const ALL: u64 = 8;

/// Bytes of a follower's queue: two messages are more than half of it.
const QUEUE: usize = 90;

fn engine() -> Engine {
    let engine = Engine::new(limits()).expect("an engine");
    let settings = StoreSettings {
        log: StoreTerms {
            level: AckLevel::Mem,
            most_bytes: 1 << 30,
            reserve_bytes: 0,
            extent: Extent::All,
        },
        rules: vec![KeepRule {
            filter: "a/#".into(),
            keeps: Some(KeepLimits::default()),
        }],
        most_topics: 10,
    };
    engine.keep_in_memory(settings).expect("memory");
    engine
}

/// A client that has said this, and is there still.
fn speak(engine: &Engine, record: &Arc<ClientRecord>, said: &[String]) {
    let mut client = Client::new(engine, record);
    let mut conversation = LineConversation::new(&mut client);
    let mut source = Script::of_lines(said);
    conversation.read_loop(&mut source, &mut ReadBuffer::new(&engine.memory));
}

fn connect(engine: &Engine, flushing: &Arc<Flushing>, id: u64) -> (Socket, Arc<ClientRecord>) {
    let socket = Socket::new(id, 60, flushing);
    let outbox = socket.outbox(QUEUE, &line::ENCODER);
    let record = Arc::new(ClientRecord::new(outbox, ([127, 0, 0, 1], 1).into()));
    engine.clients.enter(record.clone());
    (socket, record)
}

/// One read, or two.
fn published(numbers: RangeInclusive<u64>) -> Vec<String> {
    let (first, last) = numbers.into_inner();
    let middle = u64::midpoint(first, last);
    [first..=middle, middle + 1..=last]
        .into_iter()
        .map(|part| part.map(|n| format!("PUBLISH a/{} {n}\n", n % 2)).collect())
        .collect()
}

/// The numbers of the messages that have come.
fn numbers(socket: &Socket) -> Vec<u64> {
    let text = socket.text();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let messages = whole.lines().filter(|line| line.contains(" MESSAGE "));
    let number = |line: &str| line.rsplit(' ').next().and_then(|it| it.parse().ok());
    messages
        .map(|line| number(line).unwrap_or_else(|| panic!("{line}")))
        .collect()
}

/// A client speaks while the rest is published and the threads serve followers, until `is_over` returns.
fn while_published(
    engine: &Engine,
    flushing: &Flushing,
    publisher: &Arc<ClientRecord>,
    (client, said): (&Arc<ClientRecord>, &[&str]),
    is_over: impl FnOnce(),
) {
    thread::scope(|scope| {
        let flusher = scope.spawn(|| flushing.run());
        let tail = scope.spawn(|| tail_loop(engine));
        let catch_up = scope.spawn(|| catch_up_loop(engine));
        let publishing = scope.spawn(|| speak(engine, publisher, &published(BEFORE + 1..=ALL)));
        speak(engine, client, &lines(said));
        publishing.join().expect("it publishes");
        is_over();
        stop(engine);
        tail.join().expect("it ends");
        catch_up.join().expect("it ends");
        flushing.end();
        flusher.join().expect("it flushes");
    });
}

/// Two followers, one of which comes before all and one with the past, and a publisher.
pub(crate) fn a_follower_gets_each_message_once_and_in_order() {
    let engine = engine();
    let flushing = Flushing::new();
    let [(_, publisher), (first, early), (second, late)] =
        [1, 2, 3].map(|id| connect(&engine, &flushing, id));
    speak(&engine, &early, &lines(&["@since=now SUBSCRIBE a/#\n"]));
    speak(&engine, &publisher, &published(1..=BEFORE));
    let said = ["@since=start SUBSCRIBE a/0 a/1\n"];
    while_published(&engine, &flushing, &publisher, (&late, &said), || {
        for socket in [&first, &second] {
            while numbers(socket).len() < ALL as usize {
                thread::yield_now();
            }
        }
    });
    let all: Vec<u64> = (1..=ALL).collect();
    assert_eq!(numbers(&first), all);
    // Each of its filters has a past of its own; what is new comes in the order of the log.
    let mut heard = numbers(&second);
    let odd: Vec<u64> = heard.iter().copied().filter(|n| n % 2 == 1).collect();
    let even: Vec<u64> = heard.iter().copied().filter(|n| n % 2 == 0).collect();
    assert!(odd.is_sorted() && even.is_sorted(), "{heard:?}");
    heard.sort_unstable();
    assert_eq!(heard, all);
    let audit = engine.clients.audit();
    assert!(audit.ledger.is_balanced(), "{}", audit.ledger);
}

/// A follower that unsubscribes gets nothing of that filter behind the UNSUBACK.
pub(crate) fn nothing_follows_the_end_of_following() {
    let engine = engine();
    let flushing = Flushing::new();
    let [(_, publisher), (socket, follower)] = [1, 2].map(|id| connect(&engine, &flushing, id));
    speak(&engine, &publisher, &published(1..=BEFORE));
    let said = [
        "@since=start SUBSCRIBE a/#\n",
        "UNSUBSCRIBE a/#\n",
        "@since=now SUBSCRIBE a/0\nPING\n",
    ];
    while_published(&engine, &flushing, &publisher, (&follower, &said), || {
        follower.outbox().drain(None);
    });
    let text = socket.text();
    let (before, behind) = text.split_once("UNSUBACK a/#\n").expect("an answer");
    let is_message = |line: &&str| line.contains(" MESSAGE ");
    assert!(
        !behind.lines().any(|line| line.contains("MESSAGE a/1 ")),
        "{text}"
    );
    let heard: Vec<u64> = before
        .lines()
        .filter(is_message)
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    assert!(heard.is_sorted(), "{text}");
    // While UNSUBSCRIBE is carried out, the route of one topic may be looked up before and that of another behind it: of
    // each topic a beginning has come.
    for rest in [0, 1] {
        let of_topic: Vec<u64> = heard.iter().copied().filter(|n| n % 2 == rest).collect();
        let all = (1..=ALL).filter(|n| n % 2 == rest);
        let beginning: Vec<u64> = all.take(of_topic.len()).collect();
        assert_eq!(of_topic, beginning, "{text}");
    }
}
