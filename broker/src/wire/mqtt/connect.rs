//! CONNECT: the client is identified, its limits and its will are noted, its session is opened and
//! attached to the connection, and CONNACK says so. Or CONNACK says why not.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use mqtt_protocol_core::mqtt::packet::PropertyId;
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError};
use protocol::{Attributes, Escaped, Name, RETAIN, Topic};

use super::packet::{BadConnect, Connect, Fault, WillPacket};
use super::reply::{self, ReplyLimits, Welcome};
use super::writer::{ClientLimits, ConnectionWriter};
use super::{Encoders, Version, message, property};
use crate::engine::client::{Client, NoMemory, SessionBusy};
use crate::engine::limits::Limits;
use crate::engine::session::{Expiry, Will};

/// Messages at QoS 1 and 2 that a client may have sent before they are acknowledged.
pub(super) const RECEIVE_MAXIMUM: u16 = 1024;

/// Topics that a client may stand a number for.
pub(super) const ALIASES: u16 = 256;

/// The longest client identifier: it stands in the log. Up to here any UTF-8 is allowed, which is more
/// than [MQTT-3.1.3-5] asks for.
const CLIENT_ID_BYTES: usize = 1024;

/// An interval that does not end.
const FOR_EVER: u32 = u32::MAX;

/// What the conversation goes on with.
pub(super) struct Accepted {
    pub(super) version: Version,
    /// Without a packet for this long the client is gone; zero for never.
    pub(super) keep_alive: Duration,
    pub(super) reply_limits: ReplyLimits,
    /// As the client asked for, before any limit.
    pub(super) expiry: u32,
}

/// Why there is no conversation, and what the client is told.
pub(super) struct Turned {
    pub(super) why: Fault,
    pub(super) answer: Vec<u8>,
}

impl Turned {
    fn away(
        version: Version,
        reply_limits: ReplyLimits,
        why: Fault,
        code: Option<ConnectReturnCode>,
    ) -> Self {
        let answer = match (version, code) {
            (Version::V5, _) => reply_limits.fitting(reply::refuse_5(&why, reply_limits)),
            (Version::V3, Some(code)) => reply::refuse_3(code),
            // 3.1.1 has no code for this: it is just closed.
            (Version::V3, None) => Vec::new(),
        };
        Self { why, answer }
    }

    pub(super) fn bad(bad: BadConnect) -> Self {
        match bad {
            BadConnect::NotMqtt => Self {
                why: Fault::new(
                    MqttError::UnsupportedProtocolVersion,
                    "a CONNECT that is not MQTT",
                ),
                answer: Vec::new(),
            },
            BadConnect::Version(version) => {
                let why = Fault::new(
                    MqttError::UnsupportedProtocolVersion,
                    "this broker speaks MQTT 3.1.1 and 5.0",
                );
                let code = ConnectReturnCode::UnacceptableProtocolVersion;
                Self::away(version, ReplyLimits::ANY, why, Some(code))
            }
            BadConnect::Fault(version, why) => Self::away(version, ReplyLimits::ANY, why, None),
        }
    }
}

/// What a client is called.
struct Identity {
    client_id: String,
    /// The broker has chosen it, because the client has not.
    is_assigned: bool,
}

/// What the two sides have agreed on.
struct Terms {
    limits: ClientLimits,
    reply_limits: ReplyLimits,
    /// The session expiry interval that the client asked for, and what it is granted.
    asked_expiry: u32,
    granted_expiry: u32,
}

/// Why a CONNECT is not accepted; the second is for 3.1.1, which has no more to say.
type Refusal = (Fault, Option<ConnectReturnCode>);

/// Handles CONNECT.
#[inline(never)]
pub(super) fn accept(
    client: &mut Client<'_>,
    encoders: Encoders,
    connect: &Connect,
) -> Result<Accepted, Turned> {
    let version = connect.version;
    let terms = negotiate(connect, client.limits());
    let away = |(why, code)| Turned::away(version, terms.reply_limits, why, code);
    let identity = identify(client, connect).map_err(away)?;
    let welcome = welcome(&identity, &terms, client.limits(), false);
    check_welcome(&welcome.encode(version), &terms).map_err(away)?;
    let will = connect.will.as_ref().map(|will| new_will(client, will));
    let will = will.transpose().map_err(away)?;
    note_password(client, connect);
    let is_resumed = open_session(client, &identity, &terms, connect.clean, will).map_err(away)?;
    attach(client, &identity, &terms, encoders, is_resumed);
    Ok(Accepted {
        version,
        // One and a half times the keep alive [MQTT-3.1.2-24] of 3.1.1, [MQTT-3.1.2-22] of 5.0.
        keep_alive: Duration::from_secs(connect.keep_alive.into()) * 3 / 2,
        reply_limits: terms.reply_limits,
        expiry: terms.asked_expiry,
    })
}

