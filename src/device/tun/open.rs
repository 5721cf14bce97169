//! Opening a TUN device: checks that find what is wrong beforehand, the two ways of opening, and
//! the settings of the link.

mod backend;
mod check;
mod configure;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use self::backend::open_backend;
use self::check::{check_conflicts, check_existing, check_name, check_node, check_sizes};
use self::configure::{configure, final_txqueuelen, mtu};
use super::sys::{self, OffloadSet, Port};
use super::{OpenError, Tun, caps};
use crate::device::link::{self, Link, Restore, Snapshot};

/// How long the kernel may take to notice that we are attached (it takes a second at most).
const CARRIER_LIMIT: Duration = Duration::from_secs(2);
/// How long the local route of a new IPv6 address may take.
const LOCAL_LIMIT: Duration = Duration::from_millis(500);

/// Which backend to open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceKind {
    /// Offload where the kernel grants it, plain otherwise.
    #[default]
    Auto,
    /// Super-segments and checksums left to the kernel, or an error.
    Offload,
    /// One whole packet per call.
    Plain,
}

impl std::str::FromStr for DeviceKind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "offload" => Ok(Self::Offload),
            "plain" => Ok(Self::Plain),
            _ => Err("a device is one of auto, offload, plain"),
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Offload => "offload",
            Self::Plain => "plain",
        })
    }
}

/// What device to open and how to set it up.
#[derive(Clone, Debug)]
pub struct TunOptions {
    /// The device's name, at most 15 bytes. Created if it does not exist.
    pub name: String,
    /// Which backend.
    pub kind: DeviceKind,
    /// Largest packet in bytes; `None` is 1500 on a new device and leaves an existing one alone.
    pub mtu: Option<u32>,
    /// Addresses of the host's side, each with its prefix length.
    pub host_addresses: Vec<(IpAddr, u8)>,
    /// Addresses of the stack's side: only to find conflicts.
    pub stack_addresses: Vec<IpAddr>,
    /// Frames that may wait for us in the kernel. The ring drops silently when it is full, hence
    /// far more than the kernel's 500.
    pub txqueuelen: u32,
    /// Whether a plain device made here may have NAPI: a thread of the kernel takes in what we send, joined,
    /// on another CPU. Downloads gain much by it, round trips lose a little. It needs Linux 5.15 and the right
    /// to write to `/sys`; without, the device is opened as any program would.
    pub napi: bool,
    /// Queues to open at most, 1 to 256. There is one of a device without offload, or one made
    /// without `multi_queue`.
    pub queues: usize,
}

impl Default for TunOptions {
    fn default() -> Self {
        Self {
            name: String::from("ustack0"),
            kind: DeviceKind::Auto,
            mtu: None,
            host_addresses: Vec::new(),
            stack_addresses: Vec::new(),
            txqueuelen: 10_000,
            napi: true,
            queues: 1,
        }
    }
}

/// An open device, and what was done to get it.
#[derive(Debug)]
pub struct Opened {
    /// The device, or its first queue.
    pub tun: Tun,
    /// Its other queues. The kernel keeps a flow at the queue that we sent it by last; one of which
    /// it knows nothing goes by a hash of both ends.
    pub others: Vec<Tun>,
    /// What to tell the user.
    pub report: OpenReport,
}

/// What [`open`] made or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// The interface's name, as the kernel says it.
    pub name: String,
    /// The backend, never [`DeviceKind::Auto`].
    pub kind: DeviceKind,
    /// Whether the device was there before.
    pub attached: bool,
    /// Whether the device stays when we go.
    pub persistent: bool,
    /// Largest packet, in bytes.
    pub mtu: u16,
    /// Frames that may wait for us in the kernel.
    pub txqueuelen: u32,
    /// Queues opened.
    pub queues: usize,
    /// What the kernel leaves to us.
    pub offload: OffloadSet,
    /// Whether a thread of the kernel takes in what we send: see [`TunOptions::napi`].
    pub napi: bool,
    /// Why `auto` did not get offload.
    pub fallback: Option<String>,
    /// What is not as it should be, with the command that mends it.
    pub warnings: Vec<String>,
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.attached {
            "attached to"
        } else {
            "created"
        };
        write!(f, "{verb} {} ({}, ", self.name, self.kind)?;
        if self.napi {
            f.write_str("NAPI, ")?;
        }
        if self.queues > 1 {
            write!(f, "{} queues, ", self.queues)?;
        }
        write!(
            f,
            "mtu {}, txqueuelen {}, offload {})",
            self.mtu, self.txqueuelen, self.offload
        )
    }
}

impl OpenReport {
    fn log(&self) {
        tracing::info!("{self}");
        if let Some(reason) = &self.fallback {
            tracing::info!(
                device = self.name,
                "no offload, so a plain device: {reason}"
            );
        }
        for warning in &self.warnings {
            tracing::warn!(device = self.name, "{warning}");
        }
    }
}

