//! Numbers as people read them: three digits, and a unit that fits.

use crate::spread::Spread;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Count,
    Nanoseconds,
    Bytes,
}

impl Unit {
    /// From one step to the next it is a thousand times as much.
    fn steps(self) -> &'static [&'static str] {
        match self {
            Self::Count => &["", "k", "M"],
            Self::Nanoseconds => &["ns", "µs", "ms", "s"],
            Self::Bytes => &["B", "KB", "MB", "GB"],
        }
    }

    fn step(self, value: f64) -> usize {
        let above = |step: usize| value.abs() >= 999.5 * 1000_f64.powi(step as i32);
        (0..self.steps().len() - 1)
            .take_while(|step| above(*step))
            .count()
    }

    pub(crate) fn show(self, value: f64) -> String {
        let step = self.step(value);
        with_unit(shown_at(step, value), self.steps()[step])
    }

    /// As short as it can be, for the round numbers of an axis.
    pub(crate) fn show_round(self, value: f64) -> String {
        let step = self.step(value);
        let scaled = (value / 1000_f64.powi(step as i32) * 100.0).round() / 100.0;
        with_unit(scaled.to_string(), self.steps()[step])
    }

    /// The median and behind it the range, all in the unit of the median.
    pub(crate) fn show_spread(self, spread: &Spread) -> String {
        let step = self.step(spread.median);
        let [least, most] = [spread.least, spread.most].map(|value| shown_at(step, value));
        let median = self.show(spread.median);
        if spread.least == spread.most {
            return median;
        }
        format!("{median} ({least} to {most})")
    }
}

fn shown_at(step: usize, value: f64) -> String {
    if step == 0 && value.fract() == 0.0 {
        return format!("{value:.0}");
    }
    digits(value / 1000_f64.powi(step as i32))
}

fn with_unit(number: String, unit: &str) -> String {
    if unit.is_empty() {
        return number;
    }
    format!("{number} {unit}")
}

/// At least three of them, or two behind the point.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// How many times as much.
pub(crate) fn times(ratio: f64) -> String {
    match ratio {
        0.0..0.01 => format!("{ratio:.4}x"),
        _ => format!("{}x", digits(ratio)),
    }
}

/// With commas between thousands.
pub(crate) fn counted(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How many of these, as words.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{} {noun}{end}", counted(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit_that_fits() {
        for (unit, value, shown) in [
            (Unit::Count, 0.0, "0"),
            (Unit::Count, 999.0, "999"),
            (Unit::Count, 999.6, "1.00 k"),
            (Unit::Count, 2_434_000.0, "2.43 M"),
            (Unit::Count, 24_340_000_000.0, "24340 M"),
            (Unit::Nanoseconds, 41_230.0, "41.2 µs"),
            (Unit::Nanoseconds, 1e10, "10.0 s"),
            (Unit::Bytes, 12_512.0, "12.5 KB"),
            (Unit::Bytes, 999_900.0, "1.00 MB"),
        ] {
            assert_eq!(unit.show(value), shown);
        }
    }

    #[test]
    fn a_range_has_the_unit_of_its_median() {
        let spread = Spread::of(vec![900.0, 1_500.0, 2_000.0]).expect("values");
        assert_eq!(Unit::Count.show_spread(&spread), "1.50 k (0.90 to 2.00)");
        let alone = Spread::of(vec![5.0]).expect("a value");
        assert_eq!(Unit::Bytes.show_spread(&alone), "5 B");
    }

    #[test]
    fn a_round_number_has_no_digits_that_say_nothing() {
        assert_eq!(Unit::Count.show_round(1e7), "10 M");
        assert_eq!(Unit::Nanoseconds.show_round(100e3), "100 µs");
        assert_eq!(Unit::Bytes.show_round(10_f64.powi(6) * 0.5), "500 KB");
    }

    #[test]
    fn ratios_and_counts() {
        assert_eq!(
            [8.126, 0.2, 12.34, 123.4, 0.00123].map(times),
            ["8.13x", "0.20x", "12.3x", "123x", "0.0012x"]
        );
        assert_eq!(
            [7, 1_000, 1_234_567].map(counted),
            ["7", "1,000", "1,234,567"]
        );
    }
}
