//! Controlled delay (RFC 8289): which packets a queue gives up because it stands.

use std::collections::VecDeque;

use ustack_tcp::time::{Duration, Instant};

use super::bottleneck::Waiting;
use super::lost::Lost;
use super::packet::mark_ce;
use super::spec::CodelSpec;
use super::{LaneCounters, count};

/// A queue that has drained for less than this many intervals resumes where dropping left off
/// (RFC 8289 §5.6).
const RECENT: u32 = 16;

/// CoDel's state, in RFC 8289's names.
#[derive(Debug)]
pub(super) struct Codel {
    spec: CodelSpec,
    first_above_time: Option<Instant>,
    drop_next: Instant,
    count: u32,
    lastcount: u32,
    dropping: bool,
    /// The largest packet so far: a queue of no more than this does not stand.
    max_packet: usize,
}

/// The packets of a queue, oldest first.
#[derive(Debug, Default)]
pub(super) struct Fifo {
    pub(super) packets: VecDeque<Waiting>,
    pub(super) bytes: usize,
    /// What left it another way.
    pub(super) lost: Lost,
}

impl Fifo {
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.packet.len();
        self.packets.push_back(waiting);
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.packets.pop_front()?;
        self.bytes -= waiting.packet.len();
        Some(waiting)
    }
}

fn bury(now: Instant, head: Option<Waiting>, fifo: &mut Fifo) {
    if let Some(head) = head {
        fifo.lost.push(now, "CoDel", &head.packet);
    }
}

impl Codel {
    pub(super) fn new(spec: CodelSpec) -> Self {
        Self {
            spec,
            first_above_time: None,
            drop_next: Instant::ZERO,
            count: 0,
            lastcount: 0,
            dropping: false,
            max_packet: 0,
        }
    }

    /// The next packet to send at `now`, those that CoDel drops left out.
    pub(super) fn dequeue(
        &mut self,
        now: Instant,
        fifo: &mut Fifo,
        counters: &LaneCounters,
    ) -> Option<Waiting> {
        let (mut head, mut may_drop) = self.pop(now, fifo);
        if !self.dropping {
            if may_drop {
                if !self.marks(&mut head, counters) {
                    bury(now, head, fifo);
                    (head, _) = self.pop(now, fifo);
                }
                self.begin_dropping(now);
            }
            return head;
        }
        self.dropping = may_drop;
        while self.dropping && now >= self.drop_next {
            self.count = self.count.saturating_add(1);
            let marked = self.marks(&mut head, counters);
            if !marked {
                bury(now, head, fifo);
                (head, may_drop) = self.pop(now, fifo);
                self.dropping = may_drop;
            }
            if may_drop {
                self.drop_next = self.control_law(self.drop_next);
            }
            if marked {
                break;
            }
        }
        head
    }

    /// Marks a packet where that may stand for a drop; otherwise the caller has to take another
    /// in its place.
    fn marks(&self, head: &mut Option<Waiting>, counters: &LaneCounters) -> bool {
        let marked = self.spec.marks
            && head
                .as_mut()
                .is_some_and(|waiting| mark_ce(&mut waiting.packet));
        count(if marked {
            &counters.marked
        } else {
            &counters.codel_dropped
        });
        marked
    }

    fn begin_dropping(&mut self, now: Instant) {
        self.dropping = true;
        let delta = self.count.saturating_sub(self.lastcount);
        let recently = now - self.drop_next < self.spec.interval * RECENT;
        self.count = if delta > 1 && recently { delta } else { 1 };
        self.drop_next = self.control_law(now);
        self.lastcount = self.count;
    }

    /// The oldest packet, and whether the queue has stood for an interval.
    fn pop(&mut self, now: Instant, fifo: &mut Fifo) -> (Option<Waiting>, bool) {
        let Some(head) = fifo.pop() else {
            self.first_above_time = None;
            return (None, false);
        };
        self.max_packet = self.max_packet.max(head.packet.len());
        let sojourn = now - head.arrived;
        if sojourn < self.spec.target || fifo.bytes <= self.max_packet {
            self.first_above_time = None;
            return (Some(head), false);
        }
        let above = *self
            .first_above_time
            .get_or_insert(now + self.spec.interval);
        (Some(head), now >= above)
    }

    /// When the next packet goes: the interval shrinks with the root of the count, by one rounded
    /// division of IEEE numbers, the same on every machine.
    fn control_law(&self, from: Instant) -> Instant {
        let interval = self.spec.interval.as_nanos() as f64;
        from + Duration::from_nanos((interval / f64::from(self.count).sqrt()) as u64)
    }
}
