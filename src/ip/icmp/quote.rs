//! Packets inside ICMP errors: what may be quoted, and what a quotation tells.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::super::v6;

/// Of which packet an error may be sent, as far as the packet alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// A fragment other than the first: only IPv6 knows an error about those.
    pub(super) is_later_fragment: bool,
}

/// Who is to hear about `packet`; `None` when nobody may: it is ICMP other than a request for
/// echo, or may be for all that can be seen (IC-3, C6-3). Errors about ICMP are the loops that RFC 1122 §3.2.2
/// forbids.
pub(super) fn subject(packet: &[u8]) -> Option<Subject> {
    match packet.first()? >> 4 {
        4 => {
            let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
            let kind = packet.get(header.slice().len());
            let is_icmp = header.protocol() == IpNumber::ICMP;
            let is_later_fragment = header.fragments_offset().value() != 0;
            if is_icmp && (is_later_fragment || kind != Some(&super::V4_ECHO)) {
                return None;
            }
            Some(Subject {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                is_later_fragment,
            })
        }
        6 => {
            let header = Ipv6HeaderSlice::from_slice(packet).ok()?;
            let Upper {
                protocol,
                at,
                is_later_fragment,
                offset,
            } = upper_of_v6(packet, header.next_header().0)?;
            let is_icmp = protocol == IpNumber::IPV6_ICMP.0;
            // An error ends before that, so this is none (RFC 4443 §2.4 (c)).
            let is_beyond_errors = offset >= super::MAX_ERROR_V6;
            let may_be_error = if is_later_fragment {
                !is_beyond_errors
            } else {
                packet.get(at) != Some(&super::V6_ECHO)
            };
            if is_icmp && may_be_error {
                return None;
            }
            Some(Subject {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                is_later_fragment,
            })
        }
        _ => None,
    }
}

/// What follows the extension headers, as far as can be seen.
struct Upper {
    protocol: u8,
    at: usize,
    is_later_fragment: bool,
    /// Where the fragment belongs, in bytes.
    offset: usize,
}

/// Steps over extension headers, whatever is in them. What ends early is not ICMP as far as
/// anybody can see (its `at` lies at the end).
fn upper_of_v6(packet: &[u8], mut next: u8) -> Option<Upper> {
    let mut at = v6::HEADER_LEN;
    let upper = |protocol, at, offset| {
        Some(Upper {
            protocol,
            at,
            is_later_fragment: offset != 0,
            offset,
        })
    };
    for _ in 0..16 {
        let len = match next {
            0 | 43 | 60 => packet
                .get(at + 1)
                .map(|&units| (usize::from(units) + 1) * 8),
            44 => {
                let header = packet.get(at..at + 4)?;
                let offset = usize::from(u16::from_be_bytes([header[2], header[3]]) & !7);
                if offset != 0 {
                    return upper(header[0], at + v6::FRAGMENT_LEN, offset);
                }
                Some(v6::FRAGMENT_LEN)
            }
            _ => return upper(next, at, 0),
        };
        let (Some(len), Some(&named)) = (len, packet.get(at)) else {
            return upper(IpNumber::IPV6_NO_NEXT_HEADER.0, packet.len(), 0);
        };
        (next, at) = (named, at + len);
    }
    None
}

/// What a quotation tells of a packet that we may have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quoted {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    /// The first eight bytes of the transport header.
    pub(super) transport: [u8; 8],
    /// Length of the whole packet, by its own header.
    pub(super) total_len: u16,
}

impl Quoted {
    /// Source and destination port; echo replies: identifier and 0.
    pub(super) const fn ports(&self) -> (u16, u16) {
        let [a, b, c, d, e, f, ..] = self.transport;
        if self.is_icmp() {
            return (u16::from_be_bytes([e, f]), 0);
        }
        (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
    }

    /// TCP's sequence number, 0 for others.
    pub(super) const fn seq(&self) -> u32 {
        let [.., a, b, c, d] = self.transport;
        if self.protocol == IpNumber::TCP.0 {
            u32::from_be_bytes([a, b, c, d])
        } else {
            0
        }
    }

    const fn is_icmp(&self) -> bool {
        self.protocol == IpNumber::ICMP.0 || self.protocol == IpNumber::IPV6_ICMP.0
    }
}

/// Reads the packet that an error of the same family quotes.
pub(super) fn quoted(bytes: &[u8], is_v4: bool) -> Option<Quoted> {
    let transport_at = |at: usize| bytes.get(at..at + 8)?.try_into().ok();
    if is_v4 {
        let header = Ipv4HeaderSlice::from_slice(bytes).ok()?;
        if header.fragments_offset().value() != 0 {
            return None;
        }
        return Some(Quoted {
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
            protocol: header.protocol().0,
            transport: transport_at(header.slice().len())?,
            total_len: header.total_len(),
        });
    }
    let header = Ipv6HeaderSlice::from_slice(bytes).ok()?;
    let upper = upper_of_v6(bytes, header.next_header().0).filter(|up| !up.is_later_fragment)?;
    Some(Quoted {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: upper.protocol,
        transport: transport_at(upper.at)?,
        total_len: header
            .payload_length()
            .saturating_add(v6::HEADER_LEN as u16),
    })
}
