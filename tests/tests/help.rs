//! Promises of "HELP": for people at a terminal.

use protocol::Verb;
use tests::TestBroker;

#[test]
fn help_explains_every_verb_of_a_client() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    let lines = ann.send("HELP").read_to_fence();
    assert!(
        lines.iter().all(|line| line.starts_with("HELP ")),
        "{lines:?}"
    );
    for verb in Verb::OF_CLIENTS {
        let start = format!("HELP {verb}");
        assert!(
            lines.iter().any(|line| line.starts_with(&start)),
            "{start}: {lines:?}"
        );
    }
    assert!(lines.len() < 24, "it fits a screen");
    assert!(
        lines.iter().all(|line| line.len() < 120),
        "and its width: {lines:?}"
    );
}

#[test]
fn help_on_a_verb_is_one_line() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    for verb in Verb::OF_CLIENTS {
        let lines = ann.send(format!("HELP {verb}")).read_to_fence();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(&format!("HELP {verb}")), "{lines:?}");
    }
    ann.send("help publish")
        .expect_prefix("HELP PUBLISH")
        .expect_silence();
}

#[test]
fn help_on_what_is_no_verb_is_refused() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("HELP nonsense")
        .expect_error("unknown-verb", "line");
    ann.send("HELP publish me")
        .expect_error("unknown-verb", "line");
    ann.expect_silence();
}
