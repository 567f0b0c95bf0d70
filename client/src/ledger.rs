//! Counts of requests and answers on one connection.
//!
//! Answers arrive in the order of the requests, so two counts are enough to know which request an
//! answer belongs to, even if it arrives late.

use protocol::{Reply, Subject};

use crate::error::{Error, Refusal};

/// The counts of one connection.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    published: u64,
    answered: u64,
    copies: u64,
    refused: u64,
    /// SUBSCRIBE and UNSUBSCRIBE, counted by filters, and WILL, NAME, AUTH and QUIET.
    asked: u64,
    replied: u64,
    /// The broker sends no receipts.
    quiet: bool,
    pings: u64,
    pongs: u64,
    /// The first refusal that has not been taken.
    refusal: Option<Refusal>,
    /// Why a subscription has ended that had been granted, if it has not been taken.
    withdrawn: Option<Refusal>,
    leaving: bool,
    left: bool,
    /// The broker has answered what the client has shown.
    is_known: bool,
}

impl Ledger {
    /// Counts a PUBLISH.
    pub(crate) fn publish(&mut self) {
        self.published += 1;
        if self.quiet {
            self.answered = self.published;
        }
    }

    /// From now on messages have no receipts and count as answered.
    pub(crate) fn be_quiet(&mut self) {
        self.quiet = true;
        self.answered = self.published;
    }

    /// Whether messages have no receipts.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Counts a SUBSCRIBE or UNSUBSCRIBE with `answers` filters, or one WILL, NAME, AUTH or QUIET.
    pub(crate) fn ask(&mut self, answers: u64) {
        self.asked += answers;
    }

    /// Counts a PING and returns its number.
    pub(crate) fn ping(&mut self) -> u64 {
        self.pings += 1;
        self.pings
    }

    /// Records that BYE was sent.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
    }

    /// Counts an answer. `Err` if it ends the connection.
    pub(crate) fn take(&mut self, reply: Reply<'_>) -> Result<(), Error> {
        match reply {
            Reply::PubAck {
                answered, copies, ..
            } => {
                self.answered = answered.clamp(self.answered, self.published);
                self.copies = self.copies.saturating_add(copies);
            }
            Reply::SubAck { .. }
            | Reply::UnsubAck { .. }
            | Reply::WillAck { .. }
            | Reply::NameAck { .. }
            | Reply::QuietAck => self.replied += 1,
            Reply::AuthAck { .. } => {
                self.replied += 1;
                self.is_known = true;
            }
            Reply::Pong { token } => self.pongs = self.pongs.max(number(token)),
            Reply::Error {
                code,
                subject,
                text,
            } => {
                return self.refuse(subject, Refusal::new(&code, subject, &text));
            }
            Reply::Bye if self.leaving => self.left = true,
            Reply::Bye => return Err(Error::Stopping),
            Reply::Message { .. }
            | Reply::Gap { .. }
            | Reply::End { .. }
            | Reply::Ping { .. }
            | Reply::Help { .. } => {}
        }
        Ok(())
    }

    fn refuse(&mut self, subject: Subject<'_>, refusal: Refusal) -> Result<(), Error> {
        match subject {
            Subject::Line if refusal.is_busy() => return Err(Error::Busy(refusal.text)),
            // It says that what the client has shown is over soon, or now, and answers no frame.
            Subject::Line if refusal.is_auth() && self.is_known => return Ok(()),
            Subject::Publish(_) => self.refused += 1,
            // It answers no SUBSCRIBE: other rules are in force.
            Subject::Subscribe(_) if self.all_replied() => {
                self.withdrawn.get_or_insert(refusal);
                return Ok(());
            }
            Subject::Subscribe(_) | Subject::Unsubscribe(_) => self.replied += 1,
            // The broker refused the whole line, so each of its filters is answered.
            Subject::Line => self.replied = self.asked,
        }
        self.refusal.get_or_insert(refusal);
        Ok(())
    }

    /// How many PUBLISH frames have no receipt yet.
    pub(crate) fn outstanding(&self) -> u64 {
        self.published - self.answered
    }

    /// How many PUBLISH frames have their receipt.
    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    /// Whether every SUBSCRIBE, UNSUBSCRIBE, WILL, NAME, AUTH and QUIET is answered.
    pub(crate) fn all_replied(&self) -> bool {
        self.replied >= self.asked
    }

    /// Whether PING number `ping` is answered.
    pub(crate) fn is_ponged(&self, ping: u64) -> bool {
        self.pongs >= ping
    }

    /// Whether the broker has answered our BYE.
    pub(crate) fn has_left(&self) -> bool {
        self.left
    }

    /// How many frames were published so far.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// How many subscriber copies were made so far.
    pub(crate) fn copies(&self) -> u64 {
        self.copies
    }

    /// How many PUBLISH frames were refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Changes with each answer.
    pub(crate) fn answers(&self) -> (u64, u64, u64) {
        (self.answered, self.replied, self.pongs)
    }

    /// The first refusal since this was last called.
    pub(crate) fn take_refusal(&mut self) -> Option<Refusal> {
        self.refusal.take()
    }

    /// Why the broker has ended a subscription, if it has since this was last called.
    pub(crate) fn take_withdrawn(&mut self) -> Option<Refusal> {
        self.withdrawn.take()
    }

    /// Whether the refusal is about a line, not about a message or a filter.
    pub(crate) fn is_line_refused(&self) -> bool {
        self.refusal
            .as_ref()
            .is_some_and(|refusal| refusal.subject == "line")
    }
}

