//! Rate limit for repeated log messages: one line with the number and rate of those suppressed.

use std::fmt;
use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// After a warning, others of its kind are suppressed for this long.
const QUIET: Duration = Duration::from_secs(10);

/// One kind of warning.
#[derive(Default)]
pub(crate) struct LogLimit(Mutex<Option<Counting>>);

struct Counting {
    since: Instant,
    suppressed: u64,
}

/// The number of suppressed warnings since the last one; displays as text in parentheses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suppressed {
    count: u64,
    seconds: u64,
}

impl LogLimit {
    /// Whether to log the warning now; if so, returns what was suppressed before.
    pub(crate) fn say(&self, now: Instant) -> Option<Suppressed> {
        let mut counting = self.0.lock();
        if let Some(counting) = counting.as_mut()
            && now.duration_since(counting.since) < QUIET
        {
            counting.suppressed += 1;
            return None;
        }
        let before = counting.replace(Counting {
            since: now,
            suppressed: 0,
        });
        Some(match before {
            Some(before) => Suppressed {
                count: before.suppressed,
                seconds: now.duration_since(before.since).as_secs().max(1),
            },
            None => Suppressed {
                count: 0,
                seconds: 1,
            },
        })
    }
}

#[cfg(test)]
impl LogLimit {
    /// How many were suppressed since the last one that was not.
    pub(crate) fn suppressed(&self) -> u64 {
        let counting = self.0.lock();
        counting.as_ref().map_or(0, |counting| counting.suppressed)
    }
}

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 => Ok(()),
            count => {
                let rate = count as f64 / self.seconds as f64;
                write!(f, " ({count} more in {} s, {rate:.1}/s)", self.seconds)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_one_line_with_a_rate() {
        let (log_limit, start) = (LogLimit::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(
            log_limit.say(at(0)).expect("the first is said").to_string(),
            ""
        );
        for ms in 1..=200 {
            assert_eq!(log_limit.say(at(ms)), None);
        }
        let said = log_limit.say(at(20_000)).expect("said again");
        assert_eq!(said.to_string(), " (200 more in 20 s, 10.0/s)");
    }
}
