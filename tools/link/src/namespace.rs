//! Network namespaces: made, opened by name, entered by threads.

use std::fs::{File, write};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{getgid, getuid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::during;

/// Where `ip netns add` keeps its namespaces.
const NAMED: &str = "/run/netns";

/// A network namespace that lives as long as this value (or a process in it, or its name).
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
}

impl Namespace {
    /// A namespace with nothing but a loopback device that is up.
    pub fn create() -> io::Result<Self> {
        on_thread(|| {
            unshare(UnshareFlags::NEWNET).map_err(during(
                "making a network namespace (it takes root: run with sudo)",
            ))?;
            ip("link set lo up")?;
            Self::current()
        })
    }

    /// The namespace that `ip netns add NAME` made, or that a path leads to (`/proc/PID/ns/net`).
    pub fn open(name: &str) -> io::Result<Self> {
        let path = if name.contains('/') {
            PathBuf::from(name)
        } else {
            Path::new(NAMED).join(name)
        };
        let file = File::open(&path).map_err(during(format_args!(
            "no namespace `{name}` ({}); `ip netns add {name}` makes one",
            path.display()
        )))?;
        Ok(Self { fd: file.into() })
    }

    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        let file = File::open("/proc/thread-self/ns/net").map_err(during("opening /proc"))?;
        Ok(Self { fd: file.into() })
    }

    /// Moves the calling thread inside for good, with what it starts.
    pub fn enter(&self) -> io::Result<()> {
        move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
            during("entering a network namespace (it takes root: run with sudo)"),
        )?;
        // So that /sys shows the namespace's devices; where it may not be mounted, it does not.
        if unshare(UnshareFlags::NEWNS).is_ok() {
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            if mount_change("/", private).is_ok() {
                let _ = mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None);
            }
        }
        Ok(())
    }

    /// Runs `body` inside, on a thread of its own.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_thread(|| {
            self.enter()?;
            body()
        })
    }
}

#[allow(unsafe_code, reason = "rustix's safe unshare is deprecated")]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: no file descriptor table is unshared.
    Ok(unsafe { unshare_unsafe(flags) }?)
}

/// Where this process may not make namespaces, moves it into a user namespace in which it may. To
/// be called while there is one thread.
pub fn become_root_of_a_namespace() -> io::Result<()> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    if uid == 0 {
        return Ok(());
    }
    unshare(UnshareFlags::NEWUSER)
        .map_err(during("this needs root or user namespaces: run with sudo"))?;
    let map = |file: &str, text: String| write(format!("/proc/self/{file}"), text);
    map("setgroups", "deny".to_owned())
        .and_then(|()| map("uid_map", format!("0 {uid} 1")))
        .and_then(|()| map("gid_map", format!("0 {gid} 1")))
        .map_err(during("mapping this user to root of a namespace"))
}

/// Runs `ip` with these arguments, in the namespace of the calling thread.
pub fn ip(arguments: &str) -> io::Result<()> {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .map_err(during("running ip (of iproute2)"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {arguments}: {}", text.trim())))
}

/// Sets a switch of the namespace that the calling thread is in.
pub fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/net/{name}");
    write(&path, value).map_err(during(format_args!("writing {value} to {path}")))
}

fn on_thread<T: Send>(body: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| scope.spawn(body).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
