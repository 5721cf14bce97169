//! UDP datagrams and ICMP messages: their sums, and what errors quote.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{IpNumber, IpSlice, UdpSlice};

use crate::packet::{Checksums, Malformed, pseudo_header_sum, sum_of};
use crate::rule::Rule;

/// An ICMP error about a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Sender of the segment, to whom the error goes.
    pub source: SocketAddr,
    /// To whom the segment was going.
    pub destination: SocketAddr,
    /// Its sequence number.
    pub seq: u32,
    /// Packet Too Big, or Fragmentation Needed: the MTU that it names.
    pub mtu: Option<usize>,
    /// Type and code of the ICMP message.
    pub kind: (u8, u8),
}

/// Lengths and checksums of what is no TCP.
pub(crate) fn check(ip: &IpSlice<'_>, checksums: Checksums) -> Result<(), Malformed> {
    let payload = ip.payload().payload;
    let (source, destination) = (ip.source_addr(), ip.destination_addr());
    let pseudo = |protocol| pseudo_header_sum(source, destination, protocol, payload.len());
    let sum = match ip.payload_ip_number() {
        IpNumber::UDP => {
            let slice = UdpSlice::from_slice(payload);
            let slice =
                slice.map_err(|error| Malformed::new(Rule::Malformed, error.to_string()))?;
            let sum = pseudo(IpNumber::UDP);
            let none = slice.checksum() == 0 && source.is_ipv4();
            if none || (checksums == Checksums::Partial && slice.checksum() == sum) {
                return Ok(());
            }
            sum
        }
        IpNumber::ICMP => 0,
        IpNumber::IPV6_ICMP => pseudo(IpNumber::IPV6_ICMP),
        _ => return Ok(()),
    };
    if checksums == Checksums::Unknown || sum_of(sum, payload) == 0xffff {
        return Ok(());
    }
    let protocol = ip.payload_ip_number().keyword_str().unwrap_or("its");
    let what = format!("the {protocol} checksum is wrong");
    Err(Malformed::new(Rule::Checksum, what))
}

/// Reads an ICMP error that quotes a TCP segment. Eight bytes of its header are enough.
pub fn quote(data: &[u8]) -> Option<Quote> {
    let ip = IpSlice::from_slice(data).ok()?;
    if ip.is_fragmenting_payload() {
        return None;
    }
    let payload = ip.payload().payload;
    let (&[kind, code, ..], quoted) = (payload.first_chunk::<8>()?, payload.get(8..)?);
    let (addresses, tcp, mtu) = match ip.payload_ip_number() {
        IpNumber::ICMP if [3, 11, 12].contains(&kind) => {
            let mtu = (kind, code) == (3, 4);
            let mtu = mtu.then(|| u16::from_be_bytes([payload[6], payload[7]]) as usize);
            (
                quoted_v4(quoted)?,
                quoted.get(quoted_header(quoted)..)?,
                mtu,
            )
        }
        IpNumber::IPV6_ICMP if (1..=4).contains(&kind) => {
            let mtu = u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]) as usize;
            (
                quoted_v6(quoted)?,
                quoted.get(40..)?,
                (kind == 2).then_some(mtu),
            )
        }
        _ => return None,
    };
    let &[a, b, c, d, seq @ ..] = tcp.first_chunk::<8>()?;
    let [source, destination] = addresses;
    Some(Quote {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
        seq: u32::from_be_bytes(seq),
        mtu,
        kind: (kind, code),
    })
}

fn quoted_header(quoted: &[u8]) -> usize {
    quoted.first().map_or(0, |first| (first & 15) as usize * 4)
}

fn quoted_v4(quoted: &[u8]) -> Option<[IpAddr; 2]> {
    let header = quoted.first_chunk::<20>()?;
    let address =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let tcp = header[0] >> 4 == 4 && header[9] == IpNumber::TCP.0;
    tcp.then(|| [address(12).into(), address(16).into()])
}

fn quoted_v6(quoted: &[u8]) -> Option<[IpAddr; 2]> {
    let header = quoted.first_chunk::<40>()?;
    let (source, destination) = (
        header[8..].first_chunk::<16>()?,
        header[24..].first_chunk::<16>()?,
    );
    let tcp = header[0] >> 4 == 6 && header[6] == IpNumber::TCP.0;
    tcp.then(|| {
        [
            Ipv6Addr::from(*source).into(),
            Ipv6Addr::from(*destination).into(),
        ]
    })
}
