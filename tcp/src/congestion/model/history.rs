//! Any history of facts: what every algorithm keeps to.

use super::super::*;
use crate::config::CongestionAlgorithm;
use crate::time::{Duration, Instant};
use proptest::prelude::*;

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
