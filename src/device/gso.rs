//! Cutting super-packets into wire packets and completing checksums, for whoever stands where a
//! device's offload would: [`Impair`](super::Impair) and [`Capture`](super::Capture).

use etherparse::checksum::Sum16BitWords;

use super::{Checksum, Frame, Gso, GsoKind};

const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

/// A frame whose metadata does not fit its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the offload metadata does not fit the packet")]
pub struct Misfit;

/// Adds the bytes from `start` on to the pseudo-header sum in the field `offset` bytes after
/// `start`, and stores the finished checksum there (RFC 1071; for UDP zero becomes 0xffff,
/// RFC 768).
pub fn complete_checksum(packet: &mut [u8], start: u16, offset: u16) -> Result<(), Misfit> {
    let transport = packet.get_mut(usize::from(start)..).ok_or(Misfit)?;
    let sum = Sum16BitWords::new().add_slice(transport);
    let field = transport
        .get_mut(usize::from(offset)..usize::from(offset) + 2)
        .ok_or(Misfit)?;
    let checksum = if usize::from(offset) == UDP_CHECKSUM {
        sum.to_ones_complement_with_no_zero()
    } else {
        sum.ones_complement()
    };
    field.copy_from_slice(&checksum.to_ne_bytes());
    Ok(())
}

/// Hands every wire packet that `frame` stands for to `each`, in order, with its checksums
/// complete.
///
/// A frame without [`Gso`] is one packet. Of a TCP super-segment each packet gets its own sequence
/// number, IPv4 identification, lengths and checksums; FIN and PSH stay on the last one and CWR on
/// the first (RFC 3168 §6.1.2). Of a UDP super-datagram each packet is a datagram of its own.
pub fn cut(frame: &Frame, mut each: impl FnMut(Vec<u8>)) -> Result<(), Misfit> {
    let Some(gso) = frame.offload.gso else {
        each(completed(frame)?);
        return Ok(());
    };
    let transport = check_layout(frame, gso)?;
    let (headers, payload) = frame.data.split_at(usize::from(gso.header_len));
    let size = usize::from(gso.size.get());
    let count = payload.len().div_ceil(size).max(1);
    for index in 0..count {
        let from = index * size;
        let chunk = &payload[from..payload.len().min(from + size)];
        let mut packet = Vec::with_capacity(headers.len() + chunk.len());
        packet.extend_from_slice(headers);
        packet.extend_from_slice(chunk);
        set_ip_header(&mut packet, index as u16);
        match gso.kind {
            GsoKind::TcpV4 | GsoKind::TcpV6 => {
                let tcp = &mut packet[transport..];
                let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
                tcp[4..8].copy_from_slice(&seq.wrapping_add(from as u32).to_be_bytes());
                if index > 0 {
                    tcp[13] &= !TCP_CWR;
                }
                if index + 1 < count {
                    tcp[13] &= !(TCP_FIN | TCP_PSH);
                }
                set_transport_checksum(&mut packet, transport, TCP, TCP_CHECKSUM);
            }
            GsoKind::Udp => {
                let len = (packet.len() - transport) as u16;
                packet[transport + 4..transport + 6].copy_from_slice(&len.to_be_bytes());
                set_transport_checksum(&mut packet, transport, UDP, UDP_CHECKSUM);
            }
        }
        each(packet);
    }
    Ok(())
}

/// The first of the datagrams that `packet` stands for: what follows its headers is `len` bytes,
/// cut every `size`. The checksum field stays as it is.
pub(crate) fn first_datagram(packet: &[u8], len: usize, size: usize) -> Vec<u8> {
    let header_len = packet.len().saturating_sub(len);
    let mut first = packet[..header_len + size.min(len)].to_vec();
    if header_len >= 28 {
        set_ip_header(&mut first, 0);
        let udp_len = (8 + size.min(len)) as u16;
        first[header_len - 4..header_len - 2].copy_from_slice(&udp_len.to_be_bytes());
    }
    first
}

