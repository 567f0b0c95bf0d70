//! The state of a chat of two over UDP, without any I/O: datagrams go in, and lines to show and
//! datagrams to send come out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::endpoint::UdpPeer;
use crate::command::chat::line::ChatLine;
use crate::visible;

/// The text that ends the chat on both sides.
pub(crate) const BYE: &str = "bye";

/// How long the answer to our `bye` is waited for. Many programs leave without one.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Minimum time between two notices about one address.
const NOTICE_INTERVAL: Duration = Duration::from_secs(10);

/// Maximum number of other addresses within that time that are told and shown.
const MAX_STRANGERS: usize = 64;

/// The answer to an address that is not the peer.
const FOR_TWO: &str = "* this chat is for two, and both are here";

/// The nick of the peer, which has not told one.
const PEER: &str = "peer";

/// The effect of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChatEffect {
    Show(ChatLine),
    Send { text: &'static str, to: UdpPeer },
}

/// How the chat stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Our `bye` is on its way.
    SaidBye {
        until: Instant,
    },
    Over(Ending),
}

/// How a chat has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The user has left.
    Left,
    /// The peer has said `bye`.
    PeerLeft,
    /// The first text did not arrive, and why.
    Unreachable { peer: SocketAddr, why: String },
}

/// Two peers, one of which is here.
#[derive(Debug)]
pub(crate) struct Conversation {
    nick: String,
    /// `None` until the first address has written.
    peer: Option<UdpPeer>,
    has_heard: bool,
    /// The first text that was sent, until the peer is heard.
    first: Option<String>,
    phase: Phase,
    strangers: BTreeMap<SocketAddr, Instant>,
    /// When a bounce was last told.
    bounce_told: Option<Instant>,
}

impl Conversation {
    /// A chat with this peer, or with the first that writes.
    pub(crate) fn new(nick: &str, peer: Option<UdpPeer>) -> Self {
        Self {
            nick: nick.to_owned(),
            peer,
            has_heard: false,
            first: None,
            phase: Phase::Open,
            strangers: BTreeMap::new(),
            bounce_told: None,
        }
    }

    /// The address that texts go to.
    pub(crate) fn peer(&self) -> Option<UdpPeer> {
        self.peer
    }

    pub(crate) fn nick(&self) -> &str {
        &self.nick
    }

    /// Whether neither side has said `bye`.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// How it has ended, if it has.
    pub(crate) fn ending(&self, now: Instant) -> Option<Ending> {
        match &self.phase {
            Phase::Open => None,
            Phase::SaidBye { until } => (now >= *until).then_some(Ending::Left),
            Phase::Over(ending) => Some(ending.clone()),
        }
    }

    /// How long it lasts without a further arrival; `None` for ever.
    pub(crate) fn time_left(&self, now: Instant) -> Option<Duration> {
        match &self.phase {
            Phase::SaidBye { until } => Some(until.saturating_duration_since(now)),
            Phase::Open | Phase::Over(_) => None,
        }
    }

    /// Handles a datagram; returns its effects in order.
    pub(crate) fn handle(&mut self, bytes: &[u8], from: UdpPeer, now: Instant) -> Vec<ChatEffect> {
        let mut effects = Vec::new();
        match self.peer {
            Some(peer) if peer.address != from.address => return self.turn_away(from, now),
            Some(_) => {}
            None => effects.push(notice(peer_is(from.address))),
        }
        self.peer = Some(from);
        self.has_heard = true;
        self.first = None;
        let text = without_line_end(bytes);
        if text != BYE.as_bytes() {
            let text = visible::text(&String::from_utf8_lossy(text));
            let (nick, own) = (self.name_of(from.address), false);
            effects.push(ChatEffect::Show(ChatLine::Said { nick, text, own }));
            return effects;
        }
        if self.is_open() {
            effects.push(notice("the peer said bye".to_owned()));
            effects.push(ChatEffect::Send {
                text: BYE,
                to: from,
            });
            self.phase = Phase::Over(Ending::PeerLeft);
        } else {
            // The answer to ours; another one would go on for ever.
            self.phase = Phase::Over(Ending::Left);
        }
        effects
    }

    /// A datagram of an address that is not the peer: both are told, seldom enough that a forged
    /// sender makes no flood of it.
    fn turn_away(&mut self, from: UdpPeer, now: Instant) -> Vec<ChatEffect> {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < NOTICE_INTERVAL;
        self.strangers.retain(|_, at| is_recent(at));
        let UdpPeer { address, .. } = from;
        if self.strangers.len() == MAX_STRANGERS || self.strangers.contains_key(&address) {
            return Vec::new();
        }
        self.strangers.insert(address, now);
        let told = format!("{address} writes as well; its text is not shown: this chat is for two");
        let (text, to) = (FOR_TWO, from);
        vec![notice(told), ChatEffect::Send { text, to }]
    }

