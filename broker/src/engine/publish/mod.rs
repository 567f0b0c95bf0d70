//! The publisher's side of the engine: routes a batch of messages and delivers it to the subscribers.
//!
//! The client adds each message of a batch with its place and topic; at the end of the batch every
//! subscriber receives all its messages in one delivery. Routes are cached by topic, and equal sets of
//! subscribers share one audience, so that consecutive messages to the same clients are delivered as
//! one run. Only the engine uses [`Dispatch`].
//!
//! Published messages are counted beside the cached routes, in plain integers, and reported when the
//! client says so: see [`Dispatch::hand_in`].

mod batch;
mod delivery;
mod followers;
mod keep;
mod kept_batch;
mod slot;

use std::collections::HashMap;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use protocol::{AckLevel, Topic};

use crate::clock::Moment;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::outbox::run::{PublishOptions, Run};
use crate::engine::routing::route_cache::{Item, Known, LogRoute, RouteCache, TopicCount};
use crate::engine::routing::router::{Route, Router};
use crate::engine::routing::subscribers::{Group, Subscriber};
use crate::engine::stats::topic_stats::TopicStats;
use crate::storage::NotKept;

pub(crate) use batch::Place;
pub(crate) use kept_batch::{KeptCount, KeptOutcome};

use batch::{Batch, Segment, To, merged};
use slot::{Outcome, Slot};

/// Maximum bytes copied for all subscribers before they are delivered, and maximum capacity of the
/// buffers for them that is kept between batches.
const GATHERED_BYTES: usize = 1024 * 1024;

/// Maximum entries of unused audiences before the whole cache is cleared.
const STALE_ENTRIES: usize = 4096;

/// Maximum entries of all audiences.
const MOST_ENTRIES: usize = 1024 * 1024;

/// The messages of one publisher on their way to outboxes.
pub(crate) struct Dispatch {
    router: Arc<Router>,
    topic_stats: Arc<TopicStats>,
    /// The number of the client.
    publisher: u64,
    cache: RouteCache,
    /// The position of the last message's topic in the cache.
    place: usize,
    /// Messages on that topic since then that are not counted there yet.
    repeats: u64,
    /// When the current batch arrived, or one shortly before.
    now: Moment,
    slots: Vec<Slot>,
    slot_of: HashMap<u64, u32, RandomState>,
    audiences: Vec<Audience>,
    audience_of: HashMap<Arc<[u32]>, u32, RandomState>,
    /// Number of entries of all audiences.
    entries: usize,
    /// Number of entries of audiences that no longer belong to a topic.
    stale: usize,
    batch: Batch,
    /// Capacity of the copy buffers that slots keep between batches.
    scratch: usize,
    outcome: Outcome,
    /// What came of messages that were to be kept.
    kept: KeptOutcome,
    kept_count: KeptCount,
    /// Copies that followers get of them from the log.
    followed: u64,
    /// It delivers what is in the log to those that follow it.
    is_for_followers: bool,
}

/// The subscribers of a topic, as slots.
struct Audience {
    slots: Arc<[u32]>,
}

/// The result of adding a message.
#[derive(Clone, Copy)]
pub(crate) struct Added {
    /// Number of copies made of it.
    pub(crate) copies: u64,
    /// The next message on the same topic may be added with [`Dispatch::repeat`].
    pub(crate) repeatable: bool,
}

impl Dispatch {
    pub(crate) fn new(router: Arc<Router>, topic_stats: Arc<TopicStats>) -> Self {
        Self {
            router,
            topic_stats,
            publisher: 0,
            cache: RouteCache::default(),
            place: 0,
            repeats: 0,
            now: Moment::now(),
            slots: Vec::new(),
            slot_of: HashMap::default(),
            audiences: Vec::new(),
            audience_of: HashMap::default(),
            entries: 0,
            stale: 0,
            batch: Batch::default(),
            scratch: 0,
            outcome: Outcome::default(),
            kept: KeptOutcome::default(),
            kept_count: KeptCount::default(),
            followed: 0,
            is_for_followers: false,
        }
    }

