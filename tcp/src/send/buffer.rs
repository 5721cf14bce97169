//! The rope of chunks between an application's writes and the peer's acknowledgments.
//!
//! This file decides how written bytes are kept: as the application handed them over, refcounted
//! and never copied again, except that small chunks are joined.

use alloc::collections::VecDeque;
use core::ops::Range;

use bytes::{Buf, Bytes};

use crate::chunk::{Chunk, keep_room};
#[cfg(any(test, debug_assertions))]
use crate::invariant::{Held, holds};
use crate::seq::SeqNum;

/// What was written and not yet acknowledged, in sequence order.
#[derive(Clone, Debug)]
pub(crate) struct SendBuffer {
    start: SeqNum,
    /// Each chunk with the number after its last byte.
    chunks: VecDeque<(SeqNum, Chunk)>,
    charged: u32,
}

impl SendBuffer {
    /// An empty buffer whose first byte will have the number `start`.
    pub(crate) const fn new(start: SeqNum) -> Self {
        Self {
            start,
            chunks: VecDeque::new(),
            charged: 0,
        }
    }

    /// The lowest number held; what [`SendBuffer::advance`] was last told.
    #[cfg(any(test, debug_assertions))]
    pub(crate) const fn start(&self) -> SeqNum {
        self.start
    }

    /// One past the last number held.
    pub(crate) fn end(&self) -> SeqNum {
        self.chunks.back().map_or(self.start, |&(end, _)| end)
    }

    /// Bytes held.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn len(&self) -> u32 {
        self.end() - self.start
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Frees what is held but the room for a few chunks: nobody looks at it again.
    pub(crate) fn free(&mut self) {
        keep_room(&mut self.chunks);
    }

    /// Takes over the room that another has left.
    pub(crate) fn take_room(&mut self, other: &mut Self) {
        core::mem::swap(&mut self.chunks, &mut other.chunks);
    }

    /// Memory held, in bytes, including what each chunk costs by itself.
    pub(crate) const fn charged(&self) -> u32 {
        self.charged
    }

    /// Appends `data`. The limit is the caller's: it knows SND.BUF.
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let end = self.end() + data.len();
        let mut chunk = Chunk::written(data);
        if let Some((tail_end, tail)) = self.chunks.back_mut() {
            let before = tail.charge();
            match tail.join(chunk) {
                Ok(()) => {
                    *tail_end = end;
                    self.charged = self.charged.saturating_sub(before) + tail.charge();
                    return;
                }
                Err(back) => chunk = back,
            }
        }
        self.charged = self.charged.saturating_add(chunk.charge());
        self.chunks.push_back((end, chunk));
    }

    /// The bytes of `range`, as far as they are held, in slices that share memory with the buffer.
    pub(crate) fn chunks(&self, range: Range<SeqNum>) -> impl Iterator<Item = Bytes> + '_ {
        let first = self.chunks.partition_point(|&(end, _)| end <= range.start);
        self.chunks
            .range(first..)
            .map(move |(end, chunk)| {
                let start = end.saturating_sub(chunk.len() as u64);
                let from = (range.start - start).min(chunk.len());
                let to = (range.end - start).min(chunk.len());
                (from, to, chunk)
            })
            .take_while(|(from, to, _)| from < to)
            .map(|(from, to, chunk)| chunk.data.slice(from as usize..to as usize))
    }

    /// Drops everything below `una`, which may not lie above [`SendBuffer::end`].
    pub(crate) fn advance(&mut self, una: SeqNum) {
        debug_assert!(una <= self.end(), "acknowledged what was never written");
        let una = una.min(self.end());
        while let Some((end, chunk)) = self.chunks.front_mut() {
            if *end > una {
                let kept = *end - una;
                let drop = chunk.len().saturating_sub(kept);
                chunk.data.advance(drop as usize);
                break;
            }
            self.charged = self.charged.saturating_sub(chunk.charge());
            self.chunks.pop_front();
        }
        self.start = self.start.max(una);
    }
}

