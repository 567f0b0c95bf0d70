//! `client chat` on a whole screen, in real terminals of several sizes.

use std::process::Command;

use rustix::process::Signal;
use tests::{TestBroker, Tmux, eventually, program};

const USUAL: (u16, u16) = (80, 24);
const NARROW: (u16, u16) = (40, 12);
const WIDE: (u16, u16) = (200, 20);

fn chat(broker: &TestBroker, nick: &str) -> Command {
    let server = broker.address().to_string();
    let mut chat = Command::new(program("client"));
    chat.args(["chat", "lobby", "--nick", nick, "--server", &server]);
    chat
}

/// Opens a terminal with a person in the room. It is called as the person.
#[track_caller]
fn enter(tmux: &Tmux, broker: &TestBroker, nick: &str, size: (u16, u16)) {
    tmux.open(nick, size, &chat(broker, nick));
    eventually(&format!("{nick} is in the room"), || {
        let screen = tmux.screen(nick);
        without_times(&screen)
            .iter()
            .any(|row| row.starts_with("* you are "))
    });
}

/// Rows without the times at their beginnings, which are never the same.
fn without_times(rows: &[String]) -> Vec<String> {
    let rows = rows
        .iter()
        .map(|row| match row.get(..6).map(str::as_bytes) {
            Some(
                [
                    b'0'..=b'9',
                    b'0'..=b'9',
                    b':',
                    b'0'..=b'9',
                    b'0'..=b'9',
                    b' ',
                ],
            ) => &row[6..],
            _ => row,
        });
    rows.map(str::to_owned).collect()
}

/// Waits until a row, without its time, is this.
#[track_caller]
fn wait_for(tmux: &Tmux, name: &str, row: &str) {
    eventually(&format!("{row:?} stands on the screen of {name}"), || {
        without_times(&tmux.screen(name))
            .iter()
            .any(|shown| shown == row)
    });
}

#[track_caller]
fn say(tmux: &Tmux, name: &str, text: &str) {
    tmux.write(name, text).press(name, "Enter");
}

/// Waits until the row that is being typed begins so.
#[track_caller]
fn wait_for_input(tmux: &Tmux, name: &str, row: &str) {
    eventually(&format!("{name} has {row:?} in the input"), || {
        tmux.screen(name).pop().unwrap_or_default().starts_with(row)
    });
}

/// Waits until the cursor stands there: it is put there when everything has been drawn.
#[track_caller]
fn wait_for_cursor(tmux: &Tmux, name: &str, place: (u16, u16)) {
    eventually(&format!("the cursor of {name} is at {place:?}"), || {
        tmux.cursor(name) == place
    });
}

#[test]
fn three_terminals_and_netcat_chat() {
    let broker = TestBroker::start();
    let tmux = Tmux::start();
    enter(&tmux, &broker, "ann", USUAL);
    enter(&tmux, &broker, "bob", NARROW);
    enter(&tmux, &broker, "eve", WIDE);
    let mut nc = broker.connect();
    nc.send("SUBSCRIBE lobby").expect("SUBACK lobby");

    let text = "did you read the letter about the lamp in the attic that came this morning?";
    say(&tmux, "ann", text);
    assert!(nc.read_line().ends_with(&format!(
        r#" MESSAGE lobby {{"nick":"ann","message":"{text}","user":"ann","say":"{text}"}}"#
    )));
    for name in ["ann", "bob", "eve"] {
        eventually(&format!("{name} has read it"), || {
            let screen = tmux.screen(name);
            screen.iter().any(|row| row.ends_with("morning?"))
        });
    }
    nc.send("PUBLISH lobby yes, I did");
    for name in ["ann", "bob", "eve"] {
        wait_for(&tmux, name, "?: yes, I did");
        let shown = without_times(&tmux.screen(name));
        let rows: Vec<&str> = shown.iter().map(|row| row.trim()).collect();
        assert!(
            rows.join(" ").contains(&format!("ann: {text} ?: yes")),
            "{shown:?}"
        );
        assert!(rows[0].ends_with("3 here"), "{shown:?}");
        assert!(shown.iter().all(|row| row.chars().count() <= 200));
    }
    // Words are not divided, and what follows stands to the right of the name.
    wait_for(&tmux, "bob", "ann: did you read the letter about");
    wait_for(&tmux, "bob", "        the lamp in the attic that came");
    wait_for(&tmux, "bob", "        this morning?");

    say(&tmux, "eve", "bye");
    wait_for(&tmux, "ann", "* eve left");
    eventually("her terminal is closed", || !tmux.is_open("eve"));
}

