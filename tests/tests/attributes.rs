//! Promises of "Attributes": the attributes before the verb, and which of them reach subscribers.

use tests::{TestBroker, TestClient};

fn ann_and_bob(broker: &TestBroker) -> (TestClient, TestClient) {
    let (mut ann, bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    (ann, bob)
}

#[test]
fn attributes_that_the_broker_does_not_know_travel_unchanged() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = ann_and_bob(&broker);
    for word in [
        "@a",
        "@a=1",
        "@a=",
        "@a=1;b;c=x=y",
        "@b;a;b",
        r"@k=a\sb\:c\\d\ne\rf",
        r"@k=\x\",
        "@content-type=text/plain;x-2=\u{1f4a1}",
        "@retainer=1",
    ] {
        bob.send(format!("{word} PUBLISH news hi"))
            .expect_prefix("PUBACK ");
        ann.expect(format!("{word} MESSAGE news hi"));
    }
    bob.write(b"@k=\xff\x01\t PUBLISH news\n")
        .expect_prefix("PUBACK ");
    ann.expect(b"@k=\xff\x01\t MESSAGE news").expect_silence();
}

#[test]
fn attributes_of_one_message_do_not_reach_the_next() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = ann_and_bob(&broker);
    bob.write("PUBLISH news 1\n@a=1 PUBLISH news 2\nPUBLISH news 3\n@b publish news 4\r\n");
    ann.expect("MESSAGE news 1").expect("@a=1 MESSAGE news 2");
    ann.expect("MESSAGE news 3")
        .expect("@b MESSAGE news 4")
        .expect_silence();
}

#[test]
fn attributes_between_a_client_and_the_broker_do_not_travel() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = ann_and_bob(&broker);
    for (sent, came) in [
        ("@retain", ""),
        ("@retained", ""),
        ("@retain;retained", ""),
        ("@a;retain;b=1", "@a;b=1 "),
        ("@retained;a", "@a "),
        ("@pos=k3f9.1:7;a;past", "@a "),
    ] {
        bob.send(format!("{sent} PUBLISH news x"))
            .expect_prefix("PUBACK ");
        ann.expect(format!("{came}MESSAGE news x"));
    }
    ann.expect_silence();
}

#[test]
fn attributes_of_other_verbs_are_passed_over() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = ann_and_bob(&broker);
    bob.send("@a=1 PING x").expect("PONG x");
    bob.send("@retain SUBSCRIBE news").expect("SUBACK news");
    bob.send("@Not;;valid UNSUBSCRIBE news")
        .expect("UNSUBACK news");
    bob.send("@a PONG")
        .send("@a HELP ping")
        .expect_prefix("HELP PING");
    bob.send("@a PUBLISH news x")
        .expect("PUBACK 1 1")
        .expect_silence();
    ann.expect("@a MESSAGE news x");
    bob.send("@a BYE").expect("BYE").expect_end();
}

#[test]
fn a_publish_with_what_is_no_attribute_is_refused() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = ann_and_bob(&broker);
    let words: [&[u8]; 9] = [
        b"@",
        b"@;",
        b"@a;",
        b"@;a",
        b"@=1",
        b"@A",
        b"@a_b",
        b"@a=x\ry",
        b"@caf\xe9",
    ];
    for (n, word) in (1..).zip(words) {
        bob.send([word, b" PUBLISH news x"].concat());
        bob.expect_error("bad-attribute", &format!("publish:{n}"));
        bob.expect(format!("PUBACK {n} 0"));
    }
    ann.expect_silence();
}

#[test]
fn attributes_alone_are_no_frame() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("@a").expect_error("unknown-verb", "line");
    ann.send("@a ").expect_error("unknown-verb", "line");
    ann.send("@a  PING").expect_error("unknown-verb", "line");
    ann.send("@A HELLO").expect_error("bad-attribute", "line");
    ann.send("@a HELLO").expect_error("unknown-verb", "line");
    ann.expect_silence();
}
