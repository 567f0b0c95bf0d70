//! `client selftest`: it passes a server that does what the standard says, and finds each thing that
//! one does wrong.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use serde_json::Value;
use tests::{Mosquitto, Process, TestBroker, client};

const SETTINGS: &str = "allow_anonymous true\npersistence false";

/// What mosquitto 2.0 does in its own way, as `docs/mqtt-selftest.md` has it: version, number and the
/// beginning of the sentence. Later releases may have mended some of it.
const MOSQUITTO: [(&str, &str, &str); 22] = [
    ("3.1.1", "2.2.2-2", "a packet with other flags"),
    ("3.1.1", "4.8.0-1", "a packet that only servers send"),
    ("3.1.1", "3.1.2-24", "a client that is silent"),
    ("3.1.1", "3.3.5-1", "where subscriptions overlap"),
    ("5", "1.5.5-1", "an integer in more bytes"),
    ("5", "4.13.1-1", "a packet with other flags"),
    ("5", "4.13.1-1", "a packet that only servers send"),
    ("5", "4.13.1-1", "a PUBLISH with a property that does not"),
    ("5", "4.13.1-1", "a CONNECT with authentication data"),
    ("5", "3.1.2-22", "a client that is silent"),
    ("5", "3.1.4-3", "a client whose place is taken is told"),
    ("5", "3.1.2-8", "a will waits no longer"),
    ("5", "3.1.2-8", "a will that still waits is published"),
    ("5", "3.3.4-6", "a PUBLISH of a client that carries"),
    ("5", "3.3.2-14", "a response topic with wildcards"),
    ("5", "4.3.3-7", "a QoS 2 message that was sent once"),
    ("5", "3.1.2-24", "no packet is larger"),
    ("5", "4.9.0-2", "each acknowledgement makes room"),
    ("5", "3.3.4-7", "more QoS 2 messages than"),
    ("5", "3.8.3-4", "no local on a shared subscription"),
    ("5", "4.8.2-1", "a shared filter without a group"),
    ("5", "4.8.2-2", "a shared filter whose group"),
];

/// Runs the selftest of one version; its exit code and the objects it printed.
#[track_caller]
fn selftest(address: SocketAddr, version: &str, args: &[&str]) -> (Option<i32>, Vec<Value>) {
    let server = format!("mqtt://{address}");
    let mut command = client(&["selftest", "--json", "--server", &server]);
    let mut selftest = Process::start(command.args(["--mqtt", version]).args(args));
    let mut rows: Vec<Value> = Vec::new();
    // Each line has its own time: all of them together take longer than anything else here may.
    while rows.last().is_none_or(|row| row.get("cases").is_none()) {
        let line = selftest.next_line();
        rows.push(serde_json::from_str(&line).expect("an object"));
    }
    let (status, _, _) = selftest.end();
    (status.code(), rows)
}

fn failures(rows: &[Value]) -> Vec<&Value> {
    let failed = rows.iter().filter(|row| row["verdict"] == "fail");
    failed.collect()
}

#[test]
fn our_broker_passes_every_check_of_both_versions() {
    let broker = TestBroker::start();
    for version in ["3.1.1", "5"] {
        let (code, rows) = selftest(broker.address(), version, &["--wait", "5s"]);
        assert_eq!(failures(&rows), Vec::<&Value>::new());
        assert_eq!(code, Some(0));
    }
}

#[test]
fn mosquitto_fails_only_what_is_known_of_it() {
    let mosquitto = Mosquitto::start(SETTINGS);
    for (version, least) in [("3.1.1", 110), ("5", 180)] {
        let (_, rows) = selftest(
            mosquitto.address(),
            version,
            &["--jobs", "32", "--wait", "5s"],
        );
        for row in failures(&rows) {
            let is_known = |&(known_version, number, sentence): &(&str, &str, &str)| {
                version == known_version
                    && row["number"] == format!("MQTT-{number}")
                    && row["sentence"]
                        .as_str()
                        .is_some_and(|it| it.starts_with(sentence))
            };
            assert!(MOSQUITTO.iter().any(is_known), "{row}");
        }
        let end = rows.last().expect("a last row");
        assert!(end["statements"].as_u64() >= Some(least), "{end}");
    }
}

#[test]
fn a_server_that_keeps_the_statements_asked_for_passes() {
    let mosquitto = Mosquitto::start(SETTINGS);
    for version in ["3.1.1", "5"] {
        let args = ["--only", "3.12", "--only", "3.10.4"];
        let (code, rows) = selftest(mosquitto.address(), version, &args);
        assert_eq!((code, failures(&rows).len()), (Some(0), 0), "{rows:?}");
    }
}