#[test]
fn what_others_write_never_mixes_with_the_line_being_typed() {
    let broker = TestBroker::start();
    let tmux = Tmux::start();
    enter(&tmux, &broker, "ann", USUAL);
    tmux.write("ann", "half of a sent");
    // The chat reads the terminal and the broker side by side: without this the lines could be
    // on the screen before the keys are.
    wait_for(&tmux, "ann", "> half of a sent");
    let mut nc = broker.connect();
    for n in 1..=100 {
        nc.send(format!("PUBLISH lobby line {n} \x1b[H\x1b[2J"));
    }
    wait_for(&tmux, "ann", "?: line 100 �[H�[2J");
    let screen = tmux.screen("ann");
    assert_eq!(screen.len(), usize::from(USUAL.1));
    assert_eq!(screen[23], "> half of a sent");
    assert_eq!(screen[22], "─".repeat(80));
    wait_for_cursor(&tmux, "ann", (16, 23));
    tmux.write("ann", "ence").press("ann", "Enter");
    wait_for(&tmux, "ann", "ann: half of a sentence");
}

#[test]
fn the_past_can_be_scrolled_to() {
    let broker = TestBroker::start();
    let tmux = Tmux::start();
    enter(&tmux, &broker, "ann", NARROW);
    let mut nc = broker.connect();
    for n in 1..=50 {
        nc.send(format!("PUBLISH lobby line {n}"));
    }
    wait_for(&tmux, "ann", "?: line 50");
    tmux.press("ann", "PPage");
    wait_for(&tmux, "ann", "?: line 34");
    nc.send("PUBLISH lobby line 51");
    wait_for(
        &tmux,
        "ann",
        &format!("{} 9 more below, PageDown ─", "─".repeat(15)),
    );
    let rows = without_times(&tmux.screen("ann"));
    assert_eq!(rows[1..4], ["?: line 34", "?: line 35", "?: line 36"]);
    tmux.press("ann", "NPage").press("ann", "NPage");
    wait_for(&tmux, "ann", "?: line 51");
}

#[test]
fn a_line_can_be_edited_pasted_and_fetched_back() {
    let broker = TestBroker::start();
    let tmux = Tmux::start();
    enter(&tmux, &broker, "ann", USUAL);
    tmux.write("ann", "yo好, سلام")
        .press("ann", "Home")
        .press("ann", "Right");
    tmux.press("ann", "Right")
        .press("ann", "BSpace")
        .write("ann", "es");
    tmux.wait_for("ann", "> yes好, سلام");
    wait_for_cursor(&tmux, "ann", (5, 23));
    tmux.press("ann", "Right");
    wait_for_cursor(&tmux, "ann", (7, 23));
    tmux.press("ann", "Enter");
    wait_for(&tmux, "ann", "ann: yes好, سلام");

    tmux.paste("ann", "one\ntwo\nthree");
    tmux.wait_for("ann", "  three");
    assert_eq!(tmux.screen("ann")[21..], ["> one", "  two", "  three"]);
    tmux.press("ann", "Enter");
    wait_for(&tmux, "ann", "ann: one");
    wait_for(&tmux, "ann", "        three");

    tmux.press("ann", "Up")
        .press("ann", "C-c")
        .press("ann", "Up");
    tmux.wait_for("ann", "> one");
    tmux.press("ann", "C-c");
    wait_for_input(&tmux, "ann", "> say something to lobby");
}

#[test]
fn a_screen_may_change_its_size() {
    let broker = TestBroker::start();
    let tmux = Tmux::start();
    enter(&tmux, &broker, "ann", USUAL);
    say(
        &tmux,
        "ann",
        "a line that fits into eighty columns and not into thirty",
    );
    wait_for(
        &tmux,
        "ann",
        "ann: a line that fits into eighty columns and not into thirty",
    );
    tmux.write("ann", "typing");
    tmux.resize("ann", (30, 8));
    wait_for(&tmux, "ann", "ann: a line that fits");
    wait_for_input(&tmux, "ann", "> typing");
    for size in [(1, 1), (2, 2), (10, 3), (200, 50)] {
        tmux.resize("ann", size);
    }
    wait_for(
        &tmux,
        "ann",
        "ann: a line that fits into eighty columns and not into thirty",
    );
    wait_for_input(&tmux, "ann", "> typing");
}

