//! What the namespace's network consists of: the TUN device, `lo`, the default routes.

use std::fs::write;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::Path;

use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder, new_connection};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};
use ustack::device::tun::{self, DeviceKind, OpenReport, Opened, Tun, TunOptions};

use super::obstacle::Failure;
use super::{Setup, Step};

/// `lo` is the first device of every namespace.
const LO_INDEX: u32 = 1;

/// The namespace's device, ready to be handed out.
pub(super) struct Device {
    pub(super) fd: OwnedFd,
    pub(super) name: String,
    pub(super) vnet_hdr: bool,
    pub(super) notes: Vec<String>,
}

/// `lo`, and routes to everywhere through the device.
struct Link {
    index: u32,
    v4: bool,
    v6: bool,
}

/// Makes the device and what leads to it. The process keeps one thread.
pub(super) fn make(setup: &Setup) -> Result<Device, Failure> {
    let mut setup = setup.clone();
    let has_v6 = Path::new("/proc/self/net/if_inet6").exists();
    let before = setup.addresses.len();
    setup
        .addresses
        .retain(|(address, _)| has_v6 || address.is_ipv4());
    let is_cut = setup.addresses.len() < before;
    let (tun, report, index) = open(&setup).map_err(Step::Device.failed())?;
    let has = |v4: bool| {
        setup
            .addresses
            .iter()
            .any(|(address, _)| address.is_ipv4() == v4)
    };
    let link = Link {
        index,
        v4: has(true),
        v6: has(false),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(Step::Network.failed())?;
    runtime
        .block_on(connect(&link))
        .map_err(Step::Network.failed())?;
    let mut notes = report.warnings;
    if is_cut {
        notes.push("the kernel has no IPv6, so the command has none".to_owned());
    }
    open_sysctls(&mut notes);
    Ok(Device {
        name: tun.name().to_owned(),
        vnet_hdr: report.kind == DeviceKind::Offload,
        fd: tun.into_fd(),
        notes,
    })
}

fn open(setup: &Setup) -> io::Result<(Tun, OpenReport, u32)> {
    let options = TunOptions {
        name: setup.name.clone(),
        kind: setup.mode.parse().map_err(io::Error::other)?,
        mtu: Some(setup.mtu.into()),
        host_addresses: setup.addresses.clone(),
        ..TunOptions::default()
    };
    // Its text says what to do about it.
    let Opened { tun, report, .. } =
        tun::open(&options).map_err(|error| io::Error::other(error.to_string()))?;
    let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    let index = name_to_index(&any, tun.name())?;
    Ok((tun, report, index))
}

async fn connect(link: &Link) -> io::Result<()> {
    let (connection, handle, _) = new_connection()?;
    // Ends with the last handle.
    let driving = tokio::spawn(connection);
    let result = configure(&handle, link).await;
    drop(handle);
    let _ = driving.await;
    result.map_err(|error| match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        error => io::Error::other(error),
    })
}

async fn configure(handle: &Handle, link: &Link) -> Result<(), rtnetlink::Error> {
    let lo = LinkUnspec::new_with_index(LO_INDEX).up().build();
    handle.link().change(lo).execute().await?;
    if link.v4 {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(link.index);
        handle.route().add(route.build()).execute().await?;
    }
    if link.v6 {
        let route = RouteMessageBuilder::<Ipv6Addr>::new().output_interface(link.index);
        handle.route().add(route.build()).execute().await?;
    }
    Ok(())
}

/// Gives the command what it would have outside or does no harm here: `ping` without privilege,
/// and every port. Refused where `/proc/sys` is read-only.
fn open_sysctls(notes: &mut Vec<String>) {
    let gid = rustix::process::getegid().as_raw();
    let everyone = set("ping_group_range", "0 2147483647");
    if let Err(error) = everyone.or_else(|_| set("ping_group_range", &format!("{gid} {gid}"))) {
        notes.push(format!(
            "net.ipv4.ping_group_range stays as it is, so ping may fail: {error}"
        ));
    }
    if let Err(error) = set("ip_unprivileged_port_start", "0") {
        notes.push(format!(
            "net.ipv4.ip_unprivileged_port_start stays as it is: {error}"
        ));
    }
}

fn set(name: &str, value: &str) -> io::Result<()> {
    write(Path::new("/proc/sys/net/ipv4").join(name), value)
}
