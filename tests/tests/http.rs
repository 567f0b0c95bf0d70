//! Promises of `docs/web.md` on HTTP: publishing, subscribing, what is refused, and what no other
//! client notices.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tests::{Asker, Process, TestBroker, TestClient, eventually, installed};

/// A request, and the head and body of its answer; the connection ends after it.
#[track_caller]
fn ask(broker: &TestBroker, request: &str) -> (String, String) {
    let mut client = broker.connect();
    let request = request.replacen("\r\n", "\r\nHost: localhost\r\nConnection: close\r\n", 1);
    client.write(request);
    let answer = client.read_to_end();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.to_owned(), body.to_owned())
}

#[track_caller]
fn get(broker: &TestBroker, path: &str) -> (String, String) {
    ask(broker, &format!("GET {path} HTTP/1.1\r\n\r\n"))
}

#[track_caller]
fn post(broker: &TestBroker, path: &str, body: &str) -> (String, String) {
    let len = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nContent-Length: {len}\r\n\r\n");
    ask(broker, &format!("{head}{body}"))
}

#[track_caller]
fn status(answer: &(String, String)) -> u16 {
    let status = answer
        .0
        .split(' ')
        .nth(1)
        .and_then(|digits| digits.parse().ok());
    status.unwrap_or_else(|| panic!("no status in {:?}", answer.0))
}

/// A stream that has begun: what comes behind its head.
#[track_caller]
fn stream(broker: &TestBroker, path: &str) -> TestClient {
    let mut client = broker.connect();
    begin_stream(&mut client, path);
    client
}

#[track_caller]
fn begin_stream(client: &mut TestClient, path: &str) {
    client.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    client.expect("HTTP/1.1 200 OK\r");
    client.read_until("\r");
}

fn curl(broker: &TestBroker, path: &str) -> Command {
    let mut curl = installed("curl", "curl");
    curl.args(["-sSN", "--max-time", "60"]);
    curl.arg(format!("http://{}{path}", broker.address()));
    curl
}

#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_body_is_one_message_and_the_answer_is_its_receipt() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE news/#").expect("SUBACK news/#");
    let answer = post(&broker, "/topics/news/today", "two\nlines\\");
    assert_eq!(status(&answer), 200);
    assert_eq!(answer.1, "{\"topic\":\"news/today\",\"copies\":1}\n");
    ann.expect("MESSAGE news/today two\\nlines\\\\");
    let answer = post(&broker, "/topics/n%C3%A9%2Fws?@id=a+b&@urgent&retain", "hi");
    assert_eq!(answer.1, "{\"topic\":\"né/ws\",\"copies\":0}\n");
    ann.send("SUBSCRIBE né/#").expect("SUBACK né/#");
    ann.expect("@id=a\\sb;urgent;retained MESSAGE né/ws hi")
        .expect_silence();
    let put = ask(
        &broker,
        "PUT /topics/news HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nTrailer: t\r\n\r\n",
    );
    assert_eq!(put.1, "{\"topic\":\"news\",\"copies\":1}\n");
    ann.expect("MESSAGE news abcd").expect_silence();
}

