//! How to listen, and the listening itself: what listeners of both kinds have in common.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ustack_tcp::{ListenError, ListenOptions, ListenerId, SocketOptions};

use super::options::{MIN_RECV_BUFFER, MIN_SEND_BUFFER};
use crate::error;
use crate::host::{Host, Shared};
use crate::stack::Stack;
use crate::wakers::{Hold, ListenerSlot, Waiters};

/// Held SYNs per listener, unless it says otherwise.
const DEFAULT_HOLD: usize = 128;

/// How to listen; see [`TcpListener::builder`](super::TcpListener::builder).
#[derive(Clone, Debug)]
#[must_use]
pub struct ListenerBuilder {
    stack: Stack,
    backlog: u16,
    transparent: bool,
    pub(super) hold: usize,
    socket: SocketOptions,
    reuse_address: bool,
}

impl ListenerBuilder {
    pub(super) fn new(stack: &Stack) -> Self {
        Self {
            stack: stack.clone(),
            backlog: 1024,
            transparent: false,
            hold: DEFAULT_HOLD,
            socket: stack.shared.host.lock().options,
            reuse_address: true,
        }
    }

    /// Handshakes under way plus connections not yet accepted (1,024 by default); more SYNs are
    /// dropped.
    pub fn backlog(mut self, backlog: u16) -> Self {
        self.backlog = backlog;
        self
    }

    /// Accept connections to other hosts' addresses, too (with port 0: to any port); the
    /// destination is the stream's [`TcpStream::local_addr`](super::TcpStream::local_addr). The
    /// stack must be transparent.
    pub fn transparent(mut self, on: bool) -> Self {
        self.transparent = on;
        self
    }

    /// The most SYNs that an [`IncomingListener`](super::IncomingListener) holds (128 by default);
    /// more are dropped and counted.
    pub fn hold(mut self, most: usize) -> Self {
        self.hold = most;
        self
    }

    /// What accepted connections start with, if not what the stack's configuration says. Replaces
    /// what the methods below have set.
    pub fn socket(mut self, options: SocketOptions) -> Self {
        self.socket = options;
        self
    }

    /// Listen although connections of that port still exist, in TIME-WAIT for instance
    /// (`SO_REUSEADDR`; on by default, as in [`tokio::net::TcpListener::bind`]). Off, the address is
    /// in use until the last of them is gone.
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Hand a connection out only once data has come, or this time has passed
    /// (`TCP_DEFER_ACCEPT`).
    pub fn defer_accept(mut self, time: Duration) -> Self {
        self.socket.defer_accept = Some(time);
        self
    }

    /// Take data from SYNs that bear a Fast Open cookie (`TCP_FASTOPEN`, RFC 7413 §4.2), on at
    /// most `pending` connections whose handshake is not complete. Such data may come twice.
    pub fn fast_open(mut self, pending: u16) -> Self {
        self.socket.fast_open = Some(pending);
        self
    }

    /// The largest segment that is offered and sent, in bytes without headers and options
    /// (`TCP_MAXSEG`).
    pub fn max_segment(mut self, bytes: u16) -> Self {
        self.socket.max_segment = Some(bytes);
        self
    }

    /// Receive buffer of accepted connections, in bytes (`SO_RCVBUF`; 2,304 at least), instead
    /// of one that grows with need.
    pub fn recv_buffer_size(mut self, bytes: u32) -> Self {
        self.socket.recv_buffer = Some(bytes.max(MIN_RECV_BUFFER));
        self
    }

    /// Send buffer of accepted connections, in bytes (`SO_SNDBUF`; 4,608 at least), instead of
    /// one that grows with need.
    pub fn send_buffer_size(mut self, bytes: u32) -> Self {
        self.socket.send_buffer = Some(bytes.max(MIN_SEND_BUFFER));
        self
    }

    /// Listens; whoever drops the handle stops it.
    pub(super) fn listen(self, local: SocketAddr, hold: Option<Hold>) -> io::Result<Handle> {
        let (id, local) = self.stack.shared.call(|host, _| {
            host.check_running()?;
            host.check_local(local.ip(), self.transparent)?;
            let options = ListenOptions {
                local,
                backlog: self.backlog,
                transparent: self.transparent,
                hold: hold.is_some(),
                socket: self.socket,
            };
            if !self.reuse_address && host.is_port_busy(local.port()) {
                return Err(error::addr_in_use(local));
            }
            let (id, local) = listen(host, options)?;
            let slot = ListenerSlot {
                waiters: Waiters::default(),
                hold,
            };
            host.sockets.listeners.insert(id, slot);
            Ok::<_, io::Error>((id, local))
        })?;
        Ok(Handle {
            shared: self.stack.shared,
            id,
            local,
        })
    }
}

/// Listens, at some free ephemeral port where none is asked for.
fn listen(host: &mut Host, options: ListenOptions) -> io::Result<(ListenerId, SocketAddr)> {
    if options.local.port() != 0 || options.transparent {
        let id = host.tcp.listen(options);
        return Ok((
            id.map_err(|error| error::listen(error, options.local))?,
            options.local,
        ));
    }
    let (first, last) = host.ephemeral_ports;
    let start = getrandom::u32().unwrap_or_default() as u16;
    for step in 0..=last - first {
        let offset = (u32::from(start) + u32::from(step)) % (u32::from(last - first) + 1);
        let local = SocketAddr::new(options.local.ip(), first + offset as u16);
        match host.tcp.listen(ListenOptions { local, ..options }) {
            Ok(id) => return Ok((id, local)),
            Err(ListenError::AddrInUse) => {}
            Err(error) => return Err(error::listen(error, local)),
        }
    }
    Err(error::addr_in_use(options.local))
}

/// A listener of ours; dropping it stops listening.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) id: ListenerId,
    pub(super) local: SocketAddr,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let slot = self.shared.call(|host, now| {
            host.tcp.close_listener(now, self.id);
            host.sockets.listeners.remove(&self.id)
        });
        drop(slot); // its wakers, outside the lock
    }
}
