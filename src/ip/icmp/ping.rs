//! Echo requests of our own: who asked, and what came back.

use std::net::IpAddr;

use bytes::Bytes;
use hashbrown::HashMap;

use super::super::counters::Dropped;
use super::super::input::Packet;
use super::super::keyed::{KeyedHash, Random};
use super::super::{Input, Ip, Queue};
use super::{HEADER_LEN, Message, V4_ECHO, V6_ECHO};

/// Sockets at once.
const MAX_SOCKETS: usize = 4096;

/// Bytes of replies that wait in one socket; more are dropped and counted.
const QUEUE_MEMORY: usize = 256 << 10;

/// The most data that fits into one message: 65,535 bytes less the headers.
const MAX_DATA_V4: usize = 65_507;
const MAX_DATA_V6: usize = 65_527;

/// An open ping socket: its family and identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PingId {
    is_v4: bool,
    ident: u16,
}

impl PingId {
    /// The identifier in its requests and replies.
    pub const fn ident(self) -> u16 {
        self.ident
    }
}

/// An echo reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Who answered.
    pub remote: IpAddr,
    /// The address that was answered: one of this host's.
    pub local: IpAddr,
    /// Sequence number of the request.
    pub seq: u16,
    /// TTL or hop limit left of the reply's packet.
    pub ttl: u8,
    /// The data of the request, if the other end is honest.
    pub data: Bytes,
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingError {
    /// The id is of a socket that is closed.
    NotFound,
    /// The destination is of the other family or nobody's, or there is no address to ask from.
    InvalidRemote,
    /// Longer than a packet can be.
    MessageTooLong,
    /// Too many messages wait to be sent.
    QueueFull,
}

/// Everybody who asks.
#[derive(Debug)]
pub(in super::super) struct Pings {
    sockets: HashMap<PingId, Socket, KeyedHash>,
    random: Random,
    readable: Vec<PingId>,
}

#[derive(Debug)]
struct Socket {
    /// Hears only what comes here, unless it is unspecified.
    local: IpAddr,
    replies: Queue<Pong>,
}

impl Pings {
    pub(in super::super) fn new(hash: KeyedHash, random: Random) -> Self {
        Self {
            sockets: HashMap::with_hasher(hash),
            random,
            readable: Vec::new(),
        }
    }
}

impl Ip {
    /// Opens a ping socket at `local`, an address of this host or an unspecified one, with an
    /// identifier that nobody can guess. `None` when there are too many.
    pub fn open_ping(&mut self, local: IpAddr) -> Option<PingId> {
        let pings = &mut self.pings;
        if pings.sockets.len() >= MAX_SOCKETS {
            return None;
        }
        let (shard, shards) = self.config.shard;
        let start = pings.random.below(1 << 16) as u16;
        let id = (0..=u16::MAX)
            .map(|step| PingId {
                is_v4: local.is_ipv4(),
                ident: start.wrapping_add(step),
            })
            .find(|id| id.ident % shards.max(1) == shard && !pings.sockets.contains_key(id))?;
        let replies = Queue::new(QUEUE_MEMORY);
        pings.sockets.insert(id, Socket { local, replies });
        Some(id)
    }

    /// Closes a ping socket; replies that still come are ignored.
    pub fn close_ping(&mut self, id: PingId) {
        self.pings.sockets.remove(&id);
    }

    /// Queues an echo request.
    pub fn send_ping(
        &mut self,
        id: PingId,
        remote: IpAddr,
        seq: u16,
        data: Bytes,
    ) -> Result<(), PingError> {
        let local = self
            .pings
            .sockets
            .get(&id)
            .ok_or(PingError::NotFound)?
            .local;
        if remote.is_ipv4() != id.is_v4 || !self.is_host(remote) {
            return Err(PingError::InvalidRemote);
        }
        let source = if local.is_unspecified() {
            self.source_for(remote).ok_or(PingError::InvalidRemote)?
        } else {
            local
        };
        let (kind, most) = if id.is_v4 {
            (V4_ECHO, MAX_DATA_V4)
        } else {
            (V6_ECHO, MAX_DATA_V6)
        };
        if data.len() > most {
            return Err(PingError::MessageTooLong);
        }
        let [ident_high, ident_low] = id.ident.to_be_bytes();
        let [seq_high, seq_low] = seq.to_be_bytes();
        let message = Message {
            source,
            destination: remote,
            dscp: 0,
            header: [kind, 0, 0, 0, ident_high, ident_low, seq_high, seq_low],
            payload: data,
        };
        if self.queue_message(message) {
            Ok(())
        } else {
            Err(PingError::QueueFull)
        }
    }

    /// The oldest reply that this socket has not read.
    pub fn recv_ping(&mut self, id: PingId) -> Option<Pong> {
        self.pings.sockets.get_mut(&id)?.replies.pop()
    }

    /// A socket that a reply has come for.
    pub fn poll_readable_ping(&mut self) -> Option<PingId> {
        self.pings.readable.pop()
    }

    /// A reply is for whoever asked under its identifier, from that address.
    pub(super) fn on_echo_reply(
        &mut self,
        packet: &Packet,
        header: [u8; HEADER_LEN],
    ) -> Result<Option<Input>, Dropped> {
        let [.., ident_high, ident_low, seq_high, seq_low] = header;
        let id = PingId {
            is_v4: packet.source.is_ipv4(),
            ident: u16::from_be_bytes([ident_high, ident_low]),
        };
        let socket = self
            .pings
            .sockets
            .get_mut(&id)
            .filter(|socket| {
                socket.local == packet.destination || packet.local && socket.local.is_unspecified()
            })
            .ok_or(Dropped::IcmpIgnored)?;
        let pong = Pong {
            remote: packet.source,
            local: packet.destination,
            seq: u16::from_be_bytes([seq_high, seq_low]),
            ttl: packet.ttl,
            data: packet.data.slice(packet.payload_at + HEADER_LEN..),
        };
        if !socket.replies.push(pong.data.len(), pong) {
            return Err(Dropped::EchoLimited);
        }
        if !self.pings.readable.contains(&id) {
            self.pings.readable.push(id);
        }
        Ok(self.dealt_with())
    }
}
