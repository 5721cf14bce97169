//! NewReno's window: RFC 5681 with byte counting in congestion avoidance (RFC 3465).

use super::{
    AckSample, CongestionController, CongestionEvent, CongestionKind, slow_start, window_was_used,
};

/// RFC 5681 §3.1, in bytes.
#[derive(Clone, Debug)]
pub struct Reno {
    mss: u32,
    cwnd: u32,
    ssthresh: u32,
    /// Bytes acknowledged since the window grew last.
    credit: u32,
    before: Option<(u32, u32)>,
}

impl Reno {
    /// A controller that begins in slow start; ssthresh is arbitrarily high (CC-6).
    pub const fn new(mss: u32, initial_window: u32) -> Self {
        Self {
            mss,
            cwnd: initial_window,
            ssthresh: u32::MAX,
            credit: 0,
            before: None,
        }
    }
}

impl CongestionController for Reno {
    fn on_ack(&mut self, ack: &AckSample) {
        if ack.in_recovery || !window_was_used(ack, self.cwnd, self.ssthresh) {
            return;
        }
        self.credit += slow_start(&mut self.cwnd, self.ssthresh, ack.acked);
        while self.credit >= self.cwnd {
            self.credit -= self.cwnd;
            self.cwnd = self.cwnd.saturating_add(self.mss); // one MSS per window (CC-5)
        }
    }

    fn on_congestion(&mut self, event: &CongestionEvent) {
        self.before = Some((self.cwnd, self.ssthresh));
        self.ssthresh = (event.in_flight / 2).max(2 * self.mss); // RFC 5681 (4)
        self.cwnd = match event.kind {
            CongestionKind::Timeout => self.mss, // the loss window
            CongestionKind::Loss | CongestionKind::Ecn => self.ssthresh,
        };
        self.credit = 0;
    }

    fn undo(&mut self) {
        if let Some((cwnd, ssthresh)) = self.before.take() {
            self.cwnd = self.cwnd.max(cwnd);
            self.ssthresh = self.ssthresh.max(ssthresh);
        }
    }

    fn on_idle_restart(&mut self, initial_window: u32) {
        self.cwnd = self.cwnd.min(initial_window);
    }

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
        self.cwnd = self.cwnd.max(mss);
    }

    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.ssthresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    const MSS: u32 = 1000;

    fn ack(acked: u32, cwnd_limited: bool) -> AckSample {
        AckSample {
            now: Instant::ZERO,
            acked,
            in_flight: 0,
            cwnd_limited,
            srtt: None,
            in_recovery: false,
        }
    }

    fn event(kind: CongestionKind, in_flight: u32) -> CongestionEvent {
        CongestionEvent {
            now: Instant::ZERO,
            kind,
            in_flight,
        }
    }

    /// CC-4, CC-5.
    #[test]
    fn doubles_then_adds_one_segment_per_window() {
        let mut reno = Reno::new(MSS, 10 * MSS);
        reno.on_ack(&ack(10 * MSS, true));
        assert_eq!(reno.cwnd(), 20 * MSS);
        reno.on_congestion(&event(CongestionKind::Loss, 20 * MSS));
        assert_eq!((reno.cwnd(), reno.ssthresh()), (10 * MSS, 10 * MSS));
        for round in 1..=50 {
            let window = reno.cwnd();
            for _ in 0..window / MSS {
                reno.on_ack(&ack(MSS, true));
            }
            assert_eq!(reno.cwnd(), (10 + round) * MSS);
        }
    }

    /// CC-6, CC-8.
    #[test]
    fn a_timeout_starts_over_from_one_segment() {
        let mut reno = Reno::new(MSS, 40 * MSS);
        reno.on_congestion(&event(CongestionKind::Timeout, 12 * MSS));
        assert_eq!((reno.cwnd(), reno.ssthresh()), (MSS, 6 * MSS));
        reno.undo();
        assert_eq!((reno.cwnd(), reno.ssthresh()), (40 * MSS, u32::MAX));
    }

    /// RFC 7661: what was not used has proved nothing.
    #[test]
    fn an_unused_window_does_not_grow() {
        let mut reno = Reno::new(MSS, 10 * MSS);
        reno.on_ack(&ack(MSS, false));
        assert_eq!(reno.cwnd(), 10 * MSS);
    }
}
