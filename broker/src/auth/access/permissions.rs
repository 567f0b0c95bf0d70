//! What one client may do.

use std::ops::ControlFlow;
use std::sync::Arc;

use protocol::{Filter, Topic};

use super::denial::Denial;
use super::effect::Effect;
use super::pattern::{PlaceholderValues, placeholder_value};
use super::right::{AskedRight, RightKind};
use super::rule::AccessRule;
use super::table::{AccessTable, TableRule, WhoId};
use super::tree::{Relation, RuleId, SearchedFilter};
use crate::auth::identity::{ClientIdentity, IdentityKind};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The user, or a name that the broker has given.
    pub identity: &'a Arc<ClientIdentity>,
    /// The client identifier, if it has one.
    pub client_id: Option<&'a str>,
}

/// What a client may do by one table. A clone is the same value; a connection keeps one.
#[derive(Clone, Debug)]
pub struct Permissions(Arc<PermissionsOfSubject>);

#[derive(Debug)]
struct PermissionsOfSubject {
    table: Arc<AccessTable>,
    identity: Arc<ClientIdentity>,
    /// By which words rules are about it.
    who: Box<[WhoId]>,
    /// The client identifier, if it is one level without wildcard.
    client: Option<Box<str>>,
    has_client_id: bool,
    /// Whether some rule allows it something, or it is the operator.
    is_allowed_any: bool,
    /// What a token leaves of it.
    token: Option<Permissions>,
}

/// How a question was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RuleVerdict {
    /// By a rule, or because all with some right may.
    Allowed(Option<RuleId>),
    /// By a rule, or because no rule allows it.
    Denied(Option<RuleId>),
}

/// A question about a topic or a filter, prepared for searches.
pub(super) struct AskedFilter<'a> {
    pub(super) right: AskedRight<'a>,
    /// Without its group.
    pattern: &'a str,
    is_exact: bool,
    searched: SearchedFilter<'a>,
}

/// Topics for one client each. Only a rule that names them allows wildcards there.
const PRIVATE: [&str; 2] = ["$private", "$reply"];

/// How topics begin for answers, which all may use that may do something at all.
const REPLY: &str = "$reply/";

/// How topics begin whose last level is a client identifier; only a rule that names them allows others to see them.
pub(super) const OWN: [&str; 2] = ["$SYS/gap/", "$SYS/denied/"];

/// How topics begin that inquiries and orders are published to; rights of their own rule these.
const REQUEST: &str = "$SYS/request/";

impl AccessTable {
    /// What a client may do.
    #[must_use]
    pub fn permissions(self: &Arc<Self>, subject: Subject<'_>) -> Permissions {
        let identity = subject.identity;
        let mut permissions = PermissionsOfSubject {
            table: self.clone(),
            identity: identity.clone(),
            who: self.who_ids(identity.name.as_str(), &identity.groups),
            client: subject.client_id.and_then(placeholder_value),
            has_client_id: subject.client_id.is_some(),
            is_allowed_any: false,
            token: None,
        };
        permissions.is_allowed_any = permissions.is_allowed_any();
        Permissions(Arc::new(permissions))
    }
}

impl Permissions {
    /// These permissions as far as the rules of a token allow the same; nothing is added.
    #[must_use]
    pub fn narrowed_by(&self, token: &Arc<AccessTable>) -> Self {
        let subject = &self.0;
        let mut narrowing = PermissionsOfSubject {
            table: token.clone(),
            who: token.who_ids(subject.identity.name.as_str(), &subject.identity.groups),
            ..subject.copied()
        };
        narrowing.is_allowed_any = narrowing.is_allowed_any();
        Self(Arc::new(PermissionsOfSubject {
            token: Some(Self(Arc::new(narrowing))),
            ..subject.copied()
        }))
    }

    /// The table that they are from.
    #[must_use]
    pub fn table(&self) -> &Arc<AccessTable> {
        &self.0.table
    }

    /// Who they are for.
    #[must_use]
    pub fn identity(&self) -> &Arc<ClientIdentity> {
        &self.0.identity
    }

    /// A rule that is about this client, but counts for nothing, because the client identifier is not one level
    /// without wildcard and so cannot be filled in.
    #[must_use]
    pub fn rule_without_value(&self) -> Option<&AccessRule> {
        let inner = &self.0;
        if !inner.has_client_id || inner.client.is_some() {
            return None;
        }
        let mut rules = inner.table.rules();
        let found = rules.find(|rule| rule.uses_client && inner.is_about(rule));
        found.map(|rule| &*rule.rule)
    }

