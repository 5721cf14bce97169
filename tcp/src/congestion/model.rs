//! The algorithms alone, on an ideal path: an ACK for every segment, no queue, no time lost in
//! recovery, the reaction to a loss at once. What they reach there is a matter of formulas.

mod deterministic;
mod history;
mod random;

use std::format;
use std::println;
use std::string::String;
use std::vec::Vec;

use super::*;
use crate::time::{Duration, Instant};

const MSS: u32 = 1_000;

/// Segments between one loss and the next.
trait Losses {
    fn next_gap(&mut self) -> u32;
}

/// An ideal path.
struct Path<L> {
    rtt: Duration,
    losses: L,
    /// Segments that an ACK answers for at least.
    per_ack: u32,
}

impl<L: Losses> Path<L> {
    /// Mean window of `cc` in segments over so many reductions, after a tenth as many that do not
    /// count. It begins with a reduction: one that is made at the top of its equilibrium stays in
    /// it.
    fn mean_window(&mut self, cc: &mut Controller, reductions: u32) -> f64 {
        let (mut windows, mut time) = (0.0, 0.0);
        let mut now = Instant::ZERO;
        let mut reduced = now;
        reduce(cc, now);
        let mut left = reductions + reductions / 10;
        while left > 0 {
            let mut gap = self.losses.next_gap();
            while gap > 0 {
                let segments = self.segments_per_ack(cc).min(gap);
                gap -= segments;
                let took = u64::from(segments * MSS) * self.rtt.as_nanos() as u64;
                let took = took / u64::from(cc.cwnd());
                if left <= reductions {
                    windows += continuous_window(cc) * took as f64;
                    time += took as f64;
                }
                now += Duration::from_nanos(took);
                let mut ack = AckSample::new(now, segments * MSS);
                ack.srtt = Some(self.rtt);
                cc.on_ack(&ack);
            }
            // At most one reduction per round trip.
            if now - reduced >= self.rtt {
                reduce(cc, now);
                reduced = now;
                left -= 1;
            }
        }
        windows / time
    }

    /// One, or as many that a window is twenty ACKs: a window of 100,000 segments takes no longer.
    fn segments_per_ack(&self, cc: &Controller) -> u32 {
        (cc.cwnd() / MSS / 20).max(self.per_ack)
    }
}

fn reduce(cc: &mut Controller, now: Instant) {
    let in_flight = cc.cwnd();
    cc.on_congestion(&CongestionEvent {
        now,
        kind: CongestionKind::Loss,
        in_flight,
    });
}

/// The window in segments as the formulas have it: Reno grows by whole segments, so what is on
/// its way to the next one counts, too.
fn continuous_window(cc: &Controller) -> f64 {
    let cwnd = f64::from(cc.cwnd());
    let credit = match cc {
        Controller::Reno(reno) => f64::from(reno.credit()) / cwnd,
        _ => 0.0,
    };
    cwnd / f64::from(MSS) + credit
}

/// C of CUBIC in the three columns of the published tables, in hundredths.
const C_COLUMNS: [u16; 3] = [4, 40, 400];

/// A row: segments per loss, the mean window of Reno, and of CUBIC by C.
type Row = (u32, f64, [f64; 3]);

/// RFC 9438 §5.1 and §5.2: tables 1 and 2, by their round trip in milliseconds.
const TABLES: [(u64, [Row; 7]); 2] = [
    (
        100,
        [
            (100, 12.0, [12.0, 12.0, 12.0]),
            (1_000, 38.0, [38.0, 38.0, 59.0]),
            (10_000, 120.0, [120.0, 187.0, 333.0]),
            (100_000, 379.0, [593.0, 1_054.0, 1_874.0]),
            (1_000_000, 1_200.0, [3_332.0, 5_926.0, 10_538.0]),
            (10_000_000, 3_795.0, [18_740.0, 33_325.0, 59_261.0]),
            (100_000_000, 12_000.0, [105_383.0, 187_400.0, 333_250.0]),
        ],
    ),
    (
        10,
        [
            (100, 12.0, [12.0, 12.0, 12.0]),
            (1_000, 38.0, [38.0, 38.0, 38.0]),
            (10_000, 120.0, [120.0, 120.0, 120.0]),
            (100_000, 379.0, [379.0, 379.0, 379.0]),
            (1_000_000, 1_200.0, [1_200.0, 1_200.0, 1_874.0]),
            (10_000_000, 3_795.0, [3_795.0, 5_926.0, 10_538.0]),
            (100_000_000, 12_000.0, [18_740.0, 33_325.0, 59_261.0]),
        ],
    ),
];

/// Which part of the formula decides a cell of CUBIC's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Region {
    Friendly,
    Edge,
    Cubic,
}

impl Region {
    /// By the ratio of CUBIC's own formula (§5) to Reno's window.
    fn of(c: u16, rtt: Duration, per_loss: u32, reno: f64) -> Self {
        let factor = (f64::from(c) / 100.0 * 3.7 / 1.2).powf(0.25);
        let formula = factor * (rtt.as_secs_f64() * f64::from(per_loss)).powf(0.75);
        match formula / reno {
            ratio if ratio < 0.8 => Self::Friendly,
            ratio if ratio < 1.2 => Self::Edge,
            _ => Self::Cubic,
        }
    }
}

/// A Reno at the top of its equilibrium of `mean` segments.
fn reno(mean: f64) -> Controller {
    Controller::Reno(Reno::new(&setup(mean / 0.75)))
}

/// The same for CUBIC: 0.85 of the top where it is as Reno, else 0.925 (§5).
fn cubic(c: u16, region: Region, mean: f64, fast_convergence: bool) -> Controller {
    let share = if region == Region::Cubic { 0.925 } else { 0.85 };
    // From a little above, so that the first loss is below the plateau.
    let above = if fast_convergence { 1.02 } else { 1.0 };
    let mut cubic = Cubic::new(&setup(mean / share * above));
    cubic.set_c(c);
    cubic.set_fast_convergence(fast_convergence);
    Controller::Cubic(cubic)
}

fn setup(segments: f64) -> Setup {
    Setup::new(MSS, (segments * f64::from(MSS)) as u32)
}

/// What a cell must give, as a ratio to what is published.
#[derive(Debug)]
struct Expected {
    ratio: f64,
    tolerance: f64,
}

impl Expected {
    fn holds(&self, ratio: f64) -> bool {
        (ratio / self.ratio - 1.0).abs() <= self.tolerance
    }
}

/// Prints what came out, and keeps what is off.
#[derive(Default)]
struct Report {
    wrong: Vec<String>,
}

impl Report {
    fn note(&mut self, cell: &str, ratio: f64, expected: &Expected) {
        let line = format!("{cell}: {ratio:.3} of it, expected {}", expected.ratio);
        println!("{line}");
        if !expected.holds(ratio) {
            self.wrong.push(line);
        }
    }

    fn check(self) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
    }
}

fn cubic_cell(
    c: u16,
    fast_convergence: bool,
    rtt: Duration,
    per_loss: u32,
    region: Region,
) -> String {
    let c = f64::from(c) / 100.0;
    let without = if fast_convergence { "with" } else { "without" };
    format!("CUBIC {c} {without} fast convergence, {rtt:?}, 1/{per_loss} ({region:?})")
}
