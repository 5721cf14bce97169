//! One budget of memory for all that is on its way between applications and peers: send buffers,
//! receive queues, what waits above gaps.
//!
//! A [`Budget`] belongs to a whole stack. Who spends of it holds a [`Lease`]: a part that is taken
//! and given back in large steps, so that the endpoints of several threads share a budget and
//! touch what they share once in a hundred kilobytes. What is used never exceeds what is leased,
//! nor that the budget.
//!
//! Nobody has a reservation. Each buffer may hold half of what is free of the elastic part, as much
//! for each of them: dynamic thresholds, as switches share their memory (Choudhury and Hahne, 1998).
//! So n that want all they can get settle at about an n-th, a part stays free for who comes next,
//! and nobody needs a list. Above the elastic part stands a ladder: what can be had again stops
//! first, what frees memory stops last.
//!
//! | free | no longer |
//! |---|---|
//! | 1/4 | more than two segments to any buffer |
//! | 1/8 | anything above a gap; what is there goes, the oldest gap first |
//! | 1/16 | anything received, new connections of others |
//! | 0 | anything written; writers that have nothing queued take turns |

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The most that writing may take beyond its bytes: a small chunk that is joined gets a larger
/// place.
const MARGIN: usize = 4096;

/// A lease grows by that: a few segments at least; where the budget is large as much as the largest
/// segment takes. The slack of all leases together is less than a sixteenth of it.
const MIN_STEP: usize = 16 << 10;
const MAX_STEP: usize = 128 << 10;

/// Memory that several endpoints share, on a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
pub struct Budget {
    limit: usize,
    step: usize,
    free: AtomicUsize,
}

impl Budget {
    /// The smallest budget that works, for each lease; less counts as this.
    pub const MIN: usize = 128 << 10;

    /// A budget of `limit` bytes for so many leases.
    pub fn new(limit: usize, leases: usize) -> Arc<Self> {
        let leases = leases.max(1);
        let limit = limit.max(leases.saturating_mul(Self::MIN));
        Arc::new(Self {
            limit,
            step: (limit / 64 / leases).clamp(MIN_STEP, MAX_STEP),
            free: AtomicUsize::new(limit),
        })
    }

    /// Bytes in all.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Takes `most` bytes, or what there is.
    fn take(&self, most: usize) -> usize {
        let (order, mut taken) = (Ordering::Relaxed, 0);
        let _ = self.free.fetch_update(order, order, |free| {
            taken = free.min(most);
            Some(free - taken)
        });
        taken
    }
}

/// What buffers are charged with, in bytes of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// For what was written.
    pub sent: usize,
    /// For what arrived.
    pub received: usize,
}

impl Charge {
    /// For both.
    pub const fn total(self) -> usize {
        self.sent + self.received
    }
}

/// What one endpoint has of a [`Budget`].
///
/// A part of each lease is for what arrives alone, and as much for what is written, so that neither
/// ever waits for the other: it may be the same application that has to read before it writes, or
/// the same host that has to receive what it has sent.
#[derive(Debug)]
pub struct Lease {
    budget: Arc<Budget>,
    leased: usize,
    used: Charge,
}

impl Lease {
    /// A part of `budget`.
    pub fn new(budget: Arc<Budget>) -> Self {
        let leased = budget.take(2 * budget.step);
        Self {
            budget,
            leased,
            used: Charge::default(),
        }
    }

    /// Bytes of the whole budget.
    pub fn limit(&self) -> usize {
        self.budget.limit
    }

    /// Bytes that are used through this lease.
    pub const fn used(&self) -> usize {
        self.used.total()
    }

    /// Bytes that can be used before the budget is asked.
    pub const fn slack(&self) -> usize {
        self.leased.saturating_sub(self.used())
    }

    /// Bytes that can be written before the budget is asked.
    pub fn writable(&self) -> usize {
        self.slack()
            .saturating_sub(self.kept(self.used.received) + MARGIN)
    }

    /// Bytes that may arrive before the budget is asked, while `mark` bytes of it stay free.
    pub fn receivable(&self, mark: usize) -> usize {
        let slack = self.slack();
        let shared = slack.saturating_sub(self.kept(self.used.sent));
        let shared = shared.min(self.available().saturating_sub(mark));
        shared.max(slack.min(self.kept(self.used.received)))
    }

