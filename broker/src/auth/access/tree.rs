//! The filters of all rules as one tree, shared by all subjects: placeholders are levels of their own, and are
//! compared with the values of the subject that asks.
//!
//! What a rule gives to whom has a root, so a search meets the rules of its subject alone.

use std::collections::HashMap;
use std::ops::ControlFlow;

use foldhash::fast::RandomState;

use super::pattern::{FilterPattern, LevelPattern, Placeholder, PlaceholderValues};

/// The place of a rule in its table, in the order in which they are told.
pub(super) type RuleId = u32;

/// A place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u32);

/// A level that some filter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LevelId(u32);

/// Filters with the rules that have them.
#[derive(Debug, Default)]
pub(super) struct RuleTree {
    nodes: Vec<RuleNode>,
    children: HashMap<(NodeId, LevelId), NodeId, RandomState>,
    /// By their text, or by [`template_key`].
    ids: HashMap<Box<str>, LevelId, RandomState>,
    /// By their numbers.
    levels: Vec<LevelPattern>,
}

#[derive(Debug, Default)]
struct RuleNode {
    /// Rules of which a filter ends here; at a root those that are about all topics.
    ending: Vec<RuleId>,
    /// Rules of which a filter ends here with a `#` that stands for all below.
    below: Vec<RuleId>,
    plus: Option<NodeId>,
    children: Vec<(LevelId, NodeId)>,
    has_templates: bool,
}

/// A filter or a topic that is searched for.
#[derive(Debug)]
pub(super) struct SearchedFilter<'a> {
    levels: Vec<SearchedLevel<'a>>,
    /// Whether its first level begins with `$`, so that no wildcard matches it.
    is_hidden: bool,
}

#[derive(Clone, Copy, Debug)]
enum SearchedLevel<'a> {
    Plus,
    Hash,
    Literal(&'a str, Option<LevelId>),
}

/// Which filters are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// The searched filter lies within them.
    Around,
    /// They have a topic in common with the searched filter.
    Overlapping,
}

/// What a search calls for each rule that it finds. A rule may be found twice.
type Visit<'v> = &'v mut dyn FnMut(RuleId) -> ControlFlow<()>;

impl RuleTree {
    pub(super) fn add_root(&mut self) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("a file is too short for this"));
        self.nodes.push(RuleNode::default());
        id
    }

    /// Adds a rule that is not about topics, or about all of them.
    pub(super) fn add_everywhere(&mut self, root: NodeId, rule: RuleId) {
        self.node_mut(root).ending.push(rule);
    }

    /// The rules that were added so.
    pub(super) fn everywhere(&self, root: NodeId) -> &[RuleId] {
        &self.node(root).ending
    }

    /// Adds a filter of a rule.
    pub(super) fn add(&mut self, root: NodeId, filter: &FilterPattern, rule: RuleId) {
        let mut node = root;
        for level in &filter.levels {
            node = match level {
                LevelPattern::Hash => {
                    self.node_mut(node).below.push(rule);
                    return;
                }
                LevelPattern::Plus => match self.node(node).plus {
                    Some(next) => next,
                    None => {
                        let next = self.add_root();
                        self.node_mut(node).plus = Some(next);
                        next
                    }
                },
                LevelPattern::Literal(_) | LevelPattern::Template { .. } => self.child(node, level),
            };
        }
        self.node_mut(node).ending.push(rule);
    }

    fn child(&mut self, node: NodeId, level: &LevelPattern) -> NodeId {
        let key = match level {
            LevelPattern::Template {
                before,
                placeholder,
                after,
            } => template_key(before, *placeholder, after),
            LevelPattern::Literal(text) => text.as_ref().to_owned(),
            LevelPattern::Plus | LevelPattern::Hash => unreachable!("a wildcard has no number"),
        };
        let id = match self.ids.get(&*key) {
            Some(id) => *id,
            None => {
                let id = LevelId(u32::try_from(self.levels.len()).expect("fewer than nodes"));
                self.levels.push(level.clone());
                self.ids.insert(key.into(), id);
                id
            }
        };
        if let Some(child) = self.children.get(&(node, id)) {
            return *child;
        }
        let child = self.add_root();
        self.children.insert((node, id), child);
        let is_template = matches!(level, LevelPattern::Template { .. });
        let parent = self.node_mut(node);
        parent.children.push((id, child));
        parent.has_templates |= is_template;
        child
    }

    /// Prepares a topic, or a filter without its group.
    pub(super) fn searched<'a>(&self, pattern: &'a str) -> SearchedFilter<'a> {
        let level = |text: &'a str| match text {
            "+" => SearchedLevel::Plus,
            "#" => SearchedLevel::Hash,
            _ => SearchedLevel::Literal(text, self.ids.get(text).copied()),
        };
        SearchedFilter {
            levels: pattern.split('/').map(level).collect(),
            is_hidden: pattern.starts_with('$'),
        }
    }

    /// Calls `visit` for each rule below a root of which a filter has this relation to the searched one.
    pub(super) fn search(
        &self,
        root: NodeId,
        searched: &SearchedFilter<'_>,
        relation: Relation,
        values: &PlaceholderValues<'_>,
        visit: Visit<'_>,
    ) -> ControlFlow<()> {
        let mut search = TreeSearch {
            tree: self,
            searched,
            relation,
            values,
            visit,
        };
        search.walk(root, 0, None)
    }

    fn node(&self, id: NodeId) -> &RuleNode {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut RuleNode {
        &mut self.nodes[id.0 as usize]
    }
}

