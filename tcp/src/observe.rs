//! What TCP does, as data: each packet with what it was for or what became of it, and what happened
//! in between.
//!
//! [`Tcp::observe`](crate::Tcp::observe) switches it on. From then on [`Record`]s collect in the
//! order of events, and [`Tcp::take_records`](crate::Tcp::take_records) hands them out; what is not
//! fetched in time is dropped and counted. They are [packed](Records): nothing is formatted, and
//! nothing allocated per event.
//!
//! A packet's record comes before the records of what the packet has changed, and its
//! [`Variables`] are those after it. Sequence numbers in them count from the initial ones, which
//! are 0; a packet has its header's, and [`Variables::sent`] and [`Variables::received`] translate.

mod observer;
mod packed;

pub(crate) use observer::{ConnectionMark, Mark, Observer, Scene, Seen, View};
pub use packed::{Packed, Records};

use crate::connection::State;
use crate::error::{CloseReason, Dropped};
use crate::segment::{Flags, FlowKey, SackBlock};
use crate::seq::{WindowScale, WireSeq};
use crate::time::Instant;

/// Something that happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// To whom.
    pub flow: FlowKey,
    /// What.
    pub what: What,
    /// The connection's state afterwards; CLOSED where there is no connection.
    pub state: State,
    /// Its variables afterwards, while there is a connection that has them.
    pub now: Option<Variables>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A segment left.
    Sent(Packet, Why),
    /// A segment arrived.
    Received(Packet, Outcome),
    /// The state of RFC 9293 §3.3.2 was another one before.
    State {
        /// The state that it left.
        from: State,
        /// How the connection ended, where it did.
        reason: Option<CloseReason>,
    },
    /// A timer fired.
    Timer(Timer),
    /// So many bytes were judged lost.
    Lost {
        /// Bytes, FIN counted as one.
        bytes: u32,
    },
    /// An episode of loss recovery began.
    RecoveryBegun {
        /// What showed the loss.
        by: Evidence,
        /// SND.UNA reaches this at its end: a number of ours, counted from the initial one.
        until: u64,
    },
    /// It is over: all that was sent before it has arrived.
    RecoveryEnded,
    /// It was a false alarm, and the congestion window is as before.
    RecoveryUndone,
    /// The congestion window fell, or the slow-start threshold moved.
    Reduced {
        /// The congestion window before, in bytes.
        cwnd: u32,
        /// The slow-start threshold before, in bytes; `u32::MAX` before the first reduction.
        ssthresh: u32,
    },
}

/// A segment's header, and how much it carried. Of segments that came or left as one it is the
/// first's, flags being those of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// SEG.SEQ.
    pub seq: WireSeq,
    /// SEG.ACK; counts with the ACK flag only.
    pub ack: WireSeq,
    /// Control bits.
    pub flags: Flags,
    /// Payload in all, in bytes.
    pub len: u32,
    /// Segments on the wire.
    pub segments: u16,
    /// Payload of each of them but the last, in bytes.
    pub size: u16,
    /// The window that it offers, in bytes: scaled, but in a SYN.
    pub window: u32,
    /// SACK blocks, the first one first.
    pub sack: Blocks,
}

/// SACK blocks as plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    count: u8,
    blocks: [SackBlock; 4],
}

impl Blocks {
    /// At most the first four.
    pub fn new(blocks: &[SackBlock]) -> Self {
        const NONE: SackBlock = SackBlock {
            left: WireSeq(0),
            right: WireSeq(0),
        };
        let mut all = Self {
            count: 0,
            blocks: [NONE; 4],
        };
        for (place, block) in all.blocks.iter_mut().zip(blocks) {
            *place = *block;
            all.count += 1;
        }
        all
    }

    /// The blocks, the first one first.
    pub fn as_slice(&self) -> &[SackBlock] {
        &self.blocks[..usize::from(self.count)]
    }
}

