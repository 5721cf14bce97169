//! The addresses of the stack and of the host's side of the device, and how they must relate.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// The address, host bits included.
    pub(crate) addr: IpAddr,
    /// Bits of the network part.
    pub(crate) len: u8,
}

impl Prefix {
    const fn v4(a: u8, b: u8, c: u8, d: u8, len: u8) -> Self {
        Self {
            addr: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            len,
        }
    }

    /// Whether `addr` lies in the network.
    pub(crate) fn contains(&self, addr: IpAddr) -> bool {
        let (Some(ours), Some(theirs)) = (self.network(), Self { addr, ..*self }.network()) else {
            return false;
        };
        self.addr.is_ipv4() == addr.is_ipv4() && ours == theirs
    }

    /// Bits of an address of this family.
    fn width(&self) -> u8 {
        if self.addr.is_ipv4() { 32 } else { 128 }
    }

    fn bits(&self) -> u128 {
        match self.addr {
            IpAddr::V4(addr) => addr.to_bits().into(),
            IpAddr::V6(addr) => addr.to_bits(),
        }
    }

    fn host_bits(&self) -> u32 {
        u32::from(self.width()).saturating_sub(self.len.into())
    }

    fn network(&self) -> Option<u128> {
        (self.len <= self.width()).then(|| self.bits().checked_shr(self.host_bits()).unwrap_or(0))
    }

    /// The network's addresses that are not for hosts: the lowest, and IPv4's broadcast.
    fn is_reserved(&self, addr: IpAddr) -> bool {
        if self.host_bits() < 2 || !self.contains(addr) {
            return false;
        }
        let ones = u128::MAX
            .checked_shl(self.host_bits())
            .map_or(u128::MAX, |mask| !mask);
        let host = Self { addr, ..*self }.bits() & ones;
        host == 0 || (addr.is_ipv4() && host == ones)
    }

    /// The first address of the network that a host can have and that is not our own.
    fn neighbour(&self) -> IpAddr {
        let base = self.network().map_or(0, |network| {
            network.checked_shl(self.host_bits()).unwrap_or(0)
        });
        let first = u128::from(self.host_bits() >= 2);
        let number = (first..first + 2)
            .map(|host| base + host)
            .find(|&number| number != self.bits())
            .unwrap_or(base);
        match self.addr {
            IpAddr::V4(_) => Ipv4Addr::from_bits(number as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

/// An address as given, with or without a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressArg {
    addr: IpAddr,
    len: Option<u8>,
}

impl FromStr for AddressArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (addr, len) = match text.split_once('/') {
            Some((addr, len)) => (addr, Some(len)),
            None => (text, None),
        };
        let addr: IpAddr = addr.trim().parse().map_err(|_| {
            format!("'{text}' is not an IPv4 or IPv6 address such as 10.77.0.2 or fd77::2/64")
        })?;
        let width = if addr.is_ipv4() { 32 } else { 128 };
        let len = len.map(|len| match len.parse() {
            Ok(len) if len <= width => Ok(len),
            _ => Err(format!(
                "'{text}' needs a prefix length from 0 to {width} after the slash"
            )),
        });
        Ok(Self {
            addr,
            len: len.transpose()?,
        })
    }
}

impl AddressArg {
    /// The network meant; a bare address means itself alone.
    pub(crate) fn prefix(self) -> Prefix {
        let len = self
            .len
            .unwrap_or(if self.addr.is_ipv4() { 32 } else { 128 });
        Prefix {
            addr: self.addr,
            len,
        }
    }
}

/// Addresses that fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The stack's, each with the prefix of its network.
    pub(crate) stack: Vec<Prefix>,
    /// The host's side of the device.
    pub(crate) host: Vec<Prefix>,
}

/// What is wrong with the addresses: which flag, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadAddress {
    /// Name of the flag.
    pub(crate) key: &'static str,
    /// Why, as a clause about the value.
    pub(crate) message: String,
}

fn bad(key: &'static str, message: String) -> BadAddress {
    BadAddress { key, message }
}

const DEFAULT_HOST: [Prefix; 2] = [
    Prefix::v4(10, 77, 0, 1, 24),
    Prefix {
        addr: IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1)),
        len: 64,
    },
];

/// Completes and checks `--addr` and `--host-addr`. What is left out is derived from what is
/// given: the other side is the first other address of the same network.
pub(crate) fn resolve(stack: &[String], host: &[String]) -> Result<Addresses, BadAddress> {
    let stack = parse_all("addr", stack)?;
    let host = parse_all("host-addr", host)?
        .into_iter()
        .map(host_prefix)
        .collect::<Result<Vec<_>, _>>()?;
    let host = match (stack.is_empty(), host.is_empty()) {
        (true, true) => DEFAULT_HOST.to_vec(),
        (false, true) => derive_host(&stack)?,
        (_, false) => host,
    };
    let stack = if stack.is_empty() {
        let derive = |host: &Prefix| other_side("host-addr", *host, "addr");
        host.iter().map(derive).collect::<Result<Vec<_>, _>>()?
    } else {
        stack
            .into_iter()
            .map(|arg| place(arg, &host))
            .collect::<Result<Vec<_>, _>>()?
    };
    check_distinct(&stack, &host)?;
    Ok(Addresses { stack, host })
}

