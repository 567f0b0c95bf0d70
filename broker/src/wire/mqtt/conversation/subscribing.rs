//! What a client subscribes to, and no longer.

use std::num::NonZeroU32;

use mqtt_protocol_core::mqtt::packet::{RetainHandling, SubEntry};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use protocol::{BadFilter, Filter};

use super::{MqttConversation, byte};
use crate::engine::outbox::delivery::subscriptions::SubscriptionOptions;
use crate::wire::mqtt::Version;
use crate::wire::mqtt::message;
use crate::wire::mqtt::packet::Fault;
use crate::wire::mqtt::reply;

impl MqttConversation<'_, '_> {
    #[inline(never)]
    pub(super) fn subscribe(
        &mut self,
        id: u16,
        identifier: Option<u32>,
        entries: &[SubEntry],
    ) -> Result<(), Fault> {
        // A packet that ends the connection does nothing at all.
        for entry in entries {
            self.check_filter(entry.topic_filter())?;
        }
        self.check_answer(entries.len())?;
        let mut codes = Vec::with_capacity(entries.len());
        // Filters whose retained messages are wanted.
        let mut greeted = Vec::new();
        for entry in entries {
            let name = message::name_on_line(entry.topic_filter());
            codes.push(match Filter::parse(&*name) {
                Err(_) => byte(MqttError::TopicFilterInvalid),
                Ok(filter) => self.add_filter(filter, identifier, entry, &mut greeted),
            });
        }
        let refused = codes.iter().filter(|&&code| code >= 0x80).count();
        self.client.note_refused(refused as u64);
        // One SUBACK [MQTT-3.8.4-1] for all filters [MQTT-3.8.4-4] of 3.1.1, [MQTT-3.8.4-5] of 5.0, with a
        // code for each [MQTT-3.8.4-5] of 3.1.1, [MQTT-3.8.4-6] of 5.0.
        let mut suback = Vec::new();
        reply::suback(&mut suback, self.version, id, &codes);
        self.client.answer(&suback);
        for name in greeted {
            if let Ok(filter) = Filter::parse(&*name) {
                self.client.send_retained(filter);
            }
        }
        Ok(())
    }

    /// Filters that the standard does not allow end the connection. Others may still be refused.
    fn check_filter(&self, name: &str) -> Result<(), Fault> {
        let forbidden = |why: BadFilter| match why {
            // [MQTT-4.7.1-2] of both versions, [MQTT-4.7.1-3] of 3.1.1, [MQTT-4.7.1-1] of 5.0.
            BadFilter::HashNotLast | BadFilter::WildcardInLevel => true,
            // [MQTT-4.8.2-1] [MQTT-4.8.2-2]. In 3.1.1 these are filters like others, but not here.
            BadFilter::Share => self.version == Version::V5 && name.starts_with("$share/"),
            BadFilter::Name(_) => false,
        };
        match Filter::parse(&*message::name_on_line(name)) {
            Err(why) if forbidden(why) => {
                Err(Fault::new(MqttError::TopicFilterInvalid, why.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// A SUBACK or an UNSUBACK with so many codes must not be longer than the client takes.
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

    /// Enters a filter. Returns the code of its answer: the QoS that was asked for, whichever it is
    /// [MQTT-3.2.2-10], or a failure [MQTT-3.8.4-7].
    fn add_filter(
        &mut self,
        filter: Filter<'_>,
        identifier: Option<u32>,
        entry: &SubEntry,
        greeted: &mut Vec<Box<str>>,
    ) -> u8 {
        let options = entry.sub_opts();
        let qos = options.qos() as u8;
        let wanted = SubscriptionOptions {
            qos,
            no_local: options.nl(),
            retain_as_published: options.rap(),
            identifier: identifier.and_then(NonZeroU32::new),
        };
        let Ok(known) = self.client.subscribe_with(filter, wanted) else {
            return byte(MqttError::QuotaExceeded);
        };
        let greets = match options.rh() {
            // Also for a filter that was there: [MQTT-3.8.4-3] of 3.1.1, [MQTT-3.3.1-9] [MQTT-3.8.4-4] of 5.0.
            RetainHandling::SendRetained => true,
            // [MQTT-3.3.1-10] of 5.0.
            RetainHandling::SendRetainedIfNotExists => !known,
            // [MQTT-3.3.1-11] of 5.0.
            RetainHandling::DoNotSendRetained => false,
        };
        if greets && filter.group().is_none() {
            greeted.push(filter.as_str().into());
        }
        qos
    }

    #[inline(never)]
    pub(super) fn unsubscribe(&mut self, id: u16, filters: &[String]) -> Result<(), Fault> {
        for filter in filters {
            self.check_filter(filter)?;
        }
        self.check_answer(filters.len())?;
        let mut codes = Vec::with_capacity(filters.len());
        for filter in filters {
            let name = message::name_on_line(filter);
            let Ok(filter) = Filter::parse(&*name) else {
                codes.push(byte(MqttError::TopicFilterInvalid));
                continue;
            };
            let known = self.client.unsubscribe(filter);
            // A filter that was not there is answered, too [MQTT-3.10.4-5].
            codes.push(if known { 0 } else { 0x11 });
        }
        // One UNSUBACK [MQTT-3.10.4-4] for all filters [MQTT-3.10.4-6].
        reply::unsuback(&mut self.answers, self.version, id, &codes);
        Ok(())
    }
}
