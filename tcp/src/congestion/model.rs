//! Both algorithms from outside: any history, and the published mean windows.

use std::format;
use std::println;
use std::vec::Vec;

use super::*;
use crate::config::CongestionAlgorithm;
use crate::time::{Duration, Instant};
use covers::covers;
use proptest::prelude::*;

const MSS: u32 = 1_000;

fn loss(cc: &Controller, now: Instant) -> CongestionEvent {
    CongestionEvent {
        now,
        kind: CongestionKind::Loss,
        in_flight: cc.cwnd(),
    }
}

/// Segments that one ACK of the model stands for: a window is sixty ACKs at least, or all of its
/// segments.
fn per_ack(cwnd: u32) -> u32 {
    (cwnd / MSS / 60).max(1)
}

/// Mean window in segments with a loss every `per_loss` segments on a path of `rtt`, over so many
/// losses less the first tenth. No queue, no time lost in recovery.
fn mean_window(mut cc: Controller, per_loss: u32, rtt: Duration, losses: u32) -> f64 {
    cc.on_congestion(&loss(&cc, Instant::ZERO));
    let mut nanos = 0;
    let (mut windows, mut time) = (0.0, 0.0);
    for epoch in 0..losses {
        let mut left = per_loss;
        while left > 0 {
            let segments = per_ack(cc.cwnd()).min(left);
            left -= segments;
            let acked = u64::from(segments * MSS);
            let gap = rtt.as_nanos() as u64 * acked / u64::from(cc.cwnd());
            if epoch >= losses / 10 {
                windows += f64::from(cc.cwnd()) / f64::from(MSS) * gap as f64;
                time += gap as f64;
            }
            nanos += gap;
            let mut ack = AckSample::new(Instant::from_nanos(nanos), segments * MSS);
            ack.srtt = Some(rtt);
            cc.on_ack(&ack);
        }
        cc.on_congestion(&loss(&cc, Instant::from_nanos(nanos)));
    }
    windows / time
}

/// Segments per loss, and the mean window of Reno and of CUBIC.
type Row = (u32, f64, f64);

/// RFC 9438 §5.1 and §5.2: tables 1 and 2 by their round trip in milliseconds, C = 0.4.
const TABLES: [(u64, [Row; 7]); 2] = [
    (
        100,
        [
            (100, 12.0, 12.0),
            (1_000, 38.0, 38.0),
            (10_000, 120.0, 187.0),
            (100_000, 379.0, 1_054.0),
            (1_000_000, 1_200.0, 5_926.0),
            (10_000_000, 3_795.0, 33_325.0),
            (100_000_000, 12_000.0, 187_400.0),
        ],
    ),
    (
        10,
        [
            (100, 12.0, 12.0),
            (1_000, 38.0, 38.0),
            (10_000, 120.0, 120.0),
            (100_000, 379.0, 379.0),
            (1_000_000, 1_200.0, 1_200.0),
            (10_000_000, 3_795.0, 5_926.0),
            (100_000_000, 12_000.0, 33_325.0),
        ],
    ),
];

/// What the model is to give in one cell of a table.
struct Cell {
    name: &'static str,
    cc: Controller,
    published: f64,
    ratio: f64,
    tolerance: f64,
    losses: u32,
}

/// The three controllers of a row, each begun at the equilibrium of its formula.
fn cells(rtt: Duration, per_loss: u32, reno: f64, cubic: f64) -> [Cell; 3] {
    let setup = |window: f64| Setup::new(MSS, (window * f64::from(MSS)) as u32);
    let friendly = cubic <= reno;
    let formula = 1.054 * (rtt.as_secs_f64() * f64::from(per_loss)).powf(0.75);
    // Where both formulas are close, the window is larger than either.
    let edge = (0.6..1.6).contains(&(formula / reno));
    // A window of 12 grows by whole segments: half a segment less in the mean.
    let tolerance = |published: f64| 0.03 + 0.2 / published;
    let begin = cubic / if friendly { 0.85 } else { 0.925 };
    let mut alone = Cubic::new(&setup(begin));
    alone.set_fast_convergence(false);
    let cubic_tolerance = if edge { 0.06 } else { tolerance(cubic) };
    [
        Cell {
            name: "Reno",
            cc: Controller::Reno(Reno::new(&setup(reno / 0.75))),
            published: reno,
            ratio: 1.02,
            tolerance: tolerance(reno),
            losses: 4,
        },
        Cell {
            name: "CUBIC without fast convergence",
            cc: Controller::Cubic(alone),
            published: cubic,
            ratio: if friendly { 1.02 } else { 1.00 },
            tolerance: cubic_tolerance,
            losses: 4,
        },
        Cell {
            name: "CUBIC",
            // From a little above, so that the first loss is below the plateau.
            cc: Controller::Cubic(Cubic::new(&setup(begin * 1.02))),
            published: cubic,
            ratio: if friendly { 1.02 } else { 0.94 },
            tolerance: cubic_tolerance,
            losses: 200,
        },
    ]
}

/// Every row of both tables.
///
/// An ideal sender is at √1.5/1.2 = 1.02 of Reno's 1.2/√p. CUBIC is at 1.00 of its formula, and
/// at 0.94 where fast convergence makes room that nobody takes.
#[test]
#[covers("CU-4", "CU-9")]
fn mean_windows_are_the_published_ones() {
    let mut wrong = Vec::new();
    // A debug build is some thirty times slower: it leaves the last row of each table out.
    let rows_tried = if cfg!(debug_assertions) { 6 } else { 7 };
    for (rtt, rows) in TABLES {
        let rtt = Duration::from_millis(rtt);
        for (per_loss, reno, cubic) in rows.into_iter().take(rows_tried) {
            for cell in cells(rtt, per_loss, reno, cubic) {
                let ratio = mean_window(cell.cc, per_loss, rtt, cell.losses) / cell.published;
                let (name, published) = (cell.name, cell.published);
                let line = format!(
                    "{name}, {rtt:?}, 1/{per_loss}: {ratio:.3} of {published}, not {}",
                    cell.ratio
                );
                if (ratio / cell.ratio - 1.0).abs() > cell.tolerance {
                    wrong.push(line.clone());
                }
                println!("{line}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
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
