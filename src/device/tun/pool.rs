//! Buffers for reading: frames leave as slices of them.

use bytes::{Buf, Bytes, BytesMut};

use crate::pool::ChunkPool;

/// Hands out one buffer at a time, at least `size` bytes free.
#[derive(Debug)]
pub(super) struct BufferPool {
    size: usize,
    current: BytesMut,
    pool: ChunkPool,
}

impl BufferPool {
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            current: BytesMut::new(),
            pool: ChunkPool::default(),
        }
    }

    /// An empty buffer with room for the largest frame.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        self.current.clear();
        if self.current.capacity() < self.size {
            self.current = self.pool.buffer(self.size);
        }
        &mut self.current
    }

    /// Takes what was read, without its first `skip` bytes.
    ///
    /// A frame of less than a quarter of the buffer is copied to a smaller one, so that it does not
    /// pin the whole; a larger one is the buffer's own memory.
    pub(super) fn take(&mut self, skip: usize) -> Bytes {
        if self.current.len() < self.size / 4 {
            return self.pool.copy(&self.current[skip..]);
        }
        let mut frame = std::mem::take(&mut self.current).freeze();
        frame.advance(skip);
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
}
