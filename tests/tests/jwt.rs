//! Promises of `security.md` about JWTs: on each wire, what they leave of the rights, and when they end.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::Signal;
use serde_json::json;
use tests::frames::FrameClient;
use tests::mqtt::{BOTH, Hello, Mqtt, MqttClient, packet, text};
use tests::{
    Alg, Asker, JwtIssuer, PATIENCE, TestBroker, TestClient, UsersFile, eventually, in_seconds,
};

/// What a client is told of a JWT that does not count.
const REFUSED: &str = "this JWT is not taken; the operator finds the reason in the log";

fn broker_of(issuer: &JwtIssuer) -> TestBroker {
    TestBroker::with_args(&["--jwt-keys", &issuer.path()])
}

fn auth(broker: &TestBroker, token: &str) -> TestClient {
    let mut client = broker.connect();
    client.send(format!("AUTH {token}"));
    client
}

fn hello(user: Option<&str>, token: &str) -> Hello {
    Hello {
        user: user.map(str::to_owned),
        password: Some(token.to_owned()),
        ..Hello::new("meter")
    }
}

/// The code of the CONNACK.
#[track_caller]
fn connect(broker: &TestBroker, version: Mqtt, hello: &Hello) -> u8 {
    let mut client = MqttClient::dial(broker.address(), version);
    client.send(&hello.encode(version));
    client.packet()[3]
}

