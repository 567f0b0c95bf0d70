//! What a broker tells about itself when it is asked: answers to
//! [`Client::inquire`](crate::Client::inquire), one type for each thing that can be asked.
//!
//! `docs/protocol.md`, "Inquiries", has what goes over the wire. What a newer broker tells besides is
//! ignored. Times are seconds before now.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Where inquiries are published.
const TOPIC: &str = "$SYS/request/";

/// On an inquiry: how many rows its answer may have.
pub(crate) const LIMIT: &str = "limit";

/// The most rows that a broker gives.
pub const MAX_LIMIT: u64 = 100_000;

/// Something that a broker can be asked, as it answers.
pub trait Answer: DeserializeOwned {
    /// The word for it on the wire.
    const WHAT: &'static str;

    /// Where it is asked.
    fn topic() -> String {
        format!("{TOPIC}{}", Self::WHAT)
    }
}

/// `audit`: what became of every message and every copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Whether the broker finds that everything is accounted for.
    pub balanced: bool,
    /// Whether all figures are of the same moment. If not, messages moved while they were added up.
    pub exact: bool,
    /// Messages that were accepted.
    pub published: u64,
    /// Those that somebody wanted.
    pub matched: u64,
    /// Those that nobody wanted.
    pub unmatched: u64,
    /// Frames that were answered by an `ERROR`.
    pub refused: u64,
    /// Copies that were made, one for each subscriber of each message.
    pub copies: u64,
    /// Those that have gone to the socket of their subscriber.
    pub written: u64,
    /// Those that are in an outbox.
    pub waiting: u64,
    /// Those that were dropped, by the reason why.
    pub dropped: BTreeMap<String, u64>,
    /// Those whose subscriber left before it had read them.
    pub discarded: u64,
    /// Those whose subscriber had left or unsubscribed before it could be handed them.
    pub withdrawn: u64,
}

impl Audit {
    /// How many copies were dropped, for whatever reason.
    pub fn total_dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Whether every message is accounted for: `published = matched + unmatched`.
    pub fn messages_balance(&self) -> bool {
        self.published == self.matched + self.unmatched
    }

    /// Whether every copy is accounted for:
    /// `copies = written + waiting + dropped + discarded + withdrawn`.
    pub fn copies_balance(&self) -> bool {
        let gone = self.total_dropped() + self.discarded + self.withdrawn;
        self.copies == self.written + self.waiting + gone
    }

    /// Whether nothing is missing, by our count and by the broker's.
    pub fn is_balanced(&self) -> bool {
        self.balanced && self.messages_balance() && self.copies_balance()
    }
}

impl Answer for Audit {
    const WHAT: &'static str = "audit";
}

/// `who`: the connections, or those of them that a filter concerns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Who {
    /// How many there are, whatever the limit.
    pub total: u64,
    /// Ordered by their numbers.
    pub connections: Vec<Connection>,
}

impl Answer for Who {
    const WHAT: &'static str = "who";
}

/// One connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Its number; no other connection of this broker ever has it.
    pub id: u64,
    /// What its client calls itself.
    pub name: Option<String>,
    /// From where it comes.
    pub peer: String,
    /// What it speaks.
    pub wire: String,
    /// It is over: what is told is of a session of MQTT that waits for its client.
    #[serde(default)]
    pub away: bool,
    /// Since when it stands.
    pub connected_s: f64,
    /// Since when its client has said nothing.
    pub idle_s: f64,
    /// How many filters it has subscribed to.
    pub subscriptions: u64,
    /// The first few of them.
    pub filters: Vec<String>,
    /// Messages in its outbox.
    pub waiting: u64,
    /// The bytes of those.
    pub waiting_bytes: u64,
    /// Since when its outbox has not been empty.
    pub lag_s: Option<f64>,
    /// Messages that it has published.
    pub published: u64,
    /// Its frames that were refused.
    pub refused: u64,
    /// Copies that were made of its messages.
    pub copies: u64,
    /// Messages that were written to it.
    pub written: u64,
    /// Bytes that were written to it.
    pub bytes: u64,
    /// Messages for it that were dropped, by the reason why.
    pub dropped: BTreeMap<String, u64>,
    /// When the last of them was dropped.
    pub dropped_last_s: Option<f64>,
}

impl Connection {
    /// How many messages for it were dropped, for whatever reason.
    pub fn total_dropped(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// `topics`: what has been published, or what of it a filter matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Topics {
    /// How many there are, whatever the limit.
    pub total: u64,
    /// How often one was forgotten, to make room for another.
    #[serde(default)]
    pub forgotten: u64,
    /// In the order of their names.
    pub topics: Vec<SeenTopic>,
}

impl Answer for Topics {
    const WHAT: &'static str = "topics";
}

/// One topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenTopic {
    /// Its name.
    pub topic: String,
    /// Messages that were published on it.
    pub messages: u64,
    /// Copies that were made of them.
    pub copies: u64,
    /// Messages a second, lately.
    pub rate: f64,
    /// When the last one was published.
    pub last_s: f64,
    /// Who gets its messages now; a group is one.
    pub subscribers: u64,
    /// The size of the message that is retained on it.
    pub retained: Option<u64>,
}

