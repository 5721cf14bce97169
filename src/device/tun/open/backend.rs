//! The two ways of opening, and what to do about a refusal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::check::in_container;
use super::{DeviceKind, OpenError, TunOptions};
use crate::device::link::{Changes, TunInfo};
use crate::device::tun::napi::{self, Backlog};
use crate::device::tun::sys::{self, OffloadSet, Port, TunTap};
use crate::device::vnet;

/// An opened device, not set up yet.
pub(super) struct Backend {
    pub(super) port: Port,
    /// Its other queues.
    pub(super) others: Vec<OwnedFd>,
    pub(super) header_len: usize,
    pub(super) offload: OffloadSet,
    /// There, if the device has NAPI.
    pub(super) backlog: Option<Backlog>,
    pub(super) fallback: Option<String>,
}

pub(super) fn open_backend(
    options: &TunOptions,
    existing: Option<&TunInfo>,
) -> Result<Backend, OpenError> {
    let refused = |error| explain(options, existing, error);
    let plain = || open_plain(options, existing);
    if options.kind == DeviceKind::Plain {
        return plain().map_err(refused);
    }
    let reason = match open_offload(&options.name, existing, options.queues) {
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
            let mut backend = plain().map_err(refused)?;
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

/// With virtio-net headers. A new device gets the multi-queue flag, so that it can have several
/// queues; an existing one is attached to as it is.
fn open_offload(name: &str, existing: Option<&TunInfo>, queues: usize) -> io::Result<Backend> {
    let multi_queue = existing.is_none_or(|tun| tun.multi_queue);
    let device = open_by_tun_rs(name, true, multi_queue)?;
    let fd = device.as_fd().try_clone_to_owned()?;
    // The length is state of the device, which the last holder may have changed.
    let header_len = sys::set_vnet_header_len(&fd, vnet::LEN)?;
    let others = if multi_queue { queues.max(1) - 1 } else { 0 };
    let others = (0..others).map(|_| device.try_clone()?.as_fd().try_clone_to_owned());
    let others = others.collect::<io::Result<_>>()?;
    // Offload is state of the device, too, and tun-rs, which sets it with every queue, never asks
    // for TSO_ECN; the whole set after the last one, therefore.
    let offload = sys::negotiate_offload(&fd)?;
    if !offload.tso() {
        return Err(Errno::OPNOTSUPP.into());
    }
    Ok(Backend {
        port: Port::Fd(fd),
        others,
        header_len,
        offload,
        backlog: None,
        fallback: None,
    })
}

/// A device of somebody else's is opened as any program would.
fn open_plain(options: &TunOptions, existing: Option<&TunInfo>) -> io::Result<Backend> {
    let name = &options.name;
    let may_have_napi = options.napi && existing.is_none() && napi::is_at_hand();
    let with_napi = may_have_napi.then(|| napi::open(name)).transpose()?;
    let (fd, backlog) = with_napi.flatten().unzip();
    // tun-tap can open neither that nor a queue of a multi-queue device.
    let port = if let Some(fd) = fd {
        Port::Fd(fd)
    } else if existing.is_some_and(|tun| tun.multi_queue) {
        let device = open_by_tun_rs(name, false, true)?;
        Port::Fd(device.as_fd().try_clone_to_owned()?)
    } else {
        let iface = tun_tap::Iface::without_packet_info(name, tun_tap::Mode::Tun)?;
        Port::TunTap(TunTap::new(iface))
    };
    // Offload is state of the device, not of the descriptor: the last holder's would send us
    // super-segments with unfinished checksums and no header to tell.
    sys::set_offload(&port, OffloadSet::NONE)?;
    Ok(Backend {
        port,
        others: Vec::new(),
        header_len: 0,
        offload: OffloadSet::NONE,
        backlog,
        fallback: None,
    })
}

fn open_by_tun_rs(name: &str, offload: bool, multi_queue: bool) -> io::Result<SyncDevice> {
    // MTU, addresses and link state are set for both backends alike, below.
    DeviceBuilder::new()
        .name(name)
        .offload(offload)
        .multi_queue(multi_queue)
        .inherit_enable_state()
        .build_sync()
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

#[cfg(test)]
mod tests {
    use super::super::options;
    use super::*;

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
}
