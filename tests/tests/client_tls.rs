//! The terminal client over TLS (`docs/client.md`, "TLS"), before a server of TLS that is not ours.

use std::fs;
use std::process::Command;

use tests::certificates::{Authority, Files, Wanted};
use tests::{COMMANDS, Process, TestBroker, TlsFront, TlsManners, client, ended};

/// A certificate that a client shows.
const METER: Wanted<'_> = Wanted {
    common_name: "meter-7",
    for_client: true,
    ..Wanted::HERE
};

fn with_hosts<'a>(hosts: &'a [&'a str]) -> Wanted<'a> {
    Wanted {
        hosts,
        ..Wanted::HERE
    }
}

/// The file of the certificate of an authority.
fn file(authority: &Authority) -> String {
    authority.pem().display().to_string()
}

/// The flags of a client that shows this certificate.
fn shown(files: &Files) -> [&str; 4] {
    let [cert, key] = [&files.cert, &files.key].map(|path| path.to_str().expect("text"));
    ["--cert", cert, "--key", key]
}

/// A broker behind TLS, and the authority that has signed its certificate.
struct Protected {
    broker: TestBroker,
    front: TlsFront,
    authority: Authority,
}

impl Protected {
    fn start() -> Self {
        Self::with(TlsManners::default())
    }

    fn with(manners: TlsManners) -> Self {
        let authority = Authority::called("first");
        let certificate = authority.sign("broker", &Wanted::HERE);
        let broker = TestBroker::start();
        let front = TlsFront::start(broker.address(), &certificate, None, manners);
        Self {
            broker,
            front,
            authority,
        }
    }

    /// The client with `--ca`, for a server with this scheme.
    fn client(&self, scheme: &str, words: &[&str]) -> Command {
        let server = format!("{scheme}{}", self.front.address());
        let mut client = client(words);
        client.args(["--server", &server, "--ca", &file(&self.authority)]);
        client
    }
}

#[test]
fn each_scheme_of_tls_publishes_and_subscribes_and_offers_what_it_speaks() {
    let protected = Protected::start();
    for (scheme, flags, alpn) in [
        ("tls://", &[][..], "dallal"),
        ("", &["--tls"], "dallal"),
        ("mqtts://", &["--mqtt", "3.1.1"], "mqtt"),
        ("tls://", &["--mqtt", "5"], "mqtt"),
        ("wss://", &[], "http/1.1"),
        ("wss://", &["--mqtt", "5"], "http/1.1"),
    ] {
        let mut subscribe = protected.client(scheme, &["subscribe", "news/#", "-C", "1"]);
        let mut listener = Process::start(subscribe.args(flags));
        listener.wait_for_complaint("subscribing on");
        let mut publish = protected.client(scheme, &["publish", "news/a", "hello"]);
        ended(publish.args(flags), 0);
        listener.expect("news/a: hello");
        assert!(listener.end().0.success(), "{scheme} {flags:?}");
        assert_eq!(protected.front.take_spoken(), [alpn, alpn], "{scheme}");
    }
}

#[test]
fn every_command_speaks_tls() {
    let protected = Protected::start();
    let listener = Process::start(&mut protected.client("tls://", &["reply", "time", "now"]));
    listener.wait_for_complaint("replying on");
    for words in COMMANDS {
        ended(&mut protected.client("tls://", words), 0);
    }
    let words = ["selftest", "--only", "3.1.2", "--mqtt", "5"];
    ended(&mut protected.client("mqtts://", &words), 0);
}

#[test]
fn a_load_of_each_protocol_arrives_whole() {
    let protected = Protected::start();
    for (scheme, flags) in [
        ("tls://", &[][..]),
        ("tls://", &["--request"]),
        ("tls://", &["--idle", "5"]),
        ("tls://", &["--rate", "1000"]),
        ("tls://", &["--size", "100000", "--cap", "1MiB"]),
        ("mqtts://", &["--window", "20", "--qos", "1"]),
        ("wss://", &["--subs", "3"]),
        ("https://", &[]),
    ] {
        let mut bench = protected.client(scheme, &["bench"]);
        if !flags.contains(&"--idle") {
            bench.args(["--count", "2000"]);
        }
        let (out, _) = ended(bench.args(flags), 0);
        assert!(!out.contains("lost 1"), "{out}");
    }
}

#[test]
fn variables_and_the_configuration_file_say_the_same_as_flags() {
    let protected = Protected::start();
    let (address, ca) = (protected.front.address(), file(&protected.authority));
    let plain = protected.broker.address().to_string();
    let variables = |variables: &[(&str, &str)], words: &[&str]| {
        let mut client = client(words);
        client.envs(variables.iter().copied());
        client
    };
    let url = format!("tls://{address}");
    let bare = address.to_string();
    ended(
        &mut variables(&[("BROKER_URL", &url), ("BROKER_CA", &ca)], &["who"]),
        0,
    );
    ended(
        &mut variables(&[("BROKER_CA", &ca)], &["who", "-s", &bare]),
        0,
    );
    // What is said for other servers does not keep from a server whose scheme is one without TLS.
    let without = format!("dallal://{plain}");
    ended(
        &mut variables(&[("BROKER_CA", &ca)], &["who", "-s", &without]),
        0,
    );
    ended(
        &mut variables(&[("BROKER_TLS", "off")], &["who", "-s", &plain]),
        0,
    );
    let mut on = variables(
        &[("BROKER_TLS", "1"), ("BROKER_CA", &ca)],
        &["who", "-s", &bare],
    );
    ended(&mut on, 0);

    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("dallal")).expect("room");
    fs::copy(&ca, folder.path().join("dallal/ca.pem")).expect("room");
    let text = format!("[servers.a]\nurl = \"{bare}\"\nca = \"ca.pem\"\n");
    fs::write(folder.path().join("dallal/client.toml"), text).expect("room");
    let mut who = client(&["who", "-c", "a"]);
    ended(who.env("XDG_CONFIG_HOME", folder.path()), 0);
}

