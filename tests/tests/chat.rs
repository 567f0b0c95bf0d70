//! `client chat` in its plain form, and what `docs/chat.md` says goes over the wire.

use std::fs;
use std::process::Command;

use rustix::process::Signal;
use tests::{Process, TestBroker, TestClient, installed, program};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/chat.md");

fn command(broker: &TestBroker, room: &str, nick: &str) -> Command {
    let server = broker.address().to_string();
    let mut chat = Command::new(program("client"));
    chat.env_remove("BROKER_URL")
        .args(["chat", room, "--nick", nick, "--server", &server]);
    chat
}

/// A person that joins the room and is told of these others.
#[track_caller]
fn enter(broker: &TestBroker, room: &str, nick: &str, others: &[&str]) -> Process {
    let mut chat = Process::start(&mut command(broker, room, nick));
    chat.expect(&greeting(room, nick, others));
    chat
}

fn greeting(room: &str, nick: &str, others: &[&str]) -> String {
    let others = match others {
        [] => "nobody else is known to be here".to_owned(),
        others => format!("also here: {}", others.join(", ")),
    };
    format!("* you are {nick} in {room}; {others}")
}

/// A person with netcat that subscribes to these.
fn netcat(broker: &TestBroker, filters: &[&str]) -> TestClient {
    let mut client = broker.connect();
    client.send(format!("SUBSCRIBE {}", filters.join(" ")));
    for filter in filters {
        client.expect(format!("SUBACK {filter}"));
    }
    client
}

/// What a message has behind its attributes.
fn message(client: &mut TestClient) -> String {
    let line = client.read_line();
    let at = line.find("MESSAGE ").expect("a message");
    line[at..].to_owned()
}

