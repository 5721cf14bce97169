//! What was sent and is not acknowledged: its bytes, and when they were sent last.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

/// Bytes kept of one direction; of more, the oldest are forgotten.
const MAX_BYTES: u64 = 16 << 20;
/// Pieces kept of one direction.
const MAX_PIECES: usize = 1 << 16;

#[derive(Clone, Debug)]
struct Piece {
    start: u64,
    bytes: Bytes,
    sent: Duration,
    times: u32,
    /// The last time was sooner than an answer to the one before could have come.
    hurried: bool,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// Bytes by their position, without gaps between the pieces that were sent in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pieces: VecDeque<Piece>,
    bytes: u64,
}

/// A byte that differs from the one sent before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) at: u64,
    pub(crate) before: u8,
    pub(crate) now: u8,
}

impl Kept {
    /// When the byte at `at` was sent last, and whether once more at once is too often: RFC 6675 §4,
    /// NextSeg (4), lets the last that is missing follow its own repetition.
    pub(crate) fn sent(&self, at: u64) -> Option<(Duration, bool)> {
        let piece = self.pieces.get(self.index(at))?;
        (piece.start <= at).then_some((piece.sent, piece.times == 1 || piece.hurried))
    }

    /// `bytes` are sent at `start`. Answers with the first that is another than before; from then
    /// on the new ones count.
    pub(crate) fn send(
        &mut self,
        now: Duration,
        start: u64,
        bytes: &Bytes,
        hurried: bool,
    ) -> Option<Difference> {
        let end = start + bytes.len() as u64;
        if start == end {
            return None;
        }
        self.split(start);
        self.split(end);
        let mut difference = None;
        let mut times = 0;
        let (first, past) = (self.index(start), self.index(end));
        for piece in self.pieces.range(first..past) {
            times = times.max(piece.times);
            let offset = (piece.start - start) as usize;
            let new = &bytes[offset..offset + piece.bytes.len()];
            if difference.is_none() && piece.bytes != new {
                let at = piece
                    .bytes
                    .iter()
                    .zip(new)
                    .position(|(before, now)| before != now);
                difference = at.map(|at| Difference {
                    at: piece.start + at as u64,
                    before: piece.bytes[at],
                    now: new[at],
                });
            }
        }
        self.replace(
            first..past,
            Piece {
                start,
                bytes: bytes.clone(),
                sent: now,
                times: times + 1,
                hurried,
            },
        );
        difference
    }

    fn replace(&mut self, range: std::ops::Range<usize>, piece: Piece) {
        let removed: u64 = self
            .pieces
            .range(range.clone())
            .map(|piece| piece.bytes.len() as u64)
            .sum();
        self.bytes = self.bytes - removed + piece.bytes.len() as u64;
        if range.start == self.pieces.len() {
            self.pieces.push_back(piece);
        } else {
            self.pieces.drain(range.clone());
            self.pieces.insert(range.start, piece);
        }
        while self.bytes > MAX_BYTES || self.pieces.len() > MAX_PIECES {
            self.pop();
        }
    }

    /// Everything below `acked` has arrived. Answers when the youngest of it was sent, of all or of
    /// what was sent only once.
    pub(crate) fn acknowledge(&mut self, acked: u64, twice: bool) -> Option<Duration> {
        self.split(acked);
        let mut youngest = None;
        while self.pieces.front().is_some_and(|piece| piece.start < acked) {
            let piece = self.pop().filter(|piece| twice || piece.times == 1);
            youngest = youngest.max(piece.map(|piece| piece.sent));
        }
        youngest
    }

    /// When the youngest byte of `start..end` was sent, of all or of those sent only once.
    pub(crate) fn youngest(&self, start: u64, end: u64, twice: bool) -> Option<Duration> {
        let pieces = self.pieces.range(self.index(start)..);
        let pieces = pieces.take_while(|piece| piece.start < end);
        let pieces = pieces.filter(|piece| twice || piece.times == 1);
        pieces.map(|piece| piece.sent).max()
    }

    fn pop(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.bytes.len() as u64;
        Some(piece)
    }

    /// The first piece that ends above `at`.
    fn index(&self, at: u64) -> usize {
        self.pieces.partition_point(|piece| piece.end() <= at)
    }

    /// No piece shall lie across `at`.
    fn split(&mut self, at: u64) {
        let index = self.index(at);
        let Some(piece) = self.pieces.get_mut(index).filter(|piece| piece.start < at) else {
            return;
        };
        let mut upper = piece.clone();
        upper.bytes = piece.bytes.split_off((at - piece.start) as usize);
        upper.start = at;
        self.pieces.insert(index + 1, upper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_same_bytes_in_other_pieces_are_the_same() {
        let mut kept = Kept::default();
        assert_eq!(
            kept.send(SECOND, 1, &Bytes::from_static(b"abcdef"), false),
            None
        );
        assert_eq!(
            kept.send(SECOND, 7, &Bytes::from_static(b"gh"), false),
            None
        );
        assert_eq!(
            kept.send(2 * SECOND, 3, &Bytes::from_static(b"cdefghij"), false),
            None
        );
        assert_eq!(
            (kept.sent(2), kept.sent(3), kept.sent(11)),
            (Some((SECOND, true)), Some((2 * SECOND, false)), None)
        );
        let difference = kept.send(SECOND, 2, &Bytes::from_static(b"bcdEf"), false);
        assert_eq!(
            difference,
            Some(Difference {
                at: 5,
                before: b'e',
                now: b'E'
            })
        );
        assert_eq!(
            kept.send(SECOND, 5, &Bytes::from_static(b"E"), false),
            None,
            "the new ones count"
        );
    }

    #[test]
    fn what_is_acknowledged_is_forgotten() {
        let mut kept = Kept::default();
        kept.send(SECOND, 1, &Bytes::from_static(b"abcdef"), false);
        kept.send(2 * SECOND, 7, &Bytes::from_static(b"gh"), false);
        assert_eq!(kept.youngest(1, 8, false), Some(2 * SECOND));
        assert_eq!(kept.acknowledge(4, false), Some(SECOND));
        assert_eq!((kept.sent(3), kept.sent(4)), (None, Some((SECOND, true))));
        kept.send(3 * SECOND, 4, &Bytes::from_static(b"def"), false);
        assert_eq!(kept.clone().acknowledge(7, true), Some(3 * SECOND));
        assert_eq!(
            kept.acknowledge(7, false),
            None,
            "which of the two was acknowledged?"
        );
        assert_eq!(kept.bytes, 2);
    }

    #[test]
    fn memory_is_bounded() {
        let mut kept = Kept::default();
        let bytes = Bytes::from(vec![0; 1 << 20]);
        for turn in 0..40 {
            kept.send(SECOND, 1 + (turn << 20), &bytes, false);
        }
        assert_eq!((kept.bytes, kept.pieces.len()), (MAX_BYTES, 16));
    }
}
