//! Bytes in and out: `send`, `recv` and their relatives.

use std::net::SocketAddr;

use bytes::Bytes;
use ustack::tcp::{ConnId, Read};

use super::file::{Kind, Phase};
use super::socket::socket_errno;
use super::{Errno, Fd, Kernel, Result};

/// The most that one call moves: more is a script's mistake.
const MAX_CALL: usize = 64 << 20;

/// What a program gives to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many zero bytes, which is what scripts write.
    Zeros(usize),
    /// So many bytes at an address that cannot be read.
    Fault(usize),
}

impl Data {
    /// How many bytes the program says these are.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Zeros(len) | Self::Fault(len) => *len,
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn bytes(&self) -> Result<Bytes> {
        match self {
            Self::Fault(0) => Ok(Bytes::new()),
            Self::Fault(_) => Err(libc::EFAULT),
            data if data.len() > MAX_CALL => Err(libc::ENOMEM),
            Self::Bytes(bytes) => Ok(Bytes::copy_from_slice(bytes)),
            Self::Zeros(len) => Ok(vec![0; *len].into()),
        }
    }

    /// What is left once `done` bytes have been sent.
    pub(super) fn rest(&self, done: usize) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes[done.min(bytes.len())..].to_vec()),
            Self::Zeros(len) => Self::Zeros(len.saturating_sub(done)),
            Self::Fault(len) => Self::Fault(len.saturating_sub(done)),
        }
    }
}

/// One control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `cmsg_level`.
    pub level: i32,
    /// `cmsg_type`.
    pub kind: i32,
    /// Its data.
    pub data: Vec<u8>,
}

/// What `sendmsg` sends.
#[derive(Clone, Debug)]
pub struct Message {
    /// The bytes of all its vectors.
    pub data: Data,
    /// To whom, where that is said.
    pub to: Option<SocketAddr>,
    /// `MSG_…`.
    pub flags: i32,
    /// Control messages.
    pub control: Vec<Control>,
}

impl Message {
    /// Bytes without address or flags.
    pub const fn new(data: Data) -> Self {
        Self {
            data,
            to: None,
            flags: 0,
            control: Vec::new(),
        }
    }
}

/// How `recvmsg` receives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recv {
    /// Room, in bytes.
    pub len: usize,
    /// `MSG_…`.
    pub flags: i32,
    /// The room is at an address that cannot be written.
    pub fault: bool,
}

/// What `recvmsg` received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// What the call returns: with `MSG_TRUNC` it may be more than the data.
    pub len: usize,
    /// The bytes.
    pub data: Vec<u8>,
    /// From whom, on a datagram socket.
    pub from: Option<SocketAddr>,
    /// `msg_flags`.
    pub flags: i32,
    /// Control messages.
    pub control: Vec<Control>,
}

impl Kernel {
    /// `write`, `writev`: on a pipe too.
    pub fn write(&mut self, fd: Fd, data: Data) -> Result<usize> {
        if let Kind::Pipe(_) = self.files.get(fd)?.kind {
            return self.write_pipe(fd, &data);
        }
        self.sendmsg(fd, &Message::new(data))
    }

    /// `send`.
    pub fn send(&mut self, fd: Fd, data: Data, flags: i32) -> Result<usize> {
        let message = Message {
            flags,
            ..Message::new(data)
        };
        self.sendmsg(fd, &message)
    }

    /// `sendto`.
    pub fn sendto(&mut self, fd: Fd, data: Data, flags: i32, to: SocketAddr) -> Result<usize> {
        let message = Message {
            flags,
            to: Some(to),
            ..Message::new(data)
        };
        self.sendmsg(fd, &message)
    }

    /// `sendmsg`. Takes what there is room for; `EAGAIN` when there is none.
    pub fn sendmsg(&mut self, fd: Fd, message: &Message) -> Result<usize> {
        if let Kind::Udp(_) = self.files.get(fd)?.kind {
            return self.send_udp(fd, message);
        }
        if self.wants_fast_open(fd, message)? {
            return self.send_fast_open(fd, message);
        }
        let id = self.check_send(fd)?;
        let data = message.data.bytes()?;
        self.set_more(fd, message.flags & libc::MSG_MORE != 0)?;
        let taken = self.push(id, &data, message.flags & libc::MSG_OOB != 0)?;
        self.note_sent(fd, taken, message.flags)?;
        self.turn();
        match taken {
            0 if !data.is_empty() => Err(libc::EAGAIN),
            taken => Ok(taken),
        }
    }

    /// `MSG_MORE` corks until the next call without it.
    fn set_more(&mut self, fd: Fd, more: bool) -> Result<()> {
        let socket = self.files.tcp_mut(fd)?;
        if std::mem::replace(&mut socket.more, more) != more {
            self.push_options(fd)?;
        }
        Ok(())
    }

