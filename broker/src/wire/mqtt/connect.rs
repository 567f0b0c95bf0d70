//! CONNECT: identifies the client, notes its limits and its will, opens its session and attaches it to the
//! connection. CONNACK says so, or why not.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use mqtt_protocol_core::mqtt::packet::PropertyId;
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError};
use protocol::{Attributes, Escaped, Name, RETAIN, Topic};

use super::authentication::METHOD;
use super::credential::{authenticate, by_method};
use super::fault::{Refusal, not_allowed};
use super::packet::{BadConnect, Connect, Fault, Header, WillPacket, kind};
use super::reply::{self, ReplyLimits, Welcome};
use super::writer::{ClientLimits, ConnectionWriter};
use super::{Dialect, Encoders, Version, message, property};
use crate::engine::client::{BrokersOwn, Client, NoMemory, NoSession, OverLimit, PublishError};
use crate::engine::limits::Limits;
use crate::engine::session::{Expiry, Will};

/// Messages at QoS 1 and 2 that a client may have sent before they are acknowledged.
pub(super) const RECEIVE_MAXIMUM: u16 = 1024;

/// The highest topic alias that a client may use.
pub(super) const ALIASES: u16 = 256;

/// The longest client identifier, because the log has it. Up to this length any UTF-8 is allowed, which is
/// more than [MQTT-3.1.3-5] asks for.
const CLIENT_ID_BYTES: usize = 1024;

/// The session expiry interval of a session that does not expire.
const NEVER_EXPIRES: u32 = u32::MAX;

/// What the conversation needs to know of a CONNECT that is accepted.
pub(super) struct Accepted {
    pub(super) version: Version,
    pub(super) dialect: Dialect,
    /// It has named the authentication method, and may renew its token.
    pub(super) by_method: bool,
    /// The connection is closed after this time without a packet; zero for never.
    pub(super) keep_alive: Duration,
    pub(super) reply_limits: ReplyLimits,
    /// The session expiry interval that the client asked for, before any limit.
    pub(super) expiry: u32,
}

/// Why a CONNECT is rejected, and the answer to it.
pub(super) struct Rejected {
    pub(super) why: Fault,
    pub(super) answer: Vec<u8>,
}

impl Rejected {
    fn new(
        version: Version,
        reply_limits: ReplyLimits,
        why: Fault,
        code: Option<ConnectReturnCode>,
    ) -> Self {
        let answer = match (version, code) {
            (Version::V5, _) => reply_limits.fitting(reply::refuse_5(&why, reply_limits)),
            (Version::V3, Some(code)) => reply::refuse_3(code),
            // 3.1.1 has no code for this: the connection is closed without an answer.
            (Version::V3, None) => Vec::new(),
        };
        Self { why, answer }
    }

    pub(super) fn unreadable(bad: BadConnect) -> Self {
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
                    "this broker speaks MQTT 3.1, 3.1.1 and 5.0",
                );
                let code = ConnectReturnCode::UnacceptableProtocolVersion;
                Self::new(version, ReplyLimits::ANY, why, Some(code))
            }
            BadConnect::Fault(version, why) => Self::new(version, ReplyLimits::ANY, why, None),
        }
    }
}

/// The identifier of a client.
struct Identity {
    client_id: String,
    /// The broker has chosen it, because the client gave none.
    is_assigned: bool,
}

/// What CONNECT asks for, and what of it is granted.
struct Terms {
    /// The client has named the authentication method.
    by_method: bool,
    limits: ClientLimits,
    reply_limits: ReplyLimits,
    /// The session expiry interval that the client asked for, and what it is granted.
    asked_expiry: u32,
    granted_expiry: u32,
    /// The keep alive that the client asked for, and what it is granted.
    asked_keep_alive: u16,
    granted_keep_alive: u16,
}

