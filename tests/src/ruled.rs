//! A broker with users, rules that can be replaced, and a socket for orders.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::{TestBroker, TestClient, UsersFile, client, installed};

/// The broker, and the folder with its rules and its socket.
pub struct RuledBroker {
    /// The broker.
    pub broker: TestBroker,
    _users: UsersFile,
    folder: TempDir,
}

impl RuledBroker {
    /// With these users, whose password is `pw`, these rules in a file `home.access`, and these flags besides.
    #[track_caller]
    pub fn start(users: &[&str], rules: &str, flags: &[&str]) -> Self {
        let users: Vec<_> = users.iter().map(|user| (*user, "pw")).collect();
        let users = UsersFile::of(&users);
        let folder = tempfile::tempdir().expect("a folder");
        let [path, socket] = ["home.access", "broker.sock"].map(|name| folder.path().join(name));
        fs::write(&path, rules).expect("room");
        let [path, socket] = [&path, &socket].map(|path| path.to_str().expect("text"));
        let users_file = users.path();
        let needed = ["--users", users_file, "--access", path, "--unix", socket];
        let broker = TestBroker::with_args(&[&needed, flags].concat());
        Self {
            broker,
            _users: users,
            folder,
        }
    }

    /// A file of this name in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces the rules, which no order puts in force here.
    pub fn write(&self, rules: &str) {
        fs::write(self.path("home.access"), rules).expect("room");
    }

    /// Has other rules put in force; what is told.
    #[track_caller]
    pub fn reload(&self, rules: &str) -> String {
        self.write(rules);
        self.order(&["reload"], true)
    }

    /// Gives an order over the socket; what is told.
    #[track_caller]
    pub fn order(&self, words: &[&str], succeeds: bool) -> String {
        let socket = format!("unix:{}", self.path("broker.sock").display());
        let mut order = client(&["-s", &socket]);
        let output = order.args(words).output().expect("the client is built");
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.success(), succeeds, "{told}");
        told
    }

    /// A client of lines that is this user, or anonymous.
    #[track_caller]
    pub fn line(&self, user: Option<&str>) -> TestClient {
        let mut client = self.broker.connect();
        if let Some(user) = user {
            client
                .send(format!("AUTH {user} pw"))
                .expect(format!("AUTHACK {user}"));
        }
        client
    }

    /// What curl prints for a request of this user: the body, and the status.
    pub fn curl(&self, user: Option<&str>, words: &[&str], path: &str) -> (String, u16) {
        let mut curl = installed("curl", "curl");
        curl.args(["-s", "-w", "\n%{http_code}"]).args(words);
        if let Some(user) = user {
            curl.args(["-u", &format!("{user}:pw")]);
        }
        let url = format!("http://{}{path}", self.broker.address());
        let output = curl.arg(url).output().expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').expect("a status");
        (body.to_owned(), status.parse().expect("a number"))
    }
}
