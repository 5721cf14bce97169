//! What a connection tells its congestion controller, and asks of it.

use crate::config::{Config, CongestionAlgorithm, Pacing};
use crate::congestion::{
    AckSample, CongestionController, CongestionEvent, CongestionKind, Controller, SentSample,
    Setup, initial_window,
};
use crate::send::{AckOutcome, RateSampler};
use crate::time::{Duration, Instant};

use super::Connection;
use super::pacing::UNPACED;

impl Connection {
    /// Bytes that the congestion window lets out now.
    pub(super) fn cwnd_room(&self) -> u32 {
        self.cwnd().saturating_sub(self.snd.flight.in_flight())
    }

    /// The congestion window in force: the controller's, or that of a recovery (RFC 9937).
    pub(super) fn cwnd(&self) -> u32 {
        let cwnd = self.cc.cwnd();
        if self.cc.uses_prr() {
            self.recovery.window(cwnd)
        } else {
            cwnd
        }
    }

    /// An ACK moved SND.UNA; there were `in_flight` bytes in flight before it.
    pub(super) fn grow_window(
        &mut self,
        now: Instant,
        outcome: &AckOutcome,
        in_flight: u32,
        in_recovery: bool,
        rtt: Option<Duration>,
    ) {
        let srtt = self.rtt.srtt();
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        let acked = outcome.delivered;
        let used = self.snd.usage.on_ack(now, una, nxt, acked, srtt);
        if in_recovery {
            self.snd.usage.on_recovery();
        }
        self.cc.on_ack(&AckSample {
            now,
            acked,
            in_flight,
            window_used: used.window_used,
            cwnd_limited: used.cwnd_limited,
            round_start: used.round_start,
            rtt,
            srtt,
            in_recovery,
        });
    }

    /// A congestion signal. FlightSize is what is outstanding (RFC 5681 §3.1 (4)) without what
    /// left beyond cwnd for duplicate ACKs (limited transmit, §3.2).
    pub(super) fn on_congestion(&mut self, now: Instant, kind: CongestionKind) {
        if kind == CongestionKind::Loss && self.ecn.absorbs_loss(self.snd.una) {
            return;
        }
        let cwnd = self.cc.cwnd();
        let flight_size = self.snd.flight.outstanding().min(cwnd);
        let in_flight = match kind {
            CongestionKind::Timeout => flight_size,
            CongestionKind::Loss | CongestionKind::Ecn => {
                self.snd.usage.loss_base(flight_size, cwnd)
            }
        };
        self.ecn.on_reduced(self.snd.nxt);
        if kind == CongestionKind::Ecn {
            self.recovery.forget_episode();
        }
        self.cc.on_congestion(&CongestionEvent {
            now,
            kind,
            in_flight,
        });
    }

    /// `bytes` leave, new or again.
    pub(super) fn note_sent(&mut self, now: Instant, bytes: u32) {
        self.snd.last_sent = Some(now);
        let in_flight = self.snd.flight.in_flight();
        let mut sent = SentSample::new(now, bytes, in_flight);
        let sampler = self.snd.flight.sampler();
        sent.app_limited = sampler.is_some_and(RateSampler::is_app_limited);
        self.cc.on_sent(&sent);
    }

    /// New data is in flight: whether it fills the window.
    pub(super) fn note_window_use(&mut self) {
        let in_flight = self.snd.flight.in_flight();
        let full = self.cwnd_room() < self.snd.mss;
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        self.snd.usage.on_sent(una, nxt, in_flight, full);
    }

    /// A window that was not used says nothing of the path now: after an idle RTO it is the
    /// initial one again (RFC 5681 §4.1, CC-11), after five minutes at less than half of it half
    /// (RFC 7661 §4.4.3, RV-2).
    pub(super) fn validate_window(&mut self, now: Instant) {
        if self.snd.unsent() == 0 || !self.cc.validates_window() {
            return;
        }
        let restart = initial_window(self.snd.mss);
        let (cwnd, ssthresh) = (self.cc.cwnd(), self.cc.ssthresh());
        let idle = self.snd.flight.outstanding() == 0
            && self
                .snd
                .last_sent
                .is_some_and(|at| now > self.rtt.rto_after(at));
        if idle {
            self.snd.last_sent = None;
            (self.unpaced, self.burst_left) = (UNPACED, 0); // what was left was of another time
            self.cc.set_window(cwnd.min(restart), ssthresh);
        } else if self.snd.usage.expired(now, cwnd) {
            let half = (cwnd / 2).max(restart).min(cwnd);
            self.cc.set_window(half, ssthresh.max(cwnd / 4 * 3));
        }
    }

    /// Another algorithm goes on with the window and the threshold that there are.
    pub(super) fn change_controller(
        &mut self,
        now: Instant,
        config: &Config,
        algorithm: CongestionAlgorithm,
    ) {
        let mut setup = Setup::new(self.snd.mss, self.cc.cwnd());
        // BBR's is its window, which may be one segment (RFC 5681 (4)).
        setup.ssthresh = self.cc.ssthresh().max(2 * self.snd.mss);
        (setup.hystart, setup.super_segments) = (config.hystart, config.tso);
        (setup.now, setup.srtt, setup.sack) = (now, self.rtt.srtt(), self.sack);
        setup.paced = config.pacing != Pacing::Off;
        setup.seed = u64::from(self.snd.nxt.wire().0) << 32 | self.bytes_acked;
        self.cc = Controller::new(algorithm, &setup);
        self.snd
            .flight
            .sample_rate(now, self.cc.wants_rate_samples());
    }
}
