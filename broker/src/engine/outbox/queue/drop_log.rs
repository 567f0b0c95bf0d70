//! What an outbox remembers of what it dropped: when, and on which topics at least how much.
//!
//! It is for operators who ask why a message did not come. The exact number is in the tally. Here only
//! the beginning of what is dropped is looked at, so that dropping stays cheap.

use crate::clock::Moment;

/// How many topics are remembered, those with the latest drops.
const MOST_TOPICS: usize = 16;

/// How much of what is dropped at a time is looked at.
const LOOK_BYTES: usize = 64 * 1024;
const LOOK_MESSAGES: usize = 256;

/// Drops of one outbox.
pub(crate) struct DropLog {
    pub(crate) last: Moment,
    topics: Vec<TopicDrops>,
}

/// What was dropped on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TopicDrops {
    topic: Box<[u8]>,
    at_least: u64,
    last: Moment,
}

impl DropLog {
    /// None so far; `now` is when the first is going to be noted.
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            last: now,
            topics: Vec::new(),
        }
    }

    /// Notes what is dropped. `first` tells how long the first message of some is, `topic_of` on which
    /// topic it is.
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

    /// At least how much was dropped on this topic, and when the last of it.
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

    /// Messages are `<topic>:<text>;`.
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
