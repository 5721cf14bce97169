//! Once warm, a segment and a round trip allocate nothing: what they are allowed is what
//! `baseline.toml` says.

use std::sync::Mutex;

use core_bench::allocator::{self, Counting};
use core_bench::baseline::{ACCEPT, Baseline};
use core_bench::catalogue::{ROWS, allocations};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The counts are the program's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Every row of ustack's whose name begins so.
fn check(prefix: &str) {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    allocator::start();
    let baseline = Baseline::load().expect("benches/baseline.toml");
    let rows = ROWS.iter().filter(|row| {
        row.name.starts_with(prefix) && !row.name.ends_with("0k") && !row.name.ends_with("1m")
    });
    let mut checked = 0;
    for row in rows {
        for (subject, setup) in row.subjects.iter().filter(|(name, _)| *name != "smoltcp") {
            let accepted = baseline
                .get(row.name, subject)
                .expect("every row is accepted");
            let now = allocations(row, *setup);
            // Three digits are kept.
            assert!(
                now < accepted.allocations + 0.000_5,
                "{} {subject}: {now} allocations per {}, accepted are {}; \
                 if that is how it should be: {ACCEPT}",
                row.name,
                row.unit,
                accepted.allocations,
            );
            checked += 1;
        }
    }
    assert!(checked > 1, "no row begins with {prefix}");
}

#[test]
fn a_segment_in_allocates_nothing() {
    check("bulk-in");
}

#[test]
fn a_segment_out_allocates_nothing() {
    check("bulk-out");
}

#[test]
fn a_round_trip_allocates_nothing() {
    check("request-response");
}

#[test]
fn the_allocator_counts() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    allocator::start();
    // The harness has a thread of its own, which may come between: not each time.
    assert!((0..100).any(|_| counts_a_buffer()));
}

/// Whether a buffer that comes, grows and goes is what was counted.
fn counts_a_buffer() -> bool {
    let before = allocator::counts();
    let mut buffer = std::hint::black_box(vec![1_u8; 1000]);
    let held = allocator::counts();
    buffer.reserve_exact(2000);
    let grown = allocator::counts();
    drop(buffer);
    let live = [held, grown, allocator::counts()].map(|counts| counts.live);
    held.allocations == before.allocations + 1
        && held.peak >= held.live
        && live == [1000, 3000, 0].map(|more| before.live + more)
}
