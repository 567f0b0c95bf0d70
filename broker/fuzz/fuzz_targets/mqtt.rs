//! Whatever comes behind a CONNECT: no panic, no message unaccounted for, and what the broker sends
//! is whole packets.
//!
//! The first byte of an input chooses the version, what stands in CONNECT, and how the rest is cut into
//! reads; `0xfe` among the rest ends the connection and begins another of the same client.

#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "a conversation needs less of the sources than the broker does"
)]

#[path = "../../src/adapter.rs"]
mod adapter;
#[path = "../../src/block.rs"]
mod block;
#[path = "../../src/choices.rs"]
mod choices;
#[path = "../../src/clock.rs"]
mod clock;
#[path = "../../src/dispatch.rs"]
mod dispatch;
#[path = "../../src/drops.rs"]
mod drops;
#[path = "../../src/engine.rs"]
mod engine;
#[path = "../../src/filter_tree.rs"]
mod filter_tree;
#[path = "../../src/flusher.rs"]
mod flusher;
#[path = "../../src/inquiry/mod.rs"]
mod inquiry;
#[path = "../../src/interest.rs"]
mod interest;
#[path = "../../src/latency.rs"]
mod latency;
#[path = "../../src/ledger.rs"]
mod ledger;
#[path = "../../src/memory.rs"]
mod memory;
#[path = "../../src/metrics.rs"]
mod metrics;
#[path = "../../src/outbox.rs"]
mod outbox;
#[path = "../../src/queue/mod.rs"]
mod queue;
#[path = "../../src/retained.rs"]
mod retained;
#[path = "../../src/roster.rs"]
mod roster;
#[path = "../../src/route_cache.rs"]
mod route_cache;
#[path = "../../src/router.rs"]
mod router;
#[path = "../../src/run.rs"]
mod run;
#[path = "../../src/seats.rs"]
mod seats;
#[path = "../../src/stage.rs"]
mod stage;
#[path = "../../src/storm.rs"]
mod storm;
#[path = "../../src/sync.rs"]
mod sync;
#[path = "../../src/traffic.rs"]
mod traffic;
#[path = "../../src/wire/mod.rs"]
mod wire;
#[path = "../../src/wording.rs"]
mod wording;

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;

use block::Block;
use engine::Engine;
use outbox::{Outbox, Sink};
use roster::Member;
use wire::desk::Desk;
use wire::mqtt::{Conversation, Limits};
use wire::{Arrival, End, Source, line};

/// Takes all, or from some point on nothing.
#[derive(Clone)]
struct Taken {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl Sink for Taken {
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut bytes = self.bytes.lock().expect("no panic");
        let mut sent = 0;
        for slice in slices {
            let fits = slice.len().min(self.room.saturating_sub(bytes.len()));
            bytes.extend_from_slice(&slice[..fits]);
            sent += fits;
        }
        match sent {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(sent),
        }
    }

    fn arm(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A part of the input, a few bytes at a time.
struct Pieces<'a>(std::slice::Chunks<'a, u8>);

impl Source for Pieces<'_> {
    fn fill(&mut self, block: &mut Block, most: usize) -> Arrival {
        match self.0.next() {
            Some(piece) => {
                let Some(room) = block.fill(most) else {
                    return Arrival::NoMemory;
                };
                room.extend_from_slice(piece);
                Arrival::Bytes
            }
            None => Arrival::End,
        }
    }

    fn wait_for_end(&mut self) -> Arrival {
        Arrival::End
    }

    fn set_interval(&mut self, _: Duration) {}
}

fn hello(choice: u8) -> Vec<u8> {
    let clean = choice & 2;
    if choice & 1 == 0 {
        [
            &[0x10, 13, 0, 4][..],
            b"MQTT",
            &[4, clean, 0, 0, 0, 1, b'a'],
        ]
        .concat()
    } else {
        // Session expiry, receive maximum 3, topic alias maximum 2.
        let properties = [0x11, 0, 0, 1, 0, 0x21, 0, 3, 0x22, 0, 2];
        let body = [
            &[0, 4][..],
            b"MQTT",
            &[5, clean, 0, 0, properties.len() as u8],
            &properties,
            &[0, 1, b'a'],
        ]
        .concat();
        [&[0x10, body.len() as u8][..], &body].concat()
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else {
        return;
    };
    let limits = Limits {
        packet_bytes: 4096,
        queued: 8,
        queued_bytes: 4096,
        session_expiry: Duration::from_secs(100),
    };
    let engine = Engine::new(8, 4096, 1 << 20, Duration::ZERO).expect("an engine");
    for (number, part) in rest.split(|&byte| byte == 0xfe).enumerate() {
        let id = number as u64 + 1;
        let taken = Taken {
            bytes: Arc::default(),
            room: if choice & 4 == 0 { usize::MAX } else { 300 },
        };
        let memory = engine.memory.clone();
        let outbox = Outbox::new(id, 4096, memory, &line::WORDING, Box::new(taken.clone()));
        // Nobody flushes, so nobody may wait either.
        outbox.hurry();
        let member = Arc::new(Member::new(Arc::new(outbox), ([127, 0, 0, 1], 1).into()));
        engine.roster.enter(member.clone());
        let mut desk = Desk::new(&engine, &member, 10);
        let all = [&hello(choice)[..], part].concat();
        let mut source = Pieces(all.chunks(usize::from(choice >> 3) + 1));
        let mut block = Block::new(&engine.memory);
        let end = Conversation::new(&mut desk, limits).read_loop(&mut source, &mut block);
        desk.begin();
        let remains = desk.part();
        desk.hand_over(&remains.orphans);
        if !matches!(end, End::SaidBye) {
            desk.publish_will();
        }
        desk.settle();
        desk.stand_up();
        let bytes = taken.bytes.lock().expect("no panic");
        if taken.room == usize::MAX {
            assert_eq!(
                (wire::mqtt::WORDING_5.fitting)(&bytes, bytes.len()),
                bytes.len()
            );
        }
    }
    let audit = engine.roster.audit();
    assert!(audit.ledger.is_balanced(), "{}", audit.ledger);
});
