//! `client audit`, `who`, `sessions`, `topics`, `filters`, `why` and `retained`: what a person sees of a broker.

use std::process::Command;
use std::thread;

use tests::mqtt::{Hello, Mqtt, MqttClient};
use tests::{Process, TestBroker, TestClient, Tmux, client, client_of, eventually};

/// Runs a program; its exit code, standard output and standard error.
#[track_caller]
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let (status, out, err) = Process::start(command).end();
    let out = String::from_utf8(out).expect("text");
    (status.code(), out, err)
}

/// What a command prints that has to succeed.
#[track_caller]
fn printed(broker: &TestBroker, command: &str, args: &[&str]) -> String {
    let (code, out, err) = run(&mut client_of(broker, command, args));
    assert_eq!(code, Some(0), "{err}");
    out
}

/// The words of the row that has this word in it; `None` if there is no such row.
fn row(table: &str, word: &str) -> Option<Vec<String>> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    let mut rows = table.lines().map(words);
    rows.find(|row: &Vec<String>| row.iter().any(|each| each == word))
}

/// A client with a name and a subscription.
#[track_caller]
fn called(broker: &TestBroker, name: &str, filter: &str) -> TestClient {
    let mut client = broker.connect();
    client
        .send(format!("NAME {name}"))
        .expect(format!("NAMEACK {name}"));
    client
        .send(format!("SUBSCRIBE {filter}"))
        .expect(format!("SUBACK {filter}"));
    client
}

#[test]
fn an_audit_accounts_for_what_was_published() {
    let broker = TestBroker::start();
    let mut ann = called(&broker, "ann", "a");
    ann.send("PUBLISH a 1")
        .expect("MESSAGE a 1")
        .expect("PUBACK 1 1");
    ann.send("PUBLISH b 2").expect("PUBACK 2 0");
    let out = printed(&broker, "audit", &[]);
    let figure = |name: &str| row(&out, name).expect("a row")[1].clone();
    assert_eq!(figure("published"), "2", "{out}");
    assert_eq!(
        (figure("matched"), figure("unmatched")),
        ("1".to_owned(), "1".to_owned())
    );
    assert!(
        out.contains("published = matched + unmatched: holds\n"),
        "{out}"
    );
    assert!(out.ends_with("+ withdrawn: holds\n"), "{out}");
}

#[test]
fn an_audit_balances_in_the_middle_of_a_flood() {
    let broker = TestBroker::start();
    let _slow = broker.connect_slow("flood");
    let mut flooding = broker.connect().writer();
    let flood = thread::spawn(move || {
        let batch = b"PUBLISH flood 0123456789\n".repeat(1000);
        // Until the broker is gone, which ends the test too.
        while std::io::Write::write_all(&mut flooding, &batch).is_ok() {}
    });
    for _ in 0..20 {
        let out = printed(&broker, "audit", &["--json"]);
        assert!(out.starts_with("{\"balanced\":true,"), "{out}");
    }
    drop(broker);
    flood.join().expect("it ends with the broker");
}

#[test]
fn connected_clients_are_listed_with_what_concerns_them() {
    let broker = TestBroker::start();
    let _ann = called(&broker, "ann", "home/#");
    let bob = called(&broker, "bob \u{202e}lee", "office/+");
    let out = printed(&broker, "who", &[]);
    assert!(row(&out, "ann").is_some(), "{out}");
    // What turns the direction of a line is not shown.
    let row = row(&out, &bob.local_addr().to_string()).expect("a row");
    assert_eq!(row[1..3], ["bob", "\u{fffd}lee"], "{out}");
    let out = printed(&broker, "who", &["office/desk"]);
    assert!(out.contains("bob") && !out.contains("ann"), "{out}");
    let (code, out, err) = run(&mut client_of(&broker, "who", &["cellar"]));
    assert_eq!((code, &*out), (Some(0), ""), "{err}");
    assert!(err.contains("there is no connection"), "{err}");
    let json = printed(
        &broker,
        "who",
        &["--json", "--sort", "name", "--limit", "1"],
    );
    assert!(
        json.contains("\"name\":\"ann\"") && json.lines().count() == 1,
        "{json}"
    );
}

