//! The documents say nothing that does not happen: their dialogues, and the client of
//! `docs/protocol.md`, are played.

use std::fs;

use tests::{Asker, Dialogue, Process, TestBroker, installed};

/// The documents with dialogues, and how many each has at least.
const DOCUMENTS: [(&str, usize); 3] = [("protocol.md", 10), ("chat.md", 1), ("rooms.md", 2)];

fn read(name: &str) -> String {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).unwrap_or_else(|err| panic!("docs/{name} cannot be read: {err}"))
}

fn document() -> String {
    read("protocol.md")
}

#[test]
#[allow(
    clippy::print_stderr,
    reason = "a failure inside a dialogue has to say which one it is"
)]
fn every_dialogue_of_the_documents_happens() {
    for (name, least) in DOCUMENTS {
        let dialogues = Dialogue::all_in(&read(name));
        assert!(
            dialogues.len() >= least,
            "only {} dialogues",
            dialogues.len()
        );
        for dialogue in dialogues {
            eprintln!("docs/{name}:{}", dialogue.line);
            dialogue.play();
        }
    }
}

#[test]
fn the_table_of_filters_is_true() {
    let document = document();
    let (_, rest) = document
        .split_once("| filter | matches |")
        .expect("a table of filters");
    let rows = rest
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let broker = TestBroker::start();
    let (mut ann, mut bob) = (broker.connect(), broker.connect());
    let mut published = 0;
    for row in rows {
        // Names stand between backticks; the cells of a row between bars.
        let cells: Vec<Vec<&str>> = row
            .split('|')
            .map(|cell| cell.split('`').skip(1).step_by(2).collect())
            .collect();
        let filter = cells[1][0];
        ann.send(format!("SUBSCRIBE {filter}"))
            .expect(format!("SUBACK {filter}"));
        for (topics, copies) in [(&cells[2], 1), (&cells[3], 0)] {
            for topic in topics {
                published += 1;
                bob.send(format!("PUBLISH {topic} x"));
                bob.expect(format!("PUBACK {published} {copies}"));
            }
        }
        ann.send(format!("UNSUBSCRIBE {filter}"));
        ann.read_until(&format!("UNSUBACK {filter}"));
    }
    assert!(published > 15, "only {published} topics in the table");
}

#[test]
fn every_verb_and_every_code_is_in_the_document() {
    use protocol::{Code, Verb};
    let document = document();
    for verb in Verb::OF_CLIENTS.into_iter().chain(Verb::OF_BROKERS) {
        assert!(document.contains(verb.as_str()), "{verb} is missing");
    }
    for code in [
        Code::UnknownVerb,
        Code::BadTopic,
        Code::BadFilter,
        Code::BadAttribute,
        Code::MissingArgument,
        Code::TooLong,
        Code::TooMany,
        Code::Denied,
        Code::Busy,
    ] {
        let row = format!("\n| `{code}` |");
        assert!(document.contains(&row), "{code} has no row in the table");
    }
}

#[test]
fn the_client_of_the_document_works() {
    let document = document();
    let (_, rest) = document
        .split_once("```python\n")
        .expect("a client in Python");
    let (client, _) = rest.split_once("```").expect("the end of the block");
    let lines = client.lines().filter(|line| !line.trim().is_empty());
    assert!(
        lines.count() <= 25,
        "it is no longer a client in twenty lines"
    );

    let broker = TestBroker::with_args(&["--ping-interval", "100ms"]);
    let program = format!(
        r#"{client}
ann, bob = Client(port={port}), Client(port={port})
ann.say(b"SUBSCRIBE", b"news/#", b"empty")
assert ann.next() == (b"SUBACK", b"news/#"), "suback"
assert ann.next() == (b"SUBACK", b"empty"), "suback"
every = bytes(range(256)) * 2 + rb"\n \x \\"
bob.publish(b"news/bytes", every)
assert bob.next() == (b"PUBACK", b"1", b"1"), "puback"
assert ann.next() == (b"MESSAGE", b"news/bytes", every), "message"
bob.say(b"@a=1;b PUBLISH", b"empty")
assert ann.next() == (b"MESSAGE", b"empty", b""), "attributes are skipped"
for _ in range(20_000):
    bob.publish(b"many", b"x" * 100)
bob.close()
print("waiting", flush=True)
assert ann.next() == (b"MESSAGE", b"news/later", b"two words"), "pings are answered"
ann.say(b"BYE")
assert ann.next() == (b"BYE",) and ann.next() is None, "the end"
"#,
        port = broker.address().port()
    );
    let mut python = Process::start(installed("python3", "python3").args(["-c", &program]));
    python.expect("waiting");
    let mut eve = broker.connect();
    // Some intervals go by, in which the client has to answer by itself.
    for _ in 0..2 {
        eve.send("PONG").read_until_prefix("PING");
    }
    eve.send("PUBLISH news/later two words");
    let (status, _, complaints) = python.end();
    assert!(status.success(), "{complaints}");
    // It has closed without a loss, though it read no answer before.
    let why = Asker::of(&broker).ask("why many");
    assert_eq!(why["seen"]["messages"], 20_000, "{why}");
}
