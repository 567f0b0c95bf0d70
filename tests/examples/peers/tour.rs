//! Every case for every broker, in turns: A B C, then B C A, so that no broker always comes after the
//! same other.

use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::bench::{self, Figures};
use crate::case::{Case, Lengths};
use crate::figure::Figure;
use crate::interruption::Interruption;
use crate::number::counted;
use crate::programs::{Found, Programs};
use crate::results::{About, Results, Run};
use crate::server::Server;
use crate::stderr::say;
use crate::trouble::Trouble;
use crate::usage;

/// What a run needs besides its load: start, connections, the rest of the messages, end.
const SECONDS_BESIDES: f64 = 0.6;

#[derive(Debug)]
pub(crate) struct Tour<'a> {
    cases: Vec<&'static Case>,
    programs: &'a Programs,
    rounds: u64,
    lengths: Lengths,
    open_files: u64,
    interruption: &'a Interruption,
}

impl<'a> Tour<'a> {
    pub(crate) fn new(
        arguments: &Arguments,
        cases: Vec<&'static Case>,
        programs: &'a Programs,
        interruption: &'a Interruption,
    ) -> Self {
        Self {
            cases,
            programs,
            rounds: arguments.rounds.into(),
            lengths: Lengths {
                seconds: arguments.seconds,
            },
            open_files: usage::raise_open_files(),
            interruption,
        }
    }

    /// Each result goes to `keep` as soon as it is there.
    pub(crate) fn run(
        &self,
        about: About,
        mut keep: impl FnMut(&str) -> Result<(), Trouble>,
    ) -> Result<Results, Trouble> {
        keep(&about.to_line())?;
        let stops = self.stops();
        say(&self.estimate(&stops));
        let begin = Instant::now();
        let mut runs = Vec::with_capacity(stops.len());
        for (at, (round, case, found)) in (1..).zip(&stops) {
            let figures = self.measure(case, found)?;
            let shown = show(case, &figures);
            let (broker, total) = (found.peer.name, stops.len());
            let name = case.name;
            say(&format!("{at:>4}/{total}  {broker:<12} {name:<30} {shown}"));
            let run = Run {
                case: name.to_owned(),
                broker: broker.to_owned(),
                round: *round,
                figures,
            };
            keep(&run.to_line())?;
            runs.push(run);
        }
        say(&format!("measured in {}", minutes(begin.elapsed())));
        Ok(Results {
            about,
            runs,
            later: Vec::new(),
        })
    }

    fn stops(&self) -> Vec<(u64, &'static Case, &'a Found)> {
        let mut stops = Vec::new();
        for round in 1..=self.rounds {
            for case in &self.cases {
                for found in rotated(&self.programs.found, round as usize - 1) {
                    if found.peer.takes_part(case) && found.peer.cannot(case).is_none() {
                        stops.push((round, *case, found));
                    }
                }
            }
        }
        stops
    }

    fn estimate(&self, stops: &[(u64, &'static Case, &'a Found)]) -> String {
        let seconds = stops
            .iter()
            .map(|(_, case, _)| SECONDS_BESIDES + case.seconds(self.lengths));
        let time = minutes(Duration::from_secs_f64(seconds.sum()));
        format!("{} runs, about {time}", stops.len())
    }

    fn measure(&self, case: &Case, found: &Found) -> Result<Result<Figures, String>, Trouble> {
        self.interruption.check()?;
        let needed = case.open_files();
        if needed > self.open_files {
            let (needed, limit) = (counted(needed), counted(self.open_files));
            return Ok(Err(format!(
                "needs {needed} open files, and {limit} are allowed"
            )));
        }
        match Server::start(found, case) {
            Ok(server) => {
                let client = &self.programs.client;
                bench::run(client, &server, case, self.lengths, self.interruption)
            }
            Err(why) => Ok(Err(why)),
        }
    }
}

/// All of them, from another one on each time.
fn rotated<T>(all: &[T], by: usize) -> impl Iterator<Item = &T> {
    all.iter()
        .cycle()
        .skip(by % all.len().max(1))
        .take(all.len())
}

/// The most telling figure, or what went wrong.
fn show(case: &Case, figures: &Result<Figures, String>) -> String {
    let figures = match figures {
        Ok(figures) => figures,
        Err(why) => return why.clone(),
    };
    let mut shown = Vec::new();
    for figure in [&case.load.figures()[..1], &Figure::FAULTS].concat() {
        let value = figures.get(figure.key()).copied().unwrap_or(0.0);
        if value > 0.0 {
            shown.push(format!("{} {}", figure.unit().show(value), figure.title()));
        }
    }
    shown.join(", ")
}

fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=99 => format!("{} s", seconds.max(1)),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broker_comes_first_once() {
        let orders = (0..4).map(|by| rotated(&["a", "b", "c"], by).copied().collect());
        let orders: Vec<String> = orders.collect();
        assert_eq!(orders, ["abc", "bca", "cab", "abc"]);
        assert_eq!(rotated(&[0; 0], 1).count(), 0);
    }

    #[test]
    fn faults_are_shown_at_once() {
        let case = Case::find("1x1 16 B").expect("a case");
        let figures = [("delivered_per_s", 2e6), ("lost", 3.0), ("doubled", 0.0)];
        let figures = figures.map(|(key, value)| (key.to_owned(), value));
        assert_eq!(show(case, &Ok(figures.into())), "2.00 M messages/s, 3 lost");
        assert_eq!(show(case, &Err("no".to_owned())), "no");
    }
}
