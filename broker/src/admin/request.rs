//! A message to `$SYS/request/...` is a question to the broker, whatever wire it comes by: what it
//! asks, where the answer goes, and why there is none.

use std::fmt::Write;

use protocol::{Attributes, Code, Escaped, ID, LIMIT, REPLY, Topic};

use crate::admin::{self, BadArgument, MOST_ROWS, ROWS, What};
use crate::engine::client::{BrokersOwn, Client, Message, PublishError};
use crate::engine::outbox::run::PublishOptions;

/// What questions are published to, before the word that says what is asked.
const REQUEST: &str = "$SYS/request/";

/// What a line of the answer has besides its payload, attributes included, at most.
const FRAME_BYTES: usize = 128;

/// Why there is no answer.
pub(crate) struct Unanswered {
    pub(crate) code: Code,
    /// What to do about it.
    pub(crate) text: String,
}

impl Client<'_> {
    /// Answers a message on a topic of the broker's own, at once; returns the copies made of the answer. What
    /// was added to the batch before is delivered already. An answer is no longer than `most_bytes`, as a
    /// line.
    pub(crate) fn inquire(
        &mut self,
        topic: Topic<'_>,
        payload: &Escaped<'_>,
        attributes: &Attributes<'_>,
        most_bytes: usize,
    ) -> Result<u64, Unanswered> {
        let what = what(topic)?;
        let reply = attributes.get(REPLY).ok_or_else(|| {
            let text = "an inquiry needs a topic for its answer, @reply=<topic> or the response topic of \
                        MQTT; subscribe to that topic first";
            unanswered(Code::MissingArgument, text)
        })?;
        let reply = reply_topic(&reply)?;
        self.check_topic(reply).map_err(|BrokersOwn| no_reply())?;
        let limit = limit(attributes)?;
        let mut given_back = Attributes::default();
        if let Some(id) = attributes.get(ID) {
            given_back.push(ID, &id).expect("`id` is a valid key");
        }
        // An audit waits until no batch is under way, and this one is done but for the answer.
        self.settle_all();
        let answer = admin::answer(self, what, &payload.unescape(), limit);
        self.begin();
        let room = most_bytes.saturating_sub(
            FRAME_BYTES + reply.as_str().len() + attributes.get(ID).map_or(0, |id| 2 * id.len()),
        );
        let json = answer?.into_json(|json| {
            // Each backslash is written in two; a JSON text has no line ends in it.
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
        self.publish_now(message).map_err(|refused| match refused {
            PublishError::BrokersOwn => no_reply(),
            PublishError::Full(full) => unanswered(Code::TooMany, &full.to_string()),
        })
    }
}

fn what(topic: Topic<'_>) -> Result<What, Unanswered> {
    let Some(word) = topic.as_str().strip_prefix(REQUEST) else {
        return Err(unanswered(
            Code::Denied,
            "only the broker publishes under $SYS/; it is asked at $SYS/request/<what>",
        ));
    };
    What::from_word(word).ok_or_else(|| {
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
        let code = match why {
            BadArgument::Filter(_) => Code::BadFilter,
            BadArgument::Topic(_) => Code::BadTopic,
            BadArgument::NoTopic => Code::MissingArgument,
        };
        unanswered(code, &why.to_string())
    }
}
