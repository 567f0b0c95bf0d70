//! The assignment of topics to publishers and subscribers.

use std::process;

use super::wire::Protocol;

/// Topics end with a number of this many digits, so that all frames of a run have one length.
pub(crate) const TOPIC_DIGITS: usize = 5;

/// Maximum number of topics with these digits.
pub(crate) const MAX_TOPICS: usize = 100_000;

/// The layout of a run. Without `spread`, every publisher publishes to all topics in turn, and
/// every subscriber subscribes to all of them. With it, each topic has one publisher and one
/// subscriber.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) topics: usize,
    pub(crate) spread: bool,
}

impl Layout {
    /// The name of a topic. It contains the process id, so that concurrent runs share no topic.
    pub(crate) fn topic(wire: &dyn Protocol, topic: usize) -> String {
        let separator = wire.separator();
        let run = process::id();
        format!("bench{separator}{run:08x}{separator}{topic:0TOPIC_DIGITS$}")
    }

    /// The number of a topic, from the digits at the end of its name.
    pub(crate) fn number(name: &[u8]) -> Option<usize> {
        let mut digits = name.last_chunk::<TOPIC_DIGITS>()?.iter();
        digits.try_fold(0, |number, digit| {
            digit
                .is_ascii_digit()
                .then(|| number * 10 + usize::from(digit - b'0'))
        })
    }

    pub(crate) fn published_by(&self, publisher: usize) -> Vec<usize> {
        if self.spread {
            (publisher..self.topics).step_by(self.publishers).collect()
        } else {
            (0..self.topics).collect()
        }
    }

    pub(crate) fn subscribed_by(&self, subscriber: usize) -> Vec<usize> {
        if self.spread {
            (subscriber..self.topics)
                .step_by(self.subscribers)
                .collect()
        } else {
            (0..self.topics).collect()
        }
    }

    /// Subscribers of one group get the same messages.
    pub(crate) fn groups(&self) -> usize {
        if self.spread { self.subscribers } else { 1 }
    }

    pub(crate) fn group_of(&self, topic: usize) -> usize {
        if self.spread {
            topic % self.subscribers
        } else {
            0
        }
    }

    /// Number of copies of each message.
    pub(crate) fn fan_out(&self) -> usize {
        if self.spread { 1 } else { self.subscribers }
    }

    /// Number of streams of a subscriber.
    pub(crate) fn streams(&self) -> usize {
        if self.spread {
            self.topics.div_ceil(self.subscribers)
        } else {
            self.topics * self.publishers
        }
    }

    /// The index of a publisher's topic among the streams of its subscribers.
    pub(crate) fn stream(&self, publisher: usize, topic: usize) -> usize {
        if self.spread {
            topic / self.subscribers
        } else {
            topic * self.publishers + publisher
        }
    }

    /// The index of a message among all messages of its publisher, from its number on its topic.
    pub(crate) fn turn(&self, publisher: usize, topic: usize, number: u64) -> u64 {
        let (place, topics) = if self.spread {
            let topics = (self.topics - publisher).div_ceil(self.publishers);
            (topic / self.publishers, topics)
        } else {
            (topic, self.topics)
        };
        number * topics as u64 + place as u64
    }
}

/// How many of `published` messages, distributed to `topics` in turn, went to the one at `place`.
pub(crate) fn share(published: u64, topics: usize, place: usize) -> u64 {
    let (topics, place) = (topics as u64, place as u64);
    published / topics + u64::from(place < published % topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(publishers: usize, subscribers: usize, topics: usize, spread: bool) -> Layout {
        Layout {
            publishers,
            subscribers,
            topics,
            spread,
        }
    }

    #[test]
    fn a_topic_is_known_by_its_last_digits() {
        assert_eq!(Layout::number(b"bench/0000abcd/00042"), Some(42));
        assert_eq!(Layout::number(b"0042"), None);
        assert_eq!(Layout::number(b"bench/x0042"), None);
    }

    #[test]
    fn without_spread_every_client_has_all_topics() {
        let layout = layout(2, 3, 2, false);
        assert_eq!(layout.published_by(1), [0, 1]);
        assert_eq!(layout.subscribed_by(2), [0, 1]);
        assert_eq!(
            (layout.groups(), layout.fan_out(), layout.streams()),
            (1, 3, 4)
        );
    }

    #[test]
    fn spread_topics_have_one_publisher_and_one_subscriber() {
        let layout = layout(2, 3, 7, true);
        assert_eq!(layout.published_by(1), [1, 3, 5]);
        assert_eq!(layout.subscribed_by(1), [1, 4]);
        assert_eq!(layout.group_of(4), 1);
        assert_eq!((layout.groups(), layout.fan_out()), (3, 1));
    }

    #[test]
    fn a_message_is_found_by_its_turn() {
        for layout in [layout(2, 3, 7, true), layout(3, 2, 4, false)] {
            for publisher in 0..layout.publishers {
                let topics = layout.published_by(publisher);
                for turn in 0..50 {
                    let topic = topics[turn % topics.len()];
                    let number = (turn / topics.len()) as u64;
                    assert_eq!(layout.turn(publisher, topic, number), turn as u64);
                }
            }
        }
    }

    #[test]
    fn the_first_topics_get_the_rest() {
        let shares: Vec<_> = (0..3).map(|place| share(8, 3, place)).collect();
        assert_eq!(shares, [3, 3, 2]);
    }
}
