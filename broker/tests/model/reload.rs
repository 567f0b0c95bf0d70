//! Other rules are put in force while clients subscribe, publish, walk over retained messages and take over sessions: when that
//! has returned, nothing is done or delivered by the rules before.

use std::sync::Arc;

use protocol::Topic;
use shuttle::thread;

use crate::auth::access::AccessTable;
use crate::conversation::{Script, connect, converse_with, limits, lines, place};
use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::enforcement::enforce;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::session::clients::ClientRecord;
use crate::socket::{Flushing, Socket};
use crate::wire::http::{Site, SiteSettings};
use crate::wire::line::LineConversation;
use crate::wire::talking::WebChat;
use crate::wire::{self, End, Entrance, Finished};

/// Rules that take `x` from its subscribers, and a part of `#`. Publishers lose `y`.
const FEWER: &str = "\
allow everyone all
deny everyone subscribe x
deny everyone publish y
";

fn reload(engine: &Engine) {
    let table = AccessTable::parse("fewer", FEWER).expect("rules");
    engine.access.replace(Arc::new(table));
    enforce(engine, |_| {});
}

/// Puts the rules in force, and tells each client of lines.
fn reload_and_tell<const N: usize>(engine: &Engine, clients: [&ClientRecord; N]) {
    reload(engine);
    for client in clients {
        client.outbox().lock().answer(b"ENFORCED\n");
    }
}

/// What came after the rules were in force.
fn after(heard: &[String]) -> &[String] {
    &heard[place(heard, "ENFORCED")..]
}

fn is_message_of(line: &str, topic: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    words.contains(&"MESSAGE") && words.contains(&topic)
}

pub(crate) fn nothing_goes_on_by_rules_that_were_replaced() {
    let engine = Engine::new(limits()).expect("an engine");
    let subscriber = lines(&[
        "SUBSCRIBE # x\n",
        "SUBSCRIBE x z\n",
        "PING\n",
        "SUBSCRIBE x\n",
    ]);
    let publisher = lines(&[
        "PUBLISH x 1\nPUBLISH z 1\n",
        "@retain PUBLISH x 2\nPUBLISH y 2\n",
        "PUBLISH x 3\n",
        "PUBLISH z 4\nPUBLISH x 4\nPUBLISH y 4\n",
    ]);
    let scripts = [subscriber, publisher];
    let ([subscribed, published], _) = converse_with(engine, 1000, scripts, reload_and_tell);
    let by_old_rules =
        |line: &String| is_message_of(line, "x") || is_message_of(line, "y") || line == "SUBACK x";
    assert!(
        !after(&subscribed).iter().any(by_old_rules),
        "{subscribed:?}"
    );
    // Those that lost nothing have lost no message either.
    let all = subscribed.iter().filter(|line| line.contains("MESSAGE z"));
    assert!(all.count() <= 2, "{subscribed:?}");
    // A publisher is told of each of its messages, by the rules of the moment.
    let refused = published
        .iter()
        .filter(|line| line.contains("may not publish to y"));
    assert!(refused.count() <= 2, "{published:?}");
}

/// A client of lines that sends these, and is not gone afterwards.
fn speak(engine: &Engine, record: &Arc<ClientRecord>, reads: &[&str]) {
    let mut client = Client::new(engine, record);
    let mut conversation = LineConversation::new(&mut client);
    let mut source = Script::of_lines(&lines(reads));
    conversation.read_loop(&mut source, &mut ReadBuffer::new(&engine.memory));
}

