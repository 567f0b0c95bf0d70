//! Subscribing, and the retained messages that a new subscription receives.
//!
//! SUBSCRIBE takes its locks here alone, in this order: retained messages, the client's outbox, the
//! registry. A wire sends its answers from a closure under the second lock.

use std::borrow::Cow;
use std::iter::Peekable;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use protocol::{BadFilter, Filter, MessageLine, OverflowPolicy};

use super::unsubscribe::unsubscribe;
use super::{Client, Denied, OverLimit};
use crate::auth::access::Sieve;
use crate::clock::Moment;
use crate::engine::history::History;
use crate::engine::outbox::OutboxGuard;
use crate::engine::outbox::delivery::subscriptions::{SubscriptionOptions, subscription_bytes};
use crate::engine::outbox::following::Present;
use crate::engine::outbox::queue::policies::TooManyPolicies;
use crate::engine::outbox::run::{PublishOptions, Run};
use crate::engine::retained::{Entry, Retained, RetainedMark, RetainedPart};
use crate::engine::stored_messages::with_time_left;
use crate::storage::NotKept;

/// Maximum filters handled under one lock of the outbox, for which publishers to this client wait.
const FILTERS_PER_LOCK: usize = 64;

/// Maximum bytes of retained messages delivered at once.
const GATHERED_BYTES: usize = 64 * 1024;

/// Below these levels each topic is for one client. A wildcard would match the topics of all.
const PRIVATE: [&str; 2] = ["$private", "$reply"];

/// Why a filter below [`PRIVATE`] is refused, and what to do.
pub(crate) const DENIED_FILTER: &str =
    "a filter with a wildcard matches nothing at or below $private/ and $reply/; name the topic";

/// Why a subscription was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SubscribeError {
    BadFilter(BadFilter),
    /// It has a wildcard at or below the topics that are each for one client; see [`DENIED_FILTER`].
    Private,
    /// The client may not subscribe to it.
    Denied(Denied),
    /// The client has this number of subscriptions, its maximum.
    TooManySubscriptions(usize),
    /// The client has the maximum of filters with both wildcards and an overflow policy.
    TooManyPolicies,
    /// Its identity has as many as it may have.
    OverLimit(OverLimit),
    /// The memory budget has no room for it.
    NoMemory,
    /// The store does not take it.
    NotKept(NotKept),
}

/// A subscription made by [`Client::subscribe_with`].
pub(crate) struct Subscribed {
    /// Whether the client had it before.
    pub(crate) is_known: bool,
    options: SubscriptionOptions,
    /// When it was made: what is retained later is delivered to it.
    since: RetainedMark,
}

/// What a wire may do for one filter of a SUBSCRIBE under the outbox lock: before the retained messages
/// of the filter, and before any newer message.
pub(crate) struct Answering<'g, 'o> {
    guard: &'g mut OutboxGuard<'o>,
    /// Answers for the client, sent before the retained messages of this filter.
    pub(crate) answers: Vec<u8>,
}

impl<'g, 'o> Answering<'g, 'o> {
    pub(super) fn new(guard: &'g mut OutboxGuard<'o>) -> Self {
        Self {
            guard,
            answers: Vec::new(),
        }
    }

    /// Sets the overflow policy for messages of all filters.
    pub(crate) fn choose_for_all(&mut self, slow: OverflowPolicy) {
        self.guard.choose_for_all(slow);
    }

    /// Ends the conversation after this many messages.
    pub(crate) fn set_quota(&mut self, messages: u64) {
        self.guard.set_quota(messages);
    }

    pub(super) fn send(&mut self) {
        if !self.answers.is_empty() {
            self.guard.answer(&self.answers);
            self.answers.clear();
        }
    }
}

/// One filter of a SUBSCRIBE, with the value that its wire attached.
struct Asked<'f, W> {
    word: W,
    filter: Result<PermittedFilter<'f>, SubscribeError>,
    /// The first of the retained messages that the filter matches.
    retained: RetainedPart,
}

/// A filter that the rules let the client subscribe to.
pub(super) struct PermittedFilter<'f> {
    pub(super) filter: Filter<'f>,
    /// What of it the client may see; none for all.
    sieve: Option<Sieve>,
}

