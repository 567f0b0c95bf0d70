//! Properties of MQTT 5: names, encoding and parsing.
//!
//! Encoding checks nothing, so that a case can send what the standard forbids. Parsing is strict.

use super::reader::{FieldReader, Malformed};
use super::writer::FieldWriter;

/// The identifiers of properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PropertyName {
    PayloadFormat = 0x01,
    MessageExpiry = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionId = 0x0b,
    SessionExpiry = 0x11,
    AssignedClientId = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelay = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1a,
    ServerReference = 0x1c,
    ReasonString = 0x1f,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQos = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardAvailable = 0x28,
    SubscriptionIdAvailable = 0x29,
    SharedAvailable = 0x2a,
}

use PropertyName::{
    AssignedClientId, AuthenticationData, AuthenticationMethod, ContentType, CorrelationData,
    MaximumPacketSize, MaximumQos, MessageExpiry, PayloadFormat, ReasonString, ReceiveMaximum,
    RequestProblemInformation, RequestResponseInformation, ResponseInformation, ResponseTopic,
    RetainAvailable, ServerKeepAlive, ServerReference, SessionExpiry, SharedAvailable,
    SubscriptionId, SubscriptionIdAvailable, TopicAlias, TopicAliasMaximum, UserProperty,
    WildcardAvailable, WillDelay,
};

const NAMES: [PropertyName; 27] = [
    PayloadFormat,
    MessageExpiry,
    ContentType,
    ResponseTopic,
    CorrelationData,
    SubscriptionId,
    SessionExpiry,
    AssignedClientId,
    ServerKeepAlive,
    AuthenticationMethod,
    AuthenticationData,
    RequestProblemInformation,
    WillDelay,
    RequestResponseInformation,
    ResponseInformation,
    ServerReference,
    ReasonString,
    ReceiveMaximum,
    TopicAliasMaximum,
    TopicAlias,
    MaximumQos,
    RetainAvailable,
    UserProperty,
    MaximumPacketSize,
    WildcardAvailable,
    SubscriptionIdAvailable,
    SharedAvailable,
];

/// The properties that a server may send in each of its packets.
pub(crate) const IN_CONNACK: &[PropertyName] = &[
    SessionExpiry,
    ReceiveMaximum,
    MaximumQos,
    RetainAvailable,
    MaximumPacketSize,
    AssignedClientId,
    TopicAliasMaximum,
    ReasonString,
    UserProperty,
    WildcardAvailable,
    SubscriptionIdAvailable,
    SharedAvailable,
    ServerKeepAlive,
    ResponseInformation,
    ServerReference,
    AuthenticationMethod,
    AuthenticationData,
];
pub(crate) const IN_PUBLISH: &[PropertyName] = &[
    PayloadFormat,
    MessageExpiry,
    TopicAlias,
    ResponseTopic,
    CorrelationData,
    UserProperty,
    SubscriptionId,
    ContentType,
];
pub(crate) const IN_ACK: &[PropertyName] = &[ReasonString, UserProperty];
pub(crate) const IN_DISCONNECT: &[PropertyName] = &[ReasonString, UserProperty, ServerReference];
pub(crate) const IN_AUTH: &[PropertyName] = &[
    AuthenticationMethod,
    AuthenticationData,
    ReasonString,
    UserProperty,
];

/// The value of a property. Its identifier decides the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Byte(u8),
    Two(u16),
    Four(u32),
    Variable(u32),
    Text(String),
    Data(Vec<u8>),
    Pair(String, String),
}

/// Properties in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties(pub(crate) Vec<(PropertyName, Value)>);

impl Properties {
    pub(crate) fn with(mut self, name: PropertyName, value: Value) -> Self {
        self.0.push((name, value));
        self
    }

    pub(crate) fn byte(self, name: PropertyName, value: u8) -> Self {
        self.with(name, Value::Byte(value))
    }

    pub(crate) fn two(self, name: PropertyName, value: u16) -> Self {
        self.with(name, Value::Two(value))
    }

    pub(crate) fn four(self, name: PropertyName, value: u32) -> Self {
        self.with(name, Value::Four(value))
    }

    pub(crate) fn variable(self, name: PropertyName, value: u32) -> Self {
        self.with(name, Value::Variable(value))
    }

    pub(crate) fn text(self, name: PropertyName, value: &str) -> Self {
        self.with(name, Value::Text(value.to_owned()))
    }

    pub(crate) fn data(self, name: PropertyName, value: &[u8]) -> Self {
        self.with(name, Value::Data(value.to_owned()))
    }

