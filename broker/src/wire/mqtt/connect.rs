//! CONNECT: who comes, what it wants, and whether it has been here before.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use mqtt_protocol_core::mqtt::packet::PropertyId;
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError};
use protocol::{Attributes, Escaped, Name, RETAIN, Topic};

use super::packet::{BadConnect, Connect, Fault, WillPacket};
use super::reply::{self, ReplyLimits, Welcome};
use super::shelf::{self, Shelf};
use super::{Encoders, Version, message};
use crate::engine::client::{Client, NoMemory, Seat};
use crate::engine::limits::{CachedLimits, Limits};
use crate::engine::outbox::Outbox;
use crate::engine::session::store::Seated;
use crate::sync::Ordering;

/// Messages at QoS 1 and 2 that a client may have sent before they are acknowledged.
pub(super) const RECEIVE_MAXIMUM: u16 = 1024;

/// Topics that a client may stand a number for.
pub(super) const ALIASES: u16 = 256;

/// The longest client identifier: it stands in the log.
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

/// Lets the client in, or says why not.
#[inline(never)]
pub(super) fn accept(
    client: &mut Client<'_>,
    encoders: Encoders,
    connect: &Connect,
) -> Result<Accepted, Turned> {
    let version = connect.version;
    let reply_limits = ReplyLimits {
        wanted: connect.number(PropertyId::RequestProblemInformation) != Some(0),
        most: connect
            .number(PropertyId::MaximumPacketSize)
            .unwrap_or(u32::MAX),
    };
    let away = |why, code| Err(Turned::away(version, reply_limits, why, code));
    if let Err(why) = connect.check_authentication() {
        return away(why, None);
    }
    let assigned = match (&*connect.client_id, version, connect.clean) {
        ("", Version::V3, false) => {
            let why = Fault::new(
                MqttError::ClientIdentifierNotValid,
                "a session needs a client identifier; give one, or ask for a clean session",
            );
            let code = ConnectReturnCode::IdentifierRejected;
            return away(why, Some(code));
        }
        ("", ..) => Some(unique(client.record.outbox.id())),
        _ => None,
    };
    let client_id = assigned.as_deref().unwrap_or(&connect.client_id);
    if client_id.len() > CLIENT_ID_BYTES {
        let why = Fault::new(
            MqttError::ClientIdentifierNotValid,
            "a client identifier has at most 1024 bytes; choose a shorter one",
        );
        return away(why, Some(ConnectReturnCode::IdentifierRejected));
    }
    let asked = match (version, connect.clean) {
        (Version::V3, true) => 0,
        (Version::V3, false) => FOR_EVER,
        (Version::V5, _) => connect
            .number(PropertyId::SessionExpiryInterval)
            .unwrap_or(0),
    };
    let granted = granted(asked, client.limits());
    let welcome = Welcome {
        session_present: false,
        assigned: assigned.as_deref(),
        expiry: (granted != asked).then_some(granted),
        receive_maximum: RECEIVE_MAXIMUM,
        packet_bytes: u32::try_from(client.limits().line_bytes).unwrap_or(u32::MAX),
        aliases: ALIASES,
    };
    if welcome.encode(version).len() > reply_limits.most as usize {
        let why = Fault::new(
            MqttError::PacketTooLarge,
            "the CONNACK is longer than the maximum packet size; take longer ones",
        );
        return away(why, None);
    }
    if let Some(will) = &connect.will {
        set_will(client, will).or_else(|(why, code)| away(why, code).map(|_: Accepted| ()))?;
    }
    note_password(client, connect);
    let terms = shelf::Terms {
        version,
        receive_maximum: short(connect, PropertyId::ReceiveMaximum).unwrap_or(u16::MAX),
        packet_bytes: connect.number(PropertyId::MaximumPacketSize),
        aliases: short(connect, PropertyId::TopicAliasMaximum).unwrap_or(0),
    };
    // Whoever sits there is waited for, and nobody shall wait for that.
    client.settle();
    // What was said before, in HTTP and in WebSocket, is not passed on with the connection.
    client.outbox.drain(None);
    let seats = &client.engine.seats;
    let seated = seats.take(client_id, client.record, connect.clean, dismiss);
    client.begin();
    let resumed = match seated {
        Seated::Taken => {
            let why = Fault::new(
                MqttError::ServerUnavailable,
                "an earlier connection with this client identifier does not end; try again later",
            );
            return away(why, Some(ConnectReturnCode::ServerUnavailable));
        }
        Seated::New(ended) => {
            if let Some(ended) = ended {
                client.end_session(ended);
            }
            None
        }
        Seated::Resumed(session) => Some(session),
    };
    let session_present = resumed.is_some();
    client.member_named(client_id);
    let session = match resumed {
        Some(session) => {
            client
                .record
                .outbox
                .pass_on(&session.outbox, encoders.of(version));
            let (id, outbox) = (client.record.outbox.id(), session.outbox.clone());
            client.engine.flusher.register(id, outbox);
            session
        }
        None => {
            let owner = client.record.outbox.id();
            let limits = CachedLimits::new(&client.engine.limits);
            let charge = client.engine.memory.charge(0);
            let shelf = Shelf::new(owner, client_id, terms, limits, charge);
            client.record.outbox.set_encoder(encoders.of(version));
            client.record.outbox.adapt(Box::new(shelf));
            client.record.clone()
        }
    };
    let will_delay = connect
        .will
        .as_ref()
        .and_then(|will| super::property::number(&will.properties, PropertyId::WillDelayInterval));
    client.sit_down(Seat {
        client: client_id.into(),
        session,
        expiry: seconds(granted),
        will_delay: Duration::from_secs(will_delay.unwrap_or(0).into()),
    });
    let mut guard = client.outbox.lock();
    let welcome = Welcome {
        session_present,
        ..welcome
    };
    guard.answer(&welcome.encode(version));
    if guard.is_ending() {
        // Another connection has come for this client meanwhile, before there was anything to end.
        guard.answer(taken_over(version));
        guard.dismiss(&[]);
    } else if let Some(shelf) = guard.adapter::<Shelf>() {
        shelf.set_lasting(granted > 0);
        shelf.resume(terms);
    }
    guard.pump();
    drop(guard);
    Ok(Accepted {
        version,
        keep_alive: Duration::from_secs(connect.keep_alive.into()) * 3 / 2,
        reply_limits,
        expiry: asked,
    })
}

