//! What Reno and CUBIC have in common: a window in slow start, its reduction, and the reduction
//! taken back.

use super::hystart::{Growth, HyStart};
use super::{AckSample, CongestionKind, MAX_CWND, Setup};

/// cwnd, ssthresh and what slow start knows, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) mss: u32,
    pub(super) cwnd: u32,
    pub(super) ssthresh: u32,
    hystart: HyStart,
}

/// What lasts of it while nothing is in flight; the connection knows the segment size.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestingWindow {
    cwnd: u32,
    ssthresh: u32,
    hystart: HyStart,
}

impl Window {
    pub(super) const fn rest(&self) -> RestingWindow {
        RestingWindow {
            cwnd: self.cwnd,
            ssthresh: self.ssthresh,
            hystart: self.hystart,
        }
    }

    pub(super) const fn woken(rest: &RestingWindow, mss: u32) -> Self {
        Self {
            mss,
            cwnd: rest.cwnd,
            ssthresh: rest.ssthresh,
            hystart: rest.hystart,
        }
    }

    pub(super) const fn new(setup: &Setup) -> Self {
        Self {
            mss: setup.mss,
            cwnd: setup.cwnd,
            ssthresh: setup.ssthresh,
            hystart: HyStart::new(setup),
        }
    }

    pub(super) const fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Whether the window was used and may grow (RFC 7661 §4.3, RV-1): in slow start it counts as
    /// used from half of it on, since it doubles until the next look.
    pub(super) const fn was_used(&self, ack: &AckSample) -> bool {
        ack.cwnd_limited || self.in_slow_start() && ack.window_used > self.cwnd / 2
    }

    /// `by` bytes more, up to [`MAX_CWND`].
    pub(super) fn grow(&mut self, by: u32) {
        self.cwnd = self.cwnd.saturating_add(by).min(MAX_CWND.max(self.cwnd));
    }

    /// Slow start up to ssthresh, by no more than what was acknowledged (RFC 5681 §3.1, CC-4). What
    /// is left of the acknowledged bytes beyond it is congestion avoidance's; `None` when HyStart++
    /// ended it, and ssthresh is here. Later slow starts have no cap per ACK: a GRO peer
    /// acknowledges 64 KiB at once.
    #[inline]
    pub(super) fn slow_start(&mut self, ack: &AckSample) -> Option<u32> {
        let Growth::By(bytes) = self.hystart.on_ack(ack, self.mss) else {
            self.ssthresh = self.cwnd;
            return None;
        };
        if !self.was_used(ack) {
            return Some(0);
        }
        let used = bytes.min(self.ssthresh - self.cwnd);
        self.grow(used);
        Some(bytes - used)
    }

    /// A congestion signal leaves `bytes`: at least two segments (RFC 5681 (4), RFC 9438 §4.6); the
    /// loss window of one after a timeout (CC-8); down to one for a mark (RFC 3168 §6.1.2).
    pub(super) fn reduce(&mut self, kind: CongestionKind, bytes: u32) {
        self.hystart.stop();
        self.ssthresh = bytes.max(2 * self.mss); // CC-6, CU-3
        self.cwnd = match kind {
            CongestionKind::Timeout => self.mss,
            CongestionKind::Loss => self.ssthresh,
            CongestionKind::Ecn => bytes.max(self.mss),
        };
    }

    /// The reduction was needless: back to `before`, true, unless the window has grown past it
    /// meanwhile (RFC 9438 §4.9.2).
    pub(super) const fn restore(&mut self, before: &Self) -> bool {
        if self.cwnd > before.cwnd {
            return false;
        }
        let mss = self.mss;
        *self = *before;
        self.mss = mss;
        true
    }

    pub(super) fn set(&mut self, cwnd: u32, ssthresh: u32) {
        (self.cwnd, self.ssthresh) = (cwnd.max(self.mss), ssthresh);
    }

    pub(super) fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
        self.cwnd = self.cwnd.max(mss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Duration, Instant};
    use covers::covers;

    const MSS: u32 = 1_000;

    fn window(segments: u32) -> Window {
        Window::new(&Setup::new(MSS, segments * MSS))
    }

    #[test]
    fn slow_start_stops_at_the_threshold() {
        let mut window = window(10);
        window.ssthresh = 12 * MSS;
        let mut ack = AckSample::new(Instant::ZERO, 5 * MSS);
        ack.rtt = Some(Duration::from_millis(40));
        assert_eq!(window.slow_start(&ack), Some(3 * MSS));
        assert_eq!((window.cwnd, window.in_slow_start()), (12 * MSS, false));
    }

    #[test]
    fn no_window_grows_past_the_limit() {
        let mut window = window(10);
        for (cwnd, by) in [(MAX_CWND - 1, 5_000), (MAX_CWND, u32::MAX)] {
            window.cwnd = cwnd;
            window.grow(by);
            assert_eq!(window.cwnd, MAX_CWND);
        }
    }

    #[test]
    #[covers("CC-6", "CC-8", "CU-3")]
    fn a_reduction_leaves_two_segments_or_one() {
        use CongestionKind::{Ecn, Loss, Timeout};
        for (kind, bytes, cwnd, ssthresh) in [
            (Loss, 7_500, 7_500, 7_500),
            (Loss, 1_400, 2_000, 2_000),
            (Ecn, 1_400, 1_400, 2_000),
            (Ecn, 700, 1_000, 2_000),
            (Timeout, 7_500, 1_000, 7_500),
        ] {
            let mut window = window(10);
            window.reduce(kind, bytes);
            assert_eq!((window.cwnd, window.ssthresh), (cwnd, ssthresh), "{kind:?}");
        }
    }

    /// What has grown past the old window meanwhile is the better knowledge, in all its parts.
    #[test]
    #[covers("CU-8")]
    fn an_undo_that_comes_late_changes_nothing() {
        let before = window(10);
        let mut now = before;
        now.reduce(CongestionKind::Loss, 5 * MSS);
        now.grow(5 * MSS + 1);
        assert!(!now.restore(&before));
        assert_eq!((now.cwnd, now.ssthresh), (10 * MSS + 1, 5 * MSS));
        now.cwnd -= 1;
        assert!(now.restore(&before));
        assert_eq!((now.cwnd, now.ssthresh), (10 * MSS, u32::MAX));
    }
}