#[test]
fn sessions_are_listed_with_what_waits_for_their_clients() {
    let broker = TestBroker::start();
    let (code, out, err) = run(&mut client_of(&broker, "sessions", &[]));
    assert_eq!((code, &*out), (Some(0), ""), "{err}");
    assert!(err.contains("there is no session"), "{err}");
    let hello = Hello::lasting("sensor \u{202e}7");
    let (mut sensor, _) = MqttClient::enter(broker.address(), Mqtt::V5, &hello);
    sensor.subscribe("home/#", 1);
    let out = printed(&broker, "sessions", &["home/door"]);
    assert!(out.contains("connected") && out.contains("1h"), "{out}");
    // What turns the direction of a line is not shown.
    assert!(out.contains("sensor \u{fffd}7"), "{out}");
    sensor.vanish();
    broker
        .connect()
        .send("PUBLISH home/door open")
        .expect("PUBACK 1 1");
    eventually("it is away", || {
        printed(&broker, "sessions", &["--json"]).contains("\"away\":true")
    });
    let json = printed(&broker, "sessions", &["--json"]);
    assert!(json.contains("\"waiting\":1,"), "{json}");
    let (_, out, _) = run(&mut client_of(&broker, "sessions", &["cellar"]));
    assert_eq!(out, "");
}

#[test]
fn a_table_fits_the_terminal_it_is_shown_in() {
    let broker = TestBroker::start();
    let _ann = called(&broker, "ann who has a long name", "home/#");
    let tmux = Tmux::start();
    for (name, columns) in [("narrow", 40), ("usual", 80), ("wide", 250)] {
        let who = client_of(&broker, "who", &["home/#"]);
        let program = who.get_program().to_string_lossy();
        let args = who.get_args().map(|arg| arg.to_string_lossy());
        let args: Vec<_> = args.map(|arg| format!("'{arg}'")).collect();
        let script = format!("{program} {}; cat", args.join(" "));
        tmux.open(
            name,
            (columns, 10),
            Command::new("sh").args(["-c", &script]),
        );
        let mut screen = Vec::new();
        eventually("she is listed", || {
            screen = tmux.screen(name);
            screen.len() > 1 && screen[1].contains("ann who")
        });
        // A row that was too long would go on in the next one.
        assert_eq!(
            screen.iter().filter(|row| !row.is_empty()).count(),
            2,
            "{screen:?}"
        );
        assert_eq!(
            screen[0].ends_with("subscribed"),
            name == "wide",
            "{screen:?}"
        );
        assert_eq!(
            screen[1].contains('…'),
            name == "narrow" || name == "usual",
            "{screen:?}"
        );
    }
}

#[test]
fn topics_and_filters_are_listed_with_what_they_carry() {
    let broker = TestBroker::start();
    let mut ann = called(&broker, "ann", "home/+");
    for n in 1..=3 {
        ann.send(format!("PUBLISH home/lamp {n}"));
    }
    ann.send("@retain PUBLISH office/door open")
        .read_until_prefix("PUBACK 4 ");
    eventually("all is counted", || {
        let topics = printed(&broker, "topics", &["--sort", "messages"]);
        let lamp = row(&topics, "home/lamp").unwrap_or_default();
        let door = row(&topics, "office/door").unwrap_or_default();
        let filters = printed(&broker, "filters", &["home/#"]);
        let held = row(&filters, "home/+").unwrap_or_default();
        lamp.get(1).is_some_and(|messages| messages == "3")
            && door[1..].ends_with(&["4".to_owned(), "B".to_owned()])
            && held == ["home/+", "1", "3"]
    });
    let topics = printed(&broker, "topics", &["office/#"]);
    assert_eq!(topics.lines().count(), 2, "{topics}");
}

