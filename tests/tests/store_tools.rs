//! Promises of `docs/storage.md` about the tools `broker store ...`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::process::Signal;
use tempfile::TempDir;
use tests::mqtt::{Mqtt, MqttClient};
use tests::{Process, TestBroker, client_of, eventually, outcome};

const FIRST_SEGMENT: &str = "log/00000000000000000001.log";

/// A folder with a place for a store.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// A store with the messages `t/0` to `t/<n - 1>`, of a broker that was stopped.
    fn filled(n: usize) -> Self {
        let place = Self::new();
        let broker = place.broker(&[]);
        fill(&broker, n);
        assert_eq!(broker.stop().code, Some(0));
        place
    }

    fn broker(&self, more: &[&str]) -> TestBroker {
        let data = self.data();
        let args = ["--data", data.to_str().expect("a path of text")];
        TestBroker::with_args(&[&args, more].concat())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = TestBroker::bare(&["store"]);
        let (tool, rest) = words.split_first().expect("a tool");
        command.arg(tool).arg(self.data()).args(rest);
        command
    }

    /// Runs a tool on the store; its output and errors.
    #[track_caller]
    fn run(&self, words: &[&str], code: i32) -> (String, String) {
        let (ended, out, err) = outcome(&mut self.command(words));
        assert_eq!(ended, Some(code), "{words:?}: {out}{err}");
        (out, err)
    }

    /// The files of the store with their bytes.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for folder in ["", "log", "state", "damaged"] {
            let entries = fs::read_dir(self.data().join(folder)).expect("a folder");
            let paths = entries.map(|entry| entry.expect("an entry").path());
            for path in paths.filter(|path| path.is_file()) {
                let bytes = fs::read(&path).expect("a file");
                files.insert(path, bytes);
            }
        }
        files
    }

    fn file(&self, name: &str) -> File {
        let path = self.data().join(name);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).open(path);
        file.expect("a file of the store")
    }

    /// Flips a bit of the first place in a file where these bytes are.
    fn damage(&self, name: &str, at: &[u8]) {
        let bytes = fs::read(self.data().join(name)).expect("a file of the store");
        let place = bytes.windows(at.len()).position(|window| window == at);
        let place = place.expect("it is there");
        let file = self.file(name);
        let changed = file.write_at(&[bytes[place] ^ 1], place as u64);
        assert_eq!(changed.expect("room"), 1);
    }

    /// The names in `damaged/`.
    fn kept_aside(&self) -> Vec<String> {
        let entries = fs::read_dir(self.data().join("damaged")).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.into_string().expect("text"))
            .collect()
    }
}

fn fill(broker: &TestBroker, n: usize) {
    let mut client = broker.connect();
    for number in 0..n {
        client.send(format!("@retain PUBLISH t/{number} value {number}"));
        client.expect_prefix("PUBACK ");
    }
}

/// The lines of the retained messages, in the order of topics.
fn retained(broker: &TestBroker) -> Vec<String> {
    let mut lines = broker.subscribe("#").read_to_fence();
    lines.sort();
    lines
}

fn expected(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers
        .map(|number| format!("@retained MESSAGE t/{number} value {number}"))
        .collect()
}

fn killed(broker: TestBroker) {
    assert_eq!(broker.stop_by(Signal::KILL).code, None);
}

#[test]
fn check_tells_what_is_there_and_changes_nothing_while_a_broker_has_it() {
    let place = Place::new();
    // Nothing but what is published is written.
    let broker = place.broker(&["--sync-interval", "1h"]);
    fill(&broker, 3);
    let before = place.files();
    let (told, _) = place.run(&["check"], 0);
    assert_eq!(place.files(), before);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], format!("store: {}", place.data().display()));
    let format = fs::read_to_string(place.data().join("format")).expect("a text");
    let id = format.lines().nth(1).expect("the identifier");
    assert!(
        lines[1].starts_with(&format!(
            "id: {}, generation 1, not ended cleanly",
            &id[3..]
        )),
        "{told}"
    );
    assert!(told.contains("\nlog: 1 segment, "), "{told}");
    assert!(told.contains(", changes 1 to 3\n"), "{told}");
    assert!(told.contains("\nsnapshots: none\n"), "{told}");
    assert!(told.contains("\nretained messages: 3\n"), "{told}");
    assert_eq!(lines.last(), Some(&"state: sound"));
    // So do exports.
    let (lines, _) = place.run(&["export"], 0);
    assert_eq!(lines.lines().count(), 3);
    assert_eq!(place.files(), before);
    assert_eq!(broker.stop().code, Some(0));
    let (told, _) = place.run(&["check"], 0);
    assert!(told.contains(", generation 1, ended cleanly\n"), "{told}");
}

