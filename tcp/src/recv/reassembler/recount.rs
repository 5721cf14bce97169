//! What holds of the reassembler between two calls.

use crate::invariant::{Held, holds};

use super::{MAX_RANGES, OooRange, Queue, RANGE_OVERHEAD, Reassembler};

impl Queue {
    fn len(&self) -> u32 {
        self.chunks.iter().map(crate::chunk::Chunk::len).sum()
    }

    fn recount(&self) -> Held {
        let charged = self.chunks.iter().map(crate::chunk::Chunk::charge).sum();
        holds(self.charged == charged, "a queue's charge equals a recount")?;
        let mut chunks = self.chunks.iter();
        holds(chunks.all(|chunk| chunk.len() > 0), "no chunk is empty")
    }
}

impl Reassembler {
    /// How many chunks [`Reassembler::recount`] looks at.
    pub(crate) fn chunk_count(&self) -> usize {
        let above = self.ranges.iter().map(|range| range.queue.chunks.len());
        self.queue.chunks.len() + above.sum::<usize>()
    }

    /// How many ranges lie above the gap, and what they are charged with.
    pub(crate) fn out_of_order(&self) -> (usize, u32) {
        (self.ranges.len(), self.ooo_charged)
    }

    /// What holds between two calls.
    pub(crate) fn recount(&self) -> Held {
        self.queue.recount()?;
        holds(
            self.readable == self.queue.len(),
            "readable equals a recount",
        )?;
        holds(
            self.ranges.len() <= MAX_RANGES,
            "the ranges above the gap are bounded",
        )?;
        let bytes = |range: &OooRange| range.end - range.start;
        let charge = |range: &OooRange| range.queue.charged + RANGE_OVERHEAD;
        holds(
            self.ooo_bytes == self.ranges.iter().map(bytes).sum(),
            "bytes above the gap equal a recount",
        )?;
        holds(
            self.ooo_charged == self.ranges.iter().map(charge).sum(),
            "the charge above the gap equals a recount",
        )?;
        holds(
            self.reported <= self.generation,
            "what was reported had arrived",
        )?;
        let mut below = self.nxt;
        for range in &self.ranges {
            holds(below < range.start, "ranges lie above RCV.NXT and apart")?;
            holds(range.start < range.end, "a range has bytes")?;
            holds(range.queue.len() == bytes(range), "a range holds its bytes")?;
            holds(range.generation <= self.generation, "a range came by now")?;
            range.queue.recount()?;
            below = range.end;
        }
        Ok(())
    }
}
