//! An iterator over messages.

use crate::error::Error;
use crate::exchange::Exchange;
use crate::message::Message;

/// The messages of a client's subscriptions as they arrive, from
/// [`Client::messages`](crate::Client::messages).
#[derive(Debug)]
pub struct Messages<'c> {
    exchange: &'c mut Exchange,
    ended: bool,
}

impl<'c> Messages<'c> {
    pub(crate) fn new(exchange: &'c mut Exchange) -> Self {
        Self {
            exchange,
            ended: false,
        }
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<Message, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.exchange.next_message(None).transpose();
        self.ended = matches!(next, Some(Err(_)) | None);
        next
    }
}
