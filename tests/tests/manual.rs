//! What the programs say about themselves: pages of the manual, and completions for shells.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use tests::{Process, TestBroker, client};

/// Runs a program that has to succeed; what it printed.
#[track_caller]
fn printed(command: &mut Command) -> String {
    let (status, out, err) = Process::start(command).end();
    assert!(status.success(), "{err}");
    String::from_utf8(out).expect("text")
}

/// The commands that `client --help` lists.
fn commands() -> BTreeSet<String> {
    let help = printed(&mut client(&["--help"]));
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    let lines = list.lines().take_while(|line| !line.is_empty());
    // A description that needs a second line is indented further.
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_has_its_page_in_the_manual() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man1");
    let path = pages.to_str().expect("a path in UTF-8");
    assert_eq!(printed(&mut client(&["man", path])), "");
    let commands = commands();
    assert!(commands.contains("publish"), "{commands:?}");
    let mut expected: BTreeSet<String> = commands
        .iter()
        .map(|name| format!("client-{name}.1"))
        .collect();
    // Those that a command has inside it have theirs.
    let inner = [
        "client.1",
        "client-retained-ls.1",
        "client-retained-rm.1",
        "client-sessions-rm.1",
    ];
    expected.extend(inner.map(str::to_owned));
    let written = fs::read_dir(&pages).expect("the folder was made");
    let written: BTreeSet<String> = written
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    assert_eq!(written, expected);
    for name in &written {
        let page = fs::read_to_string(pages.join(name)).expect("a page");
        for part in [
            ".TH client",
            ".SH NAME",
            ".SH EXAMPLES\n.nf\n",
            ".SH \"EXIT CODES\"\n.nf\n",
        ] {
            assert!(page.contains(part), "{name} has no {part}:\n{page}");
        }
    }
    let first = printed(&mut client(&["man"]));
    assert_eq!(
        first,
        fs::read_to_string(pages.join("client.1")).expect("a page")
    );
}

#[test]
fn the_broker_prints_its_page() {
    // What is set for brokers elsewhere makes no difference.
    let page = printed(TestBroker::command(&["--man"]).env("BROKER_PORT", "1"));
    for part in [
        ".TH broker",
        "\\-\\-max\\-line",
        ".SH EXAMPLES\n.nf\n",
        ".SS \"broker user add\"\n",
        ".SS \"broker token list\"\n",
        ".SS \"broker store check\"\n",
        "\\-\\-secret\\-file <FILE>",
        "BROKER_USERS",
    ] {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
}

#[test]
fn a_manual_that_cannot_be_written_is_a_failure() {
    let (status, _, err) = Process::start(&mut client(&["man", "/dev/null/man1"])).end();
    assert_eq!(status.code(), Some(1), "{err}");
    assert!(
        err.contains("cannot write the manual to /dev/null/man1"),
        "{err}"
    );
}

#[test]
fn each_shell_gets_completions_for_all_commands() {
    let commands = commands();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = printed(&mut client(&["completions", shell]));
        for command in &commands {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
    let (status, _, err) = Process::start(&mut client(&["completions", "dos"])).end();
    assert_eq!(status.code(), Some(2), "{err}");
}

#[test]
fn bash_completes_a_command() {
    let script = printed(&mut client(&["completions", "bash"]));
    let ask = "COMP_WORDS=(client subs); COMP_CWORD=1; _client client subs client; echo $COMPREPLY";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &format!("{script}\n{ask}")]);
    assert_eq!(printed(&mut bash), "subscribe\n");
}
