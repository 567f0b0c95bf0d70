//! What we ask of ourselves, and whether it was reached.

use crate::case::Group;
use crate::cases::{ALL_KEPT, CASES, NOTHING_KEPT, SINGLE_TOPIC};
use crate::figure::{Better, Figure};
use crate::number::{counted, times};
use crate::peer::{MOSQUITTO, OURS, REDIS, RELAY, RUMQTTD};
use crate::results::{Results, ratio};

/// One demand on one figure of ours.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) case: &'static str,
    pub(crate) figure: Figure,
    pub(crate) than: Than,
    factor: f64,
}

/// What ours is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Than {
    /// The better of the two nats-servers.
    Nats,
    Redis,
    Mosquitto,
    Rumqttd,
    Relay,
    /// Our own broker in another case.
    OursIn(&'static str),
    /// Nothing: the factor is the demand.
    Itself,
}

/// What came of a demand.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) case: String,
    pub(crate) asked: String,
    pub(crate) measured: String,
    /// `None` if something of it was not measured.
    pub(crate) reached: Option<bool>,
}

const fn bar(case: &'static str, figure: Figure, than: Than, factor: f64) -> Bar {
    Bar {
        case,
        figure,
        than,
        factor,
    }
}

const MAX_BYTES_PER_CONNECTION: f64 = 14_000.0;
const MAX_BYTES_PER_TLS_CONNECTION: f64 = 21_000.0;

const MIN_KEPT_PER_SECOND: f64 = 3_000_000.0;

const BARS: [Bar; 54] = [
    bar("1x1 16 B", Figure::Delivered, Than::Nats, 8.0),
    bar("1x1 128 B", Figure::Delivered, Than::Nats, 5.0),
    bar("1x1 1 KiB", Figure::Delivered, Than::Nats, 2.5),
    bar("1x1 64 KiB", Figure::Delivered, Than::Nats, 1.5),
    bar("1x1 128 B", Figure::Delivered, Than::Relay, 0.8),
    bar("1x1 1 KiB", Figure::Delivered, Than::Relay, 0.8),
    bar("1x1 64 KiB", Figure::Delivered, Than::Relay, 0.8),
    bar("1x10 128 B", Figure::Delivered, Than::Nats, 5.0),
    bar("1x100 128 B", Figure::Delivered, Than::Nats, 6.0),
    bar("1x1000 128 B", Figure::Delivered, Than::Nats, 9.0),
    bar("8x1 128 B", Figure::Delivered, Than::Nats, 4.5),
    bar("8x8 separate topics", Figure::Delivered, Than::Nats, 4.0),
    bar(
        "10,000 topics, 1 subscriber",
        Figure::Delivered,
        Than::Nats,
        3.0,
    ),
    bar(
        "10,000 topics, 1 subscriber",
        Figure::Delivered,
        Than::OursIn(SINGLE_TOPIC),
        1.0 / 3.0,
    ),
    bar(
        "10,000 topics, 10 subscribers",
        Figure::Delivered,
        Than::Nats,
        3.0,
    ),
    bar(
        "10,000 topics, 10 subscribers",
        Figure::Delivered,
        Than::OursIn(SINGLE_TOPIC),
        1.0 / 3.0,
    ),
    bar("window 1", Figure::Acked, Than::Nats, 1.0),
    bar("window 1", Figure::Acked, Than::Redis, 1.0),
    bar("window 1024", Figure::Acked, Than::Nats, 4.0),
    bar("window 1024", Figure::Acked, Than::Redis, 4.0),
    bar("latency 1x1 1,000/s", Figure::P50, Than::Nats, 0.8),
    bar("latency 1x1 1,000/s", Figure::P99, Than::Nats, 0.8),
    bar("latency 1x1 20,000/s", Figure::P50, Than::Nats, 0.8),
    bar("latency 1x1 20,000/s", Figure::P99, Than::Nats, 0.8),
    bar("latency 1x100 100/s", Figure::P50, Than::Nats, 0.8),
    bar("latency 1x100 100/s", Figure::P99, Than::Nats, 0.8),
    bar(
        "idle 1,000",
        Figure::PerConnection,
        Than::Itself,
        MAX_BYTES_PER_CONNECTION,
    ),
    bar(
        "idle 5,000",
        Figure::PerConnection,
        Than::Itself,
        MAX_BYTES_PER_CONNECTION,
    ),
    bar(
        "idle 9,000",
        Figure::PerConnection,
        Than::Itself,
        MAX_BYTES_PER_CONNECTION,
    ),
    bar("idle 1,000", Figure::Connected, Than::Nats, 1.0),
    bar("idle 5,000", Figure::Connected, Than::Nats, 1.0),
    bar("idle 9,000", Figure::Connected, Than::Nats, 1.0),
    bar("1x1 16 B", Figure::Cpu, Than::Nats, 0.2),
    bar("1x1 128 B", Figure::Cpu, Than::Nats, 0.2),
    bar("TLS 1x1 128 B", Figure::Delivered, Than::Nats, 3.0),
    bar("TLS 1x1 128 B", Figure::Delivered, Than::Mosquitto, 3.0),
    bar("TLS 1x100 128 B", Figure::Delivered, Than::Nats, 1.0),
    bar("TLS 1x100 128 B", Figure::Delivered, Than::Mosquitto, 1.0),
    bar("TLS 1x1000 128 B", Figure::Delivered, Than::Nats, 1.0),
    bar("TLS 1x1000 128 B", Figure::Delivered, Than::Mosquitto, 1.0),
    bar(
        "TLS idle 1,000",
        Figure::PerConnection,
        Than::Itself,
        MAX_BYTES_PER_TLS_CONNECTION,
    ),
    bar("store: os window 1024", Figure::Acked, Than::Nats, 10.0),
    bar("store: os window 1024", Figure::Acked, Than::Redis, 7.0),
    bar("store: disk window 1", Figure::Acked, Than::Nats, 1.3),
    bar("store: disk window 1", Figure::Acked, Than::Redis, 1.3),
    bar("store: disk 16x0 window 1", Figure::Acked, Than::Nats, 5.0),
    bar("store: disk 16x0 window 1", Figure::Acked, Than::Redis, 1.3),
    bar("store: disk 64x0 window 1", Figure::Acked, Than::Nats, 5.0),
    bar("store: disk 64x0 window 1", Figure::Acked, Than::Redis, 1.3),
    bar("store: disk window 1024", Figure::Acked, Than::Nats, 80.0),
    bar("store: disk window 1024", Figure::Acked, Than::Redis, 5.0),
    bar(
        "store: 10,000 topics, 20 kept",
        Figure::Acked,
        Than::OursIn(ALL_KEPT),
        0.9,
    ),
    bar(
        "store: 1x1 kept",
        Figure::Delivered,
        Than::OursIn(NOTHING_KEPT),
        0.5,
    ),
    bar(
        "store: 1x1 kept",
        Figure::Delivered,
        Than::Itself,
        MIN_KEPT_PER_SECOND,
    ),
];

