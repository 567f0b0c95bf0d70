//! PINGREQ, DISCONNECT and AUTH: chapters 3.12, 3.14 and 3.15.

use super::super::case::Case;
use super::super::encode;

use super::super::finding::{Checked, Finding, same};
use super::super::hello::Will;
use super::super::lab::Lab;
use super::super::packet::{Message, Packet};
use super::super::peer::{Heard, shown};
use super::super::property::{Name, Properties};

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

fn pingresp(lab: &Lab<'_>) -> Checked {
    let mut peer = lab.connect("c")?;
    for _ in 0..3 {
        peer.send(encode::PINGREQ);
    }
    for _ in 0..3 {
        same("it", peer.hear()?, Heard::Packet(Packet::Pingresp))?;
    }
    peer.expect_silence()
}

fn disconnect_flags(lab: &Lab<'_>) -> Checked {
    let topic = lab.topic("w");
    let (mut watcher, _) = lab.pair(&topic, 0)?;
    for first in [0xe1, 0xe2, 0xe8] {
        let hello = lab.hello("c").will(Will::new(&topic, "last words"));
        let (mut peer, _) = lab.open(&hello)?;
        peer.send(&encode::packet(first, &[]));
        peer.expect_close()?;
        watcher.message_of("last words")?;
    }
    Ok(())
}

/// What makes a server say DISCONNECT, if it ever does.
fn violations(lab: &Lab<'_>) -> [Vec<u8>; 5] {
    let topic = lab.topic("t");
    let qos_3 = Message::new(&topic, "x").qos(3).id(1);
    [
        qos_3.encode(lab.version),
        lab.hello("rogue").encode(),
        encode::packet(0x80, &[0, 1, 0, 0, 1, b'a', 0]),
        encode::packet(0x00, &[]),
        aliased_0(lab),
    ]
}

fn aliased_0(lab: &Lab<'_>) -> Vec<u8> {
    let message = Message::new(&lab.topic("t"), "x");
    let message = message.with(|it| it.two(Name::TopicAlias, 0));
    message.encode(lab.version)
}

fn disconnect_code(lab: &Lab<'_>) -> Checked {
    let mut codes = Vec::new();
    for violation in violations(lab) {
        let mut peer = lab.connect("rogue")?;
        peer.send(&violation);
        codes.extend(peer.expect_close()?);
    }
    if codes.is_empty() {
        return Finding::unsupported("it closes without a DISCONNECT");
    }
    Ok(())
}

fn nothing_after_disconnect(lab: &Lab<'_>) -> Checked {
    let mut disconnects = 0;
    for violation in violations(lab) {
        let mut peer = lab.connect("rogue")?;
        // Behind the violation there is what would be answered.
        peer.send(&[&violation[..], encode::PINGREQ, encode::PINGREQ].concat());
        let heard = peer.hear()?;
        match heard {
            Heard::Closed => {}
            Heard::Packet(Packet::Disconnect { .. }) => {
                disconnects += 1;
                peer.expect_end()?;
            }
            heard => return Err(Finding::differs("a DISCONNECT", shown(&heard))),
        }
    }
    if disconnects == 0 {
        return Finding::unsupported("it closes without a DISCONNECT");
    }
    Ok(())
}

fn auth(first: u8) -> Vec<u8> {
    let method = Properties::default().text(Name::AuthenticationMethod, "selftest-no-method");
    encode::with_reason(first, 0x18, &method)
}

fn auth_flags(lab: &Lab<'_>) -> Checked {
    for first in [0xf1, 0xf2, 0xf8] {
        lab.expect_fatal(&auth(first))?;
    }
    Ok(())
}

fn auth_without_method(lab: &Lab<'_>) -> Checked {
    lab.expect_fatal(&auth(0xf0))
}

fn no_auth(lab: &Lab<'_>) -> Checked {
    let mut peer = lab.say(&lab.hello("c"))?;
    peer.connack()?;
    peer.expect_silence()
}
