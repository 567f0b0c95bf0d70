//! Properties of the codec for random input: both directions agree, no input loses the framing, and
//! filters and escapes agree with a second model of the contract, written another way.

use std::iter::repeat_n;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use protocol::limits::{LINE_BYTES, TOPIC_BYTES, TOPIC_LEVELS};
use protocol::{
    AckLevel, Attributes, Credential, DecodeError, Decoder, Escaped, Filter, Filters, Framer,
    Incomplete, Name, Reached, Reply, Request, Step, Subject, Topic, Verb, decode_spaces,
    encode_spaces, escape_spaces,
};

/// The next frame of a decoder, as text that outlives its buffer.
type NextFrame = fn(&mut Decoder) -> Result<Option<String>, DecodeError>;

/// Both directions: a broker reads requests, a client replies.
const BOTH_ENDS: [NextFrame; 2] = [next_request, next_reply];

fn next_request(decoder: &mut Decoder) -> Result<Option<String>, DecodeError> {
    Ok(decoder.next_request()?.map(|frame| format!("{frame:?}")))
}

fn next_reply(decoder: &mut Decoder) -> Result<Option<String>, DecodeError> {
    Ok(decoder.next_reply()?.map(|frame| format!("{frame:?}")))
}

/// All frames decoded while `pieces` arrive, with errors in their place.
fn decode_all(
    pieces: &[&[u8]],
    max_line: usize,
    next_frame: NextFrame,
) -> Vec<Result<String, DecodeError>> {
    let mut decoder = Decoder::new(max_line);
    let mut outcomes = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(outcome) = next_frame(&mut decoder).transpose() {
            outcomes.push(outcome);
        }
    }
    outcomes
}

/// The lines of a stream that give a frame or an error, each without its line end.
fn lines_that_count(stream: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = stream.split(|&byte| byte == b'\n').collect();
    lines.pop(); // Empty, or an incomplete line.
    lines
        .into_iter()
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .collect()
}

/// Cuts `bytes` into pieces of the given sizes, cyclically.
fn cut<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for &size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(size.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// The second model of decoding a payload.
fn meant(line: &[u8]) -> Vec<u8> {
    let (byte, rest) = match line {
        [] => return Vec::new(),
        [b'\\', b'n', rest @ ..] => (b'\n', rest),
        [b'\\', b'r', rest @ ..] => (b'\r', rest),
        [b'\\', b'\\', rest @ ..] => (b'\\', rest),
        [byte, rest @ ..] => (*byte, rest),
    };
    [&[byte], &meant(rest)[..]].concat()
}

/// The second model of matching: the levels of a filter and of a topic.
fn takes(pattern: &[&str], names: &[&str]) -> bool {
    match (pattern, names) {
        (["#"], _) => true,
        (["+", pattern @ ..], [_, names @ ..]) => takes(pattern, names),
        ([level, pattern @ ..], [name, names @ ..]) => level == name && takes(pattern, names),
        ([], []) => true,
        ([], _) | (_, []) => false,
    }
}

/// The same, with the rule for topics that begin with `$`.
fn takes_topic(pattern: &str, name: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let names: Vec<&str> = name.split('/').collect();
    let is_wild = pattern[0] == "+" || pattern[0] == "#";
    !(is_wild && name.starts_with('$')) && takes(&pattern, &names)
}

/// A frame as it is decoded after encoding: the text of `ERROR` and `HELP` has no control bytes.
fn as_written(reply: Reply<'_>) -> Reply<'_> {
    let clean = |text: &str| text.replace(|letter| letter < ' ', " ");
    match reply {
        Reply::Error {
            code,
            subject,
            text,
        } => Reply::Error {
            code,
            subject,
            text: clean(&text).into(),
        },
        Reply::Help { text } => Reply::Help {
            text: clean(&text).into(),
        },
        other => other,
    }
}

/// Bytes in which those with a meaning for the protocol are frequent.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), select(&b" \n\r\\nrs:;@=/+#$"[..])]
}

/// Bytes without a line end.
fn on_a_line(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(byte(), 0..max).prop_map(|mut bytes| {
        bytes.retain(|&byte| byte != b'\n');
        bytes
    })
}

/// Bytes without space and line end, at least one.
fn word() -> impl Strategy<Value = Vec<u8>> {
    on_a_line(24).prop_map(|mut bytes| {
        bytes.retain(|&byte| byte != b' ');
        bytes.push(b'w');
        bytes
    })
}

fn topic() -> impl Strategy<Value = String> {
    let letters = prop_oneof![Just('/'), Just('$'), any::<char>()];
    let short = vec(letters, 1..40).prop_map(|letters| letters.into_iter().collect());
    let long = (1..=TOPIC_BYTES).prop_map(|bytes| "x".repeat(bytes));
    let deep = (1..TOPIC_LEVELS).prop_map(|levels| repeat_n('/', levels).collect());
    prop_oneof![8 => short, 1 => long, 1 => deep]
        .prop_filter("not a topic", |name: &String| Topic::parse(name).is_ok())
}

/// Keys with their values; a flag has none.
fn attribute_items() -> impl Strategy<Value = Vec<(String, Option<Vec<u8>>)>> {
    vec(("[a-z0-9-]{1,8}", option::of(vec(byte(), 0..16))), 0..4)
}

fn attributes(items: &[(String, Option<Vec<u8>>)]) -> Attributes<'static> {
    let mut attributes = Attributes::default();
    for (key, value) in items {
        match value {
            Some(value) => attributes.push(key, value),
            None => attributes.push_flag(key),
        }
        .expect("a valid key");
    }
    attributes
}

