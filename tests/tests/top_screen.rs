//! `client top` on a whole screen, in real terminals of several sizes, and as one plain picture.

use std::process::Command;

use rustix::process::Signal;
use tests::{Process, TestBroker, TestClient, Tmux, client_of, eventually, program};

const USUAL: (u16, u16) = (80, 24);
const NARROW: (u16, u16) = (40, 12);
const WIDE: (u16, u16) = (200, 20);

fn top(broker: &TestBroker) -> Command {
    let server = broker.address().to_string();
    let mut top = Command::new(program("client"));
    top.args(["top", "--interval", "100ms", "--server", &server]);
    top
}

/// Waits until the screen is so; the screen.
#[track_caller]
fn wait_until(
    tmux: &Tmux,
    name: &str,
    what: &str,
    is_so: impl Fn(&[String]) -> bool,
) -> Vec<String> {
    let mut screen = Vec::new();
    eventually(what, || {
        screen = tmux.screen(name);
        is_so(&screen)
    });
    screen
}

/// Whether a row has these words in it, one behind the other.
fn has(screen: &[String], words: &str) -> bool {
    let row = |row: &String| row.split_whitespace().collect::<Vec<_>>().join(" ");
    screen.iter().map(row).any(|row| row.contains(words))
}

/// Two with names, one of whom publishes to the other.
fn lamp_and_switch(broker: &TestBroker) -> (TestClient, TestClient) {
    let mut lamp = broker.connect();
    lamp.send("NAME lamp").expect("NAMEACK lamp");
    lamp.send("SUBSCRIBE home/+").expect("SUBACK home/+");
    let mut switch = broker.connect();
    switch
        .send("NAME a\u{202e}switch")
        .expect("NAMEACK a\u{202e}switch");
    switch
        .send("@retain PUBLISH home/lamp on")
        .expect("PUBACK 1 1");
    switch.send("PUBLISH office/door open").expect("PUBACK 2 0");
    lamp.expect("MESSAGE home/lamp on");
    (lamp, switch)
}

#[test]
fn connections_and_topics_are_watched_in_terminals_of_every_size() {
    let broker = TestBroker::start();
    let _both = lamp_and_switch(&broker);
    let tmux = Tmux::start();
    for (name, size) in [("usual", USUAL), ("narrow", NARROW), ("wide", WIDE)] {
        tmux.open(name, size, &top(&broker));
        let screen = wait_until(&tmux, name, "both are listed", |screen| {
            has(screen, "lamp") && has(screen, "a\u{fffd}switch") && has(screen, "client top")
        });
        assert_eq!(screen.len(), usize::from(size.1));
        assert!(screen[0].starts_with(" dallal "), "{screen:?}");
        assert!(has(&screen, "ledger balances"), "{screen:?}");
        assert!(
            screen.last().expect("rows").starts_with("q quit"),
            "{screen:?}"
        );
        tmux.press(name, "Tab");
        wait_until(&tmux, name, "topics are listed", |screen| {
            has(screen, "home/lamp") && has(screen, "office/door")
        });
    }
}

#[test]
fn a_list_is_sorted_searched_and_left_by_keys() {
    let broker = TestBroker::start();
    let _both = lamp_and_switch(&broker);
    let tmux = Tmux::start();
    tmux.open("ann", USUAL, &top(&broker));
    wait_until(&tmux, "ann", "it is sorted by rates", |screen| {
        has(screen, "by out") && has(screen, "lamp")
    });
    // To the name, and then the other way round.
    tmux.press("ann", "Left").press("ann", "Left");
    tmux.press("ann", "Left")
        .press("ann", "Left")
        .press("ann", "Right");
    let order = |screen: &[String], first: &str, second: &str| {
        let row = |word: &str| screen.iter().position(|row| row.contains(word));
        row(first).is_some() && row(first) < row(second)
    };
    wait_until(&tmux, "ann", "it is sorted by names", |screen| {
        has(screen, "by name") && order(screen, "switch", " lamp")
    });
    tmux.write("ann", "r");
    wait_until(&tmux, "ann", "it is reversed", |screen| {
        has(screen, "by name reversed") && order(screen, " lamp", "switch")
    });
    tmux.write("ann", "/SWIT");
    wait_until(&tmux, "ann", "only one is left", |screen| {
        has(screen, "switch") && !has(screen, "lamp") && has(screen, "/SWIT▏")
    });
    tmux.press("ann", "Enter").press("ann", "Escape");
    wait_until(&tmux, "ann", "all are there again", |screen| {
        has(screen, "switch") && has(screen, "lamp")
    });
    tmux.write("ann", "q");
    eventually("the terminal is closed", || !tmux.is_open("ann"));
}

