//! The way after the bottleneck: a delay that may vary, and packets that do not keep their turn.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ustack_tcp::time::{Duration, Instant};

use super::bottleneck::Waiting;
use super::chance::{Choice, Dice};
use super::spec::ImpairSpec;
use super::{LaneCounters, count};

/// How much later a reordered packet leaves when there is no delay that it could skip.
const HOLD_BACK: Duration = Duration::from_millis(1);

/// A packet on its way. Ordered by time, then by its place in the queue.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct OnItsWay {
    due: Instant,
    order: u64,
    packet: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct DelayLine {
    held: BinaryHeap<Reverse<OnItsWay>>,
    bytes: usize,
    order: u64,
    /// No packet that is not reordered leaves before this.
    last_due: Instant,
}

impl DelayLine {
    pub(super) fn new() -> Self {
        Self {
            held: BinaryHeap::new(),
            bytes: 0,
            order: 0,
            last_due: Instant::ZERO,
        }
    }

    pub(super) fn packets(&self) -> usize {
        self.held.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A packet leaves the bottleneck at `sent`.
    pub(super) fn push(
        &mut self,
        sent: Instant,
        waiting: Waiting,
        spec: &ImpairSpec,
        dice: Dice,
        counters: &LaneCounters,
    ) {
        let due = self.due(sent, waiting.number, spec, dice, counters);
        self.order += 1;
        self.bytes += waiting.packet.len();
        self.held.push(Reverse(OnItsWay {
            due,
            order: self.order,
            packet: waiting.packet,
        }));
    }

    /// When a packet leaves that was sent at `sent`.
    ///
    /// Jitter alone never reorders: a packet that would overtake leaves together with the one
    /// before it, as in a queue whose speed varies. (Linux netem reorders there, which makes every
    /// jitter a test of reordering.) A packet that `reorder` picks skips the delay and so overtakes
    /// those on their way, unless it is held back instead.
    fn due(
        &mut self,
        sent: Instant,
        number: u64,
        spec: &ImpairSpec,
        dice: Dice,
        counters: &LaneCounters,
    ) -> Instant {
        if dice.happens(Choice::Reorder, number, spec.reorder) {
            count(&counters.reordered);
            return match spec.hold {
                Some(hold) => self.last_due.max(sent + spec.delay) + hold,
                None if spec.delay.is_zero() => sent + HOLD_BACK,
                None => sent,
            };
        }
        let jitter = spec.jitter.as_nanos() as u64;
        let mut due = sent + spec.delay;
        if jitter > 0 {
            let later = Duration::from_nanos(dice.below(Choice::Jitter, number, 2 * jitter + 1));
            due = (due + later).saturating_before(spec.jitter).max(sent);
        }
        self.last_due = self.last_due.max(due);
        self.last_due
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.held.peek().map(|Reverse(held)| held.due)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.next_due().filter(|&due| due <= now)?;
        let Reverse(held) = self.held.pop()?;
        self.bytes -= held.packet.len();
        Some(held.packet)
    }
}

/// The shortest time a packet can take.
pub(super) fn shortest(spec: &ImpairSpec) -> Duration {
    if spec.reorder > 0.0 && spec.hold.is_none() {
        Duration::ZERO
    } else {
        spec.delay.saturating_sub(spec.jitter)
    }
}
