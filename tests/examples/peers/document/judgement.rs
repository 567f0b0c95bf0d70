//! What was reached, and where others are ahead.

use crate::bar;
use crate::behind;
use crate::cases::CASES;
use crate::number::{counted, times};
use crate::results::Results;
use crate::table::Table;

pub(super) fn bars(results: &Results) -> String {
    let verdicts = bar::verdicts(results);
    let mut table = Table::new(&["case", "asked", "measured", "reached"]);
    let reached = verdicts
        .iter()
        .filter(|verdict| verdict.reached == Some(true))
        .count();
    let judged = verdicts
        .iter()
        .filter(|verdict| verdict.reached.is_some())
        .count();
    for verdict in verdicts {
        let word = match verdict.reached {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not measured",
        };
        table.row([
            verdict.case,
            verdict.asked,
            verdict.measured,
            word.to_owned(),
        ]);
    }
    format!(
        "## Bars\n\nWhat we ask of ourselves, by medians: {reached} of {judged} reached.\n\n{}",
        table.write()
    )
}

pub(super) fn rivals_ahead(results: &Results) -> String {
    let title = "## Where a rival is ahead\n\n";
    let compared = behind::compared(results);
    if compared == 0 {
        return format!("{title}No rival was measured.\n");
    }
    let behind = behind::behind(results);
    let compared = counted(compared as u64);
    let cases = CASES.len();
    if behind.is_empty() {
        return format!(
            "{title}Nowhere: in all {compared} comparisons of medians with a rival, ours is at least as good.\n"
        );
    }
    let mut table = Table::new(&[
        "case", "figure", "rival", "theirs", "ours", "ahead by", "ranges",
    ]);
    for found in &behind {
        let unit = found.figure.unit();
        let ranges = if found.ours.overlaps(&found.theirs) {
            "overlap"
        } else {
            "apart"
        };
        table.row([
            found.case.to_owned(),
            found.figure.title().to_owned(),
            found.rival.to_owned(),
            unit.show_spread(&found.theirs),
            unit.show_spread(&found.ours),
            times(found.advantage()),
            ranges.to_owned(),
        ]);
    }
    format!(
        "{title}Every figure of the {cases} cases in which a rival's median is better than ours: {} of {compared} comparisons.\n\n{}",
        counted(behind.len() as u64),
        table.write()
    )
}
