//! The receive side of a connection: RFC 9293 §3.3.1's receive sequence space and its bytes.

mod dsack;
mod reassembler;
mod window;

pub(crate) use dsack::Dsacks;
pub(crate) use reassembler::{MAX_UNREPORTED, Reassembler};
pub(crate) use window::{RecvWindow, RestingTuning, Tuning};

use bytes::Bytes;

use crate::seq::SeqNum;

/// RFC 9293 §3.3.1:
///
/// ```text
///          1          2          3
///      ----------|----------|----------
///             RCV.NXT    RCV.NXT
///                       +RCV.WND
/// ```
#[derive(Debug)]
pub(crate) struct RecvSpace {
    /// Bytes in order for the reader, and those that wait for a gap.
    pub(crate) reassembler: Reassembler,
    /// What was offered to the peer.
    pub(crate) window: RecvWindow,
    /// Where the peer's FIN stands, once seen.
    pub(crate) fin: Option<SeqNum>,
    /// RCV.NXT has passed the FIN.
    pub(crate) fin_received: bool,
    /// Duplicates to report in the next ACKs (RFC 2883).
    pub(crate) dsack: Dsacks,
    /// RCV.UP: one past the urgent bytes, until the reader has passed it.
    pub(crate) urgent: Option<SeqNum>,
}

/// Memory beside the buffer's size that bytes above a gap may take: small buffers meet small
/// segments, which cost more than their bytes.
const OOO_SLACK: u32 = 64 << 10;

impl RecvSpace {
    /// RCV.NXT.
    pub(crate) fn nxt(&self) -> SeqNum {
        self.reassembler.nxt() + u32::from(self.fin_received)
    }

    /// All that came was read, and nothing is to be reported.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.fin.is_none()
            && self.urgent.is_none()
            && self.dsack.is_empty()
            && !self.reassembler.has_gap()
            && self.reassembler.charged() == 0
    }

    /// RCV.NXT + RCV.WND, by the widest window that any ACK has offered (RFC 7323 §2.4, TS-6).
    pub(crate) fn right(&self) -> SeqNum {
        self.window.right().max(self.nxt())
    }

    /// The acceptability test of RFC 9293 §3.10.7.4 for `len` numbers from `seq` on. What starts
    /// at RCV.NXT goes on even if the window is closed, for its ACK, URG and RST (MUST-66).
    pub(crate) fn accepts(&self, seq: SeqNum, len: u32) -> bool {
        let nxt = self.nxt();
        let reaches = if len == 0 {
            nxt <= seq
        } else {
            nxt < seq + len
        };
        reaches && (seq < self.right() || seq == nxt)
    }

    /// The number of the next byte that the reader takes.
    pub(crate) fn reader(&self) -> SeqNum {
        let readable = self.reassembler.readable();
        self.reassembler.nxt().saturating_sub(readable.into())
    }

    /// An urgent pointer arrived; true when it tells the application something new (MUST-32).
    pub(crate) fn on_urgent(&mut self, pointer: SeqNum) -> bool {
        let news = pointer > self.reader() && self.urgent.is_none_or(|urgent| urgent < pointer);
        if news {
            self.urgent = Some(pointer);
        }
        news
    }

    /// Bytes between the reader and the end of the urgent ones: 0 at the mark, `None` past it.
    pub(crate) fn urgent_left(&self) -> Option<u32> {
        self.urgent.map(|urgent| urgent - self.reader())
    }

    /// The next chunks for the reader, at most `most` and together at most `max` bytes, none beyond
    /// the urgent mark: how many bytes, and whether there would have been room for more.
    #[inline]
    pub(crate) fn read(
        &mut self,
        max: usize,
        most: usize,
        mut put: impl FnMut(Bytes),
    ) -> (usize, bool) {
        if self.urgent.is_none() {
            return self.reassembler.read_all(max, most, put);
        }
        let mut bytes = 0;
        for _ in 0..most {
            let Some(data) = self.next_chunk(max - bytes) else {
                return (bytes, bytes < max);
            };
            bytes += data.len();
            put(data);
            if self.urgent_left() == Some(0) {
                break;
            }
        }
        (bytes, false)
    }

    /// The next bytes for the reader, at most `max`; they stop at the urgent mark.
    #[inline]
    fn next_chunk(&mut self, max: usize) -> Option<Bytes> {
        if self.urgent.is_none() {
            return self.reassembler.read(max);
        }
        let max = match self.urgent_left() {
            Some(left @ 1..) => max.min(left as usize),
            _ => max,
        };
        let data = self.reassembler.read(max)?;
        if self.urgent.is_some_and(|urgent| urgent < self.reader()) {
            self.urgent = None;
        }
        Some(data)
    }

    /// Sheds what lies furthest above the gap when that takes more memory than it may; returns
    /// how many ranges that cost.
    pub(crate) fn prune(&mut self) -> u32 {
        // Segments of 512 bytes may hold buffers of four times that.
        let limit = self.window.buffer().saturating_mul(4);
        self.reassembler.prune(limit.saturating_add(OOO_SLACK))
    }
}
