//! Clients of WebSocket that others wrote talk the line protocol at `/ws`.

use tests::{Process, TestBroker, Tmux, eventually, foreign, installed};

/// The client for threads of Python's `websockets`.
const WEBSOCKETS: &str = r#"
import sys
from websockets.sync.client import connect
address = f"ws://{sys.argv[1]}/ws"
with connect(address, subprotocols=["line"], max_size=None) as socket:
    def lines():
        for message in socket:
            yield from message.splitlines()
    said = lines()
    def expect(*wanted):
        for line in wanted:
            came = next(said)
            assert came == line, f"{came!r} instead of {line!r}"
    print(socket.subprotocol, socket.protocol.extensions)
    socket.send("SUBSCRIBE news long\nPING ready")
    expect("SUBACK news", "SUBACK long", "PONG ready")
    print("ready")
    expect("MESSAGE news hello")
    # In fragments, one of which ends within a letter; and bytes.
    letter = "é".encode()
    socket.send([b"PUBLISH news ", letter[:1], letter[1:] + b"\n"], text=True)
    expect("MESSAGE news é", "PUBACK 1 1")
    socket.send(b"PUBLISH news \xff\n")
    expect(b"MESSAGE news \xff", "PUBACK 2 1")
    socket.send("PUBLISH long " + "x" * 1_000_000)
    expect("MESSAGE long " + "x" * 1_000_000, "PUBACK 3 1")
    assert socket.ping().wait(9)
    for n in range(5000):
        socket.send(f"PUBLISH news {n}")
    socket.send("PING end")
    came = []
    while (line := next(said)) != "PONG end":
        came.append(line)
    came = [line for line in came if not line.startswith("PUBACK ")]
    assert came == [f"MESSAGE news {n}" for n in range(5000)]
    socket.close(1000, "done")
    print(socket.close_code)
"#;

#[test]
fn websockets_of_python_talks_in_every_kind_of_message() {
    let broker = TestBroker::start();
    let address = broker.address().to_string();
    let mut python = Process::start(&mut foreign::python(WEBSOCKETS, &[&address]));
    // It offers compression, and gets none.
    python.expect("line []");
    python.expect("ready");
    let mut bob = broker.connect();
    bob.send("PUBLISH news hello").expect("PUBACK 1 1");
    python.expect("1000");
    let (status, _, err) = python.end();
    assert!(status.success(), "{err}");
}

#[test]
fn wscat_is_a_netcat_for_it() {
    let (broker, tmux) = (TestBroker::start(), Tmux::start());
    let address = format!("ws://{}/ws", broker.address());
    let mut wscat = installed("node", "nodejs");
    wscat.arg(foreign::node_package("wscat/bin/wscat"));
    wscat.args(["--no-color", "-s", "line", "-c", &address]);
    tmux.open("wscat", (80, 20), &wscat);
    tmux.wait_for("wscat", "Connected (press CTRL+C to quit)");
    tmux.write("wscat", "SUBSCRIBE news")
        .press("wscat", "Enter");
    tmux.wait_for("wscat", "< SUBACK news");
    let mut bob = broker.connect();
    bob.send("PUBLISH news hello").expect("PUBACK 1 1");
    tmux.wait_for("wscat", "< MESSAGE news hello");
    tmux.write("wscat", "PUBLISH news and back")
        .press("wscat", "Enter");
    tmux.wait_for("wscat", "< MESSAGE news and back");
    tmux.wait_for("wscat", "< PUBACK 1 1");
    tmux.write("wscat", "BYE").press("wscat", "Enter");
    eventually("wscat ends", || !tmux.is_open("wscat"));
}
