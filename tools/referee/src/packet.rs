//! Packets as a bystander sees them, read independently of any stack's own parsers.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, IpSlice, TcpSlice};

use crate::message;
use crate::options;
use crate::rule::Rule;

pub use crate::options::{TcpOptions, walk_options};

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
    /// The four bits before the flags, of which the lowest is AE (RFC 9768).
    pub reserved: u8,
    /// The ECN bits of the IP header.
    pub ecn: u8,
    /// TTL or hop limit.
    pub hops: u8,
    /// A router may cut it: IPv4 without "don't fragment".
    pub may_fragment: bool,
    /// Options.
    pub options: TcpOptions,
    /// Bytes of the option area, padding included.
    pub option_bytes: usize,
    /// Bytes of the whole packet.
    pub length: usize,
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

/// A packet that breaks a rule whatever came before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Malformed {
    /// Which.
    pub rule: Rule,
    /// In what.
    pub what: String,
}

impl From<Malformed> for String {
    fn from(malformed: Malformed) -> Self {
        malformed.what
    }
}

impl Malformed {
    pub(crate) fn new(rule: Rule, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { rule, what }
    }
}

/// What the receiver of a segment may find in its checksum field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// Nothing but the checksum.
    Whole,
    /// The sum over the pseudo-header as well, and zero in the header of IPv4: the device has yet to
    /// sum the rest.
    Partial,
    /// Anything: of a packet that was recorded in part nobody can tell.
    Unknown,
}

/// A segment that may break rules.
#[derive(Clone, Debug)]
pub struct Loose {
    /// The segment. Options that cannot be read, and those after them, are left out.
    pub tcp: TcpPacket,
    /// Its checksum is wrong: its receiver drops it.
    pub damaged: Option<Malformed>,
    /// Its options are malformed.
    pub options: Option<Malformed>,
}

/// Reads an IP packet that holds a whole TCP segment; `None` for everything else. Checksums and
/// lengths are verified, and what is wrong is said.
pub fn tcp(data: &Bytes) -> Result<Option<TcpPacket>, Malformed> {
    read(data, Checksums::Whole)
}

/// Like [`tcp`], told what checksums may be.
pub fn read(data: &Bytes, checksums: Checksums) -> Result<Option<TcpPacket>, Malformed> {
    let Some(loose) = read_loosely(data, checksums)? else {
        return Ok(None);
    };
    match loose.damaged.or(loose.options) {
        Some(malformed) => Err(malformed),
        None => Ok(Some(loose.tcp)),
    }
}

/// Like [`read`], but a segment with a wrong checksum or malformed options is read as well.
pub fn read_loosely(data: &Bytes, checksums: Checksums) -> Result<Option<Loose>, Malformed> {
    let ip = IpSlice::from_slice(data).map_err(|error| {
        Malformed::new(Rule::Malformed, format!("a malformed IP packet: {error}"))
    })?;
    check_header(&ip, data, checksums)?;
    if ip.is_fragmenting_payload() {
        return Ok(None);
    }
    if ip.payload_ip_number() != IpNumber::TCP {
        message::check(&ip, checksums)?;
        return Ok(None);
    }
    let payload = ip.payload().payload;
    let slice = TcpSlice::from_slice(payload).map_err(|error| {
        Malformed::new(Rule::Malformed, format!("a malformed segment: {error}"))
    })?;
    let (source, destination) = (ip.source_addr(), ip.destination_addr());
    let damaged = match check_tcp(&slice, source, destination, checksums) {
        Err(wrong) if wrong.rule == Rule::Checksum => Some(wrong),
        other => other.map(|()| None)?,
    };
    let (ecn, hops, may_fragment) = match &ip {
        IpSlice::Ipv4(slice) => (
            slice.header().ecn().value(),
            slice.header().ttl(),
            !slice.header().dont_fragment(),
        ),
        IpSlice::Ipv6(slice) => {
            let header = slice.header();
            (header.ecn().value(), header.hop_limit(), false)
        }
    };
    let (options, malformed) = options::read(slice.options());
    let tcp = TcpPacket {
        source: SocketAddr::new(source, slice.source_port()),
        destination: SocketAddr::new(destination, slice.destination_port()),
        seq: slice.sequence_number(),
        ack: slice.acknowledgment_number(),
        window: slice.window_size(),
        flags: payload[13],
        reserved: payload[12] & 15,
        ecn,
        hops,
        may_fragment,
        options,
        option_bytes: slice.options().len(),
        length: data.len(),
        payload: data.slice_ref(slice.payload()),
    };
    Ok(Some(Loose {
        tcp,
        damaged,
        options: malformed,
    }))
}

