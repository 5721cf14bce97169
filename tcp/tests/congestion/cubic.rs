//! CUBIC's window (RFC 9438), seen from the wire.

use std::time::Duration;

use covers::covers;
use ustack_tcp::CongestionAlgorithm::{Cubic, Reno};

use crate::MS;
use crate::path::{MSS, Path, config};

const C: f64 = 0.4;

/// The formulas of RFC 9438 §4.2, in floating point and segments.
struct Curve {
    w_max: f64,
    k: f64,
}

impl Curve {
    fn new(w_max: f64, cwnd: f64) -> Self {
        Self {
            w_max,
            k: ((w_max - cwnd) / C).cbrt(),
        }
    }

    fn at(&self, t: f64) -> f64 {
        self.w_max + C * (t - self.k).powi(3)
    }
}

/// A sawtooth of a minute: after each loss the window follows §4.4 and §4.5.
#[test]
#[covers("CU-1")]
fn the_window_follows_the_curve_for_a_minute() {
    const RTT: f64 = 0.2;
    let mut path = Path::bulk(config(Cubic), false, 200 * MS);
    path.gap = MS / 5;
    path.run_to(|path| path.segments() >= 150);
    let begin = path.now;
    while path.now - begin < Duration::from_secs(60) {
        let before = path.lose_one();
        let (start, mut cwnd) = (path.now, f64::from(path.segments()));
        let w_max = cwnd / 0.7;
        let curve = Curve::new(w_max, cwnd);
        let mut t = 0.0;
        let peak = before + 20; // below the last one it would make room for others
        while path.segments() < peak {
            path.run_round();
            let now = (path.now - start).as_secs_f64();
            while t < now {
                let step = RTT / 50.0;
                cwnd += (curve.at(t + RTT).clamp(cwnd, 1.5 * cwnd) - cwnd) * step / RTT;
                t += step;
            }
            let ratio = f64::from(path.segments()) / cwnd;
            assert!(
                (ratio - 1.0).abs() < 0.02,
                "{} segments {now:.1} s after a loss at {w_max:.0}, not {cwnd:.1}",
                path.segments()
            );
        }
    }
}

/// Seven tenths of what was in flight, two segments at least.
#[test]
#[covers("CU-3")]
fn a_loss_leaves_seven_tenths() {
    for (flight, left) in [(100, 70), (40, 28), (10, 7), (2, 2)] {
        for ipv6 in [false, true] {
            let mut path = Path::bulk(config(Cubic), ipv6, 100 * MS);
            path.run_to(|path| path.segments() >= 110);
            path.lose_from_flight_of(flight);
            assert_eq!(path.burst(), left);
        }
    }
}

/// Marks on all of a flight: seven tenths, once, and of two segments one.
#[test]
#[covers("CU-3")]
fn marks_leave_seven_tenths_or_one_segment() {
    for (flight, left) in [(100, 70), (10, 7), (2, 1)] {
        let mut path = Path::with_ecn(config(Cubic), false, 100 * MS);
        path.bulk = true;
        path.run_to(|path| path.segments() >= 110);
        assert_eq!(path.mark_flight_of(flight), left, "{flight}");
    }
}

/// On a short path the window grows as Reno's would: 9/17 of a segment per round trip up to where
/// the loss was, one beyond.
#[test]
#[covers("CU-4")]
fn a_short_path_is_reno_friendly() {
    let mut path = Path::bulk(config(Cubic), false, 10 * MS);
    path.run_to(|path| path.segments() >= 20);
    path.lose_one();
    let start = f64::from(path.segments());
    let prior = start / 0.7;
    let mut expected = start;
    for round in 1..=60 {
        path.run_round();
        expected += if expected < prior { 9.0 / 17.0 } else { 1.0 };
        let got = f64::from(path.segments());
        assert!(
            (got - expected).abs() <= 2.0,
            "round trip {round} after a loss at {prior}: {got}, not {expected:.1}"
        );
    }
}

/// A loss below the last plateau puts the next one at 0.85 of where it happened.
#[test]
#[covers("CU-5")]
fn a_loss_below_the_plateau_makes_room() {
    let mut path = Path::bulk(config(Cubic), false, 200 * MS);
    path.run_to(|path| path.segments() >= 100);
    let first = path.lose_one();
    path.run_to(|path| path.segments() >= first * 8 / 10);
    let second = path.lose_one();
    assert!(second < first * 9 / 10, "{second} of {first}");
    let start = path.now;
    // Where it would be back at 0.99 of the second loss without making room.
    let slow = Curve::new(f64::from(second), f64::from(second) * 0.7);
    path.run_until(start + Duration::from_secs_f64(slow.k));
    let plateau = f64::from(second) * 0.85;
    let got = f64::from(path.segments());
    assert!(
        (got / plateau - 1.0).abs() < 0.03,
        "{got} of {plateau}, {second} was lost"
    );
}

