//! Calls of a program that blocks: asked again whenever something has changed.

use std::net::SocketAddr;

use ustack::tcp::time::{Duration, Instant};
use ustack::tcp::{ConnId, State};

use super::file::{Kind, Phase, TcpSocket};
use super::{EpollEvent, Errno, Fd, Kernel, Message, PollFd, Received, Recv, Result};

/// A system call that may wait.
#[derive(Clone, Debug)]
pub enum Call {
    /// `accept4` with its flags.
    Accept(Fd, i32),
    /// `connect`.
    Connect(Fd, Option<SocketAddr>),
    /// `write`, `send` and their relatives: all bytes, unless an error comes between.
    Send(Fd, Message),
    /// `read`, `recv` and their relatives: some bytes.
    Recv(Fd, Recv),
    /// `close`, which lingers where `SO_LINGER` says so.
    Close(Fd),
    /// `poll`; without a timeout for ever.
    Poll(Vec<PollFd>, Option<Duration>),
    /// `epoll_wait`: at most so many events.
    EpollWait(Fd, usize, Option<Duration>),
    /// `splice`: from, to, how much.
    Splice(Fd, Fd, usize),
}

/// What a call came back with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing but success.
    Done,
    /// The new descriptor and the peer.
    Accepted(Fd, SocketAddr),
    /// Bytes moved.
    Count(usize),
    /// What was received.
    Received(Received),
    /// The entries, with what was found.
    Polled(Vec<PollFd>),
    /// The events.
    Events(Vec<EpollEvent>),
}

/// A call under way.
#[derive(Clone, Debug)]
pub struct Blocking {
    call: Call,
    /// Bytes moved before it had to wait.
    done: usize,
    /// It has opened the connection, and waits for the handshake before anything else.
    opening: bool,
    /// The connection that `close` has ended, and lingers for.
    closing: Option<ConnId>,
    /// When it gives up.
    deadline: Option<Instant>,
}

impl Blocking {
    /// The call begins.
    pub fn new(kernel: &Kernel, call: Call) -> Self {
        let timeout = match &call {
            Call::Poll(_, timeout) | Call::EpollWait(_, _, timeout) => *timeout,
            Call::Recv(fd, _) => kernel.timeout_of(*fd, libc::SO_RCVTIMEO),
            Call::Send(fd, _) => kernel.timeout_of(*fd, libc::SO_SNDTIMEO),
            Call::Close(fd) => kernel.linger_of(*fd),
            _ => None,
        };
        Self {
            call,
            done: 0,
            opening: false,
            closing: None,
            deadline: timeout.map(|timeout| kernel.now() + timeout),
        }
    }

    /// When it gives up, whatever happens; the clock must stop there.
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether it has data for a connection that is not open yet.
    pub const fn is_opening(&self) -> bool {
        self.opening
    }

    /// Tries again; `None`: it still waits. A descriptor with `O_NONBLOCK` never waits.
    pub fn attempt(&mut self, kernel: &mut Kernel) -> Option<Result<Reply>> {
        let is_late = self.deadline.is_some_and(|at| at <= kernel.now());
        let result = match &mut self.call {
            Call::Accept(fd, flags) => kernel
                .accept(*fd, *flags)
                .map(|(new, peer)| Reply::Accepted(new, peer)),
            Call::Connect(fd, to) => {
                let result = kernel.connect(*fd, *to);
                let waits = result == Err(libc::EINPROGRESS) || result == Err(libc::EALREADY);
                return match result {
                    _ if waits && !kernel.is_nonblocking(*fd) => None,
                    result => Some(result.map(|()| Reply::Done)),
                };
            }
            Call::Send(fd, message) => {
                let (done, opening) = (&mut self.done, &mut self.opening);
                return Self::send(kernel, *fd, message, done, opening, is_late);
            }
            Call::Recv(fd, recv) => kernel.receive(*fd, recv),
            Call::Close(fd) => {
                let may_wait = self.deadline.is_some() && !is_late;
                return Self::close(kernel, *fd, &mut self.closing, may_wait);
            }
            Call::Poll(fds, _) => {
                let found = kernel.poll(fds);
                return (found > 0 || is_late).then(|| Ok(Reply::Polled(fds.clone())));
            }
            Call::EpollWait(fd, max, _) => match kernel.epoll_wait(*fd, *max) {
                Ok(events) if events.is_empty() && !is_late => return None,
                result => result.map(Reply::Events),
            },
            Call::Splice(from, to, len) => kernel.splice(*from, *to, *len).map(Reply::Count),
        };
        if result == Err(libc::EAGAIN) && self.may_wait(kernel) && !is_late {
            return None;
        }
        Some(result)
    }

