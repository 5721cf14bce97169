//! The IPv4 header (RFC 791).

use std::net::Ipv4Addr;

use ustack_tcp::Ecn;

use super::counters::Dropped;
use crate::checksum::{checksum, checksum_of};

/// Bytes of a header without options.
pub(super) const HEADER_LEN: usize = 20;

/// Loose and strict source route (RFC 791 §3.1).
const SOURCE_ROUTES: [u8; 2] = [131, 137];

/// What input needs of a header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) protocol: u8,
    pub(super) dscp: u8,
    pub(super) ecn: Ecn,
    pub(super) ttl: u8,
    pub(super) id: u16,
    /// Where the header with its options ends, in bytes.
    pub(super) payload_at: usize,
    /// The whole packet, in bytes.
    pub(super) total_len: usize,
    /// Where this fragment's payload belongs, in bytes.
    pub(super) offset: usize,
    /// More fragments follow.
    pub(super) more: bool,
}

impl Header {
    pub(super) const fn is_fragment(&self) -> bool {
        self.more || self.offset > 0
    }
}

/// Checks a header: lengths, checksum, options (IP-1 to IP-3, IP-9).
#[inline]
pub(super) fn parse(data: &[u8]) -> Result<Header, Dropped> {
    let (&[a, b, c, d, e, ..], _) = data.as_chunks::<4>() else {
        return Err(Dropped::Header);
    };
    let words = [a, b, c, d, e].map(u32::from_be_bytes);
    let [lengths, fragment, lifetime, source, destination] = words;
    let header_len = (lengths >> 24 & 0xf) as usize * 4;
    let total_len = (lengths & 0xffff) as usize;
    if lengths >> 28 != 4 || header_len < HEADER_LEN || total_len < header_len {
        return Err(Dropped::Header);
    }
    if header_len == HEADER_LEN && total_len <= data.len() {
        if checksum_of(words) != 0 {
            return Err(Dropped::HeaderChecksum);
        }
    } else {
        check_long(data, header_len, total_len)?;
    }
    let traffic_class = (lengths >> 16) as u8;
    Ok(Header {
        source: Ipv4Addr::from_bits(source),
        destination: Ipv4Addr::from_bits(destination),
        protocol: (lifetime >> 16) as u8,
        dscp: traffic_class >> 2,
        ecn: Ecn::from_bits(traffic_class),
        ttl: (lifetime >> 24) as u8,
        id: (fragment >> 16) as u16,
        payload_at: header_len,
        total_len,
        offset: (fragment & 0x1fff) as usize * 8,
        more: fragment & 0x2000 != 0,
    })
}

/// The checks of a header with options, or of a packet that is cut off.
#[cold]
fn check_long(data: &[u8], header_len: usize, total_len: usize) -> Result<(), Dropped> {
    let header = data.get(..header_len).ok_or(Dropped::Header)?;
    if total_len > data.len() {
        return Err(Dropped::Truncated);
    }
    if checksum(header) != 0 {
        return Err(Dropped::HeaderChecksum);
    }
    check_options(&header[HEADER_LEN..])
}

/// Options are skipped, source routes refused; each is at least two bytes, so this ends.
fn check_options(mut rest: &[u8]) -> Result<(), Dropped> {
    while let [kind, tail @ ..] = rest {
        match kind {
            0 => break,
            1 => rest = tail,
            _ => {
                let len = tail.first().map_or(0, |&len| usize::from(len));
                if len < 2 || len > rest.len() {
                    return Err(Dropped::Header);
                }
                if SOURCE_ROUTES.contains(kind) {
                    return Err(Dropped::SourceRoute);
                }
                rest = &rest[len..];
            }
        }
    }
    Ok(())
}

/// How a packet stands to fragmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragmentation {
    /// DF set; the identification tells nothing and is zero (RFC 6864 §4.1).
    Never,
    /// A whole packet that routers may cut, or a piece of one.
    Piece {
        /// Identification.
        id: u16,
        /// Offset in bytes, a multiple of eight.
        offset: usize,
        /// More follow.
        more: bool,
    },
}

/// Builds a header without options for `payload_len` bytes (header and payload ≤ 65,535).
#[inline]
pub(super) fn emit(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    traffic_class: u8,
    ttl: u8,
    payload_len: usize,
    fragmentation: Fragmentation,
) -> [u8; HEADER_LEN] {
    let (id, offset, more) = match fragmentation {
        Fragmentation::Never => (0, 0, false),
        Fragmentation::Piece { id, offset, more } => (id, offset, more),
    };
    let flags = u32::from(fragmentation == Fragmentation::Never) << 14 | u32::from(more) << 13;
    let total_len = (HEADER_LEN + payload_len) as u16;
    let mut words = [
        0x45 << 24 | u32::from(traffic_class) << 16 | u32::from(total_len),
        u32::from(id) << 16 | flags | (offset / 8) as u32 & 0x1fff,
        u32::from(ttl) << 24 | u32::from(protocol) << 16,
        source.to_bits(),
        destination.to_bits(),
    ];
    words[2] |= u32::from(checksum_of(words));
    let mut bytes = [0; HEADER_LEN];
    bytes.copy_from_slice(words.map(u32::to_be_bytes).as_flattened());
    bytes
}

