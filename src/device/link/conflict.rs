//! What of the host the wanted addresses collide with, and a network that is free.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Net, Snapshot};

/// Something of the host that the wanted addresses collide with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    Address {
        address: IpAddr,
        interface: String,
    },
    Route {
        route: Net,
        interface: String,
        network: Net,
    },
}

impl Snapshot {
    /// The first thing that keeps device `name` from having these host addresses and the stack
    /// from having its own: the same address, or a route as specific as the device's or more.
    pub(crate) fn conflict(&self, name: &str, host: &[Net], stack: &[IpAddr]) -> Option<Conflict> {
        let own = self.link(name).map(|link| link.index);
        for link in &self.links {
            for &(address, _) in &link.addresses {
                let taken_here = stack.contains(&address);
                let taken_elsewhere =
                    Some(link.index) != own && host.iter().any(|(wanted, _)| *wanted == address);
                if taken_here || taken_elsewhere {
                    return Some(Conflict::Address {
                        address,
                        interface: link.name.clone(),
                    });
                }
            }
        }
        for &network in host {
            let mut others = self.routes.iter().filter(|route| Some(route.output) != own);
            if let Some(route) = others.find(|route| contains(network, route.destination)) {
                return Some(Conflict::Route {
                    route: route.destination,
                    interface: self.name(route.output),
                    network: (first_address(network), network.1),
                });
            }
        }
        None
    }

    /// Routes to other interfaces that are wider than a network of ours: no conflict, but what
    /// they led to in our network is out of reach while the device is up.
    pub(crate) fn shadowed(&self, name: &str, host: &[Net]) -> Vec<(Net, String)> {
        let own = self.link(name).map(|link| link.index);
        self.routes
            .iter()
            .filter(|route| Some(route.output) != own && route.destination.1 > 0)
            .filter(|route| {
                host.iter().any(|&network| {
                    contains(route.destination, network) && route.destination.1 < network.1
                })
            })
            .map(|route| (route.destination, self.name(route.output)))
            .collect()
    }

    /// A network like ours that nothing here uses: the host's address and the stack's.
    pub(crate) fn free_network(&self, v6: bool) -> (Net, IpAddr) {
        let network = |n: u8| -> (Net, IpAddr) {
            if v6 {
                let prefix = 0xfd00 | u16::from(n);
                let host = Ipv6Addr::new(prefix, 0, 0, 0, 0, 0, 0, 1);
                let stack = Ipv6Addr::new(prefix, 0, 0, 0, 0, 0, 0, 2);
                ((host.into(), 64), stack.into())
            } else {
                let host = Ipv4Addr::new(10, n, 0, 1);
                ((host.into(), 24), Ipv4Addr::new(10, n, 0, 2).into())
            }
        };
        (78..=254)
            .map(network)
            .find(|(host, stack)| {
                self.conflict("", &[*host], &[*stack]).is_none()
                    && self.shadowed("", &[*host]).is_empty()
            })
            .unwrap_or_else(|| network(254))
    }
}

/// Whether `inner` lies within `outer` (or is it).
fn contains(outer: Net, inner: Net) -> bool {
    outer.1 <= inner.1
        && outer.0.is_ipv4() == inner.0.is_ipv4()
        && first_address(outer) == first_address((inner.0, outer.1))
}

/// The network's first address.
fn first_address((address, prefix): Net) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::net;
    use super::super::{Link, Route};
    use super::*;

    fn host() -> Snapshot {
        let link = |index, name: &str, addresses: &[&str]| Link {
            index,
            name: name.into(),
            addresses: addresses.iter().map(|text| net(text)).collect(),
            ..Link::default()
        };
        let route = |destination, output| Route {
            destination: net(destination),
            output,
        };
        Snapshot {
            links: vec![
                link(1, "lo", &["127.0.0.1/8", "::1/128"]),
                link(2, "eth0", &["192.168.1.5/24", "fd12::5/64"]),
                link(3, "vpn0", &["10.8.0.2/32"]),
            ],
            routes: vec![
                route("192.168.1.0/24", 2),
                route("10.0.0.0/8", 3),
                route("10.99.5.0/28", 3),
                route("fd12::/64", 2),
            ],
        }
    }

    #[test]
    fn conflicts_are_found_and_named() {
        let host = host();
        let conflict = |wanted: &str, stack: &str| {
            host.conflict("us0", &[net(wanted)], &[stack.parse().unwrap()])
        };
        assert_eq!(conflict("10.77.0.1/24", "10.77.0.2"), None);
        assert_eq!(conflict("fd77::1/64", "fd77::2"), None);
        let address = |address: &str, interface: &str| Conflict::Address {
            address: address.parse().unwrap(),
            interface: interface.into(),
        };
        assert_eq!(
            conflict("192.168.1.5/24", "192.168.1.6"),
            Some(address("192.168.1.5", "eth0"))
        );
        assert_eq!(
            conflict("10.8.0.1/24", "10.8.0.2"),
            Some(address("10.8.0.2", "vpn0"))
        );
        let route = |route, interface: &str, network| Conflict::Route {
            route: net(route),
            interface: interface.into(),
            network: net(network),
        };
        assert_eq!(
            conflict("192.168.1.77/24", "192.168.1.78"),
            Some(route("192.168.1.0/24", "eth0", "192.168.1.0/24"))
        );
        assert_eq!(
            conflict("10.99.0.1/16", "10.99.0.2"),
            Some(route("10.99.5.0/28", "vpn0", "10.99.0.0/16"))
        );
        assert_eq!(
            conflict("fd12::9/64", "fd12::8"),
            Some(route("fd12::/64", "eth0", "fd12::/64"))
        );
    }

    #[test]
    fn a_device_does_not_conflict_with_itself() {
        let host = host();
        let own = [net("192.168.1.5/24")];
        assert_eq!(
            host.conflict("eth0", &own, &["192.168.1.9".parse().unwrap()]),
            None
        );
        // But the stack may not have the host's own address.
        assert!(
            host.conflict("eth0", &own, &["192.168.1.5".parse().unwrap()])
                .is_some()
        );
    }

    #[test]
    fn wider_routes_are_told_not_refused() {
        let shadowed = host().shadowed("us0", &[net("10.77.0.1/24")]);
        assert_eq!(shadowed, [(net("10.0.0.0/8"), String::from("vpn0"))]);
        assert!(host().shadowed("us0", &[net("172.16.0.1/24")]).is_empty());
    }

    #[test]
    fn a_free_network_is_free() {
        let mut host = host();
        assert_eq!(
            host.free_network(true),
            (net("fd4e::1/64"), "fd4e::2".parse().unwrap())
        );
        host.routes.retain(|route| route.destination.1 != 8);
        host.links[1].addresses.push(net("10.78.0.1/24"));
        host.routes.push(Route {
            destination: net("10.79.0.0/16"),
            output: 2,
        });
        assert_eq!(
            host.free_network(false),
            (net("10.80.0.1/24"), "10.80.0.2".parse().unwrap())
        );
    }

    #[test]
    fn networks_contain_each_other_by_prefix() {
        assert!(contains(net("0.0.0.0/0"), net("1.2.3.4/32")));
        assert!(contains(net("10.77.0.0/24"), net("10.77.0.9/24")));
        assert!(!contains(net("10.77.0.0/24"), net("10.77.0.0/16")));
        assert!(!contains(net("10.77.0.0/24"), net("10.77.1.0/24")));
        assert!(!contains(net("::/0"), net("1.2.3.4/32")));
        assert!(contains(net("::/0"), net("fd00::1/128")));
    }
}