    /// A text was sent; returns the line to show.
    pub(crate) fn sent(&mut self, text: &str) -> ChatLine {
        if !self.has_heard && self.first.is_none() {
            self.first = Some(text.to_owned());
        }
        ChatLine::Said {
            nick: self.nick.clone(),
            text: visible::text(text),
            own: true,
        }
    }

    /// Our `bye` was sent, or there is no peer to send it to.
    pub(crate) fn left(&mut self, now: Instant) {
        self.phase = match self.peer {
            Some(_) => Phase::SaidBye {
                until: now + LAST_WORDS,
            },
            None => Phase::Over(Ending::Left),
        };
    }

    /// A datagram to `to` that begins with `bytes` did not arrive; returns the notice to show.
    pub(crate) fn handle_bounce(
        &mut self,
        to: SocketAddr,
        bytes: &[u8],
        why: String,
        now: Instant,
    ) -> Option<ChatLine> {
        if self.peer?.address != to || matches!(self.phase, Phase::Over(_)) {
            return None;
        }
        // A peer that takes one message and ends has taken the first text, and bounces a later one.
        let is_first = |first: &String| first.as_bytes().starts_with(bytes);
        if !self.has_heard && self.first.as_ref().is_some_and(is_first) {
            self.phase = Phase::Over(Ending::Unreachable { peer: to, why });
            return None;
        }
        if !self.is_open() {
            self.phase = Phase::Over(Ending::Left);
            return None;
        }
        let is_recent = |at: Instant| now.saturating_duration_since(at) < NOTICE_INTERVAL;
        if self.bounce_told.is_some_and(is_recent) {
            return None;
        }
        self.bounce_told = Some(now);
        Some(ChatLine::Notice(format!(
            "what you said last did not get to {to} ({why}); say it again later, or bye to leave"
        )))
    }

    /// The nick of the peer in a line. It cannot pass for the user's own.
    fn name_of(&self, peer: SocketAddr) -> String {
        if self.nick == PEER {
            return peer.to_string();
        }
        PEER.to_owned()
    }
}

/// The notice that names the peer.
pub(crate) fn peer_is(address: SocketAddr) -> String {
    format!("the peer is {address}; bye ends the chat")
}

fn notice(text: String) -> ChatEffect {
    ChatEffect::Show(ChatLine::Notice(text))
}

