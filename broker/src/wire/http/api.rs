//! `/api/...`: answers about the broker as JSON.

use std::borrow::Cow;

use http::StatusCode;
use protocol::{Code, escape_spaces};

use super::HttpConversation;
use super::request::{RequestHead, RequestRefusal};
use super::response::{JSON, Response};
use crate::admin::{self, Answer, BadArgument, MOST_ROWS, ROWS, What, orders};

/// The names of the questions.
const QUESTIONS: [(&str, What); 10] = [
    ("clients", What::Who),
    ("sessions", What::Sessions),
    ("topics", What::Topics),
    ("filters", What::Filters),
    ("why", What::Why),
    ("may", What::May),
    ("retained", What::Retained),
    ("kept", What::Kept),
    ("audit", What::Audit),
    ("broker", What::Broker),
];

/// Maximum parameters of a question besides the limit.
const MOST_PARAMETERS: usize = 3;

impl HttpConversation<'_, '_> {
    /// Carries out an order.
    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    pub(super) fn order(
        &mut self,
        head: &RequestHead,
        word: &str,
    ) -> Result<Response, RequestRefusal> {
        let wanted = orders::parameter(word).unwrap_or_default();
        let argument = match &head.query[..] {
            [] => "",
            // A flag without a value.
            [(name, _)] if name == wanted && word == "reload" => wanted,
            [(name, value)] if name == wanted => value,
            _ => {
                let text = match wanted {
                    "" => format!("{word} has no parameter"),
                    _ => format!("{word} has one parameter, {wanted}"),
                };
                return Err(RequestRefusal::new(StatusCode::BAD_REQUEST, text));
            }
        };
        self.client.settle_all();
        let done = orders::carry_out(self.client, word, argument.as_bytes());
        let done = done.map_err(|refused| {
            let status = match refused.code {
                Code::Auth => StatusCode::UNAUTHORIZED,
                Code::Denied => StatusCode::FORBIDDEN,
                _ => StatusCode::CONFLICT,
            };
            RequestRefusal::new(status, refused.text)
        })?;
        let mut json = Answer::Done(done).into_json(|_| true);
        json.push(b'\n');
        Ok(Response::new(StatusCode::OK, JSON, json))
    }

    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    pub(super) fn ask(
        &mut self,
        head: &RequestHead,
        name: &str,
    ) -> Result<Response, RequestRefusal> {
        let bad = |text: String| RequestRefusal::new(StatusCode::BAD_REQUEST, text);
        let Some(&(_, what)) = QUESTIONS.iter().find(|(known, _)| *known == name) else {
            if orders::is_order(name) {
                return Err(RequestRefusal::not_allowed("POST, PUT"));
            }
            let names: Vec<&str> = QUESTIONS.iter().map(|(name, _)| *name).collect();
            let text = format!("there is no /api/{name}; there is {}", names.join(", "));
            return Err(RequestRefusal::new(StatusCode::NOT_FOUND, text));
        };
        let wanted = parameters(what);
        let (mut given, mut limit) = ([""; MOST_PARAMETERS], ROWS);
        for (name, value) in &head.query {
            if let Some(at) = wanted.iter().position(|known| known == name) {
                given[at] = value;
            } else if name == "limit" {
                let number = value.parse().ok();
                let number = number.filter(|limit| (1..=MOST_ROWS).contains(limit));
                limit = number
                    .ok_or_else(|| bad(format!("limit is a number from 1 to {MOST_ROWS}")))?;
            } else {
                let wanted = wanted.join(", ");
                let text = format!("there is no parameter {name:?}; there is {wanted}, limit");
                return Err(bad(text));
            }
        }
        let own = self.client.identity();
        let argument = argument(what, given, own.name.as_str());
        let argument = argument.ok_or_else(|| bad("who and right have no space".to_owned()))?;
        self.client.settle_all();
        let answer = admin::answer(self.client, what, argument.as_bytes(), limit);
        let answer = answer.map_err(|why| match why {
            BadArgument::NoTopic => bad("the topic is missing; write ?topic=<topic>".to_owned()),
            BadArgument::Denied(denied) => RequestRefusal::denied(&denied),
            BadArgument::Missing(_) => bad("the right is missing; write ?right=<right>".to_owned()),
            BadArgument::Filter(_) | BadArgument::Topic(_) | BadArgument::Question(_) => {
                bad(why.to_string())
            }
        })?;
        let free = self.client.memory().free().min(self.line_bytes);
        let mut json = answer.into_json(|json| json.len() <= free);
        json.push(b'\n');
        Ok(Response::new(StatusCode::OK, JSON, json))
    }
}

/// The names of the parameters that a question has besides the limit.
fn parameters(what: What) -> &'static [&'static str] {
    match what {
        What::Why => &["topic", "as"],
        What::May => &["who", "right", "object"],
        _ => &["filter"],
    }
}

/// The argument as an inquiry has it; none if a word has a space, which would make two of it. A question about
/// rights that names no identity is about one's own.
fn argument<'a>(what: What, given: [&'a str; MOST_PARAMETERS], own: &str) -> Option<Cow<'a, str>> {
    match (what, given) {
        (What::May, [who, right, object]) => {
            let who = if who.is_empty() { own } else { who };
            let are_words = ![who, right].iter().any(|word| word.contains(' '));
            are_words.then(|| format!("{who} {right} {object}").into())
        }
        (What::Why, [topic, who, _]) if !who.is_empty() => {
            Some(format!("{} {who}", escape_spaces(topic)).into())
        }
        (_, [argument, ..]) => Some(escape_spaces(argument)),
    }
}
