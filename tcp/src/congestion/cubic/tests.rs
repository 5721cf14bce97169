//! The published curve and the rules around it.

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

/// In congestion avoidance right after a loss at 100 segments.
fn after_loss_at_100() -> Cubic {
    let mut cubic = cubic(100);
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
#[covers("CU-1")]
fn the_curve_is_the_formula() {
    let cubic = after_loss_at_100();
    assert_eq!(cubic.window.curve.k / 1_000, 4_217);
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
#[covers("CU-1")]
fn k_is_the_formula() {
    for (plateau, seconds) in [
        (10, 1.957),
        (38, 3.055),
        (187, 5.196),
        (1_000, 9.086),
        (5_926, 16.44),
        (83_333, 39.69),
    ] {
        let mut cubic = cubic(plateau);
        lose(&mut cubic, Instant::ZERO, CongestionKind::Loss);
        cubic.begin_epoch(Instant::ZERO);
        let k = cubic.window.curve.k as f64 / 1e6;
        assert!((k / seconds - 1.0).abs() < 0.001, "{plateau}: {k}");
    }
}

/// However far the curve has gone meanwhile, a window of ACKs brings half a window (§4.2).
#[test]
#[covers("CU-1")]
fn a_round_trip_grows_the_window_by_half_at_most() {
    let mut cubic = after_loss_at_100();
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
    assert_eq!(
        (cubic.cwnd(), cubic.window.curve.w_max),
        (70 * MSS, 100 * MSS)
    );
    cubic.window.cwnd = 80 * MSS;
    lose(&mut cubic, Instant::ZERO, CongestionKind::Loss);
    assert_eq!(
        (cubic.cwnd(), cubic.window.curve.w_max),
        (56 * MSS, 68 * MSS)
    );
}

#[test]
#[covers("CU-6")]
fn after_a_timeout_the_curve_starts_flat() {
    let mut cubic = cubic(100);
    lose(&mut cubic, Instant::ZERO, CongestionKind::Timeout);
    assert_eq!((cubic.cwnd(), cubic.ssthresh()), (MSS, 70 * MSS));
    cubic.on_ack(&ack(Instant::ZERO, 69 * MSS, 10));
    cubic.on_ack(&ack(Instant::ZERO, MSS, 10));
    assert_eq!(
        (cubic.window.curve.k, cubic.window.curve.w_max),
        (0, 70 * MSS)
    );
}

#[test]
#[covers("CU-7")]
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
#[covers("CU-8")]
fn a_false_alarm_is_taken_back() {
    let mut cubic = after_loss_at_100();
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
    cubic.leave_slow_start();
    assert_eq!(cubic.ssthresh(), cubic.cwnd());
    cubic.on_ack(&ack(Instant::ZERO, MSS, 100));
    let curve = cubic.window.curve;
    assert_eq!(
        (curve.w_max, curve.k, curve.cwnd_prior),
        (100 * MSS, 0, 100 * MSS)
    );
}
