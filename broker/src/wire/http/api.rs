//! `/api/...`: answers about the broker as JSON.

use std::borrow::Cow;

use http::StatusCode;
use protocol::{Code, escape_spaces};

use super::HttpConversation;
use super::request::{RequestHead, RequestRefusal};
use super::response::{JSON, Response};
use crate::admin::{self, Answer, BadArgument, MOST_ROWS, ROWS, What, orders};

/// The names of the questions.
const QUESTIONS: [(&str, What); 8] = [
    ("clients", What::Who),
    ("sessions", What::Sessions),
    ("topics", What::Topics),
    ("filters", What::Filters),
    ("why", What::Why),
    ("retained", What::Retained),
    ("audit", What::Audit),
    ("broker", What::Broker),
];

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
        let wanted = if what == What::Why { "topic" } else { "filter" };
        let (mut argument, mut limit) = (Cow::Borrowed(""), ROWS);
        for (name, value) in &head.query {
            if name == wanted {
                argument = escape_spaces(value);
            } else if name == "limit" {
                let number = value.parse().ok();
                let number = number.filter(|limit| (1..=MOST_ROWS).contains(limit));
                limit = number
                    .ok_or_else(|| bad(format!("limit is a number from 1 to {MOST_ROWS}")))?;
            } else {
                let text = format!("there is no parameter {name:?}; there is {wanted}, limit");
                return Err(bad(text));
            }
        }
        self.client.settle_all();
        let answer = admin::answer(self.client, what, argument.as_bytes(), limit);
        let answer = answer.map_err(|why| match why {
            BadArgument::NoTopic => bad("the topic is missing; write ?topic=<topic>".to_owned()),
            BadArgument::Denied(denied) => RequestRefusal::denied(&denied),
            BadArgument::Filter(_) | BadArgument::Topic(_) => bad(why.to_string()),
        })?;
        let free = self.client.memory().free().min(self.line_bytes);
        let mut json = answer.into_json(|json| json.len() <= free);
        json.push(b'\n');
        Ok(Response::new(StatusCode::OK, JSON, json))
    }
}
