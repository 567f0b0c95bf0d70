//! Promises of `security.md` about users files and the tools for them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tests::{Process, TestBroker, Tmux, eventually, outcome};

/// A secret that must be nowhere but in a hash.
const CANARY: &str = "canary-5d1f";

/// A folder with a place for a users file.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder }
    }

    fn with(text: &str) -> Self {
        let place = Self::new();
        fs::write(place.path(), text).expect("a file");
        place.set_mode(0o600);
        place
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("users")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).expect("a file in UTF-8")
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    fn mode(&self) -> u32 {
        fs::metadata(self.path()).expect("it is there").mode() & 0o7777
    }

    /// The names of all files in the folder.
    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.folder.path()).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.into_string().expect("text"))
            .collect()
    }

    /// The broker program with these words and this file.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = TestBroker::bare(words);
        command.arg("--users").arg(self.path());
        command
    }

    /// Runs it with this input; its exit code, output and errors.
    fn run(&self, words: &[&str], input: &str) -> (Option<i32>, String, String) {
        run(&mut self.command(words), input)
    }

    /// Runs it; it has to succeed.
    #[track_caller]
    fn done(&self, words: &[&str], input: &str) -> String {
        let (code, out, err) = self.run(words, input);
        assert_eq!(code, Some(0), "{out}{err}");
        out
    }

    /// Runs it; it has to fail and leave all as it is.
    #[track_caller]
    fn refused(&self, words: &[&str], input: &str) -> String {
        let text = |place: &Self| fs::read(place.path()).ok();
        let before = (self.names(), text(self));
        let (code, out, err) = self.run(words, input);
        assert_eq!(code, Some(1), "{out}{err}");
        assert_eq!((self.names(), text(self)), before, "{err}");
        err
    }
}

/// Its input is a file, because not every tool reads it.
fn run(command: &mut Command, input: &str) -> (Option<i32>, String, String) {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(input.as_bytes()).expect("room");
    file.rewind().expect("it is a file");
    outcome(command.stdin(file))
}

/// Does what a message says one should type.
fn type_in(message: &str) {
    let (_, typed) = message.split_once("type: ").expect("what to type");
    let status = Command::new("sh").args(["-c", typed.trim()]).status();
    assert!(status.expect("a shell").success(), "{typed}");
}

#[test]
fn users_are_added_changed_listed_and_removed() {
    let place = Place::new();
    let added = place.done(
        &["user", "add", "ann", "--groups", "family,admin"],
        "right\n",
    );
    assert_eq!(added, "ann is a user now\n");
    assert_eq!(place.mode(), 0o600);
    let text = place.text();
    assert!(
        text.starts_with("user ann groups=admin,family hash=$argon2id$v=19$m=19456,t=2,p=1$"),
        "{text}"
    );
    place.done(&["user", "add", "meter-7", "--no-password"], "");
    let refused = place.refused(&["user", "add", "ann"], "right\n");
    let passwd = format!("broker user passwd ann --users {}", place.path().display());
    assert!(refused.ends_with(&format!(" {passwd}\n")), "{refused}");

    place.done(&["user", "disable", "meter-7"], "");
    let listed = place.done(&["user", "list"], "");
    let expected = "NAME     GROUPS        PASSWORD  TOKENS  STATE\n\
                    ann      admin,family  yes       0       enabled\n\
                    meter-7  -             no        0       disabled\n";
    assert_eq!(listed, expected);
    place.done(&["user", "enable", "meter-7"], "");
    assert_eq!(place.text(), format!("{text}user meter-7\n"));

    place.done(&["user", "passwd", "ann"], "other\n");
    assert_ne!(place.text(), format!("{text}user meter-7\n"));
    assert_eq!(place.text().lines().count(), 2);
    place.done(&["user", "rm", "ann"], "");
    assert_eq!(place.text(), "user meter-7\n");
    for words in [
        ["user", "rm", "ann"],
        ["user", "passwd", "ann"],
        ["user", "disable", "ann"],
    ] {
        let refused = place.refused(&words, "x\n");
        assert!(refused.contains("there is no user ann in "), "{refused}");
    }
}