    pub(super) fn note_sent(&mut self, fd: Fd, taken: usize, flags: i32) -> Result<()> {
        let socket = self.files.tcp_mut(fd)?;
        let key = (libc::SOL_SOCKET, libc::SO_ZEROCOPY);
        let is_on = socket.stored.get(&key).is_some_and(|&on| on != 0);
        let zerocopy = is_on && flags & libc::MSG_ZEROCOPY != 0;
        socket.zerocopy.on_sent(taken, zerocopy);
        Ok(())
    }

    fn wants_fast_open(&self, fd: Fd, message: &Message) -> Result<bool> {
        let asks = message.flags & libc::MSG_FASTOPEN != 0;
        Ok(match self.files.tcp(fd)?.phase {
            Phase::Deferred(_) => true,
            Phase::Idle => asks,
            Phase::Opening(_) if asks => return Err(libc::EALREADY),
            _ => false,
        })
    }

    /// Whether a stream takes bytes, and of which connection.
    fn check_send(&mut self, fd: Fd) -> Result<ConnId> {
        let socket = self.files.tcp_mut(fd)?;
        match socket.phase {
            Phase::Opening(_) => Err(libc::EAGAIN),
            Phase::Idle | Phase::Listening(_) | Phase::Deferred(_) | Phase::Closed(..) => {
                Err(socket.error.take().unwrap_or(libc::EPIPE))
            }
            Phase::Open(_) if socket.shut_wr => Err(libc::EPIPE),
            Phase::Open(id) => Ok(id),
        }
    }

    fn push(&mut self, id: ConnId, data: &Bytes, urgent: bool) -> Result<usize> {
        let mut taken = 0;
        while taken < data.len() {
            let rest = data.slice(taken..);
            let tcp = self.host.tcp_mut();
            let more = if urgent {
                tcp.write_urgent(self.now, id, &rest)
            } else {
                tcp.write(self.now, id, &rest)
            };
            match more.map_err(socket_errno)? {
                0 => break,
                more => taken += more,
            }
        }
        Ok(taken)
    }

    /// `read`, `readv`: on a pipe too.
    pub fn read(&mut self, fd: Fd, recv: Recv) -> Result<Vec<u8>> {
        if let Kind::Pipe(_) = self.files.get(fd)?.kind {
            return self.read_pipe(fd, recv.len);
        }
        self.recvmsg(fd, &recv).map(|received| received.data)
    }

    /// `recv`, `recvfrom`, `recvmsg`. `EAGAIN`: nothing yet.
    pub fn recvmsg(&mut self, fd: Fd, recv: &Recv) -> Result<Received> {
        if let Kind::Udp(_) = self.files.get(fd)?.kind {
            return self.recv_udp(fd, recv);
        }
        if recv.flags & libc::MSG_ERRQUEUE != 0 {
            return self.recv_error_queue(fd);
        }
        let socket = self.files.tcp_mut(fd)?;
        let (error, shut_rd) = (socket.error, socket.shut_rd);
        let id = match socket.phase {
            Phase::Idle | Phase::Listening(_) => {
                return Err(socket.error.take().unwrap_or(libc::ENOTCONN));
            }
            Phase::Opening(_) | Phase::Deferred(_) => return Err(libc::EAGAIN),
            Phase::Open(id) | Phase::Closed(id, _) => id,
        };
        let data = self.take(id, recv)?;
        if data.is_empty() && recv.len > 0 {
            return self.nothing_to_read(fd, id, error, shut_rd);
        }
        self.turn();
        let control = self.stream_controls(self.files.tcp(fd)?);
        Ok(Received {
            len: data.len(),
            // `MSG_TRUNC` on a stream: the bytes are thrown away.
            data: if recv.flags & libc::MSG_TRUNC != 0 {
                Vec::new()
            } else {
                data
            },
            control,
            ..Received::default()
        })
    }

    /// Bytes of a connection, as many as there are and fit.
    fn take(&mut self, id: ConnId, recv: &Recv) -> Result<Vec<u8>> {
        let unread = self.host.tcp().queued(id).unread as usize;
        if unread > 0 && recv.fault && recv.len > 0 {
            return Err(libc::EFAULT);
        }
        if recv.flags & libc::MSG_PEEK != 0 {
            return Ok(self.host.tcp().peek(id, recv.len));
        }
        let mut data = Vec::new();
        while data.len() < recv.len
            && let Ok(Read::Data(chunk)) =
                self.host
                    .tcp_mut()
                    .read(self.now, id, recv.len - data.len())
        {
            data.extend_from_slice(&chunk);
        }
        Ok(data)
    }

    fn nothing_to_read(
        &mut self,
        fd: Fd,
        id: ConnId,
        error: Option<Errno>,
        shut_rd: bool,
    ) -> Result<Received> {
        let fin_received = self.host.tcp().queued(id).fin_received;
        let socket = self.files.tcp_mut(fd)?;
        if fin_received && error != Some(libc::ECONNRESET) {
            return Ok(Received::default());
        }
        if let Some(error) = error {
            socket.error = None;
            return Err(error);
        }
        if shut_rd || matches!(socket.phase, Phase::Closed(..)) {
            return Ok(Received::default());
        }
        Err(libc::EAGAIN)
    }
}