#[test]
fn a_screen_that_another_program_has_written_on_is_drawn_anew() {
    let broker = TestBroker::start();
    let tmux = Tmux::start();
    enter(&tmux, &broker, "ann", USUAL);
    let before = tmux.screen("ann");
    tmux.scribble("ann", "\x1b[H\x1b[2Jgarbage");
    tmux.wait_for("ann", "garbage");
    tmux.press("ann", "C-l");
    eventually("it is as before", || tmux.screen("ann") == before);
}

#[test]
fn a_lost_broker_is_told_and_found_again() {
    let broker = TestBroker::start();
    let port = broker.address().port().to_string();
    let tmux = Tmux::start();
    enter(&tmux, &broker, "ann", USUAL);
    broker.stop_by(Signal::KILL);
    eventually("it says so", || {
        let screen = without_times(&tmux.screen("ann"));
        screen
            .iter()
            .any(|row| row.starts_with("* lost the broker: "))
    });
    say(&tmux, "ann", "written meanwhile");
    tmux.wait_for("ann", "      ann: written meanwhile");
    let again = TestBroker::with_args(&["--port", &port]);
    wait_for(
        &tmux,
        "ann",
        "* found the broker again; messages may have been missed meanwhile",
    );
    wait_for(&tmux, "ann", "ann: written meanwhile");
    enter(&tmux, &again, "bob", NARROW);
    wait_for(&tmux, "ann", "* bob joined");
    // A user that does not want to wait can leave.
    again.stop();
    eventually("it says so", || {
        tmux.screen("ann")[0].contains("trying again") || tmux.screen("ann")[0].contains("lost")
    });
    tmux.press("ann", "C-c");
    eventually("the terminal is closed", || !tmux.is_open("ann"));
}

#[test]
fn names_have_colours_unless_they_are_not_wanted() {
    let broker = TestBroker::start();
    let tmux = Tmux::start();
    enter(&tmux, &broker, "ann", USUAL);
    tmux.open("bob", USUAL, chat(&broker, "bob").env("NO_COLOR", "1"));
    wait_for(&tmux, "ann", "* bob joined");
    say(&tmux, "ann", "hello");
    wait_for(&tmux, "ann", "ann: hello");
    wait_for(&tmux, "bob", "ann: hello");
    assert!(tmux.coloured_screen("ann").contains("38;5;"));
    assert!(!tmux.coloured_screen("bob").contains("38;5;"));
}

#[test]
fn a_terminal_is_given_back_as_it_was() {
    let broker = TestBroker::start();
    let tmux = Tmux::start();
    let client = program("client");
    let script = format!(
        "echo before; {} chat lobby --nick ann --server {}; echo \"after $?\"; stty -a | grep -o ' icanon'; cat",
        client.display(),
        broker.address()
    );
    tmux.open("ann", USUAL, Command::new("sh").args(["-c", &script]));
    eventually("she is in the room", || {
        without_times(&tmux.screen("ann"))
            .iter()
            .any(|row| row.starts_with("* you are "))
    });
    tmux.press("ann", "C-d");
    tmux.wait_for("ann", " icanon");
    assert_eq!(tmux.screen("ann")[..3], ["before", "after 0", " icanon"]);
}

#[test]
fn a_terminal_can_have_plain_lines_too() {
    let broker = TestBroker::start();
    let tmux = Tmux::start();
    tmux.open("ann", USUAL, chat(&broker, "ann").arg("--plain"));
    tmux.wait_for(
        "ann",
        "* you are ann in lobby; nobody else is known to be here",
    );
    say(&tmux, "ann", "typed once");
    let mut nc = broker.connect();
    nc.send("PUBLISH lobby heard");
    tmux.wait_for("ann", "?: heard");
    assert_eq!(tmux.screen("ann")[1..3], ["typed once", "?: heard"]);
}
