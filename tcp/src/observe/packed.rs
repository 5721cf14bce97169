//! Records as bytes, for whoever keeps many of them: half the size, and nothing of them is formatted.
//!
//! The form is this program's own, of this version: no file has it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::num::NonZeroU64;

use crate::connection::State;
use crate::error::{CloseReason, Dropped};
use crate::segment::{Flags, FlowKey, SackBlock};
use crate::seq::{WindowScale, WireSeq};
use crate::time::Instant;

use super::{
    AckWhy, Blocks, Evidence, Outcome, Packet, Phase, Record, Timer, Variables, What, Why,
};

/// What a record has besides what all of its kind have.
mod has {
    pub(super) const VARIABLES: u8 = 1;
    pub(super) const IPV6: u8 = 1 << 1;
    pub(super) const RTT: u8 = 1 << 2;
    pub(super) const SRTT: u8 = 1 << 3;
    pub(super) const STALL: u8 = 1 << 4;
    /// Bytes that are not simply on their way, or not in order.
    pub(super) const LOSSES: u8 = 1 << 5;
}

const SENT: u8 = 0;
const RECEIVED: u8 = 1;
const STATE: u8 = 2;
const TIMER: u8 = 3;
const LOST: u8 = 4;
const BEGUN: u8 = 5;
const ENDED: u8 = 6;
const UNDONE: u8 = 7;
const REDUCED: u8 = 8;

/// Stands for no code.
const NONE: u8 = u8::MAX;

impl Record {
    /// The most bytes that [`Record::pack`] takes.
    pub const MAX_PACKED: usize = 320;

    /// Writes it to the beginning of `into`; how many bytes that were. `None` if they do not fit, as
    /// [`MAX_PACKED`](Self::MAX_PACKED) always do. Of addresses, scope and flow label are left out.
    #[inline]
    pub fn pack(&self, into: &mut [u8]) -> Option<usize> {
        let room = into.len();
        let mut writer = Writer { rest: into };
        let [kind, first, second] = kind(&self.what);
        writer.bytes([kind, first, second, self.state.code(), bits(self)])?;
        writer.u64s([self.at.as_nanos()])?;
        writer.flow(&self.flow)?;
        match &self.what {
            What::Sent(packet, _) => writer.packet(packet)?,
            What::Received(packet, outcome) => {
                writer.packet(packet)?;
                writer.outcome(outcome)?;
            }
            What::State { .. } | What::Timer(_) | What::RecoveryEnded | What::RecoveryUndone => {}
            What::Lost { bytes } => writer.u32s([*bytes])?,
            What::RecoveryBegun { until, .. } => writer.u64s([*until])?,
            What::Reduced { cwnd, ssthresh } => writer.u32s([*cwnd, *ssthresh])?,
        }
        if let Some(now) = &self.now {
            writer.variables(now)?;
        }
        Some(room - writer.rest.len())
    }

    /// Reads what [`Record::pack`] has written; `None` if it has not.
    pub fn unpack(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { rest: bytes };
        let [kind, first, second, state, bits] = reader.bytes()?;
        let has = |bit: u8| bits & bit != 0;
        let [at] = reader.u64s()?;
        let flow = reader.flow(has(has::IPV6))?;
        let what = match kind {
            SENT => What::Sent(reader.packet()?, why([first, second])?),
            RECEIVED => {
                let packet = reader.packet()?;
                let mut outcome = reader.outcome(has(has::RTT))?;
                outcome.dropped = Dropped::of(first);
                What::Received(packet, outcome)
            }
            STATE => What::State {
                from: State::of(first)?,
                reason: CloseReason::of(second),
            },
            TIMER => What::Timer(timer([first, second])?),
            LOST => {
                let [bytes] = reader.u32s()?;
                What::Lost { bytes }
            }
            BEGUN => {
                let [until] = reader.u64s()?;
                let by = Evidence::of(first)?;
                What::RecoveryBegun { by, until }
            }
            ENDED => What::RecoveryEnded,
            UNDONE => What::RecoveryUndone,
            REDUCED => {
                let [cwnd, ssthresh] = reader.u32s()?;
                What::Reduced { cwnd, ssthresh }
            }
            _ => return None,
        };
        let now = if has(has::VARIABLES) {
            Some(reader.variables(bits)?)
        } else {
            None
        };
        Some(Self {
            at: Instant::from_nanos(at),
            flow,
            what,
            state: State::of(state)?,
            now,
        })
    }
}

