//! Linux TUN devices: the *offload* backend (virtio-net headers, super-segments) and the *plain*
//! one (whole packets), behind one type.

mod counters;
mod error;
mod napi;
mod open;
mod pool;
mod sys;

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrayvec::ArrayVec;
use rustix::io::{Errno, retry_on_intr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use ustack_tcp::time::{Duration, Instant};

pub use self::counters::{Counter, DeviceCounters, KernelDrops};
pub use self::error::OpenError;
use self::napi::Backlog;
pub use self::open::{DeviceKind, OpenReport, Opened, TunOptions, open};
use self::pool::BufferPool;
pub use self::sys::OffloadSet;
use self::sys::Port;
use super::link::Restore;
use super::vnet::{self, VnetHeader};
use super::{Caps, Checksum, Device, Frame, RxBatch, TxBatch, TxFrame};

/// Slices one `writev` takes (`IOV_MAX`).
const MAX_SLICES: usize = 1024;
/// Bytes of a frame that cost less to copy into one piece than the kernel takes for a list.
const SHORT: usize = 256;
/// The largest frame with its virtio-net header: an IPv6 packet of 40 + 65,535 bytes.
const OFFLOAD_BUFFER: usize = 66 * 1024;
/// When to try again after the kernel had no memory for a frame, and how often.
const RETRY: Duration = Duration::from_millis(1);
const RETRIES: u32 = 16;
/// How often an idle device is asked whether it still exists.
///
/// The kernel tells of a removal by `EPOLLERR` alone, which tokio takes for news of the writing
/// side: who waits to read is not woken. (Seen on Linux 6.18, every time.)
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A TUN device, one queue of it, or any descriptor that reads and writes one IP packet per call.
///
/// Dropping it closes the descriptor, and with the last descriptor the kernel removes the device
/// unless it is persistent: no clean-up code has to run, so a killed process leaves nothing behind. Where
/// a thread of the kernel takes in what was sent (NAPI), dropping waits for it, up to 200 ms.
pub struct Tun {
    /// Of a device with NAPI.
    backlog: Option<Backlog>,
    port: Registration,
    name: String,
    caps: Caps,
    /// Length of the virtio-net header, 0 without one.
    header_len: usize,
    pool: BufferPool,
    /// A frame in one piece, where one write has to take it so.
    scratch: Vec<u8>,
    counters: Arc<DeviceCounters>,
    /// Whether the port tells when it has room again; a TUN device does not.
    tells_room: bool,
    /// Set while the kernel has no memory, or no room, for the oldest frame.
    retry_at: Option<Instant>,
    retries: u32,
    /// When to ask next whether the device exists; `None` for sockets, whose end can be read.
    check_at: Option<Instant>,
    /// Gives a persistent device its settings back, with its last queue.
    restore: Option<Arc<Restore>>,
}

/// What whoever hands over a descriptor says of it.
#[derive(Clone, Debug)]
pub struct FdOptions {
    /// The largest packet of the interface, in bytes.
    pub mtu: u16,
    /// Whether a virtio-net header precedes each packet; `None` asks the descriptor (`TUNGETIFF`).
    pub vnet_hdr: Option<bool>,
}

impl Tun {
    /// Takes over an open descriptor: a TUN device opened by an embedding program or received from
    /// another process, or a packet socket pair (`SOCK_DGRAM`, `SOCK_SEQPACKET`).
    ///
    /// The descriptor is owned from here on: dropping the device closes it, and
    /// [`Tun::into_fd`] gives it back. It becomes non-blocking, for everybody who shares it.
    pub fn from_fd(fd: OwnedFd, options: &FdOptions) -> io::Result<Self> {
        let interface = match sys::interface(&fd) {
            Ok(interface) => Some(interface),
            Err(Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP) => None,
            Err(errno) => {
                return Err(io::Error::new(
                    io::Error::from(errno).kind(),
                    format!("the descriptor is not attached to a TUN device: {errno}"),
                ));
            }
        };
        let flags = interface.as_ref().map(|interface| interface.flags);
        if flags.is_some_and(|flags| flags & sys::IFF_TUN == 0 || flags & sys::IFF_NO_PI == 0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the descriptor is a TAP device or carries packet information; \
                 open it with IFF_TUN | IFF_NO_PI",
            ));
        }
        let vnet_hdr = options
            .vnet_hdr
            .unwrap_or(flags.is_some_and(|flags| flags & sys::IFF_VNET_HDR != 0));
        let (header_len, offload) = match (vnet_hdr, &interface) {
            (false, None) => (0, OffloadSet::NONE),
            (true, None) => (vnet::LEN, OffloadSet::NONE),
            (false, Some(_)) => {
                sys::set_offload(&fd, OffloadSet::NONE)?;
                (0, OffloadSet::NONE)
            }
            (true, Some(_)) => (sys::vnet_header_len(&fd)?, sys::negotiate_offload(&fd)?),
        };
        let is_device = interface.is_some();
        let name = interface.map_or_else(|| String::from("fd"), |interface| interface.name);
        let caps = caps(options.mtu, header_len > 0, offload);
        let mut tun = Self::from_port(Port::Fd(fd), name, caps, header_len)?;
        tun.check_at = is_device.then_some(Instant::ZERO);
        tun.tells_room = !is_device;
        Ok(tun)
    }

    fn from_port(port: Port, name: String, caps: Caps, header_len: usize) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&port)?;
        rustix::fs::fcntl_setfl(&port, flags | rustix::fs::OFlags::NONBLOCK)?;
        let buffer = if header_len > 0 {
            OFFLOAD_BUFFER
        } else {
            usize::from(caps.mtu).next_multiple_of(2048)
        };
        Ok(Self {
            backlog: None,
            port: Registration::Idle(port),
            name,
            caps,
            header_len,
            pool: BufferPool::new(buffer),
            scratch: Vec::new(),
            counters: Arc::default(),
            tells_room: false,
            retry_at: None,
            retries: 0,
            check_at: Some(Instant::ZERO),
            restore: None,
        })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counters, to be shown elsewhere.
    pub fn counters(&self) -> Arc<DeviceCounters> {
        Arc::clone(&self.counters)
    }

    /// Gives the descriptor back, non-blocking. A persistent device keeps the settings made here.
    pub fn into_fd(mut self) -> OwnedFd {
        if let Some(restore) = self.restore.take() {
            restore.forget();
        }
        if let Some(backlog) = self.backlog.take() {
            backlog.give_up();
        }
        match self.port {
            Registration::Idle(port) => port.into(),
            Registration::Ready(port) => port.into_inner().into(),
        }
    }

    fn removed(&self) -> io::Error {
        io::Error::new(
            io::ErrorKind::NetworkDown,
            format!("device {} was removed while in use", self.name),
        )
    }
}

