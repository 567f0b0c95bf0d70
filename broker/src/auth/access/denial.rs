//! Why a client may not do something, in words.

use std::fmt::Write;
use std::sync::Arc;

use protocol::is_harmless;

use super::rule::AccessRule;

/// A refusal: by a rule that denies, by a token that allows less, or because no rule allows it.
#[derive(Clone, Debug)]
pub struct Denial {
    /// As in `ann may not publish to home`.
    pub(super) action: &'static str,
    pub(super) rule: Option<Arc<AccessRule>>,
    pub(super) is_by_token: bool,
    /// Filters that would be granted.
    pub(super) alternatives: Vec<String>,
}

/// Maximum filters that a refusal names.
pub(super) const MOST_ALTERNATIVES: usize = 3;

impl Denial {
    /// The rule that denies; without one no rule allows it.
    #[must_use]
    pub fn rule(&self) -> Option<&AccessRule> {
        self.rule.as_deref()
    }

    /// Filters that would be granted, at most three.
    #[must_use]
    pub fn alternatives(&self) -> &[String] {
        &self.alternatives
    }

    /// It in words, without characters that could harm a terminal: `ann may not publish to secret/key
    /// (home.access:6: deny ...)`. `object` is what was asked for; empty for a right without one.
    #[must_use]
    pub fn text(&self, identity: &str, object: &str) -> String {
        let mut text = format!("{} may not {}", shown(identity), self.action);
        if !object.is_empty() {
            let _ = write!(text, " {}", shown(object));
        }
        match &self.rule {
            Some(rule) => {
                let _ = write!(text, " ({rule}");
            }
            None if self.is_by_token => text.push_str(" (the token does not allow it"),
            None => text.push_str(" (no rule allows it"),
        }
        if !self.alternatives.is_empty() {
            let _ = write!(
                text,
                "; you may subscribe to {}",
                self.alternatives.join(", ")
            );
        }
        text.push(')');
        text
    }
}

impl Denial {
    /// It in words for the client, which is told the place of a rule and not what the rule says of others. One that
    /// has to say who it is first is told no reason.
    #[must_use]
    pub fn text_for_client(&self, identity: &str, object: &str, needs_auth: bool) -> String {
        let mut text = format!("{} may not {}", shown(identity), self.action);
        if !object.is_empty() {
            let _ = write!(text, " {}", shown(object));
        }
        if !needs_auth {
            match &self.rule {
                Some(rule) => {
                    let (file, line) = rule.place();
                    let _ = write!(text, " ({file}:{line})");
                }
                None if self.is_by_token => text.push_str(" (the token does not allow it)"),
                None => text.push_str(" (no rule allows it)"),
            }
        }
        if !self.alternatives.is_empty() {
            let _ = write!(
                text,
                "; you may subscribe to {}",
                self.alternatives.join(", ")
            );
        }
        text
    }
}

/// A text from elsewhere, without what could harm a terminal.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match is_harmless(letter) {
            true => shown.push(letter),
            false => shown.extend(letter.escape_unicode()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::AccessTable;
    use super::super::examples::{HOUSE, client, filter, table, topic};
    use super::super::subscription::SubscriptionDecision;

    #[test]
    fn a_client_is_told_the_place_of_a_rule_and_before_it_has_said_its_name_not_even_that() {
        let table = table(HOUSE);
        let ann = client(&table, "ann", &["family"]);
        let token = AccessTable::of_token([("publish", vec!["a"])]).expect("right");
        let narrowed = ann.narrowed_by(&Arc::new(token));
        let publish = |who: &super::super::Permissions, text| {
            who.may_publish(topic(text)).expect_err("denied")
        };
        let SubscriptionDecision::Denied(all) = ann.subscription(filter("#")) else {
            panic!("it is denied");
        };
        for (denial, object, told, reason, more) in [
            (
                publish(&ann, "secret/a"),
                "secret/a",
                "ann may not publish to secret/a",
                " (home.access:6)",
                "",
            ),
            (
                publish(&ann, "x"),
                "x",
                "ann may not publish to x",
                " (no rule allows it)",
                "",
            ),
            (
                publish(&narrowed, "home/a"),
                "home/a",
                "ann may not publish to home/a",
                " (the token does not allow it)",
                "",
            ),
            (
                ann.may_block().expect_err("denied"),
                "",
                "ann may not subscribe with slow=block",
                " (no rule allows it)",
                "",
            ),
            (
                all,
                "#",
                "ann may not subscribe to #",
                " (no rule allows it)",
                "; you may subscribe to public/#, home/#",
            ),
        ] {
            let text = |needs_auth| denial.text_for_client("ann", object, needs_auth);
            assert_eq!(text(false), format!("{told}{reason}{more}"));
            assert_eq!(text(true), format!("{told}{more}"));
        }
    }
}
