//! A publisher's side of the engine: what one batch of messages holds for each subscriber.
//!
//! A wire tells for each message of a batch where it stands and what its topic is; at the end of
//! the batch every subscriber gets, in one delivery, all that is for it. Routes are remembered per
//! topic, and equal sets of subscribers are recognised as one audience, so that messages that
//! stand one after another and go to the same clients are handed over as one run.
//!
//! What was published is counted beside the remembered routes, in plain numbers, and handed in when
//! the wire says so: see [`Dispatch::hand_in`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use protocol::Topic;

use crate::block::Block;
use crate::clock::Moment;
use crate::interest::{Group, Subscriber};
use crate::outbox::Held;
use crate::queue::COPY_BELOW_BYTES;
use crate::route_cache::{Count, Item, Known, RouteCache};
use crate::router::{Route, Router};
use crate::run::{Manner, Run};
use crate::sync::Ordering;
use crate::traffic::Traffic;

/// So much may be copied together for all subscribers before it is delivered, and so much may the
/// buffers for it take that are kept from batch to batch.
const GATHERED_BYTES: usize = 1024 * 1024;

/// So many entries of old audiences may be held before all is forgotten.
const STALE_ENTRIES: usize = 4096;

/// So many entries of audiences may be held at all.
const MOST_ENTRIES: usize = 1024 * 1024;

/// The messages of one publisher on their way to outboxes.
pub(crate) struct Dispatch {
    router: Arc<Router>,
    traffic: Arc<Traffic>,
    /// The number of the client.
    publisher: u64,
    cache: RouteCache,
    /// Where the topic of the last message stands in the cache.
    place: usize,
    /// Messages that followed it and are not counted there yet.
    repeats: u64,
    /// When the batch at hand came, or one not long before.
    now: Moment,
    slots: Vec<Slot>,
    slot_of: HashMap<u64, u32, RandomState>,
    audiences: Vec<Audience>,
    audience_of: HashMap<Arc<[u32]>, u32, RandomState>,
    /// Entries of all audiences.
    entries: usize,
    /// Entries of audiences that some topic no longer has.
    stale: usize,
    batch: Batch,
    /// What buffers for copies take, which slots keep from batch to batch.
    scratch: usize,
    outcome: Outcome,
}

/// What became of copies, for the end of the batch.
#[derive(Default)]
struct Outcome {
    /// Copies whose subscriber did not want them any more when they came.
    withdrawn: Cell<u64>,
    /// Copies of this batch that left at once.
    direct: Cell<u64>,
    /// Subscribers that want their publishers to wait for them.
    pressing: RefCell<Vec<Subscriber>>,
}

/// A subscriber, and what the batch holds for it.
struct Slot {
    outbox: Subscriber,
    pieces: Vec<Piece>,
    copied: Vec<u8>,
    /// What `copied` takes, as counted in the scratch of all.
    counted: usize,
}

enum Piece {
    /// The next so many bytes of what was copied, with so many messages, perhaps for one of a group.
    Copied {
        bytes: usize,
        messages: u64,
        manner: Manner,
        share: Option<Arc<str>>,
    },
    /// A run of the batch, by its number.
    Run(usize),
}

/// A set of subscribers that some topic has, by their slots.
struct Audience {
    slots: Arc<[u32]>,
}

#[derive(Default)]
struct Batch {
    segments: Vec<Segment>,
    /// Messages that do not stand in the block as they must leave.
    beside: Vec<u8>,
    /// The router's departures when the batch began.
    departures: u64,
    /// Copies made of each message like the last one.
    copies: u64,
}

/// Consecutive messages on one topic to the same subscribers.
struct Segment {
    to: To,
    place: Place,
    bytes: Range<usize>,
    messages: u64,
    manner: Manner,
    /// Where its topic stands, in the same place.
    topic: Range<usize>,
}

#[derive(Clone)]
enum To {
    Audience(u32),
    /// One member of a group, by its slot.
    Member(u32, Arc<Group>),
}

/// Which buffer a message stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Block,
    Beside,
}

/// What became of a message.
#[derive(Clone, Copy)]
pub(crate) struct Added {
    /// Copies made of it.
    pub(crate) copies: u64,
    /// The next message on the same topic may be added by [`Dispatch::repeat`].
    pub(crate) repeatable: bool,
}

