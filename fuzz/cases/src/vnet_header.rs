//! The virtio header of a TUN device, and the cutting of what it describes.

use bytes::Bytes;
use ustack::device::vnet::{LEN, VnetHeader};
use ustack::device::{Checksum, Frame, Gso, GsoKind, Offload, gso};

use crate::input::Input;
use crate::packet::checksum;

/// Reads a header over a packet, and cuts the packet as the header says.
///
/// What is read is written and read again the same; the packets of a cut carry the payload once
/// and in order, none is longer than the cut, each has its checksums right and says its length.
pub fn vnet_header(data: &[u8]) {
    let mut input = Input::new(data);
    let mut bytes = [0; LEN];
    let head = input.take(LEN);
    bytes[..head.len()].copy_from_slice(head);
    let packet = Bytes::copy_from_slice(input.remainder());
    let header = VnetHeader::from_bytes(bytes);
    assert_eq!(header.to_bytes(), bytes);
    let Ok(offload) = header.decode(&packet) else {
        return;
    };
    check_offload(&offload, &packet);
    let frame = Frame {
        data: packet,
        offload,
    };
    let mut packets = Vec::new();
    let Ok(()) = gso::cut(&frame, |packet| packets.push(packet)) else {
        assert!(
            packets.is_empty(),
            "refused, but after {} packets",
            packets.len()
        );
        return;
    };
    match offload.gso {
        Some(gso) => check_cut(&frame, gso, &packets),
        None => check_completed(&frame, &packets),
    }
}

fn check_offload(offload: &Offload, packet: &[u8]) {
    let again = VnetHeader::encode(offload, packet).to_bytes();
    let again = VnetHeader::from_bytes(again).decode(packet);
    let expected = Offload {
        checksum: match offload.checksum {
            // The header has no word for it on the way out.
            Checksum::Verified => Checksum::Complete,
            other => other,
        },
        ..*offload
    };
    assert_eq!(again, Ok(expected));
    if let Some(gso) = offload.gso {
        assert!(usize::from(gso.header_len) <= packet.len());
    }
}

fn check_completed(frame: &Frame, packets: &[Vec<u8>]) {
    assert_eq!(packets.len(), 1);
    match frame.offload.checksum {
        Checksum::Partial { start, offset } => {
            let field = usize::from(start) + usize::from(offset);
            assert_eq!(packets[0].len(), frame.data.len());
            for (at, (ours, theirs)) in packets[0].iter().zip(&frame.data).enumerate() {
                assert!(
                    ours == theirs || (field..field + 2).contains(&at),
                    "byte {at}"
                );
            }
        }
        _ => assert_eq!(packets[0], frame.data),
    }
}

fn check_cut(frame: &Frame, gso: Gso, packets: &[Vec<u8>]) {
    let Checksum::Partial { start, .. } = frame.offload.checksum else {
        panic!("a super-packet whose checksum is complete");
    };
    let (start, header_len) = (usize::from(start), usize::from(gso.header_len));
    let size = usize::from(gso.size.get());
    let (headers, payload) = frame.data.split_at(header_len);
    assert_eq!(packets.len(), payload.len().div_ceil(size).max(1));
    let joined: Vec<u8> = packets
        .iter()
        .flat_map(|packet| &packet[header_len..])
        .copied()
        .collect();
    assert_eq!(joined, payload);
    let first_seq = u32_at(headers, start + 4);
    for (index, packet) in packets.iter().enumerate() {
        let is_last = index + 1 == packets.len();
        assert!(is_last || packet.len() == header_len + size);
        check_ip(packet);
        match gso.kind {
            GsoKind::Udp => {
                assert_eq!(usize::from(u16_at(packet, start + 4)), packet.len() - start);
                assert_sum(packet, start, 17);
            }
            GsoKind::TcpV4 | GsoKind::TcpV6 => {
                let seq = first_seq.wrapping_add((index * size) as u32);
                assert_eq!(u32_at(packet, start + 4), seq);
                let (flags, original) = (packet[start + 13], headers[start + 13]);
                let fin_and_push = if is_last { 0x09 } else { 0 };
                let reduced = if index == 0 { 0x80 } else { 0 };
                assert_eq!(flags, original & (!0x89 | fin_and_push | reduced));
                assert_sum(packet, start, 6);
            }
        }
    }
}

fn check_ip(packet: &[u8]) {
    if packet[0] >> 4 == 6 {
        assert_eq!(usize::from(u16_at(packet, 4)) + 40, packet.len());
    } else {
        assert_eq!(usize::from(u16_at(packet, 2)), packet.len());
        assert_eq!(checksum([&packet[..usize::from(packet[0] & 15) * 4]]), 0);
    }
}

/// The sum over pseudo-header and transport is right.
fn assert_sum(packet: &[u8], start: usize, protocol: u8) {
    let addresses = if packet[0] >> 4 == 6 {
        &packet[8..40]
    } else {
        &packet[12..20]
    };
    let len = ((packet.len() - start) as u32).to_be_bytes();
    assert_eq!(
        checksum([addresses, &[0, protocol], &len, &packet[start..]]),
        0
    );
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) << 16 | u32::from(u16_at(bytes, at + 2))
}