/// What a broker has not finished writing is no damage.
#[test]
fn check_finds_no_damage_while_a_broker_writes() {
    let place = Place::new();
    let broker = place.broker(&["--sync-interval", "1ms"]);
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = broker.connect();
            let value = "x".repeat(300);
            while !stopped.load(Ordering::Relaxed) {
                for number in 0..200 {
                    client.send(format!("@retain PUBLISH t/{number} {value}"));
                }
                client.send("PING").read_until("PONG");
            }
        });
        eventually("there is something to read", || {
            place.run(&["check"], 0).0.contains("messages: 200\n")
        });
        for _ in 0..5 {
            place.run(&["check"], 0);
            let (lines, warning) = place.run(&["export"], 0);
            assert_eq!((lines.lines().count(), &*warning), (200, ""));
        }
        stopped.store(true, Ordering::Relaxed);
    });
}

#[test]
fn damage_is_told_and_repaired_and_the_original_is_kept() {
    let place = Place::filled(8);
    place.damage(FIRST_SEGMENT, b"value 3");
    let original = fs::read(place.data().join(FIRST_SEGMENT)).expect("a file");
    let before = place.files();
    let (told, _) = place.run(&["check"], 4);
    assert!(told.contains("\nretained messages: 7\n"), "{told}");
    // The fourth frame: 48 bytes, and a record of 16, the owner `anonymous`, a line of 30, and a zero.
    let damaged = format!(
        "\ndamaged: {FIRST_SEGMENT} from byte 312 on, 104 bytes are not what was written; 1 change is lost\n"
    );
    assert!(told.contains(&damaged), "{told}");
    let typed = told.lines().last().expect("a line");
    let (state, repair) = typed.split_once(": broker ").expect("what to type");
    assert_eq!(state, "state: damaged; to mend it");
    assert_eq!(repair, format!("store repair {}", place.data().display()));
    let (lines, warning) = place.run(&["export"], 4);
    assert_eq!(lines.lines().count(), 7);
    assert!(warning.contains(" is damaged, "), "{warning}");
    assert_eq!(place.files(), before, "both only read");

    let (told, _) = place.run(&["repair"], 0);
    assert!(told.contains(&damaged), "{told}");
    let [kept] = &place.kept_aside()[..] else {
        panic!("one file is kept aside: {told}")
    };
    assert!(
        told.contains(&format!("\nkept aside: damaged/{kept}\n")),
        "{told}"
    );
    let kept_bytes = fs::read(place.data().join("damaged").join(kept)).expect("a file");
    assert!(kept_bytes.len() > 416 && original.starts_with(&kept_bytes));
    let (told, _) = place.run(&["check"], 0);
    assert!(
        told.contains(&format!("\nkept aside: damaged/{kept}, ")),
        "{told}"
    );
    assert!(told.ends_with("\nstate: sound\n"), "{told}");
    // Another time there is nothing to do.
    place.run(&["repair"], 0);
    assert_eq!(place.kept_aside().len(), 1);
    let broker = place.broker(&[]);
    assert_eq!(retained(&broker), expected((0..8).filter(|&n| n != 3)));
    assert!(!broker.log().contains("lost"), "{}", broker.log());
}

#[test]
fn what_was_never_durable_is_no_damage() {
    let place = Place::new();
    let broker = place.broker(&["--sync-interval", "1h"]);
    fill(&broker, 4);
    killed(broker);
    let (told, _) = place.run(&["check"], 0);
    assert!(told.contains("\nlog: 1 segment, 416 B, "), "{told}");
    // The last frame is torn: of its 104 bytes the last are missing.
    let file = place.file(FIRST_SEGMENT);
    file.write_all_at(&[0; 20], 396).expect("room");
    let (told, _) = place.run(&["check"], 0);
    let tail = format!("\nnot durable: {FIRST_SEGMENT} ends at byte 312, with 84 bytes behind");
    assert!(told.contains(&tail), "{told}");
    assert_eq!(place.run(&["export"], 0).0.lines().count(), 3);
    place.run(&["repair"], 0);
    let (told, _) = place.run(&["check"], 0);
    assert!(!told.contains("not durable"), "{told}");
    let kept = place.kept_aside();
    assert!(kept[0].ends_with(".tail"), "{kept:?}");
    assert_eq!(retained(&place.broker(&[])), expected(0..3));
}

