//! Entry points for the fuzz targets in `broker/fuzz`: clients of a broker without sockets, one after
//! another, that send the fuzzer's input; and files that have it. Built for the fuzz targets only.
//!
//! Whatever they send, nothing may panic, and the ledger must balance.

mod credentials;
mod store;
mod tls;

use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::slice::Chunks;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::{Filter, Topic};

use crate::auth::access::{AccessTable, Subject, SubscriptionDecision};
use crate::auth::identity::jwt::shows;
use crate::auth::identity::{ClientIdentity, JwtKeys, UsersDocument};
use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::limits::Limits;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::outbox::{Outbox, Sink};
use crate::engine::session::clients::ClientRecord;
use crate::wire::http::{Site, SiteSettings};
use crate::wire::room::Rooms;
use crate::wire::room::datagrams::{Action, DatagramRoom};
use crate::wire::talking::WebChat;
use crate::wire::{self, Arrival, End, Entrance, Finished, Protocol, Source, line, mqtt};

pub use credentials::CredentialScene;
pub use store::store;
pub use tls::{TlsScene, certificate};

/// Maximum bytes of a line or packet.
const LINE_BYTES: usize = 4096;

/// Ends a connection within an input; the rest is sent on the next one.
const NEXT: u8 = 0xfe;

/// Bytes that the sink of a client that does not read accepts.
const ROOM_BYTES: usize = 300;

/// MQTT clients, after their CONNECT. The first byte of an input selects the version, the fields of
/// CONNECT, whether the client reads, and how its bytes are split.
pub fn mqtt(input: &[u8]) {
    for_each_client(input, wires, |choice, part| {
        [&connect(choice), part].concat()
    });
}

/// HTTP clients; half of them begin in a WebSocket with lines or MQTT. The first byte selects as above.
pub fn web(input: &[u8]) {
    for_each_client(input, wires, |choice, part| {
        [&upgrade(choice), part].concat()
    });
}

/// Clients of the web chat, in frames; half of them have logged in. The first byte selects as above.
pub fn talking(input: &[u8]) {
    for_each_client(input, wires, |choice, part| {
        let mut said = handshake("/talking", "any");
        if choice & 1 != 0 {
            let login = br#"{"type":"login","nickname":"ann","room":"lobby"}"#;
            // Its mask changes nothing.
            said.extend_from_slice(&[0x81, 0x80 | login.len() as u8, 0, 0, 0, 0]);
            said.extend_from_slice(login);
        }
        said.extend_from_slice(part);
        said
    });
}

/// Members of a room over TCP; half of them begin with their nick. The first byte selects as above.
pub fn room(input: &[u8]) {
    let room = |_: &Engine| Entrance::Room(Arc::new(Rooms::default().open("room")));
    for_each_client(input, room, |choice, part| match choice & 1 {
        0 => part.to_vec(),
        _ => [b"ann\n", part].concat(),
    });
}

/// Datagrams to a room, and the same as lines. The first byte of each is the address that it comes from and
/// the time since the one before.
pub fn datagrams(input: &[u8]) {
    const MOST: usize = 3;
    let engine = Engine::new(limits()).expect("an engine");
    let mut client = Client::internal(&engine);
    let mut now = Instant::now();
    let mut room = DatagramRoom::new(MOST, Duration::from_secs(30), now);
    let mut members = HashSet::new();
    for part in input.split(|&byte| byte == NEXT) {
        let Some((&choice, datagram)) = part.split_first() else {
            continue;
        };
        let answer = line::handle_datagram(&mut client, datagram);
        assert!(answer.len() <= 1024, "{}", answer.len());
        now += Duration::from_secs(u64::from(choice >> 3));
        let from = ([127, 0, 0, choice & 7], 1).into();
        for action in room.handle(datagram, from, now) {
            match action {
                Action::Join { .. } => assert!(members.insert(from)),
                Action::Leave => assert!(members.remove(&from)),
                Action::Forget(other) => assert!(members.remove(&other)),
                Action::Say(text) => assert!(!text.is_empty() && members.contains(&from)),
                Action::Heard { .. } => assert!(members.contains(&from)),
                Action::Answer(answer) => assert!(answer.len() <= 80 && !members.contains(&from)),
            }
        }
        for idle in room.expire(now) {
            assert!(members.remove(&idle));
        }
        assert!(members.len() <= MOST);
    }
    let audit = engine.clients.audit();
    assert!(audit.ledger.is_balanced(), "{}", audit.ledger);
}

fn wires(engine: &Engine) -> Entrance {
    let site = Site::new(SiteSettings::default(), &engine.limits);
    Entrance::wires(site, WebChat::default())
}

/// Plays clients that say what `said` makes of the first byte and of their part of the input.
fn for_each_client(
    input: &[u8],
    entrance: impl Fn(&Engine) -> Entrance,
    said: impl Fn(u8, &[u8]) -> Vec<u8>,
) {
    for_each_client_until(input, entrance, said, |_, _| {});
}

