//! A publisher's knowledge of its subscribers may be outdated when it delivers: a client that has
//! received UNSUBACK gets no more messages of that subscription, a client that has received SUBACK gets
//! all messages published from then on, and no other client loses a message by that.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::{Filter, Topic};
use shuttle::thread;

use crate::engine::memory::budget::Memory;
use crate::engine::memory::read_buffer::ReadBuffer;
use crate::engine::outbox::run::PublishOptions;
use crate::engine::publish::{Dispatch, Place};
use crate::engine::routing::router::Router;
use crate::engine::routing::subscribers::Subscriber;
use crate::socket::{ENCODER, Flushing, Socket};

/// A batch with one run, one with several runs that alternate between topics, and one more of each.
const BATCHES: [&[&str]; 4] = [&["x", "x"], &["x", "y", "x"], &["x"], &["y", "x"]];

/// A client whose sink accepts everything.
fn client(id: u64, flushing: &Arc<Flushing>) -> (Subscriber, Socket) {
    let socket = Socket::new(id, 10, flushing);
    (socket.outbox(10_000, &ENCODER), socket)
}

fn filter(text: &str) -> Filter<'_> {
    Filter::parse(text).expect("a filter")
}

/// Publishes as a wire does with the lines of one client.
struct Publisher {
    name: char,
    number: u64,
    dispatch: Dispatch,
    block: ReadBuffer,
}

impl Publisher {
    fn new(name: char, router: &Arc<Router>) -> Self {
        Self {
            name,
            number: 0,
            dispatch: Dispatch::new(router.clone(), Arc::default()),
            block: ReadBuffer::new(&Arc::new(Memory::new(usize::MAX))),
        }
    }

    fn publish_all(&mut self) {
        BATCHES.into_iter().for_each(|batch| self.publish(batch));
    }

    fn publish(&mut self, batch: &[&str]) {
        self.prepare(batch);
        self.deliver();
    }

    fn prepare(&mut self, batch: &[&str]) {
        for topic in batch {
            self.number += 1;
            self.add(topic);
        }
    }

    fn deliver(&mut self) {
        self.block.consume(self.block.unread().len());
        self.dispatch.deliver_last(&mut self.block);
        self.block.fill(1000);
    }

    fn add(&mut self, topic: &str) {
        // Nothing added before counts as handled, so it stays in its place.
        let bytes = self.block.fill(1000).expect("there is memory");
        let start = bytes.len();
        bytes.extend_from_slice(format!("{topic}:{}{};", self.name, self.number).as_bytes());
        let (name, all) = (start..start + topic.len(), start..bytes.len());
        let bytes = self.block.bytes();
        let known = self.dispatch.add_known(bytes, name.clone(), all.clone());
        if known.is_none() {
            let topic = Topic::parse(topic).expect("a topic");
            self.dispatch
                .add(topic, Place::Buffer, name, all, PublishOptions::LINE, None)
                .expect("it is not kept");
        }
    }
}

fn published() -> u64 {
    BATCHES.iter().map(|batch| batch.len() as u64).sum()
}

pub(crate) fn nothing_follows_the_end_of_a_subscription() {
    let (flushing, router) = (Flushing::new(), Arc::new(Router::new()));
    let (leaver, leavers) = client(1, &flushing);
    let (other, others) = client(2, &flushing);
    for text in ["x", "y"] {
        router.subscribe(filter(text), &leaver);
    }
    router.subscribe(filter("#"), &other);
    thread::scope(|scope| {
        scope.spawn(|| flushing.run());
        let publishing = ['a', 'b'].map(|publisher| {
            let router = &router;
            scope.spawn(move || Publisher::new(publisher, router).publish_all())
        });
        router.unsubscribe(filter("x"), &leaver);
        leaver.lock().answer(b"left x;");
        router.unsubscribe(filter("y"), &leaver);
        leaver.lock().answer(b"left y;");
        for publisher in publishing {
            publisher.join().expect("it publishes");
        }
        flushing.end();
    });
    let heard = leavers.heard();
    for topic in ["x", "y"] {
        let after = &heard.messages[heard.before(&format!("left {topic}"))..];
        let late = after.iter().find(|(name, _, _)| name == topic);
        assert!(late.is_none(), "{late:?} came late: {heard:?}");
    }
    for publisher in ['a', 'b'] {
        heard.numbers(publisher);
        let all: Vec<u64> = (1..=published()).collect();
        assert_eq!(others.heard().numbers(publisher), all);
    }
}