/// Why a segment was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// To open.
    Syn,
    /// To answer a SYN.
    SynAck,
    /// A SYN or SYN,ACK once more: its timer fired, or the peer's came again.
    SynAgain,
    /// Data, or FIN, that was not sent before.
    NewData,
    /// New data that asks for an ACK of the tail (RFC 8985 §7.3).
    TailProbeNew,
    /// The last segment again, to ask for an ACK of the tail (RFC 8985 §7.3).
    TailProbeAgain,
    /// New data after a timeout that may be spurious (RFC 5682 §2.1).
    SpuriousTimeoutTest,
    /// A larger packet, to see whether the path takes it (RFC 4821).
    MtuProbe,
    /// Sent again: ACKs showed that it was lost.
    FastRetransmit,
    /// Sent again after this many timeouts in a row.
    TimeoutRetransmit(u8),
    /// Sent again, cut to what the path takes: it was too large, not lost to congestion.
    PathMtuRetransmit,
    /// Sent again though nobody has shown it to be lost, for want of anything else (RFC 6675 §4
    /// NextSeg (3) and (4)).
    HoleRetransmit,
    /// To ask whether the peer's window is still closed (RFC 9293 §3.8.6.1).
    WindowProbe,
    /// To ask whether the peer is still there (RFC 9293 §3.8.4).
    KeepAlive,
    /// An acknowledgment, for this reason.
    Ack(AckWhy),
    /// The connection is aborted, or given up.
    Reset,
    /// A RST or ACK for a segment that belongs to no open connection.
    Reply,
}

impl Why {
    /// Whether bytes leave that were sent before.
    pub const fn is_retransmission(self) -> bool {
        matches!(
            self,
            Self::SynAgain
                | Self::TailProbeAgain
                | Self::FastRetransmit
                | Self::TimeoutRetransmit(_)
                | Self::PathMtuRetransmit
                | Self::HoleRetransmit
        )
    }
}

/// Why an acknowledgment without data leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AckWhy {
    /// Two full segments have arrived, or the sender is young or asked for it (RFC 5681 §4.2).
    Data,
    /// The delayed ACK's time has come.
    Delayed,
    /// Data arrived above a gap, or twice.
    OutOfOrder,
    /// Data filled a gap.
    GapFilled,
    /// A segment lay outside the window (RFC 9293 §3.10.7.4), or a timestamp was too old.
    OutOfWindow,
    /// A challenge (RFC 5961).
    Challenge,
    /// The window has opened.
    WindowUpdate,
    /// FIN arrived.
    Fin,
    /// More arrived than the window takes, or a probe of the closed window.
    BeyondWindow,
    /// A duplicate or a range above a gap is still to be reported.
    Report,
    /// The handshake is complete.
    Opened,
    /// The application asked for it.
    Asked,
}

/// What became of a segment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By how much RCV.NXT moved, FIN counted as one.
    pub in_order: u32,
    /// What was kept above a gap.
    pub out_of_order: u32,
    /// What was there already, or lay outside the window, or was not taken for want of memory.
    pub refused: u32,
    /// By how much SND.UNA moved.
    pub acked: u32,
    /// What SACK reported for the first time, beyond what was acknowledged.
    pub sacked: u32,
    /// The round trip that it measured, in nanoseconds.
    pub rtt: Option<u64>,
    /// Why it went no further.
    pub dropped: Option<Dropped>,
}

/// A timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Timer {
    /// SYN or SYN,ACK is to be sent again, or given up.
    Handshake,
    /// Retransmission timeout (RFC 6298); so many in a row, this one included.
    Retransmission(u8),
    /// The tail is to be probed (RFC 8985 §7).
    TailProbe,
    /// The closed window is to be probed (RFC 9293 §3.8.6.1); so many in a row.
    Persist(u8),
    /// The reordering window has closed (RFC 8985 §6.3).
    Reordering,
    /// An ACK has waited long enough.
    DelayedAck,
    /// Nothing was heard for long: keep-alive.
    KeepAlive,
    /// The user timeout, or an orphan's patience.
    Patience,
    /// FIN-WAIT-2 or TIME-WAIT is over.
    Linger,
}

