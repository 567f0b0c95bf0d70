//! What a session holds for its client: subscriptions with their options, messages in flight, and
//! those that wait for their turn.
//!
//! It lies in the client's outbox and goes on while the client is away. It decides for each message
//! whether the client gets it and how, numbers what wants an acknowledgement, and keeps it until that
//! has come.

use std::collections::{HashMap, HashSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::fast::RandomState;
use protocol::{Filter, Topic};

use super::Version;
use super::message::{self, Extra, Parts, Plain};
use crate::engine::limits::CachedLimits;
use crate::engine::memory::budget::Charge;
use crate::engine::outbox::delivery_state::{Adapter, Fate, Message, Outgoing, Pumped, Span};
use crate::engine::outbox::run::{PublishOptions, Redelivery};

/// So many messages are in flight to a client at most, even if it would take more.
const MOST_IN_FLIGHT: usize = 1024;

/// For so many topics is remembered which filters match.
const REMEMBERED_TOPICS: usize = 256;

/// What a kept message takes beside its line, as `measure -- kept` finds, and what it takes in addition
/// if it has something rare.
const KEPT_BYTES: usize = 80;
const RARE_BYTES: usize = 64;

/// So many bytes are taken of the memory of all at a time, where there are as many.
const CHARGED_AT_ONCE: usize = 4096;

/// The most subscription identifiers that one message is sent with.
const MOST_IDENTIFIERS: usize = 64;

/// What a client said of one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) qos: u8,
    /// Not what it has published itself.
    pub(super) no_local: bool,
    /// RETAIN as the publisher set it.
    pub(super) as_published: bool,
    pub(super) identifier: Option<u32>,
}

/// What the connection at hand can take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) version: Version,
    /// Messages at QoS 1 and 2 that it takes before it has acknowledged some.
    pub(super) receive_maximum: u16,
    /// The longest packet; none for any.
    pub(super) packet_bytes: Option<u32>,
    /// Topics that it remembers by number.
    pub(super) aliases: u16,
}

/// What a session holds.
pub(super) struct Shelf {
    /// The number of the session's outbox, which is that of its own messages.
    owner: u64,
    client_id: Box<str>,
    terms: Terms,
    limits: CachedLimits,
    /// It goes on without a connection.
    lasts: bool,
    connected: bool,
    filters: HashMap<Box<str>, Options, RandomState>,
    /// Those with wildcards.
    wild: Vec<Box<str>>,
    /// How many subscriptions want more than the words that all clients share.
    demanding: usize,
    /// By topic as it stands on lines.
    known: HashMap<Box<[u8]>, Wanted, RandomState>,
    /// What has been sent, oldest first.
    flights: VecDeque<Flight>,
    /// So many of them have been sent on this connection.
    flying: usize,
    ids: HashSet<u16, RandomState>,
    next_id: u16,
    /// What has not been sent.
    waiting: VecDeque<Parcel>,
    bytes: usize,
    /// So many are charged for them.
    charged: usize,
    charge: Charge,
    /// What the client has sent at QoS 2 and not released.
    pub(super) received: HashSet<u16, RandomState>,
    /// Dropped before the next message.
    gap: u64,
    aliases: HashMap<Box<str>, u16, RandomState>,
    /// For now only this filter counts.
    focus: Option<Arc<str>>,
}

/// What the matching filters make of a message.
#[derive(Clone, Debug, Default)]
struct Wanted {
    qos: u8,
    as_published: bool,
    /// A filter matches whose client wants its own messages too.
    local: bool,
    any: bool,
    identifiers: Option<Arc<[u32]>>,
}

/// A kept message.
struct Parcel {
    line: Bytes,
    came: Instant,
    qos: u8,
    retain: bool,
    rare: Option<Box<Rare>>,
}

/// What few kept messages have.
#[derive(Default)]
struct Rare {
    identifiers: Option<Arc<[u32]>>,
    ttl: Option<Duration>,
    gap: u64,
    share: Option<Arc<str>>,
}

struct Flight {
    id: u16,
    parcel: Parcel,
    /// It has been sent on an earlier connection.
    again: bool,
    /// Only its release is to be acknowledged.
    released: bool,
}

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acked {
    /// The message has arrived, or was refused.
    Arrived,
    /// It has arrived, and is to be released.
    Release,
    /// That was known: only its release may have been lost.
    ReleaseAgain,
    /// All is done.
    Completed,
    /// No message of that number was on its way.
    Unknown,
    /// Another kind of acknowledgement was due.
    OutOfTurn,
}

