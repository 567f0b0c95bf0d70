//! Promises of "Limits" on memory: all slow clients together, and all lines that have begun, take no
//! more than the operator allows. No client is cut off for it, and no loss is silent.

use std::time::Duration;

use tests::TestBroker;

const MEMORY: &str = "8MiB";
const MEMORY_KIB: u64 = 8 * 1024;

fn broker() -> TestBroker {
    TestBroker::with_args(&[
        "--memory",
        MEMORY,
        "--outbox-bytes",
        "4MiB",
        "--max-line",
        "4MiB",
    ])
}

#[test]
fn many_slow_clients_together_take_no_more_than_they_may_and_are_told_what_they_miss() {
    const CLIENTS: usize = 20;
    const MESSAGES: usize = 8000;
    let broker = broker();
    let mut bob = broker.connect();
    bob.send("PUBLISH warm up").expect("PUBACK 1 0");
    let mut slow: Vec<_> = (0..CLIENTS)
        .map(|n| broker.connect_slow(&format!("news/{n}")))
        .collect();
    let before = broker.resident_kib();
    let mut answered = 1;
    for n in 0..CLIENTS {
        // Eight megabytes for each of them, more than the kernel's buffers hold.
        for first in (0..MESSAGES).step_by(50) {
            let messages: String = (first..first + 50)
                .map(|number| format!("PUBLISH news/{n} {number} {}\n", "x".repeat(1000)))
                .collect();
            bob.write(messages);
            answered += 50;
            bob.read_until_prefix(&format!("PUBACK {answered} "));
        }
    }
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(
        grown < MEMORY_KIB * 3 / 2,
        "{grown} KiB, allowed were {MEMORY_KIB}"
    );

    // A new client that reads loses nothing beside them.
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE chat").expect("SUBACK chat");
    for n in 1..=100 {
        bob.send(format!("PUBLISH chat {n}"))
            .expect(format!("PUBACK {} 1", answered + n));
        ann.expect(format!("MESSAGE chat {n}"));
    }

    let mut missed = 0;
    for (n, client) in slow.iter_mut().enumerate() {
        let mut next = 0;
        for line in client.read_to_fence() {
            if let Some(count) = line.strip_prefix("GAP ") {
                let count: usize = count.parse().expect("a number");
                (next, missed) = (next + count, missed + count);
            } else {
                let start = format!("MESSAGE news/{n} {next} ");
                assert!(line.starts_with(&start), "{:.30} after {next}", line);
                next += 1;
            }
        }
        assert_eq!(next, MESSAGES);
    }
    assert!(missed > 0, "they were not slow enough");
    let log = broker.stop().log;
    assert!(log.contains(&format!("{missed} messages dropped")), "{log}");
}

#[test]
fn lines_without_an_end_take_no_more_than_they_may_and_the_conversation_goes_on() {
    const CLIENTS: usize = 8;
    let broker = broker();
    let before = broker.resident_kib();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| broker.connect()).collect();
    let part = vec![b'x'; 3 * 1024 * 1024];
    std::thread::scope(|scope| {
        for client in &mut clients {
            let mut writer = client.writer();
            writer
                .set_write_timeout(Some(Duration::from_secs(60)))
                .expect("an open connection");
            let part = &part;
            scope.spawn(move || {
                use std::io::Write;
                writer.write_all(b"PUBLISH news ").expect("it is read");
                writer.write_all(part).expect("it is read");
            });
        }
    });
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(
        grown < MEMORY_KIB * 3 / 2,
        "{grown} KiB, allowed were {MEMORY_KIB}"
    );
    let mut refused = 0;
    for client in &mut clients {
        client.write("x\n");
        let answer = client.read_line();
        if answer.starts_with("ERROR too-many publish:1 there is no memory") {
            client.expect("PUBACK 1 0");
            refused += 1;
        } else {
            assert_eq!(answer, "PUBACK 1 0");
        }
        client.send("PUBLISH news short").expect("PUBACK 2 0");
    }
    assert!(refused > 0, "three megabytes for each of {CLIENTS} clients");
}

#[test]
fn publishers_do_not_wait_for_clients_that_never_read() {
    let broker = broker();
    let mut bob = broker.connect();
    let slow: Vec<_> = (0..40)
        .map(|n| broker.connect_slow(&format!("news/{n}")))
        .collect();
    let mut answered = 0;
    for round in 0..50 {
        for n in 0..slow.len() {
            let message = format!("PUBLISH news/{n} {round} {}\n", "x".repeat(1000));
            bob.write(message.repeat(20));
            answered += 20;
            bob.read_until_prefix(&format!("PUBACK {answered} "));
        }
    }
    let log = broker.stop().log;
    let waits = log
        .split_once(" waits for memory")
        .and_then(|(before, _)| before.rsplit_once(' '))
        .and_then(|(_, count)| count.parse::<u64>().ok())
        .expect("the last line of the log has the waits");
    // Of two thousand batches; each flush of a socket may allow one more try.
    assert!(waits < 200, "{waits} waits: {log}");
}
