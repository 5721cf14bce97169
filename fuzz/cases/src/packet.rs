//! IP packets: built for a target, and judged by etherparse and sums of our own.

use std::fmt;
use std::net::IpAddr;

use etherparse::{
    IpNumber, IpSlice, Ipv6ExtensionSlice, PacketBuilder, SlicedPacket, TransportSlice,
};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP_V6: u8 = 58;

/// What announces a fragment header of IPv6.
pub(crate) const FRAGMENT_HEADER: u8 = 44;

/// For experiments and testing (RFC 3692 §2.1).
const EXPERIMENT: u8 = 253;

/// The Internet checksum over some bytes, once the field in them is zero; over bytes with a right
/// checksum it is zero (RFC 1071).
pub(crate) fn checksum<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u16 {
    let (mut sum, mut odd) = (0_u64, None);
    for &byte in parts.into_iter().flatten() {
        match odd.take() {
            None => odd = Some(byte),
            Some(high) => sum += u64::from(u16::from_be_bytes([high, byte])),
        }
    }
    sum += odd.map_or(0, |high| u64::from(high) << 8);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The checksum of a transport header and what follows it, over the addresses, too.
pub(crate) fn transport_checksum(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    bytes: &[u8],
) -> u16 {
    let len = (bytes.len() as u32).to_be_bytes();
    let tail = [0, protocol];
    match (source, destination) {
        _ if protocol == ICMP => checksum([bytes]),
        (IpAddr::V4(source), IpAddr::V4(destination)) => checksum([
            &source.octets()[..],
            &destination.octets(),
            &tail,
            &len,
            bytes,
        ]),
        (IpAddr::V6(source), IpAddr::V6(destination)) => checksum([
            &source.octets()[..],
            &destination.octets(),
            &len,
            &tail,
            bytes,
        ]),
        _ => panic!("{source} and {destination} are of two families"),
    }
}

/// A packet that was judged.
#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// It is a piece of a larger one.
    pub(crate) is_fragment: bool,
    /// Not the first piece: its body begins in the middle.
    pub(crate) is_later: bool,
    /// What follows the IP headers.
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            destination,
            protocol,
            body,
            ..
        } = self;
        write!(f, "{source} > {destination} protocol {protocol}")?;
        if self.is_fragment {
            write!(f, " fragment")?;
        }
        write!(f, ", {} bytes: ", body.len())?;
        body.iter()
            .take(64)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The flag byte of TCP: RST.
pub(crate) const RST: u8 = 4;

impl Packet {
    /// Reads a packet of the stack's own: everything about it must be right.
    ///
    /// # Panics
    ///
    /// When something is wrong with it.
    pub(crate) fn judge(bytes: &[u8], mtu: u16) -> Self {
        assert!(
            bytes.len() <= usize::from(mtu),
            "{} bytes for an MTU of {mtu}",
            bytes.len()
        );
        let sliced = SlicedPacket::from_ip(bytes).expect("a packet that can be read");
        let packet = Self::read(bytes).expect("an IP packet");
        let length = bytes.len();
        let length_at = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        if packet.source.is_ipv4() {
            let header_len = usize::from(bytes[0] & 15) * 4;
            assert_eq!(checksum([&bytes[..header_len]]), 0, "header checksum");
            assert_eq!(length_at(2), length);
            assert_ne!(bytes[8], 0, "TTL");
        } else {
            assert_eq!(40 + length_at(4), length);
            assert_ne!(bytes[7], 0, "hop limit");
        }
        if packet.is_fragment {
            return packet;
        }
        let transport = sliced.transport.expect("a transport that can be read");
        match transport {
            TransportSlice::Tcp(tcp) => {
                assert!(are_legal(tcp.options(), tcp.syn()), "{tcp:?}");
            }
            TransportSlice::Udp(udp) => {
                assert_eq!(usize::from(udp.length()), packet.body.len());
                assert_ne!(udp.checksum(), 0);
            }
            TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) => {}
            other @ TransportSlice::Igmp(_) => panic!("{other:?}"),
        }
        let Self {
            source,
            destination,
            protocol,
            body,
            ..
        } = &packet;
        assert_eq!(
            transport_checksum(*source, *destination, *protocol, body),
            0
        );
        packet
    }

    /// Reads any bytes, as far as they are an IP packet.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let slice = IpSlice::from_slice(bytes).ok()?;
        let payload = slice.payload();
        let is_later = match &slice {
            IpSlice::Ipv4(slice) => slice.header().fragments_offset().value() != 0,
            IpSlice::Ipv6(slice) => {
                let mut headers = slice.extensions().clone().into_iter();
                headers.any(|header| match header {
                    Ipv6ExtensionSlice::Fragment(header) => header.fragment_offset().value() != 0,
                    _ => false,
                })
            }
        };
        Some(Self {
            is_later,
            source: slice.source_addr(),
            destination: slice.destination_addr(),
            protocol: payload.ip_number.0,
            is_fragment: payload.fragmented,
            body: payload.payload.to_vec(),
        })
    }

    /// A TCP segment with RST.
    pub(crate) fn is_reset(&self) -> bool {
        self.protocol == TCP && !self.is_fragment && self.body.get(13).is_some_and(|f| f & RST != 0)
    }

    /// An ICMP error.
    pub(crate) fn is_icmp_error(&self) -> bool {
        let kind = self.body.first().copied().filter(|_| !self.is_later);
        match self.protocol {
            ICMP if self.source.is_ipv4() => {
                kind.is_some_and(|kind| matches!(kind, 3 | 4 | 5 | 11 | 12))
            }
            ICMP_V6 if self.source.is_ipv6() => kind.is_some_and(|kind| kind < 128),
            _ => false,
        }
    }
}

