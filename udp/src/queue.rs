//! Queues bounded in bytes.

use alloc::collections::VecDeque;
use core::net::SocketAddr;
use core::num::NonZeroU16;

use bytes::Bytes;

use crate::meter::Meter;

/// What one queue entry is charged besides its payload, in bytes: the entry itself and its share
/// of an allocation.
pub const OVERHEAD: usize = 256;

/// A datagram as received; on arrival it may stand for several of `stride` bytes each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Where it was sent to: this host, or another one for transparent sockets (UD-7).
    pub local: SocketAddr,
    /// Who sent it.
    pub remote: SocketAddr,
    /// The payload, possibly empty.
    pub data: Bytes,
    /// The two ECN bits of its IP header.
    pub ecn: u8,
    /// Payload bytes of every datagram but the last, when the device joined several (USO); `None`
    /// for one datagram, and on everything that [`Udp::recv`](crate::Udp::recv) returns.
    pub stride: Option<NonZeroU16>,
}

impl Datagram {
    /// A single datagram without ECN.
    pub const fn new(local: SocketAddr, remote: SocketAddr, data: Bytes) -> Self {
        Self {
            local,
            remote,
            data,
            ecn: 0,
            stride: None,
        }
    }

    /// How many datagrams the wire carried for this one.
    pub fn wire_datagrams(&self) -> u64 {
        self.stride.map_or(1, |stride| {
            (self.data.len() as u64)
                .div_ceil(u64::from(stride.get()))
                .max(1)
        })
    }
}

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
        if let Some(stride) = front.stride.map(|stride| usize::from(stride.get()))
            && front.data.len() > stride
        {
            let data = front.data.split_to(stride);
            return Some(Datagram {
                data,
                stride: None,
                ..front.clone()
            });
        }
        self.pop().map(|last| Datagram {
            stride: None,
            ..last
        })
    }
}
