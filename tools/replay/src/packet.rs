//! Packets as the replay sees them, read independently of the stack's own parsers.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use etherparse::{IpNumber, IpSlice, TcpSlice};

/// A TCP segment with its addresses, in wire numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpPacket {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Window field, unscaled.
    pub window: u16,
    /// The flag byte (FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128).
    pub flags: u8,
    /// Options.
    pub options: TcpOptions,
    /// Payload.
    pub payload: Bytes,
}

/// FIN.
pub const FIN: u8 = 1;
/// SYN.
pub const SYN: u8 = 2;
/// RST.
pub const RST: u8 = 4;
/// ACK.
pub const ACK: u8 = 16;
/// ECE.
pub const ECE: u8 = 64;
/// CWR.
pub const CWR: u8 = 128;

/// The options a segment carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale.
    pub window_scale: Option<u8>,
    /// SACK permitted.
    pub sack_permitted: bool,
    /// TSval, TSecr.
    pub timestamps: Option<(u32, u32)>,
    /// SACK blocks, first one first.
    pub sack: Vec<(u32, u32)>,
    /// Kinds of which this reader knows only the number.
    pub unknown: Vec<u8>,
}

impl TcpPacket {
    /// Whether any bit of `flags` is set.
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Sequence numbers taken: payload, SYN and FIN.
    pub fn seq_len(&self) -> u64 {
        self.payload.len() as u64 + self.has(SYN) as u64 + self.has(FIN) as u64
    }
}

/// Reads an IP packet that holds a whole TCP segment; `None` for everything else. Checksums and
/// lengths are verified, and what is wrong is said.
pub fn tcp(data: &Bytes) -> Result<Option<TcpPacket>, String> {
    let ip =
        IpSlice::from_slice(data).map_err(|error| format!("a malformed IP packet: {error}"))?;
    if ip.payload_ip_number() != IpNumber::TCP || ip.is_fragmenting_payload() {
        return Ok(None);
    }
    check_ip(&ip, data)?;
    let payload = ip.payload().payload;
    let slice =
        TcpSlice::from_slice(payload).map_err(|error| format!("a malformed segment: {error}"))?;
    let (source, destination) = (ip.source_addr(), ip.destination_addr());
    let expected = match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => slice.calc_checksum_ipv4(from.octets(), to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => slice.calc_checksum_ipv6(from.octets(), to.octets()),
        _ => return Err("addresses of two families".to_owned()),
    }
    .map_err(|error| error.to_string())?;
    if slice.checksum() != expected {
        let held = slice.checksum();
        return Err(format!(
            "TCP checksum {held:#06x}, {expected:#06x} is right"
        ));
    }
    Ok(Some(TcpPacket {
        source: SocketAddr::new(source, slice.source_port()),
        destination: SocketAddr::new(destination, slice.destination_port()),
        seq: slice.sequence_number(),
        ack: slice.acknowledgment_number(),
        window: slice.window_size(),
        flags: payload[13],
        options: options(slice.options())?,
        payload: data.slice_ref(slice.payload()),
    }))
}

/// Header checksum (IPv4), length and hop limit.
pub(crate) fn check_ip(ip: &IpSlice<'_>, data: &[u8]) -> Result<(), String> {
    let (length, hops) = match ip {
        IpSlice::Ipv4(slice) => {
            let header = slice.header();
            let expected = header.to_header().calc_header_checksum();
            if header.header_checksum() != expected {
                let held = header.header_checksum();
                return Err(format!(
                    "IPv4 checksum {held:#06x}, {expected:#06x} is right"
                ));
            }
            (header.total_len() as usize, header.ttl())
        }
        IpSlice::Ipv6(slice) => {
            let header = slice.header();
            (40 + header.payload_length() as usize, header.hop_limit())
        }
    };
    if length != data.len() {
        return Err(format!(
            "the IP header says {length} bytes, there are {}",
            data.len()
        ));
    }
    if hops == 0 {
        return Err("a hop limit of 0".to_owned());
    }
    Ok(())
}

/// One option of a TCP header: kind, and where its value lies in the option area.
pub(crate) fn walk_options(area: &[u8]) -> Result<Vec<(u8, std::ops::Range<usize>)>, String> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&kind) = area.get(at) {
        match kind {
            0 => break,
            1 => at += 1,
            _ => {
                let length = area.get(at + 1).copied().unwrap_or(0) as usize;
                if length < 2 || at + length > area.len() {
                    return Err(format!("option {kind} has length {length}"));
                }
                found.push((kind, at + 2..at + length));
                at += length;
            }
        }
    }
    Ok(found)
}

fn options(area: &[u8]) -> Result<TcpOptions, String> {
    let mut options = TcpOptions::default();
    for (kind, range) in walk_options(area)? {
        let value = &area[range];
        match (kind, value.len()) {
            (2, 2) => options.mss = Some(u16::from_be_bytes([value[0], value[1]])),
            (3, 1) => options.window_scale = Some(value[0]),
            (4, 0) => options.sack_permitted = true,
            (5, length) if length % 8 == 0 => {
                options.sack = (value.chunks_exact(8))
                    .map(|block| (number(&block[..4]), number(&block[4..])))
                    .collect();
            }
            (8, 8) => options.timestamps = Some((number(&value[..4]), number(&value[4..]))),
            (2..=5 | 8, length) => return Err(format!("option {kind} of {length} value bytes")),
            _ => options.unknown.push(kind),
        }
    }
    Ok(options)
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | byte as u32)
}
