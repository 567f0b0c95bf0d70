//! Promises of `tls.md`: `broker cert` makes certificates that others take.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tests::{TestBroker, TlsOffer, program};

fn cert(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(program("broker"));
    command.arg("cert").args(args).arg("--out").arg(folder);
    command.output().expect("it runs")
}

#[track_caller]
fn made(folder: &Path, args: &[&str]) -> String {
    let output = cert(folder, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// What openssl says about a certificate at its strictest.
fn verified(folder: &Path, purpose: &str, file: &str) -> String {
    let mut openssl = Command::new("openssl");
    openssl
        .current_dir(folder)
        .args(["verify", "-x509_strict", "-purpose", purpose]);
    let output = openssl
        .args(["-CAfile", "ca.pem", file])
        .output()
        .expect("it runs");
    let told = [output.stdout, output.stderr].concat();
    String::from_utf8(told).expect("text")
}

#[test]
fn an_authority_signs_for_brokers_and_clients_and_openssl_takes_it_at_its_strictest() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("new folder");
    let said = made(&folder, &["--names", "localhost,127.0.0.1,*.example.org"]);
    let ca = folder.join("ca.pem");
    assert!(
        said.contains(&format!("client --ca \'{}\'", ca.display())),
        "{said}"
    );
    assert!(
        said.contains("are for localhost, 127.0.0.1, *.example.org, until 20"),
        "{said}"
    );
    let said = made(&folder, &["--client", "meter-7"]);
    assert!(
        said.contains("client-meter-7.pem") && said.contains("are for meter-7"),
        "{said}"
    );
    assert!(!said.contains("new authority"), "{said}");
    // In a mistyped folder the certificate is of an authority that no broker trusts.
    let said = made(&place.path().join("nwe"), &["--client", "meter-7"]);
    assert!(said.contains("ca.pem is a new authority"), "{said}");
    assert!(said.contains("keep it away from others"), "{said}");
    assert_eq!(
        verified(&folder, "sslserver", "server.pem"),
        "server.pem: OK\n"
    );
    assert_eq!(
        verified(&folder, "sslclient", "client-meter-7.pem"),
        "client-meter-7.pem: OK\n"
    );
    assert!(
        verified(&folder, "sslserver", "client-meter-7.pem")
            .contains("unsuitable certificate purpose")
    );
    for name in ["ca", "server", "client-meter-7"] {
        let key = fs::metadata(folder.join(format!("{name}-key.pem"))).expect("a key");
        assert_eq!(key.permissions().mode() & 0o777, 0o600, "{name}");
    }
    let [cert, key] = ["server.pem", "server-key.pem"].map(|name| folder.join(name));
    let flags = [
        "--tls-cert",
        cert.to_str().expect("text"),
        "--tls-key",
        key.to_str().expect("text"),
    ];
    let broker = TestBroker::with_args(&flags);
    let offer = TlsOffer::new(&ca);
    for name in ["localhost", "127.0.0.1", "a.example.org"] {
        let mut client = offer
            .try_connect(broker.address(), name)
            .expect("it is in the certificate");
        client.send("PING").expect("PONG");
    }
    // Run again, it renews, and the broker takes what is new; the authority stays.
    let before = fs::read(&ca).expect("a file");
    made(&folder, &["--names", "localhost"]);
    broker.wait_for_log("TLS: the files have changed");
    assert!(offer.try_connect(broker.address(), "127.0.0.1").is_err());
    offer.connect(broker.address()).send("PING").expect("PONG");
    assert_eq!(fs::read(&ca).expect("a file"), before);
}

#[test]
fn what_cannot_be_made_is_told_with_the_reason() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    let refused = |args: &[&str]| {
        let output = cert(folder, args);
        let errors = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), errors)
    };
    assert_eq!(refused(&[]).0, Some(2));
    assert_eq!(refused(&["--names", "a", "--client", "b"]).0, Some(2));
    let (code, told) = refused(&["--client", "../ca"]);
    assert!(
        code == Some(2) && told.contains("letters of ASCII"),
        "{told}"
    );
    let (code, told) = refused(&["--names", "broker.lan,a b"]);
    assert!(
        code == Some(1) && told.contains("\"a b\" is no name of a host"),
        "{told}"
    );
    assert!(!folder.join("ca.pem").exists(), "nothing is made for it");
    fs::write(folder.join("ca.pem"), "").expect("a file");
    let (code, told) = refused(&["--names", "a"]);
    assert!(
        code == Some(1) && told.contains("ca.pem has no key beside it"),
        "{told}"
    );
    fs::write(folder.join("ca-key.pem"), "").expect("a file");
    let (code, told) = refused(&["--names", "a"]);
    assert!(
        code == Some(1) && told.contains("was not made by this tool"),
        "{told}"
    );
}
