//! A chat session from joining to leaving: handles deliveries and input, and reconnects when the
//! connection is lost. It is the same for every user interface.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use client::{Attributes, Client, Error, ID, Woken};

use super::connect::{self, Connector, ReconnectEvent, Reconnecting, retain};
use super::input::{self, Input};
use super::line::ChatLine;
use super::pending::OutgoingMessage;
use super::room::{Room, RoomEvent};
use super::topics::RoomTopics;
use super::ui::Ui;
use crate::exit::Stop;
use crate::interruption::wait_for_any;
use crate::reconnect::{Pauses, is_worth_another_try};

/// A chat session.
pub(crate) struct ChatSession<F> {
    connector: Connector,
    room: Room,
    connection: ConnectionState,
    ui: F,
    input: VecDeque<String>,
    /// Whether there may be deliveries in the receive buffer, which do not end a wait.
    has_more: bool,
    is_leaving: bool,
}

/// The connection to the broker.
enum ConnectionState {
    Up {
        client: Box<Client>,
        since: Instant,
        /// The backoff for the next loss.
        pauses: Pauses,
    },
    /// The thread that reconnects, and why the connection was lost.
    Down {
        reconnecting: Reconnecting,
        reason: String,
    },
}

impl<F: Ui> ChatSession<F> {
    /// Creates a session for a client that has just joined.
    pub(crate) fn new(connector: Connector, room: Room, client: Client, ui: F) -> Self {
        Self {
            connector,
            room,
            connection: up(Box::new(client), Pauses::new()),
            ui,
            input: VecDeque::new(),
            has_more: false,
            is_leaving: false,
        }
    }

    /// Runs until the user leaves; returns how many messages could not be sent.
    pub(crate) fn run(mut self) -> Result<usize, Stop> {
        self.greet()?;
        loop {
            self.take_deliveries()?;
            self.run_input()?;
            self.post_pending()?;
            let status = self.room.status(self.connection.down_reason());
            self.ui.refresh(&status)?;
            if self.is_over() {
                return Ok(self.leave());
            }
            self.wait()?;
        }
    }

    /// Shows the greeting, and then what has happened in the room meanwhile.
    fn greet(&mut self) -> Result<(), Stop> {
        let (events, result) = self.take_events();
        self.ui.show(self.room.greeting())?;
        self.handle(events)?;
        self.settle(result)
    }

    fn take_deliveries(&mut self) -> Result<(), Stop> {
        self.has_more = false;
        self.check_reconnecting()?;
        let (events, result) = self.take_events();
        self.handle(events)?;
        self.settle(result)
    }

    /// Handles received deliveries without waiting, also those before an error.
    fn take_events(&mut self) -> (Vec<RoomEvent>, Result<(), Error>) {
        let mut events = Vec::new();
        let ConnectionState::Up { client, .. } = &mut self.connection else {
            return (events, Ok(()));
        };
        let taken = client.take_ready(|delivery| {
            events.extend(self.room.hear(&delivery));
            ControlFlow::Continue(())
        });
        self.has_more |= taken.as_ref().is_ok_and(|taken| *taken > 0);
        (events, taken.map(drop))
    }

    fn handle(&mut self, events: Vec<RoomEvent>) -> Result<(), Stop> {
        for event in events {
            match event {
                RoomEvent::Show(line) => self.ui.show(line)?,
                RoomEvent::Announce => {
                    let topic = self.room.topics().presence_topic();
                    let presence = self.room.presence_payload();
                    self.ask(|client| client.post(&topic, presence, &retain()))?;
                }
                RoomEvent::Recount => {
                    self.room.forget_people();
                    let filter = self.room.topics().presence_filter();
                    self.ask(|client| client.subscribe(&filter))?;
                }
            }
        }
        Ok(())
    }

    /// Handles the broker's receipts and refusals.
    fn settle(&mut self, result: Result<(), Error>) -> Result<(), Stop> {
        if let ConnectionState::Up { client, .. } = &mut self.connection {
            let refusal = client.take_refusal();
            let account = client.account();
            for line in self.room.settle(&account, refusal.as_ref()) {
                self.ui.show(line)?;
            }
        }
        result.or_else(|error| self.handle_loss(error))
    }

