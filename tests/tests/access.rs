//! Promises of `access.md`: the files beside it are right and mean what they say, and the tools that check and ask.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tests::source::workspace;
use tests::{TestBroker, outcome};

fn example(name: &str) -> PathBuf {
    workspace()
        .join("docs/access")
        .join(format!("{name}.access"))
}

/// Runs a tool; its exit code, output and errors.
fn run(words: &[&str], files: &[(&str, &Path)]) -> (Option<i32>, String, String) {
    let mut command = TestBroker::bare(&["access"]);
    command.args(words);
    for (flag, path) in files {
        command.arg(flag).arg(path);
    }
    outcome(&mut command)
}

/// A users file in a folder of its own.
fn users(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("users");
    fs::write(&path, text).expect("room");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    (folder, path)
}

const USERS: &str = "\
user ann\nuser bob\nuser carl\nuser mia\nuser eve groups=muted\nuser guest\nuser tablet\nuser meter-1\nuser door\n\
user olga groups=operators\nuser ana groups=analysts\nuser planner\nuser shop\nuser press-1.plant.example\nuser root groups=admin\n";

/// What is expected, and the question: a file, who, a right, and a topic or a name where the right has one.
const QUESTIONS: &str = "\
yes      household    ann publish home/kitchen/light/set
yes      household    ann subscribe home/#
no       household    ann subscribe #
yes      household    bob inquire:why
no       household    bob inquire:who
yes      household    meter-1 retain home/meter-1/temperature
yes      household    meter-1 will home/meter-1/online
no       household    meter-1 publish home/door/lock
yes      household    meter-1 client meter-1-attic
no       household    meter-1 client door
yes      household    door publish home/door/lock/state
yes      household    guest publish home/light/hall/set
yes      household    guest subscribe home/light/#
no       household    guest subscribe home/meter-1/temperature
in-part  household    tablet subscribe #
no       household    tablet subscribe home/door/lock/#
no       household    ann nick bob
no       household    anonymous subscribe home/light/#
yes      household    root admin
no       household    ann admin
yes      company      press-1.plant.example publish plant/press-1.plant.example/measure/force
no       company      press-1.plant.example publish plant/press-2.plant.example/measure/force
yes      company      press-1.plant.example subscribe plant/press-1.plant.example/command/#
yes      company      olga publish plant/press-1.plant.example/command/stop
yes      company      planner publish plant/press-1.plant.example/command/order
no       company      planner publish plant/press-1.plant.example/command/stop
yes      company      planner share:planners orders/#
no       company      planner subscribe orders/#
yes      company      shop publish orders/new
in-part  company      ana subscribe plant/#
in-part  company      ana history plant/+/measure/#
no       company      ana subscribe plant/press-1.plant.example/measure/staff/#
yes      company      olga inquire:who
yes      public-chat  anonymous subscribe lobby
no       public-chat  anonymous publish lobby
yes      public-chat  carl publish lobby
no       public-chat  carl subscribe board
yes      public-chat  ann subscribe board
no       public-chat  carl subscribe $private/ann/lobby
yes      public-chat  ann subscribe $private/ann/lobby
yes      public-chat  carl retain lobby/$who/carl
no       public-chat  carl retain lobby/$who/ann
no       public-chat  eve publish $private/ann/lobby
yes      public-chat  mia retain announcements
";

fn questions() -> impl Iterator<Item = Vec<&'static str>> {
    QUESTIONS
        .lines()
        .map(|line| line.split_whitespace().collect())
}