#[test]
fn a_snapshot_and_a_format_that_are_damaged_are_told_and_repaired() {
    let place = Place::filled(5);
    // Damage makes a repair leave a snapshot.
    fs::write(place.data().join("format"), "nothing").expect("room");
    let (told, _) = place.run(&["check"], 4);
    assert!(told.contains("\ndamaged: format "), "{told}");
    place.run(&["repair"], 0);
    let (told, _) = place.run(&["check"], 0);
    assert!(told.contains("\nsnapshots: at change 6\n"), "{told}");
    place.damage("state/00000000000000000006.snap", b"value 2");
    let (told, _) = place.run(&["check"], 4);
    assert!(
        told.contains("\ndamaged: state/00000000000000000006.snap is not "),
        "{told}"
    );
    place.run(&["repair"], 0);
    place.run(&["check"], 0);
    assert_eq!(retained(&place.broker(&[])), expected(0..5));
}

/// A whole frame with the number 2 that clears the topic `t/0`, as a broker would write it that has no secret. No byte of
/// it is escaped in a line.
const FORGED: &[u8; 72] = b"dllF\x02\x00\x01\x00\x13\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x10\x00\xb3r\xa7\x9d\xd4@\xea\xab\x02\x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00t/0\x00\x00\x00\x00\x00";

#[test]
fn a_frame_in_a_payload_is_not_taken_for_one_of_the_store() {
    let place = Place::filled(1);
    let broker = place.broker(&[]);
    // One of them begins where frames may.
    let payload = [&FORGED[..]; 8].join(&b'-');
    let mut client = broker.connect();
    client.send([b"@retain PUBLISH t/1 ", &payload[..]].concat());
    client.expect_prefix("PUBACK ");
    client
        .send("@retain PUBLISH t/2 value 2")
        .expect_prefix("PUBACK ");
    assert_eq!(broker.stop().code, Some(0));
    // In front of it.
    place.damage("log/00000000000000000002.log", b"MESSAGE t/1");
    let (told, _) = place.run(&["check"], 4);
    assert!(told.contains("; 1 change is lost\n"), "{told}");
    assert!(told.contains("\nretained messages: 2\n"), "{told}");
    place.run(&["repair"], 0);
    place.run(&["check"], 0);
    let kept = ["0", "2"].map(|n| format!("@retained MESSAGE t/{n} value {n}"));
    assert_eq!(retained(&place.broker(&[])), kept);
}

/// A damaged file that a start has no need of is told as well, once: a repair keeps a copy.
#[test]
fn damage_to_what_is_there_in_case_is_told_until_it_is_kept_aside() {
    let place = Place::filled(2);
    let make_snapshot = || {
        fs::write(place.data().join("format"), "nothing").expect("room");
        place.run(&["repair"], 0);
    };
    make_snapshot();
    let broker = place.broker(&[]);
    fill(&broker, 4);
    assert_eq!(broker.stop().code, Some(0));
    make_snapshot();
    place.run(&["check"], 0);
    place.damage("log/00000000000000000003.log", b"value 1");
    let (told, _) = place.run(&["check"], 4);
    assert!(
        told.contains("nothing is lost, because the last snapshot"),
        "{told}"
    );
    assert_eq!(place.run(&["export"], 4).0.lines().count(), 4);
    place.run(&["repair"], 0);
    let (told, _) = place.run(&["check"], 0);
    assert!(
        told.contains("\nsettled: log/00000000000000000003.log "),
        "{told}"
    );
    assert_eq!(retained(&place.broker(&[])), expected(0..4));
}