/// The same; `ended` looks at each client before it has left.
fn for_each_client_until(
    input: &[u8],
    entrance: impl Fn(&Engine) -> Entrance,
    said: impl Fn(u8, &[u8]) -> Vec<u8>,
    ended: impl Fn(&ClientRecord, &[u8]),
) {
    let Some((&choice, rest)) = input.split_first() else {
        return;
    };
    let engine = Engine::new(limits()).expect("an engine");
    let entrance = entrance(&engine);
    for (number, part) in rest.split(|&byte| byte == NEXT).enumerate() {
        let id = number as u64 + 1;
        let reads = choice & 4 == 0;
        let taken = Taken::new(if reads { usize::MAX } else { ROOM_BYTES });
        let memory = engine.memory.clone();
        let sink = Box::new(taken.clone());
        let outbox = Outbox::new(id, LINE_BYTES, memory, &line::ENCODER, sink);
        // There is no flusher, so a wait would never end.
        outbox.hurry();
        let record = Arc::new(ClientRecord::new(
            Arc::new(outbox),
            ([127, 0, 0, 1], 1).into(),
        ));
        engine.clients.enter(record.clone());
        let mut client = Client::new(&engine, &record);
        let said = said(choice, part);
        let mut source = Pieces(said.chunks(usize::from(choice >> 3) + 1));
        let finished = wire::serve(&mut client, &mut source, &entrance, None);
        ended(&record, part);
        let Finished { protocol, end, .. } = wire::close(&mut client, finished, || None);
        client.begin();
        let remains = client.end_connection();
        client.redeliver(&remains.redeliveries);
        if !matches!(end, End::SaidBye) {
            client.publish_will();
        }
        client.settle();
        client.leave();
        if reads && protocol == Protocol::Mqtt {
            let bytes = taken.bytes.lock().expect("no panic");
            assert_eq!((mqtt::ENCODER_5.fitting)(&bytes, bytes.len()), bytes.len());
        }
    }
    let audit = engine.clients.audit();
    assert!(audit.ledger.is_balanced(), "{}", audit.ledger);
}

/// A users file. What can be taken is kept byte by byte, and a change of a user leaves the others alone.
pub fn users(input: &[u8]) {
    let Ok(document) = UsersDocument::parse(input.to_vec()) else {
        return;
    };
    assert_eq!(document.text().as_bytes(), input);
    for (name, user) in document.users().users.iter().take(MOST_CHANGED) {
        let mut changed = document.clone();
        assert!(changed.set_disabled(name, !user.is_disabled));
        assert_ne!(changed.users(), document.users());
        assert!(changed.set_disabled(name, user.is_disabled));
        assert_eq!(changed.users(), document.users());
        let tokens = changed.remove_user(name).expect("it is there");
        let mut rest = document.users().clone();
        rest.users.remove(name);
        rest.tokens.retain(|id, _| !tokens.contains(id));
        assert_eq!(changed.users(), &rest);
    }
}

/// The first line is a set of keys, the second a token, the rest the claims of another one. No key here has signed a
/// token by chance, and none of the three panics.
pub fn jwt(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let [keys, token, claims] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let Ok(keys) = JwtKeys::parse(keys).or_else(|_| JwtKeys::parse(KEYS)) else {
        return;
    };
    let (name, has_form) = shows(token, claims, &keys);
    assert!(name.is_none_or(|name| !name.contains(['/', '+', '#', '$'])));
    // Claims without a name or an end never have the form of claims.
    let has_words = |word: &[u8]| claims.windows(word.len()).any(|it| it == word);
    assert!(!has_form || claims.contains(&b'\\') || (has_words(b"sub") && has_words(b"exp")));
}

/// A key whose secret is not in any corpus.
const KEYS: &[u8] =
    br#"{"keys":[{"kty":"oct","kid":"k","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;

