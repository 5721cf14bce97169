//! CUBIC (RFC 9438), in integers: the same curve on every machine.
//!
//! Windows are bytes, times microseconds; C = 0.4 segments/s³ and β = 0.7 stand in the constants.

use super::{
    AckSample, CongestionController, CongestionEvent, CongestionKind, slow_start, window_was_used,
};
use crate::time::{Duration, Instant};

/// C · (µs)³ as a fraction of a segment: 0.4 / 10¹⁸.
const C_NUM: u128 = 2;
const C_DEN: u128 = 5_000_000_000_000_000_000;

/// CUBIC's window.
#[derive(Clone, Debug)]
pub struct Cubic {
    mss: u32,
    cwnd: u32,
    ssthresh: u32,
    /// What a fraction of a byte of growth has come to, in units of 1/cwnd.
    fraction: u64,
    curve: Curve,
    /// The last signal was a timeout: the next epoch starts flat (RFC 9438 §4.8).
    after_timeout: bool,
    last_ack: Option<Instant>,
    before: Option<(u32, u32, Curve)>,
}

/// Where on the curve the window is.
#[derive(Clone, Copy, Debug)]
struct Curve {
    /// Wmax.
    w_max: u32,
    /// K, in microseconds.
    k: u64,
    /// When this epoch of congestion avoidance began; app-limited time moves it on.
    epoch: Option<Instant>,
    /// cwnd before the last reduction.
    cwnd_prior: u32,
    /// Reno's window in the same place (RFC 9438 §4.3), and its fraction in units of 1/cwnd.
    w_est: u32,
    w_est_fraction: u64,
}

impl Cubic {
    /// A controller that begins in slow start.
    pub const fn new(mss: u32, initial_window: u32) -> Self {
        Self {
            mss,
            cwnd: initial_window,
            ssthresh: u32::MAX,
            fraction: 0,
            curve: Curve {
                w_max: 0,
                k: 0,
                epoch: None,
                cwnd_prior: 0,
                w_est: 0,
                w_est_fraction: 0,
            },
            after_timeout: false,
            last_ack: None,
            before: None,
        }
    }

    /// RFC 9438 §4.2: K = ∛((Wmax − cwnd_epoch) / C).
    fn begin_epoch(&mut self, now: Instant) -> Instant {
        let curve = &mut self.curve;
        if self.after_timeout || self.cwnd >= curve.w_max {
            (curve.w_max, curve.k) = (self.cwnd, 0);
        } else {
            let rise = u128::from(curve.w_max - self.cwnd);
            curve.k = cube_root(rise * C_DEN / C_NUM / u128::from(self.mss));
        }
        self.after_timeout = false;
        (curve.w_est, curve.w_est_fraction) = (self.cwnd, 0);
        curve.epoch = Some(now);
        now
    }

    /// W_cubic(t) = C · (t − K)³ + Wmax, in bytes.
    fn w_cubic(&self, t: Duration) -> u32 {
        let t = t.as_micros() as u64;
        let Curve { w_max, k, .. } = self.curve;
        let distance = u128::from(t.abs_diff(k));
        let cube = distance.saturating_mul(distance).saturating_mul(distance);
        let bytes = (cube / C_DEN)
            .saturating_mul(C_NUM * u128::from(self.mss))
            .saturating_add(cube % C_DEN * C_NUM * u128::from(self.mss) / C_DEN)
            .min(u128::from(u32::MAX)) as u32;
        if t >= k {
            w_max.saturating_add(bytes)
        } else {
            w_max.saturating_sub(bytes)
        }
    }

    /// RFC 9438 §4.3: α = 3(1−β)/(1+β) = 9/17, and 1 once Reno would be where the loss was.
    fn grow_estimate(&mut self, acked: u32) {
        let curve = &mut self.curve;
        let (num, den) = if curve.w_est < curve.cwnd_prior {
            (9, 17)
        } else {
            (1, 1)
        };
        let cwnd = u64::from(self.cwnd) * den;
        let sum = curve.w_est_fraction * den + u64::from(self.mss) * u64::from(acked) * num;
        curve.w_est = curve.w_est.saturating_add((sum / cwnd) as u32);
        curve.w_est_fraction = sum % cwnd / den;
    }

    fn avoid_congestion(&mut self, ack: &AckSample, acked: u32) {
        let epoch = self
            .curve
            .epoch
            .unwrap_or_else(|| self.begin_epoch(ack.now));
        let t = ack.now - epoch;
        self.grow_estimate(acked);
        if self.w_cubic(t) < self.curve.w_est {
            self.cwnd = self.cwnd.max(self.curve.w_est);
            return;
        }
        let target = self.w_cubic(t + ack.srtt.unwrap_or_default());
        let target = target.clamp(self.cwnd, self.cwnd.saturating_add(self.cwnd / 2));
        let sum = self.fraction + u64::from(target - self.cwnd) * u64::from(acked);
        self.fraction = sum % u64::from(self.cwnd);
        self.cwnd = self
            .cwnd
            .saturating_add((sum / u64::from(self.cwnd)) as u32);
    }
}

