//! PINGREQ, DISCONNECT and AUTH: chapters 3.12, 3.14 and 3.15.

use super::super::case::Case;
use super::super::encode;

use super::super::connect_packet::ConnectWill;
use super::super::context::TestContext;
use super::super::finding::{Checked, Finding, same};
use super::super::packet::{Packet, TestMessage};
use super::super::property::{Properties, PropertyName};
use super::super::test_client::{Received, shown};

pub(super) const CASES: &[Case] = &[
    Case::both(
        "3.12.4-1",
        "3.12.4-1",
        "a PINGREQ is answered by PINGRESP",
        pingresp,
    ),
    Case::both(
        "3.14.1-1",
        "3.14.1-1",
        "a DISCONNECT with reserved flags is none: the connection is closed, the will published",
        disconnect_flags,
    ),
    Case::v5(
        "3.14.2-1",
        "a DISCONNECT of the server has one of its reason codes",
        disconnect_code,
    ),
    Case::v5(
        "3.14.2-2",
        "a DISCONNECT of the server has no session expiry interval",
        disconnect_code,
    ),
    Case::v5(
        "3.14.4-1",
        "nothing follows a DISCONNECT of the server",
        nothing_after_disconnect,
    ),
    Case::v5(
        "3.14.4-2",
        "the server closes the connection after its DISCONNECT",
        nothing_after_disconnect,
    ),
    Case::v5(
        "3.15.1-1",
        "an AUTH with reserved flags ends the connection",
        auth_flags,
    ),
    Case::v5(
        "4.12.0-7",
        "an AUTH of a client that connected without a method ends the connection",
        auth_without_method,
    ),
    Case::v5(
        "4.12.0-6",
        "no AUTH comes to a client that connected without a method",
        no_auth,
    ),
];

fn pingresp(context: &TestContext<'_>) -> Checked {
    let mut peer = context.connect("c")?;
    for _ in 0..3 {
        peer.send(encode::PINGREQ);
    }
    for _ in 0..3 {
        same("it", peer.receive()?, Received::Packet(Packet::Pingresp))?;
    }
    peer.expect_silence()
}

fn disconnect_flags(context: &TestContext<'_>) -> Checked {
    let topic = context.topic("w");
    let (mut watcher, _) = context.pair(&topic, 0)?;
    for first in [0xe1, 0xe2, 0xe8] {
        let connect = context
            .connect_packet("c")
            .will(ConnectWill::new(&topic, "last words"));
        let (mut peer, _) = context.open(&connect)?;
        peer.send(&encode::packet(first, &[]));
        peer.expect_close()?;
        watcher.message_of("last words")?;
    }
    Ok(())
}

/// Violations that make a server send DISCONNECT, if it does so at all.
fn violations(context: &TestContext<'_>) -> [Vec<u8>; 5] {
    let topic = context.topic("t");
    let qos_3 = TestMessage::new(&topic, "x").qos(3).id(1);
    [
        qos_3.encode(context.version),
        context.connect_packet("rogue").encode(),
        encode::packet(0x80, &[0, 1, 0, 0, 1, b'a', 0]),
        encode::packet(0x00, &[]),
        aliased_0(context),
    ]
}

fn aliased_0(context: &TestContext<'_>) -> Vec<u8> {
    let message = TestMessage::new(&context.topic("t"), "x");
    let message = message.with(|it| it.two(PropertyName::TopicAlias, 0));
    message.encode(context.version)
}

fn disconnect_code(context: &TestContext<'_>) -> Checked {
    let mut codes = Vec::new();
    for violation in violations(context) {
        let mut peer = context.connect("rogue")?;
        peer.send(&violation);
        codes.extend(peer.expect_close()?);
    }
    if codes.is_empty() {
        return Finding::unsupported("it closes without a DISCONNECT");
    }
    Ok(())
}

fn nothing_after_disconnect(context: &TestContext<'_>) -> Checked {
    let mut disconnects = 0;
    for violation in violations(context) {
        let mut peer = context.connect("rogue")?;
        // Packets after the violation must not be answered.
        peer.send(&[&violation[..], encode::PINGREQ, encode::PINGREQ].concat());
        let received = peer.receive()?;
        match received {
            Received::Closed => {}
            Received::Packet(Packet::Disconnect { .. }) => {
                disconnects += 1;
                peer.expect_end()?;
            }
            received => return Err(Finding::differs("a DISCONNECT", shown(&received))),
        }
    }
    if disconnects == 0 {
        return Finding::unsupported("it closes without a DISCONNECT");
    }
    Ok(())
}

fn auth(first: u8) -> Vec<u8> {
    let method =
        Properties::default().text(PropertyName::AuthenticationMethod, "selftest-no-method");
    encode::with_reason(first, 0x18, &method)
}

fn auth_flags(context: &TestContext<'_>) -> Checked {
    for first in [0xf1, 0xf2, 0xf8] {
        context.expect_fatal(&auth(first))?;
    }
    Ok(())
}

fn auth_without_method(context: &TestContext<'_>) -> Checked {
    context.expect_fatal(&auth(0xf0))
}

fn no_auth(context: &TestContext<'_>) -> Checked {
    let mut peer = context.send_connect(&context.connect_packet("c"))?;
    peer.connack()?;
    peer.expect_silence()
}
