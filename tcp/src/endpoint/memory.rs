//! The endpoint's part in the [budget](crate::memory): where what a connection takes is accounted,
//! who waits for memory, and who has to give it up.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

use crate::connection::Connection;
use crate::endpoint::{ConnId, Counters, Slot, Tcp};
#[cfg(debug_assertions)]
use crate::invariant::{Held, holds};
use crate::memory::{Budget, Charge, Lease, MemoryInfo, Turn};
use crate::time::{Duration, Instant};

/// How often those who wait look at a budget that others may have freed.
const RETRY: Duration = Duration::from_millis(10);

/// Memory that is worth waking a writer for.
const MEAL: usize = 2048;

/// What every SYN announces at least, however little memory there is.
const MIN_WINDOW: u32 = 4096;

/// What the endpoint has of the budget, and who waits for more.
#[derive(Debug)]
pub(super) struct Memory {
    lease: Lease,
    /// Writers that wait for memory and nothing else, those that came first in front; some have
    /// gone since.
    starved: VecDeque<ConnId>,
    /// Connections that hold bytes above a gap, or did, the oldest gap first.
    hoards: VecDeque<ConnId>,
    /// Memory is short.
    pressed_since: Option<Instant>,
    /// When to look again whether there is memory for those who wait.
    retry_at: Option<Instant>,
}

impl Memory {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self {
            lease: Lease::new(budget),
            starved: VecDeque::new(),
            hoards: VecDeque::new(),
            pressed_since: None,
            retry_at: None,
        }
    }

    pub(super) const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.lease.is_exhausted()
    }

    /// Says what `conn` may take, before it takes any; `bytes` is what it will want. While writers wait for their turn, others
    /// write nothing: what they free is for those.
    pub(super) fn grant(&mut self, conn: &mut Connection, bytes: usize) {
        let mut allowance = self.lease.allowance(bytes);
        if !self.starved.is_empty() && conn.account().turn != Turn::Has {
            allowance.write = 0;
        }
        conn.grant(allowance);
    }

    /// `conn` took or freed memory: the one place where that is accounted.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        id: ConnId,
        conn: &mut Connection,
        counters: &mut Counters,
    ) {
        if conn.charged() != conn.accounted() {
            self.account(conn, counters);
            self.note_pressure(now, counters);
        }
        if conn.has_gap() && !conn.account().hoards {
            conn.account().hoards = true;
            self.hoards.push_back(id);
        }
        if conn.is_starved() {
            self.starve(now, id, conn, counters);
        }
        let account = conn.account();
        counters.rcv_q_drop += u64::from(core::mem::take(&mut account.rcv_q_drop));
        counters.ofo_drop += u64::from(core::mem::take(&mut account.ofo_drop));
    }

    fn account(&mut self, conn: &mut Connection, counters: &mut Counters) {
        if self.try_account(conn) {
            return;
        }
        // More chunks than one were made of what arrived.
        conn.shed();
        if !self.try_account(conn) {
            counters.rcv_collapsed += u64::from(conn.collapse());
            let _ = self.try_account(conn);
        }
    }

    fn try_account(&mut self, conn: &mut Connection) -> bool {
        let charged = conn.charged();
        let account = conn.account();
        if charged.sent > account.charged.sent {
            account.turn = Turn::None;
        }
        let before = core::mem::replace(&mut account.charged, charged);
        self.lease.settle(before, charged)
    }

    /// `conn` goes, with all that it holds.
    pub(super) fn forget(&mut self, conn: &mut Connection) {
        let account = conn.account();
        let charged = core::mem::take(&mut account.charged);
        self.lease.settle(charged, Charge::default());
    }

    /// A writer has its place in the queue once.
    fn starve(&mut self, now: Instant, id: ConnId, conn: &mut Connection, counters: &mut Counters) {
        if conn.account().turn != Turn::Waits {
            conn.account().turn = Turn::Waits;
            self.starved.push_back(id);
            counters.writers_starved += 1;
            self.retry_at.get_or_insert(now + RETRY);
        }
    }

    fn note_pressure(&mut self, now: Instant, counters: &mut Counters) {
        match self.pressed_since {
            None if self.lease.is_short() => {
                self.pressed_since = Some(now);
                counters.memory_pressures += 1;
            }
            Some(since) if self.lease.is_ample() => {
                self.pressed_since = None;
                counters.memory_pressures_chrono += (now - since).as_millis() as u64;
            }
            _ => {}
        }
    }

    /// Whether there is something for a writer that waits.
    pub(super) fn has_news(&self) -> bool {
        !self.starved.is_empty() && self.lease.writable() >= MEAL
    }

    fn has_to_shed(&self) -> bool {
        !self.hoards.is_empty() && self.lease.is_short()
    }

    #[cfg(debug_assertions)]
    pub(super) fn recount(&self, charged: usize) -> Held {
        holds(
            self.lease.used() == charged,
            "what is used of the budget equals a recount",
        )?;
        holds(
            self.lease.used() <= self.lease.limit(),
            "the budget is kept",
        )
    }
}