#[test]
fn each_line_of_a_body_can_be_a_message_of_its_own() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE log").expect("SUBACK log");
    let answer = post(&broker, "/topics/log?lines", "a\n\nb\r\nc");
    assert_eq!(
        answer.1,
        "{\"topic\":\"log\",\"messages\":4,\"copies\":4}\n"
    );
    for payload in [" a", "", " b", " c"] {
        ann.expect(format!("MESSAGE log{payload}"));
    }
    // They are published as they come, and not only at the end.
    let mut upload = curl(&broker, "/topics/log?lines");
    upload
        .args(["-T", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut upload = upload.spawn().expect("curl runs");
    let mut input = upload.stdin.take().expect("it is piped");
    for line in ["one", "two"] {
        writeln!(input, "{line}").expect("curl takes it");
        ann.expect(format!("MESSAGE log {line}"));
    }
    drop(input);
    let mut receipt = String::new();
    let mut out = upload.stdout.take().expect("it is piped");
    out.read_to_string(&mut receipt).expect("text");
    assert_eq!(receipt, "{\"topic\":\"log\",\"messages\":2,\"copies\":2}\n");
    assert!(upload.wait().expect("a child").success());
}

#[test]
fn a_stream_has_what_is_retained_and_then_what_is_published() {
    let broker = TestBroker::start();
    let mut bob = broker.connect();
    bob.send("@retain PUBLISH a/1 old").expect("PUBACK 1 0");
    for (path, old, new) in [
        (
            "/topics/a/*?format=json",
            "{\"topic\":\"a/1\",\"payload\":\"old\",\"retained\":true}",
            "{\"topic\":\"a/2\",\"payload\":\"n\\new\"}",
        ),
        ("/topics/a/%23?format=raw", "old", "n\new"),
        (
            "/topics/**?",
            "data: {\"topic\":\"a/1\",\"payload\":\"old\",\"retained\":true}\n",
            "data: {\"topic\":\"a/2\",\"payload\":\"n\\new\"}\n",
        ),
    ] {
        let path = format!("{path}&count=2").replace("?&", "?");
        let mut reader = Process::start(&mut curl(&broker, &path));
        let mut line = String::new();
        while !old.starts_with(&line) || line.is_empty() {
            line = reader.next_line();
            if line.starts_with(':') || line.starts_with("id: ") || line.is_empty() {
                line.clear();
            }
        }
        bob.send("PUBLISH a/2 n\\new").expect_prefix("PUBACK ");
        let rest = reader.rest();
        assert!(rest.contains(new), "{path}: {rest:?}");
        let (status, ..) = reader.end();
        assert!(status.success(), "the end of the stream is no error");
    }
}

#[test]
fn a_stream_of_http_1_0_ends_with_the_connection() {
    let broker = TestBroker::start();
    let mut bob = broker.connect();
    for (query, head, body) in [
        (
            "format=json",
            "x-ndjson",
            "{\"topic\":\"a\",\"payload\":\"n\\n1\"}\n{\"topic\":\"a\",\"payload\":\"2\"}\n",
        ),
        (
            "format=sse",
            "event-stream",
            "-0\ndata: {\"topic\":\"a\",\"payload\":\"n\\n1\"}\n\nid: ",
        ),
    ] {
        let mut old = broker.connect();
        old.write(format!("GET /topics/a?{query}&count=2 HTTP/1.0\r\n\r\n"));
        let begun = old.read_until("\r").join("\n");
        assert!(begun.starts_with("HTTP/1.1 200 OK\r"), "{begun}");
        assert!(
            begun.contains(head) && !begun.contains("chunked"),
            "{begun}"
        );
        bob.write("PUBLISH a n\\n1\nPUBLISH a 2\nPUBLISH a 3\n");
        bob.expect_prefix("PUBACK ");
        let came = old.read_to_end();
        assert!(came.contains(body), "{query}: {came}");
        assert!(
            !came.contains("\"3\"") && !came.contains("0\r\n"),
            "{query}: {came}"
        );
    }
    // What is told to a slow client and at the end has no chunks either.
    let mut old = broker.connect();
    old.write("GET /topics/a?format=json&timeout=10m HTTP/1.0\r\n\r\n");
    old.read_until("\r");
    broker.stop();
    assert_eq!(old.read_to_end(), "");
}

#[test]
fn a_stream_of_raw_payloads_needs_http_1_1() {
    let broker = TestBroker::start();
    let mut old = broker.connect();
    old.write("GET /topics/a?format=raw HTTP/1.0\r\n\r\n");
    old.expect_prefix("HTTP/1.1 505 ");
    assert!(old.read_to_end().contains("format=json"));
}

#[test]
fn a_count_is_exact_however_the_messages_come() {
    let broker = TestBroker::start();
    let mut bob = broker.connect();
    let mut streams: Vec<TestClient> = (1..=7)
        .map(|count| stream(&broker, &format!("/topics/n?format=raw&count={count}")))
        .collect();
    // All in one batch.
    let lines: String = (1..=9).map(|n| format!("PUBLISH n {n}\n")).collect();
    bob.write(lines).read_until_prefix("PUBACK 9 ");
    for (count, stream) in (1..).zip(&mut streams) {
        let expected: String = (1..=count).map(|n| format!("2\r\n{n}\n\r\n")).collect();
        assert_eq!(stream.read_to_end(), format!("{expected}0\r\n\r\n"));
    }
    let retained: String = (1..=3)
        .map(|n| format!("@retain PUBLISH r/{n} {n}\n"))
        .collect();
    bob.write(retained).read_until_prefix("PUBACK 12 ");
    let mut reader = stream(&broker, "/topics/r/+?format=raw&count=2");
    assert_eq!(reader.read_to_end(), "2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n");
}

#[test]
fn a_stream_ends_in_order_when_time_is_up_and_when_the_broker_stops() {
    let broker = TestBroker::start();
    let mut short = stream(&broker, "/topics/a?format=json&timeout=50ms");
    assert_eq!(short.read_to_end(), "0\r\n\r\n");
    let mut long = stream(&broker, "/topics/a?format=json&timeout=10m");
    broker.stop();
    assert_eq!(long.read_to_end(), "0\r\n\r\n");
}

#[test]
fn what_a_slow_stream_missed_is_an_event_in_its_place() {
    let broker = TestBroker::with_args(&["--outbox-bytes", "512KiB", "--max-line", "64KiB"]);
    let mut bob = broker.connect();
    for (path, gap) in [
        ("/topics/big?format=json", "{\"gap\":"),
        ("/topics/big", "{\"count\":"),
    ] {
        let mut slow = TestClient::connect_with_small_buffer(broker.address());
        begin_stream(&mut slow, path);
        let payload = "x".repeat(60_000);
        let before = 400;
        for _ in 0..before {
            bob.send(format!("PUBLISH big {payload}"));
            bob.expect_prefix("PUBACK ");
        }
        bob.send("PUBLISH big last").expect_prefix("PUBACK ");
        let (mut messages, mut missed) = (0, 0);
        loop {
            let line = slow.read_line();
            if let Some(count) = line
                .strip_prefix("data: ")
                .unwrap_or(&line)
                .strip_prefix(gap)
            {
                let count = count.trim_end_matches('}').parse::<u64>();
                missed += count.expect("a number");
            } else if line.contains("\"payload\":\"last\"") {
                break;
            } else if line.contains("\"payload\":\"xx") {
                messages += 1;
            }
        }
        assert!(missed > 0, "the outbox was too large for this test");
        assert_eq!(messages + missed, before);
    }
}

#[test]
fn event_source_is_told_that_it_missed_something_when_it_comes_back() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    client.write("GET /topics/a HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 17-0\r\n\r\n");
    client.read_until("event: gap");
    client.expect("data: {\"count\":null,\"since\":\"17-0\"}");
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_has_come() {
    let broker = TestBroker::with_args(&["--max-line", "1KiB"]);
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    for sent in [
        "POST /topics/a HTTP/1.1\r\nHost: h.localhost\r\nContent-Length: 5000000000\r\n\r\n".to_owned(),
        "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\n".to_owned(),
        "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n".to_owned(),
        "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n400;x=y\r\n".to_owned(),
        "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_owned(),
        format!("POST /topics/a?lines HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n{}", "x".repeat(1200)),
        format!("POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{}", "\\".repeat(900)),
    ] {
        let mut client = broker.connect();
        client.write(&sent);
        let line = client.read_line();
        assert!(line.starts_with("HTTP/1.1 413 "), "came {line:?} for {sent:.80}");
        assert!(client.read_to_end().contains("--max-line"));
    }
    // A client that waits for a word gets it.
    let mut client = broker.connect();
    client.write("POST /topics/a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    client.expect("HTTP/1.1 100 Continue\r").expect("\r");
    ann.expect_silence();
    client.write("hi").expect("HTTP/1.1 200 OK\r");
    ann.expect("MESSAGE a hi");
}

#[test]
fn requests_follow_one_another_on_one_connection() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    let head = "HTTP/1.1\r\nHost: localhost\r\n";
    // All at once, and with empty lines between them.
    client.write(format!(
        "GET /healthz {head}\r\nHEAD /healthz {head}\r\n\r\nPOST /topics/a {head}Content-Length: 3\r\n\r\nGETGET /nothing {head}\r\nGET /healthz {head}Connection: close\r\n\r\n"
    ));
    let text = client.read_to_end();
    let answers: Vec<&str> = text.split("HTTP/1.1 ").skip(1).collect();
    let statuses: Vec<&str> = answers.iter().map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "200", "404", "200"]);
    assert!(answers[0].ends_with("\r\n\r\nok\n"));
    assert!(answers[1].contains("content-length: 3\r\n") && answers[1].ends_with("\r\n\r\n"));
    assert!(
        answers[3].contains("/topics/<topic>"),
        "it says what exists"
    );
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let broker = TestBroker::with_args(&["--max-retained", "1"]);
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    for (path, expected, hint) in [
        ("/topics/a+b", 400, "without +"),
        ("/topics/", 400, "topic"),
        ("/topics/%FF", 400, "UTF-8"),
        ("/topics/$SYS/x", 403, "only the broker"),
        ("/topics/a?retian", 400, "retain, ack, lines"),
        ("/topics/a?@Bad=1", 400, "lower-case"),
        ("/elsewhere", 405, "GET"),
        ("/news/today", 405, "POST to \"/topics/news/today\""),
        ("/a%20b", 405, "POST to \"/topics/a%20b\""),
        ("/", 405, "this can be asked for with GET"),
        ("/metrics", 405, "this can be asked for with GET"),
        ("/topics", 400, "write /topics/<topic>"),
    ] {
        let answer = post(&broker, path, "x");
        assert_eq!(status(&answer), expected, "{path}");
        assert!(answer.1.contains(hint), "{path}: {}", answer.1);
    }
    for (path, expected, hint) in [
        ("/topics/a%09b", 400, "control byte"),
        ("/topics/a/**/b", 400, "#"),
        ("/topics/a?format=xml", 400, "sse, json or raw"),
        ("/topics/a?count=0", 400, "1 or more"),
        ("/topics/a?timeout=soon", 400, "30s"),
        ("/topics/a?cuont=1", 400, "count"),
        ("/none", 404, "/topics/<topic>"),
        ("/news/today", 404, "messages are at \"/topics/news/today\""),
        ("/topics", 400, "write /topics/<topic>"),
    ] {
        let answer = get(&broker, path);
        assert_eq!(status(&answer), expected, "{path}");
        assert!(answer.1.contains(hint), "{path}: {}", answer.1);
    }
    assert_eq!(status(&post(&broker, "/topics/a?retain", "x")), 200);
    ann.expect("MESSAGE a x");
    assert_eq!(status(&post(&broker, "/topics/b?retain", "x")), 507);
    let deleted = ask(&broker, "DELETE /topics/a HTTP/1.1\r\n\r\n");
    assert_eq!(status(&deleted), 405);
    assert!(deleted.0.contains("\r\nallow: GET"), "{}", deleted.0);
    for (path, allowed) in [
        ("/topics/a", "GET, HEAD, POST, PUT, OPTIONS"),
        ("/metrics", "GET, HEAD, OPTIONS"),
        ("/healthz", "GET, HEAD"),
    ] {
        let answer = ask(&broker, &format!("PATCH {path} HTTP/1.1\r\n\r\n"));
        assert_eq!(status(&answer), 405, "{path}");
        let allowed = format!("\r\nallow: {allowed}\r\n");
        assert!(answer.0.contains(&allowed), "{path}: {}", answer.0);
    }
    ann.expect_silence();
}

