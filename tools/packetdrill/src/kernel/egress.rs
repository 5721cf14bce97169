//! What leaves, as a packet socket on Linux would see it.

use std::collections::VecDeque;

use ustack::batch::TxBatch;
use ustack::device::gso;
use ustack::tcp::time::Instant;

/// Packets sent and not taken; more are lost, as on a device with a full queue.
const MAX_SENT: usize = 65_536;

/// The device's sending side.
#[derive(Debug)]
pub(super) struct Egress {
    tso: bool,
}

impl Egress {
    pub(super) const fn new(tso: bool) -> Self {
        Self { tso }
    }

    /// Moves the frames of `tx` to `sent`.
    pub(super) fn take(
        &mut self,
        now: Instant,
        tx: &mut TxBatch,
        sent: &mut VecDeque<(Instant, Vec<u8>)>,
    ) {
        let mut packets = Vec::new();
        for frame in tx.iter() {
            // What does not fit its own description is a bug that shows as a missing packet.
            let _ = gso::cut(&frame.to_frame(), |packet| packets.push(packet));
        }
        tx.clear();
        if self.tso {
            // PSH emulation
        }
        for packet in packets {
            if sent.len() < MAX_SENT {
                sent.push_back((now, packet));
            }
        }
    }
}
