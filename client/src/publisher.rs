//! Publishing without waiting for each receipt.

use std::os::fd::AsFd;
use std::time::Duration;

use protocol::{Attributes, Reached, Topic, Verb};

use crate::clock;
use crate::error::{Error, Refusal};
use crate::exchange::Exchange;
use crate::levels::lowest;

/// Default window. Large enough to hide the round trip to another continent for small messages.
const WINDOW: u64 = 1024;

/// How many bytes are buffered before they are sent.
const BATCH_BYTES: usize = 64 * 1024;

/// Publishes with a window of messages without a receipt; from
/// [`Client::publisher`](crate::Client::publisher).
///
/// [`finish`](Self::finish) waits for the remaining receipts. If a publisher is dropped instead,
/// buffered messages are sent with the client's next call, and the outstanding receipts count
/// against the window of the next publisher.
///
/// The client may subscribe to what it publishes: messages that arrive meanwhile are kept, up to 64
/// MiB; beyond that they are dropped and counted, as a broker does for a client that does not read.
/// See [`Message::missed`](crate::Message::missed).
///
/// ```
/// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
/// # let address = broker.local_addr();
/// # std::thread::spawn(move || broker.run());
/// let mut client = client::Client::connect(address)?;
/// let mut publisher = client.publisher();
/// for n in 0..10_000 {
///     publisher.publish("numbers", n.to_string())?;
/// }
/// let receipt = publisher.finish()?;
/// assert_eq!((receipt.published, receipt.refused), (10_000, 0));
/// # Ok::<(), client::Error>(())
/// ```
#[derive(Debug)]
pub struct Publisher<'c> {
    exchange: &'c mut Exchange,
    window: u64,
    published_before: u64,
    copies_before: u64,
    refused_before: u64,
}

/// The outcome of the messages of a [`Publisher`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Number of messages sent.
    pub published: u64,
    /// Number of copies for subscribers.
    pub copies: u64,
    /// Number of refused messages.
    pub refused: u64,
    /// The first refusal.
    pub first_refusal: Option<Refusal>,
    /// How safe the messages are that asked for it with the attribute [`ACK`](crate::ACK): the lowest level of all,
    /// and the position of the last that is kept. `None` if none asked, or if the broker did not say it of each of
    /// them, as one does that does not know the attribute.
    ///
    /// A broker publishes a message that it does not keep, whatever level was asked for. A publisher that needs a
    /// level has to compare:
    ///
    /// ```
    /// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
    /// # let address = broker.local_addr();
    /// # std::thread::spawn(move || broker.run());
    /// use client::AckLevel;
    ///
    /// let mut attributes = client::Attributes::default();
    /// attributes.push_flag(client::RETAIN).expect("a key");
    /// attributes.push(client::ACK, AckLevel::Disk.as_str().as_bytes()).expect("a key");
    ///
    /// let mut client = client::Client::connect(address)?;
    /// let mut publisher = client.publisher();
    /// publisher.publish_with("attic", "21.5", &attributes)?;
    /// let reached = publisher.finish()?.reached.expect("this broker knows levels");
    /// // This one has no store, so it keeps nothing.
    /// assert!(reached.level < AckLevel::Disk);
    /// assert_eq!((reached.level, reached.position), (AckLevel::Mem, None));
    /// # Ok::<(), client::Error>(())
    /// ```
    pub reached: Option<Reached>,
}

impl Receipt {
    /// Adds the outcome of later messages. The level is the lower one; there is none if it is unknown of either.
    pub fn add(&mut self, later: Self) {
        self.reached = match (self.reached, later.reached) {
            (Some(before), Some(later)) => Some(lowest(before, later)),
            // Of no message there is nothing to be known.
            (before, None) if later.accepted() == 0 => before,
            (None, later) if self.accepted() == 0 => later,
            _ => None,
        };
        self.published += later.published;
        self.copies += later.copies;
        self.refused += later.refused;
        self.first_refusal = self.first_refusal.take().or(later.first_refusal);
    }

    fn accepted(&self) -> u64 {
        self.published.saturating_sub(self.refused)
    }
}

impl<'c> Publisher<'c> {
    pub(crate) fn new(exchange: &'c mut Exchange) -> Self {
        let ledger = &mut exchange.conversation.ledger;
        ledger.take_refusal();
        ledger.take_reached();
        Self {
            window: WINDOW,
            published_before: ledger.published(),
            copies_before: ledger.copies(),
            refused_before: ledger.refused(),
            exchange,
        }
    }