impl CongestionController for Cubic {
    fn on_ack(&mut self, ack: &AckSample) {
        let last = self.last_ack.replace(ack.now);
        if ack.in_recovery {
            return;
        }
        if !window_was_used(ack, self.cwnd, self.ssthresh) {
            // RFC 9438 §4.2: t leaves out the time in which the application held back.
            if let (Some(epoch), Some(last)) = (&mut self.curve.epoch, last) {
                *epoch += ack.now - last;
            }
            return;
        }
        let acked = slow_start(&mut self.cwnd, self.ssthresh, ack.acked);
        if acked > 0 {
            self.avoid_congestion(ack, acked);
        }
    }

    fn on_congestion(&mut self, event: &CongestionEvent) {
        self.before = Some((self.cwnd, self.ssthresh, self.curve));
        let curve = &mut self.curve;
        // Fast convergence (§4.7): who lost below the last plateau makes room for others.
        curve.w_max = if self.cwnd < curve.w_max {
            (u64::from(self.cwnd) * 17 / 20) as u32
        } else {
            self.cwnd
        };
        curve.cwnd_prior = self.cwnd;
        curve.epoch = None;
        let reduced = (u64::from(event.in_flight) * 7 / 10) as u32;
        self.ssthresh = reduced.max(2 * self.mss); // §4.6
        self.fraction = 0;
        self.after_timeout = event.kind == CongestionKind::Timeout;
        self.cwnd = match event.kind {
            CongestionKind::Timeout => self.mss,
            CongestionKind::Loss => self.ssthresh,
            CongestionKind::Ecn => reduced.max(self.mss),
        };
    }

    fn undo(&mut self) {
        if let Some((cwnd, ssthresh, curve)) = self.before.take() {
            self.cwnd = self.cwnd.max(cwnd);
            self.ssthresh = self.ssthresh.max(ssthresh);
            self.curve = curve;
            self.after_timeout = false;
        }
    }

    fn on_idle_restart(&mut self, initial_window: u32) {
        self.cwnd = self.cwnd.min(initial_window);
        self.curve.epoch = None;
    }

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
        self.cwnd = self.cwnd.max(mss);
        self.curve.epoch = None;
    }

    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.ssthresh
    }
}

