//! Promises of "The end of a connection": a client that closes its sending side, or all of it.

use tests::TestBroker;

#[test]
fn a_client_without_subscriptions_gets_its_answers_and_the_end() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.write("PUBLISH news 1\nPING\nNONSENSE\n").half_close();
    let mut came = [ann.read_line(), ann.read_line(), ann.read_line()];
    ann.expect_end();
    came.sort();
    assert!(came[0].starts_with("ERROR unknown-verb line "));
    assert_eq!(came[1..], ["PONG", "PUBACK 1 0"]);

    let mut nothing = broker.connect();
    nothing.half_close().expect_end();
}

#[test]
fn a_line_without_its_lf_is_not_done() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    bob.write("PUBLISH news whole\nPUBLISH news cut")
        .half_close();
    bob.expect("PUBACK 1 1").expect_end();
    ann.expect("MESSAGE news whole").expect_silence();
}

#[test]
fn a_client_with_subscriptions_goes_on_receiving() {
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.write("SUBSCRIBE news\nPING\n").half_close();
    ann.expect("SUBACK news").expect("PONG");
    for n in 1..=10 {
        bob.send(format!("PUBLISH news {n}"))
            .expect(format!("PUBACK {n} 1"));
        ann.read_until(&format!("MESSAGE news {n}"));
    }
}

#[test]
fn a_client_that_said_goodbye_and_half_closed_gets_its_goodbye() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.write("SUBSCRIBE news\nBYE\n").half_close();
    ann.expect("SUBACK news").expect("BYE").expect_end();
}

#[test]
fn a_client_that_unsubscribed_from_everything_before_is_done() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.write("SUBSCRIBE a b\nUNSUBSCRIBE a b\n").half_close();
    ann.expect("SUBACK a")
        .expect("SUBACK b")
        .expect("UNSUBACK a")
        .expect("UNSUBACK b");
    ann.expect_end();
}

#[test]
fn the_broker_notices_when_the_rest_is_closed_too() {
    let broker = TestBroker::with_args(&["--ping-interval", "100ms"]);
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    ann.half_close();
    ann.read_until_prefix("PING");
    bob.send("PUBLISH news still");
    assert_eq!(bob.read_until_prefix("PUBACK"), "PUBACK 1 1");
    ann.read_until("MESSAGE news still");
    drop(ann);
    tests::eventually("the topic has no subscriber", || {
        let receipt = bob.send("PUBLISH news x").read_until_prefix("PUBACK ");
        receipt.ends_with(" 0")
    });
}

#[test]
fn a_closed_client_is_forgotten() {
    let broker = TestBroker::start();
    let mut bob = broker.connect();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE news").expect("SUBACK news");
    drop(ann);
    tests::eventually("the topic has no subscriber", || {
        bob.send("PUBLISH news x").read_line().ends_with(" 0")
    });
}
