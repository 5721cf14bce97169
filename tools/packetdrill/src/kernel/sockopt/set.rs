//! `setsockopt`.

use std::num::{NonZeroU8, NonZeroU64};
use std::time::Duration;

use ustack::tcp::SocketOptions;

use super::super::file::{Kind, Phase, TcpSocket};
use super::super::{Fd, Kernel, Result};
use super::{MAX_BUFFER, MAXSEG, MIN_RCVBUF, MIN_SNDBUF, algorithm, int, int_or_byte};

impl Kernel {
    /// `setsockopt`.
    pub fn setsockopt(&mut self, fd: Fd, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let socket = match &mut self.files.get_mut(fd)?.kind {
            Kind::Tcp(socket) => socket,
            Kind::Udp(socket) => {
                socket.stored.insert((level, name), int_or_byte(value)?);
                return Ok(());
            }
            _ => return Err(libc::ENOTSOCK),
        };
        let key = (level, name);
        if key == (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT) && self.sysctls.fastopen & 1 == 0
        {
            return Err(libc::EOPNOTSUPP);
        }
        match level {
            libc::SOL_SOCKET => set_socket(socket, name, value)?,
            libc::IPPROTO_TCP => set_tcp(socket, name, value)?,
            libc::IPPROTO_IP | libc::IPPROTO_IPV6 => set_ip(socket, level, name, value)?,
            _ => return Err(libc::ENOPROTOOPT),
        }
        self.push_options(fd)
    }

    /// Tells the connection of a socket what its options are now.
    pub(in super::super) fn push_options(&mut self, fd: Fd) -> Result<()> {
        let socket = self.files.tcp(fd)?;
        let options = socket.core_options();
        match socket.phase {
            Phase::Opening(id) | Phase::Open(id) | Phase::Closed(id, _) => {
                // One that has ended needs no options.
                let tcp = self.host.tcp_mut();
                let _ = tcp.set_options(self.now, id, |all| *all = options);
                self.turn();
            }
            Phase::Listening(id) => {
                // A listener that is gone has nobody to tell.
                let _ = self
                    .host
                    .tcp_mut()
                    .set_listen_options(id, |all| *all = options);
            }
            Phase::Idle | Phase::Deferred(_) => {}
        }
        Ok(())
    }
}

fn set_socket(socket: &mut TcpSocket, name: i32, value: &[u8]) -> Result<()> {
    match name {
        libc::SO_LINGER => {
            let (on, secs) = (int(value)?, int(value.get(4..).unwrap_or(&[]))?);
            socket.linger = (on != 0).then(|| Duration::from_secs(secs.max(0) as u64));
            return Ok(());
        }
        libc::SO_MAX_PACING_RATE => return set_max_pacing_rate(socket, value),
        libc::SO_RCVTIMEO | libc::SO_SNDTIMEO => return set_timeout(socket, name, value),
        _ => {}
    }
    let number = int(value)?;
    // Linux doubles what it is told of a buffer, for its own overhead, and says so when asked.
    let doubled = |least: i32| 2 * number.clamp(0, MAX_BUFFER).max(least / 2);
    match name {
        libc::SO_KEEPALIVE => socket.keepalive.on = number != 0,
        libc::SO_SNDBUF | libc::SO_SNDBUFFORCE => {
            socket.options.send_buffer = Some(doubled(MIN_SNDBUF) as u32);
        }
        libc::SO_RCVBUF | libc::SO_RCVBUFFORCE => {
            socket.options.recv_buffer = Some(doubled(MIN_RCVBUF) as u32);
        }
        libc::SO_REUSEADDR
        | libc::SO_REUSEPORT
        | libc::SO_MARK
        | libc::SO_PRIORITY
        | libc::SO_OOBINLINE
        | libc::SO_RCVLOWAT
        | libc::SO_BUSY_POLL
        | libc::SO_INCOMING_CPU
        | libc::SO_TIMESTAMP
        | libc::SO_TIMESTAMPING
        | libc::SO_BINDTODEVICE
        | libc::SO_DONTROUTE
        | libc::SO_ZEROCOPY => {}
        _ => return Err(libc::ENOPROTOOPT),
    }
    socket.stored.insert((libc::SOL_SOCKET, name), number);
    Ok(())
}

/// A `struct timeval`; zero is no limit.
fn set_timeout(socket: &mut TcpSocket, name: i32, value: &[u8]) -> Result<()> {
    let word = |at: usize| {
        let bytes = value.get(at..at + 8).and_then(<[u8]>::first_chunk);
        bytes.map(|bytes| i64::from_ne_bytes(*bytes).max(0) as u64)
    };
    let (secs, micros) = (word(0).ok_or(libc::EINVAL)?, word(8).ok_or(libc::EINVAL)?);
    let timeout = Duration::from_secs(secs) + Duration::from_micros(micros);
    if timeout.is_zero() {
        socket.timeouts.remove(&name);
    } else {
        socket.timeouts.insert(name, timeout);
    }
    Ok(())
}

