//! Real terminals of any size for programs that fill the screen: those of tmux, on a server of
//! their own, which ends with the test.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, id};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{eventually, installed};

/// Terminals with names. Dropping it ends all programs in them.
#[derive(Debug)]
pub struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    /// A server without terminals.
    #[track_caller]
    pub fn start() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Not in the target folder: the path of a socket must be short.
        let socket = env::temp_dir().join(format!("dallal-{}-{number}", id()));
        Self { socket }
    }

    /// Starts a program in a new terminal with this number of columns and rows.
    #[track_caller]
    pub fn open(&self, name: &str, size: (u16, u16), program: &Command) {
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        let mut tmux = self.tmux();
        tmux.args(["new-session", "-d", "-s", name, "-x", &columns, "-y", &rows]);
        for (key, value) in program.get_envs() {
            let value = value.unwrap_or_default().to_string_lossy().into_owned();
            tmux.arg("-e")
                .arg(format!("{}={value}", key.to_string_lossy()));
        }
        tmux.arg("--")
            .arg(program.get_program())
            .args(program.get_args());
        run(&mut tmux);
    }

    /// Types text.
    #[track_caller]
    pub fn write(&self, name: &str, text: &str) -> &Self {
        run(self
            .tmux()
            .args(["send-keys", "-t", name, "-l", "--", text]));
        self
    }

    /// Presses a key, by its name in tmux.
    #[track_caller]
    pub fn press(&self, name: &str, key: &str) -> &Self {
        run(self.tmux().args(["send-keys", "-t", name, key]));
        self
    }

    /// Pastes text, as if with a mouse.
    #[track_caller]
    pub fn paste(&self, name: &str, text: &str) -> &Self {
        run(self.tmux().args(["set-buffer", "--", text]));
        run(self.tmux().args(["paste-buffer", "-p", "-t", name]));
        self
    }

    /// Writes to a terminal as another program would that runs there.
    #[track_caller]
    pub fn scribble(&self, name: &str, text: &str) -> &Self {
        let path = run(self
            .tmux()
            .args(["display-message", "-p", "-t", name, "#{pane_tty}"]));
        let terminal = OpenOptions::new().write(true).open(path.trim());
        let written = terminal.and_then(|mut terminal| terminal.write_all(text.as_bytes()));
        written.unwrap_or_else(|err| panic!("{} takes no text: {err}", path.trim()));
        self
    }

    /// Makes a terminal larger or smaller.
    #[track_caller]
    pub fn resize(&self, name: &str, size: (u16, u16)) -> &Self {
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        run(self
            .tmux()
            .args(["resize-window", "-t", name, "-x", &columns, "-y", &rows]));
        self
    }

    /// What is on the screen, row by row, without the spaces at their ends.
    #[track_caller]
    pub fn screen(&self, name: &str) -> Vec<String> {
        let screen = run(self.tmux().args(["capture-pane", "-p", "-t", name]));
        screen
            .lines()
            .map(|row| row.trim_end().to_owned())
            .collect()
    }

    /// The same with colours and other attributes, as escape sequences.
    #[track_caller]
    pub fn coloured_screen(&self, name: &str) -> String {
        run(self.tmux().args(["capture-pane", "-e", "-p", "-t", name]))
    }

    /// Where the cursor stands: its column and its row, from 0.
    #[track_caller]
    pub fn cursor(&self, name: &str) -> (u16, u16) {
        let format = "#{cursor_x} #{cursor_y}";
        let place = run(self
            .tmux()
            .args(["display-message", "-p", "-t", name, format]));
        let (column, row) = place.trim().split_once(' ').expect("two numbers");
        let number = |text: &str| text.parse().expect("a number");
        (number(column), number(row))
    }

    /// Waits until a row of the screen is this; all of the screen then.
    #[track_caller]
    pub fn wait_for(&self, name: &str, row: &str) -> Vec<String> {
        let mut screen = Vec::new();
        eventually(&format!("{row:?} stands on the screen of {name}"), || {
            screen = self.screen(name);
            screen.iter().any(|shown| shown == row)
        });
        screen
    }

    /// Whether the program in a terminal still runs.
    pub fn is_open(&self, name: &str) -> bool {
        let mut tmux = self.tmux();
        tmux.args(["has-session", "-t", name]);
        tmux.output().is_ok_and(|output| output.status.success())
    }

    fn tmux(&self) -> Command {
        let mut tmux = installed("tmux", "tmux");
        // Neither what the tester has set up nor where they are counts here.
        tmux.arg("-S").arg(&self.socket);
        tmux.args(["-f", "/dev/null", "-u"]);
        tmux.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        for name in ["TMUX", "NO_COLOR", "BROKER_URL"] {
            tmux.env_remove(name);
        }
        tmux
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // It fails only if all its programs have ended, and it with them.
        let _ = self.tmux().arg("kill-server").output();
        let _ = fs::remove_file(&self.socket);
    }
}

#[track_caller]
fn run(tmux: &mut Command) -> String {
    let output = tmux
        .output()
        .unwrap_or_else(|err| panic!("tmux cannot be started: {err}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tmux:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
