//! What holds of the endpoint between two turns, checked in builds with debug assertions.

use alloc::collections::BTreeMap;

use crate::endpoint::rest::Rest;
use crate::endpoint::settle::MAX_SLEEP;
use crate::endpoint::{ListenerId, Slot, Tcp};
use crate::invariant::{Held, holds};
use crate::table::Keyed;
use crate::time::Instant;

/// What a look at one entry costs, its lookups included, where a counter's element costs one.
const ENTRY_COST: usize = 8;

/// What is counted, found by looking.
#[derive(Default)]
struct Found {
    ready: usize,
    awake: usize,
    resting: usize,
    time_waits: usize,
    orphans: usize,
    half_open: BTreeMap<ListenerId, u32>,
    fast_open_pending: BTreeMap<ListenerId, u16>,
}

impl Tcp {
    /// Panics with the name of the first invariant that is broken. Recounts the table as often as
    /// that is cheap.
    pub(super) fn check_invariants(&mut self, now: Instant) {
        let len = self.table.slot_count() + self.wheel.len() + self.ready.len();
        if !self.recounts.is_due(len * ENTRY_COST) {
            return;
        }
        if let Err(broken) = self.held(now) {
            panic!("broken: {broken}\n{:#?}", self.counters);
        }
    }

    fn held(&self, now: Instant) -> Held {
        self.table.recount()?;
        self.wheel.recount()?;
        let mut found = Found::default();
        let mut charged = 0;
        for (id, slot) in self.table.iter() {
            found.ready += usize::from(self.table.is_ready(id));
            let deadline = match slot {
                Slot::SynSent(syn) => {
                    charged += syn.ours.data.len();
                    syn.deadline()
                }
                Slot::SynReceived(syn) => {
                    charged += syn.ours.data.len();
                    if let Some(listener) = syn.listener {
                        *found.half_open.entry(listener).or_default() += 1;
                    }
                    syn.deadline()
                }
                Slot::Connection(conn) => {
                    found.awake += 1;
                    found.orphans += usize::from(conn.is_orphan());
                    charged += conn.accounted().total();
                    holds(
                        self.memory.is_none() || conn.accounted() == conn.charged(),
                        "the budget knows what a connection is charged with",
                    )?;
                    let listener = conn.opening.as_ref().and_then(|syn| syn.listener);
                    if let Some(listener) = listener {
                        *found.fast_open_pending.entry(listener).or_default() += 1;
                    }
                    conn.poll_timeout(&self.config)
                }
                Slot::Resting(_, rest) => {
                    found.resting += 1;
                    self.check_rest(rest)?;
                    rest.until
                }
                Slot::TimeWait(_, record) => {
                    found.time_waits += 1;
                    Some(record.expires(now))
                }
            };
            holds(
                deadline.is_none_or(|at| {
                    self.wheel
                        .covers(self.table.armed(id), at.min(now + MAX_SLEEP))
                }),
                "what has a deadline has an entry in the wheel",
            )?;
            let known = self.table.lookup(&slot.flow()) == Some(id);
            let gone = matches!(slot, Slot::Connection(conn) if conn.is_closed());
            holds(known || gone, "what is not CLOSED is found by its flow")?;
        }
        if let Some(memory) = &self.memory {
            memory.recount(charged)?;
        }
        self.check_counts(&found)?;
        self.check_listeners(&found)
    }

    fn check_rest(&self, rest: &Rest) -> Held {
        let record = self.dormitory.record(rest);
        holds(
            record.is_some_and(|record| record.poll_timeout() == rest.until),
            "what rests has a record, and knows until when",
        )
    }

    fn check_counts(&self, found: &Found) -> Held {
        let half_open: u32 = found.half_open.values().sum();
        holds(
            self.half_open == half_open as usize,
            "handshakes equal a recount",
        )?;
        holds(
            self.time_waits == found.time_waits,
            "TIME-WAIT records equal a recount",
        )?;
        holds(self.orphans == found.orphans, "orphans equal a recount")?;
        holds(
            self.dormitory.awake() == found.awake,
            "connections awake equal a recount",
        )?;
        holds(
            self.dormitory.resting() == found.resting,
            "records in use equal a recount",
        )?;
        let alive = |id: &_| self.table.is_ready(*id);
        holds(
            self.ready.iter().filter(alive).count() == found.ready,
            "what is ready stands in the ready list, once",
        )?;
        holds(
            self.fired.is_empty(),
            "every deadline that came was dealt with",
        )?;
        holds(
            self.time_waits <= self.config.max_tw_buckets,
            "TIME-WAIT records are bounded",
        )
    }

    fn check_listeners(&self, found: &Found) -> Held {
        for (id, listener) in self.listeners.iter() {
            let half_open = found.half_open.get(&id).copied().unwrap_or(0);
            holds(
                listener.half_open == half_open,
                "a listener's handshakes equal a recount",
            )?;
            let pending = found.fast_open_pending.get(&id).copied().unwrap_or(0);
            holds(
                listener.fast_open_pending == pending,
                "pending Fast Opens equal a recount",
            )?;
            let mut waiting = listener.accept_queue.iter();
            let opened = |slot: &Slot| match slot {
                Slot::Connection(conn) => conn.listener == Some(id),
                Slot::Resting(_, rest) => {
                    let record = self.dormitory.record(rest);
                    record.is_some_and(|record| record.listener == Some(id))
                }
                _ => false,
            };
            holds(
                waiting.all(|&conn| self.table.get(conn).is_none_or(opened)),
                "what waits to be accepted is the listener's",
            )?;
        }
        Ok(())
    }
}
