//! Time to encode a MESSAGE, and to escape a payload, for each payload size.
//!
//! The output buffer is reused, so that allocation is not measured.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use protocol::{Attributes, Escaped, Reply, Topic};

const PAYLOADS: [usize; 3] = [16, 128, 1024];

fn main() {
    divan::main();
}

#[divan::bench(args = PAYLOADS)]
fn message(bencher: Bencher, payload: usize) {
    let payload = vec![b'x'; payload];
    let reply = Reply::Message {
        topic: Topic::parse("sensors/kitchen/temperature").expect("a topic"),
        payload: Escaped::escape(&payload),
        attributes: Attributes::default(),
    };
    let mut out = Vec::new();
    bencher
        .counter(ItemsCount::new(1usize))
        .counter(BytesCount::new(payload.len()))
        .bench_local(|| {
            out.clear();
            black_box(&reply).encode(&mut out);
        });
}

/// One byte in sixteen is a line end.
#[divan::bench(args = PAYLOADS)]
fn escape(bencher: Bencher, payload: usize) {
    let payload: Vec<u8> = b"fifteen letters\n"
        .iter()
        .copied()
        .cycle()
        .take(payload)
        .collect();
    bencher
        .counter(BytesCount::new(payload.len()))
        .bench_local(|| Escaped::escape(black_box(&payload)).as_line().len());
}
