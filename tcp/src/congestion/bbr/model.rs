//! What the path is like: its rate, its round trip, how it gathers ACKs, and round trips counted.

use super::filters::{CycleMax, NO_RATE_BOUND, ROUNDS_KEPT, RoundMax, volume};
use super::{Bbr, DeliverySample, RateSample};
use crate::time::{Duration, Instant};

/// BBR.MinRTTFilterLen.
const MIN_RTT_FILTER_LEN: Duration = Duration::from_secs(10);

/// BBR.ProbeRTTInterval.
pub(super) const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);

/// Round trips by packets: one ends when something is delivered that left after it began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rounds {
    pub(super) count: u64,
    /// This ACK begins one.
    pub(super) start: bool,
    /// C.delivered when this one began.
    next_delivered: u64,
}

impl Rounds {
    /// A round begins here, whatever there was before.
    pub(super) const fn begin(&mut self, delivered: u64) {
        self.next_delivered = delivered;
    }
}

/// Rate and round trip of the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) max_bw: CycleMax,
    /// BBR.bw, in bytes per second: max_bw within the short-term bound.
    pub(super) bw: u64,
    pub(super) min_rtt: Option<Duration>,
    min_rtt_stamp: Option<Instant>,
    /// The smallest round trip of the last [`PROBE_RTT_INTERVAL`].
    probe_rtt_min_delay: Option<Duration>,
    pub(super) probe_rtt_min_stamp: Option<Instant>,
    pub(super) probe_rtt_expired: bool,
}

impl Path {
    pub(super) fn new(srtt: Option<Duration>) -> Self {
        Self {
            max_bw: CycleMax::default(),
            bw: 0,
            min_rtt: srtt,
            min_rtt_stamp: None,
            probe_rtt_min_delay: None,
            probe_rtt_min_stamp: None,
            probe_rtt_expired: false,
        }
    }

    /// Takes the round trip of an ACK into both minima (UpdateMinRTT).
    fn on_rtt(&mut self, now: Instant, rtt: Option<Duration>) {
        let probe_stamp = *self.probe_rtt_min_stamp.get_or_insert(now);
        let stamp = *self.min_rtt_stamp.get_or_insert(now);
        self.probe_rtt_expired = now > probe_stamp + PROBE_RTT_INTERVAL;
        if let Some(rtt) = rtt
            && (self.probe_rtt_expired || self.probe_rtt_min_delay.is_none_or(|min| rtt < min))
        {
            self.probe_rtt_min_delay = Some(rtt);
            self.probe_rtt_min_stamp = Some(now);
        }
        let Some(recent) = self.probe_rtt_min_delay else {
            return;
        };
        if now > stamp + MIN_RTT_FILTER_LEN || self.min_rtt.is_none_or(|min| recent < min) {
            self.min_rtt = Some(recent);
            self.min_rtt_stamp = self.probe_rtt_min_stamp;
        }
    }
}

/// How much more than the rate explains is acknowledged at once (`BBR.extra_acked`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Aggregation {
    pub(super) interval_start: Option<Instant>,
    delivered: u64,
    filter: RoundMax,
    /// In bytes.
    pub(super) extra_acked: u32,
}

impl Bbr {
    /// Counts rounds, and takes the rate into the maximum (UpdateRound, UpdateMaxBw). A rate that
    /// the application held down counts only if it is more than was known.
    pub(super) fn update_max_bw(&mut self, rate: &RateSample) {
        self.rounds.start = rate.prior_delivered >= self.rounds.next_delivered;
        if self.rounds.start {
            self.rounds.begin(self.delivered);
            self.rounds.count += 1;
            self.cycle.rounds_since_probe_up = self.cycle.rounds_since_probe_up.saturating_add(1);
        }
        let bw = rate.delivery_rate;
        if bw >= self.path.max_bw.max() || !self.is_app_limited(rate) {
            self.path.max_bw.on_sample(bw);
        }
    }

    /// UpdateACKAggregation.
    pub(super) fn update_ack_aggregation(&mut self, ack: &DeliverySample) {
        let acks = &mut self.aggregation;
        let start = *acks.interval_start.get_or_insert(ack.now);
        let mut expected = u64::from(volume(self.path.bw, ack.now - start));
        if acks.delivered <= expected {
            (acks.delivered, acks.interval_start) = (0, Some(ack.now));
            expected = 0;
        }
        acks.delivered += u64::from(ack.newly_acked);
        let extra = (acks.delivered - expected).min(self.cwnd.into()) as u32;
        acks.filter.on_sample(self.rounds.count, extra);
        let rounds = if self.full_pipe.reached {
            ROUNDS_KEPT
        } else {
            1
        };
        acks.extra_acked = acks.filter.max(rounds);
    }

    /// UpdateMinRTT.
    pub(super) fn update_min_rtt(&mut self, ack: &DeliverySample) {
        self.path.on_rtt(ack.now, ack.rtt);
    }

    /// BoundBWForModel.
    pub(super) fn bound_bw_for_model(&mut self) {
        self.path.bw = self.path.max_bw.max().min(self.bounds.bw_shortterm);
        debug_assert!(self.path.bw < NO_RATE_BOUND);
    }

    /// The application, or `ProbeRTT`, held the sender back when this was sent.
    pub(super) fn is_app_limited(&self, rate: &RateSample) -> bool {
        rate.is_app_limited || self.probe_rtt.held_back(rate.prior_delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn min_rtt_is_forgotten_after_ten_seconds() {
        let (short, long) = (Duration::from_millis(20), Duration::from_millis(30));
        let mut path = Path::new(None);
        path.on_rtt(at(0), Some(short));
        for millis in (100..=5_000).step_by(100) {
            path.on_rtt(at(millis), Some(long));
            assert!(!path.probe_rtt_expired);
        }
        path.on_rtt(at(5_001), Some(long));
        assert!(path.probe_rtt_expired);
        assert_eq!(path.min_rtt, Some(short)); // still, for the window of ProbeRTT
        path.on_rtt(at(10_000), Some(long));
        assert_eq!(path.min_rtt, Some(short));
        path.on_rtt(at(10_001), Some(long));
        assert_eq!(path.min_rtt, Some(long));
    }

    #[test]
    fn a_shorter_round_trip_counts_at_once() {
        let mut path = Path::new(Some(Duration::from_millis(40)));
        path.on_rtt(at(1), None);
        assert_eq!(path.min_rtt, Some(Duration::from_millis(40)));
        path.on_rtt(at(2), Some(Duration::from_millis(39)));
        assert_eq!(path.min_rtt, Some(Duration::from_millis(39)));
    }
}