    pub(crate) fn user(self, key: &str, value: &str) -> Self {
        let pair = Value::Pair(key.to_owned(), value.to_owned());
        self.with(UserProperty, pair)
    }

    /// The first property with this name.
    pub(crate) fn get(&self, name: PropertyName) -> Option<&Value> {
        self.all(name).next()
    }

    /// All properties with this name, in order.
    pub(crate) fn all(&self, name: PropertyName) -> impl Iterator<Item = &Value> {
        let found = self.0.iter().filter(move |(each, _)| *each == name);
        found.map(|(_, value)| value)
    }

    /// A number of any width.
    pub(crate) fn number(&self, name: PropertyName) -> Option<u32> {
        match self.get(name)? {
            Value::Byte(value) => Some((*value).into()),
            Value::Two(value) => Some((*value).into()),
            Value::Four(value) | Value::Variable(value) => Some(*value),
            Value::Text(_) | Value::Data(_) | Value::Pair(..) => None,
        }
    }

    /// Writes them with their length before them.
    pub(crate) fn write(&self, out: &mut FieldWriter) {
        let mut body = FieldWriter::default();
        for (name, value) in &self.0 {
            body.u8(*name as u8);
            match value {
                Value::Byte(value) => body.u8(*value),
                Value::Two(value) => body.u16(*value),
                Value::Four(value) => body.u32(*value),
                Value::Variable(value) => body.variable(*value),
                Value::Text(value) => body.data(value.as_bytes()),
                Value::Data(value) => body.data(value),
                Value::Pair(key, value) => {
                    body.data(key.as_bytes());
                    body.data(value.as_bytes());
                }
            }
        }
        out.variable(body.0.len() as u32);
        out.bytes(&body.0);
    }

    /// The size of their encoding, with the length before them.
    pub(crate) fn encoded_len(&self) -> usize {
        let mut out = FieldWriter::default();
        self.write(&mut out);
        out.0.len()
    }

    /// Parses the properties of a packet, in which only some are allowed.
    pub(crate) fn read(
        reader: &mut FieldReader<'_>,
        allowed: &[PropertyName],
    ) -> Result<Self, Malformed> {
        let len = reader.variable("the length of the properties")?;
        let mut rest = FieldReader(reader.take(len as usize, "the properties")?);
        let mut properties = Self::default();
        while !rest.0.is_empty() {
            let number = rest.variable("a property's number")?;
            let name = NAMES.into_iter().find(|name| *name as u32 == number);
            let name =
                name.ok_or_else(|| Malformed(format!("property 0x{number:02x} is not known")))?;
            if !allowed.contains(&name) {
                let why = format!("{name:?} does not belong in this packet");
                return Err(Malformed(why));
            }
            // Only these may be repeated.
            let is_double = properties.get(name).is_some();
            if is_double && name != UserProperty && name != SubscriptionId {
                return Err(Malformed(format!("{name:?} comes twice")));
            }
            let value = read_value(name, &mut rest)?;
            properties.0.push((name, value));
        }
        Ok(properties)
    }
}

fn read_value(name: PropertyName, reader: &mut FieldReader<'_>) -> Result<Value, Malformed> {
    let what = "a property's value";
    Ok(match name {
        PayloadFormat
        | RequestProblemInformation
        | RequestResponseInformation
        | MaximumQos
        | RetainAvailable
        | WildcardAvailable
        | SubscriptionIdAvailable
        | SharedAvailable => match reader.u8(what)? {
            value @ (0 | 1) => Value::Byte(value),
            value => return Err(Malformed(format!("{name:?} is {value}, not 0 or 1"))),
        },
        ServerKeepAlive | TopicAliasMaximum => Value::Two(reader.u16(what)?),
        ReceiveMaximum | TopicAlias => match reader.u16(what)? {
            0 => return Err(Malformed(format!("{name:?} is 0"))),
            value => Value::Two(value),
        },
        MessageExpiry | SessionExpiry | WillDelay => Value::Four(reader.u32(what)?),
        MaximumPacketSize => match reader.u32(what)? {
            0 => return Err(Malformed(format!("{name:?} is 0"))),
            value => Value::Four(value),
        },
        SubscriptionId => match reader.variable(what)? {
            0 => return Err(Malformed(format!("{name:?} is 0"))),
            value => Value::Variable(value),
        },
        ContentType | ResponseTopic | AssignedClientId | AuthenticationMethod
        | ResponseInformation | ServerReference | ReasonString => Value::Text(reader.text(what)?),
        CorrelationData | AuthenticationData => Value::Data(reader.data(what)?.to_owned()),
        UserProperty => Value::Pair(reader.text(what)?, reader.text(what)?),
    })
}