impl Dispatch {
    pub(crate) fn new(router: Arc<Router>, traffic: Arc<Traffic>) -> Self {
        Self {
            router,
            traffic,
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
        }
    }

    /// The same, for the client with this number.
    pub(crate) fn of(mut self, publisher: u64) -> Self {
        self.publisher = publisher;
        self
    }

    /// From now on the messages are of the client with this number.
    pub(crate) fn set_publisher(&mut self, publisher: u64) {
        self.publisher = publisher;
    }

    /// How many copies so far could not be handed over, because their subscriber had left or
    /// unsubscribed meanwhile.
    pub(crate) fn withdrawn(&self) -> u64 {
        self.outcome.withdrawn.get()
    }

    /// Whether some subscriber wants to be waited for.
    pub(crate) fn is_pressed(&mut self) -> bool {
        !self.outcome.pressing.get_mut().is_empty()
    }

    /// Those who want to be waited for, once each.
    pub(crate) fn take_pressing(&mut self) -> Vec<Subscriber> {
        let mut pressing = mem::take(self.outcome.pressing.get_mut());
        pressing.sort_unstable_by_key(|each| each.id());
        pressing.dedup_by_key(|each| each.id());
        pressing
    }

    /// Adds a message that stands in the block, if its topic is known already. `block` is all of
    /// the block, the ranges count from its beginning.
    #[inline(never)]
    pub(crate) fn add_known(
        &mut self,
        block: &[u8],
        topic: Range<usize>,
        bytes: Range<usize>,
    ) -> Option<Added> {
        self.begin();
        let name = &block[topic.clone()];
        let known = self.known(name, self.router.hash(name))?;
        Some(self.add_to(known, Place::Block, topic, bytes, Manner::LINE))
    }

    /// The same for one that stands beside the block.
    pub(crate) fn add_known_beside(
        &mut self,
        topic: Range<usize>,
        bytes: Range<usize>,
        manner: Manner,
    ) -> Option<Added> {
        self.begin();
        let beside = mem::take(&mut self.batch.beside);
        let name = &beside[topic.clone()];
        let known = self.known(name, self.router.hash(name));
        self.batch.beside = beside;
        Some(self.add_to(known?, Place::Beside, topic, bytes, manner))
    }

    /// Adds a message of the line protocol. `topic` and `bytes` are ranges of the place.
    pub(crate) fn add(
        &mut self,
        name: Topic<'_>,
        place: Place,
        topic: Range<usize>,
        bytes: Range<usize>,
    ) -> Added {
        self.add_in(name, place, topic, bytes, Manner::LINE)
    }

    /// The same for one published in another manner.
    pub(crate) fn add_in(
        &mut self,
        name: Topic<'_>,
        place: Place,
        topic: Range<usize>,
        bytes: Range<usize>,
        manner: Manner,
    ) -> Added {
        self.begin();
        let hash = self.router.hash(name.as_str().as_bytes());
        let known = match self.known(name.as_str().as_bytes(), hash) {
            Some(known) => known,
            None => self.look_up(name, hash),
        };
        self.add_to(known, place, topic, bytes, manner)
    }

    /// Adds the message that follows the last one in the block and has the same topic.
    #[inline]
    pub(crate) fn repeat(&mut self, end: usize) -> u64 {
        self.repeats += 1;
        if self.batch.copies > 0
            && let Some(last) = self.batch.segments.last_mut()
        {
            last.bytes.end = end;
            last.messages += 1;
        }
        self.batch.copies
    }

    /// Where messages can be put that do not stand in the block as they must leave.
    pub(crate) fn beside(&mut self) -> &mut Vec<u8> {
        &mut self.batch.beside
    }