#[test]
fn what_is_exported_and_imported_is_the_same_byte_for_byte() {
    let all: Vec<u8> = (0..=255).collect();
    let place = Place::new();
    let broker = place.broker(&[]);
    let mut client = broker.connect();
    for line in [
        &b"@flag;k=a\\sb;k=\xff;retain PUBLISH attributes \xf0\x9f\x8c\xb1 \\n \\\\n \\r"[..],
        b"@retain PUBLISH with\\sspace/x 1",
        b"@reply=to\\\\sme;retain PUBLISH question ?",
        b"@retain PUBLISH gone 1",
        b"@retain PUBLISH gone",
    ] {
        client.send(line).expect_prefix("PUBACK ");
    }
    let mut mqtt = MqttClient::connect(broker.address(), Mqtt::V5, "a");
    mqtt.publish_as(0x33, "bytes", 7, &all).packet();
    mqtt.leave();
    let lines = retained_bytes(&broker);
    assert_eq!(lines.len(), 4);
    let exported = place.run(&["export"], 0).0;
    killed(broker);
    assert_eq!(place.run(&["export"], 0).0, exported);

    let other = Place::new();
    let mut import = Process::start(&mut other.command(&["import"]));
    import.write(&exported).end_input();
    let (status, out, err) = import.end();
    assert!(status.success(), "{err}");
    assert_eq!(out, b"4 messages retained, 0 cleared, from 4 lines\n");
    assert_eq!(other.run(&["export"], 0).0, exported);
    let broker = other.broker(&[]);
    assert_eq!(retained_bytes(&broker), lines);
    let mut mqtt = MqttClient::connect(broker.address(), Mqtt::V5, "b");
    mqtt.subscribe("bytes", 1);
    assert_eq!(mqtt.message().payload, all);
}

/// The lines of the retained messages, as they come.
fn retained_bytes(broker: &TestBroker) -> Vec<Vec<u8>> {
    let mut client = broker.subscribe("#");
    client.send("PING end");
    let mut lines = Vec::new();
    loop {
        let line = client.next_line().expect("a line");
        if line == b"PONG end" {
            return lines;
        }
        lines.push(line);
    }
}

#[test]
fn an_export_can_be_filtered_and_played() {
    let place = Place::filled(3);
    let (lines, _) = place.run(&["export", "--filter", "t/1", "--filter", "+/2"], 0);
    let topics: Vec<&str> = lines
        .lines()
        .map(|line| line.split('"').nth(5).expect("a topic"))
        .collect();
    assert_eq!(topics, ["t/1", "t/2"]);
    assert_eq!(place.run(&["export", "--filter", "u/#"], 0).0, "");
    let file = place.0.path().join("lines");
    fs::write(&file, &lines).expect("room");
    let broker = TestBroker::start();
    let file = file.to_str().expect("a path of text");
    let (code, _, told) = outcome(&mut client_of(&broker, "play", &[file]));
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(retained(&broker), expected(1..3));
}

#[test]
fn an_import_is_whole_or_nothing() {
    let place = Place::filled(2);
    let exported = place.run(&["export"], 0).0;
    let file = place.0.path().join("lines");
    let import = |text: &str, code| {
        fs::write(&file, text).expect("room");
        place.run(&["import", file.to_str().expect("a path of text")], code)
    };
    let good = r#"{"offset_us":5,"topic":"new","payload":"1"}"#;
    let (_, why) = import(&format!("{good}\n{good}\nnothing\n"), 1);
    assert!(why.contains("lines, line 3: this is not JSON"), "{why}");
    assert!(why.ends_with("; nothing is imported\n"), "{why}");
    assert_eq!(place.run(&["export"], 0).0, exported);
    // What a recording has that is no message to retain, and a message that clears its topic.
    let gap = r#"{"offset_us":5,"gap":2}"#;
    let clear = r#"{"offset_us":9,"topic":"t/0","payload":""}"#;
    let (told, _) = import(&format!("{good}\n{gap}\n{clear}\n"), 0);
    assert_eq!(
        told,
        "1 message retained, 1 cleared, from 3 lines\n1 line tells of missing messages\n"
    );
    let mut now = expected(1..2);
    now.insert(0, "@retained MESSAGE new 1".to_owned());
    assert_eq!(retained(&place.broker(&[])), now);
    let (_, why) = place.run(&["import", "/nonexistent"], 1);
    assert!(why.starts_with("/nonexistent cannot be read: "), "{why}");
}

