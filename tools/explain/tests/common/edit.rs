//! What middleboxes do to packets of IPv4 and TCP.

use etherparse::{Ipv4HeaderSlice, TcpHeaderSlice, TcpSlice};

/// Where things lie in a packet without IP options.
const TCP: usize = 20;
const FLAGS: usize = TCP + 13;
const WINDOW: usize = TCP + 14;
const OPTIONS: usize = TCP + 20;

pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

pub(crate) fn flags(packet: &[u8]) -> u8 {
    packet[FLAGS]
}

pub(crate) fn number(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

pub(crate) fn seq(packet: &[u8]) -> u32 {
    number(packet, TCP + 4)
}

pub(crate) fn ack(packet: &[u8]) -> u32 {
    number(packet, TCP + 8)
}

/// Bytes of payload.
pub(crate) fn payload(packet: &[u8]) -> usize {
    let header = usize::from(packet[TCP + 12] >> 4) * 4;
    packet.len() - TCP - header
}

/// Writes a window, unscaled.
pub(crate) fn set_window(packet: &mut [u8], window: u16) {
    packet[WINDOW..WINDOW + 2].copy_from_slice(&window.to_be_bytes());
    finish(packet);
}

/// Where an option of this kind begins.
pub(crate) fn option(packet: &[u8], kind: u8) -> Option<usize> {
    let end = TCP + usize::from(packet[TCP + 12] >> 4) * 4;
    let mut at = OPTIONS;
    while at < end {
        match packet[at] {
            found if found == kind => return Some(at),
            0 => return None,
            1 => at += 1,
            _ => at += usize::from(packet[at + 1]).max(2),
        }
    }
    None
}

/// Takes an option away: NOPs stand in its place.
pub(crate) fn strip(packet: &mut [u8], kind: u8) {
    if let Some(at) = option(packet, kind) {
        let length = usize::from(packet[at + 1]);
        packet[at..at + length].fill(1);
        finish(packet);
    }
}

/// A RST towards the receiver of `packet` in its sender's name, or the other way round.
pub(crate) fn reset(packet: &[u8], towards_sender: bool, ttl: u8) -> Vec<u8> {
    let mut rst = packet[..OPTIONS].to_vec();
    let next = seq(packet).wrapping_add(payload(packet) as u32);
    let number = if towards_sender {
        let (left, right) = rst[12..20].split_at_mut(4);
        left.swap_with_slice(right);
        rst[TCP..TCP + 4].rotate_left(2);
        ack(packet)
    } else {
        next
    };
    rst[2..4].copy_from_slice(&40_u16.to_be_bytes());
    rst[8] = ttl;
    rst[TCP + 4..TCP + 8].copy_from_slice(&number.to_be_bytes());
    rst[TCP + 8..TCP + 12].fill(0);
    rst[TCP + 12] = 5 << 4;
    rst[FLAGS] = RST;
    rst[WINDOW..WINDOW + 2].fill(0);
    finish(&mut rst);
    rst
}

/// Checksums as they should be.
pub(crate) fn finish(packet: &mut [u8]) {
    let header = Ipv4HeaderSlice::from_slice(&packet[..TCP]).expect("IPv4 without options");
    let sum = header.to_header().calc_header_checksum();
    let (source, destination) = (header.source(), header.destination());
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let tcp = &packet[TCP..];
    let sum = match TcpSlice::from_slice(tcp) {
        Ok(slice) => slice.calc_checksum_ipv4(source, destination),
        Err(_) => TcpHeaderSlice::from_slice(tcp)
            .expect("a TCP header")
            .to_header()
            .calc_checksum_ipv4_raw(source, destination, &[]),
    };
    let sum = sum.expect("a packet is not too long");
    packet[TCP + 16..TCP + 18].copy_from_slice(&sum.to_be_bytes());
}