/// The descriptor, to be passed to another process.
impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.get().as_fd()
    }
}

impl std::fmt::Debug for Tun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tun")
            .field("name", &self.name)
            .field("caps", &self.caps)
            .finish_non_exhaustive()
    }
}

/// What a device can take: a virtio-net header makes the kernel finish checksums and cut TCP for
/// us whatever it leaves to us itself; that it cuts UDP shows in its willingness to leave it to us.
fn caps(mtu: u16, vnet_hdr: bool, offload: OffloadSet) -> Caps {
    Caps {
        mtu,
        tx_checksum: vnet_hdr,
        tso: vnet_hdr,
        uso: vnet_hdr && offload.uso(),
    }
}

/// A port, registered with a runtime once somebody waits for it: a device can be opened before
/// there is a runtime.
enum Registration {
    Idle(Port),
    Ready(AsyncFd<Port>),
}

impl Registration {
    fn get(&self) -> &Port {
        match self {
            Self::Idle(port) => port,
            Self::Ready(port) => port.get_ref(),
        }
    }

    /// Writes. Once registered, only while the port is thought ready, and `WouldBlock` makes it not
    /// ready, so that whoever waits is woken by a change only.
    fn write<R>(&self, call: impl FnOnce(&Port) -> io::Result<R>) -> io::Result<R> {
        match self {
            Self::Idle(port) => call(port),
            Self::Ready(port) => port.try_io(Interest::WRITABLE, call),
        }
    }

    /// Reads, whatever the runtime knows of the port: who asks before it has heard of a packet is
    /// early on purpose. What it thinks ready is so no longer after `WouldBlock`.
    fn read<R>(&self, call: impl FnOnce(&Port) -> io::Result<R>) -> io::Result<R> {
        let port = match self {
            Self::Idle(port) => return call(port),
            Self::Ready(port) => port,
        };
        let mut call = Some(call);
        let mut take = |port: &Port| match call.take() {
            Some(call) => call(port),
            None => Err(io::ErrorKind::WouldBlock.into()),
        };
        match port.try_io(Interest::READABLE, &mut take) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => take(port.get_ref()),
            result => result,
        }
    }
}

