//! Opens the device that the settings ask for.

use std::os::fd::{OwnedFd, RawFd};

use rustix::process::{ForeignRawFd, PidfdFlags, PidfdGetfdFlags};
use ustack::device::tun::{
    self, DeviceCounters, DeviceKind, FdOptions, KernelDrops, OpenError, Tun, TunOptions,
};

use super::args::DeviceMode;
use super::error::{Error, ExitStatus, reason};
use super::host::Attached;
use super::settings::{Settings, TunChoice};

/// Opens the device; also says in a line what was made or found.
pub(crate) fn open(settings: &Settings) -> Result<(Attached, String), Error> {
    match &settings.tun {
        TunChoice::Name(name) => open_by_name(name, settings),
        TunChoice::Fd(fd) => take_over(*fd, settings),
    }
}

fn open_by_name(name: &str, settings: &Settings) -> Result<(Attached, String), Error> {
    let options = TunOptions {
        name: name.to_owned(),
        kind: match settings.device {
            DeviceMode::Auto => DeviceKind::Auto,
            DeviceMode::Offload => DeviceKind::Offload,
            DeviceMode::Plain => DeviceKind::Plain,
        },
        mtu: settings.mtu.map(u32::from),
        host_addresses: settings
            .host_addresses
            .iter()
            .map(|prefix| (prefix.addr, prefix.len))
            .collect(),
        stack_addresses: settings
            .addresses
            .iter()
            .map(|prefix| prefix.addr)
            .collect(),
        queues: settings.shards(),
        ..TunOptions::default()
    };
    let opened = tun::open(&options).map_err(|error| explain(&error))?;
    let why = match opened.report.kind {
        DeviceKind::Plain => "without offload a device has one queue",
        _ => "the device was made without multi_queue, so it has one queue",
    };
    settings.check_shards(opened.report.queues, why)?;
    let drops = KernelDrops::open(opened.tun.name()).ok();
    let mut queues = vec![opened.tun];
    queues.extend(opened.others);
    Ok((Attached::new(queues, drops), opened.report.to_string()))
}

/// Takes a descriptor that the parent process left open.
fn take_over(fd: RawFd, settings: &Settings) -> Result<(Attached, String), Error> {
    settings.check_shards(1, "a descriptor is one queue")?;
    let refused = |why: String| Error::new(ExitStatus::Device, format!("--tun-fd {fd}: {why}"));
    let file = std::fs::read_link(format!("/proc/self/fd/{fd}"))
        .map_err(|_| refused("no file is open under this number".to_owned()))?;
    let file = file.display().to_string();
    if !file.starts_with("socket:") && !file.contains("net/tun") {
        return Err(refused(format!("{file} is no TUN device")));
    }
    let owned = duplicate(fd).map_err(|errno| refused(reason(&errno.into())))?;
    let options = FdOptions {
        mtu: settings.mtu.unwrap_or(super::settings::DEFAULT_MTU),
        vnet_hdr: None,
    };
    let tun = Tun::from_fd(owned, &options).map_err(|error| refused(reason(&error)))?;
    let drops = KernelDrops::open(tun.name()).ok();
    let made = format!("using descriptor {fd} ({})", tun.name());
    Ok((Attached::new(vec![tun], drops), made))
}

/// A second descriptor for the open file behind a number. Numbers are not owned by anybody the
/// compiler knows, so the kernel is asked as for another process's.
fn duplicate(fd: RawFd) -> rustix::io::Result<OwnedFd> {
    let this = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    rustix::process::pidfd_getfd(&this, fd as ForeignRawFd, PidfdGetfdFlags::empty())
}

impl Attached {
    /// The queues of a TUN device, at least one, with the kernel's count of what we are too slow to
    /// read.
    pub(crate) fn new(queues: Vec<Tun>, drops: Option<KernelDrops>) -> Self {
        let name = queues.first().map_or("", Tun::name).to_owned();
        let counters: Vec<_> = queues.iter().map(Tun::counters).collect();
        let sum = move |count: fn(&DeviceCounters) -> u64| -> u64 {
            counters.iter().map(|counters| count(counters)).sum()
        };
        let unread = move || drops.as_ref().and_then(KernelDrops::read).unwrap_or(0);
        let before = unread();
        Self {
            name,
            queues: queues.into_iter().map(|tun| Box::new(tun) as _).collect(),
            losses: Box::new(move || {
                vec![
                    (
                        unread().saturating_sub(before),
                        "lost in the kernel's full queue (tx_dropped)",
                    ),
                    (sum(DeviceCounters::tx_dropped), "not taken by the device"),
                    (sum(|counters| counters.rx_malformed.get()), "malformed"),
                ]
            }),
        }
    }
}

/// The device's own words, with an exit code of ours. Its first sentence is what happened, the
/// rest what to do.
pub(crate) fn explain(error: &OpenError) -> Error {
    let status = match error {
        OpenError::NoNode { .. }
        | OpenError::NodeClosed { .. }
        | OpenError::NoPrivilege { .. }
        | OpenError::NotConfigured { .. }
        | OpenError::NoOffload { .. } => ExitStatus::Device,
        OpenError::Busy { .. }
        | OpenError::NotTun { .. }
        | OpenError::AddressInUse { .. }
        | OpenError::RouteConflict { .. } => ExitStatus::Conflict,
        OpenError::BadName { .. } | OpenError::BadMtu { .. } | OpenError::BadAddress { .. } => {
            ExitStatus::Usage
        }
        _ => ExitStatus::Other,
    };
    let text = error.to_string();
    let text = without_numbers(&text);
    match text
        .split_once(". ")
        .into_iter()
        .chain(text.split_once(".\n"))
        .min_by_key(|(what, _)| what.len())
    {
        Some((what, hint)) => Error::new(status, what).hint(hint),
        None => Error::new(status, text),
    }
}

/// "Permission denied (os error 13)" says nothing in its last three words.
fn without_numbers(text: &str) -> String {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some((before, after)) = rest.split_once(" (os error ") {
        out.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_errors_are_left_out() {
        let text = "a (Permission denied (os error 13)): b, c (os error 2)";
        assert_eq!(without_numbers(text), "a (Permission denied): b, c");
        assert_eq!(without_numbers("plain"), "plain");
    }

    #[test]
    fn the_first_sentence_is_the_message_and_the_rest_the_way_out() {
        let error = OpenError::Busy { name: "us0".into() };
        let text = explain(&error).render();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "ustack: error: device us0 is in use by another process"
        );
        assert!(
            lines[1].starts_with("  Choose another name with `--tun NAME`"),
            "{text}"
        );
    }
}
