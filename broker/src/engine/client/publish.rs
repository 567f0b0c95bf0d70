//! Publishing: which topics a client may use, and how a message enters the batch.
//!
//! Messages pass through the engine as lines of the line protocol. A message that can leave unchanged
//! is published from its place in the read buffer, a message of another protocol as a line written
//! beside it, and any other as a [`Message`]. All are counted here.

use std::fmt;
use std::ops::Range;

use memchr::memchr;
use protocol::{
    ACK, AckLevel, Attributes, BadAckLevel, Escaped, Filter, MessageLine, PAST, POSITION, RETAIN,
    RETAINED, Topic,
};

use super::{Client, Denied, Last, OverLimit};
use crate::auth::identity::ClientIdentity;
use crate::engine::outbox::run::PublishOptions;
use crate::engine::publish::{Added, Place};
use crate::engine::retained::Full;
use crate::storage::NotKept;

/// The buffer that a longer message needed is released after it.
const KEPT_BYTES: usize = 64 * 1024;

/// Maximum retained topics examined under one lock, for which publishers of retained messages wait.
const NAMES_PER_LOCK: usize = 1024;

/// What the attributes of a publisher do not hand on: clients take these for what the broker says, and go on from a
/// position after they were away.
pub(crate) const BROKERS_ATTRIBUTES: [&str; 5] = [ACK, RETAIN, RETAINED, POSITION, PAST];

/// A message to publish.
pub(crate) struct Message<'a> {
    pub(crate) topic: Topic<'a>,
    pub(crate) payload: Escaped<'a>,
    pub(crate) attributes: Attributes<'a>,
    /// Only `options` decide whether it is retained, never its attributes.
    pub(crate) options: PublishOptions,
}

/// Only the broker may publish on this topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BrokersOwn;

/// Why a message was not published.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PublishError {
    BrokersOwn,
    Denied(Denied),
    /// The retained messages have reached a limit.
    Full(Full),
    /// The identity of the client has as many retained messages as it may have.
    OverLimit(OverLimit),
    /// It would be retained, and the store cannot keep it.
    NotKept(NotKept),
    /// It asks for a level that there is not.
    BadAckLevel(BadAckLevel),
}

impl<'a> Message<'a> {
    /// A message of the line protocol, retained if its attributes say so.
    pub(crate) fn of_line(
        topic: Topic<'a>,
        payload: Escaped<'a>,
        attributes: Attributes<'a>,
    ) -> Self {
        let options = PublishOptions {
            retain: attributes.contains(RETAIN),
            ..PublishOptions::LINE
        };
        Self {
            topic,
            payload,
            attributes,
            options,
        }
    }
}