/// The kind, and what specifies it.
#[inline]
fn kind(what: &What) -> [u8; 3] {
    match *what {
        What::Sent(_, why) => {
            let [why, more] = why_code(why);
            [SENT, why, more]
        }
        What::Received(_, outcome) => [RECEIVED, outcome.dropped.map_or(NONE, Code::code), 0],
        What::State { from, reason } => [STATE, from.code(), reason.map_or(NONE, Code::code)],
        What::Timer(timer) => {
            let [timer, count] = timer_code(timer);
            [TIMER, timer, count]
        }
        What::Lost { .. } => [LOST, 0, 0],
        What::RecoveryBegun { by, .. } => [BEGUN, by.code(), 0],
        What::RecoveryEnded => [ENDED, 0, 0],
        What::RecoveryUndone => [UNDONE, 0, 0],
        What::Reduced { .. } => [REDUCED, 0, 0],
    }
}

#[inline]
fn bits(record: &Record) -> u8 {
    let when = |holds: bool, bit: u8| if holds { bit } else { 0 };
    let rtt = matches!(&record.what, What::Received(_, outcome) if outcome.rtt.is_some());
    let mut bits = when(record.flow.local.is_ipv6(), has::IPV6) | when(rtt, has::RTT);
    if let Some(now) = &record.now {
        bits |= has::VARIABLES;
        bits |= when(now.srtt.is_some(), has::SRTT);
        bits |= when(now.stalled_since.is_some(), has::STALL);
        let [a, b, c, d, e, f] = losses(now);
        bits |= when(a | b | c | d | e | f != 0, has::LOSSES);
    }
    bits
}

/// What is 0 while all goes well.
#[inline]
const fn losses(now: &Variables) -> [u32; 6] {
    [
        now.sacked,
        now.lost,
        now.resent,
        now.twice,
        now.dup_acked,
        now.out_of_order,
    ]
}

/// Where it is written.
struct Writer<'a> {
    rest: &'a mut [u8],
}

impl Writer<'_> {
    #[inline]
    fn bytes<const N: usize>(&mut self, bytes: [u8; N]) -> Option<()> {
        let (place, rest) = core::mem::take(&mut self.rest).split_first_chunk_mut::<N>()?;
        (*place, self.rest) = (bytes, rest);
        Some(())
    }

    #[inline]
    fn u32s<const N: usize>(&mut self, values: [u32; N]) -> Option<()> {
        self.slice(values.map(u32::to_le_bytes).as_flattened())
    }

    #[inline]
    fn u64s<const N: usize>(&mut self, values: [u64; N]) -> Option<()> {
        self.slice(values.map(u64::to_le_bytes).as_flattened())
    }

    #[inline]
    fn slice(&mut self, bytes: &[u8]) -> Option<()> {
        let (place, rest) = core::mem::take(&mut self.rest).split_at_mut_checked(bytes.len())?;
        place.copy_from_slice(bytes);
        self.rest = rest;
        Some(())
    }

    #[inline]
    fn flow(&mut self, flow: &FlowKey) -> Option<()> {
        let FlowKey { local, remote } = flow;
        if let (IpAddr::V4(from), IpAddr::V4(to)) = (local.ip(), remote.ip()) {
            self.u32s([from.to_bits(), to.to_bits()])?;
        } else {
            for address in [local, remote] {
                let bits = match address.ip() {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
                    IpAddr::V6(ip) => ip.to_bits(),
                };
                self.bytes(bits.to_le_bytes())?;
            }
        }
        self.u32s([u32::from(local.port()) << 16 | u32::from(remote.port())])
    }

    #[inline]
    fn packet(&mut self, packet: &Packet) -> Option<()> {
        let blocks = packet.sack.as_slice();
        self.u32s([
            packet.seq.0,
            packet.ack.0,
            packet.len,
            packet.window,
            u32::from(packet.segments) << 16 | u32::from(packet.size),
            u32::from(packet.flags.0) << 16 | blocks.len() as u32,
        ])?;
        for block in blocks {
            self.u32s([block.left.0, block.right.0])?;
        }
        Some(())
    }

    #[inline]
    fn outcome(&mut self, outcome: &Outcome) -> Option<()> {
        self.u32s([
            outcome.in_order,
            outcome.out_of_order,
            outcome.refused,
            outcome.acked,
            outcome.sacked,
        ])?;
        if let Some(rtt) = outcome.rtt {
            self.u64s([rtt])?;
        }
        Some(())
    }

    #[inline]
    fn variables(&mut self, now: &Variables) -> Option<()> {
        self.u64s([now.snd_una, now.snd_nxt, now.rcv_nxt, now.rto])?;
        self.u32s([
            now.iss.0,
            now.irs.0,
            now.snd_wnd,
            now.rcv_wnd,
            now.cwnd,
            now.ssthresh,
            now.in_flight,
            now.unsent,
            now.unread,
            now.mss,
        ])?;
        self.bytes([now.window_scale.shift(), now.backoff, now.phase.code()])?;
        if let Some(srtt) = now.srtt {
            self.u64s([srtt.get(), now.rttvar])?;
        }
        if let Some(since) = now.stalled_since {
            self.u64s([since.as_nanos()])?;
        }
        let losses = losses(now);
        if losses != [0; 6] {
            self.u32s(losses)?;
        }
        Some(())
    }
}

