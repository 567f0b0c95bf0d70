//! Histograms of times in nanoseconds, and their distribution as a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use hdrhistogram::Histogram;

/// Longer times are recorded as this, a minute.
const MAX_NS: u64 = 60_000_000_000;

/// Steps of the distribution per halving of the distance to 100 %.
const STEPS: u32 = 5;

/// An empty histogram, exact to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_NS, 3).expect("bounds that fit together")
}

/// Records a time.
pub(crate) fn record(times: &mut Histogram<u64>, nanoseconds: u64) {
    times.saturating_record(nanoseconds.max(1));
}

/// Writes the distribution in microseconds, in the format of HdrHistogram's plotters.
pub(crate) fn write_distribution(file: File, times: &Histogram<u64>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    write_to(&mut out, times)?;
    out.flush()
}

fn write_to(out: &mut impl Write, times: &Histogram<u64>) -> io::Result<()> {
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    writeln!(out)?;
    for step in times.iter_quantiles(STEPS) {
        let value = step.value_iterated_to() as f64 / 1e3;
        let quantile = step.quantile_iterated_to();
        let count = times.count_between(0, step.value_iterated_to());
        write!(out, "{value:>12.3} {quantile:>14.12} {count:>10}")?;
        if quantile < 1.0 {
            write!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
        }
        writeln!(out)?;
    }
    let (mean, deviation) = (times.mean() / 1e3, times.stdev() / 1e3);
    let (max, count) = (times.max() as f64 / 1e3, times.len());
    writeln!(
        out,
        "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]"
    )?;
    writeln!(
        out,
        "#[Max     = {max:>12.3}, Total count    = {count:>12}]"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_ends_with_all_values() {
        let mut times = histogram();
        for microseconds in 1..=100 {
            record(&mut times, microseconds * 1000);
        }
        let mut out = Vec::new();
        write_to(&mut out, &times).expect("room");
        let text = String::from_utf8(out).expect("text");
        let last = text
            .lines()
            .rfind(|line| !line.starts_with('#'))
            .expect("lines");
        let fields: Vec<_> = last.split_whitespace().collect();
        assert_eq!(fields[1..], ["1.000000000000", "100"], "{text}");
        assert!(text.contains("Total count    =          100]"), "{text}");
    }

    #[test]
    fn times_out_of_bounds_count_at_the_bounds() {
        let mut times = histogram();
        record(&mut times, 0);
        record(&mut times, u64::MAX);
        assert_eq!(times.len(), 2);
    }
}
