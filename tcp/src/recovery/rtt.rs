//! Round-trip time and the retransmission timeout (RFC 6298).

use core::time::Duration;

use crate::config::Config;
use crate::time::{Instant, Span};

/// Ceiling of the RTO, backed off or not (RFC 6298 §2.5 asks for at least 60 s).
const MAX_RTO: Duration = Duration::from_secs(120);

/// How long a minimum counts before newer samples replace it: routes change.
const MIN_RTT_WINDOW: Duration = Duration::from_secs(300);

/// SRTT, RTTVAR, RTO and the smallest round trip seen lately.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RttEstimator {
    srtt: Option<Span>,
    rttvar: Span,
    rto: Span,
    min_rto: Span,
    /// G: what the timer wheel and timestamps can resolve, with room to spare.
    granularity: Span,
    back_off: u8,
    /// The smallest sample, and when it was taken.
    min_rtt: Option<(Span, Instant)>,
    /// The last sample, and how many there were, modulo 2³².
    latest: (Span, u32),
}

/// What lasts of it while nothing is in flight; the rest is the configuration's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestingRtt {
    min_rtt: Option<(Span, Instant)>,
    srtt: Option<Span>,
    rttvar: Span,
    rto: Span,
    back_off: u8,
}

impl RttEstimator {
    pub(crate) const fn rest(&self) -> RestingRtt {
        RestingRtt {
            min_rtt: self.min_rtt,
            srtt: self.srtt,
            rttvar: self.rttvar,
            rto: self.rto,
            back_off: self.back_off,
        }
    }

    pub(crate) fn woken(rest: &RestingRtt, config: &Config) -> Self {
        Self {
            min_rtt: rest.min_rtt,
            srtt: rest.srtt,
            rttvar: rest.rttvar,
            rto: rest.rto,
            back_off: rest.back_off,
            ..Self::new(Duration::ZERO, config.rto_min)
        }
        .with_granularity(config.rto_granularity)
    }

    /// No sample yet: the RTO is `initial_rto` (1 s by RFC 6298 §2.1; 3 s after the SYN timed
    /// out, §5.7). Later RTOs are at least `min_rto`.
    pub(crate) fn new(initial_rto: Duration, min_rto: Duration) -> Self {
        Self {
            srtt: None,
            rttvar: Span::ZERO,
            rto: Span::of(initial_rto.min(MAX_RTO)),
            min_rto: Span::of(min_rto.min(MAX_RTO)),
            granularity: Span::of(Duration::from_millis(1)),
            back_off: 0,
            min_rtt: None,
            latest: (Span::ZERO, 0),
        }
    }

    /// Another G than 1 ms.
    pub(crate) const fn with_granularity(mut self, granularity: Duration) -> Self {
        self.granularity = Span::of(granularity);
        self
    }

    /// Folds one round-trip sample into SRTT and RTTVAR, recomputes the RTO and ends its back-off.
    ///
    /// RFC 6298 §2.2–2.3, α = 1/8, β = 1/4. RTTVAR moves first: it is defined on the old SRTT.
    /// Karn's rule (§3) is the caller's: a sample of retransmitted data never gets here, unless a
    /// timestamp says which transmission it measures.
    #[inline]
    pub(crate) fn on_sample(&mut self, now: Instant, rtt: Duration) {
        let sample = Span::of(rtt.min(2 * MAX_RTO)); // what took longer says nothing more
        self.latest = (sample, self.latest.1.wrapping_add(1));
        let rtt = sample.get();
        let (srtt, rttvar) = match self.srtt.map(Span::get) {
            None => (rtt, rtt / 2),
            Some(srtt) => (
                (7 * srtt + rtt + 4) / 8,
                (3 * self.rttvar.get() + srtt.abs_diff(rtt) + 2) / 4,
            ),
        };
        (self.srtt, self.rttvar) = (Some(Span::new(srtt)), Span::new(rttvar));
        let rto = Span::new(srtt + (4 * rttvar).max(self.granularity.get()));
        self.rto = rto.clamp(self.min_rto, Span::of(MAX_RTO));
        self.back_off = 0;
        self.min_rtt = match self.min_rtt {
            Some((min, at)) if min < sample && now - at < MIN_RTT_WINDOW => Some((min, at)),
            _ => Some((sample, now)),
        };
    }

