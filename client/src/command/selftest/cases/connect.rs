//! CONNECT and CONNACK: chapters 3.1 and 3.2, except wills and sessions.

use std::thread;
use std::time::{Duration, Instant};

use super::super::case::Case;
use super::super::encode;

use super::super::connect_packet::{ConnectPacket, ConnectWill};
use super::super::context::TestContext;
use super::super::finding::{Checked, Finding, holds, same};
use super::super::packet::{Connack, Packet, TestMessage};
use super::super::property::{Properties, PropertyName, Value};
use super::super::test_client::{Received, TestClient, shown};

/// A level that no standard has.
const UNKNOWN_LEVEL: u8 = 99;

/// One and a half times a keep alive of 1 s.
const KEEP_ALIVE_LIMIT: Duration = Duration::from_millis(1500);

/// Tolerance for the time at which the server closes the connection.
const SLACK: Duration = Duration::from_secs(2);

/// How long to wait, so that a late close is told from a missing one.
const NEVER: Duration = Duration::from_secs(10);

pub(super) const CASES: &[Case] = &[
    Case::both(
        "3.1.0-1",
        "3.1.0-1",
        "a connection that does not begin with CONNECT is closed without a word",
        first_packet,
    ),
    Case::both(
        "3.1.0-2",
        "3.1.0-2",
        "a second CONNECT ends the connection",
        second_connect,
    ),
    Case::both(
        "3.1.2-1",
        "3.1.2-1",
        "a CONNECT with another protocol name is not accepted",
        protocol_name,
    ),
    Case::v3(
        "3.1.2-2",
        "an unknown protocol level is answered by CONNACK 0x01, then the connection is closed",
        unknown_level,
    ),
    Case::v5(
        "3.1.2-2",
        "a CONNECT of an unknown protocol version ends the connection",
        unknown_version,
    ),
    Case::both(
        "3.1.2-3",
        "3.1.2-3",
        "a CONNECT whose reserved flag is set is refused",
        reserved_flag,
    ),
    Case::both(
        "3.1.2-9",
        "3.1.2-9",
        "a CONNECT with the will flag and no will is refused",
        will_missing,
    ),
    Case::v3(
        "3.1.2-11",
        "a CONNECT without the will flag that has a will is refused",
        will_without_flag,
    ),
    Case::both(
        "3.1.2-13",
        "3.1.2-11",
        "a CONNECT with a will QoS and no will flag is refused",
        will_qos_without_will,
    ),
    Case::both(
        "3.1.2-14",
        "3.1.2-12",
        "a CONNECT with a will QoS of 3 is refused",
        will_qos_3,
    ),
    Case::both(
        "3.1.2-15",
        "3.1.2-13",
        "a CONNECT with will retain and no will flag is refused",
        will_retain_without_will,
    ),
    Case::both(
        "3.1.2-18",
        "3.1.2-16",
        "a CONNECT that has a user name without its flag is refused",
        user_without_flag,
    ),
    Case::both(
        "3.1.2-19",
        "3.1.2-17",
        "a CONNECT with the user name flag and no user name is refused",
        user_missing,
    ),
    Case::both(
        "3.1.2-20",
        "3.1.2-18",
        "a CONNECT that has a password without its flag is refused",
        password_without_flag,
    ),
    Case::both(
        "3.1.2-21",
        "3.1.2-19",
        "a CONNECT with the password flag and no password is refused",
        password_missing,
    ),
    Case::v3(
        "3.1.2-22",
        "a CONNECT with a password and no user name is refused",
        password_without_user,
    ),
    Case::both(
        "3.1.2-24",
        "3.1.2-22",
        "a client that is silent for one and a half times its keep alive is disconnected",
        keep_alive,
    ),
    Case::both(
        "3.1.2-24",
        "3.1.2-22",
        "the will of a client that was silent for too long is published",
        keep_alive_will,
    ),
    Case::both(
        "3.1.2-24",
        "3.2.2-22",
        "a client that says something within its keep alive stays connected",
        keep_alive_kept,
    ),
    Case::both(
        "3.1.2-24",
        "3.1.2-22",
        "a client whose keep alive is 0 may be silent",
        no_keep_alive,
    ),
    Case::both(
        "3.1.3-1",
        "3.1.3-1",
        "client id, will, user name and password are read in this order",
        fields_in_order,
    ),
    Case::both(
        "3.1.3-3",
        "3.1.3-3",
        "a CONNECT without a client id is refused",
        id_missing,
    ),
    Case::both(
        "3.1.3-4",
        "3.1.3-4",
        "a CONNECT whose client id is not UTF-8 is refused",
        id_not_utf8,
    ),
    Case::both(
        "3.1.3-5",
        "3.1.3-5",
        "client ids of 1 to 23 letters and digits are allowed",
        id_letters,
    ),
    Case::both(
        "3.1.3-6",
        "3.1.3-6",
        "clients with an empty client id do not get the same one",
        empty_ids,
    ),
    Case::v5(
        "3.1.3-7",
        "a client with an empty client id is told the one it was given",
        assigned_id,
    ),
    Case::v5(
        "3.2.2-16",
        "a client id that was assigned is new and names the session",
        assigned_id_is_new,
    ),
    Case::v3(
        "3.1.3-8",
        "an empty client id without a clean session is refused by CONNACK 0x02",
        empty_id_lasting,
    ),
    Case::v3(
        "3.1.3-9",
        "after CONNACK 0x02 the connection is closed",
        empty_id_lasting,
    ),
    Case::both(
        "3.1.3-10",
        "3.1.3-11",
        "a CONNECT whose will topic is not UTF-8 is refused",
        will_topic_not_utf8,
    ),
    Case::both(
        "3.1.3-11",
        "3.1.3-12",
        "a CONNECT whose user name is not UTF-8 is refused",
        user_not_utf8,
    ),
    Case::both(
        "3.1.4-1",
        "3.1.4-1",
        "a CONNECT that is cut off or too long is refused",
        malformed,
    ),
    Case::both(
        "3.1.4-2",
        "3.1.4-3",
        "a client with the id of one that is connected takes its place",
        takeover,
    ),
    Case::v5(
        "3.1.4-3",
        "a client whose place is taken is told so by DISCONNECT 0x8e",
        takeover_is_told,
    ),
    Case::both(
        "3.1.4-4",
        "3.1.4-5",
        "a CONNECT is answered by CONNACK 0x00",
        accepted,
    ),
    Case::both(
        "3.1.4-5",
        "3.1.4-6",
        "what a client sends behind a CONNECT that is refused is not processed",
        nothing_after_refusal,
    ),
    Case::v5(
        "3.2.0-2",
        "no second CONNACK comes, whatever the client says",
        one_connack,
    ),
    Case::v5("3.2.2-1", "the reserved flags of a CONNACK are 0", accepted),
    Case::both(
        "3.2.2-4",
        "3.2.2-6",
        "a CONNACK that refuses says that no session is present",
        refusal_has_no_session,
    ),
    Case::both(
        "3.2.2-5",
        "3.2.2-7",
        "after a CONNACK that refuses, the connection is closed",
        refusal_closes,
    ),
    Case::v5(
        "3.2.2-8",
        "a CONNACK that refuses has one of the reason codes of CONNACK",
        refusal_has_a_code,
    ),
    Case::v5(
        "3.2.2-19",
        "a CONNACK is not made longer than the client's maximum by a reason string",
        short_connack,
    ),
    Case::v5(
        "3.1.2-28",
        "without being asked for it, response information is not sent",
        no_response_information,
    ),
    Case::v5(
        "4.12.0-1",
        "a CONNECT with an unknown authentication method ends the connection",
        unknown_authentication,
    ),
    Case::v5(
        "4.12.0-6",
        "without an authentication method in CONNECT there is none in CONNACK",
        no_authentication,
    ),
    Case::v5(
        "3.14.0-1",
        "no DISCONNECT comes before a CONNACK that accepts",
        no_disconnect_before_connack,
    ),
    Case::v5(
        "4.13.1-1",
        "a CONNECT with a property that does not belong there is refused",
        wrong_properties,
    ),
    Case::v5(
        "4.13.1-1",
        "a CONNECT with authentication data and no method is refused",
        data_without_method,
    ),
];

