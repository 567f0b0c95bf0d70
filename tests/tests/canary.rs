//! No secret is told: one of each kind goes every way into the broker and the client, right and wrong, and is then looked
//! for in all that comes out of them.

use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use rustix::process::Signal;
use tempfile::TempDir;
use tests::certificates::{Authority, Files, Wanted};
use tests::frames::masked;
use tests::mqtt::{BOTH, Hello, Mqtt};
use tests::{
    Alg, Asker, JwtIssuer, Process, TestBroker, TestClient, TlsOffer, UsersFile, client, client_of,
    eventually, outcome,
};

/// The password of ann.
const RIGHT: &str = "canary-3e9a-right horse";

/// What others say that they have.
const WRONG: &str = "canary-3e9a-wrong";

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The forms in which a secret must not be seen.
#[derive(Default)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn add(&mut self, what: &str, secret: &str) {
        assert!(secret.len() > 12, "{what} could be anywhere: {secret}");
        let escaped = secret.replace(' ', "\\s");
        for (form, text) in [
            ("", secret.to_owned()),
            (" with escapes", escaped),
            (" in base64", STANDARD_NO_PAD.encode(secret)),
            (" in base64url", URL_SAFE_NO_PAD.encode(secret)),
            (" of Basic", STANDARD_NO_PAD.encode(format!("ann:{secret}"))),
            (
                " in hexadecimal",
                secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ),
            (" as bytes", format!("{:?}", secret.as_bytes())),
        ] {
            self.0.push((format!("{what}{form}"), text));
        }
    }
}

/// All that was said.
#[derive(Default)]
struct Outputs(Vec<(String, String)>);

impl Outputs {
    fn add(&mut self, whence: &str, text: impl AsRef<[u8]>) {
        let text = String::from_utf8_lossy(text.as_ref()).into_owned();
        self.0.push((whence.to_owned(), text));
    }

    /// Runs a program to its end, however that is.
    fn run(&mut self, command: &mut Command) {
        let shown = format!("{command:?}");
        let (_, out, err) = outcome(command.stdin(Stdio::null()));
        self.add(&shown, out);
        self.add(&format!("errors of {shown}"), err);
    }

