//! Tests of an outbox whose sink makes bytes ready before they leave, as TLS does: what is ready leaves
//! unchanged, whatever is dropped, replaced or answered meanwhile.

use std::io::{self, IoSlice};
use std::sync::Arc;

use proptest::prelude::*;
use protocol::{Filter, OverflowPolicy};

use super::tests::{ENCODER, receipt};
use super::{Outbox, Sink};
use crate::clock::latency::Latency;
use crate::engine::memory::budget::Memory;
use crate::engine::outbox::run::Run;
use crate::sync::Mutex;

/// Bytes that are made ready at a time.
const MOST_READY: usize = 40;

/// A sink whose bytes leave in whole pieces.
#[derive(Default)]
struct PieceQueue {
    /// PieceQueue that may leave.
    room: usize,
    ready: Vec<u8>,
    left: Vec<u8>,
    /// It has something of its own to say.
    own: bool,
    armed: bool,
}

#[derive(Clone, Default)]
struct PieceSink(Arc<Mutex<PieceQueue>>);

impl Sink for PieceSink {
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        let mut pieces = self.0.lock();
        let same = offered.len().min(pieces.ready.len());
        assert_eq!(
            &offered[..same],
            &pieces.ready[..same],
            "what was ready has changed"
        );
        let mut taken = 0;
        loop {
            if !pieces.ready.is_empty() {
                if pieces.room == 0 {
                    break;
                }
                pieces.room -= 1;
                let ready = std::mem::take(&mut pieces.ready);
                taken += ready.len();
                pieces.left.extend(ready);
            }
            let more = &offered[taken.min(offered.len())..];
            if more.is_empty() {
                break;
            }
            pieces.ready = more[..more.len().min(MOST_READY)].to_vec();
        }
        match taken {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }

    fn ahead(&self) -> usize {
        self.0.lock().ready.len()
    }

    fn finish(&self) -> io::Result<bool> {
        let mut pieces = self.0.lock();
        if pieces.own && pieces.room > 0 {
            (pieces.own, pieces.room) = (false, pieces.room - 1);
            pieces.left.extend(b"!");
        }
        Ok(!pieces.own)
    }

    fn arm(&self) -> io::Result<()> {
        let was = std::mem::replace(&mut self.0.lock().armed, true);
        assert!(!was, "armed twice");
        Ok(())
    }
}

fn outbox(limit: usize) -> (Outbox, PieceSink) {
    let sink = PieceSink::default();
    let memory = Arc::new(Memory::new(usize::MAX));
    let outbox = Outbox::new(1, limit, memory, &ENCODER, Box::new(sink.clone()));
    (outbox, sink)
}

impl PieceSink {
    /// Lets some pieces leave, and makes the call that was asked for.
    fn make_room(&self, outbox: &Outbox, pieces: usize) {
        let armed = {
            let mut inside = self.0.lock();
            inside.room = pieces;
            std::mem::take(&mut inside.armed)
        };
        if armed {
            outbox.flush(&Latency::default());
        }
    }

    fn left(&self) -> String {
        String::from_utf8(self.0.lock().left.clone()).expect("tests send text")
    }
}

#[test]
fn what_a_sink_has_of_its_own_leaves_without_a_message_and_only_when_there_is_room() {
    let (outbox, sink) = outbox(100);
    sink.0.lock().own = true;
    outbox.lock().finish_sink();
    assert!(sink.0.lock().armed && !outbox.lock().has_room());
    outbox.lock().finish_sink();
    outbox.lock().answer(b"a");
    sink.make_room(&outbox, 2);
    assert_eq!(sink.left(), "a!");
    assert!(outbox.lock().has_room());
}

#[test]
fn messages_that_are_ready_are_written_when_their_last_byte_has_left() {
    let (outbox, sink) = outbox(1000);
    let run = "a1;".repeat(20);
    outbox.lock().deliver(&[&Run::borrowed(run.as_bytes(), 20)]);
    assert_eq!(outbox.stock().tally.written, 0);
    sink.make_room(&outbox, 1);
    // Forty bytes are thirteen messages and a third.
    let stock = outbox.stock();
    assert_eq!(stock.tally.written + stock.waiting, 20);
    assert_eq!(stock.tally.bytes, 40);
    sink.make_room(&outbox, 1);
    assert_eq!(outbox.stock().tally.written, 20);
    assert_eq!(sink.left(), run);
}

#[derive(Clone, Debug)]
enum OutboxStep {
    Deliver(Vec<(u8, u8)>),
    Answer,
    Receipt,
    Room(usize),
}

fn step() -> impl Strategy<Value = OutboxStep> {
    let message = (b'a'..=b'd', 0..12u8);
    prop_oneof![
        4 => prop::collection::vec(message, 1..12).prop_map(OutboxStep::Deliver),
        1 => Just(OutboxStep::Answer),
        1 => Just(OutboxStep::Receipt),
        3 => (0..4usize).prop_map(OutboxStep::Room),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn what_is_ready_stays_and_nothing_is_lost_untold(
        steps in prop::collection::vec(step(), 1..60),
        limit in 30..120usize,
        policies in prop::collection::vec(0..4usize, 4),
        in_one_run in any::<bool>(),
    ) {
        let (outbox, sink) = outbox(limit);
        let choices = [
            OverflowPolicy::DropOldest, OverflowPolicy::DropNewest, OverflowPolicy::Latest, OverflowPolicy::Block,
        ];
        if policies[0] != 0 {
            for (topic, choice) in ["a", "b", "c", "d"].into_iter().zip(&policies) {
                let filter = Filter::parse(topic).expect("a filter");
                prop_assert!(outbox.lock().choose(filter, Some(choices[*choice])).is_ok());
            }
        }
        for step in steps {
            match step {
                OutboxStep::Deliver(messages) => {
                    let texts: Vec<String> = messages
                        .iter()
                        .map(|(topic, length)| {
                            format!("{}{};", char::from(*topic), "x".repeat(usize::from(*length)))
                        })
                        .collect();
                    let whole = texts.concat();
                    let runs: Vec<Run<'_>> = match in_one_run {
                        true => vec![Run::borrowed(whole.as_bytes(), texts.len() as u64)],
                        false => texts.iter().map(|text| Run::borrowed(text.as_bytes(), 1)).collect(),
                    };
                    outbox.lock().deliver(&runs.iter().collect::<Vec<_>>());
                }
                OutboxStep::Answer => outbox.lock().answer(b"<answer>"),
                OutboxStep::Receipt => outbox.lock().receipt(receipt(1, 2)),
                OutboxStep::Room(pieces) => sink.make_room(&outbox, pieces),
            }
            let stock = outbox.stock();
            let tally = stock.tally;
            prop_assert_eq!(stock.taken, tally.written + tally.dropped.total() + tally.discarded + stock.waiting);
        }
        sink.make_room(&outbox, usize::MAX);
        let (left, tally) = (sink.left(), outbox.stock().tally);
        let gaps = left.split("<gap ").skip(1).filter_map(|rest| rest.split_once('>'));
        let told: u64 = gaps.filter_map(|(count, _)| count.parse::<u64>().ok()).sum();
        prop_assert_eq!(told, tally.dropped.total(), "{}", left);
        prop_assert_eq!(left.matches(';').count() as u64, tally.written);
    }
}
