//! Two devices joined by memory: what one sends the other receives. For tests, and for two stacks
//! in one process.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use ustack_tcp::time::Instant;

use super::queue::FrameQueue;
use super::{Caps, Checksum, Device, Frame, RxBatch, TxBatch};
use crate::pool::ChunkPool;

/// Frames each direction of a [`pair`] holds: as many as a TUN device with the `txqueuelen` that
/// ustack sets.
pub const DEFAULT_QUEUE: usize = 10_000;

/// Two devices with the same capabilities; each direction holds [`DEFAULT_QUEUE`] frames.
///
/// Frames arrive at once, whatever the time is: put an [`Impair`](super::Impair) around one end
/// for delay and loss. It reads no clock, so it works under virtual time.
pub fn pair(caps: Caps) -> (MemoryDevice, MemoryDevice) {
    pair_with_queue(caps, DEFAULT_QUEUE)
}

/// As [`pair`], with room for `queue` frames in each direction. Like a TUN device, a full queue
/// drops what comes next, and counts it ([`MemoryDevice::dropped`]).
pub fn pair_with_queue(caps: Caps, queue: usize) -> (MemoryDevice, MemoryDevice) {
    let there = Arc::new(FrameQueue::new(queue));
    let back = Arc::new(FrameQueue::new(queue));
    let end = |incoming: &Arc<FrameQueue>, outgoing: &Arc<FrameQueue>| MemoryDevice {
        caps,
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        pool: ChunkPool::default(),
    };
    (end(&back, &there), end(&there, &back))
}

/// One end of a [`pair`]. Once it is dropped, the other end receives what was sent and then an
/// error.
#[derive(Debug)]
pub struct MemoryDevice {
    caps: Caps,
    incoming: Arc<FrameQueue>,
    outgoing: Arc<FrameQueue>,
    /// What frames are copied to.
    pool: ChunkPool,
}

impl MemoryDevice {
    /// Sends one frame by hand, for tests that play a host packet by packet. False when the queue
    /// is full (counted), the frame is not one a device of these [`Caps`] passes on (counted), or
    /// the other end is gone.
    pub fn push(&self, frame: Frame) -> bool {
        if !passes(self.caps, frame.offload, frame.data.len()) {
            self.outgoing.count_drop();
            return false;
        }
        match self.outgoing.push(frame) {
            Ok(None) => true,
            Ok(Some(_)) => {
                self.outgoing.count_drop();
                false
            }
            Err(_) => false,
        }
    }

    /// Takes the oldest frame that has arrived.
    pub fn pop(&self) -> Option<Frame> {
        self.incoming.pop().unwrap_or(None)
    }

    /// Frames this end sent that were dropped: queue full, or not fit for the [`Caps`].
    pub fn dropped(&self) -> u64 {
        self.outgoing.dropped()
    }
}

/// Whether a device of these capabilities can carry such a frame.
fn passes(caps: Caps, offload: super::Offload, len: usize) -> bool {
    let checksum = caps.tx_checksum || !matches!(offload.checksum, Checksum::Partial { .. });
    let size = match offload.gso {
        None => len <= usize::from(caps.mtu),
        Some(gso) => {
            let capable = match gso.kind {
                super::GsoKind::Udp => caps.uso,
                super::GsoKind::TcpV4 | super::GsoKind::TcpV6 => caps.tso,
            };
            capable && u32::from(gso.header_len) + u32::from(gso.size.get()) <= u32::from(caps.mtu)
        }
    };
    checksum && size
}

fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the other end of the memory device was dropped",
    )
}

