//! One visit, from coming in to leaving: listens to the room, does what is typed, and goes back in
//! when the broker was lost. The same for every front.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use client::{Attributes, Client, Error, ID, Woken};

use super::door::{self, Door, News, Search, retain};
use super::front::Front;
use super::letters::Letter;
use super::line::Line;
use super::place::Place;
use super::room::{Event, Room};
use super::typed::{self, Typed};
use crate::exit::Stop;
use crate::interruption::wait_for_any;
use crate::reconnect::{Pauses, is_worth_another_try};

/// Somebody's stay in the room.
pub(crate) struct Visit<F> {
    door: Door,
    room: Room,
    link: Link,
    front: F,
    typed: VecDeque<String>,
    /// Whether there may be more to take than what can be waited for.
    has_more: bool,
    is_leaving: bool,
}

/// The way to the broker.
enum Link {
    Up {
        client: Box<Client>,
        since: Instant,
        /// How long to wait between attempts when it is lost.
        pauses: Pauses,
    },
    /// Why, and who looks for it.
    Down { search: Search, trouble: String },
}

impl<F: Front> Visit<F> {
    /// For a client that has just come in.
    pub(crate) fn new(door: Door, room: Room, client: Client, front: F) -> Self {
        Self {
            door,
            room,
            link: up(Box::new(client), Pauses::new()),
            front,
            typed: VecDeque::new(),
            has_more: false,
            is_leaving: false,
        }
    }

    /// Stays until the person leaves; how much of what was typed could not be sent.
    pub(crate) fn stay(mut self) -> Result<usize, Stop> {
        self.welcome()?;
        loop {
            self.listen()?;
            self.obey()?;
            self.post_letters()?;
            self.front.refresh(&self.room, self.link.trouble())?;
            if self.is_over() {
                return Ok(self.leave());
            }
            self.wait()?;
        }
    }

    /// Says where we are, and then what has happened there meanwhile.
    fn welcome(&mut self) -> Result<(), Stop> {
        let (events, result) = self.take_events();
        self.front.show(self.room.greeting())?;
        self.handle(events)?;
        self.settle(result)
    }

    fn listen(&mut self) -> Result<(), Stop> {
        self.has_more = false;
        self.look_for_news()?;
        let (events, result) = self.take_events();
        self.handle(events)?;
        self.settle(result)
    }

    /// Takes what has come, without waiting. What came before an error is heard too.
    fn take_events(&mut self) -> (Vec<Event>, Result<(), Error>) {
        let mut events = Vec::new();
        let Link::Up { client, .. } = &mut self.link else {
            return (events, Ok(()));
        };
        let taken = client.take_ready(|delivery| {
            events.extend(self.room.hear(&delivery));
            ControlFlow::Continue(())
        });
        self.has_more |= taken.as_ref().is_ok_and(|taken| *taken > 0);
        (events, taken.map(drop))
    }

    fn handle(&mut self, events: Vec<Event>) -> Result<(), Stop> {
        for event in events {
            match event {
                Event::Show(line) => self.front.show(line)?,
                Event::Announce => {
                    let topic = self.room.place().presence_topic();
                    let presence = self.room.presence();
                    self.ask(|client| client.post(&topic, presence, &retain()))?;
                }
                Event::Recount => {
                    self.room.forget_people();
                    let filter = self.room.place().presence_filter();
                    self.ask(|client| client.subscribe(&filter))?;
                }
            }
        }
        Ok(())
    }

    /// What the broker has answered to what we said.
    fn settle(&mut self, result: Result<(), Error>) -> Result<(), Stop> {
        if let Link::Up { client, .. } = &mut self.link {
            let refusal = client.take_refusal();
            let account = client.account();
            for line in self.room.letters.settle(&account, refusal.as_ref()) {
                self.front.show(line)?;
            }
        }
        result.or_else(|error| self.lose(error))
    }

