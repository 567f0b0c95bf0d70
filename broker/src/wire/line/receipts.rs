//! Which PUBLISH frames a PUBACK has covered, and how many copies were made of the others.

use std::mem;

/// Counts for PUBACK.
#[derive(Default)]
pub(super) struct Receipts {
    /// PUBLISH frames refused. Together with the accepted ones in the account they are all.
    refused: u64,
    /// PUBLISH frames that a PUBACK has covered.
    covered: u64,
    /// Copies made of those not covered yet.
    copies: u64,
    /// Whether one of those was accepted.
    has_accepted: bool,
    /// The client has asked for no PUBACKs.
    is_quiet: bool,
}

impl Receipts {
    #[inline]
    pub(super) fn accept(&mut self, copies: u64) {
        self.copies += copies;
        self.has_accepted = true;
    }

    pub(super) fn refuse(&mut self) {
        self.refused += 1;
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether a PUBACK is due before a refusal: an accepted frame is not covered yet.
    pub(super) fn has_accepted(&self) -> bool {
        self.has_accepted
    }

    pub(super) fn be_quiet(&mut self) {
        self.is_quiet = true;
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// Takes the copies for a PUBACK of the first `answered` frames, if it confirms anything new.
    pub(super) fn take(&mut self, answered: u64) -> Option<u64> {
        let is_new = answered != mem::replace(&mut self.covered, answered);
        if !is_new || self.is_quiet {
            return None;
        }
        self.has_accepted = false;
        Some(mem::take(&mut self.copies))
    }
}
