//! Requests and their answers: `client request` and `client reply` against each other and against
//! clients that only know lines.

use std::collections::BTreeSet;
use std::process::Command;

use tests::{Process, TestBroker, TestClient, client_of};

/// Starts `client reply` and waits until it listens.
#[track_caller]
fn reply(broker: &TestBroker, args: &[&str]) -> Process {
    let replier = Process::start(&mut client_of(broker, "reply", args));
    replier.wait_for_complaint("replying on ");
    replier
}

/// Runs a command; its exit code, standard output and standard error.
#[track_caller]
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let (status, out, err) = Process::start(command).end();
    (
        status.code(),
        String::from_utf8_lossy(&out).into_owned(),
        err,
    )
}

#[test]
fn a_request_prints_what_a_command_elsewhere_printed() {
    let broker = TestBroker::start();
    let _shouter = reply(&broker, &["shout/#", "--exec", "tr a-z A-Z"]);
    let asked = run(&mut client_of(
        &broker,
        "request",
        &["shout/it", "two\nlines\\"],
    ));
    assert_eq!(asked, (Some(0), "TWO\nLINES\\\n".to_owned(), String::new()));
}

#[test]
fn bytes_go_there_and_back() {
    let broker = TestBroker::start();
    let _echo = reply(&broker, &["echo", "--exec", "cat"]);
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let mut asker = Process::start(&mut client_of(&broker, "request", &["--raw", "echo"]));
    let (status, out, err) = asker.write(&bytes).end();
    assert!(status.success(), "{err}");
    assert!(out == bytes, "{} bytes came back", out.len());
}

#[test]
fn no_subscriber_and_no_answer_are_told_apart_and_exit_with_5() {
    let broker = TestBroker::start();
    let (code, out, err) = run(&mut client_of(&broker, "request", &["time", "?"]));
    assert_eq!((code, &*out), (Some(5), ""), "{err}");
    assert!(err.contains("no client listens to time"), "{err}");
    let mut deaf = broker.connect();
    deaf.send("SUBSCRIBE time").expect("SUBACK time");
    let args = ["--wait", "1s", "time", "?"];
    let (code, out, err) = run(&mut client_of(&broker, "request", &args));
    assert_eq!((code, &*out), (Some(5), ""), "{err}");
    assert!(err.contains("nobody answered within 1s"), "{err}");
}

#[test]
fn all_subscribers_can_answer() {
    let broker = TestBroker::start();
    let _two = [
        reply(&broker, &["who", "ann"]),
        reply(&broker, &["who", "bob"]),
    ];
    let (code, out, err) = run(&mut client_of(&broker, "request", &["-C", "2", "who", ""]));
    assert_eq!(code, Some(0), "{err}");
    let names: BTreeSet<&str> = out.lines().collect();
    assert_eq!(names, BTreeSet::from(["ann", "bob"]));
}

#[test]
fn a_person_at_netcat_can_answer_and_ask() {
    let broker = TestBroker::start();
    let mut person = broker.connect();
    person.send("SUBSCRIBE time").expect("SUBACK time");
    let mut asker = Process::start(&mut client_of(&broker, "request", &["time", "now?"]));
    let line = person.read_line();
    let (attributes, message) = line.split_once(' ').expect("attributes");
    assert_eq!(message, "MESSAGE time now?");
    let value = |key| {
        let mut items = attributes.trim_start_matches('@').split(';');
        items
            .find_map(|item| item.strip_prefix(key))
            .expect("a value")
    };
    person.send(format!(
        "@id={} PUBLISH {} noon",
        value("id="),
        value("reply=")
    ));
    person.expect("PUBACK 1 1");
    asker.expect("noon");

    let _replier = reply(&broker, &["weather", "rain"]);
    person.send("SUBSCRIBE here").expect("SUBACK here");
    person.send("@reply=here;id=a\\:b PUBLISH weather");
    // The answer may overtake the receipt.
    let came = BTreeSet::from([person.read_line(), person.read_line()]);
    let expected = ["@id=a\\:b MESSAGE here rain", "PUBACK 2 1"];
    assert_eq!(came, expected.map(str::to_owned).into());
}

/// Asks so often without waiting, and takes that many answers, each once.
#[track_caller]
fn ask_all(asker: &mut TestClient, requests: usize, answer: &str) {
    asker.send("SUBSCRIBE answers").expect("SUBACK answers");
    let lines: String = (1..=requests)
        .map(|n| format!("@reply=answers;id={n} PUBLISH jobs {n}\n"))
        .collect();
    asker.write(lines);
    let mut open: BTreeSet<usize> = (1..=requests).collect();
    while !open.is_empty() {
        let line = asker.read_line();
        if line.starts_with("PUBACK ") {
            continue;
        }
        let id = line
            .strip_prefix("@id=")
            .and_then(|rest| rest.split_once(" MESSAGE answers "));
        let Some((id, payload)) = id else {
            panic!("{line}");
        };
        assert_eq!(payload, answer.replace("%", id));
        let id = id.parse().expect("a number");
        assert!(open.remove(&id), "{id} was answered twice");
    }
    // The last receipts may come behind the answers.
    let rest = asker.read_to_fence();
    assert!(
        rest.iter().all(|line| line.starts_with("PUBACK ")),
        "{rest:?}"
    );
}

#[test]
fn ten_thousand_requests_have_ten_thousand_answers() {
    let broker = TestBroker::start();
    let _replier = reply(&broker, &["jobs", "done"]);
    ask_all(&mut broker.connect(), 10_000, "done");
}

#[test]
fn a_thousand_commands_are_run_a_few_at_a_time() {
    let broker = TestBroker::start();
    let command = "read n; echo -n $DALLAL_ID is $n";
    let _replier = reply(&broker, &["jobs", "--exec", command]);
    ask_all(&mut broker.connect(), 1000, "% is %");
}

#[test]
fn a_group_answers_each_request_once() {
    let broker = TestBroker::start();
    let group = ["$share/workers/jobs", "done"];
    let _workers: Vec<Process> = (0..3).map(|_| reply(&broker, &group)).collect();
    ask_all(&mut broker.connect(), 300, "done");
}