#[test]
fn a_body_that_a_proxy_could_read_otherwise_is_refused() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    for body in [
        "2;\nxx\r\nhi\r\n0\r\n\r\n",
        "2\nhi\r\n0\r\n\r\n",
        "2;a\rb\r\nhi\r\n0\r\n\r\n",
        "2;a=\u{1}\r\nhi\r\n0\r\n\r\n",
        "\r\n\r\n",
        "2\r\nhi\r\n0\r\nX: y\n\n",
    ] {
        let chunked = "POST /topics/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = ask(&broker, &format!("{chunked}{body}"));
        assert_eq!(status(&answer), 400, "{body:?}");
        assert!(answer.0.contains("\r\nconnection: close"), "{}", answer.0);
    }
    ann.expect_silence();
}

#[test]
fn every_answer_has_a_date() {
    let broker = TestBroker::start();
    for (request, expected) in [
        ("GET /healthz HTTP/1.1", 200),
        ("OPTIONS /topics/a HTTP/1.1", 204),
        ("GET /none HTTP/1.1", 404),
        ("FOO / HTTP/1.1", 501),
        ("GET / HTTP/2.0", 505),
        ("GET /topics/a?timeout=1ms HTTP/1.1", 200),
    ] {
        let answer = ask(&broker, &format!("{request}\r\n\r\n"));
        assert_eq!(status(&answer), expected, "{request}");
        let date = answer.0.split("\r\ndate: ").nth(1).expect("a date");
        // Such as Sun, 06 Nov 1994 08:49:37 GMT (RFC 9110 §5.6.7).
        let date = date.lines().next().unwrap_or_default();
        assert_eq!((date.len(), &date[3..5]), (29, ", "), "{date}");
        assert!(date.ends_with(" GMT"), "{date}");
    }
}

