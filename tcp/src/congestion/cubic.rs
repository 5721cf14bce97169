//! CUBIC (RFC 9438), in integers: the same curve on every machine.
//!
//! Windows are bytes, times microseconds.

use super::window::{RestingWindow, Window};
use super::{AckSample, CongestionController, CongestionEvent, CongestionKind, SentSample, Setup};
use crate::time::{Duration, Instant};

/// C = 0.4 segments/s³ (RFC 9438 §5), in hundredths.
const C: u16 = 40;
/// What makes of hundredths and (µs)³ segments: 10² · 10¹⁸.
const C_DEN: u128 = 100_000_000_000_000_000_000;

/// CUBIC's window.
#[derive(Clone, Debug)]
pub struct Cubic {
    window: Window,
    curve: Curve,
    /// What a fraction of a byte of growth has come to, in units of 1/cwnd.
    fraction: u32,
    last_ack: Option<Instant>,
    /// What the last congestion event changed (§4.9, CU-8).
    before: Option<(Window, Curve)>,
    c: u16,
    /// Who loses below the last plateau makes room (§4.7).
    fast_convergence: bool,
}

/// Where on the curve the window is.
#[derive(Clone, Copy, Debug)]
struct Curve {
    /// Wmax.
    w_max: u32,
    /// K, in microseconds.
    k: u32,
    /// When this epoch of congestion avoidance began; app-limited time moves it on.
    epoch: Option<Instant>,
    /// The next epoch starts flat: after a timeout (§4.8), or slow start without a loss (§4.10).
    flat: bool,
    /// cwnd before the last reduction.
    cwnd_prior: u32,
    /// Reno's window in the same place (§4.3), and its fraction in units of 1/cwnd.
    w_est: u32,
    w_est_fraction: u32,
}

/// What lasts of it while nothing is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestingCubic {
    window: RestingWindow,
    curve: Curve,
    fraction: u32,
    last_ack: Option<Instant>,
}

impl Cubic {
    pub(super) const fn rest(&self) -> RestingCubic {
        RestingCubic {
            window: self.window.rest(),
            curve: self.curve,
            fraction: self.fraction,
            last_ack: self.last_ack,
        }
    }

    pub(super) const fn woken(rest: &RestingCubic, mss: u32) -> Self {
        Self {
            window: Window::woken(&rest.window, mss),
            curve: rest.curve,
            fraction: rest.fraction,
            last_ack: rest.last_ack,
            before: None,
            c: C,
            fast_convergence: true,
        }
    }

    /// A controller that begins where `setup` says.
    pub const fn new(setup: &Setup) -> Self {
        Self {
            window: Window::new(setup),
            curve: Curve {
                w_max: 0,
                k: 0,
                epoch: None,
                flat: false,
                cwnd_prior: 0,
                w_est: 0,
                w_est_fraction: 0,
            },
            fraction: 0,
            last_ack: None,
            before: None,
            c: C,
            fast_convergence: true,
        }
    }

    /// Whether a loss below the last plateau makes room for others (§4.7); it costs a lone flow 6 %
    /// of its window.
    #[cfg(test)]
    pub(super) const fn set_fast_convergence(&mut self, on: bool) {
        self.fast_convergence = on;
    }

    /// C in hundredths of a segment per s³: the published tables have three.
    #[cfg(test)]
    pub(super) const fn set_c(&mut self, c: u16) {
        self.c = c;
    }

    /// RFC 9438 §4.2: K = ∛((Wmax − cwnd_epoch) / C).
    fn begin_epoch(&mut self, now: Instant) -> Instant {
        let Window { mss, cwnd, .. } = self.window;
        let curve = &mut self.curve;
        if curve.flat || cwnd >= curve.w_max {
            (curve.w_max, curve.k) = (cwnd, 0);
        } else {
            let rise = u128::from(curve.w_max - cwnd);
            let k = cube_root(rise * C_DEN / u128::from(self.c) / u128::from(mss));
            curve.k = u32::try_from(k).unwrap_or(u32::MAX); // 71 minutes
        }
        curve.flat = false;
        (curve.w_est, curve.w_est_fraction) = (cwnd, 0);
        curve.epoch = Some(now);
        now
    }

    /// W_cubic(t) = C · (t − K)³ + Wmax, in bytes (CU-1).
    fn w_cubic(&self, t: Duration) -> u32 {
        let t = t.as_micros() as u64;
        let Curve { w_max, k, .. } = self.curve;
        let distance = u128::from(t.abs_diff(k.into()));
        let cube = distance.saturating_mul(distance).saturating_mul(distance);
        let scale = u128::from(self.c) * u128::from(self.window.mss);
        let bytes = (cube / C_DEN)
            .saturating_mul(scale)
            .saturating_add(cube % C_DEN * scale / C_DEN)
            .min(u128::from(u32::MAX)) as u32;
        if t >= u64::from(k) {
            w_max.saturating_add(bytes)
        } else {
            w_max.saturating_sub(bytes)
        }
    }