#[test]
fn a_token_is_shown_once_and_its_digest_is_stored() {
    let place = Place::with("user meter-7 # attic\n");
    let words = [
        "token",
        "add",
        "meter-7",
        "--expires",
        "90d",
        "--note",
        "the \"attic\"",
    ];
    let (code, out, err) = place.run(&words, "");
    assert_eq!(code, Some(0), "{err}");
    let token = out.strip_suffix('\n').expect("a line");
    let (id, letters) = token
        .strip_prefix("dlt_")
        .and_then(|rest| rest.split_once('_'))
        .expect("the form");
    assert_eq!((id.len(), letters.len()), (4, 43));
    assert!(err.contains(id) && !err.contains(letters), "{err}");
    let text = place.text();
    assert!(
        text.starts_with(&format!(
            "user meter-7 # attic\ntoken {id} owner=meter-7 sha256="
        )),
        "{text}"
    );
    assert!(
        text.ends_with(" note=\"the \\\"attic\\\"\"\n") && !text.contains(letters),
        "{text}"
    );

    let listed = place.done(&["token", "list"], "");
    let row = listed.lines().nth(1).expect("a row");
    assert!(
        row.starts_with(&format!("{id}  meter-7  2")) && row.ends_with("Z  the \"attic\""),
        "{listed}"
    );
    let refused = place.refused(&["token", "add", "bob"], "");
    assert!(
        refused.contains("broker user add bob --no-password"),
        "{refused}"
    );

    place.done(&["token", "add", "meter-7"], "");
    place.done(&["token", "rm", id], "");
    assert!(
        place
            .refused(&["token", "rm", id], "")
            .contains("broker token list")
    );
    let removed = place.done(&["user", "rm", "meter-7"], "");
    assert_eq!(
        (removed.as_str(), place.text().as_str()),
        ("meter-7 is removed, and one token\n", "")
    );
}

#[test]
fn comments_and_order_stay_and_a_change_is_in_one_line() {
    let before = "\u{feff}# family\r\n\r\nuser  ann   groups=family # she\r\nuser bob\r\n# devices\r\nuser meter-7";
    let place = Place::with(before);
    place.done(&["user", "disable", "ann"], "");
    place.done(&["user", "add", "carl", "--no-password"], "");
    let expected = before.replace("family # she", "family disabled # she") + "\r\nuser carl\r\n";
    assert_eq!(place.text(), expected);
    place.done(&["user", "rm", "bob"], "");
    assert_eq!(place.text(), expected.replace("user bob\r\n", ""));
}

#[test]
fn all_mistakes_of_a_users_file_are_told_at_once_with_their_places() {
    let place = Place::with("usr ann\nuser bob\nuser bob\ntoken a owner=eve sha256=1\n");
    let told = place.refused(&["user", "list"], "");
    let path = place.path();
    let expected = [
        "1:1: there is no line \"usr\"; `user` is one",
        "3:6: bob is a user already; leave one of the lines",
        "4:15: there is no user eve; add a line `user eve`, or remove the token",
        "4:26: sha256 is 64 hexadecimal digits; `broker token add` writes them",
    ];
    let expected = expected.map(|text| format!("{}:{text}\n", path.display()));
    assert_eq!(told, expected.concat());
    assert_eq!(place.refused(&["user", "add", "carl"], "x\n"), told);
}

