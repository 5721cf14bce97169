//! Chunks whose memory is used again, so that a copy allocates nothing once warm.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Sizes of buffers, in bytes. A chunk takes the smallest that has room, so that one which somebody
/// keeps for long holds on to little more than itself. The largest takes any frame.
const SIZES: [usize; 6] = [256, 2 << 10, 8 << 10, 16 << 10, 32 << 10, 66 << 10];

/// What is remembered of each size, in bytes; the rest is left to the allocator. Windows of 2 MiB are
/// no more than that, be their chunks a quarter of their buffers.
const MEMORY: usize = 8 << 20;

/// What is free at the same time, in bytes, beyond as many buffers as are lent.
const SPARE: usize = 1 << 20;

/// Buffers that are lent, and come back once nobody holds a chunk of theirs.
#[derive(Debug)]
pub(crate) struct ChunkPool([Class; SIZES.len()]);

impl Default for ChunkPool {
    fn default() -> Self {
        Self(SIZES.map(Class::new))
    }
}

impl ChunkPool {
    /// An empty buffer with room for `len` bytes.
    pub(crate) fn buffer(&mut self, len: usize) -> BytesMut {
        match self.0.iter_mut().find(|class| len <= class.size) {
            Some(class) => class.lend(),
            None => BytesMut::with_capacity(len),
        }
    }

    /// A chunk with these bytes.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        let mut buffer = self.buffer(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer.freeze()
    }
}

/// Buffers of one size.
#[derive(Debug)]
struct Class {
    size: usize,
    /// The end, of no bytes, of each buffer that is lent; the one lent longest ago first.
    lent: VecDeque<BytesMut>,
    free: Vec<BytesMut>,
}

impl Class {
    const fn new(size: usize) -> Self {
        Self {
            size,
            lent: VecDeque::new(),
            free: Vec::new(),
        }
    }

    fn lend(&mut self) -> BytesMut {
        self.collect();
        let buffer = self.free.pop();
        let mut buffer = buffer.unwrap_or_else(|| BytesMut::with_capacity(self.size));
        if (self.lent.len() + self.free.len() + 1) * self.size <= MEMORY {
            self.lent.push_back(buffer.split_off(buffer.capacity()));
        }
        buffer
    }

    /// Looks whether some have come back: one more than goes, so that none is missed for long, and
    /// further where there is none. Of more than are needed one is given up.
    fn collect(&mut self) {
        let looks = if self.free.is_empty() { 8 } else { 2 };
        for _ in 0..looks.min(self.lent.len()) {
            let Some(mut buffer) = self.lent.pop_front() else {
                break;
            };
            if buffer.try_reclaim(self.size) {
                self.free.push(buffer);
            } else {
                self.lent.push_back(buffer); // others may be free behind it
            }
        }
        if self.free.len() > self.lent.len() + SPARE / self.size {
            self.free.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_once_nobody_holds_its_chunk() {
        let mut pool = ChunkPool::default();
        let first = pool.copy(&[1; 200]);
        let second = pool.copy(&[2; 200]);
        assert_ne!(first.as_ptr(), second.as_ptr());
        let (at, piece) = (first.as_ptr(), first.slice(10..20));
        drop(first);
        assert_ne!(pool.copy(&[3; 200]).as_ptr(), at, "a piece of it is held");
        assert_eq!(piece, [1; 10][..]);
        drop(piece);
        let again: Vec<_> = (0..4).map(|_| pool.copy(&[4; 256])).collect();
        assert!(again.iter().any(|chunk| chunk.as_ptr() == at));
        assert_eq!(second, [2; 200][..]);
        assert!(again.iter().all(|chunk| *chunk == [4; 256][..]));
    }

    #[test]
    fn a_chunk_holds_on_to_little_more_than_itself() {
        let mut pool = ChunkPool::default();
        for len in [0, 1, 256, 257, 1500, 5000, 20_000, 65_575] {
            let room = pool.buffer(len).capacity();
            assert!(room >= len && room <= (8 * len).max(256), "{len}: {room}");
        }
        assert_eq!(pool.buffer(100_000).capacity(), 100_000);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut pool = ChunkPool::default();
        for len in [1, 60_000] {
            let held: Vec<_> = (0..1000).map(|_| pool.copy(&vec![7; len])).collect();
            assert!(held.iter().all(|chunk| chunk.len() == len));
        }
        let most = |class: &Class| (class.lent.len() + class.free.len()) * class.size <= MEMORY;
        assert!(pool.0.iter().all(most));
        // A burst is over: what it needed is given up by and by.
        let chunk = vec![7; 60_000];
        (0..10_000).for_each(|_| drop(pool.copy(&chunk)));
        assert!(pool.0[5].free.len() <= SPARE / 60_000);
    }
}
