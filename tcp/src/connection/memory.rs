//! What a connection's buffers cost, and how they keep within what the endpoint's budget allows.

use crate::chunk::Chunk;
use crate::memory::{Account, Allowance, Charge, Turn};
use crate::seq::SeqNum;

use super::Connection;

impl Connection {
    pub(crate) const fn account(&mut self) -> &mut Account {
        &mut self.account
    }

    /// Memory that both buffers hold, in bytes.
    pub(crate) const fn charged(&self) -> Charge {
        Charge {
            sent: self.snd.buffer.charged() as usize,
            received: self.rcv.reassembler.charged() as usize,
        }
    }

    /// What the lease knows of it.
    pub(crate) const fn accounted(&self) -> Charge {
        self.account.charged
    }

    /// What it may take from now on; a writer that waits hears of more.
    pub(crate) fn grant(&mut self, allowance: Allowance) {
        self.account.allowance = allowance;
        if self.write_blocked {
            self.wake_writer();
        }
    }

    /// The most that either buffer may hold: a share of the budget, and two segments in any case,
    /// without which nothing would move.
    pub(super) fn share(&self) -> u32 {
        self.account.allowance.share.max(2 * self.snd.mss)
    }

    /// The most that the receive queue may hold: little, as long as nobody has read anything.
    pub(super) fn recv_share(&self) -> u32 {
        if self.tuning.has_reader() {
            return self.share();
        }
        self.account.allowance.first_window().max(2 * self.snd.mss)
    }

    /// Most bytes that the send buffer takes now.
    pub(super) fn send_capacity(&self) -> u32 {
        self.snd.capacity.min(self.share())
    }

    /// Bytes that the send buffer takes besides what it holds.
    pub(super) fn send_room(&self) -> u32 {
        self.send_capacity()
            .saturating_sub(self.snd.buffer.charged())
            .min(self.account.allowance.write)
    }

    /// Whether there is memory for `len` bytes that arrived at `seq`; counts what there is none for.
    pub(super) fn has_memory_for(&mut self, seq: SeqNum, len: usize) -> bool {
        let allowance = &self.account.allowance;
        let in_order = seq <= self.rcv.nxt();
        let (most, dropped) = if in_order {
            (allowance.in_order, &mut self.account.rcv_q_drop)
        } else {
            (allowance.out_of_order, &mut self.account.ofo_drop)
        };
        let fits = Chunk::cost(len) <= most;
        *dropped += u32::from(!fits);
        fits
    }

    /// Whether there is memory for `segments` of `len` bytes in order.
    pub(super) const fn has_memory_for_all(&self, segments: usize, len: usize) -> bool {
        let most = self.account.allowance.in_order;
        segments.saturating_mul(Chunk::cost(len) as usize) <= most as usize
    }

    /// A writer waits for memory, and nothing that it has queued will make room.
    pub(crate) const fn is_starved(&self) -> bool {
        self.write_blocked && self.snd.buffer.charged() == 0
    }

    /// It stands in the queue of those, and waits still.
    pub(crate) fn is_in_queue(&self) -> bool {
        self.account.turn == Turn::Waits && self.is_starved() && self.close_reason.is_none()
    }

    /// It is its turn to write.
    pub(crate) fn feed(&mut self) {
        self.account.turn = Turn::Has;
        if core::mem::take(&mut self.write_blocked) {
            self.events.writable = true;
        }
    }

    /// Something lies above a gap.
    pub(crate) fn has_gap(&self) -> bool {
        self.rcv.reassembler.has_gap()
    }

    /// Forgets what lies above a gap.
    pub(crate) fn shed(&mut self) {
        self.events.pruned += self.rcv.reassembler.range_count();
        self.rcv.reassembler.discard_out_of_order();
    }

    /// What waits for the reader takes no more than its bytes need; returns how many chunks were
    /// copied.
    pub(crate) fn collapse(&mut self) -> u32 {
        self.rcv.reassembler.collapse()
    }
}