#[test]
fn a_certificate_of_an_unknown_authority_is_told_with_what_to_type() {
    let protected = Protected::start();
    let server = format!("tls://{}", protected.front.address());
    let told = format!(
        "the certificate of {} is signed by an unknown CA; give --ca FILE, or --fingerprint",
        protected.front.address()
    );
    // The second is as the right one would be that was made anew.
    let [_, shown] = ["other", "first"].map(|name| {
        let other = Authority::called(name);
        let mut publish = client(&["publish", "a", "b", "-s", &server]);
        let (_, err) = ended(publish.args(["--ca", &file(&other)]), 3);
        assert!(err.contains(&told), "{err}");
        // A client that would wait for a broker does not try again.
        let mut subscribe = client(&["subscribe", "a", "-s", &server, "--wait-for-broker"]);
        let (_, again) = ended(subscribe.args(["--ca", &file(&other)]), 3);
        assert!(!again.contains("trying again"), "{again}");
        let (_, shown) = err.trim_end().rsplit_once(": ").expect("a fingerprint");
        shown.to_owned()
    });
    for fingerprint in [shown.clone(), shown.replace(':', "").to_lowercase()] {
        let mut who = client(&["who", "-s", &server, "--fingerprint", &fingerprint]);
        ended(&mut who, 0);
    }
    let wrong = shown.replace(&shown[..2], if &shown[..2] == "00" { "01" } else { "00" });
    let mut who = client(&["who", "-s", &server, "--fingerprint", &wrong]);
    let (_, err) = ended(&mut who, 3);
    let told = format!("has another fingerprint; it shows {shown}");
    assert!(err.contains(&told), "{err}");
}