    /// Whether it may do something at all.
    #[must_use]
    pub fn may_anything(&self) -> bool {
        self.0.is_allowed_any
    }

    /// Whether it may publish to each topic, retained too, so that none need be asked for.
    #[must_use]
    pub fn publishes_anywhere(&self) -> bool {
        self.is_unbounded(&[RightKind::Publish, RightKind::Retain])
    }

    /// Whether it may subscribe to all of each filter that does not begin with `$`, so that none need be asked for.
    #[must_use]
    pub fn subscribes_anywhere(&self) -> bool {
        self.is_unbounded(&[RightKind::Subscribe])
    }

    /// Whether rules about all topics allow it these rights, and no rule takes a part away.
    fn is_unbounded(&self, kinds: &[RightKind]) -> bool {
        let has_all = |effect, kind| {
            let mut who = self.0.who.iter();
            who.any(|who| {
                let root = self.0.table.root(*who, effect, kind);
                let rules = root.map(|root| self.0.table.tree().everywhere(root));
                let rules = rules.unwrap_or_default();
                let mut rules = rules.iter().map(|rule| self.0.table.rule(*rule));
                rules.any(|rule| self.0.is_meant(rule))
            })
        };
        let has_some = |effect, kind| {
            let mut who = self.0.who.iter();
            who.any(|who| self.0.table.root(*who, effect, kind).is_some())
        };
        self.0.token.is_none()
            && kinds
                .iter()
                .all(|kind| has_all(Effect::Allow, *kind) && !has_some(Effect::Deny, *kind))
    }

