//! The terminal sessions of a document, read and played.
//!
//! A session is a fenced block that begins with the word `session`. `A$ command` is typed at
//! terminal A, `A> line` is typed into what runs there, `A: line` is what it shows next, on either of
//! its outputs, and `A^C` interrupts what runs there. A shown line may end with `...`, which stands for any text. A command runs in `sh`,
//! beside those of other terminals; the next one at the same terminal waits for its end.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{Process, TestBroker, program};

/// One fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Where it begins in its document, counted from 1.
    pub line: usize,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    terminal: String,
    action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Type(String),
    Input(String),
    Show(String),
    Interrupt,
}

impl Session {
    /// All sessions of a document, in order.
    pub fn all_in(document: &str) -> Vec<Self> {
        let mut sessions = Vec::new();
        let mut lines = document.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            if line != "```session" {
                continue;
            }
            sessions.push(Self {
                line: at + 1,
                steps: lines
                    .by_ref()
                    .take_while(|(_, line)| *line != "```")
                    .map(|(at, line)| Step::parse(line, at + 1))
                    .collect(),
            });
        }
        sessions
    }

    /// Plays it in a folder, against a broker of its own. Fails if anything else is shown.
    pub fn play(&self, folder: &Path) {
        let broker = TestBroker::start();
        let mut terminals: BTreeMap<&str, Terminal> = BTreeMap::new();
        for Step { terminal, action } in &self.steps {
            let name = terminal.as_str();
            let running = terminals.get_mut(name);
            match (action, running) {
                (Action::Type(command), running) => {
                    if let Some(running) = running {
                        running.end();
                    }
                    let started = Process::start(&mut shell(command, folder, &broker));
                    terminals.insert(name, Terminal(started));
                }
                (Action::Input(line), Some(running)) => {
                    running.0.write(format!("{line}\n"));
                }
                (Action::Show(line), Some(running)) => match line.strip_suffix("...") {
                    Some(prefix) => {
                        let came = running.0.next_line();
                        assert!(came.starts_with(prefix), "expected {line}, came {came:?}");
                    }
                    None => {
                        running.0.expect(line);
                    }
                },
                (Action::Interrupt, Some(running)) => running.interrupt(),
                (Action::Input(_) | Action::Show(_) | Action::Interrupt, None) => {
                    panic!("nothing was typed at terminal {name}")
                }
            }
        }
        for running in terminals.values_mut() {
            // Some commands go on until they are interrupted.
            running.interrupt();
            running.end();
        }
    }
}

/// As a person at this terminal would have it.
fn shell(command: &str, folder: &Path, broker: &TestBroker) -> Command {
    use std::os::unix::process::CommandExt;

    let client = program("client");
    let programs = client.parent().expect("a program lies in a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(all).expect("no folder has a colon in its name");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(folder)
        .env("PATH", path)
        .env("BROKER_URL", broker.address().to_string())
        .env("XDG_CONFIG_HOME", folder)
        // An interrupt at a terminal reaches all that runs there.
        .process_group(0);
    shell
}

/// What runs at one terminal.
struct Terminal(Process);

impl Terminal {
    fn interrupt(&self) {
        let group = i32::try_from(self.0.pid()).ok().and_then(Pid::from_raw);
        // It fails if all that ran there has ended.
        let _ = kill_process_group(group.expect("a process has a number"), Signal::INT);
    }

    /// Waits for the end; all that was shown has to have been expected.
    #[track_caller]
    fn end(&mut self) {
        let rest = self.0.end_input().rest();
        assert_eq!(rest, "", "this was shown and not expected");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Whatever a failed test has left does not go on.
        self.interrupt();
    }
}

impl Step {
    fn parse(line: &str, number: usize) -> Self {
        let cut = line.find(['$', '>', ':', '^']).unwrap_or_default();
        let (terminal, rest) = line.split_at(cut);
        let text = rest.get(1..).unwrap_or_default();
        let text = text.strip_prefix(' ').unwrap_or(text).to_owned();
        let action = match rest.chars().next() {
            Some('$') => Action::Type(text),
            Some('>') => Action::Input(text),
            Some(':') => Action::Show(text),
            Some('^') if text == "C" => Action::Interrupt,
            _ => panic!("line {number} is no step of a session: {line:?}"),
        };
        assert!(
            terminal.len() == 1,
            "line {number} names no terminal: {line:?}"
        );
        Self {
            terminal: terminal.to_owned(),
            action,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_from_its_fenced_block() {
        let document = "text\n```session\nA$ echo $HOME\nA> a: b\nA: /home...\nA^C\n```\nA$ no\n";
        let step = |action| Step {
            terminal: "A".to_owned(),
            action,
        };
        let expected = Session {
            line: 2,
            steps: vec![
                step(Action::Type("echo $HOME".to_owned())),
                step(Action::Input("a: b".to_owned())),
                step(Action::Show("/home...".to_owned())),
                step(Action::Interrupt),
            ],
        };
        assert_eq!(Session::all_in(document), [expected]);
    }

    #[test]
    #[should_panic(expected = "line 2 is no step")]
    fn what_is_no_step_is_not_passed_over() {
        Session::all_in("```session\nsomething\n```\n");
    }
}
