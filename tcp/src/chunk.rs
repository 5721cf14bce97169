//! Refcounted bytes with what they cost: the unit of the send buffer and of the receive queue.
//!
//! This file decides when two chunks are joined by copy, so that one-byte writes and one-byte
//! segments pin neither buffers nor list entries out of proportion.

use alloc::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A list that is emptied keeps the room for so many entries, for the next connection or range.
pub(crate) const KEPT_ROOM: usize = 16;

/// Empties `list`; its room stays unless that is much.
pub(crate) fn keep_room<T>(list: &mut VecDeque<T>) {
    list.clear();
    if list.capacity() > KEPT_ROOM {
        list.shrink_to(KEPT_ROOM);
    }
}

/// Largest chunk that small ones are joined into: 64 KiB of them are 17 iovecs.
const JOINED: usize = 4096;

/// Below this many bytes a chunk is small enough that copying it is cheaper than carrying it.
const SMALL: usize = 1024;

/// What a chunk costs beside its bytes: the list entry, the reference count, the allocator.
const OVERHEAD: u32 = 96;

/// The buffer a plain device reads one packet into; a slice of it keeps all of it alive.
const DEVICE_BUFFER: usize = 2048;

/// Devices copy a payload below this size out of their buffer.
const COPIED_OUT: usize = DEVICE_BUFFER / 4;

/// Bytes and the memory they are charged with.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) data: Bytes,
    charge: u32,
}

impl Chunk {
    /// A chunk that an application handed over.
    pub(crate) fn written(data: Bytes) -> Self {
        let charge = data.len() as u32 + OVERHEAD;
        Self { data, charge }
    }

    /// A chunk that is a slice of a device's buffer, charged with that buffer.
    pub(crate) fn received(data: Bytes) -> Self {
        let charge = Self::cost(data.len());
        Self { data, charge }
    }

    /// What a chunk of `len` received bytes is charged with.
    pub(crate) const fn cost(len: usize) -> u32 {
        let held = if COPIED_OUT <= len && len < DEVICE_BUFFER {
            DEVICE_BUFFER
        } else {
            len
        };
        held as u32 + OVERHEAD
    }

    /// Bytes of memory this chunk keeps alive, as an estimate from above.
    pub(crate) const fn charge(&self) -> u32 {
        self.charge
    }

    pub(crate) const fn len(&self) -> u32 {
        self.data.len() as u32
    }

    /// Whether another chunk may take it over by copy.
    #[inline]
    pub(crate) const fn is_small(&self) -> bool {
        self.data.len() < SMALL
    }

    /// Appends `other` by copy if both are small, or if this chunk has room of its own left;
    /// gives it back otherwise. More room than a joined chunk gets is an application's buffer, which
    /// would be kept alive whole.
    pub(crate) fn join(&mut self, other: Self) -> Result<(), Self> {
        let (have, more) = (self.data.len(), other.data.len());
        if !other.is_small() || have + more > JOINED {
            return Err(other);
        }
        let is_roomy = |mine: &BytesMut| (have + more..=JOINED).contains(&mine.capacity());
        let mut joined = match core::mem::take(&mut self.data).try_into_mut() {
            Ok(mine) if is_roomy(&mine) => mine,
            Ok(mine) if have >= SMALL => {
                self.data = mine.freeze();
                return Err(other);
            }
            Ok(mine) => copied(&mine, more),
            Err(shared) if have >= SMALL => {
                self.data = shared;
                return Err(other);
            }
            Err(shared) => copied(&shared, more),
        };
        joined.extend_from_slice(&other.data);
        self.charge = joined.capacity() as u32 + OVERHEAD;
        self.data = joined.freeze();
        Ok(())
    }

    /// Puts `other` in front by copy if both are small; gives it back otherwise.
    pub(crate) fn join_front(&mut self, other: Self) -> Result<(), Self> {
        if self.data.len() + other.data.len() > SMALL {
            return Err(other);
        }
        let mut joined = BytesMut::with_capacity(other.data.len() + self.data.len());
        joined.extend_from_slice(&other.data);
        joined.extend_from_slice(&self.data);
        self.charge = joined.capacity() as u32 + OVERHEAD;
        self.data = joined.freeze();
        Ok(())
    }

    /// The same bytes in an allocation of their own, if they are few.
    pub(crate) fn compact(self) -> Self {
        if self.data.len() < COPIED_OUT {
            Self::written(Bytes::copy_from_slice(&self.data))
        } else {
            self
        }
    }
}

/// A copy with room for `more`, and for as much again: ten bytes shall not take 4 KiB.
fn copied(bytes: &[u8], more: usize) -> BytesMut {
    let len = bytes.len() + more;
    let capacity = if len < SMALL / 4 { 2 * len } else { JOINED };
    let mut joined = BytesMut::with_capacity(capacity);
    joined.extend_from_slice(bytes);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(len: usize) -> Chunk {
        Chunk::written(Bytes::from(alloc::vec![7; len]))
    }

    #[test]
    fn small_chunks_join_up_to_four_kib() {
        let mut tail = chunk(1);
        for _ in 1..JOINED {
            tail.join(chunk(1)).unwrap();
        }
        assert_eq!(tail.len() as usize, JOINED);
        assert!(tail.join(chunk(1)).is_err());
        assert!(tail.charge() < 2 * JOINED as u32);
    }

    #[test]
    fn large_chunks_are_never_copied() {
        let mut tail = chunk(SMALL);
        let data = tail.data.clone();
        assert!(tail.join(chunk(1)).is_err());
        assert!(chunk(1).join(chunk(SMALL)).is_err());
        assert_eq!(tail.data.as_ptr(), data.as_ptr());
    }

    #[test]
    fn small_chunks_join_in_front_up_to_one_small_chunk() {
        let mut head = chunk(SMALL - 3);
        let xyz = || Chunk::written(Bytes::from_static(b"xyz"));
        head.join_front(xyz()).unwrap();
        assert_eq!(head.len() as usize, SMALL);
        assert_eq!(&head.data[..4], b"xyz\x07");
        let refused = head.join_front(xyz()).unwrap_err();
        assert_eq!((refused.len(), head.len() as usize), (3, SMALL));
    }

    #[test]
    fn a_slice_in_use_elsewhere_keeps_its_bytes() {
        let mut tail = chunk(10);
        tail.join(chunk(10)).unwrap();
        let in_flight = tail.data.slice(5..15);
        tail.join(Chunk::written(Bytes::from_static(b"xyz")))
            .unwrap();
        assert_eq!(in_flight, [7; 10][..]);
        assert_eq!(&tail.data[20..], b"xyz");
    }

    #[test]
    fn a_slice_of_a_device_buffer_is_charged_with_the_buffer() {
        let packet = Bytes::from(alloc::vec![0; DEVICE_BUFFER]);
        assert!(Chunk::received(packet.slice(..600)).charge() >= DEVICE_BUFFER as u32);
        assert!(Chunk::received(packet.slice(..100)).compact().charge() < 300);
    }
}
