//! `socket`, `bind`, `listen`, `accept`, `connect`, `shutdown`, `close`.

use std::net::{IpAddr, SocketAddr};

use ustack::tcp::{
    CloseReason, ConnId, ConnectError, FlowKey, ListenError, ListenOptions, SocketError,
};

use super::events::errno_of;
use super::file::{Kind, Phase, TcpSocket, UdpSocket, shown, unmapped};
use super::{Errno, Fd, Kernel, Result};

/// The longest accept queue (`net.core.somaxconn`).
const SOMAXCONN: i32 = 4096;

impl Kernel {
    /// `socket`; `kind` may carry `SOCK_NONBLOCK`.
    pub fn socket(&mut self, domain: i32, kind: i32, protocol: i32) -> Result<Fd> {
        let is_v6 = match domain {
            libc::AF_INET => false,
            libc::AF_INET6 => true,
            _ => return Err(libc::EAFNOSUPPORT),
        };
        let nonblock = kind & libc::SOCK_NONBLOCK != 0;
        let kind = match (kind & 0xf, protocol) {
            (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => {
                Kind::Tcp(Box::new(TcpSocket::new(is_v6, self.options.socket)))
            }
            (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Kind::Udp(Box::new(UdpSocket::new(is_v6))),
            (libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => return Err(libc::EPROTONOSUPPORT),
            _ => return Err(libc::ESOCKTNOSUPPORT),
        };
        self.files.open(kind, nonblock)
    }

    /// `bind`.
    pub fn bind(&mut self, fd: Fd, address: SocketAddr) -> Result<()> {
        let address = unmapped(address);
        if !address.ip().is_unspecified() && !self.host.ip().is_local(address.ip()) {
            return Err(libc::EADDRNOTAVAIL);
        }
        if let Kind::Udp(_) = self.files.get(fd)?.kind {
            return self.bind_udp(fd, address);
        }
        let socket = self.files.tcp_mut(fd)?;
        if socket.local.is_some() || socket.phase != Phase::Idle {
            return Err(libc::EINVAL);
        }
        socket.local = Some(address);
        Ok(())
    }

    /// `listen`.
    pub fn listen(&mut self, fd: Fd, backlog: i32) -> Result<()> {
        let socket = self.files.tcp_mut(fd)?;
        match socket.phase {
            Phase::Idle | Phase::Closed(..) => {}
            Phase::Listening(_) => return Ok(()),
            _ => return Err(libc::EINVAL),
        }
        let any = IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED);
        let local = socket.local.unwrap_or(SocketAddr::new(any, 0));
        // Linux's queue holds one connection more than it is told.
        let backlog = backlog.clamp(0, SOMAXCONN) as u16 + 1;
        let mut socket_options = socket.core_options();
        let fast_open = socket_options.fast_open;
        socket_options.fast_open = self.listen_fast_open(fast_open, backlog);
        let options = ListenOptions {
            backlog,
            socket: socket_options,
            ..ListenOptions::new(local)
        };
        let id = self
            .host
            .tcp_mut()
            .listen(options)
            .map_err(|error| match error {
                ListenError::AddrInUse => libc::EADDRINUSE,
                _ => libc::EINVAL,
            })?;
        self.files.tcp_mut(fd)?.phase = Phase::Listening(id);
        Ok(())
    }

    /// `accept4`: the new descriptor and the peer. `EAGAIN`: nobody is there yet. `flags` may be
    /// `SOCK_NONBLOCK`.
    pub fn accept(&mut self, fd: Fd, flags: i32) -> Result<(Fd, SocketAddr)> {
        let listener = self.files.tcp(fd)?;
        let Phase::Listening(id) = listener.phase else {
            return Err(libc::EINVAL);
        };
        let (is_v6, inherited) = (listener.is_v6, listener.inherited());
        let (conn, flow) = self.host.tcp_mut().accept(id).ok_or(libc::EAGAIN)?;
        let socket = TcpSocket {
            local: Some(flow.local),
            remote: Some(flow.remote),
            phase: Phase::Open(conn),
            connect_told: true,
            ..inherited
        };
        let new = self.files.open(
            Kind::Tcp(Box::new(socket)),
            flags & libc::SOCK_NONBLOCK != 0,
        )?;
        self.by_conn.insert(conn, new);
        if let Some(reason) = self.ended.remove(&conn) {
            let socket = self.files.tcp_mut(new)?;
            socket.error = errno_of(reason);
            socket.phase = Phase::Closed(conn, reason);
        }
        self.turn();
        Ok((new, shown(flow.remote, is_v6)))
    }

    /// `connect`; `None` is an address of family `AF_UNSPEC`, which disconnects. `EINPROGRESS`:
    /// the SYN has been sent; the outcome follows in `SO_ERROR`, or by calling again.
    pub fn connect(&mut self, fd: Fd, address: Option<SocketAddr>) -> Result<()> {
        if let Kind::Udp(_) = self.files.get(fd)?.kind {
            return self.connect_udp(fd, address.map(unmapped));
        }
        let socket = self.files.tcp_mut(fd)?;
        let Some(address) = address else {
            return self.disconnect(fd);
        };
        let error = socket.error.take();
        match socket.phase {
            Phase::Opening(_) => return Err(libc::EALREADY),
            Phase::Open(_) if !std::mem::replace(&mut socket.connect_told, true) => return Ok(()),
            Phase::Open(_) | Phase::Listening(_) | Phase::Deferred(_) => {
                return Err(libc::EISCONN);
            }
            Phase::Closed(..) if !std::mem::replace(&mut socket.connect_told, true) => {
                return Err(error.unwrap_or(libc::ECONNABORTED));
            }
            Phase::Closed(..) => self.let_go(fd)?,
            Phase::Idle => {}
        }
        if self.is_fast_open_connect(fd) {
            return self.connect_fast_open(fd, unmapped(address));
        }
        self.open(fd, unmapped(address))?;
        Err(libc::EINPROGRESS)
    }

    fn open(&mut self, fd: Fd, remote: SocketAddr) -> Result<()> {
        let local = self.local_for(fd, remote)?;
        let options = self.files.tcp(fd)?.core_options();
        let flow = FlowKey { local, remote };
        let opened = self.host.tcp_mut().connect(self.now, flow, options);
        let (id, flow) = opened.map_err(connect_errno)?;
        self.begin_opening(fd, id, flow)
    }

    /// Where a connection to `remote` comes from.
    pub(super) fn local_for(&self, fd: Fd, remote: SocketAddr) -> Result<SocketAddr> {
        match self.files.tcp(fd)?.local {
            Some(local) if !local.ip().is_unspecified() => Ok(local),
            bound => {
                let port = bound.map_or(0, |bound| bound.port());
                Ok(SocketAddr::new(self.source_for(remote)?.ip(), port))
            }
        }
    }

    /// A SYN is under way.
    pub(super) fn begin_opening(&mut self, fd: Fd, id: ConnId, flow: FlowKey) -> Result<()> {
        let socket = self.files.tcp_mut(fd)?;
        socket.phase = Phase::Opening(id);
        (socket.local, socket.remote) = (Some(flow.local), Some(flow.remote));
        socket.connect_told = false;
        self.by_conn.insert(id, fd);
        self.turn();
        Ok(())
    }

    /// `connect` to `AF_UNSPEC`: the connection is reset, the socket is as good as new.
    fn disconnect(&mut self, fd: Fd) -> Result<()> {
        if let Some(id) = self.files.tcp(fd)?.conn() {
            self.host.tcp_mut().abort(self.now, id);
        }
        self.let_go(fd)?;
        self.turn();
        Ok(())
    }

    /// Forgets the connection of a socket, which may begin another one.
    fn let_go(&mut self, fd: Fd) -> Result<()> {
        let now = self.now;
        let socket = self.files.tcp_mut(fd)?;
        let (conn, phase) = (socket.conn(), socket.phase);
        socket.phase = Phase::Idle;
        (socket.error, socket.remote) = (None, None);
        (socket.shut_rd, socket.shut_wr) = (false, false);
        if let Phase::Listening(id) = phase {
            self.host.tcp_mut().close_listener(now, id);
        }
        if let Some(id) = conn {
            self.by_conn.remove(&id);
            self.host.tcp_mut().release(now, id);
        }
        Ok(())
    }

    /// `shutdown`.
    pub fn shutdown(&mut self, fd: Fd, how: i32) -> Result<()> {
        let (rd, wr) = match how {
            libc::SHUT_RD => (true, false),
            libc::SHUT_WR => (false, true),
            libc::SHUT_RDWR => (true, true),
            _ => return Err(libc::EINVAL),
        };
        let socket = self.files.tcp_mut(fd)?;
        let id = match socket.phase {
            Phase::Idle | Phase::Deferred(_) | Phase::Closed(..) => return Err(libc::ENOTCONN),
            Phase::Listening(_) | Phase::Opening(_) => return self.shutdown_early(fd, rd),
            Phase::Open(id) => id,
        };
        socket.shut_rd |= rd;
        socket.shut_wr |= wr;
        if wr {
            // One that has ended has nothing left to say.
            let _ = self.host.tcp_mut().shutdown(self.now, id);
        }
        self.turn();
        Ok(())
    }

    /// `shutdown` of a listener (its reading side) or of a connection under way ends either.
    fn shutdown_early(&mut self, fd: Fd, rd: bool) -> Result<()> {
        let is_listener = matches!(self.files.tcp(fd)?.phase, Phase::Listening(_));
        if !is_listener || rd {
            self.disconnect(fd)?;
        }
        Ok(())
    }

    /// `close`.
    pub fn close(&mut self, fd: Fd) -> Result<()> {
        let file = self.files.close(fd)?;
        match file.kind {
            Kind::Tcp(socket) => self.close_tcp(&socket),
            Kind::Udp(socket) => {
                if let Some(id) = socket.id {
                    self.host.udp_mut().close(id);
                }
            }
            Kind::Epoll(_) => {}
            Kind::Pipe(end) => self.close_pipe(end),
        }
        self.forget_in_epolls(fd);
        self.turn();
        Ok(())
    }

    fn close_tcp(&mut self, socket: &TcpSocket) {
        if let Phase::Listening(id) = socket.phase {
            self.host.tcp_mut().close_listener(self.now, id);
        }
        let Some(id) = socket.conn() else {
            return;
        };
        self.by_conn.remove(&id);
        if socket.linger.is_some_and(|linger| linger.is_zero()) {
            self.host.tcp_mut().abort(self.now, id);
        }
        self.host.tcp_mut().release(self.now, id);
    }

    /// `getsockname`.
    pub fn local_addr(&self, fd: Fd) -> Result<SocketAddr> {
        match &self.files.get(fd)?.kind {
            Kind::Tcp(socket) => socket.local.map(|local| shown(local, socket.is_v6)),
            Kind::Udp(socket) => socket.local.map(|local| shown(local, socket.is_v6)),
            _ => return Err(libc::ENOTSOCK),
        }
        .ok_or(libc::EINVAL)
    }

    /// `getpeername`.
    pub fn peer_addr(&self, fd: Fd) -> Result<SocketAddr> {
        match &self.files.get(fd)?.kind {
            Kind::Tcp(socket) => socket.remote.map(|remote| shown(remote, socket.is_v6)),
            Kind::Udp(socket) => socket.remote.map(|remote| shown(remote, socket.is_v6)),
            _ => return Err(libc::ENOTSOCK),
        }
        .ok_or(libc::ENOTCONN)
    }
}

/// The error of an active open that does not begin.
pub(super) const fn connect_errno(error: ConnectError) -> Errno {
    match error {
        ConnectError::AddrInUse | ConnectError::AddrNotAvailable => libc::EADDRNOTAVAIL,
        ConnectError::InvalidRemote => libc::ENETUNREACH,
        _ => libc::ENOBUFS,
    }
}

/// The error of a call on a connection.
pub(super) const fn socket_errno(error: SocketError) -> Errno {
    match error {
        SocketError::BrokenPipe | SocketError::Closed(CloseReason::Finished) => libc::EPIPE,
        SocketError::Closed(reason) => match errno_of(reason) {
            Some(errno) => errno,
            None => libc::EPIPE,
        },
        _ => libc::ENOTCONN,
    }
}
