//! Two shards on two threads against one on one thread, beside a loop that needs nothing but an
//! arithmetic unit: what the second core of this machine is worth at all.

use std::hint::black_box;
use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use core_bench::catalogue::{Prepared, Row, Setup, find};
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
    println!("units of two threads against those of one, the fastest of {ROUNDS} turns\n");
    println!(
        "{:22} {:6} {:>8} {:>8} {:>14}",
        "", "", "scaling", "loop", "of the loop's"
    );
    for name in ["bulk-in", "bulk-out", "request-response-1k"] {
        for subject in ["tcp", "host"] {
            let row = find(name, subject).map(|(row, setup)| (*row, setup));
            let (mut alu, mut work) = (Fastest::default(), Fastest::default());
            for _ in 0..ROUNDS {
                alu.turn(None);
                work.turn(row);
            }
            let (alu, work) = (alu.scaling(), work.scaling());
            println!(
                "{name:22} {subject:6} {work:>8.2} {alu:>8.2} {:>14.2}",
                work / alu
            );
        }
    }
    Ok(true)
}

/// The shortest times, in seconds: what others do on the machine makes times longer, never shorter,
/// and two threads meet it twice as often as one.
struct Fastest {
    alone: f64,
    together: f64,
}

impl Default for Fastest {
    fn default() -> Self {
        Self {
            alone: f64::INFINITY,
            together: f64::INFINITY,
        }
    }
}

impl Fastest {
    fn turn(&mut self, row: Option<(Row, Setup)>) {
        self.alone = self.alone.min(seconds(1, row));
        self.together = self.together.min(seconds(2, row));
    }

    /// Twice the time of one thread alone over that of two at once.
    fn scaling(&self) -> f64 {
        2.0 * self.alone / self.together
    }
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
