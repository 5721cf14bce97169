//! `Udp`: every socket of a host behind one surface.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::num::NonZeroU8;
use core::ops::AddAssign;

use crate::error::{BindError, ConnectError, Dropped, IcmpError, SocketError};
use crate::message::Datagram;
use crate::meter::Meter;
use crate::queue::{ByteQueue, OVERHEAD};
use crate::socket::{MtuDiscover, Socket};
use crate::table::{Claim, KeyedHash, Slab, SocketId, Table, plain};

mod send;
mod transmit;

/// What a socket's queues hold unless told otherwise, in bytes with
/// [`OVERHEAD`]: two turns of a device that reads 32 frames of up to 64 KiB in
/// one, so that a reader that comes a turn late loses nothing. Only what is queued takes memory.
pub const DEFAULT_BUFFER: u32 = 4 << 20;

/// Settings of all sockets of a [`Udp`].
#[derive(Clone, Debug)]
pub struct Config {
    /// This host's addresses: what sockets that are not transparent may bind.
    pub addresses: Vec<IpAddr>,
    /// Directed broadcast addresses of its subnets: nobody to send to.
    pub broadcasts: Vec<Ipv4Addr>,
    /// The device's MTU, in bytes of IP packet.
    pub mtu: u16,
    /// Sockets in all.
    pub max_sockets: usize,
    /// All queues together have limits (`udp_mem`), which [`Udp::limit_memory`] sets; until then
    /// they take nothing.
    pub limited: bool,
    /// First and last ephemeral port (`ip_local_port_range`).
    pub ephemeral_ports: (u16, u16),
    /// Modulus and remainder: ephemeral ports are those that leave this remainder, so that
    /// endpoints that share their addresses never choose the same one.
    pub port_class: (u16, u16),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            broadcasts: Vec::new(),
            mtu: 1500,
            max_sockets: 1 << 16,
            limited: false,
            ephemeral_ports: (32_768, 60_999),
            port_class: (1, 0),
        }
    }
}

/// How to bind.
#[derive(Clone, Copy, Debug)]
pub struct BindOptions {
    /// Address and port. `0.0.0.0` takes all of this host's IPv4 addresses, `[::]` those of both
    /// families; port 0 an ephemeral port (with `transparent`: every port of other hosts).
    pub local: SocketAddr,
    /// Take datagrams to other hosts' addresses too, and send from them.
    pub transparent: bool,
    /// Receive queue, in bytes with [`OVERHEAD`] (`SO_RCVBUF`).
    pub recv_buffer: u32,
    /// Send queue, in bytes with [`OVERHEAD`] (`SO_SNDBUF`).
    pub send_buffer: u32,
    /// What happens to datagrams that are larger than their path takes (`IP_MTU_DISCOVER`).
    pub mtu_discover: MtuDiscover,
    /// DSCP of what is sent, 0–63 (`IP_TOS`).
    pub dscp: u8,
    /// TTL or hop limit; `None` for the stack's default (`IP_TTL`).
    pub ttl: Option<NonZeroU8>,
}

impl BindOptions {
    /// A plain socket at `local`, with queues of [`DEFAULT_BUFFER`].
    pub const fn new(local: SocketAddr) -> Self {
        Self {
            local,
            transparent: false,
            recv_buffer: DEFAULT_BUFFER,
            send_buffer: DEFAULT_BUFFER,
            mtu_discover: MtuDiscover::Want,
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
    /// Datagrams received and dropped because all queues together had no memory left (`MemErrors`).
    pub mem_errors: u64,
}

/// The sum over several endpoints.
impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        let Self {
            in_datagrams,
            no_ports,
            rcvbuf_errors,
            out_datagrams,
            sndbuf_errors,
            mem_errors,
        } = other;
        self.in_datagrams += in_datagrams;
        self.no_ports += no_ports;
        self.rcvbuf_errors += rcvbuf_errors;
        self.out_datagrams += out_datagrams;
        self.sndbuf_errors += sndbuf_errors;
        self.mem_errors += mem_errors;
    }
}