#[test]
fn the_figures_are_those_of_the_ledger() {
    let broker = TestBroker::with_args(&["--max-connections", "70", "--memory", "128MiB"]);
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    post(&broker, "/topics/a?retain", "x");
    post(&broker, "/topics/b", "x");
    let (head, figures) = get(&broker, "/metrics");
    assert!(
        head.contains("content-type: application/openmetrics-text"),
        "{head}"
    );
    assert!(figures.ends_with("# EOF\n"));
    for figure in [
        "dallal_messages_published_total 2",
        "dallal_messages_unmatched_total 1",
        "dallal_copies_total 1",
        "dallal_copies_written_total 1",
        "dallal_copies_dropped_total{reason=\"full\"} 0",
        "dallal_copies_waiting 0",
        "dallal_publish_to_write_seconds_count 1",
        "dallal_publish_to_write_seconds_bucket{le=\"+Inf\"} 1",
        "dallal_retained_messages 1",
        "dallal_connections{wire=\"line\"} 1",
        "dallal_connections{wire=\"http\"} 1",
        "dallal_connections_limit 70",
        "dallal_memory_limit_bytes 134217728",
        "dallal_publish_waits_total{reason=\"memory\"} 0",
        "dallal_publish_wait_seconds_total{reason=\"block\"} 0.0",
        "dallal_sessions_detached 0",
        "dallal_sessions_expired_total 0",
    ] {
        assert!(
            figures.lines().any(|line| line == figure),
            "no {figure} in\n{figures}"
        );
    }
    for name in [
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
    ] {
        assert!(figures.contains(name), "no {name} in\n{figures}");
    }
}

