//! A users file with users that a test knows.

use std::io::Write;
use std::process::Stdio;

use tempfile::TempDir;

use crate::TestBroker;

/// A users file in a folder of its own.
#[derive(Debug)]
pub struct UsersFile {
    _folder: TempDir,
    path: String,
}

impl UsersFile {
    /// One with these users and their passwords.
    #[track_caller]
    pub fn of(users: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users");
        let path = path.into_os_string().into_string().expect("text");
        let file = Self {
            _folder: folder,
            path,
        };
        for (user, password) in users {
            file.run(&["user", "add", user], password);
        }
        file
    }

    /// Its path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Runs a tool of the broker on it, such as `user disable ann`; returns what it prints.
    #[track_caller]
    pub fn run(&self, words: &[&str], secret: &str) -> String {
        let mut tool = TestBroker::bare(words)
            .args(["--users", &self.path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker is built");
        let mut input = tool.stdin.take().expect("a pipe");
        // A tool that needs no secret may have ended.
        let _ = writeln!(input, "{secret}");
        drop(input);
        let output = tool.wait_with_output().expect("it ends");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {complaints}");
        String::from_utf8(output.stdout)
            .expect("text")
            .trim()
            .to_owned()
    }
}
