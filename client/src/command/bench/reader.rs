//! The thread that reads all subscribers.

use std::io::{self, Read};
use std::os::fd::OwnedFd;

use client::Error;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::failure::BenchFailure;
use super::flow::Flow;
use super::layout::Layout;
use super::link::{BenchLink, TICK};
use super::payload;
use super::tally::Tally;
use super::template::{Template, TemplateMatch};
use super::wire;

/// Size of one read, or four frames if that is more.
const BUFFER_BYTES: usize = 256 * 1024;

const MAX_EVENTS: usize = 1024;

/// One received message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) publisher: usize,
    pub(crate) topic: usize,
    /// The number of the message of this publisher on this topic.
    pub(crate) number: u64,
    pub(crate) payload: &'a [u8],
    pub(crate) now_ns: u64,
}

/// All subscribers with their tallies.
#[derive(Debug)]
pub(crate) struct SubscriberReader<'a> {
    links: Vec<BenchLink>,
    tallies: Vec<Tally>,
    layout: &'a Layout,
    flow: &'a Flow,
    template: Template,
    buffer: Vec<u8>,
    epoll: OwnedFd,
}

impl<'a> SubscriberReader<'a> {
    pub(crate) fn new(
        links: Vec<BenchLink>,
        layout: &'a Layout,
        flow: &'a Flow,
        size: usize,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (subscriber, link) in links.iter().enumerate() {
            let data = EventData::new_u64(subscriber as u64);
            epoll::add(&epoll, &link.stream, data, EventFlags::IN)?;
        }
        let tallies = links.iter().map(|_| Tally::new(layout.streams()));
        Ok(Self {
            tallies: tallies.collect(),
            template: Template::new(layout.topics),
            buffer: vec![0; BUFFER_BYTES.max(4 * (size + 1024))],
            links,
            layout,
            flow,
            epoll,
        })
    }

    /// Reads until the run is closed; returns the tally of each subscriber.
    pub(crate) fn run(
        mut self,
        mut on_message: impl FnMut(Arrival<'_>),
    ) -> Result<Vec<Tally>, BenchFailure> {
        let tick = Timespec::try_from(TICK).expect("a short time");
        let mut events: Vec<Event> = Vec::with_capacity(MAX_EVENTS);
        while !self.flow.is_closed() {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&tick)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(BenchFailure::Resources(error.into())),
            }
            for event in &events {
                self.read(event.data.u64() as usize, &mut on_message)?;
            }
        }
        Ok(self.tallies)
    }

    /// Reads once from one subscriber, or until there is no more to read that the poll does not report.
    fn read(
        &mut self,
        subscriber: usize,
        on_message: &mut impl FnMut(Arrival<'_>),
    ) -> Result<(), BenchFailure> {
        self.read_once(subscriber, on_message)?;
        while self.links[subscriber].stream.may_hold() {
            self.read_once(subscriber, on_message)?;
        }
        Ok(())
    }

    fn read_once(
        &mut self,
        subscriber: usize,
        on_message: &mut impl FnMut(Arrival<'_>),
    ) -> Result<(), BenchFailure> {
        let link = &mut self.links[subscriber];
        let held = link.held.len();
        if held >= self.buffer.len() {
            return Err(BenchFailure::Unexpected);
        }
        self.buffer[..held].copy_from_slice(&link.held);
        let read = match link.stream.read(&mut self.buffer[held..]) {
            Ok(0) => return Err(BenchFailure::Connection(Error::Closed)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(BenchFailure::Connection(Error::lost(error))),
        };
        let now_ns = self.flow.now_ns();
        self.take(subscriber, held + read, now_ns, on_message)?;
        let passed = self.tallies[subscriber].passed();
        self.flow.set_passed(subscriber, passed, now_ns);
        Ok(())
    }

    /// Handles the messages in the first `len` bytes of the buffer, and keeps the rest.
    fn take(
        &mut self,
        subscriber: usize,
        len: usize,
        now_ns: u64,
        on_message: &mut impl FnMut(Arrival<'_>),
    ) -> Result<(), BenchFailure> {
        let link = &mut self.links[subscriber];
        let tally = &mut self.tallies[subscriber];
        let layout = self.layout;
        let mut count = |topic: usize, payload: &[u8]| {
            let (publisher, number) = payload::number(payload)
                .filter(|(publisher, _)| *publisher < layout.publishers)
                .ok_or(BenchFailure::Unexpected)?;
            tally.push(layout.stream(publisher, topic), number);
            on_message(Arrival {
                publisher,
                topic,
                number,
                payload,
                now_ns,
            });
            Ok(())
        };
        let mut rest = &self.buffer[..len];
        let wants_receipts = link.wire.wants_receipts();
        let looks_alike = link.wire.looks_alike();
        let mut receipts = Vec::new();
        loop {
            if looks_alike {
                match self.template.match_start(rest) {
                    TemplateMatch::Message { topic, payload } => {
                        count(topic, payload)?;
                        rest = &rest[self.template.len()..];
                        continue;
                    }
                    TemplateMatch::Partial => break,
                    TemplateMatch::Unknown => {}
                }
            }
            let Some((event, len)) = link.wire.scan(rest) else {
                break;
            };
            let (frame, behind) = rest.split_at(len);
            if let wire::WireEvent::Message { topic, payload } = &event {
                let number = match looks_alike {
                    true => self.template.learn(frame, topic.clone(), payload.clone()),
                    false => {
                        Layout::number(&frame[topic.clone()]).filter(|&topic| topic < layout.topics)
                    }
                };
                count(
                    number.ok_or(BenchFailure::Unexpected)?,
                    &frame[payload.clone()],
                )?;
                if wants_receipts {
                    link.wire.receipt(frame, &mut receipts);
                }
            }
            link.handle(event, frame)?;
            rest = behind;
        }
        link.held.clear();
        link.held.extend_from_slice(rest);
        link.send_alone(&receipts)
    }
}
