//! Promises of `docs/proxies.md`: the address of a client behind a proxy, and the configurations shown there.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use serde_json::Value;
use tests::frames::FrameClient;
use tests::mqtt::{Mqtt, MqttClient};
use tests::{Asker, NetworkProxy, ProxyProgram, TestBroker, TestClient, eventually};

/// The address of the proxy, as `--proxy` names it in all tests.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2: command, family, addresses and further fields.
fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = (rest.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, family], &len, rest].concat()
}

fn broker() -> TestBroker {
    TestBroker::with_args(&["--open", "--proxy", "127.0.0.2"])
}

/// The addresses of all connections but that of the asker, which is the last.
#[track_caller]
fn peers(broker: &TestBroker) -> Vec<String> {
    let who = Asker::of(broker).ask("who");
    let rows = who["connections"].as_array().expect("rows");
    let peers = rows.iter().filter_map(|row| row["peer"].as_str());
    let mut peers: Vec<String> = peers.map(str::to_owned).collect();
    peers.pop();
    peers
}

#[test]
fn the_header_of_a_proxy_tells_the_address_of_the_client() {
    let v4 = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 0x05, 0x5d];
    let mut v6 = [0; 36];
    v6[..16].copy_from_slice(
        &"2001:db8::7"
            .parse::<std::net::Ipv6Addr>()
            .expect("an address")
            .octets(),
    );
    v6[32..].copy_from_slice(&[0x12, 0x67, 0x05, 0x5d]);
    let mapped = "PROXY TCP6 ::ffff:203.0.113.7 ::ffff:192.0.2.1 4711 1373\r\n";
    let with_fields = [&v4[..], &[0x04, 0, 2, 1, 2], &[0xe0, 0, 0]].concat();
    for (header, peer) in [
        (
            b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 1373\r\n".to_vec(),
            "203.0.113.7:4711",
        ),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 1373\r\n".to_vec(),
            "[2001:db8::7]:4711",
        ),
        (mapped.into(), "203.0.113.7:4711"),
        (version_2(0x21, 0x11, &v4), "203.0.113.7:4711"),
        (version_2(0x21, 0x21, &v6), "[2001:db8::7]:4711"),
        (version_2(0x21, 0x11, &with_fields), "203.0.113.7:4711"),
    ] {
        let broker = broker();
        let mut ann = TestClient::connect_from(PROXY, broker.address());
        // In two parts, as the network may cut it.
        let (first, rest) = header.split_at(14);
        ann.write(first);
        ann.write([rest, b"SUBSCRIBE news\n"].concat());
        ann.expect("SUBACK news");
        assert_eq!(peers(&broker), [peer]);
        ann.send("BYE").expect("BYE");
        broker.wait_for_log(&format!("from {peer} ends"));
    }
}

#[test]
fn a_proxy_that_speaks_for_itself_has_its_own_address() {
    let v4 = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 0x05, 0x5d];
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 203.0.113.7 192.0.2.1 4711 1373\r\n".to_vec(),
        version_2(0x20, 0x00, &[]),
        // The addresses of LOCAL are to be ignored.
        version_2(0x20, 0x11, &v4),
    ] {
        let broker = broker();
        let mut check = TestClient::connect_from(PROXY, broker.address());
        check.write([&header[..], b"PING\n"].concat());
        check.expect("PONG");
        assert_eq!(peers(&broker), [check.local_addr().to_string()]);
    }
}

