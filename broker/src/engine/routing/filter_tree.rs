//! Filters with wildcards, as a tree of levels that finds the filters that match a topic.
//!
//! Nodes are stored in one vector and refer to each other by index, so no walk recurses: neither a deep
//! filter nor dropping a large tree needs stack.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use foldhash::fast::RandomState;
use protocol::{Filter, Topic};

use crate::engine::routing::subscribers::{Counters, Group, Subscriber, Subscribers};

const ROOT: usize = 0;

/// All filters with wildcards.
pub(crate) struct FilterTree {
    nodes: Vec<Node>,
    /// Indices of unused nodes.
    free: Vec<usize>,
}

/// Who is subscribed to filters that match a topic.
#[derive(Default)]
pub(crate) struct Matched {
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) groups: Vec<Arc<Group>>,
    pub(crate) followers: Vec<Subscriber>,
    pub(crate) counters: Counters,
}

#[derive(Default)]
struct Node {
    parent: usize,
    /// Literal levels, and `#` as a level of its own.
    children: HashMap<Box<str>, usize, RandomState>,
    /// The child for `+`.
    plus: Option<usize>,
    /// The subscribers of the filter that ends at this node.
    entry: Subscribers,
}

impl FilterTree {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::default()],
            free: Vec::new(),
        }
    }

    /// Adds a subscriber to a filter.
    pub(crate) fn insert(&mut self, filter: Filter<'_>, subscriber: &Subscriber) {
        self.entry_of(filter).insert(subscriber, filter);
    }

    /// Adds a follower to a filter.
    pub(crate) fn insert_follower(&mut self, filter: Filter<'_>, subscriber: &Subscriber) {
        self.entry_of(filter).insert_follower(subscriber);
    }

    fn entry_of(&mut self, filter: Filter<'_>) -> &mut Subscribers {
        let mut at = ROOT;
        for level in filter.pattern().split('/') {
            at = match self.child(at, level) {
                Some(child) => child,
                None => self.grow(at, level),
            };
        }
        &mut self.nodes[at].entry
    }

    /// Removes a subscriber from a filter, and an unused filter from the tree. If the tree becomes
    /// empty, returns the old one, to be dropped without a lock.
    pub(crate) fn remove(&mut self, filter: Filter<'_>, id: u64) -> Option<Self> {
        let mut at = ROOT;
        for level in filter.pattern().split('/') {
            match self.child(at, level) {
                Some(child) => at = child,
                None => return None,
            }
        }
        self.nodes[at].entry.remove(id, filter);
        for level in filter.pattern().rsplit('/') {
            if !self.nodes[at].is_empty() {
                return None;
            }
            let parent = self.nodes[at].parent;
            match level {
                "+" => self.nodes[parent].plus = None,
                _ => drop(self.nodes[parent].children.remove(level)),
            }
            self.nodes[at] = Node::default();
            self.free.push(at);
            at = parent;
        }
        // All nodes are unused now, and there may be a million of them: a new tree releases them.
        self.nodes[ROOT]
            .is_empty()
            .then(|| mem::replace(self, Self::new()))
    }

    /// The subscribers of a filter.
    pub(crate) fn entry(&self, filter: Filter<'_>) -> Option<&Subscribers> {
        let mut levels = filter.pattern().split('/');
        let at = levels.try_fold(ROOT, |at, level| self.child(at, level))?;
        Some(&self.nodes[at].entry)
    }

    /// Adds the subscribers, groups, followers and counters of every filter that matches `topic`, in no order.
    pub(crate) fn collect(&self, topic: Topic<'_>, found: &mut Matched) {
        if self.nodes[ROOT].is_empty() {
            return;
        }
        let mut add = |node: usize| {
            let entry = &self.nodes[node].entry;
            found.subscribers.extend_from_slice(entry.plain());
            found.groups.extend_from_slice(entry.groups());
            found.followers.extend_from_slice(entry.followers());
            entry.collect_counters(&mut found.counters);
        };
        let levels: Vec<&str> = topic.levels().collect();
        let mut open = vec![(ROOT, 0)];
        while let Some((at, depth)) = open.pop() {
            let node = &self.nodes[at];
            // In the first level a wildcard does not match a topic that begins with `$` [MQTT-4.7.2-1].
            let wildcards = depth > 0 || !topic.is_hidden();
            // `#` matches the level above it and all below [MQTT-4.7.1-2] (3.1.1) [MQTT-4.7.1-1] (5.0).
            if wildcards && let Some(&hash) = node.children.get("#") {
                add(hash);
            }
            let Some(level) = levels.get(depth) else {
                add(at);
                continue;
            };
            // `+` matches one level, also an empty one [MQTT-4.7.1-3] (3.1.1) [MQTT-4.7.1-2] (5.0).
            if wildcards && let Some(plus) = node.plus {
                open.push((plus, depth + 1));
            }
            if let Some(&child) = node.children.get(*level) {
                open.push((child, depth + 1));
            }
        }
    }

    fn child(&self, at: usize, level: &str) -> Option<usize> {
        match level {
            "+" => self.nodes[at].plus,
            _ => self.nodes[at].children.get(level).copied(),
        }
    }

    fn grow(&mut self, parent: usize, level: &str) -> usize {
        let node = Node {
            parent,
            ..Node::default()
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        match level {
            "+" => self.nodes[parent].plus = Some(at),
            _ => drop(self.nodes[parent].children.insert(level.into(), at)),
        }
        at
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.entry.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outbox::tests::outbox;

    fn ids(tree: &FilterTree, topic: &str) -> Vec<u64> {
        let mut matched = Matched::default();
        tree.collect(Topic::parse(topic).expect("a topic"), &mut matched);
        let mut ids: Vec<u64> = matched.subscribers.iter().map(|each| each.id()).collect();
        ids.sort_unstable();
        ids
    }

    fn parsed(filter: &str) -> Filter<'_> {
        Filter::parse(filter).expect("a filter")
    }

    #[test]
    fn it_finds_what_the_filters_match() {
        let filters = [
            "#", "+", "+/+", "a/#", "a/+", "a/+/c", "+/b/#", "$SYS/#", "+/+/c", "a/b/+/#", "/+",
        ];
        let topics = [
            "a", "b", "a/b", "a/b/c", "a//c", "/", "/a", "$SYS", "$SYS/b", "$SYS/b/c", "x/b", "a/",
        ];
        let mut tree = FilterTree::new();
        for (id, filter) in filters.iter().enumerate() {
            tree.insert(parsed(filter), &outbox(id as u64, 1, 0).0);
        }
        for topic in topics {
            let expected: Vec<u64> = filters
                .iter()
                .enumerate()
                .filter(|(_, filter)| parsed(filter).matches(Topic::parse(topic).expect("a topic")))
                .map(|(id, _)| id as u64)
                .collect();
            assert_eq!(ids(&tree, topic), expected, "{topic}");
        }
    }

    #[test]
    fn filters_go_with_their_last_subscriber() {
        let mut tree = FilterTree::new();
        let (one, two) = (outbox(1, 1, 0).0, outbox(2, 1, 0).0);
        for filter in ["a/+/b", "a/#", "+"] {
            tree.insert(parsed(filter), &one);
            tree.insert(parsed(filter), &two);
        }
        tree.insert(parsed("$share/g/a/#"), &one);
        for filter in ["a/+/b", "a/#", "+", "x/+"] {
            tree.remove(parsed(filter), 1);
        }
        assert_eq!(ids(&tree, "a/x/b"), [2, 2]);
        tree.remove(parsed("$share/g/a/#"), 1);
        for filter in ["a/+/b", "a/#", "+"] {
            tree.remove(parsed(filter), 2);
        }
        assert_eq!(ids(&tree, "a/x/b"), [0; 0]);
        assert_eq!(tree.nodes.len(), 1);
    }

    #[test]
    fn the_deepest_filter_needs_no_deep_stack() {
        let deep = vec!["+"; protocol::limits::TOPIC_LEVELS].join("/");
        let topic = vec!["x"; protocol::limits::TOPIC_LEVELS].join("/");
        let mut tree = FilterTree::new();
        tree.insert(parsed(&deep), &outbox(1, 1, 0).0);
        assert_eq!(ids(&tree, &topic), [1]);
        tree.remove(parsed(&deep), 1);
        assert_eq!(tree.nodes.len(), 1);
    }

    #[test]
    fn a_filter_goes_and_those_above_below_and_beside_it_stay() {
        let mut tree = FilterTree::new();
        let one = outbox(1, 1, 0).0;
        for filter in ["a/+", "a/+/b", "a/+/c", "a/b/#", "+/+"] {
            tree.insert(parsed(filter), &one);
        }
        let nodes = tree.nodes.len();
        assert!(tree.remove(parsed("a/+/b"), 1).is_none());
        assert_eq!(ids(&tree, "a/x/b"), [0; 0]);
        assert_eq!(ids(&tree, "a/x/c"), [1]);
        assert_eq!(ids(&tree, "a/x"), [1, 1]);
        assert!(tree.remove(parsed("a/+"), 1).is_none());
        assert_eq!(ids(&tree, "a/x"), [1], "only +/+");
        assert_eq!(ids(&tree, "a/x/c"), [1], "what is below stays");
        assert!(tree.remove(parsed("a/b/#"), 1).is_none());
        assert_eq!(ids(&tree, "a/b/x/y"), [0; 0]);
        // Unused nodes are used again before new ones are added.
        for filter in ["a/+/b", "a/b/#"] {
            tree.insert(parsed(filter), &one);
        }
        assert_eq!(tree.nodes.len(), nodes);
        assert_eq!(ids(&tree, "a/x/b"), [1]);
        assert_eq!(ids(&tree, "a/b/x/y"), [1]);
    }

    #[test]
    fn the_tree_itself_comes_back_when_its_last_filter_has_gone() {
        let mut tree = FilterTree::new();
        let (one, two) = (outbox(1, 1, 0).0, outbox(2, 1, 0).0);
        tree.insert(parsed("a/+/c"), &one);
        tree.insert(parsed("a/+/c"), &two);
        for (filter, id) in [("a/+/c", 3), ("a/+", 1), ("a/x/c", 1), ("b/+", 1)] {
            assert!(tree.remove(parsed(filter), id).is_none(), "{filter}");
        }
        assert!(tree.remove(parsed("a/+/c"), 1).is_none());
        assert_eq!(ids(&tree, "a/b/c"), [2]);
        let old = tree.remove(parsed("a/+/c"), 2).expect("nothing is left");
        assert_eq!((old.nodes.len(), tree.nodes.len()), (4, 1));
        assert!(tree.entry(parsed("a/+/c")).is_none());
    }

    #[test]
    fn the_entry_of_a_filter_is_its_own() {
        let mut tree = FilterTree::new();
        tree.insert(parsed("a/+"), &outbox(7, 1, 0).0);
        let has = |filter| tree.entry(parsed(filter)).map(|entry| entry.plain().len());
        assert_eq!((has("a/+"), has("a/#"), has("+/+")), (Some(1), None, None));
    }
}
