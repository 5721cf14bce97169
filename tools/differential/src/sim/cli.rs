//! `differential run`, `one` and `play`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, io, panic, thread};

use clap::Args;

use super::keep::keep;
use super::shrink::{shrink, shrink_while};
use super::{Case, Finding, Outcome, PAIRS, Stack, known};

/// Scripts shrunk at the end of a run; more are only named.
const SHRUNK: usize = 5;
/// What the captures of known faults keep of a packet.
const HEADERS: usize = 128;

/// `differential run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// How many scripts
    #[arg(long, default_value_t = 1000)]
    scripts: u64,
    /// The first script's seed; the others follow
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Only this pair, as in `ustack-smoltcp`; otherwise all four, as the seeds say
    #[arg(long, value_parser = parse_pair)]
    pair: Option<[Stack; 2]>,
    /// Threads
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Where captures and cases of failures go
    #[arg(long, default_value = "target/differential")]
    out: PathBuf,
}

/// `differential one`
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The script's seed
    seed: u64,
    /// This pair, instead of the seed's
    #[arg(long, value_parser = parse_pair)]
    pair: Option<[Stack; 2]>,
    /// Leaves the case as it is
    #[arg(long)]
    no_shrink: bool,
    /// Where the capture and the case go
    #[arg(long, default_value = "target/differential")]
    out: PathBuf,
}

/// `differential play`
#[derive(Debug, Args)]
pub struct PlayArgs {
    /// A case's file
    file: PathBuf,
    /// Makes it smaller as long as it fails
    #[arg(long)]
    shrink: bool,
    /// Where the capture goes
    #[arg(long, default_value = "target/differential")]
    out: PathBuf,
}

/// `differential known`
#[derive(Debug, Args)]
pub struct KnownArgs {
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many to search for each fault
    #[arg(long, default_value_t = 5000)]
    scripts: u64,
    /// Where the cases and captures go
    #[arg(long, default_value = "tools/differential/tests/known")]
    out: PathBuf,
}

fn parse_pair(text: &str) -> Result<[Stack; 2], String> {
    let pair = PAIRS.into_iter().find(|&pair| pair_name(pair) == text);
    pair.ok_or_else(|| {
        let names = PAIRS.map(pair_name).join(", ");
        format!("no such pair: one of {names}")
    })
}

fn pair_name(pair: [Stack; 2]) -> String {
    format!("{:?}-{:?}", pair[0], pair[1]).to_lowercase()
}

/// What many runs came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Scripts played.
    pub scripts: u64,
    /// Connections in them.
    pub connections: u64,
    /// Bytes read by applications.
    pub bytes: u64,
    /// Packets sent.
    pub packets: u64,
    /// Packets that did not arrive.
    pub lost: u64,
    /// Virtual time.
    pub time: Duration,
    /// Scripts in which smoltcp did what it is known to do.
    pub known: u64,
    /// Scripts with something that nothing explains.
    pub failed: u64,
}

impl Totals {
    fn add(&mut self, outcome: &Outcome, is_known: bool, failed: bool) {
        self.scripts += 1;
        self.connections += outcome.flows.len() as u64;
        let reports = outcome.flows.iter().flatten();
        self.bytes += reports.map(|report| report.read).sum::<u64>();
        self.packets += outcome.packets;
        self.lost += outcome.lost;
        self.time += outcome.time;
        self.known += u64::from(is_known);
        self.failed += u64::from(failed);
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} scripts, {} connections, {} bytes read, {} packets of which {} were lost, {} s of virtual time; {} scripts with faults of smoltcp that are known, {} unexplained",
            self.scripts,
            self.connections,
            self.bytes,
            self.packets,
            self.lost,
            self.time.as_secs(),
            self.known,
            self.failed
        )
    }
}

/// Plays the cases of `seeds`; `failed` is told of each that nothing explains.
pub fn play_all(
    seeds: std::ops::Range<u64>,
    pair: Option<[Stack; 2]>,
    jobs: usize,
    failed: impl Fn(&Case, &[Finding]) + Sync,
) -> Totals {
    let next = AtomicU64::new(seeds.start);
    let totals = Mutex::new(Totals::default());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let case = Case::generate(seed, pair);
                    let outcome = case.run();
                    let (known, unexplained) = known::sort(&case, &outcome);
                    if !unexplained.is_empty() {
                        failed(&case, &unexplained);
                    }
                    let mut totals = totals.lock().expect("no thread panics with it");
                    totals.add(&outcome, !known.is_empty(), !unexplained.is_empty());
                }
            });
        }
    });
    totals.into_inner().expect("all threads are done")
}

