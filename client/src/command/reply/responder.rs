//! Takes requests and publishes answers. It takes only as many requests as it can handle at a time;
//! the others wait in the receive buffer. Answers that are ready are published together.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use client::{Client, Delivery, Error, Interrupt, RETAINED};

use crate::exit::Failure;
use crate::stderr::say;

use super::request::{ReplyMessage, Request};
use super::workers::Workers;

/// How many answers are collected before they are sent.
const BATCH: usize = 1024;

/// The requests and answers in progress.
#[derive(Debug)]
pub(super) struct Responder {
    source: AnswerSource,
    answers: Vec<ReplyMessage>,
    /// How many more requests to take; `None` for all.
    left: Option<u64>,
}

/// Where the answers come from.
#[derive(Debug)]
enum AnswerSource {
    Text(Vec<u8>),
    Command(Workers),
}

impl Responder {
    /// Answers `count` requests, or all, with a text.
    pub(super) fn with_text(text: &OsStr, count: Option<u64>) -> Self {
        Self::new(AnswerSource::Text(text.as_bytes().to_vec()), count)
    }

    /// Answers `count` requests, or all, with what a command prints; runs up to `jobs` at a
    /// time. `interrupt` ends the commands, and then [`Self::serve`].
    pub(super) fn with_command(
        command: &OsStr,
        jobs: u64,
        count: Option<u64>,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let workers = Workers::spawn(command, jobs, interrupt)?;
        Ok(Self::new(AnswerSource::Command(workers), count))
    }

    fn new(source: AnswerSource, count: Option<u64>) -> Self {
        Self {
            source,
            answers: Vec::new(),
            left: count,
        }
    }

    /// Answers over this connection until the wanted number of requests is answered.
    pub(super) fn serve(&mut self, client: &mut Client) -> Result<(), Error> {
        loop {
            let taken = self.take(client)?;
            let sent = self.send(client)?;
            if self.is_done() {
                return if self.is_stopping() {
                    Err(Error::Interrupted)
                } else {
                    Ok(())
                };
            }
            if taken + sent == 0 {
                self.wait(client)?;
            }
        }
    }

    /// Takes as many deliveries as there is room for; returns how many.
    fn take(&mut self, client: &mut Client) -> Result<usize, Error> {
        if !self.has_room() {
            return Ok(0);
        }
        client.take_ready(|delivery| {
            self.accept(&delivery);
            if self.has_room() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
    }

    fn accept(&mut self, delivery: &Delivery<'_>) {
        match delivery {
            Delivery::Gap { count } => say(format_args!(
                "client: {count} messages were dropped here because this client was too slow"
            )),
            // A retained message was published before this subscription and is not a request.
            Delivery::Message { attributes, .. } if attributes.contains(RETAINED) => {}
            // It does not ask for the past.
            Delivery::Incomplete { .. } | Delivery::Current { .. } | Delivery::End { .. } => {}
            Delivery::Message {
                topic,
                payload,
                attributes,
            } => {
                self.left = self.left.map(|left| left - 1);
                let request = Request::new(*topic, payload, attributes);
                match &mut self.source {
                    AnswerSource::Text(text) => {
                        self.answers.extend(request.answer(text.clone(), None))
                    }
                    AnswerSource::Command(workers) => workers.start(request),
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        let is_free = match &self.source {
            AnswerSource::Text(_) => self.answers.len() < BATCH,
            AnswerSource::Command(workers) => workers.has_room(),
        };
        is_free && self.left != Some(0)
    }

    /// Publishes the answers that are ready; returns how many requests are done.
    fn send(&mut self, client: &mut Client) -> Result<usize, Error> {
        let mut ended = 0;
        if let AnswerSource::Command(workers) = &mut self.source {
            while let Some(answer) = workers.next_ended() {
                ended += 1;
                self.answers.extend(answer);
            }
        }
        let sent = self.answers.len();
        if sent > 0 {
            let mut publisher = client.publisher();
            for answer in self.answers.drain(..) {
                answer.publish(&mut publisher)?;
            }
            if let Some(refusal) = publisher.finish()?.first_refusal {
                say(format_args!("client: an answer was refused: {refusal}"));
            }
        }
        Ok(ended.max(sent))
    }

    fn is_done(&self) -> bool {
        let is_idle = match &self.source {
            AnswerSource::Text(_) => true,
            AnswerSource::Command(workers) => workers.is_idle(),
        };
        is_idle && (self.left == Some(0) || self.is_stopping())
    }

    fn is_stopping(&self) -> bool {
        match &self.source {
            AnswerSource::Text(_) => false,
            AnswerSource::Command(workers) => workers.is_stopping(),
        }
    }

    /// Waits until a command ends or, if there is room, a request arrives.
    fn wait(&self, client: &mut Client) -> Result<(), Error> {
        match &self.source {
            AnswerSource::Text(_) => client.wait(None).map(drop),
            AnswerSource::Command(workers) if self.has_room() => {
                client.wait_with(Some(workers.as_fd()), None).map(drop)
            }
            // Without room, the wait serves the connection and buffers deliveries.
            AnswerSource::Command(workers) => client.publisher().wait_for_input(workers),
        }
    }
}