/// The payload of a message, with both pairs of keys.
fn written(nick: &str, text: &str) -> String {
    format!(r#"{{"nick":"{nick}","message":"{text}","user":"{nick}","say":"{text}"}}"#)
}

/// A run that cannot come in: its exit code and what it says.
fn refused(broker: &TestBroker, room: &str, nick: &str) -> (Option<i32>, String) {
    let mut chat = Process::start(&mut command(broker, room, nick));
    let (status, out, err) = chat.end();
    assert!(out.is_empty());
    (status.code(), err)
}

#[test]
fn three_people_and_one_with_netcat_hear_each_other() {
    let broker = TestBroker::start();
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    let mut bob = enter(&broker, "lobby", "bob", &["ann"]);
    ann.expect("* bob joined");
    let mut eve = enter(&broker, "lobby", "eve", &["ann", "bob"]);
    ann.expect("* eve joined");
    bob.expect("* eve joined");
    let mut nc = netcat(&broker, &["lobby"]);

    ann.write("hello everybody\n");
    for chat in [&mut ann, &mut bob, &mut eve] {
        chat.expect("ann: hello everybody");
    }
    let heard = message(&mut nc);
    let said = written("ann", "hello everybody");
    assert_eq!(heard, format!("MESSAGE lobby {said}"));

    nc.send("PUBLISH lobby typed by hand");
    nc.send(r#"PUBLISH lobby {"mood":"good","message":"as JSON","nick":"nick of nc","x":[1]}"#);
    nc.send(r#"PUBLISH lobby {"user":"nc","say":"with the other keys"}"#);
    for chat in [&mut ann, &mut bob, &mut eve] {
        chat.expect("?: typed by hand")
            .expect("nick_of_nc: as JSON")
            .expect("nc: with the other keys");
    }

    for chat in [&mut bob, &mut eve] {
        chat.write((0..50).map(|n| format!("{n}\n")).collect::<String>());
    }
    for chat in [&mut ann, &mut bob, &mut eve] {
        let lines: Vec<String> = (0..100).map(|_| chat.next_line()).collect();
        for nick in ["bob", "eve"] {
            let said = lines
                .iter()
                .filter_map(|line| line.strip_prefix(&format!("{nick}: ")));
            assert!(said.eq((0..50).map(|n| n.to_string())), "{lines:?}");
        }
    }
}

#[test]
fn the_end_of_input_leaves_when_everything_was_sent() {
    let broker = TestBroker::start();
    let mut nc = netcat(&broker, &["build", "build/$who/+"]);
    let mut chat = Process::start(&mut command(&broker, "build", "ci"));
    chat.write((0..500).map(|n| format!("line {n}\n")).collect::<String>());
    let (status, out, err) = chat.write("the last without an end").end();
    assert!(status.success(), "{err}");
    assert!(message(&mut nc).starts_with(r#"MESSAGE build/$who/ci {"nick":"ci","since":""#));
    let said: Vec<String> = (0..500).map(|n| format!("line {n}")).collect();
    for text in said
        .iter()
        .map(String::as_str)
        .chain(["the last without an end"])
    {
        let said = written("ci", text);
        assert_eq!(message(&mut nc), format!("MESSAGE build {said}"));
    }
    assert_eq!(nc.read_line(), "MESSAGE build/$who/ci");
    nc.expect_silence();
    let out = String::from_utf8(out).expect("text");
    assert_eq!(out.lines().count(), 502, "the greeting, and each line once");
}

#[test]
fn bye_and_quit_leave() {
    let broker = TestBroker::start();
    for word in ["bye", "/quit"] {
        let mut nc = netcat(&broker, &["lobby", "lobby/$who/+"]);
        let mut ann = enter(&broker, "lobby", "ann", &[]);
        ann.write(format!("one more thing\n{word}\nnot said\n"));
        ann.expect("ann: one more thing");
        let (status, _, err) = ann.end();
        assert!(status.success(), "{err}");
        nc.read_until_prefix("MESSAGE lobby/$who/ann {");
        assert!(message(&mut nc).contains("one more thing"));
        nc.expect("MESSAGE lobby/$who/ann").expect_silence();
    }
}

#[test]
fn a_private_message_is_seen_by_one_alone() {
    let broker = TestBroker::start();
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    let mut bob = enter(&broker, "lobby", "bob", &["ann"]);
    let mut eve = enter(&broker, "lobby", "eve", &["ann", "bob"]);
    ann.expect("* bob joined").expect("* eve joined");
    bob.expect("* eve joined");
    ann.write("/msg bob psst, a secret\n/msg carol are you there?\ndone\n");
    ann.expect("ann -> bob: psst, a secret");
    ann.expect("* nobody here is called carol, so nobody got that; /who says who is here");
    ann.expect("ann: done");
    bob.expect("ann -> bob: psst, a secret").expect("ann: done");
    eve.expect("ann: done");

    // A client that is subscribed to everything that it may have gets none of them.
    let mut logger = broker.connect();
    logger.send("SUBSCRIBE lobby/# #").read_to_fence();
    logger
        .send("SUBSCRIBE $private/#")
        .expect_error("denied", "subscribe:$private/#");
    let mut nc = netcat(&broker, &["$private/carol/lobby"]);
    for (said, text, receipt) in [
        (
            r#"{"nick":"carol","message":"by hand"}"#,
            "by hand",
            "PUBACK 1 1",
        ),
        (
            r#"{"user":"carol","say":"once more"}"#,
            "once more",
            "PUBACK 2 1",
        ),
    ] {
        nc.send(format!("PUBLISH $private/bob/lobby {said}"));
        bob.expect(&format!("carol -> bob: {text}"));
        nc.expect(receipt);
    }
    ann.write("/msg carol now?\n").expect("ann -> carol: now?");
    let heard = message(&mut nc);
    let said = written("ann", "now?");
    assert_eq!(heard, format!("MESSAGE $private/carol/lobby {said}"));
    let logged = logger.read_to_fence();
    assert!(
        !logged.iter().any(|line| line.contains("now?")),
        "{logged:?}"
    );
}

#[test]
fn presence_is_retained_and_ends_with_its_process() {
    let broker = TestBroker::start();
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    let bob = enter(&broker, "lobby", "bob", &["ann"]);
    ann.expect("* bob joined");
    let mut nc = netcat(&broker, &["lobby/$who/+"]);
    for nick in ["ann", "bob"] {
        let here = nc.read_line();
        let start = format!(r#"@retained MESSAGE lobby/$who/{nick} {{"nick":"{nick}","since":"2"#);
        assert!(here.starts_with(&start), "{here}");
    }
    nc.expect_silence();

    bob.signal(Signal::KILL);
    ann.expect("* bob left");
    nc.expect("MESSAGE lobby/$who/bob");
    nc.send("@retain PUBLISH lobby/$who/carol here");
    ann.expect("* carol joined");
    ann.write("/who\n").expect("* 2 in lobby: ann (you), carol");
    let mut late = netcat(&broker, &["lobby/$who/+"]);
    late.read_until_prefix("@retained MESSAGE lobby/$who/ann ");
    late.expect("@retained MESSAGE lobby/$who/carol here")
        .expect_silence();
}

#[test]
fn join_goes_to_another_room() {
    let broker = TestBroker::start();
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    let mut bob = enter(&broker, "lobby", "bob", &["ann"]);
    let mut eve = enter(&broker, "attic", "eve", &[]);
    ann.expect("* bob joined");
    ann.write("see you\n/join attic\nhello attic\n");
    ann.expect("ann: see you")
        .expect(&greeting("attic", "ann", &["eve"]));
    bob.expect("ann: see you").expect("* ann left");
    eve.expect("* ann joined").expect("ann: hello attic");
    ann.expect("ann: hello attic");
    bob.write("nobody hears me\n/who\n")
        .expect("bob: nobody hears me");
    bob.expect("* 1 in lobby: bob (you)");
    eve.write("/msg ann still there?\n")
        .expect("eve -> ann: still there?");
    ann.expect("eve -> ann: still there?");
    ann.signal(Signal::KILL);
    eve.expect("* ann left");
}

#[test]
fn nick_takes_another_name_and_leaves_nothing_behind() {
    let broker = TestBroker::start();
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    let mut bob = enter(&broker, "lobby", "bob", &["ann"]);
    ann.expect("* bob joined");
    ann.write("/nick anna\nit is me\n")
        .expect("* you are now called anna");
    ann.expect("anna: it is me");
    bob.expect("* ann is now called anna")
        .expect("anna: it is me");
    bob.write("/msg ann old\n/msg anna new\n");
    bob.expect("* nobody here is called ann, so nobody got that; /who says who is here");
    ann.expect("bob -> anna: new");
    bob.expect("bob -> anna: new");
    ann.signal(Signal::KILL);
    bob.expect("* anna left");
    netcat(&broker, &["lobby/$who/+"]).read_until_prefix("@retained MESSAGE lobby/$who/bob ");
}

#[test]
fn a_private_message_and_the_list_agree_on_a_client_that_only_has_a_presence() {
    let broker = TestBroker::start();
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    let mut parrot = broker.connect();
    parrot
        .send("@retain PUBLISH lobby/$who/parrot here")
        .expect("PUBACK 1 1");
    ann.expect("* parrot joined");
    ann.write("/who\n")
        .expect("* 2 in lobby: ann (you), parrot");
    ann.write("/msg parrot psst\n");
    ann.expect("* parrot is here but takes no private messages; say it to the room");
}

#[test]
fn two_of_the_same_name_are_told_and_stay_present() {
    let broker = TestBroker::start();
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    let mut second = enter(&broker, "lobby", "ann", &[]);
    for chat in [&mut ann, &mut second] {
        let told = chat.next_line();
        assert!(
            told.starts_with("* another client here is called ann as well"),
            "{told}"
        );
    }
    // Each sees its own words once, and those of the other.
    ann.write("same\n").expect("ann: same");
    second.expect("ann: same");
    second.write("same\n").expect("ann: same");
    ann.expect("ann: same");
    let mut nc = netcat(&broker, &["lobby/$who/+"]);
    nc.read_until_prefix("@retained MESSAGE lobby/$who/ann ");
    assert!(second.end().0.success());
    nc.expect("MESSAGE lobby/$who/ann");
    nc.read_until_prefix("MESSAGE lobby/$who/ann {");
    ann.write("/who\n").expect("* 1 in lobby: ann (you)");
}

#[test]
fn a_name_that_is_taken_is_told_when_it_is_taken() {
    let broker = TestBroker::start();
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    let _bob = enter(&broker, "lobby", "bob", &["ann"]);
    ann.expect("* bob joined");
    ann.write("/nick bob\n").expect("* you are now called bob");
    let told = ann.next_line();
    assert!(
        told.starts_with("* another client here is called bob"),
        "{told}"
    );
}

#[test]
fn what_strangers_send_cannot_command_a_terminal() {
    let broker = TestBroker::start();
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    let mut nc = broker.connect();
    nc.send(b"PUBLISH lobby \x1b[2J\x1b]0;owned\x07 \xc2\x9b31m");
    nc.send(r#"PUBLISH lobby {"nick":"\u001b[31mann","message":"a\u001b[2J\\rb\u0000\u202ec"}"#);
    nc.send(r#"PUBLISH lobby {"nick":"eve","message":"first\\n* ann left\\nann: forged"}"#);
    nc.send("@retain PUBLISH lobby/$who/x\u{9b}2J here");
    nc.send(b"PUBLISH lobby \xff\xfe");
    ann.expect("?: �[2J�]0;owned� �31m");
    ann.expect("�[31mann: a�[2J�b��c");
    ann.expect("eve: first")
        .expect("  * ann left")
        .expect("  ann: forged");
    ann.expect("* x�2J joined").expect("?: ��");
    let (_, out, _) = ann.end();
    let is_harmless = |byte: &u8| *byte >= b' ' || *byte == b'\n';
    assert!(out.iter().all(is_harmless) && !out.contains(&0x7f));
}

#[test]
fn names_and_texts_are_in_any_script() {
    let broker = TestBroker::start();
    let room = "گفت‌وگو";
    let mut dana = enter(&broker, room, "דנה", &[]);
    let mut li = enter(&broker, room, "李明", &["דנה"]);
    dana.expect("* 李明 joined");
    let mut mina = enter(&broker, room, "مینا", &["דנה", "李明"]);
    dana.expect("* مینا joined");
    li.expect("* مینا joined");
    for (text, nick) in [
        ("می‌خواهم بخوانم", "مینا"),
        ("שלום לכולם", "דנה"),
        ("你好，世界", "李明"),
    ] {
        let chats = [&mut dana, &mut li, &mut mina];
        let said = format!("{nick}: {text}");
        match nick {
            "مینا" => chats[2].write(format!("{text}\n")),
            "דנה" => chats[0].write(format!("{text}\n")),
            _ => chats[1].write(format!("{text}\n")),
        };
        for chat in [&mut dana, &mut li, &mut mina] {
            chat.expect(&said);
        }
    }
    mina.write("/msg 李明 秘密\n").expect("مینا -> 李明: 秘密");
    li.expect("مینا -> 李明: 秘密");
}

#[test]
fn a_name_that_cannot_be_a_level_of_a_topic_says_what_to_do() {
    let broker = TestBroker::start();
    for (room, nick, advice) in [
        ("lobby", "ann lee", "use - or _ instead"),
        (
            "lobby",
            "a/b",
            "holds /, which divides topics; leave it out",
        ),
        ("lobby", "", "give it a name"),
        ("lobby", "a\x1bb", "cannot be shown; leave it out"),
        ("a/b", "ann", "leave it out"),
        ("#", "ann", "leave it out"),
        ("$SYS", "ann", "begins with $"),
    ] {
        let (code, err) = refused(&broker, room, nick);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(advice), "{advice}: {err}");
        assert!(!err.contains('\x1b'), "{err:?}");
    }
}

#[test]
fn what_cannot_be_done_says_what_can() {
    let broker = TestBroker::start();
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    ann.write("/wave\n/nick two words\n/join lobby\n/help\n//etc is a folder\n");
    let told = ann.next_line();
    assert!(
        told.starts_with("* there is no /wave; there are /who, /msg, /join"),
        "{told}"
    );
    ann.expect("* the nick two_words holds a space; use - or _ instead");
    ann.expect("* you are ann in lobby already");
    ann.expect("* /who            who is here");
    for _ in 0..6 {
        ann.next_line();
    }
    ann.expect("ann: /etc is a folder");
}

#[test]
fn a_message_that_is_refused_says_why() {
    let broker = TestBroker::with_args(&["--max-line", "300"]);
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    let long = "x".repeat(400);
    ann.write(format!("{long}\n"));
    let told = ann.next_line();
    assert!(
        told.starts_with("* not sent: xxx") && told.contains("300"),
        "{told}"
    );
    ann.write("short\n").expect("ann: short");
}

#[test]
fn a_broker_that_was_lost_is_found_again() {
    let broker = TestBroker::start();
    let port = broker.address().port().to_string();
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    broker.stop_by(Signal::KILL);
    let told = ann.next_line();
    assert!(told.starts_with("* lost the broker: "), "{told}");
    ann.write("typed while it was away\n");
    let again = TestBroker::with_args(&["--port", &port]);
    ann.expect("* found the broker again; messages may have been missed meanwhile");
    ann.expect(&greeting("lobby", "ann", &[]));
    ann.expect("ann: typed while it was away");
    let mut bob = enter(&again, "lobby", "bob", &["ann"]);
    ann.expect("* bob joined");
    ann.write("hello\n").expect("ann: hello");
    bob.expect("ann: hello");
}

#[test]
fn without_a_broker_it_exits_with_3() {
    let broker = TestBroker::start();
    let mut chat = command(&broker, "lobby", "ann");
    broker.stop();
    let (status, _, err) = Process::start(&mut chat).end();
    assert_eq!(status.code(), Some(3), "{err}");
    assert!(err.contains("start one with `broker`"), "{err}");
}

#[test]
fn missed_messages_are_told_where_they_are_missing() {
    const MESSAGES: u64 = 20_000;
    let broker = TestBroker::with_args(&["--outbox-bytes", "65536", "--max-line", "65536"]);
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    ann.signal(Signal::STOP);
    let mut nc = broker.connect();
    let pad = "x".repeat(1000);
    for n in 1..=MESSAGES {
        nc.send(format!("PUBLISH lobby {n} {pad}"));
    }
    nc.read_until_prefix(&format!("PUBACK {MESSAGES} "));
    ann.signal(Signal::CONT);
    let (mut heard, mut missed) = (0, 0);
    while heard + missed < MESSAGES {
        let line = ann.next_line();
        if let Some(notice) = line.strip_prefix("* ") {
            let count = notice.strip_suffix(" messages were missed here");
            let count = count.and_then(|count| count.parse::<u64>().ok());
            missed += count.unwrap_or_else(|| panic!("another notice: {line}"));
        } else {
            heard += 1;
            let number = heard + missed;
            assert!(
                line.starts_with(&format!("?: {number} ")),
                "{}",
                &line[..20]
            );
        }
    }
    assert!(missed > 0 && heard > 0, "{heard} heard, {missed} missed");
    ann.write("/who\n").expect("* 1 in lobby: ann (you)");
}

#[test]
fn the_python_of_the_document_chats() {
    let read = |path| fs::read_to_string(path).expect("a document of the workspace");
    let block = |document: &str| {
        let (_, rest) = document.split_once("```python\n").expect("some Python");
        let (block, _) = rest.split_once("```").expect("the end of the block");
        block.to_owned()
    };
    let protocol = read(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md"));
    let broker = TestBroker::start();
    let mut ann = enter(&broker, "lobby", "ann", &[]);
    let server = format!("Client(port={})", broker.address().port());
    let chat = block(&read(DOCUMENT)).replace("Client()", &server);
    let python = format!("{}\n{chat}", block(&protocol));
    let mut python = Process::start(installed("python3", "python3").args(["-u", "-c", &python]));
    ann.expect("* parrot joined").expect("parrot: here I am");
    ann.write("say «hello»\n").expect("ann: say «hello»");
    ann.expect("parrot: ann said: say «hello»");
    python.expect("ann: say «hello»");
    let mut nc = broker.connect();
    nc.send(r#"PUBLISH lobby {"user":"nc","say":"hi"}"#);
    ann.expect("nc: hi").expect("parrot: nc said: hi");
    python.signal(Signal::KILL);
    ann.expect("* parrot left");
}
