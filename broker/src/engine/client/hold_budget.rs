//! How long a publisher may be held by slow subscribers: at most half of any ten seconds.

use std::time::{Duration, Instant};

/// Maximum time at once.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Three tenths of each second are added, so that in ten seconds there are never more than five.
const REFILL: (u32, u32) = (3, 10);

/// The time for which a publisher may still be held.
pub(super) struct HoldBudget {
    left: Duration,
    /// When `left` was true.
    at: Instant,
}

impl HoldBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: AT_ONCE,
            at: now,
        }
    }

    /// The time that is left now.
    pub(super) fn left(&mut self, now: Instant) -> Duration {
        let earned = now.duration_since(self.at) * REFILL.0 / REFILL.1;
        self.left = self.left.saturating_add(earned).min(AT_ONCE);
        self.at = now;
        self.left
    }

    /// The publisher has been held for this long.
    pub(super) fn spend(&mut self, held: Duration) {
        self.left = self.left.saturating_sub(held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_is_held_for_half_of_any_ten_seconds_at_most() {
        let (start, step) = (Instant::now(), Duration::from_millis(100));
        let mut budget = HoldBudget::new(start);
        // Held whenever it may be: what it was held for in each step.
        let mut now = start;
        let held: Vec<Duration> = (0..400)
            .map(|_| {
                let held = budget.left(now).min(step);
                budget.spend(held);
                now += step;
                held
            })
            .collect();
        assert!(held[..20].iter().all(|&held| held == step));
        let most = held
            .windows(100)
            .map(|window| window.iter().sum::<Duration>());
        let most = most.max().expect("there are windows");
        let five = Duration::from_secs(5);
        assert!(most <= five && most > five * 9 / 10, "{most:?}");
        // After a rest it may be held as long as at first.
        assert_eq!(budget.left(now + Duration::from_secs(60)), AT_ONCE);
    }
}