impl Shelf {
    pub(super) fn new(
        owner: u64,
        client_id: &str,
        terms: Terms,
        limits: CachedLimits,
        charge: Charge,
    ) -> Self {
        Self {
            owner,
            client_id: client_id.into(),
            terms,
            limits,
            lasts: false,
            connected: false,
            filters: HashMap::default(),
            wild: Vec::new(),
            demanding: 0,
            known: HashMap::default(),
            flights: VecDeque::new(),
            flying: 0,
            ids: HashSet::default(),
            next_id: 0,
            waiting: VecDeque::new(),
            bytes: 0,
            charged: 0,
            charge,
            received: HashSet::default(),
            gap: 0,
            aliases: HashMap::default(),
            focus: None,
        }
    }

    pub(super) fn version(&self) -> Version {
        self.terms.version
    }

    /// What is taken in now is for this filter alone: retained messages are.
    pub(super) fn focus(&mut self, filter: Option<&str>) {
        self.focus = filter.map(Into::into);
    }

    pub(super) fn has(&self, filter: &str) -> bool {
        self.filters.contains_key(filter)
    }

    /// Whether its client has been welcomed and is still there.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// The client is connected again, and takes this much.
    pub(super) fn resume(&mut self, terms: Terms) {
        self.terms = terms;
        self.connected = true;
    }

    pub(super) fn set_lasting(&mut self, lasts: bool) {
        self.lasts = lasts;
    }

    pub(super) fn subscriptions(&self) -> usize {
        self.filters.len()
    }

    /// Sets what is wanted of a filter, as it stands on lines; returns whether there was such one.
    pub(super) fn subscribe(&mut self, filter: Filter<'_>, options: Options) -> bool {
        self.known.clear();
        let before = self.filters.insert(filter.as_str().into(), options);
        self.demanding += usize::from(options.is_demanding());
        self.demanding -= usize::from(before.is_some_and(Options::is_demanding));
        if before.is_none() && !filter.is_exact() && filter.group().is_none() {
            self.wild.push(filter.as_str().into());
        }
        before.is_some()
    }

    /// Returns whether there was such a subscription.
    pub(super) fn unsubscribe(&mut self, filter: &str) -> bool {
        self.known.clear();
        let Some(options) = self.filters.remove(filter) else {
            return false;
        };
        self.demanding -= usize::from(options.is_demanding());
        self.wild.retain(|each| **each != *filter);
        true
    }

    /// The client has taken responsibility for a message at QoS 1, or refused it.
    pub(super) fn acknowledge(&mut self, id: u16) -> Acked {
        match self.find(id) {
            None => Acked::Unknown,
            Some(at) if self.flights[at].parcel.qos != 1 => Acked::OutOfTurn,
            Some(at) => {
                self.remove(at);
                Acked::Arrived
            }
        }
    }

    /// The same at QoS 2: it is released next, unless it was refused.
    pub(super) fn receive(&mut self, id: u16, refused: bool) -> Acked {
        let Some(at) = self.find(id) else {
            return Acked::Unknown;
        };
        let flight = &mut self.flights[at];
        if flight.parcel.qos != 2 {
            return Acked::OutOfTurn;
        }
        if flight.released {
            return Acked::ReleaseAgain;
        }
        if refused {
            self.remove(at);
            return Acked::Arrived;
        }
        flight.released = true;
        let size = flight.parcel.size();
        flight.parcel.line = Bytes::new();
        self.give_back(size);
        Acked::Release
    }

    /// A message at QoS 2 is done with.
    pub(super) fn complete(&mut self, id: u16) -> Acked {
        match self.find(id) {
            None => Acked::Unknown,
            Some(at) if !self.flights[at].released => Acked::OutOfTurn,
            Some(at) => {
                self.remove(at);
                Acked::Completed
            }
        }
    }

    fn find(&self, id: u16) -> Option<usize> {
        // Acknowledgements come in the order of messages, as a rule.
        if self.flying > 0 && self.flights.front().is_some_and(|flight| flight.id == id) {
            return Some(0);
        }
        if !self.ids.contains(&id) {
            return None;
        }
        self.flights
            .iter()
            .take(self.flying)
            .position(|flight| flight.id == id)
    }

