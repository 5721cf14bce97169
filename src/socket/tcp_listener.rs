//! `TcpListener`: connections that others open.

use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::conn::Conn;
use super::listener::{Handle, ListenerBuilder, Parts};
use super::tcp_stream::TcpStream;
use crate::host::Host;
use crate::stack::Stack;
use crate::wakers::Phase;

/// A listening TCP socket, as [`tokio::net::TcpListener`] is one.
///
/// It listens at every shard of the stack, each with a queue of its own, or at the one of the
/// stack's handle. Dropping it stops listening and resets connections not yet accepted. It is also an
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
    parts: Parts,
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
        self.parts.local
    }

    /// The next connection, and the peer's address. Any number of tasks may wait.
    ///
    /// Cancel-safe: a connection is taken only when it is returned. Fails once the stack is
    /// shutting down or its driver gone.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.parts.wait(check_accept).await.map(stream)
    }

    /// As [`TcpListener::accept`]; of several tasks only the last to poll is woken.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.parts.poll(cx, check_accept).map_ok(stream)
    }
}

/// A connection, and where it was accepted.
type Accepted = (Arc<Handle>, ustack_tcp::ConnId, ustack_tcp::FlowKey);

fn check_accept(part: &Arc<Handle>, host: &mut Host) -> Option<io::Result<Accepted>> {
    if let Err(error) = host.check_running() {
        return Some(Err(error));
    }
    let (id, flow) = host.tcp.accept(part.id)?;
    host.sockets.insert(id, Phase::Open);
    Some(Ok((Arc::clone(part), id, flow)))
}

fn stream((part, id, flow): Accepted) -> (TcpStream, SocketAddr) {
    let conn = Arc::new(Conn::new(&part.shared, id, flow));
    (TcpStream { conn }, flow.remote)
}

impl ListenerBuilder {
    /// Listens at `local`: an unspecified address takes all of the stack's, port 0 an ephemeral
    /// port.
    ///
    /// Fails with `AddrInUse`, or with `AddrNotAvailable` for an address that is not the stack's.
    pub fn bind(self, local: SocketAddr) -> io::Result<TcpListener> {
        let parts = self.listen(local, None)?;
        Ok(TcpListener { parts })
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener")
            .field("local", &self.parts.local)
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
                tracing::debug!(%error, local = %self.parts.local, "no longer accepting");
                pending().await
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.parts.local)
    }
}
