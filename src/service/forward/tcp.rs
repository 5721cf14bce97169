//! TCP: a SYN is held until the upstream has answered, so that the client hears that answer.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpStream as HostStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{Instrument as _, debug, debug_span, warn};

use super::counters::ForwardCounters;
use super::{ForwardConfig, Rules, relay};
use crate::service::Stop;
use crate::tcp::Keepalive;
use crate::{Incoming, IncomingListener, TcpListener, TcpStream};

/// Probes for peers that are gone, on both sides: a relay has no other way to learn of them.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(300);

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    rules: Rules,
    connect_timeout: Duration,
    slots: Arc<Semaphore>,
    counters: Arc<ForwardCounters>,
}

impl Shared {
    pub(super) fn new(config: &ForwardConfig, counters: Arc<ForwardCounters>) -> Self {
        let most = config.max_connections.min(Semaphore::MAX_PERMITS);
        Self {
            rules: config.rules.clone(),
            connect_timeout: config.connect_timeout,
            slots: Arc::new(Semaphore::new(most)),
            counters,
        }
    }

    /// A slot for one more connection, or `None`, counted.
    fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok();
        if slot.is_none() {
            self.counters.tcp_dropped.inc();
        }
        slot
    }
}

/// Relays connections to other hosts until `stop`.
pub(super) async fn forward(listener: IncomingListener, shared: Arc<Shared>, mut stop: Stop) {
    let mut connections = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            () = stop.requested() => break,
            Some(_) = connections.join_next() => continue,
            incoming = listener.next() => match incoming {
                Ok(incoming) => incoming,
                // The stack has ended.
                Err(_) => break,
            },
        };
        let (client, destination) = (incoming.peer_addr(), incoming.local_addr());
        let span = debug_span!("forward", %client, %destination);
        if let Err(refusal) = shared.rules.check(destination.ip()) {
            span.in_scope(|| debug!(%refusal, "prohibited"));
            shared.counters.prohibited.inc();
            incoming.refuse();
            continue;
        }
        // Without a slot the SYN is dropped, and the client sends another.
        if let Some(slot) = shared.slot() {
            let serving = serve(incoming, slot, Arc::clone(&shared));
            connections.spawn(serving.instrument(span));
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Relays connections to one address of the stack to one of the host's until `stop`.
pub(super) async fn relay_to(
    listener: TcpListener,
    target: SocketAddr,
    shared: Arc<Shared>,
    mut stop: Stop,
) {
    let mut connections = JoinSet::new();
    loop {
        let (client, peer) = tokio::select! {
            () = stop.requested() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(_) => break,
            },
        };
        let Some(slot) = shared.slot() else { continue };
        let shared = Arc::clone(&shared);
        let serving = async move {
            match connect(target, shared.connect_timeout).await {
                Ok(upstream) => join(client, upstream, &shared).await,
                Err(error) => {
                    debug!(%error, "the resolver does not answer");
                    client.abort();
                }
            }
            drop(slot);
        };
        connections.spawn(serving.instrument(debug_span!("resolver", client = %peer)));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(incoming: Incoming, slot: OwnedSemaphorePermit, shared: Arc<Shared>) {
    let counters = &shared.counters;
    let upstream = match connect(incoming.local_addr(), shared.connect_timeout).await {
        Ok(upstream) => upstream,
        Err(error) => {
            match Answer::to(&error) {
                Answer::Refuse => {
                    debug!(%error, "refused");
                    counters.tcp_refused.inc();
                    incoming.refuse();
                }
                Answer::Unreachable => {
                    debug!(%error, "unreachable");
                    counters.tcp_unreachable.inc();
                    incoming.unreachable();
                }
                Answer::Drop => {
                    warn!(%error, "no connection to the outside; the client may try again");
                    counters.tcp_dropped.inc();
                }
            }
            return;
        }
    };
    match incoming.accept().await {
        Ok(client) => join(client, upstream, &shared).await,
        Err(error) => {
            debug!(%error, "the client has given up");
            reset(&upstream);
        }
    }
    drop(slot);
}

async fn connect(destination: SocketAddr, limit: Duration) -> io::Result<HostStream> {
    let connecting = timeout(limit, HostStream::connect(destination));
    connecting
        .await
        .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// Moves bytes both ways until both sides are done or one fails, which resets the other.
async fn join(mut client: TcpStream, mut upstream: HostStream, shared: &Shared) {
    set_options(&client, &upstream);
    let mut bytes = relay::Bytes::default();
    let result = relay::relay(&mut client, &mut upstream, &mut bytes).await;
    let relay::Bytes { up, down } = bytes;
    let counters = &shared.counters;
    counters.tcp_relayed.inc();
    counters.tcp_bytes_up.add(up);
    counters.tcp_bytes_down.add(down);
    match result {
        Ok(()) => debug!(up, down, "done"),
        Err(failure) => {
            debug!(up, down, %failure, "reset");
            counters.tcp_reset.inc();
            client.abort();
            reset(&upstream);
        }
    }
}

/// None of these matters enough to give up the connection.
fn set_options(client: &TcpStream, upstream: &HostStream) {
    // Whoever wrote the bytes has already chosen when to send them.
    let _ = client.set_nodelay(true);
    let _ = upstream.set_nodelay(true);
    let _ = client.set_keepalive(Some(Keepalive {
        idle: KEEPALIVE_IDLE,
        ..Keepalive::default()
    }));
    let _ = rustix::net::sockopt::set_socket_keepalive(upstream, true);
    let _ = rustix::net::sockopt::set_tcp_keepidle(upstream, KEEPALIVE_IDLE);
}

/// The close that follows sends a RST.
fn reset(upstream: &HostStream) {
    let _ = upstream.set_zero_linger();
}

/// What a SYN deserves whose upstream connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Refuse,
    Unreachable,
    Drop,
}

impl Answer {
    fn to(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::CONNREFUSED | Errno::CONNRESET) => Self::Refuse,
            // Out of file descriptors, ports or memory: no word about the destination.
            Some(
                Errno::MFILE
                | Errno::NFILE
                | Errno::NOBUFS
                | Errno::NOMEM
                | Errno::ADDRNOTAVAIL
                | Errno::AGAIN,
            ) => Self::Drop,
            // EHOSTUNREACH, ENETUNREACH, ETIMEDOUT, EACCES and EPERM of a firewall, our own limit.
            _ => Self::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_of_an_upstream_has_its_answer() {
        for (errno, answer) in [
            (Errno::CONNREFUSED, Answer::Refuse),
            (Errno::HOSTUNREACH, Answer::Unreachable),
            (Errno::NETUNREACH, Answer::Unreachable),
            (Errno::TIMEDOUT, Answer::Unreachable),
            (Errno::ACCESS, Answer::Unreachable),
            (Errno::MFILE, Answer::Drop),
        ] {
            assert_eq!(Answer::to(&errno.into()), answer, "{errno:?}");
        }
        let own_limit = ErrorKind::TimedOut.into();
        assert_eq!(Answer::to(&own_limit), Answer::Unreachable);
    }
}
