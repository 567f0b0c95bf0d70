//! Time to decode a line: finding its end, and decoding it as a request and as a reply.
//!
//! In: a buffer of equal lines. Out: time and throughput for each payload size. No socket is involved.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use protocol::{Framer, Reply, Request, Step};

const PAYLOADS: [usize; 3] = [16, 128, 1024];

/// Lines in a buffer, about as many as one read returns.
const LINES: usize = 64;

const MAX_LINE: usize = 1024 * 1024;

fn main() {
    divan::main();
}

fn lines(verb: &str, payload: usize) -> Vec<u8> {
    let line = format!(
        "{verb} sensors/kitchen/temperature {}\n",
        "x".repeat(payload)
    );
    line.repeat(LINES).into_bytes()
}

/// Calls `each` with every line of a buffer.
fn for_lines(buffer: &[u8], mut each: impl FnMut(&[u8])) {
    let mut framer = Framer::new(MAX_LINE);
    let mut rest = buffer;
    while let Step::Line(len) = framer.next(rest) {
        each(Framer::content(&rest[..len]));
        rest = &rest[len + 1..];
    }
}

#[divan::bench(args = PAYLOADS)]
fn line_ends(bencher: Bencher, payload: usize) {
    let buffer = lines("PUBLISH", payload);
    bencher
        .counter(ItemsCount::new(LINES))
        .counter(BytesCount::new(buffer.len()))
        .bench(|| {
            for_lines(&buffer, |line| {
                black_box(line);
            });
        });
}

#[divan::bench(args = PAYLOADS)]
fn requests(bencher: Bencher, payload: usize) {
    let buffer = lines("PUBLISH", payload);
    bencher
        .counter(ItemsCount::new(LINES))
        .counter(BytesCount::new(buffer.len()))
        .bench(|| for_lines(&buffer, |line| drop(black_box(Request::decode(line)))));
}

#[divan::bench(args = PAYLOADS)]
fn replies(bencher: Bencher, payload: usize) {
    let buffer = lines("MESSAGE", payload);
    bencher
        .counter(ItemsCount::new(LINES))
        .counter(BytesCount::new(buffer.len()))
        .bench(|| for_lines(&buffer, |line| drop(black_box(Reply::decode(line)))));
}
