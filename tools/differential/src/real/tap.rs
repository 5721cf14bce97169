//! What passes a device, noted.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use ustack::device::{Caps, Device, Frame, RxBatch, TxBatch, gso};
use ustack_tcp::time::Instant;

/// Bytes of packets that one run may put on the wire.
const MAX_BYTES: usize = 64 << 20;

/// Where a tap stands: the faults of the link are between the two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Right before ustack.
    Ustack,
    /// Right before the TUN device, behind which is the kernel.
    Kernel,
}

/// A packet at a place.
#[derive(Clone, Debug)]
pub struct Passage {
    /// When, since the stack began.
    pub at: Duration,
    /// Where.
    pub place: Place,
    /// Whether the end at this place sent the packet; otherwise it was delivered there.
    pub sent: bool,
    /// It was sent in the middle of a batch: what the end had seen of it before cannot be told.
    pub blurred: bool,
    /// The packet as it is on a wire: cut from its super-segment, checksums complete.
    pub packet: Bytes,
}

/// All that passed the taps of one run, in order.
#[derive(Debug, Default)]
pub struct Wire {
    /// The packets.
    pub passages: Vec<Passage>,
    /// Their bytes.
    bytes: usize,
    /// What passed when there was no room any more.
    pub missed: usize,
}

impl Wire {
    fn note(&mut self, now: Instant, place: Place, sent: bool, blurred: bool, frame: &Frame) {
        let at = now - Instant::ZERO;
        let mut push = |packet: Bytes| {
            if self.bytes + packet.len() > MAX_BYTES {
                self.missed += 1;
                return;
            }
            self.bytes += packet.len();
            self.passages.push(Passage {
                at,
                place,
                sent,
                blurred,
                packet,
            });
        };
        if gso::cut(frame, |packet| push(packet.into())).is_err() {
            push(frame.data.clone());
        }
    }
}

/// A device that notes what passes.
#[derive(Debug)]
pub struct Tap<D> {
    device: D,
    place: Place,
    wire: Arc<Mutex<Wire>>,
    /// Frames at the front of the batch to send that are noted already.
    noted: usize,
    /// The last that was handed on was a batch.
    after_batch: bool,
    /// Received and not handed on; see [`Tap::one_by_one`].
    waiting: Option<RxBatch>,
}

impl<D: Device> Tap<D> {
    /// A tap at this place.
    pub fn new(device: D, place: Place, wire: &Arc<Mutex<Wire>>) -> Self {
        Self {
            device,
            place,
            wire: Arc::clone(wire),
            noted: 0,
            after_batch: false,
            waiting: None,
        }
    }

    /// Hands on one frame for each call. Of a batch the stack answers the first frames before it
    /// has looked at the last, and what it knew when it did cannot be told.
    pub fn one_by_one(self, on: bool) -> Self {
        Self {
            waiting: on.then(RxBatch::new),
            ..self
        }
    }

    fn has_waiting(&self) -> bool {
        self.waiting
            .as_ref()
            .is_some_and(|waiting| !waiting.is_empty())
    }

    fn receive(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        let Some(waiting) = &mut self.waiting else {
            return self.device.recv(now, batch);
        };
        if waiting.is_empty() {
            self.device.recv(now, waiting)?;
        }
        let mut frames: VecDeque<_> = waiting.drain().collect();
        let first = frames.pop_front();
        for frame in frames {
            waiting.push(frame);
        }
        Ok(first.into_iter().map(|frame| batch.push(frame)).count())
    }
}

impl<D: Device> Device for Tap<D> {
    fn caps(&self) -> Caps {
        self.device.caps()
    }

    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_waiting() {
            return Poll::Ready(Ok(()));
        }
        self.device.poll_recv_ready(cx)
    }

    fn recv(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        let before = batch.len();
        let received = self.receive(now, batch)?;
        self.after_batch = received > 1;
        let mut wire = self.wire.lock();
        for frame in &batch.frames()[before..] {
            let sent = self.place == Place::Kernel;
            wire.note(now, self.place, sent, false, frame);
        }
        Ok(received)
    }

    fn send(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let mut wire = self.wire.lock();
        for frame in batch.iter().skip(self.noted) {
            let (sent, blurred) = (self.place == Place::Ustack, self.after_batch);
            wire.note(now, self.place, sent, blurred, &frame.to_frame());
        }
        self.after_batch = false;
        drop(wire);
        let sent = self.device.send(now, batch);
        self.noted = batch.len();
        sent
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.device.poll_send_ready(cx)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.has_waiting() {
            return Some(Instant::ZERO);
        }
        self.device.poll_timeout()
    }
}
