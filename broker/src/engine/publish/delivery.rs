//! Delivers a batch into the outboxes.
//!
//! Routes are older than the delivery: a client may have received an UNSUBACK since, and nothing may
//! follow that. Hence the unsubscribe epochs. UNSUBSCRIBE leaves the registry, increments the epochs of
//! the client and of the router, and only then answers through the client's outbox, under its lock. So
//! a publisher that has locked the outbox and finds the epoch unchanged since its batch began knows
//! that no UNSUBACK has been sent, and may deliver.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use foldhash::fast::RandomState;
use protocol::Topic;

use crate::engine::outbox::run::{PublishOptions, Run};
use crate::engine::routing::router::Route;
use crate::engine::routing::subscribers::{Group, Subscriber};
use crate::sync::Ordering;

use super::batch::{Batch, Segment, Stretch, To};
use super::slot::Piece;
use super::{Dispatch, GATHERED_BYTES};

impl Dispatch {
    /// Delivers one run to its audience. Returns the number of subscribers.
    pub(super) fn deliver_run(
        &self,
        run: Run<'_>,
        audience: u32,
        batch: &Batch,
        buffer: &[u8],
    ) -> usize {
        let slots = &self.audiences[audience as usize].slots;
        let run = run.to(slots.len());
        for &slot in &**slots {
            let outbox = &self.slots[slot as usize].outbox;
            let mut guard = outbox.lock();
            // Compared under the lock: an UNSUBACK of this client cannot be sent before it is released.
            if self.router.unsubscribe_epoch() == batch.unsubscribe_epoch {
                if !self.outcome.hand(outbox, &mut guard, &[&run]) {
                    self.outcome.withdraw(run.messages());
                }
            } else {
                // The registry is not asked under the lock, for which the client's other publishers
                // wait.
                drop(guard);
                self.deliver_checked(slot, &batch.segments, batch, buffer);
            }
        }
        slots.len()
    }

    /// Several stretches: collects the part of each subscriber, then delivers once to each. Returns the
    /// number of deliveries.
    pub(super) fn gather(&mut self, stretches: &[Stretch], batch: &Batch, buffer: &[u8]) -> usize {
        let bodies: Vec<Run<'_>> = stretches
            .iter()
            .map(|stretch| {
                let first = &batch.segments[stretch.segments.start];
                let run = Run::borrowed(batch.bytes(stretch, buffer), stretch.messages)
                    .by(self.publisher, first.options);
                match &first.to {
                    To::Audience(_) => run,
                    To::Member(_, group) => run.for_one_of(group.filter()),
                }
            })
            .collect();
        let mut touched: Vec<u32> = Vec::new();
        let (mut gathered, mut delivered, mut sends) = (0, 0, 0);
        for (number, stretch) in stretches.iter().enumerate() {
            let mut add = |slot: u32| {
                let entry = &mut self.slots[slot as usize];
                if entry.pieces.is_empty() {
                    touched.push(slot);
                }
                gathered += entry.add(number, &bodies[number]);
            };
            match &batch.segments[stretch.segments.start].to {
                To::Audience(audience) => {
                    let slots = &self.audiences[*audience as usize].slots;
                    slots.iter().for_each(|&slot| add(slot));
                }
                To::Member(slot, _) => add(*slot),
            }
            if gathered > GATHERED_BYTES || number + 1 == stretches.len() {
                let first = stretches[delivered].segments.start;
                let part = &batch.segments[first..stretch.segments.end];
                sends += touched.len();
                for slot in touched.drain(..) {
                    self.deliver_gathered(slot, &bodies, part, batch, buffer);
                }
                (gathered, delivered) = (0, number + 1);
            }
        }
        sends
    }