fn first_packet(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let publish = TestMessage::new(&topic, "x").encode(context.version);
    let filters = [(&*topic, 0)];
    let subscribe = encode::subscribe(context.version, 1, &Properties::default(), &filters);
    for first in [encode::PINGREQ, &publish, &subscribe] {
        let mut peer = context.dial()?;
        peer.send(first);
        peer.expect_end()?;
    }
    Ok(())
}

fn second_connect(context: &TestContext<'_>) -> Checked {
    context.expect_fatal(&context.connect_packet("rogue").encode())
}

fn protocol_name(context: &TestContext<'_>) -> Checked {
    let mut connect = context.connect_packet("c");
    connect.protocol = b"MQTX".to_vec();
    let mut peer = context.send_connect(&connect)?;
    match peer.receive()? {
        Received::Packet(Packet::Connack(connack)) if connack.code != 0 => peer.expect_end(),
        Received::Closed => Ok(()),
        // MQTT 3.1.1 allows a server to continue with another protocol.
        Received::Nothing if !context.is_v5() => Ok(()),
        received => Err(Finding::differs("no CONNACK 0x00", shown(&received))),
    }
}

fn unknown_level(context: &TestContext<'_>) -> Checked {
    let mut connect = context.connect_packet("c");
    connect.level = UNKNOWN_LEVEL;
    let mut peer = context.send_connect(&connect)?;
    same("the code in CONNACK", peer.connack()?.code, 1)?;
    peer.expect_end()
}

