//! Promises of `rooms.md`: rooms for raw text, over TCP and in datagrams.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use tests::{PATIENCE, TestBroker, TestClient, eventually};

/// Longer than a text without a line end waits for more.
const PAUSE: Duration = Duration::from_millis(200);

fn broker() -> TestBroker {
    TestBroker::with_args(&["--open", "--room", "0=lobby"])
}

/// A member over TCP that has said its nick.
fn member(broker: &TestBroker, nick: &str) -> TestClient {
    let mut member = TestClient::connect(broker.room_address());
    member.send(nick);
    wait_for_presence(broker, nick);
    member
}

fn wait_for_presence(broker: &TestBroker, nick: &str) {
    let mut asker = broker.connect();
    eventually("the member is in the room", || {
        asker.send(format!("SUBSCRIBE lobby/$who/{nick}"));
        asker.read_line();
        let here = !asker.read_to_fence().is_empty();
        asker.send(format!("UNSUBSCRIBE lobby/$who/{nick}"));
        asker.read_until(&format!("UNSUBACK lobby/$who/{nick}"));
        here
    });
}

/// The JSON in which chats write what is said.
fn said(nick: &str, text: &str) -> String {
    format!(r#"{{"nick":"{nick}","message":"{text}","user":"{nick}","say":"{text}"}}"#)
}

#[test]
fn members_hear_others_and_not_themselves() {
    let broker = broker();
    let mut lines = broker.subscribe("lobby");
    let (mut ann, mut bob) = (member(&broker, "ann"), member(&broker, "bob"));
    ann.send("hi everyone");
    bob.expect("ann: hi everyone");
    lines.expect(format!("MESSAGE lobby {}", said("ann", "hi everyone")));
    bob.send("hi ann");
    ann.expect("bob: hi ann");
    lines.expect(format!("MESSAGE lobby {}", said("bob", "hi ann")));
    // A message of others is heard as it is, in one line.
    lines
        .send(r"PUBLISH lobby two\nlines")
        .expect(r"MESSAGE lobby two\nlines");
    lines.send("PUBLISH lobby * ann left");
    for member in [&mut ann, &mut bob] {
        member.expect(r"two\nlines").expect("* * ann left");
    }
}

#[test]
fn a_text_without_a_line_end_ends_with_a_pause_until_a_line_end_has_come() {
    let broker = broker();
    let mut bob = member(&broker, "bob");
    let mut raw = TcpStream::connect(broker.room_address()).expect("it listens");
    // The pauses are what is tested: short ones divide no text, a long one does.
    let mut say = |parts: &[&str]| {
        for part in parts {
            raw.write_all(part.as_bytes()).expect("it is open");
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(PAUSE);
    };
    say(&["al", "ice"]);
    say(&["hi everyone"]);
    bob.expect("alice: hi everyone");
    say(&["h", "e", "l", "l", "o"]);
    bob.expect("alice: hello");
    // What arrives together is one text.
    say(&["one", "two"]);
    bob.expect("alice: onetwo");
    say(&["a line\nand the", " next"]);
    bob.expect("alice: a line");
    say(&["\r\n"]);
    bob.expect("alice: and the next");
}

#[test]
fn a_nick_comes_first_and_is_one_word() {
    let broker = broker();
    let mut lines = broker.subscribe("lobby");
    let mut ann = TestClient::connect(broker.room_address());
    ann.send("hi everyone").expect("* send your nick first");
    ann.send("a".repeat(33)).expect("* send your nick first");
    ann.send("a/b").expect_prefix("* a nick has no / + #");
    ann.send("ann").send("now");
    lines.expect(format!("MESSAGE lobby {}", said("ann", "now")));
    let mut other = member(&broker, "ann");
    other.expect_prefix("* ann is taken");
    other.send("me too");
    ann.expect("ann: me too");
}

#[test]
fn bye_leaves_and_is_not_relayed_and_so_does_the_end_of_the_connection() {
    let broker = broker();
    let mut lines = broker.subscribe("lobby/#");
    let (mut ann, mut bob) = (member(&broker, "ann"), member(&broker, "bob"));
    lines
        .expect_prefix("MESSAGE lobby/$who/ann {")
        .expect_prefix("MESSAGE lobby/$who/bob {");
    ann.send("bye").expect_end();
    lines.expect("MESSAGE lobby/$who/ann");
    // What has no line end is said all the same.
    bob.write("the end").half_close().expect_end();
    lines.expect(format!("MESSAGE lobby {}", said("bob", "the end")));
    lines.expect("MESSAGE lobby/$who/bob").expect_silence();
    let carl = member(&broker, "carl");
    lines.expect_prefix("MESSAGE lobby/$who/carl {");
    carl.vanish();
    lines.expect("MESSAGE lobby/$who/carl");
}

#[test]
fn the_presence_of_a_nick_stays_while_another_member_has_it() {
    let broker = broker();
    let mut lines = broker.subscribe("lobby/$who/+");
    let (mut first, second) = (member(&broker, "ann"), member(&broker, "ann"));
    lines
        .expect_prefix("MESSAGE lobby/$who/ann {")
        .expect_prefix("MESSAGE lobby/$who/ann {");
    first.send("bye").expect_end();
    lines.expect_silence();
    drop(second);
    lines.expect("MESSAGE lobby/$who/ann");
}

#[test]
fn a_request_of_http_is_refused_and_nothing_of_it_is_said() {
    let broker = broker();
    let mut lines = broker.subscribe("#");
    for head in [
        "POST / HTTP/1.1\r\nHost: x\r\n\r\nevil\nhello\n",
        "GET /evil HTTP/1.1\nevil\nhello\n",
        "evil\thttp://x/\tHTTP/1.1\nevil\nhello\n",
    ] {
        for cut in [3, 17, head.len()] {
            let mut page = TcpStream::connect(broker.room_address()).expect("it listens");
            page.write_all(&head.as_bytes()[..cut]).expect("it is open");
            thread::sleep(Duration::from_millis(10));
            let _ = page.write_all(&head.as_bytes()[cut..]);
            page.set_read_timeout(Some(PATIENCE)).expect("a time");
            let mut answer = String::new();
            page.read_to_string(&mut answer).expect("text and the end");
            assert!(answer.contains("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        }
    }
    lines.expect_silence();
}

#[test]
fn a_text_that_is_too_long_is_refused_in_words() {
    let broker = broker();
    let (mut ann, mut bob) = (member(&broker, "ann"), member(&broker, "bob"));
    let longest = "é".repeat(32 * 1024);
    ann.send(&longest);
    bob.expect(format!("ann: {longest}"));
    ann.send(format!("{longest}!")).send("short");
    ann.expect_prefix("* a text has at most 65536 bytes");
    bob.expect("ann: short");
}

#[test]
fn a_slow_member_is_told_how_many_messages_it_missed() {
    let broker = TestBroker::with_args(&[
        "--open",
        "--room",
        "0=lobby",
        "--max-line",
        "100KiB",
        "--outbox-bytes",
        "100KiB",
    ]);
    let mut slow = TestClient::connect_with_small_buffer(broker.room_address());
    slow.send("slow");
    let mut lines = broker.connect();
    let text = "x".repeat(10_000);
    // More than both sockets and the queue hold.
    for _ in 0..1000 {
        lines
            .send(format!("PUBLISH lobby {text}"))
            .expect_prefix("PUBACK");
    }
    lines.send("PUBLISH lobby last").expect_prefix("PUBACK");
    let before = slow.read_until("last");
    let gaps: Vec<_> = before
        .iter()
        .filter(|line| line.starts_with("* "))
        .collect();
    assert!(!gaps.is_empty());
    assert!(
        gaps.iter().all(|gap| gap.ends_with(" missing here")),
        "{gaps:?}"
    );
}

#[test]
fn a_stop_is_told() {
    let broker = broker();
    let mut ann = member(&broker, "ann");
    let ended = broker.stop();
    ann.expect("* the broker stops; come again later")
        .expect_end();
    assert!(ended.log.contains("stopped"), "{}", ended.log);
}

/// A member in datagrams that has said its nick.
fn datagram_member(broker: &TestBroker, nick: &str) -> UdpSocket {
    let member = unknown(broker);
    say(&member, nick);
    wait_for_presence(broker, nick);
    member
}

/// A socket for datagrams that is no member.
fn unknown(broker: &TestBroker) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.connect(broker.room_address()).expect("an address");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    socket
}

#[track_caller]
fn say(member: &UdpSocket, text: impl AsRef<[u8]>) {
    member.send(text.as_ref()).expect("it is sent");
}

/// The next datagram, as text.
#[track_caller]
fn hear(member: &UdpSocket) -> String {
    let mut datagram = [0; 65_535];
    let len = member.recv(&mut datagram).expect("a datagram comes");
    String::from_utf8(datagram[..len].to_vec()).expect("text")
}

/// Nothing has come: what another member says is the next.
#[track_caller]
fn expect_no_datagram(broker: &TestBroker, member: &UdpSocket) {
    broker
        .connect()
        .send("PUBLISH lobby nothing before")
        .expect_prefix("PUBACK");
    assert_eq!(hear(member), "nothing before\n");
}

#[test]
fn members_in_datagrams_hear_one_datagram_for_each_message() {
    let broker = broker();
    let mut ann = member(&broker, "ann");
    let (bob, carl) = (
        datagram_member(&broker, "bob"),
        datagram_member(&broker, "carl"),
    );
    ann.write("one\ntwo\n");
    for member in [&bob, &carl] {
        assert_eq!(hear(member), "ann: one\n");
        assert_eq!(hear(member), "ann: two\n");
    }
    say(&bob, "hi everyone");
    ann.expect("bob: hi everyone");
    assert_eq!(hear(&carl), "bob: hi everyone\n");
    say(&carl, "two\nlines\r\n");
    ann.expect(r"carl: two\nlines");
    // It did not hear itself.
    assert_eq!(hear(&bob), "carl: two\\nlines\n");
    let mut lines = broker.subscribe("lobby/$who/bob");
    lines.expect_prefix("@retained MESSAGE lobby/$who/bob {");
    say(&bob, "bye");
    lines.expect("MESSAGE lobby/$who/bob");
    ann.send("after it");
    assert_eq!(hear(&carl), "ann: after it\n");
    say(&bob, "ann is unknown to me");
    assert_eq!(hear(&bob), "* send your nick first\n");
}

#[test]
fn a_datagram_to_a_member_is_cut_between_characters() {
    let broker = broker();
    let mut ann = member(&broker, "ann");
    let bob = datagram_member(&broker, "bob");
    say(&bob, "");
    ann.send("é".repeat(2000));
    let heard = hear(&bob);
    assert!((1022..=1024).contains(&heard.len()), "{}", heard.len());
    assert!(
        heard.starts_with("ann: éé") && heard.ends_with("é…\n"),
        "{heard}"
    );
}

#[test]
fn an_unknown_address_is_asked_for_its_nick_and_seldom() {
    let broker = broker();
    let stranger = unknown(&broker);
    say(&stranger, "hi everyone");
    assert_eq!(hear(&stranger), "* send your nick first\n");
    say(&stranger, "hi everyone");
    say(&stranger, "bob");
    wait_for_presence(&broker, "bob");
    expect_no_datagram(&broker, &stranger);
}

#[test]
fn a_silent_member_is_told_and_forgotten() {
    let broker = TestBroker::with_args(&["--open", "--room", "0=lobby", "--room-idle", "1s"]);
    let bob = datagram_member(&broker, "bob");
    let notice = hear(&bob);
    assert!(
        notice.starts_with("* you have said nothing for long"),
        "{notice}"
    );
    say(&bob, "hi everyone");
    assert_eq!(hear(&bob), "* send your nick first\n");
}

#[test]
fn a_room_has_no_more_members_in_datagrams_than_it_may() {
    let broker = TestBroker::with_args(&["--open", "--room", "0=lobby", "--room-members", "2"]);
    let members = [
        datagram_member(&broker, "ann"),
        datagram_member(&broker, "bob"),
    ];
    for member in &members {
        say(member, "");
    }
    let mut lines = broker.subscribe("lobby");
    say(&members[1], "here");
    assert_eq!(hear(&members[0]), "bob: here\n");
    let third = unknown(&broker);
    say(&third, "carl");
    assert_eq!(hear(&third), "* the room is full; come again later\n");
    lines.read_until_prefix("MESSAGE lobby");
}

/// The datagrams and bytes that come until none does for a moment.
fn received(member: &UdpSocket) -> (usize, usize, String) {
    member
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a time");
    let (mut datagrams, mut bytes, mut last) = (0, 0, String::new());
    let mut datagram = [0; 2000];
    while let Ok(len) = member.recv(&mut datagram) {
        (datagrams, bytes) = (datagrams + 1, bytes + len);
        last = String::from_utf8_lossy(&datagram[..len]).into_owned();
    }
    (datagrams, bytes, last)
}

#[test]
fn an_address_that_sent_one_datagram_is_sent_no_more_than_a_little() {
    let broker = broker();
    let (many, long) = (
        datagram_member(&broker, "many"),
        datagram_member(&broker, "long"),
    );
    let mut lines = broker.connect();
    for _ in 0..100 {
        lines.send("PUBLISH lobby x").expect_prefix("PUBACK");
    }
    assert_eq!(received(&many).0, 64);
    let (datagrams, bytes, _) = received(&long);
    assert_eq!((datagrams, bytes), (64, 128));
    let long = datagram_member(&broker, "longer");
    for _ in 0..100 {
        lines
            .send(format!("PUBLISH lobby {}", "x".repeat(511)))
            .expect_prefix("PUBACK");
    }
    assert_eq!(received(&long).1, 8192);
    // What has been dropped meanwhile is told when it is heard.
    say(&long, "");
    long.set_read_timeout(Some(PATIENCE)).expect("a time");
    let gap = hear(&long);
    assert!(
        gap.starts_with("* ") && gap.ends_with(" messages are missing here\n"),
        "{gap}"
    );
}

#[test]
fn a_member_that_says_nothing_is_sent_a_mebibyte_and_asked_once_to_say_something() {
    let broker = broker();
    let bob = datagram_member(&broker, "bob");
    // What it is sent before its last datagram is handled does not count.
    let mut watcher = broker.subscribe("lobby");
    say(&bob, "hi");
    assert!(watcher.read_line().contains("hi"));
    drop(watcher);
    let mut lines = broker.connect();
    let publisher = thread::spawn(move || {
        // A little more than it may be sent, for longer than that takes.
        for _ in 0..2300 {
            lines
                .send(format!("PUBLISH lobby {}", "x".repeat(999)))
                .expect_prefix("PUBACK");
            thread::sleep(Duration::from_millis(10));
        }
    });
    let began = Instant::now();
    bob.set_read_timeout(Some(Duration::from_secs(2)))
        .expect("a time");
    let (mut bytes, mut datagram, mut asked) = (0, [0; 2000], 0);
    while let Ok(len) = bob.recv(&mut datagram) {
        bytes += len;
        let text = String::from_utf8_lossy(&datagram[..len]);
        asked += usize::from(text.ends_with("say something to hear more\n"));
    }
    // At most 64 KiB a second.
    let took = began.elapsed();
    assert!(took > Duration::from_secs(15), "{took:?}");
    assert!(((1 << 20) - 2100..=1 << 20).contains(&bytes), "{bytes}");
    assert_eq!(asked, 1);
    publisher.join().expect("no panic");
    say(&bob, "");
    bob.set_read_timeout(Some(PATIENCE)).expect("a time");
    assert!(hear(&bob).ends_with('\n'));
}

#[test]
fn a_burst_of_newcomers_costs_bounded_memory_and_no_member_anything() {
    let broker = TestBroker::with_args(&["--open", "--room", "0=lobby"]);
    let (bob, carl) = (
        datagram_member(&broker, "bob"),
        datagram_member(&broker, "carl"),
    );
    say(&bob, "");
    say(&carl, "");
    let mut watcher = broker.subscribe("lobby/$who/+");
    watcher.read_to_fence();
    let before = broker.resident_kib();
    for number in 0..10_000u16 {
        let [high, low] = number.to_be_bytes();
        // No address comes twice: of one, each port would be another member, and ports come again.
        let socket = UdpSocket::bind(SocketAddr::from(([127, 1, high, low], 0)));
        let socket = socket.expect("a free port");
        socket.connect(broker.room_address()).expect("an address");
        match number % 2 {
            0 => say(&socket, format!("guest{number}")),
            _ => (0..19).for_each(|_| say(&socket, "no nick at all")),
        }
        // Before more has come than the system keeps for the broker, which drops datagrams then.
        if number % 20 == 0 {
            say(&bob, format!("here {number}"));
            assert_eq!(hear(&carl), format!("bob: here {number}\n"));
        }
    }
    say(&bob, "still here");
    assert_eq!(hear(&carl), "bob: still here\n");
    let grown = broker.resident_kib() - before;
    assert!(grown < 20 * 1024, "{grown} KiB");
    // Their presence is told for a few only.
    assert!(watcher.read_to_fence().len() < 100);
}

#[test]
fn a_newcomer_without_a_place_is_told_so_as_in_a_room() {
    let broker = TestBroker::with_args(&["--open", "--room", "0=lobby", "--max-connections", "1"]);
    let mut ann = TestClient::connect(broker.room_address());
    ann.send("hi everyone").expect("* send your nick first");
    let mut bob = TestClient::connect(broker.room_address());
    bob.expect_prefix("* 1 connections are open, the most this broker takes")
        .expect_end();
    ann.send("ann");
}
