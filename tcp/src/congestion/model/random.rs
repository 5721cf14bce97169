//! Independent losses: what the mean windows are then, by a seed.

use std::format;
use std::println;

use super::*;
use covers::covers;

const SEED: u64 = 9438;
/// C as RFC 9438 has it, in hundredths.
const C: u16 = 40;

/// Each segment is lost with the same probability.
struct Bernoulli {
    state: u64,
    threshold: u64,
}

impl Bernoulli {
    const fn new(per_loss: u32) -> Self {
        Self {
            state: SEED,
            threshold: u64::MAX / per_loss as u64,
        }
    }

    /// splitmix64.
    const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Losses for Bernoulli {
    fn next_gap(&mut self) -> u32 {
        let mut gap = 1;
        while self.next() >= self.threshold {
            gap += 1;
        }
        gap
    }
}

/// Reductions that count, per cell.
const REDUCTIONS: u32 = 3_000;

/// What an ideal sender has under the same losses, as a ratio to the published window: chance
/// spreads the windows, and raises their mean with it.
fn expected_of_reno(per_loss: u32) -> Expected {
    expected(if per_loss == 100 { 1.12 } else { 1.09 })
}

fn expected_of_cubic(region: Region, fast_convergence: bool) -> Expected {
    expected(match region {
        Region::Friendly => 1.205,
        Region::Edge if fast_convergence => 1.26,
        Region::Edge => 1.32,
        Region::Cubic if fast_convergence => 1.14,
        Region::Cubic => 1.24,
    })
}

const fn expected(ratio: f64) -> Expected {
    Expected {
        ratio,
        tolerance: 0.05,
    }
}

/// Both tables down to a loss in a thousand, and to one in ten thousand in a release build: there
/// CUBIC is on its own curve.
#[test]
#[covers("CU-9")]
fn random_losses_raise_the_mean_windows() {
    let mut report = Report::default();
    println!("seed {SEED}, {REDUCTIONS} reductions a cell");
    let rows_tried = if cfg!(debug_assertions) { 2 } else { 3 };
    for (rtt, rows) in TABLES {
        let rtt = Duration::from_millis(rtt);
        for (per_loss, published, [_, published_cubic, _]) in rows.into_iter().take(rows_tried) {
            let path = || Path {
                rtt,
                losses: Bernoulli::new(per_loss),
                per_ack: 1,
            };
            let ratio = path().mean_window(&mut reno(published), REDUCTIONS) / published;
            let cell = format!("Reno, {rtt:?}, 1/{per_loss}");
            report.note(&cell, ratio, &expected_of_reno(per_loss));
            let region = Region::of(C, rtt, per_loss, published);
            for fast_convergence in [false, true] {
                let mut cc = cubic(C, region, published_cubic, fast_convergence);
                let ratio = path().mean_window(&mut cc, REDUCTIONS) / published_cubic;
                let expected = expected_of_cubic(region, fast_convergence);
                let cell = cubic_cell(C, fast_convergence, rtt, per_loss, region);
                report.note(&cell, ratio, &expected);
            }
        }
    }
    report.check();
}