/// What a subscriber receives, whose lines come before the rules are put in force or at the same time. The publisher speaks
/// at the same time, and another one says `late` when they are.
fn around_a_reload(
    subscriber: &[&str],
    is_before: bool,
    publisher: &[&str],
    late: &[&str],
) -> Vec<String> {
    let engine = Engine::new(limits()).expect("an engine");
    let flushing = Flushing::new();
    let clients = [1, 2, 3].map(|id| connect(&engine, &flushing, id, usize::MAX));
    let [subscribing, publishing, last] = clients.each_ref().map(|(_, record)| record);
    if is_before {
        speak(&engine, subscribing, subscriber);
    }
    thread::scope(|scope| {
        if !is_before {
            scope.spawn(|| speak(&engine, subscribing, subscriber));
        }
        scope.spawn(|| speak(&engine, publishing, publisher));
        reload_and_tell(&engine, [subscribing]);
    });
    speak(&engine, last, late);
    let audit = engine.clients.audit();
    assert!(audit.ledger.is_balanced(), "{}", audit.ledger);
    clients[0].0.text().lines().map(str::to_owned).collect()
}

/// The rules take a part of a subscription, whose route the publisher remembers.
pub(crate) fn no_message_under_way_is_delivered_by_rules_that_were_replaced() {
    let publisher = ["PUBLISH x 1\n", "PUBLISH x 2\nPUBLISH z 2\n"];
    let late = ["PUBLISH x 3\nPUBLISH z 3\n"];
    let heard = around_a_reload(&["SUBSCRIBE #\n"], true, &publisher, &late);
    assert!(
        !after(&heard).iter().any(|line| is_message_of(line, "x")),
        "{heard:?}"
    );
    let rest = heard.iter().filter(|line| is_message_of(line, "z"));
    assert_eq!(rest.count(), 2, "{heard:?}");
}

/// A subscription is granted by the rules before or by those after, and in the end the latter hold for it.
pub(crate) fn no_subscription_is_made_by_rules_that_were_replaced() {
    let late = ["PUBLISH x 1\nPUBLISH z 1\n"];
    let heard = around_a_reload(&["SUBSCRIBE x #\n"], false, &[], &late);
    assert!(
        !heard.iter().any(|line| is_message_of(line, "x")),
        "{heard:?}"
    );
    assert!(!after(&heard).contains(&"SUBACK x".to_owned()), "{heard:?}");
    let rest = heard.iter().filter(|line| is_message_of(line, "z"));
    assert_eq!(rest.count(), 1, "{heard:?}");
}

/// Each retained message is as long as what one lock is held for, so the walk takes three pieces; the one in the middle
/// may be seen no more.
pub(crate) fn a_walk_over_retained_messages_ends_at_other_rules() {
    let engine = Engine::new(limits()).expect("an engine");
    let old = "o".repeat(64 * 1024);
    for name in ["w", "x", "z"] {
        let line = format!("@retained MESSAGE {name} {old}\n");
        let topic = Topic::parse(name).expect("a topic");
        let mut retained = engine.retained.write();
        retained.set(topic, line.as_bytes(), 1, 1).expect("room");
    }
    let subscriber = lines(&["SUBSCRIBE #\n", "PING\n"]);
    let ([heard], _) = converse_with(engine, 1_000_000, [subscriber], reload_and_tell);
    let late = after(&heard);
    assert!(
        !late.iter().any(|line| is_message_of(line, "x")),
        "{late:.20?}"
    );
    // The rest of the walk comes, before or after.
    for name in ["w", "z"] {
        let came = heard.iter().filter(|line| is_message_of(line, name));
        assert_eq!(came.count(), 1, "{name}: {heard:.20?}");
    }
}

/// A packet of MQTT with less than 128 bytes.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(body.len()).expect("few bytes");
    [&[first, len][..], body].concat()
}

/// A CONNECT of 5.0; the session of this client outlasts the connection by these seconds.
fn hello(client_id: char, seconds: u8) -> Vec<u8> {
    let head = [&b"\0\x04MQTT\x05\0\0\0\x05\x11\0\0\0"[..], &[seconds, 0, 1]];
    packet(0x10, &[&head.concat(), &[client_id as u8][..]].concat())
}