/// Ends the connection of somebody whose client has come anew.
fn dismiss(outbox: &Outbox) {
    let mut guard = outbox.lock();
    // Nothing comes before CONNACK [MQTT-3.2.0-1].
    let farewell = match guard.adapter::<Shelf>() {
        Some(shelf) if shelf.is_connected() => taken_over(shelf.version()),
        _ => &[],
    };
    guard.dismiss(farewell);
    drop(guard);
    outbox.hurry();
}

/// What a connection hears whose client has come anew.
fn taken_over(version: Version) -> &'static [u8] {
    match version {
        Version::V5 => &[0xe0, 2, 0x8e, 0],
        Version::V3 => &[],
    }
}

/// How long a session is kept for a client that asked for this many seconds.
pub(super) fn granted(asked: u32, limits: &Limits) -> u32 {
    let most = u32::try_from(limits.session_expiry.as_secs()).unwrap_or(FOR_EVER);
    asked.min(most)
}

pub(super) fn seconds(seconds: u32) -> Option<Duration> {
    (seconds != FOR_EVER).then(|| Duration::from_secs(seconds.into()))
}

fn short(connect: &Connect, id: PropertyId) -> Option<u16> {
    connect
        .number(id)
        .and_then(|number| u16::try_from(number).ok())
}

type NoWill = (Fault, Option<ConnectReturnCode>);

fn set_will(client: &mut Client<'_>, will: &WillPacket) -> Result<(), NoWill> {
    let name = message::name_on_line(&will.topic);
    let invalid = |why: String| (Fault::new(MqttError::TopicNameInvalid, why), None);
    if name.is_empty() {
        return Err(invalid("the will has no topic".into()));
    }
    let topic = Topic::parse(&*name).map_err(|why| invalid(why.to_string()))?;
    if topic.is_brokers_own() {
        let why = Fault::new(
            MqttError::NotAuthorized,
            "only the broker publishes under $SYS/",
        );
        return Err((why, Some(ConnectReturnCode::NotAuthorized)));
    }
    let mut attributes: Attributes<'_> = message::attributes(&will.properties);
    if will.retain {
        attributes
            .push_flag(RETAIN)
            .expect("`retain` is a valid key");
    }
    let payload = Escaped::escape(&will.payload);
    client
        .set_will(topic, payload, attributes, will.qos)
        .map_err(|NoMemory| {
            let why = Fault::new(
                MqttError::QuotaExceeded,
                "there is no memory for this will now; come again later, or with a shorter one",
            );
            (why, Some(ConnectReturnCode::ServerUnavailable))
        })
}

/// Says once that nobody looks at passwords.
fn note_password(client: &Client<'_>, connect: &Connect) {
    if (connect.user_name.is_some() || connect.has_password)
        && !client.engine.passwords_noted.swap(true, Ordering::Relaxed)
    {
        log::warn!(
            "connection {} comes with a user name: this broker checks none yet, anyone is let in",
            client.record.outbox.id()
        );
    }
}

/// An identifier that nobody else has or can guess.
fn unique(connection: u64) -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("dallal-{connection}-{random:016x}")
}

impl Client<'_> {
    /// Lists of clients call it so, if it can be shown.
    fn member_named(&self, client_id: &str) {
        if let Ok(name) = Name::parse(client_id.as_bytes()) {
            self.record.set_name(name.as_str());
        }
    }
}
