//! What a lane has lost, for whoever wants to see it.

use ustack_tcp::time::Instant;

use crate::device::LostPacket;

/// Lost packets that are kept until somebody takes them; of more than that nothing is told.
const MAX_KEPT: usize = 1024;

/// Lost packets, once somebody has asked for them.
#[derive(Debug, Default)]
pub(super) struct Lost(Option<Vec<LostPacket>>);

impl Lost {
    /// `packet` got lost at `at`.
    pub(super) fn push(&mut self, at: Instant, reason: &'static str, packet: &[u8]) {
        if let Some(kept) = self.0.as_mut().filter(|kept| kept.len() < MAX_KEPT) {
            kept.push(LostPacket {
                at,
                is_sent: false,
                reason,
                packet: packet.to_vec(),
            });
        }
    }

    /// Moves what is kept to `into`, and keeps what gets lost from now on.
    pub(super) fn take(&mut self, is_sent: bool, into: &mut Vec<LostPacket>) {
        let kept = self.0.get_or_insert_default().drain(..);
        into.extend(kept.map(|lost| LostPacket { is_sent, ..lost }));
    }
}
