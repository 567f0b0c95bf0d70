//! Promises of `tls.md` about certificates of clients.

use std::fs;
use std::io;
use std::time::Duration;

use tests::certificates::{Authority, Files, Wanted};
use tests::{TestBroker, TestClient, TlsClient, TlsOffer, UsersFile, eventually};

/// A broker that asks for certificates, the authority of its own, and that of clients.
struct Scene {
    broker: TestBroker,
    server: Authority,
    clients: Authority,
}

impl Scene {
    fn new(flags: &[&str]) -> Self {
        let (server, clients) = (Authority::new(), Authority::new());
        let files = server.sign("broker", &Wanted::HERE);
        let ca = clients.pem();
        let asks = ["--client-ca", ca.to_str().expect("text")];
        let broker = TestBroker::with_args(&[&files.flags()[..], &asks, flags].concat());
        Self {
            broker,
            server,
            clients,
        }
    }

    fn offer(&self, own: Option<&Files>) -> TlsOffer {
        TlsOffer::with(&self.server.pem(), own, &[], false)
    }

    fn try_with(&self, own: Option<&Files>) -> io::Result<TlsClient> {
        try_once(&self.offer(own), &self.broker)
    }

    /// A client with this certificate, which is let in.
    #[track_caller]
    fn connect(&self, wanted: &Wanted<'_>) -> TlsClient {
        let files = self.clients.sign("client", wanted);
        self.try_with(Some(&files))
            .unwrap_or_else(|err| panic!("{err}: {}", self.broker.log()))
    }

    /// Why a client with this certificate is not let in, as the log says.
    #[track_caller]
    fn refusal(&self, own: Option<&Files>) {
        let log = || format!("{}: {}", self.rows(), self.broker.log());
        assert!(self.try_with(own).is_err(), "{}", log());
    }

    /// The rows of all connections.
    fn rows(&self) -> String {
        let mut asker = TestClient::connect(self.broker.address());
        asker
            .write("GET /api/clients HTTP/1.0\r\nHost: localhost\r\n\r\n")
            .read_to_end()
    }
}

/// A connection that is served: in TLS 1.3 a client learns only later that it is not.
fn try_once(offer: &TlsOffer, broker: &TestBroker) -> io::Result<TlsClient> {
    let mut client = offer.try_connect(broker.address(), "localhost")?;
    client.try_send("PING")?;
    match client.try_line()? {
        Some(line) if line == "PONG" => Ok(client),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

fn named<'a>(common_name: &'a str, hosts: &'a [&'a str], uris: &'a [&'a str]) -> Wanted<'a> {
    Wanted {
        common_name,
        hosts,
        uris,
        for_client: true,
        ..Wanted::default()
    }
}