/// All UDP of a host. See the crate's page.
#[derive(Debug)]
pub struct Udp {
    config: Config,
    sockets: Slab<Socket>,
    table: Table,
    ready: VecDeque<SocketId>,
    events: VecDeque<Event>,
    /// Chunks of the frame under construction; kept for its storage.
    chunks: Vec<Bytes>,
    hash: KeyedHash,
    /// Ephemeral ports handed out so far; part of the keyed choice.
    choices: u64,
    counters: Counters,
    /// What all send queues hold, and all receive queues.
    sent: Meter,
    received: Meter,
    /// Sockets with nothing queued that wait for memory of the others, and for how much.
    starved: Vec<(SocketId, usize)>,
}

impl Udp {
    /// An endpoint whose ephemeral ports and hash keys come from `seed`, which must be secret.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let (mut table, mut ports) = ([0; 16], [0; 16]);
        table.copy_from_slice(&seed[..16]);
        ports.copy_from_slice(&seed[16..]);
        let meter = if config.limited {
            Meter::limited
        } else {
            Meter::default
        };
        Self {
            sent: meter(),
            received: meter(),
            starved: Vec::new(),
            config,
            sockets: Slab::new(),
            table: Table::new(KeyedHash::new(&table)),
            ready: VecDeque::new(),
            events: VecDeque::new(),
            chunks: Vec::new(),
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
            mtu_discover: options.mtu_discover,
            dscp: options.dscp & 0x3f,
            ttl: options.ttl,
            recv: ByteQueue::new(options.recv_buffer as usize, self.received.clone()),
            send: ByteQueue::new(options.send_buffer as usize, self.sent.clone()),
            error: None,
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
        let (modulus, remainder) = self.config.port_class;
        let is_mine = |port: u16| port != 0 && port % modulus.max(1) == remainder;
        let count = u64::from(last.checked_sub(first)?) + 1;
        self.choices += 1;
        let start = self.hash.of((ip, self.choices)) % count;
        (0..count)
            .map(|step| first + ((start + step) % count) as u16)
            .find(|&port| is_mine(port) && !self.table.is_port_used(port))
    }

