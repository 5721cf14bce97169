//! `TcpListener`: connections that others open.

use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use ustack_tcp::time::Instant;
use ustack_tcp::{ListenError, ListenOptions, ListenerId, SocketOptions};

use super::conn::Conn;
use super::incoming::IncomingListener;
use super::tcp_stream::TcpStream;
use super::wakers::{Hold, ListenerSlot, Phase, Waiters};
use super::{error, poll_wait, wait};
use crate::host::{Host, Shared};
use crate::stack::Stack;

/// Held SYNs per listener, unless it says otherwise.
const DEFAULT_HOLD: usize = 128;

/// How to listen; see [`TcpListener::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ListenerBuilder {
    stack: Stack,
    backlog: u16,
    transparent: bool,
    hold: usize,
    socket: Option<SocketOptions>,
}

impl ListenerBuilder {
    /// Handshakes under way plus connections not yet accepted (1,024 by default); more SYNs are
    /// dropped.
    pub fn backlog(mut self, backlog: u16) -> Self {
        self.backlog = backlog;
        self
    }

    /// Accept connections to other hosts' addresses, too (with port 0: to any port); the
    /// destination is the stream's [`TcpStream::local_addr`]. The stack must be transparent.
    pub fn transparent(mut self, on: bool) -> Self {
        self.transparent = on;
        self
    }

    /// The most SYNs that an [`IncomingListener`] holds (128 by default); more are dropped and
    /// counted.
    pub fn hold(mut self, most: usize) -> Self {
        self.hold = most;
        self
    }

    /// What accepted connections start with, if not what the stack's configuration says.
    pub fn socket(mut self, options: SocketOptions) -> Self {
        self.socket = Some(options);
        self
    }

    /// Listens at `local`: an unspecified address takes all of the stack's, port 0 an ephemeral
    /// port.
    ///
    /// Fails with `AddrInUse`, or with `AddrNotAvailable` for an address that is not the stack's.
    pub fn bind(self, local: SocketAddr) -> io::Result<TcpListener> {
        let handle = self.listen(local, None)?;
        Ok(TcpListener { handle })
    }

    /// As [`ListenerBuilder::bind`], but every SYN waits for a decision.
    pub fn bind_incoming(self, local: SocketAddr) -> io::Result<IncomingListener> {
        let hold = Hold::new(self.hold);
        let handle = self.listen(local, Some(hold))?;
        Ok(IncomingListener::new(handle))
    }

    fn listen(self, local: SocketAddr, hold: Option<Hold>) -> io::Result<Handle> {
        let (id, local) = self.stack.shared.call(|host, _| {
            host.check_running()?;
            host.check_local(local.ip(), self.transparent)?;
            let options = ListenOptions {
                local,
                backlog: self.backlog,
                transparent: self.transparent,
                hold: hold.is_some(),
                socket: self.socket.unwrap_or(host.options),
            };
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

/// A listening TCP socket, as [`tokio::net::TcpListener`] is one.
///
/// Dropping it stops listening and resets connections not yet accepted. It is also an
/// [`axum::serve::Listener`]:
///
/// ```
/// use ustack::{Config, Stack, TcpListener, device};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let caps = device::Caps::plain(1500);
/// # let (here, _there) = device::memory::pair(caps);
/// let (stack, driver) = Stack::new(Config::new().address([10, 77, 0, 2], 24), here)?;
/// tokio::spawn(driver);
/// let listener = TcpListener::bind(&stack, ([0, 0, 0, 0], 80).into())?;
/// let app = axum::Router::new();
/// tokio::spawn(async move { axum::serve(listener, app).await });
/// # Ok(())
/// # }
/// ```
pub struct TcpListener {
    handle: Handle,
}

impl TcpListener {
    /// Listens at `local`; see [`ListenerBuilder::bind`].
    pub fn bind(stack: &Stack, local: SocketAddr) -> io::Result<Self> {
        Self::builder(stack).bind(local)
    }

    /// More ways to listen.
    pub fn builder(stack: &Stack) -> ListenerBuilder {
        ListenerBuilder {
            stack: stack.clone(),
            backlog: 1024,
            transparent: false,
            hold: DEFAULT_HOLD,
            socket: None,
        }
    }

    /// Where this socket listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local
    }

    /// The next connection, and the peer's address. Any number of tasks may wait.
    ///
    /// Cancel-safe: a connection is taken only when it is returned. Fails once the stack is
    /// shutting down or its driver gone.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        wait(
            &self.handle.shared,
            |host| self.waiters(host),
            |host, now| self.check_accept(host, now),
        )
        .await
        .map(|accepted| self.stream(accepted))
    }

    /// As [`TcpListener::accept`]; of several tasks only the last to poll is woken.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        poll_wait(
            &self.handle.shared,
            &|host: &mut Host| self.waiters(host),
            None,
            &mut |host: &mut Host, now| self.check_accept(host, now),
            cx,
        )
        .map_ok(|accepted| self.stream(accepted))
    }

    fn waiters<'a>(&self, host: &'a mut Host) -> Option<&'a mut Waiters> {
        let slot = host.sockets.listeners.get_mut(&self.handle.id)?;
        Some(&mut slot.waiters)
    }

    fn check_accept(&self, host: &mut Host, _now: Instant) -> Option<io::Result<Accepted>> {
        if let Err(error) = host.check_running() {
            return Some(Err(error));
        }
        let (id, flow) = host.tcp.accept(self.handle.id)?;
        host.sockets.insert(id, Phase::Open);
        Some(Ok((id, flow)))
    }

    fn stream(&self, (id, flow): Accepted) -> (TcpStream, SocketAddr) {
        let conn = Arc::new(Conn::new(&self.handle.shared, id, flow));
        (TcpStream { conn }, flow.remote)
    }
}

type Accepted = (ustack_tcp::ConnId, ustack_tcp::FlowKey);

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener")
            .field("local", &self.handle.local)
            .finish_non_exhaustive()
    }
}

/// Once the stack ends, no connection comes any more: `accept` then waits for ever, and the server
/// for its shutdown signal.
impl axum::serve::Listener for TcpListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        match Self::accept(self).await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, local = %self.handle.local, "no longer accepting");
                pending().await
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.handle.local)
    }
}
