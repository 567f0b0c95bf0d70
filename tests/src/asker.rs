//! A client that asks the broker about itself, and reads the answers as JSON.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::{TestBroker, TestClient};

/// How many there have been in this process. Each has its answers on a topic of its own: one that has left may
/// be subscribed for a moment more.
static ASKERS: AtomicU64 = AtomicU64::new(0);

/// A connection for questions alone.
#[derive(Debug)]
pub struct Asker {
    client: TestClient,
    /// What its answers come on.
    reply: String,
    asked: u64,
}

impl Asker {
    /// A new connection that is subscribed to its answers and to nothing else.
    #[track_caller]
    pub fn of(broker: &TestBroker) -> Self {
        Self::with(broker.connect())
    }

    /// The same on a connection that has said who it is.
    #[track_caller]
    pub fn with(mut client: TestClient) -> Self {
        let reply = format!("$reply/asker{}", ASKERS.fetch_add(1, Ordering::Relaxed));
        client
            .send(format!("SUBSCRIBE {reply}"))
            .expect(format!("SUBACK {reply}"));
        Self {
            client,
            reply,
            asked: 0,
        }
    }

    /// Asks, as in `who` or `who news/#`, and returns the answer.
    #[track_caller]
    pub fn ask(&mut self, question: &str) -> Value {
        self.ask_with("", question)
    }

    /// The same with more attributes, as in `;limit=1`. An answer bears the id of its question, goes to
    /// one subscriber, and comes before its receipt.
    #[track_caller]
    pub fn ask_with(&mut self, attributes: &str, question: &str) -> Value {
        self.asked += 1;
        let (number, reply) = (self.asked, &self.reply);
        self.client.send(format!(
            "@reply={reply};id={number}{attributes} PUBLISH $SYS/request/{question}"
        ));
        let line = self.client.read_line();
        let start = format!("@id={number} MESSAGE {reply} ");
        let Some(payload) = line.strip_prefix(&start) else {
            panic!("expected {start}<answer>, came {line:?}");
        };
        self.client.expect(format!("PUBACK {number} 1"));
        // There are no line ends in JSON, so of three escapes one is left.
        let json = payload.replace("\\\\", "\\");
        serde_json::from_str(&json)
            .unwrap_or_else(|err| panic!("{question} is not answered in JSON: {err}: {json}"))
    }

    /// The connection itself.
    pub fn client(&mut self) -> &mut TestClient {
        &mut self.client
    }
}