    fn remove(&mut self, at: usize) {
        let flight = match at {
            0 => self.flights.pop_front(),
            at => self.flights.remove(at),
        };
        if let Some(flight) = flight {
            self.flying -= 1;
            self.ids.remove(&flight.id);
            if !flight.released {
                self.give_back(flight.parcel.size());
            }
        }
    }

    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        let unused = self.charged - self.bytes;
        if unused >= 2 * CHARGED_AT_ONCE || unused >= self.charged / 4 * 3 {
            self.settle_charge();
        }
    }

    /// The memory of all is asked once for many messages, also for some that have yet to come.
    fn settle_charge(&mut self) {
        self.charged = match self.bytes {
            0 => 0,
            few @ ..CHARGED_AT_ONCE => few.next_power_of_two(),
            many => many.next_multiple_of(CHARGED_AT_ONCE),
        };
        self.charge.resize(self.charged);
    }

    /// What the filters that match want of a message.
    fn wanted(&mut self, topic: Topic<'_>, share: Option<&Arc<str>>) -> Wanted {
        if let Some(filter) = share.or(self.focus.as_ref()) {
            let options = self.filters.get(&**filter);
            return options.map_or_else(Wanted::default, |options| Wanted::of(&[*options]));
        }
        if let Some(wanted) = self.known.get(topic.as_str().as_bytes()) {
            return wanted.clone();
        }
        let exact = self.filters.get(topic.as_str());
        let wild = self
            .wild
            .iter()
            .filter(|filter| message::matches(filter, topic));
        let wild = wild.filter_map(|filter| self.filters.get(filter));
        let matching: Vec<Options> = exact.into_iter().chain(wild).copied().collect();
        let wanted = Wanted::of(&matching);
        if self.known.len() >= REMEMBERED_TOPICS {
            self.known.clear();
        }
        self.known
            .insert(topic.as_str().as_bytes().into(), wanted.clone());
        wanted
    }

    /// Keeps a message until it is acknowledged, as far as there is room.
    fn keep(&mut self, message: &Message<'_>, qos: u8, retain: bool, rare: Rare) -> Fate {
        let rare = Rare {
            gap: self.gap,
            ..rare
        };
        let added = size(message.line(), rare.is_any());
        self.limits.refresh();
        let limits = self.limits.get();
        let room = limits
            .outbox_bytes
            .min(message.memory.free().saturating_add(self.charged));
        let kept = self.waiting.len() + self.flights.len();
        if kept >= limits.queued || (kept > 0 && self.bytes + added > room) {
            self.gap += 1;
            return Fate::Dropped;
        }
        self.gap = 0;
        self.bytes += added;
        if self.bytes > self.charged {
            self.settle_charge();
        }
        self.waiting.push_back(Parcel {
            line: message.run.keep_line(message.range.clone(), message.number),
            came: message.now,
            qos,
            retain,
            rare: rare.is_any().then(|| Box::new(rare)),
        });
        Fate::Kept
    }

    /// An alias for the topic, and whether the client has to be told it.
    fn alias(&mut self, topic: &str) -> Option<(u16, bool)> {
        if let Some(&alias) = self.aliases.get(topic) {
            return Some((alias, false));
        }
        let count = self.aliases.len() as u16;
        if count >= self.terms.aliases {
            return None;
        }
        self.aliases.insert(topic.into(), count + 1);
        Some((count + 1, true))
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            // There are many more numbers than may be in flight.
            if self.ids.insert(self.next_id) {
                return self.next_id;
            }
        }
    }

    /// Writes what is kept; returns false if the client cannot take it.
    fn write(
        &mut self,
        parcel: &Parcel,
        id: u16,
        dup: bool,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> bool {
        let (qos, retain) = (parcel.qos, parcel.retain);
        if parcel.rare.is_none()
            && self.terms.aliases == 0
            && let Some(plain) = Plain::of(&parcel.line)
        {
            let start = out.len();
            let extra = Extra {
                dup,
                qos,
                retain,
                id,
                ..Extra::default()
            };
            plain.write(out, self.terms.version, extra);
            let fits = !self.is_too_long(out.len() - start);
            if !fits {
                out.truncate(start);
            }
            return fits;
        }
        let Some(parts) = Parts::of(&parcel.line) else {
            return false;
        };
        let gap = parcel.gap();
        if gap > 0 {
            self.write_gap(gap, out);
        }
        let start = out.len();
        let known = self.aliases.len();
        let extra = Extra {
            dup,
            qos,
            retain,
            id,
            identifiers: parcel.identifiers(),
            gap,
            waited: now.duration_since(parcel.came).as_secs() as u32,
            alias: self.alias(parts.topic.as_str()),
        };
        message::write_publish(out, self.terms.version, &parts, extra);
        if self.is_too_long(out.len() - start) {
            out.truncate(start);
            if self.aliases.len() > known {
                self.aliases.remove(parts.topic.as_str());
            }
            return false;
        }
        true
    }

    fn is_too_long(&self, len: usize) -> bool {
        let most = self.terms.packet_bytes;
        most.is_some_and(|most| len > most as usize)
    }

    /// Tells a client of 3.1.1 of a gap, if it wants to know.
    fn write_gap(&mut self, count: u64, out: &mut Vec<u8>) {
        if self.terms.version != Version::V3 {
            return;
        }
        let name = format!("$SYS/gap/{}", message::name_on_line(&self.client_id));
        let Ok(topic) = Topic::parse(&name) else {
            return;
        };
        if self.wanted(topic, None).any {
            let line = format!("MESSAGE {name} {count}\n");
            out.extend(message::encode(line.as_bytes(), Version::V3));
        }
    }
}

