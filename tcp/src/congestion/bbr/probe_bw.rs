//! `ProbeBW`: slower to let the queue go, then as fast as the path delivers, then for one round to
//! refill the pipe, then faster to see whether there is more.

use super::filters::{NO_BOUND, share};
use super::{Bbr, DeliverySample, RateSample, State};
use crate::congestion::MAX_CWND;
use crate::time::{Duration, Instant};

/// Rounds after which a flow probes again at the latest, so that it is no slower than Reno.
const RENO_ROUNDS: u32 = 63;

/// The least time between probes; up to a second more, at random.
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// What the ACKs that come now say of the probe (`BBR.ack_phase`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum AckPhase {
    /// Nothing: no probe.
    #[default]
    Init,
    /// The pipe is being refilled.
    Refilling,
    /// The probe has begun; they are of what was sent before.
    ProbeStarting,
    /// They answer the probe.
    ProbeFeedback,
    /// The probe is over; they answer it still.
    ProbeStopping,
}

/// Where the cycle is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cycle {
    ack_phase: AckPhase,
    /// Samples answer a probe that losses may still end.
    pub(super) is_probe_sample: bool,
    pub(super) prev_probe_too_high: bool,
    prev_probe_precautionary: bool,
    pub(super) rounds_since_probe_up: u32,
    /// BBR.bw_probe_wait, from `began` on.
    wait: Duration,
    began: Option<Instant>,
    /// Bytes acknowledged since `inflight_longterm` grew, and how many make it grow by a segment.
    acked: u32,
    acked_per_segment: u32,
    up_rounds: u8,
}

/// A small generator of numbers (SplitMix64): the seed is all that it knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

impl Bbr {
    /// StartProbeBW_DOWN.
    pub(super) fn start_probe_bw_down(&mut self, now: Instant) {
        self.signals.reset();
        self.cycle.acked_per_segment = NO_BOUND;
        self.pick_probe_wait();
        self.cycle.began = Some(now);
        self.stop_probing();
        self.state = State::ProbeBwDown;
    }

    /// What comes from now on until the round is over still answers the last probe.
    pub(super) const fn stop_probing(&mut self) {
        self.cycle.ack_phase = AckPhase::ProbeStopping;
        self.rounds.begin(self.delivered);
    }

    /// StartProbeBW_REFILL.
    pub(super) const fn start_probe_bw_refill(&mut self) {
        self.bounds.reset_shortterm();
        (self.cycle.up_rounds, self.cycle.acked) = (0, 0);
        self.cycle.prev_probe_precautionary = false;
        self.cycle.ack_phase = AckPhase::Refilling;
        self.rounds.begin(self.delivered);
        self.state = State::ProbeBwRefill;
    }

    /// StartProbeBW_UP.
    fn start_probe_bw_up(&mut self, rate: &RateSample) {
        self.cycle.is_probe_sample = true;
        self.cycle.ack_phase = AckPhase::ProbeStarting;
        self.rounds.begin(self.delivered);
        self.full_pipe.restart(rate.delivery_rate);
        self.state = State::ProbeBwUp;
        self.raise_longterm_slope();
    }

    /// PickProbeWait: flows that share a link are not to probe in step.
    fn pick_probe_wait(&mut self) {
        let random = self.random.next();
        self.cycle.rounds_since_probe_up = (random & 1) as u32;
        self.cycle.wait = PROBE_WAIT + Duration::from_micros((random >> 1) % 1_000_000);
    }

    /// UpdateProbeBWCyclePhase.
    pub(super) fn update_probe_bw_phase(&mut self, ack: &DeliverySample, rate: &RateSample) {
        if !self.full_pipe.reached || self.adapt_longterm_model(ack, rate) {
            return;
        }
        let state = self.state;
        match state {
            State::ProbeBwDown | State::ProbeBwCruise if self.is_time_to_probe(ack.now) => {
                self.start_probe_bw_refill();
            }
            State::ProbeBwDown if self.is_time_to_cruise(ack) => {
                self.state = State::ProbeBwCruise;
            }
            State::ProbeBwRefill if self.rounds.start => self.start_probe_bw_up(rate),
            State::ProbeBwUp if self.is_time_to_go_down(ack, rate) => {
                self.cycle.prev_probe_too_high = false; // not yet
                self.start_probe_bw_down(ack.now);
            }
            _ => {}
        }
    }

