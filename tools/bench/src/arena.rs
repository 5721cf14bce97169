//! Where a run takes place: network namespaces that nobody else sees and that are gone when the
//! run is over, with everything that was started in them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use link::namespace::{Namespace, ip, set_sysctl};
use rustix::fs::{MemfdFlags, memfd_create};
use ustack::device::tun::KernelDrops;

use crate::port::ECHO;
use crate::{KERNEL, MTU, STACK, during};

/// Name of the TUN device.
pub const DEVICE: &str = "tun0";

/// CPU of the client on kernel sockets, and CPU of the stack under test.
pub const CLIENT_CPU: &str = "0";
/// See [`CLIENT_CPU`].
pub const STACK_CPU: &str = "1";

/// How long a stack may take until it answers.
const START: Duration = Duration::from_secs(15);

/// What joins the kernel and the stack under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A TUN device that the stack makes.
    OwnDevice,
    /// A plain TUN device made for the stack.
    MadeDevice,
    /// A veth pair: the stack is the kernel of a second namespace.
    Veth,
}

/// A stack under test that answers, and the kernel next to it.
#[derive(Debug)]
pub struct Arena {
    child: Child,
    errors: File,
    drops: Option<KernelDrops>,
}

/// Starts a stack in a namespace of its own and does `work` there, on a thread of its own. What
/// was started dies with the thread, and so do the namespaces.
pub fn with<T: Send>(
    place: Place,
    command: &[String],
    work: impl FnOnce(&Arena) -> io::Result<T> + Send,
) -> io::Result<T> {
    Namespace::create()?.run(|| {
        prepare_kernel()?;
        let mut arena = Arena::start(place, command)?;
        arena.wait_until_it_answers()?;
        let done = work(&arena);
        match arena.child.try_wait()? {
            Some(status) => Err(arena.died(&status.to_string())),
            None => done,
        }
    })
}

/// Starts a program on a CPU; it dies with the calling thread.
pub fn pinned<S: AsRef<OsStr>>(cpu: &str, command: impl IntoIterator<Item = S>) -> Command {
    let mut pinned = Command::new("setpriv");
    pinned
        .args(["--pdeathsig", "KILL", "taskset", "-c", cpu])
        .args(command)
        .stdin(Stdio::null());
    for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER"] {
        // ustack would become the caller, who need not be able to read what is served.
        pinned.env_remove(name);
    }
    pinned
}

fn prepare_kernel() -> io::Result<()> {
    set_sysctl("ipv6/conf/all/disable_ipv6", "1")?;
    set_sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    set_sysctl("ipv4/ip_local_port_range", "1024 65535")?;
    // Not on sockets alone: one that was BBR's when it was opened stays paced, whatever it is later.
    set_sysctl("ipv4/tcp_congestion_control", "cubic")
}

impl Arena {
    fn start(place: Place, command: &[String]) -> io::Result<Self> {
        let here = Namespace::current()?;
        match place {
            Place::OwnDevice => {}
            Place::MadeDevice => {
                ip(&format!("tuntap add dev {DEVICE} mode tun"))?;
                ip(&format!("link set {DEVICE} mtu {MTU} txqueuelen 10000"))?;
                ip(&format!("addr add {KERNEL}/24 dev {DEVICE}"))?;
                ip(&format!("link set {DEVICE} up"))?;
            }
            Place::Veth => make_veth()?,
        }
        // Whoever comes after sees what it wrote, through the same open file.
        let errors = File::from(memfd_create("stderr", MemfdFlags::CLOEXEC)?);
        let child = pinned(STACK_CPU, command)
            .stdout(Stdio::null())
            .stderr(errors.try_clone()?)
            .spawn()
            .map_err(during("starting setpriv (of util-linux)"))?;
        if place == Place::Veth {
            here.enter()?;
        }
        Ok(Self {
            child,
            errors,
            drops: None,
        })
    }

    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        let begin = Instant::now();
        let address = (STACK, ECHO).into();
        while TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.died(&status.to_string()));
            }
            if begin.elapsed() > START {
                let text = format!("it does not answer on {address} after {START:?}");
                return Err(self.died(&text));
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.drops = KernelDrops::open(DEVICE).ok();
        Ok(())
    }

    fn died(&mut self, how: &str) -> io::Error {
        let mut text = String::new();
        let read = self
            .errors
            .rewind()
            .and_then(|()| self.errors.read_to_string(&mut text));
        let words = match read {
            Ok(1..) => text.trim().chars().take(2000).collect(),
            _ => String::from("(it said nothing)"),
        };
        io::Error::other(format!("the stack under test failed: {how}\n{words}"))
    }

    /// Frames to the stack that the device dropped as its queue was full (`tx_dropped`).
    pub fn tx_dropped(&self) -> u64 {
        self.drops.as_ref().and_then(KernelDrops::read).unwrap_or(0)
    }

    /// Memory of the stack under test in bytes: now (`VmRSS`) or at most (`VmHWM`).
    pub fn memory(&self, field: &str) -> io::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).map_err(during(&path))?;
        let missing = || io::Error::other(format!("{path} has no {field}"));
        kilobytes(&text, field)
            .map(|kb| kb << 10)
            .ok_or_else(missing)
    }

    /// CPU time that the stack under test has used.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text
                .split(' ')
                .next()
                .and_then(|text| text.parse::<u64>().ok());
            nanos += first.ok_or_else(|| io::Error::other("this kernel has no schedstat"))?;
        }
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // It would die with the thread, but nobody would bury it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a pair of which one end stays here, and moves the thread to the other.
fn make_veth() -> io::Result<()> {
    let here = File::open("/proc/thread-self/ns/net")?;
    Namespace::create()?.enter()?;
    let (pid, fd) = (std::process::id(), here.as_raw_fd());
    ip(&format!(
        "link add there type veth peer name here netns /proc/{pid}/fd/{fd}"
    ))?;
    ip(&format!("addr add {STACK}/24 dev there"))?;
    ip("link set there up")?;
    let there = Namespace::current()?;
    Namespace::open(&format!("/proc/{pid}/fd/{fd}"))?.enter()?;
    ip(&format!("addr add {KERNEL}/24 dev here"))?;
    ip("link set here up")?;
    there.enter()
}

fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_found_by_its_field() {
        let status = "Name:\tustack\nVmHWM:\t    2200 kB\nVmRSS:\t    1800 kB\n";
        assert_eq!(kilobytes(status, "VmRSS"), Some(1800));
        assert_eq!(kilobytes(status, "VmHWM"), Some(2200));
        assert_eq!(kilobytes(status, "VmSwap"), None);
    }
}