impl Client<'_> {
    /// Whether the client may publish on this topic. Every message is checked here before its topic
    /// enters the route cache, so topics found there need no check.
    pub(crate) fn check_topic(&self, topic: Topic<'_>) -> Result<(), PublishError> {
        self.check_own(topic)?;
        self.check_publish(topic, false)
    }

    /// Whether the client may have a will for this topic.
    pub(crate) fn check_will_topic(
        &self,
        topic: Topic<'_>,
        retain: bool,
    ) -> Result<(), PublishError> {
        self.check_own(topic)?;
        Ok(self.check_will(topic, retain)?)
    }

    fn check_own(&self, topic: Topic<'_>) -> Result<(), BrokersOwn> {
        match topic.is_brokers_own() && !is_bridge_state(topic) {
            true => Err(BrokersOwn),
            false => Ok(()),
        }
    }

    /// Whether a message is retained on this topic.
    pub(crate) fn has_retained(&self, topic: Topic<'_>) -> bool {
        self.engine.retained.read().find(topic).is_some()
    }

    /// The topics of the retained messages that a filter matches, at most this many.
    pub(crate) fn retained_topics(&self, filter: Filter<'_>, most: usize) -> Vec<String> {
        let (mut found, mut from) = (Vec::new(), String::new());
        loop {
            let retained = self.engine.retained.read();
            let next = retained.look(filter, &from, NAMES_PER_LOCK, |name, _| {
                if found.len() < most {
                    found.push(name.to_owned());
                }
            });
            match next {
                Some(next) if found.len() < most => from = next,
                _ => return found,
            }
        }
    }

    /// Adds a message to the batch; returns the number of copies. A message to be retained is delivered
    /// at once, after the messages added before it. `buffer` is the whole read buffer.
    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    pub(crate) fn publish(
        &mut self,
        buffer: &[u8],
        message: Message<'_>,
    ) -> Result<u64, PublishError> {
        self.check_own(message.topic)?;
        self.check_publish(message.topic, message.options.retain)?;
        let copies = self.publish_allowed(buffer, message, None)?;
        Ok(copies + self.take_followed())
    }

    /// The number of copies that followers get from the log, of what was published since this was asked last.
    pub(crate) fn take_followed(&mut self) -> u64 {
        self.dispatch.take_followed()
    }

    /// The same for a message that the client may publish, or that was the will of another.
    fn publish_allowed(
        &mut self,
        buffer: &[u8],
        message: Message<'_>,
        will_of: Option<&ClientIdentity>,
    ) -> Result<u64, PublishError> {
        self.last = None;
        let asked = AckLevel::asked(&message.attributes)?;
        self.note_asked(buffer, asked);
        let line = MessageLine {
            topic: message.topic,
            payload: message.payload,
            attributes: message.attributes.without(&BROKERS_ATTRIBUTES),
        };
        // A message without the flag never changes a retained one [MQTT-3.3.1-12] (3.1.1)
        // [MQTT-3.3.1-8] (5.0).
        if message.options.retain {
            let options = RetainOptions {
                publish: message.options,
                asked,
                will_of,
            };
            return self.publish_retained(buffer, line, &options);
        }
        self.add(&line, message.options, asked)
            .map_err(|why| self.not_kept(why))
    }

    /// Publishes and delivers one message between batches, or at the end of one.
    #[inline(never)]
    pub(crate) fn publish_now(&mut self, message: Message<'_>) -> Result<u64, PublishError> {
        self.check_own(message.topic)?;
        self.check_publish(message.topic, message.options.retain)?;
        self.publish_allowed_now(message, None)
    }

    /// The same for a message that the client may publish, or that was the will of another.
    pub(super) fn publish_allowed_now(
        &mut self,
        message: Message<'_>,
        will_of: Option<&ClientIdentity>,
    ) -> Result<u64, PublishError> {
        let is_long = message.payload.as_line().len() > KEPT_BYTES;
        let published = self.publish_allowed(&[], message, will_of);
        self.dispatch.deliver(&[]);
        if is_long {
            self.dispatch.forget();
        }
        Ok(published? + self.take_followed())
    }

    /// The fast path for a line in the read buffer that can leave unchanged and whose route is cached:
    /// adds it and returns the number of copies, or `None` if its route is not cached. `rest` is the
    /// line from its topic to the byte before its line end.
    // Most messages execute only this function and `repeat`. Inlined into the wire's loop, without
    // slicing anything twice, they take the fewest instructions.
    #[inline(always)]
    pub(crate) fn publish_known(
        &mut self,
        buffer: &[u8],
        line: Range<usize>,
        rest: &[u8],
    ) -> Option<u64> {
        let copies = match &mut self.last {
            Some(last) if last.end == line.start && is_topic(rest, &buffer[last.topic.clone()]) => {
                let copies = self.dispatch.repeat(line.end)?;
                last.end = line.end;
                copies
            }
            _ => {
                let start = line.end - 1 - rest.len();
                let topic = start..start + memchr(b' ', rest).unwrap_or(rest.len());
                let end = line.end;
                let added = self.dispatch.add_known(buffer, topic.clone(), line)?;
                self.note_last(added, topic, end, PublishOptions::LINE);
                added.copies
            }
        };
        self.account.accept(copies);
        Some(copies)
    }

    /// Adds any line in the read buffer that can leave unchanged. Its topic is at `range`.
    pub(crate) fn publish_in_place(
        &mut self,
        topic: Topic<'_>,
        range: Range<usize>,
        line: Range<usize>,
    ) -> Result<u64, PublishError> {
        self.check_topic(topic)?;
        let (options, end) = (PublishOptions::LINE, line.end);
        let added = self
            .dispatch
            .add(topic, Place::Buffer, range.clone(), line, options, None);
        let added = added.map_err(|why| self.not_kept(why))?;
        self.note_last(added, range, end, options);
        self.account.accept(added.copies);
        Ok(added.copies)
    }

    /// The fast path for a message of another protocol. `write` appends its line, without attributes,
    /// and returns the range of the topic; `topic` is called for the checked topic if its route is not
    /// cached.
    #[inline]
    pub(crate) fn publish_beside<'t, E: From<PublishError>>(
        &mut self,
        options: PublishOptions,
        write: impl FnOnce(&mut Vec<u8>) -> Range<usize>,
        topic: impl FnOnce() -> Result<Topic<'t>, E>,
    ) -> Result<u64, E> {
        let beside = self.dispatch.beside();
        let start = beside.len();
        let range = write(beside);
        let end = beside.len();
        if let Some(last) = &mut self.last
            && last.end == start
            && last.options == options
            && beside[last.topic.clone()] == beside[range.clone()]
            && let Some(copies) = self.dispatch.repeat(end)
        {
            last.end = end;
            self.account.accept(copies);
            return Ok(copies);
        }
        let known = self
            .dispatch
            .add_known_beside(range.clone(), start..end, options);
        let added = match known {
            Some(added) => added,
            None => {
                let checked = topic().and_then(|topic| {
                    self.check_topic(topic)?;
                    Ok(topic)
                });
                let topic = checked.inspect_err(|_| self.dispatch.beside().truncate(start))?;
                let (topic_range, line) = (range.clone(), start..end);
                let added =
                    self.dispatch
                        .add(topic, Place::Beside, topic_range, line, options, None);
                added.map_err(|why| {
                    self.dispatch.beside().truncate(start);
                    self.last = None;
                    self.not_kept(why)
                })?
            }
        };
        self.note_last(added, range, end, options);
        self.account.accept(added.copies);
        Ok(added.copies)
    }

    /// Adds a notice of the broker on a topic of its own, if a client is subscribed to that.
    #[inline(never)]
    pub(crate) fn notify(&mut self, topic: Topic<'_>, text: &str) {
        let hash = self.engine.router.hash(topic.as_str().as_bytes());
        if self.engine.router.route(topic, hash).is_empty() {
            return;
        }
        self.last = None;
        let line = MessageLine {
            topic,
            payload: Escaped::escape(text.as_bytes()),
            attributes: Attributes::default(),
        };
        // Topics of the broker are not kept, so it does not fail.
        let _ = self.add(&line, PublishOptions::LINE, None);
    }

    /// Counts a message that was to be kept and cannot be.
    #[cold]
    pub(super) fn not_kept(&self, why: NotKept) -> PublishError {
        self.engine.metrics.not_kept.add(why, 1);
        PublishError::NotKept(why)
    }

    /// Adds a message whose line has not been written yet.
    pub(super) fn add(
        &mut self,
        line: &MessageLine<'_>,
        options: PublishOptions,
        asked: Option<AckLevel>,
    ) -> Result<u64, NotKept> {
        let beside = self.dispatch.beside();
        let start = beside.len();
        let topic = line.encode(beside);
        let end = beside.len();
        let added = self
            .dispatch
            .add(line.topic, Place::Beside, topic, start..end, options, asked);
        let added = added.inspect_err(|_| self.dispatch.beside().truncate(start))?;
        self.account.accept(added.copies);
        Ok(added.copies)
    }

    #[inline]
    fn note_last(
        &mut self,
        added: Added,
        topic: Range<usize>,
        end: usize,
        options: PublishOptions,
    ) {
        self.last = added.repeatable.then_some(Last {
            topic,
            end,
            options,
        });
    }
}

