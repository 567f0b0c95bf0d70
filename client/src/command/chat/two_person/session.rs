//! A chat of two from its beginning to its end: the socket, the user interface, and the state between
//! them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use client::{Interrupt, reason};

use super::conversation::{BYE, ChatEffect, Conversation, Ending, peer_is};
use super::endpoint::{Arrival, MAX_DATAGRAM_BYTES, UdpEndpoint};
use crate::command::chat::input::{self, Input};
use crate::command::chat::line::ChatLine;
use crate::command::chat::ui::{ChatStatus, Ui};
use crate::exit::Stop;
use crate::interruption::wait_for_any;

/// Maximum arrivals between two looks at the input.
const MAX_ARRIVALS: usize = 64;

const HELP: &str = "\
/help           this list
/quit, or bye   say bye and leave
//TEXT          say /TEXT";

/// A chat of two.
pub(crate) struct TwoPersonSession<U> {
    endpoint: UdpEndpoint,
    /// Where it listens, as the user knows the place.
    place: String,
    conversation: Conversation,
    ui: U,
    input: VecDeque<String>,
    interrupt: Interrupt,
}

impl<U: Ui> TwoPersonSession<U> {
    pub(crate) fn new(
        endpoint: UdpEndpoint,
        place: String,
        conversation: Conversation,
        ui: U,
        interrupt: Interrupt,
    ) -> Self {
        Self {
            endpoint,
            place,
            conversation,
            ui,
            input: VecDeque::new(),
            interrupt,
        }
    }

    /// Runs until one of the two leaves.
    pub(crate) fn run(mut self) -> Result<Ending, Stop> {
        let greeting = match self.conversation.peer() {
            Some(peer) => peer_is(peer.address),
            None => format!("waiting for the first message at {}", self.place),
        };
        self.show(greeting)?;
        loop {
            self.take_arrivals()?;
            self.run_input()?;
            self.ui.refresh(&self.status())?;
            if let Some(ending) = self.conversation.ending(Instant::now()) {
                return Ok(ending);
            }
            self.wait()?;
        }
    }

    fn status(&self) -> ChatStatus<'static> {
        let nick = self.conversation.nick();
        let (title, hint) = match self.conversation.peer() {
            Some(peer) => (
                format!("{} · {nick}", peer.address),
                "say something, or /help".to_owned(),
            ),
            None => (
                format!("{} · {nick} · waiting", self.place),
                "the first that writes is the peer; bye leaves".to_owned(),
            ),
        };
        let pending = Vec::new();
        ChatStatus {
            title,
            hint,
            pending,
        }
    }

    fn take_arrivals(&mut self) -> Result<(), Stop> {
        for _ in 0..MAX_ARRIVALS {
            let now = Instant::now();
            if self.conversation.ending(now).is_some() {
                break;
            }
            match self.endpoint.next() {
                None => break,
                Some(Arrival::Datagram { from, bytes }) => {
                    for effect in self.conversation.handle(&bytes, from, now) {
                        match effect {
                            ChatEffect::Show(line) => self.ui.show(line)?,
                            // It is lost like any datagram if it cannot be sent.
                            ChatEffect::Send { text, to } => {
                                let _ = self.endpoint.send(text.as_bytes(), &to);
                            }
                        }
                    }
                }
                Some(Arrival::Bounced { to, bytes, why }) => {
                    let why = reason(&why);
                    let told = self.conversation.handle_bounce(to, &bytes, why, now);
                    told.map_or(Ok(()), |line| self.ui.show(line))?;
                }
            }
        }
        Ok(())
    }

    /// Runs the typed lines that can be run now.
    fn run_input(&mut self) -> Result<(), Stop> {
        while self.conversation.is_open()
            && let Some(line) = self.input.pop_front()
        {
            if !self.run_line(&line)? {
                self.input.push_front(line);
                return Ok(());
            }
        }
        let has_ended = self.ui.has_ended() && self.conversation.is_open();
        // What a pipe has said is for a peer that may still come, and so is its end.
        if has_ended && (self.conversation.peer().is_some() || self.ui.is_impatient()) {
            self.leave()?;
        }
        Ok(())
    }

    /// Runs a line; returns `false` if it has to wait for the peer.
    fn run_line(&mut self, line: &str) -> Result<bool, Stop> {
        match input::parse(line) {
            Input::Nothing => {}
            Input::Say(_) if self.conversation.peer().is_none() => {
                if !self.ui.is_impatient() {
                    return Ok(false);
                }
                self.show("not sent: there is no peer yet; the first that writes is the peer")?;
            }
            Input::Say(text) if text.len() > MAX_DATAGRAM_BYTES => {
                let size = text.len();
                self.show(format!(
                    "not sent: {size} bytes, and a datagram holds at most {MAX_DATAGRAM_BYTES}; \
                     say it in parts"
                ))?;
            }
            Input::Say(text) => self.say(text)?,
            Input::Leave => self.leave()?,
            Input::Help => self.show(HELP)?,
            Input::Who | Input::Private { .. } | Input::Join(_) | Input::Nick(_) => {
                self.show_commands()?;
            }
            Input::Wrong(_) => self.show_commands()?,
        }
        Ok(true)
    }

    fn show_commands(&mut self) -> Result<(), Stop> {
        self.show(
            "in a chat of two there are /help and /quit alone; to say a line that begins with /, \
             type // for it",
        )
    }

    fn show(&mut self, notice: impl Into<String>) -> Result<(), Stop> {
        Ok(self.ui.show(ChatLine::Notice(notice.into()))?)
    }

    fn say(&mut self, text: &str) -> Result<(), Stop> {
        let sent = self.send(text);
        let line = self.conversation.sent(text);
        match sent {
            Ok(()) => Ok(self.ui.show(line)?),
            Err(error) => self.bounce(text, &error),
        }
    }

    fn leave(&mut self) -> Result<(), Stop> {
        let sent = self.send(BYE);
        self.conversation.left(Instant::now());
        sent.or_else(|error| self.bounce(BYE, &error))
    }

    /// Sends a text to the peer, if there is one.
    fn send(&self, text: &str) -> io::Result<()> {
        let peer = self.conversation.peer();
        peer.map_or(Ok(()), |peer| self.endpoint.send(text.as_bytes(), &peer))
    }

    /// A text that this machine could not even send.
    fn bounce(&mut self, text: &str, error: &io::Error) -> Result<(), Stop> {
        let (now, why) = (Instant::now(), reason(error));
        if let Some(peer) = self.conversation.peer() {
            let chat = &mut self.conversation;
            let told = chat.handle_bounce(peer.address, text.as_bytes(), why, now);
            told.map_or(Ok(()), |line| self.ui.show(line))?;
        }
        Ok(())
    }

    /// Waits for an arrival, for input, or for the end.
    fn wait(&mut self) -> Result<(), Stop> {
        let is_ready = self.input.is_empty();
        // Nothing more is said, and a terminal that is gone would be readable all the time.
        let is_open = self.conversation.is_open();
        let input = is_open.then(|| self.ui.input(is_ready)).flatten();
        let inputs = [Some(self.endpoint.as_fd()), input];
        let timeout = self.conversation.time_left(Instant::now());
        let [_, has_input] = wait_for_any(inputs, timeout, &self.interrupt)?;
        if has_input {
            self.input.extend(self.ui.read()?);
        }
        Ok(())
    }
}