    /// Delivers what was added; returns among how many subscribers. `block` is all of the block.
    pub(crate) fn deliver(&mut self, block: &[u8]) -> usize {
        if self.batch.segments.is_empty() {
            self.batch.beside.clear();
            return 0;
        }
        let mut batch = mem::take(&mut self.batch);
        let runs = merged(&batch.segments);
        let sends = match runs.as_slice() {
            [only] if let To::Audience(audience) = batch.segments[only.start].to => {
                let (bytes, messages) = batch.run(only, block);
                let manner = batch.segments[only.start].manner;
                let run = Run::borrowed(bytes, messages).by(self.publisher, manner);
                self.deliver_run(run, audience, &batch, block)
            }
            _ => self.gather(&runs, &batch, block),
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

    /// The same, when nothing else needs the handled part of the block. If somebody must wait
    /// for bytes that make up nearly all of it, the block itself is kept for them.
    pub(crate) fn deliver_last(&mut self, block: &mut Block) {
        if !self.is_worth_keeping(block) {
            let sends = self.deliver(block.bytes());
            return block.note_sends(sends);
        }
        let batch = mem::take(&mut self.batch);
        let size = block.size();
        let (lent, handled) = (block.lend(), block.start());
        let first = &batch.segments[0];
        if let To::Audience(audience) = first.to {
            let range = first.bytes.start..batch.segments[batch.segments.len() - 1].bytes.end;
            let (_, messages) = batch.run(&(0..batch.segments.len()), &lent);
            let run_bytes = lent.slice(range);
            let run = Run::shared(&run_bytes, messages, size).by(self.publisher, first.manner);
            block.note_sends(self.deliver_run(run, audience, &batch, &lent));
        }
        block.take_back(lent, handled);
        self.batch = batch;
        self.batch.segments.clear();
        self.batch.beside.clear();
    }

    /// Whether the batch is one run of nearly all the block, and not everybody can take it now.
    fn is_worth_keeping(&self, block: &Block) -> bool {
        let (Some(first), Some(last)) = (self.batch.segments.first(), self.batch.segments.last())
        else {
            return false;
        };
        let To::Audience(audience) = first.to else {
            return false;
        };
        first.place == Place::Block
            && last.place == Place::Block
            && block.is_worth_keeping(last.bytes.end - first.bytes.start)
            && self.audiences[audience as usize]
                .slots
                .iter()
                .any(|&slot| self.slots[slot as usize].outbox.seems_blocked())
            && merged(&self.batch.segments).len() == 1
    }

    /// What it keeps for gathering from batch to batch, in bytes.
    pub(crate) fn scratch(&self) -> usize {
        self.scratch
    }

    #[inline(never)]
    fn clear_scratch(&mut self) {
        for slot in &mut self.slots {
            slot.copied = Vec::new();
            slot.counted = 0;
        }
        self.scratch = 0;
    }

    /// Forgets all routes, which keep the outboxes of clients that have left. Only between
    /// batches.
    pub(crate) fn forget(&mut self) {
        debug_assert!(self.batch.segments.is_empty());
        self.abandon();
    }

    /// The same in the middle of a batch, which is lost.
    pub(crate) fn abandon(&mut self) {
        self.hand_in();
        let withdrawn = self.outcome.withdrawn.take();
        let now = self.now;
        *self = Self::new(self.router.clone(), self.traffic.clone()).of(self.publisher);
        self.now = now;
        self.outcome.withdrawn.set(withdrawn);
    }

    /// What is remembered of a topic, if it still holds. The message at hand is counted there.
    // With this inside `add_known`, and that out of the way of those that only repeat a topic, both
    // take the fewest instructions.
    #[inline(always)]
    fn known(&mut self, name: &[u8], hash: u64) -> Option<Known> {
        let (place, item) = self.cache.get(name, hash)?;
        if !self.router.is_current(item.known.stamps, hash) {
            return None;
        }
        item.count.messages += 1;
        self.place = place;
        Some(item.known.clone())
    }

    /// Asks the router, and remembers what it says.
    fn look_up(&mut self, name: Topic<'_>, hash: u64) -> Known {
        let mut route = self.router.route(name, hash);
        let mut count = Count::new(mem::take(&mut route.counters));
        count.messages = 1;
        let known = Known {
            stamps: route.stamps(),
            audience: self.audience(&route),
            groups: (!route.groups.is_empty()).then_some(route.groups),
        };
        let name = name.as_str();
        let (place, before) = self.cache.insert(name, hash, known.clone(), count);
        self.place = place;
        if let Some(mut before) = before {
            let audience = before.known.audience;
            if *before.name == *name && audience != known.audience {
                self.stale += self.audiences[audience as usize].slots.len() + 1;
            }
            hand_in(&mut before, &self.audiences, &self.traffic, self.now);
        }
        known
    }

    /// Takes out when the batch came and how many of its copies have left at once.
    pub(crate) fn take_direct(&self) -> (Moment, u64) {
        (self.now, self.outcome.direct.take())
    }

    /// A batch has come.
    pub(crate) fn set_now(&mut self, now: Moment) {
        self.now = now;
    }

    /// On how many topics there may be something to hand in.
    pub(crate) fn topics(&self) -> u64 {
        self.cache.len() as u64
    }

    /// Hands in what was published since the last time: to the table of topics, and to the counters of
    /// the filters that matched.
    #[inline(never)]
    pub(crate) fn hand_in(&mut self) {
        self.count_repeats();
        let now = self.now;
        for item in self.cache.items() {
            hand_in(item, &self.audiences, &self.traffic, now);
        }
    }

    /// Counts messages that followed the last one with its topic. Out of line, where it is rare.
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
            self.batch.departures = self.router.departures();
        }
    }

