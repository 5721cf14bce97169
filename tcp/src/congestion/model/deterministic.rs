//! A loss every 1/p segments: the tables of RFC 9438 §5, and the formula of Mathis and others.

use std::format;

use super::*;
use covers::covers;

/// The same number of segments between all losses.
struct Every(u32);

impl Losses for Every {
    fn next_gap(&mut self) -> u32 {
        self.0
    }
}

fn path(rtt: Duration, per_loss: u32) -> Path<Every> {
    Path {
        rtt,
        losses: Every(per_loss),
        per_ack: 1,
    }
}

const TOLERANCE: f64 = 0.03;

/// An ideal sender is at √1.5/1.2 of Reno's 1.2/√p; CUBIC is at its formula, and over two hundred
/// losses at 0.94 of it where fast convergence makes room that nobody takes (losses at even
/// distances bring it back in thousands). Where both formulas are close, the window is larger than
/// either.
fn expected(region: Region, fast_convergence: bool) -> Expected {
    let ratio = match region {
        Region::Friendly => 1.02,
        Region::Edge => 1.05,
        Region::Cubic if fast_convergence => 0.94,
        Region::Cubic => 1.00,
    };
    Expected {
        ratio,
        tolerance: TOLERANCE,
    }
}

/// Every row of both tables. A debug build is some thirty times slower: it leaves the last rows out.
#[test]
#[covers("CU-4", "CU-9", "CC-5")]
fn mean_windows_are_the_published_ones() {
    let mut report = Report::default();
    let rows_tried = if cfg!(debug_assertions) { 5 } else { 7 };
    for (rtt, rows) in TABLES {
        let rtt = Duration::from_millis(rtt);
        for (per_loss, published, columns) in rows.into_iter().take(rows_tried) {
            let ratio = path(rtt, per_loss).mean_window(&mut reno(published), 4) / published;
            let cell = format!("Reno, {rtt:?}, 1/{per_loss}");
            report.note(&cell, ratio, &expected(Region::Friendly, false));
            for (c, published_cubic) in C_COLUMNS.into_iter().zip(columns) {
                let region = Region::of(c, rtt, per_loss, published);
                let many = if region == Region::Cubic { 200 } else { 20 };
                for (fast_convergence, losses) in [(false, 4), (true, many)] {
                    let mut cc = cubic(c, region, published_cubic, fast_convergence);
                    let mean = path(rtt, per_loss).mean_window(&mut cc, losses);
                    let cell = cubic_cell(c, fast_convergence, rtt, per_loss, region);
                    let expected = expected(region, fast_convergence);
                    report.note(&cell, mean / published_cubic, &expected);
                }
            }
        }
    }
    report.check();
}

/// Mathis et al.: √(3/2)/√p segments with periodic losses. Since bytes count and not ACKs
/// (RFC 3465), an ACK for every second segment does not cost what it says for it, √(3/4).
#[test]
#[covers("CC-5")]
fn reno_is_at_the_formula_of_mathis_with_delayed_acks_too() {
    let mut report = Report::default();
    for per_loss in [100, 1_000, 10_000, 100_000, 1_000_000] {
        let formula = (1.5 * f64::from(per_loss)).sqrt();
        for per_ack in [1, 2] {
            let mut path = path(Duration::from_millis(100), per_loss);
            path.per_ack = per_ack;
            let ratio = path.mean_window(&mut reno(formula), 4) / formula;
            let expected = Expected {
                ratio: 1.0,
                tolerance: TOLERANCE,
            };
            report.note(
                &format!("Mathis, 1/{per_loss}, an ACK per {per_ack}"),
                ratio,
                &expected,
            );
        }
    }
    report.check();
}
