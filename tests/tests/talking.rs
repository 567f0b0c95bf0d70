//! Promises of `rooms.md`: the web chat of tutorials, objects of JSON in a WebSocket.

use std::net::SocketAddr;
use std::process::Command;

use tests::frames::FrameClient;
use tests::{Process, TestBroker, TestClient, client_of, eventually, foreign};

/// The first bytes of frames with a whole message.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// A client that has connected.
fn open(broker: &TestBroker) -> FrameClient {
    FrameClient::open(broker.address(), "/talking", None)
}

/// A client that has logged in.
fn member(broker: &TestBroker, nick: &str, room: &str) -> FrameClient {
    let mut member = open(broker);
    say(&mut member, &login(nick, room));
    expect_nothing(&mut member);
    member
}

fn login(nick: &str, room: &str) -> String {
    format!(r#"{{"type":"login","nickname":"{nick}","room":"{room}","connectedAt":1764456000000}}"#)
}

fn say(member: &mut FrameClient, object: &str) {
    member.send_frame(TEXT, object.as_bytes());
}

#[track_caller]
fn hear(member: &mut FrameClient) -> String {
    let (first, object) = member.next_frame();
    assert_eq!(first, TEXT);
    String::from_utf8(object).expect("text")
}

/// The next object is an error that begins so.
#[track_caller]
fn expect_error(member: &mut FrameClient, why: &str) {
    let heard = hear(member);
    let beginning = format!(r#"{{"type":"error","message":"{why}"#);
    assert!(heard.starts_with(&beginning), "{heard} is not {beginning}");
}

/// Nothing else has come: what is refused now is answered next. All that the member has said before is
/// with the others then.
#[track_caller]
fn expect_nothing(member: &mut FrameClient) {
    say(member, r#"{"type":"fence"}"#);
    expect_error(member, r#"there is no type \"fence\""#);
}

/// The JSON in which chats write what is said.
fn said(nick: &str, text: &str) -> String {
    format!(r#"{{"nick":"{nick}","message":"{text}","user":"{nick}","say":"{text}"}}"#)
}

fn room_object(nick: &str, text: &str) -> String {
    format!(r#"{{"type":"room","nickname":"{nick}","room":"lobby","message":"{text}"}}"#)
}

/// `client chat` in the lobby, in lines.
fn chat(broker: &TestBroker, nick: &str) -> Process {
    let mut command = client_of(broker, "chat", &["lobby", "--plain", "--nick", nick]);
    let mut chat = Process::start(&mut command);
    chat.wait_for_line(&format!("* you are {nick} in lobby"));
    chat
}

/// The next line of a chat that is no notice.
#[track_caller]
fn next_said(chat: &mut Process) -> String {
    loop {
        let line = chat.next_line();
        if !line.starts_with("* ") {
            return line;
        }
    }
}

/// The next message to the lobby that a client of lines gets, behind presences.
#[track_caller]
fn next_in_lobby(lines: &mut TestClient) -> String {
    loop {
        let line = lines.read_line();
        if !line.contains("/$who/") {
            return line;
        }
    }
}

/// A member of the room for raw text.
fn raw_member(broker: &TestBroker, nick: &str) -> TestClient {
    let mut member = TestClient::connect(broker.room_address());
    member.send(nick);
    let presence = format!("lobby/$who/{nick}");
    let mut asker = broker.connect();
    eventually("the member is in the room", || {
        asker.send(format!("SUBSCRIBE {presence}"));
        asker.read_line();
        let here = !asker.read_to_fence().is_empty();
        asker.send(format!("UNSUBSCRIBE {presence}"));
        asker.read_until(&format!("UNSUBACK {presence}"));
        here
    });
    member
}

#[test]
fn all_chats_of_a_room_hear_each_other_once() {
    let broker = TestBroker::with_args(&["--open", "--room", "0=lobby"]);
    let mut lines = broker.subscribe("lobby");
    // It gets neither the objects nor anything twice.
    let mut all = broker.subscribe("#");
    let mut carl = chat(&broker, "carl");
    let mut raw = raw_member(&broker, "raw");
    let mut ann = member(&broker, "ann", "lobby");
    let mut bob = member(&broker, "bob", "lobby");
    for (number, speaker) in [0, 1, 2, 3, 4, 0, 1].into_iter().enumerate() {
        let text = format!("message {number}");
        let object = format!(r#"{{ "message": "{text}","type":"room" }}"#);
        let nick = ["ann", "bob", "carl", "raw", "?"][speaker];
        match speaker {
            0 => say(&mut ann, &object),
            1 => say(&mut bob, &object),
            2 => drop(carl.write(format!("{text}\n"))),
            3 => drop(raw.send(&text)),
            _ => drop(lines.send(format!("PUBLISH lobby {text}"))),
        }
        let object = match speaker {
            0 | 1 => object,
            _ => room_object(nick, &text),
        };
        assert_eq!(hear(&mut ann), object);
        assert_eq!(hear(&mut bob), object);
        assert_eq!(next_said(&mut carl), format!("{nick}: {text}"));
        match speaker {
            3 => {}
            4 => drop(raw.expect(&text)),
            _ => drop(raw.expect(format!("{nick}: {text}"))),
        }
        let payload = match speaker {
            4 => text,
            _ => said(nick, &text),
        };
        for lines in [&mut lines, &mut all] {
            let line = next_in_lobby(lines);
            assert!(
                line.ends_with(&format!("MESSAGE lobby {payload}")),
                "{line}"
            );
        }
        if speaker == 4 {
            lines.expect_prefix("PUBACK");
        }
    }
    expect_nothing(&mut ann);
    expect_nothing(&mut bob);
    raw.send("bye").expect_end();
    lines.expect_silence();
    carl.write("bye\n");
    assert!(!carl.rest().contains("message"), "a message came twice");
}

#[test]
fn an_object_goes_to_the_others_byte_for_byte() {
    let broker = TestBroker::start();
    let mut lines = broker.subscribe("lobby");
    let mut ann = member(&broker, "ann", "lobby");
    let mut bob = member(&broker, "bob", "lobby");
    let mut other = member(&broker, "carl", "attic");
    for (object, text) in [
        (
            r#"{"type":"room","nickname":"ann","room":"lobby","message":"hi","at":1.50e1}"#,
            "hi",
        ),
        (
            "\t{ \"z\" : [ 1 , {} ],\r\n \"message\" :\"h\\u0069\\/\" , \"type\": \"room\"}\n\n",
            "hi/",
        ),
        (
            r#"{"type":"room","message":"two\nlines \\n \"q\" 李明 😀","a":{"message":"no"}}"#,
            "two\\\\nlines \\\\\\\\n \\\\\"q\\\\\" 李明 😀",
        ),
        (
            r#"{"msg":"third","text":"second","type":"room","nickname":"not ann"}"#,
            "second",
        ),
        (r#"{"type":"room","msg":"third","message":null}"#, "third"),
    ] {
        say(&mut ann, object);
        assert_eq!(hear(&mut ann), object);
        assert_eq!(hear(&mut bob), object);
        lines.expect(format!("MESSAGE lobby {}", said("ann", text)));
    }
    // A message in several frames is one object, also between other frames.
    let object = r#"{"type":"room","message":"é"}"#.as_bytes();
    let (begin, end) = object.split_at(object.len() - 3);
    bob.send_frame(0x01, begin)
        .send_frame(0x89, b"?")
        .send_frame(0x80, end);
    bob.expect(0x8a, "?").expect(TEXT, object);
    ann.expect(TEXT, object);
    expect_nothing(&mut ann);
    expect_nothing(&mut bob);
    expect_nothing(&mut other);
}

#[test]
fn what_is_refused_is_told_and_the_connection_goes_on() {
    let broker = TestBroker::start();
    let mut lines = broker.subscribe("#");
    let mut ann = open(&broker);
    for object in [
        r#"{"type":"room","message":"hi"}"#,
        r#"{"type":"private","to":"a","text":"b"}"#,
    ] {
        say(&mut ann, object);
        expect_error(&mut ann, r#"log in first: {\"type\":\"login\""#);
    }
    for (nick, room, why) in [
        ("two words", "lobby", "a nickname is one word"),
        ("a/b", "lobby", "a nickname is one word"),
        (&*"x".repeat(33), "lobby", "a nickname is one word"),
        ("", "lobby", "a nickname is one word"),
        ("ann", "", "a room is one word"),
        ("ann", "two words", "a room is one word"),
        ("ann", "a/b", "a room is one word"),
        ("ann", "#", "a room is one word"),
        ("ann", &*"x".repeat(33), "a room is one word"),
        ("ann", "$SYS", "a room is one word"),
        ("ann", "$share", "a room is one word"),
        ("ann", r"a\u0000", "a room is one word"),
    ] {
        say(&mut ann, &login(nick, room));
        expect_error(&mut ann, why);
    }
    lines.expect_silence();
    say(&mut ann, &login("ann", "lobby"));
    lines.expect_prefix("MESSAGE lobby/$who/ann {");
    for (object, why) in [
        ("hello", "this is no object of JSON; send one, such as {"),
        (r#"["type"]"#, "this is no object of JSON"),
        ("{}", r#"the object has no \"type\""#),
        (
            r#"{"type":"logout"}"#,
            r#"there is no type \"logout\"; it is login, room or private"#,
        ),
        (r#"{"type":"room"}"#, "the object has no text"),
        (
            r#"{"type":"room","message":"hi","room":"attic"}"#,
            "you are in lobby, not in attic",
        ),
        (
            r#"{"type":"private","message":"hi"}"#,
            r#"a private message has a nick in \"to\""#,
        ),
        (
            r#"{"type":"private","to":"a/b","message":"hi"}"#,
            "a nickname is one word",
        ),
        (
            r#"{"type":"private","to":"dora","message":"hi"}"#,
            "there is no member with the nick dora",
        ),
    ] {
        say(&mut ann, object);
        expect_error(&mut ann, why);
    }
    ann.send_frame(BINARY, br#"{"type":"room","message":"hi"}"#);
    expect_error(&mut ann, "send objects in text messages");
    lines.expect_silence();
    say(&mut ann, &room_object("ann", "hi"));
    assert_eq!(hear(&mut ann), room_object("ann", "hi"));
    lines.expect(format!("MESSAGE lobby {}", said("ann", "hi")));
    // What is said before comes before.
    let both = [
        room_object("ann", "1"),
        "?".to_owned(),
        room_object("ann", "2"),
    ];
    let frames = both
        .each_ref()
        .map(|each| tests::frames::masked(TEXT, each.as_bytes()));
    ann.send(&frames.concat());
    assert_eq!(hear(&mut ann), both[0]);
    expect_error(&mut ann, "this is no object");
    assert_eq!(hear(&mut ann), both[2]);
    // Text that is no UTF-8 breaks a rule of WebSocket.
    ann.send_frame(TEXT, b"{\xff}").expect_close(1007);
}

#[test]
fn long_objects_go_through_and_those_over_a_limit_are_refused_in_words() {
    let broker = TestBroker::start();
    let mut lines = broker.subscribe("lobby");
    let mut ann = member(&broker, "ann", "lobby");
    let mut bob = member(&broker, "bob", "lobby");
    let object = |len: usize| {
        let frame = r#"{"type":"room","message":""}"#.len();
        format!(
            r#"{{"type":"room","message":"{}"}}"#,
            "x".repeat(len - frame)
        )
    };
    for len in [70 * 1024, 1024 * 1024] {
        say(&mut ann, &object(len));
        assert_eq!(hear(&mut ann), object(len));
        assert_eq!(hear(&mut bob), object(len));
        lines.expect_prefix(r#"MESSAGE lobby {"nick":"ann","message":"xxx"#);
    }
    for len in [1024 * 1024 + 1, 3 * 1024 * 1024] {
        say(&mut ann, &object(len));
        expect_error(&mut ann, "an object has at most 1048576 bytes");
    }
    expect_nothing(&mut ann);
    expect_nothing(&mut bob);
    lines.expect_silence();

    let broker = TestBroker::with_args(&["--max-line", "1000"]);
    let mut lines = broker.subscribe("lobby");
    let mut ann = member(&broker, "ann", "lobby");
    say(&mut ann, &object(400));
    assert_eq!(hear(&mut ann), object(400));
    lines.expect_prefix("MESSAGE lobby");
    // Its text stands twice in the message for other chats.
    for len in [600, 1000] {
        say(&mut ann, &object(len));
        expect_error(
            &mut ann,
            "this text is too long for a broker with lines of 1000 bytes",
        );
    }
    say(&mut ann, &object(1001));
    expect_error(&mut ann, "an object has at most 1000 bytes");
    lines.expect_silence();
}

#[test]
fn private_messages_reach_a_nick_in_whatever_room_and_no_other() {
    let broker = TestBroker::with_args(&["--open", "--room", "0=lobby"]);
    let mut all = broker.subscribe("#");
    let mut objects = broker.subscribe("$talking/#");
    let mut ann = member(&broker, "ann", "lobby");
    let mut bob = member(&broker, "bob", "attic");
    let mut eve = member(&broker, "eve", "lobby");
    let mut carl = chat(&broker, "carl");
    let _raw = raw_member(&broker, "raw");
    for key in [
        "to",
        "recipient",
        "receiver",
        "target",
        "toUser",
        "toNickname",
    ] {
        let object = format!(r#"{{"type":"private", "{key}":"bob","message":"psst"}}"#);
        say(&mut ann, &object);
        assert_eq!(hear(&mut bob), object);
    }
    // To oneself, too.
    let object = r#"{"type":"private","to":"ann","text":"a note"}"#;
    say(&mut ann, object);
    assert_eq!(hear(&mut ann), object);
    say(
        &mut bob,
        r#"{"type":"private","to":"carl","msg":"let us go"}"#,
    );
    assert_eq!(next_said(&mut carl), "bob -> carl: let us go");
    carl.write("/msg ann yes\n");
    assert_eq!(
        hear(&mut ann),
        r#"{"type":"private","nickname":"carl","message":"yes"}"#
    );
    say(&mut ann, r#"{"type":"private","to":"raw","message":"hi"}"#);
    expect_error(&mut ann, "raw takes no private messages");
    // The two that have a nick both get it.
    let mut second = open(&broker);
    say(&mut second, &login("bob", "lobby"));
    say(&mut second, &login("bob", "cellar"));
    expect_nothing(&mut second);
    let object = r#"{"type":"private","to":"bob","message":"both"}"#;
    say(&mut eve, object);
    assert_eq!(hear(&mut bob), object);
    assert_eq!(hear(&mut second), object);
    for member in [&mut ann, &mut bob, &mut eve, &mut second] {
        expect_nothing(member);
    }
    objects.expect_silence();
    let seen = all.read_to_fence();
    assert!(seen.iter().all(|line| line.contains("/$who/")), "{seen:?}");
}

#[test]
fn members_are_in_the_lists_of_others_until_they_are_gone() {
    let broker = TestBroker::with_args(&["--open", "--room", "0=lobby"]);
    let mut lobby = broker.subscribe("lobby/$who/+");
    let mut attic = broker.subscribe("attic/$who/+");
    let mut ann = member(&broker, "ann", "lobby");
    lobby.expect_prefix(r#"MESSAGE lobby/$who/ann {"nick":"ann","since":"2"#);
    // The same again changes nothing.
    say(&mut ann, &login("ann", "lobby"));
    expect_nothing(&mut ann);
    say(&mut ann, &login("anna", "lobby"));
    lobby
        .expect("MESSAGE lobby/$who/ann")
        .expect_prefix("MESSAGE lobby/$who/anna {");
    let mut carl = chat(&broker, "carl");
    lobby.expect_prefix("MESSAGE lobby/$who/carl {");
    carl.write("/who\n");
    carl.expect("* 2 in lobby: carl (you), anna");
    say(&mut ann, &room_object("anna", "on my way"));
    say(&mut ann, &login("anna", "attic"));
    // Its own message comes first, and later ones of that room do not come.
    assert_eq!(hear(&mut ann), room_object("anna", "on my way"));
    assert_eq!(next_said(&mut carl), "anna: on my way");
    lobby.expect("MESSAGE lobby/$who/anna");
    attic.expect_prefix("MESSAGE attic/$who/anna {");
    carl.write("too late\n");
    assert_eq!(next_said(&mut carl), "carl: too late");
    expect_nothing(&mut ann);
    ann.send_frame(0x88, b"\x03\xe8").expect_close(1000);
    attic.expect("MESSAGE attic/$who/anna");
    let bob = member(&broker, "bob", "attic");
    attic.expect_prefix("MESSAGE attic/$who/bob {");
    bob.vanish();
    attic.expect("MESSAGE attic/$who/bob");
    drop(member(&broker, "bob", "attic"));
    attic
        .expect_prefix("MESSAGE attic/$who/bob {")
        .expect("MESSAGE attic/$who/bob");
}

#[test]
fn a_nick_that_is_taken_is_a_notice_and_stays_while_a_member_has_it() {
    let broker = TestBroker::with_args(&["--open", "--room", "0=lobby"]);
    let mut raw = raw_member(&broker, "ann");
    let mut lines = broker.subscribe("lobby/$who/+");
    lines.expect_prefix("@retained MESSAGE lobby/$who/ann {");
    let mut ann = open(&broker);
    say(&mut ann, &login("ann", "lobby"));
    assert_eq!(
        hear(&mut ann),
        r#"{"type":"notice","message":"ann is taken; another member here has the same nick"}"#
    );
    lines.expect_prefix("MESSAGE lobby/$who/ann {");
    raw.send("hi").send("bye").expect_end();
    assert_eq!(hear(&mut ann), room_object("ann", "hi"));
    lines.expect_silence();
    drop(ann);
    lines.expect("MESSAGE lobby/$who/ann");
}

#[test]
fn a_slow_member_is_told_how_many_messages_it_missed() {
    let broker = TestBroker::with_args(&["--max-line", "100KiB", "--outbox-bytes", "100KiB"]);
    let mut slow = member(&broker, "slow", "lobby");
    let mut ann = member(&broker, "ann", "lobby");
    let text = "x".repeat(10_000);
    // More than both sockets and the queue hold.
    const COUNT: u64 = 1200;
    for number in 0..COUNT {
        let object = format!(r#"{{"type":"room","message":"{text}","number":{number}}}"#);
        say(&mut ann, &object);
        assert_eq!(hear(&mut ann), object);
    }
    let (mut came, mut missing) = (0, 0);
    while came + missing < COUNT {
        let object = hear(&mut slow);
        match object.strip_prefix(r#"{"type":"missing","count":"#) {
            Some(rest) => {
                let (count, words) = rest.split_once(',').expect("more keys");
                missing += count.parse::<u64>().expect("a number");
                let expected = format!(r#""message":"{count} messages are missing here"}}"#);
                assert_eq!(words, expected);
            }
            None => {
                // The gap stands where the messages are missing.
                let number = format!(r#","number":{}}}"#, came + missing);
                assert!(object.ends_with(&number), "{number} is not the next");
                came += 1;
            }
        }
    }
    assert!(missing > 0);
    expect_nothing(&mut slow);
}

#[test]
fn the_last_value_of_a_room_and_what_is_published_for_the_web_chat_come_as_objects() {
    let broker = TestBroker::start();
    let mut lines = broker.connect();
    lines
        .send("@retain PUBLISH lobby welcome")
        .expect("PUBACK 1 0");
    let mut ann = open(&broker);
    say(&mut ann, &login("ann", "lobby"));
    assert_eq!(hear(&mut ann), room_object("?", "welcome"));
    // Any client may publish there, but a member is sent nothing that is no object.
    lines
        .send(r#"PUBLISH $talking/lobby {"type":"room" }"#)
        .expect("PUBACK 2 1");
    lines.send("PUBLISH $talking/lobby {").expect("PUBACK 3 1");
    lines
        .send(b"PUBLISH $talking/lobby {\"\xff\":1}")
        .expect("PUBACK 4 1");
    lines.send(b"PUBLISH lobby \xff\x07").expect("PUBACK 5 1");
    assert_eq!(hear(&mut ann), r#"{"type":"room" }"#);
    assert_eq!(hear(&mut ann), room_object("?", "\u{fffd}\\u0007"));
    expect_nothing(&mut ann);
    assert!(ann_is_shown(&broker), "inquiries show it with its nick");
}

fn ann_is_shown(broker: &TestBroker) -> bool {
    let mut asker = broker.subscribe("answers");
    asker.send("@reply=answers PUBLISH $SYS/request/who");
    let answer = asker.read_until_prefix("MESSAGE answers ");
    answer.contains(r#""name":"ann""#) && answer.contains(r#""wire":"talking""#)
}

#[test]
fn a_stop_is_told() {
    let broker = TestBroker::start();
    let mut ann = member(&broker, "ann", "lobby");
    broker.stop();
    let notice = r#"{"type":"notice","message":"the broker stops; connect again later"}"#;
    assert_eq!(hear(&mut ann), notice);
    ann.expect_close(1001);
}

/// The answer to a handshake.
fn handshake(address: SocketAddr, path: &str, headers: &str) -> String {
    FrameClient::handshake(address, path, headers).1
}

#[test]
fn the_handshake_is_that_of_other_websockets() {
    let broker = TestBroker::with_args(&["--allow-origin", "https://app.example"]);
    let address = broker.address();
    for path in ["/talking", "/talking/", "/talking?room=lobby"] {
        let answer = handshake(address, path, "");
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    }
    // Of what a client offers, nothing is chosen.
    let (_, chosen) =
        FrameClient::try_open(address, "/talking", Some("line, mqtt, chat")).expect("it is let in");
    assert_eq!(chosen, None);
    for (origin, status) in [
        ("http://evil.example", "403"),
        ("null", "403"),
        ("http://localhost:1", "403"),
        ("https://app.example", "101"),
        ("http://localhost", "101"),
    ] {
        // The handshake names the host without a port, which is port 80.
        let answer = handshake(address, "/talking", &format!("Origin: {origin}\r\n"));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{origin}: {answer}"
        );
    }
    let answer = plain_request(&broker, "GET /talking HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(answer.contains("\r\nupgrade: websocket\r\n"), "{answer}");
    assert!(answer.contains("/talking for the web chat"), "{answer}");
    let answer = plain_request(
        &broker,
        "GET /talking HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
}

/// The answer to a request that is the last on its connection.
fn plain_request(broker: &TestBroker, request: &str) -> String {
    let mut client = broker.connect();
    client.write(request).half_close();
    client.read_to_end()
}

#[test]
fn the_path_can_be_another_one() {
    let broker = TestBroker::with_args(&["--talking", "/my/chat/"]);
    let mut ann = FrameClient::open(broker.address(), "/my/chat", None);
    say(&mut ann, &login("ann", "lobby"));
    expect_nothing(&mut ann);
    let answer = handshake(broker.address(), "/talking", "");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let request = "GET /talking HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = plain_request(&broker, request);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.contains("the web chat is at /my/chat"), "{answer}");
    let refused = |command: &mut Command| {
        let (status, _, err) = Process::start(command).end();
        assert_eq!(status.code(), Some(2), "{err}");
        err
    };
    for (path, why) in [
        ("", "a path begins with /, such as /talking"),
        ("chat", "a path begins with /, such as /talking"),
        ("/ws", "something else of the broker is at this path"),
    ] {
        let err = refused(&mut TestBroker::command(&["--talking", path]));
        assert!(err.contains(&format!("--talking {path:?}: {why}")), "{err}");
    }
    let err = refused(TestBroker::command(&[]).env("BROKER_TALKING", "chat"));
    assert!(err.contains("a path begins with /"), "{err}");
}

/// The client of a tutorial: `websockets` of Python, and JSON as its library writes it.
const PYTHON: &str = r#"
import json, sys, time
from websockets.sync.client import connect
with connect(f"ws://{sys.argv[1]}/talking") as socket:
    def send(**keys):
        socket.send(json.dumps(keys))
    send(type="login", nickname="py", room="lobby", connectedAt=time.time())
    send(type="room", nickname="py", room="lobby", message="Grüße")
    for text in socket:
        heard = json.loads(text)
        print(heard["type"], heard["nickname"], heard["message"])
        if heard["message"] == "bye":
            break
        if heard["type"] == "private":
            send(type="private", to=heard["nickname"], nickname="py", message="got " + heard["message"])
"#;

/// The same in a script for node, with the events of a browser.
const NODE: &str = r#"
const WebSocket = require("ws");
const socket = new WebSocket(`ws://${process.argv[1]}/talking`);
const send = (object) => socket.send(JSON.stringify(object));
socket.onopen = () => {
  send({ type: "login", nickname: "js", room: "lobby", connectedAt: Date.now() });
  send({ type: "room", nickname: "js", room: "lobby", message: "hello" });
};
socket.onmessage = (event) => {
  const heard = JSON.parse(event.data);
  console.log(heard.type, heard.nickname, heard.message);
  if (heard.message === "bye") socket.close();
  if (heard.type === "private") send({ type: "private", to: heard.nickname, nickname: "js", message: "yes" });
};
"#;

#[test]
fn clients_of_tutorials_chat_with_client_chat() {
    let broker = TestBroker::start();
    let address = broker.address().to_string();
    let mut carl = chat(&broker, "carl");
    let mut python = Process::start(&mut foreign::python(PYTHON, &[&address]));
    python.expect("room py Grüße");
    assert_eq!(next_said(&mut carl), "py: Grüße");
    let mut node = Process::start(&mut foreign::node(NODE, &[&address]));
    for process in [&mut python, &mut node] {
        process.expect("room js hello");
    }
    assert_eq!(next_said(&mut carl), "js: hello");
    carl.write("good morning\n");
    assert_eq!(next_said(&mut carl), "carl: good morning");
    for process in [&mut python, &mut node] {
        process.expect("room carl good morning");
    }
    for (nick, process, answer) in [("py", &mut python, "got psst"), ("js", &mut node, "yes")] {
        carl.write(format!("/msg {nick} psst\n"));
        process.expect("private carl psst");
        // The answer may be there before the chat knows that its own message has arrived.
        let mut heard = [next_said(&mut carl), next_said(&mut carl)];
        heard.sort();
        let expected = [
            format!("carl -> {nick}: psst"),
            format!("{nick} -> carl: {answer}"),
        ];
        assert_eq!(heard, expected);
    }
    let mut ann = member(&broker, "ann", "lobby");
    say(&mut ann, &room_object("ann", "bye"));
    for mut process in [python, node] {
        process.expect("room ann bye");
        let (status, _, err) = process.end();
        assert!(status.success(), "{err}");
    }
    assert_eq!(next_said(&mut carl), "ann: bye");
    carl.wait_for_line("left");
}
