//! The published curve and the rules around it.

use std::vec::Vec;

use super::*;
use covers::covers;

const MSS: u32 = 1_000;

fn ack(now: Instant, acked: u32, srtt: u64) -> AckSample {
    let mut ack = AckSample::new(now, acked);
    ack.srtt = Some(Duration::from_millis(srtt));
    ack
}

fn cubic(segments: u32) -> Cubic {
    Cubic::new(&Setup::new(MSS, segments * MSS))
}

fn lose(cubic: &mut Cubic, now: Instant, kind: CongestionKind) {
    let in_flight = cubic.cwnd();
    cubic.on_congestion(&CongestionEvent {
        now,
        kind,
        in_flight,
    });
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

/// In congestion avoidance right after a loss at `plateau` segments.
fn after_loss_at(plateau: u32) -> Cubic {
    let mut cubic = cubic(plateau);
    lose(&mut cubic, Instant::ZERO, CongestionKind::Loss);
    cubic.begin_epoch(Instant::ZERO);
    cubic
}

const PLATEAUS: [u32; 7] = [10, 38, 100, 187, 1_000, 5_926, 83_333];

/// RFC 9438 §4.2, figures 1 and 2, for any plateau from the loss to three times K: off by no more
/// than a byte and what the curve gains in the microsecond that K is rounded by.
#[test]
#[covers("CU-1")]
fn the_curve_is_the_formula() {
    for plateau in PLATEAUS {
        let cubic = after_loss_at(plateau);
        let w_max = f64::from(plateau);
        let k = (w_max * 0.3 / 0.4).cbrt();
        assert!((cubic.curve.k as f64 / 1e6 - k).abs() <= 1e-6, "{plateau}");
        for step in 0..=300 {
            let t = k * f64::from(step) / 100.0;
            let formula = (0.4 * (t - k).powi(3) + w_max) * f64::from(MSS);
            let slope = 3.0 * 0.4 * (t - k).powi(2) * f64::from(MSS);
            let got = f64::from(cubic.w_cubic(Duration::from_micros((t * 1e6) as u64)));
            assert!(
                (got - formula).abs() <= 1.01 + 2e-6 * slope,
                "{plateau}: W({t}) = {got}, not {formula}"
            );
        }
        for (ks, share) in [(0.5, 0.9625), (1.0, 1.0), (2.0, 1.3), (3.0, 3.4)] {
            let at = Duration::from_micros((cubic.curve.k as f64 * ks) as u64);
            let got = f64::from(cubic.w_cubic(at)) / f64::from(MSS);
            assert!(
                (got / w_max / share - 1.0).abs() < 1e-4,
                "W({ks} K) = {got}"
            );
        }
    }
}

/// The same bytes on every machine.
#[test]
#[covers("CU-1")]
fn the_curve_is_the_same_everywhere() {
    const SECONDS: [u64; 11] = [0, 1, 2, 3, 4, 5, 6, 8, 10, 20, 40];
    let small = [
        70_001, 86_681, 95_641, 99_279, 99_996, 100_191, 102_266, 121_652, 177_354, 1_672_588,
        18_426_701,
    ];
    let large = [
        58_333_101, 60_175_756, 61_925_566, 63_584_933, 65_156_256, 66_641_935, 68_044_369,
        70_609_107, 72_869_669, 80_281_844, 83_333_012,
    ];
    for (plateau, k, bytes) in [(100, 4_217_163, small), (83_333, 39_684_973, large)] {
        let cubic = after_loss_at(plateau);
        assert_eq!(cubic.curve.k, k);
        let got = SECONDS.map(|second| cubic.w_cubic(Duration::from_secs(second)));
        assert_eq!(got, bytes, "plateau {plateau}");
    }
}

/// K for the plateaus of the published table.
#[test]
#[covers("CU-1")]
fn k_is_the_formula() {
    let published = [1.957, 3.055, 4.217, 5.196, 9.086, 16.44, 39.69];
    for (plateau, seconds) in PLATEAUS.into_iter().zip(published) {
        let k = after_loss_at(plateau).curve.k as f64 / 1e6;
        assert!((k / seconds - 1.0).abs() < 0.001, "{plateau}: {k}");
    }
}

/// Where Reno's estimate takes over from the curve with 100 segments, and where it gives way again.
#[test]
#[covers("CU-4")]
fn the_estimate_takes_over_when_the_formulas_say() {
    for (rtt, from, until) in [(100u64, 5.84, 8.2), (50, 2.70, 11.9), (10, 0.0, 14.0)] {
        let mut cubic = after_loss_at(100);
        let (mut now, mut friendly) = (Instant::ZERO, Vec::new());
        while now < Instant::from_millis(14_000) {
            now += Duration::from_micros(rtt * 1_000 * u64::from(MSS) / u64::from(cubic.cwnd()));
            cubic.on_ack(&ack(now, MSS, rtt));
            let t = now - Instant::ZERO;
            if cubic.w_cubic(t) < cubic.curve.w_est {
                friendly.push(t.as_secs_f64());
            }
        }
        let first = *friendly.first().expect("a friendly region");
        let last = *friendly.last().expect("a friendly region");
        assert!(
            (first - from).abs() < 0.02 && (last - until).abs() < 0.02,
            "{rtt} ms: from {first:.2} s until {last:.2} s"
        );
    }
}

/// However far the curve has gone meanwhile, a window of ACKs brings half a window (§4.2).
#[test]
#[covers("CU-1")]
fn a_round_trip_grows_the_window_by_half_at_most() {
    let mut cubic = after_loss_at(100);
    cubic.on_ack(&ack(Instant::from_millis(60_000), 70 * MSS, 100));
    assert_eq!(cubic.cwnd(), 105 * MSS);
}

/// Driven by ACKs, the window follows the curve.
#[test]
#[covers("CU-1")]
fn acks_move_the_window_along_the_curve() {
    let mut cubic = cubic(1_000);
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

/// On a short path Reno's window is the larger, and counts.
#[test]
#[covers("CU-4")]
fn short_paths_are_reno_friendly() {
    let mut cubic = cubic(20);
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

#[test]
#[covers("CU-3", "CU-5")]
fn a_second_loss_below_the_plateau_lowers_it() {
    let mut cubic = cubic(100);
    lose(&mut cubic, Instant::ZERO, CongestionKind::Loss);
    assert_eq!((cubic.cwnd(), cubic.curve.w_max), (70 * MSS, 100 * MSS));
    cubic.window.cwnd = 80 * MSS;
    lose(&mut cubic, Instant::ZERO, CongestionKind::Loss);
    assert_eq!((cubic.cwnd(), cubic.curve.w_max), (56 * MSS, 68 * MSS));
}

#[test]
#[covers("CU-6")]
fn after_a_timeout_the_curve_starts_flat() {
    let mut cubic = cubic(100);
    lose(&mut cubic, Instant::ZERO, CongestionKind::Timeout);
    assert_eq!((cubic.cwnd(), cubic.ssthresh()), (MSS, 70 * MSS));
    cubic.on_ack(&ack(Instant::ZERO, 69 * MSS, 10));
    cubic.on_ack(&ack(Instant::ZERO, MSS, 10));
    assert_eq!((cubic.curve.k, cubic.curve.w_max), (0, 70 * MSS));
}

#[test]
#[covers("CU-7")]
fn time_in_which_the_application_held_back_does_not_count() {
    let mut cubic = after_loss_at(100);
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
#[covers("CU-8")]
fn a_false_alarm_is_taken_back() {
    let mut cubic = after_loss_at(100);
    let (cwnd, ssthresh) = (cubic.cwnd(), cubic.ssthresh());
    lose(&mut cubic, Instant::from_millis(5), CongestionKind::Loss);
    cubic.undo();
    assert_eq!((cubic.cwnd(), cubic.ssthresh()), (cwnd, ssthresh));
}

/// A mark is answered like a loss, except that one segment may be left; ssthresh keeps two.
#[test]
#[covers("CU-3")]
fn a_mark_may_leave_one_segment() {
    for (segments, left) in [(100, 70_000), (2, 1_400), (1, 1_000)] {
        let mut cubic = cubic(segments);
        lose(&mut cubic, Instant::ZERO, CongestionKind::Ecn);
        assert_eq!(cubic.cwnd(), left);
        assert_eq!(cubic.ssthresh(), left.max(2 * MSS));
    }
}

/// HyStart++ ends slow start: the curve begins flat at this window, which is Wmax (§4.10).
#[test]
#[covers("HS-2")]
fn slow_start_that_ends_without_a_loss_begins_the_curve_flat() {
    let mut cubic = cubic(100);
    for (round, rtt) in [40, 46, 46, 46, 46, 46, 46].into_iter().enumerate() {
        for index in 0..10 {
            let mut ack = ack(Instant::from_millis(round as u64 * 46), MSS, rtt);
            (ack.round_start, ack.rtt) = (index == 0, ack.srtt);
            cubic.on_ack(&ack);
        }
    }
    let left = cubic.ssthresh();
    assert!((110 * MSS..150 * MSS).contains(&left), "{left}");
    let curve = cubic.curve;
    assert_eq!((curve.w_max, curve.k, curve.cwnd_prior), (left, 0, left));
}
