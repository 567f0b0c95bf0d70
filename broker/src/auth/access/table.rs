//! The rules of all files, by whom they are about.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::effect::Effect;
use super::limit::{AddressLimits, IdentityLimits, LimitLine, LimitSubject, Nearness, TableLimit};
use super::pattern::{FilterPattern, Placeholder};
use super::reader::{AccessParts, read_files, read_text};
use super::right::{AccessRight, RightKind};
use super::rule::{AccessRule, Who};
use super::tree::{NodeId, RuleId, RuleTree};
use crate::auth::identity::{ClientIdentity, IdentityName};

/// What the access files say. It never changes.
#[derive(Debug)]
pub struct AccessTable {
    rules: Vec<TableRule>,
    tree: RuleTree,
    /// Where the filters begin that are for someone, with an effect, of a kind.
    roots: HashMap<(WhoId, Effect, RightKind), NodeId, RandomState>,
    names: HashMap<Box<str>, WhoId, RandomState>,
    groups: HashMap<Box<str>, WhoId, RandomState>,
    /// The rules that allow something, by whom they are about.
    allowing: Vec<Vec<RuleId>>,
    limits: Vec<TableLimit<WhoId>>,
    /// Those of [`Self::limits`] that are about someone.
    limiting: HashMap<WhoId, Vec<usize>, RandomState>,
    address_limits: AddressLimits,
    limit_count: usize,
    /// The groups that files say for a name.
    groups_of: BTreeMap<Box<str>, Box<[Box<str>]>>,
    /// Whether any rule narrows filters.
    has_narrowing: bool,
}

/// A rule, and whom it is about.
#[derive(Debug)]
pub(super) struct TableRule {
    pub(super) rule: Arc<AccessRule>,
    pub(super) who: Box<[WhoId]>,
    pub(super) except: Box<[WhoId]>,
    pub(super) uses_client: bool,
}

/// Someone that a rule is about, or leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WhoId(u32);

const EVERYONE: WhoId = WhoId(0);
const KNOWN: WhoId = WhoId(1);
const ANONYMOUS: WhoId = WhoId(2);

/// The name of clients that have not said who they are.
pub(super) const ANONYMOUS_NAME: &str = "anonymous";

/// Rules of a broker that asks no client for its name.
const OPEN: &str = "\
allow everyone all
allow everyone subscribe $SYS/#
allow @admin   admin
";

/// Rules of a broker that has users, but no access file.
const KNOWN_USERS: &str = "\
allow known         all
deny  known -@admin block inquire:filters inquire:who inquire:why
allow @admin        admin
allow @admin        subscribe $SYS/# $reply/# $private/#
";

/// Where the figures of the broker are, which belong to an inquiry.
const FIGURES: (&str, &str) = ("broker", "$SYS/broker/#");

impl AccessTable {
    /// Reads a file with those that it includes; with warnings. `users_groups` are the groups of all users, so
    /// that a group that is nowhere is a mistake; without them it is a warning.
    ///
    /// # Errors
    ///
    /// Why it cannot be taken, with what to do; or each mistake in it as `FILE:LINE:COLUMN: TEXT`.
    pub fn read(
        path: &Path,
        users_groups: Option<&BTreeSet<IdentityName>>,
    ) -> Result<(Self, Vec<String>), Vec<String>> {
        let mut parts = read_files(path, users_groups)?;
        let mut warnings = std::mem::take(&mut parts.warnings);
        if parts.rules.is_empty() {
            warnings.push(format!(
                "{} has no rule: everything is denied",
                path.display()
            ));
        }
        Ok((Self::new(parts), warnings))
    }