/// After a timeout: seven tenths is where slow start ends, and the curve begins flat there.
#[test]
#[covers("CU-6")]
fn after_a_timeout_the_curve_begins_flat() {
    let mut path = Path::bulk(config(Cubic), false, 200 * MS);
    path.run_to(|path| path.segments() >= 100);
    path.lose_one();
    path.run_round();
    let flight = path.segments();
    let (start, end) = (path.now, path.now + 950 * MS);
    path.lose = Box::new(move |sent| (start..end).contains(&sent.at));
    path.run_for(950 * MS); // the probe of the tail is lost, too
    let lost = path
        .sent
        .iter()
        .map(|sent| sent.offset)
        .max()
        .expect("some");
    path.run_to(|path| path.sent.last().is_some_and(|sent| sent.offset > lost));
    path.run_round();
    let (start, base) = (path.now, f64::from(path.segments()));
    let ssthresh = f64::from(flight) * 0.7;
    assert!(
        (base / ssthresh - 1.0).abs() < 0.06,
        "{base} after {flight}, not {ssthresh}"
    );
    for seconds in [1.0, 2.0, 4.0, 6.0] {
        path.run_until(start + Duration::from_secs_f64(seconds));
        // The epoch began up to two round trips earlier.
        let least = base + C * f64::powi(seconds, 3);
        let friendly = base + 9.0 / 17.0 * (seconds / 0.2 + 2.0);
        let most = (base + C * f64::powi(seconds + 0.4, 3)).max(friendly) + 1.0;
        let got = f64::from(path.segments());
        assert!(
            (least - 1.0..most).contains(&got),
            "{seconds} s: {got}, not {least:.1} to {most:.1}"
        );
    }
}

/// A minute at a trickle does not count: the window grows on as if it had not been.
#[test]
#[covers("CU-7")]
fn time_without_data_does_not_count() {
    let mut path = Path::bulk(config(Cubic), false, 200 * MS);
    path.run_to(|path| path.segments() >= 100);
    let lost = f64::from(path.lose_one());
    path.trickle(2, Duration::from_secs(60));
    let before = path.burst();
    path.run_round();
    let grown = f64::from(path.segments() - before);
    // The curve is steepest where it begins.
    let curve = Curve::new(lost, 0.7 * lost);
    let most = curve.at(0.4) - curve.at(0.0);
    assert!(
        (0.0..=most + 1.0).contains(&grown),
        "{grown}, not {most:.1}"
    );
    path.run_for(Duration::from_secs(2));
    assert!(path.segments() > before + 5, "{}", path.segments());
    assert!(u64::from(MSS) * 2 < path.flight());
}

/// Four segments come late and are sent again; D-SACKs say that nothing was lost. A round trip
/// later the window is what it was, and the curve goes on where it was.
#[test]
#[covers("CU-8")]
fn a_false_alarm_is_taken_back() {
    for ipv6 in [false, true] {
        let mut path = Path::bulk(config(Cubic), ipv6, 100 * MS);
        path.gap = MS / 5;
        path.run_to(|path| path.segments() >= 100);
        path.lose_one();
        path.run_for(Duration::from_secs(2));
        let (before, first) = (path.segments(), path.sent.len());
        path.late = Box::new(move |sent| {
            if (first..first + 4).contains(&sent.number) {
                70 * MS
            } else {
                Duration::ZERO
            }
        });
        path.run_to(|path| path.sent[first..].iter().any(|sent| sent.again));
        let mut least = before;
        let end = path.now + 200 * MS; // the D-SACK's round trip, and one more
        while path.now < end {
            path.step();
            least = least.min(path.segments());
        }
        let resent = path.sent[first..].iter().filter(|sent| sent.again).count();
        assert!((1..=4).contains(&resent), "{resent}");
        assert!(least < before * 17 / 20, "{least} of {before}");
        let after = path.segments();
        assert!(
            (before..=before + 12).contains(&after),
            "{before}, {least}, {after}"
        );
    }
}

/// A link that loses every n-th segment: the mean window of tables 1 and 2, and Reno's beside it.
/// A round trip of recovery per loss is part of it, and in the cubic region fast convergence.
#[test]
#[covers("CU-4", "CU-9")]
fn mean_windows_are_the_published_ones() {
    for (algorithm, rtt, per_loss, published) in [
        (Reno, 100, 1_000, 38.0),
        (Cubic, 100, 1_000, 38.0),
        (Cubic, 10, 1_000, 38.0),
        (Cubic, 100, 10_000, 187.0 * 0.94),
        (Cubic, 10, 10_000, 120.0),
    ] {
        let mut path = Path::bulk(config(algorithm), false, rtt * MS);
        path.gap = MS / 100;
        path.run_to(|path| f64::from(path.segments()) >= published / 2.0);
        let mut left = 1; // slow start ends at about the plateau
        path.lose = Box::new(move |sent| {
            if !sent.again {
                left = if left == 0 { per_loss } else { left } - 1;
            }
            !sent.again && left == 0
        });
        path.run_round();
        let (start, sent) = (path.now, path.sent.len());
        path.run_to(|path| path.sent.len() >= sent + 12 * per_loss);
        let rounds = (path.now - start).as_secs_f64() / f64::from(rtt) * 1e3;
        let mean = (path.sent.len() - sent) as f64 / rounds;
        let ratio = mean / published;
        assert!(
            (ratio - 1.0).abs() < 0.07,
            "{algorithm:?}, {rtt} ms, one in {per_loss}: {ratio:.3} of {published}"
        );
    }
}
