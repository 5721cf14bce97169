//! How to listen, and the listening itself: what listeners of both kinds have in common.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ustack_tcp::{ListenOptions, ListenerId, SocketOptions};

use super::options::{MIN_RECV_BUFFER, MIN_SEND_BUFFER, roomy};
use super::{cooperate, poll_wait, wait, wait_any};
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
            socket: stack.reached()[0].host.lock().options,
            reuse_address: true,
        }
    }

    /// Connections not yet accepted (1,024 by default), at each shard; more SYNs are dropped.
    /// Handshakes under way count among all listeners' together (`Config::max_syn_backlog` of the
    /// core): what is more gets SYN cookies.
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

    /// The most SYNs that an [`IncomingListener`](super::IncomingListener) holds (128 by default),
    /// at each shard, but no more than the backlog; more are dropped and counted.
    pub fn hold(mut self, most: usize) -> Self {
        self.hold = most;
        self
    }

    /// What accepted connections start with, if not what the stack's configuration says. Replaces
    /// what the methods below have set.
    pub fn socket(mut self, options: SocketOptions) -> Self {
        self.socket = roomy(options);
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

    /// Listens, at every shard that the stack's handle reaches; whoever drops the parts stops it.
    pub(super) fn listen(self, local: SocketAddr, hold: Option<usize>) -> io::Result<Parts> {
        let shards = self.stack.reached();
        if !self.reuse_address {
            let is_busy = |shared: &Arc<Shared>| shared.host.lock().is_port_busy(local.port());
            if shards.iter().any(is_busy) {
                return Err(error::addr_in_use(local));
            }
        }
        let wanted = ListenOptions {
            local,
            backlog: self.backlog,
            transparent: self.transparent,
            hold: hold.is_some(),
            socket: self.socket,
        };
        let any_port = local.port() == 0 && !self.transparent;
        let ephemeral = shards[0].host.lock().ephemeral_ports;
        let mut ports = ports(if any_port { ephemeral } else { (0, 0) });
        let each = loop {
            let mut options = wanted;
            if any_port {
                let port = ports.next().ok_or_else(|| error::addr_in_use(local))?;
                options.local.set_port(port);
            }
            let each = shards.iter().map(|shared| listen(shared, options, hold));
            match each.collect::<io::Result<Vec<_>>>() {
                Err(error) if any_port && error.kind() == io::ErrorKind::AddrInUse => {}
                each => break each?,
            }
        };
        Ok(Parts {
            local: each[0].local,
            each: each.into(),
            next: AtomicUsize::new(0),
        })
    }
}

/// Every port of a range once, beginning anywhere.
fn ports((first, last): (u16, u16)) -> impl Iterator<Item = u16> {
    let count = u32::from(last - first) + 1;
    let start = getrandom::u32().unwrap_or_default() % count;
    (0..count).map(move |step| first + ((start + step) % count) as u16)
}

/// Listens at one shard.
fn listen(
    shared: &Arc<Shared>,
    options: ListenOptions,
    hold: Option<usize>,
) -> io::Result<Arc<Handle>> {
    let id = shared.call(|host, _| {
        host.check_running()?;
        host.check_local(options.local.ip(), options.transparent)?;
        let id = host.tcp.listen(options);
        let id = id.map_err(|error| error::listen(error, options.local))?;
        let slot = ListenerSlot {
            waiters: Waiters::default(),
            hold: hold.map(Hold::new),
        };
        host.sockets.listeners.insert(id, slot);
        Ok::<_, io::Error>(id)
    })?;
    Ok(Arc::new(Handle {
        shared: Arc::clone(shared),
        id,
        local: options.local,
    }))
}

/// A listener's part at each shard where it listens.
#[derive(Debug)]
pub(super) struct Parts {
    each: Box<[Arc<Handle>]>,
    pub(super) local: SocketAddr,
    /// Which part is looked at first, so that none is always last.
    next: AtomicUsize,
}

impl Parts {
    /// Looks at the parts in turn; whoever has nothing will wake the task of `cx`, of several tasks
    /// the last one.
    pub(super) fn poll<T>(
        &self,
        cx: &Context<'_>,
        check: impl Fn(&Arc<Handle>, &mut Host) -> Option<T>,
    ) -> Poll<T> {
        cooperate(cx, || {
            for part in self.in_turn() {
                let mut check = |host: &mut Host, _| check(part, host);
                let found = poll_wait(&part.shared, &part.waiters(), None, &mut check, cx);
                if found.is_ready() {
                    return found;
                }
            }
            Poll::Pending
        })
    }

    /// Waits until `check` finds something at some part.
    pub(super) async fn wait<T>(
        &self,
        mut check: impl FnMut(&Arc<Handle>, &mut Host) -> Option<T>,
    ) -> T {
        if let [only] = &self.each[..] {
            return wait(&only.shared, only.waiters(), |host, _| check(only, host)).await;
        }
        let parts = self.in_turn();
        let parts = parts.map(|part| (&part.shared, part.waiters(), part));
        wait_any(parts, |part, host| check(part, host)).await
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Handle>> {
        self.each.iter()
    }

    /// All, beginning with another one each time.
    fn in_turn(&self) -> impl Iterator<Item = &Arc<Handle>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.each.len();
        let (before, after) = self.each.split_at(first);
        after.iter().chain(before)
    }
}

/// A listener at one shard; dropping it stops listening.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) id: ListenerId,
    pub(super) local: SocketAddr,
}

impl Handle {
    fn waiters(&self) -> impl Fn(&mut Host) -> Option<&mut Waiters> + use<> {
        let id = self.id;
        move |host| Some(&mut host.sockets.listeners.get_mut(&id)?.waiters)
    }
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
