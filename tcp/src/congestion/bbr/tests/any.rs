//! Whatever a transport may tell: no panic, a window of a segment at least, a rate above zero.

use super::super::Bbr;
use crate::congestion::{
    CongestionController, CongestionEvent, CongestionKind, DeliverySample, LostSample, MAX_CWND,
    RateSample, SentSample, Setup, initial_window,
};
use crate::time::{Duration, Instant};
use proptest::prelude::*;

/// A call: what, two volumes, a rate, and the time since the last one in nanoseconds.
type Step = (u8, u32, u32, u64, u64);

fn step() -> impl Strategy<Value = Step> {
    let volume = || 0u32..=1 << 30;
    (0u8..16, volume(), volume(), 0u64..1 << 45, 0u64..1 << 36)
}

fn delivery(now: Instant, delivered: u64, step: &Step) -> DeliverySample {
    let &(what, one, other, rate, nanos) = step;
    let mut sample = DeliverySample::new(now, one, delivered);
    (sample.prior_in_flight, sample.in_flight) = (one, other);
    (sample.in_recovery, sample.cwnd_limited) = (nanos % 2 == 0, nanos % 3 == 0);
    sample.rtt = (nanos % 5 > 0).then(|| Duration::from_nanos(nanos));
    sample.srtt = sample.rtt;
    sample.rate = (what > 6).then(|| RateSample {
        delivery_rate: rate,
        delivered: other.into(),
        prior_delivered: delivered.saturating_sub(nanos),
        interval: Duration::from_nanos(nanos),
        is_app_limited: nanos % 7 == 0,
        tx_in_flight: other,
        lost: (one / 8).into(),
    });
    sample
}

proptest! {
    #[test]
    fn any_history(
        seed: u64,
        sack: bool,
        mss in 88u32..=65_000,
        steps in proptest::collection::vec(step(), 1..300),
    ) {
        let mut setup = Setup::new(mss, initial_window(mss));
        (setup.seed, setup.sack) = (seed, sack);
        let mut bbr = Bbr::new(&setup);
        let (mut nanos, mut delivered) = (0, 0);
        for step in &steps {
            nanos += step.4;
            let now = Instant::from_nanos(nanos);
            let mut congestion = |kind| bbr.on_congestion(&CongestionEvent { now, kind, in_flight: step.1 });
            match step.0 {
                0 => congestion(CongestionKind::Loss),
                1 => congestion(CongestionKind::Timeout),
                2 => congestion(CongestionKind::Ecn),
                3 => bbr.undo(),
                4 => bbr.on_exit_recovery(),
                5 => {
                    let mut lost = LostSample::new(now, step.1, step.2);
                    (lost.delivered, lost.lost) = (delivered, step.3);
                    bbr.on_lost(&lost);
                }
                6 => {
                    let mut sent = SentSample::new(now, step.1, 0);
                    sent.app_limited = step.2 % 2 == 0;
                    bbr.on_sent(&sent);
                }
                _ => {
                    delivered += u64::from(step.1);
                    bbr.on_delivered(&delivery(now, delivered, step));
                    prop_assert!(bbr.cwnd() >= 4 * mss);
                }
            }
            prop_assert!((mss..=MAX_CWND).contains(&bbr.cwnd()));
            prop_assert!(bbr.pacing_rate() > Some(0));
            prop_assert!(bbr.send_quantum() >= Some(2 * mss));
        }
    }
}
