//! Fuzz target: any bytes as a stream of lines, decoded by a broker and by a client.
//!
//! The first three bytes of the input choose the longest line and two piece sizes, which alternate.
//! However the rest is cut, every line has one outcome, exactly the lines above the limit are refused
//! as too long, the frame after them is decoded, and every frame is the same after encoding and decoding.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::limits::{ECHO_BYTES, LINE_BYTES};
use protocol::{
    Attributes, DecodeError, Decoder, Escaped, Filter, Name, Reply, Request, Subject, Topic,
};

/// The line after everything else. It is shorter than any limit.
const FENCE: &[u8] = b"PING fence";

/// The outcome of a line, as bytes that outlive the decoder's buffer.
type Outcome = Result<Vec<u8>, DecodeError>;

/// Decodes the next frame.
type NextFrame = fn(&mut Decoder) -> Result<Option<Vec<u8>>, DecodeError>;

fuzz_target!(|input: &[u8]| {
    let [limit, first, second, stream @ ..] = input else {
        return;
    };
    // Quadratic, so that one byte reaches tiny limits and limits above the longest topic.
    let max_line = FENCE.len() + usize::from(*limit) * usize::from(*limit) / 16;
    let sizes = [1 + usize::from(*first), 1 + usize::from(*second)];

    let stream = [stream, b"\n", FENCE, b"\n"].concat();
    let lines = lines_that_count(&stream);
    for next_frame in [next_request as NextFrame, next_reply] {
        let whole = decode_all([&stream[..]].into_iter(), max_line, next_frame);
        assert_eq!(decode_all(cut(&stream, sizes), max_line, next_frame), whole);
        assert_eq!(whole.len(), lines.len());
        assert_eq!(whole.last(), Some(&Ok([FENCE, b"\n"].concat())));
        for (outcome, line) in whole.iter().zip(&lines) {
            let is_refused = matches!(outcome, Err(DecodeError::TooLong { .. }));
            assert_eq!(is_refused, line.len() > max_line);
        }
    }
});

/// All frames decoded while `pieces` arrive, with errors in their place.
fn decode_all<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    max_line: usize,
    next_frame: NextFrame,
) -> Vec<Outcome> {
    let mut decoder = Decoder::new(max_line);
    let mut outcomes = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(outcome) = next_frame(&mut decoder).transpose() {
            if let Err(refused) = &outcome {
                check_sentence(refused);
            }
            outcomes.push(outcome);
        }
    }
    outcomes
}

/// Every refusal has a sentence that fits on one line.
fn check_sentence(refused: &DecodeError) {
    let sentence = refused.to_string();
    assert!(!sentence.is_empty() && !sentence.contains(char::is_control));
}

fn next_request(decoder: &mut Decoder) -> Result<Option<Vec<u8>>, DecodeError> {
    let Some(request) = decoder.next_request()? else {
        return Ok(None);
    };
    match &request {
        Request::Publish {
            payload,
            attributes,
            ..
        }
        | Request::Will {
            payload,
            attributes,
            ..
        } => {
            check_payload(payload);
            check_attributes(attributes);
        }
        Request::Subscribe { filters, .. } | Request::Unsubscribe { filters } => {
            for (word, filter) in filters.iter() {
                assert_eq!(filter, Filter::parse(word));
                let _ = filter.map(check_filter);
            }
        }
        Request::Auth {
            credential: Some(credential),
        } => check_payload(&credential.secret),
        Request::Name { name } => assert_eq!(Name::parse(name.as_str()), Ok(*name)),
        Request::Ping { .. }
        | Request::Pong { .. }
        | Request::Help { .. }
        | Request::Auth { credential: None }
        | Request::Quiet
        | Request::Bye => {}
    }
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    let mut again = Decoder::new(LINE_BYTES);
    again.push(&bytes);
    assert_eq!(again.next_request(), Ok(Some(request)));
    assert_eq!(again.next_request(), Ok(None));
    Ok(Some(bytes))
}

fn next_reply(decoder: &mut Decoder) -> Result<Option<Vec<u8>>, DecodeError> {
    let Some(reply) = decoder.next_reply()? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    reply.encode(&mut bytes);
    let mut again = Decoder::new(LINE_BYTES);
    again.push(&bytes);
    assert_eq!(again.next_reply(), Ok(Some(as_written(reply))));
    assert_eq!(again.next_reply(), Ok(None));
    Ok(Some(bytes))
}

/// A frame as it is decoded after encoding: filters in an `ERROR` are cut, and its text, like that of
/// `HELP`, has no control bytes.
fn as_written(reply: Reply<'_>) -> Reply<'_> {
    let shown = |name: &'_ [u8]| name.len().min(ECHO_BYTES);
    let clean = |text: &str| text.replace(|letter| letter < ' ', " ").into();
    match reply {
        Reply::Error {
            code,
            subject,
            text,
        } => Reply::Error {
            code,
            subject: match subject {
                Subject::Subscribe(name) => Subject::Subscribe(&name[..shown(name)]),
                Subject::Unsubscribe(name) => Subject::Unsubscribe(&name[..shown(name)]),
                other => other,
            },
            text: clean(&text),
        },
        Reply::Help { text } => Reply::Help { text: clean(&text) },
        other => other,
    }
}

/// A payload is the same after escaping and unescaping.
fn check_payload(payload: &Escaped<'_>) {
    let meant = payload.unescape();
    assert_eq!(Escaped::escape(&meant).unescape(), meant);
}

/// Attributes are the same after they are read and pushed again.
fn check_attributes(attributes: &Attributes<'_>) {
    let mut again = Attributes::default();
    for (key, value) in attributes.iter() {
        match value {
            Some(value) => again.push(key, &value),
            None => again.push_flag(key),
        }
        .expect("a decoded key is valid");
        assert!(attributes.contains(key));
        assert!(!attributes.without(&[key]).contains(key));
    }
    assert!(again.iter().eq(attributes.iter()));
}

/// A filter matches the topic that its pattern becomes when every wildcard is replaced by a name.
fn check_filter(filter: Filter<'_>) {
    let filled = filter.pattern().replace(['+', '#'], "x");
    let topic = Topic::parse(&filled).expect("a pattern without wildcards is a topic");
    assert!(filter.matches(topic));
    assert_eq!(filter.is_exact(), filled == filter.pattern());
}

/// The lines that give a frame or an error, each without its line end.
fn lines_that_count(stream: &[u8]) -> Vec<&[u8]> {
    stream
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .collect()
}

/// Cuts `bytes` into pieces of two alternating sizes.
fn cut(mut bytes: &[u8], sizes: [usize; 2]) -> impl Iterator<Item = &[u8]> {
    sizes.into_iter().cycle().map_while(move |size| {
        let (piece, rest) = bytes.split_at(size.min(bytes.len()));
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}
