//! Sends frames over a connection, sorts the replies, and answers the broker's PINGs.

use std::fmt::Display;
use std::net::ToSocketAddrs;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use protocol::{
    ACK, Attributes, Credential, DecodeError, Decoder, Escaped, Filters, Name, Reply, Request,
    Topic,
};

use crate::connection::LineConnection;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::link::Woken;
use crate::message::Delivery;
use crate::options::Options;

/// Maximum line length. A broker may be configured for longer lines than the default; this limit
/// only guards against a peer that never ends its line.
const MAX_LINE_BYTES: usize = 1024 * 1024 * 1024;

/// A connection with the counts of its requests and answers.
#[derive(Debug)]
pub(crate) struct Conversation {
    connection: LineConnection,
    decoder: Decoder,
    pub(crate) ledger: Ledger,
}

impl Conversation {
    pub(crate) fn open(
        server: impl ToSocketAddrs + Display,
        options: &Options,
    ) -> Result<Self, Error> {
        Ok(Self {
            connection: LineConnection::open(server, options)?,
            decoder: Decoder::new(MAX_LINE_BYTES),
            ledger: Ledger::default(),
        })
    }

    pub(crate) fn publish(&mut self, topic: Topic<'_>, payload: &[u8], attributes: Attributes<'_>) {
        self.ledger.publish(attributes.contains(ACK));
        self.connection.push(&Request::Publish {
            topic,
            payload: Escaped::escape(payload),
            attributes,
        });
    }

    pub(crate) fn subscribe(&mut self, filters: Filters<'_>, attributes: Attributes<'_>) {
        self.ledger.ask(filters.iter().count() as u64);
        self.connection.push(&Request::Subscribe {
            filters,
            attributes,
        });
    }

    pub(crate) fn unsubscribe(&mut self, filters: Filters<'_>) {
        self.ledger.ask(filters.iter().count() as u64);
        self.connection.push(&Request::Unsubscribe { filters });
    }

    pub(crate) fn will(&mut self, topic: Topic<'_>, payload: &[u8], attributes: Attributes<'_>) {
        self.ledger.ask(1);
        self.connection.push(&Request::Will {
            topic,
            payload: Escaped::escape(payload),
            attributes,
        });
    }

    pub(crate) fn name(&mut self, name: Name<'_>) {
        self.ledger.ask(1);
        self.connection.push(&Request::Name { name });
    }

    pub(crate) fn auth(&mut self, credential: Credential<'_>) {
        self.ledger.ask(1);
        let credential = Some(credential);
        self.connection.push(&Request::Auth { credential });
    }

    /// Overwrites what was sent. Nothing may wait to be sent.
    pub(crate) fn wipe_sent(&mut self) {
        self.connection.wipe_sent();
    }

    pub(crate) fn quiet(&mut self) {
        self.ledger.ask(1);
        self.connection.push(&Request::Quiet);
    }

    /// Sends a PING and returns its number, for [`Ledger::is_ponged`].
    pub(crate) fn ping(&mut self) -> u64 {
        let number = self.ledger.ping();
        let token = number.to_string();
        let token = token.as_bytes();
        self.connection.push(&Request::Ping { token });
        number
    }

    pub(crate) fn bye(&mut self) {
        self.ledger.leave();
        self.connection.push(&Request::Bye);
    }

    /// Sends without waiting.
    pub(crate) fn send(&mut self) {
        self.connection.send();
    }

    pub(crate) fn unsent(&self) -> usize {
        self.connection.unsent()
    }

    /// Receives without waiting; returns whether any bytes had arrived. [`Self::sort`] handles
    /// them.
    pub(crate) fn receive(&mut self) -> Result<bool, Error> {
        self.connection.receive(&mut self.decoder)
    }

    /// Sends, then waits. See [`LineConnection::wait`].
    pub(crate) fn wait(
        &mut self,
        deadline: Option<Instant>,
        input: Option<BorrowedFd<'_>>,
    ) -> Result<Woken, Error> {
        self.connection.send();
        self.connection.wait(deadline, input)
    }

    /// Handles received frames: passes deliveries to `each` until it breaks, answers PINGs and
    /// counts answers.
    pub(crate) fn sort(
        &mut self,
        mut each: impl FnMut(Delivery<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        loop {
            let reply = match self.decoder.next_reply() {
                Ok(Some(reply)) => reply,
                Ok(None) => return Ok(ControlFlow::Continue(())),
                Err(error) if is_news(&error) => continue,
                Err(error) => return Err(Error::NotTheProtocol(error)),
            };
            match Delivery::from_reply(reply) {
                Ok(delivery) => {
                    // It is an answer, too.
                    if matches!(delivery, Delivery::Incomplete { .. }) {
                        self.ledger.reply();
                    }
                    if each(delivery).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Err(Reply::Ping { token }) => self.connection.push(&Request::Pong { token }),
                Err(answer) => self.ledger.take(answer)?,
            }
        }
    }

    /// Changes whenever bytes are sent or an answer arrives.
    pub(crate) fn progress(&self) -> impl PartialEq + use<> {
        (self.connection.total_sent(), self.ledger.answers())
    }
}

/// Whether a newer broker may send this to an older client, which must ignore it.
fn is_news(error: &DecodeError) -> bool {
    matches!(
        error,
        DecodeError::UnknownVerb { .. } | DecodeError::BadAttribute { verb: None, .. }
    )
}
