//! A device whose packets an embedding program hands over and takes: a VPN, a proxy, an emulator.
//!
//! ```
//! # use ustack::device::{Caps, channel};
//! let caps = Caps { mtu: 1420, tx_checksum: false, tso: false, uso: false };
//! let (device, mut outgoing, incoming) = channel::channel(caps, 1024);
//! // `device` goes to the stack; what the tunnel decrypts goes to `incoming.send(packet)`, what
//! // `outgoing.recv()` returns is encrypted and sent.
//! # let _ = (device, &mut outgoing, incoming);
//! ```

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;
use ustack_tcp::time::Instant;

use super::queue::FrameQueue;
use super::{Caps, Device, Frame, RxBatch, TxBatch};
use crate::pool::ChunkPool;

/// A device, the packets it sends, and the way to hand it packets. Each direction holds at most
/// `queue` frames; a full queue makes the writer wait, nothing is dropped.
///
/// Packets are owned: who sends one gives it away. The device ends when either handle is dropped,
/// the handles when the device is.
pub fn channel(caps: Caps, queue: usize) -> (ChannelDevice, PacketReceiver, PacketSender) {
    let outgoing = Arc::new(FrameQueue::new(queue));
    let (sender, incoming) = mpsc::channel(queue.max(1));
    let device = ChannelDevice {
        caps,
        incoming,
        peeked: None,
        outgoing: Arc::clone(&outgoing),
        pool: ChunkPool::default(),
    };
    (device, PacketReceiver { outgoing }, PacketSender { sender })
}

/// The stack's side of a [`channel`].
#[derive(Debug)]
pub struct ChannelDevice {
    caps: Caps,
    incoming: mpsc::Receiver<Frame>,
    /// Taken out by a readiness check, not yet received.
    peeked: Option<Frame>,
    outgoing: Arc<FrameQueue>,
    /// What frames are copied to.
    pool: ChunkPool,
}

/// Takes the packets that the stack sends.
#[derive(Debug)]
pub struct PacketReceiver {
    outgoing: Arc<FrameQueue>,
}

/// Hands packets to the stack.
#[derive(Clone, Debug)]
pub struct PacketSender {
    sender: mpsc::Sender<Frame>,
}

/// The device was dropped, with the stack that held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stack has ended")]
pub struct Ended;

/// Why [`PacketSender::try_send`] took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError {
    /// The queue is full; the packet is dropped.
    #[error("the device's queue is full")]
    Full,
    /// The device was dropped.
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl PacketReceiver {
    /// The next packet that the stack sends, from its IP header on; `None` once the stack ended.
    /// Cancel-safe. Its [`Offload`](super::Offload) is empty unless the [`Caps`] offered more.
    pub async fn recv(&mut self) -> Option<Frame> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`PacketReceiver::recv`], without a future.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        match self.outgoing.pop() {
            Ok(Some(frame)) => return Poll::Ready(Some(frame)),
            Err(_) => return Poll::Ready(None),
            Ok(None) => {}
        }
        std::task::ready!(self.outgoing.poll_readable(cx));
        Poll::Ready(self.outgoing.pop().unwrap_or(None))
    }
}

impl PacketSender {
    /// Hands over one IP packet, waiting for room. Cancel-safe: a packet is handed over or not.
    ///
    /// The stack may drop it under its lock: the destructor of an owner ([`Bytes::from_owner`]) must not
    /// call the stack.
    pub async fn send(&self, packet: impl Into<Bytes>) -> Result<(), Ended> {
        let data = packet.into();
        self.send_frame(Frame {
            data,
            ..Frame::default()
        })
        .await
    }

    /// As [`PacketSender::send`], with what is known of the packet's checksum and segments.
    pub async fn send_frame(&self, frame: Frame) -> Result<(), Ended> {
        self.sender.send(frame).await.map_err(|_| Ended)
    }

    /// Hands over one IP packet if there is room for it.
    pub fn try_send(&self, packet: impl Into<Bytes>) -> Result<(), TrySendError> {
        let data = packet.into();
        let frame = Frame {
            data,
            ..Frame::default()
        };
        self.sender.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => TrySendError::Full,
            mpsc::error::TrySendError::Closed(_) => TrySendError::Ended(Ended),
        })
    }
}

fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the program that fed the device dropped its handle",
    )
}

impl Device for ChannelDevice {
    fn caps(&self) -> Caps {
        self.caps
    }

    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.peeked.is_none() {
            self.peeked = std::task::ready!(self.incoming.poll_recv(cx));
        }
        Poll::Ready(self.peeked.as_ref().map(drop).ok_or_else(gone))
    }

    fn recv(&mut self, _now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        let mut received = 0;
        while batch.room() > 0 {
            let frame = match self.peeked.take() {
                Some(frame) => frame,
                None => match self.incoming.try_recv() {
                    Ok(frame) => frame,
                    Err(mpsc::error::TryRecvError::Disconnected) if received == 0 => {
                        return Err(gone());
                    }
                    Err(_) => break,
                },
            };
            batch.push(frame);
            received += 1;
        }
        Ok(received)
    }

    fn send(&mut self, _now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let mut sent = 0;
        while let Some(frame) = batch.front() {
            match self.outgoing.push(frame.copied_in(&mut self.pool)) {
                Ok(None) => {}
                Ok(Some(_)) => break,
                Err(_) => return Err(gone()),
            }
            batch.pop_front();
            sent += 1;
        }
        Ok(sent)
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_writable(cx).map(Ok)
    }
}

impl Drop for ChannelDevice {
    fn drop(&mut self) {
        self.outgoing.close();
    }
}

impl Drop for PacketReceiver {
    fn drop(&mut self) {
        self.outgoing.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Caps = Caps {
        mtu: 1500,
        tx_checksum: false,
        tso: false,
        uso: false,
    };

    fn batch(n: usize) -> TxBatch {
        let mut batch = TxBatch::new();
        for i in 0..n {
            batch.push_frame(Frame {
                data: vec![i as u8; 20].into(),
                ..Frame::default()
            });
        }
        batch
    }

    #[tokio::test]
    async fn packets_go_both_ways() {
        let (mut device, mut outgoing, incoming) = channel(CAPS, 4);
        incoming.send(vec![1; 20]).await.unwrap();
        incoming.try_send(vec![2; 20]).unwrap();
        poll_fn(|cx| device.poll_recv_ready(cx)).await.unwrap();
        let mut rx = RxBatch::new();
        assert_eq!(device.recv(Instant::ZERO, &mut rx).unwrap(), 2);
        assert_eq!(rx.frames()[1].data[0], 2);

        assert_eq!(device.send(Instant::ZERO, &mut batch(1)).unwrap(), 1);
        assert_eq!(outgoing.recv().await.unwrap().data.len(), 20);
        drop(device);
        assert_eq!(outgoing.recv().await, None);
        assert_eq!(incoming.send(vec![1; 20]).await, Err(Ended));
    }

    #[tokio::test]
    async fn a_full_queue_makes_the_stack_wait_and_drops_nothing() {
        let (mut device, mut outgoing, _incoming) = channel(CAPS, 2);
        let mut tx = batch(3);
        assert_eq!(device.send(Instant::ZERO, &mut tx).unwrap(), 2);
        assert_eq!(tx.len(), 1);
        let waiting = tokio::spawn(async move {
            poll_fn(|cx| device.poll_send_ready(cx)).await.unwrap();
            assert_eq!(device.send(Instant::ZERO, &mut tx).unwrap(), 1);
            device
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(outgoing.recv().await.unwrap().data[0]);
        }
        assert_eq!(seen, [0, 1, 2]);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn dropping_a_handle_ends_the_device() {
        let (mut device, outgoing, incoming) = channel(CAPS, 2);
        drop(incoming);
        assert!(poll_fn(|cx| device.poll_recv_ready(cx)).await.is_err());
        assert!(device.recv(Instant::ZERO, &mut RxBatch::new()).is_err());
        drop(outgoing);
        assert!(device.send(Instant::ZERO, &mut batch(1)).is_err());
    }

    #[test]
    fn try_send_says_when_it_is_full() {
        let (_device, _outgoing, incoming) = channel(CAPS, 1);
        incoming.try_send(vec![1; 20]).unwrap();
        assert_eq!(incoming.try_send(vec![1; 20]), Err(TrySendError::Full));
    }
}
