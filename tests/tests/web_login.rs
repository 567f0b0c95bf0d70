//! Promises of `docs/security.md` on HTTP, the page and WebSocket: who a request is from, and what a browser
//! keeps of a login.

use std::fs;
use std::io::{Read, Seek, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tempfile::TempDir;
use tests::frames::FrameClient;
use tests::mqtt::{Hello, Mqtt};
use tests::{Browser, PATIENCE, Process, Tab, TestBroker, eventually, foreign, installed, program};

/// A password that must be nowhere but in the request that shows it.
const CANARY: &str = "canary-7c2e";

/// Who ann is, as `/login` says.
const ANN: &str = "{\"name\":\"ann\",\"kind\":\"password\",\"needs_login\":false}\n";
const METER: &str = "{\"name\":\"meter-7\",\"kind\":\"token\",\"needs_login\":false}\n";
const ANONYMOUS: &str = "{\"name\":\"anonymous\",\"kind\":\"none\",\"needs_login\":true}\n";

/// A users file with ann and bob, who have passwords, and meter-7, which has a token.
struct Users {
    folder: TempDir,
    token: String,
}

impl Users {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut users = Self {
            folder,
            token: String::new(),
        };
        users.run(&["user", "add", "ann"], CANARY);
        users.run(&["user", "add", "bob"], "wört: \"b\"");
        users.run(&["user", "add", "meter-7", "--no-password"], "");
        users.token = users
            .run(&["token", "add", "meter-7"], "")
            .trim()
            .to_owned();
        users
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("users")
    }

    /// Runs the tool of the broker with this on its standard input.
    #[track_caller]
    fn run(&self, words: &[&str], secret: &str) -> String {
        let mut input = tempfile::tempfile().expect("a file");
        writeln!(input, "{secret}").expect("room");
        input.rewind().expect("it is a file");
        let mut command = Command::new(program("broker"));
        command.args(words).arg("--users").arg(self.path());
        let output = command.stdin(input).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    #[track_caller]
    fn broker(&self, more: &[&str]) -> TestBroker {
        TestBroker::of(&mut self.command(more))
    }

    fn command(&self, more: &[&str]) -> Command {
        let path = self.path();
        let mut args = vec!["--users", path.to_str().expect("text")];
        args.extend(more);
        TestBroker::command(&args)
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token)
    }
}

fn basic(user: &str, secret: &str) -> String {
    format!(
        "Authorization: Basic {}\r\n",
        STANDARD.encode(format!("{user}:{secret}"))
    )
}

fn ann() -> String {
    basic("ann", CANARY)
}

/// An answer.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// The values of a header.
    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(move |(each, _)| each.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn challenges(&self) -> Vec<&str> {
        self.header("www-authenticate").collect()
    }

    /// The cookie that it sets, as it is shown afterwards.
    #[track_caller]
    fn cookie(&self) -> String {
        let set = self.header("set-cookie").next().expect("it sets a cookie");
        let cookie = set.split(';').next().unwrap_or_default();
        format!("Cookie: other=1; {cookie}; more=2\r\n")
    }
}

/// One connection.
struct Http(TcpStream);

impl Http {
    #[track_caller]
    fn connect(broker: &TestBroker) -> Self {
        let stream = TcpStream::connect(broker.address()).expect("it listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a connected socket");
        Self(stream)
    }

    /// Sends a request, and reads its answer.
    #[track_caller]
    fn ask(&mut self, line: &str, headers: &str, body: &str) -> Answer {
        let length = match body {
            "" => String::new(),
            body => format!("Content-Length: {}\r\n", body.len()),
        };
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n{body}");
        self.0
            .write_all(request.as_bytes())
            .expect("the broker takes it");
        self.answer(line.starts_with("HEAD "))
    }

    #[track_caller]
    fn answer(&mut self, has_no_body: bool) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        let mut answer = Answer {
            status: 0,
            head: String::from_utf8(head).expect("text"),
            body: String::new(),
        };
        let status = answer
            .head
            .split(' ')
            .nth(1)
            .and_then(|digits| digits.parse().ok());
        answer.status = status.expect("a status");
        let length = answer.header("content-length").next();
        let length: usize = length.map_or(0, |digits| digits.parse().expect("a number"));
        if !has_no_body {
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).expect("a body");
            answer.body = String::from_utf8(body).expect("text");
        }
        answer
    }
}

/// One request on a connection of its own.
#[track_caller]
fn ask(broker: &TestBroker, line: &str, headers: &str, body: &str) -> Answer {
    Http::connect(broker).ask(line, headers, body)
}

/// Who a request with these headers is from; or the status of the refusal.
#[track_caller]
fn who(broker: &TestBroker, headers: &str) -> Result<String, u16> {
    let answer = ask(broker, "GET /login", headers, "");
    match answer.status {
        200 => Ok(answer.body),
        status => Err(status),
    }
}

