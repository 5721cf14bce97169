//! NewReno's window: RFC 5681 with byte counting in congestion avoidance (RFC 3465).

use super::window::{RestingWindow, Window};
use super::{AckSample, CongestionController, CongestionEvent, Setup};

/// RFC 5681 §3.1, in bytes.
#[derive(Clone, Debug)]
pub struct Reno {
    window: Window,
    /// Bytes acknowledged in congestion avoidance since the window grew last.
    credit: u32,
    /// What the last congestion event changed.
    before: Option<Window>,
}

/// What lasts of it while nothing is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestingReno {
    window: RestingWindow,
    credit: u32,
}

impl Reno {
    pub(super) const fn rest(&self) -> RestingReno {
        RestingReno {
            window: self.window.rest(),
            credit: self.credit,
        }
    }

    pub(super) const fn woken(rest: &RestingReno, mss: u32) -> Self {
        Self {
            window: Window::woken(&rest.window, mss),
            credit: rest.credit,
            before: None,
        }
    }

    /// A controller that begins where `setup` says.
    pub const fn new(setup: &Setup) -> Self {
        Self {
            window: Window::new(setup),
            credit: 0,
            before: None,
        }
    }

    /// What was acknowledged since the window grew last.
    #[cfg(test)]
    pub(super) const fn credit(&self) -> u32 {
        self.credit
    }

    /// One segment per window of acknowledged bytes (CC-5).
    fn avoid_congestion(&mut self, acked: u32) {
        let window = &mut self.window;
        self.credit = self.credit.saturating_add(acked);
        if self.credit >= window.cwnd {
            self.credit = (self.credit - window.cwnd).min(window.cwnd);
            window.grow(window.mss);
        }
    }
}

impl CongestionController for Reno {
    fn on_ack(&mut self, ack: &AckSample) {
        if ack.in_recovery {
            return;
        }
        if self.window.in_slow_start() {
            if let Some(rest @ 1..) = self.window.slow_start(ack) {
                self.avoid_congestion(rest);
            }
        } else if self.window.was_used(ack) {
            self.avoid_congestion(ack.acked);
        }
    }

    fn on_congestion(&mut self, event: &CongestionEvent) {
        self.before = Some(self.window);
        self.window.reduce(event.kind, event.in_flight / 2);
        self.credit = 0;
    }

    fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            self.window.restore(&before);
        }
    }

    fn set_window(&mut self, cwnd: u32, ssthresh: u32) {
        self.window.set(cwnd, ssthresh);
        self.credit = 0;
    }

    fn set_mss(&mut self, mss: u32) {
        self.window.set_mss(mss);
    }

    fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::congestion::CongestionKind;
    use crate::time::Instant;
    use covers::covers;

    const MSS: u32 = 1000;

    fn reno(cwnd: u32) -> Reno {
        Reno::new(&Setup::new(MSS, cwnd))
    }

    fn ack(acked: u32) -> AckSample {
        AckSample::new(Instant::ZERO, acked)
    }

    fn event(kind: CongestionKind, in_flight: u32) -> CongestionEvent {
        CongestionEvent {
            now: Instant::ZERO,
            kind,
            in_flight,
        }
    }

    #[test]
    #[covers("CC-4", "CC-5")]
    fn doubles_then_adds_one_segment_per_window() {
        let mut reno = reno(10 * MSS);
        (0..10).for_each(|_| reno.on_ack(&ack(MSS)));
        assert_eq!(reno.cwnd(), 20 * MSS);
        reno.on_congestion(&event(CongestionKind::Loss, 20 * MSS));
        assert_eq!((reno.cwnd(), reno.ssthresh()), (10 * MSS, 10 * MSS));
        for round in 1..=50 {
            let window = reno.cwnd();
            for _ in 0..window / MSS {
                reno.on_ack(&ack(MSS));
            }
            assert_eq!(reno.cwnd(), (10 + round) * MSS);
        }
    }

    /// Bytes count, not ACKs (RFC 3465): a split ACK gains nothing.
    #[test]
    #[covers("CC-4")]
    fn split_acks_gain_nothing() {
        let mut reno = reno(10 * MSS);
        (0..100).for_each(|_| reno.on_ack(&ack(10)));
        assert_eq!(reno.cwnd(), 11 * MSS);
        reno.on_congestion(&event(CongestionKind::Loss, 20 * MSS));
        (0..1_000).for_each(|_| reno.on_ack(&ack(10)));
        assert_eq!(reno.cwnd(), 11 * MSS);
    }

    #[test]
    #[covers("CC-6", "CC-8")]
    fn a_timeout_starts_over_from_one_segment() {
        let mut reno = reno(40 * MSS);
        reno.on_congestion(&event(CongestionKind::Timeout, 12 * MSS));
        assert_eq!((reno.cwnd(), reno.ssthresh()), (MSS, 6 * MSS));
        reno.undo();
        assert_eq!((reno.cwnd(), reno.ssthresh()), (40 * MSS, u32::MAX));
    }

    /// RFC 7661: what was not used has proved nothing.
    #[test]
    #[covers("RV-1")]
    fn an_unused_window_does_not_grow() {
        let mut reno = reno(10 * MSS);
        let mut unused = ack(MSS);
        (unused.cwnd_limited, unused.window_used) = (false, 5 * MSS);
        reno.on_ack(&unused);
        assert_eq!(reno.cwnd(), 10 * MSS);
        unused.window_used += 1; // in slow start half of it is enough
        reno.on_ack(&unused);
        assert_eq!(reno.cwnd(), 11 * MSS);
        reno.on_congestion(&event(CongestionKind::Ecn, 8 * MSS));
        reno.on_ack(&unused);
        assert_eq!(reno.cwnd(), 4 * MSS);
    }
}
