//! Counts of requests and answers on one connection.
//!
//! Answers arrive in the order of the requests, so two counts are enough to know which request an
//! answer belongs to, even if it arrives late.

use protocol::{Reached, Reply, Subject};

use crate::error::{Error, Refusal};
use crate::levels::Levels;

/// The counts of one connection.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    published: u64,
    answered: u64,
    copies: u64,
    refused: u64,
    /// How many of `refused` the last PUBACK covers.
    refused_covered: u64,
    /// The number of the first message that asked for a level. All PUBACKs from there on say one.
    first_asking: Option<u64>,
    /// What they have said since it was taken.
    levels: Levels,
    /// SUBSCRIBE and UNSUBSCRIBE, counted by filters, and WILL, NAME, AUTH and QUIET.
    asked: u64,
    replied: u64,
    /// The broker sends no receipts.
    quiet: bool,
    pings: u64,
    pongs: u64,
    /// The first refusal that has not been taken.
    refusal: Option<Refusal>,
    /// Those of filters that have not been taken.
    refused_filters: Vec<Refusal>,
    /// Why a subscription has ended that had been granted, if it has not been taken.
    withdrawn: Option<Refusal>,
    leaving: bool,
    left: bool,
    /// The broker has answered what the client has shown.
    is_known: bool,
}

impl Ledger {
    /// Counts a PUBLISH that `asks` for a level or not.
    pub(crate) fn publish(&mut self, asks: bool) {
        self.published += 1;
        if asks {
            self.first_asking.get_or_insert(self.published);
        }
        if self.quiet {
            self.answered = self.published;
            if asks {
                self.levels.add(None);
            }
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
                answered,
                copies,
                reached,
            } => {
                let before = self.answered;
                self.answered = answered.clamp(self.answered, self.published);
                self.copies = self.copies.saturating_add(copies);
                self.take_level(self.answered - before, reached);
            }
            Reply::SubAck { .. }
            | Reply::UnsubAck { .. }
            | Reply::WillAck { .. }
            | Reply::NameAck { .. }
            | Reply::QuietAck => self.reply(),
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
            | Reply::Current { .. }
            | Reply::End { .. }
            | Reply::Ping { .. }
            | Reply::Help { .. } => {}
        }
        Ok(())
    }

    /// Counts an answer that is neither a receipt nor a refusal.
    pub(crate) fn reply(&mut self) {
        self.replied += 1;
    }

    /// Takes what a PUBACK says about the level of the messages that it is the first to cover.
    fn take_level(&mut self, covered: u64, reached: Option<Reached>) {
        let refused = self.refused - self.refused_covered;
        self.refused_covered = self.refused;
        let is_asked = self.first_asking.is_some_and(|it| it <= self.answered);
        // There is no level of messages that were refused.
        if reached.is_some() || is_asked && covered > refused {
            self.levels.add(reached);
        }
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
            Subject::Subscribe(_) => {
                self.replied += 1;
                self.refused_filters.push(refusal.clone());
            }
            Subject::Unsubscribe(_) => self.replied += 1,
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

    /// The refusals of filters since this was last called.
    pub(crate) fn take_refused_filters(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refused_filters)
    }

    /// How safe the messages are whose receipts have come since this was last called, see
    /// [`Receipt::reached`](crate::Receipt::reached).
    pub(crate) fn take_reached(&mut self) -> Option<Reached> {
        self.levels.take()
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
    use protocol::AckLevel;

    use super::*;

    fn told(ledger: &mut Ledger, line: &str) -> Result<(), Error> {
        ledger.take(Reply::decode(line.as_bytes()).expect("a reply"))
    }

    #[test]
    fn one_receipt_may_cover_many_messages() {
        let mut ledger = Ledger::default();
        (0..5).for_each(|_| ledger.publish(false));
        told(&mut ledger, "PUBACK 3 6").expect("a receipt");
        assert_eq!((ledger.outstanding(), ledger.copies()), (2, 6));
        told(&mut ledger, "PUBACK 5 1").expect("a receipt");
        assert_eq!((ledger.outstanding(), ledger.copies()), (0, 7));
    }

    #[test]
    fn a_receipt_beyond_the_published_messages_is_clamped() {
        let mut ledger = Ledger::default();
        ledger.publish(false);
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
        ledger.publish(false);
        told(&mut ledger, "ERROR denied publish:1 no").expect("a refusal");
        assert_eq!((ledger.outstanding(), ledger.refused()), (1, 1));
        told(&mut ledger, "PUBACK 1 0").expect("a receipt");
        assert_eq!(ledger.outstanding(), 0);
    }

    /// What the ledger says after these receipts of four messages, of which the second and later ones asked for a level.
    #[track_caller]
    fn check_level(lines: &[&str], level: Option<AckLevel>) {
        let mut ledger = Ledger::default();
        ledger.publish(false);
        (0..3).for_each(|_| ledger.publish(true));
        for line in lines {
            told(&mut ledger, line).expect("an answer");
        }
        assert_eq!(ledger.take_reached().map(|it| it.level), level, "{lines:?}");
        assert_eq!(ledger.take_reached(), None);
    }

    #[test]
    fn the_level_of_messages_is_the_lowest_of_their_receipts() {
        check_level(&["PUBACK 1 0"], None);
        check_level(
            &["PUBACK 1 0", "@level=disk PUBACK 4 0"],
            Some(AckLevel::Disk),
        );
        let lower = [
            "PUBACK 1 0",
            "@level=os PUBACK 3 0",
            "@level=disk PUBACK 4 0",
        ];
        check_level(&lower, Some(AckLevel::Os));
    }

    #[test]
    fn messages_that_asked_have_no_level_if_a_receipt_does_not_say_it() {
        check_level(&["PUBACK 4 0"], None);
        check_level(
            &["PUBACK 1 0", "@level=disk PUBACK 3 0", "PUBACK 4 0"],
            None,
        );
        check_level(&["PUBACK 1 0", "@level=paper PUBACK 4 0"], None);
    }

    #[test]
    fn a_receipt_of_refused_messages_alone_needs_no_level() {
        let refused = [
            "PUBACK 1 0",
            "@level=disk PUBACK 3 0",
            "ERROR no-room publish:4 clear some",
            "PUBACK 4 0",
        ];
        check_level(&refused, Some(AckLevel::Disk));
    }

    #[test]
    fn without_receipts_there_is_no_level() {
        let mut ledger = Ledger::default();
        ledger.publish(true);
        told(&mut ledger, "@level=disk PUBACK 1 0").expect("a receipt");
        ledger.be_quiet();
        ledger.publish(true);
        assert_eq!(ledger.take_reached(), None);
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
