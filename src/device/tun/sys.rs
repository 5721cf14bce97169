//! The `ioctl`s of `/dev/net/tun` (linux/if_tun.h) and reads into fresh memory: what has no safe
//! interface.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use bytes::BytesMut;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Getter, IntegerSetter, Opcode, Setter, Updater, ioctl, opcode};
use tokio::io::unix::AsyncFd;

const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
const TUNSETOFFLOAD: Opcode = opcode::write::<u32>(b'T', 208);
const TUNGETIFF: Opcode = opcode::read::<u32>(b'T', 210);
const TUNSETSNDBUF: Opcode = opcode::write::<i32>(b'T', 212);
const TUNGETVNETHDRSZ: Opcode = opcode::read::<i32>(b'T', 215);
const TUNSETVNETHDRSZ: Opcode = opcode::write::<i32>(b'T', 216);

/// `IFF_TUN`: packets, not Ethernet frames.
pub(super) const IFF_TUN: u16 = 0x0001;
/// `IFF_NAPI`: what is written goes through NAPI.
const IFF_NAPI: u16 = 0x0010;
/// `IFF_PERSIST`: the device outlives its last descriptor.
pub(super) const IFF_PERSIST: u16 = 0x0800;
/// `IFF_NO_PI`: no four bytes of packet information before each packet.
pub(super) const IFF_NO_PI: u16 = 0x1000;
/// `IFF_TUN_EXCL`: a new device or none.
const IFF_TUN_EXCL: u16 = 0x8000;
/// `IFF_VNET_HDR`: a virtio-net header before each packet.
pub(super) const IFF_VNET_HDR: u16 = 0x4000;

/// What the kernel may leave to us: a set of `TUN_F_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffloadSet(u32);

impl OffloadSet {
    const NAMES: [(u32, &'static str); 6] = [
        (0x01, "CSUM"),
        (0x02, "TSO4"),
        (0x04, "TSO6"),
        (0x08, "TSO_ECN"),
        (0x20, "USO4"),
        (0x40, "USO6"),
    ];
    /// Nothing: whole packets with complete checksums.
    pub(super) const NONE: Self = Self(0);
    /// Best first: all; without UDP (before Linux 6.2); without ECN; checksums only.
    const WISHES: [Self; 4] = [Self(0x6f), Self(0x0f), Self(0x07), Self(0x01)];

    /// Whether TCP super-segments arrive.
    pub fn tso(self) -> bool {
        self.0 & 0x07 == 0x07
    }

    /// Whether UDP super-datagrams arrive.
    pub fn uso(self) -> bool {
        self.0 & 0x60 == 0x60
    }
}

impl fmt::Display for OffloadSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Self::NAMES
            .iter()
            .filter(|(bit, _)| self.0 & bit != 0)
            .map(|(_, name)| *name)
            .collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join("|"))
    }
}

/// What a descriptor says of the device it is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) flags: u16,
}

#[repr(C)]
struct IfReq {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Opens a new plain device with NAPI; `EBUSY` if there is one of that name.
#[allow(unsafe_code, reason = "an ioctl that no crate offers")]
pub(super) fn open_napi(name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    let mut request = IfReq {
        name: [0; 16],
        flags: IFF_TUN | IFF_NO_PI | IFF_NAPI | IFF_TUN_EXCL,
        rest: [0; 22],
    };
    let place = request.name.get_mut(..name.len()).ok_or(Errno::INVAL)?;
    place.copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, 40 bytes, which is `IfReq`.
    unsafe { ioctl(&fd, Updater::<TUNSETIFF, IfReq>::new(&mut request)) }?;
    Ok(fd)
}

/// Sets how many bytes of what was written may wait in the kernel.
#[allow(unsafe_code, reason = "an ioctl that no crate offers")]
pub(super) fn set_send_buffer(fd: impl AsFd, bytes: i32) -> rustix::io::Result<()> {
    // SAFETY: TUNSETSNDBUF reads one `int`.
    unsafe { ioctl(fd, Setter::<TUNSETSNDBUF, i32>::new(bytes)) }
}

/// Which interface the descriptor is attached to; `ENOTTY` when it is no TUN descriptor.
#[allow(unsafe_code, reason = "an ioctl that no crate offers")]
pub(super) fn interface(fd: impl AsFd) -> rustix::io::Result<Interface> {
    // SAFETY: for TUNGETIFF the kernel writes one `struct ifreq`, 40 bytes, which is `IfReq`.
    let request = unsafe { ioctl(fd, Getter::<TUNGETIFF, IfReq>::new()) }?;
    let end = request.name.iter().position(|&byte| byte == 0);
    let name = String::from_utf8_lossy(&request.name[..end.unwrap_or(16)]).into_owned();
    Ok(Interface {
        name,
        flags: request.flags,
    })
}

/// Sets what the kernel may leave to us. State of the device, not of the descriptor.
#[allow(unsafe_code, reason = "an ioctl that no crate offers")]
pub(super) fn set_offload(fd: impl AsFd, offload: OffloadSet) -> rustix::io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes an integer by value, any value of which is checked.
    unsafe {
        let request = IntegerSetter::<TUNSETOFFLOAD>::new_usize(offload.0 as usize);
        ioctl(fd, request)
    }
}

