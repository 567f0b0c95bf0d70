//! Rounded figures for people: `1.2k`, `3.4 MiB`, `5m`. JSON output has them exact.

use bytesize::ByteSize;

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

/// A count in at most five characters, up to a quadrillion.
pub(crate) fn count(count: u64) -> String {
    match count {
        0..=9_999 => count.to_string(),
        _ => thousands(count as f64),
    }
}

/// A rate per second.
pub(crate) fn rate(rate: f64) -> String {
    let text = match rate {
        _ if rate < 0.05 => "0".to_owned(),
        _ if rate < 9.95 => format!("{rate:.1}"),
        _ if rate < 9_999.5 => format!("{rate:.0}"),
        _ => thousands(rate),
    };
    format!("{text}/s")
}

fn thousands(mut count: f64) -> String {
    let mut unit = "";
    for next in ["k", "M", "G", "T", "P"] {
        // A count that would round to four digits takes the next unit.
        if count < 999.5 {
            break;
        }
        count /= 1_000.0;
        unit = next;
    }
    if count < 99.95 {
        format!("{count:.1}{unit}")
    } else {
        format!("{count:.0}{unit}")
    }
}

/// A size in bytes.
pub(crate) fn bytes(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// A duration in its largest unit.
pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds < 1.0 => format!("{}ms", (seconds * 1e3).floor()),
        _ if seconds < MINUTE => format!("{}s", seconds.floor()),
        _ if seconds < HOUR => format!("{}m", (seconds / MINUTE).floor()),
        _ if seconds < DAY => format!("{}h", (seconds / HOUR).floor()),
        _ => format!("{}d", (seconds / DAY).floor()),
    }
}

/// A count with its noun.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{} {noun}{end}", grouped(count))
}

/// A count of messages, with its digits ungrouped.
pub(crate) fn messages(count: u64) -> String {
    match count {
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    }
}

/// All digits of a count, in groups of three.
pub(crate) fn grouped(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_counts_are_short() {
        let cases = [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0k"),
            (123_456, "123k"),
            (999_499, "999k"),
            (999_999, "1.0M"),
            (1_234_567, "1.2M"),
            (5_000_000_000, "5.0G"),
        ];
        for (number, shown) in cases {
            assert_eq!(count(number), shown);
        }
        assert_eq!(count(u64::MAX), "18447P");
    }

    #[test]
    fn slow_rates_have_a_digit_behind_the_point() {
        let cases = [
            (0.0, "0/s"),
            (0.1, "0.1/s"),
            (9.94, "9.9/s"),
            (1234.4, "1234/s"),
            (12_345.0, "12.3k/s"),
            (42_500_000.0, "42.5M/s"),
        ];
        for (number, shown) in cases {
            assert_eq!(rate(number), shown);
        }
    }

    #[test]
    fn a_time_has_one_unit() {
        let cases = [
            (0.0, "0ms"),
            (0.25, "250ms"),
            (0.9999, "999ms"),
            (59.9, "59s"),
            (60.0, "1m"),
            (3_599.0, "59m"),
            (86_399.0, "23h"),
            (400.0 * 86_400.0, "400d"),
        ];
        for (seconds, shown) in cases {
            assert_eq!(time(seconds), shown);
        }
    }

    #[test]
    fn bytes_and_nouns_are_readable() {
        assert_eq!(bytes(3_565_158), "3.4 MiB");
        assert_eq!(bytes(12), "12 B");
        assert_eq!(plural(1, "topic"), "1 topic");
        assert_eq!(plural(12_345, "topic"), "12,345 topics");
    }
}
