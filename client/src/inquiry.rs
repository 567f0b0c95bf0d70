//! The broker's answers to inquiries about itself: one type for each inquiry of
//! [`Client::inquire`](crate::Client::inquire).
//!
//! `docs/protocol.md`, "Inquiries", describes the wire format. Members that a newer broker adds are
//! ignored. Times are in seconds before now. A space in a topic or filter is a space, as always in JSON;
//! [`encode_spaces`](crate::encode_spaces) spells it for a request.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::printable::printable;

/// The topic prefix of inquiries and orders.
pub(crate) const TOPIC: &str = "$SYS/request/";

/// The attribute of an inquiry that limits the rows of its answer.
pub(crate) const LIMIT: &str = "limit";

/// The maximum number of rows in an answer.
pub const MAX_LIMIT: u64 = 100_000;

/// The answer to an inquiry.
pub trait Answer: DeserializeOwned {
    /// The name of the inquiry on the wire.
    const WHAT: &'static str;

    /// The topic of the inquiry.
    fn topic() -> String {
        format!("{TOPIC}{}", Self::WHAT)
    }
}

/// The JSON in the broker's answer to `what`.
pub(crate) fn parsed<T: DeserializeOwned>(what: &'static str, payload: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(payload).map_err(|error| Error::BadAnswer {
        what,
        why: printable(&format!("cannot be read: {error}")),
    })
}

/// `audit`: the broker's ledger of messages and copies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Whether the broker's own check finds every message and copy accounted for.
    pub balanced: bool,
    /// Whether all figures are of the same moment. If not, messages moved while the broker added
    /// them up.
    pub exact: bool,
    /// Accepted messages.
    pub published: u64,
    /// Messages with at least one subscriber, or kept in the log.
    pub matched: u64,
    /// All others.
    pub unmatched: u64,
    /// Messages kept in the log; brokers before that do not say it.
    #[serde(default)]
    pub kept: u64,
    /// Frames that were answered with `ERROR`.
    pub refused: u64,
    /// Copies, one for each subscriber of each message.
    pub copies: u64,
    /// Copies written to the subscriber's socket.
    pub written: u64,
    /// Copies in an outbox.
    pub waiting: u64,
    /// Dropped copies, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Copies whose subscriber disconnected before it had read them.
    pub discarded: u64,
    /// Copies whose subscriber disconnected or unsubscribed before they reached its outbox.
    pub withdrawn: u64,
}

impl Audit {
    /// Number of dropped copies, for all reasons.
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

    /// Whether both equations hold and the broker's own check agrees.
    pub fn is_balanced(&self) -> bool {
        self.balanced && self.messages_balance() && self.copies_balance()
    }
}

impl Answer for Audit {
    const WHAT: &'static str = "audit";
}

/// `who`: the connections, or those with a subscription that overlaps a filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Who {
    /// Total number, regardless of the limit.
    pub total: u64,
    /// The connections, ordered by their numbers.
    pub connections: Vec<Connection>,
}

impl Answer for Who {
    const WHAT: &'static str = "who";
}

/// One connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Its number, unique among all connections of this broker.
    pub id: u64,
    /// The name that its client has set.
    pub name: Option<String>,
    /// The identity that it acts under; empty if the broker does not say.
    #[serde(default)]
    pub identity: String,
    /// How its client has shown the identity, such as `password`.
    #[serde(default)]
    pub kind: String,
    /// The address of the peer.
    pub peer: String,
    /// The protocol it speaks.
    pub wire: String,
    /// There is no connection: the row is a session of MQTT whose client is disconnected.
    #[serde(default)]
    pub away: bool,
    /// Seconds since it was accepted.
    pub connected_s: f64,
    /// Seconds since its client last sent something.
    pub idle_s: f64,
    /// Number of its subscriptions.
    pub subscriptions: u64,
    /// The first few of its filters.
    pub filters: Vec<String>,
    /// Messages in its outbox.
    pub waiting: u64,
    /// Bytes of these messages.
    pub waiting_bytes: u64,
    /// Seconds since its outbox was last empty.
    pub lag_s: Option<f64>,
    /// Messages it has published.
    pub published: u64,
    /// Its refused frames.
    pub refused: u64,
    /// Copies of its messages.
    pub copies: u64,
    /// Messages written to it.
    pub written: u64,
    /// Bytes written to it.
    pub bytes: u64,
    /// Messages for it that were dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Seconds since the last of them was dropped.
    pub dropped_last_s: Option<f64>,
    /// Seconds for which its client was not read from, for the rate of its identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_s: Option<f64>,
}

