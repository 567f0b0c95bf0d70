//! `docs/client.md` and `docs/chat.md` show nothing that does not happen: their sessions are played.

use std::fs;
use std::net::UdpSocket;

use tests::{Session, client};

/// The documents with sessions, and how many each has at least.
const DOCUMENTS: [(&str, usize); 2] = [("client.md", 5), ("chat.md", 1)];

fn read(name: &str) -> String {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).unwrap_or_else(|err| panic!("docs/{name} cannot be read: {err}"))
}

fn document() -> String {
    read("client.md")
}

/// A document with a port in place of the one of textbooks, which may be taken here.
fn with_a_free_port(document: &str) -> String {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
    let port = socket.local_addr().expect("it is bound").port();
    document.replace("12345", &port.to_string())
}

#[test]
#[allow(
    clippy::print_stderr,
    reason = "a failure inside a session has to say which one it is"
)]
fn every_session_of_the_documents_happens() {
    for (name, least) in DOCUMENTS {
        let sessions = Session::all_in(&with_a_free_port(&read(name)));
        assert!(sessions.len() >= least, "only {} sessions", sessions.len());
        for session in sessions {
            eprintln!("docs/{name}:{}", session.line);
            let folder = tempfile::tempdir().expect("a folder");
            session.play(folder.path());
        }
    }
}

#[test]
fn the_configuration_file_of_the_document_is_understood() {
    let document = document();
    let (_, rest) = document.split_once("```toml\n").expect("a file");
    let (file, _) = rest.split_once("```").expect("its end");
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("dallal")).expect("an empty folder");
    fs::write(folder.path().join("dallal/client.toml"), file).expect("room");
    let mut config = client(&["config"]);
    let out = config.env("XDG_CONFIG_HOME", folder.path()).output();
    let out = out.expect("the client starts");
    let out = String::from_utf8(out.stdout).expect("text");
    assert!(
        out.contains("\n  home   localhost   (default)\n  work   tls://"),
        "{out}"
    );
    // The program shows this file as an example.
    let example: Vec<&str> = file.lines().collect();
    let (_, shown) = out
        .split_once("An example of such a file:\n\n")
        .expect("an example");
    let shown: Vec<&str> = shown.lines().map(str::trim_start).collect();
    assert_eq!(shown, example);
}

#[test]
fn every_command_is_in_the_document() {
    let document = document();
    let help = client(&["--help"])
        .output()
        .expect("the client starts")
        .stdout;
    let help = String::from_utf8(help).expect("text");
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    for line in list.lines().take_while(|line| !line.is_empty()) {
        let name = line
            .strip_prefix("  ")
            .and_then(|line| line.split(' ').next());
        let name = name.expect("a name");
        assert!(document.contains(&format!("`{name}`")), "{name} is missing");
    }
}