    fn add_to(
        &mut self,
        known: Known,
        place: Place,
        topic: Range<usize>,
        bytes: Range<usize>,
        manner: Manner,
    ) -> Added {
        let slots = &self.audiences[known.audience as usize].slots;
        self.batch.copies = slots.len() as u64;
        if self.batch.copies > 0 {
            self.batch.segments.push(Segment {
                to: To::Audience(known.audience),
                place,
                bytes: bytes.clone(),
                messages: 1,
                manner,
                topic: topic.clone(),
            });
        }
        if let Some(groups) = &known.groups {
            let everyone = slots.clone();
            self.add_to_groups(groups, &everyone, place, &topic, &bytes, manner);
        }
        Added {
            copies: self.batch.copies,
            repeatable: known.groups.is_none(),
        }
    }

    /// One member of each group gets the message, unless it gets a copy anyway.
    fn add_to_groups(
        &mut self,
        groups: &[Arc<Group>],
        everyone: &[u32],
        place: Place,
        topic: &Range<usize>,
        bytes: &Range<usize>,
        manner: Manner,
    ) {
        let mut chosen = Vec::new();
        for group in groups {
            let slot = slot(&mut self.slots, &mut self.slot_of, group.next_member());
            if everyone.contains(&slot) || chosen.contains(&slot) {
                continue;
            }
            chosen.push(slot);
            self.batch.copies += 1;
            self.batch.segments.push(Segment {
                to: To::Member(slot, group.clone()),
                place,
                bytes: bytes.clone(),
                messages: 1,
                manner,
                topic: topic.clone(),
            });
        }
        if let Some(item) = self.cache.at(self.place) {
            item.count.shared += chosen.len() as u64;
        }
    }