    /// Sets the window: up to `messages` without a receipt, at least one.
    #[must_use]
    pub fn window(mut self, messages: u64) -> Self {
        self.window = messages.max(1);
        self
    }

    /// Publishes; waits first until the window has room.
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> Result<(), Error> {
        self.publish_with(topic, payload, &Attributes::default())
    }

    /// Publishes with attributes; waits first until the window has room.
    pub fn publish_with(
        &mut self,
        topic: &str,
        payload: impl AsRef<[u8]>,
        attributes: &Attributes<'_>,
    ) -> Result<(), Error> {
        let topic = Topic::parse(topic).map_err(Error::BadTopic)?;
        self.make_room()?;
        self.exchange
            .conversation
            .publish(topic, payload.as_ref(), attributes.clone());
        if self.exchange.conversation.unsent() >= BATCH_BYTES {
            self.exchange.conversation.send();
            self.wait_for_unsent_below(BATCH_BYTES)?;
        }
        Ok(())
    }

    /// Waits until a full window is half empty, so that both sides work in batches.
    fn make_room(&mut self) -> Result<(), Error> {
        if self.exchange.conversation.ledger.outstanding() < self.window {
            return Ok(());
        }
        let half = self.window / 2;
        self.exchange.wait_for(Verb::Publish, |conversation| {
            conversation.ledger.outstanding() <= half
        })
    }