/// Runs many, and shows what fails.
pub fn run(args: &RunArgs) -> io::Result<ExitCode> {
    let end = args.seed.saturating_add(args.scripts);
    let pair = args
        .pair
        .map_or(String::new(), |pair| format!(" --pair {}", pair_name(pair)));
    panic::set_hook(Box::new(|_| {})); // they are findings
    let failures = Mutex::new(Vec::new());
    let totals = play_all(args.seed..end, args.pair, args.jobs, |case, findings| {
        let what = findings[0].what.lines().next().unwrap_or_default();
        let stacks = pair_name(case.stacks);
        println!(
            "seed {}, {stacks}: {what}\n  again: differential one {}{pair}",
            case.seed, case.seed
        );
        failures
            .lock()
            .expect("no thread panics with it")
            .push(case.clone());
    });
    let failures = failures.into_inner().expect("all threads are done");
    for case in failures.iter().take(SHRUNK) {
        explain(case, true, &args.out)?;
    }
    println!("{totals}");
    Ok(code(totals.failed == 0))
}

/// Runs one.
pub fn one(args: &OneArgs) -> io::Result<ExitCode> {
    explain(
        &Case::generate(args.seed, args.pair),
        !args.no_shrink,
        &args.out,
    )
    .map(code)
}

/// Runs the one that stands in a file.
pub fn play(args: &PlayArgs) -> io::Result<ExitCode> {
    let text = fs::read_to_string(&args.file)?;
    let case = Case::parse(&text).map_err(io::Error::other)?;
    explain(&case, args.shrink, &args.out).map(code)
}

fn code(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Shows all there is to know of a case: itself, what is wrong, a capture; whether all is well.
fn explain(case: &Case, shrinks: bool, out: &Path) -> io::Result<bool> {
    let (_, unexplained) = known::sort(case, &case.run());
    let failed = !unexplained.is_empty();
    let case = if failed && shrinks {
        shrink(case, &unexplained)
    } else {
        case.clone()
    };
    let kept = keep(&case, &case_name(&case), out, usize::MAX)?;
    let outcome = &kept.outcome;
    println!("{}", case.to_toml());
    for (number, reports) in outcome.flows.iter().enumerate() {
        println!(
            "connection {number}: A {:?}\n{:14}B {:?}",
            reports[0], "", reports[1]
        );
    }
    let (known, unexplained) = known::sort(&case, outcome);
    for (fault, finding) in &known {
        println!("known ({}): {finding}", fault.name);
    }
    for finding in &unexplained {
        println!("wrong: {finding}");
    }
    println!(
        "{} packets, {} lost, {:?} of virtual time\nagain: differential play {}\ncapture: {}\n",
        outcome.packets,
        outcome.lost,
        outcome.time,
        kept.file.display(),
        kept.capture.display()
    );
    Ok(!failed)
}

/// Stacks and seed.
pub fn case_name(case: &Case) -> String {
    format!("{}-{}", pair_name(case.stacks), case.seed)
}

/// Makes the cases and captures of all known faults again, from nothing.
pub fn known_faults(args: &KnownArgs) -> io::Result<ExitCode> {
    for fault in known::ALL {
        let cases = (args.seed..args.seed + args.scripts).map(|seed| Case::generate(seed, None));
        let mut cases = cases.filter(|case| case.stacks.contains(&Stack::Smoltcp));
        let shown = cases.find(|case| fault.is_shown(case, &case.run()));
        let Some(case) = shown else {
            println!("{}: not in {} scripts", fault.name, args.scripts);
            continue;
        };
        let mut shows = |case: &Case, outcome: &Outcome| fault.is_shown(case, outcome);
        let small = shrink_while(&case, &mut shows);
        let kept = keep(&small, fault.name, &args.out, HEADERS)?;
        println!("{}: {}", fault.name, kept.capture.display());
    }
    Ok(ExitCode::SUCCESS)
}
