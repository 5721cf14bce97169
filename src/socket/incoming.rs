//! `IncomingListener`: SYNs that wait until the application knows its answer.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ustack_tcp::{CloseReason, Verdict};

use super::conn::Conn;
use super::listener::{Handle, ListenerBuilder, Parts};
use super::tcp_stream::TcpStream;
use crate::error;
use crate::host::Host;
use crate::ip::Unreachable;
use crate::stack::Stack;
use crate::wakers::{HeldSyn, Phase};

/// A listener that holds every SYN until somebody decides: a proxy first asks upstream.
///
/// It holds so many SYNs (see [`ListenerBuilder::hold`](super::ListenerBuilder::hold)), waiting
/// for [`IncomingListener::next`] and handed out together; more are dropped and counted in
/// [`TcpStats::incoming_overflow`](crate::metrics::TcpStats). Dropping it refuses those that wait.
pub struct IncomingListener {
    parts: Parts,
}

impl IncomingListener {
    /// Listens at `local`; [`TcpListener::builder`](super::TcpListener::builder) has more ways.
    pub fn bind(stack: &Stack, local: SocketAddr) -> io::Result<Self> {
        ListenerBuilder::new(stack).bind_incoming(local)
    }

    /// Where this socket listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.parts.local
    }

    /// The next SYN. Any number of tasks may wait.
    ///
    /// Cancel-safe. Fails once the stack is shutting down or its driver gone.
    pub async fn next(&self) -> io::Result<Incoming> {
        let (handle, syn) = self.parts.wait(check_next).await?;
        Ok(Incoming {
            handle,
            syn,
            is_decided: false,
        })
    }
}

fn check_next(part: &Arc<Handle>, host: &mut Host) -> Option<io::Result<(Arc<Handle>, HeldSyn)>> {
    if let Err(error) = host.check_running() {
        return Some(Err(error));
    }
    let slot = host.sockets.listeners.get_mut(&part.id)?;
    let syn = slot.hold.as_mut()?.hand_out()?;
    Some(Ok((Arc::clone(part), syn)))
}

impl ListenerBuilder {
    /// As [`ListenerBuilder::bind`], but every SYN waits for a decision.
    pub fn bind_incoming(self, local: SocketAddr) -> io::Result<IncomingListener> {
        let hold = self.hold;
        let parts = self.listen(local, Some(hold))?;
        Ok(IncomingListener { parts })
    }
}

impl Drop for IncomingListener {
    fn drop(&mut self) {
        for part in self.parts.iter() {
            part.shared.call(|host, now| {
                let Host { sockets, tcp, .. } = host;
                let slot = sockets.listeners.get_mut(&part.id);
                if let Some(hold) = slot.and_then(|slot| slot.hold.as_mut()) {
                    hold.refusing = true;
                    for syn in hold.queue.drain(..) {
                        tcp.decide(now, syn.conn, Verdict::Refuse);
                    }
                }
            });
        }
    }
}

impl fmt::Debug for IncomingListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingListener")
            .field("local", &self.parts.local)
            .finish_non_exhaustive()
    }
}

/// Somebody who wants to connect and has heard nothing yet. Dropping it forgets the SYN; the peer
/// sends another.
#[must_use = "dropping an Incoming forgets the SYN: accept it, or answer otherwise"]
pub struct Incoming {
    handle: Arc<Handle>,
    syn: HeldSyn,
    is_decided: bool,
}

impl Incoming {
    /// Who wants to connect.
    pub fn peer_addr(&self) -> SocketAddr {
        self.syn.flow.remote
    }

    /// Where to: for a transparent listener the original destination.
    pub fn local_addr(&self) -> SocketAddr {
        self.syn.flow.local
    }

    /// Completes the handshake.
    ///
    /// Fails when the peer has given up (`ConnectionAborted`), or does so meanwhile
    /// (`ConnectionReset`, `TimedOut`). Dropping the future closes the connection.
    pub async fn accept(mut self) -> io::Result<TcpStream> {
        self.decide(|host, now, syn| {
            host.check_running()?;
            if !host.tcp.decide(now, syn.conn, Verdict::Accept) {
                return Err(error::closed(CloseReason::Aborted, &syn.flow));
            }
            host.sockets.insert(syn.conn, Phase::Opening);
            Ok(())
        })?;
        let conn = Conn::new(&self.handle.shared, self.syn.conn, self.syn.flow);
        let conn = Arc::new(conn);
        poll_fn(|cx| conn.poll_open(cx)).await?;
        Ok(TcpStream { conn })
    }

    /// Answers with a RST: connection refused.
    pub fn refuse(mut self) {
        self.decide(|host, now, syn| host.tcp.decide(now, syn.conn, Verdict::Refuse));
    }

    /// Answers with ICMP host unreachable.
    pub fn unreachable(mut self) {
        self.decide(|host, now, syn| {
            if host.tcp.decide(now, syn.conn, Verdict::Drop) {
                host.ip
                    .send_unreachable_for_syn(now, Unreachable::Host, &syn.flow, syn.seq);
            }
        });
    }

    fn decide<R>(
        &mut self,
        verdict: impl FnOnce(&mut Host, ustack_tcp::time::Instant, HeldSyn) -> R,
    ) -> R {
        self.is_decided = true;
        self.handle.shared.call(|host, now| {
            let slot = host.sockets.listeners.get_mut(&self.handle.id);
            if let Some(hold) = slot.and_then(|slot| slot.hold.as_mut()) {
                hold.undecided -= 1;
            }
            verdict(host, now, self.syn)
        })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.is_decided {
            self.decide(|host, now, syn| host.tcp.decide(now, syn.conn, Verdict::Drop));
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("local", &self.local_addr())
            .field("remote", &self.peer_addr())
            .finish_non_exhaustive()
    }
}
