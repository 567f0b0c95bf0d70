//! The chat of two over UDP: `client chat` against the programs that textbooks begin with, and against
//! itself.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use tests::{PATIENCE, Process, Tmux, client, eventually, installed};

/// Our client, which waits for the first that writes, and where.
#[track_caller]
fn listen(place: &str) -> (Process, String) {
    let args = ["chat", "--udp-listen", place, "--nick", "ann"];
    let mut chat = Process::start(&mut client(&args));
    let waiting = chat.next_line();
    let place = waiting.strip_prefix("* waiting for the first message at ");
    let place = place.unwrap_or_else(|| panic!("no place: {waiting}"));
    (chat, place.to_owned())
}

/// Our client, which begins.
#[track_caller]
fn begin(place: &str) -> Process {
    let mut chat = Process::start(&mut client(&["chat", "--udp", place, "--nick", "bob"]));
    chat.expect(&format!("* the peer is {place}; bye ends the chat"));
    chat
}

/// The peer of a client that listens has written, with this text.
#[track_caller]
fn expect_first(chat: &mut Process, text: &str) {
    let peer = chat.next_line();
    assert!(peer.starts_with("* the peer is "), "{peer}");
    chat.expect(&format!("peer: {text}"));
}

#[track_caller]
fn expect_end(chat: &mut Process) {
    let (status, _, err) = chat.end();
    assert!(status.success(), "{status}: {err}");
}

/// A socket with an address of its own, which speaks raw datagrams.
fn socket(host: &str) -> UdpSocket {
    let socket = UdpSocket::bind((host, 0)).expect("a free port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    socket
}

fn address(socket: &UdpSocket) -> String {
    socket.local_addr().expect("it is bound").to_string()
}

/// The next datagram and its sender.
#[track_caller]
fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (count, from) = socket.recv_from(&mut buffer).expect("a datagram");
    buffer.truncate(count);
    (buffer, from)
}

