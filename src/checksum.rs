//! The Internet checksum (RFC 1071): partial sums, pseudo-headers, odd chunk boundaries.

use std::net::IpAddr;

/// A one's complement sum under way, over chunks that follow each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Sum of the words in this machine's byte order (RFC 1071 §2 (B)); folded only at the end.
    words: u64,
    /// An odd number of bytes went in so far: the next byte is the low half of a word.
    is_odd: bool,
}

impl Sum {
    /// The sum of nothing.
    pub const fn new() -> Self {
        Self {
            words: 0,
            is_odd: false,
        }
    }

    /// The sum of the pseudo-header of RFC 768, RFC 9293 §3.1 or RFC 8200 §8.1. Addresses of
    /// different families never share a packet.
    #[inline]
    pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: u32) -> Self {
        let words = address(source)
            + address(destination)
            + u64::from(len.to_be())
            + u64::from(u16::from(protocol).to_be());
        Self {
            words,
            is_odd: false,
        }
    }

    /// Adds the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        let sum = sum(bytes);
        // RFC 1071 §2 (B): a sum of bytes that start in mid-word is the sum with its halves swapped,
        // which is the sum times 256.
        self.words += if self.is_odd { sum << 8 } else { sum };
        self.is_odd ^= bytes.len() % 2 == 1;
    }

    /// The folded sum, not complemented: what the field of a partial checksum holds.
    pub const fn fold(self) -> u16 {
        fold(self.words).to_be()
    }

    /// The checksum: the complement of the sum. Zero over bytes that include a right checksum.
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// The checksum of one piece.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = Sum::new();
    sum.add(bytes);
    sum.checksum()
}

/// The checksum of a header given as numbers, 32 bits each, its own field zero.
#[inline]
pub(crate) fn checksum_of<const N: usize>(words: [u32; N]) -> u16 {
    !fold(words.into_iter().map(u64::from).sum())
}

const fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The words of an address: one of 32 bits weighs as much as its halves, since 2¹⁶ counts 1.
#[inline]
fn address(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u32::from_ne_bytes(ip.octets()).into(),
        IpAddr::V6(ip) => {
            let octets = ip.octets();
            let (words, _) = octets.as_chunks::<4>();
            let words = words.iter().map(|word| u32::from_ne_bytes(*word));
            words.map(u64::from).sum()
        }
    }
}

/// Bytes from which on it is worth asking the processor what it has.
const LONG: usize = 128;

/// The sum of `bytes` in this machine's byte order, below 2³³, a last odd byte padded with zero.
fn sum(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= LONG && std::arch::is_x86_feature_detected!("avx2") {
        #[allow(unsafe_code, reason = "AVX2 shows at run time only")]
        let sum = {
            // SAFETY: the processor has AVX2.
            unsafe { sum_avx2(bytes) }
        };
        return sum;
    }
    sum_portable(bytes)
}

/// The same code for wider vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(bytes: &[u8]) -> u64 {
    sum_portable(bytes)
}

/// Sixteen 64-bit lanes take 32-bit words: no carry is lost below 2³² blocks, and the compiler
/// makes vector code of it.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "compiled once for each kind of vectors"
)]
fn sum_portable(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let mut sum = 0;
    if !blocks.is_empty() {
        let mut lanes = [0_u64; 16];
        for block in blocks {
            let (words, _) = block.as_chunks::<4>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane += u64::from(u32::from_ne_bytes(*word));
            }
        }
        sum = lanes.iter().sum();
    }
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        sum += u64::from(u32::from_ne_bytes(*word));
    }
    let last = match *rest {
        [a, b, c] => [a, b, c, 0],
        [a, b] => [a, b, 0, 0],
        [a] => [a, 0, 0, 0],
        _ => [0; 4],
    };
    sum += u64::from(u32::from_ne_bytes(last));
    (sum & 0xffff_ffff) + (sum >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::checksum::Sum16BitWords;
    use proptest::prelude::*;

    fn oracle(bytes: &[u8]) -> u16 {
        Sum16BitWords::new()
            .add_slice(bytes)
            .ones_complement()
            .to_be()
    }

    /// One's complement has two zeros; a field compares equal modulo that.
    fn same(a: u16, b: u16) -> bool {
        a == b || (a.min(b) == 0 && a.max(b) == 0xffff)
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        let mut sum = Sum::new();
        sum.add(&bytes);
        assert_eq!(sum.fold(), 0xddf2);
        assert_eq!(checksum(&bytes), !0xddf2);
    }

    #[test]
    fn sixty_four_kibibytes_of_ones_lose_no_carry() {
        let bytes = vec![0xff; 65_536];
        assert_eq!(checksum(&bytes), 0);
        assert_eq!(checksum(&[]), 0xffff);
    }

    #[test]
    fn a_packet_with_its_checksum_sums_to_zero() {
        let source = "10.0.0.1".parse().expect("an address");
        let destination = "10.0.0.2".parse().expect("an address");
        let mut datagram = *b"\x00\x35\x00\x07\x00\x0b\x00\x00abc";
        let mut sum = Sum::pseudo_header(source, destination, 17, datagram.len() as u32);
        sum.add(&datagram);
        datagram[6..8].copy_from_slice(&sum.checksum().to_be_bytes());
        let mut sum = Sum::pseudo_header(source, destination, 17, datagram.len() as u32);
        sum.add(&datagram);
        assert_eq!(sum.checksum(), 0);
    }

    proptest! {
        #[test]
        fn agrees_with_etherparse(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(same(checksum(&bytes), oracle(&bytes)));
        }

        #[test]
        fn chunks_may_end_anywhere(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let (mut sum, mut start) = (Sum::new(), 0);
            for end in cuts.into_iter().chain([bytes.len()]) {
                sum.add(&bytes[start..end]);
                start = end;
            }
            prop_assert!(same(sum.checksum(), oracle(&bytes)));
        }
    }
}
