//! The words of the document that are the same for all results.

use crate::case::Group;

pub(super) const HEAD: &str = "\
# Benchmarks

<!-- Written by `tests/peers`. The next run overwrites changes made by hand. -->

This broker beside others, all loaded by one program with the same code, on one machine. To repeat it on yours:

```sh
tests/peers
```

It installs the other brokers if they are missing, builds this one, measures, and writes this page and its plots anew.
`tests/peers --help` tells how to measure a part of it. All single results are in
[results.jsonl](benchmarks/results.jsonl), one line for each run, and `tests/peers --from docs/benchmarks/results.jsonl`
writes this page from them without measuring.
";

pub(super) const METHOD: &str = "\
- **The load** is `client bench`, which speaks all these protocols itself over plain sockets and favours none.
  Publishers write as fast as the slowest subscriber reads, but no more than 4 MiB ahead of any subscriber, and 256 MiB
  ahead of all together, so no broker has to drop anything; a message that one drops all the same is not delivered, and counts
  as a fault. Payloads are of 128 bytes if nothing else is said. In a name such as 8x1, publishers come first.
- **Turns.** In each round every case is run with every broker, one after another, and each round begins with another
  broker. A run has a broker started afresh, in an empty folder, on the loopback interface.
- **One machine** carries the load and the broker, and they compete for it. What the kernel does on loopback is charged to
  the sender, broker or load. The *processor a message* of the broker, user and system time for each message
  delivered, depends least on that. The kernel counts it in hundredths of a second as a rule.
- **Latency** counts from when a message was *due*, not from when it could be sent, so a broker that stalls its publisher
  cannot hide that. With 100 subscribers it counts until the last of them has the message.
- **Memory** is what is resident. Of an idle connection it is the growth of the broker by that many connections, each with
  one subscription to the same topic, divided by their number. What the kernel holds for sockets and threads is not in it.
- **Unix sockets** are measured beside TCP with the brokers that have them, as ratios, also apart from the rest:
  `tests/peers --cases unix --brokers dallal,redis`.
- **TLS** is compared with the brokers that speak it from the first byte on, each with its own choice of version and suite:
  `tests/peers --cases TLS --brokers dallal,nats,mosquitto`. The load decrypts for all subscribers on the same processors.
- **The store** is compared with streams of NATS (JetStream, in files) and of Redis (`XADD`, with the append-only file):
  `tests/peers --cases store --brokers dallal,nats,redis`. All messages of NATS are in one stream, whose subjects are the topics; in Redis
  each topic is a stream. A publisher has no more unacknowledged messages than its window, and no client reads meanwhile. Receipts
  are counted: `PUBACK`, which says the level if that was asked for, the answer of JetStream with the number in the stream, the number that `XADD` answers. The folder of
  each is new, below `/var/tmp`, which has to be on a disk. The load makes the streams before a run and removes them after it.
- **Faults**: every message is numbered, and those that are lost, doubled or out of order are counted, over all rounds.
";

pub(super) const RELAY: &str = "\
**relay** is no broker but a yardstick, `tests/examples/relay.rs`: a thread for each connection that reads, finds the line
ends, writes `MESSAGE` over `PUBLISH` and hands what it read to every connection that subscribed to anything. It looks up
no topic, bounds no memory and waits for slow receivers. It tells what this machine and its kernel allow a program with
threads and sockets like ours to reach while it does none of a broker's work.
";

pub(super) const LIMITS: &str = "
All brokers have the same limit of open files, 65,536 where the system allows that. If root runs this, foreign programs run
as the user `nobody`.
";

const TLS_IDLE: (&str, &str) = (
    "Idle connections with TLS",
    "The same as without TLS: they connect, subscribe and wait, and one message at a time goes to all of them.",
);

const OS: (&str, &str) = (
    "The store: receipts of what the system has",
    "One publisher, no subscriber. What has a receipt outlives the end of the process. When it is made durable is as each broker does it \
     by default, or nearest to that: here within 100 ms, in Redis each second (`appendfsync everysec`), in NATS every two minutes. In the last case each message asks for it (`@ack=os`), so its receipt says it.",
);

