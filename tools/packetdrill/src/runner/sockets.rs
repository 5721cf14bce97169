//! The calls that a script may make, with their arguments.

use std::net::SocketAddr;

use ustack::tcp::testing::script::ast::{Call, Expr};
use ustack::tcp::testing::script::unescape;

use super::calls::{Answer, Begun};
use super::values::{address, int, integer, option_value, size};
use super::{Result, Runner, not_runnable};
use crate::kernel::{Call as KernelCall, Data, Fd, Message, Recv};
use crate::options::Suite;

impl Runner<'_> {
    /// Begins a call.
    pub(super) fn begin(&mut self, call: &Call) -> Result<Begun> {
        let args = call.args.as_slice();
        let begun = match call.name.as_str() {
            "socket" => self.socket(args)?,
            "bind" | "listen" | "connect" | "accept" | "accept4" | "shutdown" => {
                self.connection_call(&call.name, args)?
            }
            "close" => self.close(args)?,
            "read" | "readv" | "recv" | "recvfrom" => self.receive(&call.name, args)?,
            "write" | "writev" | "send" | "sendto" => self.send(&call.name, args)?,
            "sendmsg" | "recvmsg" => self.message(&call.name, args)?,
            "setsockopt" | "getsockopt" => self.option(&call.name, args)?,
            "fcntl" => {
                let argument = args.get(2).map_or(Ok(0), int)?;
                let fd = self.fd(arg(args, 0)?)?;
                let result = self.kernel.fcntl(fd, int(arg(args, 1)?)?, argument);
                Begun::Done(result.map(|n| Answer::Number(n.into())))
            }
            "ioctl" => {
                let fd = self.fd(arg(args, 0)?)?;
                let request = integer(arg(args, 1)?)? as u64;
                Begun::Done(self.kernel.ioctl(fd, request).map(Answer::Stored))
            }
            "poll" | "epoll_create" | "epoll_create1" | "epoll_ctl" | "epoll_wait" => {
                self.poll_call(&call.name, args)?
            }
            "pipe" => Begun::Done(self.kernel.pipe().map(Answer::Pair)),
            "splice" => {
                let (from, to) = (self.fd(arg(args, 0)?)?, self.fd(arg(args, 2)?)?);
                Begun::Waits(KernelCall::Splice(from, to, size(arg(args, 4)?)?))
            }
            "open" => Begun::Done(Ok(Answer::ZeroFile)),
            "sendfile" => {
                let data = Data::Bytes(vec![0; size(arg(args, 3)?)?]);
                let data = self.note_write(integer(arg(args, 0)?)?, data);
                let message = Message::new(data);
                Begun::Waits(KernelCall::Send(self.fd(arg(args, 0)?)?, message))
            }
            other => return Err(not_runnable(format!("the call {other}"))),
        };
        self.collect();
        Ok(begun)
    }

    /// The host's descriptor for one of the script's.
    pub(super) fn fd(&self, expr: &Expr) -> Result<Fd> {
        let fd = integer(expr)?;
        // One that is not open is the host's to refuse.
        Ok(self.files.get(&fd).copied().unwrap_or(-1))
    }

    fn socket(&mut self, args: &[Expr]) -> Result<Begun> {
        let domain = match arg(args, 0)? {
            Expr::Ellipsis => self.options.family.domain(),
            other => int(other)?,
        };
        let (kind, protocol) = (int(arg(args, 1)?)?, int(arg(args, 2)?)?);
        if !matches!(protocol, 0 | libc::IPPROTO_TCP | libc::IPPROTO_UDP) {
            return Err(not_runnable(format!("sockets of protocol {protocol}")));
        }
        Ok(Begun::Done(
            self.kernel.socket(domain, kind, protocol).map(Answer::Fd),
        ))
    }

    fn connection_call(&mut self, name: &str, args: &[Expr]) -> Result<Begun> {
        let script_fd = integer(arg(args, 0)?)?;
        let fd = self.fd(arg(args, 0)?)?;
        let done =
            |result: std::result::Result<(), i32>| Begun::Done(result.map(|()| Answer::Number(0)));
        Ok(match name {
            "bind" => {
                let local = SocketAddr::new(self.shown_local(), self.settings.bind_port);
                let Some(to) = address(arg(args, 1)?, local)? else {
                    return Err(not_runnable("bind to AF_UNSPEC"));
                };
                done(self.kernel.bind(fd, to))
            }
            "listen" => {
                let result = self.kernel.listen(fd, int(arg(args, 1)?)?);
                self.has_listened |= result.is_ok();
                done(result)
            }
            "connect" => {
                let to = address(arg(args, 1)?, self.shown_remote())?;
                self.last_fd = Some(script_fd);
                if to.is_some() {
                    self.connecting = Some(script_fd);
                }
                Begun::Waits(KernelCall::Connect(fd, to))
            }
            "shutdown" => done(self.kernel.shutdown(fd, int(arg(args, 1)?)?)),
            _ => {
                let flags = args.get(3).map_or(Ok(0), int)?;
                Begun::Waits(KernelCall::Accept(fd, flags))
            }
        })
    }

    /// The host's address as a socket of this family has it.
    fn shown_local(&self) -> std::net::IpAddr {
        self.shown(self.addresses.local)
    }

    pub(super) fn shown_remote(&self) -> SocketAddr {
        SocketAddr::new(
            self.shown(self.addresses.remote),
            self.settings.connect_port,
        )
    }

    fn shown(&self, ip: std::net::IpAddr) -> std::net::IpAddr {
        match ip {
            std::net::IpAddr::V4(v4) if self.options.family == crate::kernel::Family::V4Mapped => {
                v4.to_ipv6_mapped().into()
            }
            ip => ip,
        }
    }

    fn close(&mut self, args: &[Expr]) -> Result<Begun> {
        let script_fd = integer(arg(args, 0)?)?;
        if self.zeroes.remove(&script_fd) {
            return Ok(Begun::Done(Ok(Answer::Number(0))));
        }
        let fd = self.fd(arg(args, 0)?)?;
        self.files.remove(&script_fd);
        Ok(Begun::Waits(KernelCall::Close(fd)))
    }

    /// `read`, `readv`, `recv`, `recvfrom`.
    fn receive(&mut self, name: &str, args: &[Expr]) -> Result<Begun> {
        let fd = self.fd(arg(args, 0)?)?;
        let (len, fault) = match name {
            "readv" => (vectors(arg(args, 1)?)?.len(), false),
            _ => (size(arg(args, 2)?)?, is_bad_pointer(arg(args, 1)?)),
        };
        let flags = match name {
            "recv" | "recvfrom" => int(arg(args, 3)?)?,
            _ => 0,
        };
        Ok(Begun::Waits(KernelCall::Recv(
            fd,
            Recv { len, flags, fault },
        )))
    }

    /// `write`, `writev`, `send`, `sendto`.
    fn send(&mut self, name: &str, args: &[Expr]) -> Result<Begun> {
        let fd = self.fd(arg(args, 0)?)?;
        let data = match name {
            "writev" => vectors(arg(args, 1)?)?,
            _ => data(arg(args, 1)?, size(arg(args, 2)?)?),
        };
        let mut message = Message::new(self.note_write(integer(arg(args, 0)?)?, data));
        if matches!(name, "send" | "sendto") {
            message.flags = int(arg(args, 3)?)?;
        }
        if name == "sendto" {
            message.to = address(arg(args, 4)?, self.shown_remote())?;
            if self.options.suite == Suite::Freebsd && message.to.is_some() {
                self.note("sendto with an address is MSG_FASTOPEN, as on FreeBSD");
                message.flags |= libc::MSG_FASTOPEN;
            }
        }
        self.note_fast_open(args, &message)?;
        Ok(Begun::Waits(KernelCall::Send(fd, message)))
    }

    /// A sending call may open the connection.
    pub(super) fn note_fast_open(&mut self, args: &[Expr], message: &Message) -> Result<()> {
        if message.flags & libc::MSG_FASTOPEN != 0 {
            let fd = integer(arg(args, 0)?)?;
            self.connecting = Some(fd);
            self.last_fd = Some(fd);
        }
        Ok(())
    }

    /// FreeBSD's buffers are as large as their options say, rounded to whole segments; Linux
    /// doubles what it is told.
    pub(super) fn has_other_buffers(&mut self, level: i32, option: i32) -> bool {
        let is_buffer =
            level == libc::SOL_SOCKET && [libc::SO_RCVBUF, libc::SO_SNDBUF].contains(&option);
        let is_other = is_buffer && self.options.suite == Suite::Freebsd;
        if is_other {
            self.note("SO_RCVBUF and SO_SNDBUF are halved when set, and not compared");
        }
        is_other
    }

    fn option(&mut self, name: &str, args: &[Expr]) -> Result<Begun> {
        let fd = self.fd(arg(args, 0)?)?;
        let (level, option) = (int(arg(args, 1)?)?, int(arg(args, 2)?)?);
        if name == "getsockopt" {
            let len = match arg(args, 4)? {
                Expr::Ellipsis => 256,
                other => size(other)?,
            };
            let result = self.kernel.getsockopt(fd, level, option, len);
            return Ok(Begun::Done(result.map(Answer::Option)));
        }
        let len = match args.get(4) {
            None | Some(Expr::Ellipsis) => None,
            Some(other) => Some(size(other)?),
        };
        let mut value = option_value(arg(args, 3)?, len)?;
        if self.has_other_buffers(level, option)
            && let Some(four) = value.first_chunk_mut()
        {
            *four = (i32::from_ne_bytes(*four) / 2).to_ne_bytes();
        }
        let result = self.kernel.setsockopt(fd, level, option, &value);
        Ok(Begun::Done(result.map(|()| Answer::Number(0))))
    }
}

