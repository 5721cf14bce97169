//! Segments as bytes: parsed without ever panicking, built into a caller's array.
//!
//! Checksums are the IP layer's work: it knows the addresses and what the device does for it.

mod options;

use core::num::NonZeroU16;

use arrayvec::ArrayVec;
use bytes::{Buf, Bytes};

use crate::error::Malformed;
use crate::segment::{Flags, Options, Segment};
use crate::seq::{WireSeq, WireWindow};

/// Offset of the checksum field from the start of a TCP header.
pub const CHECKSUM_OFFSET: u16 = 16;

/// Offset of the byte with the flags from CWR to FIN.
pub const FLAGS_OFFSET: usize = 13;

/// Bytes of a header without options.
const HEADER_LEN: usize = 20;

/// A TCP header with all its options, 60 bytes at most.
pub type HeaderBytes = ArrayVec<u8, 60>;

/// What [`parse`] yields: the ports and the rest.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// The segment.
    pub segment: Segment,
}

/// Reads a segment from `bytes`, header and payload, whose checksum has been verified.
///
/// `gso_size` is the payload of the wire segments that offload joined, if it joined any. The
/// payload of the result is what is left of `bytes`, not a copy.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "a segment is made where it is to be, not moved there"
)]
pub fn parse(mut bytes: Bytes, gso_size: Option<NonZeroU16>) -> Result<Parsed, Malformed> {
    let (&[a, b, c, d, e, ..], _) = bytes.as_chunks::<4>() else {
        return Err(malformed(&bytes));
    };
    let [ports, seq, ack, control, urgent] = [a, b, c, d, e].map(u32::from_be_bytes);
    let header_len = (control >> 28) as usize * 4;
    if header_len < HEADER_LEN || header_len > bytes.len() {
        return Err(malformed(&bytes));
    }
    let flags = Flags((control >> 16) as u16 & 0x1ff);
    let options = if header_len == HEADER_LEN && !flags.contains(Flags::SYN) {
        Options::none()
    } else {
        options::parse(&bytes[HEADER_LEN..header_len], flags.contains(Flags::SYN))
    };
    bytes.advance(header_len);
    let alone = NonZeroU16::new(bytes.len().min(u16::MAX as usize) as u16);
    Ok(Parsed {
        source_port: (ports >> 16) as u16,
        destination_port: ports as u16,
        segment: Segment {
            seq: WireSeq(seq),
            ack: WireSeq(ack),
            window: WireWindow(control as u16),
            flags,
            options,
            urgent: urgent as u16,
            mss: gso_size.or(alone).unwrap_or(NonZeroU16::MIN),
            payload: bytes,
        },
    })
}

/// Why `bytes` do not begin with a header.
#[cold]
fn malformed(bytes: &[u8]) -> Malformed {
    if bytes.get(12).is_some_and(|offset| offset >> 4 < 5) {
        Malformed::DataOffset
    } else {
        Malformed::Truncated
    }
}

