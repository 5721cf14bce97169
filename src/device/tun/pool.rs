//! Buffers for reading: frames leave as slices of them, and a buffer is used again once nobody
//! holds a slice.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::pool::ChunkPool;

/// Buffers remembered for reuse; what is beyond is left to the allocator.
const REMEMBERED: usize = 64;

/// Hands out one buffer at a time, at least `size` bytes free.
#[derive(Debug)]
pub(super) struct BufferPool {
    size: usize,
    current: BytesMut,
    /// What was left of buffers whose front is (or was) somebody's frame, oldest first.
    used: VecDeque<BytesMut>,
    small: ChunkPool,
}

impl BufferPool {
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            current: BytesMut::new(),
            used: VecDeque::with_capacity(REMEMBERED),
            small: ChunkPool::default(),
        }
    }

    /// An empty buffer with room for the largest frame.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        self.current.clear();
        if self.current.capacity() < self.size {
            self.current = self.next();
        }
        &mut self.current
    }

    fn next(&mut self) -> BytesMut {
        // The oldest is the likeliest to be free. One that is not goes to the back.
        for _ in 0..self.used.len().min(2) {
            if let Some(mut buffer) = self.used.pop_front() {
                if buffer.try_reclaim(self.size) {
                    return buffer;
                }
                self.used.push_back(buffer);
            }
        }
        BytesMut::with_capacity(self.size)
    }

    /// Takes what was read, without its first `skip` bytes.
    ///
    /// A frame of less than a quarter of the buffer is copied to a smaller one, so that it does not
    /// pin the whole; a larger one is the buffer's own memory.
    pub(super) fn take(&mut self, skip: usize) -> Bytes {
        let len = self.current.len();
        if len < self.size / 4 {
            let frame = self.small.copy(&self.current[skip..]);
            self.current.clear();
            return frame;
        }
        let mut frame = self.current.split_to(len).freeze();
        frame.advance(skip);
        let rest = std::mem::take(&mut self.current);
        if self.used.len() < REMEMBERED {
            self.used.push_back(rest);
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(pool: &mut BufferPool, len: usize) -> *const u8 {
        let size = pool.size;
        let buffer = pool.buffer();
        assert!(buffer.capacity() >= size);
        buffer.resize(len, 7);
        buffer.as_ptr()
    }

    #[test]
    fn large_frames_are_not_copied_and_their_buffers_return() {
        let mut pool = BufferPool::new(1000);
        let first = fill(&mut pool, 900);
        let frame = pool.take(10);
        assert_eq!((frame.len(), frame.as_ptr()), (890, first.wrapping_add(10)));
        let second = fill(&mut pool, 900);
        assert_ne!(first, second, "still held");
        drop(frame);
        let frame = pool.take(0);
        assert_eq!(fill(&mut pool, 900), first, "free again");
        drop(frame);
    }

    #[test]
    fn small_frames_are_copied_and_pin_nothing() {
        let mut pool = BufferPool::new(1000);
        let buffer = fill(&mut pool, 100);
        let frame = pool.take(10);
        assert_eq!(frame.len(), 90);
        assert_eq!(fill(&mut pool, 100), buffer);
        assert_ne!(frame.as_ptr(), buffer);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut pool = BufferPool::new(1000);
        let held: Vec<_> = (0..200)
            .map(|_| {
                fill(&mut pool, 1000);
                pool.take(0)
            })
            .collect();
        assert_eq!(pool.used.len(), REMEMBERED);
        drop(held);
    }
}
