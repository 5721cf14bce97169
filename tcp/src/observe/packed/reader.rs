//! How packed records are read again.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::num::NonZeroU64;

use crate::connection::State;
use crate::error::{CloseReason, Dropped};
use crate::segment::{Flags, FlowKey, SackBlock};
use crate::seq::{WindowScale, WireSeq};
use crate::time::Instant;

use super::super::{Blocks, Evidence, Outcome, Packet, Phase, Variables, What};
use super::codes::{Code, timer, why};
use super::{BEGUN, ENDED, LOST, RECEIVED, REDUCED, SENT, STATE, TIMER, UNDONE, has};

/// Where it is read.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl Reader<'_> {
    /// What the records of a [`Packed`](super::Packed) share.
    pub(super) fn shared(
        &mut self,
        bits: u8,
        state: u8,
    ) -> Option<(Instant, FlowKey, State, Option<Variables>)> {
        let [at] = self.u64s()?;
        let now = if bits & has::VARIABLES != 0 {
            Some(self.variables(bits)?)
        } else {
            None
        };
        let flow = self.flow(bits & has::IPV6 != 0)?;
        Some((Instant::from_nanos(at), flow, State::of(state)?, now))
    }

    pub(super) fn what(&mut self) -> Option<What> {
        let [kind, first, second, has_rtt] = self.bytes()?;
        Some(match kind {
            SENT => {
                let (mut packet, blocks) = self.packet()?;
                packet.sack = self.blocks(blocks)?;
                What::Sent(packet, why([first, second])?)
            }
            RECEIVED => {
                let (mut packet, blocks) = self.packet()?;
                let mut outcome = self.outcome(has_rtt != 0)?;
                packet.sack = self.blocks(blocks)?;
                outcome.dropped = Dropped::of(first);
                What::Received(packet, outcome)
            }
            STATE => What::State {
                from: State::of(first)?,
                reason: CloseReason::of(second),
            },
            TIMER => What::Timer(timer([first, second])?),
            LOST => {
                let [bytes] = self.u32s()?;
                What::Lost { bytes }
            }
            BEGUN => {
                let [until] = self.u64s()?;
                let by = Evidence::of(first)?;
                What::RecoveryBegun { by, until }
            }
            ENDED => What::RecoveryEnded,
            UNDONE => What::RecoveryUndone,
            REDUCED => {
                let [cwnd, ssthresh] = self.u32s()?;
                What::Reduced { cwnd, ssthresh }
            }
            _ => return None,
        })
    }

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

    /// But its SACK blocks: how many there are.
    fn packet(&mut self) -> Option<(Packet, usize)> {
        let [seq, ack, len, window, sizes, flags] = self.u32s()?;
        let packet = Packet {
            seq: WireSeq(seq),
            ack: WireSeq(ack),
            flags: Flags((flags >> 16) as u16),
            len,
            segments: (sizes >> 16) as u16,
            size: sizes as u16,
            window,
            sack: Blocks::new(&[]),
        };
        Some((packet, flags as usize & 0xffff))
    }

    fn blocks(&mut self, count: usize) -> Option<Blocks> {
        let mut blocks = [SackBlock {
            left: WireSeq(0),
            right: WireSeq(0),
        }; 4];
        for block in blocks.get_mut(..count)? {
            let [left, right] = self.u32s()?;
            (block.left, block.right) = (WireSeq(left), WireSeq(right));
        }
        Some(Blocks::new(&blocks[..count]))
    }

    /// But why it went no further.
    fn outcome(&mut self, has_rtt: bool) -> Option<Outcome> {
        let [in_order, out_of_order, refused, acked, sacked] = self.u32s()?;
        let [rtt] = self.u64s()?;
        Some(Outcome {
            in_order,
            out_of_order,
            refused,
            acked,
            sacked,
            rtt: has_rtt.then_some(rtt),
            dropped: None,
        })
    }

    fn variables(&mut self, bits: u8) -> Option<Variables> {
        let [snd_una, snd_nxt, rcv_nxt, rto, srtt, rttvar] = self.u64s()?;
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
            small,
        ] = self.u32s()?;
        let [shift, backoff, phase, _] = small.to_le_bytes();
        let (mut bytes, mut stalled_since) = ([0; 6], None);
        if bits & has::TROUBLES != 0 {
            bytes = self.u32s()?;
            let [nanos] = self.u64s()?;
            stalled_since = nanos.checked_sub(1).map(Instant::from_nanos);
        }
        let [sacked, lost, resent, twice, dup_acked, out_of_order] = bytes;
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
            srtt: NonZeroU64::new(srtt),
            rttvar,
            rto,
            backoff,
            stalled_since,
            phase: Phase::of(phase)?,
        })
    }
}
