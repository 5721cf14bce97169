//! The shards of a stack: which of them owns what, and how what arrives elsewhere gets there.
//!
//! A shard has one queue of the device, one thread to run on and a set of connections; on the road
//! of a packet shards share nothing. Who owns what is a matter of arithmetic: a port belongs to the
//! shard of its remainder. Connections that this host opens, sockets of UDP and of ping live at the
//! shard of their port or identifier. A connection that others open lives where its SYN came in:
//! the kernel keeps a flow at its queue.
//!
//! What comes in at another shard, since the kernel has moved the flow or never knew it, goes to
//! the owner of its port first, and where that one does not know it either once around, so that
//! nobody answers with a reset for what another shard knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use crossbeam::queue::ArrayQueue;

use crate::host::Shared;
use crate::ip::Input;

/// What may wait at a shard for being taken over; more is dropped, as a device's full queue does.
pub(crate) const INBOX: usize = 256;

/// Which of its stack's shards one is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) index: usize,
    pub(crate) count: usize,
}

impl Place {
    /// The only one.
    pub(crate) const ALONE: Self = Self { index: 0, count: 1 };

    /// Remainder and modulus of the ports that are this shard's.
    pub(crate) const fn class(self) -> (u16, u16) {
        (self.index as u16, self.count as u16)
    }

    /// The shard that owns a port or an identifier.
    pub(crate) const fn owner(self, port: u16) -> usize {
        if self.count == 1 {
            return 0;
        }
        port as usize % self.count
    }

    /// Where that goes next which only `owner` can know.
    pub(crate) fn straight_to(self, owner: usize) -> Option<usize> {
        (owner != self.index).then_some(owner)
    }

    /// Where that goes next which came in at `from` and which nobody has known so far: to `owner`,
    /// then once around the others.
    pub(crate) fn around(self, owner: usize, from: usize) -> Option<usize> {
        if self.count == 1 {
            return None;
        }
        if self.index == from && from != owner {
            return Some(owner);
        }
        let after = |index: usize| (index + 1) % self.count;
        let next = match after(self.index) {
            next if next == from && from != owner => after(next),
            next => next,
        };
        (next != owner).then_some(next)
    }
}

/// What a shard hands over to another.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) input: Input,
    /// Where it came in.
    pub(crate) from: usize,
}

/// What waits for a shard.
pub(crate) type Inbox = ArrayQueue<Handed>;

/// All shards of a stack.
#[derive(Debug)]
pub(crate) struct Shards {
    each: Box<[Arc<Shared>]>,
    /// Whose turn it is to get a socket that could be anywhere.
    next: AtomicUsize,
    /// Those with connections left that a shutdown waits for.
    unfinished: AtomicUsize,
}

impl Shards {
    pub(crate) fn new(each: Vec<Arc<Shared>>) -> Self {
        Self {
            next: AtomicUsize::new(0),
            unfinished: AtomicUsize::new(each.len()),
            each: each.into(),
        }
    }

    /// Room for what is handed over to one of `count` shards.
    pub(crate) fn inbox(count: usize) -> Inbox {
        ArrayQueue::new(if count > 1 { INBOX } else { 1 })
    }

    pub(crate) fn each(&self) -> &[Arc<Shared>] {
        &self.each
    }

    /// One after the other.
    pub(crate) fn next(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.each.len()
    }

    /// Gives `handed` to shard `to` and wakes its driver; false when its queue is full.
    pub(crate) fn hand_over(&self, to: usize, handed: Handed) -> bool {
        let Some(shared) = self.each.get(to) else {
            return false;
        };
        let is_taken = shared.inbox.push(handed).is_ok();
        shared.driver.wake();
        is_taken
    }

    /// One more shard has nothing left that a shutdown waits for. Drivers go on until all have, for
    /// the queue of one that is gone would spread over the others.
    pub(crate) fn on_finished(&self) {
        if self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.each.iter().for_each(|shared| shared.driver.wake());
        }
    }

    pub(crate) fn are_finished(&self) -> bool {
        self.unfinished.load(Ordering::Acquire) == 0
    }

    /// A driver failed or was dropped, and no shard can do without the others.
    pub(crate) fn end(&self, why: &Arc<str>) {
        for shared in &self.each {
            let mut wake = Vec::new();
            shared.host.lock().end(Arc::clone(why), &mut wake);
            wake.into_iter().for_each(Waker::wake);
            shared.driver.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where something stops that nobody knows.
    fn stops(count: usize, owner: usize, from: usize) -> Vec<usize> {
        let mut stops = vec![from];
        while let Some(next) = (Place {
            index: stops[stops.len() - 1],
            count,
        })
        .around(owner, from)
        {
            stops.push(next);
            assert!(stops.len() <= count, "{stops:?}");
        }
        stops
    }

    #[test]
    fn a_stray_sees_the_owner_first_and_every_shard_once() {
        for count in 1..=9 {
            for owner in 0..count {
                for from in 0..count {
                    let mut stops = stops(count, owner, from);
                    assert!(stops.iter().take(2).any(|&stop| stop == owner), "{stops:?}");
                    stops.sort_unstable();
                    assert!(stops.into_iter().eq(0..count));
                }
            }
        }
    }
}