/// Handles CONNECT.
#[inline(never)]
pub(super) fn accept(
    client: &mut Client<'_>,
    encoders: Encoders,
    connect: &Connect,
) -> Result<Accepted, Rejected> {
    let version = connect.version;
    let mut terms = negotiate(connect, client.limits());
    let reply_limits = terms.reply_limits;
    let away = |(why, code)| Rejected::new(version, reply_limits, why, code);
    let shown = by_method(client, connect).map_err(away)?;
    terms.by_method = shown.is_some();
    let identity = identify(client, connect).map_err(away)?;
    // First, because rules with %c allow nothing without it.
    client.note_client_id(&identity.client_id);
    authenticate(client, connect, shown.as_ref()).map_err(away)?;
    client
        .check_client_id(&identity.client_id)
        .map_err(|denied| away(not_allowed(denied.to_string())))?;
    client
        .count_connection()
        .map_err(|over| away(over_limit(&over)))?;
    let welcome = welcome(&identity, &terms, client.line_bytes(), false);
    check_welcome(&welcome.encode(version), &terms).map_err(away)?;
    let will = connect.will.as_ref().map(|will| new_will(client, will));
    let will = will.transpose().map_err(away)?;
    let is_resumed = open_session(client, &identity, &terms, connect.clean, will).map_err(away)?;
    // In 3.1 that flag of CONNACK is reserved.
    let session_present = is_resumed && !connect.dialect.is_3_1;
    attach(client, &identity, &terms, encoders, session_present);
    Ok(Accepted {
        version,
        dialect: connect.dialect,
        by_method: terms.by_method,
        // One and a half times the keep alive [MQTT-3.1.2-24] of 3.1.1, [MQTT-3.1.2-22] of 5.0.
        keep_alive: Duration::from_secs(terms.granted_keep_alive.into()) * 3 / 2,
        reply_limits: terms.reply_limits,
        expiry: terms.asked_expiry,
    })
}

/// The CONNACK for a client that has sent these first bytes and that a full broker cannot serve: empty if
/// it would understand none, `None` if more bytes decide on it.
pub(crate) fn busy(first: &[u8], why: &str) -> Option<Vec<u8>> {
    let codes = (MqttError::ServerBusy, ConnectReturnCode::ServerUnavailable);
    refuse_first(first, codes, why)
}

/// The same for a client that must use TLS and does not.
pub(crate) fn not_secured(first: &[u8], why: &str) -> Option<Vec<u8>> {
    let codes = (MqttError::NotAuthorized, ConnectReturnCode::NotAuthorized);
    refuse_first(first, codes, why)
}

fn refuse_first(first: &[u8], codes: (MqttError, ConnectReturnCode), why: &str) -> Option<Vec<u8>> {
    let Ok(header) = Header::read(first, usize::MAX) else {
        return Some(Vec::new());
    };
    let header = header?;
    let body = &first[header.bytes..];
    match body {
        _ if header.kind() != kind::CONNECT => Some(Vec::new()),
        [0, 4, b'M', b'Q', b'T', b'T', 5, ..] => {
            let why = Fault::new(codes.0, why.to_owned());
            Some(reply::refuse_5(&why, ReplyLimits::ANY))
        }
        [0, 4, b'M', b'Q', b'T', b'T', _, ..] | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => {
            Some(reply::refuse_3(codes.1))
        }
        _ if b"\0\x04MQTT".starts_with(body) || b"\0\x06MQIsdp".starts_with(body) => None,
        _ => Some(Vec::new()),
    }
}

