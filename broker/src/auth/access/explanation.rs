//! Why a client may do something, or not, for people: the rule that decides, or the nearest one.

use std::fmt::Write;

use protocol::{Filter, Topic};

use super::denial::{Denial, shown};
use super::effect::Effect;
use super::permissions::{Permissions, RuleVerdict};
use super::right::AskedRight;
use super::rule::AccessRule;
use super::subscription::SubscriptionDecision;
use super::tree::RuleId;

/// An answer with its reason in one line, without characters that could harm a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it is allowed, if only in part.
    pub is_allowed: bool,
    /// Such as `denied by home.access:6: deny ...`.
    pub text: String,
}

impl Permissions {
    /// Explains what the client may do. `object` is a topic, a filter or a name, as the right has it.
    ///
    /// # Errors
    ///
    /// Why the object is none, and what would be right.
    pub fn explain(&self, right: AskedRight<'_>, object: &str) -> Result<Explanation, String> {
        match right {
            AskedRight::Subscribe | AskedRight::Share(_) | AskedRight::History => {
                let filter = Filter::parse(object).map_err(|why| why.to_string())?;
                let right = match (right, filter.group()) {
                    (AskedRight::Subscribe, Some(group)) => AskedRight::Share(group),
                    (right, _) => right,
                };
                Ok(self.explain_filter(right, filter))
            }
            AskedRight::Publish | AskedRight::Retain | AskedRight::Will => {
                let topic = Topic::parse(object).map_err(|why| why.to_string())?;
                let asked = match right {
                    AskedRight::Retain => self.may_retain(topic),
                    AskedRight::Will => self.may_set_will(topic, false),
                    _ => self.may_publish(topic),
                };
                let verdict = self.topic_verdict(right, topic);
                Ok(self.explained(right, object, verdict, asked.err()))
            }
            AskedRight::Client => {
                let verdict = self.name_verdict(right, object);
                Ok(self.explained(right, object, verdict, self.may_use_client_id(object).err()))
            }
            AskedRight::Nick => {
                let verdict = self.name_verdict(right, object);
                Ok(self.explained(right, object, verdict, self.may_use_nick(object).err()))
            }
            AskedRight::Block | AskedRight::Inquire(_) | AskedRight::Admin => {
                let verdict = self.plain_verdict(right);
                let denial = match right {
                    AskedRight::Block => self.may_block().err(),
                    AskedRight::Inquire(inquiry) => self.may_inquire(inquiry).err(),
                    _ => self.may_give_orders().err(),
                };
                Ok(self.explained(right, object, verdict, denial))
            }
        }
    }

    fn explain_filter(&self, right: AskedRight<'_>, filter: Filter<'_>) -> Explanation {
        let (decision, rules) = self.decide(right, filter, true);
        let denial = match decision {
            SubscriptionDecision::Denied(denial) => Some(denial),
            SubscriptionDecision::Granted | SubscriptionDecision::Sieved(_) => None,
        };
        let is_sieved = denial.is_none()
            && matches!(
                self.subscription_of(right, filter),
                SubscriptionDecision::Sieved(_)
            );
        let verdict = RuleVerdict::Allowed(rules.allowing);
        let mut explanation = self.explained(right, filter.pattern(), verdict, denial);
        if is_sieved {
            match rules.leaving_out {
                Some(rule) => {
                    let rule = self.rule(rule);
                    let _ = write!(explanation.text, ", but for what is denied by {rule}");
                }
                None => explanation
                    .text
                    .push_str(", narrowed to the topics that may be seen"),
            }
        }
        explanation
    }

    fn subscription_of(&self, right: AskedRight<'_>, filter: Filter<'_>) -> SubscriptionDecision {
        self.decide(right, filter, false).0
    }

