//! BBR version 3 (draft-ietf-ccwg-bbr): the window and the rate follow a model of the path — how
//! fast it delivers and how long its round trip is without a queue — not its losses.
//!
//! Names are the draft's. `mod` is the state machine's frame; [`model`] measures the path,
//! [`startup`], [`probe_bw`] and [`probe_rtt`] are the states, [`bounds`] answers losses, and
//! [`control`] sets window, rate and burst. Integers only; the one bit of chance, when to probe
//! again, comes from the seed.

mod bounds;
mod control;
mod filters;
mod model;
mod probe_bw;
mod probe_rtt;
mod startup;
#[cfg(test)]
mod tests;

use super::{
    AckSample, CongestionController, CongestionEvent, CongestionKind, DeliverySample, LostSample,
    RateSample, SentSample, Setup,
};
use bounds::{Bounds, Signals, Undo};
use model::{Aggregation, Path, Rounds};
use probe_bw::{Cycle, Random};
use probe_rtt::ProbeRtt;
use startup::FullPipe;

/// Where the state machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Startup,
    Drain,
    ProbeBwDown,
    ProbeBwCruise,
    ProbeBwRefill,
    ProbeBwUp,
    ProbeRtt,
}

impl State {
    /// BBR.pacing_gain, in percent.
    const fn pacing_gain(self) -> u32 {
        match self {
            Self::Startup => 277, // 4 · ln 2
            Self::Drain => 50,
            Self::ProbeBwDown => 90,
            Self::ProbeBwUp => 125,
            Self::ProbeBwCruise | Self::ProbeBwRefill | Self::ProbeRtt => 100,
        }
    }

    /// BBR.cwnd_gain, in percent.
    const fn cwnd_gain(self) -> u32 {
        match self {
            Self::ProbeBwUp => 225,
            Self::ProbeRtt => 50,
            _ => 200,
        }
    }

    /// IsProbingBW.
    const fn is_probing(self) -> bool {
        matches!(self, Self::Startup | Self::ProbeBwRefill | Self::ProbeBwUp)
    }

    /// IsInAProbeBWState.
    const fn is_probe_bw(self) -> bool {
        matches!(
            self,
            Self::ProbeBwDown | Self::ProbeBwCruise | Self::ProbeBwRefill | Self::ProbeBwUp
        )
    }
}

/// BBR's window, rate and burst.
#[derive(Clone, Debug)]
pub struct Bbr {
    mss: u32,
    initial_cwnd: u32,
    /// The connection sees more than one loss per round trip.
    sack: bool,
    random: Random,
    state: State,
    rounds: Rounds,
    path: Path,
    aggregation: Aggregation,
    full_pipe: FullPipe,
    drain_start_round: u64,
    cycle: Cycle,
    probe_rtt: ProbeRtt,
    bounds: Bounds,
    signals: Signals,
    undo: Undo,
    /// C.delivered: all bytes that have arrived so far.
    delivered: u64,
    idle_restart: bool,
    /// Losses are being repaired.
    recovering: bool,
    /// By the retransmission timer, and nothing was acknowledged since.
    timed_out: bool,
    has_seen_rtt: bool,
    cwnd: u32,
    prior_cwnd: u32,
    /// Bytes per second.
    pacing_rate: u64,
    send_quantum: u32,
}

impl Bbr {
    /// A controller that begins where `setup` says.
    pub fn new(setup: &Setup) -> Self {
        let mut bbr = Self {
            mss: setup.mss,
            initial_cwnd: setup.cwnd,
            sack: setup.sack,
            random: Random(setup.seed),
            state: State::Startup,
            rounds: Rounds::default(),
            path: Path::new(setup.srtt),
            aggregation: Aggregation::default(),
            full_pipe: FullPipe::default(),
            drain_start_round: 0,
            cycle: Cycle::default(),
            probe_rtt: ProbeRtt::default(),
            bounds: Bounds::NONE,
            signals: Signals::default(),
            undo: Undo::NONE,
            delivered: 0,
            idle_restart: false,
            recovering: false,
            timed_out: false,
            has_seen_rtt: false,
            cwnd: setup.cwnd,
            prior_cwnd: 0,
            pacing_rate: 0,
            send_quantum: 0,
        };
        bbr.init_pacing_rate(setup.srtt);
        bbr.set_send_quantum();
        bbr
    }

