//! IP: IPv4 (RFC 791, RFC 1122 §3) and IPv6 (RFC 8200) with ICMP, for one shard.
//!
//! [`Ip`] stands between the device and the transports. Frames go in through [`Ip::on_frame`];
//! what is for a transport comes back as an [`Input`], what IP answers itself (pings, errors) is
//! queued and leaves through [`Ip::poll_transmit`]. Transports send through [`Ip::output`], which
//! writes headers into a [`TxBatch`] and leaves payload chunks alone.
//!
//! The order of a turn: `on_frame` for each frame received · `on_timeout` · transports transmit
//! through `output` · `poll_transmit` · the batch goes to the device · `poll_loopback` frames go
//! back in through `on_loopback`.
//!
//! Files: `v4`, `v6` headers · `address` which ones are ours · `input` what becomes of a packet ·
//! `reassembly` · `icmp` messages, both ways · `limit` how many of them · `pmtu` · `output`
//! headers, checksums, fragments.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16};

use bytes::Bytes;
use ustack_tcp::seq::WireSeq;
use ustack_tcp::time::Instant;
use ustack_tcp::{Ecn, FlowKey, IcmpError, Segment};
use ustack_udp::Datagram;

use self::address::Addresses;
use self::icmp::{Message, Pings};
use self::keyed::{KeyedHash, PacketIds, Random};
use self::limit::Limiter;
use self::pmtu::{PathMtus, SentFlows};
use self::reassembly::Reassembler;
use crate::batch::{Frame, TxBatch};
use crate::device::Caps;
use crate::pool::ChunkPool;

mod address;
mod config;
mod counters;
mod icmp;
mod input;
mod keyed;
mod limit;
mod output;
mod pmtu;
mod reassembly;
mod stray;
mod v4;
mod v6;

pub(crate) use self::address::directed_broadcasts;
pub use self::config::IpConfig;
pub use self::counters::{Dropped, IpCounters};
pub use self::icmp::{Echo, PingError, PingId, Pong, Unreachable, to_udp_error};
pub use self::output::{MAX_TX_FRAMES, Output};
pub use self::stray::Kin;

/// What a frame was for.
#[derive(Clone, Debug)]
pub enum Input {
    /// A TCP segment with a right checksum.
    Tcp {
        /// Its flow, seen from here.
        flow: FlowKey,
        /// Whether `flow.local` is an address of this host.
        local: bool,
        /// ECN bits of its packet.
        ecn: Ecn,
        /// Header and payload; the payload is a slice of the frame.
        segment: Segment,
    },
    /// A UDP datagram with a right checksum (or, over IPv4, none), or several joined ones.
    Udp {
        /// Addresses and payload; the payload is a slice of the frame.
        datagram: Datagram,
        /// Whether `datagram.local` is an address of this host.
        local: bool,
        /// The whole packet, for an ICMP error to quote.
        packet: Bytes,
    },
    /// An ICMP error about a TCP segment or UDP datagram that this host may have sent.
    IcmpError {
        /// IP protocol number: 6 or 17.
        protocol: u8,
        /// Our end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
        /// The quoted sequence number, for TCP to check.
        seq: Option<WireSeq>,
        /// What it says.
        error: IcmpError,
    },
    /// An echo request to another host's address: for the forwarder, who answers with
    /// [`Ip::send_echo_reply`] once that host has.
    EchoForeign(Echo),
    /// Of a host of several shards only: a packet whose shard is not the one of a port in its
    /// headers. It is not looked at any further before that shard gives it to
    /// [`Ip::on_settled`].
    Stray {
        /// The packet.
        frame: Frame,
        /// Whether this host sent it.
        loopback: bool,
        /// What tells the shard.
        kin: Kin,
    },
}

/// IP of one shard: fragments under reassembly, path MTUs, ICMP limits, counters.
#[derive(Debug)]
pub struct Ip {
    config: IpConfig,
    caps: Caps,
    addresses: Addresses,
    hash: KeyedHash,
    ids: PacketIds,
    reassembler: Reassembler,
    path_mtus: PathMtus,
    sent_flows: SentFlows,
    limiter: Limiter,
    pings: Pings,
    messages: Queue<Message>,
    loopback: Queue<Frame>,
    /// What packets to this host itself are copied to.
    pool: ChunkPool,
    counters: IpCounters,
}

