//! The two hosts at the ends of a link: their TUN devices and addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use ustack::device::tun::{self, DeviceKind, TunOptions};

use crate::namespace::{Namespace, set_sysctl};

/// Name of the device at each end.
pub const DEVICE: &str = "link0";
/// Largest packet of the link.
pub const MTU: u16 = 1500;

/// One end's addresses; both ends share their networks.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// IPv4, with 24 bits of network.
    pub v4: Ipv4Addr,
    /// IPv6, with 64 bits of network.
    pub v6: Ipv6Addr,
}

/// The end called A.
pub const A: Addresses = Addresses {
    v4: Ipv4Addr::new(10, 99, 0, 1),
    v6: Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1),
};
/// The end called B.
pub const B: Addresses = Addresses {
    v4: Ipv4Addr::new(10, 99, 0, 2),
    v6: Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2),
};

/// Makes the end of a link in a namespace and returns the link's side of it.
///
/// The device is a plain one: the kernel cuts super-segments and completes checksums before a
/// packet comes to the link.
pub fn make_end(namespace: &Namespace, addresses: Addresses) -> io::Result<OwnedFd> {
    namespace.run(|| {
        let options = TunOptions {
            name: DEVICE.to_owned(),
            kind: DeviceKind::Plain,
            napi: false, // packets arrive one by one, as the link let them out
            mtu: Some(MTU.into()),
            host_addresses: vec![
                (IpAddr::V4(addresses.v4), 24),
                (IpAddr::V6(addresses.v6), 64),
            ],
            ..TunOptions::default()
        };
        let opened = tun::open(&options).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(opened.tun.into_fd())
    })
}

/// Lets a host pass on what others send through it, whichever device it comes from.
pub fn forward(namespace: &Namespace) -> io::Result<()> {
    namespace.run(|| {
        for switch in ["all", "default"] {
            set_sysctl(&format!("ipv4/conf/{switch}/rp_filter"), "0")?;
        }
        set_sysctl("ipv4/ip_forward", "1")
    })
}
