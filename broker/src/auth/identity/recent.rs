//! A map that forgets: bounded, without looking for what to forget.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

/// A map with a maximum of entries. When it is full, the older half is forgotten at once.
pub(super) struct RecentMap<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    /// Maximum entries of each of the two.
    half: usize,
}

impl<K: Eq + Hash, V> RecentMap<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            half: most.div_ceil(2),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Sets a value, which counts as young from here on.
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
impl<K, V> RecentMap<K, V> {
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_half_is_forgotten_and_what_is_set_again_is_young() {
        let mut map = RecentMap::new(4);
        for key in [0, 1, 2, 0, 3] {
            map.insert(key, key * 10);
        }
        assert_eq!(
            [0, 1, 2, 3].map(|key| map.get(&key).copied()),
            [Some(0), None, Some(20), Some(30)].map(|it| it)
        );
        for key in 0..1000 {
            map.insert(key, 0);
            assert!(map.len() <= 4 && map.get(&key) == Some(&0));
        }
    }
}