    /// Whether it may publish to a topic. Topics of inquiries and orders are allowed here, because rights of
    /// their own rule them.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_publish(&self, topic: Topic<'_>) -> Result<(), Denial> {
        self.ask_topic(AskedRight::Publish, topic)
    }

    /// Whether it may publish a message to a topic that is retained.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_retain(&self, topic: Topic<'_>) -> Result<(), Denial> {
        self.may_publish(topic)?;
        self.ask_topic(AskedRight::Retain, topic)
    }

    /// Whether it may have a will for a topic. Asked when the will is set and when it is published.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_set_will(&self, topic: Topic<'_>, is_retained: bool) -> Result<(), Denial> {
        self.ask_topic(AskedRight::Will, topic)?;
        match is_retained {
            true => self.ask_topic(AskedRight::Retain, topic),
            false => Ok(()),
        }
    }

    /// Whether it may see messages of a topic: as much as it could by subscribing to it.
    #[must_use]
    pub fn may_see(&self, topic: Topic<'_>) -> bool {
        self.sees(AskedRight::Subscribe, topic)
    }

    /// The same for a member of this group.
    #[must_use]
    pub fn may_see_shared(&self, group: &str, topic: Topic<'_>) -> bool {
        self.sees(AskedRight::Share(group), topic)
    }

    /// Whether it may subscribe so that publishers wait for it.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_block(&self) -> Result<(), Denial> {
        self.ask(AskedRight::Block)
    }

    /// Whether it may inquire about others than itself.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_inquire(&self, inquiry: &str) -> Result<(), Denial> {
        self.ask(AskedRight::Inquire(inquiry))
    }

    /// Whether it may give orders.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.may_give_orders().is_ok()
    }

    /// Whether it may give orders.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_give_orders(&self) -> Result<(), Denial> {
        self.ask(AskedRight::Admin)
    }

    /// Whether it may have this client identifier. Any, unless a rule says which ones.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_use_client_id(&self, client_id: &str) -> Result<(), Denial> {
        self.ask_name(AskedRight::Client, client_id)
    }

    /// Whether it may have this name in rooms. Any, unless a rule says which ones.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_use_nick(&self, nick: &str) -> Result<(), Denial> {
        self.ask_name(AskedRight::Nick, nick)
    }

    pub(super) fn sees(&self, right: AskedRight<'_>, topic: Topic<'_>) -> bool {
        let is_allowed = matches!(self.topic_verdict(right, topic), RuleVerdict::Allowed(_));
        is_allowed && self.token().is_none_or(|token| token.sees(right, topic))
    }

    /// The rules that count for this client.
    pub(super) fn counting_rules(&self) -> impl Iterator<Item = &AccessRule> {
        let rules = self.0.table.rules();
        let counting = rules.filter(|rule| self.0.is_about(rule) && self.0.has_values(rule));
        counting.map(|rule| &*rule.rule)
    }

    pub(super) fn token(&self) -> Option<&Self> {
        self.0.token.as_ref()
    }

    fn ask_topic(&self, right: AskedRight<'_>, topic: Topic<'_>) -> Result<(), Denial> {
        self.told(right, |it| it.topic_verdict(right, topic))
    }

    fn ask(&self, right: AskedRight<'_>) -> Result<(), Denial> {
        self.told(right, |it| it.plain_verdict(right))
    }

    fn ask_name(&self, right: AskedRight<'_>, name: &str) -> Result<(), Denial> {
        self.told(right, |it| it.name_verdict(right, name))
    }

    fn told(
        &self,
        right: AskedRight<'_>,
        verdict: impl Fn(&Self) -> RuleVerdict,
    ) -> Result<(), Denial> {
        if let RuleVerdict::Denied(rule) = verdict(self) {
            return Err(self.denial(right, rule));
        }
        match self.token().map(|token| token.told(right, verdict)) {
            Some(Err(denial)) => Err(denial.by_token()),
            Some(Ok(())) | None => Ok(()),
        }
    }

    pub(super) fn denial(&self, right: AskedRight<'_>, rule: Option<RuleId>) -> Denial {
        Denial {
            action: right.action(),
            rule: rule.map(|rule| self.0.table.rule(rule).rule.clone()),
            is_by_token: false,
            alternatives: Vec::new(),
        }
    }

    /// The verdict about a topic, without the token.
    pub(super) fn topic_verdict(&self, right: AskedRight<'_>, topic: Topic<'_>) -> RuleVerdict {
        if right == AskedRight::Publish && topic.as_str().starts_with(REQUEST) {
            return RuleVerdict::Allowed(None);
        }
        let asked = self.asked(right, topic.as_str(), true);
        if let Some(rule) = self.find(Effect::Deny, &asked, Relation::Around) {
            return RuleVerdict::Denied(Some(rule));
        }
        match self.find(Effect::Allow, &asked, Relation::Around) {
            Some(rule) => RuleVerdict::Allowed(Some(rule)),
            None if self.is_given(&asked) => RuleVerdict::Allowed(None),
            None => RuleVerdict::Denied(None),
        }
    }

    /// The verdict about a right without topics.
    pub(super) fn plain_verdict(&self, right: AskedRight<'_>) -> RuleVerdict {
        let find = |effect| self.first_plain(effect, right, |_| true);
        match (find(Effect::Deny), find(Effect::Allow)) {
            (Some(denying), _) => RuleVerdict::Denied(Some(denying)),
            (None, Some(allowing)) => RuleVerdict::Allowed(Some(allowing)),
            (None, None) => RuleVerdict::Denied(None),
        }
    }

    /// The verdict about a name. It is allowed unless a rule binds the names of this client.
    pub(super) fn name_verdict(&self, right: AskedRight<'_>, name: &str) -> RuleVerdict {
        let values = self.values();
        let find = |effect| {
            self.first_plain(effect, right, |rule| {
                rule.rule
                    .names
                    .iter()
                    .any(|pattern| pattern.fits(name, &values))
            })
        };
        let is_bound = || self.first_plain(Effect::Allow, right, |_| true).is_some();
        match (find(Effect::Deny), find(Effect::Allow)) {
            (Some(denying), _) => RuleVerdict::Denied(Some(denying)),
            (None, Some(allowing)) => RuleVerdict::Allowed(Some(allowing)),
            (None, None) if !self.is_in_room() && is_bound() => RuleVerdict::Denied(None),
            (None, None) => RuleVerdict::Allowed(None),
        }
    }

    /// The first rule of an effect about a right without topics.
    fn first_plain(
        &self,
        effect: Effect,
        right: AskedRight<'_>,
        fits: impl Fn(&TableRule) -> bool,
    ) -> Option<RuleId> {
        let table = &self.0.table;
        let mut first = None;
        for kind in right.kinds(effect) {
            for who in &self.0.who {
                let Some(root) = table.root(*who, effect, *kind) else {
                    continue;
                };
                for rule in table.tree().everywhere(root) {
                    let found = table.rule(*rule);
                    let is_asked = match right {
                        AskedRight::Inquire(inquiry) => found.rule.is_about_inquiry(inquiry),
                        _ => true,
                    };
                    if is_asked && self.0.is_meant(found) && fits(found) {
                        first = Some(first.map_or(*rule, |first: RuleId| first.min(*rule)));
                    }
                }
            }
        }
        first
    }

    pub(super) fn asked_filter<'a>(
        &self,
        right: AskedRight<'a>,
        filter: Filter<'a>,
    ) -> AskedFilter<'a> {
        self.asked(right, filter.pattern(), filter.is_exact())
    }

    fn asked<'a>(
        &self,
        right: AskedRight<'a>,
        pattern: &'a str,
        is_exact: bool,
    ) -> AskedFilter<'a> {
        AskedFilter {
            right,
            pattern,
            is_exact,
            searched: self.0.table.tree().searched(pattern),
        }
    }

    /// The first rule of an effect, of which a filter has this relation to what is asked.
    pub(super) fn find(
        &self,
        effect: Effect,
        asked: &AskedFilter<'_>,
        relation: Relation,
    ) -> Option<RuleId> {
        let mut first: Option<RuleId> = None;
        // One is enough: no bound on those that overlap.
        let is_enough = relation == Relation::Overlapping;
        let _ = self.each(effect, asked, relation, &mut |rule| {
            first = Some(first.map_or(rule, |first| first.min(rule)));
            match is_enough {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        first
    }

    /// Calls `visit` with each rule that counts for this client, has the effect and a filter with this relation.
    /// Rules about all topics are among them, unless they would allow what only a rule that names it allows.
    pub(super) fn each(
        &self,
        effect: Effect,
        asked: &AskedFilter<'_>,
        relation: Relation,
        visit: &mut dyn FnMut(RuleId) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let table = &self.0.table;
        let values = self.values();
        let is_everywhere = effect == Effect::Deny || !self.is_by_name_only(asked);
        for kind in asked.right.kinds(effect) {
            let mut counts = |rule: RuleId| {
                let found = table.rule(rule);
                let is_meant = self.0.is_meant(found) && self.0.has_values(found);
                let is_asked = match (asked.right, kind) {
                    (AskedRight::Share(group), RightKind::Share) => {
                        found.rule.is_about_share(group)
                    }
                    _ => true,
                };
                match is_meant && is_asked {
                    true => visit(rule),
                    false => ControlFlow::Continue(()),
                }
            };
            for who in &self.0.who {
                let Some(root) = table.root(*who, effect, *kind) else {
                    continue;
                };
                if is_everywhere {
                    let rules = table.tree().everywhere(root).iter();
                    rules.copied().try_for_each(&mut counts)?;
                }
                let tree = table.tree();
                tree.search(root, &asked.searched, relation, &values, &mut counts)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether a filter needs a rule that names its topics: one with wildcards among topics that are for one
    /// client each, and one for what the broker tells another client.
    fn is_by_name_only(&self, asked: &AskedFilter<'_>) -> bool {
        if !asked.right.is_to_see() {
            return false;
        }
        let pattern = asked.pattern;
        let first = pattern.split('/').next().unwrap_or_default();
        if PRIVATE.contains(&first) {
            return !asked.is_exact;
        }
        OWN.iter().any(|own| pattern.starts_with(own)) && !self.is_own(pattern)
    }

    /// Whether it is allowed without a rule: what all may that have some right, and all in a room.
    pub(super) fn is_given(&self, asked: &AskedFilter<'_>) -> bool {
        if self.is_in_room() {
            return true;
        }
        let is_reply = asked.pattern.starts_with(REPLY) && asked.is_exact;
        let is_given = match asked.right {
            AskedRight::Publish => is_reply,
            AskedRight::Subscribe => is_reply || self.is_own(asked.pattern),
            _ => false,
        };
        is_given && self.0.is_allowed_any
    }

    /// Whether it is a member of a room, who may do what no rule denies in the topic of the room and is nowhere else.
    pub(super) fn is_in_room(&self) -> bool {
        self.0.identity.kind == IdentityKind::Room
    }

    /// Whether a topic is for what the broker tells this client.
    fn is_own(&self, topic: &str) -> bool {
        let client = self.0.client.as_deref();
        let last = OWN.iter().find_map(|own| topic.strip_prefix(own));
        last.is_some() && last == client
    }

    pub(super) fn values(&self) -> PlaceholderValues<'_> {
        self.0.values()
    }
}

impl AskedRight<'_> {
    /// Whether messages reach the client by it.
    fn is_to_see(self) -> bool {
        matches!(self, Self::Subscribe | Self::Share(_) | Self::History)
    }
}

impl Denial {
    /// The same, because of a token.
    pub(super) fn by_token(self) -> Self {
        Self {
            is_by_token: true,
            ..self
        }
    }
}

impl PermissionsOfSubject {
    fn copied(&self) -> Self {
        Self {
            table: self.table.clone(),
            identity: self.identity.clone(),
            who: self.who.clone(),
            client: self.client.clone(),
            has_client_id: self.has_client_id,
            is_allowed_any: self.is_allowed_any,
            token: self.token.clone(),
        }
    }

    /// Whether a rule is about it.
    fn is_about(&self, rule: &TableRule) -> bool {
        rule.who.iter().any(|who| self.who.contains(who)) && self.is_meant(rule)
    }

    /// Whether a rule does not leave it out.
    fn is_meant(&self, rule: &TableRule) -> bool {
        !rule.except.iter().any(|who| self.who.contains(who))
    }

    /// Whether each placeholder of a rule has a value, which the client identifier alone may have not.
    fn has_values(&self, rule: &TableRule) -> bool {
        !rule.uses_client || self.client.is_some()
    }

    fn is_allowed_any(&self) -> bool {
        // The operator may give orders without a rule, and is answered.
        if self.identity.is_operator() {
            return true;
        }
        let mut rules = self.who.iter().flat_map(|who| self.table.allowing(*who));
        rules.any(|rule| {
            let rule = self.table.rule(*rule);
            self.is_meant(rule) && self.has_values(rule)
        })
    }

    fn values(&self) -> PlaceholderValues<'_> {
        let name = self.identity.name.as_str();
        PlaceholderValues {
            user: name,
            client: self.client.as_deref(),
            groups: &self.identity.groups,
            more_groups: self.table.groups_of(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{
        HOUSE, client, filter, publishes, subscribed, table, topic, with_id,
    };
    use super::super::subscription::SubscriptionDecision;
    use super::*;

    #[test]
    fn a_deny_wins_an_allow_allows_and_the_rest_is_denied() {
        let table = table(HOUSE);
        let meter = client(&table, "meter-1", &[]);
        publishes(&meter, "home/meter-1/temperature", true);
        publishes(&meter, "home/meter-2/temperature", false);
        publishes(&meter, "home/meter-1/a/b", false);
        assert!(meter.may_retain(topic("home/meter-1/status")).is_ok());
        assert!(
            meter
                .may_set_will(topic("home/meter-1/status"), true)
                .is_ok()
        );
        assert!(
            meter
                .may_set_will(topic("home/meter-2/status"), false)
                .is_err()
        );
        let denial = meter.may_publish(topic("secret/key")).expect_err("denied");
        let text = "meter-1 may not publish to secret/key (home.access:6: deny everyone -@admin publish subscribe secret/# $gateway/#)";
        assert_eq!(denial.text("meter-1", "secret/key"), text);
        assert_eq!(
            denial.rule().map(AccessRule::place),
            Some(("home.access", 6))
        );
        let denial = meter.may_publish(topic("home/door")).expect_err("denied");
        assert_eq!(
            denial.text("meter-1", "home/door"),
            "meter-1 may not publish to home/door (no rule allows it)"
        );
        publishes(&client(&table, "root", &["admin"]), "secret/key", true);
        publishes(&client(&table, "root", &["admin"]), "$gateway/x", true);
        publishes(&client(&table, "ann", &["family"]), "$gateway/x", false);
        let anonymous = client(&table, "anonymous", &[]);
        assert!(anonymous.may_see(topic("public/a")) && !anonymous.may_see(topic("home/a")));
    }

    #[test]
    fn a_client_that_may_do_all_need_not_be_looked_up_unless_a_rule_takes_a_part_away() {
        let unbounded = |text: &str, name: &str| {
            let permissions = client(&table(text), name, &[]);
            (
                permissions.subscribes_anywhere(),
                permissions.publishes_anywhere(),
            )
        };
        for (text, expected) in [
            ("allow everyone all\n", (true, true)),
            ("allow everyone all\ndeny carl all\n", (true, true)),
            ("allow everyone -ann all\n", (false, false)),
            ("allow everyone subscribe #\n", (false, false)),
            ("allow everyone subscribe:narrow #\n", (false, false)),
            ("allow everyone all\ndeny ann subscribe a\n", (false, true)),
            ("allow everyone all\ndeny known retain a\n", (true, false)),
        ] {
            assert_eq!(unbounded(text, "ann"), expected, "{text}");
        }
    }

    #[test]
    fn placeholders_are_one_level_or_the_rule_counts_for_no_client() {
        let table = table(
            "allow everyone publish u/%u/x c/%c c-%c-d/y g/%g/%g\ndeny everyone publish c/own\nallow everyone publish pc/100%%\n",
        );
        let ann = with_id(&table, "ann", &["g1", "g2"], Some("c 1"));
        for (text, expected) in [
            ("u/ann/x", true),
            ("u/bob/x", false),
            ("u/%u/x", false),
            (r"c/c\s1", true),
            (r"c-c\s1-d/y", true),
            ("g/g1/g1", true),
            ("g/g1/g2", false),
            ("pc/100%", true),
        ] {
            publishes(&ann, text, expected);
        }
        assert!(ann.rule_without_value().is_none());
        for id in ["a/b", "+", "#", "", "$SYS", "a\u{1}"] {
            let strange = with_id(&table, "ann", &[], Some(id));
            publishes(&strange, "u/ann/x", false);
            publishes(&strange, "pc/100%", true);
            let rule = strange.rule_without_value().expect("it is told");
            assert_eq!(rule.place(), ("home.access", 1), "{id}");
        }
        assert!(client(&table, "ann", &[]).rule_without_value().is_none());
        // One that is about others is no matter.
        let table = self::table(
            "allow ann publish a\nallow bob publish c/%c\nallow everyone -ann publish c/%c\n",
        );
        let strange = with_id(&table, "ann", &[], Some("+"));
        assert!(strange.rule_without_value().is_none());
    }

    #[test]
    fn members_of_a_room_may_do_what_no_rule_denies() {
        let table = table(
            "allow ann publish a\nallow everyone nick ann\ndeny room:7 publish b\ndeny everyone nick x*\n",
        );
        let identity = Arc::new(ClientIdentity::of_room(7));
        let member = table.permissions(Subject {
            identity: &identity,
            client_id: None,
        });
        publishes(&member, "any", true);
        publishes(&member, "b", false);
        assert_eq!(subscribed(&member, "any"), "granted");
        assert!(member.may_use_nick("bob").is_ok() && member.may_use_nick("xavier").is_err());
        let other = client(&table, "bob", &[]);
        publishes(&other, "any", false);
        assert!(other.may_use_nick("bob").is_err());
    }

    #[test]
    fn what_a_group_shares_is_seen_by_its_members_alone() {
        let table = table("allow ann share:workers jobs/#\n");
        let ann = client(&table, "ann", &[]);
        for (group, text, is_seen) in [
            ("workers", "jobs/a", true),
            ("workers", "other", false),
            ("night", "jobs/a", false),
        ] {
            let seen = ann.may_see_shared(group, topic(text));
            assert_eq!(seen, is_seen, "{group} {text}");
        }
        assert!(!ann.may_see(topic("jobs/a")));
    }

    #[test]
    fn names_are_free_until_a_rule_binds_them() {
        let table = table(HOUSE);
        let meter = client(&table, "meter-1", &[]);
        assert!(meter.may_use_client_id("meter-meter-1x").is_ok());
        assert!(
            meter.may_use_client_id("meter-1").is_err() && meter.may_use_nick("meter-2").is_err()
        );
        let ann = client(&table, "ann", &["family"]);
        assert!(ann.may_use_client_id("anything").is_ok() && ann.may_use_nick("ann").is_ok());
        let denial = ann.may_use_nick("bob").expect_err("it is bound");
        assert_eq!(
            denial.text("ann", "bob"),
            "ann may not use the name bob (no rule allows it)"
        );
        assert!(client(&table, "anonymous", &[]).may_use_nick("bob").is_ok());
        let table = self::table("deny everyone -ann nick ann admin*\n");
        assert!(client(&table, "ann", &[]).may_use_nick("ann").is_ok());
        assert!(
            client(&table, "bob", &[])
                .may_use_nick("administrator")
                .is_err()
        );
    }

    #[test]
    fn one_that_some_rule_allows_something_may_do_something() {
        let table = table(
            "allow bob publish a\nallow everyone -ann publish b\nallow known publish c/%c\n\
             deny ann publish d\n",
        );
        for (name, client_id, may) in [
            ("bob", None, true),
            ("ann", None, false),
            ("ann", Some("+"), false),
            ("ann", Some("c1"), true),
            ("anonymous", None, true),
        ] {
            let permissions = with_id(&table, name, &[], client_id);
            assert_eq!(permissions.may_anything(), may, "{name} {client_id:?}");
        }
        let nothing = self::table("deny everyone publish d\n");
        for is_operator in [true, false] {
            let identity = Arc::new(ClientIdentity::of_unix_peer("root", 0, is_operator));
            let subject = Subject {
                identity: &identity,
                client_id: None,
            };
            assert_eq!(nothing.permissions(subject).may_anything(), is_operator);
        }
    }

    #[test]
    fn all_with_filters_is_all_that_has_topics_there() {
        let table = table("allow ann all b/#\nallow bob inquire\nallow carl inquire:who\n");
        let ann = client(&table, "ann", &[]);
        publishes(&ann, "b/a", true);
        publishes(&ann, "a", false);
        assert!(ann.may_block().is_err() && ann.may_inquire("who").is_err());
        let [bob, carl] = ["bob", "carl"].map(|name| client(&table, name, &[]));
        assert!(bob.may_inquire("who").is_ok() && bob.may_inquire("topics").is_ok());
        assert_eq!(subscribed(&bob, "$SYS/broker/#"), "granted");
        assert!(subscribed(&carl, "$SYS/broker/#").contains("no rule"));
    }

    #[test]
    fn inquiries_blocks_and_orders_are_rights() {
        let table = table(
            "allow ann inquire:why inquire:broker block\nallow @admin admin\nallow bob all\ndeny bob inquire:who\n",
        );
        let ann = client(&table, "ann", &[]);
        assert!(
            ann.may_inquire("why").is_ok()
                && ann.may_inquire("who").is_err()
                && ann.may_block().is_ok()
        );
        assert_eq!(subscribed(&ann, "$SYS/broker/#"), "granted");
        publishes(&ann, "$SYS/request/who", true);
        let bob = client(&table, "bob", &[]);
        assert!(
            bob.may_inquire("why").is_ok()
                && bob.may_inquire("who").is_err()
                && bob.may_block().is_ok()
        );
        assert!(!bob.is_admin() && client(&table, "bob", &["admin"]).is_admin());
        let carl = client(&table, "carl", &[]);
        let denial = carl.may_inquire("who").expect_err("no rule");
        assert_eq!(
            denial.text("carl", "who"),
            "carl may not inquire who (no rule allows it)"
        );
        assert_eq!(
            carl.may_block().expect_err("no rule").text("carl", ""),
            "carl may not subscribe with slow=block (no rule allows it)"
        );
        assert!(!subscribed(&carl, "$SYS/broker/uptime").starts_with("granted"));
    }

    #[test]
    fn topics_for_one_client_are_seen_by_others_only_where_a_rule_names_them() {
        let table = table(
            "allow known all\nallow @admin subscribe $SYS/# $reply/# $private/#\nallow bob subscribe $SYS/broker/#\n",
        );
        let ann = with_id(&table, "ann", &[], Some("c1"));
        for (filter, decided) in [
            ("$reply/a", "granted"),
            ("$private/a/b", "granted"),
            ("$SYS/gap/c1", "granted"),
            ("$SYS/denied/c1", "granted"),
            ("$SYS/broker/#", "granted"),
            ("$SYS/#", "sieved"),
            ("$SYS/+/c1", "sieved"),
            ("#", "granted"),
            ("$other/#", "granted"),
        ] {
            assert_eq!(subscribed(&ann, filter), decided, "{filter}");
        }
        for filter in [
            "$reply/#",
            "$reply/+",
            "$private/a/+",
            "$SYS/gap/c2",
            "$SYS/gap/#",
            "$SYS/denied/+",
        ] {
            assert!(
                subscribed(&ann, filter).contains("no rule allows it"),
                "{filter}"
            );
        }
        // To publish is not to see.
        publishes(&ann, "$SYS/gap/c2", true);
        let SubscriptionDecision::Sieved(sieve) = ann.subscription(filter("$SYS/#")) else {
            panic!("it is sieved");
        };
        assert!(
            sieve.lets_through(topic("$SYS/broker/uptime"))
                && sieve.lets_through(topic("$SYS/gap/c1"))
        );
        assert!(!sieve.lets_through(topic("$SYS/gap/c2")));
        let admin = client(&table, "root", &["admin"]);
        for filter in ["$reply/#", "$private/+", "$SYS/#", "$SYS/gap/c2"] {
            assert_eq!(subscribed(&admin, filter), "granted", "{filter}");
        }
        let table = self::table("allow bob subscribe a\ndeny everyone publish $reply/x\n");
        let bob = with_id(&table, "bob", &[], Some("c1"));
        assert_eq!(
            (
                &*subscribed(&bob, "$reply/x"),
                &*subscribed(&bob, "$SYS/gap/c1")
            ),
            ("granted", "granted")
        );
        publishes(&bob, "$reply/y", true);
        publishes(&bob, "$reply/x", false);
        assert!(subscribed(&bob, "$reply/+").contains("no rule"));
        let none = with_id(&table, "carl", &[], Some("c1"));
        assert!(
            subscribed(&none, "$SYS/gap/c1").contains("no rule")
                && !none.may_see(topic("$reply/x"))
        );
    }

    #[test]
    fn a_token_leaves_less_and_never_more() {
        let table = table(
            "allow ann publish subscribe home/#\nallow ann inquire:who\nallow bob subscribe:narrow home/#\n",
        );
        let token = AccessTable::of_token([
            ("publish", vec!["home/a/#", "other"]),
            ("subscribe", vec!["home/+/x"]),
            ("retain", vec![]),
        ]);
        let token = Arc::new(token.expect("it is right"));
        let ann = client(&table, "ann", &[]).narrowed_by(&token);
        publishes(&ann, "home/a/b", true);
        publishes(&ann, "other", false);
        let denial = ann.may_publish(topic("home/b")).expect_err("narrowed");
        assert_eq!(
            denial.text("ann", "home/b"),
            "ann may not publish to home/b (the token does not allow it)"
        );
        assert_eq!(subscribed(&ann, "home/1/x"), "granted");
        let refused = "X may not subscribe to home/# (the token does not allow it)";
        assert_eq!(subscribed(&ann, "home/#"), refused);
        assert!(ann.may_inquire("who").is_err() && !ann.may_see(topic("home/1/y")));
        let bob = client(&table, "bob", &[]).narrowed_by(&token);
        assert_eq!(subscribed(&bob, "home/#"), "sieved");
        assert!(subscribed(&bob, "home/a").contains("the token does not allow it"));
        let asking = AccessTable::of_token([("inquire:who", vec![])]).expect("right");
        let asking = client(&table, "ann", &[]).narrowed_by(&Arc::new(asking));
        assert!(asking.may_inquire("who").is_ok() && asking.may_block().is_err());
        let twice = ann.narrowed_by(&Arc::new(
            AccessTable::of_token([("publish", vec!["home/a/b"])]).expect("right"),
        ));
        publishes(&twice, "home/a/b", true);
        publishes(&twice, "home/a/c", false);
        let nothing = AccessTable::of_token([]).expect("right");
        publishes(&ann.narrowed_by(&Arc::new(nothing)), "home/a/b", false);
        assert!(
            AccessTable::of_token([("pubish", vec!["a"])])
                .expect_err("no right")
                .contains("`publish` is one")
        );
        assert!(AccessTable::of_token([("publish", vec!["a#"])]).is_err());
    }

    #[test]
    fn what_is_shown_harms_no_terminal() {
        let table = table("allow ann publish a\n");
        let ann = client(&table, "ann", &[]);
        let denial = ann.may_publish(topic("b")).expect_err("denied");
        assert_eq!(
            denial.text("a\u{9b}b", "c\u{202e}"),
            "a\\u{9b}b may not publish to c\\u{202e} (no rule allows it)"
        );
    }
}
