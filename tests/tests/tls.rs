//! Promises of `tls.md`: every protocol inside of TLS, on the same port, and how TLS ends.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tests::certificates::{Authority, Wanted};
use tests::{
    PATIENCE, Process, TestBroker, TestClient, TlsClient, TlsOffer, eventually, foreign, installed,
};

/// A broker with a certificate, and its authority.
fn broker_with(flags: &[&str]) -> (TestBroker, Authority) {
    let ca = Authority::new();
    let files = ca.sign("broker", &Wanted::HERE);
    let broker = TestBroker::with_args(&[&files.flags()[..], flags].concat());
    (broker, ca)
}

fn connect(broker: &TestBroker, ca: &Authority) -> TlsClient {
    TlsOffer::new(&ca.pem()).connect(broker.address())
}

/// Waits until the broker has read all that this client has sent, as the system's table of sockets tells.
fn wait_until_read(client: &TcpStream) {
    let port = |address: io::Result<SocketAddr>| {
        let address = address.expect("it is connected");
        format!(":{:04X}", address.port())
    };
    let (here, there) = (port(client.local_addr()), port(client.peer_addr()));
    eventually("the broker has read", || {
        let table = fs::read_to_string("/proc/net/tcp").expect("a table");
        let has_none = |from: &str, to: &str| {
            table.lines().any(|socket| {
                let fields: Vec<&str> = socket.split_whitespace().collect();
                matches!(fields[..], [_, local, remote, _, "00000000:00000000", ..]
                    if local.ends_with(from) && remote.ends_with(to))
            })
        };
        has_none(&here, &there) && has_none(&there, &here)
    });
}

const PYTHON: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
stream = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))), server_hostname="localhost")
stream.sendall(b"PUBLISH news from-python\nBYE\n")
print(stream.makefile().read(), end="")
"#;

#[test]
fn all_protocols_meet_inside_of_tls_and_outside() {
    let (broker, ca) = broker_with(&[]);
    let port = broker.address().port().to_string();
    let pem = ca.pem();
    let pem = pem.to_str().expect("text");
    let mut plain = broker.subscribe("news");
    let mut inside = connect(&broker, &ca);
    inside.send("SUBSCRIBE news").expect("SUBACK news");
    let mut both = |text: &str| {
        plain.expect(format!("MESSAGE news {text}"));
        inside.expect(&format!("MESSAGE news {text}"));
    };
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-quiet", "-verify_return_error", "-CAfile", pem]);
    let mut openssl = Process::start(openssl.arg("-connect").arg(format!("localhost:{port}")));
    openssl
        .write("PUBLISH news from-openssl\n")
        .expect("PUBACK 1 2");
    both("from-openssl");
    let mut python = Process::start(&mut foreign::python(PYTHON, &[&port, pem]));
    both("from-python");
    python.expect("PUBACK 1 2").expect("BYE");
    let mut curl = installed("curl", "curl");
    let url = format!("https://localhost:{port}/topics/news");
    curl.args([
        "-sS",
        "--http1.1",
        "--cacert",
        pem,
        "--data-binary",
        "from-curl",
        &url,
    ]);
    assert!(curl.status().expect("it runs").success());
    both("from-curl");
    for version in ["311", "5"] {
        let mut mosquitto = foreign::mosquitto("mosquitto_pub", broker.address());
        mosquitto.args(["--cafile", pem, "-V", version]);
        let published = mosquitto
            .args(["-t", "news", "-m", "from-mosquitto", "-q", "2"])
            .status();
        assert!(published.expect("it runs").success());
        both("from-mosquitto");
    }
    // A WebSocket inside: the switch, and a frame of text with a mask of zeros.
    let mut socket = connect(&broker, &ca);
    socket.write(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    socket.expect("HTTP/1.1 101 Switching Protocols\r");
    socket.write(b"\x81\x97\0\0\0\0PUBLISH news from-frame");
    both("from-frame");
}

#[test]
fn a_room_is_inside_of_tls_as_well() {
    let (broker, ca) = broker_with(&["--open", "--room", "0=lobby"]);
    let mut news = broker.subscribe("lobby");
    let mut ann = TlsOffer::new(&ca.pem()).connect(broker.room_address());
    ann.write(b"ann\n");
    eventually("ann is there", || {
        let _ = ann.write(b"hello\n");
        news.read_line().contains("hello")
    });
}

#[test]
fn versions_and_suites_are_those_of_today_and_tls_1_2_can_be_left_out() {
    let (broker, ca) = broker_with(&[]);
    let strict = {
        let files = ca.sign("strict", &Wanted::HERE);
        TestBroker::with_args(&[&files.flags()[..], &["--tls-min", "1.3"]].concat())
    };
    let handshake = |broker: &TestBroker, flags: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &broker.address().to_string()]);
        openssl.args(["-servername", "localhost"]).args(flags);
        let mut openssl = Process::start(&mut openssl);
        openssl.end_input();
        let (status, said, errors) = openssl.end();
        (
            status.success(),
            String::from_utf8_lossy(&said).into_owned() + &errors,
        )
    };
    let weak = "ALL:@SECLEVEL=0";
    for version in ["-tls1", "-tls1_1"] {
        let (done, said) = handshake(&broker, &[version, "-cipher", weak]);
        assert!(!done && said.contains("alert"), "{said}");
    }
    broker.wait_for_log("fails: no shared version");
    for suite in [
        "AES128-SHA",
        "AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES128-SHA",
        "NULL-SHA256",
        "ADH-AES128-SHA",
    ] {
        let (done, said) = handshake(
            &broker,
            &["-tls1_2", "-cipher", &format!("{suite}:@SECLEVEL=0")],
        );
        assert!(!done, "{suite}: {said}");
    }
    // Of those that both have, the broker's order counts.
    let (done, said) = handshake(&broker, &["-tls1_2"]);
    assert!(
        done && said.contains("ECDHE-ECDSA-AES128-GCM-SHA256"),
        "{said}"
    );
    for what in ["Secure Renegotiation IS supported", "Compression: NONE"] {
        assert!(said.contains(what), "{what}: {said}");
    }
    let (done, said) = handshake(
        &broker,
        &[
            "-ciphersuites",
            "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
        ],
    );
    assert!(done && said.contains("TLS_AES_128_GCM_SHA256"), "{said}");
    assert!(
        said.contains("Max Early Data: 0") || !said.contains("Max Early Data:"),
        "{said}"
    );
    let (done, said) = handshake(&strict, &["-tls1_2"]);
    assert!(!done && said.contains("alert"), "{said}");
    assert!(handshake(&strict, &[]).0);
}

