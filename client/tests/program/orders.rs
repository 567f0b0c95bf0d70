//! The commands with which an operator gives orders to the broker.

use std::fs;

use crate::run::{Ended, Run, command, end};
use crate::scripted::ScriptedBroker;

/// Runs a command to its end against a broker at a path, which expects this order and says this.
fn ask(arguments: &str, order: &str, said: &[&str]) -> Ended {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let broker = ScriptedBroker::at_path(&path);
    let mut command = command(arguments);
    command.args(["-s", &format!("unix:{}", path.display())]);
    let run = Run::spawn(&mut command);
    let mut peer = broker.accept();
    let line = String::from_utf8(peer.line()).expect("text");
    let topic = line.strip_prefix("SUBSCRIBE ").expect("a SUBSCRIBE");
    peer.say(&format!("SUBACK {topic}"));
    peer.expect(&format!("@reply={topic};id=1 PUBLISH $SYS/request/{order}"));
    for line in said {
        if line.starts_with('{') {
            let escaped = line.replace('\\', r"\\");
            peer.say(&format!("@id=1 MESSAGE {topic} {escaped}"));
        } else {
            peer.say(line);
        }
    }
    run.end()
}

const RELOAD: &str = concat!(
    r#"{"applied":true,"changes":[{"key":"max-line","from":"1.0 MiB","to":"64.0 KiB","#,
    r#""concerns":"12 connections, from their next batch"},{"key":"listen","from":"","to":"0.0.0.0:1883","#,
    r#""concerns":""}],"errors":[]}"#
);

#[test]
fn a_reload_shows_each_change_on_a_line() {
    let ended = ask("reload", "reload", &[RELOAD, "PUBACK 1 1"]);
    ended.expect(0, "client: 2 changes in force\n");
    ended.expect_out(
        "max-line: 1.0 MiB -> 64.0 KiB (12 connections, from their next batch)\n\
         listen:  -> 0.0.0.0:1883\n",
    );
}

#[test]
fn a_reload_with_errors_tells_each_on_a_line_and_fails() {
    let refused = r#"{"applied":false,"changes":[],"errors":["a.toml:3:1: no\u001b[2J","a.toml:4:9: no\nx"]}"#;
    let ended = ask("reload", "reload", &[refused, "PUBACK 1 1"]);
    ended.expect(
        1,
        "a.toml:3:1: no\u{fffd}[2J\na.toml:4:9: no\u{fffd}x\n\
         client: nothing was changed, because of 2 errors; correct the configuration\n",
    );
    ended.expect_out("");
    let ended = ask(
        "reload --dry --json",
        "reload dry",
        &[refused, "PUBACK 1 1"],
    );
    ended.expect(1, "a.toml:3:1: no\u{fffd}[2J\n");
    ended.expect_out(&format!("{refused}\n"));
}

#[test]
fn the_other_orders_tell_in_a_sentence_or_as_json_what_was_done() {
    let kicked = r##"{"kicked":[{"id":17,"name":"a\u009bnn","peer":"10.0.0.7:5123"}]}"##;
    for (arguments, order, answer, sentence) in [
        (
            "drain 30",
            "drain 30s",
            r#"{"connections":12,"seconds":30}"#,
            "draining: 12 connections may take 30s to leave, then the broker ends\n",
        ),
        (
            "drain",
            "drain",
            r#"{"connections":1,"seconds":5}"#,
            "draining: 1 connection may take 5s to leave, then the broker ends\n",
        ),
        (
            "restart",
            "restart",
            r#"{"pid":4711}"#,
            "process 4711 serves now\n",
        ),
        (
            "kick #17",
            "kick #17",
            kicked,
            "closed #17 a\u{fffd}nn (10.0.0.7:5123)\n",
        ),
        (
            "sessions rm meter-7",
            "end-session meter-7",
            r#"{"ended":"meter-7","queued":12}"#,
            "ended the session meter-7; dropped 12 messages\n",
        ),
    ] {
        let ended = ask(arguments, order, &[answer, "PUBACK 1 1"]);
        ended.expect(0, "");
        ended.expect_out(sentence);
        let ended = ask(
            &format!("{arguments} --json"),
            order,
            &[answer, "PUBACK 1 1"],
        );
        ended.expect(0, "");
        ended.expect_out(&format!("{answer}\n"));
    }
}

#[test]
fn an_order_that_is_refused_is_told_in_the_words_of_the_broker() {
    let denied = ["ERROR denied publish:1 take the socket", "PUBACK 1 0"];
    let ended = ask("restart", "restart", &denied);
    ended.expect(4, "client: take the socket (denied publish:1)\n");
    let unknown = ["ERROR bad-request publish:1 no\u{9b}client", "PUBACK 1 0"];
    let ended = ask("kick ann", "kick ann", &unknown);
    ended.expect(1, "client: no?client (bad-request publish:1)\n");
}

#[test]
fn orders_without_a_server_go_to_the_socket_of_the_service() {
    for (arguments, server) in [
        ("reload --dry", "unix:/run/dallal/broker.sock"),
        ("reload --dry -p 9", "127.0.0.1:9"),
        ("reload --dry --host 127.0.0.2 -p 9", "127.0.0.2:9"),
    ] {
        end(arguments).expect(3, &format!("client: no broker at {server} ("));
    }
    let mut named = command("reload --dry");
    named.env("BROKER_URL", "127.0.0.1:9");
    Run::spawn(&mut named)
        .end()
        .expect(3, "no broker at 127.0.0.1:9 (");
    // Who the user is for other brokers does not count at this socket, where the system says it.
    let mut of_user = command("reload --dry");
    of_user.env("BROKER_USER", "ann").env("BROKER_CA", "/none");
    let told = "no broker at unix:/run/dallal/broker.sock (";
    Run::spawn(&mut of_user).end().expect(3, told);
    // The file of the client names a server, too.
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("dallal")).expect("room");
    let file = folder.path().join("dallal/client.toml");
    fs::write(file, "default = \"a\"\n[servers.a]\nurl = \"unix:/none\"\n").expect("room");
    let mut configured = command("reload --dry");
    configured.env("XDG_CONFIG_HOME", folder.path());
    Run::spawn(&mut configured)
        .end()
        .expect(3, "no broker at unix:/none (");
}

#[test]
fn an_order_is_waited_for_longer_than_a_new_process_needs() {
    for order in ["restart", "reload", "sessions rm"] {
        let help = end(&format!("{order} --help")).out;
        let help = String::from_utf8(help).expect("text");
        assert!(help.contains("[default: 70s]"), "{help}");
    }
}

#[test]
fn an_order_needs_its_words() {
    for arguments in [
        "kick",
        "sessions rm",
        "drain soon",
        "kick ",
        "kick a -s mqtt://b",
    ] {
        end(arguments).expect(2, "");
    }
}
