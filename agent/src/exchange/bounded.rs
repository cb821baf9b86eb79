//! A map that never grows beyond its limit: the entry that came first gives way, and the caller is told.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// Entries by key, oldest first to go.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    limit: usize,
    next: u64,
    /// Boxed: a hash map has room for up to four times as many entries as are in it, and an exchange is large.
    entries: HashMap<K, (u64, Box<V>)>,
    ages: BTreeMap<u64, K>,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), next: 0, entries: HashMap::new(), ages: BTreeMap::new() }
    }

    /// Inserts as the youngest, and returns what had to go for it: the former value of the key, or the oldest entry.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        let mut gone = self.remove(&key).map(|value| (key, value));
        if gone.is_none() && self.entries.len() >= self.limit {
            gone = self.ages.pop_first().and_then(|(_, oldest)| self.entries.remove(&oldest).map(|(_, value)| (oldest, *value)));
        }
        self.ages.insert(self.next, key);
        self.entries.insert(key, (self.next, Box::new(value)));
        self.next += 1;
        gone
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (age, value) = self.entries.remove(key)?;
        self.ages.remove(&age);
        Some(*value)
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| &**value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| &mut **value)
    }

    /// The keys, oldest first.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.ages.values()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let mut map = Bounded::new(2);
        assert_eq!(map.insert("a", 1), None);
        assert_eq!(map.insert("b", 2), None);
        assert_eq!(map.insert("a", 3), Some(("a", 1)), "the former value, not an eviction");
        assert_eq!(map.insert("c", 4), Some(("b", 2)), "b is older than the new a");
        assert_eq!(map.len(), 2);
        assert_eq!(map.keys().copied().collect::<Vec<_>>(), ["a", "c"]);
    }
}
