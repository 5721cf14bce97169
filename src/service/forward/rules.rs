//! Which destinations the forwarder may open on the host's behalf.
//!
//! A client behind the device reaches what the caller reaches, but not what only the host itself
//! reaches: its loopback, its links, and addresses that are no destination at all.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Why a destination is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// 127.0.0.0/8 or ::1: services that trust whoever reaches them.
    Loopback,
    /// 169.254.0.0/16 or fe80::/10: the host's links, cloud metadata services.
    LinkLocal,
    /// 0.0.0.0/8 or ::, which a kernel takes for itself.
    Unspecified,
    /// 224.0.0.0/4 or ff00::/8.
    Multicast,
    /// 240.0.0.0/4 with 255.255.255.255.
    Broadcast,
    /// The device's own prefix: nobody is there but the two ends of the device.
    Own,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "the host's loopback",
            Self::LinkLocal => "link-local",
            Self::Unspecified => "the unspecified address",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast or reserved",
            Self::Own => "the device's own prefix",
        })
    }
}

/// The destinations that may be reached.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    allow: Vec<IpNet>,
    own: Vec<IpNet>,
}

impl Rules {
    /// `allow` lifts the refusal of the prefixes in it; `own` are the prefixes of the device.
    pub fn new(allow: Vec<IpNet>, own: Vec<IpNet>) -> Self {
        Self { allow, own }
    }

    /// Whether `destination` may be opened. An IPv6 address that carries an IPv4 address is judged
    /// by that one, for that is where the host's kernel or a translator would send it.
    pub fn check(&self, destination: IpAddr) -> Result<(), Refusal> {
        let carried = carried_v4(destination);
        let judged = carried.map_or(destination, IpAddr::V4);
        let in_any = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&judged));
        if in_any(&self.allow) {
            return Ok(());
        }
        if in_any(&self.own) {
            return Err(Refusal::Own);
        }
        match judged {
            IpAddr::V4(address) => check_v4(address),
            IpAddr::V6(address) => check_v6(address),
        }
    }
}

fn check_v4(address: Ipv4Addr) -> Result<(), Refusal> {
    match address.octets() {
        [0, ..] => Err(Refusal::Unspecified),
        [127, ..] => Err(Refusal::Loopback),
        [169, 254, ..] => Err(Refusal::LinkLocal),
        [224..=239, ..] => Err(Refusal::Multicast),
        [240..=255, ..] => Err(Refusal::Broadcast),
        _ => Ok(()),
    }
}

fn check_v6(address: Ipv6Addr) -> Result<(), Refusal> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Err(Refusal::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Err(Refusal::Loopback),
        [0xfe80..=0xfebf, ..] => Err(Refusal::LinkLocal),
        [0xff00..=0xffff, ..] => Err(Refusal::Multicast),
        _ => Ok(()),
    }
}

/// The IPv4 address inside a mapped (RFC 4291 §2.5.5.2), compatible (§2.5.5.1), NAT64 (RFC 6052
/// §2.1) or 6to4 (RFC 3056 §2) address.
fn carried_v4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            v4(high, low)
        }
        [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &Rules, address: &str) -> Result<(), Refusal> {
        rules.check(address.parse().unwrap())
    }

    fn plain() -> Rules {
        let own = ["10.77.0.0/24", "fd77::/64"];
        Rules::new(vec![], own.map(|net| net.parse().unwrap()).to_vec())
    }

    #[test]
    fn what_only_the_host_reaches_is_refused() {
        let rules = plain();
        for (address, refusal) in [
            ("127.0.0.1", Refusal::Loopback),
            ("127.255.255.254", Refusal::Loopback),
            ("::1", Refusal::Loopback),
            ("169.254.169.254", Refusal::LinkLocal),
            ("fe80::1", Refusal::LinkLocal),
            ("febf::1", Refusal::LinkLocal),
            ("0.0.0.0", Refusal::Unspecified),
            ("0.1.2.3", Refusal::Unspecified),
            ("::", Refusal::Unspecified),
            ("224.0.0.251", Refusal::Multicast),
            ("ff02::fb", Refusal::Multicast),
            ("255.255.255.255", Refusal::Broadcast),
            ("240.0.0.1", Refusal::Broadcast),
            ("10.77.0.9", Refusal::Own),
            ("fd77::9", Refusal::Own),
        ] {
            assert_eq!(check(&rules, address), Err(refusal), "{address}");
        }
    }

    #[test]
    fn everything_else_is_let_through() {
        let rules = plain();
        for address in [
            "1.1.1.1",
            "10.77.1.1",
            "192.168.1.1",
            "2606:4700::1111",
            "fec0::1",
        ] {
            assert_eq!(check(&rules, address), Ok(()), "{address}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_judged_as_ipv4() {
        let rules = plain();
        for address in [
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::5",
        ] {
            assert_eq!(check(&rules, address), Err(Refusal::Loopback), "{address}");
        }
        assert_eq!(check(&rules, "::ffff:10.77.0.2"), Err(Refusal::Own));
        assert_eq!(check(&rules, "::ffff:1.1.1.1"), Ok(()));
    }

    #[test]
    fn an_allowed_prefix_is_let_through_and_no_more() {
        let rules = Rules::new(vec!["127.0.0.0/30".parse().unwrap()], vec![]);
        assert_eq!(check(&rules, "127.0.0.1"), Ok(()));
        assert_eq!(check(&rules, "::ffff:127.0.0.1"), Ok(()));
        assert_eq!(check(&rules, "127.0.0.4"), Err(Refusal::Loopback));
        assert_eq!(check(&rules, "::1"), Err(Refusal::Loopback));
    }
}
