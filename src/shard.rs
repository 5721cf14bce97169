//! The packet loop: one turn, everything ustack does in the order it does it.
//!
//! ```text
//! in    receive · input · timeouts · wake applications
//! out   transmit · send · rest
//! ```
//!
//! Between the two halves the driver gives way once, so that what applications answer leaves with
//! the ACKs of what they answer. The lock is held for protocol work only, never across a call of
//! the device.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::MutexGuard;
use ustack_tcp::time::Instant;

use crate::batch::{MAX_RX_FRAMES, RxBatch, TxBatch};
use crate::clock::Timer;
use crate::device::Device;
use crate::host::Shared;
use crate::metrics::DeviceStats;

/// Frames that come in before applications get a chance at the lock.
const FRAMES_PER_LOCK: usize = 16;

/// Turns that timers wait, at most, for frames that are there already.
const MAX_TURNS_BEFORE_TIMERS: u32 = 64;

/// One device and the host behind it.
#[derive(Debug)]
pub(crate) struct Shard<D> {
    pub(crate) shared: Arc<Shared>,
    device: D,
    rx: RxBatch,
    tx: TxBatch,
    wake: Vec<Waker>,
    stats: DeviceStats,
    /// Turns in a row that left frames unread.
    full_turns: u32,
    /// Made on the first turn, inside the runtime.
    timer: Option<Timer>,
}

impl<D: Device> Shard<D> {
    pub(crate) fn new(shared: Arc<Shared>, device: D) -> Self {
        Self {
            shared,
            device,
            rx: RxBatch::new(),
            tx: TxBatch::new(),
            wake: Vec::new(),
            stats: DeviceStats::default(),
            full_turns: 0,
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
        if self.device.poll_recv_ready(cx)?.is_ready() || is_due(&self.device, now) || is_late {
            self.device.recv(now, &mut self.rx)?; // up to a batch of super-packets
        }
        self.full_turns = if self.rx.room() == 0 {
            self.full_turns + 1
        } else {
            0
        };
        let mut host = self.shared.host.lock();
        let now = host.stamp(now);
        self.stats.turns += 1;
        for (index, frame) in self.rx.drain().enumerate() {
            if index > 0 && index % FRAMES_PER_LOCK == 0 {
                MutexGuard::bump(&mut host); // whoever waits for the lock has it now
            }
            self.stats.rx_frames += 1;
            self.stats.rx_bytes += frame.data.len() as u64;
            // IP → TCP | UDP | ICMP; a sender whose window grows with each ACK starves when a whole
            // turn is acknowledged at once.
            if host.input(now, frame, false) {
                host.poll_transmit(now, &mut self.tx);
            }
        }
        self.stats.loopback_frames += host.input_loopback(now, MAX_RX_FRAMES);
        if self.full_turns == 0 || self.full_turns > MAX_TURNS_BEFORE_TIMERS {
            host.on_timeout(now);
        }
        host.on_events(now, &mut self.wake); // events → wakers → applications read and write
        drop(host);
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
        host.poll_transmit(now, &mut self.tx);
        host.on_events(now, &mut self.wake); // a queue has room again, a reset has left
        drop(host);
        self.wake.drain(..).for_each(Waker::wake);
        self.send(now)
    }

    /// After a turn: arms whatever begins the next one. Ready with the shutdown's end.
    pub(crate) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut host = self.shared.host.lock();
        let deadline = [host.poll_timeout(), self.device.poll_timeout()]
            .into_iter()
            .flatten()
            .min();
        host.armed = deadline;
        let has_more = host.has_ready() && self.tx.is_empty();
        self.stats.tx_blocked += u64::from(!self.tx.is_empty());
        host.device = self.stats;
        let is_over = self.tx.is_empty() && host.is_shut_down();
        drop(host);
        if is_over {
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
        if is_awake {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn send(&mut self, now: Instant) -> io::Result<()> {
        if self.tx.is_empty() && !is_due(&self.device, now) {
            return Ok(());
        }
        let bytes = |tx: &TxBatch| tx.iter().map(|frame| frame.len() as u64).sum::<u64>();
        let before = bytes(&self.tx);
        self.stats.tx_frames += self.device.send(now, &mut self.tx)? as u64;
        self.stats.tx_bytes += before - bytes(&self.tx);
        Ok(())
    }
}

/// Whether the device wants to be called, whatever arrived.
fn is_due(device: &impl Device, now: Instant) -> bool {
    device.poll_timeout().is_some_and(|at| at <= now)
}
