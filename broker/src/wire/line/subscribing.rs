//! SUBSCRIBE and UNSUBSCRIBE.

use protocol::{
    Attributes, BadOverflowPolicy, Code, Filters, OverflowPolicy, Reply, SLOW, Subject,
};

use super::refusals::{not_subscribed, refusal};
use super::{ANSWER_BYTES, LineConversation};

impl LineConversation<'_, '_> {
    #[inline(never)]
    pub(super) fn subscribe(&mut self, filters: Filters<'_>, attributes: &Attributes<'_>) {
        let chosen = attributes
            .get(SLOW)
            .map(|value| OverflowPolicy::parse(&value));
        let slow = match chosen.transpose() {
            Ok(slow) => slow,
            Err(why) => return self.refuse_filters(filters, why),
        };
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

    /// Answers a SUBSCRIBE with an unknown overflow policy.
    fn refuse_filters(&mut self, filters: Filters<'_>, why: BadOverflowPolicy) {
        for (word, _) in filters.iter() {
            self.client.note_refused(1);
            let (code, subject) = (Code::BadAttribute, Subject::Subscribe(word));
            refusal(&mut self.answers, code, subject, &why.to_string());
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