    /// Sets the number of the publishing client.
    pub(crate) fn of(mut self, publisher: u64) -> Self {
        self.publisher = publisher;
        self
    }

    /// Sets the number of the publishing client.
    pub(crate) fn set_publisher(&mut self, publisher: u64) {
        self.publisher = publisher;
    }

    /// The total number of copies that were not delivered because their subscriber had left or
    /// unsubscribed meanwhile.
    pub(crate) fn withdrawn(&self) -> u64 {
        self.outcome.withdrawn.get()
    }

    /// Whether a subscriber wants backpressure.
    pub(crate) fn wants_backpressure(&mut self) -> bool {
        !self.outcome.slow_subscribers.get_mut().is_empty()
    }

    /// The subscribers that want backpressure, without duplicates.
    pub(crate) fn take_slow_subscribers(&mut self) -> Vec<Subscriber> {
        let mut slow_subscribers = mem::take(self.outcome.slow_subscribers.get_mut());
        slow_subscribers.sort_unstable_by_key(|each| each.id());
        slow_subscribers.dedup_by_key(|each| each.id());
        slow_subscribers
    }

    /// Adds a message in the read buffer, if its route is cached. `buffer` is the whole read buffer,
    /// and the ranges are relative to it.
    // Out of line, so that the loop over lines that repeat a topic stays small.
    #[inline(never)]
    pub(crate) fn add_known(
        &mut self,
        buffer: &[u8],
        topic: Range<usize>,
        bytes: Range<usize>,
    ) -> Option<Added> {
        self.begin();
        let name = &buffer[topic.clone()];
        let mut known = self.known(name, self.router.hash(name))?;
        let options = PublishOptions::LINE;
        if self.is_not_kept(&mut known, Place::Buffer, &bytes, options) {
            return None;
        }
        Some(self.add_to(known, Place::Buffer, topic, bytes, options))
    }

    /// The same for a message beside the read buffer.
    pub(crate) fn add_known_beside(
        &mut self,
        topic: Range<usize>,
        bytes: Range<usize>,
        options: PublishOptions,
    ) -> Option<Added> {
        self.begin();
        let beside = mem::take(&mut self.batch.beside);
        let name = &beside[topic.clone()];
        let known = self.known(name, self.router.hash(name));
        self.batch.beside = beside;
        let mut known = known?;
        if self.is_not_kept(&mut known, Place::Beside, &bytes, options) {
            return None;
        }
        Some(self.add_to(known, Place::Beside, topic, bytes, options))
    }

    /// Adds any message. `topic` and `bytes` are ranges in `place`. `asked` is the level that its publisher wants, if it
    /// is kept. It fails only for a message that is to be kept and cannot be.
    pub(crate) fn add(
        &mut self,
        name: Topic<'_>,
        place: Place,
        topic: Range<usize>,
        bytes: Range<usize>,
        options: PublishOptions,
        asked: Option<AckLevel>,
    ) -> Result<Added, NotKept> {
        self.begin();
        let hash = self.router.hash(name.as_str().as_bytes());
        let mut known = match self.known(name.as_str().as_bytes(), hash) {
            Some(known) => known,
            None => self.look_up(name, hash)?,
        };
        self.batch.kept.is_last = false;
        if known.is_kept {
            known.audience = self.keep_last(place, &bytes, options, asked)?;
        }
        Ok(self.add_to(known, place, topic, bytes, options))
    }

    /// Adds the message that follows the last one in its place, on the same topic. None if it cannot be kept.
    #[inline]
    pub(crate) fn repeat(&mut self, end: usize) -> Option<u64> {
        if self.batch.kept.is_last && !self.repeat_kept(end) {
            return None;
        }
        self.repeats += 1;
        if self.batch.copies > 0
            && let Some(last) = self.batch.segments.last_mut()
        {
            last.bytes.end = end;
            last.messages += 1;
        }
        Some(self.batch.copies)
    }

    /// The buffer for messages that cannot leave as they are in the read buffer.
    pub(crate) fn beside(&mut self) -> &mut Vec<u8> {
        &mut self.batch.beside
    }

