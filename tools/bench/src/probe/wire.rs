//! The least of IPv4, TCP, UDP and virtio-net that a device takes.

use std::net::Ipv4Addr;
use std::ops::Range;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// Length of an IPv4 header without options.
pub(super) const IP: usize = 20;

/// Where addresses stand in an IPv4 header.
const SOURCE: Range<usize> = 12..16;
const DESTINATION: Range<usize> = 16..20;

const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_UDP_L4: u8 = 5;

/// What carries data: TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    fn protocol(self) -> u8 {
        match self {
            Self::Tcp => TCP,
            Self::Udp => UDP,
        }
    }

    /// Where its header keeps the checksum.
    fn checksum_at(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// The transport protocol of an IPv4 packet without options.
pub(super) fn protocol(packet: &[u8]) -> Option<u8> {
    (packet.len() >= IP && packet[0] == 0x45).then(|| packet[9])
}

/// Source and destination.
pub(super) fn addresses(packet: &[u8]) -> (Ipv4Addr, Ipv4Addr) {
    let at = |range: Range<usize>| Ipv4Addr::from(u32_at(packet, range.start));
    (at(SOURCE), at(DESTINATION))
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// Lets a packet go back where it came from: addresses and ports change places, which leaves every
/// checksum as it is.
pub(super) fn turn_round(packet: &mut [u8]) {
    let (sources, destinations) = packet[12..20].split_at_mut(4);
    sources.swap_with_slice(destinations);
    let (sources, destinations) = packet[IP..IP + 4].split_at_mut(2);
    sources.swap_with_slice(destinations);
}

/// Writes the IPv4 header before the transport header that `head` ends with.
pub(super) fn put_ip(
    head: &mut [u8],
    transport: Transport,
    (from, to): (Ipv4Addr, Ipv4Addr),
    data_len: usize,
) {
    let len = (head.len() + data_len) as u16;
    head[0] = 0x45;
    head[2..4].copy_from_slice(&len.to_be_bytes());
    head[6] = 0x40;
    head[8] = 64;
    head[9] = transport.protocol();
    head[SOURCE].copy_from_slice(&from.octets());
    head[DESTINATION].copy_from_slice(&to.octets());
    let checksum = !fold(sum(&head[..IP], 0));
    head[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// The sum of the pseudo-header, for a header as [`put_ip`] left it.
fn pseudo_sum(head: &[u8], transport: Transport, data_len: usize) -> u64 {
    let len = (head.len() - IP + data_len) as u64;
    sum(
        &head[SOURCE.start..DESTINATION.end],
        u64::from(transport.protocol()) + len,
    )
}

/// Completes the transport checksum by hand.
pub(super) fn put_checksum(head: &mut [u8], transport: Transport, data: &[u8]) {
    let pseudo = pseudo_sum(head, transport, data.len());
    let checksum = !fold(sum(data, sum(&head[IP..], pseudo)));
    let at = IP + transport.checksum_at();
    head[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Leaves checksum and cutting into pieces of `size` bytes to the kernel.
pub(super) fn put_offload(
    head: &mut [u8],
    transport: Transport,
    data_len: usize,
    size: usize,
) -> [u8; 10] {
    let partial = fold(pseudo_sum(head, transport, data_len));
    let at = IP + transport.checksum_at();
    head[at..at + 2].copy_from_slice(&partial.to_be_bytes());
    let mut vnet = [0; 10];
    vnet[0] = NEEDS_CSUM;
    vnet[6..8].copy_from_slice(&(IP as u16).to_ne_bytes());
    vnet[8..10].copy_from_slice(&(transport.checksum_at() as u16).to_ne_bytes());
    if data_len > size {
        vnet[1] = match transport {
            Transport::Tcp => GSO_TCPV4,
            Transport::Udp => GSO_UDP_L4,
        };
        vnet[2..4].copy_from_slice(&(head.len() as u16).to_ne_bytes());
        vnet[4..6].copy_from_slice(&(size as u16).to_ne_bytes());
    }
    vnet
}

/// Into what pieces the kernel would have cut a frame that came; 0 if it is one.
pub(super) fn gso_size(vnet: &[u8]) -> usize {
    match vnet {
        [_, kind, _, _, low, high, ..] if *kind != 0 => u16::from_ne_bytes([*low, *high]).into(),
        _ => 0,
    }
}

/// The sum of big-endian words of 16 bits, up to multiples of 0xffff: words of 32 add up to the same.
fn sum(bytes: &[u8], start: u64) -> u64 {
    let words = bytes.chunks_exact(4);
    let mut rest = [0; 4];
    rest[..words.remainder().len()].copy_from_slice(words.remainder());
    let word = |word: &[u8]| u64::from(u32_at(word, 0));
    start + words.map(word).sum::<u64>() + word(&rest)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(10, 77, 0, 1));

    fn datagram(data: &[u8]) -> Vec<u8> {
        let mut head = [0; IP + 8];
        head[IP..IP + 4].copy_from_slice(&[0, 7, 0x12, 0x34]);
        let len = (8 + data.len()) as u16;
        head[IP + 4..IP + 6].copy_from_slice(&len.to_be_bytes());
        put_ip(&mut head, Transport::Udp, ENDS, data.len());
        put_checksum(&mut head, Transport::Udp, data);
        [&head[..], data].concat()
    }

    #[test]
    fn checksums_come_out_at_zero() {
        for data in [&b""[..], b"odd", &[255; 1400]] {
            let packet = datagram(data);
            assert_eq!(fold(sum(&packet[..IP], 0)), 0xffff, "IP");
            let pseudo = pseudo_sum(&packet[..IP + 8], Transport::Udp, data.len());
            assert_eq!(fold(sum(&packet[IP..], pseudo)), 0xffff, "UDP");
        }
    }

    #[test]
    fn a_packet_turned_round_is_still_right() {
        let mut packet = datagram(b"hello");
        assert_eq!(protocol(&packet), Some(UDP));
        turn_round(&mut packet);
        assert_eq!(addresses(&packet), (ENDS.1, ENDS.0));
        assert_eq!((u16_at(&packet, IP), u16_at(&packet, IP + 2)), (0x1234, 7));
        assert_eq!(fold(sum(&packet[..IP], 0)), 0xffff);
        let pseudo = pseudo_sum(&packet[..IP + 8], Transport::Udp, 5);
        assert_eq!(fold(sum(&packet[IP..], pseudo)), 0xffff);
    }

    #[test]
    fn offload_says_how_to_cut() {
        let mut head = [0; IP + 8];
        put_ip(&mut head, Transport::Udp, ENDS, 2400);
        let vnet = put_offload(&mut head, Transport::Udp, 2400, 1200);
        assert_eq!(gso_size(&vnet), 1200);
        assert_eq!(vnet[..2], [NEEDS_CSUM, GSO_UDP_L4]);
        let vnet = put_offload(&mut head, Transport::Udp, 1200, 1200);
        assert_eq!(gso_size(&vnet), 0);
        assert_eq!(gso_size(&[]), 0);
    }
}
