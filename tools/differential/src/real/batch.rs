//! Many runs, some at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use link::namespace::become_root_of_a_namespace;
use parking_lot::Mutex;

use super::{Case, Outcome, Verdict, examine};

/// The slowest runs that are named.
const SLOWEST: usize = 5;

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
    /// Where captures of failures go
    #[arg(long, default_value = "target/differential")]
    pub captures: PathBuf,
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
    excused: usize,
    explained: BTreeMap<&'static str, usize>,
}

/// Plays what the command line asks for; fails when something was wrong.
pub fn main(args: &Args) -> io::Result<ExitCode> {
    become_root_of_a_namespace()?;
    let started = Instant::now();
    let (next, totals) = (AtomicU64::new(0), Mutex::new(Totals::default()));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= args.scripts {
                return Ok(());
            }
            one(args.seed.wrapping_add(index), args, &totals)?;
        }
    };
    let results: Vec<io::Result<()>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..args.jobs).map(|_| scope.spawn(work)).collect();
        let ends = workers.into_iter().map(ScopedJoinHandle::join);
        ends.map(|end| end.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    results.into_iter().collect::<io::Result<()>>()?;
    let totals = totals.into_inner();
    print!("{totals}");
    println!("{} runs in {:.1?}", args.scripts, started.elapsed());
    Ok(if totals.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn one(seed: u64, args: &Args, totals: &Mutex<Totals>) -> io::Result<()> {
    let case = Case::draw(seed);
    let outcome = case.run()?;
    let verdict = case.check(&outcome);
    totals.lock().add(seed, &outcome, &verdict);
    if args.verbose {
        println!("seed {seed}, {:.1?}:\n{case}", outcome.played);
    }
    if !verdict.wrong.is_empty() {
        let text = examine(seed, &case, &outcome, &verdict.wrong, &args.captures);
        println!("{text}");
    }
    Ok(())
}

impl Totals {
    fn add(&mut self, seed: u64, outcome: &Outcome, verdict: &Verdict) {
        let reports = outcome.reports.iter().flatten();
        self.connections += outcome.reports.len();
        self.bytes += reports.map(|report| report.read).sum::<u64>();
        self.packets += outcome.wire.passages.len();
        self.slowest.push((outcome.played, seed));
        self.slowest.sort_unstable_by(|a, b| b.cmp(a));
        self.slowest.truncate(SLOWEST);
        self.stalled = self.stalled.max(outcome.stalled);
        self.excused += verdict.excused;
        for why in &verdict.explained {
            *self.explained.entry(why).or_default() += 1;
        }
        if !verdict.wrong.is_empty() {
            self.failures.push(seed);
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} connections, {} bytes read, {} passages of packets",
            self.connections, self.bytes, self.packets
        )?;
        for (why, count) in &self.explained {
            writeln!(f, "{count} times explained: {why}")?;
        }
        writeln!(
            f,
            "kept from a processor for {:.1?} at most; {} times late because of that",
            self.stalled, self.excused
        )?;
        for (time, seed) in &self.slowest {
            writeln!(f, "slow: {time:.1?} with seed {seed}")?;
        }
        match &self.failures[..] {
            [] => writeln!(f, "no failure"),
            seeds => writeln!(f, "{} FAILED: seeds {seeds:?}", seeds.len()),
        }
    }
}
