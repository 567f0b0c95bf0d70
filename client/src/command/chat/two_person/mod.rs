//! The chat of two over UDP that textbooks begin with: `client chat` plays either of its ends. No
//! broker takes part.
//!
//! A datagram is a text, without a line end and without a nick, and `bye` ends the chat on both
//! sides. `conversation.rs` has the rules without any I/O, `endpoint.rs` the socket.

mod conversation;
mod endpoint;
mod place;
mod session;

use std::io;

use client::reason;

use super::ui::Ui;
use crate::exit::{Exit, Failure, Stop};
use crate::interruption::Interruption;
use crate::stderr::say;

use conversation::{Conversation, Ending};
use endpoint::{UdpEndpoint, UdpPeer};
use session::TwoPersonSession;

pub(crate) use place::UdpPlace;

/// Which end to play.
#[derive(Clone, Debug)]
pub(crate) enum UdpEnd {
    /// Writes to a peer first.
    Begins(UdpPlace),
    /// Waits for the first that writes.
    Listens(UdpPlace),
}

/// A chat of two that has its socket.
pub(crate) struct TwoPersonChat {
    endpoint: UdpEndpoint,
    place: String,
    conversation: Conversation,
}

impl TwoPersonChat {
    /// Binds the socket. An error says what to do.
    pub(crate) fn open(end: &UdpEnd, nick: &str) -> Result<Self, Failure> {
        match end {
            UdpEnd::Begins(place) => begin(place, nick),
            UdpEnd::Listens(place) => listen(place, nick),
        }
    }

    /// Runs it until one of the two leaves.
    pub(crate) fn run(
        self,
        interruption: &Interruption,
        ui: io::Result<impl Ui>,
    ) -> Result<Ending, Stop> {
        let interrupt = interruption.interrupt().clone();
        let Self {
            endpoint,
            place,
            conversation,
        } = self;
        TwoPersonSession::new(endpoint, place, conversation, ui?, interrupt).run()
    }
}

/// The result of a chat. What a full screen has shown is gone with it, so a peer that left is told
/// again.
pub(crate) fn end(ending: Ending, is_plain: bool) -> Result<Exit, Failure> {
    match ending {
        Ending::Left => {}
        Ending::PeerLeft if is_plain => {}
        Ending::PeerLeft => say("client: the peer said bye"),
        Ending::Unreachable { peer, why } => {
            let port = peer.port();
            let why = format_args!(
                "no program receives at {peer} ({why}); start the other end first, or wait for it \
                 with --udp-listen :{port}"
            );
            return Err(Failure::new(Exit::NoConnection, "client", why));
        }
    }
    Ok(Exit::Done)
}

fn begin(place: &UdpPlace, nick: &str) -> Result<TwoPersonChat, Failure> {
    let no_address = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let addresses = place.addresses();
    let address = addresses.and_then(|found| found.first().copied().ok_or_else(no_address));
    let address = address.map_err(|error| {
        let why = reason(&error);
        let why = format_args!("{place} is not known ({why}); check the name, or give an address");
        Failure::new(Exit::NoConnection, "client", why)
    })?;
    let endpoint = UdpEndpoint::towards(address).map_err(|error| {
        let why = format_args!("cannot use UDP ({})", reason(&error));
        Failure::new(Exit::Failed, "client", why)
    })?;
    Ok(TwoPersonChat {
        endpoint,
        place: place.to_string(),
        conversation: Conversation::new(nick, Some(UdpPeer::at(address))),
    })
}

fn listen(place: &UdpPlace, nick: &str) -> Result<TwoPersonChat, Failure> {
    let bound = UdpEndpoint::listen(place).and_then(|endpoint| {
        let address = endpoint.local_address()?;
        Ok((endpoint, address))
    });
    let (endpoint, address) = bound.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "end the other program, or give another port",
            io::ErrorKind::PermissionDenied => "give a port from 1024",
            _ => "give an address of this machine, or :PORT for all of them",
        };
        let why = format_args!("cannot listen at {place} ({}); {advice}", reason(&error));
        Failure::new(Exit::Failed, "client", why)
    })?;
    let place = if place.is_everywhere() {
        format!("port {} of all addresses", address.port())
    } else {
        address.to_string()
    };
    Ok(TwoPersonChat {
        endpoint,
        place,
        conversation: Conversation::new(nick, None),
    })
}
