//! PUBLISH: the topic is found, the message is added to the batch, and the answer that its QoS asks for is
//! prepared. When the batch is delivered is decided by the conversation.

use std::borrow::Cow;

use mqtt_protocol_core::mqtt::packet::{Property, PropertyId};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use protocol::{ACK, BadTopic, Code, Escaped, Topic};

use super::MqttConversation;
use crate::admin::unanswered::Unanswered;
use crate::engine::client::{BrokersOwn, Message, PublishError};
use crate::engine::outbox::run::PublishOptions;
use crate::storage::NotKept;
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
            if self.received.contains(publish.id) {
                reply::ack(&mut self.answers, kind::PUBREC, publish.id, 0);
                return Ok(());
            }
            // [MQTT-3.3.4-7]. Those at QoS 1 are acknowledged with the batch. A client of 3.1.1 cannot be
            // told of a limit, so it may use every identifier.
            let is_limited = self.version == Version::V5;
            if is_limited && self.received.len() >= usize::from(RECEIVE_MAXIMUM) {
                return Err(Fault::new(
                    MqttError::ReceiveMaximumExceeded,
                    "more messages at QoS 2 than the receive maximum are not released",
                ));
            }
        }
        // It comes back as it was on the way to other clients of MQTT [MQTT-4.7.3-4].
        let name = protocol::encode_spaces(&topic);
        let simple = publish.properties.is_empty() && !publish.retain;
        let mut copies = if simple {
            self.publish_simply(&name, publish.payload, publish.qos)
        } else {
            self.publish_fully(buffer, &name, &publish)
        };
        if let Err(PublishRefusal::BrokersOwn) = copies {
            copies = self.inquire(buffer, &name, &publish);
        }
        let followed = self.client.take_followed();
        self.acknowledge(&publish, copies.map(|copies| copies + followed))?;
        if publish.qos == 2 {
            // The last of what is appended with its identifier: a crash that cuts off a part of that cuts off the message.
            self.keep_received(buffer);
        }
        Ok(())
    }

    /// The short way for a message without properties and RETAIN, as nearly all are.
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
        let attributes = message::attributes(&publish.properties);
        if attributes.contains(ACK) {
            // What came before it has answers of its own.
            self.client.deliver_part(buffer);
        }
        let published = self.client.publish(
            buffer,
            Message {
                topic,
                payload: Escaped::escape(publish.payload),
                attributes,
                options: PublishOptions {
                    qos: publish.qos,
                    retain: publish.retain,
                },
            },
        );
        let copies = published?;
        if self.client.reached_by_last().is_some() {
            // How far it is kept is known then.
            self.client.deliver_part(buffer);
        }
        Ok(copies)
    }

    /// Tells a client on a topic of its own what it may not publish, where no packet has words for it.
    #[inline(never)]
    fn tell_denied(&mut self, why: &str) {
        let client_id = self.client.session().client_id().unwrap_or_default();
        let name = format!("$SYS/denied/{}", protocol::encode_spaces(client_id));
        if let Ok(topic) = Topic::parse(&name) {
            self.client.notify(topic, why);
        }
    }

    /// A message on a topic of the broker's own: an inquiry, which has an answer in 5.0 alone.
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
        let argument = str::from_utf8(publish.payload).map(protocol::encode_spaces);
        let payload = match &argument {
            Ok(name) => Escaped::escape(name.as_bytes()),
            Err(_) => Escaped::escape(publish.payload),
        };
        let most_bytes = self
            .client
            .line_bytes()
            .min(self.reply_limits.most as usize);
        let answered = self
            .client
            .inquire(topic, &payload, &attributes, most_bytes);
        answered.map_err(|Unanswered { code, text }| {
            let code = match code {
                Code::Auth | Code::Denied => MqttError::NotAuthorized,
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
                self.accept(kind, publish, copies);
            }
            Err(refused) => match (refused, self.version, publish.qos) {
                (PublishRefusal::Denied(why), version, qos) => {
                    let fault = Fault::new(MqttError::NotAuthorized, why);
                    self.note_refused(&fault);
                    if version == Version::V5 && qos > 0 {
                        let answers = &mut self.answers;
                        reply::refuse_publish(answers, kind, publish.id, &fault, self.reply_limits);
                        return Ok(());
                    }
                    self.tell_denied(&fault.why);
                    if qos == 0 {
                        return Ok(());
                    }
                    // 3.1.1 has no code for a refusal, so the message is acknowledged all the same [MQTT-3.3.5-2].
                    reply::ack(&mut self.answers, kind, publish.id, 0);
                }
                // `publish` turns it into an inquiry before.
                (PublishRefusal::BrokersOwn, ..) => return Ok(()),
                (PublishRefusal::Forbidden(fault), ..)
                | (PublishRefusal::Name(fault), _, 0)
                | (PublishRefusal::Name(fault), Version::V3, _) => return Err(fault),
                // An acknowledged message may be forgotten by its client, so in 3.1.1, which has no code for a refusal, the
                // connection ends.
                (PublishRefusal::NotKept(fault), Version::V3, 1..) => return Err(fault),
                (PublishRefusal::Policy(fault) | PublishRefusal::NotKept(fault), _, 0) => {
                    // A PUBLISH at QoS 0 has no answer.
                    self.note_refused(&fault);
                    return Ok(());
                }
                // 3.1.1 has no code for a refusal, so the message is acknowledged all the same [MQTT-3.3.5-2].
                (PublishRefusal::Policy(fault), Version::V3, _) => {
                    self.note_refused(&fault);
                    reply::ack(&mut self.answers, kind, publish.id, 0);
                }
                (
                    PublishRefusal::Name(fault)
                    | PublishRefusal::Policy(fault)
                    | PublishRefusal::NotKept(fault),
                    Version::V5,
                    _,
                ) => {
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
            self.has_received = true;
        }
        Ok(())
    }

    /// Answers a PUBLISH that has been published.
    #[inline]
    fn accept(&mut self, kind: u8, publish: &Publish<'_>, copies: u64) {
        let code = match self.version {
            Version::V5 if copies == 0 => NO_MATCHING_SUBSCRIBERS,
            Version::V3 | Version::V5 => 0,
        };
        let answers = &mut self.answers;
        match self.client.reached_by_last() {
            // Of this message: only those with properties can ask.
            Some(reached) if !publish.properties.is_empty() => {
                let limits = self.reply_limits;
                reply::ack_reached(answers, kind, publish.id, code, reached, limits);
            }
            _ => reply::ack(answers, kind, publish.id, code),
        }
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

    /// The topic of a PUBLISH with properties, which may be given by an alias.
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
        // There is room for each number up to the maximum [MQTT-3.3.2-12].
        if self.aliases.len() <= at {
            self.aliases.resize_with(at + 1, || None);
        }
        // A topic that is too long is no topic here. It is not kept, and the earlier one ends all the same.
        let is_kept = publish.topic.len() <= protocol::limits::TOPIC_BYTES;
        self.aliases[at] = is_kept.then(|| publish.topic.into());
        Ok(Cow::Borrowed(publish.topic))
    }
}

/// Why a message is not published.
enum PublishRefusal {
    /// The standard allows no such topic.
    Forbidden(Fault),
    /// Its topic name is not valid here.
    Name(Fault),
    /// The client may not do it.
    Denied(String),
    /// It is not allowed here, or there is no room.
    Policy(Fault),
    /// The broker cannot keep it.
    NotKept(Fault),
    /// Only the broker publishes on its topic. It may be an inquiry.
    BrokersOwn,
}

impl From<PublishError> for PublishRefusal {
    fn from(refused: PublishError) -> Self {
        match refused {
            PublishError::BrokersOwn => Self::BrokersOwn,
            PublishError::Denied(denied) => Self::Denied(denied.to_string()),
            PublishError::Full(full) => {
                Self::Policy(Fault::new(MqttError::QuotaExceeded, full.to_string()))
            }
            PublishError::OverLimit(over) => {
                Self::Policy(Fault::new(MqttError::QuotaExceeded, over.to_string()))
            }
            PublishError::BadAckLevel(why) => Self::Policy(Fault::new(
                MqttError::ImplementationSpecificError,
                why.to_string(),
            )),
            PublishError::NotKept(why) => {
                let code = match why {
                    NotKept::NoRoom | NotKept::TooManyTopics => MqttError::QuotaExceeded,
                    NotKept::Failed => MqttError::ImplementationSpecificError,
                };
                Self::NotKept(Fault::new(code, why.to_string()))
            }
        }
    }
}

/// The topic of this name, if the name is valid.
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

#[cfg(test)]
mod tests {
    use crate::engine::limits::Limits;
    use crate::wire::end::End;
    use crate::wire::mqtt::Version;
    use crate::wire::mqtt::conversation::harness::{
        BOTH, BrokerInMemory, Hello, ack, publish, publish_with, subscribe,
    };
    use crate::wire::mqtt::packet::kind;

    use super::{ALIASES, RECEIVE_MAXIMUM};

    /// What a client is sent for these packets on a new connection, and `END` if that ends.
    fn told(broker: &BrokerInMemory, version: Version, packets: &[Vec<u8>]) -> String {
        let mut connection = broker.connection();
        let mut ann = connection.connected(&Hello::new(version).encode());
        let (told, end) = ann.send_all([&packets.concat()[..]]);
        ann.leave();
        match end {
            None => {
                connection.close(&End::SaidBye);
                told
            }
            Some(end) => {
                connection.close(&end);
                assert!(matches!(end, End::Refused(_)), "{end:?}");
                format!("{told} END").trim_start().to_owned()
            }
        }
    }

    fn told_one(broker: &BrokerInMemory, version: Version, packet: Vec<u8>) -> String {
        told(broker, version, &[packet])
    }

    #[test]
    fn a_message_is_acknowledged_as_its_qos_asks_for() {
        let broker = BrokerInMemory::new();
        let messages = broker.subscriber("a");
        for version in BOTH {
            for (qos, answer) in [(0, ""), (1, "PUBACK 7"), (2, "PUBREC 7")] {
                let message = publish(version, qos, 7, "a", "hi");
                assert_eq!(told_one(&broker, version, message), answer);
                assert_eq!(messages.taken(), "MESSAGE a hi\n");
            }
        }
        broker.check_ledger();
    }

    #[test]
    fn a_client_of_5_0_is_told_that_there_is_no_subscriber() {
        let broker = BrokerInMemory::new();
        for (version, code) in [(Version::V3, ""), (Version::V5, " 10")] {
            for (qos, answer) in [(1, "PUBACK 7"), (2, "PUBREC 7")] {
                // The second way is that of a message with RETAIN.
                for retain in [0, 1] {
                    let flags = qos << 1 | retain;
                    let message = publish_with(version, flags, 7, "a", &[], "hi");
                    let told = told_one(&broker, version, message);
                    assert_eq!(told, format!("{answer}{code}"));
                }
            }
        }
    }

    #[test]
    fn a_message_at_qos_2_is_published_once_until_it_is_released() {
        for version in BOTH {
            let broker = BrokerInMemory::new();
            let messages = broker.subscriber("a");
            let mut connection = broker.connection();
            let mut ann = connection.connected(&Hello::new(version).encode());
            let message = publish(version, 2, 7, "a", "hi");
            // DUP.
            let again = publish_with(version, 0x0c, 7, "a", &[], "hi");
            assert_eq!(ann.send(&message), "PUBREC 7");
            assert_eq!(ann.send(&again), "PUBREC 7");
            assert_eq!(messages.taken(), "MESSAGE a hi\n");
            // Another identifier is another message, also with the same bytes.
            assert_eq!(ann.send(&publish(version, 2, 8, "a", "hi")), "PUBREC 8");
            assert_eq!(messages.taken(), "MESSAGE a hi\n");
            assert_eq!(ann.send(&ack(kind::PUBREL, 7, 0)), "PUBCOMP 7");
            assert_eq!(ann.send(&message), "PUBREC 7");
            assert_eq!(messages.taken(), "MESSAGE a hi\n");
            // At QoS 1 each is a message.
            for _ in 0..2 {
                assert_eq!(ann.send(&publish(version, 1, 7, "a", "ho")), "PUBACK 7");
                assert_eq!(messages.taken(), "MESSAGE a ho\n");
            }
        }
    }

    #[test]
    fn a_client_has_up_to_1024_messages_at_qos_2_that_are_not_released() {
        let broker = BrokerInMemory::new();
        let _messages = broker.subscriber("a");
        let mut connection = broker.connection();
        let mut ann = connection.connected(&Hello::new(Version::V5).encode());
        let message = |id| publish(Version::V5, 2, id, "a", "");
        let all: Vec<u8> = (1..=RECEIVE_MAXIMUM).flat_map(message).collect();
        assert_eq!(ann.send(&all).matches("PUBREC").count(), 1024);
        assert_eq!(ann.send(&message(1024)), "PUBREC 1024", "that is known");
        // Those at QoS 1 are acknowledged at once.
        assert_eq!(
            ann.send(&publish(Version::V5, 1, 1025, "a", "")),
            "PUBACK 1025"
        );
        assert_eq!(ann.send(&ack(kind::PUBREL, 9, 0)), "PUBCOMP 9");
        assert_eq!(ann.send(&message(1025)), "PUBREC 1025");
        let (told, end) = ann.send_last(&message(1026));
        assert_eq!(told, "DISCONNECT 93 why");
        assert!(matches!(end, End::Refused(_)), "{end:?}");
    }

    #[test]
    fn a_client_of_3_1_1_may_use_every_identifier_at_qos_2() {
        let broker = BrokerInMemory::new();
        let messages = broker.subscriber("a");
        let mut connection = broker.connection();
        let hello = Hello {
            clean: false,
            ..Hello::new(Version::V3)
        };
        let mut ann = connection.connected(&hello.encode());
        let message = |id| publish(Version::V3, 2, id, "a", "");
        for ids in (1..=u16::MAX).collect::<Vec<_>>().chunks(5000) {
            let all: Vec<u8> = ids.iter().copied().flat_map(message).collect();
            assert_eq!(ann.send(&all).matches("PUBREC").count(), ids.len());
            assert_eq!(messages.taken().lines().count(), ids.len());
        }
        ann.leave();
        connection.close(&End::SaidBye);
        // They are known on the next connection too.
        let mut connection = broker.connection();
        let mut ann = connection.connected(&hello.encode());
        let (release, again) = (ack(kind::PUBREL, 7, 0), message(u16::MAX));
        assert_eq!(ann.send(&again), "PUBREC 65535");
        assert_eq!(messages.taken(), "");
        assert_eq!(ann.send(&release), "PUBCOMP 7");
        assert_eq!(ann.send(&message(7)), "PUBREC 7");
        assert_eq!(messages.taken(), "MESSAGE a\n");
    }

    #[test]
    fn what_is_no_topic_of_this_broker_is_refused_where_that_can_be_told() {
        let broker = BrokerInMemory::new();
        let long = "x".repeat(protocol::limits::TOPIC_BYTES + 1);
        for topic in ["a\nb", &long] {
            for (qos, v3, v5) in [
                (0, "END", "DISCONNECT 90 why END"),
                (1, "END", "PUBACK 7 90 why"),
                (2, "END", "PUBREC 7 90 why"),
            ] {
                // The second way is that of a message with RETAIN.
                for retain in [0, 1] {
                    for (version, expected) in BOTH.into_iter().zip([v3, v5]) {
                        let flags = qos << 1 | retain;
                        let message = publish_with(version, flags, 7, topic, &[], "hi");
                        assert_eq!(told_one(&broker, version, message), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn a_topic_with_wildcards_or_without_a_name_ends_the_connection() {
        let broker = BrokerInMemory::new();
        for (topic, v5) in [
            ("a/+", "DISCONNECT 90 why END"),
            ("#", "DISCONNECT 90 why END"),
            ("", "DISCONNECT 82 why END"),
        ] {
            for qos in 0..3 {
                for (version, expected) in BOTH.into_iter().zip(["END", v5]) {
                    let message = publish(version, qos, 7, topic, "hi");
                    assert_eq!(told_one(&broker, version, message), expected);
                }
            }
        }
    }

    #[test]
    fn what_the_broker_does_not_allow_is_told_in_5_0_and_dropped_in_any_case() {
        let broker = BrokerInMemory::with(Limits {
            retained: 0,
            ..Limits::default()
        });
        let messages = broker.subscriber("$SYS/a");
        let forbidden = |version, qos: u8| publish_with(version, qos << 1, 7, "$SYS/a", &[], "hi");
        let too_many = |version, qos: u8| publish_with(version, qos << 1 | 1, 7, "a", &[], "hi");
        for (qos, v3, forbidden_5, too_many_5) in [
            (0, "", "", ""),
            (1, "PUBACK 7", "PUBACK 7 87 why", "PUBACK 7 97 why"),
            (2, "PUBREC 7", "PUBREC 7 87 why", "PUBREC 7 97 why"),
        ] {
            for (version, answer) in BOTH.into_iter().zip([v3, forbidden_5]) {
                let told = told_one(&broker, version, forbidden(version, qos));
                assert_eq!(told, answer);
            }
            for (version, answer) in BOTH.into_iter().zip([v3, too_many_5]) {
                let told = told_one(&broker, version, too_many(version, qos));
                assert_eq!(told, answer);
            }
        }
        assert_eq!(messages.taken(), "");
        // Each of the twelve counts as refused.
        assert_eq!(broker.engine.clients.audit().ledger.account.refused, 12);
    }

    #[test]
    fn a_message_that_is_refused_at_qos_2_leaves_its_identifier_free_in_5_0() {
        let broker = BrokerInMemory::new();
        let messages = broker.subscriber("a");
        for (version, expected, heard) in [
            (Version::V3, "PUBREC 7; PUBREC 7", ""),
            (Version::V5, "PUBREC 7 87 why; PUBREC 7", "MESSAGE a hi\n"),
        ] {
            let both = [
                publish(version, 2, 7, "$SYS/a", "hi"),
                publish(version, 2, 7, "a", "hi"),
            ];
            assert_eq!(told(&broker, version, &both), expected);
            assert_eq!(messages.taken(), heard);
        }
    }

    #[test]
    fn an_inquiry_is_answered_before_it_is_acknowledged() {
        let broker = BrokerInMemory::new();
        let answers = broker.subscriber("answers");
        let response_topic = b"\x08\0\x07answers";
        let ask = |qos: u8, properties: &[u8]| {
            let topic = "$SYS/request/broker";
            publish_with(Version::V5, qos << 1, 7, topic, properties, "")
        };
        let told = |packet| told_one(&broker, Version::V5, packet);
        assert_eq!(told(ask(1, response_topic)), "PUBACK 7");
        let answer = answers.taken();
        assert!(answer.starts_with("MESSAGE answers {"), "{answer}");
        assert_eq!(told(ask(2, response_topic)), "PUBREC 7");
        assert!(!answers.taken().is_empty());
        // Without a response topic there is no way to answer.
        assert_eq!(told(ask(1, &[])), "PUBACK 7 83 why");
        assert_eq!(told(ask(0, &[])), "");
        assert_eq!(answers.taken(), "");
        // In the order of the packets: the client itself gets its answer before the acknowledgement.
        let mut connection = broker.connection();
        let mut ann = connection.connected(&Hello::new(Version::V5).encode());
        ann.send(&subscribe(Version::V5, 1, &[("answers", 0)]));
        let told = ann.send(&ask(1, response_topic));
        let (answer, puback) = told.rsplit_once("; ").expect("two packets");
        assert!(answer.starts_with("PUBLISH q0 answers {"), "{answer}");
        assert_eq!(puback, "PUBACK 7");
    }

    #[test]
    fn what_came_before_an_inquiry_is_delivered_and_answered_before_it() {
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.connected(&Hello::new(Version::V5).encode());
        ann.send(&subscribe(Version::V5, 1, &[("#", 0)]));
        let topic = "$SYS/request/audit";
        let batch = [
            publish(Version::V5, 1, 7, "a", "hi"),
            publish_with(Version::V5, 2, 8, topic, b"\x08\0\x07answers", ""),
        ];
        let told = ann.send(&batch.concat());
        let before = r#"PUBLISH q0 a hi; PUBACK 7; PUBLISH q0 answers {\"balanced\":true,"#;
        assert!(told.starts_with(before), "{told}");
        assert!(told.ends_with("}; PUBACK 8"), "{told}");
    }

    #[test]
    fn properties_travel_as_attributes() {
        let broker = BrokerInMemory::new();
        let messages = broker.subscriber("a");
        let content_type = b"\x03\0\x04text";
        let message = publish_with(Version::V5, 2, 7, "a", content_type, "hi");
        assert_eq!(told_one(&broker, Version::V5, message), "PUBACK 7");
        assert_eq!(messages.taken(), "@type=text MESSAGE a hi\n");
    }

    #[test]
    fn a_retained_message_is_delivered_before_what_follows_it_and_after_what_came_before() {
        for version in BOTH {
            let broker = BrokerInMemory::new();
            let messages = broker.subscriber("#");
            let batch = [
                publish(version, 0, 0, "a", "1"),
                publish_with(version, 1, 0, "b", &[], "2"),
                publish(version, 0, 0, "a", "3"),
            ];
            assert_eq!(told(&broker, version, &batch), "");
            let expected = "MESSAGE a 1\nMESSAGE b 2\nMESSAGE a 3\n";
            assert_eq!(messages.taken(), expected);
            let again = told_one(&broker, version, subscribe(version, 1, &[("#", 0)]));
            assert_eq!(again, "SUBACK 1 00; PUBLISH q0 retain b 2");
        }
    }

    /// A PUBLISH at QoS 0 with a topic alias.
    fn aliased(topic: &str, alias: u16, payload: &str) -> Vec<u8> {
        let [high, low] = alias.to_be_bytes();
        publish_with(Version::V5, 0, 0, topic, &[0x23, high, low], payload)
    }

    #[test]
    fn a_topic_alias_stands_for_the_topic_that_it_came_with_last() {
        let broker = BrokerInMemory::new();
        let messages = broker.subscriber("#");
        let batch = [
            aliased("a", ALIASES, "1"),
            aliased("b", 1, "2"),
            aliased("", ALIASES, "3"),
            aliased("", 1, "4"),
            aliased("c", ALIASES, "5"),
            aliased("", ALIASES, "6"),
        ];
        assert_eq!(told(&broker, Version::V5, &batch), "");
        let expected =
            "MESSAGE a 1\nMESSAGE b 2\nMESSAGE a 3\nMESSAGE b 4\nMESSAGE c 5\nMESSAGE c 6\n";
        assert_eq!(messages.taken(), expected);
        // It ends with the connection.
        let told = told_one(&broker, Version::V5, aliased("", 1, "7"));
        assert_eq!(told, "DISCONNECT 82 why END");
        assert_eq!(messages.taken(), "");
    }

    #[test]
    fn a_topic_alias_that_is_out_of_range_or_stands_for_no_topic_ends_the_connection() {
        let broker = BrokerInMemory::new();
        for (packet, expected) in [
            (aliased("a", 0, ""), "DISCONNECT 94 why END"),
            (aliased("a", ALIASES + 1, ""), "DISCONNECT 94 why END"),
            (aliased("", 0, ""), "DISCONNECT 94 why END"),
            (aliased("", 1, ""), "DISCONNECT 82 why END"),
        ] {
            assert_eq!(told_one(&broker, Version::V5, packet), expected);
        }
        let between = [aliased("a", 3, ""), aliased("", 2, "")];
        let told = told(&broker, Version::V5, &between);
        assert_eq!(told, "DISCONNECT 82 why END");
    }

    #[test]
    fn a_topic_alias_that_came_with_a_topic_too_long_stands_for_no_topic() {
        let broker = BrokerInMemory::new();
        let messages = broker.subscriber("#");
        let long = "x".repeat(protocol::limits::TOPIC_BYTES + 1);
        // At QoS 1 the topic is refused and the connection stays.
        let too_long = publish_with(Version::V5, 2, 7, &long, &[0x23, 0, 1], "2");
        let batch = [aliased("a", 1, "1"), too_long, aliased("", 1, "3")];
        let told = told(&broker, Version::V5, &batch);
        assert_eq!(told, "PUBACK 7 90 why; DISCONNECT 82 why END");
        assert_eq!(messages.taken(), "MESSAGE a 1\n");
    }

    #[test]
    fn a_response_topic_that_is_empty_or_has_wildcards_ends_the_connection() {
        let broker = BrokerInMemory::new();
        for response_topic in [&b"\x08\0\0"[..], b"\x08\0\x01#", b"\x08\0\x03a/+"] {
            let message = publish_with(Version::V5, 2, 7, "a", response_topic, "hi");
            let told = told_one(&broker, Version::V5, message);
            assert_eq!(told, "DISCONNECT 82 why END");
        }
    }
}