    /// Delivers the added messages; returns the number of subscribers. `buffer` is the whole read
    /// buffer.
    pub(crate) fn deliver(&mut self, buffer: &[u8]) -> usize {
        if !self.batch.kept.is_empty() && !self.keep(buffer) {
            return 0;
        }
        if self.batch.segments.is_empty() {
            self.batch.beside.clear();
            return 0;
        }
        let mut batch = mem::take(&mut self.batch);
        let stretches = merged(&batch.segments);
        let sends = match stretches.as_slice() {
            [only] if let To::Audience(audience) = batch.segments[0].to => {
                let bytes = batch.bytes(only, buffer);
                let run = Run::borrowed(bytes, only.messages)
                    .by(self.publisher, batch.segments[0].options);
                self.deliver_run(run, audience, &batch, buffer)
            }
            _ => self.gather(&stretches, &batch, buffer),
        };
        batch.segments.clear();
        batch.beside.clear();
        self.batch = batch;
        if self.stale > STALE_ENTRIES || self.entries > MOST_ENTRIES {
            self.forget();
        } else if self.scratch > GATHERED_BYTES {
            self.clear_scratch();
        }
        sends
    }

    /// The same, when nothing else needs the handled part of the read buffer. If a subscriber must
    /// queue nearly all of it, the buffer itself is kept instead of a copy.
    pub(crate) fn deliver_last(&mut self, buffer: &mut ReadBuffer) {
        if !self.is_worth_keeping(buffer) {
            let sends = self.deliver(buffer.bytes());
            return buffer.note_sends(sends);
        }
        if !self.batch.kept.is_empty() && !self.keep(buffer.bytes()) {
            return;
        }
        let batch = mem::take(&mut self.batch);
        let size = buffer.size();
        let (lent, handled) = (buffer.lend(), buffer.start());
        let first = &batch.segments[0];
        if let To::Audience(audience) = first.to {
            let range = first.bytes.start..batch.segments[batch.segments.len() - 1].bytes.end;
            let messages = batch.segments.iter().map(|segment| segment.messages).sum();
            let run_bytes = lent.slice(range);
            let run = Run::shared(&run_bytes, messages, size).by(self.publisher, first.options);
            buffer.note_sends(self.deliver_run(run, audience, &batch, &lent));
        }
        buffer.take_back(lent, handled);
        self.batch = batch;
        self.batch.segments.clear();
        self.batch.beside.clear();
    }

    /// Whether the batch is one run of nearly the whole read buffer, and some subscriber cannot take it
    /// now.
    fn is_worth_keeping(&self, buffer: &ReadBuffer) -> bool {
        let (Some(first), Some(last)) = (self.batch.segments.first(), self.batch.segments.last())
        else {
            return false;
        };
        let To::Audience(audience) = first.to else {
            return false;
        };
        first.place == Place::Buffer
            && last.place == Place::Buffer
            && buffer.is_worth_keeping(last.bytes.end - first.bytes.start)
            && self.audiences[audience as usize]
                .slots
                .iter()
                .any(|&slot| self.slots[slot as usize].outbox.seems_blocked())
            && merged(&self.batch.segments).len() == 1
    }

    /// Bytes of capacity kept for gathering between batches.
    pub(crate) fn scratch(&self) -> usize {
        self.scratch
    }

    // Out of line, because it is rare.
    #[inline(never)]
    fn clear_scratch(&mut self) {
        for slot in &mut self.slots {
            slot.copied = Vec::new();
            slot.counted = 0;
        }
        self.scratch = 0;
    }

    /// Clears the cached routes, which keep the outboxes of disconnected clients. Only between batches.
    pub(crate) fn forget(&mut self) {
        debug_assert!(self.batch.segments.is_empty());
        self.abandon();
    }

    /// The same in the middle of a batch, which is lost.
    pub(crate) fn abandon(&mut self) {
        self.give_up_kept();
        self.hand_in();
        let withdrawn = self.outcome.withdrawn.take();
        let new = Self::new(self.router.clone(), self.topic_stats.clone()).of(self.publisher);
        let before = mem::replace(self, new);
        (self.now, self.kept, self.followed) = (before.now, before.kept, before.followed);
        self.kept_count = before.kept_count;
        self.is_for_followers = before.is_for_followers;
        self.outcome.withdrawn.set(withdrawn);
        self.outcome.accepted.set(before.outcome.accepted.get());
    }

