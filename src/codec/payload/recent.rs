//! What was heard a short while ago, so that a frame that is sent several times is stored once: a memory with a bound.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

/// What an entry is known by: the first 16 bytes of a SHA-256.
pub type Key = [u8; 16];

/// The key of some parts, each told apart from the next.
pub fn key<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Key {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    let mut key = Key::default();
    key.copy_from_slice(&digest.finalize()[..16]);
    key
}

/// The last entries, at most as many as `capacity`; the oldest is forgotten for a new one.
#[derive(Clone, Debug)]
pub struct Recent<V> {
    capacity: usize,
    entries: HashMap<Key, (V, u64)>,
    /// Keys in the order in which they came, with the number of their entry; those of entries that came anew are stale.
    order: VecDeque<(Key, u64)>,
    next: u64,
}

impl<V> Recent<V> {
    /// An empty memory for `capacity` entries.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, entries: HashMap::new(), order: VecDeque::new(), next: 0 }
    }

    /// What is remembered of `key`.
    pub fn get(&self, key: &Key) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// Remembers `value`, as the newest entry.
    pub fn put(&mut self, key: Key, value: V) {
        self.entries.insert(key, (value, self.next));
        self.order.push_back((key, self.next));
        self.next += 1;
        while self.entries.len() > self.capacity || self.order.len() > self.capacity.saturating_mul(2) {
            let Some((oldest, number)) = self.order.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|(_, of)| *of == number) {
                self.entries.remove(&oldest);
            }
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let of = |n: u32| key([&n.to_le_bytes()[..]]);
        let mut recent = Recent::new(3);
        for n in 0..3 {
            recent.put(of(n), n);
        }
        recent.put(of(0), 10);
        recent.put(of(3), 3);
        assert_eq!(recent.get(&of(0)), Some(&10));
        assert_eq!((recent.get(&of(1)), recent.get(&of(2)), recent.get(&of(3))), (None, Some(&2), Some(&3)));
        for _ in 0..1000 {
            recent.put(of(7), 7);
        }
        assert!(recent.len() <= 3 && recent.order.len() <= 6);
        assert_eq!(recent.get(&of(7)), Some(&7));
    }

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(key([&b"ab"[..], b"c"]), key([&b"a"[..], b"bc"]));
    }
}
