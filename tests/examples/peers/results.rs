//! All single results, in memory and as lines of JSON, from which the document can be written again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::bench::Figures;
use crate::case::{Case, Reference};
use crate::figure::Figure;
use crate::machine;
use crate::peer::{MOSQUITTO, NATS, OURS};
use crate::programs::Programs;
use crate::spread::Spread;
use crate::trouble::Trouble;

/// What holds for all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct About {
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) rounds: u64,
    pub(crate) seconds: f64,
    /// By broker.
    pub(crate) versions: BTreeMap<String, String>,
    /// Why a broker was not measured.
    pub(crate) left_out: BTreeMap<String, String>,
}

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) case: String,
    pub(crate) broker: String,
    pub(crate) round: u64,
    /// Or why there are none.
    pub(crate) figures: Result<Figures, String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Results {
    pub(crate) about: About,
    pub(crate) runs: Vec<Run>,
    /// Other cases, measured on other occasions.
    pub(crate) later: Vec<Occasion>,
}

/// What was measured at one go.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Occasion {
    pub(crate) about: About,
    pub(crate) runs: Vec<Run>,
}

impl About {
    pub(crate) fn of_now(arguments: &Arguments, programs: &Programs) -> Self {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let versions = programs.found.iter();
        let left_out = programs.left_out().iter();
        Self {
            date: now.split('T').next().unwrap_or_default().to_owned(),
            machine: machine::describe(),
            rounds: arguments.rounds.into(),
            seconds: arguments.seconds,
            versions: versions
                .map(|found| (found.peer.name.to_owned(), found.version.clone()))
                .collect(),
            left_out: left_out
                .map(|(name, why)| ((*name).to_owned(), why.clone()))
                .collect(),
        }
    }

    pub(crate) fn to_line(&self) -> String {
        let about = json!({
            "date": self.date,
            "machine": self.machine,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "versions": self.versions,
            "left_out": self.left_out,
        });
        format!("{}\n", json!({ "about": about }))
    }

    fn from_value(value: &Value) -> Option<Self> {
        let text = |key: &str| Some(value[key].as_str()?.to_owned());
        Some(Self {
            date: text("date")?,
            machine: text("machine")?,
            rounds: value["rounds"].as_u64()?,
            seconds: value["seconds"].as_f64()?,
            versions: texts(&value["versions"])?,
            left_out: texts(&value["left_out"])?,
        })
    }
}

fn texts(value: &Value) -> Option<BTreeMap<String, String>> {
    let pairs = value.as_object()?.iter();
    pairs
        .map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned())))
        .collect()
}

impl Run {
    pub(crate) fn to_line(&self) -> String {
        let mut line = json!({"case": self.case, "broker": self.broker, "round": self.round});
        match &self.figures {
            Ok(figures) => line["figures"] = json!(figures),
            Err(why) => line["failed"] = json!(why),
        }
        format!("{line}\n")
    }

    fn from_value(value: &Value) -> Option<Self> {
        let figures = match &value["failed"] {
            Value::String(why) => Err(why.clone()),
            _ => {
                let figures = value["figures"].as_object()?.iter();
                let figures = figures.map(|(key, figure)| Some((key.clone(), figure.as_f64()?)));
                Ok(figures.collect::<Option<_>>()?)
            }
        };
        Some(Self {
            case: value["case"].as_str()?.to_owned(),
            broker: value["broker"].as_str()?.to_owned(),
            round: value["round"].as_u64()?,
            figures,
        })
    }
}

impl Results {
    pub(crate) fn read(path: &Path) -> Result<Self, Trouble> {
        let text = fs::read_to_string(path).map_err(|error| Trouble::file(path, error))?;
        Self::from_lines(&text).map_err(|line| Trouble::Line(path.to_owned(), line))
    }

    /// Takes over all cases that are in `other`, in place of what there was of them.
    pub(crate) fn replace(&mut self, other: Self) {
        let is_new = |case: &str| other.all().any(|run| run.case == case);
        let occasions = self.later.iter_mut().map(|later| &mut later.runs);
        for runs in occasions.chain([&mut self.runs]) {
            runs.retain(|run| !is_new(&run.case));
        }
        self.later.retain(|later| !later.runs.is_empty());
        let Self { about, runs, later } = other;
        self.later.push(Occasion { about, runs });
        self.later.extend(later);
    }

