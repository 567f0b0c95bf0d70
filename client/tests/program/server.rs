//! How the program finds its broker.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;

use tempfile::TempDir;

use crate::run::{Run, command, command_for, end};
use crate::scripted::ScriptedBroker;

/// Checks that the program finds the broker with these arguments.
fn finds(arguments: impl Fn(&ScriptedBroker) -> String) {
    let broker = ScriptedBroker::start();
    let arguments = format!("ping -C 1 {}", arguments(&broker));
    let run = Run::spawn(&mut command(&arguments));
    broker.accept().expect("PING 1").say("PONG 1");
    run.end().expect(0, "");
}

#[test]
fn a_server_can_be_given_in_several_ways() {
    finds(|broker| format!("-s {}", broker.address()));
    finds(|broker| format!("--server dallal://{}", broker.address()));
    finds(|broker| format!("-p {}", broker.address().port()));
    finds(|broker| format!("-s 127.0.0.2:{} --host localhost", broker.address().port()));
}

/// A folder with the path of a socket in it that does not exist yet.
fn path_of_socket() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    (folder, path)
}

#[test]
fn a_server_can_be_a_path() {
    let (folder, path) = path_of_socket();
    let broker = ScriptedBroker::at_path(&path);
    let path = path.display();
    let config = folder.path().join("dallal");
    fs::create_dir(&config).expect("room");
    let named = format!("default = \"here\"\n[servers.here]\nurl = \"unix:{path}\"\n");
    fs::write(config.join("client.toml"), named).expect("room");
    let mut by_flag = command(&format!("ping -C 1 -s unix:{path}"));
    let mut by_environment = command("ping -C 1");
    by_environment.env("BROKER_URL", format!("unix:{path}"));
    let mut relative = command("ping -C 1 -s unix:socket");
    relative.current_dir(folder.path());
    let mut by_name = command("ping -C 1 -c here");
    by_name.env("XDG_CONFIG_HOME", folder.path());
    let mut by_default = command("ping -C 1");
    by_default.env("XDG_CONFIG_HOME", folder.path());
    for command in [
        &mut by_flag,
        &mut by_environment,
        &mut relative,
        &mut by_name,
        &mut by_default,
    ] {
        let run = Run::spawn(command);
        broker.accept().expect("PING 1").say("PONG 1");
        let ended = run.end();
        ended.expect(0, "");
        let first = String::from_utf8_lossy(&ended.out);
        assert!(first.starts_with("PING unix:"), "{first}");
    }
}

#[test]
fn what_is_wrong_at_a_path_is_told_with_what_to_do() {
    let (folder, path) = path_of_socket();
    let fails = |server: &str, why: &str| {
        for command in [
            "publish a x",
            "who",
            "ping --mqtt 5",
            "bench --count 1",
            "selftest",
        ] {
            let ended = end(&format!("{command} -s {server}"));
            ended.expect(3, "no broker at ");
            ended.expect(3, why);
        }
    };
    let server = format!("unix:{}", path.display());
    fails(
        &server,
        "(no such file or directory); start one with `broker --unix PATH`, or give -s unix:PATH",
    );
    drop(ScriptedBroker::at_path(&path));
    fails(
        &server,
        "(connection refused); the socket is there, and no program listens on it: start one",
    );
    let folder = format!("unix:{}", folder.path().display());
    fails(
        &folder,
        "(not a socket); give -s unix:PATH of a broker's socket",
    );
}

#[test]
fn a_path_has_no_host_and_no_port() {
    for arguments in [
        "who -s unix:/a --host b",
        "publish a x -s unix:/a -p 9",
        "bench -s ws+unix:/a -p 9",
    ] {
        end(arguments).expect(2, "--host and --port are for HOST:PORT, and the server is ");
    }
}

#[test]
fn a_suggested_command_has_the_path_of_this_one() {
    let (_folder, path) = path_of_socket();
    let broker = ScriptedBroker::at_path(&path);
    let server = format!("unix:{}", path.display());
    let run = Run::spawn(&mut command(&format!("publish a x -s {server}")));
    broker.accept().expect("PUBLISH a x").say("PUBACK 1 0");
    let command = format!("type: client subscribe -s {server} a\n");
    run.end().expect(0, &command);
}

#[test]
fn a_suggested_command_is_for_the_same_user_wherever_the_server_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    fs::write(&token, "dlt_k3f9_x\n").expect("room");
    let broker = ScriptedBroker::start();
    let user = format!("--user ann --token-file {}", token.display());
    let run = Run::start(&broker, &format!("publish a x {user}"));
    let mut accepted = broker.accept();
    accepted.expect("AUTH ann dlt_k3f9_x").say("AUTHACK ann");
    accepted.expect("PUBLISH a x").say("PUBACK 1 0");
    let command = format!("type: client subscribe {user} a\n");
    run.end().expect(0, &command);
}

