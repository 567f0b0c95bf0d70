//! Promises of `operating.md`: orders of the operator over a Unix socket, reload, drain.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tests::{Process, TestBroker, TestClient, eventually, installed, program};

/// A broker with an operator's socket and a configuration file.
struct Operated {
    broker: TestBroker,
    folder: TempDir,
}

impl Operated {
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("broker.toml");
        fs::write(&file, config).expect("a file");
        let socket = folder.path().join("broker.sock");
        let flags = [
            "--unix",
            socket.to_str().expect("text"),
            "--config",
            file.to_str().expect("text"),
        ];
        let broker = TestBroker::with_args(&flags);
        broker.wait_for_log("listening on unix:");
        Self { broker, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("broker.sock")
    }

    fn configure(&self, config: &str) {
        fs::write(self.folder.path().join("broker.toml"), config).expect("a file");
    }

    /// Gives an order, which is taken.
    #[track_caller]
    fn order(&self, order: &str) -> Value {
        let (status, answer) = post(&self.socket(), order);
        assert_eq!(status, 200, "{order}: {answer}");
        serde_json::from_str(&answer).expect("JSON")
    }

    fn connect(&self) -> TestClient {
        self.broker.connect()
    }
}

/// The status and the body.
fn post(socket: &Path, order: &str) -> (u16, String) {
    curl(&[
        "--unix-socket",
        socket.to_str().expect("text"),
        "-XPOST",
        &format!("http://localhost/api/{order}"),
    ])
}

fn curl(args: &[&str]) -> (u16, String) {
    let mut command = installed("curl", "curl");
    command.args(["-s", "-w", "%{http_code}"]).args(args);
    let out = command.output().expect("curl runs");
    let out = String::from_utf8(out.stdout).expect("text");
    let (body, status) = out.split_at(out.len() - 3);
    (status.parse().expect("a status"), body.to_owned())
}