/// Zero for a token that this client did not send.
fn number(token: &[u8]) -> u64 {
    str::from_utf8(token)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ledger: &mut Ledger, line: &str) -> Result<(), Error> {
        ledger.take(Reply::decode(line.as_bytes()).expect("a reply"))
    }

    #[test]
    fn one_receipt_may_cover_many_messages() {
        let mut ledger = Ledger::default();
        (0..5).for_each(|_| ledger.publish());
        told(&mut ledger, "PUBACK 3 6").expect("a receipt");
        assert_eq!((ledger.outstanding(), ledger.copies()), (2, 6));
        told(&mut ledger, "PUBACK 5 1").expect("a receipt");
        assert_eq!((ledger.outstanding(), ledger.copies()), (0, 7));
    }

    #[test]
    fn a_receipt_beyond_the_published_messages_is_clamped() {
        let mut ledger = Ledger::default();
        ledger.publish();
        told(&mut ledger, "PUBACK 9 0").expect("a receipt");
        assert_eq!(ledger.outstanding(), 0);
    }

    #[test]
    fn a_refused_filter_that_no_subscribe_waits_for_is_a_subscription_that_has_ended() {
        let mut ledger = Ledger::default();
        ledger.ask(1);
        told(&mut ledger, "ERROR denied subscribe:a no").expect("an answer");
        assert!(ledger.all_replied() && ledger.take_withdrawn().is_none());
        assert!(ledger.take_refusal().is_some());
        told(&mut ledger, "ERROR denied subscribe:b no more").expect("news");
        ledger.ask(1);
        assert!(!ledger.all_replied() && ledger.take_refusal().is_none());
        assert_eq!(ledger.take_withdrawn().expect("it has").text, "no more");
    }

    #[test]
    fn a_refused_message_is_covered_by_the_next_receipt() {
        let mut ledger = Ledger::default();
        ledger.publish();
        told(&mut ledger, "ERROR denied publish:1 no").expect("a refusal");
        assert_eq!((ledger.outstanding(), ledger.refused()), (1, 1));
        told(&mut ledger, "PUBACK 1 0").expect("a receipt");
        assert_eq!(ledger.outstanding(), 0);
    }

    #[test]
    fn a_refused_line_answers_all_its_filters() {
        let mut ledger = Ledger::default();
        ledger.ask(2);
        told(&mut ledger, "ERROR too-long line send less").expect("a refusal");
        assert!(ledger.all_replied());
        assert!(ledger.is_line_refused());
    }

    #[test]
    fn an_unasked_bye_and_a_full_broker_end_the_conversation() {
        let mut ledger = Ledger::default();
        assert!(matches!(told(&mut ledger, "BYE"), Err(Error::Stopping)));
        let full = told(&mut ledger, "ERROR busy line come back later");
        assert!(matches!(full, Err(Error::Busy(text)) if text == "come back later"));
        ledger.leave();
        told(&mut ledger, "BYE").expect("the answer");
        assert!(ledger.has_left());
    }
}
