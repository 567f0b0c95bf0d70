//! Numbered payloads: publisher, sequence number and time.
//!
//! Sixteen digits of six bits each, then padding to the requested size. No digit needs an escape in
//! any protocol. The topic is not in it, because a message arrives with its topic.

/// Minimum size of a numbered payload.
pub(crate) const MIN_BYTES: usize = 16;

/// The maximum in two digits.
pub(crate) const MAX_PUBLISHERS: usize = 1 << 12;

const PUBLISHER: usize = 0;
const SEQUENCE: usize = 2;
const TIME: usize = 8;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Values of digits. Other bytes have the high bit.
const VALUES: [u8; 256] = {
    let mut values = [0x80; 256];
    let mut digit = 0;
    while digit < DIGITS.len() {
        values[DIGITS[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// Eight digits of nanoseconds last for three days, six of sequence for 68 billion messages of one
/// publisher on one topic.
const SEQUENCE_DIGITS: usize = TIME - SEQUENCE;
const TIME_DIGITS: usize = MIN_BYTES - TIME;

/// A payload of `size` bytes whose numbers are all zero.
pub(crate) fn blank(size: usize) -> Vec<u8> {
    let mut payload = vec![b'.'; size];
    payload[..MIN_BYTES].fill(DIGITS[0]);
    payload
}

pub(crate) fn set_publisher(payload: &mut [u8], publisher: usize) {
    put(&mut payload[PUBLISHER..SEQUENCE], publisher as u64);
}

/// Numbers begin with 0 for each publisher on each topic.
pub(crate) fn set_sequence(payload: &mut [u8], sequence: u64) {
    put(&mut payload[SEQUENCE..TIME], sequence);
}

/// Nanoseconds since the run began.
pub(crate) fn set_time(payload: &mut [u8], time_ns: u64) {
    put(&mut payload[TIME..MIN_BYTES], time_ns);
}

/// The publisher and the number of a message; `None` if the payload is not of this format.
pub(crate) fn number(payload: &[u8]) -> Option<(usize, u64)> {
    let digits = payload.first_chunk::<TIME>()?;
    let publisher = get::<SEQUENCE>(digits[..SEQUENCE].first_chunk()?)?;
    let sequence = get::<SEQUENCE_DIGITS>(digits[SEQUENCE..].first_chunk()?)?;
    Some((publisher as usize, sequence))
}

/// The send time of a message.
pub(crate) fn time_ns(payload: &[u8]) -> Option<u64> {
    get::<TIME_DIGITS>(payload.get(TIME..)?.first_chunk()?)
}

fn put(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(value & 63) as usize];
        value >>= 6;
    }
}

fn get<const N: usize>(digits: &[u8; N]) -> Option<u64> {
    let mut value = 0;
    let mut wrong = 0;
    for &digit in digits {
        let digit = VALUES[usize::from(digit)];
        wrong |= digit;
        value = value << 6 | u64::from(digit);
    }
    (wrong < 0x80).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_payload_holds_all_numbers() {
        let mut payload = blank(MIN_BYTES);
        set_publisher(&mut payload, MAX_PUBLISHERS - 1);
        set_sequence(&mut payload, 5_000_000_000);
        set_time(&mut payload, 86_400_000_000_000);
        assert_eq!(number(&payload), Some((MAX_PUBLISHERS - 1, 5_000_000_000)));
        assert_eq!(time_ns(&payload), Some(86_400_000_000_000));
    }

    #[test]
    fn a_payload_needs_no_escape_anywhere() {
        for value in 0..64 {
            let mut payload = blank(20);
            set_time(&mut payload, value);
            assert!(
                payload
                    .iter()
                    .all(|byte| byte.is_ascii_graphic() && *byte != b'\\')
            );
        }
    }

    #[test]
    fn other_payloads_have_no_number() {
        for other in [&b""[..], b"short", b"AAAAAAA AAAAAAAAAAA"] {
            assert_eq!(number(other), None);
        }
    }
}
