//! `getsockopt`.

use std::time::Duration;

use super::super::file::{Kind, Phase, TcpSocket};
use super::super::{Fd, Kernel, Result};
use super::ALGORITHMS;
use super::set::TCP_INQ;

impl Kernel {
    /// `getsockopt`: the bytes, at most `len` of them.
    pub fn getsockopt(&mut self, fd: Fd, level: i32, name: i32, len: usize) -> Result<Vec<u8>> {
        let mut value = match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => self.take_error(fd)?.to_ne_bytes().to_vec(),
            (libc::SOL_SOCKET, libc::SO_LINGER) => linger(self.files.tcp(fd)?),
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => self.congestion_name(fd)?,
            (libc::IPPROTO_TCP, libc::TCP_INFO) => self.tcp_info(fd)?,
            // Reno and CUBIC have nothing to tell, on Linux either.
            (libc::IPPROTO_TCP, libc::TCP_CC_INFO) => Vec::new(),
            (libc::SOL_SOCKET, libc::SO_MEMINFO) => self.memory(fd)?,
            _ => self.number(fd, level, name)?.to_ne_bytes().to_vec(),
        };
        value.truncate(len);
        Ok(value)
    }

    /// `struct sk_meminfo`: receive queue, its limit, send queue, its limit, and five numbers that
    /// only mean something inside Linux.
    fn memory(&self, fd: Fd) -> Result<Vec<u8>> {
        let socket = self.files.tcp(fd)?;
        let queued = socket.conn().map(|id| self.host.tcp().queued(id));
        let queued = queued.unwrap_or_default();
        let limit = |name| self.socket_number(socket, name).unwrap_or(0) as u32;
        let (received, sent) = (limit(libc::SO_RCVBUF), limit(libc::SO_SNDBUF));
        let numbers = [
            queued.unread,
            received,
            queued.unacked,
            sent,
            0,
            queued.unacked,
            0,
            0,
            0,
        ];
        Ok(numbers
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect())
    }

    /// `SO_ERROR`: what went wrong and nobody has heard of, 0 for nothing.
    fn take_error(&mut self, fd: Fd) -> Result<i32> {
        let error = match &mut self.files.get_mut(fd)?.kind {
            Kind::Tcp(socket) => &mut socket.error,
            Kind::Udp(_) => {
                self.fill_udp(fd)?;
                &mut self.files.udp_mut(fd)?.error
            }
            _ => return Err(libc::ENOTSOCK),
        };
        Ok(error.take().unwrap_or(0))
    }

    fn congestion_name(&self, fd: Fd) -> Result<Vec<u8>> {
        let chosen = self.files.tcp(fd)?.options.congestion;
        let algorithm = chosen.unwrap_or(self.options.tcp.congestion);
        let name = ALGORITHMS.iter().find(|(_, known)| *known == algorithm);
        let mut name = name.map_or("custom", |(name, _)| name).as_bytes().to_vec();
        name.resize(16, 0); // TCP_CA_NAME_MAX
        Ok(name)
    }

    fn number(&self, fd: Fd, level: i32, name: i32) -> Result<i32> {
        let socket = match &self.files.get(fd)?.kind {
            Kind::Tcp(socket) => socket,
            Kind::Udp(socket) => {
                let known = socket.stored.get(&(level, name)).copied();
                return match (level, name) {
                    (libc::SOL_SOCKET, libc::SO_TYPE) => Ok(libc::SOCK_DGRAM),
                    _ => known.ok_or(libc::ENOPROTOOPT),
                };
            }
            _ => return Err(libc::ENOTSOCK),
        };
        let stored = socket.stored.get(&(level, name)).copied();
        match level {
            libc::SOL_SOCKET => self.socket_number(socket, name).or(stored),
            libc::IPPROTO_TCP => self.tcp_number(socket, name).or(stored),
            _ => stored,
        }
        .or_else(|| default(level, name))
        .ok_or(libc::ENOPROTOOPT)
    }

    fn socket_number(&self, socket: &TcpSocket, name: i32) -> Option<i32> {
        let tcp = &self.options.tcp;
        Some(match name {
            libc::SO_TYPE => libc::SOCK_STREAM,
            libc::SO_PROTOCOL => libc::IPPROTO_TCP,
            libc::SO_DOMAIN if socket.is_v6 => libc::AF_INET6,
            libc::SO_DOMAIN => libc::AF_INET,
            libc::SO_ACCEPTCONN => i32::from(matches!(socket.phase, Phase::Listening(_))),
            libc::SO_KEEPALIVE => i32::from(socket.keepalive.on),
            libc::SO_SNDBUF => {
                let fixed = socket.options.send_buffer;
                fixed.unwrap_or(tcp.send_buffer_initial) as i32
            }
            libc::SO_RCVBUF => {
                let fixed = socket.options.recv_buffer;
                fixed.unwrap_or(tcp.recv_buffer_initial) as i32
            }
            _ => return None,
        })
    }

    fn tcp_number(&self, socket: &TcpSocket, name: i32) -> Option<i32> {
        let secs = |time: Duration| time.as_secs() as i32;
        let keepalive = socket.keepalive.params;
        Some(match name {
            libc::TCP_NODELAY => i32::from(socket.options.nodelay),
            libc::TCP_KEEPIDLE => secs(keepalive.idle),
            libc::TCP_KEEPINTVL => secs(keepalive.interval),
            libc::TCP_KEEPCNT => i32::from(keepalive.count),
            libc::TCP_MAXSEG => self.max_segment(socket),
            _ => return None,
        })
    }
}

/// What options have that nobody has set.
fn default(level: i32, name: i32) -> Option<i32> {
    Some(match (level, name) {
        (libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE) => -1,
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT) | (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => 1,
        (
            libc::SOL_SOCKET,
            libc::SO_REUSEADDR
            | libc::SO_REUSEPORT
            | libc::SO_MARK
            | libc::SO_PRIORITY
            | libc::SO_OOBINLINE
            | libc::SO_ZEROCOPY,
        )
        | (
            libc::IPPROTO_TCP,
            libc::TCP_CORK
            | libc::TCP_USER_TIMEOUT
            | libc::TCP_NOTSENT_LOWAT
            | libc::TCP_DEFER_ACCEPT
            | libc::TCP_WINDOW_CLAMP
            | libc::TCP_FASTOPEN
            | libc::TCP_FASTOPEN_CONNECT
            | TCP_INQ,
        )
        | (libc::IPPROTO_IP, libc::IP_TOS)
        | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => 0,
        (libc::IPPROTO_TCP, libc::TCP_SYNCNT) => 6,
        (libc::IPPROTO_TCP, libc::TCP_LINGER2) => 60,
        (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => 64,
        _ => return None,
    })
}

fn linger(socket: &TcpSocket) -> Vec<u8> {
    let secs = socket.linger.map_or(0, |time| time.as_secs() as i32);
    let on = i32::from(socket.linger.is_some());
    [on.to_ne_bytes(), secs.to_ne_bytes()].concat()
}