    pub(crate) fn to_lines(&self) -> String {
        let occasion = |about: &About, runs: &[Run]| {
            let runs = runs.iter().map(Run::to_line);
            [about.to_line()]
                .into_iter()
                .chain(runs)
                .collect::<String>()
        };
        let later = self.later.iter();
        let later = later.map(|later| occasion(&later.about, &later.runs));
        [occasion(&self.about, &self.runs)]
            .into_iter()
            .chain(later)
            .collect()
    }

    /// Fails with the number of the line that is none of ours.
    fn from_lines(text: &str) -> Result<Self, usize> {
        let mut occasions: Vec<Occasion> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let value: Value = serde_json::from_str(line).map_err(|_| number)?;
            let about = About::from_value(&value["about"]);
            match (about, occasions.last_mut()) {
                (Some(about), _) => occasions.push(Occasion {
                    about,
                    runs: Vec::new(),
                }),
                (None, Some(occasion)) => {
                    occasion.runs.push(Run::from_value(&value).ok_or(number)?)
                }
                (None, None) => return Err(number),
            }
        }
        let mut occasions = occasions.into_iter();
        let Occasion { about, runs } = occasions.next().ok_or(1_usize)?;
        Ok(Self {
            about,
            runs,
            later: occasions.collect(),
        })
    }

    /// Whatever was measured.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Run> {
        let later = self.later.iter().flat_map(|later| &later.runs);
        self.runs.iter().chain(later)
    }

    fn abouts(&self) -> impl Iterator<Item = &About> {
        let later = self.later.iter().map(|later| &later.about);
        [&self.about].into_iter().chain(later)
    }

    /// Which version of a broker was measured, if it was. On different occasions that is the same as
    /// a rule.
    pub(crate) fn version(&self, broker: &str) -> Option<&str> {
        let versions = self.abouts().filter_map(|about| about.versions.get(broker));
        versions.last().map(String::as_str)
    }

    /// Why a broker was not measured.
    pub(crate) fn left_out(&self, broker: &str) -> Option<&str> {
        let reasons = self.abouts().filter_map(|about| about.left_out.get(broker));
        reasons.last().map(String::as_str)
    }

    fn of(&self, case: &str, broker: &str) -> impl Iterator<Item = &Run> {
        let is_of = move |run: &&Run| run.case == case && run.broker == broker;
        self.all().filter(is_of)
    }

    /// Whether there was any run of it.
    pub(crate) fn has(&self, case: &str, broker: &str) -> bool {
        self.of(case, broker).next().is_some()
    }

    fn values(&self, case: &str, broker: &str, figure: Figure) -> Vec<f64> {
        let figures = self
            .of(case, broker)
            .filter_map(|run| run.figures.as_ref().ok());
        figures
            .filter_map(|figures| figures.get(figure.key()).copied())
            .collect()
    }

    /// `None` if that was not measured.
    pub(crate) fn spread(&self, case: &str, broker: &str, figure: Figure) -> Option<Spread> {
        Spread::of(self.values(case, broker, figure))
    }

    pub(crate) fn median(&self, case: &str, broker: &str, figure: Figure) -> Option<f64> {
        self.spread(case, broker, figure)
            .map(|spread| spread.median)
    }

    /// Over all rounds.
    pub(crate) fn sum(&self, case: &str, broker: &str, figure: Figure) -> f64 {
        self.values(case, broker, figure).iter().sum()
    }

    /// Why runs of it failed.
    pub(crate) fn failures(&self, case: &str, broker: &str) -> Vec<&str> {
        let failed = self
            .of(case, broker)
            .filter_map(|run| run.figures.as_ref().err());
        failed.map(String::as_str).collect()
    }

    /// The better of the two nats-servers.
    pub(crate) fn nats(&self, case: &str, figure: Figure) -> Option<f64> {
        let medians = NATS
            .iter()
            .filter_map(|nats| self.median(case, nats, figure));
        figure.better().best(medians)
    }

    /// How many times the figure that a case is compared with this one is.
    pub(crate) fn of_reference(&self, case: &Case, broker: &str, figure: Figure) -> Option<f64> {
        let reference = match case.group.reference() {
            Reference::Nats => self.nats(case.name, figure)?,
            Reference::Mosquitto => self.median(case.name, MOSQUITTO, figure)?,
            Reference::OursIn(other) => self.median(other, OURS, figure)?,
            Reference::OverTcp => self.median(case.over_tcp()?.name, broker, figure)?,
        };
        ratio(self.median(case.name, broker, figure)?, reference)
    }
}