fn parse_all(key: &'static str, values: &[String]) -> Result<Vec<AddressArg>, BadAddress> {
    let parse = |value: &String| {
        let arg: AddressArg = value.parse().map_err(|message| bad(key, message))?;
        check_usable(key, arg.addr)?;
        Ok(arg)
    };
    values.iter().map(parse).collect()
}

/// Refuses what can't be the address of an interface.
fn check_usable(key: &'static str, addr: IpAddr) -> Result<(), BadAddress> {
    let what = match addr {
        _ if addr.is_unspecified() => "the unspecified address",
        _ if addr.is_loopback() => "a loopback address",
        _ if addr.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240 => "a reserved address",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            "an IPv4-mapped address; give it as IPv4"
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "a link-local address",
        _ => return Ok(()),
    };
    Err(bad(key, format!("{addr} is {what}")))
}

fn host_prefix(arg: AddressArg) -> Result<Prefix, BadAddress> {
    let AddressArg { addr, len } = arg;
    let example = if addr.is_ipv4() { 24 } else { 64 };
    let Some(len) = len else {
        let message = format!("{addr} needs a prefix length, such as {addr}/{example}");
        return Err(bad("host-addr", message));
    };
    let prefix = Prefix { addr, len };
    if len == 0 || prefix.host_bits() == 0 {
        let message = format!("{prefix} leaves no room for the stack; try {addr}/{example}");
        return Err(bad("host-addr", message));
    }
    if prefix.is_reserved(addr) {
        let message = format!("{prefix} is its network's own or broadcast address");
        return Err(bad("host-addr", message));
    }
    Ok(prefix)
}

/// What follows for the side that was left out.
fn other_side(given: &'static str, prefix: Prefix, left_out: &str) -> Result<Prefix, BadAddress> {
    let addr = prefix.neighbour();
    check_usable(given, addr).map_err(|unusable| {
        let why = unusable.message;
        bad(given, format!("{prefix} needs --{left_out}, too, as {why}"))
    })?;
    Ok(Prefix { addr, ..prefix })
}

/// The host's side for stack addresses that came alone.
fn derive_host(stack: &[AddressArg]) -> Result<Vec<Prefix>, BadAddress> {
    let mut host: Vec<Prefix> = Vec::new();
    for &AddressArg { addr, len } in stack {
        if host.iter().any(|host| host.contains(addr)) {
            continue;
        }
        let default = DEFAULT_HOST.iter().find(|host| host.contains(addr));
        match (default, len) {
            (Some(default), _) => host.push(*default),
            (None, Some(len)) => {
                let theirs = Prefix { addr, len };
                if len == 0 || theirs.host_bits() == 0 {
                    let message = format!("{theirs} leaves no room for the host's side");
                    return Err(bad("addr", message));
                }
                host.push(other_side("addr", theirs, "host-addr")?);
            }
            (None, None) => {
                let example = if addr.is_ipv4() { 24 } else { 64 };
                let message = format!(
                    "{addr} needs its network's prefix length, such as {addr}/{example}, or --host-addr"
                );
                return Err(bad("addr", message));
            }
        }
    }
    Ok(host)
}

/// Finds the network of the host's side that a stack address belongs to.
fn place(arg: AddressArg, host: &[Prefix]) -> Result<Prefix, BadAddress> {
    let AddressArg { addr, len } = arg;
    let Some(network) = host.iter().find(|host| host.contains(addr)) else {
        let list: Vec<_> = host.iter().map(ToString::to_string).collect();
        let message = format!(
            "{addr} is in no network of the host's side ({}), so the host would not route to it",
            list.join(", ")
        );
        return Err(bad("addr", message));
    };
    if let Some(len) = len.filter(|&len| len != network.len) {
        let message = format!("{addr}/{len} does not agree with the host's side, {network}");
        return Err(bad("addr", message));
    }
    if network.is_reserved(addr) {
        let message = format!("{addr} is the own or broadcast address of {network}'s network");
        return Err(bad("addr", message));
    }
    Ok(Prefix {
        addr,
        len: network.len,
    })
}

