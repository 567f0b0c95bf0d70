//! Messages typed here that are not confirmed yet: waiting to be sent, or in flight.
//!
//! A message to the room is shown when its copy arrives, in the order of the broker. A random
//! attribute identifies our own copies. A private message has no copy; it is shown when its receipt
//! reports at least one subscriber.

use std::collections::VecDeque;

use client::{Account, Refusal};

use super::line::ChatLine;

/// Maximum number of waiting messages, and of messages in flight.
const MAX_PENDING: usize = 256;

/// A typed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutgoingMessage {
    /// A random id.
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) payload: String,
    /// The line to show.
    pub(crate) line: ChatLine,
}

impl OutgoingMessage {
    fn is_private(&self) -> bool {
        matches!(self.line, ChatLine::Private { .. })
    }
}

#[derive(Debug)]
struct InFlight {
    message: OutgoingMessage,
    /// The number of its PUBLISH on the connection.
    number: u64,
    copies_before: u64,
    /// Whether it was shown because its copy has arrived.
    is_shown: bool,
}

/// Unconfirmed messages in order.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    waiting: VecDeque<OutgoingMessage>,
    in_flight: VecDeque<InFlight>,
}

impl Pending {
    pub(crate) fn push(&mut self, message: OutgoingMessage) {
        self.waiting.push_back(message);
    }

    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_PENDING
    }

    /// Whether every message is confirmed.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// The next message to publish, if it may be sent now. A private message is sent alone, so that
    /// its receipt counts only its own copies.
    pub(crate) fn next(&self, account: &Account) -> Option<&OutgoingMessage> {
        let message = self.waiting.front()?;
        let may_leave = match self.in_flight.back() {
            Some(last) if last.message.is_private() => false,
            _ if message.is_private() => account.outstanding() == 0,
            _ => self.in_flight.len() < MAX_PENDING,
        };
        may_leave.then_some(message)
    }

    /// Marks the next message as published; `account` is from before, `number` is its own.
    pub(crate) fn mark_posted(&mut self, number: u64, account: &Account) {
        let message = self.waiting.pop_front();
        self.in_flight.extend(message.map(|message| InFlight {
            message,
            number,
            copies_before: account.copies,
            is_shown: false,
        }));
    }

    /// Handles a received message with this id. `Some` if it is the copy of one of ours, with the
    /// line to show.
    pub(crate) fn take_copy(&mut self, id: &[u8], payload: &[u8]) -> Option<Option<ChatLine>> {
        // Another client could reuse an id with another text; such a message is not ours.
        let ours = self.in_flight.iter_mut().find(|posted| {
            let message = &posted.message;
            message.id.as_bytes() == id && message.payload.as_bytes() == payload
        })?;
        if ours.message.is_private() || ours.is_shown {
            return Some(None);
        }
        ours.is_shown = true;
        Some(Some(ours.message.line.clone()))
    }

    /// Handles receipts and a refusal; returns the lines to show. `is_here` says whether a nick has
    /// a presence.
    pub(crate) fn settle(
        &mut self,
        account: &Account,
        refusal: Option<&Refusal>,
        is_here: impl Fn(&str) -> bool,
    ) -> Vec<ChatLine> {
        let mut lines = Vec::new();
        while let Some(posted) = self
            .in_flight
            .pop_front_if(|posted| posted.number <= account.answered)
        {
            let InFlight {
                message,
                number,
                copies_before,
                is_shown,
            } = posted;
            let subject = format!("publish:{number}");
            let refused = refusal.filter(|refusal| refusal.subject == subject);
            lines.extend(match (refused, &message.line) {
                (Some(refusal), line) => {
                    let text = &refusal.text;
                    Some(ChatLine::notice(format_args!(
                        "not sent: {}; {text}",
                        line.text()
                    )))
                }
                (None, ChatLine::Private { to, .. })
                    if account.copies == copies_before && is_here(to) =>
                {
                    Some(ChatLine::notice(format_args!(
                        "{to} is here but takes no private messages; say it to the room"
                    )))
                }
                (None, ChatLine::Private { to, .. }) if account.copies == copies_before => {
                    Some(ChatLine::notice(format_args!(
                        "nobody here is called {to}, so nobody got that; /who says who is here"
                    )))
                }
                (None, _) if is_shown => None,
                // A private message, or one whose copy was dropped in a gap.
                (None, _) => Some(message.line),
            });
        }
        lines
    }

    /// The connection is lost: notices about messages that may not have arrived.
    pub(crate) fn lose(&mut self) -> Vec<ChatLine> {
        let doubtful = self.in_flight.drain(..).filter(|posted| !posted.is_shown);
        doubtful
            .map(|posted| {
                let text = posted.message.line.text().to_owned();
                ChatLine::notice(format_args!("this may not have arrived: {text}"))
            })
            .collect()
    }

    /// The lines of messages that are not confirmed.
    pub(crate) fn unconfirmed(&self) -> impl Iterator<Item = &ChatLine> {
        let posted = self.in_flight.iter().filter(|posted| !posted.is_shown);
        posted
            .map(|posted| &posted.message)
            .chain(&self.waiting)
            .map(|message| &message.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(id: &str) -> OutgoingMessage {
        let line = ChatLine::Said {
            nick: "ann".to_owned(),
            text: id.to_owned(),
            own: true,
        };
        OutgoingMessage {
            id: id.to_owned(),
            topic: "lobby".to_owned(),
            payload: id.to_owned(),
            line,
        }
    }

    fn private(id: &str) -> OutgoingMessage {
        let [from, to] = ["ann", "bob"].map(str::to_owned);
        let line = ChatLine::Private {
            from,
            to,
            text: id.to_owned(),
            own: true,
        };
        OutgoingMessage {
            line,
            topic: "$private/bob/lobby".to_owned(),
            ..said(id)
        }
    }

    fn account(published: u64, answered: u64, copies: u64) -> Account {
        Account {
            published,
            answered,
            copies,
        }
    }

    /// Publishes all messages that may be sent; returns their ids.
    fn post(pending: &mut Pending, account: &mut Account) -> Vec<String> {
        let mut ids = Vec::new();
        while let Some(message) = pending.next(account) {
            ids.push(message.id.clone());
            account.published += 1;
            pending.mark_posted(account.published, account);
        }
        ids
    }

    #[test]
    fn a_message_is_shown_once_when_its_copy_comes() {
        let mut pending = Pending::default();
        pending.push(said("a"));
        let mut now = account(0, 0, 0);
        assert_eq!(post(&mut pending, &mut now), ["a"]);
        assert_eq!(pending.unconfirmed().count(), 1);
        assert_eq!(pending.take_copy(b"a", b"a"), Some(Some(said("a").line)));
        assert_eq!(pending.take_copy(b"a", b"a"), Some(None));
        assert_eq!(pending.unconfirmed().count(), 0);
        assert_eq!(pending.settle(&account(1, 1, 1), None, |_| false), []);
        assert!(pending.is_empty());
    }

    #[test]
    fn the_message_of_another_client_is_not_our_copy() {
        let mut pending = Pending::default();
        pending.push(said("a"));
        post(&mut pending, &mut account(0, 0, 0));
        assert_eq!(pending.take_copy(b"a", b"something else"), None);
        assert_eq!(pending.take_copy(b"b", b"a"), None);
    }

    #[test]
    fn a_message_without_its_copy_is_shown_when_its_receipt_arrives() {
        let mut pending = Pending::default();
        pending.push(said("a"));
        post(&mut pending, &mut account(0, 0, 0));
        assert_eq!(pending.settle(&account(1, 0, 0), None, |_| false), []);
        assert_eq!(
            pending.settle(&account(1, 1, 3), None, |_| false),
            [said("a").line]
        );
    }

    #[test]
    fn a_private_message_is_sent_alone_and_its_receipt_counts_recipients() {
        let mut pending = Pending::default();
        for message in [said("a"), private("b"), private("c"), said("d")] {
            pending.push(message);
        }
        let mut now = account(0, 0, 0);
        assert_eq!(post(&mut pending, &mut now), ["a"]);
        pending.take_copy(b"a", b"a");
        now = account(1, 1, 2);
        assert_eq!(pending.settle(&now, None, |_| false), []);
        assert_eq!(post(&mut pending, &mut now), ["b"]);
        now = account(2, 2, 3);
        assert_eq!(pending.settle(&now, None, |_| false), [private("b").line]);
        assert_eq!(post(&mut pending, &mut now), ["c"]);
        now = account(3, 3, 3);
        let [ChatLine::Notice(notice)] = &pending.settle(&now, None, |_| false)[..] else {
            panic!("one notice");
        };
        assert!(notice.starts_with("nobody here is called bob"), "{notice}");
        pending.push(private("e"));
        assert_eq!(post(&mut pending, &mut now), ["d"]);
        now = account(4, 4, 4);
        pending.settle(&now, None, |_| true);
        assert_eq!(post(&mut pending, &mut now), ["e"]);
        now = account(5, 5, 4);
        let lines = pending.settle(&now, None, |nick| nick == "bob");
        let told = "bob is here but takes no private messages; say it to the room";
        assert_eq!(lines, [ChatLine::notice(told)]);
    }

    #[test]
    fn a_refused_message_says_why() {
        let mut pending = Pending::default();
        pending.push(said("a"));
        post(&mut pending, &mut account(0, 0, 0));
        let refusal = Refusal {
            code: "too-long".to_owned(),
            subject: "publish:1".to_owned(),
            text: "send less".to_owned(),
        };
        let lines = pending.settle(&account(1, 1, 0), Some(&refusal), |_| false);
        assert_eq!(lines, [ChatLine::notice("not sent: a; send less")]);
    }

    #[test]
    fn after_a_loss_unanswered_messages_are_doubtful_and_the_rest_waits() {
        let mut pending = Pending::default();
        for message in [said("a"), said("b"), private("c")] {
            pending.push(message);
        }
        post(&mut pending, &mut account(0, 0, 0));
        pending.take_copy(b"a", b"a");
        assert_eq!(
            pending.lose(),
            [ChatLine::notice("this may not have arrived: b")]
        );
        let mut again = account(0, 0, 0);
        assert_eq!(post(&mut pending, &mut again), ["c"]);
    }
}