/// A text without the line end that some programs put behind it.
fn without_line_end(bytes: &[u8]) -> &[u8] {
    let line = bytes.strip_suffix(b"\n");
    line.map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> UdpPeer {
        UdpPeer::at(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The effects of a datagram as text; what is sent has `<` and the port before it.
    fn hear(chat: &mut Conversation, bytes: &[u8], port: u16, now: Instant) -> Vec<String> {
        let word = |effect| match effect {
            ChatEffect::Show(line) => line.to_string(),
            ChatEffect::Send { text, to } => format!("<{} {text}", to.address.port()),
        };
        let effects = chat.handle(bytes, at(port), now);
        effects.into_iter().map(word).collect()
    }

    fn open() -> (Conversation, Instant) {
        (Conversation::new("ann", Some(at(1))), Instant::now())
    }

    fn bounce(chat: &mut Conversation, text: &[u8], now: Instant) -> Option<String> {
        let why = "connection refused".to_owned();
        let line = chat.handle_bounce(at(1).address, text, why, now)?;
        Some(line.to_string())
    }

    #[test]
    fn the_first_that_writes_is_the_peer() {
        let mut chat = Conversation::new("ann", None);
        let now = Instant::now();
        assert_eq!(
            hear(&mut chat, b"hello", 1, now),
            [
                "* the peer is 127.0.0.1:1; bye ends the chat",
                "peer: hello"
            ]
        );
        assert_eq!(hear(&mut chat, b"again", 1, now), ["peer: again"]);
        assert_eq!(chat.peer(), Some(at(1)));
    }

    #[test]
    fn one_line_end_is_dropped_and_any_bytes_are_shown_harmless() {
        let (mut chat, now) = open();
        for (bytes, shown) in [
            (&b"a\n"[..], "peer: a"),
            (b"a\r\n", "peer: a"),
            (b"a\n\n", "peer: a\n  "),
            (b"a\r", "peer: a\u{fffd}"),
            (b"", "peer: "),
            (b"\n", "peer: "),
            (b"caf\xe9 \x1b[2J", "peer: caf\u{fffd} \u{fffd}[2J"),
            ("gnp.\u{202e}exe".as_bytes(), "peer: gnp.\u{fffd}exe"),
            (b"a\n* ann left\nann: b", "peer: a\n  * ann left\n  ann: b"),
            (b"Bye", "peer: Bye"),
            (b" bye", "peer:  bye"),
            (b"bye now", "peer: bye now"),
        ] {
            assert_eq!(hear(&mut chat, bytes, 1, now), [shown]);
        }
        assert_eq!(chat.ending(now), None);
    }

    #[test]
    fn bye_of_the_peer_is_answered_once() {
        for bye in [&b"bye"[..], b"bye\n", b"bye\r\n"] {
            let (mut chat, now) = open();
            assert_eq!(
                hear(&mut chat, bye, 1, now),
                ["* the peer said bye", "<1 bye"]
            );
            assert_eq!(chat.ending(now), Some(Ending::PeerLeft));
            assert_eq!(hear(&mut chat, bye, 1, now), [""; 0]);
        }
    }

    #[test]
    fn our_bye_waits_a_second_for_its_answer_and_answers_none() {
        let (mut chat, now) = open();
        chat.left(now);
        assert_eq!(hear(&mut chat, b"wait", 1, now), ["peer: wait"]);
        assert_eq!(chat.ending(now), None);
        assert_eq!(chat.time_left(now), Some(LAST_WORDS));
        assert_eq!(chat.ending(now + LAST_WORDS), Some(Ending::Left));
        assert_eq!(hear(&mut chat, b"bye", 1, now), [""; 0]);
        assert_eq!(chat.ending(now), Some(Ending::Left));

        let mut alone = Conversation::new("ann", None);
        alone.left(now);
        assert_eq!(alone.ending(now), Some(Ending::Left));
    }

    #[test]
    fn a_third_address_gets_one_notice_in_ten_seconds() {
        let (mut chat, now) = open();
        let told = [
            "* 127.0.0.1:2 writes as well; its text is not shown: this chat is for two",
            "<2 * this chat is for two, and both are here",
        ];
        assert_eq!(hear(&mut chat, b"me too", 2, now), told);
        for (bytes, seconds) in [(&b"me too"[..], 0), (b"bye", 1), (b"", 9)] {
            let later = now + Duration::from_secs(seconds);
            assert_eq!(hear(&mut chat, bytes, 2, later), [""; 0]);
        }
        assert_eq!(hear(&mut chat, b"bye", 2, now + NOTICE_INTERVAL), told);
        assert!(chat.is_open());
        assert_eq!(chat.peer(), Some(at(1)));
    }

    #[test]
    fn many_addresses_are_neither_remembered_nor_told() {
        let (mut chat, now) = open();
        let mut told = 0;
        for port in 2..2000 {
            told += hear(&mut chat, b"x", port, now).len();
        }
        assert_eq!(
            (told, chat.strangers.len()),
            (2 * MAX_STRANGERS, MAX_STRANGERS)
        );
        let later = now + NOTICE_INTERVAL;
        assert_eq!(hear(&mut chat, b"x", 9999, later).len(), 2);
        assert_eq!(chat.strangers.len(), 1);
    }

    #[test]
    fn a_first_text_that_bounces_ends_the_chat() {
        for returned in [&b"hello"[..], b"hel", b""] {
            let (mut chat, now) = open();
            chat.sent("hello");
            chat.sent("are you there?");
            assert_eq!(bounce(&mut chat, returned, now), None);
            let why = "connection refused".to_owned();
            let peer = at(1).address;
            assert_eq!(chat.ending(now), Some(Ending::Unreachable { peer, why }));
        }
    }

    #[test]
    fn a_later_text_that_bounces_is_a_notice() {
        let told = "* what you said last did not get to 127.0.0.1:1 (connection refused); \
                    say it again later, or bye to leave";
        for has_answered in [true, false] {
            let (mut chat, now) = open();
            chat.sent("hello");
            if has_answered {
                hear(&mut chat, b"hi", 1, now);
            }
            chat.sent("and now?");
            assert_eq!(bounce(&mut chat, b"and now?", now).as_deref(), Some(told));
            assert_eq!(bounce(&mut chat, b"and now?", now), None);
            let later = now + NOTICE_INTERVAL;
            assert_eq!(bounce(&mut chat, b"and now?", later).as_deref(), Some(told));
            assert!(chat.is_open());
            // A program that has taken its one message is not there for the end.
            chat.left(now);
            assert_eq!(bounce(&mut chat, b"bye", now), None);
            assert_eq!(chat.ending(now), Some(Ending::Left));
        }
    }

    #[test]
    fn what_bounces_from_a_third_address_is_no_news() {
        let (mut chat, now) = open();
        chat.sent("hello");
        let bounced = chat.handle_bounce(at(2).address, b"", String::new(), now);
        assert_eq!((bounced, chat.ending(now)), (None, None));
    }

    #[test]
    fn a_user_called_peer_is_told_from_the_peer() {
        let mut chat = Conversation::new("peer", Some(at(1)));
        assert_eq!(
            hear(&mut chat, b"hi", 1, Instant::now()),
            ["127.0.0.1:1: hi"]
        );
        assert_eq!(chat.sent("hi").to_string(), "peer: hi");
    }
}