#[track_caller]
fn expect_text(socket: &UdpSocket, text: &str) {
    let (bytes, _) = receive(socket);
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

/// Nothing more has come; what was sent to a socket of this machine is there at once.
#[track_caller]
fn expect_nothing(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("a socket");
    let more = socket.recv_from(&mut [0; 100]);
    assert!(more.is_err(), "one more came");
}

/// A Python program, which is given its host and port.
fn python(script: &str, place: &str) -> Command {
    let (host, port) = place.rsplit_once(':').expect("a host and a port");
    let mut python = installed("python3", "python3");
    python.args(["-u", "-c", script, host, port]);
    python
}

/// A Python program that listens, and where: it says so first.
#[track_caller]
fn python_listens(script: &str) -> (Process, String) {
    let mut server = Process::start(&mut python(script, "127.0.0.1:0"));
    let place = server.next_line();
    (server, place)
}

/// How each of the textbook's programs begins.
const SERVER: &str = r#"
import socket, sys
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind((sys.argv[1], int(sys.argv[2])))
print("%s:%d" % here.getsockname())
"#;
const CLIENT: &str = r#"
import socket, sys
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
there = (sys.argv[1], int(sys.argv[2]))
"#;

fn server(rest: &str) -> String {
    format!("{SERVER}{rest}")
}

fn client_script(rest: &str) -> String {
    format!("{CLIENT}{rest}")
}

#[test]
fn one_message_goes_either_way() {
    let (mut chat, place) = listen("127.0.0.1:0");
    let script = client_script("here.sendto(b'hello', there)\n");
    Process::start(&mut python(&script, &place)).end();
    expect_first(&mut chat, "hello");
    // Its end bounces from a program that is gone, which is no fault.
    expect_end(&mut chat);

    let script = server("text, there = here.recvfrom(1024)\nprint(text.decode())\n");
    let (mut server, place) = python_listens(&script);
    let mut chat = begin(&place);
    chat.write("hello\n").expect("bob: hello");
    server.expect("hello");
    expect_end(&mut server);
    expect_end(&mut chat);
}

#[test]
fn an_answer_comes_back_either_way() {
    let ask = "here.sendto(b'ping?', there)\nprint(here.recvfrom(1024)[0].decode())\n";
    let (mut chat, place) = listen("127.0.0.1:0");
    let mut peer = Process::start(&mut python(&client_script(ask), &place));
    expect_first(&mut chat, "ping?");
    chat.write("pong!\n").expect("ann: pong!");
    peer.expect("pong!");
    expect_end(&mut peer);
    expect_end(&mut chat);

    let answer = "
text, there = here.recvfrom(1024)
print(text.decode())
here.sendto(text.upper(), there)
";
    let (mut server, place) = python_listens(&server(answer));
    let mut chat = Process::start(&mut client(&["chat", "--udp", &place, "--nick", "bob"]));
    // A pipe that ends at once still hears the answer.
    let (status, out, err) = chat.write("hello").end();
    assert!(status.success(), "{err}");
    let out = String::from_utf8(out).expect("text");
    let lines: Vec<&str> = out.lines().skip(1).collect();
    assert_eq!(lines, ["bob: hello", "peer: HELLO"]);
    server.expect("hello");
}

const TURNS_SERVER: &str = r#"
while True:
    text, there = here.recvfrom(1024)
    print("other: " + text.decode())
    if text == b"bye":
        break
    answer = input()
    here.sendto(answer.encode(), there)
    if answer == "bye":
        break
"#;
const TURNS_CLIENT: &str = r#"
while True:
    text = input()
    here.sendto(text.encode(), there)
    if text == "bye":
        break
    answer = here.recvfrom(1024)[0].decode()
    print("other: " + answer)
    if answer == "bye":
        break
"#;

#[test]
fn two_take_turns_until_one_says_bye() {
    for bye_is_ours in [true, false] {
        let (mut chat, place) = listen("127.0.0.1:0");
        let mut peer = Process::start(&mut python(&client_script(TURNS_CLIENT), &place));
        peer.write("one\n");
        expect_first(&mut chat, "one");
        chat.write("two\n").expect("ann: two");
        peer.expect("other: two").write("سه\n");
        chat.expect("peer: سه");
        if bye_is_ours {
            chat.write("bye\n");
            peer.expect("other: bye");
        } else {
            chat.write("four\n");
            peer.expect("other: four").write("bye\n");
            chat.expect("ann: four").expect("* the peer said bye");
        }
        expect_end(&mut peer);
        expect_end(&mut chat);

        let (mut peer, place) = python_listens(&server(TURNS_SERVER));
        let mut chat = begin(&place);
        chat.write("one\n").expect("bob: one");
        peer.expect("other: one");
        if bye_is_ours {
            peer.write("two\n");
            chat.expect("peer: two").write("bye\n");
            peer.expect("other: bye");
        } else {
            peer.write("bye\n");
            chat.expect("* the peer said bye");
        }
        expect_end(&mut peer);
        expect_end(&mut chat);
    }
}

/// Sends and receives at once. `there` is known from the beginning, or from the first text.
const THREADS: &str = r#"
import threading
known = threading.Event()
def hear():
    global there
    while True:
        text, there = here.recvfrom(1024)
        known.set()
        print("other: " + text.decode())
        if text == b"bye":
            here.sendto(b"bye", there)
            break
threading.Thread(target=hear).start()
if waits:
    known.wait()
for line in sys.stdin:
    here.sendto(line.rstrip("\n").encode(), there)
"#;

#[test]
fn both_talk_at_once_with_a_program_of_two_threads() {
    let script = client_script(&format!("here.bind(('', 0))\nwaits = False{THREADS}"));
    let (mut chat, place) = listen("127.0.0.1:0");
    let mut peer = Process::start(&mut python(&script, &place));
    peer.write("hello\n");
    expect_first(&mut chat, "hello");
    talk_at_once(&mut chat, "ann", &mut peer);

    let (mut peer, place) = python_listens(&server(&format!("waits = True{THREADS}")));
    let mut chat = begin(&place);
    chat.write("hello\n").expect("bob: hello");
    peer.expect("other: hello");
    talk_at_once(&mut chat, "bob", &mut peer);
}

/// Each says thirty lines without waiting for the other's, and then ours says bye.
#[track_caller]
fn talk_at_once(chat: &mut Process, nick: &str, peer: &mut Process) {
    let lines: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    let all = lines.join("\n") + "\n";
    peer.write(&all);
    chat.write(&all);
    let shown: Vec<String> = (0..60).map(|_| chat.next_line()).collect();
    for said_by in [nick, "peer"] {
        let start = format!("{said_by}: ");
        let said = shown.iter().filter_map(|line| line.strip_prefix(&start));
        assert!(said.eq(&lines), "{shown:?}");
    }
    for line in &lines {
        peer.expect(&format!("other: {line}"));
    }
    chat.write("bye\n");
    peer.expect("other: bye");
    expect_end(chat);
    expect_end(peer);
}

/// One program for both ends: it listens, or it begins.
const ONE_PROGRAM: &str = r#"
import select, socket, sys
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
place, there = (sys.argv[1], int(sys.argv[2])), None
if LISTENS:
    here.bind(place)
    print("%s:%d" % here.getsockname())
else:
    there = place
while True:
    ready, _, _ = select.select([here] + ([sys.stdin] if there else []), [], [])
    if here in ready:
        text, there = here.recvfrom(4096)
        print("other: " + text.decode())
        if text == b"bye":
            here.sendto(b"bye", there)
            break
    if sys.stdin in ready:
        line = sys.stdin.readline().strip()
        here.sendto(line.encode(), there)
"#;

#[test]
fn one_program_that_plays_both_ends_meets_ours_at_either() {
    let (mut chat, place) = listen("127.0.0.1:0");
    let script = ONE_PROGRAM.replace("LISTENS", "False");
    let mut peer = Process::start(&mut python(&script, &place));
    peer.write("hello\n");
    expect_first(&mut chat, "hello");
    chat.write("hi\nbye\n").expect("ann: hi");
    peer.expect("other: hi").expect("other: bye");
    expect_end(&mut peer);
    expect_end(&mut chat);

    let script = ONE_PROGRAM.replace("LISTENS", "True");
    let (mut peer, place) = python_listens(&script);
    let mut chat = begin(&place);
    chat.write("hello\n").expect("bob: hello");
    peer.expect("other: hello").write("hi\n");
    chat.expect("peer: hi");
    peer.write("bye\n");
    chat.expect("* the peer said bye");
    peer.expect("other: bye");
    expect_end(&mut peer);
    expect_end(&mut chat);
}

#[test]
fn two_of_our_own_talk_at_every_kind_of_address() {
    for (place, host) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "[::1]"),
        // Answers come from the address that was written to, which is not the usual one.
        (":0", "127.0.0.2"),
        (":0", "[::1]"),
    ] {
        let (mut ann, place) = listen(place);
        let place = match place.strip_prefix("port ") {
            Some(rest) => rest.trim_end_matches(" of all addresses").to_owned(),
            None => place.rsplit_once(':').expect("a port").1.to_owned(),
        };
        let mut bob = begin(&format!("{host}:{place}"));
        bob.write("hello\n").expect("bob: hello");
        expect_first(&mut ann, "hello");
        ann.write("is it you?\nbye\n");
        ann.expect("ann: is it you?");
        bob.expect("peer: is it you?").expect("* the peer said bye");
        expect_end(&mut bob);
        expect_end(&mut ann);
    }
}

