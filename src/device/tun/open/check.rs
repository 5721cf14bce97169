//! Checks that find what is wrong before a device is opened: the options, the node, the host's
//! addresses and routes.

use std::net::IpAddr;
use std::path::Path;

use rustix::io::Errno;

use super::{OpenError, TunOptions, system};
use crate::device::link::{Conflict, Net, Snapshot, TunInfo};

const NODE: &str = "/dev/net/tun";
/// `IFNAMSIZ - 1`.
const MAX_NAME: usize = 15;

pub(super) fn check_name(name: &str) -> Result<(), OpenError> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME {
        "it is longer than 15 bytes"
    } else if name == "." || name == ".." {
        "it names a directory"
    } else if name
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%'))
    {
        "it holds a space, `/`, `:` or `%`"
    } else {
        return Ok(());
    };
    Err(OpenError::BadName {
        name: name.to_owned(),
        why,
    })
}

pub(super) fn check_sizes(options: &TunOptions) -> Result<(), OpenError> {
    let v6 = options
        .host_addresses
        .iter()
        .any(|(address, _)| address.is_ipv6())
        || options.stack_addresses.iter().any(IpAddr::is_ipv6);
    if let Some(mtu) = options.mtu {
        let why = match mtu {
            0..576 => "every IPv4 host must take packets of 576 bytes (RFC 791 §3.1)",
            576..1280 if v6 => {
                "IPv6 needs 1280 bytes (RFC 8200 §5). Use 1280 or more, or IPv4 addresses only"
            }
            65_536.. => "an IP packet has at most 65535 bytes (RFC 791 §3.1)",
            _ => "",
        };
        if !why.is_empty() {
            return Err(OpenError::BadMtu { mtu, why });
        }
    }
    for &(address, prefix) in &options.host_addresses {
        let max = if address.is_ipv4() { 32 } else { 128 };
        let why = if prefix > max {
            "the prefix is longer than the address"
        } else if prefix == 0 {
            "a prefix of 0 is every address there is"
        } else if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            "it is not the address of one host"
        } else if options.stack_addresses.contains(&address) {
            "the stack has the same one (`--addr`)"
        } else {
            continue;
        };
        return Err(OpenError::BadAddress {
            address,
            prefix,
            why,
        });
    }
    Ok(())
}

/// tun-rs would make a missing node itself; a node that a container lacks on purpose would then be
/// there and not work, which is worse than a message.
pub(super) fn check_node() -> Result<(), OpenError> {
    let container = in_container();
    let Err(source) = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(NODE)
    else {
        return Ok(());
    };
    Err(match Errno::from_io_error(&source) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::NXIO | Errno::NODEV) => {
            OpenError::NoNode { container }
        }
        Some(Errno::ACCESS | Errno::PERM) => OpenError::NodeClosed { container, source },
        _ => system("opening /dev/net/tun")(source),
    })
}

pub(super) fn in_container() -> bool {
    Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || std::env::var_os("container").is_some()
}

/// The device of that name, if there is one that can be attached to.
pub(super) fn check_existing(
    snapshot: &Snapshot,
    name: &str,
) -> Result<Option<TunInfo>, OpenError> {
    let Some(link) = snapshot.link(name) else {
        return Ok(None);
    };
    match link.tun {
        Some(tun) if tun.tap => Err(OpenError::NotTun {
            name: name.to_owned(),
            kind: String::from("a TAP device"),
        }),
        // A device that does not persist is held by whoever made it; one of many queues would let
        // us in beside its holder, and each would get some of the packets.
        Some(tun) if tun.queues > 0 || !tun.persistent => Err(OpenError::Busy {
            name: name.to_owned(),
        }),
        Some(tun) => Ok(Some(tun)),
        None => Err(OpenError::NotTun {
            name: name.to_owned(),
            kind: match link.kind.as_str() {
                "" => String::from("a network card or built in"),
                kind => format!("of kind {kind}"),
            },
        }),
    }
}