#[test]
fn user_and_password_may_be_in_the_url() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users");
    // `secret`, as mosquitto_passwd writes it.
    let made = tests::installed("mosquitto_passwd", "mosquitto")
        .args(["-b", "-c"])
        .arg(&users)
        .args(["ann", "secret"])
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    let settings = format!("allow_anonymous false\npassword_file {}", users.display());
    let opened =
        std::fs::set_permissions(&users, std::os::unix::fs::PermissionsExt::from_mode(0o644));
    opened.expect("a file of ours");
    let opened = std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    );
    opened.expect("a folder of ours");
    let mosquitto = Mosquitto::start(&settings);
    let server = format!("mqtt://ann:secret@{}", mosquitto.address());
    let run = |server: &str| {
        let args = ["selftest", "--only", "3.12", "--server", server];
        Process::start(&mut client(&args)).end().0.code()
    };
    assert_eq!(run(&server), Some(0));
    assert_eq!(run(&server.replace("secret", "guess")), Some(6));
}

#[test]
fn without_a_server_nothing_is_checked() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let (status, out, err) = Process::start(&mut client(&["selftest", "--server", &address])).end();
    assert_eq!((status.code(), &*out), (Some(3), &b""[..]));
    assert!(err.contains("give the right --server"), "{err}");
}

#[test]
fn a_server_of_another_protocol_is_none() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.expect("a connection").write_all(b"SSH-2.0-x\r\n");
        }
    });
    let (status, _, err) = Process::start(&mut client(&["selftest", "--server", &address])).end();
    assert_eq!(status.code(), Some(3), "{err}");
}

#[test]
fn the_list_has_every_statement_once_for_each_sentence() {
    let (status, out, err) = Process::start(&mut client(&["selftest", "--list"])).end();
    assert!(status.success(), "{err}");
    let text = String::from_utf8(out).expect("text");
    let lines: BTreeSet<_> = text.lines().collect();
    assert_eq!(
        lines.len(),
        text.lines().count(),
        "a line stands there twice"
    );
    let (status, _, err) = Process::start(&mut client(&["selftest", "--only", "nonsense"])).end();
    assert_eq!(status.code(), Some(2));
    assert!(err.contains("--list"), "{err}");
}

/// What a broken server makes of a packet for a client: what it sends instead.
type Mangle = fn(Vec<u8>) -> Vec<u8>;

/// A server that is mosquitto but for what it does to some packets; its address.
fn broken(server: SocketAddr, mangle: Mangle) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.expect("a connection");
            let server = TcpStream::connect(server).expect("mosquitto is there");
            let (from, to) = (copy(&client), copy(&server));
            thread::spawn(move || relay(from, to, |bytes| Some(std::mem::take(bytes))));
            thread::spawn(move || {
                relay(server, client, |bytes| {
                    let len = packet_len(bytes)?;
                    let packet = bytes.drain(..len).collect();
                    Some(mangle(packet))
                });
            });
        }
    });
    address
}

fn copy(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a socket can be shared")
}

/// Hands on what `next` takes from the front of what has come.
fn relay(
    mut from: TcpStream,
    mut to: TcpStream,
    mut next: impl FnMut(&mut Vec<u8>) -> Option<Vec<u8>>,
) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    'read: while let Ok(n @ 1..) = from.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..n]);
        while !bytes.is_empty() {
            let Some(packet) = next(&mut bytes) else {
                break;
            };
            if to.write_all(&packet).is_err() {
                break 'read;
            }
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

/// How long the first packet is, if it is there as a whole.
fn packet_len(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let len = 2 + index + length;
            return (bytes.len() >= len).then_some(len);
        }
    }
    None
}

/// Changes packets of one type.
fn of_type(kind: u8, mut packet: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    if packet[0] >> 4 == kind {
        change(&mut packet);
    }
    packet
}

/// Each is one mistake, and a statement of each version that is not kept then.
const MISTAKES: [(&str, Mangle, &str, &str); 14] = [
    (
        "PINGRESP is not sent",
        |p| of_type(13, p, Vec::clear),
        "3.12.4-1",
        "3.12.4-1",
    ),
    (
        "SUBACK has another packet id",
        |p| of_type(9, p, |p| p[3] ^= 1),
        "3.8.4-2",
        "3.8.4-2",
    ),
    (
        "UNSUBACK has another packet id",
        |p| of_type(11, p, |p| p[3] ^= 1),
        "3.10.4-4",
        "3.10.4-5",
    ),
    (
        "PUBACK has another packet id",
        |p| of_type(4, p, |p| p[3] ^= 1),
        "4.3.2-2",
        "4.3.2-4",
    ),
    (
        "PUBREC has another packet id",
        |p| of_type(5, p, |p| p[3] ^= 1),
        "4.3.3-2",
        "4.3.3-8",
    ),
    (
        "PUBREL is not sent",
        |p| of_type(6, p, Vec::clear),
        "4.3.3-1",
        "4.3.3-4",
    ),
    (
        "PUBREL has no flags",
        |p| of_type(6, p, |p| p[0] = 0x60),
        "2.2.2-1",
        "2.1.3-1",
    ),
    (
        "PUBCOMP is not sent",
        |p| of_type(7, p, Vec::clear),
        "4.3.3-2",
        "4.3.3-11",
    ),
    (
        "every message has DUP",
        |p| of_type(3, p, |p| p[0] |= 8),
        "3.3.1-3",
        "3.3.1-3",
    ),
    (
        "no message has DUP",
        |p| of_type(3, p, |p| p[0] &= !8),
        "3.3.1-1",
        "3.3.1-1",
    ),
    (
        "no message has the retain flag",
        |p| of_type(3, p, |p| p[0] &= !1),
        "3.3.1-8",
        "3.3.1-13",
    ),
    (
        "every message has the retain flag",
        |p| of_type(3, p, |p| p[0] |= 1),
        "3.3.1-9",
        "3.3.1-12",
    ),
    (
        "every message comes twice",
        |p| of_type(3, p, |p| p.extend_from_within(..)),
        "4.3.1-1",
        "4.3.1-1",
    ),
    (
        "a session is never present",
        |p| of_type(2, p, |p| p[2] = 0),
        "3.2.2-2",
        "3.2.2-3",
    ),
];