impl Adapter for Shelf {
    fn is_plain(&self) -> bool {
        self.demanding == 0
            && self.gap == 0
            && self.connected
            && self.terms.packet_bytes.is_none()
            && self.terms.aliases == 0
    }

    fn outlives(&self) -> bool {
        self.lasts
    }

    fn take(&mut self, message: &Message<'_>, outgoing: &mut Outgoing) -> Fate {
        let options = message.run.options();
        let share = message.run.share();
        let plain = Plain::of(message.line());
        let known = match &plain {
            Some(plain) if share.is_none() && self.focus.is_none() => self.known.get(plain.topic),
            _ => None,
        };
        let (wanted, ttl, retained) = match known {
            Some(wanted) => (wanted.clone(), None, false),
            None => {
                let Some(parts) = Parts::of(message.line()) else {
                    return Fate::Unwanted;
                };
                let retained =
                    !parts.attributes.is_empty() && parts.attributes.contains(protocol::RETAINED);
                (self.wanted(parts.topic, share), parts.ttl(), retained)
            }
        };
        let own = message.run.publisher() == self.owner;
        if !wanted.any || (own && !wanted.local) {
            return Fate::Unwanted;
        }
        let retain = retained || (options.retain && wanted.as_published);
        let qos = options.qos.min(wanted.qos);
        let rare = Rare {
            identifiers: wanted.identifiers,
            ttl,
            gap: 0,
            share: share.cloned(),
        };
        if qos > 0 {
            return self.keep(message, qos, retain, rare);
        }
        if !self.connected {
            return Fate::Unwanted;
        }
        self.send_now(message, retain, &rare, outgoing)
    }

    fn note_gap(&mut self, count: u64) {
        self.gap += count;
    }

    fn pump(&mut self, now: Instant, room: usize, outgoing: &mut Outgoing) -> Pumped {
        let mut pumped = Pumped::default();
        let most = usize::from(self.terms.receive_maximum).min(MOST_IN_FLIGHT);
        let begun = outgoing.begin().len();
        while self.connected && outgoing.begin().len() - begun < room {
            if let Some(flight) = self.flights.get(self.flying) {
                // What was in flight when the last connection ended.
                if flight.released {
                    let id = flight.id.to_be_bytes();
                    outgoing.begin().extend([0x62, 2, id[0], id[1]]);
                    self.flying += 1;
                    continue;
                }
                if self.in_flight() >= most {
                    break;
                }
                let mut flight = self.flights.remove(self.flying).expect("it is there");
                if self.write(
                    &flight.parcel,
                    flight.id,
                    flight.again,
                    now,
                    outgoing.begin(),
                ) {
                    flight.again = true;
                    self.flights.insert(self.flying, flight);
                    self.flying += 1;
                } else {
                    self.ids.remove(&flight.id);
                    self.give_back(flight.parcel.size());
                    pumped.discarded += 1;
                }
                continue;
            }
            if self.in_flight() >= most {
                break;
            }
            let Some(parcel) = self.waiting.pop_front() else {
                break;
            };
            let waited = now.duration_since(parcel.came);
            let id = self.free_id();
            if parcel.ttl().is_none_or(|ttl| waited <= ttl)
                && self.write(&parcel, id, false, now, outgoing.begin())
            {
                self.flights.push_back(Flight {
                    id,
                    parcel,
                    again: true,
                    released: false,
                });
                self.flying += 1;
            } else {
                self.ids.remove(&id);
                self.gap += parcel.gap();
                self.give_back(parcel.size());
                pumped.discarded += 1;
            }
        }
        // The room for what a client has missed while it was away is not needed again soon.
        if self.waiting.is_empty() && self.waiting.capacity() > 4 * MOST_IN_FLIGHT {
            self.waiting = VecDeque::new();
        }
        if outgoing.begin().len() > begun {
            outgoing.end(Span::Kept);
        }
        pumped
    }