#[test]
fn a_protocol_that_was_agreed_on_is_the_only_one_that_may_follow() {
    let (broker, ca) = broker_with(&[]);
    let try_alpn = |inside: &[&str], is_1_2| {
        TlsOffer::with(&ca.pem(), None, inside, is_1_2).try_connect(broker.address(), "localhost")
    };
    for is_1_2 in [false, true] {
        let mut lines = try_alpn(&["h2", "dallal"], is_1_2).expect("one is known");
        assert_eq!(lines.tls().alpn_protocol(), Some(&b"dallal"[..]));
        lines.send("PING").expect("PONG");
        for (agreed, said) in [
            ("http/1.1", &b"PING\n"[..]),
            ("mqtt", b"PING\n"),
            ("dallal", b"GET /healthz HTTP/1.0\r\n\r\n"),
            ("http/1.1", b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0"),
        ] {
            let mut client = try_alpn(&[agreed], is_1_2).expect("it is known");
            client.write(said);
            let refused = client.try_line().expect_err("it is another protocol");
            assert!(
                refused.to_string().contains("UnexpectedMessage"),
                "{agreed}: {refused}"
            );
        }
        let refused = try_alpn(&["h2"], is_1_2).err().expect("none is known");
        assert!(
            refused.to_string().contains("NoApplicationProtocol"),
            "{refused}"
        );
    }
    let mut web = try_alpn(&["http/1.1", "mqtt"], false).expect("both are known");
    assert_eq!(
        web.tls().alpn_protocol(),
        Some(&b"mqtt"[..]),
        "the broker's order counts"
    );
    web.write(b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0");
}

#[test]
fn tls_inside_of_tls_is_refused() {
    let (broker, ca) = broker_with(&[]);
    let mut client = connect(&broker, &ca);
    client.write(b"\x16\x03\x01\x00\x05hello");
    client.expect_closed();
}

#[test]
fn a_goodbye_comes_before_the_end_that_tls_announces() {
    let (broker, ca) = broker_with(&[]);
    let mut client = connect(&broker, &ca);
    client.send("BYE").expect("BYE").expect_closed();
    // A client that ends its side still gets what comes.
    let mut news = connect(&broker, &ca);
    news.send("SUBSCRIBE news").expect("SUBACK news").end();
    // As without TLS, it is asked whether it is still there.
    news.expect("PING");
    broker.connect().send("PUBLISH news a").expect("PUBACK 1 1");
    news.expect("MESSAGE news a");
    assert_eq!(broker.stop().code, Some(0));
    news.expect("BYE").expect_closed();
}

#[test]
fn an_end_that_tls_does_not_announce_is_a_failure_and_the_will_is_published() {
    let (broker, ca) = broker_with(&[]);
    let mut wills = broker.subscribe("will");
    let mut client = connect(&broker, &ca);
    let connect_with_will = b"\x10\x18\0\x04MQTT\x04\x06\0\0\0\0\0\x04will\0\x04gone";
    client.write(connect_with_will);
    let mut connack = [0; 4];
    let mut read = 0;
    while read < 4 {
        let tls = client.tls();
        read += tls.reader().read(&mut connack[read..]).unwrap_or(0);
        let (tls, tcp) = client.parts();
        if read < 4 {
            tls.complete_io(tcp).expect("CONNACK");
        }
    }
    client.cut();
    wills.expect("MESSAGE will gone");
    broker.wait_for_log("the connection failed: the client did not say in TLS that it was done");
    // A line without its end is none then.
    let mut cut = connect(&broker, &ca);
    cut.send("PING").expect("PONG").write(b"PUBLISH will half");
    cut.cut();
    wills.expect_silence();
}

#[test]
fn keys_are_renewed_at_each_record_and_records_may_have_one_byte() {
    let (broker, ca) = broker_with(&[]);
    let mut client = connect(&broker, &ca);
    client.send("SUBSCRIBE a").expect("SUBACK a");
    for number in 1..=100 {
        client.tls().refresh_traffic_keys().expect("TLS 1.3");
        client.send(&format!("PUBLISH a {number}"));
        client.expect(&format!("MESSAGE a {number}"));
        client.expect(&format!("PUBACK {number} 1"));
    }
    for byte in b"PUBLISH a in-pieces\n" {
        client.write(&[*byte]);
    }
    client.expect("MESSAGE a in-pieces").expect("PUBACK 101 1");
}

#[test]
fn a_handshake_may_come_byte_by_byte_and_what_is_no_tls_ends_in_an_alert() {
    let (broker, ca) = broker_with(&[]);
    let mut client = TlsOffer::new(&ca.pem()).begin(broker.address());
    while client.tls().is_handshaking() {
        let (tls, tcp) = client.parts();
        let mut flight = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut flight).expect("memory");
        }
        for byte in flight {
            tcp.write_all(&[byte]).expect("the socket is open");
        }
        if tls.is_handshaking() {
            tls.read_tls(tcp).expect("an answer");
            tls.process_new_packets().expect("a handshake");
        }
    }
    client.send("PING").expect("PONG");
    for (sent, alert) in [
        // A record that is too long, and garbage inside of one.
        (&b"\x16\x03\x01\xff\xff"[..], &b"\x15\x03"[..]),
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", b"\x15\x03"),
    ] {
        let mut stream = TcpStream::connect(broker.address()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream.write_all(sent).expect("the socket is open");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it is closed");
        assert!(
            answer.starts_with(alert),
            "{}: {}",
            sent.escape_ascii(),
            answer.escape_ascii()
        );
    }
    broker.wait_for_log("fails: what it sends is no TLS");
}

#[test]
fn handshakes_that_do_not_go_on_end_after_ten_seconds_and_delay_no_client() {
    let (broker, ca) = broker_with(&["--max-connections", "600", "--max-per-address", "0"]);
    let began = Instant::now();
    let mut half: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(broker.address()).expect("it listens");
            stream
                .write_all(b"\x16\x03\x01\x02\x00\x01")
                .expect("the socket is open");
            stream
        })
        .collect();
    connect(&broker, &ca).send("PING").expect("PONG");
    assert!(began.elapsed() < Duration::from_secs(5));
    let last = half.last_mut().expect("there are some");
    last.set_read_timeout(Some(PATIENCE * 2)).expect("a time");
    let mut answer = Vec::new();
    last.read_to_end(&mut answer).expect("it is closed");
    let took = began.elapsed();
    assert!((9..15).contains(&took.as_secs()), "{took:?}");
    broker.wait_for_log("fails: it was not done within 10 s");
}