const DISK: (&str, &str) = (
    "The store: receipts of what is durable",
    "Publishers, no subscriber. What has a receipt outlives a power cut: here `@ack=disk`, in NATS `sync_interval: always`, in Redis \
     `appendfsync always`. With 16x0 and 64x0, 16 and 64 publishers have one message each on its way.",
);

const LIMIT: (&str, &str) = (
    "The store: a limit for each topic",
    "One publisher takes the next of 10,000 topics for each message, and the newest 20 of each stay: here `--keep FILTER=20`, in NATS \
     `max_msgs_per_subject`, in Redis `MAXLEN 20` of each `XADD`, which is exact. Beside it, this broker alone without a limit.",
);

const KEPT_THROUGHPUT: (&str, &str) = (
    "The store: what subscribers get",
    "This broker alone: one publisher without a window and one subscriber, while nothing is kept, and while all is.",
);

/// The title of a group, and what its cases have in common.
pub(super) fn introduction(group: Group) -> (&'static str, &'static str) {
    match group {
        Group::Payload => (
            "Throughput by payload",
            "One publisher, one subscriber, one topic.",
        ),
        Group::FanOut => (
            "Fan-out",
            "One publisher, one topic, and many subscribers that all get every message. Deliveries are counted.",
        ),
        Group::Many => (
            "Publishers and topics",
            "With 8x8 separate topics, each topic has one publisher and one subscriber. Of the 10,000 topics, a publisher \
             takes the next one for each message; ten subscribers have a thousand of them each.",
        ),
        Group::Receipts => (
            "Receipts",
            "One publisher with at most this many unacknowledged messages: `PUBACK` here and in MQTT (QoS 1 up to the \
             broker), `+OK` of NATS in verbose mode, the number that Redis answers. Times are from sending to the receipt.",
        ),
        Group::RoundTrips => (
            "Round trips",
            "One client asks, another answers on a second topic, one question at a time.",
        ),
        Group::Latency => (
            "Latency",
            "Messages at a fixed rate. The last case has 100 subscribers, and its times are until the last has the message. \
             The plot has the cases with one subscriber.",
        ),
        Group::Idle => (
            "Idle connections",
            "They connect one after another, subscribe and wait; then one message at a time goes to all of them.",
        ),
        Group::Qos0 => (
            "MQTT at QoS 0",
            "All brokers speak MQTT 3.1.1, and publishers go at most 256 KiB ahead. With 8x8, each publisher has a topic and \
             a subscriber of its own.",
        ),
        Group::Qos1 => (
            "MQTT at QoS 1",
            "The same with acknowledgements on both ways: a publisher has at most 100 messages that are not \
             acknowledged, and a subscriber acknowledges at once whatever a read has brought it.",
        ),
        Group::Web => (
            "The web",
            "This broker alone: the same messages to a thousand subscribers as lines, through a WebSocket, which has \
             a frame for each message, and as server-sent events, which have an id and JSON for each. Events cost the load more \
             as well, as no two of them look alike: what they cost the broker is the processor time.",
        ),
        Group::WebIdle => (
            "Idle connections of the web",
            "The same, while nothing is published.",
        ),
        Group::Unix => (
            "Unix sockets",
            "The brokers that have Unix sockets, each over TCP on the loopback interface and then over a socket in the file \
             system. Each listens in both ways in all of these runs.",
        ),
        Group::UnixRoundTrips => (
            "Round trips over Unix sockets",
            "The same for one question at a time.",
        ),
        Group::Tls => (
            "TLS",
            "The protocol that each is known for, inside of TLS, with a certificate of P-256. Each subscriber has keys of its own, so a \
             broker encrypts each message for each of them.",
        ),
        Group::TlsReceipts => (
            "What a publisher waits for with TLS",
            "One message at a time to all of these subscribers: how long it takes until the publisher has its receipt.",
        ),
        Group::TlsIdle => TLS_IDLE,
        Group::Os => OS,
        Group::Disk => DISK,
        Group::Limit => LIMIT,
        Group::KeptThroughput => KEPT_THROUGHPUT,
    }
}
