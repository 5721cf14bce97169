//! `Tcp`: every flow of a host behind one surface.

mod active;
mod counters;
mod fast_open;
mod input;
#[cfg(debug_assertions)]
mod invariants;
mod memory;
mod observed;
mod option_sets;
mod passive;
mod queued;
mod ready;
mod rest;
mod settle;
mod socket;
mod time_wait;
mod types;

pub use counters::Counters;
pub(crate) use counters::Tally;
pub use queued::Queued;
pub use types::{ConnId, Event, ListenOptions, ListenerId, Read, Summary, Verdict};

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::num::{NonZeroU8, NonZeroU16};
use core::ops::Range;

use bytes::Bytes;

use crate::config::{Config, SocketOptions};
use crate::connection::{Connection, Resting, State};
use crate::error::CloseReason;
use crate::flow::{self, Flow};
use crate::handshake::{FastOpenCache, SynReceived, SynSent};
use crate::isn::Secrets;
use crate::listener::Listeners;
use crate::memory::Budget;
use crate::observe::{Observer, View, Why};
use crate::outlet::{Observed, Outlet};
use crate::segment::{Ecn, FlowKey, Segment, Transmit, TxMeta};
use crate::table::{Keyed, Table};
use crate::time::Instant;
use crate::wheel::{LowTick, Wheel};

use counters::Counting;
use memory::Memory;
use option_sets::OptionSets;
use ready::ReadyList;
use rest::{Dormitory, Rest};
pub(crate) use time_wait::TimeWait;

/// Answers to nobody's segments that wait for transmission; more are dropped and counted.
const MAX_REPLIES: usize = 256;

/// Slots that the processor's caches hold well enough. Of more, those of a batch of segments are looked
/// up together.
const MANY: usize = 1 << 14;

/// What the table holds for a flow.
#[derive(Debug)]
enum Slot {
    SynSent(Box<SynSent>),
    SynReceived(Box<SynReceived>),
    Connection(Box<Connection>),
    Resting(Flow, Rest),
    TimeWait(Flow, TimeWait),
}

impl Slot {
    const fn is_half_open(&self) -> bool {
        matches!(self, Self::SynReceived(_))
    }

    const fn is_time_wait(&self) -> bool {
        matches!(self, Self::TimeWait(..))
    }
}

impl Keyed for Slot {
    fn flow(&self) -> FlowKey {
        match self {
            Self::SynSent(syn) => syn.ours.flow,
            Self::SynReceived(syn) => syn.ours.flow,
            Self::Connection(conn) => conn.flow,
            Self::Resting(own, _) | Self::TimeWait(own, _) => own.key(),
        }
    }

    fn is_of(&self, flow: &FlowKey) -> bool {
        match self {
            Self::SynSent(syn) => flow::is_same(&syn.ours.flow, flow),
            Self::SynReceived(syn) => flow::is_same(&syn.ours.flow, flow),
            Self::Connection(conn) => flow::is_same(&conn.flow, flow),
            Self::Resting(own, _) | Self::TimeWait(own, _) => own.is(flow),
        }
    }
}

