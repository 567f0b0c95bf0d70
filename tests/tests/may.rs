//! Promises of `may`, and of `why` as another identity: which rule decides, and who may ask.

use std::fs;

use serde_json::Value;
use tests::{Asker, TestBroker, TestClient, UsersFile, client, eventually};

const RULES: &str = "\
group family ann
allow @family publish subscribe home/#
allow ann     inquire:why
allow @admin  inquire:why inquire:who
allow @admin  subscribe home/#
allow bob     subscribe home/+/light
allow carl    subscribe #
allow carl    inquire:why
deny  everyone -ann -@admin publish subscribe home/door/#
";

/// A broker with rules, whose users have their names as passwords.
struct Home {
    broker: TestBroker,
    users: UsersFile,
    /// Where the operator connects, for which clients show no password.
    socket: String,
    _folder: tempfile::TempDir,
}

impl Home {
    fn start() -> Self {
        let users = UsersFile::of(&[("ann", "ann"), ("bob", "bob"), ("carl", "carl")]);
        let folder = tempfile::tempdir().expect("a folder");
        let access = folder.path().join("home.access");
        fs::write(&access, RULES).expect("room");
        let access = access.to_str().expect("text");
        let socket = folder
            .path()
            .join("socket")
            .to_str()
            .expect("text")
            .to_owned();
        let flags = [
            "--users",
            users.path(),
            "--access",
            access,
            "--unix",
            &socket,
        ];
        let broker = TestBroker::with_args(&flags);
        Self {
            broker,
            users,
            socket,
            _folder: folder,
        }
    }

    fn connect(&self, user: &str) -> TestClient {
        let mut client = self.broker.connect();
        client
            .send(format!("AUTH {user} {user}"))
            .expect(format!("AUTHACK {user}"));
        client
    }

    /// Runs the program as the operator, over the Unix socket; its exit code and output.
    fn run(&self, command: &str, words: &[&str]) -> (Option<i32>, String) {
        let mut client = client(&[command]);
        client
            .arg("--server")
            .arg(format!("unix:{}", self.socket))
            .args(words);
        let output = client.output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        (output.status.code(), text)
    }
}

const FAMILY: &str = "home.access:2: allow @family publish subscribe home/#";
const DOOR: &str = "home.access:9: deny everyone -ann -@admin publish subscribe home/door/#";

#[test]
fn the_rule_that_decides_is_told_about_oneself_and_with_a_right_about_others() {
    let home = Home::start();
    let mut ann = Asker::with(home.connect("ann"));
    for (question, allowed, text) in [
        (
            "ann publish home/door/lock",
            true,
            format!("allowed by {FAMILY}"),
        ),
        (
            "bob publish home/door/lock",
            false,
            format!("denied by {DOOR}"),
        ),
        (
            "ann inquire:why",
            true,
            "allowed by home.access:3: allow ann inquire:why".to_owned(),
        ),
        ("anonymous admin", false, "no rule allows it".to_owned()),
    ] {
        let may = ann.ask(&format!("may {question}"));
        assert_eq!(may["allowed"], allowed, "{question}: {may}");
        let told = may["text"].as_str().expect("a text");
        assert!(told.starts_with(&text), "{question}: {told}");
    }
    let client = ann.client();
    for (question, code) in [
        ("", "missing-argument"),
        ("bob", "missing-argument"),
        ("bob dance home", "not-done"),
        ("bob publish home/+", "not-done"),
        ("zoe publish home", "not-done"),
        ("b/b publish home", "not-done"),
    ] {
        client.send(format!(
            "@reply=$reply/q PUBLISH $SYS/request/may {question}"
        ));
        let line = client.read_line();
        assert!(
            line.starts_with(&format!("ERROR {code} publish:")),
            "{question}: {line}"
        );
        client.expect_prefix("PUBACK ");
    }
    let bob = Asker::with(home.connect("bob")).ask("may bob subscribe home/hall/light");
    assert_eq!(bob["allowed"], true, "{bob}");
    let mut bob = home.connect("bob");
    bob.send("@reply=$reply/b PUBLISH $SYS/request/may ann publish home/a");
    bob.expect_prefix("ERROR denied publish:1 bob may not inquire why");
}

#[test]
fn groups_are_those_that_the_users_file_has_now() {
    let home = Home::start();
    let mut carl = Asker::with(home.connect("carl"));
    assert_eq!(carl.ask("may bob publish home/a")["allowed"], false);
    let text = fs::read_to_string(home.users.path()).expect("a file");
    fs::write(
        home.users.path(),
        text.replace("user bob ", "user bob groups=family "),
    )
    .expect("room");
    eventually("the file is read again", || {
        carl.ask("may bob publish home/a")["text"] == format!("allowed by {FAMILY}")
    });
    home.users.run(&["user", "disable", "bob"], "");
    let client = carl.client();
    eventually("it is told that bob is disabled", || {
        client.send("@reply=$reply/x PUBLISH $SYS/request/may bob publish home/a");
        let line = client.read_line();
        if !line.starts_with("PUBACK ") {
            client.read_until_prefix("PUBACK ");
        }
        line.starts_with("ERROR not-done publish:") && line.contains("bob is disabled")
    });
}