/// The same for every case of a group.
const BARS_OF_GROUPS: [(Group, Figure, Than, f64); 5] = [
    (Group::Qos0, Figure::Delivered, Than::Mosquitto, 10.0),
    (Group::Qos0, Figure::Delivered, Than::Rumqttd, 3.0),
    (Group::Qos0, Figure::Cpu, Than::Mosquitto, 1.0),
    (Group::Qos0, Figure::Cpu, Than::Rumqttd, 1.0),
    (Group::Qos1, Figure::Delivered, Than::Mosquitto, 5.0),
];

/// All demands, and at last that every message arrived once and in order.
pub(crate) fn verdicts(results: &Results) -> Vec<Verdict> {
    let verdicts = bars().map(|bar| bar.verdict(results));
    verdicts.chain([every_message_arrived(results)]).collect()
}

fn bars() -> impl Iterator<Item = Bar> {
    let of_groups = BARS_OF_GROUPS
        .into_iter()
        .flat_map(|(group, figure, than, factor)| {
            group
                .cases()
                .map(move |case| bar(case.name, figure, than, factor))
        });
    BARS.into_iter().chain(of_groups)
}

impl Bar {
    fn verdict(&self, results: &Results) -> Verdict {
        let ours = results.median(self.case, OURS, self.figure);
        let other = match self.than {
            Than::Nats => results.nats(self.case, self.figure),
            Than::Redis => results.median(self.case, REDIS, self.figure),
            Than::Mosquitto => results.median(self.case, MOSQUITTO, self.figure),
            Than::Rumqttd => results.median(self.case, RUMQTTD, self.figure),
            Than::Relay => results.median(self.case, RELAY, self.figure),
            Than::OursIn(case) => results.median(case, OURS, self.figure),
            Than::Itself => Some(1.0),
        };
        let pair = ours.zip(other);
        let quotient = pair.and_then(|(ours, other)| ratio(ours, other));
        let measured = match (quotient, pair) {
            (Some(quotient), Some(pair)) => self.show(quotient, pair),
            (None, _) | (_, None) => "not measured".to_owned(),
        };
        Verdict {
            case: self.case.to_owned(),
            asked: self.asked(),
            measured,
            reached: quotient.map(|quotient| self.is_reached_by(quotient)),
        }
    }

    fn is_reached_by(&self, quotient: f64) -> bool {
        match self.figure.better() {
            Better::More => quotient >= self.factor,
            Better::Less => quotient <= self.factor,
        }
    }

