//! HyStart++ (RFC 9406).

use covers::covers;
use ustack_tcp::CongestionAlgorithm::{Cubic, Reno};
use ustack_tcp::{Config, CongestionAlgorithm};

use crate::MS;
use crate::path::{Path, config};

/// Flights of 10 and 20 segments with round trips of 40 ms; what leaves after that has `late` ms.
fn ramp(config: Config, late: u32) -> Path {
    let mut path = Path::bulk(config, false, 40 * MS);
    path.rtt = Box::new(move |sent| if sent.number < 30 { 40 } else { late } * MS);
    path.run_round();
    path.run_round();
    assert_eq!(path.segments(), 40);
    path
}

/// Seven ACKs let two segments out each; the eighth, and all that follow, five in four.
#[test]
#[covers("HS-1")]
fn the_eighth_late_ack_slows_slow_start_down() {
    for algorithm in [Reno, Cubic] {
        for (late, in_css) in [(46, true), (45, true), (44, false)] {
            let mut path = ramp(config(algorithm), late);
            let start = path.sent.len();
            let mut per_ack = Vec::new();
            for _ in 0..40 {
                let before = path.sent.len();
                while !path.step() {}
                per_ack.push(path.sent.len() - before);
            }
            assert!(path.sent.iter().all(|sent| !sent.again));
            let sent = path.sent.len() - start;
            if in_css {
                assert_eq!(per_ack[..7], [2; 7], "{algorithm:?}");
                assert_eq!(sent, 7 * 2 + 33 * 5 / 4, "{algorithm:?}");
                assert!(per_ack[7..11].iter().sum::<usize>() == 5, "{per_ack:?}");
            } else {
                assert_eq!(sent, 80, "{algorithm:?}");
            }
        }
    }
}

/// Five rounds of conservative slow start, a quarter more each, then congestion avoidance.
#[test]
#[covers("HS-2")]
fn five_rounds_and_slow_start_is_over() {
    for algorithm in [Reno, Cubic] {
        let mut path = ramp(config(algorithm), 46);
        let mut windows = Vec::new();
        for _ in 0..8 {
            path.run_round();
            windows.push(path.segments());
        }
        for (round, pair) in windows.windows(2).enumerate() {
            let growth = f64::from(pair[1]) / f64::from(pair[0]);
            if round < 4 {
                assert!((1.23..1.27).contains(&growth), "{algorithm:?}: {windows:?}");
            } else {
                assert!(pair[1] - pair[0] <= 2, "{algorithm:?}: {windows:?}");
            }
        }
        assert!(path.sent.iter().all(|sent| !sent.again));
    }
}

/// The round trip falls below what it was at the entry: slow start goes on, doubling.
#[test]
#[covers("HS-2")]
fn a_ramp_that_is_withdrawn_resumes_slow_start() {
    let mut path = ramp(config(Cubic), 46);
    path.run_round();
    let slow = path.segments();
    assert!((54..=56).contains(&slow), "{slow}");
    path.rtt = Box::new(|_| 41 * MS);
    path.run_round(); // of what left before
    path.run_round();
    let before = path.segments();
    path.run_round();
    assert!(
        path.segments() >= 2 * before - 1,
        "{before} to {}",
        path.segments()
    );
}

/// After a timeout slow start is not watched: it doubles however late its ACKs are.
#[test]
#[covers("HS-3")]
fn a_later_slow_start_is_not_watched() {
    for algorithm in [Reno, Cubic] {
        let mut path = Path::with_timestamps(config(algorithm), 40 * MS);
        path.bulk = true;
        path.run_to(|path| path.segments() >= 200);
        let (start, end) = (path.now, path.now + 950 * MS);
        path.lose = Box::new(move |sent| (start..end).contains(&sent.at));
        path.run_for(950 * MS);
        let resent = path.sent.len();
        // Each flight of the slow start that follows is later than the one before.
        path.rtt = Box::new(move |sent| (40 + sent.number.saturating_sub(resent) as u32) * MS);
        path.run_to(|path| path.sent.len() >= resent + 130);
        let mut flights = vec![1];
        for pair in path.sent[resent..].windows(2) {
            if pair[1].at > pair[0].at + 20 * MS {
                flights.push(0);
            }
            *flights.last_mut().expect("one") += 1;
        }
        // The second flight is new data: whether the timeout was spurious (RFC 5682).
        assert_eq!(flights[..8], [1, 2, 2, 4, 8, 16, 32, 64], "{algorithm:?}");
    }
}

/// After an idle time neither.
#[test]
#[covers("HS-3")]
fn slow_start_after_idle_is_not_watched() {
    for algorithm in [Reno, Cubic] {
        let mut path = Path::bulk(config(algorithm), false, 40 * MS);
        path.run_to(|path| path.segments() >= 200);
        path.lose_one();
        path.trickle(10, 1_000 * MS);
        path.run_for(10_000 * MS);
        let (start, first) = (path.sent.len(), path.burst());
        let second = start + 10;
        path.rtt = Box::new(move |sent| if sent.number < second { 40 } else { 60 } * MS);
        path.run_round();
        path.run_round();
        path.run_round();
        assert_eq!((first, path.segments()), (10, 80), "{algorithm:?}");
    }
}

/// One ACK for a whole burst: it counts for eight segments where each left in a frame of its own,
/// for all of them where the device cuts super-segments.
#[test]
#[covers("HS-3")]
fn an_ack_for_many_segments_counts_for_eight_on_a_plain_device() {
    for algorithm in [Reno, Cubic] {
        assert_eq!(
            bursts(algorithm, false),
            [10, 18, 26, 34, 42, 50, 58, 66, 74]
        );
        assert_eq!(bursts(algorithm, true)[..5], [10, 20, 40, 80, 160]);
    }
}

fn bursts(algorithm: CongestionAlgorithm, tso: bool) -> Vec<u32> {
    let mut config = config(algorithm);
    config.tso = tso;
    let mut path = Path::bulk(config, false, 100 * MS);
    path.merge = true;
    let mut bursts = Vec::new();
    for _ in 0..if tso { 5 } else { 9 } {
        path.transmit();
        bursts.push(path.segments());
        path.run_round();
    }
    bursts
}