impl Device for MemoryDevice {
    fn caps(&self) -> Caps {
        self.caps
    }

    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.incoming.poll_readable(cx).map(Ok)
    }

    fn recv(&mut self, _now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        let mut received = 0;
        while batch.room() > 0 {
            match self.incoming.pop() {
                Ok(Some(frame)) => batch.push(frame),
                Ok(None) => break,
                Err(_) if received > 0 => break,
                Err(_) => return Err(gone()),
            }
            received += 1;
        }
        Ok(received)
    }

    fn send(&mut self, _now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let mut sent = 0;
        while let Some(frame) = batch.front() {
            if passes(self.caps, frame.offload, frame.len()) {
                match self.outgoing.push(frame.copied_in(&mut self.pool)) {
                    Ok(None) => {}
                    Ok(Some(_)) => self.outgoing.count_drop(),
                    Err(_) => return Err(gone()),
                }
            } else {
                self.outgoing.count_drop();
            }
            batch.pop_front();
            sent += 1;
        }
        Ok(sent)
    }

    fn poll_send_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemoryDevice {
    fn drop(&mut self) {
        self.outgoing.close();
        self.incoming.close();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::Bytes;

    use super::*;
    use crate::device::gso::tests::super_segment;

    const PLAIN: Caps = Caps {
        mtu: 1500,
        tx_checksum: false,
        tso: false,
        uso: false,
    };

    fn frame(len: usize) -> Frame {
        Frame {
            data: Bytes::from(vec![0x45; len]),
            ..Frame::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_arrive_in_order_and_wake_the_reader() {
        let (mut a, mut b) = pair(PLAIN);
        let reader = tokio::spawn(async move {
            let mut batch = RxBatch::new();
            poll_fn(|cx| b.poll_recv_ready(cx)).await.unwrap();
            assert_eq!(b.recv(Instant::ZERO, &mut batch).unwrap(), 2);
            let lens: Vec<_> = batch.drain().map(|frame| frame.data.len()).collect();
            (lens, b)
        });
        tokio::task::yield_now().await;
        let mut batch = TxBatch::new();
        batch.push_frame(frame(20));
        batch.push(
            &[1; 40],
            [Bytes::from_static(b"abc")],
            super::super::Offload::default(),
        );
        assert_eq!(a.send(Instant::ZERO, &mut batch).unwrap(), 2);
        assert!(batch.is_empty());
        let (lens, b) = reader.await.unwrap();
        assert_eq!(lens, [20, 43]);
        drop(b);
        assert!(a.recv(Instant::ZERO, &mut RxBatch::new()).is_err());
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (mut a, mut b) = pair_with_queue(PLAIN, 3);
        let mut batch = TxBatch::new();
        (0..5).for_each(|_| batch.push_frame(frame(20)));
        assert_eq!(a.send(Instant::ZERO, &mut batch).unwrap(), 5);
        assert_eq!(a.dropped(), 2);
        assert_eq!(b.recv(Instant::ZERO, &mut RxBatch::new()).unwrap(), 3);
        assert_eq!(b.recv(Instant::ZERO, &mut RxBatch::new()).unwrap(), 0);
    }

    #[test]
    fn only_what_the_caps_allow_goes_through() {
        let (a, b) = pair(PLAIN);
        assert!(!a.push(frame(1501)));
        assert!(!a.push(super_segment(false, &[0; 3000], 1448)));
        assert_eq!((a.dropped(), b.pop()), (2, None));

        let offload = Caps {
            tx_checksum: true,
            tso: true,
            ..PLAIN
        };
        let (a, b) = pair(offload);
        let frame = super_segment(false, &[0; 3000], 1448);
        assert!(a.push(frame.clone()));
        assert!(
            !a.push(super_segment(false, &[0; 3000], 1460)),
            "beyond the MTU"
        );
        assert_eq!(b.pop(), Some(frame));
    }

    #[test]
    fn what_was_sent_arrives_before_the_end_is_seen() {
        let (a, mut b) = pair(PLAIN);
        a.push(frame(20));
        drop(a);
        let mut batch = RxBatch::new();
        assert_eq!(b.recv(Instant::ZERO, &mut batch).unwrap(), 1);
        assert!(b.recv(Instant::ZERO, &mut batch).is_err());
        let mut out = TxBatch::new();
        out.push_frame(frame(20));
        assert!(b.send(Instant::ZERO, &mut out).is_err());
    }
}