/// Makes the header of a reassembled packet that of a whole one: length, no fragment, checksum.
pub(super) fn complete(packet: &mut [u8], header_len: usize) {
    let total_len = packet.len() as u16;
    let Some(header) = packet.get_mut(..header_len) else {
        return;
    };
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[6..8].fill(0);
    header[10..12].fill(0);
    let sum = checksum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use covers::covers;
    use etherparse::{IpNumber, Ipv4Header, Ipv4HeaderSlice};
    use proptest::prelude::*;

    fn packet(options: &[u8], payload: usize) -> Vec<u8> {
        let mut header = Ipv4Header::new(
            payload as u16,
            64,
            IpNumber::UDP,
            [10, 0, 0, 1],
            [10, 0, 0, 2],
        )
        .expect("short");
        header.options = options.try_into().expect("whole words");
        header.set_payload_len(payload).expect("short");
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = header.to_bytes().to_vec();
        bytes.resize(bytes.len() + payload, 0x55);
        bytes
    }

    /// IP-2: any flipped bit of the header drops the packet.
    #[test]
    #[covers("IP-2")]
    fn every_flipped_header_bit_is_noticed() {
        let good = packet(&[], 8);
        assert!(parse(&good).is_ok());
        for bit in 0..HEADER_LEN * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bad).is_err(), "bit {bit}");
        }
    }

    /// IP-1, IP-3: all IHL values against lengths.
    #[test]
    #[covers("IP-3")]
    fn lengths_that_disagree_are_refused() {
        for ihl in 0..16_u8 {
            for total in 0..80_u16 {
                let mut bytes = vec![0; 70];
                bytes[0] = 0x40 | ihl;
                bytes[2..4].copy_from_slice(&total.to_be_bytes());
                let header_len = usize::from(ihl) * 4;
                if header_len >= 20 {
                    let sum = checksum(&bytes[..header_len]);
                    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
                }
                let is_right = ihl >= 5 && usize::from(total) >= header_len && total <= 70;
                assert_eq!(parse(&bytes).is_ok(), is_right, "ihl {ihl} total {total}");
            }
        }
    }

    proptest! {
        /// A parser that many others test reads the same.
        #[test]
        fn etherparse_reads_the_same(mut bytes in proptest::collection::vec(any::<u8>(), 20..70)) {
            (bytes[0], bytes[2]) = (0x45, 0);
            bytes[10..12].fill(0);
            let sum = checksum(&bytes[..HEADER_LEN]);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            let theirs = Ipv4HeaderSlice::from_slice(&bytes).unwrap();
            let total_len = usize::from(theirs.total_len());
            let Ok(ours) = parse(&bytes) else {
                prop_assert!(total_len < HEADER_LEN || total_len > bytes.len());
                return Ok(());
            };
            prop_assert_eq!(ours.source, theirs.source_addr());
            prop_assert_eq!(ours.destination, theirs.destination_addr());
            prop_assert_eq!(ours.protocol, theirs.protocol().0);
            prop_assert_eq!(ours.dscp, theirs.dcp().value());
            prop_assert_eq!(ours.ecn as u8, theirs.ecn().value());
            prop_assert_eq!(ours.ttl, theirs.ttl());
            prop_assert_eq!(ours.id, theirs.identification());
            prop_assert_eq!((ours.payload_at, ours.total_len), (HEADER_LEN, total_len));
            prop_assert_eq!(ours.offset, usize::from(theirs.fragments_offset().value()) * 8);
            prop_assert_eq!(ours.more, theirs.more_fragments());
        }
    }

    /// IP-9: unknown options are skipped, malformed ones end the walk, source routes the packet.
    #[test]
    #[covers("IP-9")]
    fn options_are_walked() {
        for (options, expected) in [
            ([7, 7, 4, 0, 0, 0, 0, 0], None),
            ([1, 1, 1, 0, 9, 9, 9, 9], None),
            ([99, 8, 1, 2, 3, 4, 5, 6], None),
            ([99, 0, 1, 2, 3, 4, 5, 6], Some(Dropped::Header)),
            ([99, 1, 1, 2, 3, 4, 5, 6], Some(Dropped::Header)),
            ([99, 41, 1, 2, 3, 4, 5, 6], Some(Dropped::Header)),
            ([1, 1, 1, 1, 1, 1, 1, 99], Some(Dropped::Header)),
            ([131, 7, 4, 1, 2, 3, 4, 0], Some(Dropped::SourceRoute)),
            ([1, 137, 7, 4, 1, 2, 3, 4], Some(Dropped::SourceRoute)),
        ] {
            assert_eq!(parse(&packet(&options, 8)).err(), expected, "{options:?}");
        }
    }

    #[test]
    fn what_emit_builds_parse_reads() {
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let piece = Fragmentation::Piece {
            id: 0x1234,
            offset: 1480,
            more: true,
        };
        let mut bytes = emit(source, destination, 17, 46 << 2 | 1, 9, 100, piece).to_vec();
        bytes.resize(120, 0);
        let header = parse(&bytes).expect("own header");
        assert_eq!((header.source, header.destination), (source, destination));
        assert_eq!(
            (header.id, header.offset, header.more),
            (0x1234, 1480, true)
        );
        assert_eq!((header.ecn, header.total_len), (Ecn::Ect1, 120));
        assert_eq!((bytes[1], bytes[8]), (46 << 2 | 1, 9));
        let whole = emit(source, destination, 6, 0, 64, 0, Fragmentation::Never);
        assert_eq!(whole[6] & 0x40, 0x40, "DF");
    }
}
