//! The recent drops of an outbox: when, and at least how many on which topics.
//!
//! For operators who ask why a message did not arrive. The exact number is in the tally. Only the
//! beginning of what is dropped is examined here, so that dropping stays cheap.

use crate::clock::Moment;

/// Maximum topics remembered, those with the latest drops.
const MOST_TOPICS: usize = 16;

/// Maximum bytes examined of each drop.
const LOOK_BYTES: usize = 64 * 1024;
const LOOK_MESSAGES: usize = 256;

/// The drops of one outbox.
pub(crate) struct DropLog {
    pub(crate) last: Moment,
    topics: Vec<TopicDrops>,
}

/// The drops on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TopicDrops {
    topic: Box<[u8]>,
    at_least: u64,
    last: Moment,
}

impl DropLog {
    /// An empty log; `now` is the time of the first drop, which follows.
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            last: now,
            topics: Vec::new(),
        }
    }

    /// Notes a drop. `first` returns the length of the first message, `topic_of` the topic of a
    /// message.
    pub(crate) fn add(
        &mut self,
        messages: &[u8],
        first: fn(&[u8]) -> usize,
        topic_of: fn(&[u8]) -> &[u8],
        now: Moment,
    ) {
        self.last = now;
        let mut rest = &messages[..messages.len().min(LOOK_BYTES)];
        let (mut topic, mut count) = (&b""[..], 0);
        for _ in 0..LOOK_MESSAGES {
            if rest.is_empty() {
                break;
            }
            let (message, behind) = rest.split_at(first(rest));
            rest = behind;
            let next = topic_of(message);
            if next != topic {
                self.count(topic, count);
                (topic, count) = (next, 0);
            }
            count += 1;
        }
        self.count(topic, count);
    }

    /// The minimum number of drops on this topic, and the time of the last.
    pub(crate) fn on(&self, topic: &str) -> Option<(u64, Moment)> {
        let found = self
            .topics
            .iter()
            .find(|dropped| *dropped.topic == *topic.as_bytes())?;
        Some((found.at_least, found.last))
    }

    fn count(&mut self, topic: &[u8], messages: u64) {
        if messages == 0 || topic.is_empty() {
            return;
        }
        let last = self.last;
        if let Some(known) = self
            .topics
            .iter_mut()
            .find(|dropped| *dropped.topic == *topic)
        {
            known.at_least += messages;
            known.last = last;
            return;
        }
        if self.topics.len() == MOST_TOPICS {
            let oldest = (0..MOST_TOPICS).min_by_key(|&at| self.topics[at].last);
            self.topics.swap_remove(oldest.unwrap_or(0));
        }
        self.topics.push(TopicDrops {
            topic: topic.into(),
            at_least: messages,
            last,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages have the form `<topic>:<text>;`.
    fn add(drop_log: &mut DropLog, messages: &str, now: Moment) {
        let first = |messages: &[u8]| {
            let end = messages.iter().position(|&byte| byte == b';');
            end.map_or(messages.len(), |at| at + 1)
        };
        fn topic_of(message: &[u8]) -> &[u8] {
            let end = message.iter().position(|&byte| byte == b':');
            end.map_or(b"", |at| &message[..at])
        }
        drop_log.add(messages.as_bytes(), first, topic_of, now);
    }

    #[test]
    fn drops_are_counted_by_topic() {
        let start = Moment::now();
        let at = |ms| start.later(ms);
        let mut drop_log = DropLog::new(start);
        add(&mut drop_log, "a:1;a:2;b:3;a:4;", at(1));
        add(&mut drop_log, "b:5;", at(2));
        assert_eq!(drop_log.on("a"), Some((3, at(1))));
        assert_eq!(drop_log.on("b"), Some((2, at(2))));
        assert_eq!(drop_log.on("c"), None);
        assert_eq!(drop_log.last, at(2));
    }

    #[test]
    fn no_more_is_looked_at_than_is_cheap_and_no_more_kept_than_is_small() {
        let start = Moment::now();
        let at = |ms| start.later(ms);
        let mut drop_log = DropLog::new(start);
        add(&mut drop_log, &"a:1;".repeat(1_000_000), at(1));
        assert_eq!(drop_log.on("a"), Some((LOOK_MESSAGES as u64, at(1))));
        let long = format!("b:{};", "x".repeat(LOOK_BYTES));
        add(&mut drop_log, &long.repeat(2), at(2));
        assert_eq!(drop_log.on("b"), Some((1, at(2))));
        for number in 0..100 {
            add(&mut drop_log, &format!("{number}:1;"), at(10 + number));
        }
        assert_eq!(drop_log.topics.len(), MOST_TOPICS);
        assert_eq!(drop_log.on("99"), Some((1, at(109))));
        assert_eq!(drop_log.on("a"), None);
    }

    #[test]
    fn the_topic_whose_drops_are_oldest_makes_room() {
        let start = Moment::now();
        let at = |ms| start.later(ms);
        let mut drop_log = DropLog::new(start);
        for number in 0..MOST_TOPICS as u64 {
            add(&mut drop_log, &format!("{number}:1;"), at(number));
        }
        add(&mut drop_log, "0:2;", at(100));
        add(&mut drop_log, "new:1;", at(101));
        assert_eq!(drop_log.on("0"), Some((2, at(100))));
        assert_eq!(drop_log.on("1"), None);
        assert_eq!(drop_log.on("2"), Some((1, at(2))));
        assert_eq!(drop_log.topics.len(), MOST_TOPICS);
    }

    #[test]
    fn a_message_without_a_topic_is_no_topic() {
        let mut drop_log = DropLog::new(Moment::now());
        let later = drop_log.last.later(5);
        add(&mut drop_log, "x;a:1;x;", later);
        assert_eq!(drop_log.topics.len(), 1);
        assert_eq!(drop_log.on("a"), Some((1, later)));
        assert_eq!(drop_log.last, later);
    }
}
