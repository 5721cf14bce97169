//! The IPv6 header and its extension headers (RFC 8200).

use std::net::Ipv6Addr;

use etherparse::{IpFragOffset, IpNumber, Ipv6FlowLabel, Ipv6FragmentHeader, Ipv6Header};
use etherparse::{Ipv6FragmentHeaderSlice, Ipv6HeaderSlice};
use ustack_tcp::Ecn;

use super::counters::Dropped;

/// Bytes of the fixed header.
pub(super) const HEADER_LEN: usize = 40;
/// Bytes of a fragment header.
pub(super) const FRAGMENT_LEN: usize = 8;

/// Extension headers walked before a packet is given up (V6-5).
const MAX_EXTENSION_HEADERS: usize = 8;

/// Where the fixed header names what follows it.
const NEXT_HEADER_AT: usize = 6;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// What input needs of the fixed header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    /// Next header.
    pub(super) next: u8,
    pub(super) dscp: u8,
    pub(super) ecn: Ecn,
    pub(super) hop_limit: u8,
    /// The whole packet, in bytes.
    pub(super) total_len: usize,
}

/// Checks the fixed header. A payload length of zero would mean a jumbogram (V6-14).
pub(super) fn parse(data: &[u8]) -> Result<Header, Dropped> {
    let slice = Ipv6HeaderSlice::from_slice(data).map_err(|_| Dropped::Header)?;
    let total_len = HEADER_LEN + usize::from(slice.payload_length());
    if total_len == HEADER_LEN {
        return Err(Dropped::Header);
    }
    if total_len > data.len() {
        return Err(Dropped::Truncated);
    }
    Ok(Header {
        source: slice.source_addr(),
        destination: slice.destination_addr(),
        next: slice.next_header().0,
        dscp: slice.traffic_class() >> 2,
        ecn: Ecn::from_bits(slice.traffic_class()),
        hop_limit: slice.hop_limit(),
        total_len,
    })
}

/// Where the walk over extension headers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// At what is no extension header.
    Upper {
        /// Its next header value.
        protocol: u8,
        /// Where the byte with that value lies, for parameter problems.
        named_at: usize,
        /// Where it begins.
        at: usize,
    },
    /// At a fragment header.
    Fragment(FragmentHeader),
}

/// A fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FragmentHeader {
    /// Where it begins.
    pub(super) at: usize,
    /// Where the byte lies that names it.
    pub(super) named_at: usize,
    /// What follows it, in the fragment with offset 0.
    pub(super) next_header: u8,
    /// Where the payload belongs, in bytes.
    pub(super) offset: usize,
    /// More fragments follow.
    pub(super) more: bool,
    /// Which datagram.
    pub(super) id: u32,
}

impl FragmentHeader {
    /// A whole packet that only looks like a fragment (RFC 6946, V6-11).
    pub(super) const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }

    /// Where the fragment's payload begins.
    pub(super) const fn payload_at(&self) -> usize {
        self.at + FRAGMENT_LEN
    }
}

/// What an ICMPv6 parameter problem says (RFC 4443 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) code: u8,
    /// The offending byte, from the start of the packet.
    pub(super) pointer: u32,
    /// Due even when the packet went to a multicast address (RFC 4443 §2.4 (e.3)).
    pub(super) even_multicast: bool,
    /// Due even about a later fragment (RFC 8200 §4.5).
    pub(super) even_later_fragment: bool,
}

/// Why a walk did not reach its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) dropped: Dropped,
    pub(super) report: Option<Parameter>,
}

impl Problem {
    pub(super) const fn silent(dropped: Dropped) -> Self {
        Self {
            dropped,
            report: None,
        }
    }

    pub(super) const fn report(dropped: Dropped, code: u8, pointer: usize) -> Self {
        Self {
            dropped,
            report: Some(Parameter {
                code,
                pointer: pointer as u32,
                even_multicast: false,
                even_later_fragment: false,
            }),
        }
    }
}

/// Walks from the fixed header.
pub(super) fn walk(data: &[u8], header: &Header) -> Result<Chain, Problem> {
    walk_from(data, header.next, NEXT_HEADER_AT, HEADER_LEN)
}

/// Walks on behind an atomic fragment's header.
pub(super) fn walk_atomic(data: &[u8], fragment: &FragmentHeader) -> Result<Chain, Problem> {
    let at = fragment.payload_at();
    walk_from(data, fragment.next_header, fragment.at, at)
}

/// Strictly in order, each header processed or refused (V6-1 to V6-5). `at` only grows, and the
/// number of headers is bounded.
fn walk_from(
    data: &[u8],
    mut next: u8,
    mut named_at: usize,
    mut at: usize,
) -> Result<Chain, Problem> {
    for _ in 0..=MAX_EXTENSION_HEADERS {
        let len = match next {
            HOP_BY_HOP if named_at != NEXT_HEADER_AT => {
                return Err(Problem::report(Dropped::ExtensionHeader, 1, named_at));
            }
            HOP_BY_HOP | DESTINATION_OPTIONS => {
                let len = extension_len(data, at)?;
                check_options(data, at + 2, at + len)?;
                len
            }
            ROUTING => {
                let len = extension_len(data, at)?;
                // Segments left: we forward for nobody (V6-4, RFC 5095).
                if data[at + 3] != 0 {
                    return Err(Problem::report(Dropped::ExtensionHeader, 0, at + 2));
                }
                len
            }
            FRAGMENT => return parse_fragment(data, at, named_at).map(Chain::Fragment),
            protocol => {
                return Ok(Chain::Upper {
                    protocol,
                    named_at,
                    at,
                });
            }
        };
        (named_at, next, at) = (at, data[at], at + len);
    }
    Err(Problem::silent(Dropped::ExtensionHeader))
}

