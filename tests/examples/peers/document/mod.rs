//! `docs/benchmarks.md`, written as a whole from the results.

mod judgement;
mod tables;
mod text;

use crate::case::Lengths;
use crate::cases::CASES;
use crate::number::plural;
use crate::peer::{Besides, PEERS, Peer, Role, Settings, Store};
use crate::results::{About, Results};
use crate::table::Table;

use judgement::{bars, rivals_ahead};
use tables::groups;
use text::{HEAD, LIMITS, METHOD, RELAY};

pub(crate) fn write(results: &Results) -> String {
    let sections = [
        HEAD.to_owned(),
        conditions(results),
        brokers(results),
        settings(),
        groups(results),
        bars(results),
        rivals_ahead(results),
    ];
    sections.join("\n")
}

fn conditions(results: &Results) -> String {
    let mut out = format!(
        "## What was measured, and how\n\n{}\n",
        occasion(&results.about)
    );
    for later in &results.later {
        let cases: Vec<&str> = later.runs.iter().map(|run| &*run.case).collect();
        let names = CASES.iter().map(|case| case.name);
        let names: Vec<_> = names.filter(|name| cases.contains(name)).collect();
        out.push_str(&format!(
            "\nMeasured apart from the others: {}. {}\n",
            names.join(", "),
            occasion(&later.about)
        ));
    }
    format!("{out}\n{METHOD}")
}

/// When, where and for how long.
fn occasion(about: &About) -> String {
    let lengths = Lengths {
        seconds: about.seconds,
    };
    let rounds = plural(about.rounds, "round");
    format!(
        "{date}, on {machine}. {rounds}, with {seconds} s of load in each run; at a fixed rate {latency} s, after {warmup} s \
         that do not count. Idle connections were held for {hold} s.",
        date = about.date,
        machine = about.machine,
        seconds = about.seconds,
        latency = in_ms(lengths.latency()),
        warmup = in_ms(lengths.warmup()),
        hold = in_ms(lengths.hold()),
    )
}

fn brokers(results: &Results) -> String {
    let mut table = Table::new(&["broker", "version", "what it is"]);
    for peer in &PEERS {
        let version = match (results.version(peer.name), results.left_out(peer.name)) {
            (Some(_), _) if peer.role == Role::Yardstick => "built here".to_owned(),
            (Some(version), _) => version.to_owned(),
            (None, Some(why)) => format!("not measured: {why}"),
            (None, None) => "not measured".to_owned(),
        };
        table.row([peer.name.to_owned(), version, peer.what.to_owned()]);
    }
    format!(
        "## Brokers\n\n{}\n**N** is, in each figure, the better of the two nats-servers.\n\n{RELAY}",
        table.write()
    )
}

fn settings() -> String {
    let mut out =
        "## Settings\n\nEach is called as it is here, with `PORT` and `FILE` filled in.\n"
            .to_owned();
    for peer in &PEERS {
        out.push_str(&call(peer, "", peer.settings));
        if let Some(settings) = peer.settings_in_mqtt {
            out.push_str(&call(
                peer,
                " where brokers of MQTT are compared:",
                settings,
            ));
        }
        for (what, besides) in [("Unix sockets are", peer.unix), ("TLS is", peer.tls)] {
            out.push_str(&besides.map_or_else(String::new, |it| call_besides(what, it)));
        }
        out.push_str(&peer.store.map_or_else(String::new, call_with_store));
    }
    out.push_str(LIMITS);
    out
}

/// How a broker is called.
fn call(peer: &Peer, when: &str, settings: Settings) -> String {
    let Peer {
        name, arguments, ..
    } = peer;
    let Settings { text, note } = settings;
    if text.is_empty() {
        return format!("\n**{name}**{when} `{arguments}`, all else as it is by default.\n");
    }
    format!("\n**{name}**{when} `{arguments}`, with this in `FILE`. {note}\n\n```\n{text}```\n")
}

/// What a broker is told besides, where something is compared.
fn call_besides(what: &str, besides: Besides) -> String {
    let (more, place) = match besides {
        Besides::Arguments(more) => (more, ""),
        Besides::Settings(more) => (more.trim_end(), " in `FILE`"),
    };
    match more.contains('\n') {
        true => format!("\nWhere {what} compared, also this{place}.\n\n```\n{more}\n```\n"),
        false => format!("\nWhere {what} compared, also `{more}`{place}.\n"),
    }
}

/// The same for the store, where that is not the same each time.
fn call_with_store(store: Store) -> String {
    let more = [
        ("the store at `disk` is", store.disk.besides),
        ("limits of the store are", store.twenty.besides),
    ];
    let os = store.os.besides;
    let more = more.into_iter().filter(|(_, it)| *it != os);
    let all = [("the store is", os)].into_iter().chain(more);
    all.map(|(what, it)| call_besides(what, it)).collect()
}

/// A time without the digits that calculation leaves behind.
fn in_ms(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use crate::figure::Figure;
    use crate::results::{Run, made_up};

    use super::*;

    const VALUES: [(&str, &[f64]); 4] = [
        ("dallal", &[8e6, 9e6, 7e6]),
        ("nats", &[1e6]),
        ("nats-debian", &[5e5]),
        ("redis", &[16e6]),
    ];

    fn measured() -> Results {
        let mut results = made_up("8x8 separate topics", Figure::Delivered, &VALUES);
        for broker in ["dallal", "nats", "nats-debian", "redis", "relay"] {
            results
                .about
                .versions
                .insert(broker.to_owned(), "1.0.0".to_owned());
        }
        results
            .about
            .left_out
            .insert("mosquitto".to_owned(), "it is not there".to_owned());
        results
    }

    #[track_caller]
    fn contains(document: &str, part: &str) {
        assert!(document.contains(part), "no {part:?} in\n{document}");
    }

    #[test]
    fn the_document_has_medians_ranges_ratios_and_reasons() {
        let document = write(&measured());
        for part in [
            "| 8x8 separate topics | **dallal** | 8.00 M (7.00 to 9.00), 8.00x |",
            "| 8x8 separate topics | relay | not measured: it sends each message to all connections",
            "| mosquitto | not measured: it is not there |",
            "| 8x8 separate topics | messages/s: at least 4x N | 8.00x, 8.00 M to 1.00 M | yes |",
            "| 8x8 separate topics | messages/s | redis | 16.0 M | 8.00 M (7.00 to 9.00) | 2.00x | apart |",
            "client-output-buffer-limit pubsub 0 0 0",
            "max_pending: 1GB",
        ] {
            contains(&document, part);
        }
    }

    #[test]
    fn a_run_that_failed_is_told_with_its_reason() {
        let mut results = measured();
        let failed = |broker: &str| Run {
            broker: broker.to_owned(),
            figures: Err("it broke".to_owned()),
            ..results.runs[0].clone()
        };
        let failed = ["relay", "nats"].map(failed);
        results.runs.extend(failed);
        for run in &mut results.runs {
            run.case = "1x1 16 B".to_owned();
        }
        let document = write(&results);
        contains(&document, "| 1x1 16 B | relay | no figures: it broke |");
        contains(&document, "| 1 run failed: it broke |");
    }

    #[test]
    fn without_rivals_none_is_ahead() {
        let results = made_up("1x1 16 B", Figure::Delivered, &VALUES[..1]);
        contains(&write(&results), "No rival was measured.");
        let results = made_up("1x1 16 B", Figure::Delivered, &VALUES[..2]);
        contains(&write(&results), "Nowhere: in all 1 comparisons");
    }
}
