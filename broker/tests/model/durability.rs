//! Receipts that wait for the disk: none leaves before its sync, and none is forgotten.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shuttle::thread;

use crate::engine::outbox::Outbox;
use crate::engine::outbox::receipt::Receipt;
use crate::engine::outbox::waiting::WaitingAnswer;
use crate::socket::{ENCODER, Flushing, Socket};
use crate::storage::waiters::{Synced, Waiters, Wake};
use crate::sync::Mutex;

/// Batches of each publisher.
const BATCHES: u64 = 3;

/// A log that counts what is appended, and what is durable of it.
#[derive(Default)]
struct Log {
    /// The next sequence number, and the one up to which all is durable.
    numbers: Mutex<(u64, u64)>,
    waiters: Waiters,
}

impl Log {
    fn append(&self) -> u64 {
        let (next, _) = &mut *self.numbers.lock();
        *next += 1;
        *next - 1
    }

    fn durable(&self) -> u64 {
        self.numbers.lock().1
    }

    /// As the store does it, but the intervals never end: what is forgotten waits for ever, which the checker
    /// finds.
    fn sync_loop(&self) {
        let never = Instant::now() + Duration::from_secs(1 << 30);
        while self.waiters.wait(never) != Wake::Stop {
            let next = self.numbers.lock().0;
            // Others append meanwhile.
            thread::yield_now();
            self.numbers.lock().1 = next;
            self.waiters.release(Synced::Before(next));
        }
    }
}

/// Publishes batches and answers them; ends when all answers have left.
fn publish(log: &Log, socket: &Socket, outbox: &Arc<Outbox>) {
    let mut appended = Vec::new();
    for answered in 1..=BATCHES {
        let until = log.append();
        appended.push(until);
        let receipt = Receipt {
            answered,
            copies: 0,
            reached: None,
        };
        let is_first = outbox.lock().answer_later(WaitingAnswer {
            until,
            bytes: Vec::new(),
            receipt: Some(receipt),
        });
        if is_first {
            log.waiters.add(outbox.clone());
        }
        check(log, socket, &appended);
    }
    outbox.wait_for_answers(None);
    check(log, socket, &appended);
    outbox.drain(None);
    let last = socket
        .heard()
        .answers
        .last()
        .expect("there is one")
        .1
        .clone();
    assert_eq!(last, format!("={BATCHES}/0"));
}

/// What has been answered is durable.
fn check(log: &Log, socket: &Socket, appended: &[u64]) {
    // Before it is asked what is durable: more may become so in between.
    let heard = socket.heard();
    let durable = log.durable();
    for (_, answer) in &heard.answers {
        let answered = answer.strip_prefix('=').and_then(|it| it.split_once('/'));
        let answered: usize = answered.expect("a receipt").0.parse().expect("a number");
        assert!(appended[answered - 1] < durable, "{answer} of {appended:?}");
    }
}

pub(crate) fn no_receipt_leaves_before_its_sync_and_none_is_forgotten() {
    let log = Log::default();
    let flushing = Flushing::new();
    let sockets = [1, 2].map(|id| Socket::new(id, 8, &flushing));
    let outboxes = sockets.each_ref().map(|it| it.outbox(1000, &ENCODER));
    thread::scope(|scope| {
        let flusher = scope.spawn(|| flushing.run());
        let syncing = scope.spawn(|| log.sync_loop());
        let publishing: Vec<_> = sockets
            .iter()
            .zip(&outboxes)
            .map(|(socket, outbox)| {
                let log = &log;
                scope.spawn(move || publish(log, socket, outbox))
            })
            .collect();
        for publisher in publishing {
            publisher.join().expect("all its answers have left");
        }
        log.waiters.stop();
        syncing.join().expect("it stops");
        flushing.end();
        flusher.join().expect("it flushes");
    });
}
