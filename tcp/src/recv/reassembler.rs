//! Received bytes: those in order, for the reader, and those above a gap.
//!
//! This file decides what is kept, what it is charged with, and which ranges are reported in SACK
//! blocks.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use arrayvec::ArrayVec;
use bytes::Bytes;

use crate::chunk::{Chunk, KEPT_ROOM, keep_room};
use crate::segment::{SackBlock, SackBlocks};
use crate::seq::{SeqNum, SeqRange};

/// Gaps kept at most. A sender that makes more gets the newest segment dropped and sends it again.
const MAX_RANGES: usize = 1024;

/// As many ranges as the ACKs of one turn report.
pub(crate) const MAX_UNREPORTED: usize = 31;

/// What a range costs beside its chunks.
const RANGE_OVERHEAD: u32 = 64;

/// What became of a segment's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inserted {
    /// Bytes by which RCV.NXT advanced.
    pub(crate) in_order: u32,
    /// The first contiguous part that was there before, for a D-SACK block (RFC 2883 §4).
    pub(crate) duplicate: Option<SeqRange>,
    /// It filled (part of) a gap, so an ACK is due at once (RFC 5681 §4.2).
    pub(crate) filled_gap: bool,
    /// It lies above a gap, so an ACK is due at once (RFC 5681 §4.2).
    pub(crate) ooo: bool,
    /// It would have made one range too many and was dropped.
    pub(crate) refused: bool,
}

/// Chunks in sequence, with their sums.
#[derive(Clone, Debug, Default)]
struct Queue {
    chunks: VecDeque<Chunk>,
    charged: u32,
}

impl Queue {
    #[inline]
    fn push_back(&mut self, mut chunk: Chunk) {
        if chunk.is_small()
            && let Some(tail) = self.chunks.back_mut()
        {
            let before = tail.charge();
            match tail.join(chunk) {
                Ok(()) => {
                    self.charged = self.charged - before + tail.charge();
                    return;
                }
                Err(back) => chunk = back,
            }
        }
        self.charged += chunk.charge();
        self.chunks.push_back(chunk);
    }

    fn push_front(&mut self, mut chunk: Chunk) {
        if let Some(head) = self.chunks.front_mut() {
            let before = head.charge();
            match head.join_front(chunk) {
                Ok(()) => {
                    self.charged = self.charged - before + head.charge();
                    return;
                }
                Err(back) => chunk = back,
            }
        }
        self.charged += chunk.charge();
        self.chunks.push_front(chunk);
    }

    /// Moves `other` behind `self`, touching the shorter of the two; returns the room of a list.
    fn append(&mut self, mut other: Self) -> VecDeque<Chunk> {
        if self.chunks.len() >= other.chunks.len() {
            for chunk in other.chunks.drain(..) {
                self.push_back(chunk);
            }
        } else {
            core::mem::swap(self, &mut other);
            for chunk in other.chunks.drain(..).rev() {
                self.push_front(chunk);
            }
        }
        other.chunks
    }

    #[inline]
    fn pop(&mut self, max: usize) -> Option<Bytes> {
        let head = self.chunks.front_mut()?;
        if head.data.len() > max {
            return Some(head.data.split_to(max));
        }
        let head = self.chunks.pop_front()?;
        self.charged -= head.charge();
        Some(head.data)
    }
}

/// A contiguous range above RCV.NXT; no two touch.
#[derive(Clone, Debug)]
struct OooRange {
    start: SeqNum,
    end: SeqNum,
    /// Counts arrivals: the larger, the more recent the last segment in this range.
    generation: u64,
    queue: Queue,
}

/// The receive queue and the store of out-of-order ranges.
#[derive(Clone, Debug)]
pub(crate) struct Reassembler {
    nxt: SeqNum,
    queue: Queue,
    /// The room of a list that has emptied, for the next range.
    spare: VecDeque<Chunk>,
    readable: u32,
    ranges: VecDeque<OooRange>,
    ooo_bytes: u32,
    /// Charge of all ranges, their overhead included.
    ooo_charged: u32,
    generation: u64,
    /// The generation that an ACK has reported last.
    reported: u64,
    /// What the next ACK reports is older than this.
    horizon: u64,
    /// The segment above the gap that came last, kept or not.
    newest: Option<SeqRange>,
}

impl Reassembler {
    /// Nothing received; the first byte will be `nxt`.
    pub(crate) fn new(nxt: SeqNum) -> Self {
        Self {
            nxt,
            queue: Queue::default(),
            spare: VecDeque::new(),
            readable: 0,
            ranges: VecDeque::new(),
            ooo_bytes: 0,
            ooo_charged: 0,
            generation: 0,
            reported: 0,
            horizon: u64::MAX,
            newest: None,
        }
    }