fn unknown_version(context: &TestContext<'_>) -> Checked {
    let mut connect = context.connect_packet("c");
    connect.level = UNKNOWN_LEVEL;
    context.expect_refused(&connect.encode())
}

fn reserved_flag(context: &TestContext<'_>) -> Checked {
    context.expect_refused(&bare(context).flags(0x03).encode())
}

/// A CONNECT without a login, so that its flags are known.
fn bare(context: &TestContext<'_>) -> ConnectPacket {
    ConnectPacket::new(context.version, &context.id("c"))
}

fn will_missing(context: &TestContext<'_>) -> Checked {
    context.expect_refused(&bare(context).flags(0x06).encode())
}

fn will_without_flag(context: &TestContext<'_>) -> Checked {
    let will = ConnectWill::new(&context.topic("w"), "x");
    context.expect_refused(&bare(context).will(will).flags(0x02).encode())
}

fn will_qos_without_will(context: &TestContext<'_>) -> Checked {
    context.expect_refused(&bare(context).flags(0x0a).encode())
}

fn will_qos_3(context: &TestContext<'_>) -> Checked {
    let will = ConnectWill::new(&context.topic("w"), "x").qos(3);
    context.expect_refused(&bare(context).will(will).encode())
}

fn will_retain_without_will(context: &TestContext<'_>) -> Checked {
    context.expect_refused(&bare(context).flags(0x22).encode())
}

fn user_without_flag(context: &TestContext<'_>) -> Checked {
    let mut connect = bare(context);
    connect.extra = encode::field(b"ann");
    context.expect_refused(&connect.encode())
}

fn user_missing(context: &TestContext<'_>) -> Checked {
    context.expect_refused(&bare(context).flags(0x82).encode())
}

fn password_without_flag(context: &TestContext<'_>) -> Checked {
    let mut connect = bare(context);
    connect.user = Some(b"ann".to_vec());
    connect.extra = encode::field(b"secret");
    context.expect_refused(&connect.encode())
}

fn password_missing(context: &TestContext<'_>) -> Checked {
    let mut connect = bare(context).flags(0xc2);
    connect.user = Some(b"ann".to_vec());
    context.expect_refused(&connect.encode())
}

fn password_without_user(context: &TestContext<'_>) -> Checked {
    let mut connect = bare(context);
    connect.password = Some(b"secret".to_vec());
    context.expect_refused(&connect.encode())
}

/// A client with a keep alive of 1 s, unless the server sets another.
fn impatient(context: &TestContext<'_>, connect: ConnectPacket) -> Checked<TestClient> {
    let (peer, connack) = context.open(&connect.keep_alive(1))?;
    match connack.properties.number(PropertyName::ServerKeepAlive) {
        None | Some(1) => Ok(peer),
        Some(seconds) => {
            Finding::unsupported(format_args!("it sets a keep alive of {seconds} s itself"))
        }
    }
}

fn keep_alive(context: &TestContext<'_>) -> Checked {
    let mut peer = impatient(context, context.connect_packet("c"))?;
    let start = Instant::now();
    peer.expect_close_within(NEVER)?;
    let took = start.elapsed();
    let in_time = took >= Duration::from_secs(1) && took < KEEP_ALIVE_LIMIT + SLACK;
    holds(
        in_time,
        format_args!("the connection to be closed after {KEEP_ALIVE_LIMIT:?}"),
        format_args!("it was closed after {took:.1?}"),
    )
}

fn keep_alive_will(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("w");
    let (mut watcher, _) = context.pair(&topic, 0)?;
    let mut peer = impatient(
        context,
        context
            .connect_packet("c")
            .will(ConnectWill::new(&topic, "gone")),
    )?;
    peer.expect_close_within(NEVER)?;
    watcher.message_of("gone").map(drop)
}

