//! The receive side of a connection: RFC 9293 §3.3.1's receive sequence space and its bytes.

mod reassembler;
mod window;

pub(crate) use reassembler::Reassembler;
pub(crate) use window::{RecvWindow, Tuning};

use core::ops::Range;

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
    /// A duplicate to report in the next ACK (RFC 2883).
    pub(crate) dsack: Option<Range<SeqNum>>,
}

impl RecvSpace {
    /// RCV.NXT.
    pub(crate) fn nxt(&self) -> SeqNum {
        self.reassembler.nxt() + u32::from(self.fin_received)
    }
}
