//! `Startup` and `Drain`: twice the rate each round until the pipe is full, then the queue goes.

use super::filters::percent;
use super::{Bbr, DeliverySample, RateSample, State};

/// A round that brings no more than this has found the pipe full.
const FULL_BW_GROWTH_PERCENT: u32 = 125;

/// Rounds without growth that end the acceleration.
const FULL_BW_ROUNDS: u8 = 3;

/// BBRStartupFullLossCnt: lost ranges in a round that end `Startup`.
const STARTUP_FULL_LOSS_COUNT: u8 = 6;

/// Rounds that `Drain` lasts at most.
const DRAIN_ROUNDS: u64 = 3;

/// The search for the plateau of the delivery rate, in `Startup` and in `ProbeBW_UP`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FullPipe {
    /// The pipe has been full once.
    pub(super) reached: bool,
    /// It is, in this acceleration.
    pub(super) now: bool,
    /// BBR.full_bw: the rate that the next one is measured by.
    baseline: u64,
    rounds: u8,
}

impl FullPipe {
    /// ResetFullBW; the search begins at `baseline` bytes per second.
    pub(super) const fn restart(&mut self, baseline: u64) {
        (self.now, self.rounds, self.baseline) = (false, 0, baseline);
    }

    const fn on_round(&mut self, rate: u64) {
        if rate >= percent(self.baseline, FULL_BW_GROWTH_PERCENT) {
            self.restart(rate);
            return;
        }
        self.rounds += 1;
        if self.rounds >= FULL_BW_ROUNDS {
            (self.now, self.reached) = (true, true);
        }
    }
}

impl Bbr {
    /// CheckFullBWReached: looks once per round, and not where the application held back.
    pub(super) fn check_full_bw_reached(&mut self, rate: &RateSample) {
        if !self.full_pipe.now && self.rounds.start && !self.is_app_limited(rate) {
            self.full_pipe.on_round(rate.delivery_rate);
        }
    }

    /// CheckStartupDone.
    pub(super) fn check_startup_done(&mut self, ack: &DeliverySample, rate: &RateSample) {
        if self.state != State::Startup {
            return;
        }
        if !self.full_pipe.reached && self.is_startup_loss_high(ack, rate) {
            self.undo.state = Some(State::Startup);
            (self.full_pipe.now, self.full_pipe.reached) = (true, true);
            self.bounds.inflight_longterm = self.bdp(100).max(self.signals.inflight_latest);
        }
        if self.full_pipe.reached {
            self.state = State::Drain;
            self.drain_start_round = self.rounds.count;
        }
    }

    /// After a round of recovery: more than 2 % lost, and in six places at least, or a mark of
    /// congestion. Without SACK only one loss per round shows, so each counts.
    fn is_startup_loss_high(&self, ack: &DeliverySample, rate: &RateSample) -> bool {
        let signals = &self.signals;
        if signals.ce {
            return true;
        }
        if !ack.in_recovery {
            return false;
        }
        if !self.sack {
            return signals.loss_events > 0;
        }
        signals.loss_round_start
            && signals.loss_events >= STARTUP_FULL_LOSS_COUNT
            && self.is_inflight_too_high(rate.tx_in_flight, rate.lost)
    }

    /// CheckDrainDone.
    pub(super) fn check_drain_done(&mut self, ack: &DeliverySample) {
        if self.state == State::Drain
            && (ack.in_flight <= self.inflight(self.path.bw, 100)
                || self.rounds.count > self.drain_start_round + DRAIN_ROUNDS)
        {
            self.start_probe_bw_down(ack.now);
        }
    }
}
