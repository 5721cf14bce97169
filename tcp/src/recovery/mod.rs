//! Loss recovery: what an ACK or a timeout means for what is in flight.
//!
//! Detection (`rack`, `tlp`, and [`Flight`]), the rate of the repair (`prr`), false alarms
//! (`undo`), control (`congestion`) and the estimate of the round trip (`rtt`) are kept apart;
//! this file decides when an episode of recovery begins and ends.

mod prr;
mod rack;
mod rtt;
mod tlp;
mod undo;

pub(crate) use rtt::{RestingRtt, RttEstimator};

use core::ops::Range;

use prr::Prr;
pub(crate) use prr::PrrAck;
use rack::{Rack, RestingRack};
use tlp::Tlp;
use undo::{Cause, Frto, Undo};

use crate::config::LossDetection;
use crate::send::{AckOutcome, Arrived, DUP_THRESH, Flight, Overdue};
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
    /// It carries SACK blocks.
    pub(crate) has_sack: bool,
    /// Both ends use SACK.
    pub(crate) sack: bool,
    /// There is new data, and the peer's window takes it.
    pub(crate) more_to_send: bool,
    /// Payload of a full segment.
    pub(crate) mss: u32,
    /// The ACK as it came.
    pub(crate) arrived: &'a Arrived<'a>,
    /// What it said of the flight.
    pub(crate) outcome: &'a AckOutcome,
}

/// What is to follow, for the congestion controller and for the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// The last reduction answered a false alarm; comes before `reduce`.
    pub(crate) undo: bool,
    /// A loss: the window is to be reduced.
    pub(crate) reduce: bool,
    /// It makes up for a second loss in the recovery that is over.
    pub(crate) again: bool,
    /// More was found lost.
    pub(crate) lost: bool,
}

/// The state of loss recovery of one connection.
#[derive(Debug)]
pub(crate) struct Recovery {
    detection: LossDetection,
    phase: Phase,
    dup_acks: u32,
    /// The first retransmission of an episode leaves whatever cwnd says (RFC 6675 §5 step 4.3).
    force: bool,
    /// `recover` of RFC 6582 §3.2: no fast retransmit for what was sent before.
    guard: Option<SeqNum>,
    rack: Rack,
    tlp: Tlp,
    /// Paces the repair, in [`Phase::Recovery`].
    prr: Option<Prr>,
    /// The last episode, as long as it may turn out to have been a false alarm.
    undo: Option<Undo>,
    frto: Frto,
    /// A repair was lost, too: when the episode is over the window is reduced once more (RFC 5681
    /// §4.3). Not before, as PRR's target stands still (RFC 9937 §6.1).
    lost_again: bool,
    /// The one rescue retransmission of this episode is spent (RFC 6675 §4 NextSeg (4)).
    rescued: bool,
    /// False alarms so far, modulo 2⁸.
    undone: u8,
}

/// What lasts of it while nothing is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestingRecovery {
    rack: RestingRack,
    tlp: Option<bool>,
    /// `recover` has not been passed yet.
    guarded: bool,
}