/// The best set that the kernel grants.
pub(super) fn negotiate_offload(fd: impl AsFd) -> rustix::io::Result<OffloadSet> {
    let fd = fd.as_fd();
    let mut result = Err(Errno::INVAL);
    for wish in OffloadSet::WISHES {
        result = set_offload(fd, wish).map(|()| wish);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Sets the length of the virtio-net header and returns what it is then.
#[allow(unsafe_code, reason = "an ioctl that no crate offers")]
pub(super) fn set_vnet_header_len(fd: impl AsFd, len: usize) -> rustix::io::Result<usize> {
    let fd = fd.as_fd();
    // SAFETY: TUNSETVNETHDRSZ reads and TUNGETVNETHDRSZ writes one `int`.
    let now = unsafe {
        ioctl(fd, Setter::<TUNSETVNETHDRSZ, i32>::new(len as i32))?;
        ioctl(fd, Getter::<TUNGETVNETHDRSZ, i32>::new())?
    };
    usize::try_from(now).map_err(|_| Errno::INVAL)
}

/// The length of the virtio-net header.
#[allow(unsafe_code, reason = "an ioctl that no crate offers")]
pub(super) fn vnet_header_len(fd: impl AsFd) -> rustix::io::Result<usize> {
    // SAFETY: TUNGETVNETHDRSZ writes one `int`.
    let len = unsafe { ioctl(fd, Getter::<TUNGETVNETHDRSZ, i32>::new()) }?;
    usize::try_from(len).map_err(|_| Errno::INVAL)
}

/// A tun-tap device, whose descriptor can be borrowed.
pub(super) struct TunTap(tun_tap::Iface);

impl TunTap {
    pub(super) fn new(iface: tun_tap::Iface) -> Self {
        Self(iface)
    }
}

#[allow(unsafe_code, reason = "tun-tap lends no descriptor but its number")]
impl AsFd for TunTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the interface owns the descriptor and lives as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

/// Where packets are read and written, one per call.
pub(super) enum Port {
    /// Opened here, or handed over.
    Fd(OwnedFd),
    /// Opened by the tun-tap crate.
    TunTap(TunTap),
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Fd(fd) => fd.as_fd(),
            Self::TunTap(device) => device.as_fd(),
        }
    }
}

impl AsRawFd for Port {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[allow(
    unsafe_code,
    reason = "tun-tap hands over no descriptor but its number"
)]
impl From<Port> for OwnedFd {
    fn from(port: Port) -> Self {
        match port {
            Port::Fd(fd) => fd,
            // SAFETY: `into_raw_fd` gives up the ownership that is taken here.
            Port::TunTap(device) => unsafe { Self::from_raw_fd(device.0.into_raw_fd()) },
        }
    }
}

/// Registers a port with the current runtime.
#[allow(unsafe_code, reason = "tokio's safe registration is deprecated")]
pub(super) fn register(port: Port) -> Result<AsyncFd<Port>, (Port, io::Error)> {
    // SAFETY: a `Port` owns an open descriptor, always the same one, until it is dropped.
    unsafe { AsyncFd::register(port) }.map_err(tokio::io::unix::AsyncFdRegisterError::into_parts)
}

/// One read into the free space of an empty buffer, whose length it then sets.
#[allow(unsafe_code, reason = "reading into memory that is not zeroed first")]
pub(super) fn read(fd: impl AsFd, buffer: &mut BytesMut) -> rustix::io::Result<usize> {
    debug_assert!(buffer.is_empty());
    let free: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
    let len = {
        let (filled, _) = rustix::io::read(fd, free)?;
        filled.len()
    };
    // SAFETY: the kernel has just written the first `len` bytes of the free space, which begins
    // at the start of the empty buffer.
    unsafe { buffer.set_len(len) };
    Ok(len)
}
