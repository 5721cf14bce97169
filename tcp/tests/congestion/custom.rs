//! Algorithms from outside, and changing them on a live connection.

use std::time::Duration;

use covers::covers;
use ustack_tcp::CongestionAlgorithm::{Bbr, Cubic, Custom, Reno};
use ustack_tcp::CustomCongestion;
use ustack_tcp::congestion::{AckSample, CongestionController, CongestionEvent, Setup};

use crate::MS;
use crate::path::{MSS, Path, config};

/// Three segments at first, and one more per round.
#[derive(Debug)]
struct OnePerRound {
    mss: u32,
    cwnd: u32,
    last_rtt: Option<Duration>,
}

impl CongestionController for OnePerRound {
    fn on_ack(&mut self, ack: &AckSample) {
        self.last_rtt = ack.rtt.or(self.last_rtt);
        if ack.round_start {
            assert_eq!(self.last_rtt, Some(100 * MS));
            self.cwnd += self.mss;
        }
    }

    fn on_congestion(&mut self, event: &CongestionEvent) {
        assert!(event.in_flight <= self.cwnd + 2 * self.mss);
        self.cwnd = 2 * self.mss;
    }

    fn undo(&mut self) {}

    fn set_window(&mut self, cwnd: u32, _ssthresh: u32) {
        self.cwnd = cwnd;
    }

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
    }

    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        u32::MAX
    }
}

#[test]
fn an_algorithm_from_outside_decides_what_is_in_flight() {
    let algorithm = Custom(CustomCongestion {
        name: "one-per-round",
        make: |setup: &Setup| {
            assert_eq!((setup.mss, setup.cwnd), (MSS, 10 * MSS));
            Box::new(OnePerRound {
                mss: setup.mss,
                cwnd: 3 * setup.mss,
                last_rtt: None,
            })
        },
    });
    let mut path = Path::bulk(config(algorithm), false, 100 * MS);
    for window in 3..20 {
        path.transmit();
        assert_eq!(path.segments(), window);
        path.run_round();
    }
    path.lose_one();
    assert!(path.segments() <= 5, "{}", path.segments());
}

/// cwnd and ssthresh stay: slow start does not begin anew. The next loss is the new one's.
#[test]
#[covers("MAY-18")]
fn another_algorithm_goes_on_from_the_same_window() {
    for (first, second) in [(Reno, Cubic), (Cubic, Reno)] {
        let mut path = Path::bulk(config(first), false, 100 * MS);
        path.run_to(|path| path.segments() >= 100);
        path.lose_one();
        path.run_round();
        let before = path.segments();
        let (now, id) = (path.now, path.id);
        path.tcp
            .set_options(now, id, |options| options.congestion = Some(second))
            .expect("it lives");
        path.run_round();
        let grown = path.segments() - before;
        assert!(grown <= 5, "{first:?}: {before} and {grown} more");
        let flight = path.lose_one();
        let left = path.segments() * 100 / flight;
        let expected = if second == Reno { 50 } else { 70 };
        assert!(left.abs_diff(expected) <= 5, "{second:?}: {left} % left");
    }
}

/// BBR has no threshold: its window stands for it, which a timeout leaves at one segment.
#[test]
fn after_bbr_the_threshold_is_two_segments_at_least() {
    for algorithm in [Cubic, Reno] {
        let mut path = Path::bulk(config(Bbr), false, 100 * MS);
        path.gap = MS;
        let threshold = |path: &Path| {
            let info = path.tcp.info(path.now, path.id);
            info.expect("it lives").snd_ssthresh
        };
        path.run_to(|path| threshold(path).is_some());
        path.lose = Box::new(|_| true);
        path.run_for(Duration::from_secs(20));
        assert_eq!(threshold(&path), Some(MSS));
        let (now, id) = (path.now, path.id);
        path.tcp
            .set_options(now, id, |options| options.congestion = Some(algorithm))
            .expect("it lives");
        assert_eq!(threshold(&path), Some(2 * MSS));
    }
}