    /// The cached route of a topic, if it is current. Counts the message there.
    // Inlined into `add_known`, which is itself out of line: together they take the fewest
    // instructions.
    #[inline(always)]
    fn known(&mut self, name: &[u8], hash: u64) -> Option<Known> {
        let (place, item) = self.cache.get(name, hash)?;
        if !self.router.is_current(item.versions, hash) {
            return None;
        }
        item.count.messages += 1;
        self.place = place;
        Some(item.known.clone())
    }

    /// Asks the router for a route and caches it.
    fn look_up(&mut self, name: Topic<'_>, hash: u64) -> Result<Known, NotKept> {
        let kept = match self.router.history() {
            Some(history) if !self.is_for_followers => history.topic(name)?,
            _ => None,
        };
        let mut route = self.router.route(name, hash);
        // What is not acknowledged comes to sessions from its publisher, and the rest from the log.
        let unacknowledged = Route::joined(&route.subscribers, &route.sessions);
        let (acknowledged, unacknowledged) = match self.is_for_followers {
            false => (route.subscribers.clone(), unacknowledged),
            true => {
                // Their publishers have delivered the messages to the others.
                route.groups = Arc::default();
                let all = Route::joined(&route.followers, &route.sessions);
                (all, route.followers.clone())
            }
        };
        let mut count = TopicCount::new(mem::take(&mut route.counters));
        count.messages = 1;
        let audience = self.audience(&acknowledged);
        let log = LogRoute {
            followers: route.followers.len() as u64,
            sessions: route.sessions.len() as u64,
            unacknowledged: match route.sessions.is_empty() {
                true => audience,
                false => self.audience(&unacknowledged),
            },
            kept,
        };
        let versions = route.versions();
        let known = Known {
            audience,
            groups: (!route.groups.is_empty()).then_some(route.groups),
            is_kept: log.keeps(1) && !self.is_for_followers,
        };
        let name = name.as_str();
        let item = Item {
            name: name.into(),
            versions,
            known: known.clone(),
            log,
            count,
        };
        let (place, before) = self.cache.insert(hash, item);
        self.place = place;
        if let Some(mut before) = before {
            let audience = before.known.audience;
            if *before.name == *name && audience != known.audience {
                self.stale += self.audiences[audience as usize].slots.len() + 1;
            }
            if !self.is_for_followers {
                hand_in(&mut before, &self.audiences, &self.topic_stats, self.now);
            }
        }
        Ok(known)
    }

    /// The arrival time of the batch, and the number of its copies that were sent without queueing;
    /// resets the number.
    pub(crate) fn take_direct(&self) -> (Moment, u64) {
        (self.now, self.outcome.direct.take())
    }

    /// Sets the arrival time of a new batch.
    pub(crate) fn set_now(&mut self, now: Moment) {
        self.now = now;
    }

    /// Number of topics that may have counts to report.
    pub(crate) fn topics(&self) -> u64 {
        self.cache.len() as u64
    }

    /// Reports the counts since the last time: to the topic statistics, and to the counters of the
    /// filters that matched.
    #[inline(never)]
    pub(crate) fn hand_in(&mut self) {
        self.count_repeats();
        if self.is_for_followers {
            // The publishers have counted them.
            return;
        }
        let now = self.now;
        for item in self.cache.items() {
            hand_in(item, &self.audiences, &self.topic_stats, now);
        }
    }

    /// Counts messages on the last topic. Out of line, because it is rare.
    #[inline(never)]
    fn count_repeats(&mut self) {
        let repeats = mem::take(&mut self.repeats);
        if let Some(item) = self.cache.at(self.place) {
            item.count.messages += repeats;
        }
    }

    #[inline]
    fn begin(&mut self) {
        if self.repeats > 0 {
            self.count_repeats();
        }
        if self.batch.segments.is_empty() {
            // Read before any route of the batch is looked up or found current: a subscription that
            // ends later increments it.
            self.batch.unsubscribe_epoch = self.router.unsubscribe_epoch();
        }
    }

