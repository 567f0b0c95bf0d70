//! Messages at QoS 1 and 2 that were sent and whose acknowledgement is not complete.
//!
//! The effect of an acknowledgement depends on the stage of its message (MQTT 5.0 §4.3):
//!
//! | stage          | PUBACK      | PUBREC        | PUBREC, refused | PUBCOMP     | new connection      |
//! |----------------|-------------|---------------|-----------------|-------------|---------------------|
//! | QoS 1 sent     | done        | out of turn   | out of turn     | out of turn | sent again, DUP     |
//! | QoS 2 sent     | out of turn | released      | done            | out of turn | sent again, DUP     |
//! | QoS 2 released | out of turn | release again | release again   | done        | release sent again  |
//!
//! Messages and releases are sent again in the order in which they were first sent ([MQTT-4.6.0-6] of
//! 3.1.1, [MQTT-4.6.0-5] of 5.0). An identifier is in use from the moment a message is sent until its
//! last stage is done. Only this file knows how entries are stored, so that later a run of consecutive
//! identifiers can be one entry.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::waiting::Queued;

/// Maximum messages in flight to one client, even if it would accept more.
pub(crate) const MAX_IN_FLIGHT: usize = 1024;

/// An acknowledgement from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    /// PUBACK: the client has received a message at QoS 1, or refuses it.
    Accepted,
    /// PUBREC: the client has received a message at QoS 2, or refuses it.
    Received { refused: bool },
    /// PUBCOMP: QoS 2 is complete.
    Completed,
}

/// The effect of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckEffect {
    /// The message has arrived, or was refused; its identifier is free.
    Done,
    /// The message has arrived; PUBREL must be sent.
    Release,
    /// A repeated PUBREC. The PUBREL may have been lost, so it must be sent again.
    ReleaseAgain,
    /// The PUBREL has arrived; the identifier is free.
    Completed,
    /// No message with this identifier is in flight.
    Unknown,
    /// The message expects another kind of acknowledgement.
    OutOfTurn,
}

/// The stage of a message in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Sent at QoS 1.
    AtLeastOnce,
    /// Sent at QoS 2.
    ExactlyOnce,
    /// PUBREL has been sent.
    Released,
}

impl Stage {
    /// The first stage of a message at QoS 1 or 2.
    pub(crate) fn sent_at(qos: u8) -> Self {
        if qos == 2 {
            Self::ExactlyOnce
        } else {
            Self::AtLeastOnce
        }
    }

    /// The table at the head of this file, except for its last column.
    fn effect(self, ack: Ack) -> AckEffect {
        match (self, ack) {
            // At QoS 1 only PUBACK completes the message [MQTT-4.3.2-3]. A refused message is not sent
            // again [MQTT-4.4.0-2], nor to another member of its group [MQTT-4.8.2-6].
            (Self::AtLeastOnce, Ack::Accepted)
            | (Self::ExactlyOnce, Ack::Received { refused: true }) => AckEffect::Done,
            // [MQTT-4.3.3-3].
            (Self::ExactlyOnce, Ack::Received { refused: false }) => AckEffect::Release,
            (Self::Released, Ack::Received { .. }) => AckEffect::ReleaseAgain,
            // [MQTT-4.3.3-5].
            (Self::Released, Ack::Completed) => AckEffect::Completed,
            (Self::AtLeastOnce, Ack::Received { .. } | Ack::Completed)
            | (Self::ExactlyOnce, Ack::Accepted | Ack::Completed)
            | (Self::Released, Ack::Accepted) => AckEffect::OutOfTurn,
        }
    }
}

/// A message in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) id: u16,
    pub(crate) stage: Stage,
    /// Its line is empty once it is released.
    pub(crate) message: Queued,
}

/// All messages in flight to one client, in the order in which they were first sent.
#[derive(Debug, Default)]
pub(crate) struct InFlightWindow {
    entries: VecDeque<InFlight>,
    /// The number of entries, from the front, that were sent on this connection.
    sent: usize,
    ids: HashSet<u16, RandomState>,
    last_id: u16,
}

impl InFlightWindow {
    /// The number of entries sent on this connection; only these can be acknowledged on it.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The number of messages that may not have arrived.
    pub(crate) fn unreleased(&self) -> usize {
        let unreleased = self.entries.iter().filter(|each| !each.is_released());
        unreleased.count()
    }

