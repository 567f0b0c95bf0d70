//! What a client publishes: its way into the batch, and how it is answered.

use std::borrow::Cow;

use mqtt_protocol_core::mqtt::packet::{Property, PropertyId};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use protocol::{BadTopic, Code, Escaped, Topic};

use super::{Broken, Conversation, Last};
use crate::admin::request::Unanswered;
use crate::engine::outbox::run::PublishOptions;
use crate::engine::publish::Place;
use crate::wire::mqtt::Version;
use crate::wire::mqtt::connect::{ALIASES, RECEIVE_MAXIMUM};
use crate::wire::mqtt::message;
use crate::wire::mqtt::packet::{Fault, Publish, kind};
use crate::wire::mqtt::property;
use crate::wire::mqtt::reply;

/// The code of PUBACK and PUBREC when nobody listens.
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

impl Conversation<'_, '_> {
    /// Handles a PUBLISH.
    pub(super) fn publish(&mut self, buffer: &[u8], publish: Publish<'_>) -> Result<(), Broken> {
        let topic = match publish.properties.is_empty() {
            true => Cow::Borrowed(publish.topic),
            false => self.resolve(&publish)?,
        };
        if topic.is_empty() {
            let code = MqttError::ProtocolError;
            return Err(Fault::new(code, "a PUBLISH has no topic and no alias"));
        }
        if publish.qos == 2 {
            if self.received.contains(&publish.id) {
                reply::ack(&mut self.answers, kind::PUBREC, publish.id, 0);
                return Ok(());
            }
            if self.received.len() >= usize::from(RECEIVE_MAXIMUM) {
                return Err(Fault::new(
                    MqttError::ReceiveMaximumExceeded,
                    "more messages at QoS 2 than the receive maximum are not released",
                ));
            }
        }
        let name = message::name_on_line(&topic);
        let simple = publish.properties.is_empty() && !publish.retain;
        let mut copies = if simple {
            self.publish_simply(&name, publish.payload, publish.qos)
        } else {
            self.publish_fully(buffer, &name, &publish)
        };
        if let Err(Refused::BrokersOwn) = copies {
            copies = self.inquire(buffer, &name, &publish);
        }
        self.acknowledge(&publish, copies)
    }

    /// The short way for what nearly every message is.
    #[inline]
    fn publish_simply(&mut self, name: &str, payload: &[u8], qos: u8) -> Result<u64, Refused> {
        let options = PublishOptions { qos, retain: false };
        let beside = self.client.dispatch.beside();
        let start = beside.len();
        let topic = message::write_line(beside, name, payload);
        let end = beside.len();
        if let Some(last) = &mut self.last
            && last.end == start
            && last.options == options
            && beside[last.topic.clone()] == *name.as_bytes()
        {
            last.end = end;
            let copies = self.client.dispatch.repeat(end);
            self.client.account.accept(copies);
            return Ok(copies);
        }
        let dispatch = &mut self.client.dispatch;
        let added = match dispatch.add_known_beside(topic.clone(), start..end, options) {
            Some(added) => added,
            None => {
                let name = checked(name).inspect_err(|_| dispatch.beside().truncate(start))?;
                dispatch.add_in(name, Place::Beside, topic.clone(), start..end, options)
            }
        };
        self.client.account.accept(added.copies);
        self.last = added.repeatable.then_some(Last {
            topic,
            end,
            options,
        });
        Ok(added.copies)
    }

    #[inline(never)]
    fn publish_fully(
        &mut self,
        buffer: &[u8],
        name: &str,
        publish: &Publish<'_>,
    ) -> Result<u64, Refused> {
        let topic = checked(name)?;
        let attributes = message::attributes(&publish.properties);
        let payload = Escaped::escape(publish.payload);
        self.last = None;
        if !publish.retain {
            let options = PublishOptions {
                qos: publish.qos,
                retain: false,
            };
            let added = self
                .client
                .add_beside_in(topic, &payload, &attributes, options);
            return Ok(added.copies);
        }
        self.finish_part(buffer);
        let published =
            self.client
                .publish_retained_at(buffer, topic, &payload, &attributes, publish.qos);
        match published {
            Ok(added) => Ok(added.copies),
            Err(full) => {
                let fault = Fault::new(MqttError::QuotaExceeded, full.to_string());
                Err(Refused::Policy(fault))
            }
        }
    }

    /// A message on a topic of the broker's own: a question to it, if there is a way to answer.
    #[inline(never)]
    fn inquire(
        &mut self,
        buffer: &[u8],
        name: &str,
        publish: &Publish<'_>,
    ) -> Result<u64, Refused> {
        let refused = |code, why: String| Refused::Policy(Fault::new(code, why));
        if self.version == Version::V3 {
            let why = "only the broker publishes under $SYS/";
            return Err(refused(MqttError::NotAuthorized, why.into()));
        }
        let topic = Topic::parse(name)
            .map_err(|why| refused(MqttError::TopicNameInvalid, why.to_string()))?;
        self.finish_part(buffer);
        let attributes = message::attributes(&publish.properties);
        // The argument is a topic or a filter, if there is one.
        let argument = str::from_utf8(publish.payload).map(message::name_on_line);
        let payload = match &argument {
            Ok(name) => Escaped::escape(name.as_bytes()),
            Err(_) => Escaped::escape(publish.payload),
        };
        let most_bytes = self
            .client
            .limits()
            .line_bytes
            .min(self.reply_limits.most as usize);
        let answered = self
            .client
            .inquire(topic, &payload, &attributes, most_bytes);
        answered
            .map(|added| added.copies)
            .map_err(|Unanswered { code, text }| {
                let code = match code {
                    Code::Denied => MqttError::NotAuthorized,
                    Code::TooMany => MqttError::QuotaExceeded,
                    _ => MqttError::ImplementationSpecificError,
                };
                refused(code, text)
            })
    }