impl Ip {
    /// IP behind a device with these capabilities. Hash keys, packet identifiers, flow labels and
    /// the jitter of ICMP limits come from `seed`, which must be secret.
    pub fn new(config: IpConfig, caps: Caps, seed: [u8; 32]) -> Self {
        let (mut hash, mut random) = ([0; 16], [0; 16]);
        hash.copy_from_slice(&seed[..16]);
        random.copy_from_slice(&seed[16..]);
        let (hash, random) = (KeyedHash::new(hash), KeyedHash::new(random));
        Self {
            caps,
            addresses: Addresses::new(&config.addresses),
            hash,
            ids: PacketIds::new(random, config.shard),
            reassembler: Reassembler::new(
                config.reassembly_memory,
                config.reassembly_memory_per_source,
                hash,
            ),
            path_mtus: PathMtus::new(config.path_mtu_entries, hash),
            sent_flows: SentFlows::new(),
            limiter: Limiter::new(&config, hash, Random::new(random)),
            pings: Pings::new(hash, Random::starting_at(random, 1 << 63)),
            messages: Queue::new(config.queue_memory),
            loopback: Queue::new(config.queue_memory),
            pool: ChunkPool::default(),
            counters: IpCounters::default(),
            config,
        }
    }

    /// A frame arrived from the device. `Ok(None)`: IP dealt with it, or waits for the rest.
    pub fn on_frame(&mut self, now: Instant, frame: Frame) -> Result<Option<Input>, Dropped> {
        self.receive(now, frame, Origin::default())
    }

    /// So many packets were taken along with one that was delivered, whose headers they have.
    pub(crate) const fn on_coalesced(&mut self, packets: u64) {
        self.counters.in_receives += packets;
        self.counters.in_delivers += packets;
    }

    /// A frame came out of [`Ip::poll_loopback`]: as [`Ip::on_frame`], but our own addresses are
    /// right as its source.
    pub fn on_loopback(&mut self, now: Instant, frame: Frame) -> Result<Option<Input>, Dropped> {
        let origin = Origin {
            loopback: true,
            ..Origin::default()
        };
        self.receive(now, frame, origin)
    }

    /// A frame that was an [`Input::Stray`] has come to its shard.
    pub fn on_settled(
        &mut self,
        now: Instant,
        frame: Frame,
        loopback: bool,
    ) -> Result<Option<Input>, Dropped> {
        let is_settled = true;
        let origin = Origin {
            loopback,
            is_settled,
        };
        self.receive(now, frame, origin)
    }

    /// The oldest packet that this host sent to one of its own addresses.
    pub fn poll_loopback(&mut self) -> Option<Frame> {
        self.loopback.pop()
    }

    /// Hands out the ICMP messages that IP owes, as far as `tx` has budget.
    pub fn poll_transmit(&mut self, now: Instant, tx: &mut TxBatch) {
        while tx.len() < MAX_TX_FRAMES
            && let Some(message) = self.messages.pop()
        {
            self.output(now, tx).push_icmp(message);
        }
    }

    /// Whether [`Ip::poll_transmit`] or [`Ip::poll_loopback`] has something.
    pub fn has_ready(&self) -> bool {
        !self.messages.entries.is_empty() || !self.loopback.entries.is_empty()
    }

    /// Where transports send to.
    pub fn output<'a>(&'a mut self, now: Instant, tx: &'a mut TxBatch) -> Output<'a> {
        Output::new(self, now, tx)
    }

    /// Gives up fragments and forgets path MTUs whose time is over.
    pub fn on_timeout(&mut self, now: Instant) {
        while let Some(expired) = self.reassembler.poll_expired(now) {
            self.counters.reasm_timeout += 1;
            if let Some(first) = expired.first {
                self.send_reassembly_timeout(now, &first);
            }
        }
        self.counters.reasm_fails = self.reassembler.fails;
        self.path_mtus.on_timeout(now);
    }

    /// When [`Ip::on_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [
            self.reassembler.poll_timeout(),
            self.path_mtus.poll_timeout(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Bytes that fragments under reassembly are charged with.
    pub const fn fragment_memory(&self) -> usize {
        self.reassembler.charged()
    }

    /// Another limit for them, below [`IpConfig::reassembly_memory`]; the oldest datagrams go when
    /// a fragment comes that is too much.
    pub fn limit_fragments(&mut self, limit: usize) {
        self.reassembler
            .set_limit(limit.min(self.config.reassembly_memory));
    }

    /// Whether `ip` is an address of this host.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.addresses.is_own(ip)
    }

