//! Promises of `tls.md`: what is wrong with a certificate or a key is told at the start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tests::certificates::{Authority, Files, Wanted};
use tests::{TestBroker, TlsOffer, program};

/// How a check of these flags ends: its exit code and its errors.
fn check(flags: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(program("broker"));
    let checked = command.arg("--check").args(flags).output();
    let checked = checked.expect("it runs");
    let errors = String::from_utf8(checked.stderr).expect("text");
    (checked.status.code(), errors)
}

/// The mistake of a broker that has these files, which is told with exit code 2.
#[track_caller]
fn mistake(files: &Files) -> String {
    let (code, errors) = check(&files.flags());
    assert_eq!(code, Some(2), "{errors}");
    // A start ends in the same way.
    let started = TestBroker::command(&files.flags()).output();
    let started = started.expect("it runs");
    assert_eq!(started.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&started.stderr), errors);
    errors
}

#[test]
fn a_certificate_or_a_key_that_cannot_be_used_is_told_with_its_file_and_the_reason() {
    let ca = Authority::new();
    let good = ca.sign("good", &Wanted::HERE);
    assert_eq!(check(&good.flags()), (Some(0), String::new()));
    let other = ca.sign("other", &Wanted::HERE);
    let of = |cert: &Files, key: &Files| Files {
        cert: cert.cert.clone(),
        key: key.key.clone(),
    };
    let told = mistake(&of(&good, &other));
    assert!(
        told.contains("other-key.pem does not fit") && told.contains("good.pem"),
        "{told}"
    );
    let told = mistake(&ca.sign(
        "old",
        &Wanted {
            days: (-30, -1),
            ..Wanted::HERE
        },
    ));
    assert!(
        told.contains("old.pem: its certificate has expired on 20"),
        "{told}"
    );
    let told = mistake(&ca.sign(
        "young",
        &Wanted {
            days: (1, 30),
            ..Wanted::HERE
        },
    ));
    assert!(
        told.contains("young.pem: its certificate is not valid before 20"),
        "{told}"
    );
    let told = mistake(&of(
        &Files {
            cert: good.key.clone(),
            ..good.clone()
        },
        &good,
    ));
    assert!(told.contains("good-key.pem has no certificate"), "{told}");
    let told = mistake(&Files {
        key: good.cert.clone(),
        ..good.clone()
    });
    assert!(told.contains("others may read or write it"), "{told}");
    fs::set_permissions(&other.cert, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let told = mistake(&Files {
        key: other.cert.clone(),
        ..good.clone()
    });
    assert!(told.contains("other.pem has no key"), "{told}");
    let empty = ca.path("empty");
    fs::write(&empty, "").expect("a file");
    let told = mistake(&Files {
        cert: empty,
        ..good.clone()
    });
    assert!(told.contains("empty has no certificate"), "{told}");
    let told = mistake(&Files {
        cert: ca.path("nowhere"),
        key: ca.path("gone"),
    });
    assert!(
        told.contains("nowhere cannot be read") && told.contains("gone cannot be read"),
        "{told}"
    );
    let cut = ca.path("cut.pem");
    let text = fs::read_to_string(&good.cert).expect("text");
    fs::write(&cut, &text[..text.len() / 2]).expect("a file");
    let told = mistake(&Files {
        cert: cut,
        ..good.clone()
    });
    assert!(
        told.contains("cut.pem is no PEM: a section has no END line"),
        "{told}"
    );
}

#[test]
fn a_key_that_others_may_read_is_refused_with_what_to_type() {
    let ca = Authority::new();
    let files = ca.sign("a", &Wanted::HERE);
    for (mode, wanted) in [(0o644, 0o640), (0o660, 0o640), (0o602, 0o600)] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).expect("it is ours");
        let told = mistake(&files);
        assert!(told.contains(&format!("type: chmod {wanted:o} ")), "{told}");
    }
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o640)).expect("it is ours");
    assert_eq!(check(&files.flags()).0, Some(0));
}

#[test]
fn a_key_with_a_password_is_told_as_such() {
    let ca = Authority::new();
    let files = ca.sign("a", &Wanted::HERE);
    let encrypted = ca.path("encrypted.pem");
    // PKCS #8, and the form of RFC 1421.
    for form in [&[][..], &["-traditional"]] {
        let mut openssl = Command::new("openssl");
        openssl.args(["pkey", "-aes256", "-passout", "pass:x"]);
        openssl.args(form).arg("-in").arg(&files.key);
        let openssl = openssl.arg("-out").arg(&encrypted).status();
        assert!(openssl.expect("it runs").success());
        fs::set_permissions(&encrypted, fs::Permissions::from_mode(0o600)).expect("it is ours");
        let told = mistake(&Files {
            key: encrypted.clone(),
            ..files.clone()
        });
        assert!(
            told.contains("is encrypted") && told.contains("openssl pkey"),
            "{told}"
        );
    }
}

#[test]
fn certificates_and_keys_come_in_pairs_and_a_mode_needs_one() {
    let ca = Authority::new();
    let files = ca.sign("a", &Wanted::HERE);
    let [_, cert, _, key] = files.flags();
    let told = check(&["--tls-cert", cert]).1;
    assert!(
        told.contains("--tls-cert and --tls-key come in pairs; there are 1 and 0"),
        "{told}"
    );
    for mode in ["offered", "required"] {
        let told = check(&["--tls", mode]).1;
        assert!(
            told.contains(&format!("--tls {mode} needs a certificate")),
            "{told}"
        );
    }
    assert_eq!(check(&["--tls", "off"]).0, Some(0));
    // What is off is not read.
    assert_eq!(
        check(&["--tls", "off", "--tls-cert", "/nowhere", "--tls-key", key]).0,
        Some(0)
    );
    assert!(
        check(&["--tls", "on"])
            .1
            .contains("it is off, offered or required")
    );
    assert!(check(&["--tls-min", "1.1"]).1.contains("it is 1.2 or 1.3"));
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let ca = Authority::new();
    let [here, a, any] = [
        ("here", &["localhost"][..]),
        ("a", &["a.example"]),
        ("any", &["*.b.example"]),
    ]
    .map(|(name, hosts)| {
        ca.sign(
            name,
            &Wanted {
                hosts,
                ..Wanted::HERE
            },
        )
    });
    let flags = [here.flags(), a.flags(), any.flags()].concat();
    let broker = TestBroker::with_args(&flags);
    let offer = TlsOffer::new(&ca.pem());
    let connect = |name: &str| offer.try_connect(broker.address(), name);
    for name in ["localhost", "a.example", "x.b.example"] {
        connect(name)
            .expect("it is there")
            .send("PING")
            .expect("PONG");
    }
    // The first one, which the client finds wrong.
    for name in ["c.example", "x.y.b.example"] {
        let refused = connect(name).err().expect("no certificate has the name");
        assert!(
            refused.to_string().contains("not valid for name"),
            "{refused}"
        );
    }
    broker.wait_for_log("which asks for \"c.example\", fails: the client ");
    // A browser finds the broker under the names of its certificates.
    let mut browser = connect("a.example").expect("it is there");
    browser.write(b"GET /api/broker HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    let answer = browser.read_to_end();
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        answer.escape_ascii()
    );
    let mut stranger = connect("a.example").expect("it is there");
    stranger.write(b"GET /api/broker HTTP/1.1\r\nHost: c.example\r\nConnection: close\r\n\r\n");
    let answer = stranger.read_to_end();
    assert!(
        answer.starts_with(b"HTTP/1.1 421"),
        "{}",
        answer.escape_ascii()
    );
}
