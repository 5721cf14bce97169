//! `ioctl` and `fcntl`.

use super::file::{Kind, Phase};
use super::{Fd, Kernel, Result};

/// `SIOCOUTQNSD`: bytes not yet sent.
pub const SIOCOUTQNSD: u64 = 0x894b;

/// `SIOCINQ`, which is `FIONREAD`.
pub const SIOCINQ: u64 = libc::FIONREAD;

/// `SIOCOUTQ`, which is `TIOCOUTQ`.
pub const SIOCOUTQ: u64 = libc::TIOCOUTQ;

impl Kernel {
    /// `ioctl` of a socket's queues: the number that the call stores.
    pub fn ioctl(&mut self, fd: Fd, request: u64) -> Result<i32> {
        if let Kind::Udp(_) = self.files.get(fd)?.kind {
            self.fill_udp(fd)?;
            let socket = self.files.udp_mut(fd)?;
            return match request {
                SIOCINQ => Ok(socket.peeked.front().map_or(0, |next| next.data.len()) as i32),
                _ => Err(libc::ENOTTY),
            };
        }
        let socket = self.files.tcp(fd)?;
        if let Phase::Listening(_) = socket.phase {
            return Err(libc::EINVAL);
        }
        let queued = socket
            .conn()
            .map(|id| self.host.tcp().queued(id))
            .unwrap_or_default();
        match request {
            // Linux counts a FIN that nothing precedes in the queue as nothing, too.
            SIOCINQ => Ok(queued.unread as i32),
            SIOCOUTQ => Ok(queued.unacked as i32),
            SIOCOUTQNSD => Ok(queued.unsent as i32),
            _ => Err(libc::ENOTTY),
        }
    }

    /// `fcntl` with `F_GETFL` or `F_SETFL`.
    pub fn fcntl(&mut self, fd: Fd, command: i32, argument: i32) -> Result<i32> {
        let file = self.files.get_mut(fd)?;
        match command {
            libc::F_GETFL => Ok(libc::O_RDWR | if file.nonblock { libc::O_NONBLOCK } else { 0 }),
            libc::F_SETFL => {
                file.nonblock = argument & libc::O_NONBLOCK != 0;
                Ok(0)
            }
            libc::F_GETFD | libc::F_SETFD => Ok(0),
            _ => Err(libc::EINVAL),
        }
    }

    /// Whether `O_NONBLOCK` is set; unknown descriptors never block.
    pub fn is_nonblocking(&self, fd: Fd) -> bool {
        self.files.get(fd).is_ok_and(|file| file.nonblock)
    }
}
