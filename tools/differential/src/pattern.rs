//! The bytes that connections carry.

use bytes::Bytes;

use crate::random::mix;
use crate::script::End;

/// The bytes that one end of one connection writes. Each depends on its place, so that what is
/// lost, doubled, moved or of another connection is found.
#[derive(Clone, Copy, Debug)]
pub struct Pattern(u64);

impl Pattern {
    /// What `end` writes on connection `flow`.
    pub const fn new(flow: usize, end: End) -> Self {
        Self(mix((flow as u64) << 1 | end as u64))
    }

    /// `size` bytes from `offset` on.
    pub fn bytes(self, offset: u64, size: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(size + 16);
        let skip = (offset % 8) as usize;
        let mut word = offset / 8;
        while bytes.len() < skip + size {
            bytes.extend_from_slice(&mix(self.0.wrapping_add(word)).to_le_bytes());
            word += 1;
        }
        bytes.truncate(skip + size);
        Bytes::from(bytes).slice(skip..)
    }

    /// The first byte of `found`, which was read from `offset` on, that was not written there.
    pub fn difference(self, offset: u64, found: &[u8]) -> Option<u64> {
        let expected = self.bytes(offset, found.len());
        if expected == found {
            return None;
        }
        let mut both = expected.iter().zip(found);
        Some(offset + both.position(|(ours, theirs)| ours != theirs)? as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_its_byte() {
        let pattern = Pattern::new(3, End::B);
        let whole = pattern.bytes(0, 1000);
        for (offset, size) in [(0, 0), (1, 7), (7, 9), (8, 8), (13, 900)] {
            assert_eq!(
                pattern.bytes(offset, size),
                whole.slice(offset as usize..offset as usize + size)
            );
        }
        assert_ne!(whole, Pattern::new(3, End::A).bytes(0, 1000));
        assert_eq!(pattern.difference(13, &whole[13..500]), None);
        let mut wrong = whole[13..500].to_vec();
        wrong[20] ^= 1;
        assert_eq!(pattern.difference(13, &wrong), Some(33));
    }
}
