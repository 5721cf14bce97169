//! Two shards on two threads against one on one thread, beside a loop that needs nothing but an
//! arithmetic unit: what the second core of this machine is worth at all.

use std::hint::black_box;
use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use core_bench::catalogue::{Prepared, Row, find};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Measurements of each kind, taken in turns.
const ROUNDS: usize = 11;
/// Units of one measurement.
const UNITS: u64 = 100_000;
/// Steps of the loop per unit, to take about as long.
const STEPS: u64 = 200;

/// What a thread does.
enum Work {
    Loop,
    Row(Prepared),
}

impl Work {
    fn run(&mut self) {
        match self {
            Self::Loop => {
                let mut state = 1_u64;
                for _ in 0..UNITS * STEPS {
                    state = black_box(state.wrapping_mul(6_364_136_223_846_793_005) + 1);
                }
            }
            Self::Row(prepared) => prepared.run_units(UNITS),
        }
    }
}

const HELP: &str = "\
Two shards on two cores against one on one, beside a loop of arithmetic.

    cargo bench -p core-bench -- threads
";

pub(crate) fn main(arguments: &[String]) -> io::Result<bool> {
    if !arguments.is_empty() {
        print!("{HELP}");
        return Ok(true);
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        return Err(io::Error::other(
            "threads: this machine has one core, nothing to scale to",
        ));
    }
    println!("units of two threads against those of one, median of {ROUNDS} turns\n");
    println!("{:22} {:>8} {:>14}", "", "scaling", "of the loop's");
    for name in ["bulk-in", "bulk-out", "request-response-1k"] {
        let mut loops = Vec::new();
        let mut rows = Vec::new();
        for _ in 0..ROUNDS {
            loops.push(scaling(None));
            rows.push(scaling(find(name, "tcp").map(|(row, setup)| (*row, setup))));
        }
        let ratios: Vec<_> = rows
            .iter()
            .zip(&loops)
            .map(|(row, alu)| row / alu)
            .collect();
        println!("{:22} {:>8.2}", "loop", median(loops));
        println!("{name:22} {:>8.2} {:>14.2}", median(rows), median(ratios));
    }
    Ok(true)
}

type Setup = fn() -> Box<dyn core_bench::workload::Workload>;

/// Twice the time of one thread alone over that of two at once.
fn scaling(row: Option<(Row, Setup)>) -> f64 {
    let alone = seconds(1, row);
    let together = seconds(2, row);
    2.0 * alone / together
}

/// How long `threads` threads take that begin together, each on a core of its own.
fn seconds(threads: usize, row: Option<(Row, Setup)>) -> f64 {
    let ready = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|core| {
                let ready = &ready;
                scope.spawn(move || {
                    let mut cores = CpuSet::new();
                    cores.set(core);
                    sched_setaffinity(None, &cores).expect("a core of this machine");
                    let mut work = match row {
                        None => Work::Loop,
                        Some((row, setup)) => Work::Row(row.prepare(setup)),
                    };
                    ready.wait();
                    let start = Instant::now();
                    work.run();
                    start.elapsed().as_secs_f64()
                })
            })
            .collect();
        ready.wait();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a thread that ends"))
            .fold(0.0, f64::max)
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
