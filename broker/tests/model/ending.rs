//! An outbox that ends while other threads use it: it sends nothing after that, and no thread sleeps
//! on.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use shuttle::rand::{self, Rng};
use shuttle::thread;

use crate::engine::outbox::receipt::Receipt;
use crate::engine::outbox::{Outbox, Remains};
use crate::handover::answer;
use crate::socket::{ENCODER, Flushing, Socket, deliver};

const LIMIT: usize = 20;

/// More bytes of answers than a client may leave unread before its thread waits.
const TOO_MUCH: usize = 70_000;

/// An outbox with enough in its queue that every kind of wait blocks.
fn stuck(flushing: &Arc<Flushing>, taken_at_once: usize) -> (Socket, Arc<Outbox>) {
    let socket = Socket::new(1, taken_at_once, flushing);
    let outbox = socket.outbox(LIMIT, &ENCODER);
    outbox.lock().answer(&answer(TOO_MUCH));
    (socket, outbox)
}

/// Runs all three waits, each on its own thread, during `ending`; all must return.
fn all_wait(outbox: &Outbox, ending: impl FnOnce()) {
    thread::scope(|scope| {
        scope.spawn(|| outbox.wait_for_room());
        scope.spawn(|| outbox.drain(None));
        scope.spawn(|| outbox.drain(Some(Instant::now())));
        ending();
    });
}

pub(crate) fn nothing_leaves_after_the_close() {
    let flushing = Flushing::new();
    let socket = Socket::new(1, 8, &flushing);
    let outbox = socket.outbox(LIMIT, &ENCODER);
    let delivered = thread::scope(|scope| {
        let flusher = scope.spawn(|| flushing.run());
        let publishing = ['a', 'b'].map(|publisher| {
            let outbox = &outbox;
            scope.spawn(move || {
                let batches = [1, 4, 7].into_iter();
                batches
                    .map(|from| 3 * u64::from(deliver(outbox, publisher, from, from + 3)))
                    .sum::<u64>()
            })
        });
        let own = scope.spawn(|| {
            outbox.lock().receipt(Receipt {
                answered: 1,
                copies: 1,
                reached: None,
            });
            outbox.lock().answer(b"answer;");
            outbox.lock().farewell(b"bye;");
        });
        let Remains { tally, failure, .. } = outbox.close();
        socket.close();
        assert!(failure.is_none());
        let delivered: u64 = publishing
            .map(|publisher| publisher.join().expect("it publishes"))
            .into_iter()
            .sum();
        own.join().expect("it answers");
        assert!(!outbox.seems_blocked());
        flushing.end();
        flusher.join().expect("it flushes");
        assert_eq!(
            tally,
            outbox.close().tally,
            "something was done after the close"
        );
        assert_eq!(tally.bytes, socket.text().len() as u64);
        assert_eq!(
            tally.written + tally.dropped.total() + tally.discarded,
            delivered,
            "{tally:?}"
        );
        delivered
    });
    assert!(delivered <= 18);
}

/// The close also removes the outbox from the flusher, so no event wakes the waiters.
pub(crate) fn no_thread_sleeps_on_after_the_close() {
    let flushing = Flushing::new();
    let (socket, outbox) = stuck(&flushing, 50_000);
    thread::scope(|scope| {
        scope.spawn(|| flushing.run());
        all_wait(&outbox, || {
            if rand::thread_rng().gen_bool(0.5) {
                outbox.fail(outbox.id(), io::ErrorKind::TimedOut.into());
            } else {
                outbox.close();
            }
            socket.close();
        });
        flushing.end();
    });
    outbox.wait_for_room();
    outbox.drain(None);
}

pub(crate) fn no_thread_sleeps_on_when_the_socket_fails() {
    let flushing = Flushing::new();
    let (socket, outbox) = stuck(&flushing, 100);
    socket.fail();
    thread::scope(|scope| {
        all_wait(&outbox, || {
            scope.spawn(|| deliver(&outbox, 'a', 1, 3));
            scope.spawn(|| flushing.run());
        });
        flushing.end();
    });
    assert!(outbox.close().failure.is_some(), "it tells why");
}

/// The client takes nothing more; only waits with a deadline return.
pub(crate) fn hurry_ends_all_waiting_without_a_deadline() {
    let flushing = Flushing::new();
    let (_socket, outbox) = stuck(&flushing, 100);
    thread::scope(|scope| {
        scope.spawn(|| outbox.wait_for_room());
        scope.spawn(|| outbox.drain(None));
        scope.spawn(|| deliver(&outbox, 'a', 1, 3));
        outbox.hurry();
    });
    outbox.wait_for_room();
    outbox.drain(None);
    assert!(outbox.seems_blocked());
}
