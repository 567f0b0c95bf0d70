//! How far the client of a session is with what comes from the log.

use std::collections::BTreeSet;

use super::DeliveryState;
use super::in_flight::{InFlight, InFlightWindow};
use super::logged::{LoggedProgress, SentBefore, id_of};
use super::waiting::Queued;

impl DeliveryState {
    /// Goes on where an earlier process was, which may have sent all before number `end` of the log.
    pub(crate) fn go_on(&mut self, mut progress: LoggedProgress, end: u64) {
        let LoggedProgress {
            outstanding,
            released,
            ..
        } = &mut progress;
        // The release was kept after the progress.
        outstanding.retain(|sequence| !released.contains(sequence));
        let released = progress.released.iter();
        let released = released.map(|&sequence| InFlight::released(id_of(sequence), sequence));
        self.in_flight = InFlightWindow::restored(released.collect());
        self.sent_before = Some(Box::new(SentBefore { progress, end }));
    }

    /// How far the client is with messages from the log, of which all before `next` were given to it.
    pub(crate) fn progress(&self, next: u64) -> LoggedProgress {
        let logged = self.in_flight.iter().filter(|it| it.message.sequence > 0);
        let (released, outstanding): (Vec<_>, Vec<_>) = logged.partition(|it| it.is_released());
        let numbers = |entries: Vec<&InFlight>| {
            let numbers = entries.into_iter().map(|it| it.message.sequence);
            numbers.collect::<BTreeSet<u64>>()
        };
        let mut progress = LoggedProgress {
            outstanding: numbers(outstanding),
            released: numbers(released),
            next: self.waiting.first_logged().map_or(next, |it| it.min(next)),
        };
        // What has not been read again since the start is as it was then.
        if let Some(before) = &self.sent_before {
            let is_unread = |sequence: &&u64| **sequence >= progress.next;
            let outstanding = before.progress.outstanding.iter().filter(is_unread);
            progress.outstanding.extend(outstanding);
            progress.next = progress.next.max(before.progress.next);
        }
        progress
    }

    /// What an earlier process has sent of the log, if this session is from there.
    pub(crate) fn sent_before(&self) -> Option<&SentBefore> {
        self.sent_before.as_deref()
    }

    /// The number in the log of the message with this identifier, if it comes from there and PUBREC would release it.
    pub(crate) fn to_be_released(&self, id: u16) -> Option<u64> {
        let sequence = self.in_flight.to_be_released(id)?.sequence;
        (sequence > 0).then_some(sequence)
    }

    /// Gives back to the log what has not been sent, to be read again. Returns the number of messages, and that of the
    /// first.
    pub(crate) fn give_back_logged(&mut self) -> Option<(u64, u64)> {
        let first = self.waiting.first_logged()?;
        let taken = self.waiting.take_unless(|message| message.sequence == 0);
        self.kept.give_back(taken.iter().map(Queued::size).sum());
        self.gap += taken.iter().map(Queued::gap).sum::<u64>();
        Some((taken.len() as u64, first))
    }
}