    #[track_caller]
    fn check(&self, secrets: &Secrets) {
        let mut found = Vec::new();
        for (whence, text) in &self.0 {
            for (what, secret) in &secrets.0 {
                if let Some(at) = text.find(secret.as_str()) {
                    let from = text.floor_char_boundary(at.saturating_sub(80));
                    let end = text.floor_char_boundary((at + secret.len() + 20).min(text.len()));
                    found.push(format!("{what} is in {whence}: ...{}...", &text[from..end]));
                }
            }
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
        assert!(self.0.len() > 100, "only {} outputs", self.0.len());
    }
}

/// A broker with everything that takes a secret, and one of each kind.
struct Scene {
    broker: TestBroker,
    folder: TempDir,
    users: UsersFile,
    issuer: JwtIssuer,
    authority: Authority,
    files: Files,
    token: String,
    other_token: String,
    jwt: String,
    other_jwt: String,
    udp: String,
    secrets: Secrets,
    outputs: Outputs,
    exchanges: Cell<u32>,
}

fn in_folder(folder: &Path, name: &str) -> String {
    folder
        .join(name)
        .into_os_string()
        .into_string()
        .expect("text")
}

/// The port of a socket that was free a moment ago.
fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let users = UsersFile::of(&[("bob", "other")]);
        users.run(&["user", "add", "ann", "--groups", "admin"], RIGHT);
        let token = users.run(&["token", "add", "ann"], "");
        let (issuer, foreign) = (JwtIssuer::new(), JwtIssuer::new());
        let authority = Authority::new();
        let files = authority.sign("broker", &Wanted::HERE);
        let udp = format!("127.0.0.1:{}", free_port());
        let log = in_folder(folder.path(), "security.log");
        let socket = in_folder(folder.path(), "broker.sock");
        let ca = authority
            .pem()
            .into_os_string()
            .into_string()
            .expect("text");
        let own = [
            "--users",
            users.path(),
            "--jwt-keys",
            &issuer.path(),
            "--udp",
            &udp,
        ];
        let more = [
            "--security-log",
            &log,
            "--unix",
            &socket,
            "--client-ca",
            &ca,
        ];
        let flags = [&own[..], &more, &files.flags()].concat();
        let broker = TestBroker::with_log(&flags, "trace");
        let (id, letters) = token[4..].split_once('_').expect("a token");
        let reversed: String = letters.chars().rev().collect();
        let mut scene = Self {
            other_token: format!("dlt_{id}_{reversed}"),
            jwt: issuer.token_of(Alg::Hs256, "ann"),
            other_jwt: foreign.token_of(Alg::Es256, "ann"),
            broker,
            folder,
            users,
            issuer,
            authority,
            files,
            udp,
            secrets: Secrets::default(),
            outputs: Outputs::default(),
            exchanges: Cell::new(0),
            token: token.clone(),
        };
        scene.secrets.add("the password", RIGHT);
        scene.secrets.add("a wrong password", WRONG);
        for (what, token) in [("the token", &token), ("a wrong token", &scene.other_token)] {
            // Its public part may be shown.
            let letters = token.splitn(3, '_').nth(2).expect("a token");
            scene.secrets.add(what, letters);
        }
        for (what, jwt) in [("the JWT", &scene.jwt), ("a wrong JWT", &scene.other_jwt)] {
            let signature = jwt.rsplit_once('.').expect("a JWT").1;
            scene.secrets.add(what, signature);
        }
        let key = fs::read_to_string(&scene.files.key).expect("a key");
        for line in key.lines().filter(|line| !line.starts_with('-')) {
            scene.secrets.add("the key of TLS", line);
        }
        let keys = fs::read_to_string(scene.issuer.path()).expect("keys");
        let keys: serde_json::Value = serde_json::from_str(&keys).expect("JSON");
        let secret = keys["keys"][0]["k"].as_str().expect("a secret");
        scene.secrets.add("the secret of JWTs", secret);
        scene
    }

    /// Each secret, with the user beside it; the right ones first.
    fn shown(&self) -> Vec<(&'static str, String)> {
        let secrets = [
            ("ann", RIGHT),
            ("", &*self.token),
            ("", &*self.jwt),
            ("ann", WRONG),
            // In the wrong fields.
            (WRONG, "ann"),
            (RIGHT, ""),
            ("eve", RIGHT),
            ("", &*self.other_token),
            ("", &*self.other_jwt),
        ];
        secrets
            .into_iter()
            .map(|(user, secret)| (user, secret.to_owned()))
            .collect()
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("{text}\n")).expect("room");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        path
    }

    fn lines(&mut self) {
        for (user, secret) in self.shown() {
            for line in [
                format!("AUTH {user} {secret}"),
                format!("auth {user} {secret}"),
                format!("@id=1 AUTH {user} {secret}"),
                format!("AUTH  {user}  {secret} "),
                // Verbs that there are not.
                format!("ATUH {user} {secret}"),
                format!("LOGIN {user} {secret}"),
                format!("AUTH {secret} {}", "x".repeat(9000)),
            ] {
                let said = self.exchange(
                    format!(
                        "{line}
BYE
"
                    )
                    .as_bytes(),
                );
                self.outputs.add("the answers to a line", said);
            }
            let datagram = UdpSocket::bind("127.0.0.1:0").expect("a port");
            let _ = datagram.send_to(format!("AUTH {user} {secret}\n").as_bytes(), &self.udp);
            datagram
                .set_read_timeout(Some(Duration::from_millis(200)))
                .expect("a socket");
            let mut answer = [0; 2000];
            let count = datagram.recv(&mut answer).unwrap_or(0);
            self.outputs
                .add("the answer to a datagram", &answer[..count]);
        }
        // Before its last byte has come, and longer than it may be.
        let long = "x".repeat(100_000);
        for line in [
            format!("AUTH ann {RIGHT}"),
            format!("AUTH ann {RIGHT}{long}"),
        ] {
            let said = self.exchange(line.as_bytes());
            self.outputs
                .add("the answers to a line without an end", said);
        }
    }

    fn packets(&mut self) {
        for version in BOTH {
            for (user, secret) in self.shown() {
                let mut hello = Hello {
                    user: Some(user.to_owned()),
                    password: Some(secret.clone()),
                    ..Hello::new("m1")
                };
                let mut packets = vec![hello.encode(version)];
                if version == Mqtt::V5 {
                    hello.user = None;
                    packets.push(hello.encode(version));
                    let data = [&[0x15, 0, 3][..], b"JWT", &[0x16]].concat();
                    let length = u16::try_from(secret.len()).expect("short").to_be_bytes();
                    hello.password = None;
                    hello.properties = [&data[..], &length, secret.as_bytes()].concat();
                    packets.push(hello.encode(version));
                }
                // One that has a byte too many, and one that ends too early.
                let whole = packets[0].clone();
                packets.push([&whole[..], &[0xff]].concat());
                packets.push([&whole[..1], &[whole[1] - 1], &whole[2..whole.len() - 1]].concat());
                for packet in packets {
                    let said = self.exchange(&packet);
                    self.outputs.add("the answer to CONNECT", said);
                }
            }
        }
    }

    /// Sends bytes and the end, and reads all that comes. Each time from another address, because answers to wrong
    /// secrets come later and later for one.
    fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let number = self.exchanges.get() + 1;
        self.exchanges.set(number);
        let [_, _, high, low] = number.to_be_bytes();
        let own = Ipv4Addr::new(127, 7, high, low);
        let mut stream = TestClient::connect_from(own.into(), self.broker.address()).writer();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        said
    }

    fn requests(&mut self) {
        let mut heads = Vec::new();
        for (user, secret) in self.shown() {
            let basic = STANDARD_NO_PAD.encode(format!("{user}:{secret}"));
            let url = secret.replace(' ', "%20");
            let protocol = URL_SAFE_NO_PAD.encode(&secret);
            for (line, headers) in [
                (
                    "GET /api/clients".to_owned(),
                    format!("Authorization: Basic {basic}\r\n"),
                ),
                (
                    "GET /api/clients".to_owned(),
                    format!("Authorization: Bearer {secret}\r\n"),
                ),
                (
                    "GET /api/nothing".to_owned(),
                    format!("Authorization: Bearer {secret}\r\n"),
                ),
                (
                    "GET /api/clients".to_owned(),
                    format!("Authorization: Digest {secret}\r\n"),
                ),
                (
                    "GET /api/clients".to_owned(),
                    format!("Authorization: {secret}\r\nAuthorization: {secret}\r\n"),
                ),
                (
                    "GET /api/clients".to_owned(),
                    format!("Cookie: dallal={secret}\r\n"),
                ),
                (format!("GET /topics/a?token={url}"), String::new()),
                (format!("GET /topics/a?password={url}&x"), String::new()),
                (
                    "GET /ws".to_owned(),
                    format!("{UPGRADE}Sec-WebSocket-Protocol: line, auth.{protocol}\r\n"),
                ),
                (
                    "GET /ws".to_owned(),
                    format!("{UPGRADE}Sec-WebSocket-Protocol: auth.{protocol}\r\n"),
                ),
                (
                    "GET /metrics".to_owned(),
                    format!("Authorization: Basic {basic}\r\nAuthorization Basic {basic}\r\n"),
                ),
            ] {
                heads.push(format!(
                    "{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
                ));
            }
            let json = serde_json::json!({"user": user, "secret": secret}).to_string();
            let form = format!("user={user}&secret={}", url.replace("%20", "+"));
            for (kind, body) in [
                ("application/json", json.clone()),
                ("application/x-www-form-urlencoded", form),
                ("application/json", json[..json.len() - 1].to_owned()),
                ("text/plain", json),
            ] {
                heads.push(format!(
                    "POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Type: {kind}\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                ));
            }
        }
        for head in heads {
            let said = String::from_utf8_lossy(&self.exchange(head.as_bytes())).into_owned();
            if let Some((_, rest)) = said.split_once("dallal=") {
                let cookie = rest.split(';').next().unwrap_or_default();
                if !cookie.is_empty() {
                    let used = format!(
                        "GET /login HTTP/1.1\r\nHost: localhost\r\nCookie: dallal={cookie}\r\n\r\n"
                    );
                    let said = self.exchange(used.as_bytes());
                    self.outputs.add("the answer to a cookie", said);
                    self.secrets.add("a cookie", cookie);
                    continue;
                }
            }
            self.outputs.add("the answer to a request", said);
        }
        for (user, secret) in self.shown() {
            let upgrade = format!("GET /ws HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n");
            let auth = masked(0x81, format!("AUTH {user} {secret}").as_bytes());
            let answer = self.exchange(&[upgrade.as_bytes(), &auth].concat());
            self.outputs.add("the answer in a WebSocket", answer);
        }
    }

    fn secured(&mut self) {
        let own = self.authority.sign(
            "meter",
            &Wanted {
                common_name: "meter-7",
                for_client: true,
                ..Wanted::default()
            },
        );
        let key = fs::read_to_string(&own.key).expect("a key");
        for line in key.lines().filter(|line| !line.starts_with('-')) {
            self.secrets.add("the key of a client", line);
        }
        let offer = TlsOffer::with(&self.authority.pem(), Some(&own), &[], false);
        let mut client = offer.connect(self.broker.address());
        client.send(&format!("AUTH ann {RIGHT}"));
        let answer = client.try_line().expect("an answer").unwrap_or_default();
        self.outputs.add("the answer in TLS", answer);
    }

    /// What the client says with each way to give it a secret.
    fn programs(&mut self) {
        let (right, wrong) = (self.file("right", RIGHT), self.file("wrong", WRONG));
        let (token, jwt) = (self.file("token", &self.token), self.file("jwt", &self.jwt));
        let config = self.folder.path().join("dallal");
        fs::create_dir_all(&config).expect("room");
        let text = format!(
            "[servers.home]\nurl = \"{}\"\nuser = \"ann\"\npassword = \"{RIGHT}\"\n",
            self.broker.address()
        );
        let file = config.join("client.toml");
        fs::write(&file, text).expect("room");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
        let path = |path: &Path| path.display().to_string();
        for scheme in ["", "ws://", "mqtt://"] {
            let server = format!("{scheme}{}", self.broker.address());
            for (flag, file) in [
                ("--password-file", &right),
                ("--password-file", &wrong),
                ("--token-file", &token),
                ("--token-file", &jwt),
            ] {
                let words = [
                    "publish",
                    "-s",
                    &server,
                    "--user",
                    "ann",
                    flag,
                    &path(file),
                    "a",
                    "b",
                    "--wait",
                    "5s",
                ];
                self.outputs.run(&mut client(&words));
            }
            for (name, secret) in [("BROKER_PASSWORD", RIGHT), ("BROKER_TOKEN", &*self.token)] {
                let words = ["publish", "-s", &server, "--user", "ann", "a", "b"];
                let secret = secret.to_owned();
                self.outputs.run(client(&words).env(name, secret));
            }
            let plain = server.replace("mqtt://", "");
            let url = format!("mqtt://ann:{WRONG}@{plain}");
            self.outputs
                .run(&mut client(&["publish", "-s", &url, "a", "b"]));
        }
        for command in ["who", "sessions", "audit", "topics", "filters", "config"] {
            let mut said = client(&[command]);
            if command != "config" {
                said.args(["-c", "home"]);
            }
            self.outputs
                .run(said.env("XDG_CONFIG_HOME", self.folder.path()));
        }
        for command in ["publish", "who", "may"] {
            self.outputs
                .run(client_of(&self.broker, command, &["--password", WRONG]).arg("--nonsense"));
        }
    }

    /// What is said of usage that is wrong.
    fn mistakes(&mut self) {
        let users = self.users.path().to_owned();
        for words in [
            &["user", "add", "carl", WRONG][..],
            &["user", "add", "carl", "--password", WRONG],
            &["user", "passwd", "ann", &format!("--password={WRONG}")],
            &["user", "passwd", "ann", WRONG],
            &["user", "rm", "ann", WRONG],
            &["token", "add", "ann", WRONG],
            &["token", "rm", "x1", WRONG],
            &["--password", WRONG],
            &[&format!("--password={WRONG}")],
            &["--users", &users, "--token", WRONG],
        ] {
            self.outputs
                .run(TestBroker::bare(words).env("BROKER_USERS", &users));
        }
        let address = self.broker.address().to_string();
        for words in [
            &[
                "publish",
                "-s",
                &address,
                "--user",
                &format!("ann:{WRONG}"),
                "a",
                "b",
            ][..],
            &["publish", "-s", &format!("ann:{WRONG}@{address}"), "a", "b"],
            &[
                "publish",
                "-s",
                &format!("http://ann:{WRONG}@{address}"),
                "a",
                "b",
            ],
            &["publish", "-s", &format!("mqtt://ann:{WRONG}@["), "a", "b"],
            &[
                "publish",
                "-s",
                &address,
                &format!("--token={WRONG}"),
                "a",
                "b",
            ],
            &[
                "publish",
                "-s",
                &address,
                "--password",
                WRONG,
                "--token-file",
                "/nowhere",
                "a",
                "b",
            ],
            &["publish", "-s", &address, "--password", WRONG, "a", "b"],
        ] {
            self.outputs.run(&mut client(words));
        }
        self.outputs
            .run(client(&["who"]).env("BROKER_URL", format!("mqtt://ann:{WRONG}@[")));
        // Files with a secret in the wrong place.
        let broken = |text: String| text.replace("BEGIN", "BEGIM");
        let key = broken(fs::read_to_string(&self.files.key).expect("a key"));
        let bad_users = self.file(
            "bad-users",
            &format!("user ann {RIGHT}\n{RIGHT}\nuser bob hash={RIGHT}"),
        );
        let bad_key = self.file("bad-key", &key);
        let bad_jwt = self.file(
            "bad-jwt",
            &format!("{{\"keys\": [{{\"kty\": \"oct\", \"k\": \"{WRONG}\"}}, {WRONG}]}}"),
        );
        let cert = self.files.cert.display().to_string();
        for (flag, file) in [
            ("--users", &bad_users),
            ("--tls-key", &bad_key),
            ("--jwt-keys", &bad_jwt),
        ] {
            let mut broker = TestBroker::command(&[flag, &file.display().to_string()]);
            if flag == "--tls-key" {
                broker.args(["--tls-cert", &cert]);
            }
            self.outputs.run(broker.arg("--check"));
            self.outputs.run(broker.arg("--print-config"));
        }
    }

    /// What the broker tells of itself while all this has gone on.
    fn insight(&mut self) {
        let mut ann = self.broker.connect();
        ann.send(format!("AUTH ann {RIGHT}")).expect("AUTHACK ann");
        let mut asker = Asker::with(ann);
        for question in [
            "audit",
            "who",
            "topics",
            "filters",
            "retained",
            "sessions",
            "why a",
            "may ann publish a",
            "broker",
            "reload dry",
        ] {
            let answer = asker.ask(question).to_string();
            self.outputs.add(question, answer);
        }
        let basic = STANDARD_NO_PAD.encode(format!("ann:{RIGHT}"));
        for path in [
            "metrics",
            "api/broker",
            "api/clients",
            "api/topics",
            "api/filters",
            "api/retained",
            "api/sessions",
            "api/why?topic=a",
            "api/reload?dry",
            "readyz?verbose",
            "login",
            "",
        ] {
            let head = format!(
                "GET /{path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Basic {basic}\r\n\r\n"
            );
            let said = self.exchange(head.as_bytes());
            self.outputs.add(path, said);
        }
    }

    /// The arguments of all programs that run now.
    fn process_list(&mut self) {
        for entry in fs::read_dir("/proc").expect("processes") {
            let path = entry.expect("a process").path().join("cmdline");
            if let Ok(arguments) = fs::read(&path) {
                self.outputs.add(&path.display().to_string(), arguments);
            }
        }
    }
}

#[test]
fn no_secret_is_in_anything_that_broker_and_client_say() {
    let mut scene = Scene::new();
    // What listens meanwhile: a recording, and a subscriber of all that the broker publishes.
    let (recording, right) = (
        scene.folder.path().join("all.jsonl"),
        scene.file("own", RIGHT),
    );
    let right = right.display().to_string();
    let file = recording.display().to_string();
    let login = ["--user", "ann", "--password-file", &right];
    let mut recorder =
        Process::start(client_of(&scene.broker, "record", &["#", "-o", &file]).args(login));
    recorder.wait_for_complaint("recording");
    let mut watcher = Process::start(
        client_of(&scene.broker, "subscribe", &["$SYS/#", "-o", "json"]).args(login),
    );
    eventually("both are there", || {
        scene.broker.connections().is_none_or(|it| it >= 2)
    });
    scene.lines();
    scene.packets();
    scene.requests();
    scene.secured();
    scene.process_list();
    scene.programs();
    scene.mistakes();
    scene.insight();
    for process in [&mut recorder, &mut watcher] {
        process.signal(Signal::INT);
        let (_, out, err) = process.end();
        scene.outputs.add("the output of a client", out);
        scene.outputs.add("the errors of a client", err);
    }
    scene
        .outputs
        .add("a recording", fs::read(&recording).unwrap_or_default());
    let Scene {
        broker,
        folder,
        outputs,
        secrets,
        ..
    } = &mut scene;
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload: applied");
    let log = broker.log();
    assert!(
        log.contains("TRACE") && log.contains("AUTH"),
        "it is at trace: {log}"
    );
    outputs.add("the log", log);
    let events = fs::read(folder.path().join("security.log")).expect("a security log");
    // They have gone every way.
    let text = String::from_utf8_lossy(&events).into_owned();
    for wire in ["line", "mqtt", "http", "websocket"] {
        for kind in ["password", "token", "jwt"] {
            let is_there = |event: &str| {
                let mut lines = text.lines().filter(|line| line.contains(event));
                let fields = [
                    format!("\"kind\":\"{kind}\""),
                    format!("\"wire\":\"{wire}\""),
                ];
                lines.any(|line| fields.iter().all(|field| line.contains(field)))
            };
            assert!(
                is_there("auth_ok") && is_there("auth_failed"),
                "{kind} {wire}: {text}"
            );
        }
    }
    outputs.add("the security log", events);
    outputs.check(secrets);
}
