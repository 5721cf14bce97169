//! SYN cookies (RFC 4987 §3.6): when the backlog is full, what a SYN said travels in the SYN,ACK's
//! own numbers, and comes back with the ACK.
//!
//! ```text
//! ISN      index of the MSS (3 bits) │ MAC (29 bits)
//! TSval    clock (26 bits)           │ ECN, SACK, window scale (6 bits), where the peer has timestamps
//! ```
//!
//! The MAC covers the flow, the peer's ISN, the index, whether there were timestamps, and the
//! minute; this minute's and the last one's are good. A guess is right with 2⁻²⁸.

use crate::config::Config;
use crate::connection::Negotiated;
use crate::endpoint::ListenerId;
use crate::isn::Secrets;
use crate::segment::{Flags, Options, Segment, SynOptions, Timestamps};
use crate::seq::{WindowScale, WireSeq};
use crate::time::{Duration, Instant};

use super::{Ours, PeerSyn, Syn};

/// What a cookie's MAC is good for, once and then again as the last one's (SY-3).
const EPOCH: Duration = Duration::from_secs(60);

/// No cookie is older than this.
pub(crate) const COOKIE_LIFE: Duration = Duration::from_secs(120);

/// The MSS values that three bits tell apart: what the peer said, or the next below.
const MSS: [u16; 8] = [64, 536, 1000, 1220, 1360, 1440, 1460, 8940];

const MAC_BITS: u32 = 29;
const OPTION_BITS: u32 = 6;
const NO_SCALE: u32 = 15;
const SACK: u32 = 1 << 4;
const ECN: u32 = 1 << 5;

/// The SYN,ACK that keeps no state here.
pub(crate) fn syn_ack(
    now: Instant,
    config: &Config,
    secrets: &Secrets,
    mut ours: Ours,
    mut peer: PeerSyn,
) -> Segment<()> {
    let timestamps = peer.options.timestamps.is_some();
    if !timestamps {
        // Nothing would remember what was agreed on.
        peer.options.window_scale = None;
        peer.options.sack_permitted = false;
        peer.ecn = false;
    }
    let default = if ours.flow.is_ipv6() { 1220 } else { 536 };
    let wanted = peer.options.mss.unwrap_or(default);
    let index = MSS.iter().rposition(|&mss| mss <= wanted).unwrap_or(0) as u32;
    ours.iss = cookie(secrets, epoch(now), &ours, peer.irs, index, timestamps);
    let syn = Syn {
        answers: Some((peer.irs.wrapping_add(1), &peer)),
        ecn: if peer.ecn { Flags::ECE } else { Flags::NONE },
        fast_open: None,
        window: ours.window(config),
    };
    let mut segment = ours.syn(now, config, &syn);
    if let Options::Syn(SynOptions {
        timestamps: Some(ts),
        ..
    }) = &mut segment.options
    {
        let clock = with_bits(now.as_millis() as u32, option_bits(&peer));
        ts.tsval = clock.wrapping_add(ours.ts_offset);
    }
    segment
}

/// What a cookie that comes back has settled; `None` if it is none of ours, or too old.
pub(crate) fn check(
    now: Instant,
    config: &Config,
    secrets: &Secrets,
    mut ours: Ours,
    listener: ListenerId,
    seg: &Segment,
) -> Option<Negotiated> {
    ours.iss = seg.ack.wrapping_add(u32::MAX);
    let irs = seg.seq.wrapping_add(u32::MAX);
    let index = ours.iss.0 >> MAC_BITS;
    let timestamps = seg.options.timestamps();
    let good = [epoch(now), epoch(now).wrapping_sub(1)]
        .into_iter()
        .any(|epoch| cookie(secrets, epoch, &ours, irs, index, timestamps.is_some()) == ours.iss);
    if !good {
        return None;
    }
    let mut options = SynOptions {
        mss: Some(MSS[index as usize]),
        timestamps,
        ..Default::default()
    };
    let mut ecn = false;
    if let Some(Timestamps { tsecr, .. }) = timestamps {
        let clock = tsecr.wrapping_sub(ours.ts_offset);
        if (now.as_millis() as u32).wrapping_sub(clock) > COOKIE_LIFE.as_millis() as u32 {
            return None;
        }
        let scale = clock & NO_SCALE;
        options.window_scale = (scale != NO_SCALE).then(|| WindowScale::new(scale as u8));
        options.sack_permitted = clock & SACK != 0;
        ecn = clock & ECN != 0;
    }
    let wnd = seg.window.bytes(options.window_scale.unwrap_or_default());
    let peer = PeerSyn {
        irs,
        options,
        wnd,
        ecn,
    };
    Some(ours.settle(now, config, &peer, (seg.ack, wnd), Some(listener)))
}

fn epoch(now: Instant) -> u64 {
    now.as_millis() / EPOCH.as_millis() as u64
}

fn cookie(
    secrets: &Secrets,
    epoch: u64,
    ours: &Ours,
    irs: WireSeq,
    index: u32,
    timestamps: bool,
) -> WireSeq {
    let mut said = [0; 14];
    said[..8].copy_from_slice(&epoch.to_be_bytes());
    said[8..12].copy_from_slice(&irs.0.to_be_bytes());
    said[12..].copy_from_slice(&[index as u8, u8::from(timestamps)]);
    let mac = secrets.cookie_mac(&ours.flow, &said) as u32 & ((1 << MAC_BITS) - 1);
    WireSeq(index << MAC_BITS | mac)
}

fn option_bits(peer: &PeerSyn) -> u32 {
    let scale = peer.options.window_scale;
    scale.map_or(NO_SCALE, |scale| u32::from(scale.shift()))
        | if peer.options.sack_permitted { SACK } else { 0 }
        | if peer.ecn { ECN } else { 0 }
}

/// The latest clock not after `clock` that ends in `bits`, so that no later TSval is smaller.
const fn with_bits(clock: u32, bits: u32) -> u32 {
    let low = (1 << OPTION_BITS) - 1;
    let back = (clock & low).wrapping_sub(bits) & low;
    clock.wrapping_sub(back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_bits_never_run_ahead_of_the_clock() {
        for clock in (0..10_000).chain(u32::MAX - 100..=u32::MAX) {
            for bits in 0..64 {
                let got = with_bits(clock, bits);
                assert_eq!(got & 63, bits);
                assert!(clock.wrapping_sub(got) < 64);
            }
        }
    }
}