#[test]
fn each_mistake_of_a_server_is_found() {
    let mosquitto = Mosquitto::start(SETTINGS);
    let address = mosquitto.address();
    thread::scope(|scope| {
        for (mistake, mangle, v3, v5) in MISTAKES {
            scope.spawn(move || {
                let broken = broken(address, mangle);
                check_mistake(mistake, address, broken, "3.1.1", v3);
                check_mistake(mistake, address, broken, "5", v5);
            });
        }
    });
}

/// What passes without the mistake fails with it.
fn check_mistake(
    mistake: &str,
    sound: SocketAddr,
    broken: SocketAddr,
    version: &str,
    number: &str,
) {
    let (code, rows) = selftest(sound, version, &["--only", number]);
    assert_eq!(code, Some(0), "without a mistake: {rows:?}");
    let (code, rows) = selftest(broken, version, &["--only", number, "--wait", "1s"]);
    assert_eq!(code, Some(1), "{mistake}, MQTT {version}: {rows:?}");
    for row in failures(&rows) {
        assert!(
            row["expected"].is_string() && row["came"].is_string(),
            "{row}"
        );
    }
}

/// The statements in a cell of the table, such as `3.1.0: 1, 2; 3.1.2: 1 to 22, 24`.
fn statements(cell: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in cell.split(';').filter(|part| !part.trim().is_empty()) {
        let (section, numbers) = part.split_once(": ").expect("a section and its numbers");
        for range in numbers.split(", ") {
            let (first, last) = range.split_once(" to ").unwrap_or((range, range));
            let number = |text: &str| text.trim().parse::<u8>().expect("a number");
            for number in number(first)..=number(last) {
                found.insert(format!("{}-{number}", section.trim()));
            }
        }
    }
    found
}

#[test]
fn the_document_lists_the_statements_that_are_checked_and_the_tests_of_others() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let document =
        std::fs::read_to_string(format!("{folder}/../docs/mqtt.md")).expect("it is there");
    let (_, rest) = document
        .split_once("\n## Clause by clause\n")
        .expect("its head");
    let (rest, _) = rest.split_once("\n## ").expect("the next head");
    let (checked, others) = rest.split_once("\nThe others:\n").expect("two tables");
    let rows = |table: &str| -> Vec<Vec<String>> {
        let rows = table.lines().filter(|line| line.starts_with("| "));
        let cells = |row: &str| {
            row.trim_matches('|')
                .split('|')
                .map(str::to_owned)
                .collect()
        };
        rows.map(cells).collect()
    };
    let (status, list, _) = Process::start(&mut client(&["selftest", "--list"])).end();
    assert_eq!(status.code(), Some(0));
    let list = String::from_utf8(list).expect("text");
    for (version, column) in [("3.1.1", 1), ("5", 2)] {
        let listed: BTreeSet<String> = list
            .lines()
            .filter_map(|line| {
                line.strip_prefix(version)?
                    .trim_start()
                    .strip_prefix("[MQTT-")
            })
            .filter_map(|line| Some(line.split_once(']')?.0.to_owned()))
            .filter(|number| number.contains('-'))
            .collect();
        let in_table = rows(checked)
            .iter()
            .skip(1)
            .flat_map(|row| statements(&row[column]))
            .collect();
        assert_eq!(listed, in_table, "{version}");
        for row in rows(others).iter().skip(1) {
            let twice: Vec<_> = statements(&row[column - 1])
                .intersection(&listed)
                .cloned()
                .collect();
            assert!(twice.is_empty(), "{version}: {twice:?} is in both tables");
        }
    }
    let mut tests = String::new();
    for name in ["mqtt", "mqtt_websocket", "jwt"] {
        let path = format!("{folder}/tests/{name}.rs");
        tests += &std::fs::read_to_string(path).expect("it is there");
    }
    for row in rows(others) {
        for name in row[2].split('`').skip(1).step_by(2) {
            assert!(tests.contains(&format!("fn {name}(")), "there is no {name}");
        }
    }
}