/// A walk over retained messages that is not over.
pub(super) struct Walk<'f> {
    filter: Filter<'f>,
    options: SubscriptionOptions,
    /// The name to continue from.
    next: String,
    /// When the subscription was made.
    since: RetainedMark,
}

impl Client<'_> {
    pub(crate) fn has_subscriptions(&self) -> bool {
        self.session.subscriptions().len() > 0
    }

    /// Subscribes to filters in order. `answer` is called for each with the result, and answers the
    /// client. Returns the number refused. The caller must have delivered everything published before.
    // Out of line: inlined, its locals would lie on the stack of every idle connection.
    #[inline(never)]
    pub(crate) fn subscribe<'f, W>(
        &mut self,
        filters: impl IntoIterator<Item = (W, Result<Filter<'f>, BadFilter>)>,
        slow: Option<OverflowPolicy>,
        mut answer: impl FnMut(&mut Answering<'_, '_>, W, Result<(), SubscribeError>),
    ) -> u64 {
        let mut filters = filters.into_iter().peekable();
        let mut refused = 0;
        loop {
            refused += self.subscribe_part(&mut filters, slow, &mut answer);
            if filters.peek().is_none() {
                return refused;
            }
            self.wait_for_room();
        }
    }

    /// Subscribes to as many filters as one lock allows.
    fn subscribe_part<'f, W>(
        &mut self,
        filters: &mut Peekable<impl Iterator<Item = (W, Result<Filter<'f>, BadFilter>)>>,
        slow: Option<OverflowPolicy>,
        answer: &mut impl FnMut(&mut Answering<'_, '_>, W, Result<(), SubscribeError>),
    ) -> u64 {
        let engine = self.engine;
        // The first lock. A retained message is published under it, so none arrives between the lookup
        // of retained messages and the registration: it would be missed or delivered twice.
        let retained = engine.retained.read();
        let since = retained.mark();
        // Looked up and checked before the outbox is locked, because publishers to this client wait for that lock.
        let asked = self.look_up(&retained, filters, slow);
        let (refused, walk) = self.register(asked, slow, since, answer);
        drop(retained);
        if let Some(walk) = walk {
            self.finish_walk(walk);
        }
        refused
    }

    /// Registers what the rules permit, and answers. Returns the number refused, and what is retained and was not
    /// delivered. The caller holds the lock of the retained messages.
    // Out of line, as is `look_up`: each is deep, and in one frame they would need another page of the stack of
    // every client that subscribes.
    #[inline(never)]
    fn register<'f, W>(
        &mut self,
        asked: Vec<Asked<'f, W>>,
        slow: Option<OverflowPolicy>,
        since: RetainedMark,
        answer: &mut impl FnMut(&mut Answering<'_, '_>, W, Result<(), SubscribeError>),
    ) -> (u64, Option<Walk<'f>>) {
        let outbox = self.outbox.clone();
        // The second lock. Registration happens under it, and a publisher that finds the new
        // subscription cannot deliver before it is released: so the answer precedes the first message,
        // and retained messages precede newer ones.
        let mut guard = outbox.lock();
        let mut answering = Answering::new(&mut guard);
        let (mut refused, mut walk) = (0, None);
        for each in asked {
            let entered = each
                .filter
                .and_then(|permitted| self.enter(answering.guard, permitted, slow));
            match entered {
                Ok(filter) => {
                    answer(&mut answering, each.word, Ok(()));
                    answering.send();
                    let options = SubscriptionOptions::default();
                    walk = self.begin_walk(answering.guard, filter, options, since, each.retained);
                }
                Err(why) => {
                    refused += 1;
                    answer(&mut answering, each.word, Err(why));
                }
            }
        }
        answering.send();
        (refused, walk)
    }

    /// Delivers the first of the retained messages of a filter. `guard` locks the client's own outbox. If
    /// there are more, newer messages wait there until [`Client::finish_walk`] has delivered them all.
    // Out of line, see `register`.
    #[inline(never)]
    pub(super) fn begin_walk<'f>(
        &mut self,
        guard: &mut OutboxGuard<'_>,
        filter: Filter<'f>,
        options: SubscriptionOptions,
        since: RetainedMark,
        found: RetainedPart,
    ) -> Option<Walk<'f>> {
        if !guard.is_open() || guard.is_walk_under_way(filter.as_str(), options) {
            return None;
        }
        if !found.entries.is_empty() {
            self.deliver_retained(guard, filter, &found.entries);
        }
        let Some(next) = found.next else {
            if !filter.is_exact() {
                guard.note_walk(filter.as_str(), options);
            }
            return None;
        };
        guard.hold();
        Some(Walk {
            filter,
            options,
            next,
            since,
        })
    }

    /// Delivers the other retained messages of a filter, in pieces: no lock is held from one to the
    /// next, so publishers wait for one piece at most. A message retained meanwhile is not among them; it
    /// is delivered after them. The walk ends early if the client is gone, or other rules have taken the
    /// subscription.
    #[inline(never)]
    pub(super) fn finish_walk(&mut self, walk: Walk<'_>) {
        let Walk {
            filter,
            options,
            next,
            since,
        } = walk;
        let outbox = self.outbox.clone();
        let mut next = Some(next);
        while let Some(start) = next {
            // An audit does not wait for the whole walk.
            self.settle();
            self.begin();
            let found = self.engine.retained.read().find_from(filter, &start, since);
            let mut guard = outbox.lock();
            let is_subscribed = self.session.subscriptions().contains(filter.as_str());
            if !guard.is_open() || !is_subscribed {
                guard.release_held();
                return;
            }
            self.deliver_retained(&mut guard, filter, &found.entries);
            next = found.next;
        }
        let mut guard = outbox.lock();
        guard.note_walk(filter.as_str(), options);
        guard.release_held();
    }

    /// Takes the filters for one lock, checks them, and looks for the first retained messages of each. It stops after
    /// a filter with wildcards that may match retained messages: they may be many.
    #[inline(never)]
    fn look_up<'f, W>(
        &self,
        retained: &Retained,
        filters: &mut impl Iterator<Item = (W, Result<Filter<'f>, BadFilter>)>,
        slow: Option<OverflowPolicy>,
    ) -> Vec<Asked<'f, W>> {
        // As a rule there is one. What the thread frees stays in its allocator's cache while the client is idle.
        let mut asked = Vec::with_capacity(1);
        let mut may_be_much = false;
        while asked.len() < FILTERS_PER_LOCK
            && !may_be_much
            && let Some((word, filter)) = filters.next()
        {
            let filter = filter.map_err(SubscribeError::BadFilter);
            let filter = filter.and_then(|filter| self.permit(filter, slow));
            let mut found = RetainedPart::default();
            if let Ok(PermittedFilter { filter, .. }) = filter
                && filter.group().is_none()
            {
                found = retained.find_from(filter, "", retained.mark());
                may_be_much = found.next.is_some() || (!filter.is_exact() && !retained.is_empty());
            }
            asked.push(Asked {
                word,
                filter,
                retained: found,
            });
        }
        asked
    }

    /// Registers the subscription; from now on the client receives messages that the filter matches.
    /// `guard` locks the client's own outbox, which stores the overflow policy of this filter.
    fn enter<'f>(
        &mut self,
        guard: &mut OutboxGuard<'_>,
        permitted: PermittedFilter<'f>,
        slow: Option<OverflowPolicy>,
    ) -> Result<Filter<'f>, SubscribeError> {
        let filter = permitted.filter;
        let is_known = self.admit(guard, permitted, slow)?;
        let was_followed = is_known && guard.unfollow(filter.as_str());
        if !is_known || was_followed {
            // The third lock, of the registry, inside the other two.
            self.engine.router.subscribe(filter, &self.outbox);
        }
        Ok(filter)
    }

    /// Takes room for the subscription and notes it. Returns whether the client had it before.
    pub(super) fn admit(
        &mut self,
        guard: &mut OutboxGuard<'_>,
        permitted: PermittedFilter<'_>,
        slow: Option<OverflowPolicy>,
    ) -> Result<bool, SubscribeError> {
        let PermittedFilter { filter, sieve } = permitted;
        guard
            .choose(filter, slow)
            .map_err(|TooManyPolicies| SubscribeError::TooManyPolicies)?;
        let is_known = self.check_room(filter).inspect_err(|_| {
            // Removing a policy never fails.
            let _ = guard.choose(filter, None);
        })?;
        self.set_sieve(filter, sieve);
        if !is_known {
            self.session
                .subscriptions()
                .insert(filter, SubscriptionOptions::default());
        }
        Ok(is_known)
    }

    /// Checks whether the rules let the client have this subscription.
    pub(super) fn permit<'f>(
        &self,
        filter: Filter<'f>,
        slow: Option<OverflowPolicy>,
    ) -> Result<PermittedFilter<'f>, SubscribeError> {
        let sieve = self
            .check_filter(filter)
            .map_err(|denied| match is_private(filter) {
                true => SubscribeError::Private,
                false => SubscribeError::Denied(denied),
            })?;
        if slow == Some(OverflowPolicy::Block) {
            self.check_block().map_err(SubscribeError::Denied)?;
        }
        Ok(PermittedFilter { filter, sieve })
    }

    /// Whether the client may read the past of a filter.
    pub(super) fn check_past(&self, filter: Filter<'_>) -> Result<(), SubscribeError> {
        self.permit(filter, None).map(drop)
    }

    /// Whether the client has this subscription already. If not, checks the limits and takes the memory for it.
    fn check_room(&self, filter: Filter<'_>) -> Result<bool, SubscribeError> {
        let subscriptions = self.session.subscriptions();
        let is_known = subscriptions.contains(filter.as_str());
        let count = subscriptions.len();
        if is_known {
            return Ok(true);
        }
        if count >= self.limits().subscriptions {
            return Err(SubscribeError::TooManySubscriptions(count));
        }
        if !self
            .engine
            .memory
            .take_for_subscription(subscription_bytes(filter.as_str()))
        {
            return Err(SubscribeError::NoMemory);
        }
        self.count_subscription(filter)?;
        Ok(false)
    }

    /// Subscribes to filters with options, which replace earlier ones, and returns what became of each.
    /// For a wire whose messages may precede the answer; [`Client::send_retained`] follows the answer.
    pub(crate) fn subscribe_with<'f>(
        &mut self,
        filters: impl IntoIterator<Item = (Result<Filter<'f>, BadFilter>, SubscriptionOptions)>,
    ) -> Vec<Result<Subscribed, SubscribeError>> {
        let mut filters = filters.into_iter().peekable();
        let (mut made, mut named) = (Vec::new(), Vec::new());
        let history = self.engine.router.history().cloned();
        let history = history.filter(|_| self.session.is_stored());
        // So that the first one does not wait for the disk with the retained messages locked.
        let _present = history.as_ref().map(Present::new);
        while filters.peek().is_some() {
            // A retained message is published under this lock. So each is either older than all
            // subscriptions that are made here, or delivered to them.
            let retained = self.engine.retained.read();
            let since = retained.mark();
            for (filter, options) in filters.by_ref().take(FILTERS_PER_LOCK) {
                named.push(filter.ok());
                let filter = filter.map_err(SubscribeError::BadFilter);
                let is_known =
                    filter.and_then(|filter| self.enter_with(filter, options, history.as_ref()));
                made.push(is_known.map(|is_known| Subscribed {
                    is_known,
                    options,
                    since,
                }));
            }
        }
        self.keep_subscriptions(&named, &mut made);
        made
    }

    /// Registers a subscription with its options. Returns whether it existed.
    fn enter_with(
        &mut self,
        filter: Filter<'_>,
        options: SubscriptionOptions,
        history: Option<&Arc<History>>,
    ) -> Result<bool, SubscribeError> {
        let permitted = self.permit(filter, None)?;
        if let Some(history) = history.filter(|_| self.follows_with(filter, options)) {
            return self.enter_followed(history, permitted, options);
        }
        let is_known = self.take_room(permitted)?;
        // Options before the route: a message that arrives by the new route must find them.
        self.session.subscriptions().insert(filter, options);
        let was_followed =
            is_known && history.is_some() && self.outbox.lock().unfollow(filter.as_str());
        if !is_known || was_followed {
            self.engine.router.subscribe(filter, &self.outbox);
        }
        Ok(is_known)
    }

    /// Takes room for a subscription that the rules permit. Returns whether the client had it before.
    pub(super) fn take_room(&self, permitted: PermittedFilter<'_>) -> Result<bool, SubscribeError> {
        let PermittedFilter { filter, sieve } = permitted;
        let is_known = self.check_room(filter)?;
        self.set_sieve(filter, sieve);
        Ok(is_known)
    }

    /// Sends the retained messages of a subscribed filter, except those that were retained after the
    /// client had subscribed: these have been delivered.
    pub(crate) fn send_retained(&mut self, filter: Filter<'_>, subscribed: &Subscribed) {
        let options = subscribed.options;
        let since = subscribed.since;
        let engine = self.engine;
        // Lock order: retained messages, then the outbox; see `subscribe_part`.
        let retained = engine.retained.read();
        let found = retained.find_from(filter, "", since);
        let outbox = self.outbox.clone();
        // Locked under the retained messages, so that a newer message of the same topic follows these.
        let mut guard = outbox.lock();
        let walk = self.begin_walk(&mut guard, filter, options, since, found);
        drop((guard, retained));
        if let Some(walk) = walk {
            self.finish_walk(walk);
        }
    }

    /// Delivers retained messages to the client in large pieces. `guard` locks its own outbox.
    fn deliver_retained(
        &mut self,
        guard: &mut OutboxGuard<'_>,
        filter: Filter<'_>,
        messages: &[Entry],
    ) {
        let has_past = guard.has_past(filter.as_str());
        let filter: Arc<str> = filter.as_str().into();
        let mut deliver = |run: Run<'_>, qos| {
            let run = run.by(0, PublishOptions { qos, retain: true });
            let run = run.for_filter(&filter);
            match run.messages() {
                0 => 0,
                messages if guard.deliver(&[&run]) => messages,
                _ => 0,
            }
        };
        // What topics keep comes with the past, the retained message among the rest.
        let history = self.engine.router.history();
        let history = history.filter(|_| has_past);
        let (mut gathered, mut waiting, mut qos) = (Vec::new(), 0, 0);
        let now = Moment::now();
        let is_sieved = self.engine.router.sieves().has_any();
        for entry in messages {
            if is_sieved && !self.may_see_entry(entry) {
                continue;
            }
            if history.is_some_and(|history| is_kept(history, entry)) {
                continue;
            }
            let Some(line) = fresh(entry, now) else {
                continue;
            };
            let (line, next) = (&line, &entry.qos);
            let is_long = line.len() > GATHERED_BYTES;
            if is_long || *next != qos || gathered.len() + line.len() > GATHERED_BYTES {
                let run = Run::borrowed(&gathered, mem::take(&mut waiting));
                self.account.retained += deliver(run, qos);
                gathered.clear();
                qos = *next;
            }
            if is_long {
                self.account.retained += deliver(Run::shared(line, 1, line.len()), qos);
            } else {
                gathered.extend_from_slice(line);
                waiting += 1;
            }
        }
        self.account.retained += deliver(Run::borrowed(&gathered, waiting), qos);
    }

    /// Whether the client may see a retained message of a filter that it has subscribed to.
    fn may_see_entry(&self, entry: &Entry) -> bool {
        let line = MessageLine::decode(&entry.message);
        line.is_none_or(|line| self.may_see(line.topic))
    }

    /// Unsubscribes. Returns whether the subscription existed.
    pub(crate) fn unsubscribe(&mut self, filter: Filter<'_>) -> bool {
        unsubscribe(self.engine, &self.session, filter)
    }

    fn set_sieve(&self, filter: Filter<'_>, sieve: Option<Sieve>) {
        let sieves = self.engine.router.sieves();
        sieves.set(filter, self.session.id(), sieve);
    }
}

