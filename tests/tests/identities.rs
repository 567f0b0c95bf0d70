//! Promises of `security.md` about who clients are, on lines and in MQTT, and about what lives under an identity
//! that ends.

use std::fs;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tests::mqtt::{BOTH, Hello, Mqtt, MqttClient};
use tests::{Asker, TestBroker, TestClient, UsersFile, eventually};

fn users() -> UsersFile {
    UsersFile::of(&[("ann", "right"), ("bob", "other")])
}

fn broker_of(users: &UsersFile) -> TestBroker {
    TestBroker::with_args(&["--users", users.path()])
}

/// A client that has said who it is.
fn ann(broker: &TestBroker) -> TestClient {
    let mut client = broker.connect();
    client.send("AUTH ann right").expect("AUTHACK ann");
    client
}

/// A CONNECT with these fields, and the answer to it.
#[track_caller]
fn connect(broker: &TestBroker, version: Mqtt, user: Option<&str>, password: Option<&str>) -> u8 {
    let hello = Hello {
        user: user.map(str::to_owned),
        password: password.map(str::to_owned),
        ..Hello::new("meter")
    };
    let mut client = MqttClient::dial(broker.address(), version);
    client.send(&hello.encode(version));
    client.packet()[3]
}

#[test]
fn a_client_of_mqtt_is_let_in_with_the_right_password_alone() {
    let users = users();
    let token = users.run(&["token", "add", "bob"], "");
    let broker = broker_of(&users);
    for version in BOTH {
        let (wrong, nothing) = match version {
            Mqtt::V3 => (4, 5),
            Mqtt::V5 => (0x86, 0x87),
        };
        for (user, password, code) in [
            (Some("ann"), Some("right"), 0),
            (Some("ann"), Some("other"), wrong),
            (Some("eve"), Some("right"), wrong),
            (Some("ann"), None, wrong),
            (None, None, nothing),
            (Some("bob"), Some(&*token), 0),
            (Some(""), Some(&*token), 0),
            (Some("ann"), Some(&*token), wrong),
        ] {
            let given = connect(&broker, version, user, password);
            assert_eq!(given, code, "{version:?} {user:?} {password:?}");
        }
    }
    assert_eq!(connect(&broker, Mqtt::V5, None, Some(&token)), 0);
}

#[test]
fn another_identity_with_the_same_client_identifier_has_another_session() {
    let users = users();
    let broker = broker_of(&users);
    let lasting = |user: &str, password: &str| {
        let hello = Hello {
            user: Some(user.to_owned()),
            password: Some(password.to_owned()),
            ..Hello::lasting("meter")
        };
        MqttClient::enter(broker.address(), Mqtt::V5, &hello)
    };
    let (mut meter, is_resumed) = lasting("ann", "right");
    assert!(!is_resumed);
    meter.subscribe("secret/#", 1);
    meter.leave();
    ann(&broker)
        .send("PUBLISH secret/key 1")
        .expect("PUBACK 1 1");
    // Neither is anything of it seen, nor is it ended.
    let (mut thief, is_resumed) = lasting("bob", "other");
    assert!(!is_resumed);
    thief.expect_silence();
    let (mut meter, is_resumed) = lasting("ann", "right");
    assert!(is_resumed);
    meter.expect_message(2, "secret/key", "1");
    // The other one is still connected.
    thief.expect_silence();
}

#[test]
fn who_shows_the_identity_of_each_client() {
    let users = users();
    let broker = broker_of(&users);
    let mut client = ann(&broker);
    client.send("NAME phone").expect("NAMEACK phone");
    let mut asker = Asker::with(ann(&broker));
    let who = asker.ask("who");
    let rows = who["connections"].as_array().expect("a list");
    let phone = rows.iter().find(|row| row["name"] == "phone");
    let phone = phone.expect("it is there");
    assert_eq!(
        (&phone["identity"], &phone["kind"]),
        (&"ann".into(), &"password".into())
    );
}

#[test]
fn what_lives_of_a_user_that_is_disabled_ends_and_its_will_is_not_published() {
    let users = users();
    let broker = broker_of(&users);
    let mut bob = broker.connect();
    bob.send("AUTH bob other").expect("AUTHACK bob");
    bob.send("SUBSCRIBE gone").expect("SUBACK gone");
    let mut line = ann(&broker);
    line.send("WILL gone ann").expect("WILLACK gone");
    let hello = Hello {
        user: Some("ann".to_owned()),
        password: Some("right".to_owned()),
        will: Some(("gone".to_owned(), "ann".to_owned())),
        ..Hello::new("meter")
    };
    let (mut mqtt, _) = MqttClient::enter(broker.address(), Mqtt::V5, &hello);
    users.run(&["user", "disable", "ann"], "");
    line.expect_prefix("ERROR auth line your user or your token has ended");
    line.expect("BYE");
    line.expect_end();
    // DISCONNECT, not authorized.
    assert_eq!(mqtt.packet(), [0xe0, 2, 0x87, 0]);
    line = broker.connect();
    line.send("AUTH ann right")
        .expect("ERROR auth line this user is disabled; ask the operator");
    bob.send("PING").expect("PONG");
    users.run(&["user", "enable", "ann"], "");
    eventually("the user is let in again", || {
        let mut client = broker.connect();
        client.send("AUTH ann right");
        client.read_line() == "AUTHACK ann"
    });
}

