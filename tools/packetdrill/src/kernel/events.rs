//! What the core tells, remembered where the next system call finds it.

use ustack::tcp::{CloseReason, ConnId, Event};

use super::file::{Kind, Phase, TcpSocket};
use super::{Errno, Kernel, MAX_ENDED};

impl Kernel {
    pub(super) fn collect_events(&mut self) {
        while let Some(event) = self.host.tcp_mut().poll_event() {
            match event {
                Event::Connected(id) => {
                    if let Some(socket) = self.socket_of(id) {
                        socket.phase = Phase::Open(id);
                    }
                }
                Event::Closed(id, reason) => self.on_closed(id, reason),
                _ => {}
            }
        }
        while self.host.udp_mut().poll_event().is_some() {}
    }

    fn on_closed(&mut self, id: ConnId, reason: CloseReason) {
        let fin_received = self.host.tcp().queued(id).fin_received;
        let Some(socket) = self.socket_of(id) else {
            if self.ended.len() < MAX_ENDED {
                self.ended.insert(id, reason);
            }
            return;
        };
        // A RST after the peer's FIN leaves nothing to read: the writer hears of it.
        socket.error = match errno_of(reason) {
            Some(libc::ECONNRESET) if fin_received => Some(libc::EPIPE),
            errno => errno.or(socket.error),
        };
        socket.phase = Phase::Closed(id, reason);
    }

    fn socket_of(&mut self, id: ConnId) -> Option<&mut TcpSocket> {
        let fd = *self.by_conn.get(&id)?;
        match &mut self.files.get_mut(fd).ok()?.kind {
            Kind::Tcp(socket) => Some(socket),
            _ => None,
        }
    }
}

/// What an application hears of a connection's end.
pub(super) const fn errno_of(reason: CloseReason) -> Option<Errno> {
    match reason {
        CloseReason::Reset => Some(libc::ECONNRESET),
        CloseReason::Refused => Some(libc::ECONNREFUSED),
        CloseReason::TimedOut => Some(libc::ETIMEDOUT),
        CloseReason::Unreachable => Some(libc::EHOSTUNREACH),
        CloseReason::Aborted => Some(libc::ECONNABORTED),
        _ => None,
    }
}