/// `None` if it says nothing.
pub(crate) fn ratio(value: f64, other: f64) -> Option<f64> {
    (other > 0.0).then(|| value / other)
}

/// Results made up for tests: for each broker the values of one figure of one case.
#[cfg(test)]
pub(crate) fn made_up(case: &str, figure: Figure, values: &[(&str, &[f64])]) -> Results {
    let mut results = Results::default();
    for (broker, values) in values {
        for (round, value) in (1..).zip(*values) {
            results.runs.push(Run {
                case: case.to_owned(),
                broker: (*broker).to_owned(),
                round,
                figures: Ok([(figure.key().to_owned(), *value)].into()),
            });
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str = "1x1 16 B";

    #[test]
    fn what_is_written_can_be_read_again() {
        let mut results = made_up(CASE, Figure::Cpu, &[("dallal", &[5.0, 7.5])]);
        results.about = About {
            date: "2026-01-31".to_owned(),
            machine: "a machine".to_owned(),
            rounds: 2,
            seconds: 0.5,
            versions: [("dallal".to_owned(), "1.2.3".to_owned())].into(),
            left_out: [("redis".to_owned(), "it is \"not\" there".to_owned())].into(),
        };
        results.runs.push(Run {
            figures: Err("it failed".to_owned()),
            ..results.runs[0].clone()
        });
        assert_eq!(Results::from_lines(&results.to_lines()), Ok(results));
    }

    #[test]
    fn what_is_measured_again_takes_the_place_of_what_was() {
        let mut results = made_up(CASE, Figure::Cpu, &[("dallal", &[5.0])]);
        results.replace(made_up("1x1 128 B", Figure::Cpu, &[("dallal", &[6.0])]));
        results.replace(made_up(CASE, Figure::Cpu, &[("dallal", &[7.0])]));
        let medians = [CASE, "1x1 128 B"].map(|case| results.median(case, "dallal", Figure::Cpu));
        assert_eq!(medians, [Some(7.0), Some(6.0)]);
        assert_eq!(results.all().count(), 2);
        assert_eq!(Results::from_lines(&results.to_lines()), Ok(results));
    }

    #[test]
    fn the_line_that_is_no_result_is_named() {
        let good = made_up(CASE, Figure::Cpu, &[("dallal", &[1.0])]).to_lines();
        assert_eq!(Results::from_lines(""), Err(1));
        assert_eq!(Results::from_lines("{}\n"), Err(1));
        assert_eq!(Results::from_lines(&format!("{good}nonsense\n")), Err(3));
        assert_eq!(Results::from_lines(&format!("{good}{{}}\n")), Err(3));
    }

    #[test]
    fn ratios_are_to_the_better_of_the_two_nats_servers() {
        let case = Case::find(CASE).expect("a case");
        let values: [(&str, &[f64]); 3] = [
            ("dallal", &[80.0, 81.0, 60.0]),
            ("nats", &[10.0]),
            ("nats-debian", &[20.0]),
        ];
        let of_nats = |figure| made_up(CASE, figure, &values).of_reference(case, "dallal", figure);
        assert_eq!(of_nats(Figure::Delivered), Some(4.0));
        assert_eq!(of_nats(Figure::Cpu), Some(8.0));
        assert_eq!(ratio(1.0, 0.0), None);
    }

    #[test]
    fn a_ratio_of_unix_sockets_is_to_the_same_broker_over_tcp() {
        let figure = Figure::Delivered;
        let over_tcp: [(&str, &[f64]); 2] = [("dallal", &[10.0]), ("redis", &[5.0])];
        let mut results = made_up("unix: TCP 1x1 16 B", figure, &over_tcp);
        let at_path: [(&str, &[f64]); 2] = [("dallal", &[15.0]), ("redis", &[10.0])];
        let case = Case::find("unix: socket 1x1 16 B").expect("a case");
        results.replace(made_up(case.name, figure, &at_path));
        let ratios = ["dallal", "redis"].map(|broker| results.of_reference(case, broker, figure));
        assert_eq!(ratios, [Some(1.5), Some(2.0)]);
    }
}