#[test]
fn a_pause_keeps_what_is_on_the_screen() {
    let broker = TestBroker::start();
    let (_lamp, mut switch) = lamp_and_switch(&broker);
    let tmux = Tmux::start();
    tmux.open("ann", USUAL, &top(&broker));
    wait_until(&tmux, "ann", "it has begun", |screen| has(screen, "lamp"));
    tmux.write("ann", "p");
    wait_until(&tmux, "ann", "it says so", |screen| {
        screen[0].starts_with(" paused")
    });
    switch.send("NAME dimmer").expect("NAMEACK dimmer");
    // Another one sees it at once, so this one has had the time to.
    tmux.open("bob", USUAL, &top(&broker));
    wait_until(&tmux, "bob", "the name is new", |screen| {
        has(screen, "dimmer")
    });
    let screen = tmux.screen("ann");
    assert!(has(&screen, "switch"), "{screen:?}");
    tmux.write("ann", "p");
    wait_until(&tmux, "ann", "it goes on", |screen| has(screen, "dimmer"));
}

#[test]
fn a_screen_may_change_its_size_or_be_written_on() {
    let broker = TestBroker::start();
    let _both = lamp_and_switch(&broker);
    let tmux = Tmux::start();
    tmux.open("ann", USUAL, &top(&broker));
    wait_until(&tmux, "ann", "it has begun", |screen| has(screen, "lamp"));
    for size in [(1, 1), (2, 2), (10, 3), NARROW] {
        tmux.resize("ann", size);
    }
    wait_until(&tmux, "ann", "it is narrow", |screen| {
        has(screen, "lamp") && screen.last().is_some_and(|keys| keys.starts_with("q quit"))
    });
    tmux.write("ann", "p").resize("ann", WIDE);
    tmux.scribble("ann", "\x1b[H\x1b[2Jgarbage")
        .press("ann", "C-l");
    wait_until(&tmux, "ann", "it is drawn anew", |screen| {
        !has(screen, "garbage") && has(screen, "subscribed")
    });
}

#[test]
fn a_lost_broker_is_told_and_found_again() {
    let broker = TestBroker::start();
    let port = broker.address().port().to_string();
    let _both = lamp_and_switch(&broker);
    let tmux = Tmux::start();
    tmux.open("ann", USUAL, &top(&broker));
    wait_until(&tmux, "ann", "it has begun", |screen| has(screen, "lamp"));
    broker.stop_by(Signal::KILL);
    wait_until(
        &tmux,
        "ann",
        "it says so and keeps what it knows",
        |screen| screen[0].contains("trying again") && has(screen, "lamp"),
    );
    let again = TestBroker::with_args(&["--port", &port]);
    let mut eve = again.connect();
    eve.send("NAME eve").expect("NAMEACK eve");
    wait_until(&tmux, "ann", "it has found the new one", |screen| {
        has(screen, "eve") && !has(screen, "lamp") && screen[0].starts_with(" dallal ")
    });
    // A user that does not want to wait can leave.
    again.stop();
    wait_until(&tmux, "ann", "it says so", |screen| {
        screen[0].contains("trying again") || screen[0].contains("lost")
    });
    tmux.press("ann", "C-c");
    eventually("the terminal is closed", || !tmux.is_open("ann"));
}

#[test]
fn there_are_colours_unless_they_are_not_wanted() {
    let broker = TestBroker::start();
    let tmux = Tmux::start();
    tmux.open("colour", USUAL, &top(&broker));
    tmux.open("plain", USUAL, top(&broker).env("NO_COLOR", "1"));
    for name in ["colour", "plain"] {
        wait_until(&tmux, name, "it has begun", |screen| {
            has(screen, "ledger balances")
        });
    }
    let green = |name: &str| tmux.coloured_screen(name).contains("2mledger balances");
    assert!(green("colour") && !green("plain"));
}

#[test]
fn one_picture_needs_no_terminal() {
    let broker = TestBroker::start();
    let _both = lamp_and_switch(&broker);
    let args = ["--once", "--interval", "50ms"];
    let (mut out, mut shown) = (String::new(), Vec::new());
    // What was published is counted when its publisher has paused.
    eventually("all is counted", || {
        let once = Process::start(&mut client_of(&broker, "top", &args)).end();
        let (status, bytes, err) = once;
        assert!(status.success(), "{err}");
        out = String::from_utf8(bytes).expect("text");
        shown = out.lines().map(str::to_owned).collect::<Vec<String>>();
        has(&shown, "2 topics")
    });
    assert!(
        !out.contains(|letter: char| letter.is_control() && letter != '\n'),
        "{out}"
    );
    for words in [
        "ledger balances",
        "3 connections",
        "lamp",
        "2 topics",
        "home/lamp",
    ] {
        assert!(has(&shown, words), "{words}: {out}");
    }
    assert!(shown.iter().all(|row| row.chars().count() <= 80), "{out}");
}
