//! Waits for an answer and keeps what arrives before it.
//!
//! Messages that arrive meanwhile are kept for the caller that asks for messages, and so is the end
//! of the connection: both come out in the order of arrival. The broker's PINGs are answered during
//! every wait.

use std::fmt::Display;
use std::net::ToSocketAddrs;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use protocol::{Code, Subject, Verb};

use crate::backlog::{self, Backlog};
use crate::clock;
use crate::conversation::Conversation;
use crate::credential::Credential;
use crate::error::{Error, Refusal};
use crate::inbox::Inbox;
use crate::link::Woken;
use crate::message::{Delivery, Message};
use crate::options::Options;

/// A conversation, and what has arrived on it and was not taken yet.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) conversation: Conversation,
    backlog: Backlog,
    /// Created by the first request.
    pub(crate) inbox: Option<Inbox>,
    pub(crate) answer_timeout: Duration,
    /// Messages dropped since the last one that [`Self::next_message`] returned.
    missed: u64,
    /// How the connection ended; returned after everything that arrived before the end.
    ended: Option<Error>,
}

impl Exchange {
    pub(crate) fn open(
        server: impl ToSocketAddrs + Display,
        options: &Options,
    ) -> Result<Self, Error> {
        let mut exchange = Self {
            conversation: Conversation::open(server, options)?,
            backlog: Backlog::default(),
            inbox: None,
            answer_timeout: options.answer_timeout,
            missed: 0,
            ended: None,
        };
        if let Some(credential) = &options.credential {
            exchange.authenticate(credential)?;
        }
        Ok(exchange)
    }

    /// Says who this client is, and waits for the answer.
    fn authenticate(&mut self, credential: &Credential) -> Result<(), Error> {
        let credential = credential.on_line().map_err(|why| {
            let code = Code::Auth.as_str();
            Error::Refused(Refusal::new(code, Subject::Line, why))
        })?;
        let answered = self.ask(Verb::Auth, |conversation| conversation.auth(credential));
        self.conversation.wipe_sent();
        answered.map_err(|error| match error {
            // Others wait for their passwords to be compared, which passes.
            Error::Refused(refusal) if refusal.code == Code::TooMany.as_str() => {
                Error::Busy(refusal.text)
            }
            other => other,
        })
    }