    /// UpdateModelAndState.
    fn update_model_and_state(&mut self, ack: &DeliverySample, rate: &RateSample) {
        self.update_latest_delivery_signals(rate);
        self.update_congestion_signals(rate);
        self.update_ack_aggregation(ack);
        self.check_full_bw_reached(rate);
        self.check_startup_done(ack, rate);
        self.check_drain_done(ack);
        self.process_mark(ack, rate);
        self.update_probe_bw_phase(ack, rate);
        self.update_min_rtt(ack);
        self.check_probe_rtt(ack);
        self.advance_latest_delivery_signals(rate);
        self.bound_bw_for_model();
    }

    /// OnEnterFastRecovery, OnEnterRTO.
    fn enter_recovery(&mut self) {
        self.save_cwnd();
        self.save_undo();
        self.recovering = true;
    }

    /// UpdateControlParameters.
    fn update_control_parameters(&mut self, ack: &DeliverySample) {
        if !self.has_seen_rtt && ack.srtt.is_some() {
            self.init_pacing_rate(ack.srtt);
        }
        self.set_pacing_rate(self.state.pacing_gain());
        self.set_send_quantum();
        self.set_cwnd(ack);
    }
}

impl CongestionController for Bbr {
    fn wants_rate_samples(&self) -> bool {
        true
    }

    fn uses_prr(&self) -> bool {
        false
    }

    /// HandleRestartFromIdle: at the rate of the path, not in bursts.
    fn on_sent(&mut self, sent: &SentSample) {
        if sent.in_flight > 0 || !sent.app_limited {
            return;
        }
        self.idle_restart = true;
        self.aggregation.interval_start = Some(sent.now);
        if self.state.is_probe_bw() {
            self.set_pacing_rate(100);
        } else if self.state == State::ProbeRtt {
            self.check_probe_rtt_done(sent.now);
        }
    }

    /// All that an ACK says comes with [`on_delivered`](Self::on_delivered).
    fn on_ack(&mut self, _ack: &AckSample) {}

    /// UpdateOnACK.
    fn on_delivered(&mut self, sample: &DeliverySample) {
        self.delivered = sample.delivered;
        self.timed_out = false;
        if let Some(rate) = &sample.rate {
            self.update_model_and_state(sample, rate);
        }
        self.update_control_parameters(sample);
        if !sample.in_recovery {
            self.recovering = false;
            self.close_undo();
        }
    }

    fn on_lost(&mut self, lost: &LostSample) {
        self.process_loss(lost);
    }

    fn on_congestion(&mut self, event: &CongestionEvent) {
        match event.kind {
            CongestionKind::Ecn => {
                self.note_loss();
                self.signals.ce = true;
            }
            CongestionKind::Loss => self.enter_recovery(),
            CongestionKind::Timeout => {
                self.enter_recovery();
                self.timed_out = true;
                self.cwnd = self.mss; // and what is still in flight, once that is known
            }
        }
    }

    fn on_exit_recovery(&mut self) {
        self.recovering = false;
        self.restore_cwnd();
    }

    /// HandleSpuriousLossDetection.
    fn undo(&mut self) {
        self.restore_cwnd();
        self.recovering = false;
        self.restore_before_loss();
    }

    /// The window only: there is no threshold.
    fn set_window(&mut self, cwnd: u32, _ssthresh: u32) {
        self.cwnd = cwnd.max(self.mss);
    }

    /// After a pause BBR goes on at the path's rate, paced, so an unused window is no danger (the
    /// draft's "Restarting From Idle").
    fn validates_window(&self) -> bool {
        false
    }

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
        self.cwnd = self.cwnd.max(mss);
        self.set_send_quantum();
    }

    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    /// BBR has none; this tells whether `Startup` is over.
    fn ssthresh(&self) -> u32 {
        if self.full_pipe.reached {
            self.cwnd
        } else {
            u32::MAX
        }
    }

    fn pacing_rate(&self) -> Option<u64> {
        Some(self.pacing_rate)
    }

    fn send_quantum(&self) -> Option<u32> {
        Some(self.send_quantum)
    }
}