#[test]
fn every_protocol_may_follow_a_header() {
    let broker = broker();
    let header = "PROXY TCP4 203.0.113.7 192.0.2.1 4711 1373\r\n";
    let mut http = TestClient::connect_from(PROXY, broker.address());
    http.write(format!(
        "{header}GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ));
    http.expect("HTTP/1.1 200 OK\r");
    let mut mqtt = TestClient::connect_from(PROXY, broker.address());
    mqtt.write([header.as_bytes(), b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a"].concat());
    mqtt.write(b"\xe0\0");
    assert_eq!(mqtt.read_to_end(), " \u{2}\0\0");
}

#[test]
fn what_a_proxy_sends_without_a_header_is_not_taken() {
    let broker = broker();
    let mut bob = broker.subscribe("news");
    let wrong = [
        &b"PUBLISH news from nowhere\n"[..],
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a",
        b"PROXY TCP4 203.0.113.7 nonsense\r\nPUBLISH news x\n",
        // Version 3 does not exist.
        &version_2(0x31, 0x11, &[0; 12]),
        &[&b"PROXY TCP4 "[..], &[b'1'; 200]].concat(),
    ];
    for (count, first) in wrong.into_iter().enumerate() {
        let mut proxy = TestClient::connect_from(PROXY, broker.address());
        proxy.write(first);
        proxy.expect_closed();
        let why = "it did not begin with a PROXY header; let the proxy send one";
        eventually("the log says why", || {
            broker.log().matches(why).count() > count
        });
    }
    bob.expect_silence();
}

/// CONNECT of MQTT 3.1.1.
const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a";

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A client at this address, behind the proxy, that begins with these bytes.
#[track_caller]
fn behind_proxy(broker: &TestBroker, address: &str, first: &[u8]) -> TestClient {
    let mut client = TestClient::connect_from(PROXY, broker.address());
    let header = format!("PROXY TCP4 {address} 192.0.2.1 4711 1373\r\n");
    client.write([header.as_bytes(), first].concat());
    client
}

/// Clients of all protocols are told in their own that there is no place.
#[track_caller]
fn check_no_place(broker: &TestBroker, address: &str) {
    let mut line = behind_proxy(broker, address, b"PING\n");
    line.expect_error("busy", "line");
    line.expect_closed();
    let mut http = behind_proxy(broker, address, GET);
    http.expect("HTTP/1.1 503 Service Unavailable\r");
    let mut mqtt = behind_proxy(broker, address, CONNECT);
    assert_eq!(mqtt.read_to_end(), " \u{2}\0\u{3}");
}

#[test]
fn the_limit_for_one_address_is_that_of_the_client_behind_the_proxy() {
    let flags = ["--open", "--proxy", "127.0.0.2", "--max-per-address", "2"];
    let broker = TestBroker::with_args(&flags);
    let mut first = behind_proxy(&broker, "203.0.113.7", b"PING\n");
    first.expect("PONG");
    let mut second = behind_proxy(&broker, "203.0.113.7", b"PING\n");
    second.expect("PONG");
    check_no_place(&broker, "203.0.113.7");
    for number in 0..5 {
        let mut other = behind_proxy(&broker, &format!("203.0.113.{}", 10 + number), b"PING\n");
        other.expect("PONG");
    }
    first.send("BYE").expect("BYE");
    eventually("its place is free", || {
        let mut next = behind_proxy(&broker, "203.0.113.7", b"PING\n");
        next.read_line() == "PONG"
    });
}

#[test]
fn a_full_broker_says_so_behind_the_header() {
    let flags = ["--open", "--proxy", "127.0.0.2", "--max-connections", "1"];
    let broker = TestBroker::with_args(&flags);
    let mut only = behind_proxy(&broker, "203.0.113.7", b"PING\n");
    only.expect("PONG");
    check_no_place(&broker, "203.0.113.8");
}

#[test]
fn a_header_from_elsewhere_is_a_line() {
    let broker = broker();
    let mut eve = broker.connect();
    eve.send("PROXY TCP4 203.0.113.7 192.0.2.1 4711 1373");
    eve.expect_error("unknown-verb", "line");
    assert_eq!(peers(&broker), [eve.local_addr().to_string()]);
}

#[test]
fn a_proxy_is_named_by_an_address_or_a_range() {
    for named in ["127.0.0.0/30", "10.0.0.1,127.0.0.2", "127.0.0.3/30"] {
        let broker = TestBroker::with_args(&["--open", "--proxy", named]);
        let mut ann = TestClient::connect_from(PROXY, broker.address());
        ann.write("PROXY UNKNOWN\r\nPING\n");
        ann.expect("PONG");
    }
    for wrong in ["localhost", "127.0.0.1:80", "10.0.0.0/33", ""] {
        let output = TestBroker::command(&["--proxy", wrong]).output();
        let output = output.expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(
            said.contains("such as 10.0.0.0/8") || wrong.is_empty(),
            "{said}"
        );
    }
}

/// The code block of this language in the document.
#[track_caller]
fn shown(language: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/proxies.md");
    let text = fs::read_to_string(path).expect("the document is there");
    let fence = format!("```{language}\n");
    let (_, block) = text.split_once(&fence).expect("it shows one");
    let (block, _) = block.split_once("```").expect("a block ends");
    block.to_owned()
}

/// The flags that the document gives the broker.
const FLAGS: [&str; 5] = ["--name", "chat.example", "--open", "--proxy", "127.0.0.2"];

/// A page, a request, a stream and a WebSocket through the proxy, under the name of the site.
#[track_caller]
fn check_web(broker: &TestBroker, proxy: &NetworkProxy) {
    let mut page = TestClient::connect(proxy.web());
    page.write("GET / HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\n\r\n");
    page.expect("HTTP/1.1 200 OK\r");
    let mut stream = TestClient::connect(proxy.web());
    stream.write(
        "GET /topics/news HTTP/1.1\r\nHost: chat.example\r\nAccept: text/event-stream\r\n\r\n",
    );
    stream.expect("HTTP/1.1 200 OK\r");
    let (mut socket, answer) = FrameClient::handshake(
        proxy.web(),
        "/ws",
        "Sec-WebSocket-Protocol: line\r\nOrigin: http://localhost\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    socket.send_frame(0x81, b"SUBSCRIBE news");
    socket.expect(0x81, "SUBACK news\n");
    let mut asker = Asker::of(broker);
    eventually("both have subscribed", || {
        let filters = &asker.ask("filters news")["filters"];
        filters[0]["subscribers"] == 2
    });
    let mut post = TestClient::connect(proxy.web());
    post.write("POST /topics/news HTTP/1.1\r\nHost: chat.example\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    post.expect("HTTP/1.1 200 OK\r");
    stream.read_until_prefix("data: ");
    socket.expect(0x81, "MESSAGE news hello\n");
}

/// Lines and MQTT through the proxy; returns the addresses that the broker sees.
#[track_caller]
fn check_stream(broker: &TestBroker, proxy: &NetworkProxy) -> (Vec<String>, Vec<String>) {
    let mut ann = TestClient::connect(proxy.stream());
    ann.send("SUBSCRIBE rooms").expect("SUBACK rooms");
    let mut eve = MqttClient::connect(proxy.stream(), Mqtt::V5, "eve");
    eve.publish("rooms", "hello");
    ann.expect("MESSAGE rooms hello");
    let who = Asker::of(broker).ask("who rooms");
    let rows: &Vec<Value> = who["connections"].as_array().expect("rows");
    let seen = rows
        .iter()
        .filter_map(|row| row["peer"].as_str())
        .map(str::to_owned);
    (seen.collect(), vec![ann.local_addr().to_string()])
}

#[test]
fn the_configuration_of_nginx_works_as_shown() {
    let broker = TestBroker::with_args(&FLAGS);
    let proxy = NetworkProxy::start(ProxyProgram::Nginx, &shown("nginx"), broker.address());
    let (seen, own) = check_stream(&broker, &proxy);
    assert_eq!(seen, own);
    check_web(&broker, &proxy);
}

#[test]
fn the_configuration_of_haproxy_works_as_shown() {
    let broker = TestBroker::with_args(&FLAGS);
    let proxy = NetworkProxy::start(ProxyProgram::Haproxy, &shown("haproxy"), broker.address());
    let (seen, own) = check_stream(&broker, &proxy);
    assert_eq!(seen, own);
    check_web(&broker, &proxy);
}

#[test]
fn the_configuration_of_caddy_works_as_shown() {
    let broker = TestBroker::with_args(&FLAGS[..2]);
    let proxy = NetworkProxy::start(ProxyProgram::Caddy, &shown("caddy"), broker.address());
    check_web(&broker, &proxy);
}