#[cfg(any(test, debug_assertions))]
impl SendBuffer {
    /// How many chunks [`SendBuffer::recount`] looks at.
    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// What holds between two calls.
    pub(crate) fn recount(&self) -> Held {
        let mut start = self.start;
        for &(end, ref chunk) in &self.chunks {
            holds(chunk.len() > 0, "the send buffer has no empty chunk")?;
            holds(start + chunk.len() == end, "its chunks lie side by side")?;
            start = end;
        }
        let charged = self.chunks.iter().map(|(_, chunk)| chunk.charge()).sum();
        holds(self.charged == charged, "its charge equals a recount")?;
        holds(self.len() <= charged, "its charge covers its bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::WireSeq;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const START: SeqNum = SeqNum::first(WireSeq(u32::MAX - 1000));

    fn bytes(buffer: &SendBuffer, range: Range<SeqNum>) -> Vec<u8> {
        buffer.chunks(range).flatten().collect()
    }

    #[test]
    fn large_writes_are_handed_out_without_a_copy() {
        let mut buffer = SendBuffer::new(START);
        let data = Bytes::from(alloc::vec![1; 5000]);
        buffer.push(data.clone());
        let out: Vec<_> = buffer.chunks(START + 10u32..START + 4000u32).collect();
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].as_ptr(), data[10..].as_ptr());
    }

    #[test]
    fn a_million_tiny_writes_are_few_chunks() {
        let mut buffer = SendBuffer::new(START);
        for _ in 0..1_000_000 {
            buffer.push(Bytes::from_static(b"x"));
        }
        assert_eq!(buffer.len(), 1_000_000);
        assert!(buffer.chunks(START..buffer.end()).count() <= 1_000_000 / 4096 + 1);
        assert!(buffer.charged() < 1_100_000);
    }

    #[test]
    fn sixty_four_kib_of_any_writes_are_bounded_chunks() {
        for size in [1, 100, 511, 1023, 1024, 2000] {
            let mut buffer = SendBuffer::new(START);
            while buffer.len() < 65_536 {
                buffer.push(Bytes::from(alloc::vec![0; size]));
                buffer.push(Bytes::from_static(b"."));
            }
            assert!(buffer.chunks(START..START + 65_536u32).count() <= 128);
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push(usize),
        Advance(u32),
        Chunks(u32, u32, bool),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => prop_oneof![0usize..40, 900usize..1200, 0usize..6000].prop_map(Op::Push),
            2 => (0u32..9000).prop_map(Op::Advance),
            3 => (0u32..20_000, 0u32..20_000, any::<bool>()).prop_map(|(a, n, k)| Op::Chunks(a, n, k)),
        ]
    }

    proptest! {
        /// The oracle is one vector of every byte ever written.
        #[test]
        fn behaves_like_a_vector(ops in proptest::collection::vec(op(), 1..60)) {
            let mut buffer = SendBuffer::new(START);
            let mut written: Vec<u8> = Vec::new();
            let mut una = 0usize;
            let mut held = Vec::new();
            for op in ops {
                match op {
                    Op::Push(len) => {
                        let data: Vec<u8> = (0..len).map(|i| (written.len() + i) as u8 ^ (i >> 3) as u8).collect();
                        written.extend(&data);
                        buffer.push(Bytes::from(data));
                    }
                    Op::Advance(by) => {
                        una = (una + by as usize).min(written.len());
                        buffer.advance(START + una);
                    }
                    Op::Chunks(at, len, keep) => {
                        let (from, to) = (at as usize, (at + len) as usize);
                        let expected = written.get(from.clamp(una, written.len().max(una))..to.min(written.len())).unwrap_or(&[]);
                        prop_assert_eq!(&bytes(&buffer, START + from..START + to)[..], expected);
                        if keep {
                            held.push((from.max(una), buffer.chunks(START + from..START + to).collect::<Vec<_>>()));
                        }
                    }
                }
                prop_assert_eq!(buffer.start(), START + una);
                prop_assert_eq!(buffer.end(), START + written.len());
                prop_assert_eq!(buffer.len() as usize, written.len() - una);
                prop_assert_eq!(buffer.is_empty(), written.len() == una);
                prop_assert!(buffer.charged() >= buffer.len());
                prop_assert_eq!(buffer.charged(), buffer.chunks.iter().map(|(_, c)| c.charge()).sum::<u32>());
            }
            for (from, chunks) in held {
                let got: Vec<u8> = chunks.into_iter().flatten().collect();
                prop_assert_eq!(&written[from.min(written.len())..][..got.len()], &got[..]);
            }
        }
    }
}