#[track_caller]
fn log_in(broker: &TestBroker, headers: &str, user: &str, secret: &str) -> Answer {
    let body = serde_json::json!({ "user": user, "secret": secret }).to_string();
    let headers = format!("{headers}Content-Type: application/json\r\n");
    ask(broker, "POST /login", &headers, &body)
}

/// The output of curl, with the status behind it.
#[track_caller]
fn curl(broker: &TestBroker, path: &str, args: &[&str]) -> String {
    let mut curl = installed("curl", "curl");
    curl.args(["-sS", "--max-time", "60", "-w", "%{http_code}"])
        .args(args);
    curl.arg(format!("http://{}{path}", broker.address()));
    let output = curl.output().expect("it runs");
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn curl_is_who_it_shows_in_each_way() {
    let users = Users::new();
    let broker = users.broker(&[]);
    let token = &*users.token;
    for (args, expected) in [
        (&["-u", &format!("ann:{CANARY}")][..], ANN),
        (&["-u", &format!(":{token}")], METER),
        (&["-u", &format!("meter-7:{token}")], METER),
        (&["-H", &format!("Authorization: Bearer {token}")], METER),
        (&["--oauth2-bearer", token], METER),
        (&[], ANONYMOUS),
    ] {
        assert_eq!(
            curl(&broker, "/login", args),
            format!("{expected}200"),
            "{args:?}"
        );
    }
    let bob = "{\"name\":\"bob\",\"kind\":\"password\",\"needs_login\":false}\n200";
    assert_eq!(curl(&broker, "/login", &["-u", "bob:wört: \"b\""]), bob);
    let published = curl(
        &broker,
        "/topics/a",
        &["-d", "hi", "-u", &format!("ann:{CANARY}")],
    );
    assert_eq!(published, "{\"topic\":\"a\",\"copies\":0}\n200");
    // With a jar for cookies, by a form and by JSON.
    let jar = users.folder.path().join("jar");
    let jar = jar.to_str().expect("text");
    let form = format!("secret={CANARY}&user=ann");
    let json = format!(r#"{{"user":"ann","secret":"{CANARY}"}}"#);
    for said in [&["-d", &form][..], &["--json", &json]] {
        let mut args = vec!["-c", jar];
        args.extend(said);
        assert_eq!(curl(&broker, "/login", &args), format!("{ANN}200"));
        assert_eq!(curl(&broker, "/login", &["-b", jar]), format!("{ANN}200"));
        assert!(curl(&broker, "/metrics", &["-b", jar]).ends_with("# EOF\n200"));
        assert_eq!(
            curl(&broker, "/logout", &["-b", jar, "-c", jar, "-X", "POST"]),
            "204"
        );
        assert_eq!(
            curl(&broker, "/login", &["-b", jar]),
            format!("{ANONYMOUS}200")
        );
    }
    // From other addresses, because each wrong answer makes those after it wait.
    let text = "the name or the password is wrong\n401";
    for (address, args) in [
        ("127.0.0.2", &["-u", "ann:wrong"]),
        ("127.0.0.3", &["-u", "eve:wrong"]),
        ("127.0.0.4", &["-u", "ann:"]),
        ("127.0.0.5", &["-u", &format!("ann:{token}")]),
        ("127.0.0.6", &["--oauth2-bearer", CANARY]),
        ("127.0.0.7", &["--oauth2-bearer", &"x".repeat(2000)]),
        ("127.0.0.8", &["-d", "user=ann&secret=wrong"]),
    ] {
        let mut all = vec!["--interface", address];
        all.extend(args);
        assert_eq!(curl(&broker, "/login", &all), text, "{args:?}");
    }
    let long = format!("Authorization: Bearer {}", "x".repeat(1_000_000));
    let file = users.folder.path().join("header");
    fs::write(&file, long).expect("room");
    let file = format!("@{}", file.display());
    assert!(curl(&broker, "/login", &["-H", &file]).ends_with("431"));
}

#[test]
fn a_client_that_shows_nothing_gets_the_page_and_health_and_nothing_else() {
    let users = Users::new();
    let broker = users.broker(&[]);
    let mut all = broker.connect();
    all.send(format!("AUTH ann {CANARY}")).expect("AUTHACK ann");
    all.send("SUBSCRIBE #").expect("SUBACK #");
    let both = ["Basic realm=\"dallal\", charset=\"UTF-8\"", "Bearer"];
    for line in [
        "GET /metrics",
        "HEAD /metrics",
        "GET /api/clients",
        "POST /api/reload",
        "GET /topics/a?count=1",
        "POST /topics/a?retain",
        "PUT /topics/a?lines",
        "POST /",
        "GET /nothing",
        "POST /nothing",
        "DELETE /topics/a",
    ] {
        let body = if line.starts_with('P') { "hi" } else { "" };
        for headers in ["", "Cookie: other=1\r\n"] {
            let answer = ask(&broker, line, headers, body);
            assert_eq!(answer.status, 401, "{line}: {}", answer.body);
            assert_eq!(answer.challenges(), both, "{line}");
            assert!(
                line.starts_with("HEAD") || answer.body.contains("/login"),
                "{}",
                answer.body
            );
        }
        let answer = ask(&broker, line, "Sec-Fetch-Dest: empty\r\n", body);
        assert_eq!(
            (answer.status, answer.challenges()),
            (401, vec!["Bearer"]),
            "{line}"
        );
    }
    for line in [
        "GET /healthz",
        "GET /readyz?verbose",
        "GET /",
        "GET /chat?token=x",
        "HEAD /www/page.js",
        "GET /www/login.js",
        "GET /login",
    ] {
        assert_eq!(ask(&broker, line, "", "").status, 200, "{line}");
    }
    for line in ["OPTIONS /topics/a", "OPTIONS *"] {
        let answer = ask(&broker, line, "", "");
        assert_eq!(answer.status, 204, "{line}");
        let headers = answer
            .header("access-control-allow-headers")
            .collect::<Vec<_>>();
        assert_eq!(headers, ["authorization, content-type, last-event-id"]);
    }
    all.expect_silence();
}

#[test]
fn each_request_of_a_connection_has_its_own_identity() {
    let users = Users::new();
    let broker = users.broker(&[]);
    let cookie = log_in(&broker, "", "ann", CANARY).cookie();
    let mut http = Http::connect(&broker);
    for (headers, expected) in [
        (&*ann(), ANN),
        ("", ANONYMOUS),
        (&*users.bearer(), METER),
        (&*cookie, ANN),
        ("", ANONYMOUS),
        // The credential of the request itself counts more than a cookie.
        (&format!("{cookie}{}", users.bearer()), METER),
    ] {
        let answer = http.ask("GET /login", headers, "");
        assert_eq!((answer.status, &*answer.body), (200, expected), "{headers}");
    }
    // A refusal changes nothing for the next one, whether it has an identity or not.
    let wrong = format!("{cookie}{}", basic("ann", "wrong"));
    assert_eq!(http.ask("GET /metrics", &wrong, "").status, 401);
    assert_eq!(http.ask("GET /metrics", "", "").status, 401);
    assert_eq!(http.ask("GET /metrics", &cookie, "").status, 200);
    // Between requests the connection is of its socket, and a stream keeps the identity of its request.
    let mut stream = broker.connect();
    stream.write(format!(
        "GET /topics/a HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        users.bearer()
    ));
    stream.expect("HTTP/1.1 200 OK\r").read_until("\r");
    // Without the right to inquire about others a client sees its own connections.
    let answer = http.ask("GET /api/clients", &users.bearer(), "");
    let clients: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    let clients = clients["connections"].as_array().expect("a list");
    let named = |name: &str| {
        clients
            .iter()
            .filter(|client| client["identity"] == name)
            .count()
    };
    assert_eq!(
        (named("meter-7"), named("ann"), clients.len()),
        (2, 0, 2),
        "{clients:?}"
    );
    // With its token a stream ends, and as one that has been told all.
    let id = users.token.split('_').nth(1).expect("an id");
    users.run(&["token", "rm", id], "");
    assert!(stream.read_to_end().ends_with("0\r\n\r\n"));
}

#[test]
fn what_is_no_credential_or_more_than_one_is_refused() {
    let users = Users::new();
    let broker = users.broker(&[]);
    let (ann, bearer) = (ann(), users.bearer());
    for (headers, status) in [
        (format!("{ann}{bearer}"), 400),
        (format!("{ann}{ann}"), 400),
        ("Authorization: Basic ann:right\r\n".to_owned(), 400),
        ("Authorization: Basic YW5u\r\n".to_owned(), 400),
        ("Authorization: Bearer\r\n".to_owned(), 400),
        ("Authorization: Digest username=ann\r\n".to_owned(), 401),
        ("Authorization: \r\n".to_owned(), 401),
    ] {
        for line in ["GET /login", "GET /metrics", "POST /topics/a"] {
            let answer = ask(&broker, line, &headers, "");
            assert_eq!(answer.status, status, "{line} {headers}{}", answer.body);
        }
    }
    for name in ["token", "access_token", "auth", "password", "Token"] {
        for line in ["GET /metrics", "POST /topics/a", "GET /topics/a"] {
            // Also of a client that is in: the secret is in the logs then.
            for headers in ["", &ann] {
                let line = format!("{line}?{name}={CANARY}");
                let answer = ask(&broker, &line, headers, "");
                assert_eq!(answer.status, 400, "{line}");
                assert!(
                    answer.body.contains("auth.<token in base64url>"),
                    "{}",
                    answer.body
                );
                assert!(!answer.body.contains(CANARY), "{}", answer.body);
            }
        }
    }
}

#[test]
fn a_cookie_is_as_the_standards_want_it_and_ends_when_it_is_to() {
    let users = Users::new();
    let broker = users.broker(&[]);
    let answer = log_in(&broker, "Origin: http://localhost\r\n", "ann", CANARY);
    assert_eq!((answer.status, &*answer.body), (200, ANN));
    let set: Vec<&str> = answer.header("set-cookie").collect();
    let [set] = set[..] else {
        panic!("one cookie, not {set:?}")
    };
    let (value, attributes) = set.split_once(';').expect("attributes");
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Strict");
    let key = value.strip_prefix("dallal=").expect("its name");
    assert_eq!(URL_SAFE_NO_PAD.decode(key).expect("base64url").len(), 16);
    let first = answer.cookie();
    assert_eq!(who(&broker, &first).as_deref(), Ok(ANN));
    // Another identity is another login, and the first ends.
    let answer = log_in(&broker, &first, "", &users.token);
    let second = answer.cookie();
    assert_eq!(
        (&*answer.body, who(&broker, &second).as_deref()),
        (METER, Ok(METER))
    );
    assert_eq!(who(&broker, &first), Err(401));
    // A login that fails leaves the one before.
    assert_eq!(log_in(&broker, &second, "ann", "wrong").status, 401);
    assert_eq!(who(&broker, &second).as_deref(), Ok(METER));
    let answer = ask(&broker, "POST /logout", &second, "");
    let gone = "dallal=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0";
    assert_eq!(
        (answer.status, answer.header("set-cookie").next()),
        (204, Some(gone))
    );
    // What is no login any more, or never was, is taken back.
    let third = log_in(&broker, "", "bob", "wört: \"b\"").cookie();
    let two = format!("{third}{third}");
    for cookie in [
        &*second,
        "Cookie: dallal=x\r\n",
        "Cookie: dallal=\r\n",
        &two,
    ] {
        for line in ["GET /login", "GET /metrics", "POST /topics/a"] {
            let answer = ask(&broker, line, cookie, "");
            assert_eq!(answer.status, 401, "{line} {cookie}");
            assert_eq!(answer.header("set-cookie").collect::<Vec<_>>(), [gone]);
            assert_eq!(answer.challenges(), ["Bearer"], "the page has a form");
        }
        // It has to be possible to log in again, and to read the page.
        assert_eq!(ask(&broker, "GET /", cookie, "").status, 200);
        assert_eq!(log_in(&broker, cookie, "ann", CANARY).status, 200);
    }
    // The cookie of plain connections has no other name.
    let other = third.replace("dallal=", "__Host-dallal=");
    assert_eq!(who(&broker, &other).as_deref(), Ok(ANONYMOUS));
    // Removed, a user is out with the next request.
    assert!(who(&broker, &third).is_ok());
    users.run(&["user", "rm", "bob"], "");
    eventually("bob is out", || who(&broker, &third) == Err(401));
    // Another password ends what the old one has begun.
    let fourth = log_in(&broker, "", "ann", CANARY).cookie();
    assert!(who(&broker, &fourth).is_ok());
    users.run(&["user", "passwd", "ann"], "another");
    eventually("ann is out", || who(&broker, &fourth) == Err(401));
    assert_eq!(log_in(&broker, "", "ann", "another").status, 200);
}

#[test]
fn a_cookie_counts_for_pages_of_the_broker_alone() {
    let users = Users::new();
    let broker = users.broker(&[
        "--allow-origin",
        "*",
        "--allow-origin",
        "https://app.example",
    ]);
    let cookie = log_in(&broker, "", "ann", CANARY).cookie();
    for (headers, counts) in [
        ("", true),
        ("Origin: http://localhost\r\n", true),
        ("Origin: https://app.example\r\n", true),
        ("Sec-Fetch-Site: same-origin\r\n", true),
        ("Sec-Fetch-Site: none\r\n", true),
        ("Sec-Fetch-Site: same-site\r\n", false),
        ("Sec-Fetch-Site: cross-site\r\n", false),
        ("Origin: http://localhost:8000\r\n", false),
    ] {
        let expected = if counts { ANN } else { ANONYMOUS };
        let headers = format!("{cookie}{headers}");
        assert_eq!(who(&broker, &headers).as_deref(), Ok(expected), "{headers}");
        let status = if counts { 200 } else { 401 };
        assert_eq!(
            ask(&broker, "GET /metrics", &headers, "").status,
            status,
            "{headers}"
        );
    }
    // No page but these can log a browser in or out.
    let page = "Origin: http://localhost:8000\r\n";
    let answer = log_in(&broker, page, "ann", CANARY);
    assert_eq!(
        (answer.status, answer.header("set-cookie").count()),
        (403, 0)
    );
    let answer = ask(&broker, "POST /logout", &format!("{cookie}{page}"), "");
    assert_eq!(
        (answer.status, answer.header("set-cookie").count()),
        (403, 0)
    );
    assert_eq!(who(&broker, &cookie).as_deref(), Ok(ANN));
}

#[test]
fn a_login_has_a_form_and_a_few_kilobytes() {
    let users = Users::new();
    let broker = users.broker(&[]);
    let form = "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n";
    let json = "Content-Type: application/json\r\n";
    let long = "x".repeat(4096 - "secret=".len());
    for (headers, body, status) in [
        (form, &*format!("user=ann&secret={CANARY}"), 200),
        (
            json,
            &*format!(r#"{{"user":"ann","secret":"{CANARY}"}}"#),
            200,
        ),
        (form, "user=ann", 400),
        (json, "{}", 400),
        (json, "", 400),
        (form, &*format!("secret={long}"), 401),
        (form, &*format!("secret={long}x"), 413),
        ("Content-Type: text/plain\r\n", "user=ann&secret=x", 415),
        ("", "user=ann&secret=x", 415),
        ("Origin: http://evil.example\r\n", "user=ann&secret=x", 403),
    ] {
        let answer = ask(&broker, "POST /login", headers, body);
        assert_eq!(answer.status, status, "{headers}: {}", answer.body);
    }
    let answer = ask(
        &broker,
        "POST /login?token=x",
        form,
        &format!("user=ann&secret={CANARY}"),
    );
    assert_eq!(answer.status, 400, "{}", answer.body);
    // In chunks, the second of which is too much; refused before it has come.
    let mut client = broker.connect();
    client.write(format!(
        "POST /login HTTP/1.1\r\nHost: localhost\r\n{form}Transfer-Encoding: chunked\r\n\r\n"
    ));
    client.write("7\r\nsecret=\r\n1000\r\n");
    let answer = client.read_to_end();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        answer.contains("a login has at most 4096 bytes"),
        "{answer}"
    );
    for (line, allowed) in [
        ("PUT /login", "GET, HEAD, POST"),
        ("GET /logout", "POST"),
        ("PUT /logout", "POST"),
    ] {
        let answer = ask(&broker, line, &ann(), "");
        assert_eq!(
            answer.header("allow").collect::<Vec<_>>(),
            [allowed],
            "{line}"
        );
    }
}

#[test]
fn too_many_passwords_at_once_are_told_to_come_back() {
    let users = Users::new();
    let broker = users.broker(&[]);
    let mut waiting: Vec<Http> = (0..300).map(|_| Http::connect(&broker)).collect();
    for (n, http) in waiting.iter_mut().enumerate() {
        let wrong = basic(&format!("user-{n}"), "wrong");
        let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{wrong}\r\n");
        http.0
            .write_all(request.as_bytes())
            .expect("the broker takes it");
    }
    // All are answered at the same time, some with this; those that wait for a thread are not waited for.
    for http in &waiting {
        http.0.set_nonblocking(true).expect("a connected socket");
    }
    let mut found = None;
    eventually("one is told to come back", || {
        let mut came = waiting.iter().filter_map(|http| {
            let mut bytes = [0; 2048];
            let len = http.0.peek(&mut bytes).ok()?;
            let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
            text.starts_with("HTTP/1.1 503 ").then_some(text)
        });
        found = came.next();
        found.is_some()
    });
    let answer = found.expect("it was found");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("too many passwords wait"), "{answer}");
}

#[test]
fn a_broker_without_users_ignores_what_is_shown_and_says_so_once() {
    let broker = TestBroker::start();
    for headers in [
        &*ann(),
        &format!("{}{}", ann(), ann()),
        "Authorization: Basic x\r\n",
        "Authorization: Digest x\r\n",
        "Cookie: dallal=x\r\n",
    ] {
        let anonymous = ANONYMOUS.replace("true", "false");
        assert_eq!(who(&broker, headers), Ok(anonymous), "{headers}");
        assert_eq!(
            ask(&broker, "POST /topics/a", headers, "hi").status,
            200,
            "{headers}"
        );
    }
    let answer = log_in(&broker, "", "ann", CANARY);
    assert_eq!(
        (answer.status, answer.header("set-cookie").count()),
        (200, 0)
    );
    let token = URL_SAFE_NO_PAD.encode(CANARY);
    let offered = format!("line, auth.{token}");
    let (_, chosen) =
        FrameClient::try_open(broker.address(), "/ws?token=x", Some(&offered)).expect("let in");
    assert_eq!(chosen.as_deref(), Some("line"));
    broker.wait_for_log("checks only if it knows users");
    assert_eq!(
        broker
            .log()
            .matches("checks only if it knows users")
            .count(),
        1
    );
}

#[test]
fn a_websocket_is_of_the_identity_of_its_handshake() {
    let users = Users::new();
    let broker = users.broker(&[]);
    let cookie = log_in(&broker, "", "ann", CANARY).cookie();
    let token = format!("auth.{}", URL_SAFE_NO_PAD.encode(&users.token));
    for (headers, name) in [
        (&*ann(), "ann"),
        (&users.bearer(), "meter-7"),
        (&cookie, "ann"),
        (&format!("{cookie}Origin: http://localhost\r\n"), "ann"),
        (
            &format!("Sec-WebSocket-Protocol: line, {token}\r\n"),
            "meter-7",
        ),
        (
            &format!("Sec-WebSocket-Protocol: {token},line\r\nOrigin: http://localhost\r\n"),
            "meter-7",
        ),
        (
            &format!("{cookie}Sec-WebSocket-Protocol: line, {token}\r\n"),
            "meter-7",
        ),
    ] {
        let (mut client, answer) = FrameClient::handshake(broker.address(), "/ws", headers);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{headers}: {answer}");
        // Of the subprotocols only the first is named: a browser would not take another answer.
        let is_named = answer.contains("sec-websocket-protocol: line\r\n");
        assert_eq!(is_named, headers.contains("line"), "{answer}");
        assert!(!answer.contains("auth."), "{answer}");
        client
            .send_frame(0x81, b"AUTH")
            .expect(0x81, format!("AUTHACK {name}\n"));
    }
    // MQTT lets in a client that has said in the handshake who it is, and no other one.
    let mqtt = format!("Sec-WebSocket-Protocol: mqtt, {token}\r\n");
    let plain = "Sec-WebSocket-Protocol: mqtt\r\n";
    for (headers, connack) in [(&*mqtt, &[0x20, 2, 0, 0]), (plain, &[0x20, 2, 0, 5])] {
        let (mut client, answer) = FrameClient::handshake(broker.address(), "/mqtt", headers);
        assert!(
            answer.contains("sec-websocket-protocol: mqtt\r\n"),
            "{answer}"
        );
        client
            .send_frame(0x82, &Hello::new("").encode(Mqtt::V3))
            .expect(0x82, connack);
    }
    // What fails is not passed over, even if the socket has a weaker identity or a good cookie.
    let wrong = format!(
        "auth.{}",
        URL_SAFE_NO_PAD.encode(users.token.replace("_", "_A"))
    );
    for (path, headers, status) in [
        ("/ws", basic("ann", "wrong"), 401),
        (
            "/ws",
            format!("{cookie}Sec-WebSocket-Protocol: line, {wrong}\r\n"),
            401,
        ),
        ("/ws", "Cookie: dallal=x\r\n".to_owned(), 401),
        (
            "/ws",
            "Sec-WebSocket-Protocol: line, auth.***\r\n".to_owned(),
            400,
        ),
        (
            "/ws",
            format!("Sec-WebSocket-Protocol: line, {token}, {token}\r\n"),
            400,
        ),
        (
            "/ws",
            format!("{}Sec-WebSocket-Protocol: line, {token}\r\n", ann()),
            400,
        ),
        ("/ws", format!("Sec-WebSocket-Protocol: {token}\r\n"), 400),
        (
            "/ws",
            format!("{cookie}Origin: http://localhost:8000\r\n"),
            403,
        ),
        ("/mqtt?access_token=x", plain.to_owned(), 400),
        ("/ws?password=x", ann(), 400),
        ("/talking", String::new(), 401),
    ] {
        let (_, answer) = FrameClient::handshake(broker.address(), path, &headers);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path} {headers}{answer}"
        );
        let takes_back = answer.contains("\r\nset-cookie: dallal=; ");
        assert_eq!(
            takes_back,
            headers.contains("dallal=x"),
            "{headers}{answer}"
        );
    }
    let (_, answer) = FrameClient::handshake(broker.address(), "/talking", &cookie);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    // Inside, a client can still say who it is.
    let mut client = FrameClient::open(broker.address(), "/ws", None);
    client
        .send_frame(0x81, format!("AUTH ann {CANARY}").as_bytes())
        .expect(0x81, "AUTHACK ann\n");
    let (mut client, _) = FrameClient::handshake(broker.address(), "/mqtt", plain);
    let connect = b"\x10\x1f\0\x04MQTT\x04\xc2\0\0\0\x01m\0\x03ann\0\x0bcanary-7c2e";
    client
        .send_frame(0x82, connect)
        .expect(0x82, [0x20, 2, 0, 0]);
}