    fn holds_back(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn kept(&self) -> u64 {
        let flights = self.flights.iter().filter(|flight| !flight.released);
        (flights.count() + self.waiting.len()) as u64
    }

    fn pause(&mut self) {
        self.connected = false;
        self.flying = 0;
        self.aliases.clear();
    }

    fn give_up(&mut self, redeliveries: &mut Vec<Redelivery>) -> u64 {
        let mut lost = 0;
        let flights = mem::take(&mut self.flights).into_iter();
        // What may have been received at QoS 2 must not be received by another as well.
        let (done, flights): (Vec<_>, Vec<_>) = flights.partition(|flight| flight.released);
        drop(done);
        let flights = flights.into_iter().map(|flight| {
            let mut parcel = flight.parcel;
            if parcel.qos == 2
                && let Some(rare) = &mut parcel.rare
            {
                rare.share = None;
            }
            parcel
        });
        for parcel in flights.chain(mem::take(&mut self.waiting)) {
            match parcel.rare.and_then(|rare| rare.share) {
                Some(filter) => redeliveries.push(Redelivery {
                    filter,
                    bytes: parcel.line,
                    options: PublishOptions {
                        qos: parcel.qos,
                        retain: parcel.retain,
                    },
                }),
                None => lost += 1,
            }
        }
        self.ids.clear();
        self.bytes = 0;
        self.settle_charge();
        lost
    }
}

impl Shelf {
    /// Messages at QoS 1 and 2 that the client has not acknowledged on this connection.
    fn in_flight(&self) -> usize {
        self.flying
    }

    /// At QoS 0.
    fn send_now(
        &mut self,
        message: &Message<'_>,
        retain: bool,
        rare: &Rare,
        outgoing: &mut Outgoing,
    ) -> Fate {
        let Some(parts) = Parts::of(message.line()) else {
            return Fate::Unwanted;
        };
        let gap = mem::take(&mut self.gap);
        let start = outgoing.begin().len();
        if gap > 0 {
            self.write_gap(gap, outgoing.begin());
            if outgoing.begin().len() > start {
                outgoing.end(Span::Kept);
            }
        }
        let start = outgoing.begin().len();
        let known = self.aliases.len();
        let extra = Extra {
            retain,
            identifiers: rare.identifiers.as_deref().unwrap_or_default(),
            gap,
            alias: self.alias(parts.topic.as_str()),
            ..Extra::default()
        };
        message::write_publish(outgoing.begin(), self.terms.version, &parts, extra);
        if self.is_too_long(outgoing.begin().len() - start) {
            outgoing.begin().truncate(start);
            if self.aliases.len() > known {
                self.aliases.remove(parts.topic.as_str());
            }
            return Fate::Unwanted;
        }
        outgoing.end(match message.run.share() {
            None if self.aliases.len() > known => Span::Pinned,
            None => Span::Messages(1),
            Some(filter) => Span::OneOf(Redelivery {
                filter: filter.clone(),
                bytes: Bytes::copy_from_slice(message.line()),
                options: message.run.options(),
            }),
        });
        Fate::Sent
    }
}

impl Rare {
    fn is_any(&self) -> bool {
        self.identifiers.is_some() || self.ttl.is_some() || self.gap > 0 || self.share.is_some()
    }
}

impl Parcel {
    /// What it takes.
    fn size(&self) -> usize {
        size(&self.line, self.rare.is_some())
    }

    fn gap(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.gap)
    }

    fn ttl(&self) -> Option<Duration> {
        self.rare.as_ref()?.ttl
    }

    fn identifiers(&self) -> &[u32] {
        let identifiers = self
            .rare
            .as_ref()
            .and_then(|rare| rare.identifiers.as_deref());
        identifiers.unwrap_or_default()
    }
}

impl Options {
    fn is_demanding(self) -> bool {
        self.qos > 0 || self.no_local || self.as_published || self.identifier.is_some()
    }
}

impl Wanted {
    fn of(matching: &[Options]) -> Self {
        let mut identifiers: Vec<u32> = matching
            .iter()
            .filter_map(|options| options.identifier)
            .take(MOST_IDENTIFIERS)
            .collect();
        identifiers.sort_unstable();
        identifiers.dedup();
        Self {
            qos: matching
                .iter()
                .map(|options| options.qos)
                .max()
                .unwrap_or(0),
            as_published: matching.iter().any(|options| options.as_published),
            local: matching.iter().any(|options| !options.no_local),
            any: !matching.is_empty(),
            identifiers: (!identifiers.is_empty()).then(|| identifiers.into()),
        }
    }
}

/// What a kept line takes.
fn size(line: &[u8], is_rare: bool) -> usize {
    line.len() + KEPT_BYTES + if is_rare { RARE_BYTES } else { 0 }
}
