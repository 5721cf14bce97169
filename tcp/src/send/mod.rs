//! The send side of a connection: RFC 9293 §3.3.1's send sequence space, the bytes, the flight.

mod buffer;
mod flight;
mod path_mtu;

pub(crate) use buffer::SendBuffer;
pub(crate) use flight::{
    AckOutcome, Arrived, DUP_THRESH, Delivered, Ever, Flight, Overdue, Patience, RateSampler,
};

use crate::congestion::WindowUsage;
pub(crate) use path_mtu::{PathMtu, RAISE_INTERVAL, RestingPath, Verdict};

use crate::seq::{SeqNum, WindowScale};
use crate::time::Instant;

/// How far this end's FIN has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fin {
    /// The application may write.
    Open,
    /// It said that nothing follows; FIN goes out after the last byte.
    Queued,
    /// FIN is on its way.
    Sent,
    /// The peer has it.
    Acked,
}

/// RFC 9293 §3.3.1:
///
/// ```text
///          1         2          3          4
///     ----------|----------|----------|----------
///            SND.UNA    SND.NXT    SND.UNA
///                                 +SND.WND
/// ```
#[derive(Debug)]
pub(crate) struct SendSpace {
    /// Oldest unacknowledged number.
    pub(crate) una: SeqNum,
    /// Next number to be sent.
    pub(crate) nxt: SeqNum,
    /// The peer's window, in bytes.
    pub(crate) wnd: u32,
    /// SEG.SEQ of the last window update.
    pub(crate) wl1: SeqNum,
    /// SEG.ACK of the last window update.
    pub(crate) wl2: SeqNum,
    /// The largest window the peer ever offered (MAX.SND.WND of RFC 5961 §5.2).
    pub(crate) max_wnd: u32,
    /// How the peer's window field is scaled.
    pub(crate) scale: WindowScale,
    /// Payload of a full segment: peer's MSS and path MTU, less the options of every segment.
    pub(crate) mss: u32,
    /// The MSS that the peer offered, or the default (MUST-15).
    pub(crate) peer_mss: u16,
    /// Bytes from SND.UNA on.
    pub(crate) buffer: SendBuffer,
    /// What was sent and not acknowledged.
    pub(crate) flight: Flight,
    /// This end's FIN.
    pub(crate) fin: Fin,
    /// Most bytes the buffer takes now.
    pub(crate) capacity: u32,
    /// When data left last.
    pub(crate) last_sent: Option<Instant>,
    /// How the congestion window is used.
    pub(crate) usage: WindowUsage,
    /// Bytes below this are held back neither by Nagle nor by cork.
    pub(crate) pushed: SeqNum,
    /// End of the last segment that was not full (Minshall's snd.sml).
    pub(crate) small_end: SeqNum,
    /// One past the last urgent byte, until that is acknowledged (SND.UP of RFC 9293 §3.3.1, as
    /// RFC 6093 and MUST-62 have it).
    pub(crate) up: Option<SeqNum>,
}

impl SendSpace {
    /// One past the last number that exists so far, FIN included.
    pub(crate) fn end(&self) -> SeqNum {
        self.buffer.end() + u32::from(self.fin != Fin::Open)
    }

    /// Everything that was written has been acknowledged.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.una == self.nxt
            && self.end() == self.una
            && self.fin == Fin::Open
            && self.up.is_none()
            && self.flight.outstanding() == 0
    }

    /// The right edge of the peer's window.
    pub(crate) fn right_edge(&self) -> SeqNum {
        self.una + self.wnd
    }

    /// Bytes that the peer's window has left; none when it has shrunk below SND.NXT.
    pub(crate) fn usable_window(&self) -> u32 {
        self.right_edge() - self.nxt
    }

    /// The urgent pointer of a segment at `seq`; as far as 16 bits reach when the urgent data ends
    /// further on.
    pub(crate) fn urgent_pointer(&self, seq: SeqNum) -> Option<u16> {
        let up = self.up.filter(|&up| up > seq)?;
        Some((up - seq).min(u32::from(u16::MAX)) as u16)
    }

    /// Bytes queued and not sent yet, FIN not counted.
    pub(crate) fn unsent(&self) -> u32 {
        self.buffer.end() - self.nxt
    }
}
