//! Whether a client may subscribe to a filter: to all of it, to a part, or not.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use protocol::{Filter, Topic};

use super::denial::{Denial, MOST_ALTERNATIVES};
use super::effect::Effect;
use super::permissions::{AskedFilter, OWN, Permissions};
use super::right::AskedRight;
use super::tree::{Relation, RuleId};

/// What comes of a filter.
#[derive(Clone, Debug)]
pub enum SubscriptionDecision {
    /// All of its topics may be seen.
    Granted,
    /// It may be subscribed to, and topics that may not be seen are left out.
    Sieved(Sieve),
    /// It may not be subscribed to.
    Denied(Denial),
}

/// Which topics of a granted filter a client may see. It holds for the table that it was made from.
#[derive(Clone, Debug)]
pub struct Sieve {
    permissions: Permissions,
    right: SievedRight,
}

/// By which right the topics are seen.
#[derive(Clone, Debug)]
enum SievedRight {
    Subscribe,
    Share(Box<str>),
    History,
}

/// How a filter lies to the rules of one table.
enum Reach {
    /// Within what is allowed; partly denied, or by a rule that leaves some topics out.
    Within {
        rule: Option<RuleId>,
        is_whole: bool,
    },
    /// Not within, but some of its topics are allowed.
    Partly {
        narrowing: Option<RuleId>,
    },
    Denied(RuleId),
    Nowhere,
}

/// The rules that decide about a filter, for those that ask why.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DecidingRules {
    pub(super) allowing: Option<RuleId>,
    /// A rule that denies a part of it.
    pub(super) leaving_out: Option<RuleId>,
}

/// Maximum rules that are looked at for the filters that a refusal names.
const MOST_LOOKED_AT: usize = 64;

impl Permissions {
    /// Whether it may subscribe to a filter, of a group if the filter has one.
    #[must_use]
    pub fn subscription(&self, filter: Filter<'_>) -> SubscriptionDecision {
        let right = filter
            .group()
            .map_or(AskedRight::Subscribe, AskedRight::Share);
        self.decide(right, filter, true).0
    }

    /// Whether it may read what was published before on the topics of a filter.
    #[must_use]
    pub fn may_read_history(&self, filter: Filter<'_>) -> SubscriptionDecision {
        self.decide(AskedRight::History, filter, true).0
    }

    /// The decision with the rules that made it. `has_advice` is false for what is only compared.
    pub(super) fn decide(
        &self,
        right: AskedRight<'_>,
        filter: Filter<'_>,
        has_advice: bool,
    ) -> (SubscriptionDecision, DecidingRules) {
        let asked = self.asked_filter(right, filter);
        let reach = self.reach(&asked, filter);
        let rules = self.deciding(&asked, &reach);
        let mut decision = match reach {
            Reach::Denied(rule) => SubscriptionDecision::Denied(self.denial(right, Some(rule))),
            Reach::Within { is_whole: true, .. } => SubscriptionDecision::Granted,
            Reach::Within { .. } | Reach::Partly { narrowing: Some(_) } => self.sieved(right),
            Reach::Partly { narrowing: None } | Reach::Nowhere => {
                SubscriptionDecision::Denied(self.denial(right, None))
            }
        };
        if let Some(token) = self.token() {
            decision = self.within_token(token, decision, &asked, filter);
        }
        if let SubscriptionDecision::Denied(denial) = &mut decision
            && has_advice
            && denial.rule.is_none()
        {
            denial.alternatives = self.alternatives(&asked, filter);
        }
        (decision, rules)
    }

    /// What a token leaves of a decision.
    // Out of line, like the others below: their locals would lie on the stack of every client that subscribes.
    #[inline(never)]
    fn within_token(
        &self,
        token: &Self,
        decision: SubscriptionDecision,
        asked: &AskedFilter<'_>,
        filter: Filter<'_>,
    ) -> SubscriptionDecision {
        use SubscriptionDecision::{Denied, Granted, Sieved};
        let right = asked.right;
        if matches!(decision, Denied(_)) {
            return decision;
        }
        match token.decide(right, filter, false).0 {
            Granted => decision,
            Sieved(_) => self.sieved(right),
            Denied(_) if self.is_narrowed(asked) && token.overlaps(right, filter) => {
                self.sieved(right)
            }
            Denied(denial) => Denied(denial.by_token()),
        }
    }

