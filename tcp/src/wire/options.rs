//! The options of a TCP header (RFC 9293 §3.1): a walk of our own, because unknown kinds are to
//! be stepped over, not to end it (MUST-6).

use super::HeaderBytes;
use crate::segment::{
    FastOpen, Options, SackBlock, SackBlocks, SegmentOptions, SynOptions, Timestamps,
};
use crate::seq::{WindowScale, WireSeq};

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const FAST_OPEN: u8 = 34;
const EXPERIMENTAL: u8 = 254;

/// What marks Fast Open in the experimental option (RFC 7413 appendix A.2).
const FAST_OPEN_EXID: [u8; 2] = [0xf9, 0x89];

/// Reads what it knows, steps over what it does not, and stops at a length that cannot be
/// (MUST-7). Options out of place, such as an MSS on data, change nothing (MUST-65).
pub(super) fn parse(mut rest: &[u8], syn: bool) -> Options {
    let mut handshake = SynOptions::default();
    let mut timestamps = None;
    let mut sack = SackBlocks::new();
    while let Some((&kind, tail)) = rest.split_first() {
        match kind {
            END => break,
            NOP => rest = tail,
            _ => {
                let Some(&len) = tail.first() else { break };
                let len = len as usize;
                if len < 2 || len > rest.len() {
                    break;
                }
                match (kind, &rest[2..len]) {
                    (MSS, &[a, b]) => handshake.mss = Some(u16::from_be_bytes([a, b])),
                    (WINDOW_SCALE, &[shift]) => {
                        handshake.window_scale = Some(WindowScale::new(shift));
                    }
                    (SACK_PERMITTED, []) => handshake.sack_permitted = true,
                    (SACK, blocks) if blocks.len() % 8 == 0 => sack = parse_sack(blocks),
                    (TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                        timestamps = Some(Timestamps {
                            tsval: u32::from_be_bytes([a, b, c, d]),
                            tsecr: u32::from_be_bytes([e, f, g, h]),
                        });
                    }
                    (FAST_OPEN, cookie) if is_cookie(cookie) => {
                        handshake.fast_open = Some(FastOpen::new(cookie));
                    }
                    (EXPERIMENTAL, [0xf9, 0x89, cookie @ ..]) if is_cookie(cookie) => {
                        let option = FastOpen::new(cookie).in_experimental(true);
                        handshake.fast_open.get_or_insert(option);
                    }
                    _ => {}
                }
                rest = &rest[len..];
            }
        }
    }
    if syn {
        Options::Syn(SynOptions {
            timestamps,
            ..handshake
        })
    } else {
        Options::Segment(SegmentOptions { timestamps, sack })
    }
}

fn parse_sack(blocks: &[u8]) -> SackBlocks {
    let word = |bytes: &[u8]| bytes.iter().fold(0, |word, &byte| word << 8 | byte as u32);
    blocks
        .chunks_exact(8)
        .take(4)
        .map(|block| SackBlock {
            left: WireSeq(word(&block[..4])),
            right: WireSeq(word(&block[4..])),
        })
        .collect()
}

/// Writes options in the order that Linux uses, padded to whole words: MSS, SACK-permitted and
/// timestamps together, window scale; blocks that no longer fit are left out.
pub(super) fn emit(options: &Options, out: &mut HeaderBytes) {
    match options {
        Options::Syn(syn) => emit_syn(syn, out),
        Options::Segment(SegmentOptions { timestamps, sack }) => {
            if let Some(timestamps) = timestamps {
                put(out, &[NOP, NOP]);
                emit_timestamps(*timestamps, out);
            }
            let fit = sack.len().min((out.remaining_capacity() - 4) / 8);
            if fit > 0 {
                put(out, &[NOP, NOP, SACK, 2 + 8 * fit as u8]);
                for block in &sack[..fit] {
                    put(out, &block.left.0.to_be_bytes());
                    put(out, &block.right.0.to_be_bytes());
                }
            }
        }
    }
}

/// All that a header can say has room in it.
#[inline]
pub(super) fn put(out: &mut HeaderBytes, bytes: &[u8]) {
    let written = out.try_extend_from_slice(bytes);
    debug_assert!(written.is_ok(), "a header of more than 60 bytes");
}

