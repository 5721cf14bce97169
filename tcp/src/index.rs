//! A hash index from keys that lie elsewhere to where they lie. Whoever looks one up touches one line of
//! memory, on a large page where there are many; and it grows by one bucket at a time (linear hashing,
//! Litwin 1980), so that no connection waits until all others have been moved.

use alloc::vec::Vec;

use crate::arena::Arena;
use crate::config::LargeMemory;

/// Entries of a bucket.
const ENTRIES: usize = 12;

/// Entries for each bucket, on average. More of them take less memory, but more of them do not find room
/// in their bucket: with so many one in sixteen on average.
const LOAD: usize = 9;

/// The tag of no entry.
const VACANT: u8 = 0;

/// No bucket follows.
const NONE: u32 = u32::MAX;

/// A line of memory.
#[derive(Debug)]
#[repr(align(64))]
struct Bucket {
    /// Seven bits of each entry's hash, so that hardly any other's key is looked at.
    tags: [u8; ENTRIES],
    indices: [u32; ENTRIES],
    /// Where those are that have no room here: a spare bucket, or [`NONE`].
    next: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    const EMPTY: Self = Self {
        tags: [VACANT; ENTRIES],
        indices: [0; ENTRIES],
        next: NONE,
    };

    /// The places of entries with this tag, as the highest bits of their bytes. Behind the first there may
    /// be one that is none.
    #[inline]
    fn matching(&self, tag: u8) -> u128 {
        const LOW: u128 = u128::from_ne_bytes([1; 16]);
        let mut tags = [VACANT; 16];
        tags.iter_mut()
            .zip(self.tags)
            .for_each(|(to, tag)| *to = tag);
        // No byte that is not zero has its highest bit here, unless one below it is.
        let differ = u128::from_le_bytes(tags) ^ (LOW * tag as u128);
        differ.wrapping_sub(LOW) & !differ & (LOW << 7)
    }

    /// Takes an entry in, if there is room.
    fn put(&mut self, tag: u8, index: u32) -> bool {
        let vacant = self.tags.iter().position(|&one| one == VACANT);
        let place = vacant.and_then(|at| Some((self.tags.get_mut(at)?, self.indices.get_mut(at)?)));
        let Some(place) = place else { return false };
        (*place.0, *place.1) = (tag, index);
        true
    }

    fn entries(&self) -> impl Iterator<Item = (u8, u32)> {
        let entries = self.tags.into_iter().zip(self.indices);
        entries.filter(|&(tag, _)| tag != VACANT)
    }
}

/// Indices by the hashes of their keys.
#[derive(Debug)]
pub(crate) struct Index {
    buckets: Arena<Bucket>,
    /// For those that find no room in theirs.
    spare: Arena<Bucket>,
    free: Vec<u32>,
    len: usize,
}

impl Index {
    pub(crate) const fn new(on_large_memory: Option<LargeMemory>) -> Self {
        Self {
            buckets: Arena::new(on_large_memory),
            spare: Arena::new(on_large_memory),
            free: Vec::new(),
            len: 0,
        }
    }

