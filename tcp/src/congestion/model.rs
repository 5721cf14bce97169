//! Both algorithms from outside: any history, and the published mean windows.

use super::*;
use crate::config::CongestionAlgorithm;
use proptest::prelude::*;

const MSS: u32 = 1_000;

fn loss(cc: &Controller, now: Instant) -> CongestionEvent {
    CongestionEvent {
        now,
        kind: CongestionKind::Loss,
        in_flight: cc.cwnd(),
    }
}

/// Mean window in segments with a loss every `per_loss` segments on a path of 100 ms, one ACK per
/// segment, started at the window `plateau`.
fn mean_window(algorithm: CongestionAlgorithm, per_loss: u32, plateau: u32) -> f64 {
    const RTT: Duration = Duration::from_millis(100);
    let mut cc = Controller::new(algorithm, &Setup::new(MSS, plateau * MSS));
    cc.on_congestion(&loss(&cc, Instant::ZERO));
    let mut nanos = 0;
    let (mut windows, mut time) = (0.0, 0.0);
    for epoch in 0..60 {
        for _ in 0..per_loss {
            let gap = RTT.as_nanos() as u64 * u64::from(MSS) / u64::from(cc.cwnd());
            if epoch >= 10 {
                windows += f64::from(cc.cwnd() / MSS) * gap as f64;
                time += gap as f64;
            }
            nanos += gap;
            let mut ack = AckSample::new(Instant::from_nanos(nanos), MSS);
            ack.srtt = Some(RTT);
            cc.on_ack(&ack);
        }
        cc.on_congestion(&loss(&cc, Instant::from_nanos(nanos)));
    }
    windows / time
}

/// RFC 9438 §5, table 1, and 1.2/√p for Reno. An ideal sender meets the friendly region at 1.02 to
/// 1.05 of the table, and with fast convergence the cubic region at about 0.94.
#[test]
fn mean_windows_are_the_published_ones() {
    use CongestionAlgorithm::{Cubic, Reno};
    for (algorithm, per_loss, published, low, high) in [
        (Reno, 1_000, 38.0, 0.98, 1.05),
        (Reno, 10_000, 120.0, 0.98, 1.05),
        (Cubic, 1_000, 38.0, 0.98, 1.08),
        (Cubic, 10_000, 187.0, 0.89, 0.99),
    ] {
        let plateau = (published / 0.925) as u32;
        let ratio = mean_window(algorithm, per_loss, plateau) / published;
        assert!(
            (low..high).contains(&ratio),
            "{algorithm:?}, a loss every {per_loss}: {ratio:.3} of {published}"
        );
    }
}

proptest! {
    /// Whatever comes: no panic, never less than a segment, and nothing grows by an ACK that does
    /// not count.
    #[test]
    fn any_history_keeps_a_window(
        cubic: bool,
        mss in 88u32..=65_000,
        steps in proptest::collection::vec((0u8..10, 0u32..1 << 30, 0u64..1 << 42), 1..200),
    ) {
        let algorithm = if cubic { CongestionAlgorithm::Cubic } else { CongestionAlgorithm::Reno };
        let mut cc = Controller::new(algorithm, &Setup::new(mss, initial_window(mss)));
        let mut nanos = 0;
        for (what, in_flight, gap) in steps {
            nanos += gap;
            let now = Instant::from_nanos(nanos);
            let before = cc.cwnd();
            let congestion = |kind| CongestionEvent { now, kind, in_flight };
            match what {
                0 => cc.on_congestion(&congestion(CongestionKind::Loss)),
                1 => cc.on_congestion(&congestion(CongestionKind::Timeout)),
                2 => cc.on_congestion(&congestion(CongestionKind::Ecn)),
                3 => cc.undo(),
                4 => cc.set_window(initial_window(mss), cc.ssthresh()),
                _ => {
                    let in_recovery = what == 5;
                    let mut ack = AckSample::new(now, in_flight);
                    (ack.in_flight, ack.window_used) = (in_flight, in_flight);
                    ack.cwnd_limited = what > 6;
                    ack.round_start = gap % 3 == 0;
                    ack.srtt = Some(Duration::from_nanos(gap / 7));
                    ack.rtt = ack.srtt;
                    ack.in_recovery = in_recovery;
                    cc.on_ack(&ack);
                    prop_assert!(cc.cwnd() >= before);
                    prop_assert!(!in_recovery || cc.cwnd() == before);
                }
            }
            prop_assert!(cc.cwnd() >= mss && cc.ssthresh() >= 2 * mss);
        }
    }
}
