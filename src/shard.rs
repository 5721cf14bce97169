//! The packet loop: one turn, everything ustack does in the order it does it.
//!
//! ```text
//! in    receive · input · hand over · timeouts · wake applications
//! out   transmit · send · rest
//! ```
//!
//! Between the two halves the driver gives way once, so that what applications answer leaves with
//! the ACKs of what they answer. The lock is held for protocol work only, never across a call of
//! the device.

use std::io;
use std::iter;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::MutexGuard;
use ustack_tcp::Followers;
use ustack_tcp::time::Instant;

use crate::batch::{MAX_RX_FRAMES, RxBatch, TxBatch};
use crate::busy::BusyPoll;
use crate::clock::Timer;
use crate::coalesce::next_train;
use crate::device::Device;
use crate::host::Shared;
use crate::metrics::DeviceStats;
use crate::observe::Events;
use crate::shards::{Handed, INBOX, Shards};

/// Frames that come in before applications get a chance at the lock.
const FRAMES_PER_LOCK: usize = 16;

/// Turns that timers wait, at most, for frames that are there already.
const MAX_TURNS_BEFORE_TIMERS: u32 = 64;

/// Turns that are paid for together while frames are there already: the ACKs of a flow join, and
/// who gets one for more sends larger super-segments. Datagrams leave each turn: an echo that waits
/// for the last fills both queues of its socket, and what comes then is lost.
const TURNS_PER_PAYMENT: u32 = 8;

/// A device that takes nothing for so long does not hold up a shutdown beyond its deadline.
const RESETS_LEAVE: Duration = Duration::from_millis(200);

/// One device, or one queue of it, and the host behind it.
#[derive(Debug)]
pub(crate) struct Shard<D> {
    pub(crate) shared: Arc<Shared>,
    shards: Arc<Shards>,
    device: D,
    rx: RxBatch,
    /// Room for segments that are taken for one.
    followers: Followers,
    tx: TxBatch,
    wake: Vec<Waker>,
    /// What is on its way to other shards.
    outbox: Vec<(usize, Handed)>,
    busy: BusyPoll,
    stats: DeviceStats,
    /// Who hears of what was observed, and as which shard.
    events: Option<(usize, Arc<dyn Events>)>,
    /// Turns in a row that left frames unread.
    full_turns: u32,
    /// When the second half of the turn began.
    now: Instant,
    /// Since when the device has taken nothing of what waits.
    stuck_since: Option<Instant>,
    /// A shutdown has nothing left to wait for here.
    is_finished: bool,
    /// Made on the first turn, inside the runtime.
    timer: Option<Timer>,
}

impl<D: Device> Shard<D> {
    pub(crate) fn new(shards: &Arc<Shards>, index: usize, device: D, busy_poll: Duration) -> Self {
        let shared = Arc::clone(&shards.each()[index]);
        let mut host = shared.host.lock();
        let events = host.events.clone().map(|events| (index, events));
        if events.is_some() || device.wants_notes() {
            host.observe();
        }
        drop(host);
        Self {
            shared,
            events,
            shards: Arc::clone(shards),
            device,
            rx: RxBatch::new(),
            followers: Followers::default(),
            tx: TxBatch::new(),
            wake: Vec::new(),
            outbox: Vec::new(),
            busy: BusyPoll::new(busy_poll),
            stats: DeviceStats::default(),
            full_turns: 0,
            now: Instant::ZERO,
            stuck_since: None,
            is_finished: false,
            timer: None,
        }
    }

    /// The first half of a turn. True when applications were woken, who should run before the
    /// second.
    pub(crate) fn turn_in(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let now = self.shared.clock.now(); // the only clock read of this half
        // No timer may fire for want of an ACK that is there but not read: before timers the device
        // is asked, whatever the reactor knows of it, and until it has nothing more.
        let is_late = self
            .shared
            .host
            .lock()
            .poll_timeout()
            .is_some_and(|at| at <= now);
        let is_asked = is_due(&self.device, now) || is_late || self.busy.is_looking();
        if self.device.poll_recv_ready(cx)?.is_ready() || is_asked {
            self.device.recv(now, &mut self.rx)?; // up to a batch of super-packets
        }
        if !self.rx.is_empty() {
            self.busy.on_arrival(now);
        }
        self.full_turns = if self.rx.room() == 0 {
            self.full_turns + 1
        } else {
            0
        };
        let mut host = self.shared.host.lock();
        let now = host.stamp(now);
        self.stats.turns += 1;
        self.stats.on_received(self.rx.frames());
        host.expect(self.rx.frames());
        let mut frames = self.rx.drain();
        let mut taken = 0;
        while let Some(frame) = next_train(&mut frames, &mut self.followers) {
            if taken >= FRAMES_PER_LOCK {
                taken = 0;
                MutexGuard::bump(&mut host); // whoever waits for the lock has it now
            }
            taken += 1 + self.followers.len();
            self.stats.rx_coalesced += self.followers.len() as u64;
            // IP → TCP | UDP | ICMP; a sender whose window grows with each ACK starves when a whole
            // turn is acknowledged at once.
            if host.input_train(now, frame, &mut self.followers) {
                host.poll_transmit(now, &mut self.tx);
            }
        }
        drop(frames);
        self.stats.loopback_frames += host.input_loopback(now, MAX_RX_FRAMES);
        if !self.shared.inbox.is_empty() {
            self.busy.on_arrival(now);
            let inbox = iter::from_fn(|| self.shared.inbox.pop());
            for Handed { input, from } in inbox.take(INBOX) {
                if host.take_handed(now, input, from) {
                    host.poll_transmit(now, &mut self.tx);
                }
            }
        }
        mem::swap(&mut host.outbox, &mut self.outbox);
        if self.full_turns == 0 || self.full_turns > MAX_TURNS_BEFORE_TIMERS {
            host.on_timeout(now);
        }
        host.on_events(now, &mut self.wake); // events → wakers → applications read and write
        host.hand_notes(&mut self.tx);
        drop(host);
        self.hand_over();
        let has_woken = !self.wake.is_empty();
        self.wake.drain(..).for_each(Waker::wake);
        self.send(now)?; // what is owed never waits for an application
        Ok(has_woken)
    }

