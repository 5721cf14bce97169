//! Who waits for what: the wakers of a shard's sockets.
//!
//! The core says `Readable(id)`; only this file knows tasks. Wakers are taken out under the
//! shard's lock and woken after it is released; those replaced are dropped there, too, for a
//! waker's destructor is somebody else's code.

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Waker};

use ustack_tcp::seq::WireSeq;
use ustack_tcp::{CloseReason, ConnId, FlowKey, ListenerId};
use ustack_udp::SocketId;

use crate::ip::PingId;

/// How far a connection that somebody holds has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Opening,
    Open,
    Closed(CloseReason),
}

/// One connection with a handle.
#[derive(Debug)]
pub(crate) struct ConnSlot {
    /// Of the id; its index is the slot's.
    generation: u32,
    pub(crate) phase: Phase,
    /// Waits for bytes, EOF, or the end of the connection.
    reader: Option<Waker>,
    /// Waits for room, or for the connection to open.
    writer: Option<Waker>,
}

impl ConnSlot {
    /// Whether it is `id`'s, which has its index.
    const fn is(&self, id: ConnId) -> bool {
        self.generation == id.generation()
    }
}

const _: () = assert!(size_of::<Option<ConnSlot>>() <= 40);

/// Which way a task waits on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Read,
    Write,
}

/// A held SYN that nobody has asked for yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldSyn {
    pub(crate) conn: ConnId,
    pub(crate) flow: FlowKey,
    pub(crate) seq: WireSeq,
}

/// One listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerSlot {
    pub(crate) waiters: Waiters,
    /// `Some` with the most SYNs it may hold, queued and handed out together.
    pub(crate) hold: Option<Hold>,
}

/// What a listener that holds SYNs holds.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) queue: VecDeque<HeldSyn>,
    /// Handed out as `Incoming`, not yet answered.
    pub(crate) undecided: usize,
    pub(crate) limit: usize,
    /// The listener is gone; only its `Incoming`s live on.
    pub(crate) refusing: bool,
}

impl Hold {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            undecided: 0,
            limit,
            refusing: false,
        }
    }

    /// Whether one more SYN may be held.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() + self.undecided < self.limit
    }

    /// The oldest SYN, for somebody to decide.
    pub(crate) fn hand_out(&mut self) -> Option<HeldSyn> {
        let syn = self.queue.pop_front()?;
        self.undecided += 1;
        Some(syn)
    }
}

/// One UDP socket.
#[derive(Debug, Default)]
pub(crate) struct UdpSlot {
    pub(crate) readers: Waiters,
    pub(crate) writers: Waiters,
}

/// Tasks that wait for the same thing: one for each pending call, and the last one that polled.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    polled: Option<Waker>,
    keyed: HashMap<u64, Waker>,
    next: u64,
}

impl Waiters {
    /// `key` is a pending call's own, given out here; `None` for `poll_` functions, of which only
    /// the last caller is woken.
    pub(crate) fn register(
        &mut self,
        key: Option<&mut WaitKey>,
        cx: &Context<'_>,
        discarded: &mut Vec<Waker>,
    ) {
        let Some(key) = key else {
            return register(&mut self.polled, cx, discarded);
        };
        let next = &mut self.next;
        let key = *key.0.get_or_insert_with(|| {
            *next += 1;
            *next
        });
        discarded.extend(self.keyed.insert(key, cx.waker().clone()));
    }

    pub(crate) fn forget(&mut self, key: &WaitKey, discarded: &mut Vec<Waker>) {
        discarded.extend(key.0.and_then(|key| self.keyed.remove(&key)));
    }

    /// Everybody looks again: each takes what there is, or waits anew.
    pub(crate) fn wake(&mut self, wake: &mut Vec<Waker>) {
        wake.extend(self.polled.take());
        wake.extend(self.keyed.drain().map(|(_, waker)| waker));
    }
}

/// A pending call's place among [`Waiters`].
#[derive(Debug, Default)]
pub(crate) struct WaitKey(Option<u64>);

impl WaitKey {
    pub(crate) fn is_registered(&self) -> bool {
        self.0.is_some()
    }
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>, discarded: &mut Vec<Waker>) {
    if !slot.as_ref().is_some_and(|old| old.will_wake(cx.waker())) {
        discarded.extend(slot.replace(cx.waker().clone()));
    }
}

