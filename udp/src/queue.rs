//! Queues bounded in bytes.

use alloc::collections::VecDeque;
use core::num::NonZeroU16;

use bytes::Bytes;

use crate::message::Datagram;
use crate::meter::Meter;
use crate::socket::Outgoing;

/// What one queue entry is charged besides its payload, in bytes: the entry itself and its share
/// of an allocation.
pub const OVERHEAD: usize = 256;

/// A queue whose entries are charged payload plus [`OVERHEAD`].
///
/// An empty queue takes any one entry, so that a limit below one datagram does not wedge it; the
/// limit of all queues together holds for it, too.
#[derive(Debug)]
pub(crate) struct ByteQueue<T> {
    entries: VecDeque<(usize, T)>,
    charged: usize,
    limit: usize,
    meter: Meter,
}

impl<T> Drop for ByteQueue<T> {
    fn drop(&mut self) {
        self.meter.release(self.charged);
    }
}

impl<T> ByteQueue<T> {
    pub(crate) const fn new(limit: usize, meter: Meter) -> Self {
        Self {
            entries: VecDeque::new(),
            charged: 0,
            limit,
            meter,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn has_room(&self, len: usize) -> bool {
        (self.is_empty() || self.charged + len + OVERHEAD <= self.limit) && self.has_memory(len)
    }

    /// Whether all queues together may hold as much more.
    pub(crate) fn has_memory(&self, len: usize) -> bool {
        self.meter.has_room(len + OVERHEAD)
    }

    /// Appends an entry with a payload of `len` bytes, or hands it back when the queue is full.
    pub(crate) fn push(&mut self, len: usize, entry: T) -> Result<(), T> {
        if !self.has_room(len) {
            return Err(entry);
        }
        self.charged += len + OVERHEAD;
        self.meter.charge(len + OVERHEAD);
        self.entries.push_back((len + OVERHEAD, entry));
        Ok(())
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let (charge, entry) = self.entries.pop_front()?;
        self.charged -= charge;
        self.meter.release(charge);
        Some(entry)
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        self.entries.front_mut().map(|(_, entry)| entry)
    }

    pub(crate) const fn charged(&self) -> usize {
        self.charged
    }
}

impl ByteQueue<Datagram> {
    /// Takes one datagram out, cutting it from a joined one where needed. The charge of a joined
    /// one is returned with its last piece: until then its buffer is held.
    pub(crate) fn pop_datagram(&mut self) -> Option<Datagram> {
        let front = self.front_mut()?;
        if let Some(data) = split_first(&mut front.data, front.stride) {
            return Some(Datagram {
                local: front.local,
                remote: front.remote,
                data,
                ecn: front.ecn,
                stride: None,
            });
        }
        self.pop().map(|last| Datagram {
            stride: None,
            ..last
        })
    }

    /// Takes out the oldest datagrams as they came: joined ones together, or what is left of them.
    pub(crate) fn pop_joined(&mut self) -> Option<Datagram> {
        let mut joined = self.pop()?;
        let len = joined.data.len();
        joined.stride = joined.stride.filter(|size| len > usize::from(size.get()));
        Some(joined)
    }
}

impl ByteQueue<Outgoing> {
    /// Takes one datagram's payload out, as [`ByteQueue::pop_datagram`] does.
    pub(crate) fn pop_segment(&mut self) -> Option<Bytes> {
        let front = self.front_mut()?;
        if let Some(data) = split_first(&mut front.data, front.segment_size) {
            return Some(data);
        }
        self.pop().map(|last| last.data)
    }
}

/// The first of several datagrams in `data`; `None` when there is but one.
fn split_first(data: &mut Bytes, size: Option<NonZeroU16>) -> Option<Bytes> {
    let size = usize::from(size?.get());
    (data.len() > size).then(|| data.split_to(size))
}
