//! What the namespace's network consists of: the TUN device, `lo`, the default routes.

use std::fs::write;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder, new_connection};
use tun_rs::DeviceBuilder;

use super::inner::Failure;
use super::{Setup, Step};

/// Frames from the command to the stack that may wait; more are dropped without a word.
const TX_QUEUE_LEN: u32 = 10_000;

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
    let (fd, name, index, vnet_hdr) = open(setup).map_err(Step::Device.failed())?;
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
    let mut notes = Vec::new();
    open_sysctls(&mut notes);
    Ok(Device {
        fd,
        name,
        vnet_hdr,
        notes,
    })
}

fn open(setup: &Setup) -> io::Result<(OwnedFd, String, u32, bool)> {
    let offload = setup.mode != "plain";
    match open_as(setup, offload) {
        Err(_) if setup.mode == "auto" => open_as(setup, false),
        result => result,
    }
}

fn open_as(setup: &Setup, offload: bool) -> io::Result<(OwnedFd, String, u32, bool)> {
    let mut builder = DeviceBuilder::new()
        .name(setup.name.as_str())
        .mtu(setup.mtu)
        .offload(offload);
    for &(address, prefix) in &setup.addresses {
        builder = match address {
            IpAddr::V4(address) => builder.ipv4(address, prefix, None),
            IpAddr::V6(address) => builder.ipv6(address, prefix),
        };
    }
    let device = builder.build_sync()?;
    let (name, index) = (device.name()?, device.if_index()?);
    Ok((device.as_fd().try_clone_to_owned()?, name, index, offload))
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
    // Not by SIOCSIFTXQLEN, which asks for privilege outside of every namespace.
    let queue = LinkUnspec::new_with_index(link.index).txqueuelen(TX_QUEUE_LEN);
    handle.link().change(queue.build()).execute().await?;
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
