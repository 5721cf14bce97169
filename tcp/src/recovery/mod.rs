//! Loss recovery: what an ACK or a timeout means for what is in flight.
//!
//! Detection (here and in [`Flight`]), control (`congestion`) and the estimate of the round trip
//! (`rtt`) are kept apart; this file decides when an episode of recovery begins and ends.

mod rack;
mod rtt;

pub(crate) use rtt::RttEstimator;

use rack::Rack;

use crate::send::{AckOutcome, DUP_THRESH, Flight};
use crate::seq::SeqNum;
use crate::time::Instant;

/// Where the sender stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is known to be lost.
    Open,
    /// Repairing losses that ACKs showed, until SND.UNA reaches this (RFC 6675 RecoveryPoint).
    Recovery(SeqNum),
    /// Repairing after a timeout, until SND.UNA reaches this.
    Loss(SeqNum),
}

/// An ACK as recovery sees it.
#[derive(Debug)]
pub(crate) struct Ack<'a> {
    /// SND.UNA after it.
    pub(crate) una: SeqNum,
    /// SND.NXT.
    pub(crate) nxt: SeqNum,
    /// It moved SND.UNA.
    pub(crate) advanced: bool,
    /// It is a duplicate by RFC 5681 §2.
    pub(crate) duplicate: bool,
    /// Both ends use SACK.
    pub(crate) sack: bool,
    /// Payload of a full segment.
    pub(crate) mss: u32,
    /// What it said of the flight.
    pub(crate) outcome: &'a AckOutcome,
}

/// The state of loss recovery of one connection.
#[derive(Debug)]
pub(crate) struct Recovery {
    phase: Phase,
    dup_acks: u32,
    /// The first retransmission of an episode leaves whatever cwnd says (RFC 6675 §5 step 4.3).
    force: bool,
    /// `recover` of RFC 6582 §3.2: no fast retransmit for what was sent before.
    guard: Option<SeqNum>,
    rack: Rack,
    /// The tail was probed up to here, and is not probed again before that is acknowledged
    /// (TLP.end_seq, RFC 8985 §7.3).
    probed: Option<SeqNum>,
}

impl Recovery {
    pub(crate) const fn new() -> Self {
        Self {
            phase: Phase::Open,
            dup_acks: 0,
            force: false,
            guard: None,
            rack: Rack::new(),
            probed: None,
        }
    }

    /// Whether the controller's window stands still (RFC 6675 §5: no growth while recovering).
    pub(crate) const fn in_recovery(&self) -> bool {
        matches!(self.phase, Phase::Recovery(_))
    }

    /// Whether one retransmission may leave now even if cwnd is full; asking uses it up.
    pub(crate) const fn take_force(&mut self) -> bool {
        core::mem::replace(&mut self.force, false)
    }

    /// Whether [`Recovery::take_force`] would say yes.
    pub(crate) const fn is_forced(&self) -> bool {
        self.force
    }

    /// Digests an ACK; true when it begins an episode, so that the window is to be reduced.
    pub(crate) fn on_ack(
        &mut self,
        now: Instant,
        ack: &Ack<'_>,
        flight: &mut Flight,
        rtt: &RttEstimator,
    ) -> bool {
        if ack.advanced {
            self.dup_acks = 0;
        }
        let mut left = false;
        if let Phase::Recovery(point) | Phase::Loss(point) = self.phase
            && ack.una >= point
        {
            self.phase = Phase::Open;
            left = true;
        }
        if self.probed.is_some_and(|probed| ack.una >= probed) {
            self.probed = None;
        }
        let lost = if ack.sack {
            self.rack.on_delivered(ack.outcome.newest, rtt);
            self.detect_by_sack(now, ack.mss, flight, rtt) + self.detect_by_sacked_acks(ack, flight)
        } else {
            self.detect_by_duplicates(ack, flight)
        };
        // What was found lost meanwhile belongs to the next window: it is reduced, too (CC-13).
        let next_window = left && ack.sack && flight.has_loss();
        self.begin_if(lost > 0 || next_window, ack.nxt)
    }

    /// The reordering window of something closed without an ACK (RFC 8985 §6.3); true when that
    /// begins an episode.
    pub(crate) fn on_reorder_timeout(
        &mut self,
        now: Instant,
        nxt: SeqNum,
        mss: u32,
        flight: &mut Flight,
        rtt: &RttEstimator,
    ) -> bool {
        let lost = self
            .rack
            .detect(now, self.phase != Phase::Open, mss, flight, rtt);
        self.begin_if(lost > 0, nxt)
    }

    /// When [`Recovery::on_reorder_timeout`] is due.
    pub(crate) const fn reorder_deadline(&self) -> Option<Instant> {
        self.rack.deadline()
    }

    /// Whether the tail may be probed (RFC 8985 §7.2): not while losses are being repaired, and
    /// once only.
    pub(crate) fn may_probe(&self, flight: &Flight) -> bool {
        self.phase == Phase::Open && self.probed.is_none() && flight.sacked() == 0
    }

    /// The tail is probed: the segment that ends at `nxt` goes out again.
    pub(crate) fn on_probe(&mut self, nxt: SeqNum, mss: u32, flight: &mut Flight) {
        self.probed = Some(nxt);
        self.force = flight.mark_tail_lost(mss);
    }

    fn begin_if(&mut self, lost: bool, nxt: SeqNum) -> bool {
        if !lost || self.phase != Phase::Open {
            return false;
        }
        self.phase = Phase::Recovery(nxt);
        self.guard = Some(nxt);
        self.force = true;
        true
    }

    fn detect_by_sack(
        &mut self,
        now: Instant,
        mss: u32,
        flight: &mut Flight,
        rtt: &RttEstimator,
    ) -> u32 {
        let repairing = self.phase != Phase::Open;
        if flight.sacked() == 0 && !repairing {
            return 0; // nothing arrived out of turn, so nothing is overdue
        }
        flight.mark_lost_by_sack(mss) + self.rack.detect(now, repairing, mss, flight, rtt)
    }

    /// The retransmission timer fired (RFC 6298 §5.4, RFC 6675 §5.1).
    pub(crate) fn on_rto(&mut self, nxt: SeqNum, flight: &mut Flight) {
        flight.mark_all_lost();
        self.phase = Phase::Loss(nxt);
        self.guard = Some(nxt);
        self.dup_acks = 0;
        self.probed = None;
        self.force = true;
    }

    /// RFC 6675 §5 (1): the third ACK in a row with a new SACK block, however small what it reports.
    fn detect_by_sacked_acks(&mut self, ack: &Ack<'_>, flight: &mut Flight) -> u32 {
        if ack.advanced || ack.outcome.sacked == 0 {
            return 0;
        }
        self.dup_acks += 1;
        if self.dup_acks >= DUP_THRESH && self.phase == Phase::Open {
            return flight.mark_front_lost(ack.mss);
        }
        0
    }

    /// RFC 6582 §3.2: three duplicates begin recovery, a partial ACK shows the next hole.
    fn detect_by_duplicates(&mut self, ack: &Ack<'_>, flight: &mut Flight) -> u32 {
        if ack.duplicate {
            self.dup_acks += 1;
            flight.on_dup_ack(ack.mss);
            let guarded = self.guard.is_some_and(|guard| ack.una < guard);
            if self.dup_acks == DUP_THRESH && self.phase == Phase::Open && !guarded {
                return flight.mark_front_lost(ack.mss);
            }
        } else if ack.advanced && self.in_recovery() {
            self.force = true;
            return flight.mark_front_lost(ack.mss);
        }
        0
    }
}