#[test]
fn why_a_topic_has_no_subscriber_is_said_with_the_letter_that_differs() {
    let broker = TestBroker::start();
    let ann = called(&broker, "ann", "home/kitchen/+");
    let (code, out, err) = run(&mut client_of(&broker, "why", &["home/kitchn/light"]));
    assert_eq!((code, &*err), (Some(1), ""));
    let expected = format!(
        "Nobody gets home/kitchn/light: no filter matches it.\n\n\
         These filters nearly match:\n\
         \x20 home/kitchen/+   one letter differs: kitchn -> kitchen\n\
         \x20           ^\n\
         \x20   #1 ann ({})\n",
        ann.local_addr()
    );
    assert!(out.starts_with(&expected), "{out}");
    let out = printed(&broker, "why", &["home/kitchen/light"]);
    assert!(
        out.starts_with("home/kitchen/light goes to these:\n  home/kitchen/+\n    #1 ann ("),
        "{out}"
    );
    let (code, out, _) = run(&mut client_of(&broker, "why", &["Home/kitchen/light"]));
    assert_eq!(code, Some(1));
    assert!(
        out.contains("upper and lower case differ: Home -> home\n  ^\n"),
        "{out}"
    );
}

#[test]
fn why_a_client_misses_messages_is_said() {
    let broker = TestBroker::with_args(&["--outbox-bytes", "64KiB", "--max-line", "16KiB"]);
    let _slow = broker.connect_slow("flood");
    let mut ann = broker.connect();
    let payload = "x".repeat(10_000);
    let mut said = String::new();
    eventually("the outbox is full", || {
        for _ in 0..100 {
            ann.send(format!("PUBLISH flood {payload}"));
        }
        ann.read_to_fence();
        said = printed(&broker, "why", &["flood"]);
        said.contains("of this topic were dropped, the last one ")
    });
    assert!(said.contains("64.0 KiB"), "{said}");
}

/// How a command inside of `retained` is called.
fn retained(broker: &TestBroker, args: &[&str]) -> Command {
    let server = broker.address().to_string();
    let mut retained = client(&["retained"]);
    retained.args(args).args(["--server", &server]);
    retained
}

#[test]
fn retained_messages_are_listed_and_cleared() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    for n in 0..3_000 {
        ann.send(format!("@retain PUBLISH home/{n} {n}"));
    }
    ann.send("@retain PUBLISH office 12345678901")
        .read_until("PUBACK 3001 0");
    let (code, out, err) = run(&mut retained(&broker, &["ls"]));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.lines().count(), 1 + 1_000, "{err}");
    assert!(
        err.contains("these are 1,000 of 3,001 retained messages"),
        "{err}"
    );
    let list = ["ls", "--sort", "size", "--limit", "1"];
    let (_, out, _) = run(&mut retained(&broker, &list));
    assert_eq!(row(&out, "office").expect("the largest")[1..3], ["11", "B"]);

    let (code, _, err) = run(&mut retained(&broker, &["rm", "home/#"]));
    assert_eq!(code, Some(2), "{err}");
    let (code, _, err) = run(&mut retained(&broker, &["rm", "home/#", "--yes"]));
    assert_eq!(
        (code, &*err),
        (Some(0), "cleared 3,000 retained messages\n")
    );
    let out = run(&mut retained(&broker, &["ls"])).1;
    assert_eq!(out.lines().count(), 2, "{out}");
    let mut bob = broker.connect();
    bob.send("SUBSCRIBE #").expect("SUBACK #");
    bob.expect("@retained MESSAGE office 12345678901")
        .expect_silence();
}

#[test]
fn without_a_broker_every_command_says_so() {
    let broker = TestBroker::start();
    let address = broker.address().to_string();
    broker.stop();
    for args in [
        "audit",
        "who",
        "topics",
        "filters",
        "why a",
        "retained ls",
        "top --once",
    ] {
        let args: Vec<&str> = args.split(' ').chain(["--server", &address]).collect();
        let (code, out, err) = run(&mut client(&args));
        assert_eq!((code, &*out), (Some(3), ""), "{args:?}: {err}");
        assert!(err.contains("no broker at"), "{args:?}: {err}");
    }
}
