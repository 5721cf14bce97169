//! Chunks whose memory is used again, so that a copy allocates nothing once warm.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Sizes of buffers, in bytes. A chunk takes the smallest that has room, so that one which somebody
/// keeps for long holds on to little more than itself. The largest takes any frame.
const SIZES: [usize; 5] = [256, 1 << 10, 4 << 10, 16 << 10, 66 << 10];

/// What is remembered of each size, in bytes and in buffers; the rest is left to the allocator.
const MEMORY: usize = 4 << 20;
const BUFFERS: usize = 512;

/// Buffers that are handed out, and come back once nobody holds a chunk of theirs.
#[derive(Debug, Default)]
pub(crate) struct ChunkPool {
    /// Of each size a handle on every buffer, the one that was handed out longest ago first.
    handles: [VecDeque<BytesMut>; SIZES.len()],
}

impl ChunkPool {
    /// An empty buffer with room for `len` bytes.
    pub(crate) fn buffer(&mut self, len: usize) -> BytesMut {
        let Some(class) = SIZES.iter().position(|&size| len <= size) else {
            return BytesMut::with_capacity(len);
        };
        let (size, handles) = (SIZES[class], &mut self.handles[class]);
        // The oldest is the likeliest to be free. One that is not goes to the back.
        for _ in 0..handles.len().min(2) {
            if let Some(mut handle) = handles.pop_front() {
                if handle.try_reclaim(size) {
                    return lend(handle, handles);
                }
                handles.push_back(handle);
            }
        }
        let buffer = BytesMut::with_capacity(size);
        if handles.len() < BUFFERS.min(MEMORY / size) {
            lend(buffer, handles)
        } else {
            buffer
        }
    }

    /// A chunk with these bytes.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        let mut buffer = self.buffer(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer.freeze()
    }
}

/// Keeps a handle on what is handed out: its end, of no bytes.
fn lend(mut buffer: BytesMut, handles: &mut VecDeque<BytesMut>) -> BytesMut {
    handles.push_back(buffer.split_off(buffer.capacity()));
    buffer
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
        let again: Vec<_> = (0..3).map(|_| pool.copy(&[4; 256])).collect();
        assert!(again.iter().any(|chunk| chunk.as_ptr() == at));
        assert_eq!(second, [2; 200][..]);
        assert!(again.iter().all(|chunk| *chunk == [4; 256][..]));
    }

    #[test]
    fn a_chunk_holds_on_to_little_more_than_itself() {
        let mut pool = ChunkPool::default();
        for len in [0, 1, 256, 257, 1500, 5000, 20_000, 65_575] {
            let room = pool.buffer(len).capacity();
            assert!(room >= len && room <= (5 * len).max(256), "{len}: {room}");
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
        for (handles, size) in pool.handles.iter().zip(SIZES) {
            assert!(handles.len() <= BUFFERS && handles.len() * size <= MEMORY);
        }
    }
}