    /// Gives the socket one peer: it hears from nobody else any more, and ICMP errors about it.
    /// What other peers sent before is still delivered.
    pub fn connect(&mut self, id: SocketId, remote: SocketAddr) -> Result<(), ConnectError> {
        let socket = self.live(id).ok_or(ConnectError::NotFound)?;
        let remote = plain(remote);
        let local = socket.claim.local;
        if !self.can_reach(local, remote) {
            return Err(ConnectError::InvalidRemote);
        }
        let socket = self.live_mut(id).ok_or(ConnectError::NotFound)?;
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
            socket.error = None;
        }
        Ok(())
    }

    /// TTL or hop limit of what the socket sends from now on; `None` for the stack's default
    /// (`IP_TTL`, `IPV6_UNICAST_HOPS`). False when the socket is closed.
    pub fn set_ttl(&mut self, id: SocketId, ttl: Option<NonZeroU8>) -> bool {
        let socket = self.live_mut(id);
        socket.map(|socket| socket.ttl = ttl).is_some()
    }

    /// What [`Udp::set_ttl`] said.
    pub fn ttl(&self, id: SocketId) -> Option<NonZeroU8> {
        self.live(id)?.ttl
    }

    /// DSCP of what the socket sends from now on, 0–63 (the upper six bits of `IP_TOS`). False
    /// when the socket is closed.
    pub fn set_dscp(&mut self, id: SocketId, dscp: u8) -> bool {
        let socket = self.live_mut(id);
        socket.map(|socket| socket.dscp = dscp & 0x3f).is_some()
    }

    /// DSCP of what the socket sends.
    pub fn dscp(&self, id: SocketId) -> Option<u8> {
        self.live(id).map(|socket| socket.dscp)
    }

    /// Closes the socket: unread datagrams are forgotten, queued ones still go out. The id is
    /// dead afterwards.
    pub fn close(&mut self, id: SocketId) {
        let Some(socket) = self.live_mut(id) else {
            return;
        };
        socket.is_closing = true;
        socket.recv = ByteQueue::new(0, Meter::default());
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

    /// A datagram arrived. `ours` says whether `datagram.local` is one of this host's own
    /// addresses; only transparent sockets take the others.
    pub fn on_datagram(&mut self, datagram: Datagram, ours: bool) -> Result<(), Dropped> {
        self.offer_datagram(datagram, ours)
            .unwrap_or_else(|datagram| {
                self.counters.no_ports += datagram.wire_datagrams();
                Err(Dropped::NoSocket)
            })
    }

    /// As [`Udp::on_datagram`], but a datagram for nobody here comes back, not counted: another
    /// endpoint of the host may have its socket.
    pub fn offer_datagram(
        &mut self,
        datagram: Datagram,
        ours: bool,
    ) -> Result<Result<(), Dropped>, Datagram> {
        let count = datagram.wire_datagrams();
        let (local, remote) = (plain(datagram.local), plain(datagram.remote));
        match self.table.find(local, remote, ours) {
            Some(id) => Ok(self.queue(id, datagram, count)),
            None => Err(datagram),
        }
    }

    fn queue(&mut self, id: SocketId, datagram: Datagram, count: u64) -> Result<(), Dropped> {
        let Some(socket) = self.live_mut(id) else {
            return Err(Dropped::NoSocket);
        };
        let len = datagram.data.len();
        let has_memory = socket.recv.has_memory(len);
        if socket.recv.push(len, datagram).is_err() {
            let errors = if has_memory {
                &mut self.counters.rcvbuf_errors
            } else {
                &mut self.counters.mem_errors
            };
            *errors += count;
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
            // IP knows the path; who lets it fragment need not.
            IcmpError::PacketTooBig { .. } if socket.mtu_discover == MtuDiscover::Want => return,
            IcmpError::PacketTooBig { .. } => SocketError::MessageTooLong,
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

    /// As [`Udp::recv`], but datagrams that the device joined stay together (`UDP_GRO`).
    pub fn recv_joined(&mut self, id: SocketId) -> Result<Option<Datagram>, SocketError> {
        let socket = self.live_mut(id).ok_or(SocketError::NotFound)?;
        match socket.error.take() {
            Some(error) => Err(error),
            None => Ok(socket.recv.pop_joined()),
        }
    }

    /// The error that the next call would report, reported now instead (`SO_ERROR`).
    pub fn take_error(&mut self, id: SocketId) -> Option<SocketError> {
        self.live_mut(id)?.error.take()
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

    /// What all send queues together may hold, and all receive queues, in bytes with
    /// [`OVERHEAD`]: nothing changes without [`Config::limited`].
    pub fn limit_memory(&mut self, sent: usize, received: usize) {
        self.sent.set_limit(sent);
        self.received.set_limit(received);
        for (id, bytes) in core::mem::take(&mut self.starved) {
            if self.sent.has_room(bytes) {
                self.notify_writable(id);
            } else {
                self.starved.push((id, bytes));
            }
        }
    }

    /// What all send queues hold, and all receive queues; 0 without [`Config::limited`].
    pub fn charged(&self) -> (usize, usize) {
        (self.sent.charged(), self.received.charged())
    }

    /// Whether a socket with an empty send queue waits for memory.
    pub fn is_starved(&self) -> bool {
        !self.starved.is_empty()
    }

    /// A socket was refused for want of room. What it has queued makes room as it leaves; if that
    /// is nothing, the others' has to.
    fn want_room(&mut self, id: SocketId, len: usize) {
        let Some(socket) = self.live_mut(id) else {
            return;
        };
        socket.wants_room = true;
        if socket.send.is_empty() {
            self.starved.retain(|&(other, _)| other != id);
            self.starved.push((id, len + OVERHEAD));
        }
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

#[cfg(test)]
mod joined;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
