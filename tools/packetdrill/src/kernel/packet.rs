//! Where things are in a packet that this host has made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ustack::tcp::FlowKey;

/// A whole TCP segment in an IP packet without extension headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tcp {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Offset of its header.
    pub(super) header: usize,
    /// Bytes of payload.
    pub(super) payload_len: u32,
}

impl Tcp {
    /// The segment of a packet, if it is one.
    pub(super) fn find(packet: &[u8]) -> Option<Self> {
        let (source, destination, header) = match packet.first()? >> 4 {
            4 if packet.len() >= 20 && packet[9] == 6 => {
                let v4 = |at: usize| {
                    let octets = packet[at..].first_chunk::<4>()?;
                    Some(IpAddr::V4(Ipv4Addr::from(*octets)))
                };
                (v4(12)?, v4(16)?, usize::from(packet[0] & 0xf) * 4)
            }
            6 if packet.len() >= 40 && packet[6] == 6 => {
                let v6 = |at: usize| {
                    let octets = packet[at..].first_chunk::<16>()?;
                    Some(IpAddr::V6(Ipv6Addr::from(*octets)))
                };
                (v6(8)?, v6(24)?, 40)
            }
            _ => return None,
        };
        let data = header + usize::from(packet.get(header + 12)? >> 4) * 4;
        let payload_len = packet.len().checked_sub(data)? as u32;
        (data >= header + 20).then_some(Self {
            source,
            destination,
            header,
            payload_len,
        })
    }

    /// What tells one flow from another.
    pub(super) fn flow(&self, packet: &[u8]) -> Vec<u8> {
        let addresses = format!("{}{}", self.source, self.destination);
        let ports = &packet[self.header..self.header + 4];
        [addresses.as_bytes(), ports].concat()
    }

    pub(super) fn seq(&self, packet: &[u8]) -> u32 {
        let bytes = packet[self.header + 4..].first_chunk();
        u32::from_be_bytes(*bytes.unwrap_or(&[0; 4]))
    }

    pub(super) fn flags(&self, packet: &[u8]) -> u8 {
        packet[self.header + 13]
    }

    /// The flow, seen from its sender.
    pub(super) fn flow_key(&self, packet: &[u8]) -> FlowKey {
        let port = |at: usize| {
            let bytes = packet[self.header + at..].first_chunk();
            u16::from_be_bytes(*bytes.unwrap_or(&[0; 2]))
        };
        FlowKey {
            local: SocketAddr::new(self.source, port(0)),
            remote: SocketAddr::new(self.destination, port(2)),
        }
    }
}
