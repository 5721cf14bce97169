//! What file descriptors stand for.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ustack::tcp::{CloseReason, ConnId, ListenerId, SocketOptions};
use ustack::udp::SocketId;

use super::epoll::Epoll;
use super::pipe::PipeEnd;
use super::sockopt::KeepaliveParams;
use super::zerocopy::Zerocopy;
use super::{Fd, Result};

/// File descriptors one kernel hands out; more is `EMFILE`.
const MAX_FILES: i32 = 1024;

/// The lowest descriptor: 0 to 2 belong to the script's terminal.
const FIRST_FD: Fd = 3;

/// An open file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) nonblock: bool,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Tcp(Box<TcpSocket>),
    Udp(Box<UdpSocket>),
    Epoll(Epoll),
    Pipe(PipeEnd),
}

/// How far a TCP socket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No connection, or none any more.
    Idle,
    Listening(ListenerId),
    /// `connect` was told that it succeeded, and the SYN waits for data (Fast Open).
    Deferred(SocketAddr),
    /// SYN sent.
    Opening(ConnId),
    Open(ConnId),
    /// The connection is over; what it received may still be read.
    Closed(ConnId, CloseReason),
}

/// A TCP socket.
#[derive(Debug)]
pub(super) struct TcpSocket {
    /// An `AF_INET6` socket: IPv4 peers are shown as `::ffff:a.b.c.d`.
    pub(super) is_v6: bool,
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) phase: Phase,
    pub(super) options: SocketOptions,
    /// Told once, by `SO_ERROR` or by the next call.
    pub(super) error: Option<i32>,
    pub(super) shut_rd: bool,
    pub(super) shut_wr: bool,
    pub(super) linger: Option<Duration>,
    pub(super) keepalive: KeepaliveParams,
    /// Options that only need to be remembered: (level, name) → value.
    pub(super) stored: BTreeMap<(i32, i32), i32>,
    /// `SO_RCVTIMEO` and `SO_SNDTIMEO`.
    pub(super) timeouts: BTreeMap<i32, Duration>,
    pub(super) zerocopy: Zerocopy,
    /// `MSG_MORE` holds the last bytes back, besides `TCP_CORK`.
    pub(super) more: bool,
    /// Whether a `connect` succeeded and has been told so.
    pub(super) connect_told: bool,
}

impl TcpSocket {
    pub(super) fn new(is_v6: bool, options: SocketOptions) -> Self {
        Self {
            is_v6,
            local: None,
            remote: None,
            phase: Phase::Idle,
            options,
            error: None,
            shut_rd: false,
            shut_wr: false,
            linger: None,
            keepalive: KeepaliveParams::default(),
            stored: BTreeMap::new(),
            timeouts: BTreeMap::new(),
            zerocopy: Zerocopy::default(),
            more: false,
            connect_told: false,
        }
    }

    /// What a connection that this listener accepts starts with.
    pub(super) fn inherited(&self) -> Self {
        Self {
            linger: self.linger,
            keepalive: self.keepalive,
            stored: self.stored.clone(),
            timeouts: self.timeouts.clone(),
            ..Self::new(self.is_v6, self.options)
        }
    }

    /// What the core is told.
    pub(super) fn core_options(&self) -> SocketOptions {
        SocketOptions {
            keepalive: self.keepalive.option(),
            cork: self.options.cork || self.more,
            ..self.options
        }
    }

    /// The connection, whatever its state.
    pub(super) const fn conn(&self) -> Option<ConnId> {
        match self.phase {
            Phase::Opening(id) | Phase::Open(id) | Phase::Closed(id, _) => Some(id),
            Phase::Idle | Phase::Listening(_) | Phase::Deferred(_) => None,
        }
    }
}

/// A UDP socket; the core knows it once it has a local port.
#[derive(Debug)]
pub(super) struct UdpSocket {
    pub(super) is_v6: bool,
    pub(super) id: Option<SocketId>,
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) error: Option<i32>,
    pub(super) stored: BTreeMap<(i32, i32), i32>,
    /// Datagrams taken out of the core and not yet read (`MSG_PEEK`, `FIONREAD`).
    pub(super) peeked: std::collections::VecDeque<ustack::udp::Datagram>,
}

/// All open files.
#[derive(Debug, Default)]
pub(super) struct Files(BTreeMap<Fd, File>);

impl Files {
    /// Opens a file at the lowest free descriptor.
    pub(super) fn open(&mut self, kind: Kind, nonblock: bool) -> Result<Fd> {
        let fd = (FIRST_FD..FIRST_FD + MAX_FILES)
            .find(|fd| !self.0.contains_key(fd))
            .ok_or(libc::EMFILE)?;
        self.0.insert(fd, File { nonblock, kind });
        Ok(fd)
    }

    pub(super) fn close(&mut self, fd: Fd) -> Result<File> {
        self.0.remove(&fd).ok_or(libc::EBADF)
    }

    pub(super) fn get(&self, fd: Fd) -> Result<&File> {
        self.0.get(&fd).ok_or(libc::EBADF)
    }

    pub(super) fn get_mut(&mut self, fd: Fd) -> Result<&mut File> {
        self.0.get_mut(&fd).ok_or(libc::EBADF)
    }

    pub(super) fn tcp(&self, fd: Fd) -> Result<&TcpSocket> {
        match &self.get(fd)?.kind {
            Kind::Tcp(socket) => Ok(socket),
            Kind::Udp(_) => Err(libc::EOPNOTSUPP),
            _ => Err(libc::ENOTSOCK),
        }
    }

    pub(super) fn tcp_mut(&mut self, fd: Fd) -> Result<&mut TcpSocket> {
        match &mut self.get_mut(fd)?.kind {
            Kind::Tcp(socket) => Ok(socket),
            Kind::Udp(_) => Err(libc::EOPNOTSUPP),
            _ => Err(libc::ENOTSOCK),
        }
    }

    pub(super) fn udp_mut(&mut self, fd: Fd) -> Result<&mut UdpSocket> {
        match &mut self.get_mut(fd)?.kind {
            Kind::Udp(socket) => Ok(socket),
            Kind::Tcp(_) => Err(libc::EOPNOTSUPP),
            _ => Err(libc::ENOTSOCK),
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Fd, &mut File)> {
        self.0.iter_mut().map(|(&fd, file)| (fd, file))
    }
}

/// An address as the stack has it: IPv4 without the mapped form.
pub(super) fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An address as a socket of this family shows it.
pub(super) fn shown(address: SocketAddr, is_v6: bool) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if is_v6 => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        _ => address,
    }
}