#[test]
fn a_datagram_is_the_text_alone_and_bye_is_answered_once() {
    let peer = socket("127.0.0.1");
    let mut chat = begin(&address(&peer));
    chat.write("hello\r\n\n two  words \n");
    expect_text(&peer, "hello");
    let (bytes, from) = receive(&peer);
    assert_eq!(bytes, b" two  words ");
    chat.expect("bob: hello").expect("bob:  two  words ");
    peer.send_to(b"and now?\r\n", from).expect("a receiver");
    chat.expect("peer: and now?");
    chat.write("the last").end_input();
    expect_text(&peer, "the last");
    expect_text(&peer, "bye");
    peer.send_to(b"bye\n", from).expect("a receiver");
    chat.expect("bob: the last");
    expect_end(&mut chat);
    expect_nothing(&peer);

    let (mut chat, place) = listen("127.0.0.1:0");
    let peer = socket("127.0.0.1");
    peer.send_to(b"bye now", &place).expect("a receiver");
    expect_first(&mut chat, "bye now");
    for _ in 0..2 {
        peer.send_to(b"bye", &place).expect("a receiver");
    }
    chat.expect("* the peer said bye");
    expect_text(&peer, "bye");
    expect_end(&mut chat);
    expect_nothing(&peer);
}

#[test]
fn a_third_address_gets_one_notice_and_is_not_shown() {
    let (mut chat, place) = listen("127.0.0.1:0");
    let (peer, third) = (socket("127.0.0.1"), socket("127.0.0.2"));
    peer.send_to(b"hello", &place).expect("a receiver");
    expect_first(&mut chat, "hello");
    for text in ["let me in", "bye", "let me in!"] {
        third.send_to(text.as_bytes(), &place).expect("a receiver");
    }
    let told = "writes as well; its text is not shown: this chat is for two";
    chat.expect(&format!("* {} {told}", address(&third)));
    expect_text(&third, "* this chat is for two, and both are here");
    peer.send_to(b"go on", &place).expect("a receiver");
    chat.expect("peer: go on").write("yes\n").expect("ann: yes");
    expect_text(&peer, "yes");
    chat.write("bye\n");
    expect_text(&peer, "bye");
    peer.send_to(b"bye", &place).expect("a receiver");
    expect_end(&mut chat);
    expect_nothing(&third);

    // It is the same for the end that has begun.
    let mut chat = begin(&address(&peer));
    chat.write("hello\n").expect("bob: hello");
    peer.set_nonblocking(false).expect("a socket");
    let (_, from) = receive(&peer);
    let third = socket("127.0.0.1");
    third.send_to(b"let me in", from).expect("a receiver");
    chat.expect(&format!("* {} {told}", address(&third)));
    expect_text(&third, "* this chat is for two, and both are here");
}