/// ⌊∛n⌋, digit by digit in base 8.
const fn cube_root(n: u128) -> u64 {
    let (mut rest, mut root, mut shift) = (n, 0u128, 126);
    loop {
        root *= 2;
        let digit = 3 * root * (root + 1) + 1;
        if rest >> shift >= digit {
            rest -= digit << shift;
            root += 1;
        }
        if shift == 0 {
            return root as u64;
        }
        shift -= 3;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1_000;

    fn ack(now: Instant, acked: u32, srtt: u64) -> AckSample {
        AckSample {
            now,
            acked,
            in_flight: 0,
            cwnd_limited: true,
            srtt: Some(Duration::from_millis(srtt)),
            in_recovery: false,
        }
    }

    fn lose(cubic: &mut Cubic, now: Instant, kind: CongestionKind) {
        let in_flight = cubic.cwnd();
        cubic.on_congestion(&CongestionEvent {
            now,
            kind,
            in_flight,
        });
    }

    /// In congestion avoidance right after a loss at 100 segments.
    fn after_loss_at_100() -> Cubic {
        let mut cubic = Cubic::new(MSS, 100 * MSS);
        lose(&mut cubic, Instant::ZERO, CongestionKind::Loss);
        cubic.begin_epoch(Instant::ZERO);
        cubic
    }

    #[test]
    fn cube_roots_are_exact() {
        for n in [
            0u128,
            1,
            7,
            8,
            26,
            27,
            63,
            64,
            999_999,
            1_000_000,
            (1 << 120) - 1,
        ] {
            let root = u128::from(cube_root(n));
            assert!(root.pow(3) <= n && (root + 1).pow(3) > n, "{n}");
        }
    }

    /// RFC 9438 §4.2 with Wmax = 100 segments: the reference curve.
    #[test]
    fn the_curve_is_the_formula() {
        let cubic = after_loss_at_100();
        assert_eq!(cubic.curve.k / 1_000, 4_217);
        for (seconds, segments) in [
            (0, 70.00),
            (1, 86.68),
            (2, 95.64),
            (3, 99.28),
            (4, 100.00),
            (5, 100.19),
            (6, 102.27),
            (8, 121.65),
            (10, 177.35),
        ] {
            let got = f64::from(cubic.w_cubic(Duration::from_secs(seconds))) / f64::from(MSS);
            assert!(
                (got - segments).abs() < 0.01,
                "W({seconds}) = {got}, not {segments}"
            );
        }
    }

    /// K for the plateaus of the published table.
    #[test]
    fn k_is_the_formula() {
        for (plateau, seconds) in [
            (10, 1.957),
            (38, 3.055),
            (187, 5.196),
            (1_000, 9.086),
            (5_926, 16.44),
            (83_333, 39.69),
        ] {
            let mut cubic = Cubic::new(MSS, plateau * MSS);
            lose(&mut cubic, Instant::ZERO, CongestionKind::Loss);
            cubic.begin_epoch(Instant::ZERO);
            let k = cubic.curve.k as f64 / 1e6;
            assert!((k / seconds - 1.0).abs() < 0.001, "{plateau}: {k}");
        }
    }

    /// CU-1: driven by ACKs, the window follows the curve.
    #[test]
    fn acks_move_the_window_along_the_curve() {
        let mut cubic = Cubic::new(MSS, 1_000 * MSS);
        lose(&mut cubic, Instant::ZERO, CongestionKind::Loss);
        let rtt = 100;
        for round in 0..100 {
            let now = Instant::from_millis(round * rtt);
            for _ in 0..cubic.cwnd() / MSS {
                cubic.on_ack(&ack(now, MSS, rtt));
            }
        }
        let expected = f64::from(cubic.w_cubic(Duration::from_millis(100 * rtt)));
        assert!((f64::from(cubic.cwnd()) / expected - 1.0).abs() < 0.02);
    }

    /// CU-4: on a short path Reno's window is the larger, and counts.
    #[test]
    fn short_paths_are_reno_friendly() {
        let mut cubic = Cubic::new(MSS, 20 * MSS);
        lose(&mut cubic, Instant::ZERO, CongestionKind::Loss);
        let start = cubic.cwnd();
        for round in 0..17u64 {
            let now = Instant::from_millis(round);
            for _ in 0..cubic.cwnd() / MSS {
                cubic.on_ack(&ack(now, MSS, 1));
            }
        }
        // 6 segments at 9/17 a round up to the old window, then one a round: 11.7 by the formula.
        let grown = f64::from(cubic.cwnd() - start) / f64::from(MSS);
        assert!(
            (10.5..12.5).contains(&grown),
            "{grown} segments in 17 rounds"
        );
    }

    /// CU-3, CU-5.
    #[test]
    fn a_second_loss_below_the_plateau_lowers_it() {
        let mut cubic = Cubic::new(MSS, 100 * MSS);
        lose(&mut cubic, Instant::ZERO, CongestionKind::Loss);
        assert_eq!((cubic.cwnd(), cubic.curve.w_max), (70 * MSS, 100 * MSS));
        cubic.cwnd = 80 * MSS;
        lose(&mut cubic, Instant::ZERO, CongestionKind::Loss);
        assert_eq!((cubic.cwnd(), cubic.curve.w_max), (56 * MSS, 68 * MSS));
    }

    /// CU-6.
    #[test]
    fn after_a_timeout_the_curve_starts_flat() {
        let mut cubic = Cubic::new(MSS, 100 * MSS);
        lose(&mut cubic, Instant::ZERO, CongestionKind::Timeout);
        assert_eq!((cubic.cwnd(), cubic.ssthresh()), (MSS, 70 * MSS));
        cubic.on_ack(&ack(Instant::ZERO, 69 * MSS, 10));
        cubic.on_ack(&ack(Instant::ZERO, MSS, 10));
        assert_eq!((cubic.curve.k, cubic.curve.w_max), (0, 70 * MSS));
    }

    /// CU-7.
    #[test]
    fn time_in_which_the_application_held_back_does_not_count() {
        let mut cubic = after_loss_at_100();
        for second in 1..=60 {
            let mut idle = ack(Instant::from_millis(second * 1_000), MSS, 100);
            idle.cwnd_limited = false;
            cubic.on_ack(&idle);
        }
        let before = cubic.cwnd();
        cubic.on_ack(&ack(Instant::from_millis(60_100), MSS, 100));
        assert!(cubic.cwnd() - before < MSS);
    }

    #[test]
    fn a_false_alarm_is_taken_back() {
        let mut cubic = after_loss_at_100();
        let (cwnd, ssthresh) = (cubic.cwnd(), cubic.ssthresh());
        lose(&mut cubic, Instant::from_millis(5), CongestionKind::Loss);
        cubic.undo();
        assert_eq!((cubic.cwnd(), cubic.ssthresh()), (cwnd, ssthresh));
    }
}
