//! What a client publishes: its way into the batch, and how it is answered.

use std::borrow::Cow;

use mqtt_protocol_core::mqtt::packet::{Property, PropertyId};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use protocol::{BadTopic, Code, Escaped, Topic};

use super::MqttConversation;
use crate::admin::request::Unanswered;
use crate::engine::client::{BrokersOwn, Message, PublishError};
use crate::engine::outbox::run::PublishOptions;
use crate::wire::mqtt::Version;
use crate::wire::mqtt::connect::{ALIASES, RECEIVE_MAXIMUM};
use crate::wire::mqtt::message;
use crate::wire::mqtt::packet::{Fault, Publish, kind};
use crate::wire::mqtt::property;
use crate::wire::mqtt::reply;

/// The code of PUBACK and PUBREC when there is no subscriber [MQTT 5.0, 3.4.2.1].
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

impl MqttConversation<'_, '_> {
    /// Handles a PUBLISH.
    pub(super) fn publish(&mut self, buffer: &[u8], publish: Publish<'_>) -> Result<(), Fault> {
        let topic = match publish.properties.is_empty() {
            true => Cow::Borrowed(publish.topic),
            false => self.resolve(&publish)?,
        };
        // [MQTT-4.7.3-1].
        if topic.is_empty() {
            let code = MqttError::ProtocolError;
            return Err(Fault::new(code, "a PUBLISH has no topic and no alias"));
        }
        if publish.qos == 2 {
            // Not delivered again until it is released [MQTT-4.3.3-2] of 3.1.1, [MQTT-4.3.3-10] of 5.0.
            if self.received.contains(&publish.id) {
                reply::ack(&mut self.answers, kind::PUBREC, publish.id, 0);
                return Ok(());
            }
            // [MQTT-3.3.4-7]. Those at QoS 1 are acknowledged with the batch.
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
        if let Err(PublishRefusal::BrokersOwn) = copies {
            copies = self.inquire(buffer, &name, &publish);
        }
        self.acknowledge(&publish, copies)
    }

    /// The short way for what nearly every message is.
    #[inline]
    fn publish_simply(
        &mut self,
        name: &str,
        payload: &[u8],
        qos: u8,
    ) -> Result<u64, PublishRefusal> {
        self.client.publish_beside(
            PublishOptions { qos, retain: false },
            |beside| message::write_line(beside, name, payload),
            || checked(name),
        )
    }

    #[inline(never)]
    fn publish_fully(
        &mut self,
        buffer: &[u8],
        name: &str,
        publish: &Publish<'_>,
    ) -> Result<u64, PublishRefusal> {
        let topic = checked(name)?;
        if publish.retain {
            self.finish_part(buffer);
        }
        let published = self.client.publish(
            buffer,
            Message {
                topic,
                payload: Escaped::escape(publish.payload),
                attributes: message::attributes(&publish.properties),
                options: PublishOptions {
                    qos: publish.qos,
                    retain: publish.retain,
                },
            },
        );
        published.map_err(|refused| match refused {
            PublishError::BrokersOwn => PublishRefusal::BrokersOwn,
            PublishError::Full(full) => {
                PublishRefusal::Policy(Fault::new(MqttError::QuotaExceeded, full.to_string()))
            }
        })
    }

    /// A message on a topic of the broker's own: a question to it, if there is a way to answer.
    #[inline(never)]
    fn inquire(
        &mut self,
        buffer: &[u8],
        name: &str,
        publish: &Publish<'_>,
    ) -> Result<u64, PublishRefusal> {
        let refused = |code, why: String| PublishRefusal::Policy(Fault::new(code, why));
        if self.version == Version::V3 {
            return Err(refused(MqttError::NotAuthorized, BrokersOwn.to_string()));
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
        answered.map_err(|Unanswered { code, text }| {
            let code = match code {
                Code::Denied => MqttError::NotAuthorized,
                Code::TooMany => MqttError::QuotaExceeded,
                _ => MqttError::ImplementationSpecificError,
            };
            refused(code, text)
        })
    }

    /// Answers a PUBLISH as its QoS asks for [MQTT-3.3.4-1]: with PUBACK [MQTT-4.3.2-2] of 3.1.1,
    /// [MQTT-4.3.2-4] of 5.0, or PUBREC [MQTT-4.3.3-2] of 3.1.1, [MQTT-4.3.3-8] of 5.0.
    fn acknowledge(
        &mut self,
        publish: &Publish<'_>,
        copies: Result<u64, PublishRefusal>,
    ) -> Result<(), Fault> {
        let kind = match publish.qos {
            0 | 1 => kind::PUBACK,
            _ => kind::PUBREC,
        };
        match copies {
            Ok(copies) => {
                if publish.qos == 0 {
                    return Ok(());
                }
                let code = match self.version {
                    Version::V5 if copies == 0 => NO_MATCHING_SUBSCRIBERS,
                    Version::V3 | Version::V5 => 0,
                };
                reply::ack(&mut self.answers, kind, publish.id, code);
            }
            Err(refused) => match (refused, self.version, publish.qos) {
                // That was put to the broker, which has taken it or said why not.
                (PublishRefusal::BrokersOwn, ..) => return Ok(()),
                (PublishRefusal::Forbidden(fault), ..)
                | (PublishRefusal::Name(fault), _, 0)
                | (PublishRefusal::Name(fault), Version::V3, _) => return Err(fault),
                (PublishRefusal::Policy(fault), _, 0) => {
                    // There is no way to tell.
                    self.note_refused(&fault);
                    return Ok(());
                }
                // There is no code for a refusal, so it is acknowledged all the same [MQTT-3.3.5-2].
                (PublishRefusal::Policy(fault), Version::V3, _) => {
                    self.note_refused(&fault);
                    reply::ack(&mut self.answers, kind, publish.id, 0);
                }
                (PublishRefusal::Name(fault) | PublishRefusal::Policy(fault), Version::V5, _) => {
                    self.note_refused(&fault);
                    let answers = &mut self.answers;
                    reply::refuse_publish(answers, kind, publish.id, &fault, self.reply_limits);
                    // Not remembered: the next PUBLISH with its identifier is a new message [MQTT-4.3.3-9].
                    return Ok(());
                }
            },
        }
        // At QoS 1 the next PUBLISH with this identifier is a new message [MQTT-4.3.2-2] of 3.1.1,
        // [MQTT-4.3.2-5] of 5.0.
        if publish.qos == 2 {
            self.received.insert(publish.id);
        }
        Ok(())
    }

    #[inline(never)]
    fn note_refused(&mut self, fault: &Fault) {
        self.client.note_refused(1);
        log::debug!(
            "connection {}: a PUBLISH is refused: {}",
            self.client.id(),
            fault.why
        );
    }

    /// The topic of a PUBLISH with properties, for which an alias may stand.
    #[inline(never)]
    fn resolve<'p>(&mut self, publish: &Publish<'p>) -> Result<Cow<'p, str>, Fault> {
        // [MQTT-3.3.2-14].
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
        // [MQTT-3.3.2-8] [MQTT-3.3.2-9].
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
            // There is room for each number up to the maximum [MQTT-3.3.2-12].
            if self.aliases.len() <= at {
                self.aliases.resize_with(at + 1, || None);
            }
            self.aliases[at] = Some(publish.topic.into());
        }
        Ok(Cow::Borrowed(publish.topic))
    }
}

/// Why a message is not published.
enum PublishRefusal {
    /// The standard allows no such topic.
    Forbidden(Fault),
    /// What it is published to is no topic.
    Name(Fault),
    /// It is not allowed, or there is no room.
    Policy(Fault),
    /// Only the broker publishes there; but it can be asked.
    BrokersOwn,
}

impl From<BrokersOwn> for PublishRefusal {
    fn from(BrokersOwn: BrokersOwn) -> Self {
        Self::BrokersOwn
    }
}

/// A name that can be published to, by what a topic is.
fn checked(name: &str) -> Result<Topic<'_>, PublishRefusal> {
    Topic::parse(name).map_err(|why| {
        let fault = Fault::new(MqttError::TopicNameInvalid, why.to_string());
        match why {
            // [MQTT-3.3.2-2], [MQTT-4.7.1-1] of 3.1.1, [MQTT-4.7.0-1] of 5.0.
            BadTopic::Wildcard(_) => PublishRefusal::Forbidden(fault),
            _ => PublishRefusal::Name(fault),
        }
    })
}
