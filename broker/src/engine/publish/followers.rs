//! Delivers what is in the log to those that follow it, and counts for publishers the copies that come of it.

use std::mem;

use super::Dispatch;

impl Dispatch {
    /// Delivers to followers what is in the log.
    pub(crate) fn for_followers(mut self) -> Self {
        self.is_for_followers = true;
        self
    }

    /// The messages that are added next have these numbers, up to the one before `end`. Only for followers.
    pub(crate) fn set_numbers(&mut self, first: u64, end: u64) {
        self.outcome.numbers.set(Some((first, end)));
    }

    /// The number of copies that followers have accepted since this was asked last.
    pub(crate) fn take_accepted(&mut self) -> u64 {
        self.outcome.accepted.take()
    }

    /// The number of copies that followers get, of messages that were kept since this was asked last.
    pub(crate) fn take_followed(&mut self) -> u64 {
        mem::take(&mut self.followed)
    }
}