    #[inline(never)]
    fn sieved(&self, right: AskedRight<'_>) -> SubscriptionDecision {
        SubscriptionDecision::Sieved(Sieve {
            permissions: self.clone(),
            right: match right {
                AskedRight::Share(group) => SievedRight::Share(group.into()),
                AskedRight::History => SievedRight::History,
                _ => SievedRight::Subscribe,
            },
        })
    }

    fn reach(&self, asked: &AskedFilter<'_>, filter: Filter<'_>) -> Reach {
        if let Some(rule) = self.find(Effect::Deny, asked, Relation::Around) {
            return Reach::Denied(rule);
        }
        let is_touched = || {
            self.find(Effect::Deny, asked, Relation::Overlapping)
                .is_some()
        };
        let allowing = self.find(Effect::Allow, asked, Relation::Around);
        if allowing.is_some() || self.is_given(asked) {
            return Reach::Within {
                rule: allowing,
                is_whole: !is_touched() && !self.has_own_of_others(asked, filter),
            };
        }
        match self.find(Effect::Allow, asked, Relation::Overlapping) {
            Some(_) => Reach::Partly {
                narrowing: self.narrowing(asked),
            },
            None => Reach::Nowhere,
        }
    }

    /// Whether a filter with wildcards, that a rule about all topics allows, has topics that are for other clients.
    fn has_own_of_others(&self, asked: &AskedFilter<'_>, filter: Filter<'_>) -> bool {
        let touches = |own: &str| {
            let all = format!("{own}#");
            Filter::parse(&all).is_ok_and(|all| all.overlaps(filter))
        };
        !filter.is_exact() && OWN.iter().any(|own| touches(own)) && !self.is_named(asked)
    }

