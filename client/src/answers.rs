//! The answers to one request.

use std::time::Duration;

use crate::clock;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::message::Message;

/// The answers to a request as they arrive, from
/// [`Client::request_with`](crate::Client::request_with). Answers that arrive after this value was
/// dropped are dropped too.
#[derive(Debug)]
pub struct Answers<'c> {
    exchange: &'c mut Exchange,
    copies: u64,
}

impl<'c> Answers<'c> {
    pub(crate) fn new(exchange: &'c mut Exchange, copies: u64) -> Self {
        Self { exchange, copies }
    }

    /// How many subscribers got the request. If none did, there will be no answer. Always zero after
    /// [`Client::quiet`](crate::Client::quiet).
    pub fn copies(&self) -> u64 {
        self.copies
    }

    /// Whether the number of copies is not known.
    pub(crate) fn is_quiet(&self) -> bool {
        self.exchange.conversation.ledger.is_quiet()
    }

    /// The next answer; `None` if none arrives in time. Without a timeout it waits until an answer
    /// arrives or the connection ends.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Message>, Error> {
        self.exchange.next_answer(timeout.map(clock::after))
    }
}

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        if let Some(inbox) = &mut self.exchange.inbox {
            inbox.close();
        }
    }
}
