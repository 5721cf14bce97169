//! Which addresses are ours, and which ones nobody may use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::counters::Dropped;

/// This host's addresses, as numbers: each packet is compared with them.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Sorted.
    v4: Vec<u32>,
    /// Sorted.
    v6: Vec<u128>,
    /// The directed broadcast addresses of their subnets, sorted.
    broadcasts: Vec<u32>,
}

impl Addresses {
    pub(super) fn new(addresses: &[(IpAddr, u8)]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (ip, _) in addresses {
            match ip {
                IpAddr::V4(ip) => v4.push(ip.to_bits()),
                IpAddr::V6(ip) => v6.push(ip.to_bits()),
            }
        }
        let mut broadcasts: Vec<_> = directed_broadcasts(addresses)
            .map(Ipv4Addr::to_bits)
            .collect();
        v4.sort_unstable();
        v6.sort_unstable();
        broadcasts.sort_unstable();
        Self { v4, v6, broadcasts }
    }

    #[inline]
    pub(super) fn is_own(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.binary_search(&ip.to_bits()).is_ok(),
            IpAddr::V6(ip) => self.v6.binary_search(&ip.to_bits()).is_ok(),
        }
    }

    /// Limited broadcast, or the directed broadcast of one of our subnets.
    #[inline]
    fn is_broadcast(&self, ip: Ipv4Addr) -> bool {
        ip.is_broadcast() || self.broadcasts.binary_search(&ip.to_bits()).is_ok()
    }

    /// Whether `ip` may be one end of a conversation at all (IP-4, V6-18).
    #[inline]
    pub(super) fn is_unicast(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => !(is_reserved_v4(ip) || ip.is_multicast() || self.is_broadcast(ip)),
            IpAddr::V6(ip) => !(is_reserved_v6(ip) || ip.is_multicast()),
        }
    }

    /// Refuses sources that no packet from outside has. Our own ones are right on the loopback
    /// only.
    #[inline]
    pub(super) fn check_source(&self, ip: IpAddr, loopback: bool) -> Result<(), Dropped> {
        let is_fine = if self.is_own(ip) {
            loopback
        } else {
            self.is_unicast(ip)
        };
        if is_fine {
            Ok(())
        } else {
            Err(Dropped::Source)
        }
    }

    /// Whether the destination is ours; refuses those that never are anybody's, and those of
    /// others unless `transparent`.
    #[inline]
    pub(super) fn check_destination(&self, ip: IpAddr, transparent: bool) -> Result<bool, Dropped> {
        if self.is_own(ip) {
            return Ok(true);
        }
        self.check_foreign(ip, transparent)
    }

    fn check_foreign(&self, ip: IpAddr, transparent: bool) -> Result<bool, Dropped> {
        let is_group = match ip {
            IpAddr::V4(ip) => ip.is_multicast() || self.is_broadcast(ip),
            IpAddr::V6(ip) => ip.is_multicast(),
        };
        if is_group {
            return Err(Dropped::Multicast);
        }
        if transparent && self.is_unicast(ip) {
            return Ok(false);
        }
        Err(Dropped::Destination)
    }

    /// Our address to talk to `remote` from: the one that shares the longest prefix with it
    /// (RFC 6724 §5 rule 8).
    pub(super) fn source_for(&self, remote: IpAddr) -> Option<IpAddr> {
        match remote {
            IpAddr::V4(remote) => {
                let prefix = |own: &u32| (own ^ remote.to_bits()).leading_zeros();
                let own = self.v4.iter().copied().max_by_key(prefix);
                own.map(|own| Ipv4Addr::from_bits(own).into())
            }
            IpAddr::V6(remote) => {
                let prefix = |own: &u128| (own ^ remote.to_bits()).leading_zeros();
                let own = self.v6.iter().copied().max_by_key(prefix);
                own.map(|own| Ipv6Addr::from_bits(own).into())
            }
        }
    }
}