    fn audience(&mut self, route: &Route) -> u32 {
        let slots: Arc<[u32]> = route
            .subscribers
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

    /// Returns how many subscribers that were.
    fn deliver_run(&self, run: Run<'_>, audience: u32, batch: &Batch, block: &[u8]) -> usize {
        let slots = &self.audiences[audience as usize].slots;
        let run = run.to(slots.len());
        for &slot in &**slots {
            let outbox = &self.slots[slot as usize].outbox;
            let mut held = outbox.hold();
            if self.router.departures() == batch.departures {
                if !self.outcome.hand(outbox, &mut held, &[&run]) {
                    self.outcome.withdraw(run.messages());
                }
            } else {
                drop(held);
                self.deliver_checked(slot, &batch.segments, batch, block);
            }
        }
        slots.len()
    }

    /// Several runs: collects what each subscriber gets, then delivers once to each. Returns how
    /// many deliveries that were.
    fn gather(&mut self, runs: &[Range<usize>], batch: &Batch, block: &[u8]) -> usize {
        let bodies: Vec<Run<'_>> = runs
            .iter()
            .map(|run| {
                let (bytes, messages) = batch.run(run, block);
                let first = &batch.segments[run.start];
                let run = Run::borrowed(bytes, messages).by(self.publisher, first.manner);
                match &first.to {
                    To::Audience(_) => run,
                    To::Member(_, group) => run.for_one_of(group.filter()),
                }
            })
            .collect();
        let mut touched: Vec<u32> = Vec::new();
        let (mut gathered, mut delivered, mut sends) = (0, 0, 0);
        for (number, run) in runs.iter().enumerate() {
            let mut add = |slot: u32| {
                let entry = &mut self.slots[slot as usize];
                if entry.pieces.is_empty() {
                    touched.push(slot);
                }
                gathered += entry.add(number, &bodies[number]);
            };
            match &batch.segments[run.start].to {
                To::Audience(audience) => {
                    let slots = &self.audiences[*audience as usize].slots;
                    slots.iter().for_each(|&slot| add(slot));
                }
                To::Member(slot, _) => add(*slot),
            }
            if gathered > GATHERED_BYTES || number + 1 == runs.len() {
                let part = &batch.segments[runs[delivered].start..run.end];
                sends += touched.len();
                for slot in touched.drain(..) {
                    self.deliver_gathered(slot, &bodies, part, batch, block);
                }
                (gathered, delivered) = (0, number + 1);
            }
        }
        sends
    }

    /// Hands one subscriber what was collected for it from `part` of the batch.
    fn deliver_gathered(
        &mut self,
        slot: u32,
        bodies: &[Run<'_>],
        part: &[Segment],
        batch: &Batch,
        block: &[u8],
    ) {
        let entry = &mut self.slots[slot as usize];
        let pieces = mem::take(&mut entry.pieces);
        let copied = mem::take(&mut entry.copied);
        let outbox = &entry.outbox;
        let mut at = 0;
        let copies: Vec<Run<'_>> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Copied {
                    bytes,
                    messages,
                    manner,
                    share,
                } => {
                    at += bytes;
                    let run = Run::borrowed(&copied[at - bytes..at], *messages);
                    let run = run.by(self.publisher, *manner);
                    Some(match share {
                        Some(filter) => run.for_one_of(filter),
                        None => run,
                    })
                }
                Piece::Run(_) => None,
            })
            .collect();
        let mut next_copy = copies.iter();
        let all: Vec<&Run<'_>> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Copied { .. } => next_copy.next(),
                Piece::Run(number) => bodies.get(*number),
            })
            .collect();
        let mut held = outbox.hold();
        let done = self.router.departures() == batch.departures
            && self.outcome.hand(outbox, &mut held, &all);
        drop(held);
        if !done {
            self.deliver_checked(slot, part, batch, block);
        }
        let entry = &mut self.slots[slot as usize];
        self.scratch += copied.capacity() - mem::replace(&mut entry.counted, copied.capacity());
        (entry.pieces, entry.copied) = (pieces, copied);
        entry.pieces.clear();
        entry.copied.clear();
    }

    /// Somebody has unsubscribed since the routes were looked up, or the client is gone: delivers
    /// only what is for it still, and what it shared to another member of its group.
    fn deliver_checked(&self, slot: u32, segments: &[Segment], batch: &Batch, block: &[u8]) {
        let outbox = &self.slots[slot as usize].outbox;
        let own: Vec<&Segment> = segments
            .iter()
            .filter(|segment| match &segment.to {
                To::Audience(audience) => self.audiences[*audience as usize].slots.contains(&slot),
                To::Member(member, _) => *member == slot,
            })
            .collect();
        let runs: Vec<Run<'_>> = own
            .iter()
            .map(|segment| {
                let run = batch.run_of(segment, block);
                run.by(self.publisher, segment.manner)
            })
            .collect();
        let wanted = loop {
            let departures = outbox.departures().load(Ordering::Acquire);
            let wanted = self.wanted(outbox.id(), &own, batch, block);
            let mut held = outbox.hold();
            if outbox.departures().load(Ordering::Acquire) != departures {
                continue;
            }
            let all: Vec<&Run<'_>> = runs
                .iter()
                .zip(&wanted)
                .filter_map(|(run, wanted)| wanted.then_some(run))
                .collect();
            if all.is_empty() || self.outcome.hand(outbox, &mut held, &all) {
                break wanted;
            }
            break vec![false; own.len()];
        };
        for ((segment, run), taken) in own.iter().zip(&runs).zip(wanted) {
            let is_lost = !taken
                && match &segment.to {
                    To::Audience(_) => true,
                    To::Member(_, group) => {
                        let topic = &batch.buffer(segment.place, block)[segment.topic.clone()];
                        !self.deliver_to_one_of(group, topic, run)
                    }
                };
            if is_lost {
                self.outcome.withdraw(run.messages());
            }
        }
    }

    /// Which of these segments are for the client now. Each topic is looked up once.
    fn wanted(&self, id: u64, segments: &[&Segment], batch: &Batch, block: &[u8]) -> Vec<bool> {
        let mut routes: HashMap<&[u8], Option<Route>, RandomState> = HashMap::default();
        segments
            .iter()
            .map(|segment| {
                let name = &batch.buffer(segment.place, block)[segment.topic.clone()];
                let route = routes.entry(name).or_insert_with(|| {
                    let topic = Topic::parse(name).ok()?;
                    Some(self.router.route(topic, self.router.hash(name)))
                });
                route.as_ref().is_some_and(|route| match &segment.to {
                    To::Audience(_) => route.reaches(id),
                    To::Member(..) => route.may_reach(id),
                })
            })
            .collect()
    }

    /// Delivers messages on one topic that a member of the group with this filter has left behind to
    /// another. Who gets a copy anyway has had it.
    pub(crate) fn hand_over(
        &self,
        filter: &Arc<str>,
        topic: Topic<'_>,
        lines: &[u8],
        messages: u64,
        manner: Manner,
    ) {
        let run = Run::borrowed(lines, messages).for_one_of(filter);
        let run = run.by(self.publisher, manner);
        let name = topic.as_str().as_bytes();
        let route = self.router.route(topic, self.router.hash(name));
        let group = route.groups.iter().find(|group| group.filter() == filter);
        let taken = group.is_some_and(|group| {
            let mut others = group.members().filter(|member| !route.reaches(member.id()));
            others.any(|member| {
                self.deliver_if(member, name, &run, |route| route.may_reach(member.id()))
            })
        });
        if !taken {
            self.outcome.withdraw(messages);
        }
    }

    fn deliver_to_one_of(&self, group: &Group, topic: &[u8], run: &Run<'_>) -> bool {
        group
            .members()
            .any(|outbox| self.deliver_if(outbox, topic, run, |route| route.may_reach(outbox.id())))
    }

    /// Delivers a run if the client wants it at the moment it gets it.
    fn deliver_if(
        &self,
        outbox: &Subscriber,
        topic: &[u8],
        run: &Run<'_>,
        wanted: impl Fn(&Route) -> bool,
    ) -> bool {
        let Ok(topic) = Topic::parse(topic) else {
            return false;
        };
        let hash = self.router.hash(topic.as_str().as_bytes());
        loop {
            let departures = outbox.departures().load(Ordering::Acquire);
            if !wanted(&self.router.route(topic, hash)) {
                return false;
            }
            let mut held = outbox.hold();
            if outbox.departures().load(Ordering::Acquire) == departures {
                return self.outcome.hand(outbox, &mut held, &[run]);
            }
        }
    }
}