fn keep_alive_kept(context: &TestContext<'_>) -> Checked {
    let mut peer = impatient(context, context.connect_packet("c"))?;
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(300));
        peer.expect_silence()?;
    }
    Ok(())
}

fn no_keep_alive(context: &TestContext<'_>) -> Checked {
    let mut peer = context.connect("c")?;
    thread::sleep(Duration::from_secs(2));
    peer.expect_silence()
}

fn fields_in_order(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("w");
    let (mut watcher, _) = context.pair(&topic, 0)?;
    let mut connect = context
        .connect_packet("c")
        .will(ConnectWill::new(&topic, "last words"));
    if connect.user.is_none() {
        connect.user = Some(b"user".to_vec());
        connect.password = Some(b"password".to_vec());
    }
    let mut peer = context.send_connect(&connect)?;
    match peer.connack()?.code {
        0 => {}
        4 | 5 | 0x86 | 0x87 => return Finding::unsupported("it knows users, and not this one"),
        code => return Err(Finding::differs("CONNACK 0x00", format!("0x{code:02x}"))),
    }
    drop(peer);
    let message = watcher.message_of("last words")?;
    same("the topic of the will", message.topic, topic)
}

fn id_missing(context: &TestContext<'_>) -> Checked {
    context.expect_refused(&encode::packet(0x10, &bare(context).head().0))
}

fn id_not_utf8(context: &TestContext<'_>) -> Checked {
    for bad in NOT_UTF8 {
        let mut connect = bare(context);
        connect.id.extend_from_slice(bad);
        context.expect_refused(&connect.encode())?;
    }
    Ok(())
}

/// A stray continuation byte, an incomplete character, a surrogate, and a value beyond Unicode.
pub(super) const NOT_UTF8: [&[u8]; 4] = [
    b"\xc3\x28",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
];

fn id_letters(context: &TestContext<'_>) -> Checked {
    let one = char::from(b'a' + fastrand::u8(..26)).to_string();
    for id in [
        "0123456789abcdefghijklm",
        "nopqrstuvwxyzABCDEFGHIJ",
        "KLMNOPQRSTUVWXYZ",
        &one,
    ] {
        let mut connect = context.connect_packet("");
        connect.id = id.as_bytes().to_owned();
        context.open(&connect)?.0.leave()?;
    }
    Ok(())
}

/// A CONNECT that leaves the client id to the server.
fn anonymous(context: &TestContext<'_>) -> ConnectPacket {
    let mut connect = context.connect_packet("");
    connect.id.clear();
    connect
}

fn empty_ids(context: &TestContext<'_>) -> Checked {
    let mut ann = context.send_connect(&anonymous(context))?;
    match ann.connack()?.code {
        0 => {}
        2 | 0x85 => return Finding::unsupported("it takes no empty client ids"),
        code => return Err(Finding::differs("CONNACK 0x00", format!("0x{code:02x}"))),
    }
    let (mut bob, _) = context.open(&anonymous(context))?;
    ann.expect_silence()?;
    bob.expect_silence()
}

fn assigned(context: &TestContext<'_>) -> Checked<String> {
    let mut peer = context.send_connect(&anonymous(context))?;
    let connack = peer.connack()?;
    if connack.code == 0x85 {
        return Finding::unsupported("it takes no empty client ids");
    }
    let assigned = connack.properties.get(PropertyName::AssignedClientId);
    match assigned {
        Some(Value::Text(id)) if !id.is_empty() => Ok(id.clone()),
        other => Err(Finding::differs(
            "an Assigned Client Identifier in CONNACK",
            format_args!("{other:?}"),
        )),
    }
}

fn assigned_id(context: &TestContext<'_>) -> Checked {
    assigned(context).map(drop)
}

fn assigned_id_is_new(context: &TestContext<'_>) -> Checked {
    let first = assigned(context)?;
    let second = assigned(context)?;
    holds(
        first != second,
        "two different client ids",
        format_args!("both are {first:?}"),
    )?;
    let (mut peer, connack) = context.open(&anonymous(context).lasting_for(60))?;
    let id = connack.properties.get(PropertyName::AssignedClientId);
    let Some(Value::Text(id)) = id else {
        return Err(Finding::differs("an Assigned Client Identifier", "none"));
    };
    peer.expect_silence()?;
    let mut connect = context.connect_packet("").clean(false);
    connect.id = id.clone().into_bytes();
    peer.leave()?;
    // The session ends with the connection, because it has no expiry.
    let (again, connack) = context.open(&connect)?;
    again.leave()?;
    same("session present", connack.session_present, true)
}

