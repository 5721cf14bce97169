//! A bad network around a good device: loss, delay, jitter, reordering, duplication, corruption
//! and a bottleneck, on wire packets.

mod lane;
mod spec;

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use ustack_tcp::time::{Duration, Instant};

use self::lane::Lane;
pub use self::lane::{ImpairCounters, LaneCounters};
pub use self::spec::{ImpairParseError, ImpairSpec};
use super::{Caps, Checksum, Device, Frame, Offload, RxBatch, TxBatch, gso};

/// How long a released packet waits that the device inside did not take.
const RETRY: Duration = Duration::from_millis(1);

/// A device whose packets suffer, each direction by its own [`ImpairSpec`].
///
/// It acts on wire packets: a super-segment is cut and its checksum completed before anything
/// happens to it, since a loss of 1 % would otherwise come in bursts of 64 KiB and a flipped bit
/// would pass as "checksum verified". What comes out is [`Checksum::Complete`]. A direction
/// without a spec is untouched, super-segments included.
///
/// Packets held back fall due by [`Device::poll_timeout`]; both [`Device::recv`] and
/// [`Device::send`] (with an empty batch too) then move them on.
#[derive(Debug)]
pub struct Impair<D> {
    device: D,
    inbound: Option<Lane>,
    outbound: Option<Lane>,
    /// Frames of the device on their way into the inbound lane.
    received: RxBatch,
    /// Packets of the outbound lane on their way to the device.
    staged: TxBatch,
    /// Set while the device does not take what is staged.
    retry_at: Option<Instant>,
    counters: Arc<ImpairCounters>,
}

impl<D: Device> Impair<D> {
    /// Wraps `device`. `inbound` acts on what the stack receives, `outbound` on what it sends; a
    /// spec without a seed gets a random one, see [`Impair::specs`].
    pub fn new(device: D, inbound: Option<ImpairSpec>, outbound: Option<ImpairSpec>) -> Self {
        let counters = Arc::<ImpairCounters>::default();
        // One spec for both directions must not give both the same fate.
        let inbound = inbound.map(|spec| Lane::new(spec, 0));
        let outbound = outbound.map(|spec| Lane::new(spec, 1));
        Self {
            device,
            inbound,
            outbound,
            received: RxBatch::new(),
            staged: TxBatch::new(),
            retry_at: None,
            counters,
        }
    }

    /// The two specs, inbound first, their seeds filled in: what to log so that a run can be
    /// repeated.
    pub fn specs(&self) -> (Option<ImpairSpec>, Option<ImpairSpec>) {
        let spec = |lane: &Option<Lane>| lane.as_ref().map(|lane| lane.spec().clone());
        (spec(&self.inbound), spec(&self.outbound))
    }

    /// What has happened so far.
    pub fn counters(&self) -> Arc<ImpairCounters> {
        Arc::clone(&self.counters)
    }

    /// The device inside.
    pub fn get_ref(&self) -> &D {
        &self.device
    }
}

impl<D: Device> Device for Impair<D> {
    /// The device's own, except that outbound super-segments are welcome when they are cut here.
    fn caps(&self) -> Caps {
        let caps = self.device.caps();
        if self.outbound.is_none() {
            return caps;
        }
        Caps {
            tx_checksum: true,
            tso: true,
            uso: true,
            ..caps
        }
    }

    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.device.poll_recv_ready(cx)
    }

    fn recv(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        let Some(lane) = &mut self.inbound else {
            return self.device.recv(now, batch);
        };
        // While packets wait for room in the batch, nothing new is read: the device's queue is the
        // one that fills, as without impairment.
        if !lane.has_due(now) {
            self.device.recv(now, &mut self.received)?;
            for frame in self.received.drain() {
                lane.take(now, &frame, &self.counters.inbound);
            }
        }
        let mut received = 0;
        while batch.room() > 0 {
            let Some(packet) = lane.pop_due(now) else {
                break;
            };
            batch.push(wire(packet));
            received += 1;
        }
        Ok(received)
    }

    fn send(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let Some(lane) = &mut self.outbound else {
            return self.device.send(now, batch);
        };
        let mut sent = 0;
        while let Some(frame) = batch.front() {
            lane.take(now, &frame.to_frame(), &self.counters.outbound);
            batch.pop_front();
            sent += 1;
        }
        // Bounded: what is due moves on only as the device takes it.
        loop {
            while self.staged.len() < crate::batch::MAX_RX_FRAMES {
                let Some(packet) = lane.pop_due(now) else {
                    break;
                };
                self.staged.push_frame(wire(packet));
            }
            if self.staged.is_empty() {
                self.retry_at = None;
                return Ok(sent);
            }
            self.device.send(now, &mut self.staged)?;
            if !self.staged.is_empty() {
                self.retry_at = Some(now + RETRY);
                return Ok(sent);
            }
        }
    }

    /// An impaired direction takes everything at once: what its queue cannot hold is dropped.
    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outbound.is_some() {
            return Poll::Ready(Ok(()));
        }
        self.device.poll_send_ready(cx)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let outbound = match self.retry_at {
            Some(at) => Some(at),
            None => self.outbound.as_ref().and_then(Lane::next_due),
        };
        let inbound = self.inbound.as_ref().and_then(Lane::next_due);
        [inbound, outbound, self.device.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }
}

fn wire(packet: Vec<u8>) -> Frame {
    Frame {
        data: packet.into(),
        offload: Offload {
            checksum: Checksum::Complete,
            gso: None,
        },
    }
}

/// Calls `each` with the wire packets of a frame; false when its metadata does not fit.
fn cut(frame: &Frame, each: impl FnMut(Vec<u8>)) -> bool {
    gso::cut(frame, each).is_ok()
}

#[cfg(test)]
mod tests;
