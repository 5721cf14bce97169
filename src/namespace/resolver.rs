//! A `resolv.conf` that works in the namespace.
//!
//! The host's name servers are reached through the forwarder like any other host, except where
//! they sit on the host's loopback (127.0.0.53 of systemd-resolved) or a link of its own: from
//! inside, nothing is there. The stack's own address stands in for those, and port 53 there is
//! relayed to the first of them.

use std::fs::{File, read_to_string};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// What the C library uses where no name server is given (`resolv.conf(5)`).
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);

/// What the command sees, and what the stack has to do for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Text of the `resolv.conf` inside.
    pub(crate) text: String,
    /// The server of the host that port 53 of the stack's address stands for.
    pub(crate) relay: Option<SocketAddr>,
}

/// Plans for the host's own `resolv.conf`. `forward` is the stack's address and whether the
/// forwarder reaches an address; `None` where nothing is forwarded.
pub(crate) fn plan(forward: Option<(IpAddr, &dyn Fn(IpAddr) -> bool)>) -> Plan {
    plan_for(&read_to_string(RESOLV_CONF).unwrap_or_default(), forward)
}

fn plan_for(host: &str, forward: Option<(IpAddr, &dyn Fn(IpAddr) -> bool)>) -> Plan {
    let Some((stack, reaches)) = forward else {
        // Without a server the C library asks 127.0.0.1, which refuses at once.
        return Plan {
            text: "# Nothing is forwarded, so there is no name server to ask.\n".into(),
            relay: None,
        };
    };
    let mut servers: Vec<SocketAddr> = host.lines().filter_map(server).collect();
    if servers.is_empty() {
        servers.push(DEFAULT);
    }
    let mut lines = Vec::new();
    let mut relay = None;
    for server in servers {
        let inside = if reaches(server.ip()) {
            server.ip()
        } else {
            stack
        };
        if inside == stack && relay.replace(relay.unwrap_or(server)).is_some() {
            continue;
        }
        lines.push(format!("nameserver {inside}"));
    }
    let kept = host.lines().filter(|line| is_kept(line));
    lines.extend(kept.map(ToOwned::to_owned));
    let text = lines.join("\n") + "\n";
    Plan { text, relay }
}

fn is_kept(line: &str) -> bool {
    let word = line.split_whitespace().next();
    matches!(word, Some("search" | "domain" | "options" | "sortlist"))
}

fn server(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    if words.next()? != "nameserver" {
        return None;
    }
    let word = words.next()?;
    let Some((address, zone)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse().ok()?, PORT));
    };
    let index = format!("/sys/class/net/{zone}/ifindex");
    let scope = zone.parse().ok().or_else(|| {
        let text = read_to_string(index).ok()?;
        text.trim().parse().ok()
    })?;
    Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, scope).into())
}

/// Covers `/etc/resolv.conf`, or what it is a link to, in this mount namespace.
pub(super) fn cover(text: &str) -> io::Result<()> {
    let target = Path::new(RESOLV_CONF).canonicalize()?;
    // A file system that lives as long as the namespace and leaves nothing on the host's. It
    // shows at some directory only until the one file in it is bound.
    let candidates = ["/tmp", "/run", "/mnt", "/var"].map(Path::new);
    let stage = candidates
        .into_iter()
        .find(|stage| stage.is_dir() && !target.starts_with(stage))
        .ok_or(io::ErrorKind::NotFound)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("ustack", stage, "tmpfs", flags, Some(c"mode=0755,size=64k"))?;
    let file = stage.join("resolv.conf");
    let bound = File::create(&file)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| Ok(mount_bind(&file, &target)?));
    let unmounted = unmount(stage, UnmountFlags::DETACH);
    bound.and(unmounted.map_err(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));

    fn forwarded(host: &str) -> (String, Option<String>) {
        let reaches =
            |address: IpAddr| !address.is_loopback() && !address.to_string().starts_with("fe80");
        let Plan { text, relay } = plan_for(host, Some((STACK, &reaches)));
        (text, relay.map(|relay| relay.to_string()))
    }

    #[test]
    fn servers_elsewhere_stay() {
        let host = "# by hand\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch example.org\n";
        let inside = "nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch example.org\n";
        assert_eq!(forwarded(host), (inside.into(), None));
    }

    #[test]
    fn a_resolver_on_the_hosts_loopback_is_relayed() {
        let host = "nameserver 127.0.0.53\noptions edns0 trust-ad\n";
        let inside = "nameserver 10.77.0.2\noptions edns0 trust-ad\n";
        assert_eq!(
            forwarded(host),
            (inside.into(), Some("127.0.0.53:53".into()))
        );
    }

    #[test]
    fn several_local_resolvers_become_one() {
        let host = "nameserver 192.0.2.1\nnameserver ::1\nnameserver 127.0.0.1\n";
        let inside = "nameserver 192.0.2.1\nnameserver 10.77.0.2\n";
        assert_eq!(forwarded(host), (inside.into(), Some("[::1]:53".into())));
    }

    #[test]
    fn a_zone_is_kept_for_the_relay() {
        let (text, relay) = forwarded("nameserver fe80::1%7\n");
        assert_eq!(text, "nameserver 10.77.0.2\n");
        assert_eq!(relay.as_deref(), Some("[fe80::1%7]:53"));
    }

    #[test]
    fn no_server_means_the_c_librarys_default() {
        for host in ["", "nameserver\nnameserver nonsense\n"] {
            assert_eq!(forwarded(host).1.as_deref(), Some("127.0.0.1:53"));
        }
    }

    #[test]
    fn nothing_forwarded_means_no_server() {
        let plan = plan_for("nameserver 192.0.2.1\n", None);
        assert!(!plan.text.contains("nameserver ") && plan.relay.is_none());
    }
}
