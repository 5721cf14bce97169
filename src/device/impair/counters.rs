//! What happened to the packets of a lane.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an [`Impair`](super::Impair) did, one set for each direction.
#[derive(Debug, Default)]
pub struct ImpairCounters {
    /// To the stack.
    pub inbound: Arc<LaneCounters>,
    /// From the stack.
    pub outbound: Arc<LaneCounters>,
}

/// What happened to the wire packets of one direction.
#[derive(Debug, Default)]
pub struct LaneCounters {
    /// Packets that came in.
    pub packets: AtomicU64,
    /// Lost, as `loss`, `gemodel` and `drop` asked.
    pub lost: AtomicU64,
    /// Dropped because the queue was full.
    pub overflowed: AtomicU64,
    /// Dropped by CoDel.
    pub codel_dropped: AtomicU64,
    /// Marked CE, at random or by CoDel.
    pub marked: AtomicU64,
    /// Dropped because they were larger than `mtu`.
    pub oversized: AtomicU64,
    /// Sent twice.
    pub duplicated: AtomicU64,
    /// Passed on with one bit flipped.
    pub corrupted: AtomicU64,
    /// Passed on out of order.
    pub reordered: AtomicU64,
    /// Frames dropped since their offload metadata did not fit their bytes.
    pub malformed: AtomicU64,
    /// Packets that came out.
    pub delivered: AtomicU64,
    /// Their bytes.
    pub delivered_bytes: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