/// The directed broadcast addresses of the subnets that these addresses are in; an address that is
/// its subnet's last is a host's all the same.
pub(crate) fn directed_broadcasts(addresses: &[(IpAddr, u8)]) -> impl Iterator<Item = Ipv4Addr> {
    addresses.iter().filter_map(|&(own, prefix)| match own {
        IpAddr::V4(own) if prefix < 31 => {
            let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let last = Ipv4Addr::from_bits(own.to_bits() | host);
            Some(last).filter(|last| *last != own)
        }
        _ => None,
    })
}

/// Never between hosts: "this network", loopback, class E.
const fn is_reserved_v4(ip: Ipv4Addr) -> bool {
    matches!(ip.octets()[0], 0 | 127 | 240..)
}

/// Never between hosts: unspecified, loopback, v4-mapped.
const fn is_reserved_v6(ip: Ipv6Addr) -> bool {
    ip.is_unspecified() || ip.is_loopback() || ip.to_ipv4_mapped().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use covers::covers;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn addresses() -> Addresses {
        Addresses::new(&[
            (ip("10.77.0.2"), 24),
            (ip("192.168.1.1"), 32),
            (ip("fd77::2"), 64),
        ])
    }

    /// IP-4, V6-18, D-7: every class as a source.
    #[test]
    #[covers("IP-4", "V6-18")]
    fn martian_sources_are_refused() {
        let addresses = addresses();
        for source in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.0.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "10.77.0.255",
            "10.77.0.2",
            "192.168.1.1",
            "::",
            "::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "fd77::2",
        ] {
            assert_eq!(
                addresses.check_source(ip(source), false),
                Err(Dropped::Source),
                "{source}"
            );
        }
        for source in [
            "10.77.0.1",
            "8.8.8.8",
            "192.168.1.255",
            "fe80::1",
            "2001:db8::1",
        ] {
            assert_eq!(
                addresses.check_source(ip(source), false),
                Ok(()),
                "{source}"
            );
        }
        assert_eq!(addresses.check_source(ip("10.77.0.2"), true), Ok(()));
    }

    #[test]
    #[covers("IP-4", "V6-18")]
    fn destinations_are_ours_foreign_or_nobodys() {
        let addresses = addresses();
        for (destination, closed, transparent) in [
            ("10.77.0.2", Ok(true), Ok(true)),
            ("fd77::2", Ok(true), Ok(true)),
            ("10.77.0.3", Err(Dropped::Destination), Ok(false)),
            ("2001:db8::1", Err(Dropped::Destination), Ok(false)),
            (
                "10.77.0.255",
                Err(Dropped::Multicast),
                Err(Dropped::Multicast),
            ),
            (
                "255.255.255.255",
                Err(Dropped::Multicast),
                Err(Dropped::Multicast),
            ),
            (
                "224.0.0.251",
                Err(Dropped::Multicast),
                Err(Dropped::Multicast),
            ),
            ("ff02::16", Err(Dropped::Multicast), Err(Dropped::Multicast)),
            (
                "127.0.0.1",
                Err(Dropped::Destination),
                Err(Dropped::Destination),
            ),
            (
                "0.0.0.0",
                Err(Dropped::Destination),
                Err(Dropped::Destination),
            ),
            (
                "250.0.0.1",
                Err(Dropped::Destination),
                Err(Dropped::Destination),
            ),
            ("::1", Err(Dropped::Destination), Err(Dropped::Destination)),
            (
                "::ffff:8.8.8.8",
                Err(Dropped::Destination),
                Err(Dropped::Destination),
            ),
        ] {
            let ip = ip(destination);
            assert_eq!(
                addresses.check_destination(ip, false),
                closed,
                "{destination}"
            );
            assert_eq!(
                addresses.check_destination(ip, true),
                transparent,
                "{destination}"
            );
        }
    }

    #[test]
    fn the_source_shares_the_longest_prefix() {
        let addresses = addresses();
        assert_eq!(addresses.source_for(ip("10.77.0.9")), Some(ip("10.77.0.2")));
        assert_eq!(
            addresses.source_for(ip("192.168.9.9")),
            Some(ip("192.168.1.1"))
        );
        assert_eq!(addresses.source_for(ip("2001:db8::1")), Some(ip("fd77::2")));
        assert_eq!(Addresses::new(&[]).source_for(ip("10.0.0.1")), None);
    }
}