    /// Allocates an identifier that no message in flight has [MQTT-2.3.1-4] (3.1.1) [MQTT-2.2.1-4]
    /// [MQTT-4.3.2-1] [MQTT-4.3.3-1] (5.0). It is in use until [`InFlightWindow::free`], or until the
    /// message pushed with it is done.
    pub(crate) fn next_id(&mut self) -> u16 {
        loop {
            // Zero is no identifier [MQTT-2.2.1-3].
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            // There are 65,535 identifiers, and far fewer messages in flight.
            if self.ids.insert(self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Whether a message in flight has this identifier.
    pub(crate) fn has(&self, id: u16) -> bool {
        self.ids.contains(&id)
    }

    /// Allocates this identifier, which no message in flight has.
    pub(crate) fn take_id(&mut self, id: u16) {
        self.ids.insert(id);
    }

    /// The message at QoS 2 with this identifier that was sent on this connection and not released.
    pub(crate) fn to_be_released(&self, id: u16) -> Option<&Queued> {
        let entry = &self.entries[self.position(id)?];
        (entry.stage == Stage::ExactlyOnce).then_some(&entry.message)
    }

    /// Frees an identifier whose message is not sent.
    pub(crate) fn free(&mut self, id: u16) {
        self.ids.remove(&id);
    }

    /// Adds a message that has been sent for the first time.
    pub(crate) fn push(&mut self, id: u16, message: Queued) {
        debug_assert_eq!(
            self.sent,
            self.entries.len(),
            "what is sent again comes first"
        );
        self.entries.push_back(InFlight {
            id,
            stage: Stage::sent_at(message.qos),
            message,
        });
        self.sent += 1;
    }

    /// The next entry that was in flight when the last connection ended and has not been sent again.
    pub(crate) fn next_again(&self) -> Option<&InFlight> {
        self.entries.get(self.sent)
    }

    /// Marks the entry that [`InFlightWindow::next_again`] returned as sent.
    pub(crate) fn note_sent_again(&mut self) {
        self.sent += 1;
    }

    /// Removes the entry that [`InFlightWindow::next_again`] returned, because it cannot be sent.
    pub(crate) fn discard_again(&mut self) -> Option<Queued> {
        let entry = self.entries.remove(self.sent)?;
        self.ids.remove(&entry.id);
        Some(entry.message)
    }

    /// Handles an acknowledgement. Returns its effect, and the number of bytes it freed.
    pub(crate) fn acknowledge(&mut self, id: u16, ack: Ack) -> (AckEffect, usize) {
        let Some(at) = self.position(id) else {
            return (AckEffect::Unknown, 0);
        };
        let entry = &mut self.entries[at];
        let effect = entry.stage.effect(ack);
        let freed = match effect {
            AckEffect::Done | AckEffect::Release => entry.message.size(),
            _ => 0,
        };
        match effect {
            AckEffect::Done | AckEffect::Completed => self.remove(at),
            AckEffect::Release => {
                entry.stage = Stage::Released;
                // After PUBREC the message itself is not sent again [MQTT-4.3.3-6].
                entry.message.line = Bytes::new();
            }
            AckEffect::ReleaseAgain | AckEffect::Unknown | AckEffect::OutOfTurn => {}
        }
        (effect, freed)
    }

    fn position(&self, id: u16) -> Option<usize> {
        // Only entries sent on this connection can be acknowledged on it. Acknowledgements usually
        // arrive in the order of their messages [MQTT-4.6.0-2].
        let sent = || self.entries.iter().take(self.sent);
        if sent().next().is_some_and(|first| first.id == id) {
            return Some(0);
        }
        if !self.ids.contains(&id) {
            return None;
        }
        sent().position(|entry| entry.id == id)
    }

    fn remove(&mut self, at: usize) {
        let entry = match at {
            0 => self.entries.pop_front(),
            at => self.entries.remove(at),
        };
        if let Some(entry) = entry {
            self.sent -= 1;
            self.ids.remove(&entry.id);
        }
    }

    /// The connection has ended: all entries are sent again on the next one.
    pub(crate) fn detach(&mut self) {
        self.sent = 0;
    }

    /// Removes the messages that may not have arrived and of which this does not hold. Only before an entry is sent
    /// again.
    pub(crate) fn take_unless(&mut self, mut holds: impl FnMut(&Queued) -> bool) -> Vec<Queued> {
        debug_assert_eq!(self.sent, 0, "entries were sent on this connection");
        let all = std::mem::take(&mut self.entries).into_iter();
        let (kept, taken): (Vec<_>, Vec<_>) =
            all.partition(|each| each.is_released() || holds(&each.message));
        self.entries = kept.into();
        let taken = taken.into_iter();
        taken
            .map(|entry| {
                self.ids.remove(&entry.id);
                entry.message
            })
            .collect()
    }

    /// Removes all entries, and returns the messages that may not have arrived.
    pub(crate) fn take_unreleased(&mut self) -> impl Iterator<Item = Queued> + use<> {
        let all = std::mem::take(self);
        let unreleased = all.entries.into_iter().filter(|each| !each.is_released());
        unreleased.map(|each| each.message)
    }

    /// All entries, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &InFlight> {
        self.entries.iter()
    }

    /// The window of a restored session, with its entries in order.
    pub(crate) fn restored(entries: Vec<InFlight>) -> Self {
        Self {
            ids: entries.iter().map(|entry| entry.id).collect(),
            last_id: entries.last().map_or(0, |entry| entry.id),
            entries: entries.into(),
            sent: 0,
        }
    }
}

impl InFlight {
    /// One whose message has arrived.
    pub(crate) fn released(id: u16, sequence: u64) -> Self {
        Self {
            id,
            stage: Stage::Released,
            message: Queued {
                line: Bytes::new(),
                sequence,
                came: Instant::now(),
                qos: 2,
                retain: false,
                extras: None,
            },
        }
    }

    pub(crate) fn is_released(&self) -> bool {
        self.stage == Stage::Released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACKS: [Ack; 4] = [
        Ack::Accepted,
        Ack::Received { refused: false },
        Ack::Received { refused: true },
        Ack::Completed,
    ];

    fn message(qos: u8) -> Queued {
        Queued::of_test(b"MESSAGE a hi\n", qos)
    }

    /// A window with one message at this stage.
    fn window(stage: Stage) -> (InFlightWindow, u16) {
        let mut window = InFlightWindow::default();
        let id = window.next_id();
        match stage {
            Stage::AtLeastOnce => window.push(id, message(1)),
            Stage::ExactlyOnce => window.push(id, message(2)),
            Stage::Released => {
                window.push(id, message(2));
                let (effect, _) = window.acknowledge(id, Ack::Received { refused: false });
                assert_eq!(effect, AckEffect::Release);
            }
        }
        (window, id)
    }

    #[test]
    fn the_table_at_the_head_holds() {
        use AckEffect::{Completed, Done, OutOfTurn, Release, ReleaseAgain};
        for (stage, effects) in [
            (Stage::AtLeastOnce, [Done, OutOfTurn, OutOfTurn, OutOfTurn]),
            (Stage::ExactlyOnce, [OutOfTurn, Release, Done, OutOfTurn]),
            (
                Stage::Released,
                [OutOfTurn, ReleaseAgain, ReleaseAgain, Completed],
            ),
        ] {
            for (ack, expected) in ACKS.into_iter().zip(effects) {
                let (mut window, id) = window(stage);
                let (effect, _) = window.acknowledge(id, ack);
                assert_eq!(effect, expected, "{stage:?}, {ack:?}");
                let is_over = matches!(expected, Done | Completed);
                assert_eq!(window.len(), usize::from(!is_over), "{stage:?}, {ack:?}");
                assert_eq!(window.sent(), window.len(), "{stage:?}, {ack:?}");
                assert_eq!(window.ids.contains(&id), !is_over, "{stage:?}, {ack:?}");
            }
        }
    }

    #[test]
    fn a_message_gives_its_bytes_back_once() {
        let size = message(2).size();
        let (mut window, id) = window(Stage::ExactlyOnce);
        let received = Ack::Received { refused: false };
        assert_eq!(window.acknowledge(id, received), (AckEffect::Release, size));
        assert_eq!(
            window.acknowledge(id, received),
            (AckEffect::ReleaseAgain, 0)
        );
        assert_eq!(
            window.acknowledge(id, Ack::Completed),
            (AckEffect::Completed, 0)
        );
        assert_eq!(
            window.acknowledge(id, Ack::Completed),
            (AckEffect::Unknown, 0)
        );
    }

    #[test]
    fn acknowledgements_may_come_in_any_order() {
        let mut window = InFlightWindow::default();
        let ids: Vec<u16> = (0..3).map(|_| window.next_id()).collect();
        for &id in &ids {
            window.push(id, message(1));
        }
        assert_eq!(window.acknowledge(ids[1], Ack::Accepted).0, AckEffect::Done);
        assert_eq!(
            window.acknowledge(ids[1], Ack::Accepted).0,
            AckEffect::Unknown
        );
        assert_eq!(window.acknowledge(ids[2], Ack::Accepted).0, AckEffect::Done);
        assert_eq!(window.acknowledge(ids[0], Ack::Accepted).0, AckEffect::Done);
        assert_eq!((window.len(), window.sent()), (0, 0));
    }

    #[test]
    fn what_an_earlier_connection_was_sent_is_acknowledged_only_when_it_was_sent_again() {
        let (mut window, id) = window(Stage::AtLeastOnce);
        window.detach();
        assert_eq!(window.acknowledge(id, Ack::Accepted).0, AckEffect::Unknown);
        assert_eq!(window.next_again().map(|each| each.id), Some(id));
        window.note_sent_again();
        assert!(window.next_again().is_none());
        assert_eq!(window.acknowledge(id, Ack::Accepted).0, AckEffect::Done);
    }

    #[test]
    fn an_identifier_in_flight_is_not_given_out_again() {
        let (mut window, id) = window(Stage::AtLeastOnce);
        window.last_id = u16::MAX;
        assert_eq!(id, 1);
        assert_eq!(window.next_id(), 2);
        window.free(2);
        window.last_id = 1;
        assert_eq!(window.next_id(), 2);
    }

    #[test]
    fn what_cannot_be_sent_again_is_taken_out() {
        let (mut window, id) = window(Stage::ExactlyOnce);
        window.detach();
        assert!(window.next_again().is_some());
        assert!(window.discard_again().is_some());
        assert_eq!(window.len(), 0);
        assert!(!window.ids.contains(&id));
    }

    #[test]
    fn only_what_may_not_have_arrived_is_left_over() {
        let (mut window, _) = window(Stage::Released);
        let id = window.next_id();
        window.push(id, message(1));
        assert_eq!(window.unreleased(), 1);
        assert_eq!(window.take_unreleased().count(), 1);
        assert_eq!((window.len(), window.sent()), (0, 0));
    }
}