#[test]
fn the_files_of_the_document_are_right() {
    let folder = fs::read_dir(workspace().join("docs/access")).expect("a folder");
    let (_folder, users) = users(USERS);
    let mut count = 0;
    for entry in folder {
        let path = entry.expect("an entry").path();
        let (code, out, err) = run(&["check"], &[("--users", &users), ("--", &path)]);
        assert_eq!((code, &*err), (Some(0), ""), "{out}");
        let asked = questions().any(|question| example(question[1]) == path);
        assert!(asked, "{} is asked nothing", path.display());
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn the_files_of_the_document_mean_what_they_say() {
    let (_folder, users) = users(USERS);
    for question in questions() {
        let [expected, file, asked @ ..] = &question[..] else {
            panic!("{question:?}");
        };
        let words = [&["may"], asked].concat();
        let path = example(file);
        let (code, out, err) = run(&words, &[("--access", &path), ("--users", &users)]);
        let is_partly = out.contains(", but for what is denied") || out.contains(", narrowed to");
        let told = match (code, is_partly) {
            (Some(0), false) => "yes",
            (Some(0), true) => "in-part",
            (Some(1), _) => "no",
            _ => "nothing",
        };
        assert_eq!(told, *expected, "{file} {words:?}: {out}{err}");
        let names_rule =
            out.contains(&format!("{file}.access:")) || out.starts_with("no rule allows it");
        assert!(names_rule, "{out}");
    }
}

#[test]
fn the_rules_without_a_file_are_in_the_document() {
    let document = fs::read_to_string(workspace().join("docs/access.md")).expect("a document");
    for (name, text) in broker::auth::access::AccessTable::built_in_texts() {
        assert!(document.contains(text), "{name}");
    }
}

#[test]
fn mistakes_and_questions_without_an_answer_have_codes_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("home.access");
    fs::write(
        &path,
        "allow @famly publish home/#\nallw ann\nallow ann publish a#\n",
    )
    .expect("room");
    let (code, out, err) = run(&["check"], &[("--", &path)]);
    let place = path.display();
    let told = format!(
        "{place}:2:1: there is no line \"allw\"; `allow` is one\n\
         {place}:3:19: + and # must stand alone in their level, as in a/+/b or a/#\n"
    );
    assert_eq!((code, &*out, &*err), (Some(1), "", &*told));
    assert_eq!(
        run(&["may", "ann", "publish", "a"], &[("--access", &path)]).0,
        Some(2)
    );
    fs::write(&path, "allow @famly publish home/#\n").expect("room");
    let warned = format!("warning: {place}:1:7: no file here says who is in the group famly\n");
    let ok = format!("{place}: it is right; rules: 1\n");
    assert_eq!(run(&["check"], &[("--", &path)]), (Some(0), ok, warned));
    let (_folder, users) = users("user ann groups=family\n");
    let (code, _, err) = run(&["check"], &[("--users", &users), ("--", &path)]);
    assert!(code == Some(1) && err.contains("`family` is one"), "{err}");
    for words in [
        &["may", "ann", "pubish", "a"][..],
        &["may", "ann", "publish", "a/#"],
        &["may", "ann", "publish"],
        &["may", "a/b", "publish", "a"],
        &["may", "carl", "publish", "a"],
    ] {
        let (code, out, err) = run(words, &[("--users", &users)]);
        assert!(
            code == Some(2) && out.is_empty() && !err.is_empty(),
            "{words:?}: {code:?} {out}{err}"
        );
    }
    for (words, code, text) in [
        (
            &["may", "ann", "publish", "a"][..],
            0,
            "allowed by users:1: allow known all\n",
        ),
        (
            &["may", "anonymous", "publish", "a"],
            1,
            "no rule allows it; nearest: users:1: allow known all\n",
        ),
        (
            &["may", "unix:root", "admin"],
            0,
            "allowed by users:3: allow @admin admin\n",
        ),
    ] {
        let told = run(words, &[("--users", &users)]);
        assert_eq!(
            told,
            (Some(code), text.to_owned(), String::new()),
            "{words:?}"
        );
    }
    let (code, out, _) = run(&["may", "anonymous", "publish", "a"], &[]);
    assert_eq!(
        (code, &*out),
        (Some(0), "allowed by open:1: allow everyone all\n")
    );
}

#[test]
fn a_tool_lists_the_limits_of_a_client_with_their_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("home.access");
    let text = "limit  everyone  connections 20   # all\n\
                limit @family -bob connections 5 line 64KiB\n\
                limit address attempts 10/min\n\
                allow everyone all\n";
    fs::write(&path, text).expect("room");
    let (_folder, users) = users("user ann groups=family\nuser bob groups=family\n");
    let of_address = "address: attempts 10/min by home.access:3: limit address attempts 10/min\n";
    let family = "limit @family -bob connections 5 line 64KiB";
    let of_ann = format!(
        "connections 5 by home.access:2: {family}\nline 64KiB by home.access:2: {family}\n"
    );
    let of_bob = "connections 20 by home.access:1: limit everyone connections 20\n".to_owned();
    for (who, limits) in [("ann", &of_ann), ("bob", &of_bob), ("anonymous", &of_bob)] {
        let (code, out, err) = run(
            &["limits", who],
            &[("--access", &path), ("--users", &users)],
        );
        assert_eq!(
            (code, out, &*err),
            (Some(0), format!("{limits}{of_address}"), ""),
            "{who}"
        );
    }
    let (code, out, err) = run(&["check"], &[("--users", &users), ("--", &path)]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.ends_with("it is right; rules: 1; lines with limits: 3\n"),
        "{out}"
    );
    fs::write(&path, "limit ann bytes 5\nallow ann all\n").expect("room");
    let (code, out, err) = run(
        &["limits", "ann"],
        &[("--access", &path), ("--users", &users)],
    );
    let place = path.display();
    let told = format!("{place}:1:17: this is no value of bytes; one is as in bytes 1MiB/s\n");
    assert_eq!((code, &*out, err), (Some(1), "", told));
    fs::write(&path, "allow ann all\n").expect("room");
    let (_, out, _) = run(
        &["limits", "ann"],
        &[("--access", &path), ("--users", &users)],
    );
    assert_eq!(out, "no line limits ann\n");
}
