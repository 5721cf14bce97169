//! The two windowed maxima of the model, and arithmetic on rates and volumes.

use crate::congestion::MAX_CWND;
use crate::time::Duration;

/// No bound: BBR's Infinity for volumes.
pub(super) const NO_BOUND: u32 = u32::MAX;

/// No bound: BBR's Infinity for rates.
pub(super) const NO_RATE_BOUND: u64 = u64::MAX;

/// The largest rate of this `ProbeBW` cycle and the last (`BBR.max_bw_filter`, MaxBwFilterLen = 2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CycleMax {
    last: u64,
    this: u64,
}

impl CycleMax {
    pub(super) const fn max(self) -> u64 {
        if self.last > self.this {
            self.last
        } else {
            self.this
        }
    }

    pub(super) const fn on_sample(&mut self, rate: u64) {
        if rate > self.this {
            self.this = rate;
        }
    }

    /// A cycle is over; one without a sample does not count.
    pub(super) const fn advance(&mut self) {
        if self.this > 0 {
            (self.last, self.this) = (self.this, 0);
        }
    }
}

/// Rounds that [`RoundMax`] looks back: ExtraAckedFilterLen.
pub(super) const ROUNDS_KEPT: usize = 10;

/// The largest volume of each of the last ten rounds: exact, where three samples would do nearly.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundMax {
    rounds: [u32; ROUNDS_KEPT],
    round: u64,
}

impl RoundMax {
    pub(super) fn on_sample(&mut self, round: u64, volume: u32) {
        let passed = round.saturating_sub(self.round).min(ROUNDS_KEPT as u64);
        for ago in 0..passed {
            self.rounds[slot(round - ago)] = 0;
        }
        self.round = self.round.max(round);
        let best = &mut self.rounds[slot(self.round)];
        *best = volume.max(*best);
    }

    /// The maximum of the last `rounds` rounds.
    pub(super) fn max(&self, rounds: usize) -> u32 {
        let of = |ago: u64| self.rounds[slot(self.round.saturating_sub(ago))];
        (0..rounds.min(ROUNDS_KEPT) as u64)
            .map(of)
            .max()
            .unwrap_or(0)
    }
}

const fn slot(round: u64) -> usize {
    (round % ROUNDS_KEPT as u64) as usize
}

/// What `rate` bytes per second make in `time`, as a volume: no more than [`MAX_CWND`].
pub(super) fn volume(rate: u64, time: Duration) -> u32 {
    let bytes = u128::from(rate).saturating_mul(time.as_nanos()) / 1_000_000_000;
    bytes.min(MAX_CWND.into()) as u32
}

/// Bytes per second of `bytes` in `time`; nothing, if that took no time.
pub(super) fn rate(bytes: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos();
    if nanos == 0 {
        return 0;
    }
    let rate = u128::from(bytes) * 1_000_000_000 / nanos;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// `value` times `percent`/100.
pub(super) const fn percent(value: u64, percent: u32) -> u64 {
    let product = value as u128 * percent as u128 / 100;
    if product > u64::MAX as u128 {
        u64::MAX
    } else {
        product as u64
    }
}

/// `volume` times `percent`/100, and never "no bound".
pub(super) fn share(volume: u32, share: u32) -> u32 {
    percent(volume.into(), share).min(MAX_CWND.into()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_remembered_for_two_cycles() {
        let mut max = CycleMax::default();
        max.on_sample(100);
        max.on_sample(90);
        assert_eq!(max.max(), 100);
        max.advance();
        max.on_sample(80);
        assert_eq!(max.max(), 100);
        max.advance();
        assert_eq!(max.max(), 80);
        max.advance(); // nothing was measured: 80 is all that is known
        max.advance();
        assert_eq!(max.max(), 80);
    }

    #[test]
    fn a_volume_is_remembered_for_ten_rounds() {
        let mut max = RoundMax::default();
        max.on_sample(1, 50);
        max.on_sample(2, 20);
        max.on_sample(2, 30);
        assert_eq!((max.max(1), max.max(10)), (30, 50));
        max.on_sample(10, 0);
        assert_eq!((max.max(1), max.max(10)), (0, 50));
        max.on_sample(11, 0);
        assert_eq!(max.max(10), 30);
        max.on_sample(1_000, 5);
        assert_eq!(max.max(10), 5);
    }

    #[test]
    fn volumes_and_rates_saturate() {
        assert_eq!(volume(12_500_000, Duration::from_millis(66)), 825_000);
        assert_eq!(volume(u64::MAX, Duration::MAX), MAX_CWND);
        assert_eq!(rate(825_000, Duration::from_millis(66)), 12_500_000);
        assert_eq!(rate(1, Duration::ZERO), 0);
        assert_eq!(percent(u64::MAX, 277), u64::MAX);
        assert_eq!(share(NO_BOUND, 100), MAX_CWND);
    }
}