/// A search on its way.
struct TreeSearch<'s, 'v> {
    tree: &'s RuleTree,
    searched: &'s SearchedFilter<'s>,
    relation: Relation,
    values: &'s PlaceholderValues<'s>,
    visit: Visit<'v>,
}

impl<'s> TreeSearch<'_, 's> {
    fn visit_all(&mut self, rules: &[RuleId]) -> ControlFlow<()> {
        rules.iter().try_for_each(|rule| (self.visit)(*rule))
    }
}

impl<'s> TreeSearch<'s, '_> {
    /// Goes on from a node whose filters fit up to the level `at`. `group` is the one that fits `%g`, if it was
    /// among them.
    fn walk(&mut self, id: NodeId, at: usize, group: Option<&'s str>) -> ControlFlow<()> {
        let node = self.tree.node(id);
        let is_first = at == 0;
        // A leading wildcard matches no topic that begins with `$`.
        let are_wildcards_out = is_first && self.searched.is_hidden;
        if !are_wildcards_out {
            self.visit_all(&node.below)?;
        }
        let Some(level) = self.searched.levels.get(at) else {
            return self.visit_all(&node.ending);
        };
        match (*level, self.relation) {
            // `+/#` is another way to write `#`, because every topic has a level.
            (SearchedLevel::Hash, Relation::Around) => match node.plus {
                Some(plus) if is_first => self.visit_all(&self.tree.node(plus).below),
                _ => ControlFlow::Continue(()),
            },
            (SearchedLevel::Hash, Relation::Overlapping) => self.visit_below(id, is_first, group),
            (SearchedLevel::Plus, Relation::Around) => self.walk_plus(node, at, group),
            (SearchedLevel::Plus, Relation::Overlapping) => {
                self.walk_plus(node, at, group)?;
                for (level, child) in &node.children {
                    for group in self.choices(*level, is_first, group) {
                        self.walk(*child, at + 1, group)?;
                    }
                }
                ControlFlow::Continue(())
            }
            (SearchedLevel::Literal(text, level), _) => {
                if !are_wildcards_out {
                    self.walk_plus(node, at, group)?;
                }
                if let Some(level) = level
                    && let Some(child) = self.tree.children.get(&(id, level))
                {
                    self.walk(*child, at + 1, group)?;
                }
                if node.has_templates {
                    self.walk_templates(id, text, at, group)?;
                }
                ControlFlow::Continue(())
            }
        }
    }

    fn walk_plus(&mut self, node: &RuleNode, at: usize, group: Option<&'s str>) -> ControlFlow<()> {
        match node.plus {
            Some(plus) => self.walk(plus, at + 1, group),
            None => ControlFlow::Continue(()),
        }
    }

    /// Follows the placeholders whose value, with what is around it, is this text.
    fn walk_templates(
        &mut self,
        id: NodeId,
        text: &'s str,
        at: usize,
        group: Option<&'s str>,
    ) -> ControlFlow<()> {
        for placeholder in [Placeholder::User, Placeholder::Client, Placeholder::Group] {
            for value in self.values.of(placeholder, group) {
                let starts = text.char_indices().map(|(start, _)| start);
                for start in starts.filter(|start| text[*start..].starts_with(value)) {
                    let after = &text[start + value.len()..];
                    let key = template_key(&text[..start], placeholder, after);
                    let Some(level) = self.tree.ids.get(&*key) else {
                        continue;
                    };
                    let Some(child) = self.tree.children.get(&(id, *level)) else {
                        continue;
                    };
                    let group = match placeholder {
                        Placeholder::Group => Some(value),
                        Placeholder::User | Placeholder::Client => group,
                    };
                    self.walk(*child, at + 1, group)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// All rules at a node and below it, but for those that end at a root or are behind its `#`.
    fn visit_below(
        &mut self,
        id: NodeId,
        is_first: bool,
        group: Option<&'s str>,
    ) -> ControlFlow<()> {
        let node = self.tree.node(id);
        if !is_first {
            self.visit_all(&node.ending)?;
        }
        if let Some(plus) = node.plus {
            self.visit_all(&self.tree.node(plus).below)?;
            self.visit_below(plus, false, group)?;
        }
        for (level, child) in &node.children {
            for group in self.choices(*level, is_first, group) {
                self.visit_all(&self.tree.node(*child).below)?;
                self.visit_below(*child, false, group)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// How a wildcard can go through a level: not at all if the subject has no value for it, else with the group
    /// that is chosen then.
    fn choices(
        &self,
        level: LevelId,
        is_first: bool,
        group: Option<&'s str>,
    ) -> Vec<Option<&'s str>> {
        let (start, placeholder) = match &self.tree.levels[level.0 as usize] {
            LevelPattern::Literal(text) => (text, None),
            LevelPattern::Template {
                before,
                placeholder,
                ..
            } => (before, Some(*placeholder)),
            LevelPattern::Plus | LevelPattern::Hash => return vec![group],
        };
        if is_first && start.starts_with('$') {
            return Vec::new();
        }
        match placeholder {
            None => vec![group],
            Some(Placeholder::Group) => {
                let groups = self.values.of(Placeholder::Group, group);
                groups.into_iter().map(Some).collect()
            }
            Some(other) => match self.values.of(other, group).is_empty() {
                true => Vec::new(),
                false => vec![group],
            },
        }
    }
}

/// A level with a placeholder by a text that no topic has as a level.
fn template_key(before: &str, placeholder: Placeholder, after: &str) -> String {
    let sign = match placeholder {
        Placeholder::User => "\u{1}u\u{1}",
        Placeholder::Client => "\u{1}c\u{1}",
        Placeholder::Group => "\u{1}g\u{1}",
    };
    [before, sign, after].concat()
}