fn verb() -> impl Strategy<Value = Verb> {
    prop_oneof![select(&Verb::OF_CLIENTS[..]), select(&Verb::OF_BROKERS[..])]
}

/// A line that is a frame, similar to one, or noise.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let before = "@a=1;b @a=\\s\\x;a= @A @ @=;\r;"
        .split(' ')
        .collect::<Vec<_>>();
    let before = prop_oneof![
        Just(String::new()),
        select(before).prop_map(|word| format!("{word} ")),
    ];
    let name = prop_oneof![
        verb().prop_map(|verb| verb.as_str().to_owned()),
        verb().prop_map(|verb| verb.as_str().to_lowercase()),
        verb().prop_map(|verb| format!("{verb}S")),
    ];
    let words = "t a/+ # $share/g/ 17 +3 publish: subscribe: unsubscribe: line \\ \r é";
    let part = prop_oneof![
        1 => Just(b" ".to_vec()),
        3 => select(words.split(' ').collect::<Vec<_>>()).prop_map(|word| word.into()),
        1 => on_a_line(6),
    ];
    let arguments = vec(part, 0..8).prop_map(|parts| [b" ", &parts.concat()[..]].concat());
    let arguments = prop_oneof![1 => Just(Vec::new()), 3 => arguments];
    let frame = (before, name, arguments).prop_map(|(before, name, arguments)| {
        [before.as_bytes(), name.as_bytes(), &arguments].concat()
    });
    prop_oneof![3 => frame, 1 => on_a_line(40)]
}

/// Lines, each with its line end.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    vec(line(), 0..10).prop_map(|lines| {
        let ended = |line: Vec<u8>| [&line[..], b"\n"].concat();
        lines.into_iter().flat_map(ended).collect()
    })
}

/// The parts of frames; each frame takes those that it has.
#[derive(Clone, Debug)]
struct Parts {
    topic: String,
    payload: Vec<u8>,
    items: Vec<(String, Option<Vec<u8>>)>,
    words: Vec<Vec<u8>>,
    token: Vec<u8>,
    verb: Verb,
    numbers: (u64, u64),
    text: String,
    name: String,
}

prop_compose! {
    fn parts()(
        topic in topic(),
        payload in vec(byte(), 0..200),
        items in attribute_items(),
        words in vec(word(), 1..4),
        token in on_a_line(24),
        verb in verb(),
        numbers in any::<(u64, u64)>(),
        text in "[^\\x00-\\x1f]{0,40}",
        name in "\\PC{1,30}".prop_filter("not a name", |name| Name::parse(name).is_ok()),
    ) -> Parts {
        Parts { topic, payload, items, words, token, verb, numbers, text, name }
    }
}