impl Tun {
    fn registered(&mut self) -> io::Result<&AsyncFd<Port>> {
        if matches!(self.port, Registration::Idle(_)) {
            tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
            // A spare descriptor holds the place while the port moves.
            let spare = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
            let place = Registration::Idle(Port::Fd(spare));
            self.port = match std::mem::replace(&mut self.port, place) {
                Registration::Idle(port) => match sys::register(port) {
                    Ok(port) => Registration::Ready(port),
                    Err((port, error)) => {
                        self.port = Registration::Idle(port);
                        return Err(error);
                    }
                },
                ready @ Registration::Ready(_) => ready,
            };
        }
        match &self.port {
            Registration::Ready(port) => Ok(port),
            Registration::Idle(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Reads one frame; `None` when nothing has arrived.
    fn read_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let buffer = self.pool.buffer();
            let header_len = self.header_len;
            let read = self.port.read(|port| read(port, buffer));
            let len = match read {
                // A packet has at least one byte, so this is the end of a socket.
                Ok(0) => return Err(self.removed()),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if is_gone(&error) => return Err(self.removed()),
                Err(_) => {
                    self.counters.rx_errors.add(1);
                    return Ok(None);
                }
            };
            if let Some(offload) = decode(&buffer[..len], header_len) {
                let data = self.pool.take(header_len);
                self.counters.rx_frames.add(1);
                self.counters.rx_bytes.add(data.len() as u64);
                return Ok(Some(Frame { data, offload }));
            }
            self.counters.rx_malformed.add(1);
        }
    }

    /// Asks the kernel, once in a [`CHECK_INTERVAL`], whether the device is still there.
    fn check_exists(&mut self, now: Instant) -> io::Result<()> {
        if self.check_at.is_none_or(|at| now < at) {
            return Ok(());
        }
        self.check_at = Some(now + CHECK_INTERVAL);
        match sys::interface(self.port.get()) {
            Err(errno) if is_gone(&errno.into()) => Err(self.removed()),
            _ => Ok(()),
        }
    }

    fn write_frame(&mut self, frame: &TxFrame<'_>) -> io::Result<usize> {
        let header = VnetHeader::encode(&frame.offload, frame.headers_or_first_chunk());
        let header = header.to_bytes();
        // A longer header than the one we know ends in padding.
        let mut padded = [0; 64];
        padded[..vnet::LEN].copy_from_slice(&header);
        let vnet = &padded[..self.header_len];
        let fragmented = frame.chunks.len() + 2 > MAX_SLICES;
        let is_short = frame.len() <= SHORT;
        let whole = is_short || fragmented;
        if whole {
            self.scratch.clear();
            self.scratch.extend_from_slice(vnet);
            self.scratch.extend_from_slice(frame.headers);
            for chunk in frame.chunks {
                self.scratch.extend_from_slice(chunk);
            }
        }
        let scratch = &self.scratch;
        let write = |port: &Port| {
            if whole {
                return Ok(retry_on_intr(|| rustix::io::write(port, scratch))?);
            }
            // Filled in place: 16 KiB are not to be moved for each frame.
            let mut slices = ArrayVec::<_, MAX_SLICES>::new();
            slices.extend(pieces(vnet, frame));
            Ok(retry_on_intr(|| rustix::io::writev(port, &slices))?)
        };
        if self.tells_room {
            self.port.write(write)
        } else {
            write(self.port.get())
        }
    }

    /// Whether the frame is dealt with (sent, or dropped and counted); false when it has to wait.
    fn send_frame(&mut self, now: Instant, frame: &TxFrame<'_>) -> io::Result<Sent> {
        let expected = self.header_len + frame.len();
        let unfit = self.header_len == 0 && needs_offload(frame);
        if unfit {
            self.counters.tx_invalid.add(1);
            return Ok(Sent::Done);
        }
        let error = match self.write_frame(frame) {
            Ok(len) if len >= expected => {
                self.counters.tx_frames.add(1);
                self.counters.tx_bytes.add(frame.len() as u64);
                self.retries = 0;
                return Ok(Sent::Done);
            }
            Ok(_) => {
                self.counters.tx_short.add(1);
                return Ok(Sent::Done);
            }
            Err(error) => error,
        };
        if is_gone(&error) {
            return Err(self.removed());
        }
        match Errno::from_io_error(&error) {
            Some(Errno::IO) => return Ok(Sent::LinkDown),
            Some(Errno::NOBUFS | Errno::NOMEM) if self.retries < RETRIES => {
                // No readiness tells when there is memory again: ask later, by the clock.
                self.retries += 1;
                self.retry_at = Some(now + RETRY);
                return Ok(Sent::Wait);
            }
            Some(Errno::NOBUFS | Errno::NOMEM) => {
                self.retries = 0;
                self.counters.tx_no_memory.add(1);
            }
            _ if error.kind() == io::ErrorKind::WouldBlock => {
                self.retry_at = (!self.tells_room).then_some(now + RETRY);
                return Ok(Sent::Wait);
            }
            _ => self.counters.tx_invalid.add(1),
        }
        Ok(Sent::Done)
    }
}

enum Sent {
    /// Sent, or dropped and counted.
    Done,
    /// Not now.
    Wait,
    /// Nothing goes out until somebody sets the link up.
    LinkDown,
}

impl Device for Tun {
    fn caps(&self) -> Caps {
        self.caps
    }