#[test]
fn a_copy_that_waits_counts_with_the_time_that_it_waits() {
    const MESSAGES: usize = 200;
    let broker = TestBroker::start();
    let mut slow = broker.connect_slow("big");
    let mut bob = broker.connect();
    for _ in 0..MESSAGES {
        bob.send(format!("PUBLISH big {}", "x".repeat(100_000)));
    }
    bob.send("PING done").read_until("PONG done");
    let mut asker = Asker::of(&broker);
    eventually("they wait for long enough", || {
        let who = asker.ask("who big");
        who["connections"][0]["lag_s"].as_f64() > Some(0.3)
    });
    for _ in 0..MESSAGES {
        slow.expect_prefix("MESSAGE big x");
    }
    let copies = |figures: &str, what: &str| -> u64 {
        let start = format!("dallal_{what} ");
        let value = figures.lines().find_map(|line| line.strip_prefix(&start));
        value.and_then(|value| value.parse().ok()).expect("a count")
    };
    eventually("all copies are in the histogram", || {
        let (_, figures) = get(&broker, "/metrics");
        // The answers to the asker are copies too.
        let written = copies(&figures, "copies_written_total");
        written > MESSAGES as u64 && copies(&figures, "publish_to_write_seconds_count") == written
    });
    let (_, figures) = get(&broker, "/metrics");
    let soon = copies(&figures, "publish_to_write_seconds_bucket{le=\"0.25\"}");
    let all = copies(&figures, "publish_to_write_seconds_bucket{le=\"+Inf\"}");
    assert!(soon < all, "of {all} copies none took longer: {figures}");
}

#[test]
fn what_the_broker_can_be_asked_can_be_asked_by_a_page() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("NAME ann").expect("NAMEACK ann");
    ann.send("SUBSCRIBE sensors/+/temperature")
        .expect("SUBACK sensors/+/temperature");
    post(&broker, "/topics/sensors/attic/temperature?retain", "21.5");
    let ask = |path: &str| -> serde_json::Value {
        let answer = get(&broker, path);
        assert_eq!(status(&answer), 200, "{path}: {}", answer.1);
        assert!(answer.0.contains("content-type: application/json"));
        serde_json::from_str(&answer.1).expect("JSON")
    };
    let clients = ask("/api/clients");
    assert_eq!(clients["connections"][0]["name"], "ann");
    assert_eq!(clients["connections"][0]["wire"], "line");
    assert_eq!(clients["connections"][1]["wire"], "http");
    assert_eq!(ask("/api/clients?filter=elsewhere")["total"], 0);
    let topics = ask("/api/topics?filter=sensors/%23&limit=1");
    assert_eq!(topics["topics"][0]["topic"], "sensors/attic/temperature");
    assert_eq!(topics["topics"][0]["copies"], 1);
    let why = ask("/api/why?topic=sensors/attic/Temperature");
    assert_eq!(why["near"][0]["difference"], "case");
    assert_eq!(ask("/api/retained")["retained"][0]["bytes"], 4);
    assert_eq!(ask("/api/filters")["total"], 1);
    assert_eq!(ask("/api/audit")["balanced"], true);
    assert_eq!(ask("/api/broker")["connections"], 2);
    for (path, expected, hint) in [
        ("/api/who", 404, "clients"),
        ("/api/why", 400, "?topic="),
        ("/api/why?topic=a%09b", 400, "control byte"),
        ("/api/topics?filter=a/%23/b", 400, "#"),
        ("/api/topics?limit=0", 400, "from 1"),
        ("/api/topics?topic=a", 400, "filter"),
    ] {
        let answer = get(&broker, path);
        assert_eq!(status(&answer), expected, "{path}");
        assert!(answer.1.contains(hint), "{path}: {}", answer.1);
    }
}