#[test]
fn a_broker_that_comes_back_at_its_path_is_found_again() {
    let (_folder, path) = path_of_socket();
    let broker = ScriptedBroker::at_path(&path);
    let arguments = format!("subscribe a -C 1 -s unix:{}", path.display());
    let mut run = Run::spawn(&mut command(&arguments));
    broker
        .accept()
        .expect("@since=now SUBSCRIBE a")
        .say("SUBACK a");
    drop(broker);
    assert_eq!(run.said(), "subscribing on a");
    assert!(run.said().contains("trying again in"));
    fs::remove_file(&path).expect("the socket");
    let broker = ScriptedBroker::at_path(&path);
    let mut peer = broker.accept();
    peer.expect("@since=now SUBSCRIBE a")
        .say("SUBACK a")
        .say("MESSAGE a x");
    run.end().expect_out("a: x\n");
}

#[test]
fn an_argument_wins_over_the_environment() {
    let broker = ScriptedBroker::start();
    let other = ScriptedBroker::start();
    let arguments = format!("ping -C 1 -s {}", broker.address());
    let run = Run::spawn(&mut command_for(&other, &arguments));
    broker.accept().expect("PING 1").say("PONG 1");
    run.end().expect(0, "");
}

#[test]
fn an_invalid_server_is_a_usage_error() {
    for arguments in [
        "ping -s nats://a",
        "chat r -s mqtt://",
        "ping -s a:0",
        "ping -p 0",
    ] {
        end(arguments).expect(2, "error: invalid value");
    }
}

/// A server that answers the first bytes, or greets without them, with these.
fn server(answer: &'static [u8], greets: bool) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        if !greets {
            let _ = stream.read(&mut [0; 100]);
        }
        stream.write_all(answer).expect("a client");
        // It goes on listening: the client must not wait for its end.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    address
}