    /// What is left of the part that is for one kind alone, of which so much is `used`.
    fn kept(&self, used: usize) -> usize {
        (self.budget.step / 2).saturating_sub(used)
    }

    /// Bytes that nobody uses, as far as one can tell: the slack of others is not among them.
    pub fn available(&self) -> usize {
        self.budget.free.load(Ordering::Relaxed) + self.slack()
    }

    /// Has slack for `bytes` and a step more, if the budget has.
    pub fn stock(&mut self, bytes: usize) {
        let (slack, step) = (self.slack(), self.budget.step);
        if slack < bytes + step {
            self.leased += self.budget.take(bytes + 2 * step - slack);
        }
    }

    /// What took `before` takes `after` now. False: more than there is.
    pub fn settle(&mut self, before: Charge, after: Charge) -> bool {
        self.used.sent = self.used.sent + after.sent - before.sent;
        self.used.received = self.used.received + after.received - before.received;
        let (step, used) = (self.budget.step, self.used());
        if used > self.leased {
            self.leased += self.budget.take(used - self.leased);
        } else if self.slack() > 3 * step {
            let back = self.slack() - 2 * step;
            self.leased -= back;
            self.budget.free.fetch_add(back, Ordering::Relaxed);
        }
        used <= self.leased
    }

    /// What there is now for a single buffer, which is about to take `bytes`.
    pub(crate) fn allowance(&mut self, bytes: usize) -> Allowance {
        self.stock(bytes);
        let limit = self.budget.limit;
        let spare = self.available().saturating_sub(limit / 8);
        let in_order = self.receivable(limit / 16);
        Allowance {
            share: saturated(self.available().saturating_sub(limit / 4) / 2),
            write: saturated(self.writable()),
            in_order: saturated(in_order),
            out_of_order: saturated(in_order.min(spare)),
        }
    }

    /// Whether less than an eighth is left.
    pub(crate) fn is_short(&self) -> bool {
        self.available() < self.budget.limit / 8
    }

    /// Whether a quarter is left: that is plenty.
    pub(crate) fn is_ample(&self) -> bool {
        self.available() > self.budget.limit / 4
    }

    /// Whether there may be no room for one segment more that arrives.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.receivable(self.budget.limit / 16) < MARGIN
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.free.fetch_add(self.leased, Ordering::Relaxed);
    }
}

fn saturated(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What a connection may take, in bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// The most that either buffer may hold; two segments are always allowed.
    pub(crate) share: u32,
    /// More by writing.
    pub(crate) write: u32,
    /// More by what arrives in order.
    pub(crate) in_order: u32,
    /// More by what arrives above a gap.
    pub(crate) out_of_order: u32,
}

impl Allowance {
    /// The part of its share that a receive queue has until its reader has shown what it takes.
    const NEWCOMER: u32 = 16;

    /// The most that a window offers to a peer whose bytes nobody has read yet.
    pub(crate) const fn first_window(&self) -> u32 {
        self.share / Self::NEWCOMER
    }

    /// Without a budget.
    pub(crate) const UNLIMITED: Self = Self {
        share: u32::MAX,
        write: u32::MAX,
        in_order: u32::MAX,
        out_of_order: u32::MAX,
    };
}

/// The turn of a writer that waits for memory, and for nothing of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It does not wait.
    #[default]
    None,
    /// It stands in the queue.
    Waits,
    /// It was woken, and takes before others do.
    Has,
}

/// How a connection stands with the budget.
#[derive(Debug)]
pub(crate) struct Account {
    /// What its buffers are charged with, as far as the lease knows.
    pub(crate) charged: Charge,
    pub(crate) allowance: Allowance,
    pub(crate) turn: Turn,
    /// It stands in the list of those that hold bytes above a gap.
    pub(crate) hoards: bool,
    /// Segments in order that there was no memory for, not counted yet.
    pub(crate) rcv_q_drop: u32,
    /// The same of those above a gap.
    pub(crate) ofo_drop: u32,
}

impl Account {
    pub(crate) const fn new() -> Self {
        Self {
            charged: Charge {
                sent: 0,
                received: 0,
            },
            allowance: Allowance::UNLIMITED,
            turn: Turn::None,
            hoards: false,
            rcv_q_drop: 0,
            ofo_drop: 0,
        }
    }
}