#[test]
fn a_page_from_elsewhere_may_do_nothing() {
    let broker = TestBroker::with_args(&[
        "--allow-origin",
        "https://app.example",
        "--name",
        "b.example",
    ]);
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    let (port, body) = (broker.address().port(), "PUBLISH a b\n");
    let request = |host: &str, headers: &str| {
        let mut client = broker.connect();
        let len = body.len();
        client.write(format!(
            "POST /topics/a HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\
             Content-Type: text/plain\r\nContent-Length: {len}\r\n\r\n{body}"
        ));
        client.read_to_end()
    };
    for (host, headers, status) in [
        (
            format!("localhost:{port}"),
            "Origin: http://evil.example\r\n".to_owned(),
            "403",
        ),
        (
            format!("localhost:{port}"),
            "Origin: null\r\n".to_owned(),
            "403",
        ),
        (
            format!("localhost:{port}"),
            "Sec-Fetch-Site: cross-site\r\n".to_owned(),
            "403",
        ),
        (
            "evil.example".to_owned(),
            "Origin: http://evil.example\r\n".to_owned(),
            "421",
        ),
        ("evil.example".to_owned(), String::new(), "421"),
    ] {
        let answer = request(&host, &headers);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{host} {headers}: {answer}"
        );
        assert!(!answer.contains("access-control-allow-origin"), "{answer}");
    }
    ann.expect_silence();
    for (host, headers, opened) in [
        (
            format!("localhost:{port}"),
            format!("Origin: http://localhost:{port}\r\n"),
            false,
        ),
        (
            "b.example".to_owned(),
            "Origin: https://b.example\r\n".to_owned(),
            false,
        ),
        (
            "127.0.0.1".to_owned(),
            "Origin: https://app.example\r\n".to_owned(),
            true,
        ),
    ] {
        let answer = request(&host, &headers);
        assert!(
            answer.starts_with("HTTP/1.1 200 "),
            "{host} {headers}: {answer}"
        );
        let allowed = "access-control-allow-origin: https://app.example\r\n";
        assert_eq!(answer.contains(allowed), opened, "{answer}");
        ann.expect("MESSAGE a PUBLISH a b\\n");
    }
    let preflight = ask(
        &broker,
        "OPTIONS /topics/a HTTP/1.1\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: PUT\r\n\r\n",
    );
    assert_eq!(status(&preflight), 204);
    assert!(
        preflight
            .0
            .contains("access-control-allow-methods: GET, HEAD, POST, PUT")
    );
}

#[test]
fn a_name_that_is_not_the_broker_s_gets_nothing_but_its_health_and_its_page() {
    let broker = TestBroker::start();
    let port = broker.address().port();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE #").expect("SUBACK #");
    // A page has made its own name point here, and asks as if it were at home.
    for rebound in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
    ] {
        for path in [
            "POST /",
            "GET /metrics",
            "GET /api/clients",
            "GET /topics/a?count=1&timeout=1s",
            "POST /topics/a",
            "PUT /topics/a?retain",
            "OPTIONS /topics/a",
            "GET /ws",
            "GET /mqtt",
        ] {
            for origin in ["", &format!("Origin: http://{rebound}:{port}\r\n")] {
                let mut client = broker.connect();
                client.write(format!(
                    "{path} HTTP/1.1\r\nHost: {rebound}:{port}\r\n{origin}Connection: close\r\n\r\n"
                ));
                client.expect_prefix("HTTP/1.1 421 ");
            }
        }
        let mut client = broker.connect();
        client.write(format!("GET /healthz HTTP/1.1\r\nHost: {rebound}\r\n\r\n"));
        client.expect("HTTP/1.1 200 OK\r");
        // Nor is there a secret in the page, which a proxy may ask for under another name.
        for path in ["/", "/chat", "/www/page.js"] {
            let mut client = broker.connect();
            client.write(format!("GET {path} HTTP/1.1\r\nHost: {rebound}\r\n\r\n"));
            client.expect("HTTP/1.1 200 OK\r");
        }
        // The name in the target is the one that counts, and two of them are one too many.
        let mut client = broker.connect();
        client.write(format!(
            "GET http://{rebound}/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ));
        client.expect_prefix("HTTP/1.1 421 ");
        let mut client = broker.connect();
        client.write(format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: {rebound}\r\n\r\n"
        ));
        client.expect_prefix("HTTP/1.1 400 ");
    }
    ann.expect_silence();
}