/// Subscribes to `x` and `z` at QoS 1.
fn subscribe() -> Vec<u8> {
    packet(0x82, b"\0\x01\0\0\x01x\x01\0\x01z\x01")
}

/// At QoS 1, because the rest does not wait for a client that is away.
fn publish(topic: char, payload: &str) -> Vec<u8> {
    let topic = topic as u8;
    let head = [0, 1, topic, 0, topic, 0];
    packet(0x32, &[&head, payload.as_bytes()].concat())
}

/// Serves a client from its first byte to its last.
fn serve(engine: &Engine, record: &Arc<ClientRecord>, pieces: Vec<Vec<u8>>) {
    let site = Site::new(SiteSettings::default(), &engine.limits);
    let entrance = Entrance::wires(site, WebChat::default());
    let mut client = Client::new(engine, record);
    let finished = wire::serve(&mut client, &mut Script::new(pieces), &entrance, None);
    let Finished { end, .. } = wire::close(&mut client, finished, || None);
    client.begin();
    let remains = client.end_connection();
    client.redeliver(&remains.redeliveries);
    if !matches!(end, End::SaidBye) {
        client.publish_will();
    }
    client.settle();
    client.leave();
}

/// Two connections take the session of a client from each other meanwhile, and a last one finds what has waited. What is
/// published later on a topic that the session has lost reaches none of them; the rest reaches one.
pub(crate) fn a_session_that_is_taken_over_loses_what_other_rules_take() {
    let engine = Engine::new(limits()).expect("an engine");
    let flushing = Flushing::new();
    let mut id = 0;
    let mut connect = || {
        id += 1;
        // The sockets take all, because the model's flusher does not know of sessions that have moved.
        connect(&engine, &flushing, id, usize::MAX)
    };
    let [before, first, second, early, late, last] = [(); 6].map(|()| connect());
    let play = |client: &(Socket, Arc<ClientRecord>), pieces: Vec<Vec<u8>>| {
        serve(&engine, &client.1, pieces);
    };
    let published = |client_id, payload: &str| {
        let both = [publish('x', payload), publish('z', payload)];
        vec![hello(client_id, 0), both.concat()]
    };
    let ping = || vec![0xc0, 0];
    play(&before, vec![hello('a', 100), subscribe()]);
    play(&early, published('p', "early"));
    thread::scope(|scope| {
        let speaking = [
            scope.spawn(|| play(&first, vec![hello('a', 100), ping()])),
            scope.spawn(|| play(&second, vec![hello('a', 100), ping()])),
        ];
        reload(&engine);
        play(&late, published('q', "late"));
        for client in speaking {
            client.join().expect("it is served");
        }
    });
    play(&last, vec![hello('a', 100), ping()]);
    let of_session = [&before, &first, &second, &last].map(|(socket, _)| messages(&socket.bytes()));
    let is_told = |message: &str| of_session.iter().flatten().any(|it| it == message);
    assert!(!is_told("x late"), "{of_session:?}");
    for message in ["z early", "z late"] {
        assert!(is_told(message), "{message}: {of_session:?}");
    }
    // What had waited when the rules came is not given out by the old ones either.
    assert!(
        !of_session[3].contains(&"x early".to_owned()),
        "{of_session:?}"
    );
    let audit = engine.clients.audit();
    assert!(audit.ledger.is_balanced(), "{}", audit.ledger);
}

/// Topic and payload of each PUBLISH among whole packets.
fn messages(mut bytes: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while let [first, len, rest @ ..] = bytes {
        let (body, rest) = rest.split_at(usize::from(*len));
        bytes = rest;
        if first >> 4 == 3 {
            // Topic of one letter, identifier at QoS 1, no properties.
            let start = if first & 6 == 0 { 4 } else { 6 };
            let payload = String::from_utf8_lossy(&body[start..]);
            messages.push(format!("{} {payload}", char::from(body[2])));
        }
    }
    messages
}