/// More than the log takes before a sync: an import has no thread that syncs.
#[test]
fn a_large_import_ends() {
    let place = Place::new();
    let file = place.0.path().join("lines");
    let payload = "x".repeat(1 << 20);
    let mut lines = File::create(&file).expect("room");
    for number in 0..70 {
        let line = format!(r#"{{"offset_us":0,"topic":"t/{number}","payload":"{payload}"}}"#);
        writeln!(lines, "{line}").expect("room");
    }
    let file = file.to_str().expect("a path of text");
    let (told, _) = place.run(&["import", file], 0);
    assert_eq!(told, "70 messages retained, 0 cleared, from 70 lines\n");
    let (told, _) = place.run(&["check"], 0);
    assert!(told.contains("\nretained messages: 70\n"), "{told}");
    assert!(told.contains(", ended cleanly\n"), "{told}");
}

#[test]
fn repair_and_import_need_the_store_for_themselves() {
    let place = Place::new();
    let broker = place.broker(&["--sync-interval", "1h"]);
    fill(&broker, 1);
    let before = place.files();
    for tool in [&["repair"][..], &["import", "/dev/null"]] {
        let (_, why) = place.run(tool, 1);
        assert!(
            why.ends_with(": a broker has it; stop that one first\n"),
            "{why}"
        );
    }
    assert_eq!(place.files(), before);
}

#[test]
fn a_newer_format_and_what_is_no_store_are_left_alone() {
    let place = Place::filled(1);
    let format = place.data().join("format");
    let text = fs::read_to_string(&format).expect("a text");
    fs::write(&format, text.replace("store 1", "store 2")).expect("room");
    let before = place.files();
    for tool in [
        &["check"][..],
        &["repair"],
        &["export"],
        &["import", "/dev/null"],
    ] {
        let (out, why) = place.run(tool, 5);
        assert!(
            out.is_empty() && why.contains("\"dallal store 2\""),
            "{why}"
        );
    }
    assert_eq!(place.files(), before);
    let none = Place::new();
    for tool in ["check", "repair", "export"] {
        let (_, why) = none.run(&[tool], 1);
        assert!(why.contains("No such file or directory"), "{why}");
    }
    fs::create_dir(none.data()).expect("a folder");
    for tool in ["check", "repair", "export"] {
        let (_, why) = none.run(&[tool], 1);
        assert!(why.contains(" has no store; "), "{why}");
    }
    assert!(is_empty(&none.data()));
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("a folder").next().is_none()
}

/// A tool knows no rules, and so it removes no messages of topics that keep them, however many snapshots it makes.
#[test]
fn a_repair_leaves_what_topics_keep() {
    let place = Place::filled(2);
    let keep = ["--keep", "kept=9"];
    let broker = place.broker(&keep);
    let mut client = broker.connect();
    for number in 1..=3 {
        client.send(format!("PUBLISH kept {number}"));
        client.expect_prefix("PUBACK ");
    }
    assert_eq!(broker.stop().code, Some(0));
    for _ in 0..3 {
        // Each snapshot has another number.
        let broker = place.broker(&keep);
        fill(&broker, 1);
        assert_eq!(broker.stop().code, Some(0));
        fs::remove_file(place.data().join("format")).expect("it is there");
        place.run(&["repair"], 0);
    }
    let broker = place.broker(&keep);
    let mut client = broker.connect();
    client
        .send("@since=start;until=now SUBSCRIBE kept")
        .expect("SUBACK kept");
    for number in 1..=3 {
        let line = client.read_line();
        assert!(
            line.ends_with(&format!(";past MESSAGE kept {number}")),
            "{line}"
        );
    }
    client.expect_prefix("END kept ");
}

/// Of a store that a broker writes to, the copy has all that was acknowledged before, in order and without holes.
#[test]
fn a_backup_of_a_store_in_use_has_all_that_was_acknowledged() {
    const LAST: u64 = 3000;
    let place = Place::new();
    let broker = place.broker(&["--keep", "a=all"]);
    let acknowledged = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = broker.connect();
            // More than a segment of the log.
            let payload = "x".repeat(30_000);
            for number in 1..=LAST {
                publisher.send(format!("PUBLISH a {payload} {number}"));
                publisher.send(format!("@retain PUBLISH r/{} {number}", number % 10));
                publisher.read_until_prefix(&format!("PUBACK {} ", 2 * number));
                acknowledged.store(number, Ordering::Relaxed);
            }
        });
        for round in 1..4 {
            let begun = round * LAST / 4;
            eventually("more is published", || {
                acknowledged.load(Ordering::Relaxed) >= begun
            });
            let copy = place.0.path().join(format!("copy{round}"));
            let copy = copy.to_str().expect("a path of text");
            let least = acknowledged.load(Ordering::Relaxed);
            let (out, _) = place.run(&["backup", copy], 0);
            assert!(
                out.ends_with("retained messages: 10\nsessions: 0\nstate: sound\n"),
                "{out}"
            );
            check_copy(copy, least);
            let (code, out, err) = outcome(&mut TestBroker::bare(&["store", "check", copy]));
            assert_eq!(code, Some(0), "{out}{err}");
        }
    });
    // The other one goes on, and is untouched.
    assert_eq!(broker.stop().code, Some(0));
    place.run(&["check"], 0);
}