impl Slot {
    /// Adds a run; returns how many bytes that copied.
    fn add(&mut self, number: usize, run: &Run<'_>) -> usize {
        let len = run.bytes().len();
        if len >= COPY_BELOW_BYTES {
            self.pieces.push(Piece::Run(number));
            return 0;
        }
        self.copied.extend_from_slice(run.bytes());
        if let Some(Piece::Copied {
            bytes,
            messages,
            manner,
            share,
        }) = self.pieces.last_mut()
            && share.as_ref() == run.share()
            && *manner == run.manner()
        {
            *bytes += len;
            *messages += run.messages();
        } else {
            self.pieces.push(Piece::Copied {
                bytes: len,
                messages: run.messages(),
                manner: run.manner(),
                share: run.share().cloned(),
            });
        }
        len
    }
}

impl Batch {
    fn buffer<'a>(&'a self, place: Place, block: &'a [u8]) -> &'a [u8] {
        match place {
            Place::Block => block,
            Place::Beside => &self.beside,
        }
    }

    fn run_of<'a>(&'a self, segment: &Segment, block: &'a [u8]) -> Run<'a> {
        let bytes = &self.buffer(segment.place, block)[segment.bytes.clone()];
        let run = Run::borrowed(bytes, segment.messages);
        match &segment.to {
            To::Audience(_) => run,
            To::Member(_, group) => run.for_one_of(group.filter()),
        }
    }

    /// The bytes of some consecutive segments that are one run, and how many messages they hold.
    fn run<'a>(&'a self, run: &Range<usize>, block: &'a [u8]) -> (&'a [u8], u64) {
        let segments = &self.segments[run.clone()];
        let (first, last) = (&segments[0], &segments[segments.len() - 1]);
        let bytes = &self.buffer(first.place, block)[first.bytes.start..last.bytes.end];
        let messages = segments.iter().map(|segment| segment.messages).sum();
        (bytes, messages)
    }
}