fn set_tcp(socket: &mut TcpSocket, name: i32, value: &[u8]) -> Result<()> {
    if name == libc::TCP_CONGESTION {
        let name = value.split(|&byte| byte == 0).next().unwrap_or(&[]);
        let name = str::from_utf8(name).map_err(|_| libc::ENOENT)?;
        socket.options.congestion = Some(algorithm(name)?);
        return Ok(());
    }
    let number = int(value)?;
    let is_new = matches!(socket.phase, Phase::Idle | Phase::Closed(..));
    let can_listen = is_new || matches!(socket.phase, Phase::Listening(_));
    let range = |range: std::ops::RangeInclusive<i32>| {
        if range.contains(&number) {
            Ok(())
        } else {
            Err(libc::EINVAL)
        }
    };
    match name {
        libc::TCP_NODELAY => socket.options.nodelay = number != 0,
        libc::TCP_CORK => socket.options.cork = number != 0,
        libc::TCP_MAXSEG => {
            if number != 0 {
                range(MAXSEG)?;
            }
            socket.options.max_segment = (number != 0).then_some(number as u16);
        }
        libc::TCP_KEEPIDLE | libc::TCP_KEEPINTVL | libc::TCP_KEEPCNT => {
            return set_keepalive(socket, name, number);
        }
        libc::TCP_NOTSENT_LOWAT
        | libc::TCP_USER_TIMEOUT
        | libc::TCP_SYNCNT
        | libc::TCP_QUICKACK
        | libc::TCP_DEFER_ACCEPT
        | libc::TCP_LINGER2 => set_limit(&mut socket.options, name, number)?,
        libc::TCP_FASTOPEN if number < 0 || !can_listen => return Err(libc::EINVAL),
        libc::TCP_FASTOPEN_CONNECT if !(0..=1).contains(&number) || !is_new => {
            return Err(libc::EINVAL);
        }
        TCP_INQ | libc::TCP_REPAIR => range(0..=1)?,
        libc::TCP_FASTOPEN => {
            socket.options.fast_open = (number > 0).then_some(number as u16);
        }
        libc::TCP_WINDOW_CLAMP
        | libc::TCP_FASTOPEN_CONNECT
        | libc::TCP_FASTOPEN_NO_COOKIE
        | libc::TCP_THIN_LINEAR_TIMEOUTS
        | libc::TCP_TIMESTAMP
        | libc::TCP_SAVE_SYN => {}
        _ => return Err(libc::ENOPROTOOPT),
    }
    socket.stored.insert((libc::IPPROTO_TCP, name), number);
    Ok(())
}

/// Bytes per second as `u32` or `u64`; all ones: no limit.
fn set_max_pacing_rate(socket: &mut TcpSocket, value: &[u8]) -> Result<()> {
    let short = int(value)? as u32;
    let rate = match value.first_chunk() {
        Some(long) => u64::from_ne_bytes(*long),
        None if short == u32::MAX => u64::MAX,
        None => short.into(),
    };
    let limited = NonZeroU64::new(rate.max(1)).filter(|rate| rate.get() != u64::MAX);
    socket.options.max_pacing_rate = limited;
    socket
        .stored
        .insert((libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE), short as i32);
    Ok(())
}

/// Options that say how long or how much.
fn set_limit(options: &mut SocketOptions, name: i32, number: i32) -> Result<()> {
    let secs = Duration::from_secs(number.max(0) as u64);
    match name {
        libc::TCP_NOTSENT_LOWAT => {
            let limit = number as u32;
            options.notsent_lowat = (limit != 0 && limit != u32::MAX).then_some(limit);
        }
        libc::TCP_USER_TIMEOUT if number < 0 => return Err(libc::EINVAL),
        libc::TCP_USER_TIMEOUT => {
            let timeout = Duration::from_millis(number as u64);
            options.user_timeout = (number > 0).then_some(timeout);
        }
        libc::TCP_SYNCNT if !(1..=127).contains(&number) => return Err(libc::EINVAL),
        libc::TCP_SYNCNT => options.syn_retries = Some(number as u8),
        libc::TCP_QUICKACK => options.quickack = number != 0,
        libc::TCP_DEFER_ACCEPT => options.defer_accept = (number > 0).then_some(secs),
        _ => options.linger2 = (number != 0).then_some(secs),
    }
    Ok(())
}

fn set_keepalive(socket: &mut TcpSocket, name: i32, number: i32) -> Result<()> {
    let most = if name == libc::TCP_KEEPCNT {
        127
    } else {
        32_767
    };
    if !(1..=most).contains(&number) {
        return Err(libc::EINVAL);
    }
    let (params, time) = (
        &mut socket.keepalive.params,
        Duration::from_secs(number as u64),
    );
    match name {
        libc::TCP_KEEPIDLE => params.idle = time,
        libc::TCP_KEEPINTVL => params.interval = time,
        _ => params.count = number as u8,
    }
    Ok(())
}

/// `TCP_INQ`: every `recvmsg` tells how much is left.
pub(super) const TCP_INQ: i32 = 36;

fn set_ip(socket: &mut TcpSocket, level: i32, name: i32, value: &[u8]) -> Result<()> {
    let number = int_or_byte(value)?;
    match (level, name) {
        (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            socket.options.dscp = (number >> 2) as u8 & 0x3f;
        }
        (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => {
            if !(-1..=255).contains(&number) || number == 0 {
                return Err(libc::EINVAL);
            }
            socket.options.ttl = NonZeroU8::new(number.max(0) as u8);
        }
        _ => {}
    }
    socket.stored.insert((level, name), number);
    Ok(())
}
