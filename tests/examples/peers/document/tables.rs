//! The figures of all brokers, one table for each group of cases.

use crate::case::{Case, Group};
use crate::figure::Figure;
use crate::number::{counted, plural, times};
use crate::peer::{PEERS, Peer, Role};
use crate::plots;
use crate::results::Results;
use crate::table::Table;

use super::text::introduction;

pub(super) fn groups(results: &Results) -> String {
    let mut out = "## Results\n\n\
         Medians over the rounds, with the least and the most in parentheses. `x` behind them is the ratio to N, with \
         MQTT that to mosquitto, on the web that to plain lines, with Unix sockets that to the same broker over TCP, and of what \
         subscribers get of kept messages that to what they get if nothing is kept.\n"
        .to_owned();
    for group in Group::ALL {
        let table = group_table(group, results);
        if table.is_empty() {
            continue;
        }
        let (title, text) = introduction(group);
        out.push_str(&format!("\n### {title}\n\n{text}\n\n"));
        if let (true, Some(file)) = (plots::has(group, results), plots::file(group)) {
            out.push_str(&format!("![{title}](benchmarks/{file})\n\n"));
        }
        out.push_str(&table.write());
    }
    out
}

fn group_table(group: Group, results: &Results) -> Table {
    // All cases of a group have the same figures.
    let mut cases = group.cases();
    let figures = cases.next().map_or(&[][..], |case| case.load.figures());
    let titles = figures.iter().map(|figure| figure.title());
    let head = ["case", "broker"].into_iter().chain(titles);
    let mut table = Table::new(&head.chain(["faults"]).collect::<Vec<_>>());
    for case in group.cases() {
        let was_run = PEERS.iter().any(|peer| results.has(case.name, peer.name));
        for peer in PEERS.iter().filter(|peer| was_run && peer.takes_part(case)) {
            if let Some(cells) = cells(case, peer, figures, results) {
                let broker = match peer.role {
                    Role::Ours => format!("**{}**", peer.name),
                    Role::Rival | Role::Yardstick => peer.name.to_owned(),
                };
                table.row([case.name.to_owned(), broker].into_iter().chain(cells));
            }
        }
    }
    table
}

/// The cells behind the names of a case and a broker; `None` if that broker was not measured.
fn cells(case: &Case, peer: &Peer, figures: &[Figure], results: &Results) -> Option<Vec<String>> {
    results.version(peer.name)?;
    if let Some(why) = peer.cannot(case) {
        return Some(vec![format!("not measured: {why}")]);
    }
    let failures = results.failures(case.name, peer.name);
    let shown = figures
        .iter()
        .map(|figure| cell(case, peer, *figure, results));
    let shown: Vec<Option<String>> = shown.collect();
    if shown.iter().all(Option::is_none) {
        let why = failures.first().copied().unwrap_or("there was no run");
        return Some(vec![format!("no figures: {why}")]);
    }
    let shown = shown
        .into_iter()
        .map(|cell| cell.unwrap_or_else(|| "not told".to_owned()));
    Some(
        shown
            .chain([faults(case, peer, &failures, results)])
            .collect(),
    )
}

fn cell(case: &Case, peer: &Peer, figure: Figure, results: &Results) -> Option<String> {
    let spread = results.spread(case.name, peer.name, figure)?;
    let shown = figure.unit().show_spread(&spread);
    Some(match results.of_reference(case, peer.name, figure) {
        Some(ratio) => format!("{shown}, {}", times(ratio)),
        None => shown,
    })
}

fn faults(case: &Case, peer: &Peer, failures: &[&str], results: &Results) -> String {
    let counted = Figure::FAULTS.map(|figure| {
        let sum = results.sum(case.name, peer.name, figure) as u64;
        (sum > 0).then(|| format!("{} {}", counted(sum), figure.title()))
    });
    let failed = failures
        .first()
        .map(|why| format!("{} failed: {why}", plural(failures.len() as u64, "run")));
    let all: Vec<String> = counted.into_iter().flatten().chain(failed).collect();
    if all.is_empty() {
        return "none".to_owned();
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cases_of_a_group_have_the_same_figures() {
        for group in Group::ALL {
            let mut figures = group.cases().map(|case| case.load.figures());
            let first = figures.next().expect("a case");
            assert!(figures.all(|other| other == first), "{group:?}");
        }
    }
}