/// The status and the rest of the answer to a request.
#[track_caller]
fn ask(broker: &TestBroker, line: &str, token: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(broker.address()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("it is taken");
    stream.shutdown(Shutdown::Write).expect("a socket");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let status = answer[9..12].parse().expect("a status");
    (status, answer)
}

fn subprotocol(token: &str) -> String {
    let token = URL_SAFE_NO_PAD.encode(token);
    format!("Sec-WebSocket-Protocol: line, auth.{token}\r\n")
}

#[test]
fn a_jwt_of_each_algorithm_is_taken_on_each_wire() {
    let issuer = JwtIssuer::new();
    let broker = broker_of(&issuer);
    for algorithm in [Alg::Hs256, Alg::Es256, Alg::EdDsa] {
        let token = issuer.token_of(algorithm, "ann");
        auth(&broker, &token).expect("AUTHACK ann");
        broker
            .connect()
            .send(format!("AUTH ann {token}"))
            .expect("AUTHACK ann");
        for version in BOTH {
            assert_eq!(connect(&broker, version, &hello(Some("ann"), &token)), 0);
            assert_eq!(connect(&broker, version, &hello(Some(""), &token)), 0);
        }
        assert_eq!(connect(&broker, Mqtt::V5, &hello(None, &token)), 0);
        assert_eq!(ask(&broker, "POST /topics/a", &token, "hi").0, 200);
        let (status, answer) = ask(&broker, "GET /login", &token, "");
        assert_eq!(status, 200);
        assert!(answer.contains(r#""name":"ann","kind":"jwt""#), "{answer}");
        let (mut client, answer) =
            FrameClient::handshake(broker.address(), "/ws", &subprotocol(&token));
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        client
            .send_frame(0x81, b"AUTH\n")
            .expect(0x81, "AUTHACK ann\n");
    }
    // The longest.
    let claims = |pad: usize| json!({"sub": "ann", "exp": in_seconds(60), "pad": "x".repeat(pad)});
    let empty = issuer.token(Alg::Hs256, &claims(0)).len();
    let longest = issuer.token(Alg::Hs256, &claims((8192 - empty) / 4 * 3 - 3));
    assert!((8180..=8192).contains(&longest.len()), "{}", longest.len());
    auth(&broker, &longest).expect("AUTHACK ann");
    assert_eq!(connect(&broker, Mqtt::V5, &hello(None, &longest)), 0);
    assert_eq!(ask(&broker, "POST /topics/a", &longest, "hi").0, 200);
    let (_, answer) = FrameClient::handshake(broker.address(), "/ws", &subprotocol(&longest));
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let longer = issuer.token(Alg::Hs256, &claims((8192 - empty) / 4 * 3 + 9));
    auth(&broker, &longer).expect("ERROR auth line the name or the password is wrong");
    let mut client = auth(&broker, &issuer.token_of(Alg::Hs256, "ann"));
    client.expect("AUTHACK ann");
    let who = Asker::with(client).ask("who");
    assert_eq!(who["connections"][0]["kind"], "jwt", "{who}");
}

#[test]
fn a_jwt_that_does_not_count_is_refused_on_each_wire_and_the_log_says_why() {
    let issuer = JwtIssuer::new();
    let broker = broker_of(&issuer);
    let token = issuer.token_of(Alg::Es256, "ann");
    let wrong = issuer.token(
        Alg::Hs256,
        &json!({"sub": "unix:root", "exp": in_seconds(60)}),
    );
    auth(&broker, &wrong).expect(&*format!("ERROR auth line {REFUSED}"));
    broker.wait_for_log("a JWT is refused: its claims: sub is no name of an identity");
    for (version, code) in [(Mqtt::V3, 4), (Mqtt::V5, 0x86)] {
        assert_eq!(connect(&broker, version, &hello(Some("bob"), &token)), code);
    }
    // An address that fails waits longer and longer, so each wire has its own.
    let from = |last: u8| {
        let own = [127, 0, 1, last].into();
        TestClient::connect_from(own, broker.address())
    };
    for (at, path) in ["/topics/a", "/ws"].iter().enumerate() {
        let mut client = from(1 + u8::try_from(at).expect("two"));
        let credential = match at {
            0 => format!("Authorization: Bearer {wrong}\r\n"),
            _ => format!(
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}",
                subprotocol(&wrong)
            ),
        };
        client.write(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\n{credential}\r\n"
        ));
        client.expect_prefix("HTTP/1.1 401 ");
    }
    let ended = issuer.token(Alg::EdDsa, &json!({"sub": "ann", "exp": in_seconds(-1)}));
    let mut client = from(3);
    client
        .send(format!("AUTH {ended}"))
        .expect("ERROR auth line this token has ended; ask for a new one");
    // A refusal leaves the client what it was.
    client.send("AUTH").expect("AUTHACK anonymous");
    let log = broker.log();
    assert!(!log.contains(&wrong) && !log.contains(&token), "{log}");
}

/// What each wire says of what one client may do.
#[test]
fn groups_give_rights_and_the_claim_leaves_a_part_of_them_on_each_wire() {
    let issuer = JwtIssuer::new();
    let access = issuer.path() + ".access";
    let rules = "group sensors\ngroup other\nallow @sensors publish subscribe home/#\nallow @other publish secret/#\n";
    fs::write(&access, rules).expect("room");
    let broker = TestBroker::with_args(&["--jwt-keys", &issuer.path(), "--access", &access]);
    let claims = |dallal| {
        let mut claims = json!({"sub": "m1", "exp": in_seconds(60), "groups": ["sensors"]});
        if let Some(dallal) = dallal {
            claims["dallal"] = dallal;
        }
        issuer.token(Alg::Es256, &claims)
    };
    let whole = claims(None);
    let part = claims(Some(json!({
        "publish": ["home/%u/#", "secret/#"], "subscribe": ["home/m1/#", "secret/#"]
    })));
    let nothing = claims(Some(json!({})));
    let table = [
        ("home/m1/a", [true, true, false]),
        ("home/m2/a", [true, false, false]),
        ("secret/a", [false, false, false]),
    ];
    for (at, token) in [&whole, &part, &nothing].into_iter().enumerate() {
        let mut line = auth(&broker, token);
        line.expect("AUTHACK m1");
        let mut mqtt = MqttClient::dial(broker.address(), Mqtt::V5);
        mqtt.send(&hello(None, token).encode(Mqtt::V5));
        let is_in = mqtt.packet()[3] == 0;
        for (topic, allowed) in &table {
            let allowed = allowed[at];
            line.send(format!("PUBLISH {topic} x"));
            let answer = line.read_line();
            assert_eq!(answer.starts_with("PUBACK "), allowed, "{topic}: {answer}");
            if !allowed {
                assert!(answer.starts_with("ERROR denied publish:"), "{answer}");
                line.expect_prefix("PUBACK ");
            }
            line.send(format!("SUBSCRIBE {topic}"));
            let answer = line.read_line();
            assert_eq!(answer.starts_with("SUBACK "), allowed, "{topic}: {answer}");
            if allowed {
                line.send(format!("UNSUBSCRIBE {topic}"))
                    .expect_prefix("UNSUBACK");
            }
            let (status, answer) = ask(&broker, &format!("POST /topics/{topic}"), token, "x");
            assert_eq!(status == 200, allowed, "{answer}");
            if is_in {
                let code = mqtt.ask_to_subscribe(topic, 0, &[]);
                assert_eq!(code == 0, allowed, "{topic}: {code:x}");
                let unheard = format!("{topic}/x");
                mqtt.publish_as(0x32, &unheard, 7, b"x");
                let puback = mqtt.packet();
                let is_taken = puback.get(4).is_none_or(|code| *code != 0x87);
                assert_eq!(is_taken, allowed, "{topic}: {puback:02x?}");
            } else {
                assert_eq!(at, 2, "only one that may do nothing stays out");
            }
        }
    }
    // A claim that names no right is refused as a whole.
    let bad = claims(Some(json!({"fly": ["home/#"]})));
    auth(&broker, &bad).expect(&*format!("ERROR auth line {REFUSED}"));
    broker.wait_for_log("its claim dallal: ");
}

#[test]
fn a_jwt_that_ends_ends_what_lives_by_it_and_a_new_one_goes_on() {
    let issuer = JwtIssuer::new();
    let broker = broker_of(&issuer);
    let short = issuer.token(Alg::EdDsa, &json!({"sub": "ann", "exp": in_seconds(6)}));
    let [mut ended, mut renewed] = [(); 2].map(|()| {
        let mut client = auth(&broker, &short);
        client.expect("AUTHACK ann");
        client
    });
    let (mut mqtt, _) = MqttClient::enter(broker.address(), Mqtt::V5, &hello(None, &short));
    let (mut web, _) = FrameClient::handshake(broker.address(), "/ws", &subprotocol(&short));
    ended.expect_prefix("ERROR auth line your token ends in less than a minute");
    renewed.expect_prefix("ERROR auth line your token ends in less than a minute");
    renewed
        .send(format!("AUTH {}", issuer.token_of(Alg::Hs256, "bob")))
        .expect_prefix("ERROR denied line this connection belongs to ann");
    renewed
        .send(format!("AUTH {}", issuer.token_of(Alg::Hs256, "ann")))
        .expect("AUTHACK ann");
    ended.expect_prefix("ERROR auth line your user or your token has ended");
    ended.expect("BYE");
    ended.expect_end();
    assert_eq!(mqtt.packet(), [0xe0, 2, 0x87, 0]);
    let mut frame = web.next_frame();
    while frame.0 != 0x88 {
        frame = web.next_frame();
    }
    assert_eq!(frame.1[..2], 1008_u16.to_be_bytes());
    renewed.send("PING").expect("PONG");
}

#[test]
fn what_a_key_has_signed_ends_when_the_key_leaves_the_file_and_a_mistake_ends_nothing() {
    let issuer = JwtIssuer::new();
    let broker = broker_of(&issuer);
    let [mut gone, mut stays] = [Alg::Hs256, Alg::Es256].map(|algorithm| {
        let mut client = auth(&broker, &issuer.token_of(algorithm, "ann"));
        client.expect("AUTHACK ann");
        client
    });
    gone.send("SUBSCRIBE will").expect("SUBACK will");
    stays.send("WILL will stays").expect("WILLACK will");
    for text in ["<html>", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"] {
        issuer.publish_text(text);
        let stay = "the keys of JWT stay as they were";
        eventually("each mistake is told", || {
            let log = broker.log();
            log.matches(stay).count() == if text.starts_with('<') { 1 } else { 2 }
        });
        gone.send("PING").expect("PONG");
        auth(&broker, &issuer.token_of(Alg::Hs256, "bob")).expect("AUTHACK bob");
    }
    issuer.publish(&[Alg::Es256]);
    gone.expect_prefix("ERROR auth line your user or your token has ended");
    gone.expect("BYE");
    gone.expect_end();
    broker.wait_for_log("1 keys of JWT are in force");
    auth(&broker, &issuer.token_of(Alg::Hs256, "ann"))
        .expect(&*format!("ERROR auth line {REFUSED}"));
    stays.send("PING").expect("PONG");
    // A session of a name that is in no file stays.
    let mut other = auth(&broker, &issuer.token_of(Alg::Es256, "bob"));
    other.expect("AUTHACK bob");
    other.send("SUBSCRIBE will").expect("SUBACK will");
    stays.vanish();
    other.expect("MESSAGE will stays");
}

#[test]
fn a_reload_takes_other_keys_another_issuer_and_another_audience_or_nothing() {
    let issuer = JwtIssuer::new();
    let config = issuer.path() + ".toml";
    let write = |more: &str| {
        let text = format!("jwt-keys = {:?}\n{more}\n", issuer.path());
        fs::write(&config, text).expect("room");
    };
    write("");
    let broker = TestBroker::with_args(&["--config", &config]);
    broker.wait_for_log("without --jwt-audience");
    let with = |audience: &str| {
        let claims = json!({"sub": "ann", "exp": in_seconds(60), "aud": audience, "iss": "x"});
        issuer.token(Alg::Es256, &claims)
    };
    let [mut ours, mut other] = ["ours", "other"].map(|audience| {
        let mut client = auth(&broker, &with(audience));
        client.expect("AUTHACK ann");
        client
    });
    issuer.publish_text("{");
    write("jwt-audience = \"ours\"");
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload: nothing has changed");
    other.send("PING").expect("PONG");
    issuer.publish(&[Alg::Es256]);
    broker.signal(Signal::HUP);
    other.expect_prefix("ERROR auth line your user or your token has ended");
    broker.wait_for_log("reload: applied");
    ours.send("PING").expect("PONG");
    auth(&broker, &with("other")).expect(&*format!("ERROR auth line {REFUSED}"));
    write("jwt-audience = \"ours\"\njwt-issuer = \"y\"");
    broker.signal(Signal::HUP);
    ours.expect_prefix("ERROR auth line your user or your token has ended");
}

#[test]
fn a_broker_with_keys_alone_asks_clients_and_one_with_users_takes_both() {
    let issuer = JwtIssuer::new();
    let users = UsersFile::of(&[("ann", "right")]);
    let token = users.run(&["token", "add", "ann"], "");
    let broker = broker_of(&issuer);
    broker
        .connect()
        .send("PUBLISH a x")
        .expect_prefix("ERROR auth publish:1 ");
    for (version, code) in [(Mqtt::V3, 5), (Mqtt::V5, 0x87)] {
        assert_eq!(connect(&broker, version, &Hello::new("x")), code);
    }
    let both = TestBroker::with_args(&["--jwt-keys", &issuer.path(), "--users", users.path()]);
    auth(&both, "ann right").expect("AUTHACK ann");
    auth(&both, &issuer.token_of(Alg::Es256, "eve")).expect("AUTHACK eve");
    auth(&both, &token).expect("AUTHACK ann");
    users.run(&["user", "disable", "ann"], "");
    eventually("a disabled user has no JWT either", || {
        let mut client = auth(&both, &issuer.token_of(Alg::Es256, "ann"));
        client.read_line() == "ERROR auth line this user is disabled; ask the operator"
    });
    let keys = issuer.path();
    for (flags, refused) in [
        (&["--host", "0.0.0.0", "--jwt-keys", &keys][..], None),
        (
            &["--open", "--jwt-keys", &keys],
            Some("leave one of them out"),
        ),
        (&["--jwt-issuer", "x"], Some("name it by --jwt-keys FILE")),
        (
            &["--jwt-keys", "/nowhere/keys"],
            Some("/nowhere/keys cannot be read"),
        ),
        (&["--jwt-keys", users.path()], Some("no JSON Web Key Set")),
    ] {
        TestBroker::check(flags, refused);
    }
}

/// The properties of CONNECT and AUTH that name a method and show this.
fn by_method(method: &str, data: Option<&str>) -> Vec<u8> {
    let mut properties = [&[0x15][..], &text(method)].concat();
    if let Some(data) = data {
        properties.push(0x16);
        properties.extend(text(data));
    }
    properties
}

fn hello_by_method(method: &str, data: Option<&str>) -> Hello {
    Hello {
        properties: by_method(method, data),
        ..Hello::new("meter")
    }
}

/// An AUTH with this code and these properties.
fn auth_packet(code: u8, properties: &[u8]) -> Vec<u8> {
    let length = packet(code, properties);
    packet(0xf0, &length)
}

/// What the broker answers when a token was renewed.
const RENEWED: [u8; 10] = [0xf0, 8, 0, 6, 0x15, 0, 3, b'J', b'W', b'T'];

#[test]
fn a_client_of_mqtt_5_shows_its_jwt_by_the_method_jwt_and_renews_it() {
    let issuer = JwtIssuer::new();
    let broker = broker_of(&issuer);
    let short = issuer.token(Alg::Es256, &json!({"sub": "ann", "exp": in_seconds(6)}));
    let mut clients = ["one", "two"].map(|id| {
        let mut client = MqttClient::dial(broker.address(), Mqtt::V5);
        let hello = Hello {
            id: id.to_owned(),
            ..hello_by_method("JWT", Some(&short))
        };
        client.send(&hello.encode(Mqtt::V5));
        let connack = client.packet();
        assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
        // It names the method.
        assert!(
            connack.ends_with(&[0x15, 0, 3, b'J', b'W', b'T']),
            "{connack:02x?}"
        );
        client
    });
    let [ended, renewed] = &mut clients;
    let longer = issuer.token_of(Alg::EdDsa, "ann");
    // The answers of a batch keep their order.
    renewed.send(
        &[
            auth_packet(0x19, &by_method("JWT", Some(&longer))),
            vec![0xc0, 0],
        ]
        .concat(),
    );
    renewed.expect(&RENEWED).expect(&[0xd0, 0]);
    ended.expect_dismissal(0x87);
    renewed
        .subscribe("a", 0)
        .publish("a", "x")
        .expect_message(0, "a", "x");
    for (code, properties, expected) in [
        (
            0x19,
            by_method("JWT", Some(&issuer.token_of(Alg::EdDsa, "bob"))),
            0x87,
        ),
        (0x19, by_method("JWT", Some(&short)), 0x87),
        (0x19, by_method("JWT", None), 0x87),
        (0x19, by_method("SCRAM", Some(&longer)), 0x82),
        (0x18, by_method("JWT", Some(&longer)), 0x82),
        (0, by_method("JWT", Some(&longer)), 0x82),
    ] {
        let mut client = MqttClient::dial(broker.address(), Mqtt::V5);
        client.send(&hello_by_method("JWT", Some(&longer)).encode(Mqtt::V5));
        assert_eq!(client.packet()[3], 0);
        client.send(&auth_packet(code, &properties));
        client.expect_dismissal(expected);
    }
    // A password has no method, so it cannot be renewed.
    let (mut client, _) = MqttClient::enter(broker.address(), Mqtt::V5, &hello(None, &longer));
    client.send(&auth_packet(0x19, &by_method("JWT", Some(&longer))));
    client.expect_dismissal(0x82);
}

#[test]
fn other_methods_other_data_and_two_credentials_are_refused() {
    let issuer = JwtIssuer::new();
    let users = UsersFile::of(&[("ann", "right")]);
    let broker = TestBroker::with_args(&["--jwt-keys", &issuer.path(), "--users", users.path()]);
    let token = issuer.token_of(Alg::Es256, "ann");
    let user = |hello: Hello, user: &str| Hello {
        user: Some(user.to_owned()),
        ..hello
    };
    let shown = || hello_by_method("JWT", Some(&token));
    for (hello, code) in [
        (shown(), 0),
        (user(shown(), "ann"), 0),
        (user(shown(), "bob"), 0x86),
        (user(hello_by_method("JWT", Some("right")), "ann"), 0x86),
        (hello_by_method("JWT", None), 0x86),
        (hello_by_method("jwt", Some(&token)), 0x8c),
        (hello_by_method("SCRAM-SHA-256", Some("x")), 0x8c),
        (
            Hello {
                password: Some("right".to_owned()),
                ..user(shown(), "ann")
            },
            0x86,
        ),
    ] {
        assert_eq!(connect(&broker, Mqtt::V5, &hello), code, "{hello:?}");
    }
    let plain = TestBroker::with_args(&["--users", users.path()]);
    assert_eq!(connect(&plain, Mqtt::V5, &shown()), 0x8c);
}