fn v4(bytes: &[u8]) -> IpAddr {
    let octets: [u8; 4] = bytes.try_into().unwrap_or_default();
    octets.into()
}

fn v6(bytes: &[u8]) -> IpAddr {
    let octets: [u8; 16] = bytes.try_into().unwrap_or_default();
    octets.into()
}

/// Whether options have the length of their kind, and stand where they may (RFC 9293 §3.2).
/// Etherparse does not know Fast Open.
fn are_legal(mut options: &[u8], is_syn: bool) -> bool {
    while let [kind, rest @ ..] = options {
        options = match (kind, rest) {
            (0, padding) => return padding.iter().all(|&byte| byte == 0),
            (1, rest) => rest,
            (_, [length, ..]) if (2..=options.len()).contains(&usize::from(*length)) => {
                let is_legal = match (kind, length) {
                    (2, 4) | (3, 3) | (4, 2) | (34, 2..=18) => is_syn,
                    (254, 4..=20) => is_syn && options[2..4] == [0xf9, 0x89],
                    (5, 10 | 18 | 26 | 34) => !is_syn,
                    (8, 10) => true,
                    _ => false,
                };
                if !is_legal {
                    return false;
                }
                &options[usize::from(*length)..]
            }
            _ => return false,
        };
    }
    true
}

/// A packet with any protocol and body, its transport checksum made right where it has one.
pub(crate) fn build(source: IpAddr, destination: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let builder = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.octets(), destination.octets(), 64)
        }
        _ => panic!("{source} and {destination} are of two families"),
    };
    let mut bytes = Vec::new();
    // Etherparse would want the headers that some numbers announce.
    builder
        .write(&mut bytes, IpNumber(EXPERIMENT), body)
        .expect("a body that fits");
    bytes[if source.is_ipv4() { 9 } else { 6 }] = protocol;
    seal(&mut bytes);
    bytes
}

/// Makes lengths and checksums right, as far as the bytes have the fields. The transport is looked
/// for behind a header without extensions, and not in fragments.
pub(crate) fn seal(packet: &mut [u8]) {
    let length = packet.len();
    let (header_len, protocol) = match packet.first().map(|byte| byte >> 4) {
        Some(4) if length >= 20 => {
            let header_len = (usize::from(packet[0] & 15) * 4).clamp(20, length);
            packet[2..4].copy_from_slice(&(length.min(0xffff) as u16).to_be_bytes());
            packet[10..12].fill(0);
            let sum = checksum([&packet[..header_len]]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            if packet[6] & 0x3f != 0 || packet[7] != 0 {
                return;
            }
            (header_len, packet[9])
        }
        Some(6) if length >= 40 => {
            packet[4..6].copy_from_slice(&((length - 40).min(0xffff) as u16).to_be_bytes());
            (40, packet[6])
        }
        _ => return,
    };
    let field = match protocol {
        TCP => 16,
        UDP => 6,
        ICMP | ICMP_V6 => 2,
        _ => return,
    };
    let (source, destination) = match packet[0] >> 4 {
        4 => (v4(&packet[12..16]), v4(&packet[16..20])),
        _ => (v6(&packet[8..24]), v6(&packet[24..40])),
    };
    let body = &mut packet[header_len..];
    let length = body.len();
    if length < field + 2 {
        return;
    }
    if protocol == UDP {
        body[4..6].copy_from_slice(&(length.min(0xffff) as u16).to_be_bytes());
    }
    body[field..field + 2].fill(0);
    let sum = match transport_checksum(source, destination, protocol, body) {
        0 if protocol == UDP => 0xffff,
        sum => sum,
    };
    body[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}