#[test]
fn orders_are_taken_over_a_unix_socket_only() {
    let broker = Operated::start("");
    let address = broker.broker.address();
    for word in ["reload", "drain", "restart", "kick", "end-session"] {
        let url = format!("http://{address}/api/{word}");
        let (status, text) = curl(&["-XPOST", &url]);
        assert_eq!(status, 403, "{text}");
        assert!(text.contains("over a Unix socket"), "{text}");
        let (status, text) = curl(&[&url]);
        assert_eq!(status, 405, "{text}");
        let mut ann = broker.connect();
        ann.send(format!("@reply=r PUBLISH $SYS/request/{word} x"))
            .expect_error("denied", "publish:1");
    }
    // Lines over the Unix socket.
    let mut command = installed("nc", "netcat-openbsd");
    let mut lines = Process::start(command.arg("-U").arg(broker.socket()));
    lines.write("SUBSCRIBE r\n").expect("SUBACK r");
    lines.write("@reply=r PUBLISH $SYS/request/reload dry\n");
    lines.expect(r#"MESSAGE r {"applied":false,"changes":[],"errors":[]}"#);
    lines.expect("PUBACK 1 1");
    lines.write("@reply=r PUBLISH $SYS/request/reload wet\n");
    lines.expect("ERROR not-done publish:2 the argument of reload is nothing, or dry");
}

#[test]
fn a_reload_applies_everything_and_no_connection_ends() {
    let broker =
        Operated::start("open = true\nmax-subscriptions = 1\nlisten = [\"127.0.0.2:0\"]\n");
    let other = broker.broker.other_addresses()[0];
    let mut ann = TestClient::connect(other);
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    ann.send("SUBSCRIBE b")
        .expect_error("too-many", "subscribe:b");
    broker.configure("open = true\nmax-subscriptions = 2\nroom = [\"127.0.0.1:0=lobby\"]\nname = [\"b.example\"]\nsys-interval = \"1h\"\n");
    let dry = broker.order("reload?dry");
    assert_eq!(dry["applied"], false);
    ann.send("SUBSCRIBE b")
        .expect_error("too-many", "subscribe:b");
    let report = broker.order("reload");
    assert_eq!(report["applied"], true, "{report}");
    let told = |report: &Value| -> Vec<String> {
        let changes = report["changes"].as_array().expect("a list").iter();
        let text = |it: &Value| it.as_str().expect("text").to_owned();
        changes
            .map(|it| {
                format!(
                    "{}: {} -> {}",
                    text(&it["key"]),
                    text(&it["from"]),
                    text(&it["to"])
                )
            })
            .collect()
    };
    assert_eq!(
        told(&report),
        [
            "listen: 127.0.0.2:0 -> none",
            "room: none -> 127.0.0.1:0=lobby",
            "sys-interval: 10s -> 1h",
            "max-subscriptions: 1 -> 2",
            "name: none -> b.example",
        ]
    );
    assert_eq!(told(&dry), told(&report));
    let concerns = report["changes"][0]["concerns"].as_str().expect("text");
    assert_eq!(
        concerns,
        "newcomers from now on; 1 connection of what closes stay"
    );
    // The connection of the listener that is gone stays, under the new limits.
    ann.send("SUBSCRIBE b").expect("SUBACK b");
    assert!(std::net::TcpStream::connect(other).is_err());
    let (status, text) = curl(&[
        "-HHost: b.example",
        &format!("http://{}/readyz?verbose", broker.broker.address()),
    ]);
    assert_eq!(status, 200, "{text}");
    assert!(text.starts_with("ready\nconnections: "), "{text}");
    assert!(text.contains("\nreload: applied "), "{text}");
    assert!(text.trim_end().ends_with(", changes: 5"), "{text}");
}

#[test]
fn a_reload_with_mistakes_tells_all_of_them_and_changes_nothing() {
    let broker = Operated::start("max-subscriptions = 1\n");
    let taken = broker.broker.address();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    broker.configure("max-subscriptions = 2\nmax-lin = \"1MiB\"\nping-interval = \"soon\"\n");
    let report = broker.order("reload");
    assert_eq!(report["applied"], false);
    let errors = report["errors"].as_array().expect("a list");
    let place = |line| format!("broker.toml:{line}:");
    assert!(
        errors[0].as_str().expect("text").contains(&place(2)),
        "{report}"
    );
    assert!(
        errors[1].as_str().expect("text").contains(&place(3)),
        "{report}"
    );
    // What only the running broker can find: a listener that cannot be.
    broker.configure(&format!(
        "max-subscriptions = 2\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:{}\"]\n",
        taken.port()
    ));
    let report = broker.order("reload");
    assert_eq!(report["applied"], false);
    let error = report["errors"][0].as_str().expect("text");
    assert!(
        error.contains("is taken; stop what listens there"),
        "{error}"
    );
    ann.send("SUBSCRIBE b")
        .expect_error("too-many", "subscribe:b");
    // The restart that some keys need is told, and nothing else changes.
    broker.configure("max-subscriptions = 2\nunix-mode = \"600\"\n");
    let report = broker.order("reload");
    let error = report["errors"][0].as_str().expect("text");
    assert!(
        error.starts_with("unix-mode: 660 -> 600 needs a restart"),
        "{error}"
    );
    ann.send("SUBSCRIBE b")
        .expect_error("too-many", "subscribe:b");
    let (_, text) = curl(&[&format!("http://{taken}/readyz?verbose")]);
    assert!(text.contains("\nreload: failed "), "{text}");
    let (_, metrics) = curl(&[&format!("http://{taken}/metrics")]);
    assert!(metrics.contains("\ndallal_reload_failed 1\n"), "{metrics}");
    // SIGHUP does the same as the order.
    broker.configure("max-subscriptions = 2\n");
    broker.broker.signal(rustix::process::Signal::HUP);
    broker.broker.wait_for_log("reload: applied, changes: 1");
    ann.send("SUBSCRIBE b").expect("SUBACK b");
}

#[test]
fn a_port_changes_what_it_is_for_and_nothing_is_refused_meanwhile() {
    let broker = Operated::start("open = true\nroom = [\"127.0.0.1:0=lobby\"]\n");
    let room = broker.broker.room_address();
    let mut ann = TestClient::connect(room);
    ann.send("ann");
    eventually("ann is in the room", || {
        let rows = curl(&[&format!("http://{}/api/clients", broker.broker.address())]).1;
        rows.contains("\"room\"")
    });
    broker.configure("open = true\nroom = [\"127.0.0.1:0=kitchen\"]\n");
    assert_eq!(broker.order("reload")["applied"], true);
    let mut bob = TestClient::connect(room);
    bob.send("bob").send("hello kitchen");
    let mut kitchen = broker.broker.subscribe("kitchen");
    bob.send("again");
    kitchen.expect_prefix("MESSAGE kitchen");
    // The first is in its room still.
    let mut lobby = broker.broker.subscribe("lobby");
    ann.send("hello lobby");
    assert!(lobby.read_line().contains("hello lobby"));
}

#[test]
fn connections_and_sessions_are_ended_by_the_operator_and_told_so() {
    let broker = Operated::start("");
    let mut ann = broker.connect();
    ann.send("@name=ann PING").expect_prefix("PONG");
    let (status, text) = post(&broker.socket(), "kick?name=bob");
    assert_eq!(status, 409, "{text}");
    assert!(text.contains("there is no connection \"bob\""), "{text}");
    let who = curl(&[&format!("http://{}/api/clients", broker.broker.address())]).1;
    let who: Value = serde_json::from_str(&who).expect("JSON");
    let rows = who["connections"].as_array().expect("rows");
    let of_ann = rows.iter().find(|row| row["wire"] == "line").expect("ann");
    let kicked = broker.order(&format!("kick?name=%23{}", of_ann["id"]));
    assert_eq!(kicked["kicked"][0]["id"], of_ann["id"]);
    ann.expect("ERROR denied line the operator has ended this connection")
        .expect("BYE")
        .expect_end();
    broker.broker.wait_for_log("the operator has ended it");
}

/// Publishes on many connections at once and counts what arrives.
#[test]
fn a_reload_that_fails_at_its_seventh_change_loses_no_message_of_two_hundred_connections() {
    let broker = Operated::start("open = true\n");
    let address = broker.broker.address();
    let mut subscriber = broker.broker.subscribe("load/#");
    let publishers: Vec<_> = (0..200)
        .map(|n| {
            std::thread::spawn(move || {
                let mut client = TestClient::connect(address);
                for message in 0..50 {
                    client.send(format!("PUBLISH load/{n} {message}"));
                    client.expect(format!("PUBACK {} 1", message + 1));
                }
            })
        })
        .collect();
    // Six that would succeed, and a listener on a port that is taken.
    broker.configure(&format!(
        "open = true\nmax-subscriptions = 1\nmax-line = \"20B\"\noutbox-bytes = \"1KiB\"\nroom = [\"127.0.0.1:0=lobby\"]\n\
         name = [\"b.example\"]\nsys-interval = \"1s\"\nlisten = [\"127.0.0.1:{}\"]\n",
        address.port()
    ));
    let before = broker.broker.log();
    for _ in 0..5 {
        let report = broker.order("reload");
        assert_eq!(report["applied"], false);
        assert_eq!(report["changes"].as_array().expect("a list").len(), 7);
        assert_eq!(report["errors"].as_array().expect("a list").len(), 1);
    }
    for publisher in publishers {
        publisher.join().expect("each message has its receipt");
    }
    let mut next = vec![0; 200];
    for _ in 0..200 * 50 {
        let line = subscriber.read_line();
        let mut words = line.split(['/', ' ']).skip(2);
        let mut number = || {
            words
                .next()
                .and_then(|it| it.parse::<usize>().ok())
                .expect("a number")
        };
        let (publisher, message) = (number(), number());
        assert_eq!(message, next[publisher], "{line}");
        next[publisher] += 1;
    }
    assert!(
        !before.contains("room for raw text")
            && !broker.broker.log().contains("lines in datagrams")
    );
    // When the broker is dropped its ledger must balance.
    assert!(broker.broker.ledger().starts_with("balanced"));
}

const PAHO: &str = r#"
import sys
import paho.mqtt.client as mqtt
from paho.mqtt.properties import Properties
from paho.mqtt.packettypes import PacketTypes
host, port, name, keeps = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "keeps"
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
def ended(client, data, flags, reason, properties):
    print("ended", reason.value, flush=True)
    client.loop_stop()
    sys.exit(0)
client.on_disconnect = ended
client.on_subscribe = lambda *rest: print("subscribed", flush=True)
properties = Properties(PacketTypes.CONNECT)
properties.SessionExpiryInterval = 3600 if keeps else 0
client.will_set("will/" + name, "gone")
client.connect(host, port, clean_start=False, properties=properties)
client.subscribe("news", qos=1)
if keeps:
    client.on_subscribe = lambda client, *rest: (print("subscribed", flush=True), client._sock_close())
client.loop_forever(retry_first_connection=False)
"#;

fn paho(broker: &TestBroker, name: &str, keeps: &str) -> Process {
    let address = broker.address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut client = Process::start(&mut tests::foreign::python(
        PAHO,
        &[&host, &port, name, keeps],
    ));
    client.expect("subscribed");
    client
}

#[test]
fn a_client_of_mqtt_is_told_by_its_own_means_and_its_session_can_be_ended() {
    let broker = Operated::start("");
    let mut wills = broker.broker.subscribe("will/#");
    let mut ann = paho(&broker.broker, "ann", "no");
    broker.order("kick?name=ann");
    // Administrative action.
    ann.expect("ended 152");
    wills.expect("MESSAGE will/ann gone");
    drop(paho(&broker.broker, "meter", "keeps"));
    eventually("the session is kept", || {
        let rows = curl(&[&format!("http://{}/api/sessions", broker.broker.address())]).1;
        rows.contains("\"meter\"") && rows.contains("\"away\":true")
    });
    broker
        .connect()
        .send("PUBLISH news hello")
        .expect("PUBACK 1 1");
    let ended = broker.order("end-session?client=meter");
    assert_eq!(ended["ended"], "meter");
    assert_eq!(ended["queued"], 1);
    let (status, text) = post(&broker.socket(), "end-session?client=meter");
    assert_eq!(status, 409, "{text}");
    assert!(text.contains("there is no session \"meter\""), "{text}");
    // Of a client that is connected, it ends with the connection.
    let mut bob = paho(&broker.broker, "bob", "no");
    broker.order("end-session?client=bob");
    bob.expect("ended 152");
}

#[test]
fn a_broker_that_drains_takes_no_newcomers_and_stops_when_all_are_gone() {
    let broker = Operated::start("");
    let address = broker.broker.address();
    let (mut lines, mut mqtt) = (broker.connect(), paho(&broker.broker, "ann", "no"));
    lines.send("PING").expect("PONG");
    let answer = broker.order("drain?time=20s");
    assert_eq!(answer["seconds"], 20);
    eventually("it drains", || {
        curl(&[&format!("http://{address}/readyz")]).0 == 503
    });
    assert_eq!(curl(&[&format!("http://{address}/healthz")]).0, 200);
    // Server shutting down.
    mqtt.expect("ended 139");
    let mut newcomer = broker.connect();
    newcomer
        .send("PING")
        .expect_error("busy", "line")
        .expect_end();
    // Those that are there are served until they leave.
    lines.send("PING").expect("PONG");
    lines.send("BYE").expect("BYE").expect_end();
    broker.broker.wait_for_log("stopped; ");
    // The signal comes too late: it has ended by itself.
    assert_eq!(broker.broker.stop().code, Some(0));
}

#[test]
fn the_time_to_drain_ends_with_goodbyes_and_a_second_signal_cuts_it_short() {
    let broker = TestBroker::with_args(&["--drain", "500ms"]);
    let mut ann = broker.connect();
    ann.send("PING").expect("PONG");
    let ended = broker.stop();
    assert_eq!(ended.code, Some(0));
    assert!(ended.took.as_millis() >= 450, "{:?}", ended.took);
    ann.expect("BYE").expect_end();
    let broker = TestBroker::with_args(&["--drain", "1h"]);
    let mut ann = broker.connect();
    ann.send("PING").expect("PONG");
    broker.signal(rustix::process::Signal::TERM);
    broker.wait_for_log("draining for 3600 s: 1 connected, 0 are told early");
    let ended = broker.stop();
    assert_eq!(ended.code, Some(0));
    ann.expect("BYE").expect_end();
}

/// The process that serves this connection, by the operator's socket.
fn process_of(socket: &Path) -> u32 {
    let socket = std::os::unix::net::UnixStream::connect(socket).expect("it listens");
    let peer = rustix::net::sockopt::socket_peercred(&socket).expect("a Unix socket has a peer");
    peer.pid.as_raw_nonzero().get().cast_unsigned()
}

#[test]
fn a_restart_refuses_no_connection_and_the_new_process_has_the_sockets() {
    let broker =
        Operated::start("open = true\nudp = [\"127.0.0.1:0\"]\nroom = [\"127.0.0.1:0=lobby\"]\n");
    let (address, room) = (broker.broker.address(), broker.broker.room_address());
    let mut old = broker.broker.subscribe("news");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let connecting: Vec<_> = (0..8)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut served = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let mut client = TestClient::connect(address);
                    // The old process says BYE to what it has accepted last.
                    let answer = client.send("PING").read_line();
                    assert!(["PONG", "BYE"].contains(&&*answer), "{answer}");
                    served += 1;
                }
                served
            })
        })
        .collect();
    let before = process_of(&broker.socket());
    let pid = broker.order("restart")["pid"].as_u64().expect("a number");
    assert_ne!(u64::from(before), pid);
    old.expect("BYE").expect_end();
    eventually("the new process serves alone", || {
        u64::from(process_of(&broker.socket())) == pid
    });
    broker.broker.wait_for_log("stopped; ");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for thread in connecting {
        assert!(thread.join().expect("no connection is refused") > 0);
    }
    let mut bob = TestClient::connect(room);
    bob.send("bob");
    let mut lobby = TestClient::connect(address);
    lobby.send("SUBSCRIBE lobby").expect("SUBACK lobby");
    bob.send("hello");
    assert!(lobby.read_line().contains("hello"));
    // The new one is restarted as well, and ends in order.
    let next = broker.order("restart")["pid"].as_u64().expect("a number");
    eventually("the third serves", || {
        u64::from(process_of(&broker.socket())) == next
    });
    let next = rustix::process::Pid::from_raw(i32::try_from(next).expect("a pid")).expect("one");
    rustix::process::kill_process(next, rustix::process::Signal::TERM).expect("it runs");
    eventually("the file of the socket is removed", || {
        !broker.socket().exists()
    });
    assert_eq!(broker.broker.stop().code, Some(0));
}

