//! What a router does to a packet: marks of congestion, and word to the sender of one too large.

use std::net::{IpAddr, Ipv6Addr};

use crate::checksum::{Sum, checksum};

const CE: u8 = 0b11;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
/// The longest ICMP errors: RFC 1812 §4.3.2.3 and RFC 4443 §2.4 (c).
const LONGEST_V4: usize = 576;
const LONGEST_V6: usize = 1280;
const HOP_LIMIT: u8 = 64;

/// Sets Congestion Experienced on a packet whose ends know ECN (RFC 3168 §5); false when they do
/// not and the packet is as before.
pub(super) fn mark_ce(packet: &mut [u8]) -> bool {
    match (packet.first().map(|byte| byte >> 4), packet.len()) {
        (Some(4), V4_HEADER..) if packet[1] & CE != 0 => {
            let before = u16::from_be_bytes([packet[0], packet[1]]);
            packet[1] |= CE;
            let after = u16::from_be_bytes([packet[0], packet[1]]);
            let sum = u16::from_be_bytes([packet[10], packet[11]]);
            let sum = updated_checksum(sum, before, after);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            true
        }
        (Some(6), V6_HEADER..) if packet[1] & (CE << 4) != 0 => {
            packet[1] |= CE << 4;
            true
        }
        _ => false,
    }
}

/// The checksum after one of its words changed (RFC 1624 §3).
fn updated_checksum(sum: u16, before: u16, after: u16) -> u16 {
    let wide = u32::from(!sum) + u32::from(!before) + u32::from(after);
    let folded = (wide & 0xffff) + (wide >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// The ICMP error that tells the sender of `packet` what fits (RFC 1191 §4, RFC 4443 §3.2), in the
/// name of the packet's destination. `None` where none may be sent: a router would fragment.
pub(super) fn too_big(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    match (packet.first()? >> 4, packet.len()) {
        (4, V4_HEADER..) => {
            let dont_fragment = packet[6] & 0x40 != 0;
            dont_fragment.then(|| too_big_v4(packet, mtu))
        }
        (6, V6_HEADER..) => Some(too_big_v6(packet, mtu)),
        _ => None,
    }
}

fn too_big_v4(packet: &[u8], mtu: u16) -> Vec<u8> {
    let quoted = &packet[..packet.len().min(LONGEST_V4 - V4_HEADER - 8)];
    let len = V4_HEADER + 8 + quoted.len();
    let mut out = Vec::with_capacity(len);
    out.extend([0x45, 0]);
    out.extend((len as u16).to_be_bytes());
    out.extend([0, 0, 0, 0, HOP_LIMIT, ICMP, 0, 0]);
    out.extend(&packet[16..20]);
    out.extend(&packet[12..16]);
    let sum = checksum(&out);
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    out.extend([3, 4, 0, 0, 0, 0]);
    out.extend(mtu.to_be_bytes());
    out.extend(quoted);
    let sum = checksum(&out[V4_HEADER..]);
    out[V4_HEADER + 2..V4_HEADER + 4].copy_from_slice(&sum.to_be_bytes());
    out
}

fn too_big_v6(packet: &[u8], mtu: u16) -> Vec<u8> {
    let quoted = &packet[..packet.len().min(LONGEST_V6 - V6_HEADER - 8)];
    let len = 8 + quoted.len();
    let mut out = Vec::with_capacity(V6_HEADER + len);
    out.extend([0x60, 0, 0, 0]);
    out.extend((len as u16).to_be_bytes());
    out.extend([ICMPV6, HOP_LIMIT]);
    out.extend(&packet[24..40]);
    out.extend(&packet[8..24]);
    out.extend([2, 0, 0, 0]);
    out.extend(u32::from(mtu).to_be_bytes());
    out.extend(quoted);
    let mut sum = Sum::pseudo_header(v6(&out[8..24]), v6(&out[24..40]), ICMPV6, len as u32);
    sum.add(&out[V6_HEADER..]);
    let sum = sum.checksum();
    out[V6_HEADER + 2..V6_HEADER + 4].copy_from_slice(&sum.to_be_bytes());
    out
}

fn v6(bytes: &[u8]) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(bytes);
    IpAddr::V6(Ipv6Addr::from(octets))
}