#[test]
fn a_token_that_ends_ends_its_connection_and_one_that_was_renewed_does_not() {
    let users = users();
    // Its end is told at a look, of which there is one every two seconds.
    let [first, second] =
        ["6s", "1h"].map(|time| users.run(&["token", "add", "ann", "--expires", time], ""));
    let broker = broker_of(&users);
    let [mut ended, mut renewed] = [(); 2].map(|()| {
        let mut client = broker.connect();
        client.send(format!("AUTH {first}")).expect("AUTHACK ann");
        client.expect_prefix("ERROR auth line your token ends in less than a minute");
        client
    });
    renewed.send(format!("AUTH {second}")).expect("AUTHACK ann");
    ended.expect_prefix("ERROR auth line your user or your token has ended");
    ended.expect("BYE");
    ended.expect_end();
    renewed.send("PING").expect("PONG");
    renewed
        .send(format!("AUTH {first}"))
        .expect("ERROR auth line this token has ended; ask for a new one");
}

#[test]
fn a_new_password_ends_no_connection_and_a_file_with_a_mistake_changes_nothing() {
    let users = users();
    let broker = broker_of(&users);
    let mut client = ann(&broker);
    users.run(&["user", "passwd", "ann"], "newer");
    eventually("the new password is right", || {
        let mut client = broker.connect();
        client.send("AUTH ann newer");
        client.read_line() == "AUTHACK ann"
    });
    client.send("PING").expect("PONG");
    let text = fs::read_to_string(users.path()).expect("it is ours");
    fs::write(users.path(), format!("{text}usr eve\n")).expect("room");
    broker.wait_for_log("the users stay as they were");
    client.send("PING").expect("PONG");
    broker
        .connect()
        .send("AUTH ann newer")
        .expect("AUTHACK ann");
}

#[test]
fn guesses_wait_longer_and_longer_and_delay_no_other_client() {
    let users = users();
    let broker = broker_of(&users);
    let mut guesser = broker.connect();
    for _ in 0..3 {
        guesser
            .send("AUTH ann guess")
            .expect("ERROR auth line the name or the password is wrong");
    }
    // From here on each answer takes a second and more.
    guesser.send("AUTH ann guess").send("AUTH ann guess");
    let mut other = TestClient::connect_from([127, 0, 0, 2].into(), broker.address());
    other.send("AUTH ann right").expect("AUTHACK ann");
    other.send("PING").expect("PONG");
    // Two answers of a second and of two come after all that.
    let began = Instant::now();
    for _ in 0..2 {
        guesser.expect("ERROR auth line the name or the password is wrong");
    }
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

/// Otherwise the time of an answer would tell which names are those of users.
#[test]
fn a_name_that_is_no_user_costs_the_hash_of_a_wrong_password_on_each_wire() {
    let users = users();
    let broker = broker_of(&users);
    ann(&broker);
    let hashes = || {
        let mut client = broker.connect();
        client.write(
            "GET /metrics HTTP/1.0\r\nHost: localhost\r\nAuthorization: Basic YW5uOnJpZ2h0\r\n\r\n",
        );
        let figures = client.read_to_end();
        let count = figures.split_once("\ndallal_password_hashes_total ");
        let count = count.and_then(|(_, rest)| rest.lines().next()?.parse::<u64>().ok());
        count.unwrap_or_else(|| panic!("{figures}"))
    };
    let before = hashes();
    // From an address of its own each, because each failure makes those after it wait.
    for (at, user) in ["bob", "eve", "a b"].into_iter().enumerate() {
        let connect = |last: u8| {
            let own = [127, 0, 2 + at as u8, last].into();
            TestClient::connect_from(own, broker.address())
        };
        let computed = hashes();
        if user != "a b" {
            connect(1)
                .send(format!("AUTH {user} wrong"))
                .expect("ERROR auth line the name or the password is wrong");
            assert_eq!(hashes(), computed + 1, "{user} on lines");
        }
        let computed = hashes();
        let hello = Hello {
            user: Some(user.to_owned()),
            password: Some("wrong".to_owned()),
            ..Hello::new("meter")
        };
        let answer = connect(2).write(hello.encode(Mqtt::V3)).read_to_end();
        assert_eq!(answer.as_bytes(), [0x20, 2, 0, 4]);
        assert_eq!(hashes(), computed + 1, "{user} in MQTT");
        let basic = STANDARD.encode(format!("{user}:wrong"));
        let request = format!(
            "GET /login HTTP/1.0\r\nHost: localhost\r\nAuthorization: Basic {basic}\r\n\r\n"
        );
        connect(3).write(request).expect_prefix("HTTP/1.1 401 ");
        assert_eq!(hashes(), computed + 2, "{user} over HTTP");
    }
    assert_eq!(hashes(), before + 8);
}

#[test]
fn a_broker_without_users_says_so() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    client.send("AUTH").expect("AUTHACK anonymous");
    client
        .send("AUTH ann right")
        .expect_prefix("ERROR auth line this broker knows no users");
    for version in BOTH {
        assert_eq!(connect(&broker, version, Some("ann"), Some("any")), 0);
    }
    broker.wait_for_log("which this broker checks only if it knows users: broker user add");
}

#[test]
fn a_broker_that_others_can_reach_starts_only_with_users_or_open() {
    let users = users();
    for (flags, refused) in [
        (
            &["--host", "0.0.0.0"][..],
            Some("0.0.0.0:0 can be reached by others"),
        ),
        (
            &["--room", "0=lobby"],
            Some("the room lobby can be reached"),
        ),
        (
            &["--udp", "0"],
            Some("for lines in datagrams, can be reached"),
        ),
        (
            &["--proxy", "10.0.0.1"],
            Some("what the proxy 10.0.0.1/32 passes on"),
        ),
        (
            &["--open", "--users", users.path()],
            Some("leave one of them out"),
        ),
        (&["--host", "0.0.0.0", "--open"], None),
        (&["--host", "0.0.0.0", "--users", users.path()], None),
    ] {
        TestBroker::check(flags, refused);
    }
}
