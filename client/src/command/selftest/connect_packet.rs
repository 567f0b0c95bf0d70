//! A CONNECT, each part of which a case may set to an invalid value.

use super::encode;
use super::property::{Properties, PropertyName};
use super::version::MqttVersion;
use super::writer::FieldWriter;

const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER: u8 = 0x80;

/// The default session expiry.
const LASTING_SECONDS: u32 = 300;

/// A CONNECT packet.
#[derive(Clone, Debug)]
pub(crate) struct ConnectPacket {
    version: MqttVersion,
    pub(crate) protocol: Vec<u8>,
    pub(crate) level: u8,
    /// Flags in place of those that follow from the parts.
    pub(crate) flags: Option<u8>,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) properties: Properties,
    pub(crate) id: Vec<u8>,
    pub(crate) will: Option<ConnectWill>,
    pub(crate) user: Option<Vec<u8>>,
    pub(crate) password: Option<Vec<u8>>,
    /// Surplus bytes at the end.
    pub(crate) extra: Vec<u8>,
}

/// The will, published when the connection ends without DISCONNECT.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectWill {
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Properties,
}

impl ConnectWill {
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self {
            topic: topic.as_bytes().to_owned(),
            payload: payload.as_bytes().to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(crate) fn properties(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }
}

impl ConnectPacket {
    pub(crate) fn new(version: MqttVersion, id: &str) -> Self {
        Self {
            version,
            protocol: b"MQTT".to_vec(),
            level: version.level(),
            flags: None,
            clean: true,
            keep_alive: 0,
            properties: Properties::default(),
            id: id.as_bytes().to_owned(),
            will: None,
            user: None,
            password: None,
            extra: Vec::new(),
        }
    }

    /// Asks for a session that outlives the connection, and resumes an existing one.
    pub(crate) fn lasting(self) -> Self {
        self.lasting_for(LASTING_SECONDS)
    }

    /// The same with this session expiry, in MQTT 5.
    pub(crate) fn lasting_for(mut self, seconds: u32) -> Self {
        self.clean = false;
        if self.version == MqttVersion::V5 {
            self.properties = self.properties.four(PropertyName::SessionExpiry, seconds);
        }
        self
    }

    pub(crate) fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    pub(crate) fn will(mut self, will: ConnectWill) -> Self {
        self.will = Some(will);
        self
    }

    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.flags = Some(flags);
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(Properties) -> Properties) -> Self {
        self.properties = change(self.properties);
        self
    }

    fn usual_flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean {
            flags |= CLEAN;
        }
        if let Some(will) = &self.will {
            flags |= WILL | will.qos << WILL_QOS_SHIFT;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.user.is_some() {
            flags |= USER;
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        flags
    }

    /// The variable header.
    pub(crate) fn head(&self) -> FieldWriter {
        let mut body = FieldWriter::default();
        body.data(&self.protocol);
        body.u8(self.level);
        body.u8(self.flags.unwrap_or_else(|| self.usual_flags()));
        body.u16(self.keep_alive);
        if self.version == MqttVersion::V5 {
            self.properties.write(&mut body);
        }
        body
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = self.head();
        body.data(&self.id);
        if let Some(will) = &self.will {
            if self.version == MqttVersion::V5 {
                will.properties.write(&mut body);
            }
            body.data(&will.topic);
            body.data(&will.payload);
        }
        if let Some(user) = &self.user {
            body.data(user);
        }
        if let Some(password) = &self.password {
            body.data(password);
        }
        body.bytes(&self.extra);
        encode::packet(0x10, &body.0)
    }
}
