//! Averages over the last minutes, as other MQTT brokers publish them: a count per minute that follows
//! the latest ones and forgets earlier ones exponentially.

use std::time::Duration;

/// The minutes over which each is averaged.
const MINUTES: [u32; 3] = [1, 5, 15];

/// A count that only grows.
pub(crate) struct Total {
    /// Its name below `load/`.
    pub(crate) name: &'static str,
    pub(crate) count: u64,
}

/// The averages of several counts.
#[derive(Default)]
pub(crate) struct Load {
    averages: Vec<Averages>,
}

struct Averages {
    name: &'static str,
    /// The count at the last update.
    count: u64,
    per_minute: [f64; MINUTES.len()],
}

impl Load {
    /// Takes the counts `passed` after the last ones, which are always the same. The first are where
    /// the averages begin.
    pub(crate) fn update(&mut self, totals: &[Total], passed: Duration) {
        if self.averages.is_empty() {
            let first = totals.iter().map(|total| Averages {
                name: total.name,
                count: total.count,
                per_minute: [0.0; MINUTES.len()],
            });
            self.averages = first.collect();
            return;
        }
        for (averages, total) in self.averages.iter_mut().zip(totals) {
            averages.update(total.count, passed);
        }
    }

    /// The names, such as `load/connections/5min`, and the values.
    pub(crate) fn values(&self) -> impl Iterator<Item = (String, String)> {
        self.averages.iter().flat_map(|averages| {
            let values = MINUTES.iter().zip(averages.per_minute);
            values.map(|(minutes, value)| {
                let name = format!("load/{}/{minutes}min", averages.name);
                (name, format!("{value:.2}"))
            })
        })
    }
}

impl Averages {
    fn update(&mut self, count: u64, passed: Duration) {
        let minutes_passed = passed.as_secs_f64() / 60.0;
        if minutes_passed <= 0.0 {
            return;
        }
        let latest = count.saturating_sub(self.count) as f64 / minutes_passed;
        self.count = count;
        for (average, minutes) in self.per_minute.iter_mut().zip(MINUTES) {
            let kept = (-minutes_passed / f64::from(minutes)).exp();
            *average = latest + kept * (*average - latest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updated(load: &mut Load, count: u64, seconds: u64) -> Vec<(String, String)> {
        let total = Total {
            name: "x/received",
            count,
        };
        load.update(&[total], Duration::from_secs(seconds));
        load.values().collect()
    }

    fn named(values: [&str; 3]) -> Vec<(String, String)> {
        let names = ["1min", "5min", "15min"].map(|end| format!("load/x/received/{end}"));
        names.into_iter().zip(values.map(str::to_owned)).collect()
    }

    #[test]
    fn a_steady_count_is_approached_and_forgotten() {
        let mut load = Load::default();
        assert!(load.values().next().is_none());
        assert_eq!(updated(&mut load, 1000, 0), named(["0.00"; 3]));
        assert_eq!(
            updated(&mut load, 1060, 0),
            named(["0.00"; 3]),
            "no time has passed"
        );
        let first = updated(&mut load, 1120, 60);
        assert_eq!(first, named(["75.85", "21.75", "7.74"]));
        let mut count = 1120;
        for _ in 0..60 * 60 {
            count += 2;
            updated(&mut load, count, 1);
        }
        assert_eq!(
            updated(&mut load, count + 2, 1),
            named(["120.00", "120.00", "117.95"])
        );
        assert_eq!(
            updated(&mut load, count + 2, 24 * 60 * 60),
            named(["0.00"; 3])
        );
    }
}
