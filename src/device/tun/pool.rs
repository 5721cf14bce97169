//! Buffers for reading: frames leave as slices of them.
//!
//! A buffer that has room for one super-segment serves one frame; where frames are short, several follow
//! each other in one, which is lent, counted and given back once for all of them.

use bytes::{Buf, Bytes, BytesMut};

use crate::pool::ChunkPool;

/// Up to this size, a frame shares its buffer with others.
const SHORT: usize = 2 << 10;
/// Bytes of a buffer that is shared.
const SHARED: usize = 8 << 10;

/// Hands out one buffer at a time, at least `size` bytes free.
#[derive(Debug)]
pub(super) struct BufferPool {
    size: usize,
    /// A frame of fewer bytes is copied to a smaller buffer, so that it does not pin much more than
    /// itself.
    least: usize,
    current: BytesMut,
    pool: ChunkPool,
}

impl BufferPool {
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            least: if size <= SHORT { SHARED / 8 } else { size / 4 },
            current: BytesMut::new(),
            pool: ChunkPool::default(),
        }
    }

    /// An empty buffer with room for the largest frame.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        self.current.clear();
        if self.current.capacity() < self.size {
            let size = if self.size <= SHORT {
                SHARED
            } else {
                self.size
            };
            self.current = self.pool.buffer(size);
        }
        &mut self.current
    }

    /// Takes what was read, without its first `skip` bytes: a copy if it is short, else the buffer's
    /// own memory.
    pub(super) fn take(&mut self, skip: usize) -> Bytes {
        if self.current.len() < self.least {
            return self.pool.copy(&self.current[skip..]);
        }
        let mut frame = self.current.split().freeze();
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
        let mut pool = BufferPool::new(9000);
        let first = fill(&mut pool, 8900);
        let frame = pool.take(10);
        assert_eq!(
            (frame.len(), frame.as_ptr()),
            (8890, first.wrapping_add(10))
        );
        let second = fill(&mut pool, 8900);
        assert_ne!(first, second, "still held");
        drop(frame);
        let frame = pool.take(0);
        assert_eq!(fill(&mut pool, 8900), first, "free again");
        drop(frame);
    }

    #[test]
    fn short_frames_follow_each_other_in_a_buffer_and_pin_little() {
        let mut pool = BufferPool::new(1500);
        let first = fill(&mut pool, 1500);
        let frames: Vec<_> = (0..5)
            .map(|_| {
                fill(&mut pool, 1500);
                pool.take(0)
            })
            .collect();
        for (i, frame) in frames.iter().enumerate() {
            assert_eq!(frame.as_ptr(), first.wrapping_add(i * 1500));
        }
        let next = fill(&mut pool, 1023);
        assert_ne!(
            next,
            first.wrapping_add(7500),
            "there is no room for one more"
        );
        assert_ne!(pool.take(0).as_ptr(), next, "copied");
        drop(frames);
        assert_eq!(fill(&mut pool, 1500), next, "what was copied left its room");
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
