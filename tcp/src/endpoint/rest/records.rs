//! Where records of connections at rest lie, and what becomes of their memory when a crowd has gone.

use alloc::vec;
use alloc::vec::Vec;

use crate::arena::Arena;
use crate::config::LargeMemory;
use crate::connection::Resting;

/// Room for so many is kept for those who come next.
const KEPT: usize = 4096;

/// A look costs a few nanoseconds a place, and comes once for this part of the places that was left.
const LOOK: usize = 16;

/// By index. The place that was left last is taken first: it is still in a cache.
///
/// While seven of eight places are vacant, memory goes back to the allocator, down to the last place
/// in use; the lowest places are taken first then, so that with time that one moves down, too.
#[derive(Debug)]
pub(super) struct Records<T = Resting> {
    all: Arena<Option<T>>,
    free: Vec<u32>,
    /// With so many vacant places it is worth while to look whether memory can go.
    enough: usize,
    /// How many have left since, or since the last look.
    left: usize,
}

impl<T> Records<T> {
    pub(super) const fn new(on_large_memory: Option<LargeMemory>) -> Self {
        Self {
            all: Arena::new(on_large_memory),
            free: Vec::new(),
            enough: usize::MAX,
            left: 0,
        }
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.all.get(index)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.all.get_mut(index)?.as_mut()
    }

    pub(super) fn add(&mut self, record: T) -> u32 {
        let Some(index) = self.free.pop() else {
            let index = self.all.push(Some(record));
            self.enough = enough(self.all.len() as usize);
            return index;
        };
        if let Some(place) = self.all.get_mut(index) {
            *place = Some(record);
        }
        index
    }

    pub(super) fn remove(&mut self, index: u32) {
        if let Some(place) = self.all.get_mut(index) {
            *place = None;
            self.free.push(index);
        }
        if self.free.len() >= self.enough {
            self.left += 1;
            if self.left >= self.enough / LOOK {
                self.give_back();
            }
        }
    }

    /// How many there are.
    #[cfg(any(test, debug_assertions))]
    pub(super) const fn in_use(&self) -> usize {
        self.all.len() as usize - self.free.len()
    }

    /// Gives back what lies behind the last place in use.
    #[cold]
    fn give_back(&mut self) {
        let len = self.all.len() as usize;
        let in_use = len - self.free.len();
        let mut vacant = vec![false; len];
        for &index in &self.free {
            if let Some(place) = vacant.get_mut(index as usize) {
                *place = true;
            }
        }
        let last = vacant.iter().rposition(|is_vacant| !is_vacant);
        let kept = last.map_or(0, |last| last + 1).max(KEPT).min(len);
        vacant.truncate(kept);
        self.all.truncate(kept as u32);
        self.free = Vec::with_capacity(kept - in_use);
        let lowest_last = vacant.iter().enumerate().rev();
        let free = lowest_last.filter(|(_, is_vacant)| **is_vacant);
        self.free.extend(free.map(|(index, _)| index as u32));
        self.enough = enough(kept);
        self.left = 0;
    }
}

/// How many of `len` places have to be vacant for a look.
const fn enough(len: usize) -> usize {
    if len > KEPT {
        len - len / 8
    } else {
        usize::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(len: u32) -> Records<u32> {
        let mut records = Records::new(None);
        assert!((0..len).all(|n| records.add(n) == n));
        records
    }

    /// Others come and go.
    fn pass(records: &mut Records<u32>, count: u32) {
        for n in 0..count {
            let index = records.add(n);
            records.remove(index);
        }
    }

    #[test]
    fn a_crowd_that_has_gone_takes_its_memory_with_it() {
        let mut records = crowd(100_000);
        (100..100_000).for_each(|n| records.remove(n));
        pass(&mut records, 10_000);
        assert_eq!(records.all.len() as usize, KEPT);
        assert!(records.free.capacity() <= KEPT);
        assert!((0..100).all(|n| records.get(n) == Some(&n)));
        (0..100).for_each(|n| records.remove(n));
        assert_eq!((records.all.len() as usize, records.in_use()), (KEPT, 0));
    }

    /// Who comes then goes to the front, and who stands in the way is not asked each time.
    #[test]
    fn one_at_the_end_keeps_the_rest() {
        let mut records = crowd(100_000);
        (0..99_999).for_each(|n| records.remove(n));
        pass(&mut records, 10_000);
        assert_eq!((records.all.len(), records.in_use()), (100_000, 1));
        assert!((0..100).all(|n| records.add(n) == n), "the lowest first");
        let looks = (0..100_000).filter(|_| {
            pass(&mut records, 1);
            records.left == 0
        });
        assert!(looks.count() <= 19);
        records.remove(99_999);
        pass(&mut records, 10_000);
        assert_eq!((records.all.len() as usize, records.in_use()), (KEPT, 100));
    }
}