/// Who connects.
fn identify(client: &Client<'_>, connect: &Connect) -> Result<Identity, Refusal> {
    connect.check_authentication().map_err(|why| (why, None))?;
    // Answered by code 0x02, then closed [MQTT-3.1.3-9] of 3.1.1.
    let rejected = |why: &'static str| {
        let why = Fault::new(MqttError::ClientIdentifierNotValid, why);
        (why, Some(ConnectReturnCode::IdentifierRejected))
    };
    match (&*connect.client_id, connect.version, connect.clean) {
        // [MQTT-3.1.3-8] of 3.1.1: without an identifier nothing could be found again.
        ("", Version::V3, false) => Err(rejected(
            "a session needs a client identifier; give one, or ask for a clean session",
        )),
        // [MQTT-3.1.3-6]
        ("", ..) => Ok(Identity {
            client_id: unique(client.id()),
            is_assigned: true,
        }),
        (client_id, ..) if client_id.len() > CLIENT_ID_BYTES => Err(rejected(
            "a client identifier has at most 1024 bytes; choose a shorter one",
        )),
        (client_id, ..) => Ok(Identity {
            client_id: client_id.to_owned(),
            is_assigned: false,
        }),
    }
}

/// What the client takes, and how long its session lasts.
fn negotiate(connect: &Connect, limits: &Limits) -> Terms {
    let packet_bytes = connect.number(PropertyId::MaximumPacketSize);
    let asked_expiry = match (connect.version, connect.clean) {
        (Version::V3, true) => 0,
        (Version::V3, false) => FOR_EVER,
        (Version::V5, _) => connect
            .number(PropertyId::SessionExpiryInterval)
            .unwrap_or(0),
    };
    Terms {
        limits: ClientLimits {
            version: connect.version,
            receive_maximum: short(connect, PropertyId::ReceiveMaximum).unwrap_or(u16::MAX),
            packet_bytes,
            // Without the property it takes none [MQTT-3.1.2-27].
            aliases: short(connect, PropertyId::TopicAliasMaximum).unwrap_or(0),
        },
        reply_limits: ReplyLimits {
            wanted: connect.number(PropertyId::RequestProblemInformation) != Some(0),
            most: packet_bytes.unwrap_or(u32::MAX),
        },
        asked_expiry,
        granted_expiry: granted(asked_expiry, limits),
    }
}

/// What CONNACK says.
fn welcome<'a>(
    identity: &'a Identity,
    terms: &Terms,
    limits: &Limits,
    session_present: bool,
) -> Welcome<'a> {
    let is_granted = terms.granted_expiry == terms.asked_expiry;
    Welcome {
        session_present,
        // [MQTT-3.2.2-16]
        assigned: identity.is_assigned.then_some(&identity.client_id),
        // [MQTT-3.2.2-21]: only if it is not what the client asked for.
        expiry: (!is_granted).then_some(terms.granted_expiry),
        receive_maximum: RECEIVE_MAXIMUM,
        packet_bytes: u32::try_from(limits.line_bytes).unwrap_or(u32::MAX),
        aliases: ALIASES,
    }
}

/// No packet may be longer than the client takes [MQTT-3.1.2-24]. Checked before there is a session, for
/// afterwards there would be no way to say it.
fn check_welcome(welcome: &[u8], terms: &Terms) -> Result<(), Refusal> {
    if welcome.len() <= terms.reply_limits.most as usize {
        return Ok(());
    }
    let why = "the CONNACK is longer than the maximum packet size; take longer ones";
    Err((Fault::new(MqttError::PacketTooLarge, why), None))
}

