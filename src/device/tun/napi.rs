//! NAPI on a plain device: a thread of the kernel takes in what we send, joins packets to longer ones (GRO) and
//! does the client's half of TCP, on another CPU. Without it all of that is done for each packet in
//! our `write`.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::sys;

/// Where the kernel shows the interfaces of a network namespace: of the one it was mounted in.
const SYSFS: &str = "/sys/class/net";

/// The kernel from which on it is right: before, joining packets of a TUN device corrupted its count of
/// what waits.
const LINUX: (u32, u32) = (5, 15);

/// Bytes that may wait for the thread, as the kernel counts them: 2304 for a packet of 1500. Without a
/// bound a thread that gets no CPU would let datagrams fill the memory.
const MOST: i32 = 4 << 20;

/// Nothing may wait: the kernel then says that there is room when nothing does.
const NOTHING: i32 = 64;

/// How long what waits may delay the end of a device.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// Whether the thread can be had, as far as that shows before there is a device: without it NAPI costs more
/// than it gives. `/sys` is read-only in many a container.
pub(super) fn is_at_hand() -> bool {
    let kernel = rustix::system::uname();
    let may_write = || {
        let mut options = OpenOptions::new();
        let opened = options.write(true).open(attribute("lo", "threaded"));
        opened.is_ok()
    };
    version(&kernel.release().to_string_lossy()).is_some_and(|is| is >= LINUX) && may_write()
}

/// Opens a new device; `None`, and no device, where it gets no thread.
pub(super) fn open(name: &str) -> io::Result<Option<(OwnedFd, Backlog)>> {
    let fd = sys::open_napi(name)?;
    let started = start(name).and_then(|()| {
        sys::set_send_buffer(&fd, MOST)?;
        fd.try_clone()
    });
    match started {
        Ok(other) => Ok(Some((fd, Backlog(Some(other))))),
        Err(error) => {
            tracing::debug!(device = name, %error, "no NAPI: its thread cannot be had");
            Ok(None)
        }
    }
}

/// What we have sent and the kernel has not taken in yet. Dropped, it waits for that, as closing the device
/// would discard it.
#[derive(Debug)]
pub(super) struct Backlog(Option<OwnedFd>);

impl Backlog {
    /// The device goes to somebody else: it is to be like others.
    pub(super) fn give_up(mut self) {
        if let Some(fd) = self.0.take() {
            let _ = sys::set_send_buffer(&fd, i32::MAX); // it may be removed already
        }
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        if let Some(fd) = &self.0
            && sys::set_send_buffer(fd, NOTHING).is_ok()
        {
            let mut device = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::OUT)];
            // What takes longer is lost, as by a wire that is cut.
            let _ = poll(&mut device, Some(&PATIENCE));
            let _ = sys::set_send_buffer(fd, MOST); // somebody else may have the device, too
        }
    }
}

/// Has NAPI of a device run in a thread.
fn start(name: &str) -> io::Result<()> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::DGRAM);
    let any = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    let index = fs::read_to_string(attribute(name, "ifindex"))?;
    if index.trim().parse() != Ok(name_to_index(&any, name)?) {
        let what = format!("{SYSFS}/{name} is of another network namespace");
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    fs::write(attribute(name, "threaded"), "1")
}

fn attribute(interface: &str, name: &str) -> PathBuf {
    Path::new(SYSFS).join(interface).join(name)
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_tell_their_version() {
        assert_eq!(version("6.18.0-rc3+"), Some((6, 18)));
        assert_eq!(version("5.15-custom"), Some((5, 15)));
        assert_eq!(version("4.19.0"), Some((4, 19)));
        assert_eq!(version("unknown"), None);
        assert!((6, 1) > LINUX && (5, 10) < LINUX);
    }
}
