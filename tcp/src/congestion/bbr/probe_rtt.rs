//! `ProbeRTT`: half a BDP in flight for 200 ms, so that the round trip without a queue shows.

use super::filters::share;
use super::{Bbr, DeliverySample, State};
use crate::time::{Duration, Instant};

/// BBR.ProbeRTTDuration.
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);

/// Where `ProbeRTT` is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProbeRtt {
    /// When it may end; not set before so little is in flight.
    done_stamp: Option<Instant>,
    round_done: bool,
    /// C.delivered from its first ACK on to the last thing sent in it: what left between these is
    /// no measure of the path's rate.
    held: Option<(u64, u64)>,
}

impl ProbeRtt {
    /// What was sent when so much had been delivered was held back.
    pub(super) fn held_back(&self, prior_delivered: u64) -> bool {
        self.held
            .is_some_and(|(from, to)| (from..=to).contains(&prior_delivered))
    }

    /// MarkConnectionAppLimited.
    const fn hold(&mut self, delivered: u64, in_flight: u32) {
        let from = match self.held {
            Some((from, _)) => from,
            None => delivered,
        };
        self.held = Some((from, delivered + in_flight as u64));
    }
}

impl Bbr {
    /// CheckProbeRTT.
    pub(super) fn check_probe_rtt(&mut self, ack: &DeliverySample) {
        if self.state != State::ProbeRtt && self.path.probe_rtt_expired && !self.idle_restart {
            self.save_cwnd();
            self.state = State::ProbeRtt;
            self.probe_rtt = ProbeRtt::default();
            self.stop_probing();
        }
        if self.state == State::ProbeRtt {
            self.handle_probe_rtt(ack);
        }
        self.idle_restart = false;
    }

    /// HandleProbeRTT.
    fn handle_probe_rtt(&mut self, ack: &DeliverySample) {
        self.probe_rtt.hold(self.delivered, ack.in_flight);
        if self.probe_rtt.done_stamp.is_none() {
            if ack.in_flight <= self.probe_rtt_cwnd() {
                self.probe_rtt.done_stamp = Some(ack.now + PROBE_RTT_DURATION);
                self.probe_rtt.round_done = false;
                self.rounds.begin(self.delivered);
            }
            return;
        }
        self.probe_rtt.round_done |= self.rounds.start;
        if self.probe_rtt.round_done {
            self.check_probe_rtt_done(ack.now);
        }
    }

    /// CheckProbeRTTDone.
    pub(super) fn check_probe_rtt_done(&mut self, now: Instant) {
        if self.probe_rtt.done_stamp.is_some_and(|done| now > done) {
            self.path.probe_rtt_min_stamp = Some(now); // the next one, from here
            self.probe_rtt.done_stamp = None;
            self.restore_cwnd();
            self.exit_probe_rtt(now);
        }
    }

    /// ExitProbeRTT.
    fn exit_probe_rtt(&mut self, now: Instant) {
        self.bounds.reset_shortterm();
        if self.full_pipe.reached {
            self.start_probe_bw_down(now);
            self.state = State::ProbeBwCruise; // the queue is gone already
        } else {
            self.state = State::Startup;
        }
    }

    /// ProbeRTTCwnd.
    pub(super) fn probe_rtt_cwnd(&self) -> u32 {
        share(self.bdp(State::ProbeRtt.cwnd_gain()), 100).max(self.min_pipe_cwnd())
    }
}