#[test]
fn a_request_without_an_origin_is_from_a_program_unless_a_browser_says_otherwise() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    let form = "text=PUBLISH a got you\r\nPUBLISH a again\r\n";
    for (headers, expected) in [
        ("", 200),
        ("Sec-Fetch-Site: none\r\n", 200),
        ("Sec-Fetch-Site: same-origin\r\n", 200),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        // A form of another site, as browsers post it.
        (
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nContent-Type: text/plain\r\n",
            403,
        ),
        (
            "Origin: http://evil.example\r\nContent-Type: text/plain\r\n",
            403,
        ),
        (
            "Origin: null\r\nContent-Type: application/x-www-form-urlencoded\r\n",
            403,
        ),
    ] {
        let len = form.len();
        let head = format!("POST /topics/a HTTP/1.1\r\n{headers}Content-Length: {len}\r\n\r\n");
        assert_eq!(
            status(&ask(&broker, &format!("{head}{form}"))),
            expected,
            "{headers}"
        );
        if expected == 200 {
            // What it says is the payload, and not a line of the protocol.
            ann.expect("MESSAGE a text=PUBLISH a got you\\r\\nPUBLISH a again\\r\\n");
        }
        ann.expect_silence();
    }
}

#[test]
fn curl_can_publish_and_listen() {
    let broker = TestBroker::start();
    let mut listener = Process::start(curl(&broker, "/topics/sensors/**").arg("-i"));
    while listener.next_line() != ": subscribed" {}
    let receipt = output(curl(&broker, "/topics/sensors/attic?retain").args(["-d", "21.5"]));
    assert_eq!(receipt, "{\"topic\":\"sensors/attic\",\"copies\":1}\n");
    listener.expect("");
    assert!(listener.next_line().starts_with("id: "));
    listener.expect("data: {\"topic\":\"sensors/attic\",\"payload\":\"21.5\"}");
    let now = output(&mut curl(
        &broker,
        "/topics/sensors/attic?format=raw&count=1",
    ));
    assert_eq!(now, "21.5\n");
    assert_eq!(output(&mut curl(&broker, "/healthz")), "ok\n");
    let told = output(curl(&broker, "/news").args(["-d", "hi"]));
    assert!(told.contains("POST to \"/topics/news\""), "{told}");
}

/// Writes a byte to each of them again and again, until the broker has closed all.
fn dribble(mut sockets: Vec<TcpStream>) {
    while !sockets.is_empty() {
        sockets.retain_mut(|socket| socket.write_all(b"x").is_ok());
        // How slow they are: that is what is tried.
        thread::sleep(Duration::from_millis(250));
    }
}

#[test]
fn a_thousand_requests_that_come_byte_by_byte_hold_up_no_other_client_and_end_in_ten_seconds() {
    let broker = TestBroker::start();
    let slow: Vec<TcpStream> = (0..1000)
        .map(|n| {
            let mut socket = TcpStream::connect(broker.address()).expect("a connection");
            let half = [
                "GET /",
                "POST /topics/a HTTP/1.1\r\nContent-Le",
                "GET / HTTP/1.1\r\nX: y\r\n",
                "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n",
            ];
            let half = half[n % half.len()];
            socket.write_all(half.as_bytes()).expect("a connection");
            socket
        })
        .collect();
    let answers: Vec<TcpStream> = slow
        .iter()
        .map(|socket| socket.try_clone().expect("a descriptor"))
        .collect();
    let dribbling = thread::spawn(move || dribble(slow));
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    for _ in 0..200 {
        assert_eq!(status(&get(&broker, "/healthz")), 200);
        assert_eq!(status(&post(&broker, "/topics/a", "hi")), 200);
        ann.expect("MESSAGE a hi");
    }
    for mut socket in answers {
        let patience = Some(Duration::from_secs(30));
        socket.set_read_timeout(patience).expect("a socket");
        let mut answer = [0; 13];
        socket.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 408 ");
    }
    dribbling.join().expect("no panic");
}