#[test]
fn names_dates_and_issuers_of_a_certificate_are_looked_at() {
    let authority = Authority::called("first");
    for (certificate, told, advice) in [
        (
            authority.sign("other", &with_hosts(&["broker.lan"])),
            "is for broker.lan; give",
            "--server-name",
        ),
        (
            authority.sign(
                "expired",
                &Wanted {
                    days: (-30, -1),
                    ..Wanted::HERE
                },
            ),
            "has expired on 20",
            "renew",
        ),
        (
            authority.have_signed_by_itself("self", &Wanted::HERE),
            "is signed by itself",
            "--fingerprint",
        ),
    ] {
        let broker = TestBroker::start();
        let front = TlsFront::start(broker.address(), &certificate, None, TlsManners::default());
        let server = format!("tls://{}", front.address());
        let words = ["who", "-s", &server, "--ca", &file(&authority)];
        let (_, err) = ended(&mut client(&words), 3);
        assert!(err.contains(told) && err.contains(advice), "{err}");
        if told.contains("broker.lan") {
            ended(client(&words).args(["--server-name", "broker.lan"]), 0);
        }
    }
}

#[test]
fn a_client_shows_its_certificate_where_it_is_asked_for() {
    let authority = Authority::called("first");
    let broker = TestBroker::start();
    let certificate = authority.sign("broker", &Wanted::HERE);
    let manners = TlsManners::default();
    let front = TlsFront::start(broker.address(), &certificate, Some(&authority), manners);
    let server = format!("tls://{}", front.address());
    for words in [&["who"][..], &["publish", "a", "b"], &["subscribe", "a"]] {
        let mut command = client(words);
        command.args(["-s", &server, "--ca", &file(&authority)]);
        let (_, err) = ended(&mut command, 3);
        assert!(
            err.contains("asks for a certificate of this client; give --cert"),
            "{err}"
        );
    }
    let own = authority.sign("meter-7", &METER);
    let words = ["who", "-s", &server, "--ca", &file(&authority)];
    ended(client(&words).args(shown(&own)), 0);
    let others = Authority::called("first");
    let (_, err) = ended(
        client(&words).args(shown(&others.sign("meter-7", &METER))),
        3,
    );
    assert!(
        err.contains("does not take the certificate of this client"),
        "{err}"
    );
}

#[test]
fn a_server_with_tls_and_one_without_are_told_apart() {
    let protected = Protected::start();
    let plain = format!("tls://{}", protected.broker.address());
    let ca = file(&protected.authority);
    let (_, err) = ended(&mut client(&["who", "-s", &plain, "--ca", &ca]), 3);
    assert!(err.contains("TLS"), "{err}");
    let secure = protected.front.address().to_string();
    let (_, err) = ended(&mut client(&["who", "-s", &secure]), 3);
    assert!(
        err.contains("this is a server of TLS") && err.contains("give --tls"),
        "{err}"
    );
}

#[test]
fn mistakes_with_files_and_flags_are_wrong_usage() {
    let authority = Authority::called("first");
    let certificate = authority.sign("broker", &Wanted::HERE);
    let path = certificate.cert.display().to_string();
    let key = certificate.key.display().to_string();
    let other = authority.sign("other", &Wanted::HERE);
    let other_key = other.key.display().to_string();
    for (flags, told) in [
        (&["--key", &*key][..], "give --cert FILE, too"),
        (
            &["--ca", "/nonexistent/ca.pem"],
            "cannot read /nonexistent/ca.pem (no such file",
        ),
        (&["--ca", &key], "has no certificate in PEM"),
        (&["--cert", &path], "has no key without a passphrase in PEM"),
        (
            &["--cert", &path, "--key", &other_key],
            "is not that of the certificate in",
        ),
        (&["--fingerprint", "abc"], "give the 64 hexadecimal digits"),
        (
            &["--server-name", "a b"],
            "no certificate can be for the name \"a b\"",
        ),
        (&["-s", "unix:/a", "--tls"], "a socket of this machine"),
    ] {
        let (_, err) = ended(client(&["who"]).args(flags), 2);
        assert!(err.contains(told), "{flags:?}: {err}");
    }
}