    /// How many there are.
    #[cfg(any(test, debug_assertions))]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The first index with this hash that is the one: others may have the same few bits of it.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let mut bucket = self.buckets.get(self.home(hash)?)?;
        loop {
            let mut matching = bucket.matching(tag);
            while matching != 0 {
                let at = matching.trailing_zeros() as usize / 8;
                if let Some(&index) = bucket.indices.get(at)
                    && is_it(index)
                {
                    return Some(index);
                }
                matching &= matching - 1;
            }
            if bucket.next == NONE {
                return None;
            }
            bucket = self.spare.get(bucket.next)?;
        }
    }

    /// Adds an index that is not there yet. `hash_of` tells the hash again of one that is.
    pub(crate) fn insert(&mut self, hash: u64, index: u32, hash_of: impl Fn(u32) -> u64) {
        if self.len >= self.buckets.len() as usize * LOAD {
            self.split(hash_of);
        }
        self.put(hash, index);
        self.len += 1;
    }

    /// Takes an index out.
    pub(crate) fn remove(&mut self, hash: u64, index: u32) {
        let Some(home) = self.home(hash) else { return };
        let mut bucket = self.buckets.get_mut(home);
        while let Some(here) = bucket {
            let mut entries = here.tags.iter_mut().zip(here.indices);
            if let Some((tag, _)) = entries.find(|(tag, held)| **tag != VACANT && *held == index) {
                *tag = VACANT;
                self.len -= 1;
                return;
            }
            let next = here.next;
            bucket = self.spare.get_mut(next);
        }
    }

    /// The bucket for a hash, once there is one: of two that it may have come to, the second, if it is
    /// there yet.
    #[inline]
    const fn home(&self, hash: u64) -> Option<u32> {
        let buckets = self.buckets.len();
        let Some(level) = buckets.checked_ilog2() else {
            return None;
        };
        let among = ((1_u64 << level) << 1) - 1;
        let home = (hash & among) as u32;
        Some(if home < buckets {
            home
        } else {
            home & (among >> 1) as u32
        })
    }

    /// One bucket more: half of what one of them has goes there.
    fn split(&mut self, hash_of: impl Fn(u32) -> u64) {
        let buckets = self.buckets.len();
        let halved = buckets
            .checked_ilog2()
            .map_or(0, |level| buckets - (1 << level));
        self.buckets.push(Bucket::EMPTY);
        let Some(home) = self.buckets.get_mut(halved) else {
            return;
        };
        let mut old = core::mem::replace(home, Bucket::EMPTY);
        loop {
            for (_, index) in old.entries() {
                self.put(hash_of(index), index);
            }
            let Some(next) = self.spare.get_mut(old.next) else {
                return;
            };
            self.free.push(old.next);
            old = core::mem::replace(next, Bucket::EMPTY);
        }
    }

    /// Puts an index into its bucket, or one behind it.
    fn put(&mut self, hash: u64, index: u32) {
        let Some(home) = self.home(hash) else { return };
        let tag = tag(hash);
        let mut bucket = self.buckets.get_mut(home);
        let mut last = NONE;
        while let Some(here) = bucket {
            if here.put(tag, index) {
                return;
            }
            if here.next == NONE {
                break;
            }
            last = here.next;
            bucket = self.spare.get_mut(last);
        }
        let mut more = Bucket::EMPTY;
        more.put(tag, index);
        let next = self.add_spare(more);
        let last = if last == NONE {
            self.buckets.get_mut(home)
        } else {
            self.spare.get_mut(last)
        };
        if let Some(last) = last {
            last.next = next;
        }
    }

    fn add_spare(&mut self, bucket: Bucket) -> u32 {
        let Some(index) = self.free.pop() else {
            return self.spare.push(bucket);
        };
        if let Some(place) = self.spare.get_mut(index) {
            *place = bucket;
        }
        index
    }
}

/// Bits of a hash that do not choose the bucket, and are never [`VACANT`].
const fn tag(hash: u64) -> u8 {
    (hash >> 57) as u8 | 1 << 7
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hashes of which many begin alike and some are the same.
    fn hash_of(index: u32) -> u64 {
        let low = u64::from(index % 61).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        low | u64::from(index % 3) << 57
    }

    proptest! {
        /// Against a list.
        #[test]
        fn finds_what_is_there(ops in proptest::collection::vec((any::<bool>(), 0u32..400), 1..2000)) {
            let mut index = Index::new(None);
            let mut there = Vec::new();
            for (adds, n) in ops {
                let found = index.find(hash_of(n), |at| at == n);
                let place = there.iter().position(|&one| one == n);
                prop_assert_eq!(found, place.map(|_| n));
                match place {
                    None if adds => {
                        index.insert(hash_of(n), n, hash_of);
                        there.push(n);
                    }
                    Some(place) if !adds => {
                        index.remove(hash_of(n), n);
                        there.swap_remove(place);
                    }
                    _ => index.remove(hash_of(n + 1000), n + 1000),
                }
                prop_assert_eq!(index.len(), there.len());
            }
            for n in 0..400 {
                let found = index.find(hash_of(n), |at| at == n);
                prop_assert_eq!(found.is_some(), there.contains(&n));
            }
        }
    }

    /// All with the same bits that choose a bucket lie in one chain.
    #[test]
    fn a_bucket_holds_as_many_as_must_lie_there() {
        let mut index = Index::new(None);
        (0..1000).for_each(|n| index.insert(7, n, |_| 7));
        assert!((0..1000).all(|n| index.find(7, |at| at == n) == Some(n)));
        assert_eq!(index.find(7 | 1 << 60, |_| true), None);
        (0..1000).for_each(|n| index.remove(7, n));
        assert_eq!((index.find(7, |_| true), index.len()), (None, 0));
    }

    #[test]
    fn it_takes_less_than_ten_bytes_for_each() {
        let hash = |n: u32| {
            u64::from(n)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .swap_bytes()
        };
        let hash = |n: u32| hash(n ^ 0x5555).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mut index = Index::new(None);
        for n in 0..100_000 {
            index.insert(hash(n), n, hash);
            let buckets = index.buckets.len() + index.spare.len();
            assert!(n < 10_000 || buckets * 64 < 10 * n, "{buckets} for {n}");
        }
        assert!((0..100_000).all(|n| index.find(hash(n), |at| at == n) == Some(n)));
    }
}
