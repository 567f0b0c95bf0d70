//! From publishers through an outbox to the flusher: no message is lost, and none overtakes another.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use protocol::{Filter, OverflowPolicy};
use shuttle::rand::{self, Rng};
use shuttle::thread;

use crate::engine::memory::budget::Memory;
use crate::engine::outbox::run::Run;
use crate::engine::outbox::{Outbox, Remains};
use crate::socket::{ENCODER, Flushing, Heard, Socket, deliver};

const PUBLISHERS: Range<char> = 'a'..'d';

/// Messages of each publisher, in batches of [`BATCH`].
const MESSAGES: u64 = 9;
const BATCH: u64 = 3;

/// Room for four messages. The client takes about one at a time.
const LIMIT: usize = 20;
const TAKEN_AT_ONCE: usize = 8;

const LESS_THAN_A_MESSAGE: usize = 4;

/// A memory budget that is never short.
const PLENTY: usize = usize::MAX / 2;

/// Uses an outbox like the broker, from its first message to its last; returns the bytes that the
/// client has received when the queue is empty.
fn flushed(publishers: Range<char>, memory: usize, chosen: Option<OverflowPolicy>) -> (Heard, u64) {
    let flushing = Flushing::new();
    let socket = Socket::new(1, TAKEN_AT_ONCE, &flushing);
    let all = memory;
    let memory = Arc::new(Memory::new(all));
    let outbox = socket.outbox_in(&memory, LIMIT, &ENCODER);
    let everything = Filter::parse("#").expect("a filter");
    assert_eq!(outbox.lock().choose(everything, chosen), Ok(()));
    thread::scope(|scope| {
        let flusher = scope.spawn(|| flushing.run());
        // At first other charges take nearly all, so that there is not enough for a single message.
        let taken = if all == PLENTY {
            0
        } else {
            all - LESS_THAN_A_MESSAGE
        };
        let others = memory.charge(taken);
        scope.spawn(move || drop(others));
        let publishing: Vec<_> = publishers
            .map(|publisher| {
                let (outbox, memory) = (&outbox, &memory);
                scope.spawn(move || {
                    for from in (1..=MESSAGES).step_by(BATCH as usize) {
                        assert!(deliver(outbox, publisher, from, from + BATCH));
                        let done = from + BATCH - 1;
                        // After the last message, no other follows that could report a gap.
                        if done < MESSAGES {
                            outbox.lock().answer(format!("{done};").as_bytes());
                        }
                        memory.wait_for_reserve();
                        if outbox.lock().take_backpressure() {
                            outbox.wait_for_half(Instant::now());
                        }
                    }
                })
            })
            .collect();
        for publisher in publishing {
            publisher.join().expect("it publishes");
        }
        flushing.end();
        flusher.join().expect("it flushes");
    });
    let dropped = nothing_waits(&outbox, &socket.heard());
    assert_eq!(memory.free(), all, "not all was given back");
    (socket.heard(), dropped)
}

/// The flusher has nothing more to do: then the outbox must be idle. Returns the number of dropped
/// messages.
fn nothing_waits(outbox: &Arc<Outbox>, heard: &Heard) -> u64 {
    assert!(
        !outbox.seems_blocked(),
        "something waits and nothing is armed"
    );
    outbox.drain(None);
    let Remains { tally, failure, .. } = outbox.close();
    assert!(failure.is_none());
    assert_eq!(tally.discarded, 0);
    assert_eq!(tally.written, heard.messages.len() as u64, "{heard:?}");
    assert_eq!(tally.dropped.total(), heard.missing(), "{heard:?}");
    tally.dropped.total()
}

pub(crate) fn everything_delivered_leaves_in_order_or_is_told_as_a_gap() {
    everything_leaves_or_is_told(PLENTY, None);
}

pub(crate) fn for_want_of_memory_nothing_is_lost_untold() {
    // All of the bytes may be answers.
    everything_leaves_or_is_told(16, None);
}

pub(crate) fn whatever_is_chosen_nothing_is_lost_untold() {
    let chosen = OverflowPolicy::ALL[rand::thread_rng().gen_range(0..OverflowPolicy::ALL.len())];
    everything_leaves_or_is_told(PLENTY, Some(chosen));
}

fn everything_leaves_or_is_told(memory: usize, chosen: Option<OverflowPolicy>) {
    let (heard, dropped) = flushed(PUBLISHERS, memory, chosen);
    let written: usize = PUBLISHERS
        .map(|publisher| heard.numbers(publisher).len())
        .sum();
    let delivered = PUBLISHERS.count() as u64 * MESSAGES;
    assert_eq!(written as u64 + dropped, delivered);
}

pub(crate) fn a_gap_stands_exactly_where_the_messages_are_missing() {
    let (heard, _) = flushed('a'..'b', PLENTY, None);
    let mut numbers = heard.numbers('a').into_iter().enumerate();
    let (mut next, mut gaps) = (1, heard.gaps.iter());
    let mut gap = gaps.next();
    loop {
        let came = numbers.next();
        let at = came.map_or(heard.messages.len(), |(at, _)| at);
        while let Some(&(before, count)) = gap
            && before == at
        {
            next += count;
            gap = gaps.next();
        }
        match came {
            Some((_, number)) => assert_eq!(number, next, "{heard:?}"),
            None => break,
        }
        next += 1;
    }
    assert_eq!(next, MESSAGES + 1, "{heard:?}");
    for (before, done) in &heard.answers {
        assert_eq!(before.to_string(), *done, "{heard:?}");
    }
}

pub(crate) fn much_is_flushed_in_parts_and_all_of_it_leaves() {
    let flushing = Flushing::new();
    let socket = Socket::new(1, 400_000, &flushing);
    let outbox = socket.outbox(1_000_000, &ENCODER);
    let zeros = "0".repeat(300_000);
    thread::scope(|scope| {
        let flusher = scope.spawn(|| flushing.run());
        for number in 1..=2 {
            let text = format!("t:a{zeros}{number};");
            let run = Run::borrowed(text.as_bytes(), 1);
            outbox.lock().deliver(&[&run]);
        }
        flushing.end();
        flusher.join().expect("it flushes");
    });
    let heard = socket.heard();
    assert_eq!(heard.numbers('a'), [1, 2]);
    assert_eq!(nothing_waits(&outbox, &heard), 0);
}

/// Two threads wait; the second may find the queue empty and return at once.
pub(crate) fn who_waits_for_room_is_woken_by_the_flusher() {
    let flushing = Flushing::new();
    let socket = Socket::new(1, 80_000, &flushing);
    let outbox = socket.outbox(LIMIT, &ENCODER);
    thread::scope(|scope| {
        scope.spawn(|| flushing.run());
        let own = scope.spawn(|| {
            outbox.lock().answer(&answer(70_000));
            outbox.wait_for_room();
            assert!(socket.text().len() >= 70_000 - 64 * 1024, "back too early");
            outbox.lock().answer(&answer(70_000));
            outbox.drain(None);
        });
        let publisher = scope.spawn(|| deliver(&outbox, 'a', 1, 4));
        own.join().expect("it returns");
        publisher.join().expect("it publishes");
        outbox.drain(None);
        flushing.end();
    });
    let heard = socket.heard();
    assert_eq!(heard.answers.len(), 2);
    nothing_waits(&outbox, &heard);
}

/// An answer with this many bytes.
pub(crate) fn answer(bytes: usize) -> Vec<u8> {
    let mut answer = vec![b'x'; bytes - 1];
    answer.push(b';');
    answer
}
