//! A flow in as few bytes as tell it apart: what the table hashes and compares, and what a record
//! keeps.

use alloc::boxed::Box;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::segment::FlowKey;

/// A [`FlowKey`] in 12 bytes for IPv4; for IPv6 its addresses are elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    V4(Ports, [Ipv4Addr; 2]),
    V6(Ports, Box<[Ipv6Addr; 2]>),
}

/// This host's comes first, as among addresses.
type Ports = [u16; 2];

const _: () = assert!(size_of::<Flow>() == 16);

impl Flow {
    pub(crate) fn new(flow: &FlowKey) -> Self {
        match v4(flow) {
            Some(addresses) => Self::V4(ports(flow), addresses),
            None => Self::V6(ports(flow), Box::new(v6(flow))),
        }
    }

    pub(crate) fn key(&self) -> FlowKey {
        match self {
            Self::V4(ports, addresses) => key(*ports, addresses.map(IpAddr::V4)),
            Self::V6(ports, addresses) => key(*ports, addresses.map(IpAddr::V6)),
        }
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, flow: &FlowKey) -> bool {
        match self {
            Self::V4(own, addresses) => *own == ports(flow) && Some(*addresses) == v4(flow),
            Self::V6(own, addresses) => {
                *own == ports(flow) && v4(flow).is_none() && **addresses == v6(flow)
            }
        }
    }
}

fn key(ports: Ports, addresses: [IpAddr; 2]) -> FlowKey {
    let end = |n: usize| SocketAddr::new(addresses[n], ports[n]);
    FlowKey::new(end(0), end(1))
}

/// Whether both are the same, whatever an IPv6 address has beside its octets.
pub(crate) fn is_same(one: &FlowKey, other: &FlowKey) -> bool {
    let same = |one: &SocketAddr, other: &SocketAddr| match (one, other) {
        (SocketAddr::V4(one), SocketAddr::V4(other)) => one == other,
        (SocketAddr::V6(one), SocketAddr::V6(other)) => {
            one.port() == other.port() && one.ip() == other.ip()
        }
        _ => false,
    };
    same(&one.remote, &other.remote) && same(&one.local, &other.local)
}

/// Hands the bytes that tell `flow` apart to `with`: 12 for IPv4, 36 for IPv6.
pub(crate) fn octets<R>(flow: &FlowKey, with: impl FnOnce(&[u8]) -> R) -> R {
    let mut octets = [0; 36];
    octets[..4].copy_from_slice(ports(flow).map(u16::to_be_bytes).as_flattened());
    if let Some(addresses) = v4(flow) {
        octets[4..12].copy_from_slice(addresses.map(|ip| ip.octets()).as_flattened());
        return with(&octets[..12]);
    }
    octets[4..].copy_from_slice(v6(flow).map(|ip| ip.octets()).as_flattened());
    with(&octets)
}

const fn ports(flow: &FlowKey) -> Ports {
    [flow.local.port(), flow.remote.port()]
}

const fn v4(flow: &FlowKey) -> Option<[Ipv4Addr; 2]> {
    match (flow.local, flow.remote) {
        (SocketAddr::V4(local), SocketAddr::V4(remote)) => Some([*local.ip(), *remote.ip()]),
        _ => None,
    }
}

/// For what is not IPv4 at both ends.
fn v6(flow: &FlowKey) -> [Ipv6Addr; 2] {
    [flow.local, flow.remote].map(|end| match end.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_what_it_was() {
        let flow = |local: &str, remote: &str| {
            FlowKey::new(local.parse().unwrap(), remote.parse().unwrap())
        };
        let flows = [
            flow("10.0.0.1:80", "10.0.0.2:4000"),
            flow("10.0.0.2:80", "10.0.0.1:4000"),
            flow("[fd00::1]:80", "[fd00::2]:4000"),
            flow("[fd00::1]:4000", "[fd00::2]:80"),
            flow("[::ffff:10.0.0.1]:80", "[::ffff:10.0.0.2]:4000"),
        ];
        for (index, one) in flows.iter().enumerate() {
            assert_eq!(Flow::new(one).key(), *one);
            for (other_index, other) in flows.iter().enumerate() {
                let same = index == other_index;
                assert_eq!(Flow::new(one).is(other), same);
                assert_eq!(is_same(one, other), same);
                let differ = octets(one, <[u8]>::to_vec) != octets(other, <[u8]>::to_vec);
                assert_eq!(differ, !same);
            }
        }
        assert_eq!(octets(&flows[0], <[u8]>::len), 12);
    }
}
