//! SUBSCRIBE and UNSUBSCRIBE.

use protocol::{
    Attributes, Code, Filters, Incomplete, OverflowPolicy, PastQuery, PastStart, Position, Reply,
    SLOW, Subject,
};

use super::refusals::{not_read, not_subscribed, refusal};
use super::{ANSWER_BYTES, LineConversation};
use crate::engine::client::{Answering, FollowAnswers, PastError, PastStep, SubscribeError};

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
        match PastQuery::of(attributes, self.client.limits().past_messages) {
            Ok(None) => {}
            Ok(Some(_)) if slow.is_some() => {
                let why =
                    "nothing is dropped for a client that asks for the past; leave out `slow`";
                return self.refuse_filters(filters, why);
            }
            Ok(Some(query)) if query.until_now => return self.read_past(filters, query.start),
            Ok(Some(query)) => return self.follow(filters, query.start),
            Err(why) => return self.refuse_filters(filters, &why.to_string()),
        }
        let refused = self
            .client
            .subscribe(filters.iter(), slow, |answering, word, subscribed| {
                let answers = &mut answering.answers;
                match subscribed {
                    Ok(()) => suback(answers, word, None),
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
    fn read_past(&mut self, filters: Filters<'_>, start: PastStart) {
        for (word, filter) in filters.iter() {
            let filter = filter.map_err(|why| PastError::Refused(SubscribeError::BadFilter(why)));
            let read = filter.and_then(|filter| {
                self.client.read_past(filter, start, |guard, step| {
                    let mut answer = Vec::new();
                    match step {
                        PastStep::Begin(incomplete) => suback(&mut answer, word, incomplete),
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
                self.refuse_past(word, why);
            }
        }
    }

    /// Subscribes to each filter so that nothing is missed that is kept.
    #[inline(never)]
    fn follow(&mut self, filters: Filters<'_>, start: PastStart) {
        for (word, filter) in filters.iter() {
            let filter = filter.map_err(|why| PastError::Refused(SubscribeError::BadFilter(why)));
            let followed =
                filter.and_then(|filter| self.client.follow(filter, start, &FilterAnswers(word)));
            if let Err(why) = followed {
                self.refuse_past(word, why);
            }
            self.client.wait_for_room();
        }
    }

    fn refuse_past(&mut self, filter: &[u8], why: PastError) {
        self.client.note_refused(1);
        let (code, text) = not_read(why);
        refusal(&mut self.answers, code, Subject::Subscribe(filter), &text);
        self.finish_part(&[]);
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

/// What a client is told of a filter that it follows.
struct FilterAnswers<'f>(&'f [u8]);

impl FollowAnswers for FilterAnswers<'_> {
    fn begin(&self, answering: &mut Answering<'_, '_>, incomplete: Option<Incomplete>) {
        suback(&mut answering.answers, self.0, incomplete);
    }

    fn current(&self, position: Option<Position>) -> Vec<u8> {
        let mut answer = Vec::new();
        let filter = self.0;
        Reply::Current { filter, position }.encode(&mut answer);
        answer
    }
}

/// Answers a filter, and says so if some of what was asked for is not there.
fn suback(out: &mut Vec<u8>, filter: &[u8], incomplete: Option<Incomplete>) {
    Reply::SubAck { filter, incomplete }.encode(out);
}
