//! A bad network: loss, delay, jitter, reordering, duplication, corruption, marks and a bottleneck
//! with its queue, on wire packets. [`Lane`] is one direction of it; [`Impair`] puts two around a
//! device.

mod bottleneck;
mod chance;
mod codel;
mod counters;
mod delay;
mod lane;
mod loss;
mod lost;
mod packet;
mod spec;

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use ustack_tcp::time::{Duration, Instant};

use self::counters::count;
pub use self::counters::{ImpairCounters, LaneCounters};
pub use self::lane::Lane;
pub use self::spec::{
    CodelSpec, DropPattern, GilbertElliott, ImpairParseError, ImpairSpec, QueueLimit,
};
use super::{Caps, Checksum, Device, Frame, LostPacket, Offload, RxBatch, TxBatch};

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
/// [`Device::send`] (with an empty batch too) then move them on. ICMP errors about what was too
/// large go back past the faults.
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
        // One spec for both directions must not give both the same fate.
        let inbound = inbound.map(|spec| Lane::new(spec, 0));
        let outbound = outbound.map(|spec| Lane::new(spec, 1));
        let of = |lane: &Option<Lane>| {
            let counters = lane.as_ref().map(Lane::counters);
            counters.map(Arc::clone).unwrap_or_default()
        };
        let counters = Arc::new(ImpairCounters {
            inbound: of(&inbound),
            outbound: of(&outbound),
        });
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

impl<D: Device> Impair<D> {
    /// Moves what has left the outbound lane on to the device. Bounded: what is due moves on only
    /// as the device takes it.
    fn send_due(&mut self, now: Instant) -> io::Result<()> {
        loop {
            while self.staged.len() < crate::batch::MAX_RX_FRAMES {
                let due = self.outbound.as_mut().and_then(|lane| lane.poll_due(now));
                let Some(packet) = due else {
                    break;
                };
                self.staged.push_frame(wire(packet));
            }
            if !self.staged.is_empty() {
                self.device.send(now, &mut self.staged)?;
            }
            self.retry_at = (!self.staged.is_empty()).then(|| now + RETRY);
            let more = self.outbound.as_mut().is_some_and(|lane| lane.has_due(now));
            if self.retry_at.is_some() || !more {
                return Ok(());
            }
        }
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
        let mut received = push_answers(self.outbound.as_mut(), batch);
        let Some(lane) = &mut self.inbound else {
            return Ok(received + self.device.recv(now, batch)?);
        };
        // While packets wait for room in the batch, nothing new is read: the device's queue is the
        // one that fills, as without impairment.
        if !lane.has_due(now) {
            self.device.recv(now, &mut self.received)?;
            for frame in self.received.drain() {
                lane.take(now, &frame);
            }
        }
        while batch.room() > 0 {
            let Some(packet) = lane.poll_due(now) else {
                break;
            };
            batch.push(wire(packet));
            received += 1;
        }
        Ok(received)
    }

    fn send(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let answers = self.inbound.iter_mut();
        let answers = answers.flat_map(|lane| std::iter::from_fn(|| lane.poll_answer()));
        answers.for_each(|answer| self.staged.push_frame(wire(answer)));
        if self.outbound.is_none() {
            self.send_due(now)?;
            return self.device.send(now, batch);
        }
        let mut sent = 0;
        while let (Some(lane), Some(frame)) = (&mut self.outbound, batch.front()) {
            lane.take(now, &frame.to_frame());
            batch.pop_front();
            sent += 1;
        }
        self.send_due(now)?;
        Ok(sent)
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
        let mut lanes = self.inbound.iter().chain(&self.outbound);
        let answer = lanes.any(Lane::has_answer).then_some(Instant::ZERO);
        [inbound, outbound, answer, self.device.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    fn wants_notes(&self) -> bool {
        self.device.wants_notes()
    }

    fn take_lost(&mut self, lost: &mut Vec<LostPacket>) {
        if let Some(lane) = &mut self.inbound {
            lane.take_lost(false, lost);
        }
        if let Some(lane) = &mut self.outbound {
            lane.take_lost(true, lost);
        }
        self.device.take_lost(lost);
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

/// What a lane has to say to the sender of its packets.
fn push_answers(lane: Option<&mut Lane>, batch: &mut RxBatch) -> usize {
    let Some(lane) = lane else { return 0 };
    let mut pushed = 0;
    while batch.room() > 0 {
        let Some(answer) = lane.poll_answer() else {
            break;
        };
        batch.push(wire(answer));
        pushed += 1;
    }
    pushed
}

#[cfg(test)]
mod tests;