/// `filters`: what is subscribed to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filters {
    /// How many there are, whatever the limit.
    pub total: u64,
    /// In the order of their names.
    pub filters: Vec<HeldFilter>,
}

impl Answer for Filters {
    const WHAT: &'static str = "filters";
}

/// One filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldFilter {
    /// As it was subscribed to.
    pub filter: String,
    /// How many have it.
    pub subscribers: u64,
    /// How many messages it has matched since somebody has it.
    pub messages: u64,
}

/// `why`: who gets the messages of a topic, and who nearly does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// What was asked about.
    pub topic: String,
    /// The filters that match it.
    pub matching: Vec<Matching>,
    /// Those that look as if they were meant to, the nearest first.
    pub near: Vec<Near>,
    /// The message that is retained on it.
    pub retained: Option<Kept>,
    /// What has been published on it; `None` if nothing has, as far as the broker remembers.
    pub seen: Option<Seen>,
}

impl Answer for Why {
    const WHAT: &'static str = "why";
}

/// A filter that matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Matching {
    /// As it was subscribed to.
    pub filter: String,
    /// Who has it; perhaps not all of them.
    pub holders: Vec<Holder>,
    /// How many have it.
    pub total: u64,
}

/// A filter that nearly matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Near {
    /// As it was subscribed to.
    pub filter: String,
    /// What keeps it from matching.
    pub difference: Difference,
    /// Who has it; perhaps not all of them.
    pub holders: Vec<Holder>,
    /// How many have it.
    pub total: u64,
}

/// How a filter differs from one that would match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// In upper and lower case alone.
    Case,
    /// In one letter of one level.
    Letter,
    /// In one level.
    Level,
    /// In a way that only a newer broker knows.
    #[serde(other)]
    Other,
}

/// Somebody who has a filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// The number of the connection.
    pub id: u64,
    /// What its client calls itself.
    pub name: Option<String>,
    /// From where it comes.
    pub peer: String,
    /// What it speaks.
    pub wire: String,
    /// Messages in its outbox.
    pub waiting: u64,
    /// The bytes of those.
    pub waiting_bytes: u64,
    /// How many bytes its outbox may hold.
    pub limit_bytes: u64,
    /// Whether messages for it are dropped now.
    pub is_full: bool,
    /// How many messages for it were dropped, of all topics.
    pub dropped: u64,
    /// Those that were lately dropped on this topic.
    pub dropped_here: Option<DroppedHere>,
}

/// Messages of one topic that somebody has missed lately.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DroppedHere {
    /// So many, and perhaps more.
    pub at_least: u64,
    /// When the last of them was dropped.
    pub last_s: f64,
}

/// A message that is retained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The size of its payload.
    pub bytes: u64,
    /// When it was published.
    pub age_s: f64,
}

/// What has been published on a topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// How many messages.
    pub messages: u64,
    /// How many copies were made of them.
    pub copies: u64,
    /// When the last one was published.
    pub last_s: f64,
}

/// `retained`: the messages that are retained, or those whose topics a filter matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Retained {
    /// How many there are, whatever the limit.
    pub total: u64,
    /// What they take, with what the broker needs to keep them.
    pub bytes: u64,
    /// How many the broker keeps at most.
    pub max_count: u64,
    /// How many bytes the broker keeps at most.
    pub max_bytes: u64,
    /// In the order of their topics.
    pub retained: Vec<RetainedTopic>,
}

impl Answer for Retained {
    const WHAT: &'static str = "retained";
}

/// One retained message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RetainedTopic {
    /// Where it was published.
    pub topic: String,
    /// The size of its payload.
    pub bytes: u64,
    /// When it was published.
    pub age_s: f64,
}

/// `broker`: the broker as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Broker {
    /// Which release it is.
    pub version: String,
    /// Since when it runs.
    pub uptime_s: f64,
    /// How many are connected.
    pub connections: u64,
    /// How many may be.
    pub max_connections: u64,
    /// How many subscriptions they have.
    pub subscriptions: u64,
    /// What outboxes and unfinished lines hold.
    pub memory: Memory,
    /// What is retained.
    pub retained: RetainedFigures,
}

impl Answer for Broker {
    const WHAT: &'static str = "broker";
}

/// Bytes that are held for clients, of those that may be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// In use.
    pub used: u64,
    /// At most.
    pub max: u64,
}