#[test]
fn a_peer_that_is_not_there_is_an_error_and_one_that_has_gone_a_notice() {
    let gone = address(&socket("127.0.0.1"));
    let mut chat = begin(&gone);
    let (status, _, err) = chat.write("hello\n").end();
    assert_eq!(status.code(), Some(3), "{err}");
    let port = gone.rsplit_once(':').expect("a port").1;
    assert_eq!(
        err,
        format!(
            "client: no program receives at {gone} (connection refused); start the other end first, \
             or wait for it with --udp-listen :{port}\n"
        )
    );

    let mut chat = Process::start(&mut client(&["chat", "--udp", "no-such-host.invalid:1"]));
    let (status, _, err) = chat.end();
    assert_eq!(status.code(), Some(3), "{err}");
    assert!(err.contains("check the name, or give an address"), "{err}");

    let (mut chat, place) = listen("127.0.0.1:0");
    let peer = socket("127.0.0.1");
    let from = address(&peer);
    peer.send_to(b"hello", &place).expect("a receiver");
    expect_first(&mut chat, "hello");
    drop(peer);
    chat.write("are you there?\n").expect("ann: are you there?");
    chat.expect(&format!(
        "* what you said last did not get to {from} (connection refused); say it again later, or bye \
         to leave"
    ));
    expect_end(&mut chat);
}

#[test]
fn a_text_is_sent_whole_or_refused() {
    let peer = socket("127.0.0.1");
    let mut chat = begin(&address(&peer));
    let (longest, longer) = ("x".repeat(65_507), "y".repeat(65_508));
    chat.write(format!("{longer}\n{longest}\nnext\n"));
    chat.expect("* not sent: 65508 bytes, and a datagram holds at most 65507; say it in parts");
    let (came, from) = receive(&peer);
    assert!(came == longest.as_bytes(), "{} bytes came", came.len());
    expect_text(&peer, "next");
    // What is received is not shown without end, and says so.
    peer.send_to(longest.as_bytes(), from).expect("a receiver");
    while !chat.next_line().starts_with("bob: next") {}
    let shown = chat.next_line();
    let start = &shown[..20.min(shown.len())];
    assert!(shown.ends_with("x… (49123 more bytes)"), "{start}");
}

#[test]
fn what_a_peer_sends_cannot_command_a_terminal() {
    let (mut chat, place) = listen("127.0.0.1:0");
    let peer = socket("127.0.0.1");
    for bytes in [
        &b"\x1b[2J\x1b]0;owned\x07 \xc2\x9b31m"[..],
        b"first\n* the peer said bye\nann: forged",
        "gnp.\u{202e}exe".as_bytes(),
        b"\xff\xfe",
        b"",
    ] {
        peer.send_to(bytes, &place).expect("a receiver");
    }
    expect_first(&mut chat, "�[2J�]0;owned� �31m");
    chat.expect("peer: first")
        .expect("  * the peer said bye")
        .expect("  ann: forged");
    chat.expect("peer: gnp.�exe")
        .expect("peer: ��")
        .expect("peer: ");
    let (_, out, _) = chat.end();
    let is_harmless = |byte: &u8| *byte >= b' ' || *byte == b'\n';
    assert!(out.iter().all(is_harmless) && !out.contains(&0x7f));
}