impl Connection {
    /// Number of messages for it that were dropped, for all reasons.
    pub fn total_dropped(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// `topics`: the topics that were published on, or those that a filter matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Topics {
    /// Total number, regardless of the limit.
    pub total: u64,
    /// How many topics the broker has forgotten to make room for others.
    #[serde(default)]
    pub forgotten: u64,
    /// Ordered by name.
    pub topics: Vec<SeenTopic>,
}

impl Answer for Topics {
    const WHAT: &'static str = "topics";
}

/// One topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenTopic {
    /// The name of the topic.
    pub topic: String,
    /// Messages published on it.
    pub messages: u64,
    /// Copies of these messages.
    pub copies: u64,
    /// Recent messages per second.
    pub rate: f64,
    /// Seconds since the last message.
    pub last_s: f64,
    /// Number of current subscribers; a share group counts as one.
    pub subscribers: u64,
    /// The size of its retained message.
    pub retained: Option<u64>,
}

/// `filters`: the filters that have subscribers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filters {
    /// Total number, regardless of the limit.
    pub total: u64,
    /// Ordered by name.
    pub filters: Vec<HeldFilter>,
}

impl Answer for Filters {
    const WHAT: &'static str = "filters";
}

/// One filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldFilter {
    /// The filter as subscribed.
    pub filter: String,
    /// Number of subscribers.
    pub subscribers: u64,
    /// Number of messages it has matched since its first current subscription.
    pub messages: u64,
}

/// `why`: the filters that match a topic, and those that nearly match it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The topic.
    pub topic: String,
    /// The filters that match it.
    pub matching: Vec<Matching>,
    /// Filters that nearly match it, the nearest first.
    pub near: Vec<Near>,
    /// Its retained message.
    pub retained: Option<Kept>,
    /// What was published on it; `None` if the broker remembers nothing.
    pub seen: Option<Seen>,
    /// What clients were denied here lately, the last first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<Denial>,
    /// What the identity that was asked about may do; the rest of the answer is what it may see.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub asked_as: Option<AsIdentity>,
}

impl Answer for Why {
    const WHAT: &'static str = "why";
}

/// What an identity may do with a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsIdentity {
    /// The identity.
    pub identity: String,
    /// Whether it may publish to the topic.
    pub publish: May,
    /// Whether it may subscribe to the topic.
    pub subscribe: May,
    /// Whether it may ask `why`. If not, it may see nothing of the answer.
    pub why: May,
}

/// Denials of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Denial {
    /// The identity that was denied it.
    pub identity: String,
    /// The right that was asked for.
    pub right: String,
    /// The topic or filter that was asked for last.
    pub object: String,
    /// The rule that denies it; `None` if no rule allows it.
    pub rule: Option<String>,
    /// How often it was denied.
    pub count: u64,
    /// Seconds since the last time.
    pub seconds_ago: f64,
}

/// `may`: whether an identity may do something. The argument is `WHO RIGHT OBJECT`, such as
/// `ann publish home/door`; some rights have no object. Others than one's own identity need the
/// right `inquire:why`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct May {
    /// Whether it is allowed, if only in part.
    pub allowed: bool,
    /// The rule that decides, such as `allowed by home.access:4: allow ...`.
    pub text: String,
}

impl Answer for May {
    const WHAT: &'static str = "may";
}

/// A filter that matches the topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Matching {
    /// The filter as subscribed.
    pub filter: String,
    /// Its subscribers; the list may be cut off.
    pub holders: Vec<Holder>,
    /// Number of subscribers.
    pub total: u64,
}

/// A filter that nearly matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Near {
    /// The filter as subscribed.
    pub filter: String,
    /// How it differs from a filter that matches.
    pub difference: Difference,
    /// Its subscribers; the list may be cut off.
    pub holders: Vec<Holder>,
    /// Number of subscribers.
    pub total: u64,
}

/// How a filter differs from one that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// Only in upper and lower case.
    Case,
    /// In one character of one level.
    Letter,
    /// In one level.
    Level,
    /// In a way that this client does not know.
    #[serde(other)]
    Other,
}

/// A subscriber of a filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// The number of the connection.
    pub id: u64,
    /// The identity that it acts under; empty if the broker does not say.
    #[serde(default)]
    pub identity: String,
    /// Whether the rules let messages of the topic through to it; `None` if the broker does not say.
    #[serde(default)]
    pub may_see: Option<bool>,
    /// The name that its client has set.
    pub name: Option<String>,
    /// The address of the peer.
    pub peer: String,
    /// The protocol it speaks.
    pub wire: String,
    /// Whether it gets from the log what the filter matches; false if the broker does not say.
    #[serde(default)]
    pub from_log: bool,
    /// Messages in its outbox.
    pub waiting: u64,
    /// Bytes of these messages.
    pub waiting_bytes: u64,
    /// The limit of its outbox in bytes.
    pub limit_bytes: u64,
    /// Whether its outbox is full, so that messages for it are dropped.
    pub is_full: bool,
    /// Number of messages for it that were dropped, on all topics.
    pub dropped: u64,
    /// Messages of this topic that were dropped recently.
    pub dropped_here: Option<DroppedHere>,
}

