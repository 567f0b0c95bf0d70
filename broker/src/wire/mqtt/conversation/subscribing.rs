//! SUBSCRIBE and UNSUBSCRIBE: the filters are checked, entered or removed, and answered with a code each.
//! What the filters match is sent by the engine.

use std::borrow::Cow;
use std::num::NonZeroU32;

use mqtt_protocol_core::mqtt::packet::{RetainHandling, SubEntry};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use protocol::{BadFilter, Filter};

use super::{MqttConversation, byte};
use crate::engine::client::{SubscribeError, Subscribed};
use crate::engine::outbox::delivery::subscriptions::SubscriptionOptions;
use crate::wire::mqtt::packet::Fault;
use crate::wire::mqtt::reply;
use crate::wire::mqtt::{Dialect, Version};

impl MqttConversation<'_, '_> {
    /// Handles SUBSCRIBE.
    #[inline(never)]
    pub(super) fn subscribe(
        &mut self,
        id: u16,
        identifier: Option<u32>,
        entries: &[SubEntry],
    ) -> Result<(), Fault> {
        // Before anything is done: a packet that ends the connection has no other effect.
        for entry in entries {
            self.check_filter(entry.topic_filter())?;
        }
        self.check_answer(entries.len())?;
        let names = entries
            .iter()
            .map(|entry| protocol::encode_spaces(entry.topic_filter()));
        let names: Vec<Cow<'_, str>> = names.collect();
        let filters = || names.iter().map(|name| Filter::parse(&**name));
        let dialect = self.dialect;
        let options = entries
            .iter()
            .map(|entry| options(entry, identifier, dialect));
        let subscribed = self.client.subscribe_with(filters().zip(options));
        let mut codes: Vec<u8> = entries.iter().zip(&subscribed).map(code).collect();
        let refused = codes.iter().filter(|&&code| code >= 0x80).count();
        self.client.note_refused(refused as u64);
        if self.dialect.is_3_1 && refused > 0 {
            // SUBACK of 3.1 has no code for a failure.
            let asked = entries.iter().map(|entry| entry.sub_opts().qos() as u8);
            codes = asked.collect();
        }
        // One SUBACK [MQTT-3.8.4-1] for all filters [MQTT-3.8.4-4] of 3.1.1, [MQTT-3.8.4-5] of 5.0, with a
        // code for each [MQTT-3.8.4-5] of 3.1.1, [MQTT-3.8.4-6] of 5.0.
        let mut suback = Vec::new();
        reply::suback(&mut suback, self.version, id, &codes);
        self.client.answer(&suback);
        for ((filter, subscribed), entry) in filters().zip(&subscribed).zip(entries) {
            if let (Ok(filter), Ok(subscribed)) = (filter, subscribed)
                && filter.group().is_none()
                && wants_retained(entry, subscribed.is_known)
            {
                self.client.send_retained(filter, subscribed);
            }
        }
        Ok(())
    }

