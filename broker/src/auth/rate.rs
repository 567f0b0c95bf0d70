//! A rate as a token bucket: it holds what may be done in a time at once, and fills again while less is done.
//!
//! More can be taken than there is; the rest that follows is longer then.

use std::time::{Duration, Instant};

/// An amount in a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    amount: u64,
    time: Duration,
}

/// Maximum time by which one amount empties a bucket further, so that times do not overflow.
const MOST_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A bucket that is full at first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TokenBucket {
    /// When it is full again if nothing more is taken. As a time and no amount, so that another rate needs no change.
    full_at: Option<Instant>,
}

impl Rate {
    pub(crate) fn in_a_second(amount: u64) -> Self {
        let time = Duration::from_secs(1);
        Self { amount, time }
    }

    pub(crate) fn in_a_minute(amount: u64) -> Self {
        let time = Duration::from_secs(60);
        Self { amount, time }
    }

    /// The time in which this much comes.
    fn time_of(self, amount: u64) -> Duration {
        let nanos = u128::from(amount) * self.time.as_nanos() / u128::from(self.amount.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(MOST_TIME)
    }
}

impl TokenBucket {
    /// Takes an amount. Returns how long to rest until what was taken has come.
    pub(crate) fn take(&mut self, amount: u64, rate: Rate, now: Instant) -> Duration {
        let full_at = now + self.missing(now) + rate.time_of(amount);
        self.full_at = Some(full_at);
        (full_at - now).saturating_sub(rate.time)
    }

    /// Leaves it empty at most: what was taken beyond need not be waited for.
    pub(crate) fn forgive(&mut self, rate: Rate, now: Instant) {
        self.full_at = Some(now + self.missing(now).min(rate.time));
    }

    /// Whether there is one.
    pub(crate) fn has_one(&self, rate: Rate, now: Instant) -> bool {
        self.missing(now) + rate.time_of(1) <= rate.time
    }

    /// Whether nothing is missing.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.missing(now).is_zero()
    }

    /// In which time it is full again.
    fn missing(&self, now: Instant) -> Duration {
        let full_at = self.full_at.unwrap_or(now);
        full_at.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many of one each pass in this time if each rest is kept.
    fn passed(bucket: &mut TokenBucket, rate: u64, start: Instant, time: Duration) -> u64 {
        let (mut now, mut passed) = (start, 0);
        while now < start + time {
            passed += 1;
            now += bucket.take(1, Rate::in_a_second(rate), now);
        }
        passed
    }

    #[test]
    fn a_second_is_free_and_then_the_rate_holds() {
        let (mut bucket, start) = (TokenBucket::default(), Instant::now());
        assert_eq!(passed(&mut bucket, 50, start, 10 * SECOND), 550);
        // After a rest there is a second again, and no more.
        let later = start + 100 * SECOND;
        assert!(bucket.is_full(later));
        assert_eq!(passed(&mut bucket, 50, later, SECOND), 100);
    }

    #[test]
    fn what_is_taken_at_once_is_paid_for_afterwards_by_all() {
        let (mut bucket, now) = (TokenBucket::default(), Instant::now());
        let ms = Duration::from_millis;
        let rate = Rate::in_a_second(50);
        assert_eq!(bucket.take(50, rate, now), ms(0));
        assert_eq!(bucket.take(25, rate, now), ms(500));
        assert_eq!(bucket.take(1, rate, now + ms(200)), ms(320));
        assert!(!bucket.is_full(now + ms(600)));
        // Another rate holds for what comes from then on.
        let slow = Rate::in_a_second(2);
        assert_eq!(bucket.take(1, slow, now + ms(1520)), ms(0));
        assert_eq!(bucket.take(2, slow, now + ms(1520)), ms(500));
        // No amount overflows.
        assert_eq!(
            bucket.take(u64::MAX, slow, now + ms(3020)),
            MOST_TIME - SECOND
        );
    }

    #[test]
    fn what_is_forgiven_is_not_waited_for_and_leaves_nothing_to_take() {
        let (mut bucket, now) = (TokenBucket::default(), Instant::now());
        let rate = Rate::in_a_second(50);
        assert_eq!(bucket.take(550, rate, now), 10 * SECOND);
        bucket.forgive(rate, now);
        assert_eq!(bucket.take(50, rate, now), SECOND);
        // A bucket in which there is something keeps that.
        let (mut bucket, half) = (TokenBucket::default(), 25);
        bucket.take(half, rate, now);
        bucket.forgive(rate, now);
        assert_eq!(bucket.take(half, rate, now), Duration::ZERO);
    }

    #[test]
    fn a_bucket_for_a_minute_has_as_many_and_then_one_in_each_part_of_it() {
        let (mut bucket, now) = (TokenBucket::default(), Instant::now());
        let rate = Rate::in_a_minute(10);
        for _ in 0..10 {
            assert!(bucket.has_one(rate, now));
            bucket.take(1, rate, now);
        }
        assert!(!bucket.has_one(rate, now));
        assert!(!bucket.has_one(rate, now + 5 * SECOND));
        assert!(bucket.has_one(rate, now + 6 * SECOND));
        bucket.take(1, rate, now + 6 * SECOND);
        assert!(!bucket.has_one(rate, now + 6 * SECOND));
        assert!(bucket.is_full(now + 67 * SECOND));
    }
}