#[test]
fn a_restart_with_a_mistake_in_the_file_changes_nothing() {
    let broker = Operated::start("");
    broker.configure("max-lin = 7\n");
    let (status, text) = post(&broker.socket(), "restart");
    assert_eq!(status, 409, "{text}");
    assert!(
        text.contains("the new process has ended (exit status: 2)"),
        "{text}"
    );
    broker.connect().send("PING").expect("PONG");
    assert!(broker.socket().exists());
}

/// The commands of the section on orders, one a line.
fn documented_orders() -> Vec<String> {
    let text = include_str!("../../docs/operating.md");
    let (_, section) = text
        .split_once("### Orders of the operator")
        .expect("it is there");
    let block = section.split("```").nth(1).expect("a block of commands");
    let lines = block.lines().skip(1).map(str::to_owned);
    lines.collect()
}

#[test]
fn each_documented_order_succeeds() {
    let path = program("client").parent().expect("a folder").to_owned();
    let search = format!(
        "{}:{}",
        path.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let commands = documented_orders();
    assert_eq!(commands.len(), 7, "{commands:?}");
    for command in commands {
        let broker = Operated::start("");
        let mut ann = broker.connect();
        ann.send("NAME ann").expect("NAMEACK ann");
        drop(paho(&broker.broker, "meter-7", "keeps"));
        let typed = command.replace("/tmp/dallal.sock", broker.socket().to_str().expect("text"));
        let mut shell = Command::new("sh");
        let output = shell
            .args(["-c", &typed])
            .env("PATH", &search)
            .env_remove("BROKER_URL");
        let output = output.output().expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{typed}: {said}");
        if typed.contains("restart") {
            broker.broker.wait_for_log("stopped; ");
            broker.order("drain?time=0s");
            assert_eq!(broker.broker.stop().code, Some(0));
        }
    }
}