fn check_distinct(stack: &[Prefix], host: &[Prefix]) -> Result<(), BadAddress> {
    for (index, ours) in stack.iter().enumerate() {
        if host.iter().any(|host| host.addr == ours.addr) {
            let message = format!(
                "{} is the host's own side; the stack needs another",
                ours.addr
            );
            return Err(bad("addr", message));
        }
        if stack[..index].iter().any(|other| other.addr == ours.addr) {
            return Err(bad("addr", format!("{} is given twice", ours.addr)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(ToString::to_string).collect()
    }

    fn shown(stack: &[&str], host: &[&str]) -> (Vec<String>, Vec<String>) {
        let found = resolve(&strings(stack), &strings(host)).unwrap();
        let show = |list: Vec<Prefix>| list.iter().map(ToString::to_string).collect();
        (show(found.stack), show(found.host))
    }

    #[test]
    fn the_defaults() {
        let (stack, host) = shown(&[], &[]);
        assert_eq!(stack, ["10.77.0.2/24", "fd77::2/64"]);
        assert_eq!(host, ["10.77.0.1/24", "fd77::1/64"]);
    }

    #[test]
    fn the_side_left_out_is_derived() {
        let (stack, host) = shown(&["192.168.50.7/24"], &[]);
        assert_eq!(
            (stack[0].as_str(), host[0].as_str()),
            ("192.168.50.7/24", "192.168.50.1/24")
        );
        assert_eq!(host.len(), 1, "no IPv6 unless asked for");
        assert_eq!(shown(&["10.1.0.1/24"], &[]).1, ["10.1.0.2/24"]);
        assert_eq!(shown(&["10.77.0.9"], &[]).1, ["10.77.0.1/24"]);
        assert_eq!(shown(&[], &["10.9.0.1/30"]).0, ["10.9.0.2/30"]);
        assert_eq!(shown(&[], &["10.9.0.0/31"]).0, ["10.9.0.1/31"]);
        assert_eq!(shown(&[], &["fd01::1/127"]).0, ["fd01::/127"]);
        assert_eq!(shown(&["fd01::5/64", "fd01::6/64"], &[]).1, ["fd01::1/64"]);
    }

    /// `--addr`, `--host-addr`, and how the message starts.
    const REFUSED: &[(&str, &str, &str)] = &[
        (
            "10.77.0.300",
            "",
            "--addr '10.77.0.300' is not an IPv4 or IPv6 address",
        ),
        (
            "10.77.0.2/33",
            "",
            "--addr '10.77.0.2/33' needs a prefix length from 0 to 32",
        ),
        ("10.77.0.1", "", "--addr 10.77.0.1 is the host's own side"),
        (
            "10.77.0.0",
            "",
            "--addr 10.77.0.0 is the own or broadcast address",
        ),
        (
            "10.77.0.255",
            "",
            "--addr 10.77.0.255 is the own or broadcast address",
        ),
        (
            "10.99.0.2",
            "10.77.0.1/24",
            "--addr 10.99.0.2 is in no network of the host's side",
        ),
        (
            "fd77::2",
            "10.77.0.1/24",
            "--addr fd77::2 is in no network of the host's side",
        ),
        (
            "10.99.0.2",
            "",
            "--addr 10.99.0.2 needs its network's prefix length",
        ),
        (
            "10.77.0.2/16",
            "10.77.0.1/24",
            "--addr 10.77.0.2/16 does not agree",
        ),
        ("127.0.0.1", "", "--addr 127.0.0.1 is a loopback address"),
        ("224.0.0.1", "", "--addr 224.0.0.1 is a multicast address"),
        (
            "::ffff:10.0.0.2",
            "",
            "--addr ::ffff:10.0.0.2 is an IPv4-mapped address",
        ),
        ("0.0.0.0", "", "--addr 0.0.0.0 is the unspecified address"),
        ("fe80::2", "", "--addr fe80::2 is a link-local address"),
        (
            "255.255.255.255",
            "",
            "--addr 255.255.255.255 is the broadcast address",
        ),
        (
            "",
            "10.77.0.1",
            "--host-addr 10.77.0.1 needs a prefix length",
        ),
        (
            "",
            "10.77.0.1/32",
            "--host-addr 10.77.0.1/32 leaves no room",
        ),
        ("", "10.77.0.1/0", "--host-addr 10.77.0.1/0 leaves no room"),
        (
            "",
            "9.1.0.1/3",
            "--host-addr 9.1.0.1/3 needs --addr, too, as 0.0.0.1 is a reserved address",
        ),
        (
            "::2/64",
            "",
            "--addr ::2/64 needs --host-addr, too, as ::1 is a loopback address",
        ),
        (
            "",
            "10.77.0.0/24",
            "--host-addr 10.77.0.0/24 is its network's own",
        ),
    ];

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        let why = |stack: &[&str], host: &[&str]| {
            let BadAddress { key, message } = resolve(&strings(stack), &strings(host)).unwrap_err();
            format!("--{key} {message}")
        };
        for &(stack, host, expected) in REFUSED {
            let list = |text: &'static str| if text.is_empty() { vec![] } else { vec![text] };
            let message = why(&list(stack), &list(host));
            assert!(message.starts_with(expected), "{stack} {host}: {message}");
        }
        assert!(why(&["10.77.0.2", "10.77.0.2"], &[]).ends_with("given twice"));
    }

    #[test]
    fn membership_at_the_edges() {
        let all: AddressArg = "0.0.0.0/0".parse().unwrap();
        assert!(all.prefix().contains("203.0.113.9".parse().unwrap()));
        assert!(!all.prefix().contains("::1".parse().unwrap()));
        let one: AddressArg = "127.0.0.1".parse().unwrap();
        assert!(one.prefix().contains("127.0.0.1".parse().unwrap()));
        assert!(!one.prefix().contains("127.0.0.2".parse().unwrap()));
    }
}
