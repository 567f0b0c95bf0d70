//! Figures of rounds that are repeated.

/// The one in the middle, of a few rounds that differ by what else the machine does.
pub(crate) fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_unstable_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
