//! RFC 5681 and RFC 6928, which hold for every algorithm, and Reno's window.

use covers::covers;
use ustack_tcp::CongestionAlgorithm::{Cubic, Reno};

use crate::MS;
use crate::path::{Path, config};

/// The first flight: ten segments, or 14,600 bytes, but two segments at least.
#[test]
#[covers("CC-1")]
fn the_first_flight_is_the_initial_window() {
    for ipv6 in [false, true] {
        for (mss, segments) in [(536, 10), (1220, 10), (1460, 10), (2190, 6), (8960, 2)] {
            let mut config = config(Cubic);
            config.mtu = mss + 40;
            let mut path = Path::bulk(config, ipv6, 100 * MS);
            path.transmit();
            assert_eq!(path.sent.len(), segments, "MSS {mss}");
            assert!(path.sent.iter().all(|sent| sent.len == u32::from(mss)));
        }
    }
}

/// The window doubles each round trip, and split ACKs do not make it grow any faster.
#[test]
#[covers("CC-4")]
fn slow_start_doubles() {
    for (algorithm, split) in [(Reno, 1), (Reno, 10), (Cubic, 1), (Cubic, 10)] {
        let mut path = Path::bulk(config(algorithm), split == 10, 100 * MS);
        path.split = split;
        for round in 0..5 {
            path.transmit();
            assert_eq!(path.segments(), 10 << round, "{algorithm:?}");
            path.run_round();
        }
    }
}

/// Fifty round trips of congestion avoidance add fifty segments.
#[test]
#[covers("CC-5")]
fn fifty_round_trips_of_avoidance_add_fifty_segments() {
    for ipv6 in [false, true] {
        let mut path = Path::bulk(config(Reno), ipv6, 100 * MS);
        path.lose = Box::new(|sent| sent.number == 60);
        path.run_to(|path| path.sent.iter().any(|sent| sent.again));
        path.run_round();
        path.run_round();
        let start = path.segments();
        for round in 1..=50 {
            path.run_round();
            let grown = path.segments() - start;
            assert!(grown.abs_diff(round) <= 1, "{grown} in {round} round trips");
        }
    }
}

/// Half of what was in flight, not half of the window; two segments at least.
#[test]
#[covers("CC-6")]
fn a_loss_halves_what_is_in_flight() {
    for (flight, left) in [(40, 20), (10, 5), (3, 2)] {
        let mut path = Path::bulk(config(Reno), false, 100 * MS);
        path.run_to(|path| path.segments() >= 64);
        path.lose_from_flight_of(flight);
        assert_eq!(path.burst(), left);
    }
}

/// Marks on all of a flight halve it, once.
#[test]
#[covers("EC-5")]
fn marks_halve_what_is_in_flight_once() {
    for (flight, left) in [(100, 50), (10, 5), (2, 1)] {
        let mut path = Path::with_ecn(config(Reno), true, 100 * MS);
        path.bulk = true;
        path.run_to(|path| path.segments() >= 110);
        assert_eq!(path.mark_flight_of(flight), left, "{flight}");
    }
}
