//! `Udp`: every socket of a host behind one surface.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU8;

use bytes::Bytes;

use crate::error::{BindError, ConnectError, Dropped, IcmpError, SendError, SocketError};
use crate::queue::{ByteQueue, Datagram};
use crate::socket::{Outgoing, Socket, Transmit, TxMeta};
use crate::table::{Claim, KeyedHash, Slab, SocketId, Table, any, plain};
use crate::wire::HEADER_LEN;
use crate::{MAX_PAYLOAD_V4, MAX_PAYLOAD_V6};

/// How many datagrams one socket sends before the next one's turn.
const BURST: usize = 16;

/// Settings of all sockets of a [`Udp`].
#[derive(Clone, Debug)]
pub struct Config {
    /// This host's addresses: what sockets that are not transparent may bind.
    pub addresses: Vec<IpAddr>,
    /// The device's MTU, in bytes of IP packet.
    pub mtu: u16,
    /// Sockets in all.
    pub max_sockets: usize,
    /// First and last ephemeral port (`ip_local_port_range`).
    pub ephemeral_ports: (u16, u16),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            mtu: 1500,
            max_sockets: 1 << 16,
            ephemeral_ports: (32_768, 60_999),
        }
    }
}

/// How to bind.
#[derive(Clone, Copy, Debug)]
pub struct BindOptions {
    /// Address and port; an unspecified address takes all of this host's of its family, port 0 an
    /// ephemeral port (with `transparent`: every port of other hosts).
    pub local: SocketAddr,
    /// Take datagrams to other hosts' addresses too, and send from them.
    pub transparent: bool,
    /// Receive queue, in bytes with [`OVERHEAD`](crate::OVERHEAD) (`SO_RCVBUF`).
    pub recv_buffer: u32,
    /// Send queue, in bytes with [`OVERHEAD`](crate::OVERHEAD) (`SO_SNDBUF`).
    pub send_buffer: u32,
    /// Never fragment; too large a datagram is an error instead (`IP_PMTUDISC_DO`).
    pub dont_fragment: bool,
    /// DSCP of what is sent, 0–63 (`IP_TOS`).
    pub dscp: u8,
    /// TTL or hop limit; `None` for the stack's default (`IP_TTL`).
    pub ttl: Option<NonZeroU8>,
}

impl BindOptions {
    /// A plain socket at `local`, with Linux's default queue sizes.
    pub const fn new(local: SocketAddr) -> Self {
        Self {
            local,
            transparent: false,
            recv_buffer: 212_992,
            send_buffer: 212_992,
            dont_fragment: false,
            dscp: 0,
            ttl: None,
        }
    }
}

/// What happened that an application may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A datagram or an error can be read.
    Readable(SocketId),
    /// There is room in the send queue again, or an error to report.
    Writable(SocketId),
}

/// Counters, named after RFC 4113 and Linux's `/proc/net/snmp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams queued for an application.
    pub in_datagrams: u64,
    /// Datagrams to a port that nobody is bound to.
    pub no_ports: u64,
    /// Datagrams dropped because the socket's receive queue was full.
    pub rcvbuf_errors: u64,
    /// Datagrams handed to IP.
    pub out_datagrams: u64,
    /// Datagrams refused because the socket's send queue was full.
    pub sndbuf_errors: u64,
}

/// All UDP of a host. See the crate's page.
#[derive(Debug)]
pub struct Udp {
    config: Config,
    sockets: Slab<Socket>,
    table: Table,
    ready: VecDeque<SocketId>,
    events: VecDeque<Event>,
    hash: KeyedHash,
    /// Ephemeral ports handed out so far; part of the keyed choice.
    choices: u64,
    counters: Counters,
}