    /// RFC 9438 §4.3: α = 3(1−β)/(1+β) = 9/17, and 1 once Reno would be where the loss was
    /// (CU-4).
    fn grow_estimate(&mut self, acked: u32) {
        let Window { mss, cwnd, .. } = self.window;
        let curve = &mut self.curve;
        let (num, den) = if curve.w_est < curve.cwnd_prior {
            (9, 17)
        } else {
            (1, 1)
        };
        let cwnd = u64::from(cwnd) * den;
        let sum = u64::from(curve.w_est_fraction) * den + u64::from(mss) * u64::from(acked) * num;
        curve.w_est = curve.w_est.saturating_add((sum / cwnd) as u32);
        curve.w_est_fraction = (sum % cwnd / den) as u32;
    }

    fn avoid_congestion(&mut self, ack: &AckSample, acked: u32) {
        let epoch = self
            .curve
            .epoch
            .unwrap_or_else(|| self.begin_epoch(ack.now));
        let t = ack.now - epoch;
        self.grow_estimate(acked);
        let cwnd = self.window.cwnd;
        if self.w_cubic(t) < self.curve.w_est {
            self.window.grow(self.curve.w_est.saturating_sub(cwnd));
            return;
        }
        let target = self.w_cubic(t + ack.srtt.unwrap_or_default());
        let target = target.clamp(cwnd, cwnd.saturating_add(cwnd / 2));
        let sum = u64::from(self.fraction) + u64::from(target - cwnd) * u64::from(acked);
        self.fraction = (sum % u64::from(cwnd)) as u32;
        self.window.grow((sum / u64::from(cwnd)) as u32);
    }

    /// HyStart++ ended slow start (§4.10): the curve starts from here, flat.
    const fn on_slow_start_left(&mut self) {
        self.curve.cwnd_prior = self.window.cwnd;
        self.curve.flat = true;
        self.curve.epoch = None;
    }

    /// RFC 9438 §4.2: t leaves out the time in which the application held back (CU-7).
    fn skip(&mut self, idle: Duration) {
        if let Some(epoch) = &mut self.curve.epoch {
            *epoch += idle;
        }
    }
}

impl CongestionController for Cubic {
    fn on_sent(&mut self, sent: &SentSample) {
        if sent.in_flight == 0
            && let Some(last) = self.last_ack.replace(sent.now)
        {
            self.skip(sent.now - last);
        }
    }

    fn on_ack(&mut self, ack: &AckSample) {
        let last = self.last_ack.replace(ack.now);
        if ack.in_recovery {
            return;
        }
        if self.window.in_slow_start() {
            match self.window.slow_start(ack) {
                Some(0) => {}
                Some(rest) => self.avoid_congestion(ack, rest),
                None => self.on_slow_start_left(),
            }
        } else if self.window.was_used(ack) {
            self.avoid_congestion(ack, ack.acked);
        } else {
            self.skip(last.map_or(Duration::ZERO, |last| ack.now - last));
        }
    }

    fn on_congestion(&mut self, event: &CongestionEvent) {
        self.before = Some((self.window, self.curve));
        let (cwnd, curve) = (self.window.cwnd, &mut self.curve);
        // Fast convergence (§4.7, CU-5): who lost below the last plateau makes room for others.
        curve.w_max = if cwnd < curve.w_max && self.fast_convergence {
            (u64::from(cwnd) * 17 / 20) as u32
        } else {
            cwnd
        };
        curve.cwnd_prior = cwnd;
        curve.epoch = None;
        curve.flat = event.kind == CongestionKind::Timeout; // §4.8, CU-6
        let left = u64::from(event.in_flight) * 7 / 10; // §4.6, CU-3
        self.window.reduce(event.kind, left as u32);
        self.fraction = 0;
    }

    fn undo(&mut self) {
        if let Some((window, curve)) = self.before.take()
            && self.window.restore(&window)
        {
            self.curve = curve;
        }
    }

    fn set_window(&mut self, cwnd: u32, ssthresh: u32) {
        self.window.set(cwnd, ssthresh);
        self.curve.epoch = None;
        self.fraction = 0;
    }

    fn set_mss(&mut self, mss: u32) {
        self.window.set_mss(mss);
        self.curve.epoch = None;
    }

    fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.window.ssthresh
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
mod tests;
