//! Packets inside ICMP errors: what may be quoted, and what a quotation tells.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::super::v6;

/// Of which packet an error may be sent, as far as the packet alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
}

/// Who is to hear about `packet`; `None` when nobody may: it is a later fragment, or ICMP other
/// than a request for echo (IC-3, C6-3). Errors about ICMP are the loops that RFC 1122 §3.2.2
/// forbids.
pub(super) fn subject(packet: &[u8]) -> Option<Subject> {
    match packet.first()? >> 4 {
        4 => {
            let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
            let kind = packet.get(header.slice().len());
            let is_icmp = header.protocol() == IpNumber::ICMP;
            if header.fragments_offset().value() != 0 || (is_icmp && kind != Some(&super::V4_ECHO))
            {
                return None;
            }
            Some(Subject {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
            })
        }
        6 => {
            let header = Ipv6HeaderSlice::from_slice(packet).ok()?;
            let (protocol, at) = transport_of_v6(packet, header.next_header().0)?;
            let is_icmp = protocol == IpNumber::IPV6_ICMP.0;
            if is_icmp && packet.get(at) != Some(&super::V6_ECHO) {
                return None;
            }
            Some(Subject {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
            })
        }
        _ => None,
    }
}

/// Steps over extension headers, whatever is in them; `None` for later fragments. What ends
/// early is not ICMP as far as anybody can see (its `at` lies at or behind the end).
fn transport_of_v6(packet: &[u8], mut next: u8) -> Option<(u8, usize)> {
    let mut at = v6::HEADER_LEN;
    for _ in 0..16 {
        let len = match next {
            0 | 43 | 60 => packet
                .get(at + 1)
                .map(|&units| (usize::from(units) + 1) * 8),
            44 => {
                let offset = packet.get(at + 2..at + 4)?;
                if offset[0] != 0 || offset[1] & 0xf8 != 0 {
                    return None;
                }
                Some(v6::FRAGMENT_LEN)
            }
            _ => return Some((next, at)),
        };
        let (Some(len), Some(&named)) = (len, packet.get(at)) else {
            return Some((IpNumber::IPV6_NO_NEXT_HEADER.0, packet.len()));
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
    let (protocol, at) = transport_of_v6(bytes, header.next_header().0)?;
    Some(Quoted {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol,
        transport: transport_at(at)?,
        total_len: header
            .payload_length()
            .saturating_add(v6::HEADER_LEN as u16),
    })
}