    /// Makes a request if there is a connection. A lost connection is not an error.
    fn ask<T>(
        &mut self,
        request: impl FnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<(), Stop> {
        // Deliveries before the answer are in the buffer.
        self.has_more = true;
        match &mut self.connection {
            ConnectionState::Up { client, .. } => match request(client) {
                Ok(_) => Ok(()),
                Err(error) => self.handle_loss(error),
            },
            ConnectionState::Down { .. } => Ok(()),
        }
    }

    /// Starts to reconnect, if that can help.
    fn handle_loss(&mut self, error: Error) -> Result<(), Stop> {
        let ConnectionState::Up { since, pauses, .. } = &mut self.connection else {
            return Ok(());
        };
        if !is_worth_another_try(&error) {
            return Err(error.into());
        }
        pauses.connection_held(since.elapsed());
        let pauses = std::mem::replace(pauses, Pauses::new());
        let reason = format!("lost the broker: {error}");
        self.ui
            .show(ChatLine::notice(format_args!("{reason}; looking for it")))?;
        for line in self.room.pending.lose() {
            self.ui.show(line)?;
        }
        let reconnecting = connect::reconnect(self.connector.clone(), &self.room, pauses, error)?;
        self.connection = ConnectionState::Down {
            reconnecting,
            reason,
        };
        Ok(())
    }

    fn check_reconnecting(&mut self) -> Result<(), Stop> {
        while let ConnectionState::Down {
            reconnecting,
            reason,
        } = &mut self.connection
        {
            match reconnecting.next() {
                None => break,
                Some(ReconnectEvent::Retrying(text)) => *reason = text,
                Some(ReconnectEvent::GivenUp(error)) => return Err(error.into()),
                Some(ReconnectEvent::Connected { client, pauses }) => {
                    self.connection = up(client, pauses);
                    self.room.forget_people();
                    let again = "found the broker again; messages may have been missed meanwhile";
                    self.ui.show(ChatLine::notice(again))?;
                    self.greet()?;
                }
            }
        }
        Ok(())
    }

    /// Runs the typed lines that can be run now.
    fn run_input(&mut self) -> Result<(), Stop> {
        if self.input.is_empty() && self.ui.has_ended() {
            self.is_leaving = true;
        }
        while !self.is_leaving
            && let Some(line) = self.input.pop_front()
        {
            if !self.run_line(&line)? {
                self.input.push_front(line);
                break;
            }
        }
        Ok(())
    }

    /// Runs a line; returns `false` if it has to wait.
    fn run_line(&mut self, line: &str) -> Result<bool, Stop> {
        if !self.room.pending.has_room() {
            return Ok(false);
        }
        // Earlier messages must be sent before the room or the nick changes.
        let is_settled = self.room.pending.is_empty();
        let is_up = matches!(self.connection, ConnectionState::Up { .. });
        let id = || format!("{:016x}", fastrand::u64(..));
        match input::parse(line) {
            Input::Nothing => {}
            Input::Say(text) => self.room.say(id(), text),
            Input::Private { to, text } => self.room.say_to(id(), &to, text),
            Input::Help => self.show(input::HELP)?,
            Input::Wrong(why) => self.show(&why)?,
            Input::Leave if is_settled || !is_up && self.ui.is_impatient() => {
                self.is_leaving = true;
            }
            Input::Leave => return Ok(false),
            Input::Who | Input::Join(_) | Input::Nick(_) if !is_up => {
                if !self.ui.is_impatient() {
                    return Ok(false);
                }
                self.show("there is no connection to the broker; try again when it is found")?;
            }
            Input::Who | Input::Join(_) | Input::Nick(_) if !is_settled => return Ok(false),
            Input::Who => self.ui.show(self.room.who())?,
            Input::Join(room) => {
                let nick = self.room.topics().nick.clone();
                self.change(RoomTopics { room, nick })?;
            }
            Input::Nick(nick) => {
                let room = self.room.topics().room.clone();
                self.change(RoomTopics { room, nick })?;
            }
        }
        Ok(true)
    }

    fn show(&mut self, notice: &str) -> Result<(), Stop> {
        Ok(self.ui.show(ChatLine::notice(notice))?)
    }

    /// Changes the room or the nick.
    fn change(&mut self, to: RoomTopics) -> Result<(), Stop> {
        let from = self.room.topics().clone();
        if from == to {
            let RoomTopics { room, nick } = to;
            return self.show(&format!("you are {nick} in {room} already"));
        }
        let taken = self.room.is_taken(&to.nick);
        let mut changed = Ok(());
        if let ConnectionState::Up { client, .. } = &mut self.connection {
            changed = Connector::switch(client, &self.room, &to);
        }
        if from.room == to.room {
            self.rename(to, taken)?;
        } else {
            self.room.move_to(to);
            self.greet()?;
        }
        changed.or_else(|error| self.handle_loss(error))
    }

    fn rename(&mut self, to: RoomTopics, taken: Option<ChatLine>) -> Result<(), Stop> {
        // Messages that have arrived may be private messages to the old nick.
        let (events, result) = self.take_events();
        let named = ChatLine::notice(format_args!("you are now called {}", to.nick));
        self.room.move_to(to);
        self.handle(events)?;
        self.ui.show(named)?;
        if let Some(taken) = taken {
            self.ui.show(taken)?;
        }
        self.settle(result)
    }

    fn post_pending(&mut self) -> Result<(), Stop> {
        let ConnectionState::Up { client, .. } = &mut self.connection else {
            return Ok(());
        };
        let pending = &mut self.room.pending;
        loop {
            let account = client.account();
            let Some(OutgoingMessage {
                id, topic, payload, ..
            }) = pending.next(&account)
            else {
                return Ok(());
            };
            let mut attributes = Attributes::default();
            attributes.push(ID, id.as_bytes()).expect("it is a key");
            let number = client.post(topic, payload, &attributes)?;
            pending.mark_posted(number, &account);
        }
    }

    fn is_over(&self) -> bool {
        self.is_leaving
            && (self.room.pending.is_empty()
                || matches!(self.connection, ConnectionState::Down { .. })
                    && self.ui.is_impatient())
    }

    /// Clears our presence and disconnects. If that fails, the will clears it.
    fn leave(self) -> usize {
        if let ConnectionState::Up { mut client, .. } = self.connection {
            if self.room.is_announced() {
                let _ = client.post(&self.room.topics().presence_topic(), "", &retain());
            }
            let _ = client.close();
        }
        self.room.pending.unconfirmed().count()
    }

    /// Waits for a delivery, for input, or for the thread that reconnects.
    fn wait(&mut self) -> Result<(), Stop> {
        let is_up = matches!(self.connection, ConnectionState::Up { .. });
        let is_ready = is_up && self.input.is_empty();
        let input = self.ui.input(is_ready && !self.is_leaving);
        let has_input = match &mut self.connection {
            ConnectionState::Up { client, .. } => {
                let timeout = self.has_more.then_some(Duration::ZERO);
                match client.wait_with(input, timeout) {
                    Ok(woken) => woken == Woken::Input,
                    Err(error) => return self.handle_loss(error),
                }
            }
            ConnectionState::Down { reconnecting, .. } => {
                let inputs = [Some(reconnecting.as_fd()), input];
                let [_, has_input] = wait_for_any(inputs, None, &self.connector.interrupt)?;
                has_input
            }
        };
        if has_input {
            self.input.extend(self.ui.read()?);
        }
        Ok(())
    }
}

impl ConnectionState {
    fn down_reason(&self) -> Option<&str> {
        match self {
            Self::Up { .. } => None,
            Self::Down { reason, .. } => Some(reason),
        }
    }
}

fn up(client: Box<Client>, pauses: Pauses) -> ConnectionState {
    ConnectionState::Up {
        client,
        since: Instant::now(),
        pauses,
    }
}
