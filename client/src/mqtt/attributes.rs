//! Attributes mapped to properties of MQTT 5, and back.

use mqtt_protocol_core::mqtt::packet::{
    ContentType, CorrelationData, MessageExpiryInterval, Property, ResponseTopic, UserProperty,
};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use protocol::{
    ACK, AckLevel, Attributes, ID, LEVEL, POSITION, Position, REPLY, RETAIN, RETAINED, Reached,
    decode_spaces, encode_spaces,
};

use super::settings::Version;

/// The content type.
const TYPE: &str = "type";

/// The message expiry, in seconds.
const TTL: &str = "ttl";

/// The user property in which a broker sends the number of messages it dropped before this one.
const GAP: &str = "gap";

/// Replaces a character that the key of an attribute cannot contain.
const REPLACEMENT: char = '-';

/// What the acknowledgement of a message with these properties says about how safe it is.
pub(super) fn reached(properties: &[Property]) -> Option<Reached> {
    let get = |key: &str| {
        properties.iter().find_map(|property| match property {
            Property::UserProperty(pair) if pair.key() == key => Some(pair.val().as_bytes()),
            _ => None,
        })
    };
    Some(Reached {
        level: AckLevel::parse(get(LEVEL)?).ok()?,
        position: get(POSITION).and_then(|text| Position::parse(text).ok()),
    })
}

/// Checks that a message with these attributes can be sent in this version; the error says why not.
pub fn check_attributes(version: Version, attributes: &Attributes<'_>) -> Result<(), String> {
    let mut keys = attributes.iter().map(|(key, _)| key);
    match version {
        Version::V3 if attributes.contains(ACK) => {
            Err("MQTT 3.1.1 cannot ask for a level of safety; give --mqtt 5".to_owned())
        }
        Version::V3 if keys.any(|key| key != RETAIN) => {
            Err("MQTT 3.1.1 has no place for attributes; give --mqtt 5".to_owned())
        }
        Version::V3 => Ok(()),
        Version::V5 => properties(attributes).map(drop),
    }
}

/// The properties of a message with these attributes.
pub(super) fn properties(attributes: &Attributes<'_>) -> Result<Vec<Property>, String> {
    let mut properties = Vec::new();
    for (key, value) in attributes.iter().filter(|(key, _)| *key != RETAIN) {
        let value = value.unwrap_or_default();
        let text = || str::from_utf8(&value).map_err(|_| format!("{key} is not UTF-8"));
        let made = match key {
            REPLY => ResponseTopic::new(&*decode_spaces(text()?)).map(Property::ResponseTopic),
            ID => CorrelationData::new(value.into_owned()).map(Property::CorrelationData),
            TYPE => ContentType::new(text()?).map(Property::ContentType),
            TTL => {
                let seconds = text()?.parse();
                let seconds = seconds.map_err(|_| format!("{TTL} is a number of whole seconds"))?;
                MessageExpiryInterval::new(seconds).map(Property::MessageExpiryInterval)
            }
            key => UserProperty::new(key, text()?).map(Property::UserProperty),
        };
        properties.push(made.map_err(|error: MqttError| format!("{key} cannot be sent: {error}"))?);
    }
    Ok(properties)
}

/// The attributes of a message with these properties, and how many messages were dropped before it.
pub(super) fn attributes(properties: &[Property], retained: bool) -> (Attributes<'static>, u64) {
    let mut attributes = Attributes::default();
    let mut gap = 0;
    let mut push = |key: &str, value: &[u8]| {
        let key = written(key);
        let pushed = match value {
            // A user property with an empty value is a flag.
            b"" => attributes.push_flag(&key),
            value => attributes.push(&key, value),
        };
        pushed.expect("the key was written as one");
    };
    if retained {
        push(RETAINED, b"");
    }
    for property in properties {
        match property {
            Property::ResponseTopic(topic) => push(REPLY, encode_spaces(topic.val()).as_bytes()),
            Property::CorrelationData(data) => push(ID, data.val()),
            Property::ContentType(text) => push(TYPE, text.val().as_bytes()),
            Property::MessageExpiryInterval(seconds) => {
                push(TTL, seconds.val().to_string().as_bytes());
            }
            Property::UserProperty(pair) if pair.key() == GAP => match pair.val().parse() {
                Ok(count) => gap = count,
                Err(_) => push(GAP, pair.val().as_bytes()),
            },
            Property::UserProperty(pair) => push(pair.key(), pair.val().as_bytes()),
            // The other properties are about the connection or about the format of the payload.
            _ => {}
        }
    }
    (attributes, gap)
}