impl Udp {
    /// An endpoint whose ephemeral ports and hash keys come from `seed`, which must be secret.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let (mut table, mut ports) = ([0; 16], [0; 16]);
        table.copy_from_slice(&seed[..16]);
        ports.copy_from_slice(&seed[16..]);
        Self {
            config,
            sockets: Slab::new(),
            table: Table::new(KeyedHash::new(&table)),
            ready: VecDeque::new(),
            events: VecDeque::new(),
            hash: KeyedHash::new(&ports),
            choices: 0,
            counters: Counters::default(),
        }
    }

    /// Binds a new socket. The same port may be bound to any address and to one address at once:
    /// the more specific socket wins.
    pub fn bind(&mut self, options: BindOptions) -> Result<SocketId, BindError> {
        if self.sockets.len() >= self.config.max_sockets {
            return Err(BindError::TooManySockets);
        }
        let mut local = plain(options.local);
        let ip = local.ip();
        if !options.transparent && !ip.is_unspecified() && !self.config.addresses.contains(&ip) {
            return Err(BindError::AddrNotAvailable);
        }
        if local.port() == 0 && !options.transparent {
            local.set_port(self.choose_port(ip).ok_or(BindError::AddrNotAvailable)?);
        }
        let claim = Claim {
            local,
            remote: None,
        };
        if !self.table.is_free(&claim, options.transparent) {
            return Err(BindError::AddrInUse);
        }
        let id = self.sockets.insert(Socket {
            claim,
            transparent: options.transparent,
            dont_fragment: options.dont_fragment,
            dscp: options.dscp & 0x3f,
            ttl: options.ttl,
            recv: ByteQueue::new(options.recv_buffer as usize),
            send: ByteQueue::new(options.send_buffer as usize),
            error: None,
            path_mtu: None,
            is_ready: false,
            readable: false,
            writable: false,
            wants_room: false,
            is_closing: false,
        });
        self.table.insert(claim, options.transparent, id);
        Ok(id)
    }

    /// A free ephemeral port: the search starts where the key says (RFC 6056 §3.3.3).
    fn choose_port(&mut self, ip: IpAddr) -> Option<u16> {
        let (first, last) = self.config.ephemeral_ports;
        let count = u64::from(last.checked_sub(first)?) + 1;
        self.choices += 1;
        let start = self.hash.of((ip, self.choices)) % count;
        (0..count)
            .map(|step| first + ((start + step) % count) as u16)
            .find(|&port| port != 0 && !self.table.is_port_used(port))
    }

    /// Gives the socket one peer: it hears from nobody else any more, and ICMP errors about it.
    /// What other peers sent before is still delivered.
    pub fn connect(&mut self, id: SocketId, remote: SocketAddr) -> Result<(), ConnectError> {
        let socket = self.live_mut(id).ok_or(ConnectError::NotFound)?;
        let remote = plain(remote);
        if !can_receive(socket.claim.local, remote) {
            return Err(ConnectError::InvalidRemote);
        }
        if socket.claim.local.port() == 0 {
            return Err(ConnectError::NoLocalPort);
        }
        let (old, transparent) = (socket.claim, socket.transparent);
        let claim = Claim {
            remote: Some(remote),
            ..old
        };
        if claim == old {
            return Ok(());
        }
        if !self.table.is_free(&claim, transparent) {
            return Err(ConnectError::AddrInUse);
        }
        self.table.remove(&old, transparent);
        self.table.insert(claim, transparent, id);
        if let Some(socket) = self.live_mut(id) {
            socket.claim = claim;
            (socket.error, socket.path_mtu) = (None, None);
        }
        Ok(())
    }

    /// Closes the socket: unread datagrams are forgotten, queued ones still go out. The id is
    /// dead afterwards.
    pub fn close(&mut self, id: SocketId) {
        let Some(socket) = self.live_mut(id) else {
            return;
        };
        socket.is_closing = true;
        socket.recv = ByteQueue::new(0);
        let (claim, transparent, drained) =
            (socket.claim, socket.transparent, socket.send.is_empty());
        self.table.remove(&claim, transparent);
        if drained {
            self.sockets.remove(id);
        }
    }

    /// Where the socket is bound.
    pub fn local_addr(&self, id: SocketId) -> Option<SocketAddr> {
        self.live(id).map(|socket| socket.claim.local)
    }

    /// Whom the socket is connected to.
    pub fn peer_addr(&self, id: SocketId) -> Option<SocketAddr> {
        self.live(id)?.claim.remote
    }

    /// The largest payload that reaches the peer of a connected socket (others: leaves the
    /// device) in one packet, as far as is known (PM-11).
    pub fn max_unfragmented(&self, id: SocketId) -> Option<usize> {
        self.live(id).map(|socket| self.payload_limit(socket))
    }

    fn payload_limit(&self, socket: &Socket) -> usize {
        let mtu = socket.path_mtu.unwrap_or(u16::MAX).min(self.config.mtu);
        let ip_header = if socket.claim.local.is_ipv4() { 20 } else { 40 };
        usize::from(mtu).saturating_sub(ip_header + HEADER_LEN)
    }

    /// A datagram arrived. `ours` says whether `datagram.local` is one of this host's own
    /// addresses; only transparent sockets take the others.
    pub fn on_datagram(&mut self, datagram: Datagram, ours: bool) -> Result<(), Dropped> {
        let count = datagram.wire_datagrams();
        let (local, remote) = (plain(datagram.local), plain(datagram.remote));
        let Some(id) = self.table.find(local, remote, ours) else {
            self.counters.no_ports += count;
            return Err(Dropped::NoSocket);
        };
        let queued = self
            .live_mut(id)
            .is_some_and(|socket| socket.recv.push(datagram.data.len(), datagram).is_ok());
        if !queued {
            self.counters.rcvbuf_errors += count;
            return Err(Dropped::BufferFull);
        }
        self.counters.in_datagrams += count;
        self.notify_readable(id);
        Ok(())
    }

    /// ICMP reports an error about a datagram from `local` to `remote`. Only a connected socket
    /// hears of it, once (RFC 1122 §4.1.3.3, UD-6).
    pub fn on_icmp_error(&mut self, local: SocketAddr, remote: SocketAddr, error: IcmpError) {
        let Some(id) = self.table.find_connected(plain(local), plain(remote), true) else {
            return;
        };
        let Some(socket) = self.live_mut(id) else {
            return;
        };
        let error = match error {
            IcmpError::PacketTooBig { mtu } => {
                socket.path_mtu = Some(socket.path_mtu.unwrap_or(u16::MAX).min(mtu));
                return;
            }
            IcmpError::PortUnreachable => SocketError::ConnectionRefused,
            IcmpError::HostUnreachable => SocketError::HostUnreachable,
            IcmpError::NetUnreachable => SocketError::NetUnreachable,
            IcmpError::Transient => return,
        };
        socket.error = Some(error);
        self.notify_readable(id);
        self.notify_writable(id);
    }

    /// The oldest datagram received, `None` when there is none: [`Event::Readable`] follows.
    pub fn recv(&mut self, id: SocketId) -> Result<Option<Datagram>, SocketError> {
        let socket = self.live_mut(id).ok_or(SocketError::NotFound)?;
        match socket.error.take() {
            Some(error) => Err(error),
            None => Ok(socket.recv.pop_datagram()),
        }
    }

    /// Queues a datagram. `local` overrides the source (an address of this host on a socket bound
    /// to any; whatever a transparent socket wants), `remote` the connected peer.
    pub fn send(
        &mut self,
        id: SocketId,
        local: Option<SocketAddr>,
        remote: Option<SocketAddr>,
        data: Bytes,
    ) -> Result<(), SendError> {
        let socket = self.live(id).ok_or(SendError::NotFound)?;
        let meta = self.check_send(socket, local, remote, data.len())?;
        let socket = self.live_mut(id).ok_or(SendError::NotFound)?;
        if let Some(error) = socket.error.take() {
            return Err(SendError::Socket(error));
        }
        if socket
            .send
            .push(data.len(), Outgoing { meta, data })
            .is_err()
        {
            socket.wants_room = true;
            self.counters.sndbuf_errors += 1;
            return Err(SendError::WouldBlock);
        }
        if !socket.is_ready {
            socket.is_ready = true;
            self.ready.push_back(id);
        }
        Ok(())
    }

    fn check_send(
        &self,
        socket: &Socket,
        local: Option<SocketAddr>,
        remote: Option<SocketAddr>,
        len: usize,
    ) -> Result<TxMeta, SendError> {
        let bound = socket.claim.local;
        let remote = remote.or(socket.claim.remote).map(plain);
        let remote = remote.ok_or(SendError::DestinationRequired)?;
        if !can_receive(bound, remote) {
            return Err(SendError::InvalidRemote);
        }
        let local = local.map_or(bound, plain);
        let is_ours = local.ip() == bound.ip()
            || local.ip() == any(bound.ip())
            || (bound.ip().is_unspecified() && self.config.addresses.contains(&local.ip()));
        let is_allowed = if socket.transparent {
            bound.port() == 0 || local.port() == bound.port()
        } else {
            is_ours && local.port() == bound.port()
        };
        if !is_allowed || local.is_ipv4() != bound.is_ipv4() || local.port() == 0 {
            return Err(SendError::InvalidLocal);
        }
        let local = if local.ip().is_unspecified() {
            SocketAddr::new(bound.ip(), local.port())
        } else {
            local
        };
        let limit = match (socket.dont_fragment, bound.is_ipv4()) {
            (true, _) => self.payload_limit(socket),
            (false, true) => MAX_PAYLOAD_V4,
            (false, false) => MAX_PAYLOAD_V6,
        };
        if len > limit {
            return Err(SendError::MessageTooLong);
        }
        Ok(TxMeta {
            local,
            remote,
            dscp: socket.dscp,
            ecn: 0,
            ttl: socket.ttl,
            dont_fragment: socket.dont_fragment,
        })
    }

    /// Whether [`Udp::send`] would find room for `len` bytes. Where not, [`Event::Writable`]
    /// follows.
    pub fn poll_room(&mut self, id: SocketId, len: usize) -> Result<bool, SocketError> {
        let socket = self.live_mut(id).ok_or(SocketError::NotFound)?;
        let has_room = socket.send.has_room(len);
        socket.wants_room |= !has_room;
        Ok(has_room)
    }

    /// Hands out what is to be sent, as far as `tx` has budget, sockets in turn.
    pub fn poll_transmit(&mut self, tx: &mut impl Transmit) {
        while tx.budget() > 0 {
            let Some(id) = self.ready.pop_front() else {
                return;
            };
            let Some(socket) = self.sockets.get_mut(id) else {
                continue;
            };
            for _ in 0..BURST.min(tx.budget()) {
                let Some(Outgoing { meta, data }) = socket.send.pop() else {
                    break;
                };
                self.counters.out_datagrams += 1;
                tx.push(&meta, data);
            }
            socket.is_ready = !socket.send.is_empty();
            if socket.is_ready {
                self.ready.push_back(id);
            } else if socket.is_closing {
                self.sockets.remove(id);
                continue;
            }
            if socket_wants_room(self.sockets.get_mut(id)) {
                self.notify_writable(id);
            }
        }
    }

    /// Whether [`Udp::poll_transmit`] has something to do: what wakes the driver.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next thing that applications should hear of.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            let event = self.events.pop_front()?;
            let (Event::Readable(id) | Event::Writable(id)) = event;
            let Some(socket) = self.live_mut(id) else {
                continue;
            };
            match event {
                Event::Readable(_) => socket.readable = false,
                Event::Writable(_) => socket.writable = false,
            }
            return Some(event);
        }
    }

    /// What was counted so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Open sockets, closed ones that still send included.
    pub fn socket_count(&self) -> usize {
        self.sockets.len()
    }

    /// Bytes charged to the socket's receive and send queues.
    pub fn queued_bytes(&self, id: SocketId) -> Option<(usize, usize)> {
        self.live(id)
            .map(|socket| (socket.recv.charged(), socket.send.charged()))
    }

    fn notify_readable(&mut self, id: SocketId) {
        if let Some(socket) = self.live_mut(id)
            && !core::mem::replace(&mut socket.readable, true)
        {
            self.events.push_back(Event::Readable(id));
        }
    }

    fn notify_writable(&mut self, id: SocketId) {
        if let Some(socket) = self.live_mut(id)
            && !core::mem::replace(&mut socket.writable, true)
        {
            self.events.push_back(Event::Writable(id));
        }
    }

    fn live(&self, id: SocketId) -> Option<&Socket> {
        self.sockets.get(id).filter(|socket| !socket.is_closing)
    }

    fn live_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.sockets.get_mut(id).filter(|socket| !socket.is_closing)
    }
}

fn socket_wants_room(socket: Option<&mut Socket>) -> bool {
    socket.is_some_and(|socket| core::mem::take(&mut socket.wants_room))
}

fn can_receive(local: SocketAddr, remote: SocketAddr) -> bool {
    let ip = remote.ip();
    local.is_ipv4() == remote.is_ipv4()
        && remote.port() != 0
        && !ip.is_unspecified()
        && !ip.is_multicast()
        && ip != IpAddr::V4(core::net::Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
