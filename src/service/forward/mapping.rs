//! The table of UDP mappings: bounded, least recently used goes first, idle ones time out.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How stale an entry's place in the order may be. Saves a re-ordering per datagram.
const GRANULARITY: Duration = Duration::from_millis(500);

/// What a mapping is for, and when it was last of use.
#[derive(Debug)]
struct Entry<V> {
    value: V,
    /// Key of this entry in the order of use.
    place: (Instant, u64),
}

/// Values by key, at most `capacity` of them, none idle for longer than `idle`.
#[derive(Debug)]
pub(super) struct MappingTable<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Oldest use first. The number tells entries of one instant apart.
    order: BTreeMap<(Instant, u64), K>,
    next: u64,
    capacity: usize,
    idle: Duration,
}

impl<K: Copy + Eq + Hash, V> MappingTable<K, V> {
    /// An empty table; `capacity` of zero counts as one.
    pub(super) fn new(capacity: usize, idle: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
            capacity: capacity.max(1),
            idle,
        }
    }

    /// Mappings held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The mapping of `key`, marked as used at `now`.
    pub(super) fn get(&mut self, key: &K, now: Instant) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        if now.saturating_duration_since(entry.place.0) >= GRANULARITY {
            self.order.remove(&entry.place);
            entry.place = (now, self.next);
            self.next += 1;
            self.order.insert(entry.place, *key);
        }
        Some(&mut entry.value)
    }

    /// Adds a mapping. Returns what had to go for it: the old value of `key`, or the mapping that
    /// was not used for the longest time.
    pub(super) fn insert(&mut self, key: K, value: V, now: Instant) -> Option<(K, V)> {
        let old = self.remove(&key).map(|value| (key, value));
        let evicted = (self.entries.len() >= self.capacity).then(|| self.pop_oldest());
        let place = (now, self.next);
        self.next += 1;
        self.order.insert(place, key);
        self.entries.insert(key, Entry { value, place });
        old.or(evicted.flatten())
    }

    /// Takes a mapping out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.place);
        Some(entry.value)
    }

    /// Takes out one mapping that has been idle for too long.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(K, V)> {
        let (&(used, _), _) = self.order.first_key_value()?;
        (now >= used + self.idle)
            .then(|| self.pop_oldest())
            .flatten()
    }

    /// When [`MappingTable::expire`] has something to do, if nothing is used before.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let (&(used, _), _) = self.order.first_key_value()?;
        Some(used + self.idle)
    }

    fn pop_oldest(&mut self) -> Option<(K, V)> {
        let (_, key) = self.order.pop_first()?;
        let entry = self.entries.remove(&key)?;
        Some((key, entry.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    fn seconds(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_mapping_lives_while_it_is_used() {
        let start = Instant::now();
        let mut table = MappingTable::new(8, IDLE);
        table.insert(1, 'a', start);
        table.insert(2, 'b', start);
        assert_eq!(table.get(&1, seconds(start, 50)), Some(&mut 'a'));
        assert_eq!(table.expire(seconds(start, 59)), None);
        assert_eq!(table.expire(seconds(start, 60)), Some((2, 'b')));
        assert_eq!(table.expire(seconds(start, 60)), None);
        assert_eq!(table.next_expiry(), Some(seconds(start, 110)));
        assert_eq!(table.expire(seconds(start, 110)), Some((1, 'a')));
        assert_eq!((table.len(), table.next_expiry()), (0, None));
    }

    #[test]
    fn a_full_table_gives_up_the_least_recently_used() {
        let start = Instant::now();
        let mut table = MappingTable::new(2, IDLE);
        assert_eq!(table.insert(1, 'a', start), None);
        assert_eq!(table.insert(2, 'b', seconds(start, 1)), None);
        table.get(&1, seconds(start, 2));
        assert_eq!(table.insert(3, 'c', seconds(start, 3)), Some((2, 'b')));
        assert_eq!(table.len(), 2);
        assert!(table.get(&1, seconds(start, 3)).is_some());
    }

    #[test]
    fn inserting_again_returns_the_old_value_and_evicts_nobody() {
        let start = Instant::now();
        let mut table = MappingTable::new(2, IDLE);
        table.insert(1, 'a', start);
        table.insert(2, 'b', start);
        assert_eq!(table.insert(1, 'c', start), Some((1, 'a')));
        assert_eq!(table.remove(&2), Some('b'));
        assert_eq!(table.remove(&2), None);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn entries_of_one_instant_do_not_displace_each_other() {
        let start = Instant::now();
        let mut table = MappingTable::new(100, IDLE);
        (0..100).for_each(|key| {
            table.insert(key, key, start);
        });
        let expired: Vec<_> =
            std::iter::from_fn(|| table.expire(seconds(start, 60)).map(|(key, _)| key)).collect();
        assert_eq!(expired, (0..100).collect::<Vec<_>>());
    }
}
