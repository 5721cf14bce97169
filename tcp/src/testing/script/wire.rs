//! Whole IP packets to and from bytes, independent of the stack that is tested.

use std::format;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::string::String;
use std::vec::Vec;

use super::ast::{TcpLine, flag};
use super::options;

/// A decoded packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub src: IpAddr,
    /// Where it goes to.
    pub dst: IpAddr,
    /// TOS or traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The IPv6 flow label; 0 for IPv4.
    pub flow_label: u32,
    /// What it carries.
    pub payload: Payload,
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A segment; the line's numbers are those on the wire.
    Tcp(Tcp),
    /// A datagram.
    Udp {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
        /// Bytes of payload.
        data: Vec<u8>,
    },
    /// An ICMP or ICMPv6 message.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The four bytes after the checksum.
        rest: [u8; 4],
        /// What follows: for errors, the quoted packet.
        data: Vec<u8>,
    },
    /// Any other protocol.
    Other(u8),
}

/// A segment on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
    /// Its header and length, with the wire's own numbers.
    pub line: TcpLine,
    /// Its payload.
    pub data: Vec<u8>,
}

/// The Internet checksum (RFC 1071) over `parts`, of which only the last may have an odd length.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        let mut words = part.chunks_exact(2);
        sum += words
            .by_ref()
            .map(|w| u64::from(u16::from_be_bytes([w[0], w[1]])))
            .sum::<u64>();
        sum += words
            .remainder()
            .first()
            .map_or(0, |byte| u64::from(*byte) << 8);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
        }
        (src, dst) => {
            bytes.extend(to_v6(src).octets());
            bytes.extend(to_v6(dst).octets());
        }
    }
    // The length's and protocol's places differ between the families; their sum does not.
    bytes.extend((len as u32).to_be_bytes());
    bytes.extend([0, protocol]);
    bytes
}

fn to_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Decodes a packet; with `verify`, lengths and checksums must be right.
pub fn decode(bytes: &[u8], verify: bool) -> Result<Packet, String> {
    let short = || format!("a packet of {} bytes is too short", bytes.len());
    let (mut packet, protocol, body) = match bytes.first().map(|byte| byte >> 4) {
        Some(4) => decode_v4(bytes, verify)?,
        Some(6) => decode_v6(bytes, verify).ok_or_else(short)?,
        version => return Err(format!("no IP packet: version {version:?}")),
    };
    if verify && matches!(protocol, 6 | 17 | 58) {
        let pseudo = pseudo_header(packet.src, packet.dst, protocol, body.len());
        let absent = protocol == 17 && be16(body, 6) == Some(0) && packet.src.is_ipv4();
        if !absent && checksum(&[&pseudo, body]) != 0 {
            return Err(format!("wrong checksum of protocol {protocol}"));
        }
    }
    packet.payload = match protocol {
        6 => Payload::Tcp(decode_tcp(body).ok_or_else(short)?),
        17 => Payload::Udp {
            src: be16(body, 0).ok_or_else(short)?,
            dst: be16(body, 2).ok_or_else(short)?,
            data: body.get(8..).ok_or_else(short)?.to_vec(),
        },
        1 | 58 => Payload::Icmp {
            kind: *body.first().ok_or_else(short)?,
            code: *body.get(1).ok_or_else(short)?,
            rest: body
                .get(4..8)
                .and_then(|b| b.try_into().ok())
                .ok_or_else(short)?,
            data: body[8..].to_vec(),
        },
        other => Payload::Other(other),
    };
    if verify && protocol == 1 && checksum(&[body]) != 0 {
        return Err("wrong ICMP checksum".into());
    }
    Ok(packet)
}

fn decode_v4(bytes: &[u8], verify: bool) -> Result<(Packet, u8, &[u8]), String> {
    let header = usize::from(bytes[0] & 15) * 4;
    let total = usize::from(be16(bytes, 2).unwrap_or(0));
    if bytes.len() < 20 || header < 20 || header > bytes.len() {
        return Err("IPv4 header does not fit".into());
    }
    if verify && total != bytes.len() {
        return Err(format!("IPv4 total length {total}, {} bytes", bytes.len()));
    }
    if verify && checksum(&[&bytes[..header]]) != 0 {
        return Err("wrong IPv4 header checksum".into());
    }
    let address = |at: usize| IpAddr::V4(Ipv4Addr::from(be32(bytes, at).unwrap_or(0)));
    let packet = Packet {
        src: address(12),
        dst: address(16),
        tos: bytes[1],
        ttl: bytes[8],
        flow_label: 0,
        payload: Payload::Other(bytes[9]),
    };
    Ok((packet, bytes[9], &bytes[header..]))
}