    /// Waits until all bytes are sent, but not for receipts.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.exchange.conversation.send();
        self.wait_for_unsent_below(1)
    }

    fn wait_for_unsent_below(&mut self, bytes: usize) -> Result<(), Error> {
        self.exchange
            .wait_for(Verb::Publish, |conversation| conversation.unsent() < bytes)
    }

    /// Sends what was published, then only answers the broker's PINGs for `time`.
    pub fn rest(&mut self, time: Duration) -> Result<(), Error> {
        self.exchange.serve(Some(clock::after(time)), None)
    }

    /// Sends what was published and serves the connection until `input` is readable: for callers
    /// that publish what they read from another source.
    pub fn wait_for_input(&mut self, input: impl AsFd) -> Result<(), Error> {
        self.exchange.serve(None, Some(input.as_fd()))
    }

    /// Waits for all receipts and adds them up.
    pub fn finish(mut self) -> Result<Receipt, Error> {
        self.settle()?;
        Ok(self.receipt())
    }

    /// Waits for all receipts.
    pub fn settle(&mut self) -> Result<(), Error> {
        self.exchange.settle()
    }

    /// How many messages, counted from the first, have a receipt or a refusal.
    pub fn answered(&self) -> u64 {
        let answered = self.exchange.conversation.ledger.answered();
        answered.saturating_sub(self.published_before)
    }

    /// What is known so far, also after the connection was lost. Counted as published are the
    /// [`answered`](Self::answered) messages.
    pub fn receipt(self) -> Receipt {
        let published = self.answered();
        let ledger = &mut self.exchange.conversation.ledger;
        Receipt {
            published,
            copies: ledger.copies() - self.copies_before,
            refused: ledger.refused() - self.refused_before,
            first_refusal: ledger.take_refusal(),
            reached: ledger.take_reached(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::ops::ControlFlow;
    use std::thread;

    use protocol::{ACK, AckLevel};

    use super::*;
    use crate::Client;
    use crate::message::Delivery;
    use crate::scripted::{Peer, ScriptedBroker};

    fn check(script: impl FnOnce(&mut Peer) + Send + 'static, client: impl FnOnce(&mut Client)) {
        let broker = ScriptedBroker::start();
        let mut one = Client::connect(broker.address()).expect("a connection");
        let broker = thread::spawn(move || script(&mut broker.accept()));
        client(&mut one);
        drop(one);
        broker.join().expect("the script was played");
    }

    #[test]
    fn a_full_window_waits_for_receipts() {
        check(
            |peer| {
                for n in 1..=4 {
                    peer.expect(&format!("PUBLISH a {n}"));
                }
                peer.say("PUBACK 2 5").expect("PUBLISH a 5");
                peer.say("ERROR denied publish:5 no").say("PUBACK 5 1");
            },
            |client| {
                let mut publisher = client.publisher().window(4);
                for n in 1..=5 {
                    publisher.publish("a", n.to_string()).expect("room");
                }
                let receipt = publisher.finish().expect("receipts");
                assert_eq!((receipt.published, receipt.copies), (5, 6));
                assert_eq!(receipt.refused, 1);
                let first = receipt.first_refusal.expect("a refusal");
                assert_eq!(first.subject, "publish:5");
            },
        );
    }

    #[test]
    fn receipts_of_a_dropped_publisher_do_not_count_for_the_next_message() {
        check(
            |peer| {
                peer.expect("PUBLISH a 1").say("PUBACK 1 7");
                peer.expect("PUBLISH a 2").say("PUBACK 2 1");
            },
            |client| {
                client.publisher().publish("a", "1").expect("room");
                assert_eq!(client.publish("a", "2").expect("a receipt"), 1);
            },
        );
    }

    #[test]
    fn a_receipt_says_the_lowest_level_of_its_messages() {
        check(
            |peer| {
                peer.expect("@ack=disk PUBLISH a 1").expect("PUBLISH a 2");
                peer.say("@level=os;pos=k3f9.2:7 PUBACK 2 0");
                peer.expect("@ack=disk PUBLISH a 3");
                peer.say("@level=disk;pos=k3f9.2:8 PUBACK 3 0");
            },
            |client| {
                let mut asks = Attributes::default();
                asks.push(ACK, b"disk").expect("a key");
                let mut publisher = client.publisher();
                publisher.publish_with("a", "1", &asks).expect("room");
                publisher.publish("a", "2").expect("room");
                let first = publisher.finish().expect("receipts");
                let mut publisher = client.publisher();
                publisher.publish_with("a", "3", &asks).expect("room");
                let second = publisher.finish().expect("receipts");
                let reached = second.reached.expect("a level");
                assert_eq!(reached.level, AckLevel::Disk);
                let mut both = Receipt::default();
                both.add(first);
                both.add(second);
                let lower = Reached {
                    level: AckLevel::Os,
                    ..reached
                };
                assert_eq!(both.reached, Some(lower));
            },
        );
    }

    #[test]
    fn a_level_that_is_unknown_of_some_messages_is_unknown_of_all() {
        let reached = Reached {
            level: AckLevel::Disk,
            position: None,
        };
        let of = |published, reached| Receipt {
            published,
            reached,
            ..Receipt::default()
        };
        for (first, second, expected) in [
            (of(0, None), of(1, Some(reached)), Some(reached)),
            (of(1, Some(reached)), of(0, None), Some(reached)),
            (of(1, None), of(1, Some(reached)), None),
            (of(1, Some(reached)), of(1, None), None),
        ] {
            let mut both = first;
            both.add(second);
            assert_eq!(both.reached, expected);
        }
    }

    // This broker echoes every message and stops reading until the echo is read: with both socket
    // buffers full, a client that only writes would wait for ever.
    #[test]
    fn a_client_that_receives_its_own_messages_does_not_deadlock() {
        const MESSAGES: u64 = 200;
        let payload = vec![b'x'; 256 * 1024];
        let sent = payload.clone();
        check(
            |peer| {
                for n in 1..=MESSAGES {
                    let mut line = peer.line();
                    line[..7].copy_from_slice(b"MESSAGE");
                    peer.send(&line).say("").say(&format!("PUBACK {n} 1"));
                }
            },
            move |client| {
                let mut publisher = client.publisher();
                for _ in 0..MESSAGES {
                    publisher.publish("a", &sent).expect("room");
                }
                assert_eq!(publisher.finish().expect("receipts").copies, MESSAGES);
                let mut came = 0;
                let take = |delivery: Delivery<'_>| {
                    let Delivery::Message { payload: each, .. } = delivery else {
                        panic!("nothing is dropped below the limit");
                    };
                    assert_eq!(each.as_line(), payload);
                    came += 1;
                    ControlFlow::Continue(())
                };
                let _ = client.take_ready(take);
                assert_eq!(came, MESSAGES);
            },
        );
    }

    #[test]
    fn waiting_for_input_sends_buffered_messages() {
        let (input, mut other) = std::io::pipe().expect("a pipe");
        check(
            move |peer| {
                peer.expect("PUBLISH a 1").say("PING").expect("PONG");
                other.write_all(b"go on").expect("a reader");
                peer.say("PUBACK 1 0");
            },
            |client| {
                let mut publisher = client.publisher();
                publisher.publish("a", "1").expect("room");
                publisher.wait_for_input(&input).expect("a connection");
                assert_eq!(publisher.finish().expect("receipts").published, 1);
            },
        );
    }
}
