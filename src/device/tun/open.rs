//! Opening a TUN device: checks that find what is wrong beforehand, the two ways of opening, and
//! the settings of the link.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use tun_rs::DeviceBuilder;

use super::super::link::{self, Changes, Conflict, Link, Net, Restore, Snapshot, TunInfo};
use super::super::vnet;
use super::sys::{self, OffloadSet, Port, TunTap};
use super::{OpenError, Tun, caps};

const NODE: &str = "/dev/net/tun";
/// How long the kernel may take to notice that we are attached (it takes a second at most).
const CARRIER_LIMIT: Duration = Duration::from_secs(2);
/// `IFNAMSIZ - 1`.
const MAX_NAME: usize = 15;

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
        }
    }
}

/// An open device, and what was done to get it.
#[derive(Debug)]
pub struct Opened {
    /// The device.
    pub tun: Tun,
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
    /// What the kernel leaves to us.
    pub offload: OffloadSet,
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
        write!(
            f,
            "{verb} {} ({}, mtu {}, txqueuelen {}, offload {})",
            self.name, self.kind, self.mtu, self.txqueuelen, self.offload
        )
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
    for (route, interface) in snapshot.shadowed(&link.name, &options.host_addresses) {
        let (address, prefix) = route;
        warnings.push(format!(
            "the host routes {address}/{prefix} to {interface}; the part of it that is this \
             device's network is out of reach while the device is up"
        ));
    }
    // A link that we set up ourselves passes packets at once.
    let running = !link.up
        || link::wait_running(&link.name, CARRIER_LIMIT).map_err(system("waiting for the link"))?;
    if !running {
        warnings.push(String::from("the link is up but passes no packets yet"));
    }
    let mtu = mtu(options, link, existing.is_some());
    let caps = caps(mtu, opened.header_len > 0, opened.offload);
    let mut tun = Tun::from_port(opened.port, interface.name.clone(), caps, opened.header_len)
        .map_err(system("making the device non-blocking"))?;
    if persistent && !undo.is_empty() {
        tun.restore = Some(Restore::new(&interface.name, link.index, undo));
    }
    let report = OpenReport {
        name: interface.name,
        kind: if opened.header_len > 0 {
            DeviceKind::Offload
        } else {
            DeviceKind::Plain
        },
        attached: existing.is_some(),
        persistent,
        mtu,
        txqueuelen: final_txqueuelen(options, link, &warnings),
        offload: opened.offload,
        fallback: opened.fallback,
        warnings,
    };
    tracing::info!("{report}");
    if let Some(reason) = &report.fallback {
        tracing::info!(
            device = report.name,
            "no offload, so a plain device: {reason}"
        );
    }
    for warning in &report.warnings {
        tracing::warn!(device = report.name, "{warning}");
    }
    Ok(Opened { tun, report })
}

fn system(what: &str) -> impl Fn(io::Error) -> OpenError + '_ {
    move |source| OpenError::System {
        what: what.to_owned(),
        source,
    }
}