#[test]
fn a_slow_reader_loses_only_what_is_told_and_what_was_encrypted_arrives() {
    let (broker, ca) = broker_with(&["--max-line", "64KiB", "--outbox-bytes", "64KiB"]);
    let mut slow = connect(&broker, &ca);
    slow.send("SUBSCRIBE a").expect("SUBACK a");
    let mut publisher = broker.connect();
    let payload = "x".repeat(1000);
    let count = 20_000;
    for number in 0..count {
        publisher.send(format!("PUBLISH a {number} {payload}"));
    }
    while !publisher
        .read_line()
        .starts_with(&format!("PUBACK {count} "))
    {}
    let reader = thread::spawn(move || {
        slow.send("PING end");
        let (mut next, mut dropped, mut came) = (0, 0, 0);
        loop {
            let line = slow.try_line().expect("a line").expect("no end");
            if line == "PONG end" {
                return (came, dropped);
            } else if let Some(count) = line.strip_prefix("GAP ") {
                let count: u64 = count.parse().expect("a number");
                (next, dropped) = (next + count, dropped + count);
            } else {
                let number = line
                    .split(' ')
                    .nth(2)
                    .and_then(|number| number.parse().ok());
                assert_eq!(number, Some(next), "{line:.40}");
                (next, came) = (next + 1, came + 1);
            }
        }
    });
    let (came, dropped) = reader.join().expect("no panic");
    assert_eq!(came + dropped, count);
    assert!(dropped > 0, "it was not slow");
}