/// The line of a retained message with its remaining time to live; none if it has expired
/// [MQTT-3.3.2-5].
fn fresh(entry: &Entry, now: Moment) -> Option<Bytes> {
    match with_time_left(&entry.message, now.ms_since(entry.kept.since))? {
        Cow::Borrowed(_) => Some(entry.message.clone()),
        Cow::Owned(line) => Some(line.into()),
    }
}

/// Whether the topic of a retained message keeps all that is published on it.
fn is_kept(history: &History, entry: &Entry) -> bool {
    let line = MessageLine::decode(&entry.message);
    line.is_some_and(|line| history.keeps(line.topic))
}

/// Whether the filter has a wildcard at or below the topics that are each for one client. A wildcard in
/// the first level matches none of them.
fn is_private(filter: Filter<'_>) -> bool {
    let first = filter.pattern().split('/').next();
    !filter.is_exact() && first.is_some_and(|level| PRIVATE.contains(&level))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;
    use std::thread;

    use protocol::Topic;

    use super::*;
    use crate::engine::client::tests::{Scene, message, retained};
    use crate::engine::limits::Limits;
    use crate::engine::outbox::tests::outbox;
    use crate::engine::session::clients::ClientRecord;
    use crate::sync::{AtomicBool, Ordering};

    /// Subscribes like a wire that answers each filter; returns the number refused.
    pub(in crate::engine::client) fn subscribe(client: &mut Client<'_>, filters: &[&str]) -> u64 {
        let filters = filters.iter().map(|text| (*text, Filter::parse(*text)));
        client.subscribe(filters, None, |answering, text, subscribed| {
            let answer = match subscribed {
                Ok(()) => format!("yes {text}\n"),
                Err(why) => format!("no {text} {why:?}\n"),
            };
            answering.answers.extend_from_slice(answer.as_bytes());
        })
    }

    fn publish_all<'a>(
        client: &mut Client<'_>,
        messages: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) {
        for (name, payload) in messages {
            assert!(client.publish_now(retained(name, payload)).is_ok());
        }
    }

    #[test]
    fn an_answer_comes_before_the_retained_messages_of_its_filter_and_they_before_newer_ones() {
        let scene = Scene::new(10);
        let mut client = scene.client(10);
        publish_all(&mut client, [("a", "1"), ("b/c", "2"), ("b/d", "3")]);
        assert_eq!(subscribe(&mut client, &["a", "none", "b/+"]), 0);
        assert_eq!(client.publish_now(message("a", "4")), Ok(1));
        let expected = "yes a\n@retained MESSAGE a 1\nyes none\nyes b/+\n@retained MESSAGE b/c 2\n\
                        @retained MESSAGE b/d 3\nMESSAGE a 4\n";
        assert_eq!(scene.heard(), expected);
    }

    #[test]
    fn a_filter_that_is_refused_does_not_spoil_the_others() {
        let scene = Scene::new(10);
        let mut client = scene.client(2);
        publish_all(&mut client, [("c", "1")]);
        let filters = ["a", "a/#/b", "b", "a", "c"];
        assert_eq!(subscribe(&mut client, &filters), 2);
        let expected = "yes a\nno a/#/b BadFilter(HashNotLast)\nyes b\nyes a\n\
                        no c TooManySubscriptions(2)\n";
        assert_eq!(scene.heard(), expected);
        for (name, copies) in [("a", 1), ("b", 1), ("c", 0)] {
            assert_eq!(client.publish_now(message(name, "2")), Ok(copies));
        }
        client.unsubscribe(Filter::parse("a").expect("a filter"));
        assert_eq!(subscribe(&mut client, &["c"]), 0);
        assert!(client.has_subscriptions());
    }

    #[test]
    fn a_filter_that_was_there_gets_its_retained_messages_again_and_messages_once() {
        let scene = Scene::new(10);
        let mut client = scene.client(10);
        publish_all(&mut client, [("a", "1")]);
        for _ in 0..2 {
            assert_eq!(subscribe(&mut client, &["a"]), 0);
            assert_eq!(scene.heard(), "yes a\n@retained MESSAGE a 1\n");
        }
        assert_eq!(client.publish_now(message("a", "2")), Ok(1));
        assert_eq!(scene.heard(), "MESSAGE a 2\n");
    }

    #[test]
    fn what_is_retained_after_a_subscription_was_made_is_delivered_and_not_sent_again() {
        let scene = Scene::new(10);
        let mut client = scene.client(10);
        publish_all(&mut client, [("a/1", "old"), ("a/2", "old"), ("b", "old")]);
        let filters = ["a/#", "b", "a/2"].map(|text| Filter::parse(text).expect("a filter"));
        let options = SubscriptionOptions::default();
        let made = client.subscribe_with(filters.map(|filter| (Ok(filter), options)));
        publish_all(&mut client, [("a/2", "new"), ("a/3", "new")]);
        assert_eq!(scene.heard(), "MESSAGE a/2 new\nMESSAGE a/3 new\n");
        let mut sent = filters.iter().zip(made).map(|(&filter, subscribed)| {
            client.send_retained(filter, &subscribed.expect("there is room"));
            scene.heard()
        });
        assert_eq!(sent.next().as_deref(), Some("@retained MESSAGE a/1 old\n"));
        assert_eq!(sent.next().as_deref(), Some("@retained MESSAGE b old\n"));
        assert_eq!(sent.next().as_deref(), Some(""));
    }

    #[test]
    fn many_retained_messages_come_in_pieces_and_before_what_is_published_meanwhile() {
        const MANY: usize = 5000;
        let scene = Scene::with(Limits {
            retained: MANY,
            retained_bytes: 1 << 20,
            ..Limits::default()
        });
        let mut client = scene.client(10);
        for n in 0..MANY {
            let name = format!("t/{n:04}");
            assert!(client.publish_now(retained(&name, "old")).is_ok());
        }
        let other = Arc::new(ClientRecord::new(
            outbox(2, 100, 0).0,
            ([127, 0, 0, 1], 2).into(),
        ));
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut publisher = Client::new(&scene.engine, &other);
                let mut number = 0;
                while !done.load(Ordering::Relaxed) {
                    let name = format!("t/{:04}", number % MANY);
                    number += 997;
                    let new = message(&name, "new");
                    assert!(publisher.publish_now(new).is_ok());
                    assert!(publisher.publish_now(retained(&name, "kept")).is_ok());
                }
            });
            assert_eq!(subscribe(&mut client, &["t/#"]), 0);
            done.store(true, Ordering::Relaxed);
        });
        let heard = scene.heard();
        let mut lines = heard.lines();
        assert_eq!(lines.next(), Some("yes t/#"));
        let walked: Vec<&str> = lines
            .clone()
            .take_while(|line| line.starts_with('@'))
            .collect();
        let newer: Vec<&str> = lines.skip(walked.len()).collect();
        assert!(walked.is_sorted() && newer.iter().all(|line| line.starts_with("MESSAGE ")));
        // What is not among the retained messages was retained meanwhile, and has come as a newer one.
        let topic = |line: &str| line.split(' ').nth(2).map(str::to_owned);
        let walked: HashSet<_> = walked.iter().filter_map(|line| topic(line)).collect();
        let kept = newer.iter().filter(|line| line.ends_with(" kept"));
        let kept: HashSet<_> = kept
            .map(|line| line.split(' ').nth(1).map(str::to_owned))
            .collect();
        assert!((0..MANY).all(|n| {
            let name = format!("t/{n:04}");
            walked.contains(&name) || kept.contains(&Some(name))
        }));
    }

    #[test]
    fn a_second_subscribe_walks_again_once_the_messages_of_the_first_have_left() {
        let scene = Scene::new(10);
        let mut client = scene.client(10);
        publish_all(&mut client, [("a", "1"), ("b", "2")]);
        let both = "yes #\n@retained MESSAGE a 1\n@retained MESSAGE b 2\n";
        scene.stop_reading();
        for _ in 0..3 {
            assert_eq!(subscribe(&mut client, &["#"]), 0);
        }
        scene.read_on();
        assert_eq!(scene.heard(), format!("{both}yes #\nyes #\n"));
        assert_eq!(subscribe(&mut client, &["#"]), 0);
        assert_eq!(scene.heard(), both);
        // An end of the subscription in between makes the next one another.
        scene.stop_reading();
        assert_eq!(subscribe(&mut client, &["#"]), 0);
        assert!(client.unsubscribe(Filter::parse("#").expect("a filter")));
        assert_eq!(subscribe(&mut client, &["#"]), 0);
        scene.read_on();
        assert_eq!(scene.heard(), both.repeat(2));
    }

    #[test]
    fn a_client_that_is_gone_ends_the_walk() {
        let scene = Scene::new(10);
        let mut client = scene.client(10);
        publish_all(&mut client, [("a", "1")]);
        client.outbox.close();
        assert_eq!(subscribe(&mut client, &["#"]), 0);
        assert_eq!(client.account.retained, 0);
    }

    #[test]
    fn a_member_of_a_group_gets_no_retained_messages() {
        let scene = Scene::new(10);
        let mut client = scene.client(10);
        publish_all(&mut client, [("a", "1")]);
        assert_eq!(subscribe(&mut client, &["$share/g/a"]), 0);
        assert_eq!(scene.heard(), "yes $share/g/a\n");
    }

    #[test]
    fn more_filters_than_one_lock_is_held_for_are_answered_in_order() {
        let scene = Scene::new(10);
        let mut client = scene.client(1000);
        let names: Vec<String> = (0..3 * FILTERS_PER_LOCK).map(|n| n.to_string()).collect();
        let filters: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(subscribe(&mut client, &filters), 0);
        let expected: String = names.iter().map(|name| format!("yes {name}\n")).collect();
        assert_eq!(scene.heard(), expected);
    }

    #[test]
    fn a_lock_is_held_for_a_few_filters_and_for_one_whose_retained_messages_may_be_many() {
        let mut retained = Retained::new(10, 1000);
        let texts: Vec<String> = (0..100).map(|n| format!("{n}")).collect();
        let scene = Scene::new(10);
        let client = scene.client(10);
        let held_for = |retained: &Retained, first: &str| {
            let texts = [first].into_iter().chain(texts.iter().map(String::as_str));
            let mut filters = texts.map(|text| ((), Filter::parse(text)));
            client.look_up(retained, &mut filters, None).len()
        };
        assert_eq!(held_for(&retained, "a"), FILTERS_PER_LOCK);
        assert_eq!(held_for(&retained, "+"), FILTERS_PER_LOCK);
        let topic = Topic::parse("a").expect("a topic");
        retained.set(topic, b"MESSAGE a\n", 0, 1).expect("room");
        assert_eq!(held_for(&retained, "a"), FILTERS_PER_LOCK);
        assert_eq!(held_for(&retained, "+"), 1);
        assert_eq!(held_for(&retained, "$share/g/+"), FILTERS_PER_LOCK);
    }

    #[test]
    fn a_retained_message_comes_with_the_seconds_that_are_left_of_its_time() {
        let mut retained = Retained::new(10, 1000);
        let topic = Topic::parse("a").expect("a topic");
        let line = b"@k;ttl=10 MESSAGE a 1\n";
        retained.set(topic, line, 1, 1).expect("room");
        let filter = Filter::parse("a").expect("a filter");
        let found = retained.find_from(filter, "", retained.mark());
        let entry = &found.entries[0];
        let after = |ms| fresh(entry, entry.kept.since.later(ms));
        assert_eq!(after(3500).as_deref(), Some(&b"@k;ttl=7 MESSAGE a 1\n"[..]));
        assert_eq!(after(10_001), None);
    }

    /// A message whose payload had the word was never delivered again.
    #[test]
    fn only_an_attribute_limits_the_time_of_a_retained_message() {
        let mut retained = Retained::new(10, 1000);
        let topic = Topic::parse("a").expect("a topic");
        let filter = Filter::parse("a").expect("a filter");
        for line in [
            &b"@retained MESSAGE a ttl=10\n"[..],
            b"@httl=1;retained MESSAGE a 1\n",
        ] {
            retained.set(topic, line, 1, 1).expect("room");
            let found = retained.find_from(filter, "", retained.mark());
            let entry = &found.entries[0];
            let later = entry.kept.since.later(20_000);
            assert_eq!(fresh(entry, later).as_deref(), Some(line));
        }
    }
}