fn empty_id_lasting(context: &TestContext<'_>) -> Checked {
    let mut peer = context.send_connect(&anonymous(context).clean(false))?;
    same("the code in CONNACK", peer.connack()?.code, 2)?;
    peer.expect_end()
}

fn will_topic_not_utf8(context: &TestContext<'_>) -> Checked {
    for bad in NOT_UTF8 {
        let mut will = ConnectWill::new(&context.topic("w"), "x");
        will.topic.extend_from_slice(bad);
        context.expect_refused(&context.connect_packet("c").will(will).encode())?;
    }
    Ok(())
}

fn user_not_utf8(context: &TestContext<'_>) -> Checked {
    for bad in NOT_UTF8 {
        let mut connect = bare(context);
        connect.user = Some(bad.to_vec());
        context.expect_refused(&connect.encode())?;
    }
    Ok(())
}

fn malformed(context: &TestContext<'_>) -> Checked {
    let whole = context.connect_packet("c").encode();
    // The client id is longer than the packet.
    let mut head = context.connect_packet("c").head();
    head.u16(100);
    head.bytes(b"short");
    context.expect_refused(&encode::packet(0x10, &head.0))?;
    // Something follows the last field.
    let mut connect = context.connect_packet("c");
    connect.extra = b"more".to_vec();
    context.expect_refused(&connect.encode())?;
    // The packet ends within the variable header.
    context.expect_refused(&encode::packet(0x10, &whole[2..8]))?;
    // Flags of the fixed header that must be 0.
    let mut flags = whole;
    flags[0] = 0x11;
    context.expect_refused(&flags)
}

fn takeover(context: &TestContext<'_>) -> Checked {
    let mut old = context.connect("c")?;
    let mut new = context.connect("c")?;
    if let Some(code) = old.expect_close()? {
        same("the reason code of DISCONNECT", code, 0x8e)?;
    }
    new.expect_silence()
}

fn takeover_is_told(context: &TestContext<'_>) -> Checked {
    let mut old = context.connect("c")?;
    let _new = context.connect("c")?;
    let code = old.expect_close()?;
    same("the reason code of DISCONNECT", code, Some(0x8e))
}

fn accepted(context: &TestContext<'_>) -> Checked {
    let (mut peer, _) = context.open(&context.connect_packet("c"))?;
    peer.expect_silence()
}

/// A CONNECT that is refused: in MQTT 5 because of an unknown authentication method.
fn refused(context: &TestContext<'_>) -> ConnectPacket {
    let mut connect = context.connect_packet("refused");
    if context.is_v5() {
        connect.with(|properties| {
            properties.text(PropertyName::AuthenticationMethod, "selftest-no-method")
        })
    } else {
        connect.level = UNKNOWN_LEVEL;
        connect
    }
}

fn nothing_after_refusal(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("t");
    let (mut watcher, mut publisher) = context.pair(&topic, 0)?;
    let mut bytes = refused(context).encode();
    bytes.extend(TestMessage::new(&topic, "too early").encode(context.version));
    let mut peer = context.dial()?;
    peer.send(&bytes);
    if let Received::Packet(Packet::Connack(connack)) = peer.receive()? {
        holds(
            connack.code != 0,
            "the CONNECT to be refused",
            "CONNACK 0x00",
        )?;
        peer.expect_end()?;
    }
    context.nothing_more(&mut publisher, &mut watcher)
}

fn one_connack(context: &TestContext<'_>) -> Checked {
    let mut peer = context.connect("c")?;
    peer.expect_silence()?;
    peer.send(&context.connect_packet("c").encode());
    peer.expect_close().map(drop)
}

/// The refusing CONNACK, if the server sends one.
fn refusal(context: &TestContext<'_>) -> Checked<Connack> {
    let mut peer = context.send_connect(&refused(context))?;
    match peer.receive()? {
        Received::Packet(Packet::Connack(connack)) if connack.code != 0 => {
            peer.expect_end()?;
            Ok(connack)
        }
        Received::Closed => Finding::unsupported("it refuses without a CONNACK"),
        received => Err(Finding::differs("a CONNACK that refuses", shown(&received))),
    }
}

