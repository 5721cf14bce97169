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
    /// The peer has said that it came.
    sacked: bool,
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
    /// When the byte at `at` was sent last.
    pub(crate) fn sent(&self, at: u64) -> Option<Duration> {
        let piece = self.pieces.get(self.index(at))?;
        (piece.start <= at).then_some(piece.sent)
    }

    /// `bytes` are sent at `start`. Answers with the first that is another than before; from then
    /// on the new ones count.
    pub(crate) fn send(&mut self, now: Duration, start: u64, bytes: &Bytes) -> Option<Difference> {
        let end = start + bytes.len() as u64;
        if start == end {
            return None;
        }
        self.split(start);
        self.split(end);
        let mut difference = None;
        let (first, past) = (self.index(start), self.index(end));
        for piece in self.pieces.range(first..past) {
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
                sacked: false,
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

    /// Everything below `acked` has arrived. Answers when the youngest of it was sent.
    pub(crate) fn acknowledge(&mut self, acked: u64) -> Option<Duration> {
        self.split(acked);
        let mut youngest = None;
        while self.pieces.front().is_some_and(|piece| piece.start < acked) {
            youngest = youngest.max(self.pop().map(|piece| piece.sent));
        }
        youngest
    }

    /// When the youngest byte of `start..end` was sent.
    pub(crate) fn youngest(&self, start: u64, end: u64) -> Option<Duration> {
        let pieces = self.pieces.range(self.index(start)..);
        let pieces = pieces.take_while(|piece| piece.start < end);
        pieces.map(|piece| piece.sent).max()
    }

    /// `start..end` has arrived, out of order.
    pub(crate) fn sack(&mut self, start: u64, end: u64) {
        self.split(start);
        self.split(end);
        let (first, past) = (self.index(start), self.index(end));
        for piece in self.pieces.range_mut(first..past.max(first)) {
            piece.sacked = true;
        }
    }

    /// Whether anything came out of order.
    pub(crate) fn has_holes(&self) -> bool {
        self.pieces.iter().any(|piece| piece.sacked)
    }

    /// The end of the last bytes of which nobody has said that they came.
    pub(crate) fn last_missing(&self) -> Option<u64> {
        let last = self.pieces.iter().rev().find(|piece| !piece.sacked);
        last.map(Piece::end)
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
        assert_eq!(kept.send(SECOND, 1, &Bytes::from_static(b"abcdef")), None);
        assert_eq!(kept.send(SECOND, 7, &Bytes::from_static(b"gh")), None);
        assert_eq!(
            kept.send(2 * SECOND, 3, &Bytes::from_static(b"cdefghij")),
            None
        );
        assert_eq!(
            (kept.sent(2), kept.sent(3), kept.sent(11)),
            (Some(SECOND), Some(2 * SECOND), None)
        );
        let difference = kept.send(SECOND, 2, &Bytes::from_static(b"bcdEf"));
        assert_eq!(
            difference,
            Some(Difference {
                at: 5,
                before: b'e',
                now: b'E'
            })
        );
        assert_eq!(
            kept.send(SECOND, 5, &Bytes::from_static(b"E")),
            None,
            "the new ones count"
        );
    }

    #[test]
    fn what_is_acknowledged_is_forgotten() {
        let mut kept = Kept::default();
        kept.send(SECOND, 1, &Bytes::from_static(b"abcdef"));
        kept.send(2 * SECOND, 7, &Bytes::from_static(b"gh"));
        assert_eq!(kept.youngest(1, 8), Some(2 * SECOND));
        assert_eq!(kept.acknowledge(4), Some(SECOND));
        assert_eq!((kept.sent(3), kept.sent(4)), (None, Some(SECOND)));
        kept.send(3 * SECOND, 4, &Bytes::from_static(b"def"));
        assert_eq!(kept.acknowledge(7), Some(3 * SECOND));
        assert_eq!(kept.bytes, 2);
    }

    #[test]
    fn what_came_out_of_order_is_not_missing() {
        let mut kept = Kept::default();
        assert_eq!((kept.has_holes(), kept.last_missing()), (false, None));
        kept.send(SECOND, 1, &Bytes::from_static(b"abcdef"));
        assert_eq!((kept.has_holes(), kept.last_missing()), (false, Some(7)));
        kept.sack(2, 3);
        assert_eq!((kept.has_holes(), kept.last_missing()), (true, Some(7)));
        kept.sack(5, 7);
        kept.sack(9, 8);
        assert_eq!(kept.last_missing(), Some(5));
        kept.send(SECOND, 5, &Bytes::from_static(b"ef"));
        assert_eq!(kept.last_missing(), Some(7));
    }

    #[test]
    fn memory_is_bounded() {
        let mut kept = Kept::default();
        let bytes = Bytes::from(vec![0; 1 << 20]);
        for turn in 0..40 {
            kept.send(SECOND, 1 + (turn << 20), &bytes);
        }
        assert_eq!((kept.bytes, kept.pieces.len()), (MAX_BYTES, 16));
    }
}
