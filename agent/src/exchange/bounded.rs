//! A map that never grows beyond its limit: the entry that came first gives way, and the caller is told.

use std::hash::Hash;

use foldhash::fast::RandomState;
use lru::LruCache;

/// Entries by key, those that were touched longest ago first to go.
#[derive(Debug)]
pub(crate) struct Bounded<K: Eq + Hash, V> {
    limit: usize,
    entries: LruCache<K, V, RandomState>,
}

impl<K: Eq + Hash, V> Bounded<K, V> {
    pub(crate) fn new(limit: usize) -> Self {
        // It grows with what is in it: a cache with a capacity would take its room at once.
        Self { limit: limit.max(1), entries: LruCache::unbounded_with_hasher(RandomState::default()) }
    }

    /// Inserts as the youngest, and returns what had to go for it: the former value of the key, or the oldest entry.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        let former = self.entries.push(key, value);
        if former.is_none() && self.entries.len() > self.limit { self.entries.pop_lru() } else { former }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.pop(key)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.peek(key)
    }

    /// The value of a key, which becomes the youngest.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// The keys, oldest first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().rev().map(|(key, _)| key)
    }

    pub(crate) fn len(&self) -> usize {
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