/// The frame's bytes in one piece with the transport checksum complete, super-segments whole.
pub fn completed(frame: &Frame) -> Result<Vec<u8>, Misfit> {
    let mut packet = frame.data.to_vec();
    if let Checksum::Partial { start, offset } = frame.offload.checksum {
        complete_checksum(&mut packet, start, offset)?;
    }
    Ok(packet)
}

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Where the checksum lies in a TCP header.
pub(super) const TCP_CHECKSUM: usize = 16;
/// Where the checksum lies in a UDP header.
pub(super) const UDP_CHECKSUM: usize = 6;

/// Where the transport header begins, once it is sure that every access of [`cut`] is in bounds.
fn check_layout(frame: &Frame, gso: Gso) -> Result<usize, Misfit> {
    let data = &frame.data[..];
    let ip_header = match data.first().map(|byte| byte >> 4) {
        Some(4) => usize::from(data[0] & 0x0f) * 4,
        Some(6) => 40,
        _ => return Err(Misfit),
    };
    let version_fits = match gso.kind {
        GsoKind::TcpV4 => data[0] >> 4 == 4,
        GsoKind::TcpV6 => data[0] >> 4 == 6,
        GsoKind::Udp => true,
    };
    // Extension headers stand before the transport header; only the checksum's start tells.
    let transport = match frame.offload.checksum {
        Checksum::Partial { start, .. } => usize::from(start),
        _ => ip_header,
    };
    let shortest = if gso.kind == GsoKind::Udp { 8 } else { 20 };
    let header_len = usize::from(gso.header_len);
    let fits = version_fits
        && ip_header >= 20
        && transport >= ip_header
        && transport + shortest <= header_len
        && header_len <= data.len()
        // The packets are counted in 16 bits, like the IPv4 identification they carry.
        && data.len() <= usize::from(u16::MAX) + 40;
    fits.then_some(transport).ok_or(Misfit)
}