    /// Does something with the connection, if there is one. Losing it is no error.
    fn ask<T>(
        &mut self,
        request: impl FnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<(), Stop> {
        // What came before the answer is kept aside.
        self.has_more = true;
        match &mut self.link {
            Link::Up { client, .. } => match request(client) {
                Ok(_) => Ok(()),
                Err(error) => self.lose(error),
            },
            Link::Down { .. } => Ok(()),
        }
    }

    /// Goes to look for the broker, if that can help.
    fn lose(&mut self, error: Error) -> Result<(), Stop> {
        let Link::Up { since, pauses, .. } = &mut self.link else {
            return Ok(());
        };
        if !is_worth_another_try(&error) {
            return Err(error.into());
        }
        pauses.connection_held(since.elapsed());
        let pauses = std::mem::replace(pauses, Pauses::new());
        let trouble = format!("lost the broker: {error}");
        self.front
            .show(Line::notice(format_args!("{trouble}; looking for it")))?;
        for line in self.room.letters.lose() {
            self.front.show(line)?;
        }
        let search = door::search(self.door.clone(), &self.room, pauses, error)?;
        self.link = Link::Down { search, trouble };
        Ok(())
    }

    fn look_for_news(&mut self) -> Result<(), Stop> {
        while let Link::Down { search, trouble } = &mut self.link {
            match search.next() {
                None => break,
                Some(News::Trouble(text)) => *trouble = text,
                Some(News::GivenUp(error)) => return Err(error.into()),
                Some(News::Found { client, pauses }) => {
                    self.link = up(client, pauses);
                    self.room.forget_people();
                    let again = "found the broker again; messages may have been missed meanwhile";
                    self.front.show(Line::notice(again))?;
                    self.welcome()?;
                }
            }
        }
        Ok(())
    }

    /// Does what was typed, as far as it can be done now.
    fn obey(&mut self) -> Result<(), Stop> {
        if self.typed.is_empty() && self.front.has_ended() {
            self.is_leaving = true;
        }
        while !self.is_leaving
            && let Some(line) = self.typed.pop_front()
        {
            if !self.obey_line(&line)? {
                self.typed.push_front(line);
                break;
            }
        }
        Ok(())
    }

    /// `false` if it cannot be done yet.
    fn obey_line(&mut self, line: &str) -> Result<bool, Stop> {
        if !self.room.letters.has_room() {
            return Ok(false);
        }
        // What was typed before goes to the place where it was typed, under the name of then.
        let is_settled = self.room.letters.is_empty();
        let is_up = matches!(self.link, Link::Up { .. });
        let id = || format!("{:016x}", fastrand::u64(..));
        match typed::parse(line) {
            Typed::Nothing => {}
            Typed::Say(text) => self.room.say(id(), text),
            Typed::Private { to, text } => self.room.say_to(id(), &to, text),
            Typed::Help => self.show(typed::HELP)?,
            Typed::Wrong(why) => self.show(&why)?,
            Typed::Leave if is_settled || !is_up && self.front.is_impatient() => {
                self.is_leaving = true;
            }
            Typed::Leave => return Ok(false),
            Typed::Who | Typed::Join(_) | Typed::Nick(_) if !is_up => {
                if !self.front.is_impatient() {
                    return Ok(false);
                }
                self.show("there is no connection to the broker; try again when it is found")?;
            }
            Typed::Who | Typed::Join(_) | Typed::Nick(_) if !is_settled => return Ok(false),
            Typed::Who => self.front.show(self.room.who())?,
            Typed::Join(room) => {
                let nick = self.room.place().nick.clone();
                self.change(Place { room, nick })?;
            }
            Typed::Nick(nick) => {
                let room = self.room.place().room.clone();
                self.change(Place { room, nick })?;
            }
        }
        Ok(true)
    }

    fn show(&mut self, notice: &str) -> Result<(), Stop> {
        Ok(self.front.show(Line::notice(notice))?)
    }

    /// Goes to another room, or takes another name.
    fn change(&mut self, to: Place) -> Result<(), Stop> {
        let from = self.room.place().clone();
        if from == to {
            let Place { room, nick } = to;
            return self.show(&format!("you are {nick} in {room} already"));
        }
        let taken = self.room.is_taken(&to.nick);
        let mut changed = Ok(());
        if let Link::Up { client, .. } = &mut self.link {
            changed = Door::change(client, &self.room, &to);
        }
        if from.room == to.room {
            self.rename(to, taken)?;
        } else {
            self.room.move_to(to);
            self.welcome()?;
        }
        changed.or_else(|error| self.lose(error))
    }

    fn rename(&mut self, to: Place, taken: Option<Line>) -> Result<(), Stop> {
        // What has come until now may be for the old name alone.
        let (events, result) = self.take_events();
        let named = Line::notice(format_args!("you are now called {}", to.nick));
        self.room.move_to(to);
        self.handle(events)?;
        self.front.show(named)?;
        if let Some(taken) = taken {
            self.front.show(taken)?;
        }
        self.settle(result)
    }

    fn post_letters(&mut self) -> Result<(), Stop> {
        let Link::Up { client, .. } = &mut self.link else {
            return Ok(());
        };
        let letters = &mut self.room.letters;
        loop {
            let account = client.account();
            let Some(Letter {
                id, topic, payload, ..
            }) = letters.next(&account)
            else {
                return Ok(());
            };
            let mut attributes = Attributes::default();
            attributes.push(ID, id.as_bytes()).expect("it is a key");
            let number = client.post(topic, payload, &attributes)?;
            letters.posted(number, &account);
        }
    }

    fn is_over(&self) -> bool {
        self.is_leaving
            && (self.room.letters.is_empty()
                || matches!(self.link, Link::Down { .. }) && self.front.is_impatient())
    }

    /// Takes our presence away and says goodbye. If that fails, the will does it.
    fn leave(self) -> usize {
        if let Link::Up { mut client, .. } = self.link {
            if self.room.is_announced() {
                let _ = client.post(&self.room.place().presence_topic(), "", &retain());
            }
            let _ = client.close();
        }
        self.room.letters.pending().count()
    }

    /// Waits until something comes or is typed.
    fn wait(&mut self) -> Result<(), Stop> {
        let is_up = matches!(self.link, Link::Up { .. });
        let is_ready = is_up && self.typed.is_empty();
        let input = self.front.input(is_ready && !self.is_leaving);
        let is_typed = match &mut self.link {
            Link::Up { client, .. } => {
                let timeout = self.has_more.then_some(Duration::ZERO);
                match client.wait_with(input, timeout) {
                    Ok(woken) => woken == Woken::Input,
                    Err(error) => return self.lose(error),
                }
            }
            Link::Down { search, .. } => {
                let inputs = [Some(search.as_fd()), input];
                let [_, is_typed] = wait_for_any(inputs, &self.door.interrupt)?;
                is_typed
            }
        };
        if is_typed {
            self.typed.extend(self.front.read()?);
        }
        Ok(())
    }
}

impl Link {
    fn trouble(&self) -> Option<&str> {
        match self {
            Self::Up { .. } => None,
            Self::Down { trouble, .. } => Some(trouble),
        }
    }
}

fn up(client: Box<Client>, pauses: Pauses) -> Link {
    Link::Up {
        client,
        since: Instant::now(),
        pauses,
    }
}
