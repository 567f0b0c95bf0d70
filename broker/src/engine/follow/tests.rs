//! What comes to followers while the log loses its oldest segments.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use protocol::{ACK, Attributes, Filter, Incomplete, PastStart, Position};

use super::{FollowerFigures, catch_up_loop, stop, tail_loop};
use crate::engine::client::slow_disk::scene_on;
use crate::engine::client::tests::{Scene, message};
use crate::engine::client::{Answering, Client, FollowAnswers, Message};
use crate::engine::history::History;
use crate::engine::outbox::tests::{TestSink, outbox};
use crate::engine::session::clients::ClientRecord;
use crate::storage::disk::gated::{DiskWork, GatedDisk};

/// After that it is a failure that something has not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of messages that a follower's queue has room for.
const ROOM: usize = 4000;

struct NoAnswers;

impl FollowAnswers for NoAnswers {
    fn begin(&self, _: &mut Answering<'_, '_>, incomplete: Option<Incomplete>) {
        assert_eq!(incomplete, None);
    }

    fn current(&self, _: Option<Position>) -> Vec<u8> {
        Vec::new()
    }
}

struct Follower {
    record: Arc<ClientRecord>,
    sink: TestSink,
}

impl Follower {
    fn new(scene: &Scene, id: u64) -> Self {
        let (outbox, sink) = outbox(id, ROOM, 0);
        let record = ClientRecord::new(outbox, ([127, 0, 0, 1], 1).into());
        let record = Arc::new(record);
        scene.engine.clients.enter(record.clone());
        Self { record, sink }
    }

    fn is_behind(&self) -> bool {
        matches!(self.record.outbox().lock().followed_to(), Some(Some(_)))
    }

    /// The numbers of the messages that it is sent until this one, and how many were told to be missing.
    #[track_caller]
    fn read_until(&self, last: u64) -> (Vec<u64>, Vec<u64>) {
        let mut text = String::new();
        wait_until(|| {
            self.sink.make_room(self.record.outbox(), 1000);
            text.push_str(&self.sink.taken());
            text.contains(&format!(" {last};"))
        });
        let (mut numbers, mut gaps) = (Vec::new(), Vec::new());
        for part in text.trim_end().split_inclusive([';', '>']) {
            match part.trim_start().strip_prefix("<gap ") {
                Some(gap) => gaps.push(gap.trim_end_matches('>').parse().expect("a number")),
                None => {
                    let number = part.rsplit(' ').next().expect("a word");
                    numbers.push(number.trim_end_matches(';').parse().expect("a number"));
                }
            }
        }
        (numbers, gaps)
    }
}

#[track_caller]
fn wait_until(mut is_done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_done() {
        assert!(begin.elapsed() < PATIENCE, "it has not come");
        thread::yield_now();
    }
}

fn publish(client: &mut Client<'_>, numbers: RangeInclusive<u64>) {
    for number in numbers {
        let payload = format!("{:60} {number};", ".");
        let topic = if number % 3 == 0 { "kept/b" } else { "kept/a" };
        assert!(client.publish_now(message(topic, &payload)).is_ok());
    }
}

/// With the threads that serve followers.
fn with_threads(scene: &Scene, check: impl FnOnce(&History) + Send) {
    let engine = &scene.engine;
    let history = engine.router.history().expect("there is one");
    thread::scope(|scope| {
        let threads = [
            scope.spawn(|| tail_loop(engine)),
            scope.spawn(|| catch_up_loop(engine)),
        ];
        // The threads end in any case.
        let checked = scope.spawn(|| check(history)).join();
        stop(engine);
        for thread in threads {
            thread.join().expect("it ends");
        }
        checked.expect("the check holds");
    });
}