/// Builds the header of `segment`, its checksum field zero.
#[inline]
pub fn emit(segment: &Segment<()>, source_port: u16, destination_port: u16) -> HeaderBytes {
    let words = [
        u32::from(source_port) << 16 | u32::from(destination_port),
        segment.seq.0,
        segment.ack.0,
        u32::from(segment.flags.0 & 0x1ff) << 16 | u32::from(segment.window.0),
        u32::from(segment.urgent),
    ];
    let mut header = HeaderBytes::new();
    options::put(&mut header, words.map(u32::to_be_bytes).as_flattened());
    if !segment.options.is_empty() {
        options::emit(&segment.options, &mut header);
    }
    // Options are whole words by construction.
    header[12] |= (header.len() as u8 / 4) << 4;
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{FastOpen, Options, SackBlock, SegmentOptions, SynOptions, Timestamps};
    use crate::seq::WindowScale;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn segment(flags: Flags, options: Options) -> Segment<()> {
        Segment {
            seq: WireSeq(0xdead_beef),
            ack: WireSeq(0x0102_0304),
            window: WireWindow(0x4321),
            flags,
            options,
            payload: (),
            urgent: 0,
            mss: NonZeroU16::MIN,
        }
    }

    fn round_trip(sent: &Segment<()>, payload: &[u8]) -> Segment {
        let mut bytes: Vec<u8> = emit(sent, 1234, 80).to_vec();
        assert_eq!(bytes.len() as u32, 20 + sent.options.len());
        bytes.extend_from_slice(payload);
        let parsed = parse(bytes.into(), None).unwrap();
        assert_eq!((parsed.source_port, parsed.destination_port), (1234, 80));
        parsed.segment
    }

    /// Every set of options that fits, with cookies of all lengths, as their own option and in the
    /// experimental one.
    #[test]
    fn a_syn_survives_the_wire() {
        let cookies = (0..=16)
            .step_by(2)
            .filter(|&len| len != 2)
            .map(|len| FastOpen::new(&[7; 16][..len]));
        let fast_opens = cookies
            .flat_map(|cookie| [false, true].map(|old| Some(cookie.in_experimental(old))))
            .chain([None]);
        let mut tried = 0;
        for fast_open in fast_opens {
            for bits in 0..16u8 {
                let has = |bit| bits & bit != 0;
                let options = Options::Syn(SynOptions {
                    mss: has(1).then_some(1460),
                    window_scale: has(2).then_some(WindowScale::new(9)),
                    sack_permitted: has(4),
                    timestamps: has(8).then_some(Timestamps { tsval: 7, tsecr: 9 }),
                    fast_open,
                });
                if options.len() > 40 {
                    continue;
                }
                let got = round_trip(&segment(Flags::SYN, options.clone()), b"");
                assert_eq!((got.options, got.flags), (options, Flags::SYN));
                tried += 1;
            }
        }
        assert!(tried > 200, "{tried}");
    }

    #[test]
    fn every_flag_survives_the_wire() {
        for bits in 0..512 {
            let flags = Flags(bits);
            let options = if flags.contains(Flags::SYN) {
                Options::Syn(SynOptions::default())
            } else {
                Options::none()
            };
            assert_eq!(round_trip(&segment(flags, options), b"x").flags, flags);
        }
    }

    #[test]
    fn three_sack_blocks_fit_beside_timestamps() {
        let block = |n: u32| SackBlock {
            left: WireSeq(n),
            right: WireSeq(n + 10),
        };
        let options = Options::Segment(SegmentOptions {
            timestamps: Some(Timestamps { tsval: 1, tsecr: 2 }),
            sack: [block(100), block(300), block(200)].into_iter().collect(),
        });
        let got = round_trip(&segment(Flags::ACK, options.clone()), b"payload");
        assert_eq!(got.options, options);
        assert_eq!(&got.payload[..], b"payload");
    }

    #[test]
    fn what_does_not_hold_a_header_is_malformed() {
        let whole = emit(&segment(Flags::ACK, Options::none()), 1, 2).to_vec();
        for len in 0..whole.len() {
            let cut = Bytes::copy_from_slice(&whole[..len]);
            assert!(parse(cut, None).is_err(), "{len}");
        }
        let mut bad = whole.clone();
        bad[12] = 0x40;
        assert_eq!(parse(bad.into(), None).unwrap_err(), Malformed::DataOffset);
        let mut long = whole;
        long[12] = 0xf0;
        assert_eq!(parse(long.into(), None).unwrap_err(), Malformed::Truncated);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(bytes.into(), None);
        }

        /// A parser that many others test reads the same.
        #[test]
        fn etherparse_reads_the_same(mut bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(flags) = bytes.get_mut(13) {
                *flags &= !(Flags::SYN.0 as u8);
            }
            let ours = parse(Bytes::copy_from_slice(&bytes), None);
            let Ok(theirs) = etherparse::TcpHeaderSlice::from_slice(&bytes) else {
                prop_assert!(ours.is_err());
                return Ok(());
            };
            let Parsed { source_port, destination_port, segment } = ours.unwrap();
            prop_assert_eq!(source_port, theirs.source_port());
            prop_assert_eq!(destination_port, theirs.destination_port());
            prop_assert_eq!(segment.seq.0, theirs.sequence_number());
            prop_assert_eq!(segment.ack.0, theirs.acknowledgment_number());
            prop_assert_eq!(segment.window.0, theirs.window_size());
            prop_assert_eq!(segment.urgent, theirs.urgent_pointer());
            prop_assert_eq!(segment.flags.0 as u8, bytes[13]);
            prop_assert_eq!(segment.has(Flags::AE), theirs.ns());
            prop_assert_eq!(segment.payload, &bytes[theirs.slice().len()..]);
        }

        #[test]
        fn what_is_parsed_is_built_again(mut options in proptest::collection::vec(any::<u8>(), 0..40), flags in 0u16..512) {
            options.resize(options.len().next_multiple_of(4), 0);
            let mut bytes = std::vec![0u8; 20];
            bytes[12] = (((20 + options.len()) / 4) << 4) as u8 | (flags >> 8) as u8;
            bytes[13] = flags as u8;
            bytes.extend_from_slice(&options);
            let first = parse(bytes.into(), None).unwrap().segment;
            let again = first.header();
            let second = parse(Bytes::copy_from_slice(&emit(&again, 0, 0)), None).unwrap().segment;
            prop_assert_eq!(first.options, second.options);
        }
    }
}