fn set_ip_header(packet: &mut [u8], index: u16) {
    let len = packet.len();
    if packet[0] >> 4 == 6 {
        packet[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
        return;
    }
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    let identification = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(index);
    packet[4..6].copy_from_slice(&identification.to_be_bytes());
    packet[10..12].fill(0);
    let header_len = usize::from(packet[0] & 0x0f) * 4;
    let sum = Sum16BitWords::new().add_slice(&packet[..header_len]);
    packet[10..12].copy_from_slice(&sum.ones_complement().to_ne_bytes());
}

/// The checksum from nothing, pseudo-header included (RFC 9293 §3.1, RFC 8200 §8.1).
fn set_transport_checksum(packet: &mut [u8], transport: usize, protocol: u8, field: usize) {
    let at = transport + field;
    packet[at..at + 2].fill(0);
    let addresses = if packet[0] >> 4 == 6 { 8..40 } else { 12..20 };
    let len = (packet.len() - transport) as u16;
    let sum = Sum16BitWords::new()
        .add_slice(&packet[addresses])
        .add_2bytes([0, protocol])
        .add_2bytes(len.to_be_bytes())
        .add_slice(&packet[transport..]);
    let checksum = if protocol == UDP {
        sum.to_ones_complement_with_no_zero()
    } else {
        sum.ones_complement()
    };
    packet[at..at + 2].copy_from_slice(&checksum.to_ne_bytes());
}

#[cfg(test)]
pub(super) mod tests {
    use std::num::NonZeroU16;

    use bytes::Bytes;
    use etherparse::{
        IpHeaders, Ipv4Slice, Ipv6FlowLabel, Ipv6Header, NetSlice, PacketBuilder, SlicedPacket,
        TransportSlice,
    };

    use super::*;
    use crate::device::Offload;

    /// A TCP super-segment as a stack hands it to an offload device: the checksum field holds the
    /// folded pseudo-header sum.
    pub(in crate::device) fn super_segment(v6: bool, payload: &[u8], size: u16) -> Frame {
        let builder = if v6 {
            PacketBuilder::ipv6([1; 16], [2; 16], 64)
        } else {
            PacketBuilder::ipv4([10, 77, 0, 2], [10, 77, 0, 1], 64)
        };
        let builder = builder
            .tcp(80, 40_000, 0xffff_fff0, 1000)
            .ack(77)
            .fin()
            .psh()
            .cwr()
            .options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2])
            .unwrap();
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).unwrap();
        let start = if v6 { 40 } else { 20 };
        let kind = if v6 { GsoKind::TcpV6 } else { GsoKind::TcpV4 };
        partial(
            packet,
            start,
            TCP,
            TCP_CHECKSUM,
            Some((kind, start + 32, size)),
        )
    }

    pub(in crate::device) fn super_datagram(payload: &[u8], size: u16) -> Frame {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([10, 77, 0, 2], [10, 77, 0, 1], 64)
            .udp(7, 40_000)
            .write(&mut packet, payload)
            .unwrap();
        partial(
            packet,
            20,
            UDP,
            UDP_CHECKSUM,
            Some((GsoKind::Udp, 28, size)),
        )
    }

    fn partial(
        mut packet: Vec<u8>,
        start: u16,
        protocol: u8,
        field: usize,
        gso: Option<(GsoKind, u16, u16)>,
    ) -> Frame {
        let at = usize::from(start) + field;
        let addresses = if start == 40 { 8..40 } else { 12..20 };
        let len = (packet.len() - usize::from(start)) as u16;
        let sum = !Sum16BitWords::new()
            .add_slice(&packet[addresses])
            .add_2bytes([0, protocol])
            .add_2bytes(len.to_be_bytes())
            .ones_complement();
        packet[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
        Frame {
            data: packet.into(),
            offload: Offload {
                checksum: Checksum::Partial {
                    start,
                    offset: field as u16,
                },
                gso: gso.map(|(kind, header_len, size)| Gso {
                    kind,
                    header_len,
                    size: NonZeroU16::new(size).unwrap(),
                }),
            },
        }
    }

    /// Both checksums of a packet, by etherparse.
    pub(in crate::device) fn assert_valid(packet: &[u8]) {
        let sliced = SlicedPacket::from_ip(packet).unwrap();
        let transport = sliced.transport.clone().unwrap();
        match sliced.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                assert_eq!(usize::from(header.total_len), packet.len());
                let expected = match &transport {
                    TransportSlice::Tcp(tcp) => {
                        assert_eq!(
                            tcp.calc_checksum_ipv4(header.source, header.destination)
                                .unwrap(),
                            tcp.checksum()
                        );
                        return;
                    }
                    TransportSlice::Udp(udp) => udp
                        .to_header()
                        .calc_checksum_ipv4(&header, udp.payload())
                        .unwrap(),
                    other => panic!("{other:?}"),
                };
                let TransportSlice::Udp(udp) = transport else {
                    unreachable!()
                };
                assert_eq!(udp.checksum(), expected);
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                let TransportSlice::Tcp(tcp) = transport else {
                    panic!("not TCP")
                };
                assert_eq!(
                    tcp.calc_checksum_ipv6(header.source(), header.destination())
                        .unwrap(),
                    tcp.checksum()
                );
            }
            NetSlice::Arp(_) => panic!("ARP"),
        }
    }

    fn wire(frame: &Frame) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        cut(frame, |packet| packets.push(packet)).unwrap();
        packets
    }

    #[test]
    fn a_super_segment_becomes_whole_wire_segments() {
        let payload: Vec<u8> = (0..2500_u32).map(|i| i as u8).collect();
        for v6 in [false, true] {
            let frame = super_segment(v6, &payload, 1000);
            let packets = wire(&frame);
            assert_eq!(packets.len(), 3);
            let mut joined = Vec::new();
            for (index, packet) in packets.iter().enumerate() {
                assert_valid(packet);
                let (_, tcp) = split(packet);
                assert_eq!(
                    tcp.sequence_number(),
                    0xffff_fff0_u32.wrapping_add(index as u32 * 1000)
                );
                assert_eq!(tcp.cwr(), index == 0);
                assert_eq!((tcp.fin(), tcp.psh()), (index == 2, index == 2));
                if !v6 {
                    let first = Ipv4Slice::from_slice(&packets[0])
                        .unwrap()
                        .header()
                        .identification();
                    let ip = Ipv4Slice::from_slice(packet).unwrap();
                    assert_eq!(ip.header().identification(), first + index as u16);
                }
                joined.extend_from_slice(tcp.payload());
            }
            assert_eq!(joined, payload);
        }
    }

    fn split(packet: &[u8]) -> (usize, etherparse::TcpSlice<'_>) {
        let (_, payload) = IpHeaders::from_slice(packet).unwrap();
        (
            payload.payload.len(),
            etherparse::TcpSlice::from_slice(payload.payload).unwrap(),
        )
    }

    #[test]
    fn a_super_datagram_becomes_datagrams() {
        let payload = vec![0x55; 2100];
        let packets = wire(&super_datagram(&payload, 1000));
        let lengths: Vec<_> = packets.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1028, 1028, 128]);
        for packet in &packets {
            assert_valid(packet);
        }
    }

    #[test]
    fn a_plain_frame_is_one_packet_with_its_checksum_completed() {
        let mut frame = super_segment(false, b"hello", 1000);
        frame.offload.gso = None;
        let packets = wire(&frame);
        assert_eq!(packets.len(), 1);
        assert_valid(&packets[0]);
        frame.offload.checksum = Checksum::Complete;
        assert_eq!(wire(&frame)[0], frame.data);
    }

    #[test]
    fn a_whole_super_segment_has_a_valid_checksum_too() {
        let frame = super_segment(true, &vec![7; 60_000], 1428);
        assert_valid(&completed(&frame).unwrap());
    }

    #[test]
    fn metadata_that_does_not_fit_is_refused() {
        let good = super_segment(false, &[1; 3000], 1000);
        let mut frames = vec![good.clone(); 4];
        frames[0].data = good.data.slice(..30);
        frames[1].offload.checksum = Checksum::Partial {
            start: 4000,
            offset: 16,
        };
        frames[2].offload.gso.as_mut().unwrap().header_len = 22;
        frames[3].data = Bytes::new();
        for frame in frames {
            assert_eq!(cut(&frame, |_| panic!("cut")), Err(Misfit), "{frame:?}");
        }
        assert_eq!(complete_checksum(&mut [0; 30], 20, 16), Err(Misfit));
        assert_eq!(complete_checksum(&mut [0; 30], 31, 0), Err(Misfit));
    }

    #[test]
    fn extension_headers_are_kept_on_every_packet() {
        // Hop-by-hop with padding only, then TCP.
        let inner = super_segment(true, &[9; 1500], 1000);
        let mut packet = Vec::new();
        Ipv6Header {
            flow_label: Ipv6FlowLabel::ZERO,
            payload_length: (inner.data.len() - 40 + 8) as u16,
            next_header: etherparse::IpNumber::IPV6_HEADER_HOP_BY_HOP,
            hop_limit: 64,
            source: [1; 16],
            destination: [2; 16],
            ..Default::default()
        }
        .write(&mut packet)
        .unwrap();
        packet.extend_from_slice(&[TCP, 0, 1, 4, 0, 0, 0, 0]);
        packet.extend_from_slice(&inner.data[40..]);
        let mut frame = Frame {
            data: packet.into(),
            offload: inner.offload,
        };
        frame.offload.checksum = Checksum::Partial {
            start: 48,
            offset: 16,
        };
        frame.offload.gso.as_mut().unwrap().header_len = 80;
        let packets = wire(&frame);
        assert_eq!(packets.len(), 2);
        for packet in &packets {
            assert_valid(packet);
        }
    }
}
