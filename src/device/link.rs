//! What the kernel knows of links, addresses and routes, and setting up a link, by rtnetlink.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use rtnetlink::packet_core::{DefaultNla, Nla};
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoTun, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};

/// An IP network or an address within it: address and prefix length.
pub(super) type Net = (IpAddr, u8);

/// What a TUN device says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TunInfo {
    /// A TAP device, which carries Ethernet frames.
    pub(super) tap: bool,
    pub(super) persistent: bool,
    pub(super) multi_queue: bool,
    /// Queues attached, known of multi-queue devices only.
    pub(super) queues: u32,
    pub(super) owner: Option<u32>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) up: bool,
    /// The kernel has noticed that somebody is attached, and lets packets through.
    pub(super) running: bool,
    pub(super) mtu: u32,
    pub(super) txqueuelen: u32,
    pub(super) tun: Option<TunInfo>,
    pub(super) addresses: Vec<Net>,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) destination: Net,
    pub(super) output: u32,
}

/// The calling thread's network namespace at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) links: Vec<Link>,
    pub(super) routes: Vec<Route>,
}

/// Something of the host that the wanted addresses collide with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
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
    pub(super) fn read() -> io::Result<Self> {
        with_netlink(async |handle: Handle| {
            let mut links = Vec::new();
            let mut messages = std::pin::pin!(handle.link().get().execute());
            while let Some(message) = messages.try_next().await? {
                links.push(link(&message));
            }
            let mut messages = std::pin::pin!(handle.address().get().execute());
            while let Some(message) = messages.try_next().await? {
                let local = message
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        AddressAttribute::Local(address) => Some(*address),
                        _ => None,
                    });
                let address =
                    local.or(message
                        .attributes
                        .iter()
                        .find_map(|attribute| match attribute {
                            AddressAttribute::Address(address) => Some(*address),
                            _ => None,
                        }));
                let index = message.header.index;
                let link = links.iter_mut().find(|link| link.index == index);
                if let (Some(link), Some(address)) = (link, address) {
                    link.addresses.push((address, message.header.prefix_len));
                }
            }
            let mut routes = Vec::new();
            for request in [
                RouteMessageBuilder::<Ipv4Addr>::new().build(),
                RouteMessageBuilder::<Ipv6Addr>::new().build(),
            ] {
                let mut messages = std::pin::pin!(handle.route().get(request).execute());
                while let Some(message) = messages.try_next().await? {
                    routes.extend(route(&message));
                }
            }
            Ok(Self { links, routes })
        })
    }

    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    fn name(&self, index: u32) -> String {
        let link = self.links.iter().find(|link| link.index == index);
        link.map_or_else(|| format!("number {index}"), |link| link.name.clone())
    }

    /// The first thing that keeps device `name` from having these host addresses and the stack
    /// from having its own: the same address, or a route as specific as the device's or more.
    pub(super) fn conflict(&self, name: &str, host: &[Net], stack: &[IpAddr]) -> Option<Conflict> {
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
    pub(super) fn shadowed(&self, name: &str, host: &[Net]) -> Vec<(Net, String)> {
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
    pub(super) fn free_network(&self, v6: bool) -> (Net, IpAddr) {
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
pub(super) fn contains(outer: Net, inner: Net) -> bool {
    outer.1 <= inner.1
        && outer.0.is_ipv4() == inner.0.is_ipv4()
        && first_address(outer) == first_address((inner.0, outer.1))
}

/// The network's first address.
pub(super) fn first_address((address, prefix): Net) -> IpAddr {
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

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        running: message.header.flags.contains(LinkFlags::Running),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::TxQueueLen(len) => link.txqueuelen = *len,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(InfoKind::Tun) => link.kind = String::from("tun"),
                        LinkInfo::Kind(kind) => link.kind = format!("{kind:?}").to_lowercase(),
                        LinkInfo::Data(InfoData::Tun(data)) => link.tun = Some(tun(data)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    link
}

/// `IFLA_TUN_*` of linux/if_link.h, which the crate hands through unparsed.
fn tun(data: &[InfoTun]) -> TunInfo {
    const OWNER: u16 = 1;
    const TYPE: u16 = 3;
    const PERSIST: u16 = 6;
    const MULTI_QUEUE: u16 = 7;
    const NUM_QUEUES: u16 = 8;
    const IFF_TAP: u32 = 2;
    let mut tun = TunInfo::default();
    for nla in data {
        let InfoTun::Other(nla) = nla else { continue };
        let value = value(nla);
        match nla.kind() {
            OWNER => tun.owner = Some(value),
            TYPE => tun.tap = value == IFF_TAP,
            PERSIST => tun.persistent = value != 0,
            MULTI_QUEUE => tun.multi_queue = value != 0,
            NUM_QUEUES => tun.queues = value,
            _ => {}
        }
    }
    tun
}

fn value(nla: &DefaultNla) -> u32 {
    let mut bytes = vec![0; nla.value_len()];
    nla.emit_value(&mut bytes);
    match bytes[..] {
        [a] => a.into(),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    }
}

fn route(message: &RouteMessage) -> Option<Route> {
    const MAIN: u32 = 254;
    let header = &message.header;
    let mut table = u32::from(header.table);
    let (mut destination, mut output) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                destination = Some(IpAddr::V4(*address));
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                destination = Some(IpAddr::V6(*address));
            }
            RouteAttribute::Oif(index) => output = Some(*index),
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    let unicast = header.kind == RouteType::Unicast && table == MAIN;
    Some(Route {
        destination: (destination?, header.destination_prefix_length),
        output: output.filter(|_| unicast)?,
    })
}

/// What to change of a link; `None` and empty leave things alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) mtu: Option<u32>,
    pub(super) txqueuelen: Option<u32>,
    pub(super) up: Option<bool>,
    pub(super) add: Vec<Net>,
    pub(super) remove: Vec<Net>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The commands that do the same.
    pub(super) fn commands(&self, name: &str) -> Vec<String> {
        let up = self.up.map(|up| if up { " up" } else { " down" });
        let set = [
            self.mtu.map(|mtu| format!(" mtu {mtu}")),
            self.txqueuelen.map(|len| format!(" txqueuelen {len}")),
            up.map(str::to_owned),
        ];
        let set: String = set.into_iter().flatten().collect();
        let mut commands = Vec::new();
        for (verb, nets) in [("add", &self.add), ("del", &self.remove)] {
            for (address, prefix) in nets {
                commands.push(format!(
                    "sudo ip address {verb} {address}/{prefix} dev {name}"
                ));
            }
        }
        if !set.is_empty() {
            commands.push(format!("sudo ip link set dev {name}{set}"));
        }
        commands
    }
}

/// What could not be changed.
pub(super) struct Refused {
    pub(super) change: Changes,
    pub(super) error: io::Error,
}

/// Makes the changes, as far as the kernel allows; returns those it refused.
///
/// The link goes up last, so that nobody sees it half set up.
pub(super) fn change(index: u32, changes: &Changes) -> io::Result<Vec<Refused>> {
    let mut steps = Vec::new();
    let step = Changes::default;
    steps.extend(changes.mtu.map(|mtu| Changes {
        mtu: Some(mtu),
        ..step()
    }));
    steps.extend(changes.txqueuelen.map(|len| Changes {
        txqueuelen: Some(len),
        ..step()
    }));
    steps.extend(changes.remove.iter().map(|&net| Changes {
        remove: vec![net],
        ..step()
    }));
    steps.extend(changes.add.iter().map(|&net| Changes {
        add: vec![net],
        ..step()
    }));
    steps.extend(changes.up.map(|up| Changes {
        up: Some(up),
        ..step()
    }));
    with_netlink(async |handle: Handle| {
        let mut refused = Vec::new();
        for change in steps {
            if let Err(error) = change_one(&handle, index, &change).await {
                refused.push(Refused {
                    change,
                    error: io_error(error),
                });
            }
        }
        Ok(refused)
    })
}

async fn change_one(handle: &Handle, index: u32, change: &Changes) -> Result<(), rtnetlink::Error> {
    for (address, prefix) in &change.remove {
        let mut addresses = std::pin::pin!(
            handle
                .address()
                .get()
                .set_link_index_filter(index)
                .set_address_filter(*address)
                .set_prefix_length_filter(*prefix)
                .execute()
        );
        if let Some(message) = addresses.try_next().await? {
            handle.address().del(message).execute().await?;
        }
    }
    for (address, prefix) in &change.add {
        let mut request = handle.address().add(index, *address, *prefix);
        if address.is_ipv6() {
            // Nobody else is on the link; an address that is still being probed cannot be used.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        request.execute().await?;
    }
    let mut message: LinkMessageBuilder<LinkUnspec> = LinkUnspec::new_with_index(index);
    if let Some(mtu) = change.mtu {
        message = message.mtu(mtu);
    }
    if let Some(len) = change.txqueuelen {
        message = message.txqueuelen(len);
    }
    match change.up {
        Some(true) => message = message.up(),
        Some(false) => message = message.down(),
        None => {}
    }
    if change.mtu.is_some() || change.txqueuelen.is_some() || change.up.is_some() {
        handle.link().change(message.build()).execute().await?;
    }
    Ok(())
}

/// Waits until packets pass the link; false after `limit`.
///
/// A link that was up before somebody attached to it has a qdisc that drops everything until the
/// kernel has processed the change of carrier, which it puts off by up to a second after others.
pub(super) fn wait_running(name: &str, limit: Duration) -> io::Result<bool> {
    let begin = Instant::now();
    loop {
        let snapshot = Snapshot::read()?;
        if snapshot.link(name).is_none_or(|link| link.running) {
            return Ok(true);
        }
        if begin.elapsed() >= limit {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Gives a persistent device its settings back when it is dropped: the device and what its owner
/// set belong to the owner, what we set does not.
///
/// A process that has dropped its privileges may not change it back any more. The settings then
/// stay, which is harmless (they are what the next start would set) and is said in the log with
/// the commands that undo it. A device that ustack created needs none of this: the kernel removes
/// it, addresses and all, with its last descriptor.
#[derive(Debug)]
pub(super) struct Restore {
    name: String,
    index: u32,
    changes: Changes,
}

impl Restore {
    /// `changes` undoes what was changed of link `index`.
    pub(super) fn new(name: &str, index: u32, changes: Changes) -> Self {
        Self {
            name: name.to_owned(),
            index,
            changes,
        }
    }

    /// Leaves the settings as they are.
    pub(super) fn forget(mut self) {
        self.changes = Changes::default();
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        if self.changes.is_empty() {
            return;
        }
        // Somebody may have removed the device, and the number may be another's by now.
        let still_ours = Snapshot::read().is_ok_and(|snapshot| {
            let link = snapshot.link(&self.name);
            link.is_some_and(|link| link.index == self.index)
        });
        if !still_ours {
            return;
        }
        let left = change(self.index, &self.changes).unwrap_or_default();
        for refused in left {
            for command in refused.change.commands(&self.name) {
                tracing::info!(
                    device = self.name,
                    error = %refused.error,
                    "a setting of the persistent device stays; undo it with `{command}`"
                );
            }
        }
    }
}

fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

/// Runs netlink requests on a thread and a runtime of their own, so that callers need neither be
/// in a runtime nor outside of one. The thread shares the caller's network namespace.
fn with_netlink<T: Send, F>(requests: impl FnOnce(Handle) -> F + Send) -> io::Result<T>
where
    F: Future<Output = Result<T, rtnetlink::Error>>,
{
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netlink".into())
            .spawn_scoped(scope, || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .build()?;
                runtime.block_on(async {
                    let (connection, handle, _) = rtnetlink::new_connection()?;
                    tokio::spawn(connection);
                    requests(handle).await.map_err(io_error)
                })
            })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the netlink thread ended early")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Net {
        let (address, prefix) = text.split_once('/').unwrap();
        (address.parse().unwrap(), prefix.parse().unwrap())
    }

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

    #[test]
    fn commands_say_what_netlink_would_do() {
        let changes = Changes {
            mtu: Some(9000),
            txqueuelen: Some(10_000),
            up: Some(true),
            add: vec![net("10.77.0.1/24")],
            remove: vec![],
        };
        assert_eq!(
            changes.commands("us0"),
            [
                "sudo ip address add 10.77.0.1/24 dev us0",
                "sudo ip link set dev us0 mtu 9000 txqueuelen 10000 up",
            ]
        );
    }

    #[test]
    fn this_machine_has_a_loopback_interface() {
        let snapshot = Snapshot::read().unwrap();
        let lo = snapshot.link("lo").unwrap();
        assert!(lo.mtu >= 1500, "{lo:?}");
        assert_eq!(lo.tun, None);
    }
}