/// All TCP of a host.
///
/// # Order of calls
///
/// In a turn: [`on_segment`](Tcp::on_segment) for each segment, [`on_timeout`](Tcp::on_timeout),
/// [`poll_event`](Tcp::poll_event) until it is empty, then (applications may have written)
/// [`poll_transmit`](Tcp::poll_transmit). Between turns, wait no longer than
/// [`poll_timeout`](Tcp::poll_timeout) says.
#[derive(Debug)]
pub struct Tcp {
    config: Config,
    secrets: Secrets,
    table: Table<Slot>,
    listeners: Listeners,
    /// By index: what it looks at may have come into its slot since.
    wheel: Wheel<u32>,
    fired: Vec<(LowTick, u32)>,
    /// What is to be looked at by [`Tcp::poll_transmit`]: it has something to send, or was changed.
    ready: ReadyList,
    /// The last turn ended with some of them left.
    is_backlogged: bool,
    replies: VecDeque<(FlowKey, Segment<()>, Marking)>,
    events: VecDeque<Event>,
    /// Passive handshakes under way, over all listeners.
    half_open: usize,
    time_waits: usize,
    /// Indices of TIME-WAIT records, oldest first; some have ended since, and another may have
    /// taken the place of one.
    oldest_time_waits: VecDeque<u32>,
    /// Connections released by their applications and not yet in TIME-WAIT.
    orphans: usize,
    /// What [`Tcp::ack_overdue`] tells.
    ack_overdue: bool,
    fast_open: FastOpenCache,
    dormitory: Dormitory,
    /// What connections have in common.
    option_sets: OptionSets,
    /// What all buffers may take together.
    memory: Option<Box<Memory>>,
    counters: Counters,
    /// Who hears of everything.
    observer: Option<Box<Observer>>,
    #[cfg(debug_assertions)]
    recounts: crate::invariant::Recounts,
}

