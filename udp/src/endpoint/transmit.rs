//! What leaves in a turn: sockets one after another, and neighbours of one size together.

use alloc::vec::Vec;
use core::num::NonZeroU16;

use bytes::Bytes;

use super::Udp;
use super::send::fitting;
use crate::error::SocketError;
use crate::message::MAX_SEGMENTS;
use crate::queue::ByteQueue;
use crate::socket::{MtuDiscover, Outgoing, Transmit};

/// How many frames one socket sends before the next one's turn.
pub(super) const BURST: usize = 16;

impl Udp {
    /// Hands out what is to be sent, as far as `tx` has budget, sockets in turn.
    pub fn poll_transmit(&mut self, tx: &mut impl Transmit) {
        while tx.budget() > 0 {
            let Some(id) = self.ready.pop_front() else {
                return;
            };
            let Some(socket) = self.sockets.get_mut(id) else {
                continue;
            };
            let mut too_long = false;
            for _ in 0..BURST.min(tx.budget()) {
                match transmit_next(&mut socket.send, &mut self.chunks, tx) {
                    Some(Ok(datagrams)) => self.counters.out_datagrams += datagrams,
                    Some(Err(error)) => {
                        socket.error = Some(error);
                        too_long = true;
                    }
                    None => break,
                }
            }
            socket.is_ready = !socket.send.is_empty();
            if !socket.is_ready && socket.is_closing {
                self.sockets.remove(id);
                continue;
            }
            if socket.is_ready {
                self.ready.push_back(id);
            }
            if core::mem::take(&mut socket.wants_room) || too_long {
                self.notify_writable(id);
            }
            if too_long {
                self.notify_readable(id);
            }
        }
    }
}

/// Sends one frame from the front of the queue; how many datagrams it is. `None` when there is
/// nothing, an error when the path has become too narrow since it was queued.
fn transmit_next(
    queue: &mut ByteQueue<Outgoing>,
    chunks: &mut Vec<Bytes>,
    tx: &mut impl Transmit,
) -> Option<Result<u64, SocketError>> {
    let front = queue.front_mut()?;
    let (meta, size) = (front.meta, front.size());
    let remote = meta.remote.ip();
    let limit = match meta.mtu_discover {
        MtuDiscover::Probe => usize::MAX,
        MtuDiscover::Want | MtuDiscover::Do => fitting(&meta, tx.path_mtu(remote)),
    };
    if size > limit && meta.mtu_discover == MtuDiscover::Do {
        queue.pop();
        return Some(Err(SocketError::MessageTooLong));
    }
    // Fragments of several datagrams would be fragments of none.
    let segment_size = NonZeroU16::new(size as u16).filter(|_| size <= limit);
    let Some(segment_size) = segment_size.filter(|_| tx.can_join(remote)) else {
        tx.push(&meta, queue.pop_segment()?);
        return Some(Ok(1));
    };
    let len = take_run(queue, chunks, segment_size);
    let datagrams = len.div_ceil(size);
    if datagrams > 1 {
        tx.push_joined(&meta, segment_size, chunks.drain(..));
    } else if let Some(payload) = chunks.pop() {
        tx.push(&meta, payload);
    }
    Some(Ok(datagrams as u64))
}

/// Takes from the front what can leave in one frame, datagrams of one size to one peer of which
/// only the last may be shorter; how many bytes that is.
fn take_run(
    queue: &mut ByteQueue<Outgoing>,
    chunks: &mut Vec<Bytes>,
    segment_size: NonZeroU16,
) -> usize {
    let size = usize::from(segment_size.get());
    let Some(first) = queue.pop() else {
        return 0;
    };
    let most = fitting(&first.meta, u16::MAX).min(size * MAX_SEGMENTS);
    let mut len = first.data.len();
    chunks.push(first.data);
    while len.is_multiple_of(size)
        && let Some(next) = queue.front_mut()
        && next.meta == first.meta
        && len + next.data.len() <= most
        && (next.size() == size || next.segment_size.is_none() && (1..size).contains(&next.size()))
        && let Some(next) = queue.pop()
    {
        len += next.data.len();
        chunks.push(next.data);
    }
    len
}
