//! Parses PUBLISH in place, because copying each message would slow the broker down.

use mqtt_protocol_core::mqtt::packet::Properties;
use mqtt_protocol_core::mqtt::result_code::MqttError;

use crate::wire::mqtt::Version;
use crate::wire::mqtt::fault::Fault;
use crate::wire::mqtt::field::{packet_id, text, varint};
use crate::wire::mqtt::property::{self, PropertyPlace};

/// Maximum bytes of the properties of a PUBLISH: they are stored one by one, which takes more memory
/// than they have bytes.
const PROPERTY_BYTES: usize = 256 * 1024;

/// A PUBLISH, parsed in place.
pub(in crate::wire::mqtt) struct Publish<'a> {
    pub(in crate::wire::mqtt) qos: u8,
    pub(in crate::wire::mqtt) retain: bool,
    /// Empty if an alias is used.
    pub(in crate::wire::mqtt) topic: &'a str,
    /// Zero at QoS 0.
    pub(in crate::wire::mqtt) id: u16,
    pub(in crate::wire::mqtt) properties: Properties,
    pub(in crate::wire::mqtt) payload: &'a [u8],
}

impl<'a> Publish<'a> {
    pub(in crate::wire::mqtt) fn read(
        first: u8,
        body: &'a [u8],
        version: Version,
    ) -> Result<Self, Fault> {
        let qos = first >> 1 & 3;
        // [MQTT-3.3.1-4].
        if qos == 3 {
            return Err(Fault::malformed("there is no QoS 3"));
        }
        // [MQTT-3.3.1-2]. At QoS 1 and 2 DUP means that the client sends the message again. It is not
        // forwarded to subscribers [MQTT-3.3.1-3].
        if qos == 0 && first & 8 != 0 {
            return Err(Fault::malformed("DUP is set on a PUBLISH at QoS 0"));
        }
        // The topic name comes first and is UTF-8 [MQTT-3.3.2-1].
        let (topic, rest) = text(body)?;
        // At QoS 0 there is no packet identifier [MQTT-2.3.1-5] (3.1.1) [MQTT-2.2.1-2] (5.0).
        let (id, rest) = match qos {
            0 => (0, rest),
            _ => packet_id(rest)?,
        };
        let (properties, payload) = match version {
            Version::V3 => (Properties::new(), rest),
            Version::V5 => publish_properties(rest)?,
        };
        Ok(Self {
            qos,
            retain: first & 1 != 0,
            topic,
            id,
            properties,
            payload,
        })
    }
}

#[inline]
fn publish_properties(bytes: &[u8]) -> Result<(Properties, &[u8]), Fault> {
    if let [0, payload @ ..] = bytes {
        return Ok((Properties::new(), payload));
    }
    read_publish_properties(bytes)
}

// Out of line: inlined, its locals would lie on the stack of every idle connection.
#[inline(never)]
fn read_publish_properties(bytes: &[u8]) -> Result<(Properties, &[u8]), Fault> {
    if varint(bytes)?.0 > PROPERTY_BYTES {
        return Err(Fault::new(
            MqttError::QuotaExceeded,
            "the properties of a PUBLISH have more than 256 KiB; put less there",
        ));
    }
    let (properties, used) = property::read(bytes, PropertyPlace::Publish)?;
    Ok((properties, &bytes[used..]))
}

#[cfg(test)]
mod tests {
    use mqtt_protocol_core::mqtt::Arc;
    use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_publish_is_read_as_the_library_reads_it(
            first in 0x30u8..0x40,
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                prop::collection::vec(0u8..40, 0..40),
                ("[a-z]{0,5}", prop::collection::vec(0u8..40, 0..20)).prop_map(|(topic, rest)| {
                    [&[0, topic.len() as u8][..], topic.as_bytes(), &rest].concat()
                }),
            ],
        ) {
            let library: Arc<[u8]> = body.as_slice().into();
            if let Ok(ours) = Publish::read(first, &body, Version::V3) {
                let (theirs, _) = v3_1_1::Publish::parse(first & 15, library.clone()).expect("it is one");
                prop_assert_eq!(ours.topic, theirs.topic_name());
                prop_assert_eq!(ours.payload, theirs.payload().as_slice());
                prop_assert_eq!(ours.id, theirs.packet_id().unwrap_or(0));
            }
            if let Ok(ours) = Publish::read(first, &body, Version::V5) {
                let (theirs, _) = v5_0::Publish::parse(first & 15, library).expect("it is one");
                prop_assert_eq!(ours.topic, theirs.topic_name());
                prop_assert_eq!(ours.payload, theirs.payload().as_slice());
                prop_assert_eq!(&ours.properties, theirs.props());
                prop_assert_eq!(ours.id, theirs.packet_id().unwrap_or(0));
            }
        }
    }
}
