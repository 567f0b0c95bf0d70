//! `client publish`, `subscribe` and `ping` over MQTT, against mosquitto and its own programs.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::Signal;
use tests::{Mosquitto, Process, TestBroker, client, client_of, installed};

const SETTINGS: &str = "allow_anonymous true\npersistence false";

const VERSIONS: [&str; 2] = ["3.1.1", "5"];

/// `client` with this command and these arguments, for a mosquitto.
fn program(mosquitto: &Mosquitto, version: &str, words: &[&str]) -> Command {
    let server = format!("mqtt://{}", mosquitto.address());
    let mut client = client(&words[..1]);
    client.args(["--server", &server, "--mqtt", version]);
    client.args(&words[1..]);
    client
}

/// One of mosquitto's own programs, for a mosquitto.
fn theirs(name: &str, mosquitto: &Mosquitto, words: &[&str]) -> Command {
    let mut program = installed(name, "mosquitto-clients");
    program.args(["-p", &mosquitto.address().port().to_string()]);
    program.args(words);
    program
}

/// A subscriber that has subscribed.
fn subscriber(mosquitto: &Mosquitto, version: &str, words: &[&str]) -> Process {
    let words = [&["subscribe"], words].concat();
    let subscriber = Process::start(&mut program(mosquitto, version, &words));
    subscriber.wait_for_complaint("subscribing on");
    subscriber
}

/// Runs a program that has to succeed; returns its standard error.
#[track_caller]
fn run(command: &mut Command) -> String {
    let (status, _, err) = Process::start(command).end();
    assert!(status.success(), "{command:?}: {err}");
    err
}

/// Runs a program; its exit code and its standard error.
fn ends(command: &mut Command) -> (Option<i32>, String) {
    let (status, _, err) = Process::start(command).end();
    (status.code(), err)
}

#[test]
fn what_is_published_arrives_in_both_versions_and_with_each_qos() {
    let mosquitto = Mosquitto::start(SETTINGS);
    for version in VERSIONS {
        let mut ours = subscriber(&mosquitto, version, &["-q", "2", "a/#"]);
        for qos in ["0", "1", "2"] {
            let payload = format!("{version} {qos}");
            run(&mut program(
                &mosquitto,
                version,
                &["publish", "-q", qos, "a/b", &payload],
            ));
            ours.expect(&format!("a/b: {payload}"));
        }
        let mut lines = Process::start(&mut program(&mosquitto, version, &["publish", "-l", "a"]));
        lines.write("1\n2\n").end_input();
        assert!(lines.end().0.success());
        ours.expect("a: 1").expect("a: 2");
    }
}