    /// See [`crate::Client::take_ready`].
    pub(crate) fn take_ready(
        &mut self,
        mut each: impl FnMut(Delivery<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Error> {
        let mut taken = 0;
        while let Some(line) = self.backlog.pop() {
            taken += 1;
            if each(backlog::delivery(&line)).is_break() {
                return Ok(taken);
            }
        }
        if taken == 0
            && let Some(ended) = self.ended.take()
        {
            return Err(ended);
        }
        let mut each = |delivery: Delivery<'_>| match take_answer(&mut self.inbox, delivery) {
            Some(delivery) => {
                taken += 1;
                each(delivery)
            }
            None => ControlFlow::Continue(()),
        };
        let flow = self.conversation.sort(&mut each)?;
        if flow.is_continue() && self.conversation.receive()? {
            let _ = self.conversation.sort(&mut each)?;
        }
        self.conversation.send();
        // After what came before it. It may have come while this client waited for an answer.
        if taken == 0
            && let Some(withdrawn) = self.conversation.ledger.take_withdrawn()
        {
            return Err(Error::Refused(withdrawn));
        }
        Ok(taken)
    }

    /// Waits until something has arrived, `input` is readable, or the deadline passes.
    pub(crate) fn wait(
        &mut self,
        deadline: Option<Instant>,
        input: Option<BorrowedFd<'_>>,
    ) -> Result<Woken, Error> {
        self.conversation.wait(deadline, input)
    }

    /// See [`crate::Client::next_message`].
    pub(crate) fn next_message(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Message>, Error> {
        loop {
            let (mut message, mut missed) = (None, self.missed);
            let taken = self.take_ready(|delivery| match delivery.into_message(missed) {
                Err(count) => {
                    missed = missed.saturating_add(count);
                    ControlFlow::Continue(())
                }
                Ok(whole) => {
                    message = Some(whole);
                    missed = 0;
                    ControlFlow::Break(())
                }
            });
            self.missed = missed;
            if message.is_some() {
                return Ok(message);
            }
            taken?;
            if self.wait(deadline, None)? == Woken::Deadline {
                return Ok(None);
            }
        }
    }

    /// The next answer to the last request; `None` if the deadline passes first.
    pub(crate) fn next_answer(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Message>, Error> {
        self.keep_received()?;
        loop {
            if let Some(answer) = self.inbox.as_mut().and_then(Inbox::next) {
                return Ok(Some(answer));
            }
            self.check_end()?;
            if self.conversation.wait(deadline, None)? == Woken::Deadline {
                return Ok(None);
            }
            self.keep_ready()?;
        }
    }

    /// Answers the broker's PINGs until the deadline passes or `input` is readable.
    pub(crate) fn serve(
        &mut self,
        deadline: Option<Instant>,
        input: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        self.keep_received()?;
        loop {
            self.check_end()?;
            match self.conversation.wait(deadline, input)? {
                Woken::Connection => self.keep_ready()?,
                Woken::Input | Woken::Deadline => return Ok(()),
            }
        }
    }

    /// Sends a frame that is not PUBLISH and waits for all its answers. The error is the first
    /// refusal.
    pub(crate) fn ask(
        &mut self,
        verb: Verb,
        request: impl FnOnce(&mut Conversation),
    ) -> Result<(), Error> {
        self.conversation.ledger.take_refusal();
        self.conversation.ledger.take_refused_filters();
        request(&mut self.conversation);
        self.wait_for(verb, |conversation| conversation.ledger.all_replied())?;
        let refusal = self.conversation.ledger.take_refusal();
        refusal.map_or(Ok(()), |refusal| Err(Error::Refused(refusal)))
    }

    /// Sends a SUBSCRIBE and waits for all its answers. Returns the refusals of filters.
    pub(crate) fn ask_each(
        &mut self,
        request: impl FnOnce(&mut Conversation),
    ) -> Result<Vec<Refusal>, Error> {
        match self.ask(Verb::Subscribe, request) {
            Err(Error::Refused(refusal)) if refusal.subject == "line" => {
                Err(Error::Refused(refusal))
            }
            Ok(()) | Err(Error::Refused(_)) => Ok(self.conversation.ledger.take_refused_filters()),
            Err(error) => Err(error),
        }
    }

    /// Waits for the receipts of everything published so far; without receipts, until the broker has
    /// handled it.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        if self.conversation.ledger.is_quiet() {
            return self.ping();
        }
        self.wait_for(Verb::Publish, |conversation| {
            conversation.ledger.outstanding() == 0
        })
    }

    /// Waits until the broker has handled everything sent before.
    pub(crate) fn ping(&mut self) -> Result<(), Error> {
        let number = self.conversation.ping();
        self.wait_for(Verb::Ping, |conversation| {
            conversation.ledger.is_ponged(number)
        })
    }

    /// Sends and receives until `done` returns true.
    pub(crate) fn wait_for(
        &mut self,
        what: Verb,
        done: impl Fn(&Conversation) -> bool,
    ) -> Result<(), Error> {
        self.keep_received()?;
        let mut deadline = clock::after(self.answer_timeout);
        while !done(&self.conversation) {
            self.check_end()?;
            let before = self.conversation.progress();
            if self.conversation.wait(Some(deadline), None)? == Woken::Deadline {
                let after = self.answer_timeout;
                return Err(Error::NoAnswer { to: what, after });
            }
            self.keep_ready()?;
            if self.conversation.progress() != before {
                deadline = clock::after(self.answer_timeout);
            }
            if self.conversation.ledger.is_line_refused() {
                let refusal = self.conversation.ledger.take_refusal();
                return Err(Error::Refused(refusal.expect("it is there")));
            }
        }
        Ok(())
    }

    /// Receives what has arrived and keeps the messages for later.
    fn keep_ready(&mut self) -> Result<(), Error> {
        let received = self.conversation.receive();
        self.keep_received()?;
        self.hold_end(received.map(drop))
    }

    /// Keeps the messages that are in the receive buffer.
    fn keep_received(&mut self) -> Result<(), Error> {
        let sorted = self.conversation.sort(|delivery| {
            if let Some(delivery) = take_answer(&mut self.inbox, delivery) {
                self.backlog.push(delivery);
            }
            ControlFlow::Continue(())
        });
        self.hold_end(sorted.map(drop))
    }

    /// Keeps the end of the connection for later: the awaited answer may have arrived before it,
    /// and so may messages.
    fn hold_end(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        match result {
            Err(error) if error.is_disconnect() => {
                self.ended.get_or_insert(error);
                Ok(())
            }
            other => other,
        }
    }

    fn check_end(&mut self) -> Result<(), Error> {
        self.ended.take().map_or(Ok(()), Err)
    }
}

/// Puts an answer into the inbox; returns everything else.
fn take_answer<'d>(inbox: &mut Option<Inbox>, delivery: Delivery<'d>) -> Option<Delivery<'d>> {
    match inbox {
        Some(inbox) => inbox.take_answer(delivery),
        None => Some(delivery),
    }
}