/// Creates or attaches to a TUN device and sets it up. Blocks for a few milliseconds, for up to a
/// second on a device whose link is up already; needs no runtime, and keeps working after privileges are dropped.
///
/// An existing device needs no privilege if it belongs to the user (`ip tuntap add … user`). Such
/// a device keeps what cannot be changed: an address, an MTU that was asked for or the link being
/// down is an error that names the commands, anything less a warning in the report. What was
/// changed of a persistent device is changed back when the [`Tun`] is dropped, while privileges
/// allow it.
pub fn open(options: &TunOptions) -> Result<Opened, OpenError> {
    check_name(&options.name)?;
    check_sizes(options)?;
    check_node()?;
    let snapshot = Snapshot::read().map_err(system("reading the host's links and routes"))?;
    let existing = check_existing(&snapshot, &options.name)?;
    check_conflicts(&snapshot, options)?;
    let opened = open_backend(options, existing.as_ref())?;

    let interface = sys::interface(&opened.port)
        .map_err(|errno| system("reading the device's name")(errno.into()))?;
    let snapshot = Snapshot::read().map_err(system("reading the new device"))?;
    let link = snapshot
        .link(&interface.name)
        .ok_or_else(|| system("finding the new device")(io::ErrorKind::NotFound.into()))?;
    let persistent = interface.flags & sys::IFF_PERSIST != 0;
    let (undo, mut warnings) = configure(options, link, existing.is_some())?;
    warnings.extend(shadowed(&snapshot, link, options));
    if !wait_until_usable(options, link)? {
        warnings.push(String::from("the link is up but passes no packets yet"));
    }
    let mtu = mtu(options, link, existing.is_some());
    let caps = caps(mtu, opened.header_len > 0, opened.offload);
    let restore = (persistent && !undo.is_empty())
        .then(|| Arc::new(Restore::new(&interface.name, link.index, undo)));
    let queue = |port| {
        let mut tun = Tun::from_port(port, interface.name.clone(), caps, opened.header_len)
            .map_err(system("making the device non-blocking"))?;
        tun.restore.clone_from(&restore);
        Ok(tun)
    };
    let mut tun = queue(opened.port)?;
    tun.backlog = opened.backlog;
    let others = opened.others.into_iter().map(|fd| queue(Port::Fd(fd)));
    let others = others.collect::<Result<Vec<_>, _>>()?;
    let report = OpenReport {
        name: interface.name.clone(),
        kind: if opened.header_len > 0 {
            DeviceKind::Offload
        } else {
            DeviceKind::Plain
        },
        attached: existing.is_some(),
        persistent,
        mtu,
        txqueuelen: final_txqueuelen(options, link, &warnings),
        queues: 1 + others.len(),
        offload: opened.offload,
        napi: tun.backlog.is_some(),
        fallback: opened.fallback,
        warnings,
    };
    report.log();
    Ok(Opened {
        tun,
        others,
        report,
    })
}

/// Warns of routes that the device takes a part of.
fn shadowed(snapshot: &Snapshot, link: &Link, options: &TunOptions) -> Vec<String> {
    let routes = snapshot.shadowed(&link.name, &options.host_addresses);
    let warn = |((address, prefix), interface)| {
        format!(
            "the host routes {address}/{prefix} to {interface}; the part of it that is this \
             device's network is out of reach while the device is up"
        )
    };
    routes.into_iter().map(warn).collect()
}

/// Waits, for a while, until packets pass both ways; false if the link itself does not pass them.
fn wait_until_usable(options: &TunOptions, link: &Link) -> Result<bool, OpenError> {
    // A link that we set up ourselves passes packets at once.
    let running = !link.up
        || link::wait_running(&link.name, CARRIER_LIMIT).map_err(system("waiting for the link"))?;
    for address in &options.host_addresses {
        if let (IpAddr::V6(address), _) = address
            && !link::wait_local(*address, LOCAL_LIMIT)
        {
            // Not there at all, perhaps: `configure` has said why.
            tracing::debug!(%address, "the kernel takes no packets for it yet");
        }
    }
    Ok(running)
}
fn system(what: &str) -> impl Fn(io::Error) -> OpenError + '_ {
    move |source| OpenError::System {
        what: what.to_owned(),
        source,
    }
}

/// For the tests of the parts.
#[cfg(test)]
fn options(mtu: u32, host: &str, stack: &str) -> TunOptions {
    let (address, prefix) = host.split_once('/').unwrap();
    TunOptions {
        mtu: Some(mtu),
        host_addresses: vec![(address.parse().unwrap(), prefix.parse().unwrap())],
        stack_addresses: vec![stack.parse().unwrap()],
        ..TunOptions::default()
    }
}
