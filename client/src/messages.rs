//! Messages one by one.

use crate::client::Client;
use crate::error::Error;
use crate::message::Message;

/// The messages of a client's subscriptions as they come, from [`Client::messages`].
#[derive(Debug)]
pub struct Messages<'c> {
    client: &'c mut Client,
    ended: bool,
}

impl<'c> Messages<'c> {
    pub(crate) fn new(client: &'c mut Client) -> Self {
        Self {
            client,
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
        let next = self.client.next_message(None).transpose();
        self.ended = matches!(next, Some(Err(_)) | None);
        next
    }
}