/// A broker on a copy has at least so many messages.
#[track_caller]
fn check_copy(copy: &str, least: u64) {
    let broker = TestBroker::with_args(&["--data", copy, "--keep", "a=all"]);
    let mut client = broker.connect();
    client
        .send("@since=start;until=now SUBSCRIBE a")
        .expect("SUBACK a");
    let number = |line: &str| {
        line.rsplit(' ')
            .next()
            .and_then(|it| it.parse::<u64>().ok())
    };
    let mut last = 0;
    loop {
        let line = client.read_line();
        if line.starts_with("END ") {
            break;
        }
        assert_eq!(number(&line), Some(last + 1));
        last += 1;
    }
    assert!(last >= least, "{last} of {least}");
    client.send("SUBSCRIBE r/+").expect("SUBACK r/+");
    for _ in 0..10 {
        let line = client.read_line();
        // Its message on the other topic was published before it.
        assert!(
            number(&line).is_some_and(|it| it <= last && it + 10 > least),
            "{line}"
        );
    }
    assert_eq!(broker.stop().code, Some(0));
}

#[test]
fn a_backup_goes_to_an_empty_folder_and_of_what_is_damaged_is_damaged() {
    let place = Place::filled(3);
    let copy = place.0.path().join("copy");
    let copy = copy.to_str().expect("a path of text");
    fs::create_dir(copy).expect("a folder");
    let before = place.files();
    let (out, _) = place.run(&["backup", copy], 0);
    assert!(out.contains("retained messages: 3\n"), "{out}");
    assert_eq!(place.files(), before);
    let (_, err) = place.run(&["backup", copy], 1);
    assert!(err.contains("is no empty folder; name a new one"), "{err}");
    let other = place.0.path().join("other");
    let other = other.to_str().expect("a path of text");
    let none = outcome(&mut TestBroker::bare(&["store", "backup", other, copy]));
    assert_eq!(none.0, Some(1));
    place
        .file(FIRST_SEGMENT)
        .write_all_at(b"x", 130)
        .expect("it is written");
    let (out, _) = place.run(&["backup", other], 4);
    assert!(
        out.contains("lost: 1 change in all") && out.contains("state: damaged"),
        "{out}"
    );
}

/// A store with messages on topics that keep them; its broker was killed.
fn with_past(rules: &[&str], lines: &[&str]) -> Place {
    let place = Place::new();
    let broker = place.broker(rules);
    let mut client = broker.connect();
    for line in lines {
        client.send(format!("PUBLISH {line}"));
        client.expect_prefix("PUBACK ");
    }
    killed(broker);
    place
}

/// `<topic> <payload>` of each line of an export.
fn values(lines: &str) -> Vec<String> {
    let lines = lines.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| line[key].as_str().expect("text").to_owned();
        format!("{} {}", text("topic"), text("payload"))
    });
    lines.collect()
}