    /// The second half: one pass over the ready list pays ACKs and data.
    pub(crate) fn turn_out(&mut self) -> io::Result<()> {
        let now = self.shared.clock.now();
        let mut host = self.shared.host.lock();
        let now = host.stamp(now);
        self.now = now;
        if self.full_turns.is_multiple_of(TURNS_PER_PAYMENT) {
            host.poll_transmit(now, &mut self.tx);
        } else {
            host.poll_transmit_datagrams(now, &mut self.tx); // which nobody acknowledges
        }
        host.on_events(now, &mut self.wake); // a queue has room again, a reset has left
        host.hand_notes(&mut self.tx);
        drop(host);
        self.wake.drain(..).for_each(Waker::wake);
        self.send(now)
    }

    /// After a turn: arms whatever begins the next one. Ready with the shutdown's end, or that of
    /// another shard's driver.
    pub(crate) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut host = self.shared.host.lock();
        host.check_alive()?;
        let gives_up = self.stuck_since.map(|since| since + RESETS_LEAVE);
        let gives_up = gives_up.filter(|_| host.is_aborted());
        let deadline = [host.poll_timeout(), self.device.poll_timeout(), gives_up]
            .into_iter()
            .flatten()
            .min();
        host.armed = deadline;
        let has_more = host.has_ready() && self.tx.is_empty() || !self.shared.inbox.is_empty();
        self.stats.tx_blocked += u64::from(!self.tx.is_empty());
        host.device = self.stats;
        let is_silent = self.tx.is_empty() && host.is_shut_down();
        if !self.is_finished && (is_silent || gives_up.is_some_and(|at| at <= self.now)) {
            self.is_finished = true;
            self.shards.on_finished();
        }
        drop(host);
        if self.is_over() {
            return Poll::Ready(Ok(()));
        }
        let timer = match &mut self.timer {
            Some(timer) => timer,
            none => none.insert(Timer::new(&self.shared.clock)?),
        };
        let is_awake = has_more
            | self.device.poll_recv_ready(cx)?.is_ready()
            | (!self.tx.is_empty() && self.device.poll_send_ready(cx)?.is_ready())
            | timer.poll(cx, deadline)?.is_ready();
        let is_looking = !is_awake && self.busy.is_worth_it(self.now);
        self.stats.busy_polls += u64::from(is_looking);
        if is_awake || is_looking {
            cx.waker().wake_by_ref(); // other tasks go first, and so nobody waits for a busy driver
        }
        Poll::Pending
    }

    /// Whether all shards have come to the end of a shutdown.
    pub(crate) fn is_over(&self) -> bool {
        self.is_finished && self.shards.are_finished()
    }

    /// The driver ends: nothing will ever happen here again.
    pub(crate) fn end(&self, why: &str) {
        let mut wake = Vec::new();
        self.shared.host.lock().end(why, &mut wake);
        wake.into_iter().for_each(Waker::wake);
    }

    /// As [`Shard::end`], and no other shard can go on.
    pub(crate) fn fail(&self, why: &str) {
        self.shards.end(&why.into());
    }

    fn hand_over(&mut self) {
        for (to, handed) in self.outbox.drain(..) {
            if self.shards.hand_over(to, handed) {
                self.stats.handed_over += 1;
            } else {
                self.stats.handover_dropped += 1;
            }
        }
    }

    fn send(&mut self, now: Instant) -> io::Result<()> {
        let (notes, dropped) = (self.tx.notes(), self.tx.notes_dropped());
        if let Some((shard, events)) = &self.events
            && (!notes.is_empty() || dropped > 0)
        {
            events.on_notes(*shard, notes, dropped);
        }
        if self.tx.is_empty() && notes.is_empty() && !is_due(&self.device, now) {
            self.stuck_since = None;
            return Ok(());
        }
        let before = self.tx.bytes();
        let sent = self.device.send(now, &mut self.tx)?;
        self.tx.clear_notes();
        if sent > 0 {
            self.busy.on_sent();
        }
        let is_stuck = sent == 0 && !self.tx.is_empty();
        self.stuck_since = is_stuck.then(|| self.stuck_since.unwrap_or(now));
        self.stats.tx_frames += sent as u64;
        self.stats.tx_bytes += before - self.tx.bytes();
        Ok(())
    }
}

/// Whether the device wants to be called, whatever arrived.
fn is_due(device: &impl Device, now: Instant) -> bool {
    device.poll_timeout().is_some_and(|at| at <= now)
}
