//! `TcpListener`: connections that others open.

use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use ustack_tcp::time::Instant;

use super::conn::Conn;
use super::listener::{Handle, ListenerBuilder};
use super::tcp_stream::TcpStream;
use super::{poll_wait, wait};
use crate::host::Host;
use crate::stack::Stack;
use crate::wakers::{Phase, Waiters};

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
        ListenerBuilder::new(stack)
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

impl ListenerBuilder {
    /// Listens at `local`: an unspecified address takes all of the stack's, port 0 an ephemeral
    /// port.
    ///
    /// Fails with `AddrInUse`, or with `AddrNotAvailable` for an address that is not the stack's.
    pub fn bind(self, local: SocketAddr) -> io::Result<TcpListener> {
        let handle = self.listen(local, None)?;
        Ok(TcpListener { handle })
    }
}

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
