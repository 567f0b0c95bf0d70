//! Parses properties of MQTT 5, and checks in which packets they may be, how often, and with how many
//! bytes.

use mqtt_protocol_core::mqtt::packet::prelude::PropertyValueAccess;
use mqtt_protocol_core::mqtt::packet::{Properties, Property, PropertyId};
use mqtt_protocol_core::mqtt::result_code::MqttError;

use super::fault::{Fault, too_short};
use super::field::{check_text, varint};

/// The packet, or part of one, that contains properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PropertyPlace {
    Connect,
    Will,
    Publish,
    /// PUBACK, PUBREC, PUBREL and PUBCOMP.
    Acknowledgement,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

impl PropertyPlace {
    fn takes(self, id: PropertyId) -> bool {
        use PropertyId as Id;
        let message = matches!(
            id,
            Id::PayloadFormatIndicator
                | Id::MessageExpiryInterval
                | Id::ContentType
                | Id::ResponseTopic
                | Id::CorrelationData
        );
        let own = match self {
            Self::Connect => matches!(
                id,
                Id::SessionExpiryInterval
                    | Id::AuthenticationMethod
                    | Id::AuthenticationData
                    | Id::RequestProblemInformation
                    | Id::RequestResponseInformation
                    | Id::ReceiveMaximum
                    | Id::TopicAliasMaximum
                    | Id::MaximumPacketSize
            ),
            Self::Will => message || id == Id::WillDelayInterval,
            Self::Publish => message || id == Id::TopicAlias,
            Self::Acknowledgement => id == Id::ReasonString,
            Self::Subscribe => id == Id::SubscriptionIdentifier,
            Self::Unsubscribe => false,
            Self::Disconnect => matches!(
                id,
                Id::SessionExpiryInterval | Id::ReasonString | Id::ServerReference
            ),
        };
        own || id == Id::UserProperty
    }
}

/// Properties preceded by their length, and the number of bytes.
// Out of line: inlined, its locals would lie on the stack of every idle connection.
#[inline(never)]
pub(super) fn read(bytes: &[u8], place: PropertyPlace) -> Result<(Properties, usize), Fault> {
    let (length, start) = varint(bytes)?;
    let mut rest = bytes.get(start..start + length).ok_or_else(too_short)?;
    let mut properties = Properties::new();
    let mut seen = 0u64;
    while !rest.is_empty() {
        let (property, used) = Property::parse(rest).map_err(|code| why(rest, code))?;
        let id = property.id();
        if !place.takes(id) {
            // A property in the wrong packet makes that malformed [MQTT-4.13.1-1].
            return Err(misplaced(place, id));
        }
        let bit = 1 << id.as_u8();
        if seen & bit != 0 && id != PropertyId::UserProperty {
            return Err(Fault::protocol("a packet contains a property twice"));
        }
        seen |= bit;
        check(&property, &rest[1..])?;
        properties.push(property);
        rest = &rest[used..];
    }
    Ok((properties, start + length))
}

fn misplaced(place: PropertyPlace, id: PropertyId) -> Fault {
    if place == PropertyPlace::Publish && id == PropertyId::SubscriptionIdentifier {
        // Only brokers may send it in a PUBLISH [MQTT-3.3.4-6].
        return Fault::protocol("a PUBLISH of a client has a subscription identifier");
    }
    Fault::malformed("a packet contains a property that does not belong to it")
}

/// Checks that the library does not make: U+0000, and integers with more bytes than they need
/// [MQTT-1.5.5-1]. The library has checked that texts are UTF-8, among them user properties
/// [MQTT-1.5.7-1], response topics [MQTT-3.3.2-13] and content types [MQTT-3.3.2-19].
fn check(property: &Property, value: &[u8]) -> Result<(), Fault> {
    if let Property::UserProperty(pair) = property {
        check_text(pair.key())?;
        return check_text(pair.val());
    }
    if let Property::SubscriptionIdentifier(_) = property {
        return varint(value).map(|_| ());
    }
    property.as_str().map_or(Ok(()), check_text)
}

/// The fault of the first of these properties.
fn why(rest: &[u8], code: MqttError) -> Fault {
    if rest[0] == PropertyId::TopicAlias.as_u8() && code == MqttError::ProtocolError {
        // [MQTT-3.3.2-8].
        return Fault::new(MqttError::TopicAliasInvalid, "a topic alias is zero");
    }
    if rest[0] == PropertyId::SubscriptionIdentifier.as_u8()
        && let Err(padded) = varint(&rest[1..])
    {
        return padded;
    }
    match code {
        MqttError::ProtocolError => Fault::protocol("a property has a value that is not allowed"),
        _ => Fault::malformed("a property cannot be read"),
    }
}

/// The value of an integer property, if it is present.
pub(super) fn number(properties: &Properties, id: PropertyId) -> Option<u32> {
    let property = properties.iter().find(|property| property.id() == id)?;
    let byte = property.as_u8().map(u32::from);
    let short = property.as_u16().map(u32::from);
    byte.or(short).or(property.as_u32())
}
