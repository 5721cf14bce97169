//! Explicit congestion notification, both directions of it (RFC 3168 §6.1).

use crate::congestion::{CongestionController, CongestionKind};
use crate::observe::AckWhy;
use crate::segment::{Ecn, Flags, Segment};
use crate::seq::SeqNum;
use crate::time::Instant;

use super::Connection;

/// What a connection remembers of ECN.
#[derive(Debug, Default)]
pub(crate) struct EcnState {
    /// The handshake agreed on it (EC-1).
    enabled: bool,
    /// As receiver: CE arrived, and no CWR since then. Every ACK bears ECE (EC-4).
    echoing: bool,
    /// As sender: the window was reduced, and the next new data says so with CWR (EC-5).
    cwr_owed: bool,
    /// SND.NXT at the last reduction; one window of data brings one (§6.1.2).
    reduced_at: Option<SeqNum>,
    /// A loss in that window was not answered by a reduction of its own.
    absorbed: bool,
    /// ECE came at a window of one segment: new data waits for this timeout (EC-6).
    hold: Option<Instant>,
}

/// What lasts of it while nothing is in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestingEcn {
    reduced_at: Option<SeqNum>,
    pub(super) enabled: bool,
    echoing: bool,
    cwr_owed: bool,
    absorbed: bool,
}

impl EcnState {
    pub(super) const fn rest(&self) -> RestingEcn {
        RestingEcn {
            reduced_at: self.reduced_at,
            enabled: self.enabled,
            echoing: self.echoing,
            cwr_owed: self.cwr_owed,
            absorbed: self.absorbed,
        }
    }

    pub(super) const fn woken(rest: &RestingEcn) -> Self {
        Self {
            reduced_at: rest.reduced_at,
            enabled: rest.enabled,
            echoing: rest.echoing,
            cwr_owed: rest.cwr_owed,
            absorbed: rest.absorbed,
            hold: None,
        }
    }

    /// Nothing was sent above `nxt` yet, so nothing of ours can have been marked.
    pub(super) fn new(enabled: bool, nxt: SeqNum) -> Self {
        Self {
            enabled,
            reduced_at: Some(nxt),
            ..Self::default()
        }
    }

    pub(super) const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether `seg` says that its ACK was for a marked packet: it does not grow the window.
    pub(super) const fn is_echo(&self, seg: &Segment) -> bool {
        self.enabled && seg.has(Flags::ECE)
    }

    /// The window was reduced, for whatever reason, with everything below `nxt` sent.
    pub(super) const fn on_reduced(&mut self, nxt: SeqNum) {
        if self.enabled {
            self.cwr_owed = true;
            self.absorbed = false;
            self.reduced_at = Some(nxt);
        }
    }

    /// Whether the window that was reduced last has not been acknowledged in full yet.
    pub(super) fn is_reducing(&self, una: SeqNum) -> bool {
        self.enabled && self.reduced_at.is_some_and(|at| una < at)
    }

    /// A loss in the window that was reduced last: one window of data, one reduction (RFC 3168
    /// §6.1.2).
    pub(super) fn absorbs_loss(&mut self, una: SeqNum) -> bool {
        self.absorbed |= self.is_reducing(una);
        self.is_reducing(una)
    }

    /// Whether a loss was answered so: should it prove to be none, there is nothing to take back.
    pub(super) const fn take_absorbed(&mut self) -> bool {
        core::mem::replace(&mut self.absorbed, false)
    }

    /// Whether the next new data bears CWR. It goes alone: nothing that cuts super-segments could
    /// then repeat the flag.
    pub(super) const fn is_cwr_owed(&self) -> bool {
        self.cwr_owed
    }

    /// What every segment but a RST bears.
    pub(super) const fn ack_flags(&self) -> Flags {
        if self.echoing {
            Flags::ECE
        } else {
            Flags::NONE
        }
    }

    /// Code point and flag for data: only new data is marked, never a retransmission (EC-2, EC-3).
    pub(super) const fn mark(&mut self, is_new: bool) -> (Ecn, Flags) {
        if !self.enabled || !is_new {
            return (Ecn::NotEct, Flags::NONE);
        }
        let flags = if self.cwr_owed {
            Flags::CWR
        } else {
            Flags::NONE
        };
        self.cwr_owed = false;
        (Ecn::Ect0, flags)
    }

    /// Nothing is left to be sent.
    pub(super) const fn release(&mut self) {
        self.hold = None;
    }

    /// Until when new data waits.
    pub(super) const fn hold(&self) -> Option<Instant> {
        self.hold
    }
}

impl Connection {
    /// The receiver's part (§6.1.3): CWR ends the echo, CE begins it. Pure ACKs are not marked.
    pub(super) fn process_ecn(&mut self, ecn: Ecn, seg: &Segment) {
        if !self.ecn.enabled || seg.payload.is_empty() {
            return;
        }
        if seg.has(Flags::CWR) {
            self.ecn.echoing = false;
            self.acks.owe(AckWhy::Data); // its window may be one segment, and it waits for us
        }
        if ecn == Ecn::Ce {
            if !self.ecn.echoing {
                self.acks.owe(AckWhy::Data); // the sooner the better
            }
            self.ecn.echoing = true;
        }
    }

    /// The sender's part (§6.1.2): one reduction per window of data.
    pub(super) fn react_to_ece(&mut self, now: Instant, ack: SeqNum, seg: &Segment) {
        if !self.ecn.is_echo(seg) || self.ecn.reduced_at.is_some_and(|at| ack <= at) {
            return;
        }
        if self.cc.cwnd() <= self.snd.mss && self.state.sends() {
            // There is no smaller window; one segment per RTO is what is left.
            self.ecn.hold = Some(now + self.rtt.rto());
            self.update_loss_timer(now, true);
        }
        self.on_congestion(now, CongestionKind::Ecn);
    }

    /// The timeout that new data waited for has come.
    pub(super) fn end_ecn_hold(&mut self, now: Instant) {
        if self.ecn.hold.is_some_and(|until| until <= now) {
            self.ecn.hold = None;
            self.timers.stop_persist();
        }
    }
}