/// The identifier of the client.
fn identify(client: &Client<'_>, connect: &Connect) -> Result<Identity, Refusal> {
    // Answered by code 0x02, then closed [MQTT-3.1.3-9] of 3.1.1.
    let rejected = |why: &'static str| {
        let why = Fault::new(MqttError::ClientIdentifierNotValid, why);
        (why, Some(ConnectReturnCode::IdentifierRejected))
    };
    match (&*connect.client_id, connect.version, connect.clean) {
        ("", ..) if connect.dialect.is_3_1 => {
            Err(rejected("MQTT 3.1 needs a client identifier; give one"))
        }
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

/// What the client takes, and how long its session is kept.
fn negotiate(connect: &Connect, limits: &Limits) -> Terms {
    let packet_bytes = connect.number(PropertyId::MaximumPacketSize);
    let asked_expiry = match (connect.version, connect.clean) {
        (Version::V3, true) => 0,
        (Version::V3, false) => NEVER_EXPIRES,
        (Version::V5, _) => connect
            .number(PropertyId::SessionExpiryInterval)
            .unwrap_or(0),
    };
    Terms {
        by_method: false,
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
        asked_keep_alive: connect.keep_alive,
        granted_keep_alive: granted_keep_alive(connect, limits),
    }
}

/// The keep alive of a client in seconds. One of 3.1.1 keeps its own, because it cannot be told another.
fn granted_keep_alive(connect: &Connect, limits: &Limits) -> u16 {
    let asked = connect.keep_alive;
    if connect.version == Version::V3 || limits.keep_alive.is_zero() {
        return asked;
    }
    let most = u16::try_from(limits.keep_alive.as_secs().max(1)).unwrap_or(u16::MAX);
    match asked {
        0 => most,
        asked => asked.min(most),
    }
}

/// What CONNACK says.
fn welcome<'a>(
    identity: &'a Identity,
    terms: &Terms,
    packet_bytes: usize,
    session_present: bool,
) -> Welcome<'a> {
    let is_granted = terms.granted_expiry == terms.asked_expiry;
    let keeps_its_own = terms.granted_keep_alive == terms.asked_keep_alive;
    Welcome {
        session_present,
        method: terms.by_method.then_some(METHOD),
        // [MQTT-3.2.2-16]
        assigned: identity.is_assigned.then_some(&identity.client_id),
        // [MQTT-3.2.2-21]: only if it is not what the client asked for.
        expiry: (!is_granted).then_some(terms.granted_expiry),
        keep_alive: (!keeps_its_own).then_some(terms.granted_keep_alive),
        receive_maximum: RECEIVE_MAXIMUM,
        packet_bytes: u32::try_from(packet_bytes).unwrap_or(u32::MAX),
        aliases: ALIASES,
    }
}

/// No packet may be longer than the client takes [MQTT-3.1.2-24]. Checked before the session is opened, because
/// a refusal must leave an earlier session as it is.
fn check_welcome(welcome: &[u8], terms: &Terms) -> Result<(), Refusal> {
    if welcome.len() <= terms.reply_limits.most as usize {
        return Ok(());
    }
    let why = "the CONNACK is longer than the maximum packet size; take longer ones";
    Err((Fault::new(MqttError::PacketTooLarge, why), None))
}