    /// Frees what is held but the room for a few chunks: nobody looks at it again.
    pub(crate) fn free(&mut self) {
        keep_room(&mut self.queue.chunks);
        self.ranges.clear();
    }

    /// Takes over the room that another has left.
    pub(crate) fn take_room(&mut self, other: &mut Self) {
        core::mem::swap(&mut self.queue.chunks, &mut other.queue.chunks);
    }

    /// The number after the last one in order: RCV.NXT, as far as text goes.
    pub(crate) const fn nxt(&self) -> SeqNum {
        self.nxt
    }

    /// Bytes that [`Reassembler::read`] has.
    pub(crate) const fn readable(&self) -> u32 {
        self.readable
    }

    /// Memory held, in bytes: an estimate from above of buffers, list entries and all.
    pub(crate) const fn charged(&self) -> u32 {
        self.queue.charged + self.ooo_charged
    }

    /// The end of all that is held, gaps or not.
    pub(crate) fn end(&self) -> SeqNum {
        self.ranges.back().map_or(self.nxt, |range| range.end)
    }

    /// Whether something lies above a gap.
    pub(crate) fn has_gap(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// How many ranges lie above a gap.
    pub(crate) fn range_count(&self) -> u32 {
        self.ranges.len() as u32
    }

    /// Copies what waits for the reader into one piece; returns how many pieces it was.
    pub(crate) fn collapse(&mut self) -> u32 {
        let pieces = self.queue.chunks.len() as u32;
        let bytes = self.peek(self.readable as usize);
        self.queue = Queue::default();
        if !bytes.is_empty() {
            self.queue.push_back(Chunk::written(Bytes::from(bytes)));
        }
        pieces
    }

    /// Bytes above the gap.
    pub(crate) const fn ooo_bytes(&self) -> u32 {
        self.ooo_bytes
    }

    /// The next bytes in order, at most `max` (> 0) of them: one chunk, as it came.
    #[inline]
    pub(crate) fn read(&mut self, max: usize) -> Option<Bytes> {
        if max == 0 {
            return None;
        }
        let data = self.queue.pop(max)?;
        self.readable -= data.len() as u32;
        Some(data)
    }

    /// As [`Reassembler::read`], at most `most` chunks that are together no more than `max` bytes: how
    /// many bytes, and whether there would have been room for more.
    #[inline]
    pub(crate) fn read_all(
        &mut self,
        max: usize,
        most: usize,
        mut put: impl FnMut(Bytes),
    ) -> (usize, bool) {
        let (mut bytes, mut chunks) = (0, 0);
        while chunks < most
            && bytes < max
            && let Some(data) = self.queue.pop(max - bytes)
        {
            bytes += data.len();
            chunks += 1;
            put(data);
        }
        self.readable -= bytes as u32;
        (bytes, chunks < most && bytes < max)
    }

    /// A copy of the next bytes in order, at most `max` of them.
    pub(crate) fn peek(&self, max: usize) -> Vec<u8> {
        let chunks = self.queue.chunks.iter().flat_map(|chunk| chunk.data.iter());
        chunks.copied().take(max).collect()
    }

    /// Takes the bytes of a segment that starts at `at`, already trimmed to the window's right
    /// edge; it may begin below RCV.NXT.
    pub(crate) fn insert(&mut self, at: SeqNum, data: Bytes) -> Inserted {
        let end = at + data.len();
        if data.is_empty() {
            return Inserted::default();
        }
        if at == self.nxt && !self.has_gap() {
            let in_order = data.len() as u32;
            self.append([data]);
            return Inserted {
                in_order,
                ..Inserted::default()
            };
        }
        let duplicate = self.first_duplicate(at, end);
        if end <= self.nxt {
            return Inserted {
                duplicate,
                ..Inserted::default()
            };
        }
        let segment = Incoming { start: at, data };
        let mut inserted = if at <= self.nxt {
            self.insert_in_order(&segment)
        } else {
            self.insert_above(&segment)
        };
        inserted.duplicate = duplicate;
        inserted
    }

    /// As [`Reassembler::insert`] for the next bytes in order, where there is no gap.
    #[inline]
    pub(crate) fn append(&mut self, texts: impl IntoIterator<Item = Bytes>) {
        debug_assert!(!self.has_gap());
        let mut len = 0;
        for text in texts {
            debug_assert!(!text.is_empty());
            len += text.len() as u32;
            self.queue.push_back(Chunk::received(text));
        }
        self.newest = None;
        self.nxt += len;
        self.readable += len;
    }

    /// The blocks to report, at most `max`: the range that a segment joined last comes first, then
    /// the others by recency (RFC 2018 §4). After the report of a `duplicate` the range around
    /// that one comes first (RFC 2883 §4).
    pub(crate) fn sack_blocks(&self, max: usize, duplicate: Option<&SeqRange>) -> SackBlocks {
        let mut blocks = SackBlocks::new();
        let most = max.min(blocks.capacity());
        let first = match duplicate {
            Some(seen) => self.enclosing(seen),
            None => self.newest_unkept().filter(|_| self.horizon == u64::MAX),
        };
        if let Some(first) = &first
            && most > 0
        {
            blocks.push(block(first));
        }
        let mut below = self.horizon;
        while blocks.len() < most {
            // At most four passes over at most 1,024 ranges, once per ACK and only in loss.
            let next = self
                .ranges
                .iter()
                .filter(|range| range.generation < below)
                .filter(|range| {
                    first
                        .as_ref()
                        .is_none_or(|first| first.start != range.start)
                })
                .max_by_key(|range| range.generation);
            let Some(range) = next else { break };
            below = range.generation;
            blocks.push(block(&(range.start..range.end)));
        }
        blocks
    }

    /// Whether something came above a gap since the last ACK.
    pub(crate) const fn has_news(&self) -> bool {
        self.generation != self.reported
    }

    /// The generations of the newest ranges that no ACK has reported as they are now, newest first.
    pub(crate) fn unreported(&self) -> ArrayVec<u64, MAX_UNREPORTED> {
        let mut news = ArrayVec::new();
        let generations = self.ranges.iter().map(|range| range.generation);
        for generation in generations.filter(|&generation| generation > self.reported) {
            let place = news.partition_point(|&newer| newer > generation);
            if news.is_full() && place < news.len() {
                news.pop();
            }
            if !news.is_full() {
                news.insert(place, generation);
            }
        }
        news
    }

    /// Until further notice ACKs report what is older than `generation` only.
    pub(crate) fn report_before(&mut self, generation: Option<u64>) {
        self.horizon = generation.unwrap_or(u64::MAX);
    }

    /// An ACK reports the newest ranges.
    pub(crate) const fn on_reported(&mut self) {
        if self.horizon == u64::MAX {
            self.reported = self.generation;
        }
    }

    /// The whole range that `part` belongs to.
    fn enclosing(&self, part: &SeqRange) -> Option<SeqRange> {
        let range = self.ranges.get(self.first_reaching(part.start + 1u32))?;
        (range.start <= part.start).then_some(range.start..range.end)
    }

    /// The newest segment if there was no place for it: it is reported all the same (RFC 2018 §8).
    fn newest_unkept(&self) -> Option<SeqRange> {
        let newest = self.newest.as_ref()?;
        self.enclosing(newest).is_none().then(|| newest.clone())
    }

    /// Drops the highest ranges while all together cost more than `limit`; returns how many.
    pub(crate) fn prune(&mut self, limit: u32) -> u32 {
        let mut pruned = 0;
        while self.ooo_charged > limit
            && self.ranges.len() > 1
            && let Some(range) = self.ranges.pop_back()
        {
            self.ooo_bytes -= range.end - range.start;
            self.ooo_charged -= range.queue.charged + RANGE_OVERHEAD;
            pruned += 1;
        }
        pruned
    }

    /// Forgets everything above the gap, which RFC 2018 §8 allows: memory is short. Returns how
    /// many bytes that were.
    pub(crate) fn discard_out_of_order(&mut self) -> u32 {
        self.ranges = VecDeque::new();
        self.newest = None;
        self.ooo_charged = 0;
        core::mem::take(&mut self.ooo_bytes)
    }

    /// The first contiguous part of `start..end` that is here already (RFC 2883 §4.1–4.2).
    fn first_duplicate(&self, start: SeqNum, end: SeqNum) -> Option<SeqRange> {
        if start < self.nxt {
            return Some(start..end.min(self.nxt));
        }
        let range = self.ranges.get(self.first_reaching(start + 1u32))?;
        (range.start < end).then(|| range.start.max(start)..range.end.min(end))
    }

    /// Index of the first range that ends at `at` or later.
    fn first_reaching(&self, at: SeqNum) -> usize {
        // In loss most segments extend the newest range, or lie above it.
        match self.ranges.back() {
            None => 0,
            Some(last) if last.end < at => self.ranges.len(),
            Some(last) if last.start <= at => self.ranges.len() - 1,
            Some(_) => self.ranges.partition_point(|range| range.end < at),
        }
    }

    fn insert_in_order(&mut self, segment: &Incoming) -> Inserted {
        let before = self.nxt;
        let filled_gap = self.has_gap();
        self.newest = None;
        while let Some(range) = self.ranges.front()
            && range.start <= segment.end()
        {
            if let Some(chunk) = segment.piece(self.nxt..range.start) {
                self.queue.push_back(chunk);
            }
            if let Some(range) = self.ranges.pop_front() {
                self.ooo_bytes -= range.end - range.start;
                self.ooo_charged -= range.queue.charged + RANGE_OVERHEAD;
                self.nxt = range.end;
                let room = self.queue.append(range.queue);
                self.keep_spare(room);
            }
        }
        if let Some(chunk) = segment.piece(self.nxt..segment.end()) {
            self.queue.push_back(chunk);
            self.nxt = segment.end();
        }
        let in_order = self.nxt - before;
        self.readable += in_order;
        Inserted {
            in_order,
            filled_gap,
            ..Inserted::default()
        }
    }

    fn keep_spare(&mut self, emptied: VecDeque<Chunk>) {
        if (self.spare.capacity() + 1..=KEPT_ROOM).contains(&emptied.capacity()) {
            self.spare = emptied;
        }
    }

    fn insert_above(&mut self, segment: &Incoming) -> Inserted {
        self.generation += 1;
        self.newest = Some(segment.start..segment.end());
        let index = self.first_reaching(segment.start);
        if self.extend(index, segment) {
            return Inserted {
                ooo: true,
                ..Inserted::default()
            };
        }
        let joins = self
            .ranges
            .get(index)
            .is_some_and(|range| range.start <= segment.end());
        if !joins {
            return self.insert_apart(index, segment);
        }
        let mut merged = OooRange {
            start: segment.start,
            end: segment.start,
            generation: self.generation,
            queue: Queue::default(),
        };
        let mut joined = 0;
        while let Some(range) = self.ranges.get_mut(index + joined)
            && range.start <= segment.end()
        {
            if let Some(chunk) = segment.piece(merged.end..range.start) {
                merged.queue.push_back(chunk.compact());
            }
            self.ooo_bytes -= range.end - range.start;
            self.ooo_charged -= range.queue.charged + RANGE_OVERHEAD;
            merged.start = merged.start.min(range.start);
            merged.end = range.end;
            merged.queue.append(core::mem::take(&mut range.queue));
            joined += 1;
        }
        if let Some(chunk) = segment.piece(merged.end..segment.end()) {
            merged.queue.push_back(chunk.compact());
            merged.end = segment.end();
        }
        self.ooo_bytes += merged.end - merged.start;
        self.ooo_charged += merged.queue.charged + RANGE_OVERHEAD;
        self.ranges.drain(index + 1..index + joined);
        self.ranges[index] = merged;
        Inserted {
            filled_gap: joined > 1,
            ooo: true,
            ..Inserted::default()
        }
    }

    /// What most segments above a gap are: the next of a range, and short of the one after it.
    fn extend(&mut self, index: usize, segment: &Incoming) -> bool {
        let next = self.ranges.get(index + 1);
        let reaches = next.is_some_and(|next| next.start <= segment.end());
        let Some(range) = self.ranges.get_mut(index) else {
            return false;
        };
        if reaches || range.end != segment.start {
            return false;
        }
        self.ooo_charged -= range.queue.charged;
        let chunk = Chunk::received(segment.data.clone());
        range.queue.push_back(chunk.compact());
        range.end = segment.end();
        range.generation = self.generation;
        self.ooo_bytes += segment.data.len() as u32;
        self.ooo_charged += range.queue.charged;
        true
    }

    fn insert_apart(&mut self, index: usize, segment: &Incoming) -> Inserted {
        let refused = self.ranges.len() >= MAX_RANGES;
        if let (false, Some(chunk)) = (refused, segment.piece(segment.start..segment.end())) {
            let mut queue = Queue {
                chunks: core::mem::take(&mut self.spare),
                charged: 0,
            };
            queue.push_back(chunk.compact());
            self.ooo_bytes += segment.end() - segment.start;
            self.ooo_charged += queue.charged + RANGE_OVERHEAD;
            self.ranges.insert(
                index,
                OooRange {
                    start: segment.start,
                    end: segment.end(),
                    generation: self.generation,
                    queue,
                },
            );
        }
        Inserted {
            ooo: true,
            refused,
            ..Inserted::default()
        }
    }
}

fn block(range: &SeqRange) -> SackBlock {
    SackBlock {
        left: range.start.wire(),
        right: range.end.wire(),
    }
}

/// A segment's text on its way in.
struct Incoming {
    start: SeqNum,
    data: Bytes,
}

impl Incoming {
    fn end(&self) -> SeqNum {
        self.start + self.data.len()
    }

    /// The part within `range`, if there is any.
    fn piece(&self, range: Range<SeqNum>) -> Option<Chunk> {
        let start = range.start.max(self.start);
        let end = range.end.min(self.end());
        (start < end).then(|| {
            let from = (start - self.start) as usize;
            Chunk::received(self.data.slice(from..from + (end - start) as usize))
        })
    }
}

#[cfg(test)]
mod model;
#[cfg(any(test, debug_assertions))]
mod recount;
#[cfg(test)]
mod tests;