/// What showed a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Evidence {
    /// Something sent later has arrived, and the reordering window is over (RFC 8985).
    Rack,
    /// SACK blocks (RFC 6675).
    Sack,
    /// Three duplicate ACKs (RFC 6582).
    DuplicateAcks,
    /// The retransmission timer.
    Timeout,
}

/// What the sender is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// cwnd is below ssthresh.
    SlowStart,
    /// cwnd is at ssthresh or above.
    Avoidance,
    /// Repairing a loss that ACKs showed.
    Recovery,
    /// Repairing after a timeout.
    Loss,
}

/// The variables of a connection. Bytes, unless they say otherwise; sequence numbers count from the
/// initial ones, which are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variables {
    /// Our initial sequence number.
    pub iss: WireSeq,
    /// The peer's.
    pub irs: WireSeq,
    /// SND.UNA.
    pub snd_una: u64,
    /// SND.NXT.
    pub snd_nxt: u64,
    /// SND.WND.
    pub snd_wnd: u32,
    /// RCV.NXT.
    pub rcv_nxt: u64,
    /// RCV.WND.
    pub rcv_wnd: u32,
    /// How our window field is scaled.
    pub window_scale: WindowScale,
    /// The congestion window in force.
    pub cwnd: u32,
    /// The slow-start threshold; `u32::MAX` before the first reduction.
    pub ssthresh: u32,
    /// On its way, as far as is known (`pipe` of RFC 6675).
    pub in_flight: u32,
    /// Of what lies between SND.UNA and SND.NXT, what SACK has reported.
    pub sacked: u32,
    /// Of it, what was judged lost and has not been sent again.
    pub lost: u32,
    /// Of it, what was judged lost and sent again.
    pub resent: u32,
    /// Of it, what was sent again without having been judged lost: it is in flight twice.
    pub twice: u32,
    /// What duplicate ACKs of a peer without SACK stand for.
    pub dup_acked: u32,
    /// Written by the application and never sent.
    pub unsent: u32,
    /// Received and not read yet.
    pub unread: u32,
    /// Received above a gap.
    pub out_of_order: u32,
    /// Payload of a full segment.
    pub mss: u32,
    /// SRTT in nanoseconds, once there was a sample.
    pub srtt: Option<core::num::NonZeroU64>,
    /// RTTVAR in nanoseconds.
    pub rttvar: u64,
    /// The retransmission timeout in nanoseconds, backed off.
    pub rto: u64,
    /// How often in a row the retransmission timer has fired.
    pub backoff: u8,
    /// Since when nothing was acknowledged although something waits, in nanoseconds of
    /// [`Instant`]'s clock.
    pub stalled_since: Option<Instant>,
    /// What the sender is doing.
    pub phase: Phase,
}

impl Variables {
    /// The number of ours that a header carries as `wire`, counted from the initial one; 0 for what
    /// lies before it.
    pub const fn sent(&self, wire: WireSeq) -> u64 {
        expand(self.snd_una, self.iss, wire)
    }

    /// The peer's number that a header carries as `wire`, likewise.
    pub const fn received(&self, wire: WireSeq) -> u64 {
        expand(self.rcv_nxt, self.irs, wire)
    }
}

/// The number nearest to `near` that the wire carries as `wire`.
const fn expand(near: u64, initial: WireSeq, wire: WireSeq) -> u64 {
    let low = wire.0.wrapping_sub(initial.0);
    let distance = low.wrapping_sub(near as u32) as i32;
    match near.checked_add_signed(distance as i64) {
        Some(number) => number,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_from_the_initial_one_past_every_wrap() {
        let iss = WireSeq(0xffff_fff0);
        for near in [0, 1, 0x7fff_ffff, 0xffff_ffff, 0x1_0000_0005, 0x9_8765_4321] {
            for distance in [-20_i64, -1, 0, 1, 65_536, 0x7fff_0000] {
                let Some(number) = u64::checked_add_signed(near, distance) else {
                    continue;
                };
                let wire = iss.wrapping_add(number as u32);
                assert_eq!(expand(near, iss, wire), number, "{near} {distance}");
            }
        }
        assert_eq!(expand(0, iss, WireSeq(0xffff_ffe0)), 0, "before the first");
    }
}