/// [`check_ip`], but for a header whose checksum the device has yet to write.
fn check_header(ip: &IpSlice<'_>, data: &[u8], checksums: Checksums) -> Result<(), Malformed> {
    let is_blank = matches!(ip, IpSlice::Ipv4(slice) if slice.header().header_checksum() == 0
        && slice.header().total_len() as usize == data.len()
        && data[6] & 0x80 == 0);
    match check_ip(ip, data) {
        Err(wrong) if wrong.rule == Rule::Checksum && is_blank && checksums != Checksums::Whole => {
            Ok(())
        }
        other => other,
    }
}

fn check_tcp(
    slice: &TcpSlice<'_>,
    source: IpAddr,
    destination: IpAddr,
    checksums: Checksums,
) -> Result<(), Malformed> {
    let malformed = |what: String| Malformed::new(Rule::Malformed, what);
    let expected = match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => slice.calc_checksum_ipv4(from.octets(), to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => slice.calc_checksum_ipv6(from.octets(), to.octets()),
        _ => return Err(malformed("addresses of two families".to_owned())),
    }
    .map_err(|error| malformed(error.to_string()))?;
    let held = slice.checksum();
    let partial = pseudo_header_sum(source, destination, IpNumber::TCP, slice.slice().len());
    let is_right = same_sum(held, expected) || (checksums == Checksums::Partial && held == partial);
    if is_right || checksums == Checksums::Unknown {
        return Ok(());
    }
    Err(Malformed::new(
        Rule::Checksum,
        format!("TCP checksum {held:#06x}, {expected:#06x} is right"),
    ))
}

/// What a stack leaves in the checksum field for the device to go on from.
pub(crate) fn pseudo_header_sum(
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    length: usize,
) -> u16 {
    let mut sum = sum_of(0, &[0, protocol.0]);
    sum = sum_of(sum, &(length as u32).to_be_bytes());
    for address in [source, destination] {
        sum = match address {
            IpAddr::V4(address) => sum_of(sum, &address.octets()),
            IpAddr::V6(address) => sum_of(sum, &address.octets()),
        };
    }
    sum
}

/// The ones' complement sum of `start` and these bytes. With a right checksum in its place it is
/// 0xffff.
pub(crate) fn sum_of(start: u16, bytes: &[u8]) -> u16 {
    let words = Sum16BitWords::new().add_2bytes(start.to_be_bytes());
    !words.add_slice(bytes).ones_complement().to_be()
}

/// Ones' complement has two zeros.
fn same_sum(held: u16, expected: u16) -> bool {
    held == expected || held ^ expected == 0xffff && (held == 0 || expected == 0)
}

/// Who sends has hops left; who receives does not mind (RFC 1122 §3.2.1.7, RFC 8200 §3).
pub(crate) fn check_hops(data: &[u8]) -> Result<(), Malformed> {
    let at = if data[0] >> 4 == 4 { 8 } else { 7 };
    if data[at] == 0 {
        return Err(Malformed::new(Rule::Malformed, "a hop limit of 0"));
    }
    Ok(())
}

/// Header checksum (IPv4) and length.
pub fn check_ip(ip: &IpSlice<'_>, data: &[u8]) -> Result<(), Malformed> {
    let length = match ip {
        IpSlice::Ipv4(slice) => {
            let header = slice.header();
            let expected = header.to_header().calc_header_checksum();
            let held = header.header_checksum();
            // RFC 791: the first of the flags is zero.
            if !same_sum(held, expected) || data[6] & 0x80 != 0 {
                return Err(Malformed::new(
                    Rule::Checksum,
                    format!("IPv4 checksum {held:#06x}, {expected:#06x} is right"),
                ));
            }
            header.total_len() as usize
        }
        IpSlice::Ipv6(slice) => {
            let header = slice.header();
            40 + header.payload_length() as usize
        }
    };
    let malformed = |what: String| Err(Malformed::new(Rule::Malformed, what));
    if length != data.len() {
        let held = data.len();
        return malformed(format!(
            "the IP header says {length} bytes, there are {held}"
        ));
    }
    Ok(())
}