/// An access file. What may be done by it is the same with its lines in the opposite order, and a filter that is
/// granted has no topic that may not be seen.
pub fn access(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let text = text.trim_start_matches('\u{feff}');
    let Ok(table) = AccessTable::parse("f", text) else {
        return;
    };
    let opposite: Vec<&str> = text.split('\n').rev().collect();
    let opposite = AccessTable::parse("f", &opposite.join("\n")).expect("the order means nothing");
    let [ours, theirs] = [table, opposite].map(|table| {
        let identity = Arc::new(ClientIdentity::of_unix_peer("ann", 1, true));
        Arc::new(table).permissions(Subject {
            identity: &identity,
            client_id: Some("c1"),
        })
    });
    for topic in ASKED_TOPICS {
        let topic = Topic::parse(topic).expect("a topic");
        assert_eq!(
            ours.may_retain(topic).is_ok(),
            theirs.may_retain(topic).is_ok()
        );
        assert_eq!(ours.may_see(topic), theirs.may_see(topic));
    }
    for text in ASKED_FILTERS {
        let filter = Filter::parse(text).expect("a filter");
        let decisions = (ours.subscription(filter), theirs.subscription(filter));
        match decisions {
            (SubscriptionDecision::Granted, SubscriptionDecision::Granted) => {
                let matched = ASKED_TOPICS
                    .iter()
                    .map(|topic| Topic::parse(*topic).expect("a topic"));
                for topic in matched.filter(|topic| filter.matches(*topic)) {
                    assert!(filter.group().is_some() || ours.may_see(topic));
                }
            }
            (SubscriptionDecision::Sieved(_), SubscriptionDecision::Sieved(_)) => {}
            (SubscriptionDecision::Denied(one), SubscriptionDecision::Denied(other)) => {
                assert_eq!(one.rule().is_some(), other.rule().is_some());
                assert!(one.text("ann", text).chars().all(protocol::is_harmless));
            }
            different => panic!("{text}: {different:?}"),
        }
    }
}

/// What a client asks by the rules of a file.
const ASKED_TOPICS: [&str; 8] = [
    "a",
    "a/b",
    "home/unix:ann/c1",
    "$reply/x",
    "$private/a",
    "$SYS/gap/c1",
    "$SYS/gap/c2",
    "$SYS/broker/a",
];
const ASKED_FILTERS: [&str; 8] = [
    "#",
    "+",
    "a/#",
    "+/b",
    "home/+/c1",
    "$SYS/#",
    "$reply/+",
    "$share/g/#",
];

/// Users of one file that are changed; each takes as long as all lines do.
const MOST_CHANGED: usize = 4;

/// Small limits, which short inputs can reach.
fn limits() -> Limits {
    Limits {
        line_bytes: LINE_BYTES,
        connections: 10,
        subscriptions: 10,
        outbox_bytes: LINE_BYTES,
        memory_bytes: 1 << 20,
        max_block: Duration::ZERO,
        retained: 8,
        retained_bytes: LINE_BYTES,
        queued: 8,
        session_expiry: Duration::from_secs(100),
        ..Limits::default()
    }
}

/// The CONNECT of an MQTT client.
fn connect(choice: u8) -> Vec<u8> {
    let clean = choice & 2;
    if choice & 1 == 0 {
        let body = [&[0, 4][..], b"MQTT", &[4, clean, 0, 0, 0, 1, b'a']].concat();
        return [&[0x10, body.len() as u8][..], &body].concat();
    }
    // Session expiry, receive maximum 3, topic alias maximum 2.
    let properties = [0x11, 0, 0, 1, 0, 0x21, 0, 3, 0x22, 0, 2];
    let head = [5, clean, 0, 0, properties.len() as u8];
    let body = [&[0, 4][..], b"MQTT", &head, &properties, &[0, 1, b'a']].concat();
    [&[0x10, body.len() as u8][..], &body].concat()
}

/// The request that opens a WebSocket, for half of the clients.
fn upgrade(choice: u8) -> Vec<u8> {
    match choice & 3 {
        1 => handshake("/ws", "line"),
        3 => handshake("/ws", "mqtt"),
        _ => Vec::new(),
    }
}

/// The request that opens a WebSocket at this path.
fn handshake(path: &str, inside: &str) -> Vec<u8> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {inside}\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    head.into()
}

/// A sink that accepts everything, or nothing from some point on.
#[derive(Clone)]
struct Taken {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl Taken {
    fn new(room: usize) -> Self {
        Self {
            bytes: Arc::default(),
            room,
        }
    }
}

impl Sink for Taken {
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut bytes = self.bytes.lock().expect("no panic");
        let mut sent = 0;
        for slice in slices {
            let fits = slice.len().min(self.room.saturating_sub(bytes.len()));
            bytes.extend_from_slice(&slice[..fits]);
            sent += fits;
        }
        match sent {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(sent),
        }
    }

    fn arm(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The client's bytes in small pieces.
struct Pieces<'a>(Chunks<'a, u8>);

impl Source for Pieces<'_> {
    fn fill(&mut self, buffer: &mut ReadBuffer, most: usize) -> Arrival {
        let Some(piece) = self.0.next() else {
            return Arrival::End;
        };
        let Some(room) = buffer.fill(most) else {
            return Arrival::NoMemory;
        };
        room.extend_from_slice(piece);
        Arrival::Bytes
    }

    fn fill_by(&mut self, buffer: &mut ReadBuffer, most: usize, _: Instant) -> Arrival {
        self.fill(buffer, most)
    }

    fn wait_for_end(&mut self) -> Arrival {
        Arrival::End
    }

    fn set_interval(&mut self, _: Duration) {}
}