/// Messages of one topic that a subscriber has missed recently.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DroppedHere {
    /// Lower bound of the count.
    pub at_least: u64,
    /// Seconds since the last of them was dropped.
    pub last_s: f64,
}

/// A message that is retained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The size of its payload.
    pub bytes: u64,
    /// Seconds since it was published.
    pub age_s: f64,
}

/// What was published on a topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Number of messages.
    pub messages: u64,
    /// Number of copies of them.
    pub copies: u64,
    /// Seconds since the last message.
    pub last_s: f64,
}

/// `sessions`: the sessions that outlast connections, or those with a subscription that overlaps a filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sessions {
    /// Total number, regardless of the limit.
    pub total: u64,
    /// The sessions, ordered by their client identifiers.
    pub sessions: Vec<ResumableSession>,
}

impl Answer for Sessions {
    const WHAT: &'static str = "sessions";
}

/// One session that outlasts connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResumableSession {
    /// The identifier with which its client resumes it.
    pub client_id: String,
    /// The identity that it belongs to; empty if the broker does not say.
    #[serde(default)]
    pub identity: String,
    /// The address of its client, or of the last connection of a client that is away.
    pub peer: String,
    /// The protocol of its client.
    pub wire: String,
    /// Whether its client is disconnected.
    pub away: bool,
    /// Seconds since its client last sent something.
    pub idle_s: f64,
    /// Seconds after which it ends if its client stays away; none for never.
    pub expires_s: Option<f64>,
    /// Number of its subscriptions.
    pub subscriptions: u64,
    /// Messages that wait for its client in memory.
    pub waiting: u64,
    /// Bytes of these messages.
    pub waiting_bytes: u64,
    /// Entries of the log behind its place, of which it may get some; none if it gets nothing from there.
    #[serde(default)]
    pub lag: Option<u64>,
}

/// `retained`: the retained messages, or those whose topics a filter matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Retained {
    /// Total number, regardless of the limit.
    pub total: u64,
    /// Bytes they take, with the broker's overhead.
    pub bytes: u64,
    /// Maximum number of retained messages.
    pub max_count: u64,
    /// Maximum bytes of retained messages.
    pub max_bytes: u64,
    /// Ordered by topic.
    pub retained: Vec<RetainedTopic>,
}

impl Answer for Retained {
    const WHAT: &'static str = "retained";
}

/// One retained message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RetainedTopic {
    /// The topic.
    pub topic: String,
    /// The size of its payload.
    pub bytes: u64,
    /// Seconds since it was published.
    pub age_s: f64,
}

/// `kept`: the topics that keep messages, or those that a filter matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptTopics {
    /// Total number of topics, regardless of the limit.
    pub total: u64,
    /// Messages that all of them keep.
    pub messages: u64,
    /// Bytes of these messages.
    pub bytes: u64,
    /// Maximum number of topics that keep messages.
    pub max_topics: u64,
    /// Ordered by topic.
    pub kept: Vec<KeptTopic>,
}

impl Answer for KeptTopics {
    const WHAT: &'static str = "kept";
}

/// One topic that keeps messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptTopic {
    /// The topic.
    pub topic: String,
    /// Number of messages that are kept.
    pub messages: u64,
    /// Bytes of these messages, with their topics.
    pub bytes: u64,
    /// The position of the oldest.
    pub oldest: String,
    /// The position of the newest.
    pub newest: String,
    /// About how many seconds ago the oldest was published; none if the broker cannot tell.
    pub age_s: Option<f64>,
}

/// `broker`: the broker as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Broker {
    /// The version of the broker.
    pub version: String,
    /// Seconds since it started.
    pub uptime_s: f64,
    /// Number of connections.
    pub connections: u64,
    /// Maximum number of connections.
    pub max_connections: u64,
    /// Number of subscriptions.
    pub subscriptions: u64,
    /// Memory of outboxes and incomplete lines.
    pub memory: Memory,
    /// Figures of the retained messages.
    pub retained: RetainedFigures,
}

impl Answer for Broker {
    const WHAT: &'static str = "broker";
}

/// Bytes held for clients, and their limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes in use.
    pub used: u64,
    /// Maximum bytes.
    pub max: u64,
}

/// Retained messages, and their limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RetainedFigures {
    /// Number of messages.
    pub count: u64,
    /// Bytes of these messages.
    pub bytes: u64,
    /// Maximum number of messages.
    pub max_count: u64,
    /// Maximum bytes.
    pub max_bytes: u64,
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::Client;
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