#[test]
fn what_topics_keep_is_exported_from_a_position_or_a_time_on_and_can_be_played() {
    let rules = ["--keep", "chat/#=2", "--keep", "b=all"];
    let lines = ["chat/a 1", "chat/a 2", "none 3", "b 4", "chat/a 5"];
    let place = with_past(&rules, &lines);
    let export = |flags: &[&str]| place.run(&[&["export"], flags].concat(), 0).0;
    let all = export(&["--since", "start"]);
    let kept = ["chat/a 1", "chat/a 2", "b 4", "chat/a 5"];
    // Also what a limit has removed, unless the rules are known.
    assert_eq!(values(&all), kept);
    let ruled = export(&["--since", "start", "--keep", "chat/#=2 b=all"]);
    assert_eq!(values(&ruled), kept[1..]);
    let second: serde_json::Value =
        serde_json::from_str(all.lines().nth(1).expect("a line")).expect("JSON");
    let position = second["attributes"]["pos"].as_str().expect("a position");
    assert!(position.ends_with(".1:2"), "{second}");
    // While a broker has it, in another life of the store, and by filter.
    let broker = place.broker(&rules);
    let mut client = broker.connect();
    client.send("PUBLISH b 6").expect_prefix("PUBACK ");
    for (flags, expected) in [
        (vec!["--since", position], vec!["b 4", "chat/a 5", "b 6"]),
        (
            vec!["--since", position, "--filter", "b"],
            vec!["b 4", "b 6"],
        ),
        (vec!["--since", "1h", "--filter", "b"], vec!["b 4", "b 6"]),
        (vec!["--since", "2999-01-01T00:00:00Z"], vec![]),
        (vec!["--since", "now"], vec![]),
        (vec!["--since", "1h", "--keep", "b=1"], vec!["b 6"]),
        (vec!["--since", "1h", "--keep", "b=0s"], vec![]),
    ] {
        assert_eq!(values(&export(&flags)), expected, "{flags:?}");
    }
    let (lines, told) = place.run(&["export", "--since", "zzzz.1:1"], 0);
    assert_eq!(values(&lines).len(), 5);
    assert!(told.contains("not of this store"), "{told}");
    let (_, told) = place.run(&["export", "--since", "yesterday"], 2);
    assert!(told.contains("2026-11-29T13:00:00Z"), "{told}");
    let file = place.0.path().join("lines");
    fs::write(&file, &all).expect("room");
    let other = TestBroker::start();
    let mut subscriber = other.subscribe("#");
    let file = file.to_str().expect("a path of text");
    let (code, _, told) = outcome(&mut client_of(&other, "play", &[file]));
    assert_eq!(code, Some(0), "{told}");
    for value in kept {
        subscriber.expect(format!("MESSAGE {value}"));
    }
}

#[test]
fn check_says_beforehand_what_other_rules_would_leave() {
    let rules = ["--keep", "chat/#=4", "--keep", "b=all"];
    let lines = [
        "chat/a 1", "chat/a 2", "chat/a 3", "b 1", "chat/a 4", "chat/a 5", "b 2", "chat/b 1",
    ];
    let place = with_past(&rules, &lines);
    let tried = |flags: &[&str]| {
        let before = place.files();
        let (told, _) = place.run(&[&["check"], flags].concat(), 0);
        assert_eq!(place.files(), before);
        let told = told.lines().filter(|line| {
            line.starts_with("with these rules") || line.starts_with("would be lost")
        });
        told.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(tried(&[]), [""; 0]);
    let until_now = ["--instead-of", "chat/#=4 b=all"];
    assert_eq!(
        tried(&[&["--keep", "chat/#=3"], &until_now[..]].concat()),
        [
            "with these rules: 4 messages in 2 topics",
            "would be lost: 2 of 2 on b",
            "would be lost: 1 of 4 on chat/a",
            "would be lost: 3 messages in all",
        ]
    );
    assert_eq!(
        tried(&[&["--keep", "#=100,1h"], &until_now[..]].concat()),
        ["with these rules: 8 messages in 3 topics"]
    );
    // Without the rules until now, what the log has counts.
    assert_eq!(
        tried(&["--keep", "b=all", "--keep", "chat/#=2,total=56B"]),
        [
            "with these rules: 5 messages in 3 topics",
            "would be lost: 3 of 5 on chat/a",
        ]
    );
    // It is as it was said.
    let broker = place.broker(&["--keep", "chat/#=3"]);
    broker.wait_for_log("4 messages in 2 topics");
}
