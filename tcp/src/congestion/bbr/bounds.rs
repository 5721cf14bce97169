//! What losses and marks say: how much the path takes for now (short term), and how much it took
//! when the flow last probed for more (long term).

use super::filters::{NO_BOUND, NO_RATE_BOUND, percent, share};
use super::{Bbr, DeliverySample, LostSample, RateSample, State};
use crate::congestion::MAX_CWND;
use crate::time::Instant;

/// BBR.LossThresh: losses of a round that are too many when probing, in percent.
const LOSS_THRESH: u32 = 2;

/// BBR.Beta: what a round with losses leaves at least, in percent.
const BETA: u32 = 70;

/// BBR.Headroom: what is left to others of `inflight_longterm`, in percent.
const HEADROOM: u32 = 15;

/// The bounds themselves: bytes, and bytes per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bw_shortterm: u64,
    pub(super) inflight_shortterm: u32,
    pub(super) inflight_longterm: u32,
}

impl Bounds {
    pub(super) const NONE: Self = Self {
        bw_shortterm: NO_RATE_BOUND,
        inflight_shortterm: NO_BOUND,
        inflight_longterm: NO_BOUND,
    };

    /// ResetShortTermModel.
    pub(super) const fn reset_shortterm(&mut self) {
        self.bw_shortterm = NO_RATE_BOUND;
        self.inflight_shortterm = NO_BOUND;
    }

    /// Each the looser one of both.
    fn loosen(&mut self, other: &Self) {
        self.bw_shortterm = self.bw_shortterm.max(other.bw_shortterm);
        self.inflight_shortterm = self.inflight_shortterm.max(other.inflight_shortterm);
        self.inflight_longterm = self.inflight_longterm.max(other.inflight_longterm);
    }
}

/// What the last round delivered, and whether it lost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signals {
    pub(super) bw_latest: u64,
    pub(super) inflight_latest: u32,
    loss_round_delivered: u64,
    /// This ACK ends a round that began with a loss.
    pub(super) loss_round_start: bool,
    is_loss_in_round: bool,
    /// Ranges lost in this round.
    pub(super) loss_events: u8,
    /// The peer echoes a mark (RFC 3168), and it was not answered yet.
    pub(super) ce: bool,
}

impl Signals {
    /// ResetCongestionSignals.
    pub(super) const fn reset(&mut self) {
        (self.bw_latest, self.inflight_latest) = (0, 0);
        (self.is_loss_in_round, self.loss_events) = (false, 0);
    }
}

/// What comes back when losses turn out to have been none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Undo {
    /// The state that the losses ended: `Startup` or `ProbeBW_UP`.
    pub(super) state: Option<State>,
    bounds: Option<Bounds>,
    /// The episode is on: later losses belong to it.
    open: bool,
}

impl Undo {
    pub(super) const NONE: Self = Self {
        state: None,
        bounds: None,
        open: false,
    };
}

impl Bbr {
    /// UpdateLatestDeliverySignals.
    pub(super) fn update_latest_delivery_signals(&mut self, rate: &RateSample) {
        let signals = &mut self.signals;
        signals.bw_latest = signals.bw_latest.max(rate.delivery_rate);
        signals.inflight_latest = signals.inflight_latest.max(delivered(rate));
        signals.loss_round_start = rate.prior_delivered >= signals.loss_round_delivered;
        if signals.loss_round_start {
            signals.loss_round_delivered = self.delivered;
        }
    }

    /// AdvanceLatestDeliverySignals.
    pub(super) fn advance_latest_delivery_signals(&mut self, rate: &RateSample) {
        let signals = &mut self.signals;
        if signals.loss_round_start {
            signals.bw_latest = rate.delivery_rate;
            signals.inflight_latest = delivered(rate);
            signals.loss_events = 0;
        }
        signals.ce = false;
    }

    /// UpdateCongestionSignals: answers the losses of a round when it is over.
    pub(super) fn update_congestion_signals(&mut self, rate: &RateSample) {
        self.update_max_bw(rate);
        if !self.signals.loss_round_start {
            return;
        }
        if self.signals.is_loss_in_round && !self.state.is_probing() {
            self.lower_shortterm_bounds();
        }
        self.signals.is_loss_in_round = false;
    }

    /// InitLowerBounds and LossLowerBounds: what was delivered, and at least seven tenths.
    pub(super) fn lower_shortterm_bounds(&mut self) {
        let Bounds {
            bw_shortterm: bw,
            inflight_shortterm: inflight,
            ..
        } = &mut self.bounds;
        if *bw == NO_RATE_BOUND {
            *bw = self.path.max_bw.max();
        }
        if *inflight == NO_BOUND {
            *inflight = self.cwnd;
        }
        *bw = percent(*bw, BETA).max(self.signals.bw_latest);
        *inflight = share(*inflight, BETA).max(self.signals.inflight_latest);
    }

