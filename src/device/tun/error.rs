//! Why a TUN device could not be opened, and what to do about it.

use std::io;
use std::net::IpAddr;

/// Why a TUN device could not be opened or set up. Every message says what, why, and what mends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// `/dev/net/tun` is not there.
    #[error("there is no /dev/net/tun: {}", if *.container {
        "this container lacks it. Start it with `--device /dev/net/tun --cap-add NET_ADMIN`"
    } else {
        "the kernel's TUN driver is not loaded. Load it with `sudo modprobe tun`"
    })]
    NoNode {
        /// Whether this is a container.
        container: bool,
    },
    /// `/dev/net/tun` may not be opened.
    #[error("/dev/net/tun may not be opened ({source}): {}", if *.container {
        "start the container with `--device /dev/net/tun --cap-add NET_ADMIN`"
    } else {
        "open it to everybody with `sudo chmod 0666 /dev/net/tun` (as most distributions do; \
         it gives no rights over existing devices), or run ustack with sudo"
    })]
    NodeClosed {
        /// Whether this is a container.
        container: bool,
        /// What the kernel said.
        source: io::Error,
    },
    /// No right to make a device, or to use this one.
    #[error("{what} needs CAP_NET_ADMIN, which this process lacks. Ways out:\n{ways}")]
    NoPrivilege {
        /// What was tried.
        what: String,
        /// One way per line, with commands.
        ways: String,
    },
    /// An existing device lacks what an unprivileged process cannot set.
    #[error(
        "device {name} exists but is not ready for use, and changing it needs root: {missing}.\n\
             Set it up with\n{commands}"
    )]
    NotConfigured {
        /// The device.
        name: String,
        /// What is missing.
        missing: String,
        /// One command per line.
        commands: String,
    },
    /// The device is held by somebody else.
    #[error(
        "device {name} is in use by another process. Choose another name with `--tun NAME`, \
             or see who holds it with `sudo grep -l 'iff:.*{name}' /proc/[0-9]*/fdinfo/*`"
    )]
    Busy {
        /// The device.
        name: String,
    },
    /// The name belongs to an interface that is no TUN device.
    #[error(
        "interface {name} exists and is {kind}, not a TUN device. \
             Choose another name with `--tun NAME`"
    )]
    NotTun {
        /// The interface.
        name: String,
        /// What it is.
        kind: String,
    },
    /// Not a name for an interface.
    #[error("`{name}` cannot name a device: {why}. Choose another with `--tun NAME`")]
    BadName {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not an MTU.
    #[error("an MTU of {mtu} is impossible: {why}")]
    BadMtu {
        /// What was asked for.
        mtu: u32,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not a prefix length.
    #[error("{address}/{prefix} is no interface address: {why}. Give another with `--host-addr`")]
    BadAddress {
        /// The address.
        address: IpAddr,
        /// Its prefix length.
        prefix: u8,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An address is taken on this host.
    #[error(
        "address {address} is in use on this host, by interface {interface}. \
             Choose other addresses, such as `--host-addr {suggestion_host} --addr {suggestion}`"
    )]
    AddressInUse {
        /// The address.
        address: IpAddr,
        /// Who has it.
        interface: String,
        /// A network that is free, as the host's address.
        suggestion_host: String,
        /// And the stack's address in it.
        suggestion: IpAddr,
    },
    /// A route leads elsewhere.
    #[error(
        "the host routes {route} to interface {interface}, which conflicts with {network} for \
             this device. \
             Choose other addresses, such as `--host-addr {suggestion_host} --addr {suggestion}`"
    )]
    RouteConflict {
        /// The route's destination.
        route: String,
        /// Where it leads.
        interface: String,
        /// What the device wanted.
        network: String,
        /// A network that is free, as the host's address.
        suggestion_host: String,
        /// And the stack's address in it.
        suggestion: IpAddr,
    },
    /// The kernel refuses offload and nothing else would do.
    #[error("the kernel grants no offload for device {name} ({source}). Use `--device plain`")]
    NoOffload {
        /// The device.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl OpenError {
    /// An exit code of `sysexits.h` for a program that ends with this error: 64 wrong usage, 69
    /// device or offload unavailable, 71 system error, 75 busy (may pass), 77 no permission, 78
    /// conflict with the host's configuration.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BadName { .. } | Self::BadMtu { .. } | Self::BadAddress { .. } => 64,
            Self::NoNode { .. } | Self::NoOffload { .. } => 69,
            Self::System { .. } => 71,
            Self::Busy { .. } => 75,
            Self::NodeClosed { .. } | Self::NoPrivilege { .. } | Self::NotConfigured { .. } => 77,
            Self::NotTun { .. } | Self::AddressInUse { .. } | Self::RouteConflict { .. } => 78,
        }
    }
}