/// Calls `check` with every request that can be made of `parts`.
fn each_request(parts: &Parts, mut check: impl FnMut(Request<'_>)) {
    let words = parts.words.join(&b' ');
    let filters = Filters::from_words(&words).expect("words that can stand on a line");
    let token = &parts.token[..];
    for request in [
        Request::Publish {
            topic: Topic::parse(&parts.topic).expect("a topic"),
            payload: Escaped::escape(&parts.payload),
            attributes: attributes(&parts.items),
        },
        Request::Subscribe {
            filters,
            attributes: attributes(&parts.items),
        },
        Request::Will {
            topic: Topic::parse(&parts.topic).expect("a topic"),
            payload: Escaped::escape(&parts.payload),
            attributes: attributes(&parts.items),
        },
        Request::Name {
            name: Name::parse(&parts.name).expect("a name"),
        },
        Request::Unsubscribe { filters },
        Request::Ping { token },
        Request::Pong { token },
        Request::Help { verb: None },
        Request::Help {
            verb: Some(parts.verb),
        },
        Request::Auth { credential: None },
        Request::Auth {
            credential: Some(Credential {
                user: Some(&parts.words[0]),
                secret: Escaped::escape(&parts.payload),
            }),
        },
        Request::Quiet,
        Request::Bye,
    ] {
        check(request);
    }
}

/// Calls `check` with every reply that can be made of `parts`.
fn each_reply(parts: &Parts, mut check: impl FnMut(Reply<'_>)) {
    let (token, filter) = (&parts.token[..], &parts.words[0][..]);
    let (answered, copies) = parts.numbers;
    let error = |subject| Reply::Error {
        code: "bad-filter".into(),
        subject,
        text: parts.text.as_str().into(),
    };
    for reply in [
        Reply::Message {
            topic: Topic::parse(&parts.topic).expect("a topic"),
            payload: Escaped::escape(&parts.payload),
            attributes: attributes(&parts.items),
        },
        Reply::PubAck {
            answered,
            copies,
            reached: None,
        },
        Reply::PubAck {
            answered,
            copies,
            reached: Some(Reached {
                level: AckLevel::Os,
                position: None,
            }),
        },
        Reply::SubAck {
            filter,
            incomplete: None,
        },
        Reply::SubAck {
            filter,
            incomplete: Some(Incomplete { oldest: None }),
        },
        Reply::UnsubAck { filter },
        Reply::WillAck { topic: filter },
        Reply::NameAck { name: filter },
        Reply::AuthAck { name: filter },
        Reply::QuietAck,
        error(Subject::Publish(answered)),
        error(Subject::Subscribe(filter)),
        error(Subject::Unsubscribe(filter)),
        error(Subject::Line),
        Reply::Gap { count: copies },
        Reply::Current {
            filter,
            position: None,
        },
        Reply::End {
            filter,
            position: None,
        },
        Reply::Ping { token },
        Reply::Pong { token },
        Reply::Help {
            text: parts.text.as_str().into(),
        },
        Reply::Bye,
    ] {
        check(reply);
    }
}

proptest! {
    // A failure becomes a unit test beside the faulty code, not an entry in a file of seeds.
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_topic_comes_back_from_a_line(name in "[^\0]{0,40}") {
        let written = encode_spaces(&name);
        prop_assert!(!written.contains(' '));
        prop_assert_eq!(decode_spaces(&written), &*name);
        prop_assert_eq!(escape_spaces(&written), &*written);
        prop_assert!(!escape_spaces(&name).contains(' '));
    }

    #[test]
    fn the_broker_decodes_the_requests_that_a_client_encodes(parts in parts()) {
        let (mut expected, mut bytes) = (Vec::new(), Vec::new());
        each_request(&parts, |request| {
            expected.push(Ok(format!("{request:?}")));
            request.encode(&mut bytes);
        });
        prop_assert_eq!(decode_all(&[&bytes], LINE_BYTES, next_request), expected);
    }

    #[test]
    fn a_client_decodes_the_replies_that_the_broker_encodes(parts in parts()) {
        let (mut expected, mut bytes) = (Vec::new(), Vec::new());
        each_reply(&parts, |reply| {
            expected.push(Ok(format!("{reply:?}")));
            reply.encode(&mut bytes);
        });
        prop_assert_eq!(decode_all(&[&bytes], LINE_BYTES, next_reply), expected);
    }

    #[test]
    fn a_frame_is_the_same_after_encoding_and_decoding(line in line()) {
        let mut again = Vec::new();
        if let Ok(request) = Request::decode(&line) {
            request.encode(&mut again);
            let mut decoder = Decoder::new(LINE_BYTES);
            decoder.push(&again);
            prop_assert_eq!(decoder.next_request(), Ok(Some(request)));
            prop_assert_eq!(decoder.next_request(), Ok(None));
        }
        again.clear();
        if let Ok(reply) = Reply::decode(&line) {
            reply.encode(&mut again);
            let mut decoder = Decoder::new(LINE_BYTES);
            decoder.push(&again);
            prop_assert_eq!(decoder.next_reply(), Ok(Some(as_written(reply))));
            prop_assert_eq!(decoder.next_reply(), Ok(None));
        }
    }

    #[test]
    fn a_payload_may_be_any_bytes(payload in vec(byte(), 0..300)) {
        let escaped = Escaped::escape(&payload);
        prop_assert!(!escaped.as_line().iter().any(|byte| b"\n\r".contains(byte)));
        prop_assert_eq!(escaped.unescape(), &payload[..]);
        prop_assert_eq!(meant(escaped.as_line()), payload);
    }

    #[test]
    fn any_rest_of_a_line_is_a_payload_and_stays_the_same(rest in vec(select(&b"\\\\\r\rnr x"[..]), 0..12)) {
        let line = [b"MESSAGE t ", &rest[..]].concat();
        let Ok(Reply::Message { topic, payload, attributes }) = Reply::decode(&line) else {
            panic!("a message");
        };
        prop_assert_eq!(payload.unescape(), meant(&rest));
        let mut again = Vec::new();
        Request::Publish { topic, payload, attributes }.encode(&mut again);
        let again = again.strip_prefix(b"PUBLISH t").expect("the verb and the topic");
        let again = again.strip_prefix(b" ").unwrap_or(again);
        let again = again.strip_suffix(b"\n").expect("a line end");
        prop_assert!(!again.contains(&b'\r'));
        prop_assert_eq!(meant(again), meant(&rest));
    }

    #[test]
    fn attributes_may_have_any_bytes_and_any_number(items in attribute_items()) {
        let topic = Topic::parse("t").expect("a topic");
        let attributes = attributes(&items);
        let mut line = Vec::new();
        Request::Publish { topic, payload: Escaped::default(), attributes }.encode(&mut line);
        let mut decoder = Decoder::new(LINE_BYTES);
        decoder.push(&line);
        let Ok(Some(Request::Publish { attributes, .. })) = decoder.next_request() else {
            panic!("a publish");
        };
        let seen: Vec<_> = attributes
            .iter()
            .map(|(key, value)| (key.to_owned(), value.map(|value| value.into_owned())))
            .collect();
        prop_assert_eq!(seen, items);
    }

    #[test]
    fn the_pieces_in_which_bytes_arrive_make_no_difference(
        stream in stream(),
        sizes in vec(1..12_usize, 1..6),
        max_line in prop_oneof![0..32_usize, Just(LINE_BYTES)],
    ) {
        for next_frame in BOTH_ENDS {
            let whole = decode_all(&[&stream], max_line, next_frame);
            prop_assert_eq!(decode_all(&cut(&stream, &sizes), max_line, next_frame), whole);
        }
    }

    #[test]
    fn no_bytes_lose_the_frame_that_follows_them(
        noise in prop_oneof![stream(), vec(any::<u8>(), 0..200), vec(byte(), 0..200)],
    ) {
        let bytes = [&noise[..], b"\nPING fence\n"].concat();
        let fence = Ok(format!("{:?}", Request::Ping { token: b"fence" }));
        for next_frame in BOTH_ENDS {
            let outcomes = decode_all(&[&bytes], LINE_BYTES, next_frame);
            prop_assert_eq!(outcomes.len(), lines_that_count(&bytes).len());
            prop_assert_eq!(outcomes.last(), Some(&fence));
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_once_and_no_other_is(
        stream in stream(),
        sizes in vec(1..12_usize, 1..6),
        max_line in 0..24_usize,
    ) {
        let expected: Vec<bool> = lines_that_count(&stream)
            .iter()
            .map(|line| line.len() > max_line)
            .collect();
        for next_frame in BOTH_ENDS {
            let too_long: Vec<bool> = decode_all(&cut(&stream, &sizes), max_line, next_frame)
                .iter()
                .map(|outcome| matches!(outcome, Err(DecodeError::TooLong { .. })))
                .collect();
            prop_assert_eq!(&too_long, &expected);
        }
    }

    #[test]
    fn a_reader_buffers_no_more_of_a_line_than_the_limit(
        stream in stream(),
        sizes in vec(1..12_usize, 1..6),
        max_line in 0..24_usize,
    ) {
        let mut framer = Framer::new(max_line);
        let mut unread = Vec::new();
        for piece in cut(&stream, &sizes) {
            unread.extend_from_slice(piece);
            loop {
                let used = match framer.next(&unread) {
                    Step::Line(len) => len + 1,
                    Step::TooLong(len) | Step::Skip(len) => len,
                    Step::More => break,
                };
                unread.drain(..used);
            }
            // One more byte may be the CR of the line end.
            prop_assert!(unread.len() <= max_line + 1);
        }
    }

    #[test]
    fn a_filter_matches_the_topics_that_the_contract_says(
        levels in vec(select(&["", "a", "b", "$", "$a", "+", "+"][..]), 0..5),
        hash in any::<bool>(),
        share in select(&["", "", "$share/g/"][..]),
        names in vec(select(&["", "a", "b", "$", "$a"][..]), 1..6),
    ) {
        let levels = [&levels[..], if hash { &["#"] } else { &[] }].concat();
        let (pattern, name) = (levels.join("/"), names.join("/"));
        let text = format!("{share}{pattern}");
        prop_assume!(!pattern.is_empty() && !name.is_empty());
        let filter = Filter::parse(&text).expect("a filter");
        let topic = Topic::parse(&name).expect("a topic");
        prop_assert_eq!(filter.matches(topic), takes_topic(&pattern, &name));
    }

    #[test]
    fn a_filter_made_of_a_topic_matches_that_topic(
        name in "[ab/]{1,12}",
        wild in any::<u16>(),
        hash in option::of(0..13_usize),
    ) {
        let mut levels: Vec<&str> = name.split('/').collect();
        for (at, level) in levels.iter_mut().enumerate() {
            if wild >> at & 1 == 1 {
                *level = "+";
            }
        }
        if let Some(at) = hash.filter(|&at| at <= levels.len()) {
            levels.truncate(at);
            levels.push("#");
        }
        let text = levels.join("/");
        let filter = Filter::parse(&text).expect("a filter");
        prop_assert!(filter.matches(Topic::parse(&name).expect("a topic")));
    }

    #[test]
    fn one_bad_filter_does_not_affect_the_others(words in on_a_line(80)) {
        let Some(filters) = Filters::from_words(&words) else {
            return Ok(());
        };
        let mut seen = Vec::new();
        for (word, filter) in filters.iter() {
            prop_assert_eq!(filter, Filter::parse(word));
            seen.push(word);
        }
        prop_assert_eq!(seen.join(&b' '), words);
    }

    #[test]
    fn a_topic_is_what_the_contract_allows(
        name in prop_oneof!["[a/ +#$\\x00\\x7fé]{0,6}", "/{120,135}", "[xé]{1000,1040}"],
    ) {
        let allowed = |letter: char| letter > ' ' && letter != '\x7f' && !"+#".contains(letter);
        let levels = name.split('/').count();
        let expected = (1..=1024).contains(&name.len()) && levels <= 128 && name.chars().all(allowed);
        prop_assert_eq!(Topic::parse(&name).is_ok(), expected);
    }
}

#[test]
fn the_properties_cover_every_verb() {
    let parts = Parts {
        topic: "t".into(),
        payload: Vec::new(),
        items: Vec::new(),
        words: vec![b"w".to_vec()],
        token: Vec::new(),
        verb: Verb::Gap,
        numbers: (0, 0),
        text: String::new(),
        name: "n".into(),
    };
    let (mut requests, mut replies) = (Vec::new(), Vec::new());
    each_request(&parts, |request| request.encode(&mut requests));
    each_reply(&parts, |reply| reply.encode(&mut replies));
    let spoken = |bytes: &[u8], verb: Verb| {
        let is_first = |line: &[u8]| line.starts_with(verb.as_str().as_bytes());
        bytes.split(|&byte| byte == b'\n').any(is_first)
    };
    assert!(
        Verb::OF_CLIENTS
            .into_iter()
            .all(|verb| spoken(&requests, verb))
    );
    assert!(
        Verb::OF_BROKERS
            .into_iter()
            .all(|verb| spoken(&replies, verb))
    );
}