    fn explained(
        &self,
        right: AskedRight<'_>,
        object: &str,
        verdict: RuleVerdict,
        denial: Option<Denial>,
    ) -> Explanation {
        let Some(denial) = denial else {
            let rule = match verdict {
                RuleVerdict::Allowed(rule) => rule,
                RuleVerdict::Denied(_) => None,
            };
            let text = match rule {
                Some(rule) => format!("allowed by {}", self.rule(rule)),
                None if right == AskedRight::Client || right == AskedRight::Nick => {
                    "allowed: no rule says which names this client may use".to_owned()
                }
                None if self.is_in_room() => {
                    "allowed: members of a room may do in its topic what no rule denies".to_owned()
                }
                None => "allowed: all that may do something may do this".to_owned(),
            };
            return Explanation {
                is_allowed: true,
                text,
            };
        };
        let mut text = match denial.rule() {
            Some(rule) => format!("denied by {rule}"),
            None if denial.is_by_token => "the token does not allow it".to_owned(),
            None => "no rule allows it".to_owned(),
        };
        if !denial.alternatives().is_empty() {
            let _ = write!(
                text,
                "; allowed: {}",
                shown(&denial.alternatives().join(", "))
            );
        } else if denial.rule().is_none()
            && !denial.is_by_token
            && let Some(rule) = self.nearest(right, object)
        {
            let _ = write!(text, "; nearest: {rule}");
        }
        Explanation {
            is_allowed: false,
            text,
        }
    }

    fn rule(&self, id: RuleId) -> &AccessRule {
        &self.table().rule(id).rule
    }

    /// The rule that comes nearest to allowing it: it is about the same topics for others, or about topics of which
    /// more levels are the same than of any other rule.
    fn nearest(&self, right: AskedRight<'_>, object: &str) -> Option<&AccessRule> {
        let kinds = right.kinds(Effect::Allow);
        let values = self.values();
        let mut nearest: Option<(usize, &AccessRule)> = None;
        for found in self.table().rules() {
            let rule = &*found.rule;
            let is_of_kind = rule.kinds().iter().any(|kind| kinds.contains(kind));
            if rule.effect != Effect::Allow || !is_of_kind {
                continue;
            }
            let filters = rule
                .filters
                .iter()
                .flat_map(|filter| filter.filled_in(&values));
            let common = filters.map(|filter| common_levels(&filter, object)).max();
            let common = match right.has_topics() {
                true if rule.is_everywhere() => usize::MAX,
                true => common.unwrap_or(0),
                false => 1,
            };
            // Of equals the first.
            if common > nearest.map_or(0, |(most, _)| most) {
                nearest = Some((common, rule));
            }
        }
        nearest.map(|(_, rule)| rule)
    }
}

/// How many levels of a topic a filter has at its beginning; more than there are if it matches all of it.
fn common_levels(filter: &str, topic: &str) -> usize {
    let (Ok(filter), Ok(asked)) = (Filter::parse(filter), Filter::parse(topic)) else {
        return 0;
    };
    if asked.lies_within(filter) {
        return usize::MAX;
    }
    let levels = filter.pattern().split('/').zip(asked.pattern().split('/'));
    levels
        .take_while(|(one, two)| one == two || *one == "+")
        .count()
}

#[cfg(test)]
mod tests {
    use super::super::examples::{HOUSE, client, table};
    use super::*;

