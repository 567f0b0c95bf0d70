//! A store that an earlier broker has written is read for ever: `tests/stores` has one for each format.
//!
//! That of format 1 was written with `--keep 'chat/#=100' --session-expiry-max never`: retained messages, one of them
//! cleared and one replaced; messages on topics that keep them; a session `old` with a message at QoS 1 and one at QoS 2
//! that it has not had; a session `pub` with an identifier at QoS 2 that is not released; a kill, ten orderly ends, and
//! a kill again, with the two snapshots that came of it.

use std::fs;
use std::path::Path;

use tests::mqtt::{Hello, Mqtt, MqttClient};
use tests::{TestBroker, folder, outcome};

/// A copy of a store in a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the store of the tests") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("its type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("a copy")),
        }
    }
}

#[test]
fn a_store_of_format_1_is_read_with_all_that_it_has() {
    let folder = folder();
    let data = folder.path().join("data");
    let store = concat!(env!("CARGO_MANIFEST_DIR"), "/stores/format-1");
    copy(Path::new(store), &data);
    let path = data.to_str().expect("a path of text");
    let (code, told, _) = outcome(&mut TestBroker::bare(&["store", "check", path]));
    assert_eq!(code, Some(0), "{told}");
    let contents = "retained messages: 2\nsessions: 3\nstate: sound\n";
    assert!(told.ends_with(contents), "{told}");
    let broker = TestBroker::with_store(&data, &["--keep", "chat/#=100"]);
    let mut client = broker.connect();
    client.send("SUBSCRIBE lamp door gone");
    client
        .expect("SUBACK lamp")
        .expect("@retained MESSAGE lamp off")
        .expect("SUBACK door")
        .expect("@retained MESSAGE door open")
        .expect("SUBACK gone");
    client.send("@each=1;until=now SUBSCRIBE chat/+");
    client.expect("SUBACK chat/+");
    for message in ["chat/b two words", "chat/a start 9", "chat/c last"] {
        let line = client.read_line();
        assert!(
            line.ends_with(&format!(";past MESSAGE {message}")),
            "{line}"
        );
    }
    let enter = |name: &str| {
        let hello = Hello::lasting(name);
        let (client, is_known) = MqttClient::enter(broker.address(), Mqtt::V3, &hello);
        assert!(is_known, "{name}");
        client
    };
    let mut old = enter("old");
    old.expect_message(0x02, "job/1", "A");
    old.expect_message(0x04, "q2", "B").expect_silence();
    let mut publisher = enter("pub");
    // It has sent this before: DUP, and the identifier.
    publisher.publish_as(0x3c, "q2", 2, b"B");
    publisher.expect(&[0x50, 2, 0, 2]);
    old.expect_silence();
}