#[test]
fn a_file_that_others_may_read_is_refused_until_what_is_told_is_typed() {
    for (mode, right) in [
        (0o644, 0o640),
        (0o660, 0o640),
        (0o602, 0o600),
        (0o666, 0o640),
    ] {
        let place = Place::with("user ann\n");
        place.set_mode(mode);
        let told = place.refused(&["user", "list"], "");
        assert_eq!(place.refused(&["user", "rm", "ann"], ""), told);
        type_in(&told);
        assert_eq!(place.mode(), right, "{told}");
        place.done(&["user", "list"], "");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = TestBroker::bare(&["user", "list", "--users"]);
    let (code, _, err) = run(command.arg(folder.path()), "");
    assert!(code == Some(1) && err.contains("is no file"), "{err}");
}

#[test]
fn owner_group_mode_and_a_symbolic_link_stay() {
    let place = Place::with("user ann\n");
    place.set_mode(0o640);
    // Only root may give a file away.
    let is_root = chown(place.path(), Some(12), Some(13)).is_ok();
    let real = place.folder.path().join("real");
    fs::rename(place.path(), &real).expect("it can be moved");
    symlink("real", place.path()).expect("a link");
    place.done(&["user", "add", "bob", "--no-password"], "");
    assert!(
        fs::symlink_metadata(place.path())
            .expect("it is there")
            .is_symlink()
    );
    let metadata = fs::metadata(&real).expect("it is there");
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    if is_root {
        assert_eq!((metadata.uid(), metadata.gid()), (12, 13));
    }
    assert_eq!(place.text(), "user ann\nuser bob\n");
    assert_eq!(
        place.names(),
        BTreeSet::from(["real".to_owned(), "users".to_owned()])
    );
}

#[test]
fn a_symbolic_link_to_nothing_is_told_as_such() {
    let place = Place::new();
    symlink("nowhere", place.path()).expect("a link");
    let refused = place.refused(&["user", "add", "ann", "--no-password"], "");
    assert!(
        refused.contains("it is a symbolic link to a file that is not there"),
        "{refused}"
    );
}

#[test]
fn tools_at_the_same_time_lose_no_change_of_each_other() {
    let place = Place::new();
    let names: BTreeSet<String> = (0..24).map(|number| format!("user-{number}")).collect();
    let start =
        |name: &String| Process::start(&mut place.command(&["user", "add", name, "--no-password"]));
    let mut tools: Vec<Process> = names.iter().map(start).collect();
    for tool in &mut tools {
        let (status, _, err) = tool.end();
        assert!(status.success(), "{err}");
    }
    let text = place.text();
    let there = text
        .lines()
        .map(|line| line.trim_start_matches("user ").to_owned());
    assert_eq!(there.collect::<BTreeSet<_>>(), names);
    assert_eq!(place.names(), BTreeSet::from(["users".to_owned()]));
}

/// The limit of a file's size stands for a full disk.
#[test]
fn a_full_disk_leaves_the_file_that_was_there() {
    let limited = |place: &Place, words: &[&str]| {
        let command = place.command(words);
        let mut limited = Command::new("bash");
        limited.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "bash"]);
        limited.arg(command.get_program()).args(command.get_args());
        run(&mut limited, "right\n")
    };
    let text = format!("user ann\n# {}\n", "x".repeat(1500));
    let place = Place::with(&text);
    for words in [
        &["user", "add", "bob"][..],
        &["user", "disable", "ann"],
        &["token", "add", "ann"],
    ] {
        let (code, out, err) = limited(&place, words);
        assert_eq!(code, Some(1), "{err}");
        assert!(
            err.contains("cannot be written: ") && out.is_empty(),
            "{out}{err}"
        );
        assert_eq!(place.text(), text);
        assert_eq!(place.names(), BTreeSet::from(["users".to_owned()]));
    }
    let place = Place::new();
    let groups: Vec<String> = (0..200).map(|number| format!("group-{number}")).collect();
    let (code, _, err) = limited(
        &place,
        &["user", "add", "ann", "--groups", &groups.join(",")],
    );
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(place.names(), BTreeSet::new());
}

#[test]
fn a_password_is_asked_for_twice_at_a_terminal_and_never_shown() {
    let place = Place::new();
    let tmux = Tmux::start();
    let ask = |name: &str, user: &str| {
        let command = place.command(&["user", "add", user]);
        let mut shell = Command::new("bash");
        shell.args([
            "--norc",
            "-c",
            "\"$@\"; echo \"exit $?\"; stty -a | grep -ow -- -echo; cat",
            "bash",
        ]);
        shell.arg(command.get_program()).args(command.get_args());
        tmux.open(name, (100, 20), &shell);
        tmux.wait_for(name, &format!("Password for {user}:"));
    };
    ask("same", "ann");
    tmux.write("same", CANARY).press("same", "Enter");
    tmux.wait_for("same", "Again:");
    tmux.write("same", CANARY).press("same", "Enter");
    let screen = tmux.wait_for("same", "exit 0");
    assert!(
        screen.iter().any(|row| row == "ann is a user now"),
        "{screen:?}"
    );
    // The shell below has its echo again.
    assert!(
        !screen.concat().contains(CANARY) && !screen.contains(&"-echo".to_owned()),
        "{screen:?}"
    );

    ask("different", "bob");
    tmux.write("different", CANARY).press("different", "Enter");
    tmux.wait_for("different", "Again:");
    tmux.write("different", "other").press("different", "Enter");
    let screen = tmux.wait_for("different", "exit 1");
    let told = "the two passwords differ; nothing has changed";
    assert!(screen.iter().any(|row| row == told), "{screen:?}");
    assert!(!place.text().contains("bob"));

    ask("interrupted", "carl");
    tmux.write("interrupted", CANARY)
        .press("interrupted", "C-c");
    eventually("an interrupt ends it", || {
        !tmux.is_open("interrupted")
            || tmux
                .screen("interrupted")
                .iter()
                .any(|row| row.starts_with("exit "))
    });
    assert!(!place.text().contains("carl"));
}

