//! UDP sockets.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use ustack::udp::{BindError, BindOptions, ConnectError, SendError, SocketError, SocketId};

use super::file::{UdpSocket, shown, unmapped};
use super::{Errno, Fd, Kernel, Message, Received, Recv, Result};

impl UdpSocket {
    pub(super) fn new(is_v6: bool) -> Self {
        Self {
            is_v6,
            id: None,
            local: None,
            remote: None,
            error: None,
            stored: BTreeMap::new(),
            peeked: VecDeque::new(),
        }
    }
}

impl Kernel {
    pub(super) fn bind_udp(&mut self, fd: Fd, local: SocketAddr) -> Result<()> {
        if self.files.udp_mut(fd)?.id.is_some() {
            return Err(libc::EINVAL);
        }
        let id =
            self.host
                .udp_mut()
                .bind(BindOptions::new(local))
                .map_err(|error| match error {
                    BindError::AddrInUse => libc::EADDRINUSE,
                    BindError::AddrNotAvailable => libc::EADDRNOTAVAIL,
                    _ => libc::ENOBUFS,
                })?;
        let local = self.host.udp_mut().local_addr(id);
        let socket = self.files.udp_mut(fd)?;
        (socket.id, socket.local) = (Some(id), local);
        Ok(())
    }

    /// The core's socket, bound to any port unless it is bound already.
    fn udp_id(&mut self, fd: Fd, remote: Option<SocketAddr>) -> Result<SocketId> {
        let socket = self.files.udp_mut(fd)?;
        if let Some(id) = socket.id {
            return Ok(id);
        }
        let is_v6 = remote.map_or(socket.is_v6, |remote| remote.is_ipv6());
        let any = if is_v6 {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        self.bind_udp(fd, SocketAddr::new(any, 0))?;
        self.files.udp_mut(fd)?.id.ok_or(libc::EBADF)
    }

    pub(super) fn connect_udp(&mut self, fd: Fd, remote: Option<SocketAddr>) -> Result<()> {
        let Some(remote) = remote else {
            let socket = self.files.udp_mut(fd)?;
            socket.remote = None;
            let local = socket.local;
            if let Some(id) = socket.id.take() {
                self.host.udp_mut().close(id);
                if let Some(local) = local {
                    self.bind_udp(fd, local)?;
                }
            }
            return Ok(());
        };
        let source = self.source_for(remote)?;
        let id = self.udp_id(fd, Some(source))?;
        self.host
            .udp_mut()
            .connect(id, remote)
            .map_err(|error| match error {
                ConnectError::AddrInUse => libc::EADDRINUSE,
                ConnectError::InvalidRemote => libc::EAFNOSUPPORT,
                _ => libc::EINVAL,
            })?;
        let local = self.host.udp_mut().local_addr(id);
        let socket = self.files.udp_mut(fd)?;
        (socket.local, socket.remote) = (local, Some(remote));
        Ok(())
    }

    pub(super) fn send_udp(&mut self, fd: Fd, message: &Message) -> Result<usize> {
        let data = message.data.bytes()?;
        let to = message.to.map(unmapped);
        let id = self.udp_id(fd, to)?;
        let path = to.or_else(|| self.host.udp_mut().peer_addr(id));
        let mtu = path.map_or(0, |path| self.host.ip().path_mtu(path.ip()));
        let payload = Bytes::copy_from_slice(&data);
        let sent = self.host.udp_mut().send(id, None, to, payload, |_| mtu);
        self.turn();
        sent.map_err(|error| match error {
            SendError::WouldBlock => libc::EAGAIN,
            SendError::MessageTooLong => libc::EMSGSIZE,
            SendError::DestinationRequired => libc::EDESTADDRREQ,
            SendError::Socket(error) => udp_errno(error),
            _ => libc::EINVAL,
        })?;
        Ok(data.len())
    }

    pub(super) fn recv_udp(&mut self, fd: Fd, recv: &Recv) -> Result<Received> {
        self.fill_udp(fd)?;
        let socket = self.files.udp_mut(fd)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let datagram = if recv.flags & libc::MSG_PEEK != 0 {
            socket.peeked.front().cloned()
        } else {
            socket.peeked.pop_front()
        }
        .ok_or(libc::EAGAIN)?;
        let len = datagram.data.len().min(recv.len);
        let is_cut = len < datagram.data.len();
        Ok(Received {
            len: if recv.flags & libc::MSG_TRUNC != 0 {
                datagram.data.len()
            } else {
                len
            },
            data: datagram.data[..len].to_vec(),
            from: Some(shown(datagram.remote, socket.is_v6)),
            flags: if is_cut { libc::MSG_TRUNC } else { 0 },
            control: Vec::new(),
        })
    }

    /// Has the next datagram, or the error that came instead, at hand.
    pub(super) fn fill_udp(&mut self, fd: Fd) -> Result<()> {
        let socket = self.files.udp_mut(fd)?;
        let Some(id) = socket.id.filter(|_| socket.peeked.is_empty()) else {
            return Ok(());
        };
        let received = self.host.udp_mut().recv(id);
        let socket = self.files.udp_mut(fd)?;
        match received {
            Ok(datagram) => socket.peeked.extend(datagram),
            Err(error) => socket.error = Some(udp_errno(error)),
        }
        Ok(())
    }
}

const fn udp_errno(error: SocketError) -> Errno {
    match error {
        SocketError::ConnectionRefused => libc::ECONNREFUSED,
        SocketError::HostUnreachable => libc::EHOSTUNREACH,
        SocketError::NetUnreachable => libc::ENETUNREACH,
        SocketError::MessageTooLong => libc::EMSGSIZE,
        _ => libc::EBADF,
    }
}