/// RFC 7413 §4.1.1: a cookie has an even number of bytes, 4 to 16; a request has none.
const fn is_cookie(bytes: &[u8]) -> bool {
    matches!(bytes.len(), 0 | 4 | 6 | 8 | 10 | 12 | 14 | 16)
}

fn emit_syn(syn: &SynOptions, out: &mut HeaderBytes) {
    let SynOptions {
        mss,
        window_scale,
        sack_permitted,
        timestamps,
        fast_open,
    } = syn;
    if let Some(mss) = mss {
        put(out, &[MSS, 4]);
        put(out, &mss.to_be_bytes());
    }
    match (sack_permitted, timestamps) {
        (true, Some(_)) => put(out, &[SACK_PERMITTED, 2]),
        (true, None) => put(out, &[NOP, NOP, SACK_PERMITTED, 2]),
        (false, Some(_)) => put(out, &[NOP, NOP]),
        (false, None) => {}
    }
    if let Some(timestamps) = timestamps {
        emit_timestamps(*timestamps, out);
    }
    if let Some(scale) = window_scale {
        put(out, &[NOP, WINDOW_SCALE, 3, scale.shift()]);
    }
    if let Some(option) = fast_open {
        let cookie = option.cookie();
        if option.experimental {
            put(out, &[EXPERIMENTAL, 4 + cookie.len() as u8]);
            put(out, &FAST_OPEN_EXID);
        } else {
            put(out, &[FAST_OPEN, 2 + cookie.len() as u8]);
        }
        put(out, cookie);
        while !out.len().is_multiple_of(4) {
            put(out, &[NOP]);
        }
    }
}

fn emit_timestamps(timestamps: Timestamps, out: &mut HeaderBytes) {
    put(out, &[TIMESTAMPS, 10]);
    put(out, &timestamps.tsval.to_be_bytes());
    put(out, &timestamps.tsecr.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn(bytes: &[u8]) -> SynOptions {
        match parse(bytes, true) {
            Options::Syn(options) => options,
            Options::Segment(_) => unreachable!("asked for SYN options"),
        }
    }

    /// MUST-6: fast-open (34) and MPTCP (30) come first in real SYNs.
    #[test]
    fn unknown_kinds_are_stepped_over() {
        for kind in 30..=253 {
            for len in 2..=20u8 {
                let mut bytes = std::vec![kind, len];
                bytes.resize(len as usize, 0xff);
                bytes.extend([MSS, 4, 5, 0xb4]);
                assert_eq!(syn(&bytes).mss, Some(1460), "kind {kind} len {len}");
            }
        }
    }

    /// MUST-7: such a length ends the walk, what came before stands.
    #[test]
    fn impossible_lengths_end_the_walk() {
        for len in [0, 1, 200, 255] {
            let got = syn(&[MSS, 4, 5, 0xb4, 77, len, WINDOW_SCALE, 3, 7]);
            assert_eq!((got.mss, got.window_scale), (Some(1460), None));
        }
    }

    /// MUST-64.
    #[test]
    fn any_alignment_will_do() {
        for nops in 0..4 {
            let mut bytes = std::vec![NOP; nops];
            bytes.extend([WINDOW_SCALE, 3, 7, MSS, 4, 5, 0xb4]);
            let got = syn(&bytes);
            assert_eq!(
                (got.mss, got.window_scale),
                (Some(1460), Some(WindowScale::new(7)))
            );
        }
    }

    /// MUST-65.
    #[test]
    fn handshake_options_mean_nothing_later() {
        let options = parse(&[MSS, 4, 0, 100, WINDOW_SCALE, 3, 2], false);
        assert_eq!(options, Options::none());
    }

    #[test]
    fn a_known_kind_of_the_wrong_length_is_ignored() {
        assert_eq!(syn(&[MSS, 3, 5, WINDOW_SCALE, 3, 4]).mss, None);
        assert_eq!(
            syn(&[MSS, 3, 5, WINDOW_SCALE, 3, 4]).window_scale,
            Some(WindowScale::new(4))
        );
    }
}
