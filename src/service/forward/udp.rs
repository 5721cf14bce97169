//! UDP: one endpoint-independent mapping per client port (RFC 4787 REQ-1, REQ-8).
//!
//! A mapping is one socket of the host. Whatever the client's port sends goes out through it, and
//! whatever comes in, from anybody, goes back to that port in the name of who sent it. Datagrams
//! that arrive together are passed on together, on both ways.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::UdpSocket as HostSocket;
use tokio::task::JoinHandle;
use tracing::debug;
use ustack_udp::{Datagram, Message};

use super::counters::ForwardCounters;
use super::errqueue::{self, SendFailure};
use super::mapping::MappingTable;
use super::segments::{self, Received};
use super::{ForwardConfig, Rules};
use crate::UdpSocket;
use crate::ip::Unreachable;
use crate::service::Stop;

/// The largest datagram that IP carries.
const MAX_DATAGRAM: usize = 65_535;

/// What one call takes in: as much as a turn of the device brings.
const BATCH: usize = 64;

/// Where datagrams go.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// Where the client sent them, as far as the rules allow.
    Open(Rules),
    /// To this one host, for which the socket's own address stands.
    Fixed(SocketAddr),
}

/// One client port's way out. Dropping it closes the host's socket.
#[derive(Debug)]
struct Mapping {
    host: Arc<HostSocket>,
    /// A reply has come since this was last looked at.
    is_active: Arc<AtomicBool>,
    replies: JoinHandle<()>,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.replies.abort();
    }
}

/// Relays datagrams of one socket of the stack.
#[derive(Debug)]
pub(super) struct Relay {
    socket: Arc<UdpSocket>,
    route: Route,
    table: MappingTable<SocketAddr, Mapping>,
    counters: Arc<ForwardCounters>,
}

impl Relay {
    pub(super) fn new(
        socket: UdpSocket,
        route: Route,
        config: &ForwardConfig,
        counters: Arc<ForwardCounters>,
    ) -> Self {
        Self {
            socket: Arc::new(socket),
            route,
            table: MappingTable::new(config.max_mappings, config.udp_idle),
            counters,
        }
    }

    /// Relays until `stop`.
    pub(super) async fn run(mut self, mut stop: Stop) {
        // A table without entries has nothing to wake up for.
        let never = Duration::from_secs(3600);
        let mut datagrams = Vec::new();
        loop {
            let now = Instant::now();
            self.expire(now);
            let expiry = self.table.next_expiry().unwrap_or(now + never);
            let received = tokio::select! {
                () = stop.requested() => return,
                () = tokio::time::sleep_until(expiry.into()) => continue,
                received = self.socket.recv_many(&mut datagrams, BATCH) => received,
            };
            if received.is_err() {
                return;
            }
            for datagram in datagrams.drain(..) {
                self.on_datagram(&datagram);
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((client, mapping)) = self.table.expire(now) {
            if mapping.is_active.swap(false, Ordering::Relaxed) {
                self.table.insert(client, mapping, now);
            }
        }
    }

    fn on_datagram(&mut self, datagram: &Datagram) {
        let (client, destination) = (datagram.remote, datagram.local);
        let target = match &self.route {
            Route::Fixed(target) => *target,
            Route::Open(rules) => match rules.check(destination.ip()) {
                Ok(()) => destination,
                Err(refusal) => {
                    debug!(%client, %destination, %refusal, "prohibited");
                    self.counters.prohibited.add(datagram.wire_datagrams());
                    self.refuse(Unreachable::Prohibited, datagram);
                    return;
                }
            },
        };
        match self.mapping(client, target) {
            Ok(host) => self.pass(&host, datagram, target),
            Err(error) => {
                debug!(%client, %error, "no socket for a mapping");
                self.counters.udp_dropped.add(datagram.wire_datagrams());
            }
        }
    }

    fn pass(&self, host: &HostSocket, datagram: &Datagram, target: SocketAddr) {
        let count = datagram.wire_datagrams();
        match send(host, &datagram.data, datagram.stride, target) {
            Ok(_) => self.counters.udp_up.add(count),
            // The path is too narrow for one of them, or its device leaves checksums to us.
            Err(Errno::INVAL | Errno::MSGSIZE | Errno::IO) if datagram.stride.is_some() => {
                for data in datagram.segments() {
                    let single = Datagram::new(datagram.local, datagram.remote, data);
                    self.pass(host, &single, target);
                }
            }
            Err(errno) => {
                self.counters.udp_dropped.add(count);
                if let Some(why) = unreachable(errno) {
                    self.counters.udp_unreachable.inc();
                    self.refuse(why, datagram);
                }
            }
        }
    }

    /// Tells the client, once for all that came together.
    fn refuse(&self, why: Unreachable, datagram: &Datagram) {
        let (client, destination) = (datagram.remote, datagram.local);
        if let Some(first) = datagram.segments().next() {
            self.socket
                .send_unreachable(why, client, destination, &first);
        }
    }

    fn mapping(&mut self, client: SocketAddr, target: SocketAddr) -> io::Result<Arc<HostSocket>> {
        let now = Instant::now();
        if let Some(mapping) = self.table.get(&client, now) {
            return Ok(Arc::clone(&mapping.host));
        }
        let host = Arc::new(open(target)?);
        let is_active = Arc::new(AtomicBool::new(false));
        let replies = Replies {
            client,
            host: Arc::clone(&host),
            socket: Arc::clone(&self.socket),
            route: self.route.clone(),
            is_active: Arc::clone(&is_active),
            counters: Arc::clone(&self.counters),
        };
        debug!(%client, host = ?host.local_addr().ok(), "new mapping");
        let mapping = Mapping {
            host: Arc::clone(&host),
            is_active,
            replies: tokio::spawn(replies.run()),
        };
        self.counters.udp_mappings.inc();
        if let Some((evicted, _)) = self.table.insert(client, mapping, now) {
            debug!(client = %evicted, "mapping given up for a newer one");
            self.counters.udp_evicted.inc();
        }
        Ok(host)
    }
}

/// A socket of the target's family that reports ICMP errors with their addresses.
fn open(target: SocketAddr) -> io::Result<HostSocket> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    errqueue::enable(&socket, target.is_ipv4())?;
    if let Err(errno) = segments::enable(&socket) {
        debug!(%errno, "the kernel hands datagrams over one by one"); // before Linux 5.0
    }
    HostSocket::from_std(socket)
}

/// Sends at once or drops. An error about an *earlier* datagram comes first and is not this one's.
fn send(
    host: &HostSocket,
    data: &[u8],
    size: Option<NonZeroU16>,
    target: SocketAddr,
) -> Result<usize, Errno> {
    // Not tokio's, which fails until the socket has been polled once.
    match segments::send(host, data, size, target) {
        Err(errno) if unreachable(errno).is_some() => segments::send(host, data, size, target),
        result => result,
    }
}

/// What a client is told when the host's socket says this.
fn unreachable(errno: Errno) -> Option<Unreachable> {
    match errno {
        Errno::CONNREFUSED => Some(Unreachable::Port),
        Errno::HOSTUNREACH | Errno::HOSTDOWN => Some(Unreachable::Host),
        Errno::NETUNREACH => Some(Unreachable::Net),
        Errno::ACCESS | Errno::PERM => Some(Unreachable::Prohibited),
        _ => None,
    }
}

/// The way back of one mapping.
struct Replies {
    client: SocketAddr,
    host: Arc<HostSocket>,
    socket: Arc<UdpSocket>,
    route: Route,
    is_active: Arc<AtomicBool>,
    counters: Arc<ForwardCounters>,
}

impl Replies {
    /// Relays until aborted.
    async fn run(self) {
        let interest = Interest::READABLE | Interest::ERROR;
        loop {
            let Ok(ready) = self.host.ready(interest).await else {
                return;
            };
            if ready.is_error() {
                self.pass_errors();
            }
            self.pass_datagrams().await;
        }
    }

