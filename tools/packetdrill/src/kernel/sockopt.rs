//! `setsockopt` and `getsockopt`.

use std::time::Duration;

use ustack::tcp::{CongestionAlgorithm, Keepalive, SocketOptions};

use super::file::Kind;
use super::{Fd, Kernel, Result};

impl Kernel {
    /// `setsockopt`.
    pub fn setsockopt(&mut self, fd: Fd, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if let Kind::Udp(socket) = &mut self.files.get_mut(fd)?.kind {
            let value = int(value)?;
            socket.stored.insert((level, name), value);
            return Ok(());
        }
        match (level, name) {
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => return self.set_congestion(fd, value),
            (libc::SOL_SOCKET, libc::SO_LINGER) => {
                let (on, secs) = (int(value)?, int(value.get(4..).unwrap_or(&[]))?);
                let linger = (on != 0).then(|| Duration::from_secs(secs.max(0) as u64));
                self.files.tcp_mut(fd)?.linger = linger;
                return Ok(());
            }
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => {
                return self.set_timeout(fd, name, value);
            }
            _ => {}
        }
        let value = int(value)?;
        let mut options = self.files.tcp(fd)?.options;
        apply(&mut options, level, name, value)?;
        let socket = self.files.tcp_mut(fd)?;
        socket.options = options;
        socket.stored.insert((level, name), value);
        self.push_options(fd)
    }

    /// Tells the connection of a socket what its options are now.
    fn push_options(&mut self, fd: Fd) -> Result<()> {
        let socket = self.files.tcp(fd)?;
        let options = socket.options;
        if let Some(id) = socket.conn() {
            // One that has ended needs no options.
            let _ = self
                .host
                .tcp_mut()
                .set_options(self.now, id, |all| *all = options);
            self.turn();
        }
        Ok(())
    }

    /// A `struct timeval`; zero is no limit.
    fn set_timeout(&mut self, fd: Fd, name: i32, value: &[u8]) -> Result<()> {
        let word = |at: usize| {
            let bytes = value.get(at..at + 8).and_then(<[u8]>::first_chunk);
            bytes.map(|bytes| i64::from_ne_bytes(*bytes).max(0) as u64)
        };
        let (secs, micros) = (word(0).ok_or(libc::EINVAL)?, word(8).ok_or(libc::EINVAL)?);
        let timeout = Duration::from_secs(secs) + Duration::from_micros(micros);
        let timeouts = &mut self.files.tcp_mut(fd)?.timeouts;
        if timeout.is_zero() {
            timeouts.remove(&name);
        } else {
            timeouts.insert(name, timeout);
        }
        Ok(())
    }

    fn set_congestion(&mut self, fd: Fd, value: &[u8]) -> Result<()> {
        let name = value.split(|&byte| byte == 0).next().unwrap_or(&[]);
        let algorithm = match name {
            b"reno" => CongestionAlgorithm::Reno,
            b"cubic" => CongestionAlgorithm::Cubic,
            _ => return Err(libc::ENOENT),
        };
        self.files.tcp_mut(fd)?.options.congestion = Some(algorithm);
        self.push_options(fd)
    }

    /// `getsockopt`: the bytes, at most `len` of them.
    pub fn getsockopt(&mut self, fd: Fd, level: i32, name: i32, len: usize) -> Result<Vec<u8>> {
        let socket = match &mut self.files.get_mut(fd)?.kind {
            Kind::Tcp(socket) => socket,
            Kind::Udp(socket) => {
                let value = match (level, name) {
                    (libc::SOL_SOCKET, libc::SO_ERROR) => socket.error.take().unwrap_or(0),
                    key => *socket.stored.get(&key).ok_or(libc::ENOPROTOOPT)?,
                };
                return Ok(value.to_ne_bytes()[..len.min(4)].to_vec());
            }
            _ => return Err(libc::ENOTSOCK),
        };
        let value = match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => socket.error.take().unwrap_or(0),
            (libc::SOL_SOCKET, libc::SO_TYPE) => libc::SOCK_STREAM,
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => i32::from(socket.options.nodelay),
            key => *socket.stored.get(&key).ok_or(libc::ENOPROTOOPT)?,
        };
        Ok(value.to_ne_bytes()[..len.min(4)].to_vec())
    }
}

/// The first `int` of an option's value.
fn int(value: &[u8]) -> Result<i32> {
    match value.first_chunk() {
        Some(bytes) => Ok(i32::from_ne_bytes(*bytes)),
        None => Err(libc::EINVAL),
    }
}

/// What an option means to the core; what it does not know is remembered only.
fn apply(options: &mut SocketOptions, level: i32, name: i32, value: i32) -> Result<()> {
    let secs = |value: i32| Duration::from_secs(value.max(0) as u64);
    match (level, name) {
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) => options.nodelay = value != 0,
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {
            if value < 0 {
                return Err(libc::EINVAL);
            }
            options.user_timeout = (value > 0).then(|| Duration::from_millis(value as u64));
        }
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => {
            options.keepalive = (value != 0).then(Keepalive::default);
        }
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => {
            options.keepalive.get_or_insert_default().idle = secs(value);
        }
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => {
            options.keepalive.get_or_insert_default().interval = secs(value);
        }
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => {
            options.keepalive.get_or_insert_default().count = value as u8;
        }
        // Linux doubles what it is told, for its own overhead.
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => options.send_buffer = Some(2 * value as u32),
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => options.recv_buffer = Some(2 * value as u32),
        (libc::IPPROTO_IP, libc::IP_TOS) => options.dscp = (value >> 2) as u8 & 0x3f,
        _ => {}
    }
    Ok(())
}
