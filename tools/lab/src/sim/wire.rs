//! From what a host hands out to packets on a wire, with one copy of the payload.

use std::net::{IpAddr, Ipv4Addr};

use ustack::checksum::checksum;
use ustack::device::{Checksum, Gso, GsoKind, Offload, TxFrame, gso};

const TCP_FIN_PSH: u8 = 0x09;
const TCP_CWR: u8 = 0x80;
/// Length of an IPv4 header without options, as hosts of the lab send it.
const IP: usize = 20;

/// A host's number among the hosts of a simulation.
pub(super) type HostId = usize;

/// The address of a host.
pub(super) fn address(host: HostId) -> IpAddr {
    Ipv4Addr::new(10, (host >> 8) as u8, host as u8, 1).into()
}

/// Where an IPv4 packet is going to; `None` when its address is of nobody here.
pub(super) fn destination(packet: &[u8]) -> Option<HostId> {
    match packet.get(16..20)? {
        [10, high, low, 1] => Some(usize::from(*high) << 8 | usize::from(*low)),
        _ => None,
    }
}

/// Where an IPv4 packet comes from.
pub(super) fn source(packet: &[u8]) -> Option<HostId> {
    match packet.get(12..16)? {
        [10, high, low, 1] => Some(usize::from(*high) << 8 | usize::from(*low)),
        _ => None,
    }
}

/// What the receiver is told of the packets that [`cut`] has made.
pub(super) const fn offload(finished: bool) -> Offload {
    Offload {
        checksum: if finished {
            Checksum::Complete
        } else {
            Checksum::Verified
        },
        gso: None,
    }
}

/// Hands every wire packet of `frame` to `each`.
///
/// Transport checksums are computed only where `finished` asks: on ways that can flip bits. On all
/// others nothing could fail them, and they are a good part of a simulation's work.
pub(super) fn cut(frame: &TxFrame<'_>, finished: bool, mut each: impl FnMut(Vec<u8>)) {
    match frame.offload.gso {
        _ if finished => {
            let cut = gso::cut(&frame.to_frame(), each);
            debug_assert!(cut.is_ok(), "a host's own frames are well-formed");
        }
        Some(gso) if gso.kind == GsoKind::TcpV4 => cut_tcp(frame, gso, each),
        Some(_) => debug_assert!(false, "hosts of the lab send no such super-packets"),
        None => each(joined(frame)),
    }
}

fn joined(frame: &TxFrame<'_>) -> Vec<u8> {
    let mut packet = Vec::with_capacity(frame.len());
    packet.extend_from_slice(frame.headers);
    for chunk in frame.chunks {
        packet.extend_from_slice(chunk);
    }
    packet
}

fn cut_tcp(frame: &TxFrame<'_>, gso: Gso, mut each: impl FnMut(Vec<u8>)) {
    let headers = &frame.headers[..usize::from(gso.header_len)];
    let size = usize::from(gso.size.get());
    let total = frame.len() - headers.len();
    let mut payload = frame.chunks.iter().flat_map(|chunk| chunk.chunks(size));
    let mut rest: &[u8] = &[];
    let mut sent = 0;
    while sent < total {
        let len = size.min(total - sent);
        let mut packet = Vec::with_capacity(headers.len() + len);
        packet.extend_from_slice(headers);
        while packet.len() < headers.len() + len {
            if rest.is_empty() {
                rest = payload.next().unwrap_or_default();
            }
            let take = rest.len().min(headers.len() + len - packet.len());
            packet.extend_from_slice(&rest[..take]);
            rest = &rest[take..];
        }
        finish_headers(&mut packet, sent, size, sent + len == total);
        sent += len;
        each(packet);
    }
}

/// What differs between the packets of a super-segment: lengths, identification, sequence number;
/// FIN and PSH stay on the last one and CWR on the first (RFC 3168 §6.1.2).
fn finish_headers(packet: &mut [u8], offset: usize, size: usize, last: bool) {
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    let id = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add((offset / size) as u16);
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[10..12].fill(0);
    let sum = checksum(&packet[..IP]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let tcp = &mut packet[IP..];
    let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(offset as u32);
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    if offset > 0 {
        tcp[13] &= !TCP_CWR;
    }
    if !last {
        tcp[13] &= !TCP_FIN_PSH;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use bytes::Bytes;
    use ustack::device::Frame;

    use super::*;

    /// A super-segment of two chunks, cut here and by the device's own way of cutting.
    #[test]
    fn packets_are_those_of_a_device_but_for_the_checksum() {
        let mut headers = vec![
            0x45, 0, 0, 0, 0, 9, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 1, 1,
        ];
        headers.extend([0x13, 0x89, 0x13, 0x89, 0xff, 0xff, 0xff, 0, 0, 0, 0, 7]);
        headers.extend([0x50, 0x99, 1, 0, 0, 0, 0, 0]);
        let chunks: Vec<Bytes> = [700, 1900]
            .map(|len| (0..len).map(|at: u32| at as u8).collect())
            .to_vec();
        let frame = TxFrame {
            headers: &headers,
            chunks: &chunks,
            offload: Offload {
                checksum: Checksum::Partial {
                    start: 20,
                    offset: 16,
                },
                gso: Some(Gso {
                    kind: GsoKind::TcpV4,
                    header_len: 40,
                    size: NonZeroU16::new(1000).unwrap(),
                }),
            },
        };
        let mut expected = Vec::new();
        let whole: Frame = frame.to_frame();
        gso::cut(&whole, |packet| expected.push(packet)).unwrap();
        let mut packets = Vec::new();
        cut(&frame, false, |packet| packets.push(packet));
        assert_eq!(packets.len(), 3);
        for packet in expected.iter_mut().chain(&mut packets) {
            packet[IP + 16..IP + 18].fill(0);
        }
        assert_eq!(packets, expected);
        assert_eq!(
            (source(&packets[0]), destination(&packets[0])),
            (Some(0), Some(1))
        );
    }

    #[test]
    fn addresses_are_those_of_their_hosts() {
        for host in [0, 1, 255, 256, 4000] {
            let mut packet = [0; 20];
            let IpAddr::V4(ip) = address(host) else {
                panic!("not IPv4")
            };
            packet[16..].copy_from_slice(&ip.octets());
            assert_eq!(destination(&packet), Some(host));
        }
        assert_eq!(destination(&[0; 20]), None);
        assert_eq!(destination(&[]), None);
    }
}