    /// Ends the connection, and waits until the peer has all of it.
    fn close(
        kernel: &mut Kernel,
        fd: Fd,
        closing: &mut Option<ConnId>,
        may_wait: bool,
    ) -> Option<Result<Reply>> {
        if closing.is_none() {
            *closing = kernel.files.tcp(fd).ok().and_then(TcpSocket::conn);
            if let Err(errno) = kernel.close(fd) {
                return Some(Err(errno));
            }
        }
        let lingers = may_wait && closing.is_some_and(|id| kernel.is_closing(id));
        (!lingers).then_some(Ok(Reply::Done))
    }

    fn may_wait(&self, kernel: &Kernel) -> bool {
        let (fd, flags) = match &self.call {
            Call::Accept(fd, _) | Call::Splice(fd, ..) => (*fd, 0),
            Call::Recv(_, recv) if recv.flags & libc::MSG_ERRQUEUE != 0 => return false,
            Call::Recv(fd, recv) => (*fd, recv.flags),
            Call::Send(fd, message) => (*fd, message.flags),
            _ => return false,
        };
        !kernel.is_nonblocking(fd) && flags & libc::MSG_DONTWAIT == 0
    }

    fn send(
        kernel: &mut Kernel,
        fd: Fd,
        message: &Message,
        done: &mut usize,
        opening: &mut bool,
        is_late: bool,
    ) -> Option<Result<Reply>> {
        let waits = !kernel.is_nonblocking(fd) && message.flags & libc::MSG_DONTWAIT == 0;
        let mut rest = Message {
            data: message.data.rest(*done),
            ..message.clone()
        };
        if *opening {
            if kernel.is_connecting(fd) && !is_late {
                return None;
            }
            if let Some(error) = kernel.take_end(fd) {
                return Some(Err(error));
            }
            rest.flags &= !libc::MSG_FASTOPEN; // the SYN is out
            if rest.data.is_empty() {
                return Some(Ok(Reply::Count(*done)));
            }
        }
        match kernel.sendmsg(fd, &rest) {
            Ok(taken) => *done += taken,
            Err(libc::EAGAIN) => {}
            Err(libc::EINPROGRESS) if waits => {}
            Err(_) if *done > 0 => return Some(Ok(Reply::Count(*done))),
            Err(error) => return Some(Err(error)),
        }
        if waits && !*opening && kernel.is_connecting(fd) {
            *opening = true;
            return None;
        }
        if *done >= message.data.len() {
            return Some(Ok(Reply::Count(*done)));
        }
        match (waits && !is_late, *done) {
            (true, _) => None,
            (false, 0) => Some(Err(libc::EAGAIN)),
            (false, done) => Some(Ok(Reply::Count(done))),
        }
    }
}

impl Kernel {
    fn receive(&mut self, fd: Fd, recv: &Recv) -> Result<Reply> {
        if let Kind::Pipe(_) = self.files.get(fd)?.kind {
            let data = self.read(fd, *recv)?;
            return Ok(Reply::Received(Received {
                len: data.len(),
                data,
                ..Received::default()
            }));
        }
        self.recvmsg(fd, recv).map(Reply::Received)
    }

    /// `SO_RCVTIMEO` or `SO_SNDTIMEO`.
    fn timeout_of(&self, fd: Fd, name: i32) -> Option<Duration> {
        self.files.tcp(fd).ok()?.timeouts.get(&name).copied()
    }

    /// How long `close` may take (`SO_LINGER`).
    fn linger_of(&self, fd: Fd) -> Option<Duration> {
        let socket = self.files.tcp(fd).ok()?;
        socket.linger.filter(|linger| !linger.is_zero())
    }

    /// Whether something of ours, the FIN included, is not acknowledged yet.
    fn is_closing(&self, id: ConnId) -> bool {
        let mut all = self.host.tcp().connections();
        let ended = [State::FinWait2, State::TimeWait, State::Closed];
        all.any(|conn| conn.id == id && !ended.contains(&conn.state))
    }

    /// The error that a connection ended with, told once.
    fn take_end(&mut self, fd: Fd) -> Option<Errno> {
        self.files.tcp_mut(fd).ok()?.error.take()
    }

    /// Whether a handshake is under way.
    pub fn is_connecting(&self, fd: Fd) -> bool {
        let socket = self.files.tcp(fd);
        socket.is_ok_and(|socket| matches!(socket.phase, Phase::Opening(_)))
    }
}
