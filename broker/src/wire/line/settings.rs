//! WILL, NAME, AUTH, QUIET and HELP: what a client says about itself, and asks about the protocol.

use std::ops::ControlFlow;

use protocol::{
    AckLevel, Attributes, Code, Credential, Escaped, Name, RETAIN, Reply, Subject, Topic, Verb,
};

use super::LineConversation;
use super::refusals::{denial, not_authenticated, refusal};
use crate::auth::identity::Secret;
use crate::engine::client::{BrokersOwn, NoMemory, PublishError};
use crate::engine::outbox::run::PublishOptions;
use crate::wire::end::End;

impl LineConversation<'_, '_> {
    #[inline(never)]
    pub(super) fn set_will(
        &mut self,
        topic: Topic<'_>,
        payload: Escaped<'_>,
        attributes: Attributes<'_>,
    ) {
        let retain = attributes.contains(RETAIN);
        if let Err(why) = AckLevel::asked(&attributes) {
            return self.refuse_line(Code::BadAttribute, &why.to_string());
        }
        match self.client.check_will_topic(topic, retain) {
            Ok(())
            | Err(
                PublishError::Full(_)
                | PublishError::OverLimit(_)
                | PublishError::NotKept(_)
                | PublishError::BadAckLevel(_),
            ) => {}
            Err(PublishError::BrokersOwn) => {
                return self.refuse_line(Code::Denied, &BrokersOwn.to_string());
            }
            Err(PublishError::Denied(denied)) => {
                let (code, text) = denial(&denied);
                return self.refuse_line(code, &format!("the will: {text}"));
            }
        }
        let name = topic.as_str();
        if let Err(NoMemory) =
            self.client
                .set_will(topic, payload, attributes, PublishOptions::LINE.qos)
        {
            return self.refuse_line(
                Code::TooMany,
                "there is no memory for this will now; send it again later, or a shorter one",
            );
        }
        let topic = name.as_bytes();
        Reply::WillAck { topic }.encode(&mut self.answers);
    }

    #[inline(never)]
    pub(super) fn set_name(&mut self, name: Name<'_>) {
        if let Err(denied) = self.client.check_nick(name.as_str()) {
            let (code, text) = denial(&denied);
            return self.refuse_line(code, &text);
        }
        // The first alone, because it may change as often as the client likes.
        let is_first = self.client.record().name().is_none();
        self.client.set_name(name.as_str());
        let level = if is_first {
            log::Level::Info
        } else {
            log::Level::Debug
        };
        let (id, name) = (self.client.id(), name.as_str());
        log::log!(level, "connection {id} is called {name:?}");
        let name = name.as_bytes();
        Reply::NameAck { name }.encode(&mut self.answers);
    }

    /// Tells the client who it is, once that is known. One that is not who it says goes on as who it was, if there is
    /// a place for that.
    #[inline(never)]
    pub(super) fn authenticate(&mut self, credential: Option<&Credential<'_>>) -> ControlFlow<End> {
        if let Some(Credential { user, secret }) = credential {
            let secret = Secret::shown(secret.unescape().into_owned()).ok();
            let user = user.unwrap_or_default();
            let ended = match self.client.authenticate(user, secret.as_ref()) {
                Ok(ended) => ended,
                Err(why) => {
                    self.refuse_line(not_authenticated(&why), &why.to_string());
                    return self.enter();
                }
            };
            for (filter, denied) in ended {
                let subject = Subject::Subscribe(filter.as_bytes());
                let text = denied.to_string();
                refusal(&mut self.answers, Code::Denied, subject, &text);
            }
        }
        let identity = self.client.identity();
        let name = identity.name.as_str().as_bytes();
        Reply::AuthAck { name }.encode(&mut self.answers);
        self.take_line_bytes();
        self.enter()
    }

    /// Counts the connection for the client that it is of, before anything is done for it.
    #[inline(never)]
    pub(super) fn enter(&mut self) -> ControlFlow<End> {
        if self.client.is_counted() {
            return ControlFlow::Continue(());
        }
        if let Err(over) = self.client.count_connection() {
            self.refuse_line(Code::TooMany, &over.to_string());
            self.finish_part(&[]);
            return ControlFlow::Break(End::Refused(over.to_string().into()));
        }
        self.take_line_bytes();
        ControlFlow::Continue(())
    }

    /// Its answer comes after the PUBACK for all PUBLISH frames before it.
    #[inline(never)]
    pub(super) fn be_quiet(&mut self) {
        self.receipts.be_quiet();
        Reply::QuietAck.encode(&mut self.answers);
    }

    #[inline(never)]
    pub(super) fn help(&mut self, verb: Option<Verb>) {
        let verbs = match &verb {
            Some(verb) => std::slice::from_ref(verb),
            None => &Verb::OF_CLIENTS[..],
        };
        for verb in verbs {
            let text = match verb.help() {
                Some(text) => text.into(),
                None => format!("{verb} is sent only by the broker; see docs/protocol.md").into(),
            };
            Reply::Help { text }.encode(&mut self.answers);
        }
    }
}
