//! SUBSCRIBE and UNSUBSCRIBE.

use protocol::{
    Attributes, Code, Filters, INCOMPLETE, OLDEST, OverflowPolicy, PastQuery, Position, Reply,
    SLOW, Subject,
};

use super::refusals::{not_read, not_subscribed, refusal};
use super::{ANSWER_BYTES, LineConversation};
use crate::engine::client::{PastError, PastStep, SubscribeError};

impl LineConversation<'_, '_> {
    #[inline(never)]
    pub(super) fn subscribe(&mut self, filters: Filters<'_>, attributes: &Attributes<'_>) {
        let chosen = attributes
            .get(SLOW)
            .map(|value| OverflowPolicy::parse(&value));
        let slow = match chosen.transpose() {
            Ok(slow) => slow,
            Err(why) => return self.refuse_filters(filters, &why.to_string()),
        };
        match PastQuery::of(attributes) {
            Ok(None) => {}
            Ok(Some(query)) => return self.read_past(filters, query),
            Err(why) => return self.refuse_filters(filters, &why.to_string()),
        }
        let refused = self
            .client
            .subscribe(filters.iter(), slow, |answering, word, subscribed| {
                let answers = &mut answering.answers;
                match subscribed {
                    Ok(()) => Reply::SubAck { filter: word }.encode(answers),
                    Err(why) => {
                        let (code, text) = not_subscribed(why);
                        refusal(answers, code, Subject::Subscribe(word), &text);
                    }
                }
            });
        self.client.note_refused(refused);
        self.client.wait_for_room();
    }

    /// Answers each filter with what is kept of the past.
    #[inline(never)]
    fn read_past(&mut self, filters: Filters<'_>, query: PastQuery) {
        if !query.until_now {
            let why = "this broker sends the past alone: add `until=now`, and subscribe without it for what is new";
            return self.refuse_filters(filters, why);
        }
        for (word, filter) in filters.iter() {
            let filter = filter.map_err(|why| PastError::Refused(SubscribeError::BadFilter(why)));
            let read = filter.and_then(|filter| {
                self.client.read_past(filter, query.start, |guard, step| {
                    let mut answer = Vec::new();
                    match step {
                        PastStep::Begin { oldest } => suback(&mut answer, word, oldest),
                        PastStep::Lines(lines) => return guard.answer(lines),
                        PastStep::End { position } => {
                            let filter = word;
                            Reply::End { filter, position }.encode(&mut answer);
                        }
                    }
                    guard.answer(&answer);
                })
            });
            if let Err(why) = read {
                self.client.note_refused(1);
                let (code, text) = not_read(why);
                refusal(&mut self.answers, code, Subject::Subscribe(word), &text);
                self.finish_part(&[]);
            }
        }
    }

    /// Answers a SUBSCRIBE that is refused as a whole.
    fn refuse_filters(&mut self, filters: Filters<'_>, why: &str) {
        for (word, _) in filters.iter() {
            self.client.note_refused(1);
            let (code, subject) = (Code::BadAttribute, Subject::Subscribe(word));
            refusal(&mut self.answers, code, subject, why);
        }
    }

    #[inline(never)]
    pub(super) fn unsubscribe(&mut self, filters: Filters<'_>) {
        for (word, filter) in filters.iter() {
            match filter {
                Ok(filter) => {
                    self.client.unsubscribe(filter);
                    Reply::UnsubAck { filter: word }.encode(&mut self.answers);
                }
                Err(why) => {
                    self.client.note_refused(1);
                    refusal(
                        &mut self.answers,
                        Code::BadFilter,
                        Subject::Unsubscribe(word),
                        &why.to_string(),
                    );
                }
            }
            if self.answers.len() > ANSWER_BYTES {
                self.finish_part(&[]);
                self.client.wait_for_room();
            }
        }
    }
}

/// Answers a filter, with where the past begins if that is later than was asked for.
fn suback(out: &mut Vec<u8>, filter: &[u8], oldest: Option<Position>) {
    if let Some(oldest) = oldest {
        out.extend_from_slice(format!("@{INCOMPLETE};{OLDEST}={oldest} ").as_bytes());
    }
    Reply::SubAck { filter }.encode(out);
}