    /// Whether a rule that is not about all topics allows a filter.
    fn is_named(&self, asked: &AskedFilter<'_>) -> bool {
        let mut is_named = false;
        let _ = self.each(Effect::Allow, asked, Relation::Around, &mut |rule| {
            is_named |= !self.table().rule(rule).rule.is_everywhere();
            match is_named {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        is_named
    }

    /// A rule that narrows a filter instead of refusing it.
    fn narrowing(&self, asked: &AskedFilter<'_>) -> Option<RuleId> {
        // A search for what is not there would look at all rules of the client.
        if asked.right != AskedRight::Subscribe || !self.table().has_narrowing() {
            return None;
        }
        let mut found = None;
        let _ = self.each(Effect::Allow, asked, Relation::Overlapping, &mut |rule| {
            if !self.table().rule(rule).rule.narrows() {
                return ControlFlow::Continue(());
            }
            found = Some(rule);
            ControlFlow::Break(())
        });
        found
    }

    fn is_narrowed(&self, asked: &AskedFilter<'_>) -> bool {
        self.narrowing(asked).is_some()
    }

    fn overlaps(&self, right: AskedRight<'_>, filter: Filter<'_>) -> bool {
        let asked = self.asked_filter(right, filter);
        self.find(Effect::Allow, &asked, Relation::Overlapping)
            .is_some()
    }

    fn deciding(&self, asked: &AskedFilter<'_>, reach: &Reach) -> DecidingRules {
        let (allowing, is_whole) = match reach {
            Reach::Within { rule, is_whole } => (*rule, *is_whole),
            Reach::Partly { narrowing } => (*narrowing, false),
            Reach::Denied(_) | Reach::Nowhere => (None, true),
        };
        let leaving_out =
            (!is_whole).then(|| self.find(Effect::Deny, asked, Relation::Overlapping));
        DecidingRules {
            allowing,
            leaving_out: leaving_out.flatten(),
        }
    }

    /// Filters that overlap what is asked and would be granted.
    #[inline(never)]
    fn alternatives(&self, asked: &AskedFilter<'_>, wanted: Filter<'_>) -> Vec<String> {
        let mut rules = BTreeSet::new();
        let _ = self.each(Effect::Allow, asked, Relation::Overlapping, &mut |rule| {
            rules.insert(rule);
            match rules.len() < MOST_LOOKED_AT {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        let values = self.values();
        let mut alternatives = Vec::new();
        for rule in rules {
            for pattern in &self.table().rule(rule).rule.filters {
                for text in pattern.filled_in(&values) {
                    let Ok(filter) = Filter::parse(&text) else {
                        continue;
                    };
                    let is_new = !alternatives.contains(&text) && filter.overlaps(wanted);
                    if is_new && self.is_granted(asked.right, filter) {
                        alternatives.push(text);
                    }
                    if alternatives.len() == MOST_ALTERNATIVES {
                        return alternatives;
                    }
                }
            }
        }
        alternatives
    }

    fn is_granted(&self, right: AskedRight<'_>, filter: Filter<'_>) -> bool {
        let (decision, _) = self.decide(right, filter, false);
        !matches!(decision, SubscriptionDecision::Denied(_))
    }
}

impl Sieve {
    /// Whether a message of this topic, which the filter matches, goes to the client.
    #[must_use]
    pub fn lets_through(&self, topic: Topic<'_>) -> bool {
        let right = match &self.right {
            SievedRight::Subscribe => AskedRight::Subscribe,
            SievedRight::Share(group) => AskedRight::Share(group),
            SievedRight::History => AskedRight::History,
        };
        self.permissions.sees(right, topic)
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{HOUSE, client, filter, subscribed, table, topic};
    use super::*;

    #[test]
    fn a_filter_is_granted_sieved_or_refused_with_those_that_would_be_granted() {
        let table = table(HOUSE);
        let ann = client(&table, "ann", &["family"]);
        assert_eq!(subscribed(&ann, "home/+/door"), "granted");
        let refused =
            "X may not subscribe to # (no rule allows it; you may subscribe to public/#, home/#)";
        assert_eq!(subscribed(&ann, "#"), refused);
        let secret = "X may not subscribe to secret/a (home.access:6: deny everyone -@admin publish subscribe secret/# $gateway/#)";
        assert_eq!(subscribed(&ann, "secret/a"), secret);
        let dash = client(&table, "dash", &["dash"]);
        for (filter, decided) in [("home/#", "granted"), ("#", "sieved"), ("+/x", "sieved")] {
            assert_eq!(subscribed(&dash, filter), decided, "{filter}");
        }
        assert!(subscribed(&dash, "other/#").contains("no rule allows it)"));
        let SubscriptionDecision::Sieved(sieve) = dash.subscription(filter("#")) else {
            panic!("it is sieved");
        };
        for (text, passes) in [
            ("home/a", true),
            ("public/a", true),
            ("other", false),
            ("secret/a", false),
        ] {
            assert_eq!(sieve.lets_through(topic(text)), passes, "{text}");
        }
        let admin = client(&table, "root", &["admin"]);
        assert_eq!(subscribed(&admin, "#"), "granted");
        let all = self::table("allow ann subscribe #\ndeny ann subscribe a/+/x\n");
        let ann = client(&all, "ann", &[]);
        for (filter, decided) in [
            ("#", "sieved"),
            ("a/b", "granted"),
            ("a/b/#", "sieved"),
            ("+/+/y", "granted"),
        ] {
            assert_eq!(subscribed(&ann, filter), decided, "{filter}");
        }
    }

    #[test]
    fn a_share_is_a_right_of_its_own_and_no_way_around_a_deny() {
        let table = table(
            "allow @w share:workers jobs/#\nallow ann share jobs/#\nallow bob subscribe jobs/#\n\
         deny everyone subscribe jobs/secret\ndeny ann share:night jobs/#\n",
        );
        let worker = client(&table, "w1", &["w"]);
        for (filter, decided) in [
            ("$share/workers/jobs/a", "granted"),
            ("$share/workers/jobs/#", "sieved"),
            (
                "$share/workers/jobs/secret",
                "X may not subscribe to $share/workers/jobs/secret (home.access:4: deny everyone subscribe jobs/secret)",
            ),
            (
                "$share/other/jobs/a",
                "X may not subscribe to $share/other/jobs/a (no rule allows it)",
            ),
            (
                "jobs/a",
                "X may not subscribe to jobs/a (no rule allows it)",
            ),
        ] {
            assert_eq!(subscribed(&worker, filter), decided, "{filter}");
        }
        let ann = client(&table, "ann", &[]);
        assert_eq!(subscribed(&ann, "$share/any/jobs/a"), "granted");
        assert!(subscribed(&ann, "$share/night/jobs/a").contains("deny ann share:night"));
        let bob = client(&table, "bob", &[]);
        assert!(subscribed(&bob, "$share/workers/jobs/a").contains("no rule"));
    }

    #[test]
    fn a_sieve_lets_through_what_its_own_right_allows() {
        let table = table(
            "allow ann share:workers history #\ndeny ann share history secret/#\n\
             allow bob subscribe:narrow share a/#\nallow carl subscribe a/b\n",
        );
        let ann = client(&table, "ann", &[]);
        let shared = ann.subscription(filter("$share/workers/#"));
        for decision in [shared, ann.may_read_history(filter("#"))] {
            let SubscriptionDecision::Sieved(sieve) = decision else {
                panic!("it is sieved: {decision:?}");
            };
            assert!(sieve.lets_through(topic("a")) && !sieve.lets_through(topic("secret/a")));
        }
        assert!(subscribed(&ann, "a").contains("no rule"));
        // To see what is published is not to see what was.
        let history = client(&table, "carl", &[]).may_read_history(filter("a/b"));
        assert!(matches!(history, SubscriptionDecision::Denied(_)));
        // A rule narrows what is subscribed to alone, and not what is shared.
        let bob = client(&table, "bob", &[]);
        assert_eq!(subscribed(&bob, "#"), "sieved");
        assert!(subscribed(&bob, "$share/g/#").contains("no rule"));
    }

    #[test]
    fn a_leading_wildcard_is_all_topics_and_another_one_is_a_level() {
        let table = table("allow ann subscribe +/#\nallow bob subscribe a/+/#\n");
        assert_eq!(subscribed(&client(&table, "ann", &[]), "#"), "granted");
        let bob = client(&table, "bob", &[]);
        assert_eq!(subscribed(&bob, "a/+/#"), "granted");
        assert!(subscribed(&bob, "a/#").contains("no rule"));
    }

    #[test]
    fn a_refusal_names_filters_that_overlap_of_the_first_rules_that_do() {
        let table = table("allow ann subscribe a/x b\nallow ann subscribe a/x a/y\n");
        let refused =
            "X may not subscribe to a/# (no rule allows it; you may subscribe to a/x, a/y)";
        assert_eq!(subscribed(&client(&table, "ann", &[]), "a/#"), refused);
        for (count, is_named) in [(MOST_LOOKED_AT - 1, true), (MOST_LOOKED_AT, false)] {
            let rules = (0..count).map(|number| format!("allow ann subscribe a/{number}\n"));
            let rules: String = rules.collect();
            let text = format!("{rules}allow ann subscribe b\ndeny ann subscribe a/#\n");
            let ann = client(&self::table(&text), "ann", &[]);
            let told = subscribed(&ann, "#");
            assert_eq!(told.contains("may subscribe to b"), is_named, "{told}");
            assert!(!told.contains("a/"), "{told}");
        }
    }
}

#[cfg(test)]
mod properties {
    //! Decisions against a naive evaluation of the same rules, for random rules, clients and topics.
    //!
    //! The naive one goes through all rules, fills in placeholders as text, and compares filter by filter.

    use std::collections::BTreeSet;
    use std::fs;
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::super::examples::{filter, topic, with_id};
    use super::super::{AccessDifference, AccessTable, Permissions};
    use super::*;

    #[derive(Clone, Debug)]
    struct PlainRule {
        is_allow: bool,
        who: Vec<&'static str>,
        except: Vec<&'static str>,
        rights: Vec<&'static str>,
        filters: Vec<String>,
    }

    #[derive(Clone, Debug)]
    struct PlainClient {
        name: &'static str,
        groups: Vec<&'static str>,
        client_id: Option<&'static str>,
    }

    const GROUP_LINE: &str = "group g3 ann unix:root\ngroup g1\ngroup g2\n";
    const IN_G3: [&str; 2] = ["ann", "unix:root"];
    const LEVELS: [&str; 13] = [
        "a", "b", "ann", "g1", "c1", "x-ann", "+", "%u", "%c", "%g", "x-%u", "%gz", "x-%c",
    ];
    const FIRST: [&str; 6] = ["a", "ann", "$SYS", "$reply", "$private", "+"];
    const TOPIC_LEVELS: [&str; 9] = ["a", "b", "ann", "g1", "c1", "x-ann", "g1z", "g3", "gap"];
    const TOPIC_FIRST: [&str; 6] = ["a", "b", "ann", "$SYS", "$reply", "$private"];

    fn any_filter() -> impl Strategy<Value = String> {
        let first = prop_oneof![3 => select(LEVELS.to_vec()), 2 => select(FIRST.to_vec())];
        (first, vec(select(LEVELS.to_vec()), 0..3), any::<bool>()).prop_map(
            |(first, rest, is_open)| {
                let mut levels = vec![first];
                levels.extend(rest);
                levels.extend(is_open.then_some("#"));
                levels.join("/")
            },
        )
    }

    fn any_asked_filter() -> impl Strategy<Value = String> {
        let level = || prop_oneof![4 => select(TOPIC_LEVELS.to_vec()), 1 => Just("+")];
        let first = prop_oneof![select(TOPIC_FIRST.to_vec()), Just("+")];
        let some = (first, vec(level(), 0..3), any::<bool>()).prop_map(|(first, rest, is_open)| {
            let mut levels = vec![first];
            levels.extend(rest);
            levels.extend(is_open.then_some("#"));
            levels.join("/")
        });
        prop_oneof![1 => Just("#".to_owned()), 9 => some]
    }

    fn any_topic() -> impl Strategy<Value = String> {
        let rest = vec(select(TOPIC_LEVELS.to_vec()), 0..3);
        (select(TOPIC_FIRST.to_vec()), rest).prop_map(|(first, rest)| {
            let mut levels = vec![first];
            levels.extend(rest);
            levels.join("/")
        })
    }

    fn any_rule() -> impl Strategy<Value = PlainRule> {
        let words = vec![
            "everyone",
            "known",
            "anonymous",
            "@g1",
            "@g2",
            "@g3",
            "ann",
            "bob",
            "unix:root",
        ];
        let rights = vec![
            "publish",
            "retain",
            "subscribe:narrow",
            "subscribe",
            "share:w",
            "share",
            "will",
            "history",
            "all",
            "inquire:broker",
        ];
        (
            prop::bool::weighted(0.7),
            subsequence(words.clone(), 1..3),
            subsequence(words, 0..2),
            subsequence(rights, 1..4),
            vec(any_filter(), 1..3),
            any::<bool>(),
        )
            .prop_map(
                |(is_allow, who, except, mut rights, mut filters, is_bare)| {
                    rights.retain(|right| is_allow || *right != "subscribe:narrow");
                    if rights.is_empty() {
                        rights.push("subscribe");
                    }
                    filters.dedup();
                    if rights == ["inquire:broker"] || (is_bare && rights == ["all"]) {
                        filters.clear();
                    }
                    PlainRule {
                        is_allow,
                        who,
                        except,
                        rights,
                        filters,
                    }
                },
            )
    }

    fn any_client() -> impl Strategy<Value = PlainClient> {
        (
            select(vec!["anonymous", "ann", "bob", "unix:root"]),
            subsequence(vec!["g1", "g2"], 0..3),
            select(vec![
                None,
                Some("c1"),
                Some("ann"),
                Some("a/b"),
                Some("+"),
                Some("$SYS"),
            ]),
        )
            .prop_map(|(name, groups, client_id)| PlainClient {
                name,
                groups,
                client_id,
            })
    }

    impl PlainRule {
        fn line(&self) -> String {
            let effect = if self.is_allow { "allow" } else { "deny" };
            let except: Vec<String> = self.except.iter().map(|who| format!("-{who}")).collect();
            let (who, rights) = (self.who.join(" "), self.rights.join(" "));
            format!(
                "{effect} {who} {} {rights} {}",
                except.join(" "),
                self.filters.join(" ")
            )
        }

        fn is_everywhere(&self) -> bool {
            self.filters.is_empty() && self.rights == ["all"]
        }
    }

    impl PlainClient {
        fn permissions(&self, table: &Arc<AccessTable>) -> Permissions {
            with_id(table, self.name, &self.groups, self.client_id)
        }

        fn is(&self, word: &str) -> bool {
            match word {
                "everyone" => true,
                "known" => self.name != "anonymous",
                _ => match word.strip_prefix('@') {
                    Some(group) => self.all_groups().contains(&group),
                    None => word == self.name,
                },
            }
        }

        fn all_groups(&self) -> Vec<&'static str> {
            let mut groups = self.groups.clone();
            groups.extend(IN_G3.contains(&self.name).then_some("g3"));
            groups
        }

        fn level(&self) -> Option<&'static str> {
            self.client_id
                .filter(|id| !id.contains(['/', '+', '#', '$']))
        }

        /// Whether a rule counts.
        fn counts(&self, rule: &PlainRule) -> bool {
            let is_about = rule.who.iter().any(|word| self.is(word));
            let is_out = rule.except.iter().any(|word| self.is(word));
            let lacks =
                self.level().is_none() && rule.filters.iter().any(|text| text.contains("%c"));
            is_about && !is_out && !lacks
        }

        fn filled(&self, text: &str) -> Vec<String> {
            let text = text.replace("%u", self.name);
            let text = text.replace("%c", self.level().unwrap_or_default());
            match text.contains("%g") {
                false => vec![text],
                true => {
                    let groups = self.all_groups().into_iter();
                    groups.map(|group| text.replace("%g", group)).collect()
                }
            }
        }
    }

    /// What a right is asked as, with the words of rules that allow it and that deny it.
    const ASKED: [(&str, &[&str], &[&str]); 6] = [
        ("publish", &["publish"], &["publish"]),
        ("retain", &["retain"], &["retain"]),
        (
            "subscribe",
            &["subscribe", "subscribe:narrow"],
            &["subscribe", "subscribe:narrow"],
        ),
        (
            "share:w",
            &["share", "share:w"],
            &["share", "share:w", "subscribe", "subscribe:narrow"],
        ),
        ("will", &["will", "publish"], &["will", "publish"]),
        (
            "history",
            &["history"],
            &["history", "subscribe", "subscribe:narrow"],
        ),
    ];

    /// Filters of rules; `None` is all topics.
    type Filters = Vec<(Option<String>, bool)>;

    /// The filters that allow it or deny it, each with whether it narrows.
    fn filters(rules: &[PlainRule], client: &PlainClient, is_allow: bool, right: &str) -> Filters {
        let asked = ASKED
            .iter()
            .find(|asked| asked.0 == right)
            .expect("it is asked");
        let words = if is_allow { asked.1 } else { asked.2 };
        let mut found = Vec::new();
        for rule in rules
            .iter()
            .filter(|rule| rule.is_allow == is_allow && client.counts(rule))
        {
            let is_all = rule.rights.contains(&"all");
            if rule.is_everywhere() {
                found.push((None, false));
            }
            let narrows = rule.rights.contains(&"subscribe:narrow");
            if is_all || rule.rights.iter().any(|word| words.contains(word)) {
                let filled = rule.filters.iter().flat_map(|text| client.filled(text));
                found.extend(filled.map(|text| (Some(text), narrows)));
            }
            let is_figures = rule.rights.contains(&"inquire:broker") || rule.is_everywhere();
            if is_figures && words.contains(&"subscribe") {
                found.push((Some("$SYS/broker/#".to_owned()), narrows));
            }
        }
        found
    }

    /// `granted`, `sieved` or `denied`, by the definition.
    fn naive(rules: &[PlainRule], client: &PlainClient, right: &str, asked: &str) -> &'static str {
        let wanted = filter(asked);
        let is_to_see = ["subscribe", "share:w", "history"].contains(&right);
        let (deny, allow) = (
            filters(rules, client, false, right),
            filters(rules, client, true, right),
        );
        let is_within = |text: &Option<String>| {
            text.as_ref()
                .is_none_or(|text| wanted.lies_within(filter(text)))
        };
        let overlaps = |text: &Option<String>| {
            text.as_ref()
                .is_none_or(|text| wanted.overlaps(filter(text)))
        };
        if deny.iter().any(|(text, _)| is_within(text)) {
            return "denied";
        }
        let own = ["$SYS/gap/", "$SYS/denied/"];
        let is_own = own.iter().any(|own| {
            client
                .level()
                .is_some_and(|id| asked == format!("{own}{id}"))
        });
        let is_private =
            (asked.starts_with("$reply") || asked.starts_with("$private")) && !wanted.is_exact();
        let is_of_others = own.iter().any(|own| asked.starts_with(own)) && !is_own;
        let is_by_name = is_to_see && (is_private || is_of_others);
        let mut allow = allow;
        allow.retain(|(text, _)| text.is_some() || !is_by_name);
        let named = allow
            .iter()
            .any(|(text, _)| text.is_some() && is_within(text));
        let touched = deny.iter().any(|(text, _)| overlaps(text));
        let has_others = !wanted.is_exact()
            && own
                .iter()
                .any(|own| wanted.overlaps(filter(&format!("{own}#"))));
        if allow.iter().any(|(text, _)| is_within(text)) {
            let is_whole = !touched && (named || !has_others);
            return if is_whole { "granted" } else { "sieved" };
        }
        let has_any = rules
            .iter()
            .any(|rule| rule.is_allow && client.counts(rule));
        let is_reply = asked.starts_with("$reply/") && wanted.is_exact();
        let is_given = match right {
            "publish" => is_reply,
            "subscribe" => is_reply || is_own,
            _ => false,
        };
        if has_any && is_given {
            return "granted";
        }
        let narrows = |(text, narrows): &(Option<String>, bool)| *narrows && overlaps(text);
        match right == "subscribe" && allow.iter().any(narrows) {
            true => "sieved",
            false => "denied",
        }
    }

    fn decided(decision: &SubscriptionDecision) -> &'static str {
        match decision {
            SubscriptionDecision::Granted => "granted",
            SubscriptionDecision::Sieved(_) => "sieved",
            SubscriptionDecision::Denied(_) => "denied",
        }
    }

    fn table(rules: &[PlainRule]) -> Arc<AccessTable> {
        let lines: Vec<String> = rules.iter().map(PlainRule::line).collect();
        let text = format!("{GROUP_LINE}{}", lines.join("\n"));
        Arc::new(AccessTable::parse("f", &text).unwrap_or_else(|why| panic!("{text}: {why:?}")))
    }

    /// What is decided about a topic or a filter, by each right.
    fn all_decisions(permissions: &Permissions, asked: &str) -> Vec<&'static str> {
        let wanted = filter(asked);
        let shared = format!("$share/w/{asked}");
        let mut all = vec![
            decided(&permissions.subscription(wanted)),
            decided(&permissions.subscription(filter(&shared))),
            decided(&permissions.may_read_history(wanted)),
        ];
        if wanted.is_exact() {
            let topic = topic(asked);
            let said = |is_allowed| if is_allowed { "granted" } else { "denied" };
            all.push(said(permissions.may_publish(topic).is_ok()));
            all.push(said(permissions.may_retain(topic).is_ok()));
            all.push(said(permissions.may_set_will(topic, false).is_ok()));
            all.push(said(permissions.may_see(topic)));
        }
        all
    }

    fn all_naive(rules: &[PlainRule], client: &PlainClient, asked: &str) -> Vec<&'static str> {
        let naive = |right| naive(rules, client, right, asked);
        let mut all = vec![naive("subscribe"), naive("share:w"), naive("history")];
        if filter(asked).is_exact() {
            let both = [naive("publish"), naive("retain")];
            let retain = if both.contains(&"denied") {
                "denied"
            } else {
                "granted"
            };
            all.extend([both[0], retain, naive("will"), naive("subscribe")]);
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn decisions_are_those_of_a_naive_evaluation(
            rules in vec(any_rule(), 0..12),
            client in any_client(),
            asked in vec(prop_oneof![any_topic(), any_asked_filter()], 1..20),
        ) {
            let permissions = client.permissions(&table(&rules));
            for asked in asked {
                let expected = all_naive(&rules, &client, &asked);
                prop_assert_eq!(all_decisions(&permissions, &asked), &*expected, "{}", asked);
                if permissions.subscribes_anywhere() && !asked.starts_with('$') {
                    prop_assert_eq!(expected[0], "granted", "{}", asked);
                }
                if permissions.publishes_anywhere() && filter(&asked).is_exact() {
                    prop_assert_eq!(&expected[3..5], ["granted"; 2], "{}", asked);
                }
            }
        }

        /// A granted filter needs no look at its messages, and a sieve lets through what may be seen.
        #[test]
        fn a_granted_filter_has_no_topic_that_may_not_be_seen(
            rules in vec(any_rule(), 0..12),
            client in any_client(),
            asked in any_asked_filter(),
            topics in vec(any_topic(), 1..30),
        ) {
            let permissions = client.permissions(&table(&rules));
            let decision = permissions.subscription(filter(&asked));
            for text in topics.iter().filter(|text| filter(&asked).matches(topic(text))) {
                let sees = permissions.may_see(topic(text));
                match &decision {
                    SubscriptionDecision::Granted => prop_assert!(sees, "{}", text),
                    SubscriptionDecision::Sieved(sieve) => {
                        prop_assert_eq!(sieve.lets_through(topic(text)), sees, "{}", text);
                    }
                    SubscriptionDecision::Denied(_) => {}
                }
            }
            if let SubscriptionDecision::Denied(denial) = decision {
                for other in denial.alternatives() {
                    prop_assert!(!matches!(permissions.subscription(filter(other)), SubscriptionDecision::Denied(_)));
                    prop_assert!(filter(other).overlaps(filter(&asked)));
                }
            }
        }

        #[test]
        fn the_order_of_lines_and_the_files_they_are_in_mean_nothing(
            (rules, mixed) in vec(any_rule(), 1..10).prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
            cut in any::<prop::sample::Index>(),
            client in any_client(),
            asked in vec(prop_oneof![any_topic(), any_asked_filter()], 1..20),
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("main.access");
            let (one, other) = mixed.split_at(cut.index(mixed.len()));
            let text = |rules: &[PlainRule]| rules.iter().map(|rule| rule.line() + "\r\n").collect::<String>();
            fs::create_dir(folder.path().join("d")).expect("a folder");
            fs::write(folder.path().join("d/1.access"), text(one)).expect("room");
            fs::write(folder.path().join("d/2.access"), GROUP_LINE).expect("room");
            fs::write(&path, format!("{}include d/*.access", text(other))).expect("room");
            let (split, _) = AccessTable::read(&path, Some(&BTreeSet::new())).expect("it is right");
            let (whole, split) = (client.permissions(&table(&rules)), client.permissions(&Arc::new(split)));
            for asked in asked {
                prop_assert_eq!(all_decisions(&whole, &asked), all_decisions(&split, &asked), "{}", asked);
            }
            prop_assert_eq!(whole.difference(&split), AccessDifference::default());
        }

        #[test]
        fn a_token_only_narrows(
            rules in vec(any_rule(), 0..10),
            client in any_client(),
            rights in vec((select(vec!["publish", "retain", "subscribe", "share", "will", "history", "all"]), vec(any_filter(), 0..3)), 0..4),
            asked in vec(prop_oneof![any_topic(), any_asked_filter()], 1..20),
        ) {
            let whole = client.permissions(&table(&rules));
            let rights = rights.iter().map(|(right, filters)| (*right, filters.iter().map(String::as_str).collect()));
            let token = AccessTable::of_token(rights).expect("it is right");
            let narrowed = whole.narrowed_by(&Arc::new(token));
            let rank = |word: &&str| ["denied", "sieved", "granted"].iter().position(|it| it == word);
            for asked in &asked {
                let (more, less) = (all_decisions(&whole, asked), all_decisions(&narrowed, asked));
                for (more, less) in more.iter().zip(&less) {
                    prop_assert!(rank(less) <= rank(more), "{}: {} to {}", asked, more, less);
                }
            }
            prop_assert!(whole.may_block().is_ok() || narrowed.may_block().is_err());
            prop_assert!(whole.may_inquire("broker").is_ok() || narrowed.may_inquire("broker").is_err());
        }

        #[test]
        fn no_text_is_too_strange(text in "[a-z@%#+\"\\\\/$: \n\r\t-]{0,200}") {
            let _ = AccessTable::parse("f", &text);
        }

        /// From words of the language, so that most lines are nearly right.
        #[test]
        fn a_mistake_is_at_a_place_of_its_text(words in vec(select(vec![
            "allow", "deny", "group", "include", "ann", "@g", "-bob", "everyone", "publish", "subscribe:narrow", "share:",
            "client", "all", "#", "\"#\"", "a/#", "%u", "\n", "\n", "\u{feff}", "é", "\"", "inquire:who", "%",
        ]), 0..40)) {
            let text = words.join(" ");
            if let Err(mistakes) = AccessTable::parse("f", &text) {
                let lines: Vec<&str> = text.split('\n').collect();
                for mistake in mistakes {
                    let mut parts = mistake.splitn(4, ':').skip(1);
                    let line: usize = parts.next().expect("a line").parse().expect("a number");
                    let column: usize = parts.next().expect("a column").parse().expect("a number");
                    prop_assert!((1..=lines[line - 1].chars().count() + 1).contains(&column), "{}", mistake);
                }
            }
        }
    }
}
