//! The tail loss probe (RFC 8985 §7): what it was, and what its answer means.

use crate::seq::SeqNum;

use super::Ack;

/// A probe under way, or about to leave.
#[derive(Debug)]
pub(crate) struct Tlp {
    /// The probe timeout has fired, and nothing has left yet.
    owed: bool,
    /// TLP.end_seq: SND.NXT after the probe.
    end: Option<SeqNum>,
    /// TLP.is_retrans.
    retransmission: bool,
}

impl Tlp {
    pub(crate) const fn new() -> Self {
        Self {
            owed: false,
            end: None,
            retransmission: false,
        }
    }

    /// A probe that is acknowledged as far as it went, and was a retransmission or not: the next
    /// ACK tells whether it was needed.
    pub(super) fn rest(&self) -> Option<bool> {
        self.end.map(|_| self.retransmission)
    }

    pub(super) fn woken(rest: Option<bool>, una: SeqNum) -> Self {
        Self {
            owed: false,
            end: rest.map(|_| una),
            retransmission: rest.unwrap_or_default(),
        }
    }

    /// Whether no probe is under way.
    pub(crate) const fn is_idle(&self) -> bool {
        self.end.is_none() && !self.owed
    }

    /// Whether a probe is to leave.
    pub(crate) const fn is_owed(&self) -> bool {
        self.owed
    }

    /// The probe timeout fired.
    pub(crate) const fn on_timeout(&mut self) {
        self.owed = true;
    }

    /// There was nothing to probe with.
    pub(crate) const fn give_up(&mut self) {
        self.owed = false;
    }

    /// What leaves now is the probe, if one is owed; SND.NXT is `nxt` with it.
    pub(crate) const fn on_sent(&mut self, nxt: SeqNum, retransmission: bool) {
        if self.owed {
            self.owed = false;
            self.end = Some(nxt);
            self.retransmission = retransmission;
        }
    }

    /// Whether `ack` reports the probe itself as a duplicate.
    pub(crate) fn is_answered_by_dsack(&self, ack: &Ack<'_>) -> bool {
        self.retransmission
            && self.end.is_some()
            && ack.outcome.dsack.as_ref().map(|dsack| dsack.end) == self.end
    }

    /// RFC 8985 §7.4.2; true when the probe has repaired a loss.
    pub(crate) fn on_ack(&mut self, ack: &Ack<'_>) -> bool {
        if ack.una == ack.nxt {
            self.give_up();
        }
        let Some(end) = self.end else { return false };
        if ack.una < end {
            return false;
        }
        if !self.retransmission || self.is_answered_by_dsack(ack) {
            self.end = None;
        } else if ack.una > end {
            self.end = None;
            return true;
        } else if ack.duplicate && !ack.has_sack {
            self.end = None;
        }
        false
    }
}
