//! RACK (RFC 8985 §6): what was sent before something that has arrived is lost, once it has had
//! the time to arrive too. It sees the loss of a retransmission, and of all but the last segment.

use crate::send::{AckOutcome, DUP_THRESH, Delivered, Flight, Overdue, Patience};
use crate::seq::SeqNum;
use crate::time::{Duration, Instant, Span};

use super::RttEstimator;

/// Recoveries without a D-SACK until the reordering window is small again (RFC 8985 §6.2 step 4).
const PERSIST: u8 = 16;

/// The reordering timer fires this much late: an ACK on its way through this host beats it
/// (as TCP_TIMEOUT_MIN of Linux).
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// RACK's state.
#[derive(Debug)]
pub(crate) struct Rack {
    /// The delivered transmission that was sent last: RACK.xmit_ts, RACK.end_seq.
    newest: Option<Delivered>,
    /// RACK.rtt.
    rtt: Duration,
    /// RACK.reordering_seen.
    reordering_seen: bool,
    /// The largest distance over which it was seen, in segments.
    reordering: u32,
    /// RACK.dsack_round: no second look at D-SACKs before SND.UNA reaches this.
    dsack_round: Option<SeqNum>,
    /// RACK.reo_wnd_mult and RACK.reo_wnd_persist.
    multiplier: u32,
    persist: u8,
    /// When the reordering window of something closes (§6.2 step 5).
    deadline: Option<Instant>,
}

/// What lasts of it while nothing is in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestingRack {
    /// RACK.rtt, once something was delivered.
    rtt: Option<Span>,
    reordering: u32,
    multiplier: u16,
    persist: u8,
    reordering_seen: bool,
}

impl Rack {
    pub(super) fn rest(&self) -> RestingRack {
        RestingRack {
            rtt: self.newest.map(|_| Span::of(self.rtt)),
            reordering: self.reordering,
            multiplier: u16::try_from(self.multiplier).unwrap_or(u16::MAX),
            persist: self.persist,
            reordering_seen: self.reordering_seen,
        }
    }

    /// What was delivered last was sent before all that follows.
    pub(super) fn woken(rest: &RestingRack, una: SeqNum) -> Self {
        let rtt = rest.rtt.map(Span::duration);
        Self {
            newest: rtt.map(|rtt| Delivered {
                sent_at: Instant::ZERO,
                end: una,
                rtt,
                retransmitted: false,
            }),
            rtt: rtt.unwrap_or_default(),
            reordering_seen: rest.reordering_seen,
            reordering: rest.reordering,
            multiplier: rest.multiplier.into(),
            persist: rest.persist,
            ..Self::new()
        }
    }

    pub(crate) const fn new() -> Self {
        Self {
            newest: None,
            rtt: Duration::ZERO,
            reordering_seen: false,
            reordering: DUP_THRESH,
            dsack_round: None,
            multiplier: 1,
            persist: PERSIST,
            deadline: None,
        }
    }

    /// When [`Rack::detect`] should look again although nothing arrived.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The largest reordering seen, in segments; DupThresh at least.
    pub(crate) const fn reordering(&self) -> u32 {
        self.reordering
    }

    /// Nothing is left to wait for.
    pub(crate) const fn stop(&mut self) {
        self.deadline = None;
    }

    /// A retransmission has turned out to be needless: what it repaired was only late.
    pub(crate) const fn on_late_original(&mut self) {
        self.reordering_seen = true;
    }

    /// RFC 8985 §6.2 steps 2 and 3; the flight has sorted out what proves nothing.
    pub(crate) fn on_delivered(&mut self, outcome: &AckOutcome, mss: u32) {
        if let Some(delivered) = outcome.newest
            && self
                .newest
                .is_none_or(|newest| newest.order() <= delivered.order())
        {
            self.newest = Some(delivered);
        }
        self.rtt = outcome.rack_rtt.unwrap_or(self.rtt);
        self.reordering_seen |= outcome.reordered > 0;
        self.reordering = self.reordering.max(outcome.reordered.div_ceil(mss));
    }

    /// RFC 8985 §6.2 step 4: the window widens once per round trip with a D-SACK.
    pub(crate) fn on_dsack(&mut self, dsack: bool, una: SeqNum, nxt: SeqNum) {
        if self.dsack_round.is_some_and(|round| una >= round) {
            self.dsack_round = None;
        }
        if self.dsack_round.is_none() && dsack {
            self.dsack_round = Some(nxt);
            self.multiplier = self.multiplier.saturating_add(1);
            self.persist = PERSIST;
        }
    }

    /// A recovery has ended; after 16 without a D-SACK the window is small again.
    pub(crate) const fn on_recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.multiplier = 1;
        }
    }

    /// RACK.reo_wnd.
    fn window(&self, recovering: bool, flight: &Flight, rtt: &RttEstimator) -> Duration {
        let certain = recovering || flight.sacked_segments() >= DUP_THRESH;
        let Some(min) = rtt.min_rtt().filter(|_| self.reordering_seen || !certain) else {
            return Duration::ZERO;
        };
        (min / 4)
            .saturating_mul(self.multiplier)
            .min(rtt.srtt().unwrap_or(min))
    }

    /// RFC 8985 §6.2 step 5: judges what is overdue.
    pub(crate) fn detect(
        &mut self,
        now: Instant,
        recovering: bool,
        flight: &mut Flight,
        rtt: &RttEstimator,
    ) -> Overdue {
        self.deadline = None;
        let Some(newest) = self.newest else {
            return Overdue::default();
        };
        let window = self.window(recovering, flight, rtt);
        let settle = if self.reordering_seen {
            window
        } else {
            Duration::ZERO
        };
        let patience = Patience {
            rtt: self.rtt,
            window,
            settle,
            doubt: (rtt.min_rtt().unwrap_or(self.rtt) / 4).max(TIMER_SLACK),
        };
        let overdue = flight.mark_lost_by_time(now, newest, patience);
        self.deadline = overdue.deadline.map(|deadline| deadline + TIMER_SLACK);
        overdue
    }

    /// RFC 8985 §6.3: at a timeout, what was sent after this is not lost yet.
    pub(crate) fn timeout_limit(
        &self,
        now: Instant,
        recovering: bool,
        flight: &Flight,
        rtt: &RttEstimator,
    ) -> Option<Instant> {
        self.newest?;
        let patience = self.rtt + self.window(recovering, flight, rtt);
        Some(now.saturating_before(patience))
    }
}
