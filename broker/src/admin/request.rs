//! Questions that clients ask by publishing to `$SYS/request/...`, over any wire: parses the question,
//! and publishes the answer to the reply topic or returns the error.

use std::fmt::Write;

use protocol::{Attributes, Code, Escaped, ID, LIMIT, REPLY, Topic};

use crate::admin::unanswered::Unanswered;
use crate::admin::{self, Answer, BadArgument, MOST_ROWS, ROWS, What, orders};
use crate::engine::client::{Client, Denied, Message, PublishError};
use crate::engine::outbox::run::PublishOptions;

/// Prefix of the topics that questions are published to; the word of the question follows.
const REQUEST: &str = "$SYS/request/";

/// Maximum bytes of an answer's line besides its payload, attributes included.
const FRAME_BYTES: usize = 128;

impl Client<'_> {
    /// Answers a message that was published to a topic under `$SYS/`; returns the number of copies made
    /// of the answer. The caller must have delivered the messages added to the batch before. The line
    /// of the answer has at most `most_bytes` bytes.
    pub(crate) fn inquire(
        &mut self,
        topic: Topic<'_>,
        payload: &Escaped<'_>,
        attributes: &Attributes<'_>,
        most_bytes: usize,
    ) -> Result<u64, Unanswered> {
        let asked = asked(topic)?;
        let reply = attributes.get(REPLY).ok_or_else(|| {
            let text = "an inquiry needs a topic for its answer, @reply=<topic> or the response topic of \
                        MQTT; subscribe to that topic first";
            unanswered(Code::MissingArgument, text)
        })?;
        let reply = reply_topic(&reply)?;
        self.check_topic(reply).map_err(not_answered)?;
        let limit = limit(attributes)?;
        let mut given_back = Attributes::default();
        if let Some(id) = attributes.get(ID) {
            given_back.push(ID, &id).expect("`id` is a valid key");
        }
        // An audit waits until no batch is in progress; only the answer is missing from this one.
        self.settle_all();
        let answer = match asked {
            Requested::Question(what) => {
                admin::answer(self, what, &payload.unescape(), limit).map_err(Unanswered::from)
            }
            Requested::Order(word) => {
                orders::carry_out(self, word, &payload.unescape()).map(Answer::Done)
            }
        };
        self.begin();
        let room = most_bytes.saturating_sub(
            FRAME_BYTES + reply.as_str().len() + attributes.get(ID).map_or(0, |id| 2 * id.len()),
        );
        let json = answer?.into_json(|json| {
            // Each backslash becomes two in the line; JSON text contains no line ends.
            json.len() + memchr::memchr_iter(b'\\', json).count() <= room
        });
        if json.len() > self.memory().free() {
            return Err(unanswered(
                Code::TooMany,
                "there is no memory for this answer now; ask again later, or with a lower limit",
            ));
        }
        let _charge = self.memory().charge(json.len());
        let message = Message {
            topic: reply,
            payload: Escaped::escape(&json),
            attributes: given_back,
            options: PublishOptions::LINE,
        };
        self.publish_now(message).map_err(not_answered)
    }
}

/// What a message asks for.
enum Requested<'a> {
    Question(What),
    /// The word of an order.
    Order(&'a str),
}

fn asked(topic: Topic<'_>) -> Result<Requested<'_>, Unanswered> {
    let Some(word) = topic.as_str().strip_prefix(REQUEST) else {
        return Err(unanswered(
            Code::Denied,
            "only the broker publishes under $SYS/; it is asked at $SYS/request/<what>",
        ));
    };
    if orders::is_order(word) {
        return Ok(Requested::Order(word));
    }
    What::from_word(word)
        .map(Requested::Question)
        .ok_or_else(|| {
            let mut text = format!("there is no inquiry {word:?}; there is");
            for what in What::ALL {
                // Writing to a string does not fail.
                let _ = write!(text, " {}", what.word());
            }
            unanswered(Code::Denied, &text)
        })
}

fn reply_topic(name: &[u8]) -> Result<Topic<'_>, Unanswered> {
    Topic::parse(name).map_err(|why| unanswered(Code::BadTopic, &format!("reply: {why}")))
}

fn no_reply() -> Unanswered {
    unanswered(
        Code::Denied,
        "the answer cannot go to a topic under $SYS/; use one of your own, such as $reply/7",
    )
}

/// Why an answer cannot be published.
fn not_answered(refused: PublishError) -> Unanswered {
    match refused {
        PublishError::BrokersOwn => no_reply(),
        PublishError::Denied(denied) => denied.into(),
        PublishError::Full(full) => unanswered(Code::TooMany, &full.to_string()),
        PublishError::OverLimit(over) => unanswered(Code::TooMany, &over.to_string()),
        PublishError::NotKept(why) => unanswered(Code::NotDone, &why.to_string()),
        PublishError::BadAckLevel(why) => unanswered(Code::BadAttribute, &why.to_string()),
    }
}

impl From<Denied> for Unanswered {
    fn from(denied: Denied) -> Self {
        let code = match denied.needs_auth {
            true => Code::Auth,
            false => Code::Denied,
        };
        unanswered(code, &denied.to_string())
    }
}

fn limit(attributes: &Attributes<'_>) -> Result<usize, Unanswered> {
    let Some(digits) = attributes.get(LIMIT) else {
        return Ok(ROWS);
    };
    str::from_utf8(&digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .filter(|limit| (1..=MOST_ROWS).contains(limit))
        .ok_or_else(|| {
            let text = format!("limit is a number from 1 to {MOST_ROWS}");
            unanswered(Code::BadAttribute, &text)
        })
}

fn unanswered(code: Code, text: &str) -> Unanswered {
    Unanswered {
        code,
        text: text.to_owned(),
    }
}

impl From<BadArgument> for Unanswered {
    fn from(why: BadArgument) -> Self {
        let code = match &why {
            BadArgument::Denied(denied) => return denied.clone().into(),
            BadArgument::Filter(_) => Code::BadFilter,
            BadArgument::Topic(_) => Code::BadTopic,
            BadArgument::NoTopic | BadArgument::Missing(_) => Code::MissingArgument,
            BadArgument::Question(_) => Code::NotDone,
        };
        unanswered(code, &why.to_string())
    }
}
