//! What is different in the lines of two tables, also where it is about no client that is connected.

use std::borrow::Cow;
use std::collections::HashSet;

use foldhash::fast::RandomState;

use super::table::AccessTable;

/// Lines that only one of two tables has, without their places: a line means the same in any file and at any place
/// of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineDifference {
    /// Lines that the next table has.
    pub added: Vec<String>,
    /// Lines that it has no more.
    pub removed: Vec<String>,
}

type LineSet<'t> = HashSet<Cow<'t, str>, RandomState>;

impl AccessTable {
    /// What is different in the files of the next table. A group counts as a line for each member.
    #[must_use]
    pub fn line_difference(&self, next: &Self) -> LineDifference {
        let (old, next) = (self.lines(), next.lines());
        let only = |one: &LineSet<'_>, other: &LineSet<'_>| {
            let only = one.difference(other);
            let mut only: Vec<String> = only.map(|line| line.clone().into_owned()).collect();
            only.sort_unstable();
            only
        };
        LineDifference {
            added: only(&next, &old),
            removed: only(&old, &next),
        }
    }

    fn lines(&self) -> LineSet<'_> {
        let rules = self.rules().map(|rule| Cow::from(rule.rule.text()));
        let limits = self.limit_texts().map(Cow::from);
        let members = self.members();
        let members = members.map(|(group, name)| format!("group {group} {name}").into());
        let addresses = self.address_limits();
        let addresses = [&addresses.connections, &addresses.attempts];
        let addresses = addresses.into_iter().flatten();
        let addresses = addresses.map(|limit| format!("limit address {}", limit.words()).into());
        rules
            .chain(limits)
            .chain(members)
            .chain(addresses)
            .collect()
    }
}

impl LineDifference {
    /// Whether both say the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(old: &str, next: &str, added: &[&str], removed: &[&str]) {
        let [old, next] =
            [old, next].map(|text| AccessTable::parse("f", text).expect("it is right"));
        let difference = old.line_difference(&next);
        assert_eq!(difference.added, added);
        assert_eq!(difference.removed, removed);
    }

    const FILE: &str = "group family ann bob\nallow @family publish home/#\nlimit ann sessions 2\n";

    #[test]
    fn other_rules_limits_and_members_are_told() {
        let more = format!("{FILE}deny  zoe publish  home/x\n");
        check(FILE, &more, &["deny zoe publish home/x"], &[]);
        check(
            FILE,
            &FILE.replace("ann bob", "ann carl"),
            &["group family carl"],
            &["group family bob"],
        );
        check(
            FILE,
            &FILE.replace("sessions 2", "sessions 3"),
            &["limit ann sessions 3"],
            &["limit ann sessions 2"],
        );
        let address = format!("{FILE}limit address attempts 10/min\n");
        check(FILE, &address, &["limit address attempts 10/min"], &[]);
    }

    #[test]
    fn another_order_and_other_spaces_are_no_difference() {
        let sorted = "limit ann   sessions 2\n\nallow @family publish home/#\ngroup family bob ann";
        check(FILE, sorted, &[], &[]);
        check(FILE, FILE, &[], &[]);
    }
}