    fn asked(&self) -> String {
        let (title, factor) = (self.figure.title(), shown_factor(self.factor));
        let bound = match self.figure.better() {
            Better::More => "at least",
            Better::Less => "at most",
        };
        match self.than {
            Than::Nats => format!("{title}: {bound} {factor} N"),
            Than::Redis => format!("{title}: {bound} {factor} Redis"),
            Than::Mosquitto => format!("{title}: {bound} {factor} mosquitto"),
            Than::Rumqttd => format!("{title}: {bound} {factor} rumqttd"),
            Than::Relay => format!("{title}: {bound} {factor} the relay"),
            Than::OursIn(case) => format!("{title}: {bound} {factor} ours in {case}"),
            Than::Itself => format!("{title}: {bound} {}", self.figure.unit().show(self.factor)),
        }
    }

    fn show(&self, quotient: f64, (ours, other): (f64, f64)) -> String {
        let [ours, other] = [ours, other].map(|value| self.figure.unit().show(value));
        if self.than == Than::Itself {
            return ours;
        }
        format!("{}, {ours} to {other}", times(quotient))
    }
}

fn shown_factor(factor: f64) -> String {
    let short = (factor * 10.0).fract() == 0.0;
    if short {
        format!("{factor}x")
    } else {
        times(factor)
    }
}

fn every_message_arrived(results: &Results) -> Verdict {
    let of_ours = || results.all().filter(|run| run.broker == OURS);
    let runs = of_ours().filter(|run| run.figures.is_ok()).count();
    let failed = of_ours().count() - runs;
    let [lost, doubled, reordered] = Figure::FAULTS.map(|figure| {
        let sums = CASES
            .iter()
            .map(|case| results.sum(case.name, OURS, figure));
        sums.sum::<f64>() as u64
    });
    let [shown_lost, shown_doubled, shown_reordered] = [lost, doubled, reordered].map(counted);
    let mut measured = format!(
        "{shown_lost} lost, {shown_doubled} doubled, {shown_reordered} reordered in {} runs",
        counted(runs as u64)
    );
    if failed > 0 {
        measured.push_str(&format!(", and {failed} failed"));
    }
    Verdict {
        case: "all".to_owned(),
        asked: "every message arrives once and in order".to_owned(),
        measured,
        reached: (runs > 0 || failed > 0).then_some(lost + doubled + reordered == 0 && failed == 0),
    }
}

#[cfg(test)]
mod tests {
    use crate::case::Case;
    use crate::results::made_up;

    use super::*;

    fn verdict(than: Than, figure: Figure, results: &Results) -> Verdict {
        let mut verdicts = bars().filter(|bar| bar.case == "1x1 128 B");
        let bar = verdicts.find(|bar| bar.than == than && bar.figure == figure);
        bar.expect("there is such a bar").verdict(results)
    }

    #[test]
    fn every_bar_is_about_a_figure_of_a_case() {
        for bar in bars() {
            let case = Case::find(bar.case).unwrap_or_else(|| panic!("no case {}", bar.case));
            assert!(case.load.figures().contains(&bar.figure), "{bar:?}");
        }
    }

    #[test]
    fn a_bar_is_reached_or_not() {
        let values = |ours: f64| {
            let rivals: [(&str, &[f64]); 3] = [
                ("dallal", &[ours]),
                ("nats", &[200.0]),
                ("nats-debian", &[100.0]),
            ];
            made_up("1x1 128 B", Figure::Delivered, &rivals)
        };
        let reached = verdict(Than::Nats, Figure::Delivered, &values(1000.0));
        assert_eq!(reached.reached, Some(true));
        assert_eq!(reached.asked, "messages/s: at least 5x N");
        assert_eq!(reached.measured, "5.00x, 1.00 k to 200");
        let missed = verdict(Than::Nats, Figure::Delivered, &values(999.0));
        assert_eq!(missed.reached, Some(false));
    }

    #[test]
    fn where_less_is_better_the_bar_is_an_upper_one() {
        let rivals: [(&str, &[f64]); 2] = [("dallal", &[30.0]), ("nats", &[100.0])];
        let results = made_up("1x1 128 B", Figure::Cpu, &rivals);
        let verdict = verdict(Than::Nats, Figure::Cpu, &results);
        assert_eq!(verdict.reached, Some(false));
        assert_eq!(verdict.asked, "processor a message: at most 0.2x N");
    }

    #[test]
    fn what_was_not_measured_is_neither() {
        let results = made_up("1x1 128 B", Figure::Delivered, &[("dallal", &[1.0])]);
        let verdict = verdict(Than::Relay, Figure::Delivered, &results);
        assert_eq!(
            (verdict.reached, &verdict.measured[..]),
            (None, "not measured")
        );
        assert_eq!(every_message_arrived(&Results::default()).reached, None);
    }

    #[test]
    fn one_lost_message_is_too_many() {
        let lost = made_up("1x1 128 B", Figure::Lost, &[("dallal", &[0.0, 1.0])]);
        let verdict = every_message_arrived(&lost);
        assert_eq!(verdict.reached, Some(false));
        assert_eq!(verdict.measured, "1 lost, 0 doubled, 0 reordered in 2 runs");
    }
}