/// How a budget stands, for display.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Bytes of all that share it.
    pub limit: usize,
    /// Bytes that this endpoint uses.
    pub used: usize,
    /// It is short of memory.
    pub under_pressure: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const fn sent(sent: usize) -> Charge {
        Charge { sent, received: 0 }
    }

    #[test]
    fn a_lease_touches_the_budget_in_steps() {
        let budget = Budget::new(64 << 20, 4);
        let mut lease = Lease::new(Arc::clone(&budget));
        let mut free = Vec::new();
        for n in 0..1_000 {
            lease.stock(1_500);
            assert!(lease.settle(sent(n * 1_500), sent((n + 1) * 1_500)));
            free.push(budget.free.load(Ordering::Relaxed));
        }
        free.dedup();
        assert!(free.len() <= 1_500_000 / MAX_STEP + 1, "{}", free.len());
        assert!(lease.settle(sent(1_500_000), sent(0)));
        assert!(budget.free.load(Ordering::Relaxed) >= (64 << 20) - 3 * MAX_STEP);
        drop(lease);
        assert_eq!(budget.free.load(Ordering::Relaxed), 64 << 20);
    }

    /// Choudhury and Hahne: n that take all they get end at E / (n + 2) each.
    #[test]
    fn greedy_buffers_end_at_equal_shares() {
        for count in [1, 2, 10, 100] {
            let mut lease = Lease::new(Budget::new(64 << 20, 1));
            let mut held = std::vec![0usize; count];
            for _ in 0..200 {
                for one in &mut held {
                    let share = lease.allowance(10_000).share as usize;
                    let next = (*one + 10_000).min(share).max(one.saturating_sub(10_000));
                    assert!(lease.settle(sent(*one), sent(next)));
                    *one = next;
                }
            }
            let fair = (48 << 20) / (count + 2);
            let fair = fair.min(200 * 10_000);
            for one in held {
                assert!(one.abs_diff(fair) <= fair / 10 + 10_000, "{one} of {fair}");
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        /// Who, and how much it wants to hold from now on of what it wrote, and of what arrived.
        Want(usize, usize, usize),
        /// Who gives everything back.
        Leave(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            9 => (0..3usize, 0..300_000usize, 0..300_000usize)
                .prop_map(|(who, sent, received)| Op::Want(who, sent, received)),
            1 => (0..3usize).prop_map(Op::Leave),
        ]
    }

    proptest! {
        /// Against a list of what each holds: the sum never exceeds the limit, and nothing is lost.
        #[test]
        fn leases_share_a_budget(
            limit in (3 * Budget::MIN)..(4 << 20),
            ops in proptest::collection::vec(op(), 1..200),
        ) {
            let budget = Budget::new(limit, 3);
            let lease = || Lease::new(Arc::clone(&budget));
            let mut leases = [lease(), lease(), lease()];
            let mut held = [Charge::default(); 3];
            for op in ops {
                match op {
                    Op::Want(who, sent, received) => {
                        let (lease, held) = (&mut leases[who], &mut held[who]);
                        let (was, allowance) = (*held, lease.allowance(10_000));
                        prop_assert!(allowance.in_order >= allowance.out_of_order);
                        held.sent = sent.min(was.sent + allowance.write as usize);
                        prop_assert!(lease.settle(was, *held));
                        let (was, allowance) = (*held, lease.allowance(10_000));
                        held.received = received.min(was.received + allowance.in_order as usize);
                        prop_assert!(lease.settle(was, *held));
                        let least = budget.step / 2 - MARGIN;
                        prop_assert!(held.sent >= sent.min(least), "writers wait for readers");
                        prop_assert!(held.received >= received.min(least), "readers for writers");
                    }
                    Op::Leave(who) => {
                        let was = core::mem::take(&mut held[who]);
                        prop_assert!(leases[who].settle(was, Charge::default()));
                    }
                }
                for (lease, held) in leases.iter().zip(held) {
                    prop_assert_eq!(lease.used, held);
                }
                let leased: usize = leases.iter().map(|lease| lease.leased).sum();
                let free = budget.free.load(Ordering::Relaxed);
                prop_assert_eq!(leased + free, limit);
                prop_assert!(held.iter().map(|held| held.total()).sum::<usize>() <= limit);
            }
        }
    }
}