#[test]
fn a_secret_is_in_no_argument_no_output_and_no_file() {
    let place = Place::new();
    let secret = place.folder.path().join("secret");
    fs::write(&secret, format!("{CANARY}\r\nmore\n")).expect("a file");
    let secret = secret.to_str().expect("text");
    let line = format!("{CANARY}\n");
    // This one waits for its input.
    let mut adding = Process::start(&mut place.command(&["user", "add", "ann"]));
    let arguments = fs::read(format!("/proc/{}/cmdline", adding.pid())).expect("it runs");
    adding.write(&line);
    let (_, out, err) = adding.end();
    let mut shown =
        String::from_utf8_lossy(&[&arguments[..], &out, err.as_bytes()].concat()).into_owned();
    let mut keep = |place: &Place, words: &[&str], input: &str| {
        let (_, out, err) = place.run(words, input);
        shown.push_str(&(out + &err));
    };
    keep(&place, &["user", "add", "ann"], &line);
    keep(&place, &["user", "passwd", "ann"], &line);
    keep(&place, &["user", "passwd", "bob"], &line);
    keep(&place, &["user", "add", "bob", "--secret-file", secret], "");
    keep(&place, &["user", "list"], &line);
    let text = place.text();
    assert_eq!(text.lines().count(), 2, "{text}");
    // A password in the wrong place.
    fs::write(
        place.path(),
        format!("{text}user carl {CANARY}\nuser dora hash={CANARY}\n{CANARY}\n"),
    )
    .expect("a file");
    keep(&place, &["user", "list"], "");
    assert!(
        shown.contains(":3:11: a word is one of") && shown.contains("bob is a user now"),
        "{shown}"
    );
    assert!(
        !shown.contains(CANARY) && !text.contains(CANARY),
        "{shown}{text}"
    );
}

#[test]
fn wrong_usage_is_told_with_what_would_be_right() {
    for (words, told) in [
        (&["usr", "add", "ann"][..], "'user'"),
        (&["user", "ad", "ann"], "'add'"),
        (&["user", "add"], "<NAME>"),
        (&["user", "add", "a/b"], "not '/'"),
        (&["user", "add", "anonymous"], "others than one user"),
        (&["user", "add", "ann", "--password", "x"], "--password"),
        (
            &["user", "add", "ann", "--no-password", "--secret-file", "x"],
            "cannot be used with",
        ),
        (&["token", "add", "ann", "--expires", "never"], "--expires"),
        (&["--port", "0", "user", "list"], "user"),
    ] {
        let (code, _, err) = run(&mut TestBroker::bare(words), "");
        assert_eq!(code, Some(2), "{words:?} {err}");
        assert!(err.contains(told), "{words:?} {err}");
    }
    let place = Place::with("user ann\n");
    assert!(
        place
            .refused(&["user", "passwd", "ann"], "\n")
            .contains("a secret is not empty")
    );
    assert!(
        place
            .refused(&["token", "add", "ann", "--expires", "100000000y"], "")
            .contains("too far away")
    );
}

#[test]
fn the_file_is_named_by_a_variable_and_a_wrong_one_for_the_broker_does_not_matter() {
    let place = Place::with("user ann\n");
    let mut command = TestBroker::bare(&["user", "list"]);
    command
        .env("BROKER_USERS", place.path())
        .env("BROKER_PORT", "none");
    let (code, out, err) = run(&mut command, "");
    assert!(code == Some(0) && out.contains("\nann "), "{err}");
    let nowhere = place.folder.path().join("nowhere");
    let (code, _, err) = run(
        TestBroker::bare(&["user", "list", "--users"]).arg(&nowhere),
        "",
    );
    assert!(
        code == Some(1) && err.contains("nowhere cannot be read: "),
        "{err}"
    );
    if !Path::new("/etc/dallal/users").exists() {
        let (code, _, err) = run(&mut TestBroker::bare(&["user", "list"]), "");
        assert!(
            code == Some(1) && err.contains("name a users file with --users FILE"),
            "{err}"
        );
    }
}