    /// Delivers what was collected for one subscriber from `part` of the batch.
    fn deliver_gathered(
        &mut self,
        slot: u32,
        bodies: &[Run<'_>],
        part: &[Segment],
        batch: &Batch,
        buffer: &[u8],
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
                    options,
                    share,
                } => {
                    at += bytes;
                    let run = Run::borrowed(&copied[at - bytes..at], *messages);
                    let run = run.by(self.publisher, *options);
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
        let mut guard = outbox.lock();
        // Compared under the lock, as in `deliver_run`.
        let done = self.router.unsubscribe_epoch() == batch.unsubscribe_epoch
            && self.outcome.hand(outbox, &mut guard, &all);
        drop(guard);
        if !done {
            self.deliver_checked(slot, part, batch, buffer);
        }
        let entry = &mut self.slots[slot as usize];
        self.scratch += copied.capacity() - mem::replace(&mut entry.counted, copied.capacity());
        (entry.pieces, entry.copied) = (pieces, copied);
        entry.pieces.clear();
        entry.copied.clear();
    }

    /// A client has unsubscribed since the routes were looked up, or this one is gone: delivers only
    /// messages that this client still subscribes to, and passes its group messages to other members.
    fn deliver_checked(&self, slot: u32, segments: &[Segment], batch: &Batch, buffer: &[u8]) {
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
                let run = batch.run_of(segment, buffer);
                run.by(self.publisher, segment.options)
            })
            .collect();
        let wanted = loop {
            // The client's own epoch. Acquire pairs with the Release of UNSUBSCRIBE, which leaves the
            // registry first: a publisher that sees the new epoch sees the registry without that filter.
            let unsubscribe_epoch = outbox.unsubscribe_epoch().load(Ordering::Acquire);
            let wanted = self.wanted(outbox.id(), &own, batch, buffer);
            let mut guard = outbox.lock();
            // The client has unsubscribed between the lookup and the lock, so the registry is asked
            // again. Each repetition needs another UNSUBSCRIBE of this client, so the loop ends.
            if outbox.unsubscribe_epoch().load(Ordering::Acquire) != unsubscribe_epoch {
                continue;
            }
            let all: Vec<&Run<'_>> = runs
                .iter()
                .zip(&wanted)
                .filter_map(|(run, wanted)| wanted.then_some(run))
                .collect();
            if all.is_empty() || self.outcome.hand(outbox, &mut guard, &all) {
                break wanted;
            }
            break vec![false; own.len()];
        };
        for ((segment, run), taken) in own.iter().zip(&runs).zip(wanted) {
            let is_lost = !taken
                && match &segment.to {
                    To::Audience(_) => true,
                    To::Member(_, group) => {
                        let topic = &batch.buffer(segment.place, buffer)[segment.topic.clone()];
                        !self.deliver_to_one_of(group, topic, run)
                    }
                };
            if is_lost {
                self.outcome.withdraw(run.messages());
            }
        }
    }

    /// Which of these segments the client subscribes to now. Each topic is looked up once.
    fn wanted(&self, id: u64, segments: &[&Segment], batch: &Batch, buffer: &[u8]) -> Vec<bool> {
        let mut routes: HashMap<&[u8], Option<Route>, RandomState> = HashMap::default();
        segments
            .iter()
            .map(|segment| {
                let name = &batch.buffer(segment.place, buffer)[segment.topic.clone()];
                let route = routes.entry(name).or_insert_with(|| {
                    let topic = Topic::parse(name).ok()?;
                    Some(self.router.route(topic, self.router.hash(name)))
                });
                route.as_ref().is_some_and(|route| match &segment.to {
                    To::Audience(_) if self.is_for_followers => route.is_followed_by(id),
                    To::Audience(_) => {
                        let is_unacknowledged = segment.options.qos == 0;
                        route.reaches(id) || (is_unacknowledged && route.has_session(id))
                    }
                    To::Member(..) => route.may_reach(id),
                })
            })
            .collect()
    }

    /// Delivers messages on one topic, left behind by a member of the group with this filter, to other
    /// members. A member that received its own copy does not receive another.
    pub(crate) fn redeliver(
        &self,
        filter: &Arc<str>,
        topic: Topic<'_>,
        lines: &[u8],
        messages: u64,
        options: PublishOptions,
    ) {
        let run = Run::borrowed(lines, messages).for_one_of(filter);
        let run = run.by(self.publisher, options);
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

    /// Delivers a run if the client is subscribed at the moment of delivery.
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
            // As in `deliver_checked`: the lookup is valid if no UNSUBSCRIBE of this client happened
            // between it and the lock.
            let unsubscribe_epoch = outbox.unsubscribe_epoch().load(Ordering::Acquire);
            if !wanted(&self.router.route(topic, hash)) {
                return false;
            }
            let mut guard = outbox.lock();
            // Under the lock, so that the UNSUBACK of a later UNSUBSCRIBE follows this message.
            if outbox.unsubscribe_epoch().load(Ordering::Acquire) == unsubscribe_epoch {
                return self.outcome.hand(outbox, &mut guard, &[run]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::Filter;

    use super::*;
    use crate::engine::publish::tests::Scene;

    fn filter(text: &str) -> Filter<'_> {
        Filter::parse(text).expect("a filter")
    }

    /// Redelivers what `leaver` of the group has left behind; returns the number of copies lost.
    fn redeliver(scene: &Scene, lines: &str) -> u64 {
        let before = scene.dispatch.withdrawn();
        let (group, topic) = (Arc::from("$share/g/a"), Topic::parse("a").expect("a topic"));
        let messages = lines.matches(';').count() as u64;
        let options = PublishOptions::LINE;
        scene
            .dispatch
            .redeliver(&group, topic, lines.as_bytes(), messages, options);
        scene.dispatch.withdrawn() - before
    }

    #[test]
    fn a_client_that_unsubscribes_meanwhile_gets_what_another_filter_of_its_own_matches() {
        let mut scene = Scene::new();
        let (leaver, leavers) = scene.subscriber(1, &["a", "b", "+/x"]);
        scene.add(&[("a", "1"), ("b", "2"), ("a", "3"), ("a/x", "4")]);
        scene.router.unsubscribe(filter("a"), &leaver);
        scene.router.subscribe(filter("a/#"), &leaver);
        scene.router.unsubscribe(filter("+/x"), &leaver);
        scene.deliver();
        assert_eq!(leavers.taken(), "a 1;b 2;a 3;a/x 4;");
        assert_eq!(scene.dispatch.withdrawn(), 0);
        scene.add(&[("a", "5"), ("b", "6"), ("a", "7")]);
        scene.router.unsubscribe(filter("a/#"), &leaver);
        scene.deliver();
        assert_eq!(leavers.taken(), "b 6;");
        assert_eq!(scene.dispatch.withdrawn(), 2);
    }

    #[test]
    fn what_a_client_that_is_gone_does_not_get_is_withdrawn_and_the_others_lose_nothing() {
        let mut scene = Scene::new();
        let (leaver, _) = scene.subscriber(1, &["a", "b"]);
        let (_other, others) = scene.subscriber(2, &["a"]);
        for messages in [&[("a", "1"), ("a", "2")][..], &[("a", "1"), ("b", "2")]] {
            let before = scene.dispatch.withdrawn();
            scene.add(messages);
            leaver.close();
            scene.deliver();
            assert!(others.taken().starts_with("a 1;"));
            assert_eq!(scene.dispatch.withdrawn() - before, 2);
        }
    }

    #[test]
    fn what_a_member_that_is_gone_shared_goes_to_another() {
        let mut scene = Scene::new();
        let (leaver, leavers) = scene.subscriber(1, &["$share/g/a"]);
        let (_other, others) = scene.subscriber(2, &["$share/g/a"]);
        scene.add(&[("a", "1"), ("a", "2"), ("a", "3")]);
        leaver.close();
        scene.deliver();
        // The other member's own part came later in the batch.
        assert_eq!(
            (leavers.taken(), others.taken()),
            ("".into(), "a 1;a 3;a 2;".into())
        );
        assert_eq!(scene.dispatch.withdrawn(), 0);
    }

    #[test]
    fn what_a_member_left_behind_goes_to_one_that_gets_no_copy_anyway() {
        let scene = Scene::new();
        let (_both, boths) = scene.subscriber(1, &["$share/g/a", "a"]);
        assert_eq!(redeliver(&scene, "a 1;a 2;"), 2);
        let (other, others) = scene.subscriber(2, &["$share/g/a"]);
        assert_eq!(redeliver(&scene, "a 1;a 2;"), 0);
        assert_eq!(
            (boths.taken(), others.taken()),
            ("".into(), "a 1;a 2;".into())
        );
        other.close();
        assert_eq!(redeliver(&scene, "a 3;"), 1);
    }

    #[test]
    fn what_a_member_left_behind_is_withdrawn_when_its_group_is_gone() {
        let scene = Scene::new();
        let (other, others) = scene.subscriber(2, &["$share/g/a", "$share/h/a"]);
        scene.router.unsubscribe(filter("$share/g/a"), &other);
        assert_eq!(redeliver(&scene, "a 1;"), 1);
        assert_eq!(others.taken(), "");
    }
}
