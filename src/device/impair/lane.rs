//! One direction of an impaired device: packets go in, and come out later, damaged, twice or never.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use ustack_tcp::time::{Duration, Instant};

use super::ImpairSpec;
use crate::device::Frame;

/// Bytes a direction holds back at most, whatever the spec says.
const MAX_BYTES: usize = 64 << 20;
/// Packets a direction holds back at most, unless the spec says less.
const MAX_PACKETS: usize = 100_000;
/// How much later a reordered packet leaves when there is no delay that it could skip.
const HOLD_BACK: Duration = Duration::from_millis(1);

/// What an [`Impair`](super::Impair) did, one set for each direction.
#[derive(Debug, Default)]
pub struct ImpairCounters {
    /// To the stack.
    pub inbound: LaneCounters,
    /// From the stack.
    pub outbound: LaneCounters,
}

/// What happened to the wire packets of one direction.
#[derive(Debug, Default)]
pub struct LaneCounters {
    /// Packets that came in.
    pub packets: AtomicU64,
    /// Lost, as `loss` asked.
    pub lost: AtomicU64,
    /// Dropped because the queue was full.
    pub overflowed: AtomicU64,
    /// Sent twice.
    pub duplicated: AtomicU64,
    /// Passed on with one bit flipped.
    pub corrupted: AtomicU64,
    /// Passed on out of order.
    pub reordered: AtomicU64,
    /// Frames dropped since their offload metadata did not fit their bytes.
    pub malformed: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A packet held back. Ordered by time, then by arrival.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Instant,
    order: u64,
    packet: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Lane {
    spec: ImpairSpec,
    rng: fastrand::Rng,
    held: BinaryHeap<Reverse<Held>>,
    held_bytes: usize,
    arrivals: u64,
    /// When the packets that wait for the bottleneck will have passed it, oldest first.
    bottleneck: VecDeque<Instant>,
    /// No packet that is not reordered leaves before this.
    last_due: Instant,
}

impl Lane {
    pub(super) fn new(mut spec: ImpairSpec, stream: u64) -> Self {
        let seed = *spec.seed.get_or_insert_with(|| fastrand::u64(..));
        // Weyl's constant keeps the streams of neighbouring seeds apart.
        let seed = seed.wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self {
            spec,
            rng: fastrand::Rng::with_seed(seed),
            held: BinaryHeap::new(),
            held_bytes: 0,
            arrivals: 0,
            bottleneck: VecDeque::new(),
            last_due: Instant::ZERO,
        }
    }

    pub(super) fn spec(&self) -> &ImpairSpec {
        &self.spec
    }

    /// Takes the wire packets of a frame in.
    pub(super) fn take(&mut self, now: Instant, frame: &Frame, counters: &LaneCounters) {
        if !super::cut(frame, |packet| self.on_packet(now, packet, counters)) {
            count(&counters.malformed);
        }
    }

    fn on_packet(&mut self, now: Instant, mut packet: Vec<u8>, counters: &LaneCounters) {
        count(&counters.packets);
        if self.happens(self.spec.loss) {
            count(&counters.lost);
            return;
        }
        if self.happens(self.spec.corrupt) && !packet.is_empty() {
            let bit = self.rng.usize(..packet.len() * 8);
            packet[bit / 8] ^= 1 << (bit % 8);
            count(&counters.corrupted);
        }
        if self.happens(self.spec.duplicate) {
            count(&counters.duplicated);
            self.hold(now, packet.clone(), counters);
        }
        self.hold(now, packet, counters);
    }

    fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.f64() < probability
    }

    fn hold(&mut self, now: Instant, packet: Vec<u8>, counters: &LaneCounters) {
        let Some(passed) = self.pass_bottleneck(now, packet.len()) else {
            count(&counters.overflowed);
            return;
        };
        let due = self.due(passed, counters);
        self.arrivals += 1;
        self.held_bytes += packet.len();
        self.held.push(Reverse(Held {
            due,
            order: self.arrivals,
            packet,
        }));
    }

    /// When a packet of `len` bytes has passed the bottleneck, or `None` when the queue before it
    /// is full.
    fn pass_bottleneck(&mut self, now: Instant, len: usize) -> Option<Instant> {
        if self.held_bytes + len > MAX_BYTES || self.held.len() >= MAX_PACKETS {
            return None;
        }
        let Some(rate) = self.spec.rate else {
            let limit = self.spec.queue.unwrap_or(MAX_PACKETS);
            return (self.held.len() < limit).then_some(now);
        };
        while self.bottleneck.front().is_some_and(|&passed| passed <= now) {
            self.bottleneck.pop_front();
        }
        if self.bottleneck.len() >= self.spec.queue.unwrap_or(ImpairSpec::DEFAULT_QUEUE) {
            return None;
        }
        let start = self.bottleneck.back().map_or(now, |&last| last.max(now));
        let nanos = (len as u64).saturating_mul(8_000_000_000) / rate;
        let passed = start + Duration::from_nanos(nanos);
        self.bottleneck.push_back(passed);
        Some(passed)
    }

    /// When a packet leaves that passed the bottleneck at `passed`.
    ///
    /// Jitter alone never reorders: a packet that would overtake leaves together with the one
    /// before it, as in a queue whose speed varies. (Linux netem reorders there, which makes every
    /// jitter a test of reordering.) A packet that `reorder` picks skips the delay and so overtakes
    /// those on their way; without a delay it is held back instead.
    fn due(&mut self, passed: Instant, counters: &LaneCounters) -> Instant {
        if self.happens(self.spec.reorder) {
            count(&counters.reordered);
            return if self.spec.delay.is_zero() {
                passed + HOLD_BACK
            } else {
                passed
            };
        }
        let jitter = self.spec.jitter.as_nanos() as u64;
        let mut due = passed + self.spec.delay;
        if jitter > 0 {
            let later = Duration::from_nanos(self.rng.u64(..=2 * jitter));
            due = (due + later)
                .saturating_before(self.spec.jitter)
                .max(passed);
        }
        self.last_due = self.last_due.max(due);
        self.last_due
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.held.peek().map(|Reverse(held)| held.due)
    }

    pub(super) fn has_due(&self, now: Instant) -> bool {
        self.next_due().is_some_and(|due| due <= now)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        if !self.has_due(now) {
            return None;
        }
        let Reverse(held) = self.held.pop()?;
        self.held_bytes -= held.packet.len();
        Some(held.packet)
    }
}
