//! Publishes many messages, over as many connections as that takes: after a lost connection it goes
//! on with the first message that has no receipt.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use client::{Attributes, Error, Interrupt, Receipt};

use crate::exit::Failure;
use crate::lines::Lines;
use crate::reconnect::Pauses;
use crate::stderr::say;
use crate::units::messages;
use crate::wire::{Sender, Target, Wire};

/// The beginning of each sentence about a failure of `publish`.
pub(super) const FAILED: &str = "your message publishing failed";

/// When messages without a receipt take more than this, it waits for their receipts.
const UNANSWERED_BYTES: usize = 64 * 1024 * 1024;

/// The messages to publish.
pub(super) enum Input {
    /// One message, this many more times, with a pause between two.
    Repeated {
        message: Vec<u8>,
        left: u64,
        delay: Option<Duration>,
        is_first: bool,
    },
    /// One for each line.
    Lines {
        input: File,
        lines: Lines,
        is_at_end: bool,
    },
}

/// Why it stopped early.
#[derive(Debug)]
enum FeedError {
    Input(io::Error),
    Connection(Error),
}

impl From<Error> for FeedError {
    fn from(error: Error) -> Self {
        Self::Connection(error)
    }
}

impl Input {
    pub(super) fn lines(input: File) -> Self {
        Self::Lines {
            input,
            lines: Lines::new(),
            is_at_end: false,
        }
    }

    pub(super) fn repeated(message: Vec<u8>, times: u64, delay: Option<Duration>) -> Self {
        Self::Repeated {
            message,
            left: times,
            delay,
            is_first: true,
        }
    }

    /// The next message. The connection is served while it waits for one.
    fn next(&mut self, sender: &mut Sender<'_>) -> Result<Option<Vec<u8>>, FeedError> {
        match self {
            Self::Repeated {
                message,
                left,
                delay,
                is_first,
            } => {
                if *left == 0 {
                    return Ok(None);
                }
                if let (Some(delay), false) = (delay, *is_first) {
                    sender.rest(*delay)?;
                }
                *left -= 1;
                *is_first = false;
                Ok(Some(message.clone()))
            }
            Self::Lines {
                input,
                lines,
                is_at_end,
            } => loop {
                if let Some(line) = lines.next().map_err(FeedError::Input)? {
                    return Ok(Some(line.to_vec()));
                }
                if *is_at_end {
                    return Ok(None);
                }
                sender.wait_for_input(&*input)?;
                if !lines.fill(&mut *input).map_err(FeedError::Input)? {
                    *is_at_end = true;
                    return Ok(lines.rest().map(<[u8]>::to_vec));
                }
            },
        }
    }
}

/// What is published, and how far that has come.
pub(super) struct Feed<'a> {
    topic: &'a str,
    attributes: Attributes<'static>,
    input: Input,
    unanswered: VecDeque<Vec<u8>>,
    unanswered_bytes: usize,
    /// How many messages of this connection have left `unanswered`.
    answered: u64,
    /// Of connections that have ended.
    receipt: Receipt,
}

impl<'a> Feed<'a> {
    pub(super) fn new(topic: &'a str, attributes: Attributes<'static>, input: Input) -> Self {
        Self {
            topic,
            attributes,
            input,
            unanswered: VecDeque::new(),
            unanswered_bytes: 0,
            answered: 0,
            receipt: Receipt::default(),
        }
    }

    /// Publishes all. If the connection is lost and `retry`, it reconnects; `cannot_read` is the
    /// failure of the input. Every failure says how many messages have a receipt.
    pub(super) fn run(
        mut self,
        mut wire: Wire,
        target: &Target,
        interrupt: &Interrupt,
        retry: bool,
        cannot_read: impl Fn(&io::Error) -> Failure,
    ) -> Result<Receipt, Failure> {
        let mut pauses = Pauses::of_publisher();
        loop {
            let start = Instant::now();
            let failure = match self.feed(&mut wire) {
                Ok(()) => {
                    wire.close();
                    return Ok(self.receipt);
                }
                Err(FeedError::Connection(lost)) if retry && lost.is_disconnect() => {
                    pauses.connection_held(start.elapsed());
                    let again = || target.again().connect(interrupt);
                    let tell = |text| say(format_args!("client: {text}"));
                    match pauses.reconnect(&lost, interrupt, None, again, tell) {
                        Ok(connected) => {
                            wire = connected.expect("there is no deadline");
                            continue;
                        }
                        Err(error) => Failure::of(&error, FAILED),
                    }
                }
                Err(FeedError::Connection(error)) => Failure::of(&error, FAILED),
                Err(FeedError::Input(error)) => cannot_read(&error),
            };
            return Err(match (self.receipt.published, self.unanswered.len()) {
                (0, 0 | 1) => failure,
                (count, _) => failure.and(format_args!("; published before: {}", messages(count))),
            });
        }
    }

    /// Publishes over one connection, until all have a receipt or it fails.
    fn feed(&mut self, wire: &mut Wire) -> Result<(), FeedError> {
        let mut sender = wire.sender();
        self.answered = 0;
        let fed = self.feed_sender(&mut sender);
        let receipt = sender.receipt();
        self.forget_answered(receipt.published);
        self.receipt.add(receipt);
        fed
    }

    fn feed_sender(&mut self, sender: &mut Sender<'_>) -> Result<(), FeedError> {
        for message in &self.unanswered {
            sender.publish(self.topic, message, &self.attributes)?;
        }
        while let Some(message) = self.input.next(sender)? {
            // Kept first: a connection that breaks from here on must not take it along.
            self.unanswered_bytes += message.len();
            self.unanswered.push_back(message);
            let is_full = self.unanswered_bytes > UNANSWERED_BYTES;
            if is_full {
                sender.settle()?;
            }
            if is_full || self.unanswered.len().is_multiple_of(256) {
                self.forget_answered(sender.answered());
            }
            let message = self.unanswered.back().expect("it has no receipt yet");
            sender.publish(self.topic, message, &self.attributes)?;
        }
        sender.settle()?;
        Ok(())
    }

    /// `answered` is the number of messages of this connection, counted from the first, with a
    /// receipt.
    fn forget_answered(&mut self, answered: u64) {
        while self.answered < answered {
            self.answered += 1;
            let message = self.unanswered.pop_front();
            self.unanswered_bytes -= message.map_or(0, |message| message.len());
        }
    }
}