    /// Must be called within a tokio runtime with IO enabled; the first call registers the device
    /// with it.
    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Dropping the guard keeps the readiness: `recv` clears it when it has read everything.
        ready!(self.registered()?.poll_read_ready(cx)).map(drop)?;
        Poll::Ready(Ok(()))
    }

    fn recv(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        self.check_exists(now)?;
        let mut received = 0;
        while batch.room() > 0 {
            match self.read_frame() {
                Ok(Some(frame)) => batch.push(frame),
                Ok(None) => break,
                // What arrived before the end counts; the next call finds the end again.
                Err(_) if received > 0 => break,
                Err(error) => return Err(error),
            }
            received += 1;
        }
        Ok(received)
    }

    fn send(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        if self.retry_at.is_some_and(|at| now < at) {
            return Ok(0);
        }
        self.retry_at = None;
        let before = batch.len();
        while let Some(frame) = batch.front() {
            match self.send_frame(now, &frame)? {
                Sent::Done => batch.pop_front(),
                Sent::Wait => break,
                // A link that is down is a wire that is cut: what is on its way is lost, and the
                // protocols' own timers try again. Nothing here spins or waits for link-up.
                Sent::LinkDown => {
                    self.counters.tx_link_down.add(batch.len() as u64);
                    batch.clear();
                }
            }
        }
        Ok(before - batch.len())
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.retry_at.is_some() {
            // The driver comes back by `poll_timeout`; the descriptor may claim to be ready.
            return Poll::Pending;
        }
        ready!(self.registered()?.poll_write_ready(cx)).map(drop)?;
        Poll::Ready(Ok(()))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.retry_at, self.check_at].into_iter().flatten().min()
    }
}

fn read(port: &Port, buffer: &mut bytes::BytesMut) -> io::Result<usize> {
    let read = retry_on_intr(|| sys::read(port, buffer));
    read.map_err(|errno| pass_later(errno.into()))
}

/// An error that is not the device's end counts as "nothing there", so that the descriptor is
/// waited for and not read again at once.
fn pass_later(error: io::Error) -> io::Error {
    if is_gone(&error) || error.kind() == io::ErrorKind::WouldBlock {
        error
    } else {
        tracing::debug!(%error, "reading from the device failed");
        io::ErrorKind::WouldBlock.into()
    }
}

/// Whether the device behind the descriptor is no more (`EBADFD` after `ip link delete`).
fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::BADFD
                | Errno::BADF
                | Errno::NODEV
                | Errno::NXIO
                | Errno::PIPE
                | Errno::CONNRESET
                | Errno::CONNREFUSED
                | Errno::NOTCONN
        )
    )
}

/// What the virtio-net header says of its packet; `None` when it does not fit it.
fn decode(frame: &[u8], header_len: usize) -> Option<super::Offload> {
    if header_len == 0 {
        return Some(super::Offload::default());
    }
    let (header, packet) = frame.split_at_checked(header_len)?;
    let header = VnetHeader::from_bytes(*header.first_chunk()?);
    header.decode(packet).ok()
}

fn needs_offload(frame: &TxFrame<'_>) -> bool {
    frame.offload.gso.is_some() || matches!(frame.offload.checksum, Checksum::Partial { .. })
}

fn pieces<'a>(vnet: &'a [u8], frame: &'a TxFrame<'_>) -> impl Iterator<Item = IoSlice<'a>> {
    [vnet, frame.headers]
        .into_iter()
        .chain(frame.chunks.iter().map(|chunk| &chunk[..]))
        .filter(|slice| !slice.is_empty())
        .map(IoSlice::new)
}

impl TxFrame<'_> {
    /// The beginning of the packet, as far as it lies in one piece.
    fn headers_or_first_chunk(&self) -> &[u8] {
        match self.chunks.first() {
            Some(chunk) if self.headers.is_empty() => chunk,
            _ => self.headers,
        }
    }
}

#[cfg(test)]
mod tests;