    /// Answers a PUBLISH.
    fn acknowledge(
        &mut self,
        publish: &Publish<'_>,
        copies: Result<u64, Refused>,
    ) -> Result<(), Broken> {
        let kind = match publish.qos {
            0 | 1 => kind::PUBACK,
            _ => kind::PUBREC,
        };
        match copies {
            Ok(copies) => {
                if publish.qos == 0 {
                    return Ok(());
                }
                let nobody = copies == 0 && self.version == Version::V5;
                let code = if nobody { NO_MATCHING_SUBSCRIBERS } else { 0 };
                reply::ack(&mut self.answers, kind, publish.id, code);
            }
            Err(refused) => match (refused, self.version, publish.qos) {
                // That was put to the broker, which has taken it or said why not.
                (Refused::BrokersOwn, ..) => return Ok(()),
                (Refused::Forbidden(fault), ..)
                | (Refused::Name(fault), _, 0)
                | (Refused::Name(fault), Version::V3, _) => return Err(fault),
                (Refused::Policy(fault), _, 0) => {
                    // There is no way to tell.
                    self.note_refused(&fault);
                    return Ok(());
                }
                (Refused::Policy(fault), Version::V3, _) => {
                    self.note_refused(&fault);
                    reply::ack(&mut self.answers, kind, publish.id, 0);
                }
                (Refused::Name(fault) | Refused::Policy(fault), Version::V5, _) => {
                    self.note_refused(&fault);
                    let answers = &mut self.answers;
                    reply::refuse_publish(answers, kind, publish.id, &fault, self.reply_limits);
                    return Ok(());
                }
            },
        }
        if publish.qos == 2 {
            self.received.insert(publish.id);
        }
        Ok(())
    }

    #[inline(never)]
    fn note_refused(&mut self, fault: &Fault) {
        self.client.account.refused += 1;
        log::debug!(
            "connection {}: a PUBLISH is refused: {}",
            self.client.record.outbox.id(),
            fault.why
        );
    }

    /// The topic of a PUBLISH with properties, for which an alias may stand.
    #[inline(never)]
    fn resolve<'p>(&mut self, publish: &Publish<'p>) -> Result<Cow<'p, str>, Broken> {
        for property in &publish.properties {
            if let Property::ResponseTopic(topic) = property
                && (topic.val().is_empty() || topic.val().contains(['+', '#']))
            {
                let code = MqttError::ProtocolError;
                return Err(Fault::new(
                    code,
                    "a response topic is empty or has wildcards",
                ));
            }
        }
        let Some(alias) = property::number(&publish.properties, PropertyId::TopicAlias) else {
            return Ok(Cow::Borrowed(publish.topic));
        };
        if alias == 0 || alias > ALIASES.into() {
            return Err(Fault::new(
                MqttError::TopicAliasInvalid,
                "a topic alias is zero or above the maximum",
            ));
        }
        let at = alias as usize - 1;
        if publish.topic.is_empty() {
            let known = self.aliases.get(at).and_then(Option::as_deref);
            let known = known.ok_or_else(|| {
                let code = MqttError::ProtocolError;
                Fault::new(code, "a topic alias stands for no topic yet")
            })?;
            return Ok(Cow::Owned(known.to_owned()));
        }
        // What is no topic here needs no number.
        if publish.topic.len() <= protocol::limits::TOPIC_BYTES {
            if self.aliases.len() <= at {
                self.aliases.resize_with(at + 1, || None);
            }
            self.aliases[at] = Some(publish.topic.into());
        }
        Ok(Cow::Borrowed(publish.topic))
    }
}

/// Why a message is not published.
enum Refused {
    /// The standard allows no such topic.
    Forbidden(Fault),
    /// What it is published to is no topic.
    Name(Fault),
    /// It is not allowed, or there is no room.
    Policy(Fault),
    /// Only the broker publishes there; but it can be asked.
    BrokersOwn,
}

fn checked(name: &str) -> Result<Topic<'_>, Refused> {
    let topic = Topic::parse(name).map_err(|why| {
        let fault = Fault::new(MqttError::TopicNameInvalid, why.to_string());
        match why {
            BadTopic::Wildcard(_) => Refused::Forbidden(fault),
            _ => Refused::Name(fault),
        }
    })?;
    match topic.is_brokers_own() {
        true => Err(Refused::BrokersOwn),
        false => Ok(topic),
    }
}
