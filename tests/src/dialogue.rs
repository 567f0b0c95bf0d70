//! The dialogues of a document, read and played.
//!
//! A dialogue is a fenced block that begins with the word `dialogue` and the broker's flags.
//! `A> line` is sent by client A, `A< line` is received by it, `A| closed` is the end of its
//! connection, `A| hangs up` makes one. A received line may end with `...`, which stands for any text.
//! Clients whose names begin with `tcp` or `udp` are members of the broker's room for raw text, those with
//! `web` clients of the web chat.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;

use tempfile::TempDir;

use crate::frames::FrameClient;
use crate::{PATIENCE, TestBroker, TestClient, UsersFile};

/// One fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialogue {
    /// Where it begins in its document, counted from 1.
    pub line: usize,
    /// What its broker is started with.
    pub flags: Vec<String>,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    client: String,
    action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Send(String),
    Receive(String),
    Closed,
    HangUp,
}

impl Dialogue {
    /// All dialogues of a document, in order.
    pub fn all_in(document: &str) -> Vec<Self> {
        let mut dialogues = Vec::new();
        let mut lines = document.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            let Some(flags) = line.strip_prefix("```dialogue") else {
                continue;
            };
            dialogues.push(Self {
                line: at + 1,
                flags: flags.split_whitespace().map(str::to_owned).collect(),
                steps: lines
                    .by_ref()
                    .take_while(|(_, line)| *line != "```")
                    .map(|(at, line)| Step::parse(line, at + 1))
                    .collect(),
            });
        }
        dialogues
    }

    /// Plays it against a broker of its own. Fails if anything else is received.
    pub fn play(&self) {
        let names = |word| self.flags.iter().any(|flag| flag == word);
        let has_users = names(USERS);
        let users = has_users.then(|| UsersFile::of(&[("ann", "right"), ("bob", "right")]));
        let store = names(STORE).then(empty_store);
        let flags = self
            .flags
            .iter()
            .map(|flag| match (&users, &store, flag.as_str()) {
                (Some(users), _, USERS) => users.path(),
                (_, Some(store), STORE) => store.path().to_str().expect("a path of text"),
                (_, _, flag) => flag,
            });
        let flags: Vec<&str> = flags.collect();
        let broker = TestBroker::with_args(&flags);
        let mut clients: BTreeMap<&str, Peer> = BTreeMap::new();
        for Step { client, action } in &self.steps {
            let name = client.as_str();
            let client = clients
                .entry(name)
                .or_insert_with(|| Peer::connect(name, &broker));
            match action {
                Action::Send(line) => client.send(line),
                Action::Receive(line) => client.expect(line),
                Action::Closed => {
                    client.expect_end();
                    clients.remove(name);
                }
                Action::HangUp => {
                    clients.remove(name);
                }
            }
        }
        for client in clients.values_mut() {
            client.expect_silence();
        }
    }
}

/// What stands among the flags of a dialogue for a users file.
const USERS: &str = "USERS";

/// The same for a folder with an empty store.
const STORE: &str = "STORE";

/// A store without messages, of a name that documents can tell.
fn empty_store() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let format = "dallal store 1\nid k3f9\ngeneration 1\nclean yes\n";
    fs::write(folder.path().join("format"), format).expect("room");
    folder
}

/// One client of a dialogue.
enum Peer {
    Lines(TestClient),
    /// A member of a room.
    Text(TestClient),
    Datagrams(UdpSocket),
    /// A client of the web chat.
    Objects(FrameClient),
}

/// The first byte of a frame with a whole text message.
const TEXT: u8 = 0x81;

impl Peer {
    fn connect(name: &str, broker: &TestBroker) -> Self {
        if name.starts_with("tcp") {
            return Self::Text(TestClient::connect(broker.room_address()));
        }
        if name.starts_with("udp") {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            socket.connect(broker.room_address()).expect("an address");
            socket.set_read_timeout(Some(PATIENCE)).expect("a time");
            return Self::Datagrams(socket);
        }
        if name.starts_with("web") {
            return Self::Objects(FrameClient::open(broker.address(), "/talking", None));
        }
        Self::Lines(broker.connect())
    }

    fn send(&mut self, line: &str) {
        match self {
            Self::Lines(client) | Self::Text(client) => {
                client.send(line);
            }
            Self::Datagrams(socket) => {
                socket.send(line.as_bytes()).expect("it is sent");
            }
            Self::Objects(client) => {
                client.send_frame(TEXT, line.as_bytes());
            }
        }
    }

    fn expect(&mut self, line: &str) {
        match (self, line.strip_suffix("...")) {
            (Self::Lines(client) | Self::Text(client), Some(prefix)) => {
                client.expect_prefix(prefix);
            }
            (Self::Lines(client) | Self::Text(client), None) => {
                client.expect(line);
            }
            (Self::Datagrams(socket), _) => {
                let mut datagram = [0; 2048];
                let len = socket.recv(&mut datagram).expect("a datagram comes");
                let came = String::from_utf8_lossy(&datagram[..len]);
                assert_eq!(came, format!("{line}\n"));
            }
            (Self::Objects(client), _) => {
                client.expect(TEXT, line);
            }
        }
    }

    fn expect_end(&mut self) {
        match self {
            Self::Lines(client) | Self::Text(client) => client.expect_end(),
            Self::Datagrams(_) => panic!("no datagram ends a connection"),
            Self::Objects(_) => panic!("a close frame comes before the end of a WebSocket"),
        }
    }

    /// Only a client of lines can ask whether there is more.
    fn expect_silence(&mut self) {
        if let Self::Lines(client) = self {
            client.expect_silence();
        }
    }
}

impl Step {
    fn parse(line: &str, number: usize) -> Self {
        let cut = line.find(['>', '<', '|']).unwrap_or_default();
        let (client, rest) = line.split_at(cut);
        let text = rest.get(1..).unwrap_or_default();
        let text = text.strip_prefix(' ').unwrap_or(text).to_owned();
        let action = match rest.chars().next() {
            Some('>') => Action::Send(text),
            Some('<') => Action::Receive(text),
            Some('|') if text == "closed" => Action::Closed,
            Some('|') if text == "hangs up" => Action::HangUp,
            _ => panic!("line {number} is no step of a dialogue: {line:?}"),
        };
        assert!(
            !client.is_empty(),
            "line {number} names no client: {line:?}"
        );
        Self {
            client: client.to_owned(),
            action,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialogue_is_read_from_its_fenced_block() {
        let document =
            "text\n```dialogue --max-line 9\nA> PING\nB< PONG a...\nA| closed\n```\nA> no\n";
        let step = |client: &str, action| Step {
            client: client.to_owned(),
            action,
        };
        let expected = Dialogue {
            line: 2,
            flags: vec!["--max-line".to_owned(), "9".to_owned()],
            steps: vec![
                step("A", Action::Send("PING".to_owned())),
                step("B", Action::Receive("PONG a...".to_owned())),
                step("A", Action::Closed),
            ],
        };
        assert_eq!(Dialogue::all_in(document), [expected]);
    }

    #[test]
    #[should_panic(expected = "line 2 is no step")]
    fn what_is_no_step_is_not_passed_over() {
        Dialogue::all_in("```dialogue\nA said hello\n```\n");
    }
}