    /// Filters that the standard does not allow end the connection. Others may still be refused.
    fn check_filter(&self, name: &str) -> Result<(), Fault> {
        let forbidden = |why: BadFilter| match why {
            // [MQTT-4.7.1-2] of both versions, [MQTT-4.7.1-3] of 3.1.1, [MQTT-4.7.1-1] of 5.0.
            BadFilter::HashNotLast | BadFilter::WildcardInLevel => true,
            // [MQTT-4.8.2-1] [MQTT-4.8.2-2]. In 3.1.1 such a filter is valid, so it is refused by its code.
            BadFilter::Share => self.version == Version::V5 && name.starts_with("$share/"),
            BadFilter::Name(_) => false,
        };
        match Filter::parse(&*protocol::encode_spaces(name)) {
            Err(why) if forbidden(why) => {
                Err(Fault::new(MqttError::TopicFilterInvalid, why.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// A SUBACK or an UNSUBACK with this many codes must not be longer than the client takes.
    fn check_answer(&self, codes: usize) -> Result<(), Fault> {
        let head = 5 + 2 + 1;
        if head + codes <= self.reply_limits.most as usize {
            return Ok(());
        }
        Err(Fault::new(
            MqttError::PacketTooLarge,
            "the answer would be longer than the maximum packet size that the client gave; name \
             fewer filters at a time",
        ))
    }

    /// Handles UNSUBSCRIBE.
    #[inline(never)]
    pub(super) fn unsubscribe(&mut self, id: u16, filters: &[String]) -> Result<(), Fault> {
        for filter in filters {
            self.check_filter(filter)?;
        }
        self.check_answer(filters.len())?;
        let mut codes = Vec::with_capacity(filters.len());
        for filter in filters {
            let name = protocol::encode_spaces(filter);
            let Ok(filter) = Filter::parse(&*name) else {
                codes.push(byte(MqttError::TopicFilterInvalid));
                continue;
            };
            let known = self.client.unsubscribe(filter);
            // A filter that the client did not have has a code, too [MQTT-3.10.4-5].
            codes.push(if known { 0 } else { 0x11 });
        }
        // One UNSUBACK [MQTT-3.10.4-4] for all filters [MQTT-3.10.4-6].
        reply::unsuback(&mut self.answers, self.version, id, &codes);
        Ok(())
    }
}

/// The options of a subscription.
fn options(entry: &SubEntry, identifier: Option<u32>, dialect: Dialect) -> SubscriptionOptions {
    let options = entry.sub_opts();
    // A message goes to one member of a group, which may be its publisher.
    let is_shared = entry.topic_filter().starts_with("$share/");
    SubscriptionOptions {
        qos: options.qos() as u8,
        no_local: options.nl() || (dialect.is_bridge && !is_shared),
        retain_as_published: options.rap() || dialect.is_bridge,
        identifier: identifier.and_then(NonZeroU32::new),
    }
}

/// The code of a filter in SUBACK: the QoS that was asked for, whichever it is [MQTT-3.2.2-10], or a
/// failure [MQTT-3.8.4-7].
fn code((entry, subscribed): (&SubEntry, &Result<Subscribed, SubscribeError>)) -> u8 {
    match subscribed {
        Ok(_) => entry.sub_opts().qos() as u8,
        Err(SubscribeError::BadFilter(_)) => byte(MqttError::TopicFilterInvalid),
        Err(SubscribeError::Private | SubscribeError::Denied(_)) => byte(MqttError::NotAuthorized),
        Err(
            SubscribeError::TooManySubscriptions(_)
            | SubscribeError::OverLimit(_)
            | SubscribeError::TooManyPolicies
            | SubscribeError::NotKept(_)
            | SubscribeError::NoMemory,
        ) => byte(MqttError::QuotaExceeded),
    }
}

/// Whether the retained messages of a filter are sent.
fn wants_retained(entry: &SubEntry, is_known: bool) -> bool {
    match entry.sub_opts().rh() {
        // Also for a filter that the client has already: [MQTT-3.8.4-3] of 3.1.1, [MQTT-3.3.1-9]
        // [MQTT-3.8.4-4] of 5.0.
        RetainHandling::SendRetained => true,
        // [MQTT-3.3.1-10] of 5.0.
        RetainHandling::SendRetainedIfNotExists => !is_known,
        // [MQTT-3.3.1-11] of 5.0.
        RetainHandling::DoNotSendRetained => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::limits::Limits;
    use crate::wire::end::End;
    use crate::wire::mqtt::Version;
    use crate::wire::mqtt::conversation::harness::{
        BOTH, BrokerInMemory, Hello, packet, publish, publish_with, subscribe, text, unsubscribe,
    };

    const NO_LOCAL: u8 = 4;
    const RETAIN_AS_PUBLISHED: u8 = 8;

    /// Retain handling, in the bits where SUBSCRIBE has it.
    const IF_NEW: u8 = 0x10;
    const NEVER: u8 = 0x20;

    fn hello(version: Version) -> Vec<u8> {
        Hello::new(version).encode()
    }

    #[test]
    fn each_filter_is_granted_its_qos_or_refused_by_itself() {
        for (version, refused) in [(Version::V3, "80"), (Version::V5, "8f")] {
            let broker = BrokerInMemory::new();
            let mut connection = broker.connection();
            let mut ann = connection.connected(&hello(version));
            let long = "x".repeat(protocol::limits::TOPIC_BYTES + 1);
            let filters = [
                ("a", 0),
                ("b/+", 1),
                ("#", 2),
                ("a\nb", 0),
                (&long, 1),
                ("$share/g/c", 1),
            ];
            let told = ann.send(&subscribe(version, 7, &filters));
            let expected = format!("SUBACK 7 00 01 02 {refused} {refused} 01");
            assert_eq!(told, expected);
            ann.leave();
            let subscriptions = connection.client.session().subscriptions();
            assert_eq!(subscriptions.len(), 4);
            assert_eq!(connection.client.record().totals().refused, 2);
        }
    }

    #[test]
    fn a_message_comes_at_the_lower_qos_of_the_two() {
        for version in BOTH {
            let broker = BrokerInMemory::new();
            let mut connection = broker.connection();
            let mut ann = connection.connected(&hello(version));
            ann.send(&subscribe(version, 1, &[("a", 1)]));
            let told = ann.send(&publish(version, 2, 7, "a", "hi"));
            assert_eq!(told, "PUBLISH q1 #1 a hi; PUBREC 7");
            // A later SUBSCRIBE takes the place of the earlier.
            assert_eq!(ann.send(&subscribe(version, 2, &[("a", 0)])), "SUBACK 2 00");
            let told = ann.send(&publish(version, 1, 8, "a", "hi"));
            assert_eq!(told, "PUBLISH q0 a hi; PUBACK 8");
        }
    }

    #[test]
    fn more_subscriptions_than_the_limit_are_refused() {
        for (version, refused) in [(Version::V3, "80"), (Version::V5, "97")] {
            let broker = BrokerInMemory::with(Limits {
                subscriptions: 1,
                ..Limits::default()
            });
            let mut connection = broker.connection();
            let mut ann = connection.connected(&hello(version));
            let told = ann.send(&subscribe(version, 7, &[("a", 0), ("b", 0), ("a", 1)]));
            assert_eq!(told, format!("SUBACK 7 00 {refused} 01"));
        }
    }

    #[test]
    fn a_filter_that_the_standard_forbids_ends_the_connection_and_nothing_of_its_packet_is_done() {
        for filter in ["#/a", "a#", "a/b+", "$share//a", "$share/g/", "$share/g+/a"] {
            for version in BOTH {
                let is_shared = filter.starts_with("$share/");
                // In 3.1.1 such a filter is valid, and refused by its code.
                let refused = is_shared && version == Version::V3;
                let broker = BrokerInMemory::new();
                for (packet, answer) in [
                    (
                        subscribe(version, 7, &[("b", 0), (filter, 0)]),
                        "SUBACK 7 00 80",
                    ),
                    (unsubscribe(version, 7, &["b", filter]), "UNSUBACK 7"),
                ] {
                    let mut connection = broker.connection();
                    let mut ann = connection.connected(&hello(version));
                    let (told, end) = ann.send_all([&packet[..]]);
                    let expected = match version {
                        Version::V3 if refused => answer,
                        Version::V3 => "",
                        Version::V5 => "DISCONNECT 8f why",
                    };
                    assert_eq!(told, expected, "{filter}");
                    assert_eq!(end.is_none(), refused, "{end:?}");
                    let served = connection.client.session().subscriptions().len();
                    let is_served = refused && answer.starts_with("SUBACK");
                    assert_eq!(served, usize::from(is_served));
                    connection.close(&End::SaidBye);
                }
            }
        }
    }

    #[test]
    fn retained_messages_come_after_suback_as_retain_handling_says() {
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.connected(&hello(Version::V5));
        let retained = |topic| publish_with(Version::V5, 3, 7, topic, &[], "kept");
        ann.send(&[retained("a"), retained("b"), retained("c/d")].concat());
        for (filters, expected) in [
            // New filters.
            (&[("a", NEVER)][..], "SUBACK 7 00"),
            (
                &[("b", IF_NEW | 1)],
                "SUBACK 7 01; PUBLISH q1 retain #1 b kept",
            ),
            (&[("$share/g/b", 0)], "SUBACK 7 00"),
            (&[("none", 0)], "SUBACK 7 00"),
            // Known filters.
            (&[("a", NEVER)], "SUBACK 7 00"),
            (&[("a", IF_NEW)], "SUBACK 7 00"),
            (&[("a", 0)], "SUBACK 7 00; PUBLISH q0 retain a kept"),
            // Each filter has its own, and all come after SUBACK.
            (
                &[("a", 0), ("+/d", 0), ("c/+", 0)],
                "SUBACK 7 00 00 00; PUBLISH q0 retain a kept; PUBLISH q0 retain c/d kept; \
                 PUBLISH q0 retain c/d kept",
            ),
        ] {
            let told = ann.send(&subscribe(Version::V5, 7, filters));
            assert_eq!(told, expected, "{filters:?}");
        }
    }

    #[test]
    fn in_3_1_1_each_subscribe_sends_the_retained_messages_again() {
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.connected(&hello(Version::V3));
        ann.send(&publish_with(Version::V3, 1, 0, "a", &[], "kept"));
        for _ in 0..2 {
            let told = ann.send(&subscribe(Version::V3, 7, &[("a", 0)]));
            assert_eq!(told, "SUBACK 7 00; PUBLISH q0 retain a kept");
        }
    }

    #[test]
    fn options_of_a_subscription_decide_what_its_messages_look_like() {
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.connected(&hello(Version::V5));
        let filters = [
            ("mine", NO_LOCAL),
            ("plain", 0),
            ("as/published", RETAIN_AS_PUBLISHED),
        ];
        ann.send(&subscribe(Version::V5, 1, &filters));
        let retained = |topic| publish_with(Version::V5, 1, 0, topic, &[], "hi");
        assert_eq!(ann.send(&publish(Version::V5, 0, 0, "mine", "hi")), "");
        assert_eq!(ann.send(&retained("plain")), "PUBLISH q0 plain hi");
        let told = ann.send(&retained("as/published"));
        assert_eq!(told, "PUBLISH q0 retain as/published hi");
        // Another client's message is not the client's own.
        let mut other = broker.connection();
        let bob = Hello {
            client_id: "bob",
            ..Hello::new(Version::V5)
        };
        let mut bob = other.connected(&bob.encode());
        bob.send(&publish(Version::V5, 0, 0, "mine", "ho"));
        assert_eq!(ann.told(), "PUBLISH q0 mine ho");
    }

    #[test]
    fn a_subscription_identifier_comes_with_each_message() {
        let broker = BrokerInMemory::new();
        let mut connection = broker.connection();
        let mut ann = connection.connected(&hello(Version::V5));
        let body = [&[0, 1, 2, 0x0b, 5][..], &text("a"), &[0]].concat();
        assert_eq!(ann.send(&packet(0x82, &body)), "SUBACK 1 00");
        let mut other = broker.connection();
        let bob = Hello {
            client_id: "bob",
            ..Hello::new(Version::V5)
        };
        let mut bob = other.connected(&bob.encode());
        bob.send(&publish(Version::V5, 0, 0, "a", "hi"));
        let sent = publish_with(Version::V5, 0, 0, "a", &[0x0b, 5], "hi");
        assert_eq!(ann.told_bytes(), sent);
    }

    #[test]
    fn unsuback_tells_a_client_of_5_0_which_filters_it_had() {
        for (version, expected) in [
            (Version::V3, "UNSUBACK 8"),
            (Version::V5, "UNSUBACK 8 00 11 8f 11"),
        ] {
            let broker = BrokerInMemory::new();
            let mut connection = broker.connection();
            let mut ann = connection.connected(&hello(version));
            ann.send(&subscribe(version, 7, &[("a", 0), ("b", 0)]));
            let told = ann.send(&unsubscribe(version, 8, &["a", "none", "a\nb", "a"]));
            assert_eq!(told, expected);
            let batch = [
                publish(version, 0, 0, "a", "hi"),
                publish(version, 0, 0, "b", "hi"),
            ];
            assert_eq!(ann.send(&batch.concat()), "PUBLISH q0 b hi");
        }
    }

    #[test]
    fn a_client_that_cannot_take_the_answer_is_closed_and_nothing_is_done() {
        let broker = BrokerInMemory::new();
        // Maximum packet size: 40 bytes.
        let hello = Hello {
            properties: &[0x27, 0, 0, 0, 40],
            ..Hello::new(Version::V5)
        };
        let most = vec![("a", 0); 32];
        let too_many = vec![("a", 0); 33];
        let names = vec!["a"; 33];
        let mut connection = broker.connection();
        let mut ann = connection.connected(&hello.encode());
        let told = ann.send(&subscribe(Version::V5, 7, &most));
        assert_eq!(told, format!("SUBACK 7{}", " 00".repeat(32)));
        ann.leave();
        connection.close(&End::Left);
        for packet in [
            subscribe(Version::V5, 7, &too_many),
            unsubscribe(Version::V5, 7, &names),
        ] {
            let mut connection = broker.connection();
            let (told, end) = connection.connected(&hello.encode()).send_last(&packet);
            assert_eq!(told, "DISCONNECT 95");
            assert!(matches!(end, End::Refused(_)), "{end:?}");
            assert!(!connection.client.has_subscriptions());
            connection.close(&end);
        }
    }
}