impl Tcp {
    /// An endpoint whose ISNs, ports and hash keys come from `seed`, which must be secret.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let secrets = Secrets::new(&seed);
        let budget = config.memory.map(|limit| Budget::new(limit, 1));
        Self {
            table: Table::new(secrets.table_hash(), config.on_large_memory),
            memory: budget.map(|budget| Box::new(Memory::new(budget))),
            dormitory: Dormitory::new(config.on_large_memory),
            config,
            secrets,
            listeners: Listeners::default(),
            wheel: Wheel::new(Instant::ZERO),
            fired: Vec::new(),
            ready: ReadyList::default(),
            is_backlogged: false,
            replies: VecDeque::new(),
            events: VecDeque::new(),
            half_open: 0,
            time_waits: 0,
            oldest_time_waits: VecDeque::new(),
            orphans: 0,
            ack_overdue: false,
            fast_open: FastOpenCache::default(),
            option_sets: OptionSets::default(),
            counters: Counters::default(),
            observer: None,
            #[cfg(debug_assertions)]
            recounts: crate::invariant::Recounts::default(),
        }
    }

    /// The settings, for a test to change under way; connections and handshakes that exist keep
    /// what they have taken from them.
    #[cfg(any(test, feature = "testing"))]
    pub const fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// What was counted so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Deals with every deadline up to `now`.
    pub fn on_timeout(&mut self, now: Instant) {
        while self.wheel.expire(now, &mut self.fired) {
            let mut fired = core::mem::take(&mut self.fired);
            for (tick, index) in fired.drain(..) {
                // A deadline that moved earlier left its old entry behind, which counts no more.
                let armed = self.table.armed_mut(index);
                if armed.is_some_and(|armed| armed.fires(tick))
                    && let Some(id) = self.table.holder(index)
                {
                    if self.observer.is_some() {
                        self.observe_deadline(now, id);
                    } else {
                        self.on_deadline(now, id);
                    }
                }
            }
            self.fired = fired;
        }
        self.on_memory_timeout(now);
    }

    fn on_deadline(&mut self, now: Instant, id: ConnId) {
        let Some(entry) = self.table.entry_mut(id) else {
            return;
        };
        match entry.value {
            Slot::SynSent(syn) => {
                if syn.on_timeout(now, &self.config) {
                    let unreachable = syn.soft_error;
                    self.counters.attempt_fails += 1;
                    let reason = if unreachable {
                        CloseReason::Unreachable
                    } else {
                        CloseReason::TimedOut
                    };
                    self.drop_slot(id, reason);
                    return;
                }
            }
            Slot::SynReceived(syn) => {
                if syn.on_timeout(now, &self.config) {
                    self.drop_half_open(now, id, CloseReason::TimedOut);
                    return;
                }
            }
            Slot::Connection(conn) => {
                let is_due = conn.deadline(&self.config).is_some_and(|at| at <= now);
                if !is_due && !*entry.ready {
                    return self.settle_now(now, id); // it is looked at again later, or rests
                }
                conn.on_timeout(now, &self.config);
                if let Some(syn) = &mut conn.opening
                    && syn.on_timeout(now, &self.config)
                {
                    conn.on_handshake_timeout();
                }
            }
            Slot::Resting(_, rest) => {
                if rest.until.is_none_or(|at| at > now) {
                    return self.settle_now(now, id);
                }
                self.wake(id);
                return self.on_deadline(now, id);
            }
            Slot::TimeWait(_, record) => {
                if record.expires(now) <= now {
                    return self.remove_time_wait(id);
                }
                return self.settle_now(now, id);
            }
        }
        self.settle(now, id);
    }

    /// When [`Tcp::on_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let retry = self.memory.as_ref().and_then(|memory| memory.retry_at());
        [self.wheel.next(), retry].into_iter().flatten().min()
    }

    /// Hands out what is to be sent, as far as `tx` has budget.
    pub fn poll_transmit(&mut self, now: Instant, tx: &mut impl Transmit) {
        let mut tx = Counting::new(tx);
        match self.observer.take() {
            None => self.transmit(now, &mut tx),
            Some(mut observer) => {
                self.transmit(now, &mut Observed::new(now, &mut observer, &mut tx));
                self.observer = Some(observer);
            }
        }
        tx.finish(&mut self.counters);
        self.share_memory(now);
        self.note_backlog(now);
        #[cfg(debug_assertions)]
        self.check_invariants(now);
    }

    #[inline]
    fn transmit<T: Outlet>(&mut self, now: Instant, tx: &mut T) {
        while tx.budget() > 0
            && let Some((flow, segment, marking)) = self.replies.pop_front()
        {
            push_reply(&flow, &segment, marking, tx);
        }
        let pass = tx.budget();
        while let budget @ 1.. = tx.budget()
            && let Some(turn) = self.ready.begin(pass)
        {
            let id = turn.id;
            let flow = T::IS_OBSERVED.then(|| self.table.flow(id)).flatten();
            tx.begin(|| self.mark(Some(id)));
            let Some(entry) = self.table.entry_mut(id) else {
                continue;
            };
            let more = match entry.value {
                Slot::SynSent(syn) => {
                    if syn.is_due() {
                        self.counters.on_handshake_sent(syn.is_repeated());
                        syn.send(now, &self.config, tx);
                    }
                    false
                }
                Slot::SynReceived(syn) => {
                    if syn.is_due() {
                        self.counters.on_handshake_sent(syn.is_repeated());
                        syn.send(now, &self.config, tx);
                    }
                    false
                }
                Slot::Connection(conn) => {
                    if let Some(memory) = &mut self.memory {
                        memory.grant(conn, 0);
                    }
                    if let Some(syn) = conn.opening.as_mut().filter(|syn| syn.is_due()) {
                        self.counters.on_handshake_sent(syn.is_repeated());
                        syn.send(now, &self.config, tx);
                    }
                    conn.poll_transmit(now, &self.config, turn.burst, tx)
                }
                Slot::Resting(..) | Slot::TimeWait(..) => false,
            };
            *entry.ready = more;
            let sent = budget.saturating_sub(tx.budget());
            self.ready.end(turn, sent, more);
            self.settle_now(now, id);
            if let Some(flow) = flow {
                tx.end(&flow, || self.view(Some(id)));
            }
        }
    }

    /// Whether [`Tcp::poll_transmit`] has something to do: what wakes the driver.
    pub fn has_ready(&self) -> bool {
        let has_memory = |memory: &Memory| memory.has_news();
        !self.ready.is_empty()
            || !self.replies.is_empty()
            || self.memory.as_deref().is_some_and(has_memory)
    }

    /// The next thing that applications should hear of.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Entries of the timer wheel, those that count no more included: what a test counts.
    #[cfg(any(test, feature = "testing"))]
    pub const fn timer_entries(&self) -> usize {
        self.wheel.len()
    }

    /// Handshakes under way and connections not yet accepted, of one listener.
    pub fn backlog(&self, id: ListenerId) -> Option<(usize, usize)> {
        let listener = self.listeners.get(id)?;
        Some((listener.half_open as usize, listener.accept_queue.len()))
    }

    /// All connections and handshakes, in no order.
    pub fn connections(&self) -> impl Iterator<Item = Summary> + '_ {
        self.connections_in(0..self.slots())
    }

    /// Those of [`Tcp::connections`] whose [index](ConnId::index) lies in `range`. So a walk over
    /// many of them can pause: one that exists all the while is met once.
    pub fn connections_in(&self, range: Range<u32>) -> impl Iterator<Item = Summary> + '_ {
        self.table.iter_in(range).map(|(id, slot)| {
            let record = match slot {
                Slot::Resting(_, rest) => self.dormitory.record(rest),
                _ => None,
            };
            let (state, totals) = match slot {
                Slot::SynSent(_) => (State::SynSent, [0; 3]),
                Slot::SynReceived(_) => (State::SynReceived, [0; 3]),
                Slot::Connection(conn) => {
                    let opening = conn.opening.is_some() && conn.state() == State::Established;
                    let state = if opening {
                        State::SynReceived
                    } else {
                        conn.state()
                    };
                    (state, conn.totals())
                }
                Slot::Resting(..) => (State::Established, record.map_or([0; 3], Resting::totals)),
                Slot::TimeWait(..) => (State::TimeWait, [0; 3]),
            };
            let [bytes_received, bytes_acked, total_retrans] = totals;
            Summary {
                id,
                flow: slot.flow(),
                state,
                ecn: match slot {
                    Slot::Connection(conn) => conn.uses_ecn(),
                    Slot::Resting(..) => record.is_some_and(Resting::uses_ecn),
                    _ => false,
                },
                bytes_received,
                bytes_acked,
                total_retrans,
            }
        })
    }

    /// Every [index](ConnId::index) in use lies below this.
    pub fn slots(&self) -> u32 {
        self.table.slot_count() as u32
    }

    /// How many connections exist, in all states but TIME-WAIT.
    pub fn connection_count(&self) -> usize {
        self.table.len() - self.time_waits
    }

    fn arm(&mut self, id: ConnId, deadline: Option<Instant>) {
        if let Some(armed) = self.table.armed_mut(id.index) {
            self.wheel.arm(id.index, armed, deadline);
        }
    }

    fn reply(&mut self, flow: &FlowKey, segment: Segment<()>, marking: Marking) {
        if self.replies.len() < MAX_REPLIES {
            self.replies.push_back((*flow, segment, marking));
        } else {
            self.counters.replies_dropped += 1;
        }
    }

    fn reset(&mut self, flow: &FlowKey, segment: Segment<()>) {
        self.reply(flow, segment, Marking::default());
    }

    /// An attempt to open is over; whoever holds the id hears of it.
    fn drop_slot(&mut self, id: ConnId, reason: CloseReason) {
        self.discharge(id);
        self.table.remove(id);
        self.events.push_back(Event::Closed(id, reason));
    }
}

/// What IP is told of a reply, where it is in the name of a socket (MUST-48, MUST-49).
#[derive(Clone, Copy, Debug, Default)]
struct Marking {
    dscp: u8,
    ttl: Option<NonZeroU8>,
}

impl Marking {
    const fn of(options: &SocketOptions) -> Self {
        Self {
            dscp: options.dscp,
            ttl: options.ttl,
        }
    }
}

fn push_reply(flow: &FlowKey, segment: &Segment<()>, marking: Marking, tx: &mut impl Outlet) {
    let meta = TxMeta {
        flow,
        segment,
        payload_len: 0,
        gso_size: None,
        ecn: Ecn::NotEct,
        dscp: marking.dscp,
        ttl: marking.ttl,
    };
    tx.push(&meta, core::iter::empty::<Bytes>());
    tx.on_sent(Why::Reply, || View::NONE);
}

/// What a wire segment's size is when there is none.
const NO_MSS: NonZeroU16 = NonZeroU16::MIN;
