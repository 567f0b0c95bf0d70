//! Fuzz target: positions, levels, and what lines say of the past and of receipts.
//!
//! The input is the value of an attribute, the attributes of a line, the end of one, and the numbers of a receipt. What
//! is read is the same after it is written and read again, a position has one spelling, and a refusal has a sentence.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::limits::PAST_MESSAGES;
use protocol::{AckLevel, PastQuery, PastStart, Position, Reached, Reply, Request, StoreId};

fuzz_target!(|input: &[u8]| {
    check_values(input);
    check_request(&[b"@", input, b" SUBSCRIBE a/#"].concat());
    for key in ["last", "each", "since", "until=now;since", "until"] {
        check_request(&[b"@", key.as_bytes(), b"=", input, b" SUBSCRIBE a/#"].concat());
    }
    for attributes in [&b"@"[..], b"@level=os;pos=", b"@level="] {
        check_reply(&[attributes, input, b" PUBACK 7 8"].concat());
    }
    check_reply(&[b"@incomplete;oldest=", input, b" SUBACK a/#"].concat());
    check_reply(&[b"END a/# ", input].concat());
    check_reply(&[b"END ", input].concat());
    check_receipt(input);
});

fn check_values(text: &[u8]) {
    if let Ok(position) = Position::parse(text) {
        assert_eq!(position.to_string().as_bytes(), text);
    }
    if let Ok(level) = AckLevel::parse(text) {
        assert_eq!(level.as_str().as_bytes(), text);
    }
}

fn check_request(line: &[u8]) {
    let Ok(Request::Subscribe { attributes, .. }) = Request::decode(line) else {
        return;
    };
    match PastQuery::of(&attributes, PAST_MESSAGES) {
        Ok(None) => assert!(!attributes.contains("until")),
        Ok(Some(query)) => {
            assert_eq!(query.until_now, attributes.contains("until"));
            assert!(!matches!(
                query.start,
                PastStart::Last(0) | PastStart::Each(0)
            ));
        }
        Err(why) => {
            let sentence = why.to_string();
            assert!(!sentence.is_empty() && !sentence.contains(char::is_control));
        }
    }
    if let Err(why) = AckLevel::asked(&attributes) {
        assert!(!why.to_string().contains(char::is_control));
    }
}

fn check_reply(line: &[u8]) {
    let Ok(reply) = Reply::decode(line) else {
        return;
    };
    // A line has no line end in it.
    if line.contains(&b'\n') {
        return;
    }
    let mut bytes = Vec::new();
    reply.encode(&mut bytes);
    check_decoded(&bytes, &reply);
}

/// A receipt and an end with any numbers.
fn check_receipt(input: &[u8]) {
    let Some((numbers, rest)) = input.split_first_chunk::<17>() else {
        return;
    };
    let [choice, a, b, c, d, e, f, g, h, store @ ..] = *numbers;
    let sequence = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let [one, two, three, four, generation @ ..] = store;
    let position = (choice & 1 != 0).then(|| Position {
        store: StoreId::of_random([one, two, three, four]),
        generation: u32::from_le_bytes(generation),
        sequence,
    });
    let level = AckLevel::ALL[usize::from(choice >> 1) % 3];
    let receipt = Reply::PubAck {
        answered: sequence,
        copies: rest.len() as u64,
        reached: (choice & 8 == 0).then_some(Reached { level, position }),
    };
    let end = Reply::End {
        filter: b"a/#",
        position,
    };
    let current = Reply::Current {
        filter: b"a/#",
        position,
    };
    for reply in [receipt, end, current] {
        let mut bytes = Vec::new();
        reply.encode(&mut bytes);
        check_decoded(&bytes, &reply);
    }
}

fn check_decoded(bytes: &[u8], reply: &Reply<'_>) {
    let mut decoder = protocol::Decoder::new(protocol::limits::LINE_BYTES);
    decoder.push(bytes);
    assert_eq!(decoder.next_reply().as_ref(), Ok(&Some(reply.clone())));
    assert_eq!(decoder.next_reply(), Ok(None));
}