/// The publisher finds that a client has left since it looked up its routes. While it looks again for
/// each client, one more leaves.
pub(crate) fn nothing_follows_when_the_publisher_looks_twice() {
    for batch in BATCHES {
        let (flushing, router) = (Flushing::new(), Arc::new(Router::new()));
        let ((leaver, leavers), (other, _)) = (client(1, &flushing), client(2, &flushing));
        router.subscribe(filter("x"), &leaver);
        let mut publisher = Publisher::new('a', &router);
        publisher.prepare(batch);
        router.unsubscribe(filter("z"), &other);
        thread::scope(|scope| {
            scope.spawn(|| flushing.run());
            let publishing = scope.spawn(move || publisher.deliver());
            router.unsubscribe(filter("x"), &leaver);
            leaver.lock().answer(b"left;");
            publishing.join().expect("it publishes");
            flushing.end();
        });
        let heard = leavers.heard();
        assert_eq!(heard.before("left"), heard.messages.len(), "{heard:?}");
    }
}

pub(crate) fn a_subscriber_gets_all_from_then_on() {
    for text in ["x", "+"] {
        let (flushing, router) = (Flushing::new(), Arc::new(Router::new()));
        let (newcomer, newcomers) = client(1, &flushing);
        thread::scope(|scope| {
            scope.spawn(|| flushing.run());
            let publishing = scope.spawn(|| {
                let mut publisher = Publisher::new('a', &router);
                publisher.publish_all();
                publisher
            });
            router.subscribe(filter(text), &newcomer);
            let mut publisher = publishing.join().expect("it publishes");
            publisher.publish(&["x"]);
            flushing.end();
        });
        let last = newcomers.heard().numbers('a').last().copied();
        assert_eq!(last, Some(published() + 1), "{text}");
    }
}

pub(crate) fn a_group_loses_nothing_when_a_member_unsubscribes() {
    group_loses_nothing(|router, leaver, _| {
        router.unsubscribe(filter("$share/g/#"), leaver);
        leaver.lock().answer(b"left;");
    });
}

/// Messages that were not fully sent to a disconnected member go to the other one.
pub(crate) fn a_group_loses_nothing_when_a_member_is_gone() {
    group_loses_nothing(|router, leaver, socket| {
        let remains = leaver.close();
        socket.close();
        router.forget(filter("$share/g/#"), leaver.id());
        let dispatch = Dispatch::new(router.clone(), Arc::default());
        for redelivery in &remains.redeliveries {
            for message in redelivery.bytes.split_inclusive(|&byte| byte == b';') {
                let name = message.split(|&byte| byte == b':').next();
                let topic = Topic::parse(name.expect("a message")).expect("a topic");
                dispatch.redeliver(&redelivery.filter, topic, message, 1, redelivery.options);
            }
        }
        assert_eq!(dispatch.withdrawn(), 0);
    });
}

fn group_loses_nothing(leave: impl FnOnce(&Arc<Router>, &Subscriber, &Socket)) {
    let (flushing, router) = (Flushing::new(), Arc::new(Router::new()));
    let (leaver, leavers) = client(1, &flushing);
    let (stayer, stayers) = client(2, &flushing);
    for client in [&leaver, &stayer] {
        router.subscribe(filter("$share/g/#"), client);
    }
    thread::scope(|scope| {
        scope.spawn(|| flushing.run());
        let publisher = scope.spawn(|| Publisher::new('a', &router).publish_all());
        leave(&router, &leaver, &leavers);
        publisher.join().expect("it publishes");
        flushing.end();
    });
    let (left, stayed) = (leavers.heard(), stayers.heard());
    if let Some((before, _)) = left.answers.first() {
        assert_eq!(left.messages.len(), *before, "something came late");
    }
    let tally = leaver.close().tally;
    assert_eq!(tally.discarded, 0);
    assert_eq!(
        tally.written + stayed.messages.len() as u64,
        published(),
        "{left:?} {stayed:?}"
    );
    // In no particular order: messages that one member did not take are redelivered later.
    let both = left.messages.iter().chain(&stayed.messages);
    let numbers: BTreeSet<u64> = both.clone().map(|(_, _, number)| *number).collect();
    assert_eq!(numbers.len(), both.count(), "twice: {left:?} {stayed:?}");
}