#[test]
fn what_goes_with_a_segment_is_told_in_its_place_to_those_that_are_not_so_far() {
    // A quarter is more than a follower takes at a time, whose queue is nearly empty: half of it, and a batch of 128 KiB.
    const LAST: u64 = 8000;
    let (scene, store) = scene_on(&GatedDisk::default());
    let engine = &scene.engine;
    // First, because it replaces the limits of all that are there.
    let mut client = scene.client(10);
    let followers = [("kept/#", 2), ("kept/b", 3)].map(|(filter, id)| {
        let follower = Follower::new(&scene, id);
        let mut following = Client::new(engine, &follower.record);
        following.begin();
        let filter = Filter::parse(filter).expect("a filter");
        following
            .follow(filter, PastStart::Now, &NoAnswers)
            .expect("it may");
        following.settle();
        follower
    });
    with_threads(&scene, |history| {
        publish(&mut client, 1..=LAST / 2);
        wait_until(|| followers.iter().all(Follower::is_behind));
        let figures = FollowerFigures::of(engine);
        assert_eq!((figures.live, figures.behind), (0, 2));
        assert!(figures.lag > LAST / 4, "{figures:?}");
        history.forget_before(LAST / 2 - 100);
        // The segments before the last but one snapshot go.
        store.make_snapshot(engine).expect("no fault");
        publish(&mut client, LAST / 2 + 1..=LAST / 2 + 1);
        store.make_snapshot(engine).expect("no fault");
        let oldest = store.log().oldest();
        assert!(oldest > LAST / 4, "{oldest}");
        publish(&mut client, LAST / 2 + 2..=LAST);
        let (numbers, gaps) = followers[0].read_until(LAST);
        assert_eq!(numbers.len() as u64 + gaps.iter().sum::<u64>(), LAST);
        check(&numbers, &gaps, 1);
        let last = LAST / 3 * 3;
        let (numbers, gaps) = followers[1].read_until(last);
        assert_eq!(numbers.len() as u64 + gaps.iter().sum::<u64>(), LAST / 3);
        check(&numbers, &gaps, 3);
        let live = FollowerFigures {
            live: 2,
            ..FollowerFigures::default()
        };
        wait_until(|| FollowerFigures::of(engine) == live);
    });
}

/// The numbers rise in steps, but where messages are missing.
#[track_caller]
fn check(numbers: &[u64], gaps: &[u64], step: u64) {
    let steps = numbers.windows(2).map(|pair| pair[1] - pair[0]);
    let missing: Vec<u64> = steps.filter(|it| *it != step).collect();
    // What was removed and what was forgotten behind it may be told one by one.
    let missing: u64 = missing.iter().map(|it| it / step - 1).sum();
    assert_eq!(missing, gaps.iter().sum::<u64>(), "{gaps:?}");
    assert!(missing > 0);
}

#[test]
fn what_is_to_be_durable_is_shown_when_it_is_and_nothing_before_it_waits() {
    let disk = GatedDisk::default();
    let (scene, store) = scene_on(&disk);
    let engine = &scene.engine;
    let mut client = scene.client(10);
    let follower = Follower::new(&scene, 2);
    follower
        .sink
        .make_room(follower.record.outbox(), usize::MAX);
    let mut following = Client::new(engine, &follower.record);
    following.begin();
    let filter = Filter::parse("kept/#").expect("a filter");
    let followed = following.follow(filter, PastStart::Now, &NoAnswers);
    followed.expect("it may");
    following.settle();
    let (stop, stopped) = bounded(0);
    disk.hold(DiskWork::Sync, 0);
    with_threads(&scene, |_| {
        thread::scope(|scope| {
            scope.spawn(|| store.run(Duration::from_secs(3600), engine, &stopped));
            publish(&mut client, 1..=2);
            let mut attributes = Attributes::default();
            let pushed = attributes.push(ACK, b"disk");
            pushed.expect("a valid key");
            let asked = Message {
                attributes,
                ..message("kept/a", "3;")
            };
            assert!(client.publish_now(asked).is_ok());
            publish(&mut client, 4..=4);
            let shown = follower.read_until(2);
            // The sync that was wished for because of the third is held back.
            disk.wait_until_held();
            let nothing = follower.sink.taken();
            disk.let_go();
            assert_eq!((shown, nothing.trim()), ((vec![1, 2], vec![]), ""));
            assert_eq!(follower.read_until(4), (vec![3, 4], vec![]));
            drop(stop);
        });
    });
}
