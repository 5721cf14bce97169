//! The queue before a link of some rate: first in, first out, one packet on the wire at a time.

use ustack_tcp::time::{Duration, Instant};

use super::codel::{Codel, Fifo};
use super::lost::Lost;
use super::spec::{ImpairSpec, QueueLimit};
use super::{LaneCounters, count};

const NANOS: u128 = 1_000_000_000;

/// A packet in the queue.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) packet: Vec<u8>,
    /// Its number in the lane.
    pub(super) number: u64,
    pub(super) arrived: Instant,
}

/// The packet on the wire.
#[derive(Debug)]
struct Sending {
    waiting: Waiting,
    /// Bits not yet sent at `since`.
    left: u64,
    since: Instant,
}

#[derive(Debug)]
pub(super) struct Bottleneck {
    /// Bits per second; 0 stands still, `None` is infinitely fast.
    rate: Option<u64>,
    limit: QueueLimit,
    codel: Option<Codel>,
    fifo: Fifo,
    sending: Option<Sending>,
    last_sojourn: Duration,
}

impl Bottleneck {
    pub(super) fn new(spec: &ImpairSpec) -> Self {
        Self {
            rate: spec.rate,
            limit: spec.queue.unwrap_or(ImpairSpec::DEFAULT_QUEUE),
            codel: spec.codel.map(Codel::new),
            fifo: Fifo::default(),
            sending: None,
            last_sojourn: Duration::ZERO,
        }
    }

    /// Packets that wait or are being sent.
    pub(super) fn packets(&self) -> usize {
        self.fifo.packets.len() + usize::from(self.sending.is_some())
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        let sending = self.sending.as_ref();
        self.fifo.bytes + sending.map_or(0, |sending| sending.waiting.packet.len())
    }

    pub(super) fn last_sojourn(&self) -> Duration {
        self.last_sojourn
    }

    /// What got lost here, and in the lane.
    pub(super) const fn lost(&mut self) -> &mut Lost {
        &mut self.fifo.lost
    }

    pub(super) fn set_limit(&mut self, limit: QueueLimit) {
        self.limit = limit;
    }

    /// A new rate from `now` on, also for the packet on the wire.
    pub(super) fn set_rate(&mut self, now: Instant, rate: Option<u64>) {
        if let Some(sending) = &mut self.sending {
            let sent = bits(now - sending.since, self.rate);
            sending.left = sending.left.saturating_sub(sent);
            sending.since = now;
        }
        self.rate = rate;
    }

    /// Takes a packet in, or drops it when the queue is full. What is idle always has room for one.
    pub(super) fn offer(&mut self, waiting: Waiting, counters: &LaneCounters) {
        let full = match self.limit {
            QueueLimit::Packets(packets) => self.packets() >= packets,
            QueueLimit::Bytes(bytes) => self.bytes() + waiting.packet.len() > bytes,
        };
        if full && self.sending.is_some() {
            count(&counters.overflowed);
            self.lost()
                .push(waiting.arrived, "queue full", &waiting.packet);
            return;
        }
        let now = waiting.arrived;
        self.fifo.push(waiting);
        if self.sending.is_none() {
            self.send_next(now, counters);
        }
    }

    /// When the packet on the wire has been sent.
    pub(super) fn next_sent(&self) -> Option<Instant> {
        let sending = self.sending.as_ref()?;
        match self.rate {
            None => Some(sending.since),
            Some(0) => None,
            Some(rate) => {
                let nanos = u128::from(sending.left) * NANOS / u128::from(rate);
                Some(sending.since + Duration::from_nanos(nanos as u64))
            }
        }
    }

    /// The next packet that has been sent by `now`, and when exactly.
    pub(super) fn poll_sent(
        &mut self,
        now: Instant,
        counters: &LaneCounters,
    ) -> Option<(Instant, Waiting)> {
        let at = self.next_sent().filter(|&at| at <= now)?;
        let sent = self.sending.take()?.waiting;
        self.send_next(at, counters);
        Some((at, sent))
    }

    fn send_next(&mut self, now: Instant, counters: &LaneCounters) {
        let next = match &mut self.codel {
            Some(codel) => codel.dequeue(now, &mut self.fifo, counters),
            None => self.fifo.pop(),
        };
        self.sending = next.map(|waiting| {
            self.last_sojourn = now - waiting.arrived;
            Sending {
                left: waiting.packet.len() as u64 * 8,
                since: now,
                waiting,
            }
        });
    }
}

/// Bits sent in this time.
fn bits(time: Duration, rate: Option<u64>) -> u64 {
    rate.map_or(u64::MAX, |rate| {
        let bits = time.as_nanos() * u128::from(rate) / NANOS;
        u64::try_from(bits).unwrap_or(u64::MAX)
    })
}