/// What is to be sent once a connection is open.
const fn early(sent: usize) -> Charge {
    Charge { sent, received: 0 }
}

impl Tcp {
    /// Spends from `budget`, with others, instead of what [`Config::memory`] says.
    ///
    /// # Panics
    ///
    /// If there are connections already.
    ///
    /// [`Config::memory`]: crate::Config::memory
    pub fn share_budget(&mut self, budget: &Arc<Budget>) {
        assert!(self.table.len() == 0, "a budget comes before connections");
        self.memory = Some(Box::new(Memory::new(Arc::clone(budget))));
    }

    /// How the budget stands; `None` without one.
    pub fn memory(&self) -> Option<MemoryInfo> {
        self.memory.as_ref().map(|memory| MemoryInfo {
            limit: memory.lease.limit(),
            used: memory.lease.used(),
            under_pressure: memory.pressed_since.is_some(),
        })
    }

    /// Says what the connection may take, which will want `bytes`.
    pub(super) fn fund(&mut self, id: ConnId, bytes: usize) {
        self.wake(id);
        if let Some(memory) = &mut self.memory
            && let Some(Slot::Connection(conn)) = self.table.get_mut(id)
        {
            memory.grant(conn, bytes);
        }
    }

    /// Of `room` bytes as many as an attempt to open may hold for later.
    pub(super) fn early_room(&mut self, room: usize) -> usize {
        let Some(memory) = &mut self.memory else {
            return room;
        };
        let allowance = memory.lease.allowance(room);
        room.min(allowance.share.min(allowance.write) as usize)
    }

    /// The most that a SYN announces; a segment of any usual size fits.
    pub(super) fn first_window(&mut self) -> u32 {
        let Some(memory) = &mut self.memory else {
            return u32::MAX;
        };
        memory.lease.allowance(0).first_window().max(MIN_WINDOW)
    }

    /// An attempt to open holds what is to be sent first.
    pub(super) fn charge_early(&mut self, bytes: usize) {
        if let Some(memory) = &mut self.memory {
            memory.lease.settle(Charge::default(), early(bytes));
        }
    }

    /// The attempt is over: what it held goes, or is the connection's.
    pub(super) fn discharge(&mut self, id: ConnId) {
        if let Some(memory) = &mut self.memory
            && let Some(Slot::SynSent(syn)) = self.table.get(id)
        {
            memory
                .lease
                .settle(early(syn.ours.data.len()), Charge::default());
        } else if let Some(memory) = &mut self.memory
            && let Some(Slot::SynReceived(syn)) = self.table.get(id)
        {
            memory
                .lease
                .settle(early(syn.ours.data.len()), Charge::default());
        }
    }

    /// A writer found no room: it may be for want of memory alone.
    pub(super) fn starve(&mut self, id: ConnId) {
        if let Some(memory) = &mut self.memory
            && let Some(Slot::Connection(conn)) = self.table.get_mut(id)
            && conn.is_starved()
        {
            memory.starve(self.wheel.present(), id, conn, &mut self.counters);
        }
    }

    pub(super) fn on_memory_timeout(&mut self, now: Instant) {
        if let Some(memory) = &mut self.memory
            && memory.retry_at.is_some_and(|at| at <= now)
        {
            self.share_memory(now);
        }
    }

    /// Wakes writers that wait, as far as there is memory; makes some where it is short.
    pub(super) fn share_memory(&mut self, now: Instant) {
        if self.memory.is_some() {
            self.shed(now);
            self.feed(now);
        }
    }

    fn feed(&mut self, now: Instant) {
        if let Some(memory) = &mut self.memory {
            memory.lease.stock(MEAL);
        }
        while let Some(memory) = &mut self.memory
            && let Some(&id) = memory.starved.front()
        {
            let waiting = match self.table.get_mut(id) {
                Some(Slot::Connection(conn)) if conn.is_in_queue() => Some(conn),
                _ => None,
            };
            if waiting.is_some() && !memory.has_news() {
                break;
            }
            memory.starved.pop_front();
            if let Some(conn) = waiting {
                conn.feed();
                self.settle_now(now, id);
            }
        }
        if let Some(memory) = &mut self.memory {
            let waits = !memory.starved.is_empty();
            memory.retry_at = waits.then(|| now + RETRY);
        }
    }

    /// While memory is short, those who hold bytes above a gap lose them, the oldest gap first: the
    /// peer has them still (RFC 2018 §8).
    fn shed(&mut self, now: Instant) {
        while let Some(memory) = &mut self.memory
            && memory.has_to_shed()
            && let Some(id) = memory.hoards.pop_front()
        {
            if let Some(Slot::Connection(conn)) = self.table.get_mut(id) {
                conn.account().hoards = false;
                conn.shed();
                self.settle_now(now, id);
            }
        }
        if let Some(memory) = &mut self.memory
            && memory.hoards.len() > 2 * self.table.len() + 64
        {
            let table = &mut self.table;
            let hoards = |id: &ConnId| match table.get_mut(*id) {
                Some(Slot::Connection(conn)) => conn.account().hoards,
                _ => false,
            };
            memory.hoards.retain(hoards);
        }
    }
}
