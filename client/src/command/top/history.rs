//! The rates of the last minute, and their chart in one row.

use std::collections::VecDeque;
use std::time::Duration;

/// The time that a chart covers.
const SPAN: Duration = Duration::from_secs(60);

/// Maximum number of samples of one row, however short the interval is.
const MAX_SAMPLES: usize = 240;

/// From zero to the highest rate.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Number of samples in the last minute.
pub(crate) fn samples(interval: Duration) -> usize {
    let samples = SPAN.as_secs_f64() / interval.as_secs_f64();
    (samples.ceil() as usize).clamp(1, MAX_SAMPLES)
}

/// Rates, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    rates: VecDeque<f64>,
    /// Number of samples ever added.
    taken: usize,
}

impl History {
    /// Adds the newest rate and keeps the last `samples`.
    pub(crate) fn push(&mut self, rate: f64, samples: usize) {
        self.rates.push_back(rate);
        self.taken += 1;
        while self.rates.len() > samples {
            self.rates.pop_front();
        }
    }

    /// A chart of `cells` cells for `samples` samples, the newest at the right. Each row has its
    /// own scale: the chart shows how a rate changes, the figure beside it how large it is.
    pub(crate) fn line(&self, samples: usize, cells: usize) -> String {
        let per_cell = samples.div_ceil(cells.max(1)).max(1);
        let first = self.taken - self.rates.len();
        // Grouping by absolute index keeps the same samples in one cell while the chart moves to
        // the left.
        let mut groups: Vec<f64> = Vec::new();
        let mut last_group = None;
        for (at, &rate) in self.rates.iter().enumerate() {
            let group = (first + at) / per_cell;
            match groups.last_mut() {
                Some(highest) if last_group == Some(group) => *highest = highest.max(rate),
                _ => groups.push(rate),
            }
            last_group = Some(group);
        }
        let shown = &groups[groups.len().saturating_sub(cells)..];
        let highest = shown.iter().copied().fold(0.0, f64::max);
        let pad = " ".repeat(cells - shown.len());
        let line = shown.iter().map(|rate| level(*rate, highest));
        pad.chars().chain(line).collect()
    }
}

fn level(rate: f64, highest: f64) -> char {
    if rate <= 0.0 {
        return LEVELS[0];
    }
    // A low rate must not look like zero.
    let level = (rate / highest * 7.0).round() as usize;
    LEVELS[level.clamp(1, 7)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rates: &[f64], samples: usize, cells: usize, expected: &str) {
        let mut history = History::default();
        rates.iter().for_each(|rate| history.push(*rate, samples));
        assert_eq!(history.line(samples, cells), expected, "{rates:?}");
    }

    #[test]
    fn a_line_rises_to_its_own_highest() {
        check(&[0.0, 1.0, 50.0, 100.0], 4, 4, "▁▂▅█");
        check(&[0.0, 0.0], 4, 4, "  ▁▁");
        check(&[], 4, 3, "   ");
    }

    #[test]
    fn samples_older_than_the_span_are_dropped() {
        check(&[100.0, 1.0, 1.0], 2, 2, "██");
    }

    #[test]
    fn several_samples_share_a_cell_by_their_highest() {
        check(&[1.0, 7.0, 3.0, 0.0, 7.0], 6, 3, "█▄█");
        // One more begins no cell of its own before the last one has all of its samples.
        check(&[1.0, 7.0, 3.0, 0.0, 7.0, 0.0], 6, 3, "█▄█");
    }

    #[test]
    fn a_minute_has_as_many_samples_as_intervals() {
        assert_eq!(samples(Duration::from_secs(1)), 60);
        assert_eq!(samples(Duration::from_secs(7)), 9);
        assert_eq!(samples(Duration::from_secs(600)), 1);
        assert_eq!(samples(Duration::from_millis(1)), MAX_SAMPLES);
    }
}