#[test]
fn others_understand_it_and_are_understood() {
    let mosquitto = Mosquitto::start(SETTINGS);
    let words = ["-V", "5", "-q", "2", "-t", "a/#", "-C", "1", "-F"];
    let format = "%t|%q|%r|%p|%R|%D|%C|%P";
    let words = [&words[..], &[format]].concat();
    let mut theirs_subscribes = Process::start(&mut theirs("mosquitto_sub", &mosquitto, &words));
    // It says nothing when it has subscribed; a retained message waits for it.
    let attributes = [
        "-H",
        "reply:x/y",
        "-H",
        "id:7",
        "-H",
        "type:text/plain",
        "-H",
        "unit:C",
    ];
    let publish = [
        &["publish", "-r", "-q", "2"],
        &attributes[..],
        &["a/b", "hi"],
    ]
    .concat();
    run(&mut program(&mosquitto, "5", &publish));
    let line = theirs_subscribes.next_line();
    let (head, tail) = line.split_at(6);
    assert_eq!(head, "a/b|2|", "{line}");
    assert!(tail.ends_with("|hi|x/y|7|text/plain|unit:C"), "{line}");

    let mut ours = subscriber(&mosquitto, "5", &["-o", "json", "a/#"]);
    ours.expect(
        r#"{"topic":"a/b","payload":"hi","attributes":{"id":"7","reply":"x/y","type":"text/plain","unit":"C"},"retained":true}"#,
    );
    let words = [
        "-V",
        "5",
        "-t",
        "a/b c",
        "-m",
        "x",
        "-D",
        "publish",
        "user-property",
        "Some Key",
        "value",
        "-D",
        "publish",
        "correlation-data",
        "\u{e9};\\",
    ];
    run(&mut theirs("mosquitto_pub", &mosquitto, &words));
    // A topic and a key that the line protocol does not have.
    ours.expect(r#"{"topic":"a/b c","payload":"x","attributes":{"id":"é;\\","some-key":"value"}}"#);
}

#[test]
fn what_was_dropped_before_a_message_is_told() {
    let mosquitto = Mosquitto::start(SETTINGS);
    let mut json = subscriber(&mosquitto, "5", &["-o", "json", "a"]);
    let plain = subscriber(&mosquitto, "5", &["a"]);
    run(&mut program(
        &mosquitto,
        "5",
        &["publish", "-H", "gap:12", "a", "x"],
    ));
    json.expect(r#"{"gap":12}"#)
        .expect(r#"{"topic":"a","payload":"x"}"#);
    plain.wait_for_complaint("12 messages were dropped here");
}

#[test]
fn a_publisher_without_subscribers_is_told_where_the_broker_says_so() {
    let mosquitto = Mosquitto::start(SETTINGS);
    let err = run(&mut program(&mosquitto, "5", &["publish", "a", "x"]));
    assert!(err.contains("no client listens to a"), "{err}");
    for (version, qos) in [("3.1.1", "1"), ("5", "0")] {
        let err = run(&mut program(
            &mosquitto,
            version,
            &["publish", "-q", qos, "a", "x"],
        ));
        assert_eq!(err, "", "MQTT {version}, QoS {qos}");
    }
}

// This broker says it in PUBREC too, and the client took that for the end of the message: the connection broke.
#[test]
fn a_publisher_of_qos_2_without_subscribers_is_told_so() {
    let broker = TestBroker::start();
    for lines in [1, 3000] {
        let words = ["--mqtt", "5", "-q", "2", "-l", "a"];
        let mut publisher = Process::start(&mut client_of(&broker, "publish", &words));
        publisher.write("x\n".repeat(lines)).end_input();
        let (status, _, err) = publisher.end();
        assert!(status.success(), "{err}");
        assert!(err.contains("no client listens to a"), "{err}");
    }
}

#[test]
fn a_broker_that_does_not_say_a_level_is_told_as_such() {
    let mosquitto = Mosquitto::start(SETTINGS);
    for qos in ["1", "2"] {
        let words = ["publish", "-r", "-q", qos, "--ack", "disk", "a", "x"];
        let (code, err) = ends(&mut program(&mosquitto, "5", &words));
        assert_eq!(code, Some(8), "{err}");
        assert!(err.contains("does not say at which level"), "{err}");
    }
    // It has it all the same.
    let mut shown = subscriber(&mosquitto, "5", &["a"]);
    shown.expect("a: x");
}

#[test]
fn a_session_that_is_kept_has_what_came_meanwhile() {
    let mosquitto = Mosquitto::start(SETTINGS);
    for version in VERSIONS {
        let flags = ["-i", "me", "-x", "1m", "-o", "raw", "-C", "1", "a"];
        let words = [&["subscribe"], &flags[..]].concat();
        let mut first = subscriber(&mosquitto, version, &flags);
        run(&mut program(&mosquitto, version, &["publish", "a", "one"]));
        assert_eq!(first.end().1, b"one");
        run(&mut program(&mosquitto, version, &["publish", "a", "two"]));
        let mut second = Process::start(&mut program(&mosquitto, version, &words));
        assert_eq!(second.end().1, b"two");
        // A clean start ends it.
        run(&mut program(
            &mosquitto,
            version,
            &["publish", "a", "three"],
        ));
        let words = [&words[..], &["--clean", "-W", "500ms"]].concat();
        let (status, out, _) = Process::start(&mut program(&mosquitto, version, &words)).end();
        assert_eq!((status.code(), &*out), (Some(124), &b""[..]));
        let clean = ["subscribe", "-i", "me", "--clean", "-W", "0", "unrelated"];
        ends(&mut program(&mosquitto, version, &clean));
    }
}

#[test]
fn a_will_is_published_for_a_client_that_is_cut_off_and_not_for_one_that_leaves() {
    let mosquitto = Mosquitto::start(SETTINGS);
    for version in VERSIONS {
        let mut watcher = subscriber(&mosquitto, version, &["w", "done"]);
        let will = ["--will-topic", "w", "--will-payload", "gone", "a"];
        let mut leaves = subscriber(&mosquitto, version, &will);
        leaves.signal(Signal::TERM);
        assert_eq!(leaves.end().0.signal(), Some(Signal::TERM.as_raw()));
        run(&mut program(&mosquitto, version, &["publish", "done", "x"]));
        watcher.expect("done: x");
        let mut cut_off = subscriber(&mosquitto, version, &will);
        cut_off.signal(Signal::KILL);
        cut_off.end();
        watcher.expect("w: gone");
    }
}

#[test]
fn a_retained_message_is_marked_and_can_be_hidden() {
    let mosquitto = Mosquitto::start(SETTINGS);
    for version in VERSIONS {
        run(&mut program(
            &mosquitto,
            version,
            &["publish", "-r", "a", "kept"],
        ));
        let mut shown = subscriber(&mosquitto, version, &["-o", "json", "a"]);
        shown.expect(r#"{"topic":"a","payload":"kept","retained":true}"#);
        let mut hidden = subscriber(&mosquitto, version, &["--no-retained", "a"]);
        run(&mut program(&mosquitto, version, &["publish", "a", "new"]));
        hidden.expect("a: new");
    }
}

#[test]
fn exit_codes_are_those_of_the_line_protocol() {
    let no_anonymous = "allow_anonymous false";
    let mosquitto = Mosquitto::start(no_anonymous);
    for version in VERSIONS {
        let words = ["publish", "--user", "ann", "--password", "guess", "a", "x"];
        let (code, err) = ends(&mut program(&mosquitto, version, &words));
        assert_eq!(code, Some(6), "{err}");
        assert!(
            err.contains("not allowed") || err.contains("wrong"),
            "{err}"
        );
        let (code, err) = ends(&mut program(&mosquitto, version, &["ping", "-C", "1"]));
        assert_eq!(code, Some(6), "{err}");
    }
    let (code, err) = ends(&mut program(
        &mosquitto,
        "3.1.1",
        &["publish", "-H", "a:b", "a", "x"],
    ));
    assert_eq!(code, Some(2), "{err}");
    let address = mosquitto.address();
    drop(mosquitto);
    let server = format!("mqtt://{address}");
    let (code, err) = ends(client(&["publish", "a", "x"]).args(["--server", &server]));
    assert_eq!(code, Some(3), "{err}");
    let (code, err) = ends(client(&["chat", "room"]).args(["--server", &server]));
    assert_eq!(code, Some(2), "{err}");
}

#[test]
fn a_subscriber_finds_its_broker_again() {
    let mosquitto = Mosquitto::start(SETTINGS);
    let address = mosquitto.address();
    let mut ours = subscriber(&mosquitto, "5", &["a"]);
    drop(mosquitto);
    ours.wait_for_complaint("lost the broker");
    let mosquitto = Mosquitto::start_at(address.port(), SETTINGS);
    ours.wait_for_complaint("connected again");
    run(&mut program(&mosquitto, "5", &["publish", "a", "x"]));
    ours.expect("a: x");
}

#[test]
fn ping_measures_the_way() {
    let mosquitto = Mosquitto::start(SETTINGS);
    for version in VERSIONS {
        let words = ["ping", "-C", "3", "-i", "0"];
        let (status, out, err) = Process::start(&mut program(&mosquitto, version, &words)).end();
        assert!(status.success(), "{err}");
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.contains("3 sent, 3 answered"), "{text}");
    }
}

#[test]
fn bench_finds_every_message_again() {
    let mosquitto = Mosquitto::start(&format!("{SETTINGS}\nset_tcp_nodelay true"));
    for version in VERSIONS {
        for mode in [
            &["--subs", "2", "--topics", "3"][..],
            &["--window", "20"],
            &["--window", "20", "--qos", "1", "--subs", "2"],
            &["--request"],
        ] {
            let words = [&["bench", "--json", "--count", "500"], mode].concat();
            let (status, out, err) =
                Process::start(&mut program(&mosquitto, version, &words)).end();
            assert!(status.success(), "MQTT {version}, {mode:?}: {err}");
            let figures: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
            assert_eq!(figures["lost"], 0, "{figures}");
        }
    }
    let words = ["bench", "--count", "500", "--window", "21"];
    let (code, err) = ends(&mut program(&mosquitto, "5", &words));
    assert!(code == Some(1) && err.contains("give --window 20"), "{err}");
    let (code, err) = ends(&mut program(&mosquitto, "5", &["bench", "--qos", "1"]));
    assert!(code == Some(2) && err.contains("needs --window"), "{err}");
}

#[test]
fn many_messages_of_each_qos_arrive_in_order() {
    // More than a window of them, and more than mosquitto has on the way to one client.
    let settings = format!("{SETTINGS}\nmax_queued_messages 0\nset_tcp_nodelay true");
    let mosquitto = Mosquitto::start(&settings);
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            let mut ours = subscriber(
                &mosquitto,
                version,
                &["-q", qos, "-o", "raw", "-C", "2000", "a"],
            );
            let words = ["publish", "-q", qos, "-l", "a"];
            let mut publisher = Process::start(&mut program(&mosquitto, version, &words));
            let lines: String = (0..2000).map(|n| format!("{n}.\n")).collect();
            publisher.write(&lines).end_input();
            let (status, _, err) = publisher.end();
            assert!(status.success(), "MQTT {version}, QoS {qos}: {err}");
            let expected = lines.replace('\n', "");
            let came = String::from_utf8(ours.end().1).expect("text");
            assert!(
                came == expected,
                "MQTT {version}, QoS {qos}: {} bytes",
                came.len()
            );
        }
    }
}
