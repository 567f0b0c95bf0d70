//! What a client gains and loses by another table.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::effect::Effect;
use super::limit::{IdentityLimits, LimitKind};
use super::permissions::Permissions;
use super::right::AccessRight;

/// Rules for one client, with placeholders filled in: `+ allow publish home/#` is new, `- deny publish secret/#` is
/// gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessDifference {
    /// What allows more.
    pub gains: Vec<String>,
    /// What allows less.
    pub loses: Vec<String>,
}

/// One right for one filter or name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SingleRule {
    right: String,
    object: String,
    /// Whether it says which names a client may use, where it may use any without.
    is_binding: bool,
}

impl Permissions {
    /// The difference to the permissions of the same client by another table.
    #[must_use]
    pub fn difference(&self, next: &Self) -> AccessDifference {
        let mut difference = AccessDifference::default();
        for effect in [Effect::Allow, Effect::Deny] {
            let (old, new) = (self.single_rules(effect), next.single_rules(effect));
            let is_bound = |rules: &BTreeSet<SingleRule>, rule: &SingleRule| {
                rules
                    .iter()
                    .any(|other| other.is_binding && other.right == rule.right)
            };
            for rule in new.difference(&old) {
                let is_first = rule.is_binding && !is_bound(&old, rule);
                let list = match (effect == Effect::Allow) && !is_first {
                    true => &mut difference.gains,
                    false => &mut difference.loses,
                };
                list.push(rule.line('+', effect));
            }
            for rule in old.difference(&new) {
                let is_last = rule.is_binding && !is_bound(&new, rule);
                let list = match (effect == Effect::Allow) && !is_last {
                    true => &mut difference.loses,
                    false => &mut difference.gains,
                };
                list.push(rule.line('-', effect));
            }
        }
        difference
    }

    fn single_rules(&self, effect: Effect) -> BTreeSet<SingleRule> {
        let values = self.values();
        let mut single = BTreeSet::new();
        for rule in self.counting_rules().filter(|rule| rule.effect == effect) {
            let filters = rule
                .filters
                .iter()
                .flat_map(|filter| filter.filled_in(&values));
            let filters: Vec<String> = filters.collect();
            let names: Vec<String> = rule
                .names
                .iter()
                .flat_map(|name| name.filled_in(&values))
                .collect();
            for right in &rule.rights {
                let objects = match right {
                    AccessRight::All if filters.is_empty() => vec![String::new()],
                    right if right.takes_names() => names.clone(),
                    right if right.takes_filters() => filters.clone(),
                    _ => vec![String::new()],
                };
                single.extend(objects.into_iter().map(|object| SingleRule {
                    right: right.to_string(),
                    object,
                    is_binding: effect == Effect::Allow && right.takes_names(),
                }));
            }
        }
        single
    }
}

impl AccessDifference {
    /// Adds what changes of limits; a kind without one has no end.
    pub fn add_limits(&mut self, old: Option<&IdentityLimits>, next: Option<&IdentityLimits>) {
        for kind in LimitKind::OF_IDENTITIES {
            let of = |limits: Option<&IdentityLimits>| limits.and_then(|it| it.get(kind)).cloned();
            let (old, next) = (of(old), of(next));
            let most = [&old, &next].map(|limit| limit.as_ref().map_or(u64::MAX, |it| it.most));
            let list = match most[0].cmp(&most[1]) {
                Ordering::Less => &mut self.gains,
                Ordering::Greater => &mut self.loses,
                Ordering::Equal => continue,
            };
            list.extend(old.map(|limit| format!("- limit {}", limit.words())));
            list.extend(next.map(|limit| format!("+ limit {}", limit.words())));
        }
    }
}

impl SingleRule {
    fn line(&self, sign: char, effect: Effect) -> String {
        let effect = match effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        let line = format!("{sign} {effect} {} {}", self.right, self.object);
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{client, table};
    use super::*;

    #[test]
    fn a_difference_is_what_one_client_gains_and_loses() {
        let old = table(
            "allow @family publish home/#\nallow known subscribe u/%u\ndeny ann publish home/x\nallow ann nick ann\n",
        );
        let new = table(
            "allow ann subscribe u/ann # the same\nallow @family publish home/a\ndeny ann publish home/y\n",
        );
        let ann = |table| client(table, "ann", &["family"]);
        let difference = ann(&old).difference(&ann(&new));
        assert_eq!(
            difference.gains,
            [
                "+ allow publish home/a",
                "- allow nick ann",
                "- deny publish home/x"
            ]
        );
        assert_eq!(
            difference.loses,
            ["- allow publish home/#", "+ deny publish home/y"]
        );
        let back = ann(&new).difference(&ann(&old));
        assert_eq!(
            back.gains,
            ["+ allow publish home/#", "- deny publish home/y"]
        );
        assert_eq!(
            back.loses,
            [
                "+ allow nick ann",
                "- allow publish home/a",
                "+ deny publish home/x"
            ]
        );
        assert_eq!(
            ann(&old).difference(&ann(&old)),
            AccessDifference::default()
        );
    }

    #[test]
    fn a_higher_limit_is_a_gain_and_a_first_one_a_loss() {
        let limits = |text: &str| {
            let table = table(text);
            table.limits_of(ann_of(&table).identity())
        };
        let old = limits("limit known connections 2 publish 50/s line 1KiB\n");
        let next = limits("limit ann connections 3 publish 5/s retained 0 line 1KiB\n");
        let mut difference = AccessDifference::default();
        difference.add_limits(old.as_deref(), next.as_deref());
        assert_eq!(
            difference.gains,
            ["- limit connections 2", "+ limit connections 3"]
        );
        assert_eq!(
            difference.loses,
            [
                "+ limit retained 0",
                "- limit publish 50/s",
                "+ limit publish 5/s"
            ]
        );
        let mut none = AccessDifference::default();
        none.add_limits(old.as_deref(), None);
        assert_eq!((none.gains.len(), none.loses.len()), (3, 0));
    }

    fn ann_of(table: &std::sync::Arc<super::super::AccessTable>) -> Permissions {
        client(table, "ann", &[])
    }

    #[test]
    fn each_right_of_a_rule_is_told_with_what_it_is_about() {
        let old = table("allow ann publish a\nallow ann client c*\n");
        let new = table(
            "allow ann all\nallow ann all b/#\nallow ann block inquire:who\nallow ann client c*\n\
             allow ann nick %u\ndeny ann nick x y*\nallow bob publish z\nallow ann publish admin c/%c\n",
        );
        let difference = client(&old, "ann", &[]).difference(&client(&new, "ann", &[]));
        assert_eq!(
            difference.gains,
            [
                "+ allow all",
                "+ allow all b/#",
                "+ allow block",
                "+ allow inquire:who"
            ]
        );
        assert_eq!(
            difference.loses,
            [
                "+ allow nick ann",
                "- allow publish a",
                "+ deny nick x",
                "+ deny nick y*"
            ]
        );
    }
}