#[test]
fn a_server_that_is_something_else_is_named_at_once() {
    for (answer, greets, kind) in [
        (
            &b"220 mail.example.org ESMTP\r\n"[..],
            true,
            "a mail or FTP server",
        ),
        (b"INFO {\"server_id\":\"x\"}\r\n", true, "a NATS server"),
        (b":0\r\n", false, "a Redis server"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", false, "an HTTP server"),
    ] {
        for (arguments, wanted) in [
            ("publish a x", "the line protocol"),
            ("subscribe a", "the line protocol"),
            ("who", "the line protocol"),
            ("publish a x --mqtt 5", "MQTT"),
            ("subscribe a --mqtt 3.1.1", "MQTT"),
        ] {
            let server = server(answer, greets);
            let ended = end(&format!("{arguments} --wait 60s -s {server}"));
            let what = format!("this is {kind}, not a broker that speaks {wanted}; give the right");
            ended.expect(3, &what);
        }
    }
}

#[test]
fn a_text_in_place_of_connack_is_shown() {
    let ended = end(&format!(
        "publish a x --mqtt 5 -s {}",
        server(b"hello there\r\n", false)
    ));
    ended.expect(
        3,
        r#"this is a server that begins with "hello there", not a broker"#,
    );
}

#[test]
fn a_server_that_closes_without_a_word_may_be_a_broker_of_mqtt() {
    let broker = ScriptedBroker::start();
    let run = Run::start(&broker, "publish a x");
    // What is not read would make the end a reset.
    broker.accept().expect("PUBLISH a x");
    run.end().expect(
        3,
        "may speak another protocol; a broker of MQTT is named mqtt://HOST:PORT",
    );
}

#[test]
fn schemes_of_others_are_refused_in_words() {
    for (arguments, why) in [
        ("publish a x -s ssl://h", "ssl:// is not known; give tls://"),
        ("who -s https://h", "https:// is for HTTP; give wss://"),
        (
            "publish a x -s redis://h",
            "redis:// is another kind of broker",
        ),
        ("who -s mqtt://h", "this command does not speak MQTT"),
        ("who -s mqtts://h", "this command does not speak MQTT"),
        ("selftest -s ws://h", "speaks MQTT without a WebSocket"),
        ("selftest -s wss://h", "speaks MQTT without a WebSocket"),
        ("selftest -s ws+unix:/a", "speaks MQTT without a WebSocket"),
    ] {
        end(arguments).expect(2, why);
    }
}

#[test]
fn the_first_connection_can_wait_for_the_broker() {
    for (arguments, asks, says) in [
        ("publish a x", "PUBLISH a x", "PUBACK 1 1"),
        ("subscribe a -W 1s", "@since=now SUBSCRIBE a", "SUBACK a"),
        ("ping -C 1", "PING 1", "PONG 1"),
        (
            "record a --duration 1s",
            "@since=now SUBSCRIBE a",
            "SUBACK a",
        ),
        ("reply a x -C 1", "SUBSCRIBE a", "SUBACK a"),
    ] {
        let place = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = place.local_addr().expect("it is bound");
        drop(place);
        let mut run = Run::spawn(&mut command(&format!(
            "{arguments} --wait-for-broker -s {address}"
        )));
        let said = run.said();
        let why = format!("client: no broker at {address} (connection refused); trying again in ");
        assert!(said.starts_with(&why), "{said}");
        let broker = ScriptedBroker::bind(address);
        let mut peer = broker.accept();
        peer.expect(asks).say(says);
        if arguments.starts_with("reply") {
            peer.say("@reply=b MESSAGE a").expect("PUBLISH b x");
            peer.say("PUBACK 1 1");
        }
        let ended = run.end();
        assert!(matches!(ended.code, Some(0 | 124)), "{ended:?}");
        assert!(ended.err.contains("client: connected\n"), "{ended:?}");
    }
    // A time that was given for the whole is also one for this.
    let ended = end("subscribe a -W 100ms --wait-for-broker -s 127.0.0.1:9");
    ended.expect(124, "no broker at 127.0.0.1:9");
}

#[test]
fn a_client_says_who_it_is_before_anything_else() {
    for (arguments, asks, says) in [
        ("publish a x", "PUBLISH a x", "PUBACK 1 1"),
        ("subscribe a -W 100ms", "@since=now SUBSCRIBE a", "SUBACK a"),
        ("ping -C 1", "PING 1", "PONG 1"),
    ] {
        let broker = ScriptedBroker::start();
        let mut command = command_for(&broker, arguments);
        command.env("BROKER_USER", "ann");
        let run = Run::spawn(command.env("BROKER_PASSWORD", "a \\b"));
        let mut peer = broker.accept();
        peer.expect("AUTH ann a \\\\b").say("AUTHACK ann");
        // What is over soon is told, and answers no frame.
        peer.say("ERROR auth line the token is over in 30 s");
        peer.expect(asks).say(says);
        let ended = run.end();
        let code = if arguments.starts_with("subscribe") {
            124
        } else {
            0
        };
        ended.expect(code, "");
    }
}

#[test]
fn a_client_that_is_refused_ends_with_the_text_of_the_broker() {
    let told = "ERROR auth line the name or the password is wrong";
    let full = "ERROR too-many line come back in 5 s";
    for (says, code, why) in [
        (told, 6, "the name or the password is wrong (auth line)"),
        (full, 3, "the broker is full: come back in 5 s"),
        ("ERROR denied line no", 4, "no (denied line)"),
        ("ERROR unknown-verb line no AUTH", 1, "no AUTH"),
    ] {
        let broker = ScriptedBroker::start();
        let mut command = command_for(&broker, "who");
        let run = Run::spawn(command.env("BROKER_TOKEN", "dlt_a_4711"));
        broker
            .accept()
            .expect("AUTH dlt_a_4711")
            .say(says)
            .expect_end();
        let ended = run.end();
        ended.expect(code, why);
        assert!(!ended.err.contains("4711"), "{ended:?}");
    }
    for (arguments, asks, says) in [
        (
            "publish a x",
            "PUBLISH a x",
            "ERROR auth publish:1 say AUTH first",
        ),
        (
            "subscribe a",
            "@since=now SUBSCRIBE a",
            "ERROR auth subscribe:a say AUTH first",
        ),
    ] {
        let broker = ScriptedBroker::start();
        let run = Run::start(&broker, arguments);
        let mut peer = broker.accept();
        peer.expect(asks).say(says).say("PUBACK 1 0");
        run.end().expect(6, "say AUTH first");
        let broker = ScriptedBroker::start();
        let run = Run::start(&broker, arguments);
        let mut peer = broker.accept();
        peer.expect(asks)
            .say(&says.replace("auth", "denied"))
            .say("PUBACK 1 0");
        run.end().expect(4, "say AUTH first");
    }
}

#[test]
fn a_client_that_is_refused_on_coming_back_does_not_try_for_ever() {
    let broker = ScriptedBroker::start();
    let mut command = command_for(&broker, "subscribe a");
    let run = Run::spawn(command.env("BROKER_TOKEN", "dlt_a_b"));
    let mut peer = broker.accept();
    peer.expect("AUTH dlt_a_b").say("AUTHACK ann");
    peer.expect("@since=now SUBSCRIBE a").say("SUBACK a");
    peer.say("ERROR auth line the token is over").say("BYE");
    drop(peer);
    let mut again = broker.accept();
    again
        .expect("AUTH dlt_a_b")
        .say("ERROR auth line the token is over");
    run.end().expect(6, "the token is over");
}

#[test]
fn a_user_that_a_line_cannot_say_is_refused_here() {
    let broker = ScriptedBroker::start();
    let mut command = command_for(&broker, "who");
    command
        .env("BROKER_PASSWORD", "x")
        .env("BROKER_USER", "a b");
    Run::spawn(&mut command)
        .end()
        .expect(6, "a user name has no spaces");
}

#[test]
fn no_error_shows_the_password_of_a_url() {
    for arguments in [
        "who -s mqtt://ann:4711@a/b",
        "publish a x -s mqtt://ann:4711@[",
        "bench -s mqtt://ann:4711@a:0",
        "selftest -s mqtts://ann:4711@a:b",
        "who -s mqtt://ann:4711@a",
    ] {
        let ended = end(arguments);
        ended.expect(2, "");
        assert!(!ended.err.contains("4711"), "{ended:?}");
    }
    end("who -s mqtt://ann:4711@a/b").expect(2, "invalid value 'mqtt://ann:***@a/b' for '--server");
}