impl Recovery {
    /// Whether nothing is to be repaired, probed or waited for.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.phase == Phase::Open && !self.is_urgent() && self.reorder_deadline().is_none()
    }

    /// Whether what is still to come may show that a past repair was needless: rest forgets it.
    pub(crate) const fn may_prove_needless(&self) -> bool {
        self.undo.is_some()
    }

    pub(crate) fn rest(&self, una: SeqNum) -> RestingRecovery {
        RestingRecovery {
            rack: self.rack.rest(),
            tlp: self.tlp.rest(),
            guarded: self.guard >= Some(una),
        }
    }

    pub(crate) fn woken(detection: LossDetection, rest: &RestingRecovery, una: SeqNum) -> Self {
        Self {
            guard: rest.guarded.then_some(una),
            rack: Rack::woken(&rest.rack, una),
            tlp: Tlp::woken(rest.tlp, una),
            ..Self::new(detection)
        }
    }

    pub(crate) const fn new(detection: LossDetection) -> Self {
        Self {
            detection,
            phase: Phase::Open,
            dup_acks: 0,
            force: false,
            guard: None,
            rack: Rack::new(),
            tlp: Tlp::new(),
            prr: None,
            undo: None,
            frto: Frto::Off,
            lost_again: false,
            rescued: false,
            undone: 0,
        }
    }

    /// Where the sender stands.
    pub(crate) const fn phase(&self) -> Phase {
        self.phase
    }

    /// How losses are found.
    pub(crate) const fn detection(&self) -> LossDetection {
        self.detection
    }

    /// False alarms so far, modulo 2⁸.
    pub(crate) const fn undone(&self) -> u8 {
        self.undone
    }

    /// The largest reordering seen, in segments; DupThresh at least.
    pub(crate) const fn reordering(&self) -> u32 {
        self.rack.reordering()
    }

    /// Whether the controller's window stands still (RFC 6675 §5: no growth while recovering).
    pub(crate) const fn in_recovery(&self) -> bool {
        matches!(self.phase, Phase::Recovery(_))
    }

    /// The congestion window in force, where the controller's is `cwnd`.
    pub(crate) const fn window(&self, cwnd: u32) -> u32 {
        match (self.phase, &self.prr) {
            (Phase::Recovery(_), Some(prr)) => prr.window(),
            _ => cwnd,
        }
    }

    /// Whether something is to leave that pacing does not hold back: a probe of the tail, or the
    /// first segment of a repair.
    pub(crate) const fn is_urgent(&self) -> bool {
        self.force || self.tlp.is_owed()
    }

    /// Whether one retransmission may leave now even if cwnd is full.
    pub(crate) const fn is_forced(&self) -> bool {
        self.force
    }

    /// What a duplicate ACK without SACK stands for, of a segment at most: outside recovery the
    /// first three count (RFC 3042), inside no more than was in flight (RFC 9937 §6.2).
    pub(crate) fn dup_ack_credit(&self, mss: u32) -> u32 {
        match (self.phase, &self.prr) {
            (Phase::Open, _) if self.dup_acks >= DUP_THRESH => 0,
            (Phase::Recovery(_), Some(prr)) => prr.undelivered().min(mss),
            _ => mss,
        }
    }

    /// Digests an ACK.
    pub(crate) fn on_ack(
        &mut self,
        now: Instant,
        ack: &Ack<'_>,
        flight: &mut Flight,
        rtt: &RttEstimator,
    ) -> Response {
        if ack.advanced {
            self.dup_acks = 0;
        }
        self.digest_dsack(ack);
        let repaired = self.tlp.on_ack(ack) && self.phase == Phase::Open;
        let undo = self.is_false_alarm(ack);
        if undo {
            self.take_back(flight);
        }
        let again = self.in_recovery() && self.lost_again;
        let left = self.leave(ack.una);
        let overdue = self.detect(now, ack, flight, rtt);
        // What was found lost meanwhile belongs to the next window: it is reduced, too (CC-13).
        let next_window = left && ack.sack && flight.has_loss();
        let begun = self.begin_if(overdue.lost > 0 || next_window, ack.una..ack.nxt, flight);
        self.lost_again |= self.in_recovery() && overdue.lost_again;
        let again = left && again && !begun;
        Response {
            undo,
            reduce: begun || repaired || again,
            again,
            lost: overdue.lost > 0,
        }
    }

    /// Digests an ACK of what was sent once, while nothing [is under way](Self::is_calm) or [in
    /// doubt](Self::is_in_doubt).
    pub(crate) fn on_plain_ack(&mut self, outcome: &AckOutcome, mss: u32, sack: bool) {
        self.dup_acks = 0;
        if sack && self.detection == LossDetection::Rack {
            self.rack.on_delivered(outcome, mss);
        }
    }

    /// Whether an ACK may show that the last repair was needless.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.undo.as_ref().is_some_and(Undo::is_open)
    }

    /// The reordering window of something closed without an ACK (RFC 8985 §6.3).
    pub(crate) fn on_reorder_timeout(
        &mut self,
        now: Instant,
        span: Range<SeqNum>,
        flight: &mut Flight,
        rtt: &RttEstimator,
    ) -> Response {
        let recovering = self.phase != Phase::Open;
        let overdue = self.rack.detect(now, recovering, flight, rtt);
        let begun = self.begin_if(overdue.lost > 0, span, flight);
        self.lost_again |= self.in_recovery() && overdue.lost_again;
        Response {
            reduce: begun,
            lost: overdue.lost > 0,
            ..Response::default()
        }
    }

    /// Sets the window of the episode, once the controller has had its say.
    pub(crate) fn update_window(&mut self, begun: bool, mut ack: PrrAck, flight: &Flight) {
        if !self.in_recovery() || ack.sack && self.detection == LossDetection::Rfc6675 {
            return;
        }
        if begun {
            let recover_fs = flight.outstanding() - flight.sacked() + ack.newly;
            self.prr = Some(Prr::new(recover_fs, flight.resent()));
        }
        if let Some(prr) = &mut self.prr {
            if !ack.sack {
                ack.delivered = ack.delivered.min(prr.undelivered());
            }
            prr.on_ack(&ack);
        }
    }

    /// When [`Recovery::on_reorder_timeout`] is due.
    pub(crate) const fn reorder_deadline(&self) -> Option<Instant> {
        self.rack.deadline()
    }

    /// Whether the tail may be probed (RFC 8985 §7.2): not while losses are being repaired or
    /// anything is SACKed, and once only.
    pub(crate) fn may_probe(&self, flight: &Flight) -> bool {
        self.detection == LossDetection::Rack
            && self.phase == Phase::Open
            && self.tlp.is_idle()
            && flight.sacked() == 0
    }

    /// The probe timeout fired.
    pub(crate) const fn on_probe_timeout(&mut self) {
        self.tlp.on_timeout();
    }

    /// Whether a probe of the tail is to leave, whatever cwnd says.
    pub(crate) const fn owes_probe(&self) -> bool {
        self.tlp.is_owed()
    }

    /// There is nothing to probe with.
    pub(crate) const fn drop_probe(&mut self) {
        self.tlp.give_up();
    }

    /// After a timeout that may be spurious: segments of new data that leave before anything that
    /// is taken for lost (RFC 5682 §2.1 step 2b).
    pub(crate) const fn forward_first(&self) -> Option<u8> {
        self.frto.forward()
    }

    /// There is no new data to tell by.
    pub(crate) const fn end_frto(&mut self) {
        self.frto = Frto::Off;
    }

    /// Whether holes below SACKed data are filled though nobody has shown them to be lost, when
    /// there is nothing else to send (RFC 6675 §4 NextSeg (3)); then one rescue (4).
    pub(crate) fn fills_holes(&self) -> bool {
        self.detection == LossDetection::Rfc6675 && self.in_recovery()
    }

    /// Whether this episode's rescue retransmission is still to be had.
    pub(crate) const fn may_rescue(&self) -> bool {
        !self.rescued
    }

    /// The rescue retransmission left.
    pub(crate) const fn on_rescue(&mut self) {
        self.rescued = true;
    }

    /// `range` left, `again` or new, in segments of `mss`; SND.NXT is `nxt` with it.
    pub(crate) fn on_sent(
        &mut self,
        now: Instant,
        range: &Range<SeqNum>,
        nxt: SeqNum,
        again: bool,
        mss: u32,
    ) {
        let len = range.end - range.start;
        if let Some(prr) = &mut self.prr {
            prr.on_sent(len);
        }
        if again {
            self.force = false;
            if self.phase != Phase::Open
                && let Some(undo) = &mut self.undo
            {
                undo.on_retransmit(now, range);
            }
        } else {
            self.frto.on_new_data(len.div_ceil(mss));
        }
        self.tlp.on_sent(nxt, again);
    }

    /// The retransmission timer fired (RFC 6298 §5.4, RFC 6675 §5.1, RFC 8985 §6.3), `repeated` if
    /// for the same segment as last time.
    pub(crate) fn on_rto(
        &mut self,
        now: Instant,
        span: Range<SeqNum>,
        repeated: bool,
        flight: &mut Flight,
        rtt: &RttEstimator,
    ) {
        let first = self.phase == Phase::Open;
        let limit = match self.detection {
            LossDetection::Rack => self.rack.timeout_limit(now, !first, flight, rtt),
            LossDetection::Rfc6675 => None,
        };
        flight.mark_lost_on_timeout(limit);
        self.frto = if first { Frto::Repeated } else { Frto::Off };
        match self.phase {
            Phase::Open => self.undo = Some(Undo::new(Cause::Timeout, span.clone())),
            Phase::Loss(_) if repeated => {}
            Phase::Recovery(_) | Phase::Loss(_) => self.undo = None,
        }
        self.phase = Phase::Loss(span.end);
        self.guard = Some(span.end);
        self.dup_acks = 0;
        self.tlp = Tlp::new();
        self.prr = None;
        self.force = true;
    }

    /// Whether nothing is being repaired, probed or waited for.
    pub(crate) fn is_calm(&self) -> bool {
        self.phase == Phase::Open && self.tlp.is_idle() && self.rack.deadline().is_none()
    }

    /// Whether losses are being repaired.
    pub(crate) fn is_repairing(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Whether the tail was probed, and nobody has answered.
    pub(crate) const fn has_probed_tail(&self) -> bool {
        !self.tlp.is_idle()
    }

    /// What was lost is no sign of congestion: its repair goes on without an episode.
    pub(crate) fn cancel_episode(&mut self) {
        self.phase = Phase::Open;
        (self.undo, self.prr) = (None, None);
    }

    /// A reduction for another reason: what was before it is not to come back.
    pub(crate) fn forget_episode(&mut self) {
        self.undo = None;
    }

    fn digest_dsack(&mut self, ack: &Ack<'_>) {
        let dsack = ack.outcome.dsack.as_ref();
        let dsack = dsack.filter(|_| !self.tlp.is_answered_by_dsack(ack));
        self.rack.on_dsack(dsack.is_some(), ack.una, ack.nxt);
        if let (Some(dsack), Some(undo)) = (dsack, &self.undo)
            && undo.shows_reordering(dsack)
        {
            self.rack.on_late_original();
        }
    }

    fn is_false_alarm(&mut self, ack: &Ack<'_>) -> bool {
        let by_frto = match self.phase {
            Phase::Loss(point) => self.frto.on_ack(ack, point),
            _ => false,
        };
        self.undo.as_mut().is_some_and(|undo| undo.on_ack(ack)) || by_frto
    }

    fn take_back(&mut self, flight: &mut Flight) {
        if self.undo.take().is_some_and(|undo| undo.began_by_loss()) {
            self.rack.on_late_original();
        }
        flight.restore();
        self.phase = Phase::Open;
        self.prr = None;
        self.force = false;
        self.frto = Frto::Off;
        self.undone = self.undone.wrapping_add(1);
    }

    fn leave(&mut self, una: SeqNum) -> bool {
        match self.phase {
            Phase::Recovery(point) | Phase::Loss(point) if una >= point => {
                self.phase = Phase::Open;
                self.prr = None;
                self.force = false;
                self.frto = Frto::Off;
                self.rack.on_recovered();
                true
            }
            _ => false,
        }
    }

    fn begin_if(&mut self, lost: bool, span: Range<SeqNum>, flight: &Flight) -> bool {
        if !lost || self.phase != Phase::Open {
            return false;
        }
        self.phase = Phase::Recovery(span.end);
        self.lost_again = false;
        self.guard = Some(span.end);
        self.force = true;
        self.rescued = false;
        self.tlp = Tlp::new();
        let mut undo = Undo::new(Cause::Loss, span);
        if flight.resent() > 0 {
            undo.rule_out(); // what the last episode repaired is still on its way
        }
        self.undo = Some(undo);
        true
    }

    fn detect(
        &mut self,
        now: Instant,
        ack: &Ack<'_>,
        flight: &mut Flight,
        rtt: &RttEstimator,
    ) -> Overdue {
        let recovering = self.phase != Phase::Open;
        let lost = match self.detection {
            _ if !ack.sack => self.detect_by_duplicates(ack, flight),
            LossDetection::Rfc6675 => {
                flight.mark_lost_by_sack(ack.mss) + self.detect_by_sacked_acks(ack, flight)
            }
            LossDetection::Rack => {
                self.rack.on_delivered(ack.outcome, ack.mss);
                if recovering || flight.sacked() > 0 {
                    return self.rack.detect(now, recovering, flight, rtt);
                }
                self.rack.stop(); // nothing arrived out of turn, so nothing is overdue
                0
            }
        };
        Overdue {
            lost,
            ..Overdue::default()
        }
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
            let guarded = self.guard.is_some_and(|guard| ack.una <= guard);
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