    fn add_to(
        &mut self,
        known: Known,
        place: Place,
        topic: Range<usize>,
        bytes: Range<usize>,
        options: PublishOptions,
    ) -> Added {
        let slots = &self.audiences[known.audience as usize].slots;
        self.batch.copies = slots.len() as u64;
        if self.batch.copies > 0 {
            self.batch.segments.push(Segment {
                to: To::Audience(known.audience),
                place,
                bytes: bytes.clone(),
                messages: 1,
                options,
                topic: topic.clone(),
            });
        }
        if let Some(groups) = &known.groups {
            let subscribers = slots.clone();
            self.add_to_groups(groups, &subscribers, place, &topic, &bytes, options);
        }
        Added {
            copies: self.batch.copies,
            repeatable: known.groups.is_none(),
        }
    }

    /// Chooses one member of each group. If that client receives a copy already, it receives no second.
    fn add_to_groups(
        &mut self,
        groups: &[Arc<Group>],
        subscribers: &[u32],
        place: Place,
        topic: &Range<usize>,
        bytes: &Range<usize>,
        options: PublishOptions,
    ) {
        let mut chosen = Vec::new();
        for group in groups {
            let slot = slot(&mut self.slots, &mut self.slot_of, group.next_member());
            if subscribers.contains(&slot) || chosen.contains(&slot) {
                continue;
            }
            chosen.push(slot);
            self.batch.copies += 1;
            self.batch.segments.push(Segment {
                to: To::Member(slot, group.clone()),
                place,
                bytes: bytes.clone(),
                messages: 1,
                options,
                topic: topic.clone(),
            });
        }
        if let Some(item) = self.cache.at(self.place) {
            item.count.shared += chosen.len() as u64;
        }
    }

    fn audience(&mut self, subscribers: &[Subscriber]) -> u32 {
        let slots: Arc<[u32]> = subscribers
            .iter()
            .map(|subscriber| slot(&mut self.slots, &mut self.slot_of, subscriber))
            .collect();
        *self.audience_of.entry(slots).or_insert_with_key(|slots| {
            self.entries += slots.len() + 1;
            self.audiences.push(Audience {
                slots: slots.clone(),
            });
            self.audiences.len() as u32 - 1
        })
    }
}

impl Drop for Dispatch {
    fn drop(&mut self) {
        // A panic may have left an incomplete batch.
        self.give_up_kept();
    }
}

/// Reports the counts of one topic.
fn hand_in(item: &mut Item, audiences: &[Audience], topic_stats: &TopicStats, now: Moment) {
    let count = &mut item.count;
    let messages = mem::take(&mut count.messages);
    if messages == 0 {
        return;
    }
    let subscribers = audiences[item.known.audience as usize].slots.len() as u64;
    let copies = messages * (subscribers + item.log.copies(1)) + mem::take(&mut count.shared);
    count.counters.add(messages);
    topic_stats.add(&item.name, messages, copies, now);
}