fn decode_v6(bytes: &[u8], verify: bool) -> Option<(Packet, u8, &[u8])> {
    let first = be32(bytes, 0)?;
    let address = |at: usize| {
        let bytes: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(bytes)))
    };
    let packet = Packet {
        src: address(8)?,
        dst: address(24)?,
        tos: (first >> 20) as u8,
        ttl: bytes[7],
        flow_label: first & 0xf_ffff,
        payload: Payload::Other(bytes[6]),
    };
    let length = usize::from(be16(bytes, 4)?);
    (!verify || length + 40 == bytes.len()).then_some((packet, bytes[6], &bytes[40..]))
}

fn decode_tcp(body: &[u8]) -> Option<Tcp> {
    let header = usize::from(body.get(12)? >> 4) * 4;
    let flags = *body.get(13)?;
    let options = body.get(20..header)?;
    let data = body.get(header..)?;
    Some(Tcp {
        src: be16(body, 0)?,
        dst: be16(body, 2)?,
        data: data.to_vec(),
        line: TcpLine {
            ports: None,
            flags,
            ae: body[12] & 1 != 0,
            seq: be32(body, 4)?,
            any_seq: false,
            raw_seq: false,
            len: data.len() as u32,
            ack: (flags & flag::ACK != 0).then_some(be32(body, 8)?),
            window: be16(body, 14),
            urgent: be16(body, 18),
            options: Some(options::decode(options)),
        },
    })
}

/// A segment's bytes, its payload zeroes; the checksum is left open.
pub fn encode_tcp(src: u16, dst: u16, line: &TcpLine) -> Vec<u8> {
    let options = options::encode(line.options.as_deref().unwrap_or(&[]));
    let mut bytes = Vec::new();
    bytes.extend(src.to_be_bytes());
    bytes.extend(dst.to_be_bytes());
    bytes.extend(line.seq.to_be_bytes());
    bytes.extend(line.ack.unwrap_or(0).to_be_bytes());
    bytes.push((((20 + options.len()) / 4) as u8) << 4 | u8::from(line.ae));
    bytes.push(line.flags);
    bytes.extend(line.window.unwrap_or(0).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(line.urgent.unwrap_or(0).to_be_bytes());
    bytes.extend(options);
    bytes.resize(bytes.len() + line.len as usize, 0);
    bytes
}

/// A datagram's bytes, its payload zeroes; the checksum is left open.
pub fn encode_udp(src: u16, dst: u16, len: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(src.to_be_bytes());
    bytes.extend(dst.to_be_bytes());
    bytes.extend((len + 8).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.resize(8 + usize::from(len), 0);
    bytes
}

/// What an IP header around a payload is to say.
#[derive(Clone, Copy, Debug)]
pub struct IpFields {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// TOS or traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Flow label, for IPv6.
    pub flow_label: u32,
}

/// Puts an IP header before `body` and fills in all checksums.
pub fn encode_ip(fields: &IpFields, protocol: u8, mut body: Vec<u8>) -> Vec<u8> {
    let place = match protocol {
        6 => Some(16),
        17 => Some(6),
        1 | 58 => Some(2),
        _ => None,
    };
    if let Some(at) = place.filter(|at| body.len() >= at + 2) {
        let pseudo = pseudo_header(fields.src, fields.dst, protocol, body.len());
        let sum = match protocol {
            1 => checksum(&[&body]),
            _ => checksum(&[&pseudo, &body]),
        };
        let sum = if protocol == 17 && sum == 0 {
            0xffff
        } else {
            sum
        };
        body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let mut bytes = Vec::with_capacity(40 + body.len());
    match (fields.src, fields.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            bytes.extend([0x45, fields.tos]);
            bytes.extend(((20 + body.len()) as u16).to_be_bytes());
            bytes.extend([0, 0, 0x40, 0, fields.ttl, protocol, 0, 0]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            let sum = checksum(&[&bytes]);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (src, dst) => {
            let first = 6 << 28 | u32::from(fields.tos) << 20 | fields.flow_label;
            bytes.extend(first.to_be_bytes());
            bytes.extend((body.len() as u16).to_be_bytes());
            bytes.extend([protocol, fields.ttl]);
            bytes.extend(to_v6(src).octets());
            bytes.extend(to_v6(dst).octets());
        }
    }
    bytes.extend(body);
    bytes
}