/// Whether a bridge of mosquitto says on this topic whether it is connected. It does so in its will, and
/// gives up if that is refused.
fn is_bridge_state(topic: Topic<'_>) -> bool {
    let name = topic.as_str().strip_prefix("$SYS/broker/connection/");
    let id = name.and_then(|rest| rest.strip_suffix("/state"));
    id.is_some_and(|id| !id.is_empty())
}

/// Whether the line continues with this topic.
#[inline]
fn is_topic(rest: &[u8], topic: &[u8]) -> bool {
    rest.starts_with(topic) && matches!(rest.get(topic.len()), None | Some(b' '))
}

/// How a message is published that is retained.
pub(super) struct RetainOptions<'a> {
    pub(super) publish: PublishOptions,
    /// The level that its publisher wants.
    pub(super) asked: Option<AckLevel>,
    /// Whose will it was, if it was one.
    pub(super) will_of: Option<&'a ClientIdentity>,
}

impl From<Denied> for PublishError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<BadAckLevel> for PublishError {
    fn from(why: BadAckLevel) -> Self {
        Self::BadAckLevel(why)
    }
}

impl From<BrokersOwn> for PublishError {
    fn from(BrokersOwn: BrokersOwn) -> Self {
        Self::BrokersOwn
    }
}

impl fmt::Display for BrokersOwn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only the broker publishes under $SYS/")
    }
}