    /// Whether `ip` may be a host, this one included: no group, no broadcast, nothing reserved.
    pub fn is_host(&self, ip: IpAddr) -> bool {
        self.addresses.is_own(ip) || self.addresses.is_unicast(ip)
    }

    /// The address of this host to talk to `remote` from; `None` when it has none of that family.
    pub fn source_for(&self, remote: IpAddr) -> Option<IpAddr> {
        if self.is_local(remote) {
            return Some(remote);
        }
        self.addresses.source_for(remote)
    }

    /// The MTU of the path to `remote`, in bytes of IP packet.
    pub fn path_mtu(&self, remote: IpAddr) -> u16 {
        if self.is_local(remote) {
            return u16::MAX;
        }
        self.path_mtus.get(remote).unwrap_or(self.caps.mtu)
    }

    /// The path to `remote` takes no more than `mtu`: a report that is believed. All flows to
    /// that destination follow (PM-6).
    pub(super) fn lower_path_mtu(&mut self, now: Instant, remote: IpAddr, mtu: u16) {
        if self.path_mtus.on_report(now, remote, mtu, self.caps.mtu) {
            self.counters.path_mtu_updates += 1;
        }
    }

    /// TTL and hop limit of packets whose transport does not choose.
    pub fn default_ttl(&self) -> NonZeroU8 {
        self.config.ttl
    }

    /// What was counted so far.
    pub const fn counters(&self) -> &IpCounters {
        &self.counters
    }

    /// A keyed hash of a flow: flow label, and what [`SentFlows`] remembers it by.
    fn flow_hash(&self, flow: &Tuple) -> u64 {
        let (port, remote_port) = flow.ports;
        let ports = u32::from(port) << 16 | u32::from(remote_port);
        match (flow.local, flow.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let numbers = [
                    local.to_bits(),
                    remote.to_bits(),
                    ports,
                    flow.protocol.into(),
                ];
                self.hash
                    .of_bytes(numbers.map(u32::to_ne_bytes).as_flattened())
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => {
                let rest = u128::from(ports) << 8 | u128::from(flow.protocol);
                let numbers = [local.to_bits(), remote.to_bits(), rest];
                self.hash
                    .of_bytes(numbers.map(u128::to_ne_bytes).as_flattened())
            }
            _ => 0, // no packet
        }
    }
}

/// Where a frame comes from.
#[derive(Clone, Copy, Debug, Default)]
struct Origin {
    /// This host sent it.
    loopback: bool,
    /// Another shard, or this one, has found this one to be its shard.
    is_settled: bool,
}

impl Origin {
    /// What was put together here may still be for another shard.
    const fn unsettled(self) -> Self {
        Self {
            is_settled: false,
            ..self
        }
    }
}

/// Protocol, our address, the peer's, and the two ports (echo: identifier and 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tuple {
    protocol: u8,
    local: IpAddr,
    remote: IpAddr,
    ports: (u16, u16),
}

/// A queue bounded in bytes.
#[derive(Debug)]
struct Queue<T> {
    entries: VecDeque<(usize, T)>,
    charged: usize,
    limit: usize,
}

impl<T> Queue<T> {
    /// What an entry is charged besides its payload.
    const OVERHEAD: usize = 256;

    const fn new(limit: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            charged: 0,
            limit,
        }
    }

    /// Appends an entry with `len` bytes of payload; `false` when there is no room.
    fn push(&mut self, len: usize, entry: T) -> bool {
        let charge = len + Self::OVERHEAD;
        if self.charged + charge > self.limit {
            return false;
        }
        self.charged += charge;
        self.entries.push_back((charge, entry));
        true
    }

    fn pop(&mut self) -> Option<T> {
        let (charge, entry) = self.entries.pop_front()?;
        self.charged -= charge;
        Some(entry)
    }
}

/// The stride of a joined frame, if it is one of the right kind for what it holds.
fn stride(frame: &crate::batch::Offload) -> Option<NonZeroU16> {
    frame.gso.map(|gso| gso.size)
}

#[cfg(test)]
mod tests;