fn refusal_has_no_session(context: &TestContext<'_>) -> Checked {
    // A session exists.
    context.open(&context.lasting("refused"))?.0.leave()?;
    let mut connect = refused(context).lasting();
    connect.clean = false;
    let mut peer = context.send_connect(&connect)?;
    match peer.receive()? {
        Received::Packet(Packet::Connack(connack)) if connack.code != 0 => {
            same("session present", connack.session_present, false)
        }
        Received::Closed => Finding::unsupported("it refuses without a CONNACK"),
        received => Err(Finding::differs("a CONNACK that refuses", shown(&received))),
    }
}

fn refusal_closes(context: &TestContext<'_>) -> Checked {
    refusal(context).map(drop)
}

fn refusal_has_a_code(context: &TestContext<'_>) -> Checked {
    let code = refusal(context)?.code;
    let came = format_args!("0x{code:02x}");
    holds(
        matches!(code, 0x80 | 0x87 | 0x8c),
        "0x80, 0x87 or 0x8c",
        came,
    )
}

fn short_connack(context: &TestContext<'_>) -> Checked {
    const MAX: u32 = 12;
    let connect =
        refused(context).with(|properties| properties.four(PropertyName::MaximumPacketSize, MAX));
    let mut peer = context.send_connect(&connect)?;
    match peer.receive()? {
        Received::Packet(Packet::Connack(connack)) => {
            let len = 4 + connack.properties.encoded_len();
            let came = format_args!("a CONNACK of {len} bytes");
            holds(
                len <= MAX as usize,
                format_args!("at most {MAX} bytes"),
                came,
            )
        }
        Received::Closed => Ok(()),
        received => Err(Finding::differs("a CONNACK that refuses", shown(&received))),
    }
}

fn no_response_information(context: &TestContext<'_>) -> Checked {
    for ask in [None, Some(0)] {
        let mut connect = context.connect_packet("c");
        if let Some(value) = ask {
            connect = connect.with(|it| it.byte(PropertyName::RequestResponseInformation, value));
        }
        let (peer, connack) = context.open(&connect)?;
        peer.leave()?;
        let information = connack.properties.get(PropertyName::ResponseInformation);
        same("Response Information", information, None)?;
    }
    Ok(())
}

fn unknown_authentication(context: &TestContext<'_>) -> Checked {
    context.expect_refused(&refused(context).encode())
}

fn no_authentication(context: &TestContext<'_>) -> Checked {
    let (mut peer, connack) = context.open(&context.connect_packet("c"))?;
    for name in [
        PropertyName::AuthenticationMethod,
        PropertyName::AuthenticationData,
    ] {
        same("it", connack.properties.get(name), None)?;
    }
    peer.expect_silence()
}

fn no_disconnect_before_connack(context: &TestContext<'_>) -> Checked {
    // Bytes that end a connection before it is accepted: garbage, and an invalid CONNECT.
    for bytes in [encode::PINGREQ, &[0x00, 0x00], &[0xf0, 0x00], &[0x10, 0x00]] {
        let mut peer = context.dial()?;
        peer.send(bytes);
        let received = peer.receive()?;
        let is_disconnect = matches!(received, Received::Packet(Packet::Disconnect { .. }));
        holds(!is_disconnect, "no DISCONNECT", shown(&received))?;
    }
    Ok(())
}

fn wrong_properties(context: &TestContext<'_>) -> Checked {
    let with =
        |change: fn(Properties) -> Properties| context.connect_packet("c").with(change).encode();
    // A property of PUBLISH.
    context.expect_refused(&with(|it| it.two(PropertyName::TopicAlias, 1)))?;
    // A repeated property.
    let twice = with(|it| {
        it.four(PropertyName::SessionExpiry, 1)
            .four(PropertyName::SessionExpiry, 1)
    });
    context.expect_refused(&twice)?;
    // Must not be 0.
    context.expect_refused(&with(|it| it.two(PropertyName::ReceiveMaximum, 0)))?;
    context.expect_refused(&with(|it| it.four(PropertyName::MaximumPacketSize, 0)))?;
    // Must be 0 or 1.
    context.expect_refused(&with(|it| {
        it.byte(PropertyName::RequestProblemInformation, 2)
    }))?;
    context.expect_refused(&with(|it| {
        it.byte(PropertyName::RequestResponseInformation, 2)
    }))
}

fn data_without_method(context: &TestContext<'_>) -> Checked {
    let connect = context.connect_packet("c");
    let connect = connect.with(|it| it.data(PropertyName::AuthenticationData, b"x"));
    context.expect_refused(&connect.encode())
}