/// The will of the client, if it can be published.
fn new_will(client: &Client<'_>, will: &WillPacket) -> Result<Will, Refusal> {
    let name = protocol::encode_spaces(&will.topic);
    let invalid = |why: String| (Fault::new(MqttError::TopicNameInvalid, why), None);
    if name.is_empty() {
        return Err(invalid("the will has no topic".into()));
    }
    let topic = Topic::parse(&*name).map_err(|why| invalid(why.to_string()))?;
    client
        .check_will_topic(topic, will.retain)
        .map_err(|refused| not_allowed(format!("the will: {}", refused_will(&refused))))?;
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

fn refused_will(refused: &PublishError) -> String {
    match refused {
        PublishError::BrokersOwn => BrokersOwn.to_string(),
        PublishError::Denied(denied) => denied.to_string(),
        PublishError::Full(full) => full.to_string(),
        PublishError::OverLimit(over) => over.to_string(),
        PublishError::NotKept(why) => why.to_string(),
        PublishError::BadAckLevel(why) => why.to_string(),
    }
}

/// The refusal of a client whose identity has as much as it may have.
fn over_limit(over: &OverLimit) -> Refusal {
    let why = Fault::new(MqttError::QuotaExceeded, over.to_string());
    (why, Some(ConnectReturnCode::ServerUnavailable))
}

/// Opens the session of this client, a new one if it is to be `clean` [MQTT-3.1.4-3] of 3.1.1,
/// [MQTT-3.1.4-4] of 5.0. Returns whether an earlier session is resumed.
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
        // Lists of clients show the identifier if it is a valid name.
        && let Ok(name) = Name::parse(identity.client_id.as_bytes())
    {
        client.set_name(name.as_str());
    }
    opened.map_err(|refused| {
        let why = match refused {
            NoSession::Busy => Fault::new(
                MqttError::ServerUnavailable,
                "an earlier connection with this client identifier does not end; try again later",
            ),
            NoSession::TooMany(full) => Fault::new(MqttError::QuotaExceeded, full.to_string()),
            NoSession::OverLimit(over) => return over_limit(&over),
            NoSession::NotKept(why) => Fault::not_kept(why),
        };
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
    session_present: bool,
) {
    let version = terms.limits.version;
    // Session present says whether an earlier session goes on: [MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
    // of 3.1.1, [MQTT-3.2.2-2] [MQTT-3.2.2-3] of 5.0.
    let packet_bytes = client.line_bytes();
    let welcome = welcome(identity, terms, packet_bytes, session_present).encode(version);
    let writer = ConnectionWriter::new(&identity.client_id, terms.limits);
    client.attach_session(encoders.of(version), Box::new(writer), &welcome);
}

/// The session expiry interval that is granted to a client that asks for this one, in seconds.
pub(super) fn granted(asked: u32, limits: &Limits) -> u32 {
    let most = u32::try_from(limits.session_expiry.as_secs()).unwrap_or(NEVER_EXPIRES);
    asked.min(most)
}

/// A session expiry interval as the engine has it.
pub(super) fn expiry(seconds: u32) -> Expiry {
    match seconds {
        0 => Expiry::AtOnce,
        NEVER_EXPIRES => Expiry::Never,
        seconds => Expiry::After(Duration::from_secs(seconds.into())),
    }
}

fn short(connect: &Connect, id: PropertyId) -> Option<u16> {
    connect
        .number(id)
        .and_then(|number| u16::try_from(number).ok())
}

/// A client identifier that no other client has or can guess.
fn unique(connection: u64) -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("dallal-{connection}-{random:016x}")
}

#[cfg(test)]
mod tests {
    use mqtt_protocol_core::mqtt::packet::{
        AuthenticationMethod, MaximumPacketSize, Property, ReceiveMaximum,
        RequestProblemInformation, SessionExpiryInterval, TopicAliasMaximum, WillDelayInterval,
        v5_0,
    };

    use super::*;
    use crate::auth::identity::Secret;
    use crate::wire::end::End;
    use crate::wire::mqtt::ENCODERS;
    use crate::wire::mqtt::conversation::harness::{
        BOTH, BrokerInMemory, Hello, TestConnection, described, publish, subscribe,
    };

    fn connect(version: Version, client_id: &str) -> Connect {
        Connect {
            version,
            dialect: Dialect::default(),
            client_id: client_id.to_owned(),
            clean: true,
            keep_alive: 0,
            user_name: None,
            password: None,
            will: None,
            properties: Vec::new(),
        }
    }

    /// A session that outlasts its connection.
    fn lasting(version: Version, client_id: &str) -> Connect {
        Connect {
            clean: false,
            properties: vec![expiry_interval(100)],
            ..connect(version, client_id)
        }
    }

    fn will(topic: &str) -> WillPacket {
        WillPacket {
            topic: topic.to_owned(),
            payload: b"gone".to_vec(),
            qos: 1,
            retain: false,
            properties: Vec::new(),
        }
    }

    fn expiry_interval(seconds: u32) -> Property {
        SessionExpiryInterval::new(seconds).expect("any").into()
    }

    fn packet_size(bytes: u32) -> Property {
        MaximumPacketSize::new(bytes).expect("not zero").into()
    }

    fn try_accept(
        connection: &mut TestConnection<'_>,
        connect: &Connect,
    ) -> Result<Accepted, Rejected> {
        connection.client.begin();
        let accepted = accept(&mut connection.client, ENCODERS, connect);
        connection.client.settle();
        accepted
    }

    /// What an accepted client is told.
    #[track_caller]
    fn accepted(connection: &mut TestConnection<'_>, connect: &Connect) -> Vec<u8> {
        if let Err(Rejected { why, .. }) = try_accept(connection, connect) {
            panic!("it is refused: {why:?}");
        }
        connection.told()
    }

    /// The answer to a client that is refused.
    #[track_caller]
    fn refused(broker: &BrokerInMemory, connect: &Connect) -> Vec<u8> {
        let mut connection = broker.connection();
        let Err(Rejected { answer, .. }) = try_accept(&mut connection, connect) else {
            panic!("it is accepted");
        };
        assert_eq!(connection.told(), b"", "the answer is not sent here");
        assert_eq!(connection.client.session().client_id(), None);
        answer
    }

    #[track_caller]
    fn assert_refused(broker: &BrokerInMemory, connect: &Connect, expected: &str) {
        let answer = refused(broker, connect);
        assert_eq!(described(&answer, connect.version), expected);
    }

    fn connack(bytes: &[u8]) -> v5_0::Connack {
        assert_eq!(bytes[0], 0x20);
        let (connack, used) = v5_0::Connack::parse(&bytes[2..]).expect("a CONNACK");
        assert_eq!(used, bytes.len() - 2, "nothing follows it");
        connack
    }

    fn assigned(connack: &v5_0::Connack) -> Option<String> {
        connack.props().iter().find_map(|property| match property {
            Property::AssignedClientIdentifier(id) => Some(id.val().to_owned()),
            _ => None,
        })
    }

    #[test]
    fn a_client_without_an_identifier_gets_one_of_its_own_and_one_of_5_0_is_told_which() {
        let broker = BrokerInMemory::new();
        let mut given = Vec::new();
        for each in [
            connect(Version::V3, ""),
            connect(Version::V5, ""),
            lasting(Version::V5, ""),
        ] {
            let mut connection = broker.connection();
            let told = accepted(&mut connection, &each);
            let id = connection.client.session().client_id().expect("one");
            let number = connection.client.id();
            assert!(id.starts_with(&format!("dallal-{number}-")), "{id}");
            match each.version {
                Version::V3 => assert_eq!(told, [0x20, 2, 0, 0]),
                Version::V5 => assert_eq!(assigned(&connack(&told)).as_deref(), Some(id)),
            }
            given.push(id.rsplit_once('-').expect("two hyphens").1.to_owned());
        }
        given.sort();
        given.dedup();
        assert_eq!(given.len(), 3);
        let told = accepted(&mut broker.connection(), &connect(Version::V5, "ann"));
        assert_eq!(assigned(&connack(&told)), None);
    }

    #[test]
    fn in_3_1_1_a_session_that_is_not_clean_needs_a_client_identifier() {
        let broker = BrokerInMemory::new();
        let nameless = lasting(Version::V3, "");
        assert_refused(&broker, &nameless, "CONNACK 0 02");
    }

    #[test]
    fn a_client_identifier_is_any_text_of_at_most_1024_bytes() {
        let broker = BrokerInMemory::new();
        for (version, expected) in [(Version::V3, "CONNACK 0 02"), (Version::V5, "CONNACK 0 85")] {
            for id in ["x".repeat(1024), "\u{641} /+#".repeat(170)] {
                let mut connection = broker.connection();
                accepted(&mut connection, &connect(version, &id));
                assert_eq!(connection.client.session().client_id(), Some(&*id));
                connection.close(&End::Left);
            }
            assert_refused(&broker, &connect(version, &"x".repeat(1025)), expected);
        }
    }

    #[test]
    fn lists_of_clients_show_the_client_identifier_if_it_is_a_valid_name() {
        let broker = BrokerInMemory::new();
        for (id, shown) in [("ann", Some("ann")), ("an\nn", None)] {
            let mut connection = broker.connection();
            accepted(&mut connection, &connect(Version::V5, id));
            let name = connection.client.record().name();
            assert_eq!(name.as_deref(), shown);
        }
    }

    #[test]
    fn an_authentication_method_is_refused_before_anything_else() {
        let broker = BrokerInMemory::new();
        let method = AuthenticationMethod::new("SCRAM").expect("a text");
        let connect = Connect {
            properties: vec![method.into()],
            client_id: "x".repeat(1025),
            ..connect(Version::V5, "")
        };
        assert_refused(&broker, &connect, "CONNACK 0 8c");
    }

    #[test]
    fn the_first_client_with_a_user_name_or_a_password_is_noted() {
        let broker = BrokerInMemory::new();
        accepted(&mut broker.connection(), &connect(Version::V3, "ann"));
        assert!(broker.connection().client.is_first_with_password());
        let password = Some(Secret::new(b"word".to_vec()));
        for (user_name, password) in [(Some("ann".to_owned()), None), (None, password)] {
            let broker = BrokerInMemory::new();
            let with_password = Connect {
                user_name,
                password,
                ..connect(Version::V5, "ann")
            };
            accepted(&mut broker.connection(), &with_password);
            assert!(!broker.connection().client.is_first_with_password());
        }
    }

    #[test]
    fn a_session_lasts_as_long_as_the_client_asks_for_and_the_limit_allows() {
        let limits = Limits {
            session_expiry: Duration::from_secs(200),
            ..Limits::default()
        };
        let asks = |version, clean, seconds: Option<u32>| Connect {
            clean,
            properties: seconds.map(expiry_interval).into_iter().collect(),
            ..connect(version, "ann")
        };
        // What the client asks for, what it gets, and what CONNACK says.
        for (connect, asked, granted, told) in [
            (asks(Version::V3, true, None), 0, 0, None),
            (asks(Version::V3, false, None), u32::MAX, 200, Some(200)),
            (asks(Version::V5, true, None), 0, 0, None),
            (asks(Version::V5, false, None), 0, 0, None),
            (asks(Version::V5, true, Some(100)), 100, 100, None),
            (asks(Version::V5, false, Some(200)), 200, 200, None),
            (asks(Version::V5, false, Some(201)), 201, 200, Some(200)),
        ] {
            let terms = negotiate(&connect, &limits);
            assert_eq!((terms.asked_expiry, terms.granted_expiry), (asked, granted));
            let identity = Identity {
                client_id: "ann".to_owned(),
                is_assigned: false,
            };
            let welcome = welcome(&identity, &terms, limits.line_bytes, false);
            assert_eq!(welcome.expiry, told);
        }
        let endless = Limits {
            session_expiry: Duration::MAX,
            ..limits
        };
        assert_eq!(granted(NEVER_EXPIRES, &endless), NEVER_EXPIRES);
        assert_eq!(expiry(0), Expiry::AtOnce);
        assert_eq!(expiry(7), Expiry::After(Duration::from_secs(7)));
        assert_eq!(expiry(NEVER_EXPIRES), Expiry::Never);
    }

    #[test]
    fn the_session_of_a_client_outlasts_its_connection_if_it_asks_for_that() {
        let broker = BrokerInMemory::new();
        for (connect, outlasts) in [
            (connect(Version::V3, "a"), false),
            (connect(Version::V5, "b"), false),
            (lasting(Version::V3, "c"), true),
            (lasting(Version::V5, "d"), true),
        ] {
            let mut connection = broker.connection();
            accepted(&mut connection, &connect);
            assert_eq!(connection.client.session().outlasts_connection(), outlasts);
        }
    }

    #[test]
    fn a_client_takes_what_its_connect_says() {
        let limits = Limits::default();
        let silent = negotiate(&connect(Version::V5, "ann"), &limits);
        assert_eq!(silent.limits.version, Version::V5);
        assert_eq!(silent.limits.receive_maximum, u16::MAX);
        assert_eq!(silent.limits.packet_bytes, None);
        assert_eq!(silent.limits.aliases, 0);
        assert!(silent.reply_limits.wanted);
        assert_eq!(silent.reply_limits.most, u32::MAX);
        let connect = Connect {
            properties: vec![
                ReceiveMaximum::new(3).expect("not zero").into(),
                packet_size(77),
                TopicAliasMaximum::new(5).expect("any").into(),
                RequestProblemInformation::new(0).expect("a flag").into(),
            ],
            ..connect(Version::V5, "ann")
        };
        let terms = negotiate(&connect, &limits);
        assert_eq!(terms.limits.receive_maximum, 3);
        assert_eq!(terms.limits.packet_bytes, Some(77));
        assert_eq!(terms.limits.aliases, 5);
        assert!(!terms.reply_limits.wanted);
        assert_eq!(terms.reply_limits.most, 77);
    }

    #[test]
    fn keep_alive_packet_size_and_session_expiry_are_taken_from_connect() {
        let broker = BrokerInMemory::new();
        for (keep_alive, ms) in [(0, 0), (1, 1500), (u16::MAX, 98_302_500)] {
            let connect = Connect {
                keep_alive,
                properties: vec![expiry_interval(u32::MAX), packet_size(100)],
                ..connect(Version::V5, "ann")
            };
            let mut connection = broker.connection();
            let Ok(accepted) = try_accept(&mut connection, &connect) else {
                panic!("it is refused");
            };
            assert_eq!(accepted.version, Version::V5);
            assert_eq!(accepted.keep_alive, Duration::from_millis(ms));
            assert_eq!(accepted.reply_limits.most, 100);
            // Before any limit.
            assert_eq!(accepted.expiry, u32::MAX);
            connection.close(&End::Left);
        }
    }

    #[test]
    fn connack_says_what_the_broker_takes() {
        let broker = BrokerInMemory::with(Limits {
            line_bytes: 5000,
            session_expiry: Duration::from_secs(9),
            ..Limits::default()
        });
        let mut connection = broker.connection();
        let connack = connack(&accepted(&mut connection, &lasting(Version::V5, "ann")));
        assert!(!connack.session_present());
        assert_eq!(connack.reason_code() as u8, 0);
        let has = |id| property::number(connack.props(), id);
        assert_eq!(has(PropertyId::ReceiveMaximum), Some(1024));
        assert_eq!(has(PropertyId::MaximumPacketSize), Some(5000));
        assert_eq!(has(PropertyId::TopicAliasMaximum), Some(256));
        assert_eq!(has(PropertyId::SessionExpiryInterval), Some(9));
        assert_eq!(connack.props().len(), 4);
        let told = accepted(&mut broker.connection(), &lasting(Version::V3, "bob"));
        assert_eq!(told, [0x20, 2, 0, 0]);
    }

    #[test]
    fn a_client_whose_maximum_packet_size_is_below_its_connack_is_refused() {
        let broker = BrokerInMemory::new();
        let taking = |bytes| Connect {
            properties: vec![packet_size(bytes), expiry_interval(100)],
            ..connect(Version::V5, "ann")
        };
        let mut connection = broker.connection();
        let length = accepted(&mut connection, &taking(1000)).len() as u32;
        connection.close(&End::Left);
        let mut connection = broker.connection();
        accepted(&mut connection, &taking(length));
        connection.close(&End::Left);
        assert_refused(&broker, &taking(length - 1), "CONNACK 0 95");
        // The session that is there stays.
        assert_eq!(broker.engine.clients.detached(), 1);
        // Not even the refusal is sent if it is too long.
        assert_eq!(refused(&broker, &taking(5)), [0x20, 3, 0, 0x95, 0]);
        assert_eq!(refused(&broker, &taking(4)), b"");
    }

    #[test]
    fn a_will_that_cannot_be_published_is_refused_before_there_is_a_session() {
        let broker = BrokerInMemory::with(Limits {
            memory_bytes: 100,
            ..Limits::default()
        });
        let long = WillPacket {
            payload: vec![b'x'; 100],
            ..will("a")
        };
        // 3.1.1 has no code for a topic that is none: such a client is just closed.
        for (will, v3, v5) in [
            (will(""), "", "CONNACK 0 90"),
            (will("a/#"), "", "CONNACK 0 90"),
            (will("a\nb"), "", "CONNACK 0 90"),
            (will("$SYS/a"), "CONNACK 0 05", "CONNACK 0 87"),
            (long, "CONNACK 0 03", "CONNACK 0 97"),
        ] {
            let mut connect = connect(Version::V3, "ann");
            connect.will = Some(will);
            assert_refused(&broker, &connect, v3);
            connect.version = Version::V5;
            assert_refused(&broker, &connect, v5);
        }
        assert_eq!(broker.engine.memory.free(), 100);
    }

    #[test]
    fn a_will_is_kept_as_the_client_gives_it() {
        let broker = BrokerInMemory::new();
        let kept = |will| {
            let mut connection = broker.connection();
            let connect = Connect {
                will: Some(will),
                ..connect(Version::V5, "ann")
            };
            accepted(&mut connection, &connect);
            let will = connection.client.session().take_will().expect("a will");
            connection.close(&End::Left);
            let line = String::from_utf8(will.line).expect("text");
            (line, will.qos, will.delay)
        };
        let line = |line: &str| format!("{line}\n");
        assert_eq!(
            kept(will("my room")),
            (line(r"MESSAGE my\sroom gone"), 1, Duration::ZERO)
        );
        let delay = WillDelayInterval::new(5).expect("any").into();
        let late = WillPacket {
            retain: true,
            qos: 2,
            properties: vec![delay],
            ..will("a")
        };
        assert_eq!(
            kept(late),
            (line("@retain MESSAGE a gone"), 2, Duration::from_secs(5))
        );
    }

    #[test]
    fn a_client_that_comes_back_goes_on_with_its_session() {
        for version in BOTH {
            let broker = BrokerInMemory::new();
            let mut first = broker.connection();
            assert_eq!(accepted(&mut first, &lasting(version, "ann"))[2], 0);
            let number = first.client.session().id();
            first.close(&End::Left);
            let mut second = broker.connection();
            assert_eq!(accepted(&mut second, &lasting(version, "ann"))[2], 1);
            assert_eq!(second.client.session().id(), number);
            let mut other = broker.connection();
            assert_eq!(accepted(&mut other, &lasting(version, "bob"))[2], 0);
        }
    }

    #[test]
    fn connack_comes_before_what_the_session_has_kept() {
        for version in BOTH {
            let broker = BrokerInMemory::new();
            let mut first = broker.connection();
            let mut ann = first.connected(&Hello::lasting(version).encode());
            ann.send(&subscribe(version, 1, &[("a", 1)]));
            ann.leave();
            first.close(&End::Left);
            let mut publisher = broker.connection();
            let bob = Hello {
                client_id: "bob",
                ..Hello::new(version)
            };
            let mut bob = publisher.connected(&bob.encode());
            bob.send(&publish(version, 1, 1, "a", "kept"));
            let told = accepted(&mut broker.connection(), &lasting(version, "ann"));
            let told = described(&told, version);
            assert_eq!(told, "CONNACK 1 00; PUBLISH q1 #1 a kept");
        }
    }

    #[test]
    fn a_clean_start_ends_the_earlier_session_and_publishes_its_will() {
        let broker = BrokerInMemory::new();
        let messages = broker.subscriber("gone");
        let delay = WillDelayInterval::new(60).expect("any").into();
        let late = WillPacket {
            properties: vec![delay],
            ..will("gone")
        };
        let connect = Connect {
            will: Some(late),
            ..lasting(Version::V5, "ann")
        };
        let mut first = broker.connection();
        accepted(&mut first, &connect);
        let number = first.client.session().id();
        first.close(&End::Left);
        assert_eq!(messages.taken(), "", "it waits");
        let mut second = broker.connection();
        let clean = Connect {
            clean: true,
            will: None,
            ..connect
        };
        assert_eq!(accepted(&mut second, &clean)[2], 0);
        assert_ne!(second.client.session().id(), number);
        assert_eq!(broker.engine.clients.detached(), 0);
        assert_eq!(messages.taken(), "MESSAGE gone gone\n");
    }

    #[test]
    fn a_client_whose_earlier_connection_does_not_end_is_refused() {
        let broker = BrokerInMemory::new();
        let mut first = broker.connection();
        accepted(&mut first, &connect(Version::V5, "ann"));
        assert_refused(&broker, &connect(Version::V5, "ann"), "CONNACK 0 88");
        // It has been asked to leave.
        let told = described(&first.told(), Version::V5);
        assert_eq!(told, "DISCONNECT 8e");
    }

    #[test]
    fn a_connect_that_cannot_be_read_is_answered_in_the_version_that_its_client_reads() {
        let fault = || Fault::malformed("it is malformed");
        for (bad, version, expected) in [
            (BadConnect::NotMqtt, Version::V5, ""),
            (
                BadConnect::Version(Version::V3),
                Version::V3,
                "CONNACK 0 01",
            ),
            (
                BadConnect::Version(Version::V5),
                Version::V5,
                "CONNACK 0 84",
            ),
            (BadConnect::Fault(Version::V3, fault()), Version::V3, ""),
            (
                BadConnect::Fault(Version::V5, fault()),
                Version::V5,
                "CONNACK 0 81",
            ),
        ] {
            let answer = Rejected::unreadable(bad).answer;
            assert_eq!(described(&answer, version), expected);
        }
    }
}
