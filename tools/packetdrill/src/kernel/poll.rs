//! What a descriptor is ready for: `poll`, and the masks of `epoll`.

use ustack::tcp::ConnId;

use super::file::{Kind, Phase, TcpSocket};
use super::{Fd, Kernel, Result};

/// One entry of `poll`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollFd {
    /// Whose.
    pub fd: Fd,
    /// `POLL…` asked for.
    pub events: i16,
    /// `POLL…` found.
    pub revents: i16,
}

impl Kernel {
    /// `poll` with a timeout of 0: how many entries found something.
    pub fn poll(&mut self, fds: &mut [PollFd]) -> usize {
        let mut ready = 0;
        for entry in fds {
            let always = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
            entry.revents = match self.readiness(entry.fd) {
                Ok(mask) => mask & (entry.events | always),
                Err(_) => libc::POLLNVAL,
            };
            ready += usize::from(entry.revents != 0);
        }
        ready
    }

    /// Everything a descriptor is ready for.
    pub(super) fn readiness(&mut self, fd: Fd) -> Result<i16> {
        let conn = match &self.files.get(fd)?.kind {
            Kind::Udp(_) => return self.udp_readiness(fd),
            Kind::Epoll(_) => {
                return Ok(if self.has_epoll_event(fd) {
                    libc::POLLIN
                } else {
                    0
                });
            }
            Kind::Pipe(end) => {
                let (ready, gone) = self.pipe_state(*end);
                let both = libc::POLLIN | libc::POLLOUT;
                return Ok(if ready { both } else { 0 } | if gone { libc::POLLHUP } else { 0 });
            }
            Kind::Tcp(socket) => match socket.phase {
                Phase::Listening(id) => {
                    let waiting = self.host.tcp().backlog(id).is_some_and(|(_, n)| n > 0);
                    return Ok(if waiting {
                        libc::POLLIN | libc::POLLRDNORM
                    } else {
                        0
                    });
                }
                Phase::Idle => return Ok(libc::POLLOUT | libc::POLLWRNORM | libc::POLLHUP),
                Phase::Opening(_) => return Ok(0),
                Phase::Deferred(_) => return Ok(libc::POLLOUT | libc::POLLWRNORM),
                Phase::Open(id) | Phase::Closed(id, _) => id,
            },
        };
        self.update_zerocopy(fd)?;
        let room = self.host.tcp_mut().write_room(conn).unwrap_or(0);
        let socket = self.files.tcp(fd)?;
        Ok(self.stream_readiness(socket, conn, room))
    }

    fn stream_readiness(&self, socket: &TcpSocket, conn: ConnId, room: usize) -> i16 {
        let queued = self.host.tcp().queued(conn);
        let is_closed = matches!(socket.phase, Phase::Closed(..));
        let no_more_in = queued.fin_received || socket.shut_rd || is_closed;
        let no_more_out = socket.shut_wr || is_closed;
        let mut mask = 0;
        if queued.unread > 0 || no_more_in {
            mask |= libc::POLLIN | libc::POLLRDNORM;
        }
        if no_more_in {
            mask |= libc::POLLRDHUP;
        }
        if room > 0 || no_more_out {
            mask |= libc::POLLOUT | libc::POLLWRNORM;
        }
        if is_closed || (no_more_in && no_more_out) {
            mask |= libc::POLLHUP;
        }
        if socket.error.is_some() || socket.zerocopy.has_completed() {
            mask |= libc::POLLERR;
        }
        mask
    }

    fn udp_readiness(&mut self, fd: Fd) -> Result<i16> {
        self.fill_udp(fd)?;
        let socket = self.files.udp_mut(fd)?;
        let mut mask = libc::POLLOUT | libc::POLLWRNORM;
        if !socket.peeked.is_empty() {
            mask |= libc::POLLIN | libc::POLLRDNORM;
        }
        if socket.error.is_some() {
            mask |= libc::POLLERR;
        }
        Ok(mask)
    }
}