/// The length of the extension header at `at`, all of which lies inside the packet.
fn extension_len(data: &[u8], at: usize) -> Result<usize, Problem> {
    data.get(at + 1)
        .map(|&units| (usize::from(units) + 1) * 8)
        .filter(|len| at + len <= data.len())
        .ok_or(Problem::silent(Dropped::Truncated))
}

fn parse_fragment(data: &[u8], at: usize, named_at: usize) -> Result<FragmentHeader, Problem> {
    let bytes = data.get(at..).unwrap_or_default();
    let slice = Ipv6FragmentHeaderSlice::from_slice(bytes)
        .map_err(|_| Problem::silent(Dropped::Truncated))?;
    Ok(FragmentHeader {
        at,
        named_at,
        next_header: slice.next_header().0,
        offset: usize::from(slice.fragment_offset().value()) * 8,
        more: slice.more_fragments(),
        id: slice.identification(),
    })
}

/// Options `start..end`: their type's top bits say what to do with those we do not know, and we
/// know none but padding and router alert, which may be skipped (RFC 8200 §4.2, V6-3).
fn check_options(data: &[u8], start: usize, end: usize) -> Result<(), Problem> {
    let mut at = start;
    while at < end {
        let kind = data[at];
        if kind == 0 {
            at += 1;
            continue;
        }
        let len = match data.get(at + 1) {
            Some(&len) if at + 2 + usize::from(len) <= end => 2 + usize::from(len),
            _ => return Err(Problem::silent(Dropped::Header)),
        };
        match kind >> 6 {
            0 => at += len,
            1 => return Err(Problem::silent(Dropped::ExtensionHeader)),
            action => {
                let mut problem = Problem::report(Dropped::ExtensionHeader, 2, at);
                if let Some(report) = &mut problem.report {
                    report.even_multicast = action == 2;
                }
                return Err(problem);
            }
        }
    }
    Ok(())
}

/// Whether a first fragment holds all headers down to the transport's (RFC 7112 §4, V6-6).
pub(super) fn holds_header_chain(data: &[u8], mut next: u8, mut at: usize) -> bool {
    for _ in 0..=MAX_EXTENSION_HEADERS {
        if !matches!(next, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) {
            return holds_transport_header(next, data.get(at..).unwrap_or_default());
        }
        let Ok(len) = extension_len(data, at) else {
            return false;
        };
        (next, at) = (data[at], at + len);
    }
    false
}

/// Whether `payload` begins with the whole header of `protocol` (RFC 1858 §3, FR-7).
pub(super) fn holds_transport_header(protocol: u8, payload: &[u8]) -> bool {
    match IpNumber(protocol) {
        IpNumber::TCP => payload
            .get(12)
            .is_some_and(|offset| payload.len() >= usize::from(offset >> 4).max(5) * 4),
        IpNumber::UDP | IpNumber::ICMP | IpNumber::IPV6_ICMP => payload.len() >= 8,
        _ => true,
    }
}

/// Builds a fixed header for `payload_len` bytes (at most 65,535, extension headers included).
pub(super) fn emit(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next_header: u8,
    traffic_class: u8,
    flow_label: u32,
    hop_limit: u8,
    payload_len: usize,
) -> [u8; HEADER_LEN] {
    Ipv6Header {
        traffic_class,
        flow_label: Ipv6FlowLabel::try_new(flow_label & 0xf_ffff).unwrap_or_default(),
        payload_length: payload_len as u16,
        next_header: IpNumber(next_header),
        hop_limit,
        source: source.octets(),
        destination: destination.octets(),
    }
    .to_bytes()
}

/// Builds a fragment header; `offset` in bytes, a multiple of eight.
pub(super) fn emit_fragment(next_header: u8, offset: usize, more: bool, id: u32) -> [u8; 8] {
    let offset = IpFragOffset::try_new((offset / 8) as u16).unwrap_or_default();
    Ipv6FragmentHeader::new(IpNumber(next_header), offset, more, id).to_bytes()
}

/// The next header value that announces [`emit_fragment`]'s header.
pub(super) const FRAGMENT_NEXT_HEADER: u8 = FRAGMENT;

/// Makes the header of a reassembled packet that of a whole one.
pub(super) fn complete(packet: &mut [u8]) {
    let payload_len = (packet.len() - HEADER_LEN) as u16;
    packet[4..6].copy_from_slice(&payload_len.to_be_bytes());
}

#[cfg(test)]
mod tests;
