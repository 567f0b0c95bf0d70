//! One publishing connection: its next message, and how far it may be ahead of subscribers.

use std::time::Duration;

use super::failure::BenchFailure;
use super::flow::Flow;
use super::frames::Frames;
use super::layout::Layout;
use super::link::BenchLink;

/// The length of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    Time(Duration),
    /// Number of messages of all publishers together.
    Count(u64),
}

/// A publisher.
#[derive(Debug)]
pub(crate) struct BenchPublisher<'a> {
    pub(crate) link: BenchLink,
    pub(crate) frames: Frames,
    pub(crate) number: usize,
    pub(crate) flow: &'a Flow,
    layout: &'a Layout,
    topics: Vec<usize>,
    /// The index in `topics` and the number of the next message.
    place: usize,
    sequence: u64,
    published: u64,
    /// The end, in nanoseconds and in messages.
    until_ns: u64,
    budget: u64,
    /// How many messages a subscriber may be behind.
    room: u64,
    patience: Duration,
}

impl<'a> BenchPublisher<'a> {
    pub(crate) fn new(
        number: usize,
        link: BenchLink,
        frames: Frames,
        layout: &'a Layout,
        flow: &'a Flow,
    ) -> Self {
        Self {
            link,
            frames,
            number,
            flow,
            layout,
            topics: layout.published_by(number),
            place: 0,
            sequence: 0,
            published: 0,
            until_ns: u64::MAX,
            budget: u64::MAX,
            room: u64::MAX,
            patience: Duration::MAX,
        }
    }

    /// Sets the end to its share of `extent`.
    pub(crate) fn ending(mut self, extent: Extent) -> Self {
        match extent {
            Extent::Time(time) => self.until_ns = time.as_nanos() as u64,
            Extent::Count(count) => {
                let all = self.layout.publishers;
                self.budget = super::layout::share(count, all, self.number);
            }
        }
        self
    }

    /// Limits it to `room` messages ahead of any subscriber; gives up if none receives anything for
    /// `patience`.
    pub(crate) fn keeping(mut self, room: u64, patience: Duration) -> Self {
        self.room = room;
        self.patience = patience;
        self
    }

    /// Number of published messages.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// Number of messages it may still publish; zero when its time is over.
    pub(crate) fn left(&self) -> u64 {
        if self.flow.is_stopped() || self.flow.now_ns() >= self.until_ns {
            0
        } else {
            self.budget - self.published
        }
    }

    /// Waits until the subscribers of the next `count` messages have room; `false` if the run ends
    /// first.
    pub(crate) fn wait_for_room(&self, count: usize) -> bool {
        let watched = if self.layout.spread { count } else { 1 };
        (0..watched.min(self.topics.len())).all(|ahead| {
            let topic = self.topics[(self.place + ahead) % self.topics.len()];
            self.flow.wait_for_room(topic, self.room, self.patience)
        })
    }

    /// Fails if there was no acknowledgement for too long.
    pub(crate) fn check_patience(&self, quiet_ns: u64) -> Result<(), BenchFailure> {
        if u128::from(quiet_ns) > self.patience.as_nanos() {
            return Err(BenchFailure::Silent(self.patience));
        }
        Ok(())
    }

    /// Publishes the next `count` messages, at most as many as there are frames.
    pub(crate) fn publish(&mut self, count: usize) -> Result<(), BenchFailure> {
        for index in 0..count {
            let topic = self.topics[self.place];
            let turn = self.published + index as u64;
            self.frames.set(index, topic, self.sequence, turn);
            if self.layout.spread {
                self.flow.add_published(topic, 1);
            }
            self.place += 1;
            if self.place == self.topics.len() {
                self.place = 0;
                self.sequence += 1;
            }
        }
        if !self.layout.spread {
            self.flow.add_published(0, count as u64);
        }
        self.published += count as u64;
        self.link.send(self.frames.first(count))
    }
}
