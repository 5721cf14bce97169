//! What the kernel knows of links, addresses and routes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use rtnetlink::packet_core::{DefaultNla, Nla};
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoTun, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::{Net, with_netlink};

/// What a TUN device says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TunInfo {
    /// A TAP device, which carries Ethernet frames.
    pub(crate) tap: bool,
    pub(crate) persistent: bool,
    pub(crate) multi_queue: bool,
    /// Queues attached, known of multi-queue devices only.
    pub(crate) queues: u32,
    pub(crate) owner: Option<u32>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) up: bool,
    /// The kernel has noticed that somebody is attached, and lets packets through.
    pub(crate) running: bool,
    pub(crate) mtu: u32,
    pub(crate) txqueuelen: u32,
    pub(crate) tun: Option<TunInfo>,
    pub(crate) addresses: Vec<Net>,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Net,
    pub(crate) output: u32,
}

/// The calling thread's network namespace at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) links: Vec<Link>,
    pub(crate) routes: Vec<Route>,
}

impl Snapshot {
    pub(crate) fn read() -> io::Result<Self> {
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

    pub(crate) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The interface with that index.
    pub(super) fn name(&self, index: u32) -> String {
        let link = self.links.iter().find(|link| link.index == index);
        link.map_or_else(|| format!("number {index}"), |link| link.name.clone())
    }
}

/// Waits until packets pass the link; false after `limit`.
///
/// A link that was up before somebody attached to it has a qdisc that drops everything until the
/// kernel has processed the change of carrier, which it puts off by up to a second after others.
pub(crate) fn wait_running(name: &str, limit: Duration) -> io::Result<bool> {
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

/// Waits until the kernel takes packets for `address`; false after `limit`.
///
/// A new IPv6 address gets its local route from a work queue of the kernel, a moment after the
/// address itself; what arrives for it before that is dropped.
pub(crate) fn wait_local(address: Ipv6Addr, limit: Duration) -> bool {
    /// `RTF_LOCAL` of the kernel's `ipv6_route.h`.
    const RTF_LOCAL: u32 = 0x8000_0000;
    let wanted = format!("{:032x} 80 ", address.to_bits());
    let begin = Instant::now();
    loop {
        // Where that file cannot be read there is nothing to wait for.
        let Ok(routes) = std::fs::read_to_string("/proc/thread-self/net/ipv6_route") else {
            return true;
        };
        let local = routes
            .lines()
            .filter(|line| line.starts_with(&wanted))
            .any(|line| {
                let flags = line.split_whitespace().nth(8);
                flags
                    .and_then(|hex| u32::from_str_radix(hex, 16).ok())
                    .is_some_and(|f| f & RTF_LOCAL != 0)
            });
        if local || begin.elapsed() >= limit {
            return local;
        }
        std::thread::sleep(Duration::from_millis(2));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_loopback_interface() {
        let snapshot = Snapshot::read().unwrap();
        let lo = snapshot.link("lo").unwrap();
        assert!(lo.mtu >= 1500, "{lo:?}");
        assert_eq!(lo.tun, None);
    }
}