/// Shows a token as a page does, which can set no header; the library is as strict on the answer as a browser.
const NODE: &str = r#"
const WebSocket = require("ws");
const [address, token, subprotocol] = process.argv.slice(1);
const encoded = Buffer.from(token).toString("base64url");
const socket = new WebSocket(`ws://${address}/ws`, [subprotocol, `auth.${encoded}`]);
socket.onerror = () => console.log("refused");
socket.onopen = () => { console.log(socket.protocol); socket.send("AUTH"); };
socket.onmessage = ({ data }) => { console.log(`${data}`.trim()); socket.close(); };
"#;

#[test]
fn a_page_of_another_site_shows_a_token_in_the_names_of_subprotocols() {
    let users = Users::new();
    let broker = users.broker(&[]);
    let address = broker.address().to_string();
    let mut node = Process::start(&mut foreign::node(NODE, &[&address, &users.token, "line"]));
    node.expect("line").expect("AUTHACK meter-7");
    let mut node = Process::start(&mut foreign::node(NODE, &[&address, "dlt_x_y", "line"]));
    node.expect("refused");
}

#[test]
fn no_log_and_no_answer_has_a_secret() {
    let users = Users::new();
    let broker = TestBroker::of(users.command(&[]).env("RUST_LOG", "trace"));
    let token = URL_SAFE_NO_PAD.encode(&users.token);
    let mut said = String::new();
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let json = "Content-Type: application/json\r\n";
    let body = format!("user=ann&secret={CANARY}");
    let cookie = ask(&broker, "POST /login", form, &body).cookie();
    let key = cookie.split("dallal=").nth(1).expect("a key");
    let key = key.split(';').next().expect("a key");
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
    for (line, headers, body) in [
        ("GET /metrics", ann(), ""),
        ("GET /metrics", users.bearer(), ""),
        ("GET /metrics", cookie.clone(), ""),
        ("GET /nothing", format!("{}{}", ann(), users.bearer()), ""),
        (
            "GET /nothing",
            format!("Authorization: Digest {CANARY}\r\n"),
            "",
        ),
        (
            "GET /nothing",
            format!("Authorization: Basic {CANARY}\r\n"),
            "",
        ),
        (
            "GET /nothing",
            format!("Authorization: Bearer {CANARY} {CANARY}\r\n"),
            "",
        ),
        (&format!("GET /ws?token={CANARY}"), upgrade.to_owned(), ""),
        (
            "GET /ws",
            format!("{upgrade}Sec-WebSocket-Protocol: auth.{token}\r\n"),
            "",
        ),
        (
            "POST /login",
            json.to_owned(),
            &format!(r#"{{"secret":["{CANARY}"]}}"#),
        ),
        (
            "POST /login",
            json.to_owned(),
            &format!(r#"{{"secret":"{CANARY}"}}x"#),
        ),
        (
            "POST /login",
            form.to_owned(),
            &format!("secret={CANARY}&secret={CANARY}"),
        ),
        ("POST /login", String::new(), &format!("secret={CANARY}")),
        ("POST /logout", cookie.clone(), ""),
        ("GET /metrics", cookie.clone(), ""),
    ] {
        let answer = ask(&broker, line, &headers, body);
        said.push_str(&answer.head);
        said.push_str(&answer.body);
    }
    let log = broker.stop().log;
    let basic = STANDARD.encode(format!("ann:{CANARY}"));
    for (place, text) in [("the log", &log), ("an answer", &said)] {
        for secret in [CANARY, &users.token, &token, &basic, key] {
            assert!(!text.contains(secret), "{place} has {secret}");
        }
    }
    assert!(log.contains("401"), "the log has the refusals");
}

/// The page of a broker at one of its names.
fn page(broker: &TestBroker, host: &str, path: &str) -> String {
    format!("http://{host}:{}{path}", broker.address().port())
}

#[test]
fn a_user_logs_in_at_the_page_sees_messages_and_logs_out() {
    let users = Users::new();
    let browser = Browser::with_args(&["--host-resolver-rules=MAP broker.local 127.0.0.1"]);
    // To the second, a browser does not say for what it asks, nor for which site.
    for host in ["localhost", "broker.local"] {
        let broker = users.broker(&[]);
        let mut live = browser.open(&page(&broker, host, "/#live"));
        live.log_in("ann", "wrong");
        live.wait_for_text("You are not logged in: the name or the password is wrong");
        assert_eq!(
            live.eval("document.querySelector('#login-secret').value"),
            ""
        );
        live.eval("document.querySelector('#login-user').focus()");
        live.log_in("ann", CANARY);
        live.wait_for("document.querySelector('#account').innerText.startsWith('ann')");
        live.wait_for("document.querySelector('#clients').innerText.includes('live view')");
        let mut bob = broker.connect();
        bob.send("AUTH bob wört: \"b\"").expect("AUTHACK bob");
        bob.send("PUBLISH news hello").expect("PUBACK 1 1");
        live.wait_for_text("hello");
        // No script can read the cookie, and the password is nowhere.
        assert_eq!(live.eval("document.cookie"), "");
        let fields = "[...document.querySelectorAll('input')].map(({ value }) => value).join()";
        let whole = format!("document.documentElement.outerHTML + {fields}");
        assert!(!live.eval(&whole).to_string().contains(CANARY));
        assert_eq!(
            live.eval("document.querySelector('#login-secret').type"),
            "password"
        );
        // Another tab is logged in, and both are out together.
        let mut room = browser.open(&page(&broker, host, "/chat?room=lobby&nick=ann"));
        room.wait_for_text("You are ann in lobby.");
        assert_eq!(
            room.eval("fetch('metrics').then(({ status }) => status)"),
            200
        );
        let opened = "new Promise((done) => { const events = new EventSource('topics/a'); \
                      events.onopen = () => { done('opened'); events.close(); }; })";
        assert_eq!(room.eval(opened), "opened");
        live.click("#log-out");
        for tab in [&mut room, &mut live] {
            tab.wait_for(Tab::ASKS_WHO);
            // No answer opens a dialog, which nothing here would close.
            let asked = "fetch('metrics', { headers: { 'X-Requested-With': 'fetch' } }) \
                         .then(({ status, headers }) => status + headers.get('www-authenticate'))";
            assert_eq!(tab.eval(asked), "401Bearer");
        }
        eventually("no socket is left of them", || {
            let clients = ask(&broker, "GET /api/clients", &ann(), "").body;
            !clients.contains("websocket")
        });
    }
}

#[test]
fn the_page_asks_again_when_its_user_or_its_login_is_gone() {
    let users = Users::new();
    let (mut broker, browser) = (users.broker(&[]), Browser::start());
    let mut room = browser.open(&page(&broker, "localhost", "/chat?room=lobby&nick=bob"));
    room.log_in("bob", "wört: \"b\"");
    room.wait_for_text("You are bob in lobby.");
    users.run(&["user", "rm", "bob"], "");
    room.wait_for(Tab::ASKS_WHO);
    room.log_in("", &users.token);
    room.wait_for("document.querySelector('#account').innerText.startsWith('meter-7')");
    room.wait_for_text("You are bob in lobby.");
    let port = broker.address().port().to_string();
    broker.stop();
    broker = users.broker(&["--port", &port]);
    room.wait_for(Tab::ASKS_WHO);
    assert_eq!(who(&broker, &users.bearer()).as_deref(), Ok(METER));
}

#[test]
fn a_page_of_another_site_cannot_use_the_cookie_with_any_method() {
    let users = Users::new();
    let browser = Browser::start();
    let elsewhere = TestBroker::start();
    for allowed in [&[][..], &["--allow-origin", "*"]] {
        let broker = TestBroker::of(users.command(allowed).env("RUST_LOG", "debug"));
        let mut all = broker.connect();
        all.send(format!("AUTH ann {CANARY}")).expect("AUTHACK ann");
        all.send("SUBSCRIBE #").expect("SUBACK #");
        let mut own = browser.open(&page(&broker, "localhost", "/"));
        own.log_in("ann", CANARY);
        own.wait_for("document.querySelector('#account').innerText.startsWith('ann')");
        // A page at another port of this host gets the cookie sent, as it is of the same site.
        let mut foreign = browser.open(&page(&elsewhere, "localhost", "/healthz"));
        foreign.wait_for_text("ok");
        let mut count = 0;
        for (method, path) in [
            ("GET", "/metrics"),
            ("HEAD", "/metrics"),
            ("GET", "/topics/a"),
            ("POST", "/topics/a"),
            ("PUT", "/topics/a?retain"),
            ("PATCH", "/topics/a"),
            ("DELETE", "/topics/a"),
            ("POST", "/logout"),
        ] {
            let url = page(&broker, "localhost", path);
            for mode in ["cors", "no-cors"] {
                let read = foreign.eval(&format!(
                    "fetch('{url}', {{ method: '{method}', mode: '{mode}', credentials: 'include' }}) \
                     .then((answer) => answer.text()).then((text) => text, () => '')"
                ));
                assert_eq!(read, "", "{method} {path} {mode}");
                count += 1;
            }
        }
        assert!(count > 0);
        let socket = format!("ws://localhost:{}/ws", broker.address().port());
        let name = foreign.eval(&format!(
            "new Promise((done) => {{ const socket = new WebSocket('{socket}'); \
             socket.onopen = () => socket.send('AUTH'); socket.onerror = () => done('refused'); \
             socket.onmessage = ({{ data }}) => done(data.trim()); }})"
        ));
        let expected = if allowed.is_empty() {
            "refused"
        } else {
            "AUTHACK anonymous"
        };
        assert_eq!(name, expected);
        // Each was refused: for its site, or because the cookie does not count.
        let log = broker.log();
        let refused = log.matches("refused, 401 ").count() + log.matches("refused, 403 ").count();
        assert!(refused >= 8, "{log}");
        all.expect_silence();
        assert_eq!(
            own.eval("fetch('login').then((answer) => answer.json()).then(({ name }) => name)"),
            "ann"
        );
    }
}