#[test]
fn a_quarter_of_all_connections_may_be_slow_requests_and_whole_ones_are_served_all_the_same() {
    let broker = TestBroker::with_args(&["--max-connections", "40"]);
    let (post_a, rest) = (
        "POST /topics/slow HTTP/1.1\r\nHost: localhost\r\n",
        "Content-Length: 2\r\n\r\nhi",
    );
    let slow: Vec<TcpStream> = (0..12)
        .map(|n| {
            let mut socket = TcpStream::connect(broker.address()).expect("a connection");
            let cut = if n % 2 == 0 { 0 } else { rest.len() - 1 };
            let half = format!("{post_a}{}", &rest[..cut]);
            socket.write_all(half.as_bytes()).expect("a connection");
            socket.set_nonblocking(true).expect("a socket");
            socket
        })
        .collect();
    let has_answer = |socket: &&TcpStream| socket.peek(&mut [0]).is_ok();
    eventually("two of twelve are refused", || {
        slow.iter().filter(has_answer).count() == 2
    });
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    assert_eq!(status(&post(&broker, "/topics/a", "whole")), 200);
    ann.expect("MESSAGE a whole");
    let chunked =
        "POST /topics/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    assert_eq!(status(&ask(&broker, chunked)), 200);
    ann.expect("MESSAGE a hi");
    assert_eq!(status(&get(&broker, "/api/broker")), 200);
    let mut statuses: Vec<String> = Vec::new();
    for (n, mut socket) in slow.into_iter().enumerate() {
        let is_refused = has_answer(&&socket);
        socket.set_nonblocking(false).expect("a socket");
        if !is_refused {
            let cut = if n % 2 == 0 { 0 } else { rest.len() - 1 };
            socket.write_all(&rest.as_bytes()[cut..]).expect("a place");
        }
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).expect("an answer");
        statuses.push(String::from_utf8_lossy(&answer[9..]).into_owned());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [["200"; 10].as_slice(), &["503"; 2]].concat());
}

#[test]
fn a_compressed_body_is_refused_before_it_has_come() {
    let broker = TestBroker::start();
    let mut ann = broker.connect();
    ann.send("SUBSCRIBE a").expect("SUBACK a");
    for (encoding, expected) in [
        ("gzip", 415),
        ("deflate", 415),
        ("br", 415),
        ("zstd", 415),
        ("identity, gzip", 415),
        ("identity\r\nContent-Encoding: gzip", 415),
        ("identity", 200),
    ] {
        let head = format!(
            "POST /topics/a HTTP/1.1\r\nContent-Encoding: {encoding}\r\nContent-Length: 9\r\n\r\n"
        );
        let body = if expected == 200 { "as it is!" } else { "" };
        let answer = ask(&broker, &format!("{head}{body}"));
        assert_eq!(status(&answer), expected, "{encoding}");
        let says_so = answer.0.contains("\r\naccept-encoding: identity");
        assert_eq!(says_so, expected == 415, "{}", answer.0);
    }
    ann.expect("MESSAGE a as it is!").expect_silence();
}

#[test]
fn heads_full_of_headers_take_no_more_memory_than_they_may() {
    let broker = TestBroker::start();
    assert_eq!(status(&get(&broker, "/healthz")), 200);
    let before = broker.resident_kib();
    let many = "X-Y: z\r\n".repeat(63);
    let mut floods: Vec<TestClient> = (0..200)
        .map(|n| {
            let mut client = broker.connect();
            let filling = match n % 2 {
                0 => format!("X: {}", "x".repeat(16_000)),
                _ => format!("{many}X: "),
            };
            client.write(format!("GET / HTTP/1.1\r\n{filling}"));
            client
        })
        .collect();
    assert_eq!(status(&get(&broker, "/healthz")), 200);
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(grown < 200 * 100, "{grown} KiB more for 200 heads");
    for client in &mut floods {
        // More than a head may have, whether in bytes or in headers.
        client.write(format!("{}\r\n{many}\r\n", "x".repeat(500)));
        client.expect_prefix("HTTP/1.1 431 ");
    }
}

#[test]
fn a_head_without_end_is_refused_and_so_are_too_many_headers() {
    let broker = TestBroker::start();
    for filling in ["x".repeat(20_000), "\r\nX: y".repeat(100)] {
        let mut client = broker.connect();
        client.write(format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nX: {filling}\r\n\r\n"
        ));
        client.expect_prefix("HTTP/1.1 431 ");
    }
}