    #[test]
    fn an_explanation_names_the_deciding_rule_or_the_nearest() {
        let table = table(HOUSE);
        let ann = client(&table, "ann", &["family"]);
        let eve = client(&table, "eve", &[]);
        let dash = client(&table, "d", &["dash"]);
        let allow = "home.access:4: allow @family publish subscribe retain home/#";
        let deny = "home.access:6: deny everyone -@admin publish subscribe secret/# $gateway/#";
        for (who, right, object, is_allowed, text) in [
            (
                &ann,
                "publish",
                "home/door",
                true,
                format!("allowed by {allow}"),
            ),
            (
                &ann,
                "publish",
                "secret/a",
                false,
                format!("denied by {deny}"),
            ),
            (
                &eve,
                "publish",
                "home/door",
                false,
                format!("no rule allows it; nearest: {allow}"),
            ),
            (
                &eve,
                "publish",
                "other",
                false,
                "no rule allows it; nearest: home.access:7: allow @admin all".to_owned(),
            ),
            (
                &ann,
                "subscribe",
                "#",
                false,
                "no rule allows it; allowed: public/#, home/#".to_owned(),
            ),
            (
                &dash,
                "subscribe",
                "#",
                true,
                format!(
                    "allowed by home.access:8: allow @dash subscribe:narrow home/#, but for what is denied by {deny}"
                ),
            ),
            (
                &dash,
                "subscribe",
                "+",
                true,
                format!(
                    "allowed by home.access:8: allow @dash subscribe:narrow home/#, but for what is denied by {deny}"
                ),
            ),
            (
                &ann,
                "retain",
                "home/door",
                true,
                format!("allowed by {allow}"),
            ),
            (
                &ann,
                "will",
                "home/door",
                true,
                format!("allowed by {allow}"),
            ),
            (
                &ann,
                "nick",
                "ann",
                true,
                "allowed by home.access:11: allow known nick %u".to_owned(),
            ),
            (
                &ann,
                "nick",
                "eve",
                false,
                "no rule allows it; nearest: home.access:11: allow known nick %u".to_owned(),
            ),
            (
                &ann,
                "client",
                "x",
                true,
                "allowed: no rule says which names this client may use".to_owned(),
            ),
            (
                &ann,
                "inquire:who",
                "",
                true,
                "allowed by home.access:5: allow ann bob inquire:who inquire:why".to_owned(),
            ),
            (
                &eve,
                "inquire:who",
                "",
                false,
                "no rule allows it; nearest: home.access:5: allow ann bob inquire:who inquire:why"
                    .to_owned(),
            ),
            (
                &ann,
                "publish",
                "$reply/x",
                true,
                "allowed: all that may do something may do this".to_owned(),
            ),
        ] {
            let right = AskedRight::parse(right).expect("a right");
            let told = who.explain(right, object).expect("an object");
            assert_eq!(
                (told.is_allowed, told.text),
                (is_allowed, text),
                "{right:?} {object}"
            );
        }
        let publish = AskedRight::parse("publish").expect("a right");
        assert!(ann.explain(publish, "a/#").is_err());
        for wrong in ["pub", "share", "inquire", "all", "subscribe:narrow"] {
            assert!(AskedRight::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_right_is_explained_by_rules_about_it_alone() {
        let table = table(
            "allow ann publish a/#\ndeny ann retain a/b\nallow ann will w\nallow bob block\n\
             allow dora publish x/q\nallow carl publish x/+/z/end\nallow everyone subscribe s/#\n",
        );
        let ann = client(&table, "ann", &[]);
        let token = super::super::AccessTable::of_token([("publish", vec!["a/x"])]);
        let narrowed = ann.narrowed_by(&token.expect("right").into());
        let identity = crate::auth::identity::ClientIdentity::of_room(7).into();
        let member = table.permissions(super::super::Subject {
            identity: &identity,
            client_id: None,
        });
        let [bob, eve] = ["bob", "eve"].map(|name| client(&table, name, &[]));
        for (who, right, object, expected) in [
            (
                &ann,
                "retain",
                "a/b",
                "denied by home.access:2: deny ann retain a/b",
            ),
            (&ann, "retain", "a/c", "no rule allows it"),
            (
                &ann,
                "will",
                "w",
                "allowed by home.access:3: allow ann will w",
            ),
            (
                &bob,
                "block",
                "",
                "allowed by home.access:4: allow bob block",
            ),
            (&bob, "admin", "", "no rule allows it"),
            (
                &eve,
                "publish",
                "x/y/z",
                "no rule allows it; nearest: home.access:6: allow carl publish x/+/z/end",
            ),
            (&eve, "publish", "s/a", "no rule allows it"),
            (
                &eve,
                "subscribe",
                "s/a",
                "allowed by home.access:7: allow everyone subscribe s/#",
            ),
            (&narrowed, "publish", "a/y", "the token does not allow it"),
            (
                &member,
                "publish",
                "any",
                "allowed: members of a room may do in its topic what no rule denies",
            ),
        ] {
            let asked = AskedRight::parse(right).expect("a right");
            let told = who.explain(asked, object).expect("an object");
            assert_eq!(told.text, expected, "{right} {object}");
            assert_eq!(told.is_allowed, expected.starts_with("allowed"));
        }
    }
}