    /// SRTT, once there was a sample.
    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.srtt.map(Span::duration)
    }

    /// SRTT in nanoseconds, once there was a sample.
    pub(crate) fn srtt_nanos(&self) -> Option<u64> {
        self.srtt.map(Span::nanos)
    }

    /// The last sample in nanoseconds, and how many there were, modulo 2³².
    pub(crate) const fn latest(&self) -> (u64, u32) {
        (self.latest.0.nanos(), self.latest.1)
    }

    /// The RTO without back-off, after `at`.
    pub(crate) fn rto_after(&self, at: Instant) -> Instant {
        at + self.rto
    }

    /// RTTVAR; zero before the first sample.
    pub(crate) const fn rttvar(&self) -> Duration {
        self.rttvar.duration()
    }

    /// RTTVAR in nanoseconds.
    pub(crate) const fn rttvar_nanos(&self) -> u64 {
        self.rttvar.nanos()
    }

    /// The RTO as it is to be armed, in nanoseconds.
    pub(crate) fn backed_off_rto_nanos(&self) -> u64 {
        self.timeout().nanos()
    }

    /// The smallest sample of the last five minutes or so (RFC 8985 §6.2).
    pub(crate) fn min_rtt(&self) -> Option<Duration> {
        self.min_rtt.map(|(min, _)| min.duration())
    }

    /// The RTO without back-off.
    pub(crate) const fn rto(&self) -> Duration {
        self.rto.duration()
    }

    /// [`RttEstimator::rto`] in four bytes.
    pub(crate) const fn rto_span(&self) -> Span {
        self.rto
    }

    /// The RTO as it is to be armed: doubled once per back-off, up to 120 s (RFC 6298 §5.5).
    pub(crate) fn backed_off_rto(&self) -> Duration {
        self.timeout().duration()
    }

    /// When a timer fires that was started at `since`.
    pub(crate) fn deadline(&self, since: Instant) -> Instant {
        since + self.timeout()
    }

    /// Two round trips from `now` on, once there was a sample.
    pub(crate) fn two_round_trips(&self, now: Instant) -> Option<Instant> {
        self.srtt.map(|srtt| now + srtt + srtt)
    }

    fn timeout(&self) -> Span {
        let backed_off = self.rto.get() << self.back_off.min(32);
        Span::new(backed_off).min(const { Span::of(MAX_RTO) })
    }

    /// The timer expired: doubles the next timeout (RFC 6298 §5.5).
    pub(crate) fn back_off(&mut self) {
        self.back_off = self.back_off.saturating_add(1);
    }

    /// How often in a row the timer expired.
    pub(crate) const fn backoff_count(&self) -> u8 {
        self.back_off
    }

    /// New data was acknowledged without a sample: the path works, so the back-off ends.
    #[cfg(test)]
    pub(crate) const fn reset_back_off(&mut self) {
        self.back_off = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const SEC: Duration = Duration::from_secs(1);

    /// RFC 6298 §2.2–2.3 worked by hand for ten samples, no floor.
    #[test]
    fn worked_samples() {
        let mut rtt = RttEstimator::new(SEC, Duration::ZERO);
        let samples = [100, 100, 100, 200, 200, 100, 50, 50, 50, 300];
        let rtos: Vec<_> = samples
            .iter()
            .map(|&sample| {
                rtt.on_sample(Instant::ZERO, sample * MS);
                (rtt.rto().as_micros() + 50) / 100
            })
            .collect();
        assert_eq!(
            rtos,
            [3000, 2500, 2125, 2969, 3492, 3133, 3268, 3270, 3185, 4913]
        );
    }

    #[test]
    fn the_first_sample_sets_srtt_and_half_of_it_as_rttvar() {
        let mut rtt = RttEstimator::new(SEC, 200 * MS);
        assert_eq!((rtt.srtt(), rtt.rto()), (None, SEC));
        rtt.on_sample(Instant::ZERO, 80 * MS);
        assert_eq!((rtt.srtt(), rtt.rttvar()), (Some(80 * MS), 40 * MS));
        assert_eq!(rtt.rto(), 240 * MS);
    }

    #[test]
    fn the_rto_has_a_floor_a_ceiling_and_a_granularity() {
        let mut rtt = RttEstimator::new(SEC, 200 * MS);
        rtt.on_sample(Instant::ZERO, MS);
        assert_eq!(rtt.rto(), 200 * MS);
        rtt.on_sample(Instant::ZERO, 1000 * SEC);
        assert_eq!(rtt.rto(), MAX_RTO);
        let mut rtt = RttEstimator::new(SEC, Duration::ZERO);
        for _ in 0..100 {
            rtt.on_sample(Instant::ZERO, 10 * MS);
        }
        assert_eq!(rtt.rto(), 11 * MS);
    }

    #[test]
    fn back_off_doubles_to_the_ceiling_and_ends_with_a_sample() {
        let mut rtt = RttEstimator::new(SEC, 200 * MS);
        let mut armed = Vec::new();
        for _ in 0..9 {
            armed.push(rtt.backed_off_rto().as_secs());
            rtt.back_off();
        }
        assert_eq!(armed, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        assert_eq!((rtt.rto(), rtt.backoff_count()), (SEC, 9));
        rtt.on_sample(Instant::ZERO, 100 * MS);
        assert_eq!(rtt.backed_off_rto(), 300 * MS);
        rtt.back_off();
        rtt.reset_back_off();
        assert_eq!(rtt.backed_off_rto(), 300 * MS);
        for _ in 0..300 {
            rtt.back_off();
        }
        assert_eq!(rtt.backed_off_rto(), MAX_RTO);
    }

    #[test]
    fn a_minimum_is_forgotten_after_five_minutes() {
        let mut rtt = RttEstimator::new(SEC, 200 * MS);
        let at = |secs| Instant::ZERO + SEC * secs;
        for (secs, sample, min) in [
            (0, 50, 50),
            (10, 20, 20),
            (20, 90, 20),
            (309, 40, 20),
            (310, 40, 40),
        ] {
            rtt.on_sample(at(secs), sample * MS);
            assert_eq!(rtt.min_rtt(), Some(min * MS), "at {secs} s");
        }
    }

    proptest! {
        #[test]
        fn any_samples_keep_the_rto_in_bounds(samples in proptest::collection::vec(0u64..1 << 50, 1..50)) {
            let mut rtt = RttEstimator::new(SEC, 200 * MS);
            for sample in samples {
                rtt.on_sample(Instant::ZERO, Duration::from_nanos(sample));
                prop_assert!((200 * MS..=MAX_RTO).contains(&rtt.rto()));
                rtt.back_off();
                prop_assert!(rtt.backed_off_rto() >= rtt.rto());
            }
        }
    }
}