/// What is retained, of what may be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RetainedFigures {
    /// Messages.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages at most.
    pub max_count: u64,
    /// Bytes at most.
    pub max_bytes: u64,
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::Client;
    use crate::error::Error;
    use crate::scripted::{Peer, ScriptedBroker};

    /// One inquiry whose request has to be `expected`, where TOPIC stands for that of the answer,
    /// as it does in what is `said`.
    fn check<A: Answer>(
        (argument, limit): (&str, Option<u64>),
        expected: &'static str,
        said: &'static [&'static str],
    ) -> Result<A, Error> {
        let broker = ScriptedBroker::start();
        let mut client = Client::connect(broker.address()).expect("a connection");
        let script = thread::spawn(move || {
            let mut peer: Peer = broker.accept();
            let line = String::from_utf8(peer.line()).expect("text");
            let reply = line.strip_prefix("SUBSCRIBE ").expect("a SUBSCRIBE");
            peer.say(&format!("SUBACK {reply}"));
            peer.expect(&expected.replace("TOPIC", reply));
            for line in said {
                peer.say(&line.replace("TOPIC", reply));
            }
            peer.expect_end();
        });
        let answer = client.inquire(argument, limit);
        drop(client);
        script.join().expect("the script was played");
        answer
    }

    #[test]
    fn an_answer_is_read_and_what_is_new_in_it_is_ignored() {
        let audit: Audit = check(
            ("", None),
            "@reply=TOPIC;id=1 PUBLISH $SYS/request/audit",
            &[
                r#"@id=1 MESSAGE TOPIC {"balanced":true,"exact":true,"published":3,"matched":2,"unmatched":1,"refused":0,"copies":9,"written":3,"waiting":2,"dropped":{"full":1,"memory":1},"discarded":1,"withdrawn":1,"moon":"full"}"#,
                "PUBACK 1 1",
            ],
        )
        .expect("an answer");
        assert!(audit.is_balanced(), "{audit:?}");
        assert_eq!(audit.total_dropped(), 2);
    }

    #[test]
    fn an_inquiry_may_have_an_argument_and_a_limit() {
        let topics: Topics = check(
            ("a/#", Some(1)),
            "@limit=1;reply=TOPIC;id=1 PUBLISH $SYS/request/topics a/#",
            &[
                r#"@id=1 MESSAGE TOPIC {"total":7,"topics":[{"topic":"a/b","messages":1,"copies":0,"rate":0.1,"last_s":2.5,"subscribers":0,"retained":null}]}"#,
                "PUBACK 1 1",
            ],
        )
        .expect("an answer");
        assert_eq!((topics.total, topics.topics.len()), (7, 1));
        assert_eq!(topics.topics[0].retained, None);
    }

    #[test]
    fn a_broker_that_answers_no_inquiries_is_told_from_others() {
        let refused: Result<Who, Error> = check(
            ("", None),
            "@reply=TOPIC;id=1 PUBLISH $SYS/request/who",
            &["ERROR denied publish:1 publish elsewhere", "PUBACK 1 0"],
        );
        let error = refused.expect_err("a refusal");
        assert_eq!(
            error.to_string(),
            "this broker does not answer the inquiry `who`: publish elsewhere (denied publish:1)"
        );
    }

    #[test]
    fn an_answer_that_is_none_or_is_lost_is_an_error() {
        let request = "@reply=TOPIC;id=1 PUBLISH $SYS/request/who";
        let odd: Result<Who, Error> = check(
            ("", None),
            request,
            &[r#"@id=1 MESSAGE TOPIC {"total":"many"}"#, "PUBACK 1 1"],
        );
        let error = odd.expect_err("no answer").to_string();
        assert!(
            error.starts_with("the answer to `who` cannot be read: invalid type"),
            "{error}"
        );
        let lost: Result<Who, Error> = check(("", None), request, &["PUBACK 1 0", "GAP 1"]);
        let error = lost.expect_err("no answer").to_string();
        assert!(error.contains("ask for fewer rows"), "{error}");
    }

    #[test]
    fn one_copy_too_many_or_too_few_anywhere_shows() {
        let balanced = Audit {
            balanced: true,
            published: 5,
            matched: 3,
            unmatched: 2,
            copies: 10,
            written: 4,
            waiting: 2,
            dropped: [("full".to_owned(), 2)].into(),
            discarded: 1,
            withdrawn: 1,
            ..Audit::default()
        };
        assert!(balanced.is_balanced());
        let changes: [fn(&mut Audit); 10] = [
            |audit| audit.balanced = false,
            |audit| audit.published += 1,
            |audit| audit.matched += 1,
            |audit| audit.unmatched += 1,
            |audit| audit.copies += 1,
            |audit| audit.written += 1,
            |audit| audit.waiting += 1,
            |audit| audit.dropped.clear(),
            |audit| audit.discarded += 1,
            |audit| audit.withdrawn += 1,
        ];
        for change in changes {
            let mut audit = balanced.clone();
            change(&mut audit);
            assert!(!audit.is_balanced(), "{audit:?}");
        }
    }

    #[test]
    fn a_difference_of_tomorrow_is_read_too() {
        let read = |text| serde_json::from_str::<Difference>(text).expect("a difference");
        assert_eq!(read("\"letter\""), Difference::Letter);
        assert_eq!(read("\"sound\""), Difference::Other);
    }
}
