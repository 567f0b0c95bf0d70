//! Promises of `tls.md`: certificates change while the broker runs, and no connection ends for it.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use rustls::HandshakeKind;
use tests::certificates::{Authority, Files, Wanted};
use tests::{TestBroker, TlsOffer, eventually};

/// The number of the certificate that a newcomer is shown.
fn serial(broker: &TestBroker, offer: &TlsOffer) -> Option<u64> {
    let mut client = offer.try_connect(broker.address(), "localhost").ok()?;
    let shown = client.tls().peer_certificates()?.first()?.to_vec();
    (1..=200).find(|serial| {
        // INTEGER, its length, its bytes; those of tests have one byte, or two with a leading zero.
        let number: &[u8] = match serial {
            ..=127 => &[2, 1, *serial as u8],
            _ => &[2, 2, 0, *serial as u8],
        };
        shown[..30]
            .windows(number.len())
            .any(|bytes| bytes == number)
            && *serial != 2
    })
}

fn renewed(ca: &Authority, serial: u64) -> Files {
    let wanted = Wanted {
        serial,
        ..Wanted::HERE
    };
    ca.sign(&format!("renewed-{serial}"), &wanted)
}

#[test]
fn a_changed_certificate_is_taken_within_seconds_however_it_is_changed_and_only_when_it_is_right() {
    let ca = Authority::new();
    let files = renewed(&ca, 7);
    let broker = TestBroker::with_args(&files.flags());
    let offer = TlsOffer::new(&ca.pem());
    let mut before = offer.connect(broker.address());
    before.send("SUBSCRIBE a").expect("SUBACK a");
    assert_eq!(serial(&broker, &offer), Some(7));
    let metric = |name: &str| {
        let mut client = broker.connect();
        client.write("GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let answer = client.read_to_end();
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok())
    };
    let end = metric("dallal_tls_expires_timestamp_seconds").expect("it has an end");
    assert!(end > 1e9);
    // By a rename.
    files.replace_by(&renewed(&ca, 8));
    eventually("the new one is shown", || {
        serial(&broker, &offer) == Some(8)
    });
    // Cut off and written in place, with a key that does not fit for a moment.
    let next = renewed(&ca, 9);
    fs::write(&files.cert, "").expect("a file");
    broker.wait_for_log("has no certificate; a file in PEM has lines with BEGIN CERTIFICATE; what was in force stays so");
    fs::write(&files.cert, fs::read(&next.cert).expect("a file")).expect("a file");
    broker.wait_for_log("does not fit");
    assert_eq!(serial(&broker, &offer), Some(8));
    fs::write(&files.key, fs::read(&next.key).expect("a file")).expect("a file");
    eventually("the new one is shown", || {
        serial(&broker, &offer) == Some(9)
    });
    // By a symbolic link, as Kubernetes does; first it is gone.
    let last = renewed(&ca, 10);
    for (from, to) in [(&last.cert, &files.cert), (&last.key, &files.key)] {
        fs::remove_file(to).expect("it is there");
        symlink(from, to).expect("a link");
    }
    eventually("the new one is shown", || {
        serial(&broker, &offer) == Some(10)
    });
    let failures = metric("dallal_tls_reload_failed_total").expect("it is counted");
    assert!((2.0..=4.0).contains(&failures), "{failures}");
    // With a signal it is not waited for.
    files.replace_by(&renewed(&ca, 11));
    broker.signal(Signal::HUP);
    eventually("the new one is shown", || {
        serial(&broker, &offer) == Some(11)
    });
    before
        .send("PUBLISH a b")
        .expect("MESSAGE a b")
        .expect("PUBACK 1 1");
}

#[test]
fn a_ticket_of_before_is_good_no_more_when_the_certificate_is_another() {
    let ca = Authority::new();
    let files = renewed(&ca, 7);
    let broker = TestBroker::with_args(&files.flags());
    let offer = TlsOffer::new(&ca.pem());
    let kind = || {
        let mut client = offer.connect(broker.address());
        client.send("PING").expect("PONG");
        client.tls().handshake_kind().expect("it is done")
    };
    assert_eq!(
        (kind(), kind()),
        (HandshakeKind::Full, HandshakeKind::Resumed)
    );
    // What is as it was takes no ticket away.
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload: applied");
    assert_eq!(kind(), HandshakeKind::Resumed);
    files.replace_by(&renewed(&ca, 8));
    broker.wait_for_log("TLS: the files have changed");
    assert_eq!(kind(), HandshakeKind::Full);
}

#[test]
fn a_certificate_is_renewed_again_and_again_under_load_and_nothing_is_lost() {
    let ca = Authority::new();
    let files = renewed(&ca, 7);
    let broker = TestBroker::with_args(&files.flags());
    let offer = TlsOffer::new(&ca.pem());
    let mut news = offer.connect(broker.address());
    news.send("SUBSCRIBE a").expect("SUBACK a");
    let done = AtomicBool::new(false);
    let count = thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut client = offer.connect(broker.address());
            let mut count = 0u64;
            while !done.load(Ordering::Relaxed) {
                count += 1;
                client.send(&format!("PUBLISH a {count}"));
                client.expect(&format!("PUBACK {count} 1"));
            }
            client.send("BYE").expect("BYE");
            count
        });
        for serial in 20..120 {
            files.replace_by(&renewed(&ca, serial));
            // Between the two files a look finds a key that does not fit; the next finds what is right.
            broker.signal(Signal::HUP);
            let mut newcomer = offer.connect(broker.address());
            newcomer.send("PING").expect("PONG");
        }
        eventually("the last one is shown", || {
            serial(&broker, &offer) == Some(119)
        });
        done.store(true, Ordering::Relaxed);
        publisher.join().expect("no panic")
    });
    for number in 1..=count {
        news.expect(&format!("MESSAGE a {number}"));
    }
    assert!(broker.ledger().starts_with("balanced"));
}
