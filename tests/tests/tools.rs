//! The programs that people have at hand can talk to the broker: ncat, socat and OpenBSD's nc.

use std::process::Command;

use tests::{Process, TestBroker, installed};

/// Each tool with the address in its own form.
fn tools(broker: &TestBroker) -> Vec<Command> {
    let port = broker.address().port().to_string();
    let mut ncat = installed("ncat", "ncat");
    ncat.args(["127.0.0.1", &port]);
    let mut ncat_crlf = installed("ncat", "ncat");
    ncat_crlf.args(["-C", "127.0.0.1", &port]);
    let mut socat = installed("socat", "socat");
    // How long it waits for the rest once its input has ended.
    socat.args(["-t10", "-", &format!("TCP:127.0.0.1:{port}")]);
    let mut nc = installed("nc", "netcat-openbsd");
    nc.args(["-N", "127.0.0.1", &port]);
    vec![ncat, ncat_crlf, socat, nc]
}

#[test]
fn a_person_can_talk_to_it() {
    let broker = TestBroker::start();
    let mut other = broker.connect();
    for (n, mut tool) in (1..).zip(tools(&broker)) {
        let mut person = Process::start(&mut tool);
        person.write("subscribe news\n").expect("SUBACK news");
        other
            .send("PUBLISH news good morning")
            .expect(format!("PUBACK {n} 1"));
        person.expect("MESSAGE news good morning");
        person
            .write("publish elsewhere hello\n")
            .expect("PUBACK 1 0");
        person.write("what?\n");
        assert!(person.next_line().starts_with("ERROR unknown-verb line "));
        person.write("bye\n").expect("BYE");
        let (status, out, err) = person.end();
        assert!(status.success(), "{tool:?}: {err}");
        let said = String::from_utf8(out).expect("text");
        assert!(said.ends_with("\nBYE\n"), "{tool:?}: {said}");
    }
}

#[test]
fn a_shell_can_publish_through_a_pipe() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    for mut tool in tools(&broker) {
        let mut pipe = Process::start(&mut tool);
        pipe.write("PUBLISH news hi\nPING done\n").end_input();
        let (status, out, err) = pipe.end();
        assert!(status.success(), "{tool:?}: {err}");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "PUBACK 1 1\nPONG done\n",
            "{tool:?}"
        );
        ann.expect("MESSAGE news hi").expect_silence();
    }
}

#[test]
fn a_shell_can_subscribe_through_a_pipe() {
    let broker = TestBroker::start();
    let mut bob = broker.connect();
    let port = broker.address().port().to_string();
    let mut ncat = installed("ncat", "ncat");
    let mut pipe = Process::start(ncat.args(["127.0.0.1", &port]));
    pipe.write("SUBSCRIBE news\n")
        .end_input()
        .expect("SUBACK news");
    for n in 1..=3 {
        bob.send(format!("PUBLISH news {n}"))
            .expect(format!("PUBACK {n} 1"));
        loop {
            let line = pipe.next_line();
            if line.starts_with("PING") {
                continue;
            }
            assert_eq!(line, format!("MESSAGE news {n}"));
            break;
        }
    }
    // A stopping broker ends the pipe in good order.
    broker.stop();
    let (status, out, _) = pipe.end();
    assert!(status.success());
    assert!(out.ends_with(b"\nBYE\n"));
}

#[test]
fn bytes_survive_socat_both_ways() {
    let broker = TestBroker::start();
    let mut bob = broker.connect();
    let port = broker.address().port().to_string();
    let mut socat = installed("socat", "socat");
    let mut tool = Process::start(socat.args(["-", &format!("TCP:127.0.0.1:{port}")]));
    bob.send("SUBSCRIBE up").expect("SUBACK up");
    let bytes: Vec<u8> = (0..=255).filter(|byte| !b"\n\r\\".contains(byte)).collect();
    tool.write([b"PUBLISH up ", &bytes[..], b"\nBYE\n"].concat());
    bob.expect([b"MESSAGE up ", &bytes[..]].concat());
    tool.expect("PUBACK 1 1").expect("BYE");
}