/// Where it is read.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }

    fn u32s<const N: usize>(&mut self) -> Option<[u32; N]> {
        let mut values = [0; N];
        for value in &mut values {
            *value = u32::from_le_bytes(self.bytes()?);
        }
        Some(values)
    }

    fn u64s<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut values = [0; N];
        for value in &mut values {
            *value = u64::from_le_bytes(self.bytes()?);
        }
        Some(values)
    }

    fn flow(&mut self, is_ipv6: bool) -> Option<FlowKey> {
        let ips: [IpAddr; 2] = if is_ipv6 {
            let [local, remote] = [self.bytes()?, self.bytes()?];
            let ip = |bytes| Ipv6Addr::from_bits(u128::from_le_bytes(bytes)).into();
            [ip(local), ip(remote)]
        } else {
            self.u32s()?.map(|bits| Ipv4Addr::from_bits(bits).into())
        };
        let [ports] = self.u32s()?;
        Some(FlowKey {
            local: SocketAddr::new(ips[0], (ports >> 16) as u16),
            remote: SocketAddr::new(ips[1], ports as u16),
        })
    }

    fn packet(&mut self) -> Option<Packet> {
        let [seq, ack, len, window, sizes, flags] = self.u32s()?;
        let mut blocks = [SackBlock {
            left: WireSeq(0),
            right: WireSeq(0),
        }; 4];
        let count = flags as usize & 0xffff;
        for block in blocks.get_mut(..count)? {
            let [left, right] = self.u32s()?;
            (block.left, block.right) = (WireSeq(left), WireSeq(right));
        }
        Some(Packet {
            seq: WireSeq(seq),
            ack: WireSeq(ack),
            flags: Flags((flags >> 16) as u16),
            len,
            segments: (sizes >> 16) as u16,
            size: sizes as u16,
            window,
            sack: Blocks::new(&blocks[..count]),
        })
    }

    /// But why it went no further.
    fn outcome(&mut self, has_rtt: bool) -> Option<Outcome> {
        let [in_order, out_of_order, refused, acked, sacked] = self.u32s()?;
        let rtt = if has_rtt {
            let [rtt] = self.u64s()?;
            Some(rtt)
        } else {
            None
        };
        Some(Outcome {
            in_order,
            out_of_order,
            refused,
            acked,
            sacked,
            rtt,
            dropped: None,
        })
    }

    fn variables(&mut self, bits: u8) -> Option<Variables> {
        let has = |bit: u8| bits & bit != 0;
        let [snd_una, snd_nxt, rcv_nxt, rto] = self.u64s()?;
        let [
            iss,
            irs,
            snd_wnd,
            rcv_wnd,
            cwnd,
            ssthresh,
            in_flight,
            unsent,
            unread,
            mss,
        ] = self.u32s()?;
        let [shift, backoff, phase] = self.bytes()?;
        let (mut srtt, mut rttvar, mut stalled_since, mut losses) = (None, 0, None, [0; 6]);
        if has(has::SRTT) {
            let [nanos, variation] = self.u64s()?;
            (srtt, rttvar) = (NonZeroU64::new(nanos), variation);
        }
        if has(has::STALL) {
            let [nanos] = self.u64s()?;
            stalled_since = Some(Instant::from_nanos(nanos));
        }
        if has(has::LOSSES) {
            losses = self.u32s()?;
        }
        let [sacked, lost, resent, twice, dup_acked, out_of_order] = losses;
        Some(Variables {
            iss: WireSeq(iss),
            irs: WireSeq(irs),
            snd_una,
            snd_nxt,
            snd_wnd,
            rcv_nxt,
            rcv_wnd,
            window_scale: WindowScale::new(shift),
            cwnd,
            ssthresh,
            in_flight,
            sacked,
            lost,
            resent,
            twice,
            dup_acked,
            unsent,
            unread,
            out_of_order,
            mss,
            srtt,
            rttvar,
            rto,
            backoff,
            stalled_since,
            phase: Phase::of(phase)?,
        })
    }
}

