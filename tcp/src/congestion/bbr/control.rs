//! What comes of the model: pacing rate, size of a burst, congestion window.

use super::filters::{NO_BOUND, percent, rate, volume};
use super::{Bbr, DeliverySample, State};
use crate::congestion::MAX_CWND;
use crate::time::Duration;

/// BBR.PacingMarginPercent: paced so much below the rate, that queues get shorter.
const PACING_MARGIN: u32 = 1;

/// The round trip as long as there is none.
const NOMINAL_RTT: Duration = Duration::from_millis(1);

/// What leaves at once is a millisecond of the rate, up to this.
const MAX_SEND_QUANTUM: u64 = 64 << 10;

/// BBR.MinPipeCwnd, in segments.
const MIN_PIPE_SEGMENTS: u32 = 4;

impl Bbr {
    /// InitPacingRate: the initial window in the first round trip, as fast as `Startup` is. A round
    /// trip of no time (a host's to itself, within one reading of the clock) says nothing.
    pub(super) fn init_pacing_rate(&mut self, srtt: Option<Duration>) {
        let srtt = srtt.filter(|srtt| !srtt.is_zero());
        let nominal = rate(self.initial_cwnd.into(), srtt.unwrap_or(NOMINAL_RTT));
        self.pacing_rate = percent(nominal, State::Startup.pacing_gain());
        self.has_seen_rtt = srtt.is_some();
    }

    /// SetPacingRateWithGain. Before the pipe was full the rate does not fall: what was seen may
    /// have been the application's.
    pub(super) fn set_pacing_rate(&mut self, gain: u32) {
        let bw = percent(self.path.bw, 100 - PACING_MARGIN);
        let rate = percent(bw, gain);
        if self.full_pipe.reached && rate > 0 || rate > self.pacing_rate {
            self.pacing_rate = rate;
        }
    }

    /// SetSendQuantum.
    pub(super) fn set_send_quantum(&mut self) {
        let millisecond = (self.pacing_rate / 1_000).min(MAX_SEND_QUANTUM) as u32;
        self.send_quantum = millisecond.max(2 * self.mss);
    }

    /// BBR.MinPipeCwnd: enough for delayed ACKs.
    pub(super) const fn min_pipe_cwnd(&self) -> u32 {
        MIN_PIPE_SEGMENTS * self.mss
    }

    /// BDPMultiple of BBR.bw; `gain` in percent.
    pub(super) fn bdp(&self, gain: u32) -> u32 {
        self.bdp_of(self.path.bw, gain)
    }

    fn bdp_of(&self, bw: u64, gain: u32) -> u32 {
        self.path.min_rtt.map_or(self.initial_cwnd, |min_rtt| {
            volume(percent(bw, gain), min_rtt)
        })
    }

    /// Inflight: `gain` times the BDP at `bw`, with what the hosts hold back.
    pub(super) fn inflight(&self, bw: u64, gain: u32) -> u32 {
        self.with_quantization(self.bdp_of(bw, gain))
    }

    /// QuantizationBudget: three bursts at least, as one each may wait in either host and one in
    /// the device.
    fn with_quantization(&self, inflight: u32) -> u32 {
        let inflight = inflight
            .max(3 * self.send_quantum)
            .max(self.min_pipe_cwnd());
        match self.state {
            State::ProbeBwUp => inflight + 2 * self.mss,
            _ => inflight,
        }
    }

    /// SetCwnd.
    pub(super) fn set_cwnd(&mut self, ack: &DeliverySample) {
        let bdp = self.bdp(self.state.cwnd_gain());
        let max_inflight = self.with_quantization(bdp + self.aggregation.extra_acked);
        let grown = self.cwnd.saturating_add(ack.newly_acked);
        if self.full_pipe.reached {
            self.cwnd = grown.min(max_inflight);
        } else if self.cwnd < max_inflight || self.delivered < self.initial_cwnd.into() {
            self.cwnd = grown;
        }
        self.cwnd = self.cwnd.clamp(self.min_pipe_cwnd(), MAX_CWND);
        if self.state == State::ProbeRtt {
            self.cwnd = self.cwnd.min(self.probe_rtt_cwnd());
        }
        self.bound_cwnd_for_model();
    }

    /// BoundCwndForModel.
    fn bound_cwnd_for_model(&mut self) {
        let longterm = match self.state {
            State::ProbeBwDown | State::ProbeBwRefill | State::ProbeBwUp => {
                self.bounds.inflight_longterm
            }
            State::ProbeBwCruise | State::ProbeRtt => self.inflight_with_headroom(),
            State::Startup | State::Drain => NO_BOUND,
        };
        let bound = longterm.min(self.bounds.inflight_shortterm);
        self.cwnd = self.cwnd.min(bound.max(self.min_pipe_cwnd()));
    }

    /// SaveCwnd: the last window that neither recovery nor `ProbeRTT` has cut.
    pub(super) fn save_cwnd(&mut self) {
        self.prior_cwnd = if self.recovering || self.state == State::ProbeRtt {
            self.prior_cwnd.max(self.cwnd)
        } else {
            self.cwnd
        };
    }

    /// RestoreCwnd.
    pub(super) fn restore_cwnd(&mut self) {
        self.cwnd = self.cwnd.max(self.prior_cwnd);
    }
}