/// A valid attribute key: lower-case letters, digits and `-`.
fn written(key: &str) -> String {
    if key.is_empty() {
        return REPLACEMENT.to_string();
    }
    let letters = key.chars().map(|letter| match letter.to_ascii_lowercase() {
        letter if letter.is_ascii_lowercase() || letter.is_ascii_digit() => letter,
        _ => REPLACEMENT,
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Attributes<'static> {
        let mut attributes = Attributes::default();
        for (key, value) in pairs {
            attributes.push(key, value.as_bytes()).expect("a key");
        }
        attributes
    }

    #[test]
    fn attributes_survive_the_conversion_to_properties_and_back() {
        let sent = of(&[
            ("reply", r"my\sanswers/1"),
            ("id", "7 ;\\"),
            ("type", "text/plain"),
            ("ttl", "90"),
            ("unit", "C"),
            ("unit", "F"),
        ]);
        let properties = properties(&sent).expect("properties");
        let users = properties
            .iter()
            .filter(|it| matches!(it, Property::UserProperty(_)));
        assert_eq!(users.count(), 2);
        assert_eq!(attributes(&properties, false), (sent, 0));
    }

    #[test]
    fn retained_and_gaps_are_told_apart_from_the_publishers_own() {
        let gap = UserProperty::new("gap", "12").expect("a property");
        let (attributes, gap) = attributes(&[Property::UserProperty(gap)], true);
        assert_eq!(gap, 12);
        assert!(attributes.contains(RETAINED));
        assert_eq!(attributes.iter().count(), 1);
    }

    #[test]
    fn an_acknowledgement_says_how_safe_its_message_is() {
        let said = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(key, value)| {
                let pair = UserProperty::new(*key, *value).expect("a property");
                Property::UserProperty(pair)
            });
            reached(&pairs.collect::<Vec<_>>())
        };
        let position = Position::parse(b"k3f9.2:7").ok();
        let disk = |position| {
            Some(Reached {
                level: AckLevel::Disk,
                position,
            })
        };
        let both = [("x", "y"), ("level", "disk"), ("pos", "k3f9.2:7")];
        assert_eq!(said(&both), disk(position));
        assert_eq!(said(&[("level", "disk"), ("pos", "7")]), disk(None));
        assert_eq!(said(&[("level", "paper"), ("pos", "k3f9.2:7")]), None);
        assert_eq!(said(&[("pos", "k3f9.2:7")]), None);
    }

    #[test]
    fn a_key_that_is_none_is_written_as_one() {
        for (key, as_written) in [("Unit", "unit"), ("a b", "a-b"), ("", "-"), ("é", "-")] {
            let pair = UserProperty::new(key, "x").expect("a property");
            let (attributes, _) = attributes(&[Property::UserProperty(pair)], false);
            assert_eq!(attributes, of(&[(as_written, "x")]));
        }
    }

    #[test]
    fn attributes_that_cannot_be_sent_are_refused() {
        let check = check_attributes;
        assert_eq!(check(Version::V3, &Attributes::default()), Ok(()));
        let unit = of(&[("unit", "C")]);
        assert!(check(Version::V3, &unit).is_err_and(|why| why.contains("--mqtt 5")));
        let asks = check(Version::V3, &of(&[("ack", "disk")]));
        assert!(asks.is_err_and(|why| why.contains("level of safety; give --mqtt 5")));
        assert_eq!(check(Version::V5, &unit), Ok(()));
        let ttl = of(&[("ttl", "soon")]);
        assert!(check(Version::V5, &ttl).is_err_and(|why| why.contains("seconds")));
        let long = of(&[("x", &"x".repeat(70_000))]);
        assert!(check(Version::V5, &long).is_err_and(|why| why.contains("x cannot be sent")));
    }
}