#[test]
fn why_as_another_has_nothing_that_one_of_both_may_not_see() {
    let home = Home::start();
    let mut watcher = home.connect("ann");
    watcher
        .send("SUBSCRIBE home/door/lock")
        .expect("SUBACK home/door/lock");
    let mut ann = Asker::with(home.connect("ann"));
    let filters = |why: &Value| why["matching"].as_array().expect("rows").len();
    let own = ann.ask("why home/door/lock");
    assert_eq!((filters(&own), &own["as"]), (1, &Value::Null), "{own}");
    // ann sees it, carl may ask and may not see it, and bob may not ask.
    let own = ann.ask("why home/door/lock ann");
    assert_eq!(
        (filters(&own), &own["as"]["publish"]["allowed"]),
        (1, &Value::Bool(true)),
        "{own}"
    );
    let carl = ann.ask("why home/door/lock carl");
    assert_eq!(filters(&carl), 0, "{carl}");
    assert_eq!(carl["as"]["why"]["allowed"], true, "{carl}");
    assert_eq!(
        carl["as"]["subscribe"]["text"],
        format!("denied by {DOOR}"),
        "{carl}"
    );
    let bob = ann.ask("why home/hall/light bob");
    assert_eq!(bob["as"]["subscribe"]["allowed"], true, "{bob}");
    assert_eq!(bob["as"]["why"]["allowed"], false, "{bob}");
    // What carl may not see comes to light through no other eyes.
    let mut carl = Asker::with(home.connect("carl"));
    let through_ann = carl.ask("why home/door/lock ann");
    assert_eq!(filters(&through_ann), 0, "{through_ann}");
}

#[test]
fn the_programs_say_it_with_an_exit_code() {
    let home = Home::start();
    let (code, text) = home.run("may", &["ann", "publish", "home/door/lock"]);
    assert_eq!((code, text), (Some(0), format!("allowed by {FAMILY}\n")));
    let (code, text) = home.run("may", &["bob", "publish", "home/door/lock"]);
    assert_eq!((code, text), (Some(4), format!("denied by {DOOR}\n")));
    // What bob was denied is told to others.
    let mut bob = home.connect("bob");
    bob.send("PUBLISH home/door/lock 1")
        .expect_prefix("ERROR denied publish:1 ");
    let (code, text) = home.run("why", &["home/door/lock"]);
    assert_eq!(code, Some(1), "{text}");
    let denied = "  bob: publish home/door/lock, 1 time, the last ";
    assert!(text.contains(denied), "{text}");
    assert!(text.contains(&format!(" ago ({DOOR})\n")), "{text}");
    let (code, text) = home.run("why", &["home/hall/light", "--as", "bob"]);
    assert_eq!(code, Some(4), "{text}");
    let expected = "bob may not publish to home/hall/light: no rule allows it; nearest: \
                    home.access:2: allow @family publish subscribe home/#\n\
                    bob may subscribe to home/hall/light: allowed by home.access:6: allow bob \
                    subscribe home/+/light\nbob may not ask why: ";
    assert!(text.starts_with(expected), "{text}");
    let (_, text) = home.run("who", &[]);
    assert!(text.starts_with("id  name  identity  "), "{text}");
}

#[test]
fn over_http_the_question_has_parameters() {
    let home = Home::start();
    let get = |path: &str| {
        let mut client = home.broker.connect();
        // ann:ann in Base64.
        let head = "HTTP/1.0\r\nHost: localhost\r\nAuthorization: Basic YW5uOmFubg==\r\n\r\n";
        client.write(format!("GET /api/{path} {head}"));
        client.read_to_end()
    };
    let own = get("may?right=publish&object=home/a%20b");
    assert!(
        own.ends_with(&format!(
            "{{\"allowed\":true,\"text\":\"allowed by {FAMILY}\"}}\n"
        )),
        "{own}"
    );
    let bob = get("may?who=bob&right=publish&object=home/a");
    assert!(bob.contains("{\"allowed\":false,"), "{bob}");
    let why = get("why?topic=home/hall/light&as=bob");
    assert!(
        why.contains("\"as\":{\"identity\":\"bob\",\"publish\":{\"allowed\":false,"),
        "{why}"
    );
    for bad in [
        "may",
        "may?who=ann%20publish&right=x",
        "may?right=dance",
        "may?filter=a",
    ] {
        let answer = get(bad);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bad}: {answer}");
    }
}