#[test]
fn the_name_of_a_client_is_in_its_certificate_and_shown() {
    let scene = Scene::new(&[]);
    let plain = named(
        "meter 7",
        &["meter-7.lan"],
        &["spiffe://a/b", "dallal:meter-7"],
    );
    let mut kept = Vec::new();
    for (wanted, name) in [
        (plain, "meter-7"),
        (
            named("x y", &["b.lan", "c.lan"], &["spiffe://a/b"]),
            "b.lan",
        ),
        (named("ann", &[], &[]), "ann"),
    ] {
        kept.push(scene.connect(&wanted));
        let row = format!("\"certificate\":\"{name}\"");
        assert!(scene.rows().contains(&row), "{}", scene.rows());
    }
    assert!(
        scene
            .rows()
            .contains(r#""tls":{"version":"1.3","suite":"TLS13_AES_"#),
        "{}",
        scene.rows()
    );
    // One that shows none is a client without a name.
    scene.try_with(None).expect("it is only asked for");
    let by_cn = Scene::new(&["--client-name", "cn"]);
    by_cn.connect(&named("bob", &["b.lan"], &["dallal:carl"]));
    let last = by_cn.connect(&named("bob", &["b.lan"], &["dallal:carl"]));
    assert!(by_cn.rows().contains(r#""certificate":"bob""#));
    drop((kept, last));
}

#[test]
fn a_certificate_without_a_name_that_can_be_one_is_refused_with_the_reason() {
    for (wanted, why) in [
        (
            named("x", &[], &["dallal:a", "dallal:b"]),
            "it has two names",
        ),
        (
            Wanted {
                other_common_name: Some("bob"),
                ..named("ann", &[], &[])
            },
            "it has two names",
        ),
        (named("x", &["*.lan"], &[]), "its name \"*.lan\" is none"),
        (
            named("x", &[], &["dallal:unix:root"]),
            "names that begin with unix:",
        ),
        (
            named("anonymous", &[], &[]),
            "its name \"anonymous\" is none",
        ),
        (named("a\0b", &[], &[]), "its name \"a\\0b\" is none"),
        (named("a/b", &[], &[]), "its name \"a/b\" is none"),
        (named("", &[], &[]), "is none: a name is not empty"),
    ] {
        let scene = Scene::new(&[]);
        scene.refusal(Some(&scene.clients.sign("client", &wanted)));
        scene
            .broker
            .wait_for_log("fails: its certificate is refused: ");
        let log = scene.broker.log();
        assert!(
            log.contains(why) || why.starts_with("names that"),
            "{why}: {log}"
        );
    }
}

#[test]
fn a_certificate_that_is_expired_revoked_foreign_or_not_for_clients_is_refused() {
    let good = named("ann", &[], &[]);
    let refused = |make: &dyn Fn(&Scene) -> Files, why: &str| {
        let scene = Scene::new(&["--client-cert", "required"]);
        scene.refusal(Some(&make(&scene)));
        scene.broker.wait_for_log(why);
    };
    let days = |days| Wanted {
        common_name: "ann",
        for_client: true,
        days,
        ..Wanted::default()
    };
    refused(
        &|scene| scene.clients.sign("a", &days((-9, -1))),
        "fails: its certificate has expired on 20",
    );
    refused(
        &|scene| scene.clients.sign("a", &days((1, 9))),
        "fails: its certificate is not valid yet",
    );
    refused(
        &|scene| scene.clients.sign("a", &Wanted::HERE),
        "fails: its certificate is not for clients",
    );
    let stranger = Authority::new();
    refused(
        &|_| stranger.sign("a", &good),
        "fails: its certificate is of no CA in --client-ca",
    );
    let scene = Scene::new(&["--client-cert", "required"]);
    scene.refusal(None);
    scene.broker.wait_for_log("fails: no certificate");
    scene.connect(&good);
}

#[test]
fn a_list_of_revoked_certificates_ends_those_that_it_names_and_no_ticket_brings_them_back() {
    let clients = Authority::new();
    let server = Authority::new();
    let files = server.sign("broker", &Wanted::HERE);
    let list = clients.revoke("crl.pem", &[99]);
    let ca = clients.pem();
    let flags = [
        &files.flags()[..],
        &[
            "--client-ca",
            ca.to_str().expect("text"),
            "--client-crl",
            list.to_str().expect("text"),
        ],
    ];
    let broker = TestBroker::with_args(&flags.concat());
    let [ann, bob] = [("ann", 20), ("bob", 21)].map(|(common_name, serial)| {
        let wanted = Wanted {
            common_name,
            serial,
            for_client: true,
            ..Wanted::default()
        };
        let own = clients.sign(common_name, &wanted);
        TlsOffer::with(&server.pem(), Some(&own), &[], false)
    });
    let mut both = [&ann, &bob].map(|offer| try_once(offer, &broker).expect("it is let in"));
    // With a ticket, too.
    try_once(&ann, &broker).expect("it is let in");
    clients.revoke("crl.pem", &[99, 20]);
    broker.wait_for_log("the connection failed: its certificate is revoked");
    assert!(both[0].try_line().is_err(), "it is cut");
    both[1].send("PING").expect("PONG");
    assert!(try_once(&ann, &broker).is_err());
    broker.wait_for_log("fails: its certificate is revoked");
    try_once(&bob, &broker).expect("it is not revoked");
    // What cannot be read opens nothing.
    fs::write(&list, "nonsense").expect("a file");
    broker.wait_for_log(
        "crl.pem has no list; a file in PEM has lines with BEGIN X509 CRL; what was in force",
    );
    assert!(try_once(&ann, &broker).is_err());
    both[1].send("PING").expect("PONG");
}

#[test]
fn a_client_of_an_authority_that_is_gone_does_not_come_back_by_its_ticket() {
    let scene = Scene::new(&["--client-cert", "required"]);
    let own = scene.clients.sign("ann", &named("ann", &[], &[]));
    let offer = scene.offer(Some(&own));
    let mut living = try_once(&offer, &scene.broker).expect("it is let in");
    let mut resumed = try_once(&offer, &scene.broker).expect("it is let in");
    assert_eq!(
        resumed.tls().handshake_kind(),
        Some(rustls::HandshakeKind::Resumed)
    );
    let other = Authority::new();
    fs::copy(other.pem(), scene.clients.pem()).expect("a file");
    eventually("the other authority counts", || {
        try_once(&offer, &scene.broker).is_err()
    });
    living.send("PING").expect("PONG");
    let own = other.sign("bob", &named("bob", &[], &[]));
    try_once(&scene.offer(Some(&own)), &scene.broker).expect("it is of the new one");
}

#[test]
fn a_client_whose_certificate_has_expired_does_not_come_back_by_its_ticket() {
    let scene = Scene::new(&["--client-cert", "required"]);
    let lasts = Some(Duration::from_secs(3));
    let wanted = Wanted {
        lasts,
        ..named("ann", &[], &[])
    };
    let offer = scene.offer(Some(&scene.clients.sign("ann", &wanted)));
    let mut living = try_once(&offer, &scene.broker).expect("it is let in");
    // Each of these brings a ticket for the next.
    eventually("its time is over", || {
        match try_once(&offer, &scene.broker) {
            Ok(mut client) => {
                let kind = client.tls().handshake_kind();
                assert_eq!(kind, Some(rustls::HandshakeKind::Resumed));
                false
            }
            Err(_) => true,
        }
    });
    scene
        .broker
        .wait_for_log("fails: its certificate has expired on 20");
    living.send("PING").expect("PONG");
}

#[test]
fn a_certificate_is_an_identity_with_the_rights_and_the_groups_of_its_name() {
    let users = UsersFile::of(&[("ann", "right")]);
    let rules = tempfile::tempdir().expect("a folder");
    let path = rules.path().join("rules.access");
    let text =
        "group meters meter-7\nallow @meters publish home/%u/#\nallow ann subscribe home/#\n";
    fs::write(&path, text).expect("room");
    let path = path.to_str().expect("text");
    let scene = Scene::new(&["--users", users.path(), "--access", path]);
    let mut meter = scene.connect(&named("x", &[], &["dallal:meter-7"]));
    meter.send("AUTH").expect("AUTHACK meter-7");
    meter.send("PUBLISH home/meter-7/t 1").expect("PUBACK 1 0");
    meter.send("PUBLISH home/ann/t 1");
    meter
        .expect("ERROR denied publish:2 meter-7 may not publish to home/ann/t (no rule allows it)");
    meter.expect("PUBACK 2 0");
    // It is shown, so no other may take its place.
    meter.send("AUTH ann right");
    meter.expect(
        "ERROR denied line this connection belongs to meter-7; connect again to be another",
    );
    let mut ann = scene.connect(&named("x", &[], &["dallal:ann"]));
    ann.send("SUBSCRIBE home/#").expect("SUBACK home/#");
    // A user that is disabled is kept out with its certificate as well.
    users.run(&["user", "disable", "ann"], "");
    ann.expect("ERROR auth line your user or your token has ended; connect again and say AUTH with a new one");
    ann.expect("BYE");
    let mut ann = scene.connect(&named("x", &[], &["dallal:ann"]));
    ann.send("AUTH").expect("AUTHACK anonymous");
}
