//! Memory that a burst needed goes back to the system when the burst is over. How much of it, and
//! how soon, `measure idle-after-burst` tells.

use tests::{TestBroker, TestClient};

const CLIENTS: usize = 100;

/// A line that fills the block of its connection to the largest that bursts need.
const LINE_BYTES: usize = 250_000;

/// The memory that these lines need at least, in KiB.
const NEEDED: u64 = 16 * 1024;

#[test]
fn connections_that_have_been_busy_give_back_what_they_do_not_need_any_more() {
    let broker = TestBroker::start();
    let mut clients: Vec<TestClient> = (0..CLIENTS).map(|_| broker.connect()).collect();
    for client in &mut clients {
        client.send("PING").expect("PONG");
    }
    let before = broker.resident_kib();
    // All are held until the last has come, however slow the machine is: none has ended.
    let line = format!("PUBLISH nobody/wants/this {}", "x".repeat(LINE_BYTES));
    for client in &mut clients {
        client.write(&line);
    }
    tests::eventually("lines that have begun are held", || {
        broker.resident_kib() > before + NEEDED
    });
    for client in &mut clients {
        client.write("\n").expect("PUBACK 1 0");
    }
    tests::eventually("most of the memory is given back", || {
        broker.resident_kib() < before + NEEDED / 4
    });
    for client in &mut clients {
        client.send("PING").expect("PONG");
    }
}