#[test]
fn what_a_pipe_has_said_waits_for_the_first_that_writes() {
    let (mut chat, place) = listen("127.0.0.1:0");
    chat.write("one\ntwo").end_input();
    let peer = socket("127.0.0.1");
    peer.send_to(b"hello", &place).expect("a receiver");
    for text in ["one", "two", "bye"] {
        expect_text(&peer, text);
    }
    peer.send_to(b"bye", &place).expect("a receiver");
    expect_first(&mut chat, "hello");
    chat.expect("ann: one").expect("ann: two");
    expect_end(&mut chat);

    // So does the end of a pipe that has said nothing.
    let (mut chat, place) = listen("127.0.0.1:0");
    chat.end_input();
    let peer = socket("127.0.0.1");
    peer.send_to(b"hello", &place).expect("a receiver");
    expect_first(&mut chat, "hello");
    expect_text(&peer, "bye");

    // A bye that is said without a peer ends at once.
    let (mut chat, _) = listen("127.0.0.1:0");
    expect_end(chat.write("bye\n"));
}

#[test]
fn what_cannot_be_done_says_what_can() {
    let taken = socket("127.0.0.1");
    let place = address(&taken);
    for (args, code, advice) in [
        (&["--udp-listen", &*place][..], 1, "give another port"),
        (
            &["--udp-listen", "192.0.2.1:1"],
            1,
            "an address of this machine",
        ),
        (&["--udp-listen", "12345"], 2, "give :PORT or HOST:PORT"),
        (&["--udp", ":12345"], 2, "the host is missing"),
        (&["--udp", "::1:12345"], 2, "brackets"),
        (
            &["--udp", &place, "--udp-listen", ":1"],
            2,
            "cannot be used with",
        ),
        (&["--udp", &place, "lobby"], 2, "cannot be used with"),
        (&["--udp", &place, "--server", "a"], 2, "leave out --server"),
        (
            &["--udp-listen", ":0", "--port", "1"],
            2,
            "leave out --server",
        ),
    ] {
        let mut chat = client(&["chat", "--nick", "ann"]);
        let (status, out, err) = Process::start(chat.args(args)).end();
        assert_eq!(status.code(), Some(code), "{args:?}: {err}");
        assert!(err.contains(advice), "{args:?}: {err}");
        assert!(out.is_empty(), "{args:?}");
    }
    let (mut chat, _) = listen("127.0.0.1:0");
    chat.write("/who\n/help\n");
    let told = chat.next_line();
    assert!(
        told.starts_with("* in a chat of two there are /help and /quit alone"),
        "{told}"
    );
    chat.expect("* /help           this list");
    // The broker that the environment names has no part in it.
    let mut chat = client(&["chat", "--udp", &place]);
    let mut chat = Process::start(chat.env("BROKER_URL", "127.0.0.1:1").env_remove("USER"));
    chat.write("hi\n").wait_for_line("me: hi");
    expect_text(&taken, "hi");
}

#[test]
fn on_a_screen_what_comes_never_mixes_with_what_is_typed() {
    let tmux = Tmux::start();
    let shows = |name: &str, text: &str| {
        eventually(&format!("{name} shows {text:?}"), || {
            tmux.screen(name).iter().any(|row| row.contains(text))
        });
    };
    let peer = socket("127.0.0.1");
    let chat = client(&["chat", "--udp", &address(&peer), "--nick", "ann"]);
    tmux.open("ann", (80, 12), &chat);
    shows("ann", "* the peer is 127.0.0.1:");
    tmux.write("ann", "hello").press("ann", "Enter");
    let (_, from) = receive(&peer);
    shows("ann", "ann: hello");
    tmux.write("ann", "half of a sent");
    // Keys and datagrams come by ways of their own.
    shows("ann", "> half of a sent");
    for n in 0..20 {
        peer.send_to(format!("line {n}").as_bytes(), from)
            .expect("a receiver");
    }
    shows("ann", "peer: line 19");
    let screen = tmux.screen("ann");
    assert_eq!(
        screen.last().map(|row| row.trim_end()),
        Some("> half of a sent")
    );
    tmux.write("ann", "ence").press("ann", "Enter");
    expect_text(&peer, "half of a sentence");
    peer.send_to(b"bye", from).expect("a receiver");
    expect_text(&peer, "bye");
    eventually("the terminal is closed", || !tmux.is_open("ann"));

    // A screen without a peer says so, and what was typed can be fetched back.
    let chat = client(&["chat", "--udp-listen", "127.0.0.1:0", "--nick", "bob"]);
    tmux.open("bob", (80, 12), &chat);
    shows("bob", "* waiting for the first message at 127.0.0.1:");
    tmux.write("bob", "too early").press("bob", "Enter");
    shows("bob", "* not sent: there is no peer yet");
    tmux.press("bob", "Up");
    shows("bob", "> too early");
    tmux.press("bob", "C-c").press("bob", "C-c");
    eventually("the terminal is closed", || !tmux.is_open("bob"));
}