    /// IsTimeToProbeBW.
    fn is_time_to_probe(&self, now: Instant) -> bool {
        let cycle = &self.cycle;
        let rounds = (self.target_inflight() / self.mss).min(RENO_ROUNDS);
        cycle.began.is_none_or(|began| now > began + cycle.wait)
            || cycle.rounds_since_probe_up >= rounds
    }

    /// IsTimeToCruise: the queue is gone, and there is room for others.
    fn is_time_to_cruise(&self, ack: &DeliverySample) -> bool {
        let bdp = self.inflight(self.path.max_bw.max(), 100);
        ack.in_flight <= self.inflight_with_headroom().min(bdp)
    }

    /// IsTimeToGoDown. What is in flight is looked at as it was before the ACK, and to a segment:
    /// after it, it is always below the window that the bound has set.
    fn is_time_to_go_down(&mut self, ack: &DeliverySample, rate: &RateSample) -> bool {
        let longterm = self.bounds.inflight_longterm;
        if self.cycle.prev_probe_too_high && ack.prior_in_flight.saturating_add(self.mss) > longterm
        {
            self.cycle.prev_probe_precautionary = true;
            return true;
        }
        if ack.cwnd_limited && self.cwnd >= longterm {
            self.full_pipe.restart(rate.delivery_rate); // it is the bound that limits the rate
            return false;
        }
        self.full_pipe.now
    }

    /// TargetInflight: the BDP, unless congestion cut the window.
    pub(super) fn target_inflight(&self) -> u32 {
        self.bdp(100).min(self.cwnd)
    }

    /// AdaptLongTermModel; true if it has decided where to go.
    fn adapt_longterm_model(&mut self, ack: &DeliverySample, rate: &RateSample) -> bool {
        if self.rounds.start {
            let phase = self.cycle.ack_phase;
            match phase {
                AckPhase::ProbeStarting => self.cycle.ack_phase = AckPhase::ProbeFeedback,
                AckPhase::ProbeStopping if self.on_probe_answered(rate) => return true,
                _ => {}
            }
        }
        if self.is_inflight_too_high(rate.tx_in_flight, rate.lost) {
            return false;
        }
        if self.bounds.inflight_longterm == NO_BOUND {
            return false;
        }
        let reached = rate.tx_in_flight.min(MAX_CWND);
        self.bounds.inflight_longterm = self.bounds.inflight_longterm.max(reached);
        if self.state == State::ProbeBwUp {
            self.raise_longterm(ack);
        }
        false
    }

    /// All of the probe is answered: a new cycle for the maximum of the rate. A probe that only
    /// looked whether the last bound still holds is followed by a real one at once.
    fn on_probe_answered(&mut self, rate: &RateSample) -> bool {
        self.cycle.is_probe_sample = false;
        self.cycle.ack_phase = AckPhase::Init;
        if !self.state.is_probe_bw() {
            return false;
        }
        if !self.is_app_limited(rate) {
            self.path.max_bw.advance();
        }
        let again = self.cycle.prev_probe_precautionary && !self.cycle.prev_probe_too_high;
        if again {
            self.start_probe_bw_refill();
        }
        again
    }

    /// RaiseInflightLongtermSlope: each round twice as fast.
    fn raise_longterm_slope(&mut self) {
        let growth = 1 << self.cycle.up_rounds;
        self.cycle.up_rounds = (self.cycle.up_rounds + 1).min(30);
        self.cycle.acked_per_segment = (self.cwnd / growth).max(self.mss);
    }

    /// ProbeInflightLongtermUpward: a segment more for so many bytes that came through.
    fn raise_longterm(&mut self, ack: &DeliverySample) {
        if !ack.cwnd_limited || self.cwnd < self.bounds.inflight_longterm {
            return; // the bound did not bind
        }
        let cycle = &mut self.cycle;
        cycle.acked = cycle.acked.saturating_add(ack.newly_acked);
        let segments = cycle.acked / cycle.acked_per_segment;
        cycle.acked %= cycle.acked_per_segment;
        let longterm = &mut self.bounds.inflight_longterm;
        *longterm = share(
            longterm.saturating_add(segments.saturating_mul(self.mss)),
            100,
        );
        if self.rounds.start {
            self.raise_longterm_slope();
        }
    }
}
