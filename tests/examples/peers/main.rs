//! `tests/peers`: this broker and others under the same loads, in turns, on this machine. Writes
//! `docs/benchmarks.md`, its plots, and all single results.
//!
//! The script `tests/peers` installs the other brokers and calls this program, which starts a broker
//! for each run and has `client bench` load it. A run becomes a line of `results.jsonl`
//! (`results.rs`), and all that is written afterwards (`document/`, `plots.rs`) comes from there.

mod account;
mod arguments;
mod bar;
mod behind;
mod bench;
mod case;
mod cases;
mod document;
mod figure;
mod folders;
mod interruption;
mod machine;
mod number;
mod peer;
mod plot;
mod plots;
mod programs;
mod results;
mod server;
mod spread;
mod stderr;
mod table;
mod tour;
mod trouble;
mod usage;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;
use cases::CASES;
use figure::Figure;
use interruption::Interruption;
use peer::OURS;
use programs::Programs;
use results::{About, Results};
use stderr::say;
use tour::Tour;
use trouble::Trouble;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(results) if is_faultless(&results) => ExitCode::SUCCESS,
        Ok(_) => {
            say("tests/peers: dallal failed, lost, doubled or reordered; the document says where");
            ExitCode::FAILURE
        }
        Err(trouble) => {
            say(&format!("tests/peers: {trouble}"));
            ExitCode::from(trouble.exit_code())
        }
    }
}

fn run(arguments: &Arguments) -> Result<Results, Trouble> {
    let out = arguments.folder();
    let folder = out.join("benchmarks");
    let results = match &arguments.from[..] {
        [first, later @ ..] => {
            let mut results = Results::read(first)?;
            for file in later {
                results.replace(Results::read(file)?);
            }
            results
        }
        [] => measure(arguments, &folder)?,
    };
    write(&folder.join("results.jsonl"), &results.to_lines())?;
    for (name, svg) in plots::draw(&results) {
        write(&folder.join(name), &svg?)?;
    }
    let document = out.join("benchmarks.md");
    let mut page = document::write(&results);
    // Measured by themselves and not each time; without them the page is whole too.
    for part in ["retained.md", "logins.md"] {
        if let Ok(text) = fs::read_to_string(folder.join(part)) {
            page = format!("{page}\n{text}");
        }
    }
    write(&document, &page)?;
    say(&format!("{} is written", document.display()));
    Ok(results)
}

/// What was measured is kept as it comes, apart from the results of an earlier time, which are good
/// until there are new ones.
fn measure(arguments: &Arguments, folder: &Path) -> Result<Results, Trouble> {
    let cases = arguments.chosen_cases()?;
    let interruption = Interruption::watch()?;
    // What cannot be written should be known before an hour of measuring.
    fs::create_dir_all(folder).map_err(|error| Trouble::file(folder, error))?;
    let unfinished = &folder.join("unfinished.jsonl");
    let failed = |error| Trouble::file(unfinished, error);
    let log = fs::File::create(unfinished).map_err(failed)?;
    let programs = Programs::find(arguments)?;
    for (name, why) in programs.left_out() {
        if arguments.asks_for(name) {
            say(&format!("{name} is left out: {why}"));
        }
    }
    let about = About::of_now(arguments, &programs);
    let tour = Tour::new(arguments, cases, &programs, &interruption);
    let keep = |line: &str| (&log).write_all(line.as_bytes()).map_err(failed);
    let results = tour.run(about, keep)?;
    fs::remove_file(unfinished).map_err(failed)?;
    Ok(results)
}

/// Whether our own broker did what it promises, however fast.
fn is_faultless(results: &Results) -> bool {
    let cases = || CASES.iter().map(|case| case.name);
    let faults = cases().flat_map(|case| Figure::FAULTS.map(|f| results.sum(case, OURS, f)));
    faults.sum::<f64>() == 0.0 && cases().all(|case| results.failures(case, OURS).is_empty())
}

fn write(path: &Path, text: &str) -> Result<(), Trouble> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(path, text));
    written.map_err(|error| Trouble::file(path, error))
}