/// The slot of a subscriber.
fn slot(
    slots: &mut Vec<Slot>,
    slot_of: &mut HashMap<u64, u32, RandomState>,
    subscriber: &Subscriber,
) -> u32 {
    *slot_of.entry(subscriber.id()).or_insert_with(|| {
        slots.push(Slot {
            outbox: subscriber.clone(),
            pieces: Vec::new(),
            copied: Vec::new(),
            counted: 0,
        });
        slots.len() as u32 - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::budget::Memory;
    use crate::engine::outbox::queue::COPY_BELOW_BYTES;
    use crate::engine::outbox::tests::{TestSink, outbox};
    use protocol::Filter;

    pub(super) struct Scene {
        pub(super) router: Arc<Router>,
        pub(super) dispatch: Dispatch,
        buffer: ReadBuffer,
    }

    impl Scene {
        pub(super) fn new() -> Self {
            let router = Arc::new(Router::new());
            Self {
                dispatch: Dispatch::new(router.clone(), Arc::default()),
                router,
                buffer: ReadBuffer::new(&Arc::new(Memory::new(usize::MAX))),
            }
        }

        pub(super) fn subscriber(&self, id: u64, filters: &[&str]) -> (Subscriber, TestSink) {
            let (outbox, sink) = outbox(id, 1 << 20, usize::MAX);
            for filter in filters {
                self.router
                    .subscribe(Filter::parse(*filter).expect("a filter"), &outbox);
            }
            (outbox, sink)
        }

        /// Adds `<topic> <text>;` for each pair; returns the number of copies.
        pub(super) fn add(&mut self, messages: &[(&str, &str)]) -> u64 {
            let mut copies = 0;
            for (topic, text) in messages {
                let bytes = self.buffer.fill(1 << 20).expect("there is memory");
                let start = bytes.len();
                bytes.extend_from_slice(format!("{topic} {text};").as_bytes());
                let (end, topic_end) = (bytes.len(), start + topic.len());
                let known =
                    self.dispatch
                        .add_known(self.buffer.bytes(), start..topic_end, start..end);
                let added = known.unwrap_or_else(|| {
                    let name = Topic::parse(*topic).expect("a topic");
                    let (topic, line) = (start..topic_end, start..end);
                    let options = PublishOptions::LINE;
                    let added = self
                        .dispatch
                        .add(name, Place::Buffer, topic, line, options, None);
                    added.expect("it is not kept")
                });
                copies += added.copies;
            }
            copies
        }

        pub(super) fn deliver(&mut self) {
            self.buffer.consume(self.buffer.unread().len());
            self.dispatch.deliver_last(&mut self.buffer);
            self.buffer.fill(1 << 20);
        }
    }

    #[test]
    fn what_was_kept_is_counted_on_when_the_routes_are_forgotten() {
        let mut scene = Scene::new();
        let count = KeptCount {
            messages: 3,
            without_copies: 2,
        };
        scene.dispatch.kept_count = count;
        scene.dispatch.forget();
        assert_eq!(scene.dispatch.kept_count(), count);
    }

    #[test]
    fn each_subscriber_gets_its_part_of_a_batch_in_order() {
        let mut scene = Scene::new();
        let (_one, one) = scene.subscriber(1, &["a", "b"]);
        let (_two, two) = scene.subscriber(2, &["b", "c"]);
        let copies = scene.add(&[("a", "1"), ("b", "2"), ("c", "3"), ("a", "4"), ("x", "5")]);
        scene.deliver();
        assert_eq!(copies, 5);
        assert_eq!(one.taken(), "a 1;b 2;a 4;");
        assert_eq!(two.taken(), "b 2;c 3;");
    }

    #[test]
    fn long_and_short_messages_keep_their_order() {
        let mut scene = Scene::new();
        let (_one, one) = scene.subscriber(1, &["a", "b"]);
        let (_two, _) = scene.subscriber(2, &["b"]);
        let long = "x".repeat(COPY_BELOW_BYTES);
        scene.add(&[
            ("a", "1"),
            ("b", &long),
            ("a", "2"),
            ("b", "3"),
            ("a", &long),
        ]);
        scene.deliver();
        assert_eq!(one.taken(), format!("a 1;b {long};a 2;b 3;a {long};"));
    }

    #[test]
    fn much_is_gathered_in_parts_and_nothing_is_lost() {
        let mut scene = Scene::new();
        let clients: Vec<_> = (1..=40)
            .map(|id| scene.subscriber(id, &["a", "b"]))
            .collect();
        let (_other, other) = scene.subscriber(99, &["b"]);
        let text = "x".repeat(900);
        let messages: Vec<_> = (0..80)
            .map(|n| (["a", "b"][n % 2], text.as_str()))
            .collect();
        let expected: String = messages
            .iter()
            .map(|(topic, text)| format!("{topic} {text};"))
            .collect();
        scene.add(&messages);
        scene.deliver();
        for (_, sink) in &clients {
            assert_eq!(sink.taken(), expected);
        }
        assert_eq!(other.taken().len(), 40 * (900 + 3));
    }

    #[test]
    fn a_client_that_unsubscribes_within_a_batch_gets_nothing_more_of_it() {
        let mut scene = Scene::new();
        let (leaver, leavers) = scene.subscriber(1, &["a", "b"]);
        let (_other, others) = scene.subscriber(2, &["a"]);
        for several in [false, true] {
            scene.add(&[("a", "1")]);
            if several {
                scene.add(&[("b", "2")]);
            }
            scene
                .router
                .unsubscribe(Filter::parse("a").expect("a filter"), &leaver);
            scene.deliver();
            assert_eq!(leavers.taken(), if several { "b 2;" } else { "" });
            assert_eq!(others.taken(), "a 1;");
            scene
                .router
                .subscribe(Filter::parse("a").expect("a filter"), &leaver);
        }
    }

    #[test]
    fn each_message_goes_to_one_member_of_a_group_who_is_still_there() {
        let mut scene = Scene::new();
        let (one, ones) = scene.subscriber(1, &["$share/g/a"]);
        let (_two, twos) = scene.subscriber(2, &["$share/g/a"]);
        assert_eq!(scene.add(&[("a", "1"), ("a", "2"), ("a", "3")]), 3);
        scene.deliver();
        assert_eq!(
            (ones.taken(), twos.taken()),
            ("a 1;a 3;".into(), "a 2;".into())
        );
        scene.add(&[("a", "4"), ("a", "5")]);
        scene
            .router
            .unsubscribe(Filter::parse("$share/g/a").expect("a filter"), &one);
        scene.deliver();
        assert_eq!((ones.taken(), twos.taken()), ("".into(), "a 4;a 5;".into()));
    }

    #[test]
    fn what_a_leaving_member_does_not_take_waits_for_the_others_if_all_are_busy() {
        // Members with an empty queue were asked first, and the leaver is always such a one.
        let mut scene = Scene::new();
        let (leaver, leavers) = scene.subscriber(1, &["$share/g/a"]);
        let (busy, _) = outbox(2, 100, 0);
        let filter = Filter::parse("$share/g/a").expect("a filter");
        scene.router.subscribe(filter, &busy);
        busy.lock().answer(b"it has no room for this");
        scene.add(&[("a", "1")]);
        scene.router.unsubscribe(filter, &leaver);
        scene.deliver();
        assert_eq!(leavers.taken(), "");
        let waiting = busy.close().redeliveries;
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].bytes, "a 1;");
    }

    #[test]
    fn a_member_that_gets_a_plain_copy_gets_no_second_one() {
        let mut scene = Scene::new();
        let (_one, one) = scene.subscriber(1, &["$share/g/a", "a", "$share/h/a"]);
        assert_eq!(scene.add(&[("a", "1")]), 1);
        scene.deliver();
        assert_eq!(one.taken(), "a 1;");
    }

    #[test]
    fn a_changed_subscription_is_seen_by_the_next_message() {
        let mut scene = Scene::new();
        assert_eq!(scene.add(&[("a", "1")]), 0);
        let (_one, one) = scene.subscriber(1, &["+"]);
        assert_eq!(scene.add(&[("a", "2")]), 1);
        scene.deliver();
        assert_eq!(one.taken(), "a 2;");
    }

    #[test]
    fn what_no_subscriber_gets_is_not_kept() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            scene.dispatch.beside().extend_from_slice(b"a 1;");
            let name = Topic::parse("a").expect("a topic");
            let added = scene
                .dispatch
                .add(name, Place::Beside, 0..1, 0..4, PublishOptions::LINE, None)
                .expect("it is not kept");
            assert_eq!(added.copies, 0);
            scene.deliver();
            assert!(scene.dispatch.beside().is_empty());
        }
    }

    #[test]
    fn old_audiences_are_forgotten() {
        let mut scene = Scene::new();
        for id in 1..10_000 {
            let (client, _) = scene.subscriber(id, &["a"]);
            scene.add(&[("a", "1")]);
            scene.deliver();
            scene
                .router
                .unsubscribe(Filter::parse("a").expect("a filter"), &client);
        }
        assert!(scene.dispatch.slots.len() < 2 * STALE_ENTRIES);
    }
}
