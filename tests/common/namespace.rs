//! Namespaces: the process's own, one per test, and further hosts joined by veth pairs.

use std::fs::{File, OpenOptions, read_to_string, write};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{getgid, getuid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::process::ip;

/// Moves the whole process into new user, mount and network namespaces, as root inside.
///
/// The error says what stands in the way and what mends it.
pub(super) fn enter() -> Result<(), String> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let all = UnshareFlags::NEWUSER | UnshareFlags::NEWNS | UnshareFlags::NEWNET;
    // SAFETY: the process has one thread, as `Test`'s `main` demands, and shares nothing by
    // CLONE_FILES or CLONE_VM that the flags could take away from another.
    match unsafe { unshare_unsafe(all) } {
        Ok(()) => map_to_root(uid, gid).map_err(|error| no_user_namespaces(&error))?,
        Err(_) if uid == 0 => {
            let without_user = UnshareFlags::NEWNS | UnshareFlags::NEWNET;
            // SAFETY: as above.
            unsafe { unshare_unsafe(without_user) }.map_err(|errno| {
                format!("root without CAP_SYS_ADMIN cannot make namespaces ({errno})")
            })?;
        }
        Err(errno) => return Err(no_user_namespaces(&errno.into())),
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|errno| format!("the mounts stay shared: {errno}"))?;
    check_device_node()
}

fn map_to_root(uid: u32, gid: u32) -> io::Result<()> {
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

fn no_user_namespaces(error: &io::Error) -> String {
    let apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    let way_out = match read_to_string(apparmor) {
        Ok(value) if value.trim() == "1" => {
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        }
        _ => "sudo sysctl user.max_user_namespaces=10000, or in a container --privileged",
    };
    format!("user namespaces are off ({error}); try: {way_out}")
}

fn check_device_node() -> Result<(), String> {
    let node = "/dev/net/tun";
    let opened = OpenOptions::new().read(true).write(true).open(node);
    let Err(error) = opened else { return Ok(()) };
    Err(match error.kind() {
        ErrorKind::NotFound => {
            format!("{node} is missing; try: sudo modprobe tun, or in a container --device {node}")
        }
        ErrorKind::PermissionDenied => format!("{node} is closed; try: sudo chmod 0666 {node}"),
        _ => format!("{node} does not open: {error}"),
    })
}

/// Moves the calling thread, and what it starts, into a network namespace of its own.
///
/// Only this thread moves; `/sys` shows the new namespace's devices to it.
pub(super) fn isolate_thread() -> io::Result<()> {
    let flags = UnshareFlags::NEWNS | UnshareFlags::NEWNET;
    // SAFETY: neither flag touches memory or file descriptors of other threads; the working
    // directory, unshared along with the mounts, is not changed by anybody.
    unsafe { unshare_unsafe(flags) }?;
    // A container may forbid it; then only what reads /sys sees the outer namespace.
    let _ = mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None);
    ip("link set lo up");
    Ok(())
}

/// A further host: a network namespace that lives as long as this value.
pub(crate) struct Namespace {
    fd: OwnedFd,
}

impl Namespace {
    /// A namespace with nothing but a loopback device that is up.
    pub(crate) fn new() -> Self {
        on_thread(|| {
            isolate_thread().expect("a network namespace");
            Self::current()
        })
    }

    /// The namespace of the calling thread.
    pub(crate) fn current() -> Self {
        let file = File::open("/proc/thread-self/ns/net").expect("our own namespace");
        Self { fd: file.into() }
    }

    /// Runs `body` inside, on a thread of its own.
    ///
    /// What it starts (processes, sockets) stays inside.
    pub(crate) fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        on_thread(|| {
            move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("a namespace that we own");
            body()
        })
    }

    /// A path by which other programs reach this namespace.
    fn path(&self) -> String {
        let path = format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd());
        debug_assert!(Path::new(&path).exists());
        path
    }
}

/// Joins two namespaces by a veth pair; each end is a device name and its addresses with prefix
/// lengths. Both ends are up.
pub(crate) fn veth(left: (&Namespace, &str, &[&str]), right: (&Namespace, &str, &[&str])) {
    let create = format!(
        "link add {} type veth peer name {} netns {}",
        left.1,
        right.1,
        right.0.path()
    );
    left.0.run(|| ip(&create));
    for (namespace, device, addresses) in [left, right] {
        namespace.run(|| {
            for address in addresses {
                let flag = if address.contains(':') { " nodad" } else { "" };
                ip(&format!("address add {address} dev {device}{flag}"));
            }
            ip(&format!("link set {device} up"));
        });
    }
}

fn on_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(body).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
