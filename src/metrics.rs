//! What a stack counts: one snapshot of everything.

mod http;
mod table;

use std::collections::BTreeMap;
use std::ops::AddAssign;

pub use ustack_udp::Counters as UdpCounters;

use crate::batch::Frame;
pub use crate::ip::IpCounters;
pub use http::{serve, text};
pub use table::{Kind, Row, TABLE};

/// Counters of a stack at one moment, over all its shards; all but the gauges only ever rise.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// TCP.
    pub tcp: TcpStats,
    /// UDP.
    pub udp: UdpCounters,
    /// IP and ICMP.
    pub ip: IpCounters,
    /// The budget of memory.
    pub memory: MemoryStats,
    /// The packet loop and its device.
    pub device: DeviceStats,
}

/// What TCP and its sockets count.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TcpStats {
    /// Connections that exist now, TIME-WAIT left out (a gauge).
    pub connections: usize,
    /// What the core counts.
    pub counters: ustack_tcp::Counters,
    /// Segments that went no further, by reason.
    pub dropped: BTreeMap<ustack_tcp::Dropped, u64>,
    /// Held SYNs forgotten because their listener held as many as it may.
    pub incoming_overflow: u64,
}

/// How the budget of memory stands (gauges, in bytes); all zero without
/// [`Config::memory`](crate::Config::memory). What its shortness costs is counted under
/// [`TcpStats::counters`] (`memory_pressures`, `rcv_q_drop`, `ofo_drop`, `ofo_pruned`,
/// `writers_starved`) and [`Stats::udp`] (`mem_errors`, `sndbuf_errors`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// What may be used.
    pub limit: usize,
    /// What is used, all told.
    pub used: usize,
    /// By TCP's buffers.
    pub tcp: usize,
    /// By the queues of UDP sockets.
    pub udp: usize,
    /// By fragments under reassembly.
    pub fragments: usize,
    /// Shards that are short of memory.
    pub shards_under_pressure: usize,
}

/// What the packet loop counts, a super-segment as one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes of IP packet received.
    pub rx_bytes: u64,
    /// Of these, segments that continue the one before them, and were taken with it for one.
    pub rx_coalesced: u64,
    /// Frames handed to the device.
    pub tx_frames: u64,
    /// Bytes of IP packet handed to the device.
    pub tx_bytes: u64,
    /// Turns after which the device would not take all that there was to send.
    pub tx_blocked: u64,
    /// Frames that went to the host's own addresses and never saw the device.
    pub loopback_frames: u64,
    /// Turns of the packet loop.
    pub turns: u64,
    /// Times that a driver looked for packets again instead of sleeping.
    pub busy_polls: u64,
    /// What was handed over to another shard, or back on the way round the shards.
    pub handed_over: u64,
    /// What could not be handed over: the other shard's queue was full.
    pub handover_dropped: u64,
}

impl DeviceStats {
    pub(crate) fn on_received(&mut self, frames: &[Frame]) {
        let bytes = frames.iter().map(|frame| frame.data.len() as u64);
        self.rx_frames += frames.len() as u64;
        self.rx_bytes += bytes.sum::<u64>();
    }
}

/// Adds every field of a struct, or does not compile.
macro_rules! add_fields {
    ($to:ident += $from:ident { $($field:ident),* $(,)? }) => {
        let Self { $($field),* } = $from;
        $($to.$field += $field;)*
    };
}

pub(crate) use add_fields;

/// The sum over several shards.
impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        add_fields!(
            self += other {
                tcp,
                udp,
                ip,
                memory,
                device
            }
        );
    }
}

impl AddAssign for TcpStats {
    fn add_assign(&mut self, other: Self) {
        let Self {
            connections,
            counters,
            dropped,
            incoming_overflow,
        } = other;
        self.connections += connections;
        self.counters += counters;
        self.incoming_overflow += incoming_overflow;
        for (reason, count) in dropped {
            *self.dropped.entry(reason).or_default() += count;
        }
    }
}

/// The shards of a stack have one limit together.
impl AddAssign for MemoryStats {
    fn add_assign(&mut self, other: Self) {
        let Self {
            limit,
            used,
            tcp,
            udp,
            fragments,
            shards_under_pressure,
        } = other;
        self.limit = self.limit.max(limit);
        self.used += used;
        self.tcp += tcp;
        self.udp += udp;
        self.fragments += fragments;
        self.shards_under_pressure += shards_under_pressure;
    }
}

impl AddAssign for DeviceStats {
    fn add_assign(&mut self, other: Self) {
        add_fields!(
            self += other {
                rx_frames,
                rx_bytes,
                rx_coalesced,
                tx_frames,
                tx_bytes,
                tx_blocked,
                loopback_frames,
                turns,
                busy_polls,
                handed_over,
                handover_dropped,
            }
        );
    }
}
