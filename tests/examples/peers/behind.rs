//! Where a rival is ahead of us. Found by looking at everything, so that nothing can be forgotten.

use crate::cases::CASES;
use crate::figure::Figure;
use crate::peer::{OURS, PEERS, Role};
use crate::results::Results;
use crate::spread::Spread;

/// A figure in which a rival's median is better than ours.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Behind {
    pub(crate) case: &'static str,
    pub(crate) figure: Figure,
    pub(crate) rival: &'static str,
    pub(crate) ours: Spread,
    pub(crate) theirs: Spread,
}

impl Behind {
    /// How many times as good theirs is. Infinite where theirs is nothing at all.
    pub(crate) fn advantage(&self) -> f64 {
        let better = self.figure.better();
        better.advantage(self.theirs.median, self.ours.median)
    }
}

/// How many figures were compared with those of rivals.
pub(crate) fn compared(results: &Results) -> usize {
    pairs(results).count()
}

pub(crate) fn behind(results: &Results) -> Vec<Behind> {
    let is_ahead = |pair: &Behind| {
        let better = pair.figure.better();
        better.prefers(pair.theirs.median, pair.ours.median)
    };
    pairs(results).filter(is_ahead).collect()
}

/// Every figure of ours beside that of every rival.
fn pairs(results: &Results) -> impl Iterator<Item = Behind> {
    let figures = CASES.iter().flat_map(|case| {
        let figures = case.load.figures().iter();
        figures.map(|figure| (case.name, *figure))
    });
    figures.flat_map(move |(case, figure)| {
        let rivals = PEERS.iter().filter(|peer| peer.role == Role::Rival);
        rivals.filter_map(move |rival| {
            Some(Behind {
                case,
                figure,
                rival: rival.name,
                ours: results.spread(case, OURS, figure)?,
                theirs: results.spread(case, rival.name, figure)?,
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::results::made_up;

    use super::*;

    fn rivals_ahead(figure: Figure, values: &[(&str, &[f64])]) -> Vec<(&'static str, f64)> {
        let behind = behind(&made_up("1x1 16 B", figure, values));
        behind
            .iter()
            .map(|found| (found.rival, found.advantage()))
            .collect()
    }

    #[test]
    fn a_rival_with_a_better_median_is_found() {
        let values: [(&str, &[f64]); 4] = [
            ("dallal", &[10.0]),
            ("redis", &[5.0, 20.0, 25.0]),
            ("mosquitto", &[9.0]),
            ("nats", &[10.0]),
        ];
        assert_eq!(rivals_ahead(Figure::Delivered, &values), [("redis", 2.0)]);
        assert_eq!(rivals_ahead(Figure::Cpu, &values).len(), 1);
        assert_eq!(rivals_ahead(Figure::Cpu, &values)[0].0, "mosquitto");
        assert_eq!(compared(&made_up("1x1 16 B", Figure::Cpu, &values)), 3);
    }

    #[test]
    fn the_yardstick_is_no_rival() {
        let values: [(&str, &[f64]); 2] = [("dallal", &[10.0]), ("relay", &[20.0])];
        assert!(rivals_ahead(Figure::Delivered, &values).is_empty());
    }
}
