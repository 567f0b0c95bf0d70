//! Orders of an operator to the broker: one type, that of the answer, for each order of
//! [`Client::order`](crate::Client::order).
//!
//! The broker takes them over a Unix socket alone, from root or its own user. Members that a newer
//! broker adds are ignored.

use protocol::Attributes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::error::Error;
use crate::inquiry::{TOPIC, parsed};

/// The answer to an order.
pub trait Order: DeserializeOwned {
    /// The name of the order on the wire.
    const WHAT: &'static str;

    /// The topic of the order.
    fn topic() -> String {
        format!("{TOPIC}{}", Self::WHAT)
    }
}

impl Client {
    /// Gives the broker an operator's order; the type of the answer selects the order, and says what
    /// the argument is. The broker takes orders over a Unix socket alone, from root or its own user;
    /// otherwise the error is [`Error::Refused`], as it is for an order that it cannot carry out.
    ///
    /// ```no_run
    /// use client::orders::Reload;
    ///
    /// let mut client = client::Client::connect("unix:/run/dallal/broker.sock")?;
    /// let reload: Reload = client.order(Reload::DRY)?;
    /// for change in reload.changes {
    ///     println!("{}: {} -> {}", change.key, change.from, change.to);
    /// }
    /// # Ok::<(), client::Error>(())
    /// ```
    pub fn order<O: Order>(&mut self, argument: &str) -> Result<O, Error> {
        let within = self.answer_timeout();
        // An order can take its time, so the answer may come after the receipt.
        let mut answers = self.request_with(&O::topic(), argument, &Attributes::default())?;
        let answer = answers.next(Some(within))?;
        let answer = answer.ok_or(Error::NobodyAnswered { within })?;
        parsed(O::WHAT, &answer.payload)
    }
}

/// `reload`: the configuration is read again, and takes effect as a whole or not at all. With the
/// argument [`DRY`](Self::DRY) nothing takes effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// Whether the changes have taken effect.
    pub applied: bool,
    /// What differs from the configuration in force.
    pub changes: Vec<Change>,
    /// Why nothing took effect, one line each.
    pub errors: Vec<String>,
}

impl Reload {
    /// The argument with which nothing takes effect.
    pub const DRY: &'static str = "dry";
}

impl Order for Reload {
    const WHAT: &'static str = "reload";
}

/// A setting that has, or would have, another value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The name of the setting, such as `max-line`.
    pub key: String,
    /// The value in force before, as one would type it.
    pub from: String,
    /// The value afterwards.
    pub to: String,
    /// What it concerns and when, such as `12 connections, from the next batch`; may be empty.
    pub concerns: String,
}

/// `drain`: the broker takes no more clients, asks the others to leave, and ends when they have or
/// a time is over. The argument is that time, such as `30s`; the broker's own if it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Number of connections that are asked to leave.
    pub connections: u64,
    /// How long they may take, in seconds.
    pub seconds: u64,
}

impl Order for Drain {
    const WHAT: &'static str = "drain";
}

/// `restart`: another process of the broker takes over its listening sockets, and this one drains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// The number of the process that serves now.
    pub pid: u32,
}

impl Order for Restart {
    const WHAT: &'static str = "restart";
}

/// `kick`: connections are closed. The argument is the name of a client, an identifier of MQTT, or
/// the number of a connection behind a `#`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kick {
    /// The connections that were closed.
    pub kicked: Vec<Kicked>,
}

impl Order for Kick {
    const WHAT: &'static str = "kick";
}

/// A connection that was closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kicked {
    /// Its number, unique among all connections of this broker.
    pub id: u64,
    /// The name that its client had set.
    pub name: Option<String>,
    /// The address of the peer.
    pub peer: String,
}

/// `end-session`: a session of MQTT ends, with what waits for its client. The argument is the
/// identifier of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndSession {
    /// The identifier of the client whose session it was.
    pub ended: String,
    /// Number of messages that waited for the client and are gone.
    pub queued: u64,
}

impl Order for EndSession {
    const WHAT: &'static str = "end-session";
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::scripted::ScriptedBroker;

    /// One order whose request has to be `expected`, where TOPIC stands for that of the answer, as
    /// it does in what is `said`.
    fn check<O: Order>(
        argument: &str,
        expected: &'static str,
        said: &'static [&str],
    ) -> Result<O, Error> {
        let broker = ScriptedBroker::start();
        let mut client = Client::connect(broker.address()).expect("a connection");
        let script = thread::spawn(move || {
            let mut peer = broker.accept();
            let line = String::from_utf8(peer.line()).expect("text");
            let reply = line.strip_prefix("SUBSCRIBE ").expect("a SUBSCRIBE");
            peer.say(&format!("SUBACK {reply}"));
            peer.expect(&expected.replace("TOPIC", reply));
            for line in said {
                peer.say(&line.replace("TOPIC", reply));
            }
            peer.expect_end();
        });
        let answer = client.order(argument);
        drop(client);
        script.join().expect("the script was played");
        answer
    }

    #[test]
    fn an_order_is_answered() {
        let reload: Reload = check(
            Reload::DRY,
            "@reply=TOPIC;id=1 PUBLISH $SYS/request/reload dry",
            &[
                r#"@id=1 MESSAGE TOPIC {"applied":false,"changes":[{"key":"max-line","from":"1.0 MiB","to":"64.0 KiB","concerns":"all"}],"errors":[],"moon":1}"#,
                "PUBACK 1 1",
            ],
        )
        .expect("an answer");
        assert_eq!(
            (reload.applied, &*reload.changes[0].key),
            (false, "max-line")
        );
    }

    #[test]
    fn an_answer_may_come_after_the_receipt() {
        let restart: Restart = check(
            "",
            "@reply=TOPIC;id=1 PUBLISH $SYS/request/restart",
            &["PUBACK 1 0", r#"@id=1 MESSAGE TOPIC {"pid":4711}"#],
        )
        .expect("an answer");
        assert_eq!(restart.pid, 4711);
    }

    #[test]
    fn an_order_that_is_refused_has_the_text_of_the_broker() {
        let refused: Result<Kick, Error> = check(
            "#17",
            "@reply=TOPIC;id=1 PUBLISH $SYS/request/kick #17",
            &["ERROR denied publish:1 use the socket", "PUBACK 1 0"],
        );
        let error = refused.expect_err("a refusal");
        assert_eq!(error.to_string(), "use the socket (denied publish:1)");
        let odd: Result<Kick, Error> = check(
            "a b",
            "@reply=TOPIC;id=1 PUBLISH $SYS/request/kick a b",
            &["PUBACK 1 1", r#"@id=1 MESSAGE TOPIC {"kicked":3}"#],
        );
        let error = odd.expect_err("no list").to_string();
        assert!(
            error.starts_with("the answer to `kick` cannot be read: "),
            "{error}"
        );
    }
}
