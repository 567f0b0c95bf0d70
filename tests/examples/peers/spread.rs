//! The middle of several results, and how far apart they are.

/// What became of a figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` if there are no values.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[half]
        } else {
            (values[half - 1] + values[half]) / 2.0
        };
        Some(Self {
            least,
            median,
            most,
        })
    }

    /// Whether some result of the one could be one of the other.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.least <= other.most && other.least <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], least: f64, median: f64, most: f64) {
        let spread = Spread {
            least,
            median,
            most,
        };
        assert_eq!(Spread::of(values.to_vec()), Some(spread), "{values:?}");
    }

    #[test]
    fn the_median_stands_in_the_middle() {
        check(&[7.0], 7.0, 7.0, 7.0);
        check(&[9.0, 1.0, 2.0], 1.0, 2.0, 9.0);
        check(&[4.0, 1.0, 9.0, 2.0], 1.0, 3.0, 9.0);
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn ranges_that_touch_overlap() {
        let spread = |least, most| Spread::of(vec![least, most]).expect("values");
        assert!(spread(1.0, 2.0).overlaps(&spread(2.0, 3.0)));
        assert!(spread(1.0, 9.0).overlaps(&spread(2.0, 3.0)));
        assert!(!spread(1.0, 2.0).overlaps(&spread(2.1, 3.0)));
    }
}
