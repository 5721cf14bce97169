//! Devices: where frames come from and go to.
//!
//! A device moves batches of frames with offload metadata and says what it can do. Capture and
//! impairment are devices around a device, so `Capture<Impair<Tun>>` composes.

use std::io;
use std::task::{Context, Poll};

use ustack_tcp::time::Instant;

mod capture;
pub mod channel;
pub mod gso;
pub mod impair;
mod link;
pub mod memory;
mod queue;
mod recorder;
pub mod tun;
pub mod vnet;

pub use capture::{
    Capture, CaptureCounters, CaptureDirection, CaptureDirectionError, CaptureFilter,
    CaptureFilterError, CaptureOptions, Files, NumberedFiles, Rotation,
};
pub use impair::{Impair, ImpairCounters, ImpairParseError, ImpairSpec, LaneCounters};
pub use recorder::{FlightRecorder, Recorder, RecorderCounters, RecorderOptions};

pub use crate::batch::{Checksum, Frame, Gso, GsoKind, Offload, RxBatch, TxBatch, TxFrame};

/// What a device can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// The largest wire packet, in bytes.
    pub mtu: u16,
    /// The device completes transport checksums ([`Checksum::Partial`]).
    pub tx_checksum: bool,
    /// The device cuts TCP super-segments.
    pub tso: bool,
    /// The device cuts UDP super-datagrams.
    pub uso: bool,
}

impl Caps {
    /// A device that takes finished wire packets only.
    pub const fn plain(mtu: u16) -> Self {
        Self {
            mtu,
            tx_checksum: false,
            tso: false,
            uso: false,
        }
    }

    /// A device that completes checksums and cuts super-packets.
    pub const fn offload(mtu: u16) -> Self {
        Self {
            mtu,
            tx_checksum: true,
            tso: true,
            uso: true,
        }
    }
}

/// A source and sink of IP packets.
///
/// Nothing here blocks. `now` is the one clock reading of the turn.
pub trait Device: Send {
    /// What the device can do. Fixed for its life.
    fn caps(&self) -> Caps;

    /// Ready once [`Device::recv`] has something to do (a packet, an error, the end).
    ///
    /// An error says that the device is gone for good.
    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Moves what has arrived into `batch`, as far as it has room; returns the number of frames.
    /// Zero frames mean nothing has arrived (never [`io::ErrorKind::WouldBlock`]).
    ///
    /// An error says that the device is gone for good.
    fn recv(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize>;

    /// Sends from the front of `batch` and removes what was taken; returns the number of frames.
    /// What the device cannot take now stays in the batch; what it will never take (a malformed
    /// packet, a link that is down) is removed and counted.
    ///
    /// An error says that the device is gone for good.
    fn send(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize>;

    /// Ready once a device that left frames in the batch can take more. One that has to be asked again
    /// instead says when by [`Device::poll_timeout`].
    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// When the device itself wants [`Device::recv`] and [`Device::send`] called next, whatever
    /// arrives: a packet that `Impair` holds back falls due.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Whether [`Device::send`] is to find [notes](TxBatch::notes) of what the stack did with the
    /// frames. Then it is called at the end of each half turn in which anything was noted, with an
    /// empty batch, too. Fixed for the device's life.
    fn wants_notes(&self) -> bool {
        false
    }

    /// Moves packets that the device itself has lost on purpose to `lost`. From the first call on they
    /// are kept for the next one, as far as there is room.
    fn take_lost(&mut self, lost: &mut Vec<LostPacket>) {
        let _ = lost;
    }
}

/// A packet that a device has lost on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostPacket {
    /// When.
    pub at: Instant,
    /// Whether the stack had sent it.
    pub is_sent: bool,
    /// Why, in a few words.
    pub reason: &'static str,
    /// The packet, whole.
    pub packet: Vec<u8>,
}

/// So that wrappers chosen at run time are one type; a call per batch is dynamic, not per frame.
impl<D: Device + ?Sized> Device for Box<D> {
    fn caps(&self) -> Caps {
        (**self).caps()
    }

    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_recv_ready(cx)
    }

    fn recv(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        (**self).recv(now, batch)
    }

    fn send(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        (**self).send(now, batch)
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_send_ready(cx)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (**self).poll_timeout()
    }

    fn wants_notes(&self) -> bool {
        (**self).wants_notes()
    }

    fn take_lost(&mut self, lost: &mut Vec<LostPacket>) {
        (**self).take_lost(lost);
    }
}
