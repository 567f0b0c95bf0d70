//! The plots of the document.

use crate::case::{Case, Group, Load};
use crate::cases::SINGLE_TOPIC;
use crate::figure::Figure;
use crate::number::Unit;
use crate::peer::{OURS, PEERS, Peer};
use crate::plot::{Line, Plot};
use crate::results::Results;
use crate::trouble::Trouble;

/// Told apart by most people who see fewer colours, too.
const COLOURS: [(u8, u8, u8); PEERS.len()] = [
    (0xd5, 0x5e, 0x00),
    (0x00, 0x72, 0xb2),
    (0x56, 0xb4, 0xe9),
    (0xcc, 0x79, 0xa7),
    (0x00, 0x9e, 0x73),
    (0xe6, 0x9f, 0x00),
    (0x80, 0x80, 0x80),
];

/// The plot of a group and its file.
pub(crate) fn file(group: Group) -> Option<&'static str> {
    match group {
        Group::Payload => Some("payload.svg"),
        Group::FanOut => Some("fan-out.svg"),
        Group::Latency => Some("latency.svg"),
        Group::Idle => Some("idle.svg"),
        Group::Many
        | Group::Receipts
        | Group::RoundTrips
        | Group::Qos0
        | Group::Qos1
        | Group::Web
        | Group::WebIdle
        | Group::Unix
        | Group::UnixRoundTrips
        | Group::Tls
        | Group::TlsReceipts
        | Group::TlsIdle
        | Group::Os
        | Group::Disk
        | Group::Limit
        | Group::KeptThroughput => None,
    }
}

/// Files with what belongs in them. What was not measured has no plot.
pub(crate) fn draw(results: &Results) -> Vec<(&'static str, Result<String, Trouble>)> {
    let plots = Group::ALL.into_iter().filter_map(|group| {
        let plot = plot(group, results)?;
        Some((file(group)?, plot.draw()))
    });
    plots.collect()
}

/// Whether there is something to plot.
pub(crate) fn has(group: Group, results: &Results) -> bool {
    plot(group, results).is_some()
}

fn plot(group: Group, results: &Results) -> Option<Plot> {
    let lines = |figure, suffix, is_dashed| lines(group, figure, suffix, is_dashed, results);
    let plot = match group {
        Group::Payload => Plot {
            title: "One publisher, one subscriber",
            across: "payload (bytes)",
            up: "messages per second",
            unit: Unit::Count,
            lines: lines(Figure::Delivered, "", false),
        },
        Group::FanOut => Plot {
            title: "One publisher, 128 bytes, many subscribers",
            across: "subscribers",
            up: "deliveries per second, of all subscribers",
            unit: Unit::Count,
            lines: lines(Figure::Delivered, "", false),
        },
        Group::Latency => Plot {
            title: "Time from due to received, 1x1, 128 bytes",
            across: "load (messages per second)",
            up: "latency",
            unit: Unit::Nanoseconds,
            lines: [
                lines(Figure::P50, " p50", false),
                lines(Figure::P99, " p99", true),
            ]
            .concat(),
        },
        Group::Idle => Plot {
            title: "Memory of idle connections",
            across: "connections",
            up: "resident memory for all of them",
            unit: Unit::Bytes,
            lines: lines(Figure::Resident, "", false),
        },
        Group::Many
        | Group::Receipts
        | Group::RoundTrips
        | Group::Qos0
        | Group::Qos1
        | Group::Web
        | Group::WebIdle
        | Group::Unix
        | Group::UnixRoundTrips
        | Group::Tls
        | Group::TlsReceipts
        | Group::TlsIdle
        | Group::Os
        | Group::Disk
        | Group::Limit
        | Group::KeptThroughput => return None,
    };
    (!plot.lines.is_empty()).then_some(plot)
}

/// One line for each broker that was measured.
fn lines(
    group: Group,
    figure: Figure,
    suffix: &str,
    is_dashed: bool,
    results: &Results,
) -> Vec<Line> {
    let all = PEERS.iter().zip(COLOURS).map(|(peer, colour)| Line {
        name: format!("{}{suffix}", peer.name),
        colour,
        is_bold: peer.name == OURS,
        is_dashed,
        points: points(group, peer, figure, results),
    });
    all.filter(|line| !line.points.is_empty()).collect()
}

fn points(group: Group, peer: &Peer, figure: Figure, results: &Results) -> Vec<(f64, f64)> {
    let placed = placed(group).into_iter().filter_map(|(place, case)| {
        // A logarithm needs something.
        let value = results.median(case.name, peer.name, figure)?;
        (value > 0.0).then_some((place, value))
    });
    placed.collect()
}

/// The cases of a plot, and where they stand in it.
fn placed(group: Group) -> Vec<(f64, &'static Case)> {
    let one_subscriber = match group {
        Group::FanOut => Case::find(SINGLE_TOPIC).map(|case| (1.0, case)),
        _ => None,
    };
    let cases = group.cases().filter(|case| case.load != Load::LatencyToAll);
    let cases = cases.map(|case| (f64::from(case.place), case));
    one_subscriber.into_iter().chain(cases).collect()
}

#[cfg(test)]
mod tests {
    use crate::results::made_up;

    use super::*;

    #[test]
    fn what_was_measured_is_plotted() {
        let values: [(&str, &[f64]); 2] = [("dallal", &[5e6]), ("relay", &[6e6, 8e6])];
        let results = made_up(SINGLE_TOPIC, Figure::Delivered, &values);
        let plots = draw(&results);
        let files: Vec<_> = plots.iter().map(|(file, _)| *file).collect();
        assert_eq!(files, ["payload.svg", "fan-out.svg"]);
        let plot = plot(Group::FanOut, &results).expect("a plot");
        let points: Vec<_> = plot.lines.iter().map(|line| line.points.clone()).collect();
        assert_eq!(points, [[(1.0, 5e6)], [(1.0, 7e6)]]);
    }
}
