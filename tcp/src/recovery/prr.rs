//! Proportional rate reduction (RFC 9937): how much may leave per ACK while losses are repaired.

/// One episode. All in bytes.
#[derive(Debug)]
pub(crate) struct Prr {
    /// RecoverFS: the flight at the start of the episode.
    recover_fs: u32,
    /// prr_delivered.
    delivered: u32,
    /// prr_out.
    out: u32,
    /// cwnd after the last ACK.
    window: u32,
}

/// An ACK of the episode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrrAck {
    /// Both ends use SACK.
    pub(crate) sack: bool,
    /// Bytes newly acknowledged or SACKed.
    pub(crate) newly: u32,
    /// DeliveredData.
    pub(crate) delivered: u32,
    /// SafeACK: SND.UNA moved, and no further loss showed.
    pub(crate) safe: bool,
    /// `pipe`, after the ACK.
    pub(crate) in_flight: u32,
    /// ssthresh of the congestion controller: where the episode is to end.
    pub(crate) ssthresh: u32,
    /// SMSS.
    pub(crate) mss: u32,
}

impl Prr {
    /// RFC 9937 §6.1; `out` bytes of the repair have left already.
    pub(crate) const fn new(recover_fs: u32, out: u32) -> Self {
        Self {
            recover_fs: if recover_fs == 0 { 1 } else { recover_fs },
            delivered: 0,
            out,
            window: 0,
        }
    }

    /// RFC 9937 §6.2; called for the ACK that begins the episode, too.
    pub(crate) fn on_ack(&mut self, ack: &PrrAck) {
        if ack.delivered == 0 && self.window > 0 {
            return;
        }
        self.delivered = self.delivered.saturating_add(ack.delivered);
        let room = ack.ssthresh.saturating_sub(ack.in_flight);
        let count = if ack.in_flight > ack.ssthresh {
            let target = u64::from(self.delivered) * u64::from(ack.ssthresh);
            let target = target.div_ceil(u64::from(self.recover_fs)).min(1 << 31) as u32;
            target.saturating_sub(self.out)
        } else {
            // Segments are whole, so the room for them is rounded up as the proportion is.
            let room = room.div_ceil(ack.mss).saturating_mul(ack.mss);
            let bonus = if ack.safe { ack.mss } else { 0 };
            let count = self.delivered.saturating_sub(self.out).max(ack.delivered);
            room.min(count + bonus)
        };
        let count = if self.out == 0 {
            count.max(ack.mss)
        } else {
            count
        };
        self.window = ack.in_flight.saturating_add(count);
    }

    /// Bytes left, new or again.
    pub(crate) const fn on_sent(&mut self, bytes: u32) {
        self.out = self.out.saturating_add(bytes);
    }

    /// Bytes that can still be delivered: duplicate ACKs beyond that are made up (§6.2).
    pub(crate) const fn undelivered(&self) -> u32 {
        self.recover_fs.saturating_sub(self.delivered)
    }

    /// cwnd, as long as the episode lasts.
    pub(crate) const fn window(&self) -> u32 {
        self.window
    }
}
