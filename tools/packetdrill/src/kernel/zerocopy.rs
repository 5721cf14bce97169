//! `MSG_ZEROCOPY`: the completions that Linux puts into a socket's error queue, and `TCP_INQ`.
//!
//! Nothing is saved here, since the caller's bytes are copied anyway; Linux says so, too, of a
//! device that cannot do without (`SO_EE_CODE_ZEROCOPY_COPIED`).

use std::collections::VecDeque;

use super::file::TcpSocket;
use super::{Control, Fd, Kernel, Received, Result};

/// `SO_EE_ORIGIN_ZEROCOPY` and `SO_EE_CODE_ZEROCOPY_COPIED`.
const ORIGIN: u8 = 5;
const COPIED: u8 = 1;

/// `TCP_CM_INQ`, which is `TCP_INQ`.
const TCP_CM_INQ: i32 = 36;

/// Sends not yet acknowledged that one socket remembers; more go without completion.
const MAX_PENDING: usize = 1024;

/// What a socket knows of its sends without copy.
#[derive(Debug, Default)]
pub(super) struct Zerocopy {
    /// Bytes sent so far, by all calls.
    written: u64,
    next: u32,
    /// Number and end of each send.
    pending: VecDeque<(u32, u64)>,
    /// First and last number of completed sends, joined.
    completed: VecDeque<(u32, u32)>,
    /// Sends completed so far.
    pub(super) completions: u64,
}

impl Zerocopy {
    /// `len` bytes were taken by a call, with `MSG_ZEROCOPY` or without.
    pub(super) fn on_sent(&mut self, len: usize, zerocopy: bool) {
        self.written += len as u64;
        if zerocopy && len > 0 && self.pending.len() < MAX_PENDING {
            self.pending.push_back((self.next, self.written));
            self.next += 1;
        }
    }

    /// All but the last `unacked` bytes have been acknowledged.
    pub(super) fn on_acked(&mut self, unacked: u32) {
        let acked = self.written.saturating_sub(unacked.into());
        while let Some(&(number, end)) = self.pending.front()
            && end <= acked
        {
            self.pending.pop_front();
            self.completions += 1;
            match self.completed.back_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => self.completed.push_back((number, number)),
            }
        }
    }

    pub(super) fn has_completed(&self) -> bool {
        !self.completed.is_empty()
    }
}

impl Kernel {
    /// Looks whether more of a socket's sends have been acknowledged.
    pub(super) fn update_zerocopy(&mut self, fd: Fd) -> Result<()> {
        let conn = self.files.tcp(fd)?.conn();
        let unacked = conn.map_or(0, |id| self.host.tcp().queued(id).unacked);
        self.files.tcp_mut(fd)?.zerocopy.on_acked(unacked);
        Ok(())
    }

    /// `recvmsg` with `MSG_ERRQUEUE`.
    pub(super) fn recv_error_queue(&mut self, fd: Fd) -> Result<Received> {
        self.update_zerocopy(fd)?;
        let socket = self.files.tcp_mut(fd)?;
        let (first, last) = socket.zerocopy.completed.pop_front().ok_or(libc::EAGAIN)?;
        let (level, kind) = if socket.is_v6 {
            (libc::SOL_IPV6, libc::IPV6_RECVERR)
        } else {
            (libc::SOL_IP, libc::IP_RECVERR)
        };
        // `struct sock_extended_err`: errno, origin, type, code, padding, info, data.
        let mut data = vec![0, 0, 0, 0, ORIGIN, 0, COPIED, 0];
        data.extend(first.to_ne_bytes());
        data.extend(last.to_ne_bytes());
        // The address of who is to blame: nobody.
        let offender = if socket.is_v6 {
            size_of::<libc::sockaddr_in6>()
        } else {
            size_of::<libc::sockaddr_in>()
        };
        data.resize(data.len() + offender, 0);
        Ok(Received {
            flags: libc::MSG_ERRQUEUE,
            control: vec![Control { level, kind, data }],
            ..Received::default()
        })
    }

    /// What `recvmsg` tells besides the bytes: with `TCP_INQ`, how much is left.
    pub(super) fn stream_controls(&self, socket: &TcpSocket) -> Vec<Control> {
        let wants = socket.stored.get(&(libc::IPPROTO_TCP, TCP_CM_INQ));
        let (Some(1), Some(id)) = (wants, socket.conn()) else {
            return Vec::new();
        };
        let queued = self.host.tcp().queued(id);
        // One byte more than there is says that the end can be read.
        let left = if queued.unread == 0 && queued.fin_received {
            1
        } else {
            queued.unread
        };
        vec![Control {
            level: libc::IPPROTO_TCP,
            kind: TCP_CM_INQ,
            data: (left as i32).to_ne_bytes().to_vec(),
        }]
    }
}