/// The message that is published if the client is cut off.
fn new_will(client: &Client<'_>, will: &WillPacket) -> Result<Will, Refusal> {
    let name = message::name_on_line(&will.topic);
    let invalid = |why: String| (Fault::new(MqttError::TopicNameInvalid, why), None);
    if name.is_empty() {
        return Err(invalid("the will has no topic".into()));
    }
    let topic = Topic::parse(&*name).map_err(|why| invalid(why.to_string()))?;
    client.check_topic(topic).map_err(|brokers_own| {
        let why = Fault::new(MqttError::NotAuthorized, brokers_own.to_string());
        (why, Some(ConnectReturnCode::NotAuthorized))
    })?;
    let mut attributes: Attributes<'_> = message::attributes(&will.properties);
    // Retained only if the client wants that: [MQTT-3.1.2-16] [MQTT-3.1.2-17] of 3.1.1, [MQTT-3.1.2-14]
    // [MQTT-3.1.2-15] of 5.0.
    if will.retain {
        attributes
            .push_flag(RETAIN)
            .expect("`retain` is a valid key");
    }
    let payload = Escaped::escape(&will.payload);
    let delay = property::number(&will.properties, PropertyId::WillDelayInterval).unwrap_or(0);
    let delay = Duration::from_secs(delay.into());
    client
        .new_will(topic, payload, attributes, will.qos, delay)
        .map_err(|NoMemory| {
            let why = Fault::new(
                MqttError::QuotaExceeded,
                "there is no memory for this will now; come again later, or with a shorter one",
            );
            (why, Some(ConnectReturnCode::ServerUnavailable))
        })
}

/// Opens the session of this client, a new one if it is to be `clean` [MQTT-3.1.4-3] of 3.1.1,
/// [MQTT-3.1.4-4] of 5.0. Returns whether it is an earlier one.
fn open_session(
    client: &mut Client<'_>,
    identity: &Identity,
    terms: &Terms,
    clean: bool,
    will: Option<Will>,
) -> Result<bool, Refusal> {
    let expiry = expiry(terms.granted_expiry);
    let opened = client.open_session(&identity.client_id, clean, expiry, will);
    if opened.is_ok()
        // Lists of clients name it so, if that can be shown.
        && let Ok(name) = Name::parse(identity.client_id.as_bytes())
    {
        client.set_name(name.as_str());
    }
    opened.map_err(|SessionBusy| {
        let why = Fault::new(
            MqttError::ServerUnavailable,
            "an earlier connection with this client identifier does not end; try again later",
        );
        (why, Some(ConnectReturnCode::ServerUnavailable))
    })
}

/// Attaches the session to this connection, and sends CONNACK with code 0 [MQTT-3.1.4-4] of 3.1.1,
/// [MQTT-3.1.4-5] of 5.0, before anything else [MQTT-3.2.0-1].
fn attach(
    client: &mut Client<'_>,
    identity: &Identity,
    terms: &Terms,
    encoders: Encoders,
    is_resumed: bool,
) {
    let version = terms.limits.version;
    // Session present says whether an earlier session goes on: [MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
    // of 3.1.1, [MQTT-3.2.2-2] [MQTT-3.2.2-3] of 5.0.
    let welcome = welcome(identity, terms, client.limits(), is_resumed).encode(version);
    let writer = ConnectionWriter::new(&identity.client_id, terms.limits);
    client.attach_session(encoders.of(version), Box::new(writer), &welcome);
}

/// How long a session is kept for a client that asked for this many seconds.
pub(super) fn granted(asked: u32, limits: &Limits) -> u32 {
    let most = u32::try_from(limits.session_expiry.as_secs()).unwrap_or(FOR_EVER);
    asked.min(most)
}

/// The same as the engine has it.
pub(super) fn expiry(seconds: u32) -> Expiry {
    match seconds {
        0 => Expiry::AtOnce,
        FOR_EVER => Expiry::Never,
        seconds => Expiry::After(Duration::from_secs(seconds.into())),
    }
}

fn short(connect: &Connect, id: PropertyId) -> Option<u16> {
    connect
        .number(id)
        .and_then(|number| u16::try_from(number).ok())
}

/// Says once that passwords are not checked.
fn note_password(client: &Client<'_>, connect: &Connect) {
    if (connect.user_name.is_some() || connect.has_password) && client.is_first_with_password() {
        log::warn!(
            "connection {} comes with a user name: this broker checks none yet, anyone is let in",
            client.id()
        );
    }
}

/// An identifier that no other client has or can guess.
fn unique(connection: u64) -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("dallal-{connection}-{random:016x}")
}