fn check_name(name: &str) -> Result<(), OpenError> {
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

fn check_sizes(options: &TunOptions) -> Result<(), OpenError> {
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

fn in_container() -> bool {
    Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || std::env::var_os("container").is_some()
}

/// tun-rs would make a missing node itself; a node that a container lacks on purpose would then be
/// there and not work, which is worse than a message.
fn check_node() -> Result<(), OpenError> {
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

/// The device of that name, if there is one that can be attached to.
fn check_existing(snapshot: &Snapshot, name: &str) -> Result<Option<TunInfo>, OpenError> {
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

fn check_conflicts(snapshot: &Snapshot, options: &TunOptions) -> Result<(), OpenError> {
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

struct Backend {
    port: Port,
    header_len: usize,
    offload: OffloadSet,
    fallback: Option<String>,
}

fn open_backend(options: &TunOptions, existing: Option<&TunInfo>) -> Result<Backend, OpenError> {
    let refused = |error| explain(options, existing, error);
    if options.kind == DeviceKind::Plain {
        return open_plain(&options.name, existing).map_err(refused);
    }
    let reason = match open_offload(&options.name, existing) {
        Ok(backend) => return Ok(backend),
        Err(error) => error,
    };
    // Only a kernel that does not know offload is a reason for less; the rest would fail again.
    let unknown = matches!(
        Errno::from_io_error(&reason),
        Some(Errno::INVAL | Errno::NOTTY | Errno::OPNOTSUPP)
    );
    match options.kind {
        DeviceKind::Auto if unknown => {
            let mut backend = open_plain(&options.name, existing).map_err(refused)?;
            backend.fallback = Some(format!("the kernel refused offload ({reason})"));
            Ok(backend)
        }
        _ if unknown => Err(OpenError::NoOffload {
            name: options.name.clone(),
            source: reason,
        }),
        _ => Err(refused(reason)),
    }
}

/// With virtio-net headers. A new device gets the multi-queue flag, so that more queues can be
/// opened later; an existing one is attached to as it is.
fn open_offload(name: &str, existing: Option<&TunInfo>) -> io::Result<Backend> {
    let multi_queue = existing.is_none_or(|tun| tun.multi_queue);
    let fd = open_by_tun_rs(name, true, multi_queue)?;
    // The length is state of the device, which the last holder may have changed.
    let header_len = sys::set_vnet_header_len(&fd, vnet::LEN)?;
    // tun-rs never asks for TSO_ECN; the whole set again, therefore.
    let offload = sys::negotiate_offload(&fd)?;
    if !offload.tso() {
        return Err(Errno::OPNOTSUPP.into());
    }
    Ok(Backend {
        port: Port::Fd(fd),
        header_len,
        offload,
        fallback: None,
    })
}

fn open_plain(name: &str, existing: Option<&TunInfo>) -> io::Result<Backend> {
    // tun-tap cannot open a queue of a multi-queue device.
    let port = if existing.is_some_and(|tun| tun.multi_queue) {
        Port::Fd(open_by_tun_rs(name, false, true)?)
    } else {
        let iface = tun_tap::Iface::without_packet_info(name, tun_tap::Mode::Tun)?;
        Port::TunTap(TunTap::new(iface))
    };
    // Offload is state of the device, not of the descriptor: the last holder's would send us
    // super-segments with unfinished checksums and no header to tell.
    sys::set_offload(&port, OffloadSet::NONE)?;
    Ok(Backend {
        port,
        header_len: 0,
        offload: OffloadSet::NONE,
        fallback: None,
    })
}

fn open_by_tun_rs(name: &str, offload: bool, multi_queue: bool) -> io::Result<OwnedFd> {
    // MTU, addresses and link state are set for both backends alike, below.
    let device = DeviceBuilder::new()
        .name(name)
        .offload(offload)
        .multi_queue(multi_queue)
        .inherit_enable_state()
        .build_sync()?;
    device.as_fd().try_clone_to_owned()
}

fn explain(options: &TunOptions, existing: Option<&TunInfo>, error: io::Error) -> OpenError {
    let name = &options.name;
    match (Errno::from_io_error(&error), existing) {
        (Some(Errno::BUSY), _) => OpenError::Busy { name: name.clone() },
        (Some(Errno::PERM | Errno::ACCESS), None) => OpenError::NoPrivilege {
            what: format!("creating the TUN device {name}"),
            ways: ways(options),
        },
        (Some(Errno::PERM | Errno::ACCESS), Some(tun)) => {
            let owner = match tun.owner {
                Some(uid) => format!("user {uid}"),
                None => String::from("nobody in particular"),
            };
            OpenError::NoPrivilege {
                what: format!("attaching to {name}, which belongs to {owner},"),
                ways: ways(options),
            }
        }
        _ => OpenError::System {
            what: format!("opening the TUN device {name}"),
            source: error,
        },
    }
}

/// The ways to a device for who may not create one.
fn ways(options: &TunOptions) -> String {
    let name = &options.name;
    let user = std::env::var("USER")
        .ok()
        .filter(|user| !user.is_empty())
        .unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let changes = Changes {
        mtu: options.mtu,
        txqueuelen: Some(options.txqueuelen),
        up: Some(true),
        add: options.host_addresses.clone(),
        remove: Vec::new(),
    };
    let mut ways = vec![
        String::from("- as root: `sudo ./ustack`"),
        String::from("- without root, for one command: `./ustack run -- COMMAND`"),
    ];
    if in_container() {
        let flags = "--device /dev/net/tun --cap-add NET_ADMIN";
        ways.push(format!("- this container: start it with `{flags}`"));
    }
    ways.push(String::from(
        "- once as root, a device that you may open from then on:",
    ));
    ways.push(format!(
        "    sudo ip tuntap add dev {name} mode tun user {user} multi_queue vnet_hdr"
    ));
    let commands = changes.commands(name);
    ways.extend(commands.iter().map(|command| format!("    {command}")));
    ways.join("\n")
}

const DEFAULT_MTU: u32 = 1500;

/// Sets the link up; returns what undoes it, and warnings.
fn configure(
    options: &TunOptions,
    link: &Link,
    attached: bool,
) -> Result<(Changes, Vec<String>), OpenError> {
    let wanted_mtu = options.mtu.or((!attached).then_some(DEFAULT_MTU));
    let changes = Changes {
        mtu: wanted_mtu.filter(|&mtu| mtu != link.mtu),
        txqueuelen: Some(options.txqueuelen).filter(|&len| len > link.txqueuelen),
        up: (!link.up).then_some(true),
        add: missing(&options.host_addresses, &link.addresses),
        remove: Vec::new(),
    };
    if changes.is_empty() {
        return Ok((changes, Vec::new()));
    }
    let mut undo = Changes {
        mtu: changes.mtu.map(|_| link.mtu),
        txqueuelen: changes.txqueuelen.map(|_| link.txqueuelen),
        up: changes.up.map(|_| false),
        add: Vec::new(),
        remove: changes.add.clone(),
    };
    let mut fatal = Changes::default();
    let mut warnings = Vec::new();
    let refused = link::change(link.index, &changes).map_err(system("setting the device up"))?;
    for link::Refused { change, error } in refused {
        undo.mtu = undo.mtu.filter(|_| change.mtu.is_none());
        undo.txqueuelen = undo.txqueuelen.filter(|_| change.txqueuelen.is_none());
        undo.up = undo.up.filter(|_| change.up.is_none());
        undo.remove.retain(|net| !change.add.contains(net));
        match judge(link, &change, &error) {
            Verdict::Warning(text) => warnings.push(text),
            Verdict::OnlyRoot => {
                fatal.mtu = fatal.mtu.or(change.mtu);
                fatal.up = fatal.up.or(change.up);
                fatal.add.extend(change.add);
            }
            Verdict::Error => {
                let commands = change.commands(&link.name).join(" && ");
                let what = format!("setting {} up (`{commands}`)", link.name);
                return Err(system(&what)(error));
            }
        }
    }
    // Some of the addresses are enough to work with.
    let present = |net: &Net| options.host_addresses.contains(net);
    if link.addresses.iter().any(present) && !fatal.add.is_empty() {
        let partial = Changes {
            add: std::mem::take(&mut fatal.add),
            ..Changes::default()
        };
        warnings.push(format!(
            "an address is missing, which only root can add: `{}`",
            partial.commands(&link.name).join(" && ")
        ));
    }
    if !fatal.is_empty() {
        return Err(not_configured(link, &fatal));
    }
    Ok((undo, warnings))
}

/// What a refused change means.
enum Verdict {
    Warning(String),
    OnlyRoot,
    Error,
}

fn judge(link: &Link, change: &Changes, error: &io::Error) -> Verdict {
    let privilege = Errno::from_io_error(error) == Some(Errno::PERM);
    let v6 = change.add.iter().any(|(address, _)| address.is_ipv6());
    if change.txqueuelen.is_some() {
        return Verdict::Warning(format!(
            "only {} frames may wait in the kernel, which drops silently beyond ({error}); \
             mend it with `{}`",
            link.txqueuelen,
            change.commands(&link.name).join(" && "),
        ));
    }
    if v6 && !privilege {
        return Verdict::Warning(format!(
            "IPv6 is off on this host ({error}); turn it on with \
             `sudo sysctl net.ipv6.conf.{}.disable_ipv6=0`, or use IPv4 only",
            link.name,
        ));
    }
    if privilege {
        Verdict::OnlyRoot
    } else {
        Verdict::Error
    }
}

fn not_configured(link: &Link, fatal: &Changes) -> OpenError {
    let mut missing = Vec::new();
    if fatal.up.is_some() {
        missing.push(String::from("its link is down"));
    }
    if let Some(mtu) = fatal.mtu {
        missing.push(format!("its MTU is {}, not {mtu}", link.mtu));
    }
    for (address, prefix) in &fatal.add {
        missing.push(format!("it lacks the address {address}/{prefix}"));
    }
    OpenError::NotConfigured {
        name: link.name.clone(),
        missing: missing.join(", "),
        commands: fatal.commands(&link.name).join("\n"),
    }
}

fn missing(wanted: &[Net], present: &[Net]) -> Vec<Net> {
    let missing = wanted.iter().filter(|net| !present.contains(net));
    missing.copied().collect()
}

fn mtu(options: &TunOptions, link: &Link, attached: bool) -> u16 {
    let mtu = match options.mtu {
        Some(mtu) => mtu,
        None if attached => link.mtu,
        None => DEFAULT_MTU,
    };
    mtu.min(u32::from(u16::MAX)) as u16
}

fn final_txqueuelen(options: &TunOptions, link: &Link, warnings: &[String]) -> u32 {
    let refused = warnings
        .iter()
        .any(|warning| warning.contains("txqueuelen"));
    if refused {
        link.txqueuelen
    } else {
        link.txqueuelen.max(options.txqueuelen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(mtu: u32, host: &str, stack: &str) -> TunOptions {
        let (address, prefix) = host.split_once('/').unwrap();
        TunOptions {
            mtu: Some(mtu),
            host_addresses: vec![(address.parse().unwrap(), prefix.parse().unwrap())],
            stack_addresses: vec![stack.parse().unwrap()],
            ..TunOptions::default()
        }
    }

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

    #[test]
    fn who_may_not_create_a_device_is_told_three_ways() {
        let error = explain(
            &options(1400, "10.77.0.1/24", "10.77.0.2"),
            None,
            Errno::PERM.into(),
        );
        let text = error.to_string();
        for part in [
            "sudo ./ustack",
            "./ustack run",
            "sudo ip tuntap add dev ustack0 mode tun user ",
            "sudo ip address add 10.77.0.1/24 dev ustack0",
            "mtu 1400 txqueuelen 10000 up",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(error.exit_code(), 77);
    }

    #[test]
    fn what_only_root_can_set_is_named_with_its_commands() {
        let link = Link {
            name: "us0".into(),
            mtu: 1500,
            ..Link::default()
        };
        let fatal = Changes {
            mtu: Some(9000),
            up: Some(true),
            add: vec![("10.77.0.1".parse().unwrap(), 24)],
            ..Changes::default()
        };
        let text = not_configured(&link, &fatal).to_string();
        for part in [
            "its link is down",
            "its MTU is 1500, not 9000",
            "lacks the address 10.77.0.1/24",
            "sudo ip address add 10.77.0.1/24 dev us0\nsudo ip link set dev us0 mtu 9000 up",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