impl Outcome {
    /// Delivers, and notes a subscriber that wants to be waited for. Returns false if it is gone.
    fn hand(&self, outbox: &Subscriber, held: &mut Held<'_>, runs: &[&Run<'_>]) -> bool {
        let taken = held.deliver(runs);
        if held.take_press() {
            self.pressing.borrow_mut().push(outbox.clone());
        } else if held.has_room() {
            let copies: u64 = runs.iter().map(|run| run.messages()).sum();
            self.direct.set(self.direct.get() + copies);
        }
        taken
    }

    fn withdraw(&self, copies: u64) {
        self.withdrawn.set(self.withdrawn.get() + copies);
    }
}

/// Hands in what was counted with one topic.
fn hand_in(item: &mut Item, audiences: &[Audience], traffic: &Traffic, now: Moment) {
    let count = &mut item.count;
    let messages = mem::take(&mut count.messages);
    if messages == 0 {
        return;
    }
    let everyone = audiences[item.known.audience as usize].slots.len() as u64;
    let copies = messages * everyone + mem::take(&mut count.shared);
    count.counters.add(messages);
    traffic.add(&item.name, messages, copies, now);
}

/// The number of a subscriber in this dispatch.
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

/// Ranges of segments that stand one after another and go to the same audience.
fn merged(segments: &[Segment]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (number, segment) in segments.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if segments[run.end - 1].continues(segment) => run.end += 1,
            _ => runs.push(number..number + 1),
        }
    }
    runs
}

impl Segment {
    fn continues(&self, next: &Self) -> bool {
        let same = matches!((&self.to, &next.to), (To::Audience(a), To::Audience(b)) if a == b);
        same && self.place == next.place
            && self.bytes.end == next.bytes.start
            && self.manner == next.manner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use crate::outbox::tests::{TestSink, outbox};
    use protocol::Filter;

    struct Scene {
        router: Arc<Router>,
        dispatch: Dispatch,
        block: Block,
    }

    impl Scene {
        fn new() -> Self {
            let router = Arc::new(Router::new());
            Self {
                dispatch: Dispatch::new(router.clone(), Arc::default()),
                router,
                block: Block::new(&Arc::new(Memory::new(usize::MAX))),
            }
        }

        fn subscriber(&self, id: u64, filters: &[&str]) -> (Subscriber, TestSink) {
            let (outbox, sink) = outbox(id, 1 << 20, usize::MAX);
            for filter in filters {
                self.router
                    .subscribe(Filter::parse(*filter).expect("a filter"), &outbox);
            }
            (outbox, sink)
        }

        /// Adds `<topic> <text>;` for each pair; returns the copies made.
        fn add(&mut self, messages: &[(&str, &str)]) -> u64 {
            let mut copies = 0;
            for (topic, text) in messages {
                let bytes = self.block.fill(1 << 20).expect("there is memory");
                let start = bytes.len();
                bytes.extend_from_slice(format!("{topic} {text};").as_bytes());
                let (end, topic_end) = (bytes.len(), start + topic.len());
                let known =
                    self.dispatch
                        .add_known(self.block.bytes(), start..topic_end, start..end);
                let added = known.unwrap_or_else(|| {
                    let name = Topic::parse(*topic).expect("a topic");
                    self.dispatch
                        .add(name, Place::Block, start..topic_end, start..end)
                });
                copies += added.copies;
            }
            copies
        }

        fn deliver(&mut self) {
            self.block.consume(self.block.unread().len());
            self.dispatch.deliver_last(&mut self.block);
            self.block.fill(1 << 20);
        }
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
    fn who_unsubscribes_within_a_batch_gets_nothing_more_of_it() {
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
        // Members with nothing waiting were asked first, and the leaver is always such a one.
        let mut scene = Scene::new();
        let (leaver, leavers) = scene.subscriber(1, &["$share/g/a"]);
        let (busy, _) = outbox(2, 100, 0);
        let filter = Filter::parse("$share/g/a").expect("a filter");
        scene.router.subscribe(filter, &busy);
        busy.hold().answer(b"it has no room for this");
        scene.add(&[("a", "1")]);
        scene.router.unsubscribe(filter, &leaver);
        scene.deliver();
        assert_eq!(leavers.taken(), "");
        let waiting = busy.close().orphans;
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
    fn what_nobody_gets_is_not_kept() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            scene.dispatch.beside().extend_from_slice(b"a 1;");
            let name = Topic::parse("a").expect("a topic");
            let added = scene.dispatch.add(name, Place::Beside, 0..1, 0..4);
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
