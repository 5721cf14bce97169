//! Many runs, some at a time.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use link::namespace::become_root_of_a_namespace;
use parking_lot::Mutex;

use super::{Case, Outcome};

/// Plays scripts between ustack and the kernel, over a TUN device in a namespace, in real time.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// How many
    #[arg(long, default_value_t = 300)]
    pub scripts: u64,
    /// Seed of the first one; the next has the next number
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub jobs: u64,
    /// Say what each run is like
    #[arg(long)]
    pub verbose: bool,
}

/// What all runs together were.
#[derive(Debug, Default)]
struct Totals {
    connections: usize,
    bytes: u64,
    packets: usize,
    slowest: Vec<(Duration, u64)>,
    stalled: Duration,
    failures: Vec<u64>,
}

/// Plays what the command line asks for; fails when something was wrong.
pub fn main(args: &Args) -> io::Result<ExitCode> {
    become_root_of_a_namespace()?;
    let started = Instant::now();
    let (next, totals) = (AtomicU64::new(0), Mutex::new(Totals::default()));
    thread::scope(|scope| {
        for _ in 0..args.jobs.min(args.scripts) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= args.scripts {
                        break;
                    }
                    one(args.seed.wrapping_add(index), args, &totals);
                }
            });
        }
    });
    let totals = totals.into_inner();
    println!(
        "{} runs in {:.1?}: {} connections, {} bytes, {} packets; stalled for {:?} at most",
        args.scripts,
        started.elapsed(),
        totals.connections,
        totals.bytes,
        totals.packets,
        totals.stalled,
    );
    let mut slowest = totals.slowest;
    slowest.sort_unstable_by(|a, b| b.cmp(a));
    for (time, seed) in slowest.iter().take(5) {
        println!("slowest: {time:.1?} with seed {seed}");
    }
    println!("{} failed: {:?}", totals.failures.len(), totals.failures);
    Ok(if totals.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn one(seed: u64, args: &Args, totals: &Mutex<Totals>) {
    let case = Case::draw(seed);
    let result = case.run();
    let wrong = match &result {
        Ok(outcome) => case.check(outcome),
        Err(error) => vec![format!("could not run: {error}")],
    };
    let mut totals = totals.lock();
    if let Ok(outcome) = &result {
        note(seed, outcome, &mut totals);
    }
    if args.verbose || !wrong.is_empty() {
        println!("seed {seed}:\n{case}");
        if let Ok(outcome) = &result {
            for (index, reports) in outcome.reports.iter().enumerate() {
                println!("{index}: {reports:?}");
            }
            println!("played {:?}, stalled {:?}", outcome.played, outcome.stalled);
        }
    }
    if !wrong.is_empty() {
        totals.failures.push(seed);
        println!("FAILED seed {seed}:");
        for what in &wrong {
            println!("  {what}");
        }
        println!("  again: differential linux --seed {seed} --scripts 1\n");
    }
}

fn note(seed: u64, outcome: &Outcome, totals: &mut Totals) {
    totals.connections += outcome.reports.len();
    totals.bytes += outcome
        .reports
        .iter()
        .flatten()
        .map(|report| report.read)
        .sum::<u64>();
    totals.packets += outcome.wire.passages.len();
    totals.slowest.push((outcome.played, seed));
    totals.stalled = totals.stalled.max(outcome.stalled);
}
