//! Promises about variables of the environment, of broker and client, and about the values of flags that
//! name a host (`docs/operating.md`, `docs/client.md`).

use std::collections::BTreeSet;
use std::process::Command;

use tests::{Process, TestBroker, client};

/// A broker on a free port with these variables, ready.
#[track_caller]
fn started(variables: &[(&str, &str)]) -> Process {
    let mut command = TestBroker::command(&["--port", "0"]);
    let process = Process::start(command.envs(variables.iter().copied()));
    process.wait_for_complaint("listening on 127.0.0.1");
    process
}

/// The exit code and the complaint of a broker that does not start.
#[track_caller]
fn refused(args: &[&str], variable: Option<(&str, &str)>) -> (Option<i32>, String) {
    let mut command = TestBroker::command(args);
    let (status, _, err) = Process::start(command.envs(variable)).end();
    (status.code(), err)
}

/// The names of the broker's variables in its manual.
fn variables_of(command: &mut Command) -> BTreeSet<String> {
    let (_, manual, _) = Process::start(command.arg("--man")).end();
    let manual = String::from_utf8(manual).expect("text");
    let words = manual.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_');
    // A change of font may stand in front, as in \fBBROKER_PORT.
    let names = words.filter_map(|word| word.find("BROKER_").map(|at| word[at..].to_owned()));
    names.collect()
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let names = variables_of(&mut TestBroker::command(&[]));
    assert!(names.len() >= 17, "{names:?}");
    for value in ["", " "] {
        let variables: Vec<(&str, &str)> = names.iter().map(|name| (&**name, value)).collect();
        let broker = started(&variables);
        assert!(!broker.complaints().contains("passed over"));
    }
    let log = started(&[("RUST_LOG", "")]).complaints();
    assert!(log.contains("listening on"), "{log}");
}

#[test]
fn an_empty_variable_counts_as_unset_for_the_client() {
    let broker = TestBroker::start();
    for name in ["BROKER_URL", "BROKER_USER", "BROKER_PASSWORD", "USER"] {
        let port = broker.address().port().to_string();
        for words in [&["publish", "a", "b"][..], &["ping", "-C", "1"]] {
            let mut command = client(words);
            let (status, _, err) = Process::start(command.args(["-p", &port]).env(name, "")).end();
            assert!(status.success(), "{name} {words:?}: {err}");
        }
    }
}

#[test]
fn what_an_orchestrator_sets_for_a_service_is_passed_over_with_a_warning() {
    for (name, value) in [
        ("BROKER_PORT", "tcp://10.96.12.3:1373"),
        ("BROKER_PORT", "udp://10.96.12.3:1373"),
        ("BROKER_LISTEN", "tcp://10.96.12.3:1373"),
        ("BROKER_NAME", "/web/broker"),
    ] {
        let log = started(&[(name, value), ("BROKER_SERVICE_PORT", "1373")]).complaints();
        let warning = format!("{name}={value:?} is passed over");
        let warnings = log.lines().filter(|line| line.contains("passed over"));
        assert_eq!(warnings.count(), 1, "{log}");
        assert!(log.contains(&warning), "{log}");
    }
    // On the command line it is a mistake.
    let (code, err) = refused(&["--port", "tcp://10.96.12.3:1373"], None);
    assert_eq!(code, Some(2), "{err}");
}

#[test]
fn the_elements_of_a_list_are_trimmed() {
    let process = started(&[("BROKER_LISTEN", " 127.0.0.1:0 , 127.0.0.1:0,, ")]);
    let log = process.complaints();
    assert_eq!(log.matches("also on 127.0.0.1:").count(), 2, "{log}");
}

#[test]
fn names_and_origins_that_could_never_match_are_refused() {
    for (variable, flag, value) in [
        ("BROKER_ALLOW_ORIGIN", "--allow-origin", "app.example"),
        (
            "BROKER_ALLOW_ORIGIN",
            "--allow-origin",
            "https://app.example/x",
        ),
        ("BROKER_NAME", "--name", "http://broker.example"),
        ("BROKER_NAME", "--name", "*.example"),
    ] {
        for (code, err) in [
            refused(&[flag, value], None),
            refused(&[], Some((variable, value))),
        ] {
            assert_eq!(code, Some(2), "{err}");
            assert!(err.contains(flag) && err.contains(value), "{err}");
        }
    }
}

#[test]
fn a_name_with_a_port_and_an_origin_with_a_slash_are_understood() {
    let broker = TestBroker::with_args(&[
        "--name",
        "B.example:1373",
        "--allow-origin",
        "https://App.example:443/, http://app.example:80",
    ]);
    for (host, origin) in [
        ("b.example", "http://b.example"),
        ("b.example:80", "https://app.example"),
        ("localhost", "http://app.example"),
    ] {
        let mut page = broker.connect();
        page.write(format!(
            "POST /topics/a HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: close\r\n\
             Content-Length: 1\r\n\r\nx"
        ));
        let answer = page.read_to_end();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{origin}: {answer}");
    }
}
