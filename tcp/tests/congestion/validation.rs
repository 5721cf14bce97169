//! Windows that are not used: RFC 7661, and RFC 5681 §4.1.

use std::time::Duration;

use covers::covers;
use ustack_tcp::CongestionAlgorithm::{Cubic, Reno};

use crate::MS;
use crate::path::{MSS, Path, config};

const SECOND: Duration = Duration::from_secs(1);

/// A minute at less than half of the window: it is what it was, in slow start and after.
#[test]
#[covers("RV-1")]
fn a_window_that_is_not_used_does_not_grow() {
    for (algorithm, lossy) in [(Reno, false), (Reno, true), (Cubic, false), (Cubic, true)] {
        let mut path = Path::bulk(config(algorithm), false, 400 * MS);
        path.run_to(|path| path.segments() >= 100);
        if lossy {
            path.lose_one();
        }
        path.trickle(10, 3 * SECOND); // the rest of what was in the send buffer used the window
        let before = path.burst();
        path.trickle(before / 3, 60 * SECOND);
        let after = path.burst();
        let grown = after - before;
        // The burst itself fills the window, and grows it in the round trip that follows.
        let fair = if lossy { before / 8 } else { before + 10 };
        assert!(grown <= fair, "{algorithm:?}: {before} to {after}");
    }
}

/// Four minutes at a quarter of the window, then a loss: half of that quarter is left. Before
/// five minutes have passed, the window itself is not touched.
#[test]
#[covers("RV-2")]
fn a_loss_reduces_what_was_used() {
    let mut path = Path::bulk(config(Reno), false, 400 * MS);
    path.run_to(|path| path.segments() >= 100);
    path.lose_one();
    path.trickle(20, 240 * SECOND);
    path.lose_from_flight_of(20);
    assert_eq!(path.burst(), 10);
}

/// What a round trip carried lately counts, even if the loss finds less in flight.
#[test]
#[covers("RV-2")]
fn a_loss_of_little_reduces_what_was_carried_lately() {
    let mut path = Path::bulk(config(Reno), false, 400 * MS);
    path.run_to(|path| path.segments() >= 100);
    path.lose_one();
    path.trickle(20, 10 * SECOND);
    let first = path.sent.len();
    path.lose = Box::new(move |sent| sent.number == first);
    path.write(4 * MSS as usize);
    path.run_to(|path| path.flight() == 0);
    assert_eq!(path.burst(), 10);
}

/// Six minutes at a fifth: half of the window is left, and slow start leads back to ¾ of it.
#[test]
#[covers("RV-2")]
fn five_minutes_unused_halve_the_window() {
    for (minutes, halved) in [(4, false), (6, true)] {
        let mut path = Path::bulk(config(Reno), false, 400 * MS);
        path.queue = 64 << 10;
        path.run_to(|path| path.segments() >= 20);
        path.lose_one();
        path.run_to(|path| path.segments() >= 55); // far above ssthresh
        path.trickle(10, 3 * SECOND);
        let window = path.burst();
        path.trickle(window / 5, 60 * minutes * SECOND);
        let burst = path.burst();
        let expected = if halved { window / 2 } else { window };
        // What was in the send buffer still grew the window a little.
        let grown = burst - expected;
        assert!(grown <= 4, "{burst} of {window}, {minutes} minutes");
        if halved {
            path.run_round();
            path.run_round();
            let (threshold, got) = (window * 3 / 4, path.segments());
            assert!(got.abs_diff(threshold) <= 4, "{got}, not {threshold}");
        }
    }
}

/// After ten seconds of silence no more than the initial window leaves at once, and slow start
/// leads back to where the window was bounded.
#[test]
#[covers("CC-11")]
fn silence_restarts_from_the_initial_window() {
    for algorithm in [Reno, Cubic] {
        let mut path = Path::bulk(config(algorithm), true, 100 * MS);
        path.run_to(|path| path.segments() >= 100);
        path.lose_one();
        path.trickle(10, 3 * SECOND);
        path.run_for(10 * SECOND);
        assert_eq!(path.burst(), 10, "{algorithm:?}");
        path.run_round();
        assert_eq!(path.segments(), 20, "{algorithm:?}");
    }
}