    async fn pass_datagrams(&self) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            let receive = || Ok(segments::receive(&*self.host, &mut buffer)?);
            let Received { len, size, from } = match self.host.try_io(Interest::READABLE, receive) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The error of a datagram sent; the queue of errors tells which.
                Err(_) => continue,
            };
            self.is_active.store(true, Ordering::Relaxed);
            let mut message = Message::to(self.client, Bytes::copy_from_slice(&buffer[..len]));
            message.local = self.presented(from);
            message.segment_size = size;
            if message.local.is_some() {
                self.pass(message).await;
            } else {
                self.counters.udp_dropped.add(message.wire_datagrams());
            }
        }
    }

    async fn pass(&self, message: Message) {
        let count = message.wire_datagrams();
        let Err(error) = self.socket.send_message(&message).await else {
            return self.counters.udp_down.add(count);
        };
        let Some(size) = message.segment_size else {
            debug!(client = %self.client, %error, "a reply is lost");
            return self.counters.udp_dropped.inc();
        };
        // Too large for one packet to the client, or too many; one by one they may be fragmented.
        for data in message.data.chunks(size.get().into()) {
            let single = Message {
                data: message.data.slice_ref(data),
                segment_size: None,
                ..message
            };
            Box::pin(self.pass(single)).await;
        }
    }

    /// In whose name the client hears `from`, if it may.
    fn presented(&self, from: SocketAddr) -> Option<SocketAddr> {
        match &self.route {
            Route::Open(rules) => rules.check(from.ip()).is_ok().then_some(from),
            Route::Fixed(target) => {
                let same = (from.ip(), from.port()) == (target.ip(), target.port());
                same.then(|| self.socket.local_addr())
            }
        }
    }

    fn pass_errors(&self) {
        // Clears the readiness; what arrives from here on sets it again.
        let nothing = || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) };
        let _ = self.host.try_io(Interest::ERROR, nothing);
        while let Some(SendFailure {
            errno,
            destination,
            data,
        }) = errqueue::next(&*self.host)
        {
            let why = unreachable(errno);
            if let (Some(why), Some(source)) = (why, self.presented(destination)) {
                self.counters.udp_unreachable.inc();
                self.socket
                    .send_unreachable(why, self.client, source, &data);
            }
        }
    }
}