/// One of a few words, as a byte.
trait Code: Sized {
    fn code(self) -> u8;
    fn of(code: u8) -> Option<Self>;
}

/// A code for each variant; one that is left out here does not compile.
macro_rules! codes {
    ($($kind:ident: $($variant:ident),+;)+) => {
        $(impl Code for $kind {
            #[inline]
            fn code(self) -> u8 {
                match self {
                    $(Self::$variant => Self::$variant as u8,)+
                }
            }

            fn of(code: u8) -> Option<Self> {
                let all = [$(Self::$variant),+];
                all.into_iter().find(|one| *one as u8 == code)
            }
        })+
    };
}

codes! {
    State: Closed, Listen, SynSent, SynReceived, Established, FinWait1, FinWait2, CloseWait,
        Closing, LastAck, TimeWait;
    Phase: SlowStart, Avoidance, Recovery, Loss;
    Evidence: Rack, Sack, DuplicateAcks, Timeout;
    CloseReason: Finished, Reset, Refused, TimedOut, Unreachable, Aborted;
    Dropped: OutOfWindow, BlindReset, BadReset, BlindSyn, BadAck, NoAck, StaleTimestamp,
        NoTimestamp, Reset, NoSocket, BadFlags, BadAddress, BacklogFull, RateLimited, NoMemory;
    AckWhy: Data, Delayed, OutOfOrder, GapFilled, OutOfWindow, Challenge, WindowUpdate, Fin,
        BeyondWindow, Report, Opened, Asked;
}

#[inline]
fn why_code(why: Why) -> [u8; 2] {
    match why {
        Why::Syn => [0, 0],
        Why::SynAck => [1, 0],
        Why::SynAgain => [2, 0],
        Why::NewData => [3, 0],
        Why::TailProbeNew => [4, 0],
        Why::TailProbeAgain => [5, 0],
        Why::SpuriousTimeoutTest => [6, 0],
        Why::MtuProbe => [7, 0],
        Why::FastRetransmit => [8, 0],
        Why::TimeoutRetransmit(count) => [9, count],
        Why::PathMtuRetransmit => [10, 0],
        Why::HoleRetransmit => [11, 0],
        Why::WindowProbe => [12, 0],
        Why::KeepAlive => [13, 0],
        Why::Ack(why) => [14, why.code()],
        Why::Reset => [15, 0],
        Why::Reply => [16, 0],
    }
}

fn why([code, more]: [u8; 2]) -> Option<Why> {
    Some(match code {
        0 => Why::Syn,
        1 => Why::SynAck,
        2 => Why::SynAgain,
        3 => Why::NewData,
        4 => Why::TailProbeNew,
        5 => Why::TailProbeAgain,
        6 => Why::SpuriousTimeoutTest,
        7 => Why::MtuProbe,
        8 => Why::FastRetransmit,
        9 => Why::TimeoutRetransmit(more),
        10 => Why::PathMtuRetransmit,
        11 => Why::HoleRetransmit,
        12 => Why::WindowProbe,
        13 => Why::KeepAlive,
        14 => Why::Ack(AckWhy::of(more)?),
        15 => Why::Reset,
        16 => Why::Reply,
        _ => return None,
    })
}

fn timer_code(timer: Timer) -> [u8; 2] {
    match timer {
        Timer::Handshake => [0, 0],
        Timer::Retransmission(count) => [1, count],
        Timer::TailProbe => [2, 0],
        Timer::Persist(count) => [3, count],
        Timer::Reordering => [4, 0],
        Timer::DelayedAck => [5, 0],
        Timer::KeepAlive => [6, 0],
        Timer::Patience => [7, 0],
        Timer::Linger => [8, 0],
    }
}

fn timer([code, count]: [u8; 2]) -> Option<Timer> {
    Some(match code {
        0 => Timer::Handshake,
        1 => Timer::Retransmission(count),
        2 => Timer::TailProbe,
        3 => Timer::Persist(count),
        4 => Timer::Reordering,
        5 => Timer::DelayedAck,
        6 => Timer::KeepAlive,
        7 => Timer::Patience,
        8 => Timer::Linger,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