#[test]
fn a_long_stream_arrives_whole_also_while_keys_are_renewed() {
    let protected = Protected::with(TlsManners {
        renews_keys: true,
        ..TlsManners::default()
    });
    let mut subscribe = protected.client("tls://", &["subscribe", "a", "-o", "raw", "-C", "3001"]);
    let mut listener = Process::start(&mut subscribe);
    listener.wait_for_complaint("subscribing on");
    let long = "x".repeat(900_000);
    let mut publish = Process::start(&mut protected.client("tls://", &["publish", "a"]));
    publish.write(&long).end_input();
    let (status, _, err) = publish.end();
    assert!(status.success(), "{err}");
    let lines: String = (0..3000).map(|number| format!("{number}\n")).collect();
    let mut publish = Process::start(&mut protected.client("tls://", &["publish", "--lines", "a"]));
    publish.write(&lines).end_input();
    assert!(publish.end().0.success());
    let (status, out, err) = listener.end();
    assert!(status.success(), "{err}");
    let numbers: String = (0..3000).map(|number| number.to_string()).collect();
    let out = String::from_utf8(out).expect("text").replace('\n', "");
    assert!(out == long + &numbers, "{} bytes came", out.len());
}

#[test]
fn a_subscriber_comes_back_after_an_end_with_and_without_a_word_of_tls() {
    for cuts in [false, true] {
        let protected = Protected::with(TlsManners {
            cuts,
            ..TlsManners::default()
        });
        let mut listener = Process::start(&mut protected.client("tls://", &["subscribe", "a"]));
        listener.wait_for_complaint("subscribing on");
        let mut ann = protected.broker.connect();
        ann.send("PUBLISH a 1").expect("PUBACK 1 1");
        listener.expect("a: 1");
        protected.front.end_connections();
        listener.wait_for_complaint("trying again");
        listener.wait_for_complaint("connected again");
        let complaint = listener.complaints();
        let is_cut = complaint.contains("the connection broke");
        assert_eq!(is_cut, cuts, "{complaint}");
        ann.send("PUBLISH a 2").expect("PUBACK 2 1");
        listener.expect("a: 2");
    }
}

#[test]
fn the_broker_itself_speaks_tls_with_each_of_them() {
    let authority = Authority::new();
    let files = authority.sign("broker", &Wanted::HERE);
    let broker = TestBroker::with_args(&files.flags());
    let to = |scheme: &str, words: &[&str]| {
        let server = format!("{scheme}localhost:{}", broker.address().port());
        let mut client = client(words);
        client.args(["-s", &server, "--ca", &file(&authority)]);
        client
    };
    for (scheme, flags) in [
        ("tls://", &[][..]),
        ("", &["--tls"]),
        ("mqtts://", &[]),
        ("tls://", &["--mqtt", "3.1.1"]),
        ("wss://", &[]),
        ("wss://", &["--mqtt", "5"]),
    ] {
        let mut subscribe = to(scheme, &["subscribe", "news", "-C", "1"]);
        let mut listener = Process::start(subscribe.args(flags));
        listener.wait_for_complaint("subscribing on");
        ended(to(scheme, &["publish", "news", "hello"]).args(flags), 0);
        listener.expect("news: hello");
        assert!(listener.end().0.success(), "{scheme} {flags:?}");
    }
    for scheme in ["tls://", "mqtts://", "wss://", "https://"] {
        let words = ["bench", "--count", "5000", "--subs", "3"];
        ended(&mut to(scheme, &words), 0);
    }
    ended(
        &mut to("tls://", &["bench", "--count", "200", "--request"]),
        0,
    );
    ended(&mut to("tls://", &["bench", "--idle", "20"]), 0);
    ended(&mut to("mqtts://", &["selftest", "--mqtt", "5"]), 0);
}