/// All sockets of a shard that have a handle.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// By slab index of the connection.
    conns: Vec<Option<ConnSlot>>,
    /// Handles of connections that the core has forgotten, whose index another one has by now; by
    /// index and generation.
    displaced: HashMap<(u32, u32), ConnSlot>,
    pub(crate) listeners: HashMap<ListenerId, ListenerSlot>,
    pub(crate) udp: HashMap<SocketId, UdpSlot>,
    pub(crate) ping: HashMap<PingId, Waiters>,
    /// Wait for the driver's end.
    pub(crate) ended: Waiters,
    /// Replaced wakers, to be dropped once the lock is released.
    pub(crate) discarded: Vec<Waker>,
}

impl Sockets {
    pub(crate) fn insert(&mut self, id: ConnId, phase: Phase) {
        let index = id.index() as usize;
        if self.conns.len() <= index {
            if self.conns.capacity() <= index {
                // Not twice as much: of a million slots half would be empty.
                let more = index + 1 - self.conns.len();
                self.conns.reserve_exact(more + self.conns.len() / 8);
            }
            self.conns.resize_with(index + 1, || None);
        }
        let slot = ConnSlot {
            generation: id.generation(),
            phase,
            reader: None,
            writer: None,
        };
        if let Some(old) = self.conns[index].replace(slot) {
            self.displaced.insert((id.index(), old.generation), old);
        }
    }

    pub(crate) fn remove(&mut self, id: ConnId) {
        let slot = match self.conns.get_mut(id.index() as usize) {
            Some(slot) if slot.as_ref().is_some_and(|slot| slot.is(id)) => slot.take(),
            _ => self.displaced.remove(&(id.index(), id.generation())),
        };
        if let Some(slot) = slot {
            self.discarded.extend(slot.reader);
            self.discarded.extend(slot.writer);
        }
    }

    pub(crate) fn conn_mut(&mut self, id: ConnId) -> Option<&mut ConnSlot> {
        match self.conns.get_mut(id.index() as usize) {
            Some(Some(slot)) if slot.is(id) => Some(slot),
            _ => self.displaced.get_mut(&(id.index(), id.generation())),
        }
    }

    /// Remembers the task of `cx` until [`Sockets::wake`] for that side.
    pub(crate) fn wait(&mut self, id: ConnId, side: Side, cx: &Context<'_>) {
        let mut discarded = std::mem::take(&mut self.discarded);
        if let Some(slot) = self.conn_mut(id) {
            let waker = match side {
                Side::Read => &mut slot.reader,
                Side::Write => &mut slot.writer,
            };
            register(waker, cx, &mut discarded);
        }
        self.discarded = discarded;
    }

    /// Takes the waker of one side out.
    pub(crate) fn wake(&mut self, id: ConnId, side: Side, wake: &mut Vec<Waker>) {
        if let Some(slot) = self.conn_mut(id) {
            wake.extend(match side {
                Side::Read => slot.reader.take(),
                Side::Write => slot.writer.take(),
            });
        }
    }

    /// The connection came into another phase, which concerns both sides.
    pub(crate) fn enter(&mut self, id: ConnId, phase: Phase, wake: &mut Vec<Waker>) {
        if let Some(slot) = self.conn_mut(id) {
            slot.phase = phase;
            wake.extend(slot.reader.take());
            wake.extend(slot.writer.take());
        }
    }

    /// Wakes everybody: the driver has ended.
    pub(crate) fn wake_all(&mut self, wake: &mut Vec<Waker>) {
        let conns = self.conns.iter_mut().flatten();
        for slot in conns.chain(self.displaced.values_mut()) {
            wake.extend(slot.reader.take());
            wake.extend(slot.writer.take());
        }
        self.wake_listeners(wake);
        for slot in self.udp.values_mut() {
            slot.readers.wake(wake);
            slot.writers.wake(wake);
        }
        for waiters in self.ping.values_mut() {
            waiters.wake(wake);
        }
        self.ended.wake(wake);
    }

    pub(crate) fn wake_listeners(&mut self, wake: &mut Vec<Waker>) {
        for slot in self.listeners.values_mut() {
            slot.waiters.wake(wake);
        }
    }
}