    /// IsInflightTooHigh: `lost` of `in_flight` bytes.
    pub(super) const fn is_inflight_too_high(&self, in_flight: u32, lost: u64) -> bool {
        lost.saturating_mul(100) > in_flight as u64 * LOSS_THRESH as u64 || lost > 0 && !self.sack
    }

    /// HandleLostPacket: while it probes the flow notes the volume at which losses were too many.
    pub(super) fn process_loss(&mut self, lost: &LostSample) {
        self.delivered = self.delivered.max(lost.delivered);
        self.note_loss();
        if !lost.contiguous {
            self.signals.loss_events = self.signals.loss_events.saturating_add(1);
        }
        if self.timed_out {
            self.cwnd = lost.in_flight.saturating_add(self.mss).min(MAX_CWND);
        }
        if self.cycle.is_probe_sample && self.is_inflight_too_high(lost.tx_in_flight, lost.lost) {
            let in_flight = inflight_at_loss(lost);
            self.handle_inflight_too_high(lost.now, in_flight, lost.is_app_limited);
        }
    }

    /// The peer echoed a mark: the draft leaves the answer open but for "as congestion", so it is
    /// that to losses above the threshold.
    pub(super) fn process_mark(&mut self, ack: &DeliverySample, rate: &RateSample) {
        if self.signals.ce && self.cycle.is_probe_sample {
            let app_limited = self.is_app_limited(rate);
            self.handle_inflight_too_high(ack.now, rate.tx_in_flight, app_limited);
        }
    }

    /// NoteLoss: the round of a loss ends when something is delivered that left after it.
    pub(super) fn note_loss(&mut self) {
        self.save_undo();
        if !self.signals.is_loss_in_round {
            self.signals.loss_round_delivered = self.delivered;
        }
        self.signals.is_loss_in_round = true;
    }

    /// HandleInflightTooHigh.
    fn handle_inflight_too_high(&mut self, now: Instant, in_flight: u32, app_limited: bool) {
        self.cycle.prev_probe_too_high = true;
        self.cycle.is_probe_sample = false; // one answer per probe
        if !app_limited {
            let least = share(self.target_inflight(), BETA);
            self.bounds.inflight_longterm = in_flight.max(least);
        }
        if self.state == State::ProbeBwUp {
            self.undo.state = Some(State::ProbeBwUp);
            self.start_probe_bw_down(now);
        }
    }

    /// InflightWithHeadroom: what leaves others some room.
    pub(super) fn inflight_with_headroom(&self) -> u32 {
        let longterm = self.bounds.inflight_longterm;
        if longterm == NO_BOUND {
            return NO_BOUND;
        }
        let headroom = share(longterm, HEADROOM).max(self.mss);
        longterm.saturating_sub(headroom).max(self.min_pipe_cwnd())
    }

    /// SaveStateUponLoss, at the first loss of an episode.
    pub(super) fn save_undo(&mut self) {
        if !self.undo.open {
            self.undo = Undo {
                state: None,
                bounds: Some(self.bounds),
                open: true,
            };
        }
    }

    /// The episode is over: the next loss begins another one.
    pub(super) const fn close_undo(&mut self) {
        self.undo.open = false;
    }

    /// HandleSpuriousLossDetection, but for the window.
    pub(super) fn restore_before_loss(&mut self) {
        self.signals.is_loss_in_round = false;
        self.full_pipe.restart(0);
        let undo = core::mem::replace(&mut self.undo, Undo::NONE);
        if let Some(bounds) = undo.bounds {
            self.bounds.loosen(&bounds);
        }
        let state = undo.state;
        if state == Some(State::Startup) && self.state != State::Startup {
            self.full_pipe.reached = false;
        }
        if self.state == State::ProbeRtt {
            return;
        }
        match state {
            Some(State::Startup) => self.state = State::Startup,
            Some(State::ProbeBwUp) if self.state != State::ProbeBwUp => {
                self.start_probe_bw_refill();
            }
            _ => {}
        }
    }
}

/// RS.delivered, as a volume.
fn delivered(rate: &RateSample) -> u32 {
    rate.delivered.min(MAX_CWND.into()) as u32
}

/// InflightAtLoss: how much of what was in flight when the lost range left had passed the
/// threshold. The range may be a burst of many segments, so the bound may lie inside of it.
fn inflight_at_loss(lost: &LostSample) -> u32 {
    let before = lost.tx_in_flight.saturating_sub(lost.bytes);
    let lost_before = lost.lost.saturating_sub(lost.bytes.into());
    let allowed = percent(before.into(), LOSS_THRESH);
    let prefix = allowed.saturating_sub(lost_before) * 100 / u64::from(100 - LOSS_THRESH);
    before.saturating_add(prefix as u32).min(MAX_CWND)
}