/// An argument that a call cannot do without.
pub(super) fn arg(args: &[Expr], index: usize) -> Result<&Expr> {
    args.get(index)
        .ok_or_else(|| not_runnable("a call with too few arguments"))
}

/// Whether a buffer's address is one that nobody can use.
fn is_bad_pointer(expr: &Expr) -> bool {
    matches!(expr, Expr::Name(name) if name == "NULL") || matches!(expr, Expr::Number(_))
}

/// What a buffer argument holds: zeroes for `...`.
fn data(expr: &Expr, len: usize) -> Data {
    match expr {
        Expr::Text(text) => {
            let mut bytes = unescape(text);
            bytes.resize(len, 0);
            Data::Bytes(bytes)
        }
        expr if is_bad_pointer(expr) => Data::Fault(len),
        _ => Data::Zeros(len),
    }
}

/// All bytes of `[{..., 10}, {..., 20}]`.
pub(super) fn vectors(expr: &Expr) -> Result<Data> {
    let mut total = 0;
    let mut bytes = Vec::new();
    let mut is_plain = true;
    for vector in expr.elements() {
        let Expr::Struct(fields) = vector else {
            return Err(not_runnable(format!("vector {}", vector.describe())));
        };
        let [(_, base), (_, len)] = fields.as_slice() else {
            return Err(not_runnable(format!("vector {}", vector.describe())));
        };
        let len = size(len)?;
        total += len;
        match data(base, len) {
            Data::Bytes(more) => {
                is_plain = false;
                bytes.extend(more);
            }
            Data::Fault(_) => return Ok(Data::Fault(total)),
            Data::Zeros(len) => bytes.resize(bytes.len() + len, 0),
        }
    }
    Ok(if is_plain {
        Data::Zeros(total)
    } else {
        Data::Bytes(bytes)
    })
}