pub(super) fn check_conflicts(snapshot: &Snapshot, options: &TunOptions) -> Result<(), OpenError> {
    let host = &options.host_addresses;
    let conflict = snapshot.conflict(&options.name, host, &options.stack_addresses);
    let text = |(address, prefix): Net| format!("{address}/{prefix}");
    match conflict {
        None => Ok(()),
        Some(Conflict::Address { address, interface }) => {
            let (free, suggestion) = snapshot.free_network(address.is_ipv6());
            Err(OpenError::AddressInUse {
                address,
                interface,
                suggestion_host: text(free),
                suggestion,
            })
        }
        Some(Conflict::Route {
            route,
            interface,
            network,
        }) => {
            let (free, suggestion) = snapshot.free_network(network.0.is_ipv6());
            Err(OpenError::RouteConflict {
                route: text(route),
                interface,
                network: text(network),
                suggestion_host: text(free),
                suggestion,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::options;
    use super::*;
    use crate::device::link::Link;

    #[test]
    fn names_the_kernel_would_cut_or_expand_are_refused() {
        for name in [
            "",
            "averyveryverylong",
            "tun%d",
            "a/b",
            "a b",
            "a:1",
            "..",
            "a\n",
        ] {
            let error = check_name(name).unwrap_err();
            assert!(error.to_string().contains("--tun NAME"), "{error}");
            assert_eq!(error.exit_code(), 64);
        }
        for name in ["us0", "fifteen-bytes-x", "ustack0"] {
            check_name(name).unwrap();
        }
    }

    #[test]
    fn impossible_sizes_are_refused_with_the_reason() {
        for (mtu, host, stack, text) in [
            (100, "10.77.0.1/24", "10.77.0.2", "576"),
            (1279, "fd77::1/64", "fd77::2", "IPv6 needs 1280"),
            (1279, "10.77.0.1/24", "fd77::2", "IPv6 needs 1280"),
            (65_536, "10.77.0.1/24", "10.77.0.2", "65535"),
            (1500, "10.77.0.1/33", "10.77.0.2", "longer than the address"),
            (1500, "10.77.0.1/0", "10.77.0.2", "every address"),
            (1500, "127.0.0.1/8", "127.0.0.2", "one host"),
            (1500, "10.77.0.2/24", "10.77.0.2", "same one"),
        ] {
            let error = check_sizes(&options(mtu, host, stack)).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.exit_code(), 64);
        }
        check_sizes(&options(576, "10.77.0.1/24", "10.77.0.2")).unwrap();
        check_sizes(&options(65_535, "fd77::1/64", "fd77::2")).unwrap();
    }

    fn with_link(kind: &str, tun: Option<TunInfo>) -> Snapshot {
        Snapshot {
            links: vec![Link {
                name: "us0".into(),
                kind: kind.into(),
                tun,
                ..Link::default()
            }],
            routes: Vec::new(),
        }
    }

    #[test]
    fn only_a_free_persistent_tun_device_is_attached_to() {
        let free = TunInfo {
            persistent: true,
            multi_queue: true,
            ..TunInfo::default()
        };
        assert_eq!(check_existing(&Snapshot::default(), "us0").unwrap(), None);
        assert_eq!(
            check_existing(&with_link("tun", Some(free)), "us0").unwrap(),
            Some(free)
        );
        let code = |kind: &str, tun| {
            let error = check_existing(&with_link(kind, tun), "us0").unwrap_err();
            assert!(error.to_string().contains("us0"));
            error.exit_code()
        };
        assert_eq!(code("tun", Some(TunInfo { queues: 1, ..free })), 75);
        assert_eq!(
            code(
                "tun",
                Some(TunInfo {
                    persistent: false,
                    ..free
                })
            ),
            75
        );
        assert_eq!(code("tun", Some(TunInfo { tap: true, ..free })), 78);
        assert_eq!(code("veth", None), 78);
    }

    #[test]
    fn a_conflict_comes_with_a_way_out() {
        let mut snapshot = with_link("dummy", None);
        snapshot.links[0].addresses = vec![("10.77.0.1".parse().unwrap(), 24)];
        let mut wanted = options(1500, "10.77.0.1/24", "10.77.0.2");
        wanted.name = "us1".into();
        let error = check_conflicts(&snapshot, &wanted).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("10.77.0.1 is in use"), "{text}");
        assert!(
            text.contains("--host-addr 10.78.0.1/24 --addr 10.78.0.2"),
            "{text}"
        );
        assert_eq!(error.exit_code(), 78);
    }
}
