//! Values by index that never move, in pieces of memory that are large where there are many: a
//! processor finds its way to few large pages faster than to many small ones.

use alloc::vec::Vec;

use crate::config::LargeMemory;

/// An octave of indices (n to 2n) lies in 2⁶ chunks of one size: at most a 65th of all is not in use.
const STEP_BITS: u32 = 6;

/// The smallest chunk has room for 2⁴ values, and so have all below this octave.
const FIRST_OCTAVE: u32 = 10;

/// The owner hears of chunks from this many bytes on: more than 16 MiB lie side by side then.
const LARGE: usize = 256 << 10;

/// Values by index.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    chunks: Vec<Vec<T>>,
    len: u32,
    on_large_memory: Option<LargeMemory>,
}

/// Which chunk `index` lies in, its place there, and for how many the chunk has room.
const fn place(index: u32) -> (usize, usize, usize) {
    let octave = (index | 1 << FIRST_OCTAVE).ilog2();
    let bits = octave - STEP_BITS;
    let chunk = ((octave - FIRST_OCTAVE) << STEP_BITS) + (index >> bits);
    let room = 1 << bits;
    (chunk as usize, index as usize & (room - 1), room)
}

impl<T> Arena<T> {
    pub(crate) const fn new(on_large_memory: Option<LargeMemory>) -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
            on_large_memory,
        }
    }

    /// How many values there are: their indices lie below.
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// Adds a value; returns its index.
    pub(crate) fn push(&mut self, value: T) -> u32 {
        let index = self.len;
        let (chunk, _, room) = place(index);
        if chunk == self.chunks.len() {
            let fresh: Vec<T> = Vec::with_capacity(room);
            let bytes = room * size_of::<T>();
            if let Some(tell) = self.on_large_memory.filter(|_| bytes >= LARGE) {
                tell(fresh.as_ptr().cast(), bytes);
            }
            self.chunks.push(fresh);
        }
        if let Some(chunk) = self.chunks.get_mut(chunk) {
            chunk.push(value);
            self.len += 1;
        }
        index
    }

    /// Keeps the first `len` values, and gives back what memory the others took.
    pub(crate) fn truncate(&mut self, len: u32) {
        if len >= self.len {
            return;
        }
        let (chunk, at, _) = place(len);
        self.chunks.truncate(chunk + usize::from(at > 0));
        if at > 0
            && let Some(last) = self.chunks.last_mut()
        {
            last.truncate(at);
        }
        self.len = len;
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (chunk, at, _) = place(index);
        self.chunks.get(chunk)?.get(at)
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (chunk, at, _) = place(index);
        self.chunks.get_mut(chunk)?.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[test]
    fn each_index_has_its_place() {
        let mut before = place(0);
        assert_eq!(before, (0, 0, 16));
        for index in 1..1 << 21 {
            let now = place(index);
            if now.0 == before.0 {
                assert_eq!((now.1, now.2), (before.1 + 1, before.2), "{index}");
            } else {
                assert_eq!(before.1 + 1, before.2, "{index} begins before its time");
                assert_eq!((now.0, now.1), (before.0 + 1, 0), "{index}");
                assert!(now.2 <= 16 || now.2 * 64 <= index as usize, "{index}");
            }
            before = now;
        }
        let (chunk, at, room) = place(u32::MAX);
        assert_eq!((chunk, at), (23 * 64 - 1, room - 1));
    }

    #[test]
    fn values_stay_where_they_are() {
        let mut arena = Arena::new(None);
        assert_eq!(arena.get(0), None);
        for value in 0..10_000 {
            assert_eq!(arena.push(value), value);
        }
        let first = core::ptr::from_ref(arena.get(0).unwrap());
        for value in 10_000..20_000 {
            arena.push(value);
        }
        assert_eq!(core::ptr::from_ref(arena.get(0).unwrap()), first);
        assert!((0..20_000).all(|index| arena.get(index) == Some(&index)));
        assert_eq!((arena.len(), arena.get(20_000)), (20_000, None));
        *arena.get_mut(777).unwrap() = 7;
        assert_eq!(arena.get(777), Some(&7));
        for len in [19_999, 16_384, 1_000, 16, 5, 0] {
            arena.truncate(len);
            assert_eq!((arena.len(), arena.get(len)), (len, None));
            assert!(len == 0 || arena.get(len - 1).is_some());
            assert_eq!(arena.push(9), len);
            assert_eq!(arena.get(len), Some(&9));
        }
    }

    #[test]
    fn large_memory_is_told_of_once() {
        static BYTES: AtomicUsize = AtomicUsize::new(0);
        let mut arena = Arena::new(Some(|_, bytes| {
            BYTES.fetch_add(bytes, Relaxed);
        }));
        for _ in 0..1 << 16 {
            arena.push([0_u64; 64]);
        }
        // Chunks of 512 values of 512 bytes are the first of 256 KiB.
        assert_eq!(BYTES.load(Relaxed), ((1 << 16) - (1 << 15)) * 512);
    }
}