    /// Parses a text that is told as `name`.
    ///
    /// # Errors
    ///
    /// Each mistake in it as `NAME:LINE:COLUMN: TEXT`.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<String>> {
        read_text(name, text).map(Self::new)
    }

    /// Everyone may do everything, but for the orders of operators.
    #[must_use]
    pub fn open() -> Self {
        Self::built_in("open", OPEN)
    }

    /// Each user may do everything, but slow down others, inquire about them and give orders, which those in the
    /// group `admin` may. Clients without a name may do nothing.
    #[must_use]
    pub fn known() -> Self {
        Self::built_in("users", KNOWN_USERS)
    }

    /// The text of a built-in table, as a file would have it.
    #[must_use]
    pub fn built_in_texts() -> [(&'static str, &'static str); 2] {
        [("open", OPEN), ("users", KNOWN_USERS)]
    }

    /// How many rules it has.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    fn built_in(name: &str, text: &str) -> Self {
        Self::parse(name, text).expect("a test parses it")
    }

    /// A table that allows everyone what a token names, to narrow permissions by: rights, each with its filters.
    ///
    /// # Errors
    ///
    /// What is wrong, and what would be right.
    pub fn of_token<'a>(
        rights: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>,
    ) -> Result<Self, String> {
        let mut parts = AccessParts::default();
        for (line, (word, filters)) in rights.into_iter().enumerate() {
            let right = AccessRight::parse(word).map_err(|(_, why)| why)?;
            if right.takes_names() {
                return Err(format!("{word} is no right that a token names"));
            }
            let parse = |filter: &str| FilterPattern::parse(&protocol::escape_spaces(filter));
            let parsed: Result<Vec<_>, _> = filters.iter().map(|it| parse(it)).collect();
            let filters = parsed.map_err(|(_, why)| why)?;
            // No filter at all is a right for no topic.
            if filters.is_empty() && right.takes_filters() {
                continue;
            }
            parts.rules.push(AccessRule {
                effect: Effect::Allow,
                file: "token".into(),
                line: line + 1,
                text: word.into(),
                who: Box::new([Who::Everyone]),
                except: Box::new([]),
                rights: Box::new([right]),
                filters: filters.into(),
                names: Box::new([]),
            });
        }
        Ok(Self::new(parts))
    }

    fn new(parts: AccessParts) -> Self {
        let groups_of = parts.groups_of.into_iter();
        let mut table = Self {
            rules: Vec::with_capacity(parts.rules.len()),
            tree: RuleTree::default(),
            roots: HashMap::default(),
            names: HashMap::default(),
            groups: HashMap::default(),
            allowing: vec![Vec::new(); 3],
            limits: Vec::new(),
            limiting: HashMap::default(),
            address_limits: AddressLimits::default(),
            limit_count: parts.limits.len(),
            groups_of: groups_of
                .map(|(name, groups)| (name, groups.into()))
                .collect(),
            has_narrowing: parts.rules.iter().any(AccessRule::narrows),
        };
        let figures = FilterPattern::parse(FIGURES.1).expect("it is a filter");
        for rule in parts.rules {
            table.add(rule, &figures);
        }
        for line in parts.limits {
            table.add_limit(line);
        }
        table
    }

    fn add_limit(&mut self, line: Arc<LimitLine>) {
        let (who, except) = match &line.subject {
            LimitSubject::Address => return self.address_limits.add(&line),
            LimitSubject::Identities { who, except } => (who, except),
        };
        let near = |table: &mut Self, who: &Who| (table.who_id(who), Nearness::of(who));
        let who: Box<[_]> = who.iter().map(|who| near(self, who)).collect();
        let except = except.iter().map(|who| self.who_id(who)).collect();
        for (one, _) in &who {
            self.limiting
                .entry(*one)
                .or_default()
                .push(self.limits.len());
        }
        self.limits.push(TableLimit { line, who, except });
    }

    fn add(&mut self, rule: AccessRule, figures: &FilterPattern) {
        let id = RuleId::try_from(self.rules.len()).expect("a file is too short for this");
        let who: Box<[WhoId]> = rule.who.iter().map(|who| self.who_id(who)).collect();
        let except = rule.except.iter().map(|who| self.who_id(who)).collect();
        let is_everywhere = rule.is_everywhere();
        for &one in &who {
            for kind in rule.kinds() {
                let root = self.root_for(one, rule.effect, kind);
                if is_everywhere || !kind.has_topics() {
                    self.tree.add_everywhere(root, id);
                }
                if kind.has_topics() {
                    for filter in &rule.filters {
                        self.tree.add(root, filter, id);
                    }
                }
                if kind == RightKind::Inquire && rule.is_about_inquiry(FIGURES.0) {
                    let root = self.root_for(one, rule.effect, RightKind::Subscribe);
                    self.tree.add(root, figures, id);
                }
            }
            if rule.effect == Effect::Allow {
                self.allowing[one.0 as usize].push(id);
            }
        }
        self.rules.push(TableRule {
            who,
            except,
            uses_client: rule.uses(Placeholder::Client),
            rule: Arc::new(rule),
        });
    }

    fn root_for(&mut self, who: WhoId, effect: Effect, kind: RightKind) -> NodeId {
        let tree = &mut self.tree;
        let root = self.roots.entry((who, effect, kind));
        *root.or_insert_with(|| tree.add_root())
    }

    fn who_id(&mut self, who: &Who) -> WhoId {
        let (ids, name) = match who {
            Who::Everyone => return EVERYONE,
            Who::Known => return KNOWN,
            Who::Anonymous => return ANONYMOUS,
            Who::Group(name) => (&mut self.groups, name),
            Who::Name(name) => (&mut self.names, name),
        };
        if let Some(id) = ids.get(name) {
            return *id;
        }
        let id = WhoId(u32::try_from(self.allowing.len()).expect("a file is too short for this"));
        ids.insert(name.clone(), id);
        self.allowing.push(Vec::new());
        id
    }

    /// By which words rules are about a name and its groups, sorted.
    pub(super) fn who_ids(&self, name: &str, groups: &BTreeSet<IdentityName>) -> Box<[WhoId]> {
        let is_anonymous = name == ANONYMOUS_NAME;
        let mut ids = vec![EVERYONE, if is_anonymous { ANONYMOUS } else { KNOWN }];
        ids.extend(self.names.get(name));
        let groups = groups.iter().map(IdentityName::as_str);
        let groups = groups.chain(self.groups_of(name).iter().map(AsRef::as_ref));
        ids.extend(groups.filter_map(|group| self.groups.get(group)));
        ids.sort_unstable();
        ids.dedup();
        ids.into()
    }

    /// The limits of an identity, if there are any.
    #[must_use]
    pub fn limits_of(&self, identity: &ClientIdentity) -> Option<Arc<IdentityLimits>> {
        if self.limits.is_empty() {
            return None;
        }
        let ids = self.who_ids(identity.name.as_str(), &identity.groups);
        let about = ids.iter().filter_map(|id| self.limiting.get(id)).flatten();
        let lines = about.map(|line| &self.limits[*line]);
        IdentityLimits::of(lines, &ids).map(Arc::new)
    }

    /// The limits of each address.
    #[must_use]
    pub fn address_limits(&self) -> &AddressLimits {
        &self.address_limits
    }

    /// How many lines have limits.
    #[must_use]
    pub fn limit_count(&self) -> usize {
        self.limit_count
    }

    /// Lines with limits of identities, without their places.
    pub(super) fn limit_texts(&self) -> impl Iterator<Item = &str> {
        self.limits.iter().map(|limit| &*limit.line.text)
    }

    /// Each group that files name, with each of its members.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        let of_names = self.groups_of.iter();
        of_names.flat_map(|(name, groups)| groups.iter().map(move |group| (&**group, &**name)))
    }

    /// The groups that the files say for a name.
    pub(super) fn groups_of(&self, name: &str) -> &[Box<str>] {
        self.groups_of.get(name).map_or(&[], AsRef::as_ref)
    }

    pub(super) fn has_narrowing(&self) -> bool {
        self.has_narrowing
    }

    pub(super) fn tree(&self) -> &RuleTree {
        &self.tree
    }

    pub(super) fn root(&self, who: WhoId, effect: Effect, kind: RightKind) -> Option<NodeId> {
        self.roots.get(&(who, effect, kind)).copied()
    }

    pub(super) fn rule(&self, id: RuleId) -> &TableRule {
        &self.rules[id as usize]
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &TableRule> {
        self.rules.iter()
    }

    /// The rules that allow something to one that rules are about.
    pub(super) fn allowing(&self, who: WhoId) -> &[RuleId] {
        &self.allowing[who.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{client, filter, publishes, subscribed, topic, with_id};
    use super::super::subscription::SubscriptionDecision;
    use super::*;

    #[test]
    fn without_a_file_all_may_everything_or_users_may() {
        let open = Arc::new(AccessTable::open());
        let anonymous = client(&open, "anonymous", &[]);
        for filter in [
            "#",
            "$SYS/#",
            "$SYS/gap/x",
            "$share/g/a",
            "$reply/x",
            "$other/#",
        ] {
            assert_eq!(subscribed(&anonymous, filter), "granted", "{filter}");
        }
        assert!(
            anonymous.may_retain(topic("$x/a")).is_ok()
                && anonymous.may_set_will(topic("a"), true).is_ok()
        );
        assert!(
            anonymous.may_inquire("who").is_ok()
                && anonymous.may_block().is_ok()
                && !anonymous.is_admin()
        );
        assert!(
            anonymous.may_use_client_id("any").is_ok() && anonymous.may_use_nick("any").is_ok()
        );
        assert!(matches!(
            anonymous.may_read_history(filter("#")),
            SubscriptionDecision::Granted
        ));
        assert!(client(&open, "unix:root", &["admin"]).is_admin());
        let known = Arc::new(AccessTable::known());
        let anonymous = with_id(&known, "anonymous", &[], Some("c1"));
        for filter in ["#", "$SYS/#", "$SYS/gap/c1", "$share/g/a", "$reply/x"] {
            assert!(
                subscribed(&anonymous, filter).contains("may not"),
                "{filter}"
            );
        }
        publishes(&anonymous, "a", false);
        assert!(anonymous.may_inquire("broker").is_err());
        let ann = client(&known, "ann", &[]);
        publishes(&ann, "$any/a", true);
        assert_eq!(subscribed(&ann, "#"), "granted");
        assert!(
            ann.may_block().is_err()
                && ann.may_inquire("who").is_err()
                && ann.may_inquire("topics").is_ok()
        );
        assert!(!ann.is_admin());
        let admin = client(&known, "ann", &["admin"]);
        assert!(admin.may_block().is_ok() && admin.may_inquire("who").is_ok() && admin.is_admin());
        assert_eq!(subscribed(&admin, "$reply/#"), "granted");
    }
}
