//! The verbs of the protocol: their spelling on the wire, and the text of HELP for each.
//!
//! `frame.rs` has the frames that they begin. Nothing here knows an argument.

use std::fmt;

/// Every verb of the protocol, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Publishes a message.
    Publish,
    /// Subscribes to filters.
    Subscribe,
    /// Ends subscriptions.
    Unsubscribe,
    /// Asks the peer for a PONG.
    Ping,
    /// Answers a PING.
    Pong,
    /// Explains the verbs.
    Help,
    /// Sets the message to publish if the connection ends without BYE.
    Will,
    /// Sets the name of the client.
    Name,
    /// Says which user the client is, or asks who it is.
    Auth,
    /// Turns PUBACKs off.
    Quiet,
    /// Ends the connection.
    Bye,
    /// Delivers a message.
    Message,
    /// Answers one or more PUBLISH.
    PubAck,
    /// Answers one filter of a SUBSCRIBE.
    SubAck,
    /// Answers one filter of an UNSUBSCRIBE.
    UnsubAck,
    /// Answers a WILL.
    WillAck,
    /// Answers a NAME.
    NameAck,
    /// Answers an AUTH.
    AuthAck,
    /// Answers a QUIET.
    QuietAck,
    /// Refuses a frame.
    Error,
    /// Reports dropped messages.
    Gap,
    /// Ends the past that a SUBSCRIBE has asked for; what is new follows.
    Current,
    /// Ends the past that a SUBSCRIBE has asked for; nothing follows.
    End,
}

impl Verb {
    /// The verbs of clients, in the order in which HELP lists them.
    pub const OF_CLIENTS: [Self; 11] = [
        Self::Publish,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Will,
        Self::Name,
        Self::Auth,
        Self::Quiet,
        Self::Ping,
        Self::Pong,
        Self::Help,
        Self::Bye,
    ];

    /// The verbs of the broker.
    pub const OF_BROKERS: [Self; 16] = [
        Self::Message,
        Self::PubAck,
        Self::SubAck,
        Self::UnsubAck,
        Self::WillAck,
        Self::NameAck,
        Self::AuthAck,
        Self::QuietAck,
        Self::Error,
        Self::Gap,
        Self::Current,
        Self::End,
        Self::Ping,
        Self::Pong,
        Self::Help,
        Self::Bye,
    ];

    /// The spelling on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "PUBLISH",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Ping => "PING",
            Self::Pong => "PONG",
            Self::Help => "HELP",
            Self::Will => "WILL",
            Self::Name => "NAME",
            Self::Auth => "AUTH",
            Self::Quiet => "QUIET",
            Self::Bye => "BYE",
            Self::Message => "MESSAGE",
            Self::PubAck => "PUBACK",
            Self::SubAck => "SUBACK",
            Self::UnsubAck => "UNSUBACK",
            Self::WillAck => "WILLACK",
            Self::NameAck => "NAMEACK",
            Self::AuthAck => "AUTHACK",
            Self::QuietAck => "QUIETACK",
            Self::Error => "ERROR",
            Self::Gap => "GAP",
            Self::Current => "CURRENT",
            Self::End => "END",
        }
    }

    /// Parses a verb in any ASCII case.
    pub fn parse(word: &[u8]) -> Option<Self> {
        let is_it = |verb: &Self| verb.as_str().as_bytes().eq_ignore_ascii_case(word);
        Self::OF_CLIENTS
            .into_iter()
            .chain(Self::OF_BROKERS)
            .find(is_it)
    }

    /// Syntax and answer on one line; `None` for a verb that is not in [`Self::OF_CLIENTS`].
    pub fn help(self) -> Option<&'static str> {
        match self {
            Self::Publish => Some(
                "PUBLISH <topic>[ <payload>] - send a message to all who subscribed; answer: PUBACK <n> <copies>",
            ),
            Self::Subscribe => Some(
                "SUBSCRIBE <filter>[ <filter>...] - get messages; + is one level, # all below; answer: SUBACK <filter>",
            ),
            Self::Unsubscribe => Some(
                "UNSUBSCRIBE <filter>[ <filter>...] - get no more of them; answer: UNSUBACK <filter>",
            ),
            Self::Ping => Some(
                "PING[ <token>] - have all frames before this one been handled? answer: PONG[ <token>]",
            ),
            Self::Pong => Some("PONG[ <token>] - answer to the broker's PING; no answer"),
            Self::Help => Some("HELP[ <verb>] - this list, or one line of it"),
            Self::Will => Some(
                "WILL <topic>[ <payload>] - publish this if the connection ends without BYE; answer: WILLACK <topic>",
            ),
            Self::Name => Some(
                "NAME <name> - what to call this client in lists and logs; answer: NAMEACK <name>",
            ),
            Self::Auth => Some(
                "AUTH[[ <user>] <secret>] - say who you are, by a password or a token; alone, ask; answer: AUTHACK <name>",
            ),
            Self::Quiet => Some(
                "QUIET - from now on no PUBACK, for a client that does not read; ERRORs still come; answer: QUIETACK",
            ),
            Self::Bye => Some("BYE - leave; answer: what still waits for you, then BYE"),
            Self::Message
            | Self::PubAck
            | Self::SubAck
            | Self::UnsubAck
            | Self::WillAck
            | Self::NameAck
            | Self::AuthAck
            | Self::QuietAck
            | Self::Error
            | Self::Gap
            | Self::Current
            | Self::End => None,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_is_read_in_any_case() {
        assert_eq!(Verb::parse(b"publish"), Some(Verb::Publish));
        assert_eq!(Verb::parse(b"PuBaCk"), Some(Verb::PubAck));
        assert_eq!(Verb::parse(b"PUBLISHED"), None);
        assert_eq!(Verb::parse(b""), None);
    }

    #[test]
    fn every_verb_of_a_client_is_explained() {
        for verb in Verb::OF_CLIENTS {
            let help = verb.help().expect("a client's verb has a line of help");
            assert!(help.starts_with(verb.as_str()));
        }
    }

    #[test]
    fn no_verb_is_an_http_method() {
        for method in [
            "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "CONNECT", "TRACE",
        ] {
            assert_eq!(Verb::parse(method.as_bytes()), None, "{method}");
        }
    }
}