#[test]
fn where_tls_is_required_each_client_without_it_is_told_so_in_its_own_protocol() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("broker.sock");
    let path = socket.to_str().expect("text");
    let (broker, ca) = broker_with(&[
        "--open", "--tls", "required", "--room", "0=lobby", "--unix", path,
    ]);
    let text = "this port speaks TLS only";
    let answer = |sent: &[u8]| {
        let mut client = broker.connect();
        client.write(sent).read_to_end()
    };
    for line in [&b"PUBLISH a b\n"[..], b"HELP\n", b"\n"] {
        assert_eq!(answer(line), format!("ERROR auth line {text}\n"));
    }
    let told = answer(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(
        told.starts_with("HTTP/1.1 400 ") && told.ends_with(&format!("{text}\n")),
        "{told}"
    );
    let connect_3 = b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0";
    let connect_5 = b"\x10\x0d\0\x04MQTT\x05\x02\0\0\0\0\0";
    let mut mqtt = TcpStream::connect(broker.address()).expect("it listens");
    // Also if the version comes later.
    let (before, version) = connect_3.split_at(4);
    mqtt.write_all(before).expect("the socket is open");
    wait_until_read(&mqtt);
    mqtt.write_all(version).expect("the socket is open");
    let mut connack = Vec::new();
    mqtt.read_to_end(&mut connack).expect("it is closed");
    assert_eq!(connack, b"\x20\x02\0\x05");
    assert!(answer(connect_5).contains(text));
    let mut room = TestClient::connect(broker.room_address());
    assert_eq!(room.send("ann").read_to_end(), format!("* {text}\n"));
    connect(&broker, &ca).send("PING").expect("PONG");
    let mut unix = std::os::unix::net::UnixStream::connect(&socket).expect("it listens");
    unix.write_all(b"BYE\n").expect("the socket is open");
    let mut told = String::new();
    unix.read_to_string(&mut told).expect("it is closed");
    assert_eq!(told, "BYE\n");
}

#[test]
fn beyond_loopback_a_certificate_makes_tls_required_unless_it_is_only_offered() {
    let refused = "ERROR auth line this port speaks TLS only";
    for (flags, here, there) in [
        (&[][..], "PONG", refused),
        (&["--tls", "offered"], "PONG", "PONG"),
        (&["--tls", "required"], refused, refused),
    ] {
        let (broker, _) = broker_with(&[&["--open", "--listen", "0.0.0.0:0"], flags].concat());
        let other = broker.other_addresses()[0].port();
        for (port, told) in [(broker.address().port(), here), (other, there)] {
            let mut client = TestClient::connect(([127, 0, 0, 1], port).into());
            assert_eq!(client.send("PING").read_line(), told, "{flags:?}");
        }
    }
}