#[cfg(test)]
mod tests {
    use protocol::Filter;

    use super::*;
    use crate::engine::client::Answers;
    use crate::engine::client::tests::{Scene, message, retained};
    use crate::engine::memory::read_buffer::ReadBuffer;
    use crate::engine::outbox::run::MESSAGE;

    fn topic(name: &str) -> Topic<'_> {
        Topic::parse(name).expect("a topic")
    }

    /// The lines that a new subscriber to all topics would receive.
    fn kept(scene: &Scene) -> Vec<String> {
        let retained = scene.engine.retained.read();
        let filter = Filter::parse("#").expect("a filter");
        let found = retained.find_from(filter, "", retained.mark()).entries;
        found
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.message).into_owned())
            .collect()
    }

    fn finish(client: &mut Client<'_>) {
        client.finish_part(&[], Answers::new(&mut Vec::new()));
    }

    /// Publishes as a wire with a format of its own does; such a wire knows topics by their names.
    fn beside(client: &mut Client<'_>, name: &str, payload: &str) -> Result<u64, PublishError> {
        let write = |line: &mut Vec<u8>| {
            let start = line.len() + MESSAGE.len();
            line.extend_from_slice(format!("MESSAGE {name} {payload}\n").as_bytes());
            start..start + name.len()
        };
        client.publish_beside(PublishOptions::LINE, write, || Ok(topic(name)))
    }

    #[test]
    fn a_message_leaves_with_its_batch_and_is_not_retained_unless_it_asks_for_that() {
        let scene = Scene::new(10);
        let (_other, others) = scene.subscriber(2, &["a"]);
        let mut client = scene.client(1);
        let mut with_flag = message("a", "1");
        with_flag.attributes.push_flag(RETAIN).expect("a key");
        with_flag.attributes.push_flag("k").expect("a key");
        assert_eq!(client.publish(&[], with_flag), Ok(1));
        assert_eq!(others.taken(), "");
        finish(&mut client);
        assert_eq!(others.taken(), "@k MESSAGE a 1\n");
        assert!(kept(&scene).is_empty());
    }

    #[test]
    fn an_attribute_of_a_line_says_that_it_is_retained() {
        let mut attributes = Attributes::default();
        attributes.push_flag(RETAIN).expect("a key");
        for (attributes, retain) in [(Attributes::default(), false), (attributes, true)] {
            let message = Message::of_line(topic("a"), Escaped::default(), attributes);
            let options = PublishOptions { qos: 1, retain };
            assert_eq!(message.options, options);
        }
    }

    #[test]
    fn a_retained_message_leaves_at_once_behind_those_before_it() {
        let scene = Scene::new(10);
        let (_other, others) = scene.subscriber(2, &["#"]);
        let mut client = scene.client(1);
        assert_eq!(client.publish(&[], message("b", "1")), Ok(1));
        assert_eq!(client.publish(&[], retained("a", "2")), Ok(1));
        assert_eq!(others.taken(), "MESSAGE b 1\nMESSAGE a 2\n");
        assert_eq!(kept(&scene), ["@retained MESSAGE a 2\n"]);
        // An empty message clears it, and is delivered too.
        assert_eq!(client.publish(&[], retained("a", "")), Ok(1));
        assert_eq!(others.taken(), "MESSAGE a\n");
        assert!(kept(&scene).is_empty());
        assert_eq!(client.published(), 3);
    }

    #[test]
    fn what_cannot_be_retained_is_not_published() {
        let scene = Scene::new(1);
        let (_other, others) = scene.subscriber(2, &["#"]);
        let mut client = scene.client(1);
        assert_eq!(client.publish(&[], retained("a", "1")), Ok(1));
        let refused = Err(PublishError::Full(Full::Count(1)));
        assert_eq!(client.publish(&[], retained("b", "2")), refused);
        finish(&mut client);
        assert_eq!(others.taken(), "MESSAGE a 1\n");
        assert_eq!(client.published(), 1);
    }

    #[test]
    fn only_the_broker_publishes_on_its_own_topics_whatever_the_way() {
        let scene = Scene::new(10);
        let (_other, others) = scene.subscriber(2, &["$SYS/#"]);
        let mut client = scene.client(1);
        let refused = Err(PublishError::BrokersOwn);
        for make in [message, retained] {
            assert_eq!(client.publish(&[], make("$SYS/a", "1")), refused);
        }
        assert_eq!(client.publish_now(message("$SYS/a", "1")), refused);
        let in_place = client.publish_in_place(topic("$SYS/a"), 8..14, 0..17);
        assert_eq!(in_place, refused);
        assert_eq!(beside(&mut client, "$SYS/a", "1"), refused);
        assert!(client.dispatch.beside().is_empty());
        assert_eq!(
            client.publish_known(b"MESSAGE $SYS/a 1\n", 0..17, b"$SYS/a 1"),
            None
        );
        finish(&mut client);
        assert_eq!((others.taken(), client.published()), (String::new(), 0));
        // The broker's own client may publish there, and its messages are retained.
        client.publish_own(topic("$SYS/a"), Escaped::escape(b"1"));
        assert_eq!(others.taken(), "MESSAGE $SYS/a 1\n");
        let own = scene.engine.retained.read().find(topic("$SYS/a"));
        assert_eq!(own.map(|kept| kept.payload), Some(1));
    }

    #[test]
    fn a_value_of_the_brokers_own_without_subscribers_is_no_message() {
        let scene = Scene::new(0);
        let mut client = scene.client(1);
        client.publish_own(topic("$SYS/a"), Escaped::escape(b"1"));
        assert_eq!(client.published(), 0);
        assert!(scene.engine.retained.read().find(topic("$SYS/a")).is_some());
    }

    #[test]
    fn each_message_of_a_batch_goes_to_one_member_of_a_group() {
        let scene = Scene::new(0);
        let (_one, ones) = scene.subscriber(2, &["$share/g/a"]);
        let (_two, twos) = scene.subscriber(3, &["$share/g/a"]);
        let mut client = scene.client(1);
        // They are consecutive on one topic, but their subscribers differ, so none is appended to the
        // run.
        for payload in ["1", "2", "3"] {
            assert_eq!(beside(&mut client, "a", payload), Ok(1));
        }
        finish(&mut client);
        assert_eq!(ones.taken(), "MESSAGE a 1\nMESSAGE a 3\n");
        assert_eq!(twos.taken(), "MESSAGE a 2\n");
    }

    #[test]
    fn messages_that_follow_each_other_on_a_topic_are_all_counted_and_delivered() {
        let scene = Scene::new(0);
        let (_other, others) = scene.subscriber(2, &["a", "b"]);
        let mut client = scene.client(1);
        for (name, payload) in [("a", "1"), ("a", "2"), ("b", "3"), ("b", "4"), ("c", "5")] {
            let copies = u64::from(name != "c");
            assert_eq!(beside(&mut client, name, payload), Ok(copies));
        }
        finish(&mut client);
        // The next batch has its line at the same offset, on another topic.
        assert_eq!(beside(&mut client, "b", "6"), Ok(1));
        finish(&mut client);
        let expected = "MESSAGE a 1\nMESSAGE a 2\nMESSAGE b 3\nMESSAGE b 4\nMESSAGE b 6\n";
        assert_eq!((others.taken().as_str(), client.published()), (expected, 6));
    }

    #[test]
    fn a_remembered_topic_is_found_by_its_whole_name() {
        let scene = Scene::new(0);
        let (_other, others) = scene.subscriber(2, &["a"]);
        let mut client = scene.client(1);
        let mut buffer = ReadBuffer::new(client.memory());
        let lines = b"MESSAGE a 1\nMESSAGE ab 2\nMESSAGE a\n";
        let room = buffer.fill(1000).expect("there is memory");
        room.extend_from_slice(lines);
        assert_eq!(client.publish_known(lines, 0..12, b"a 1"), None);
        assert_eq!(client.publish_in_place(topic("a"), 8..9, 0..12), Ok(1));
        assert_eq!(client.publish_known(lines, 12..25, b"ab 2"), None);
        assert_eq!(client.publish_in_place(topic("ab"), 20..22, 12..25), Ok(0));
        assert_eq!(client.publish_known(lines, 25..35, b"a"), Some(1));
        buffer.consume(lines.len());
        client.finish_batch(Some(&mut buffer), Answers::new(&mut Vec::new()));
        assert_eq!(others.taken(), "MESSAGE a 1\nMESSAGE a\n");
        assert_eq!(client.published(), 3);
    }
}
