//! Instructions, by valgrind's callgrind, and allocations per unit of each row, against
//! `baseline.toml`.
//!
//! Each row runs in a process of its own, with callgrind counting in [`Prepared::run`] only; the
//! profile stays in `target/callgrind/` for `callgrind_annotate`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, io, thread};

use core_bench::allocator;
use core_bench::baseline::{ACCEPT, Baseline, Change, Counts, TOLERANCE};
use core_bench::catalogue::{self, ROWS, Row};

/// Where callgrind counts: this function and what it calls.
const MEASURED: &str = "--toggle-collect=*core_bench*catalogue*Prepared*run";

const HELP: &str = "\
Counts instructions and allocations per unit of each row.

    cargo bench -p core-bench -- counts [OPTIONS] [ROW]...

    ROW        rows whose name begins so; without any, all but those with a million connections
    --check    fail when a count has grown by more than 5 % since it was accepted
    --accept   make the counts the accepted ones
";

/// What the command line asks for.
struct Options {
    check: bool,
    accept: bool,
    rows: Vec<String>,
}

pub(crate) fn main(arguments: Vec<String>) -> io::Result<bool> {
    match &arguments[..] {
        [mode, row, subject] if mode == "--run" => run(row, subject),
        [mode, ..] if mode == "--help" => {
            print!("{HELP}");
            Ok(true)
        }
        _ => options(arguments).and_then(|options| report(&options)),
    }
}

fn options(arguments: Vec<String>) -> io::Result<Options> {
    let mut options = Options {
        check: false,
        accept: false,
        rows: Vec::new(),
    };
    for argument in arguments {
        match argument.as_str() {
            "--check" => options.check = true,
            "--accept" => options.accept = true,
            name if ROWS.iter().any(|row| row.name.starts_with(name)) => {
                options.rows.push(argument);
            }
            _ => {
                return Err(io::Error::other(format!(
                    "no option and no row: {argument}\n\n{HELP}"
                )));
            }
        }
    }
    Ok(options)
}

/// In the process that callgrind watches.
fn run(row: &str, subject: &str) -> io::Result<bool> {
    let (row, setup) = catalogue::find(row, subject).ok_or(io::ErrorKind::NotFound)?;
    row.prepare(setup).run();
    Ok(true)
}

fn report(options: &Options) -> io::Result<bool> {
    let is_wanted = |row: &&Row| {
        if options.rows.is_empty() {
            !row.name.ends_with("-1m")
        } else {
            options.rows.iter().any(|name| row.name.starts_with(name))
        }
    };
    let rows: Vec<_> = ROWS.iter().filter(is_wanted).collect();
    let now = measure(&rows)?;
    let accepted = Baseline::load().unwrap_or_default();
    print_table(&rows, &now, &accepted);
    if options.accept {
        let mut merged = accepted;
        (merged.rustc, merged.valgrind) = (now.rustc, now.valgrind);
        merged.counts.extend(now.counts);
        merged.store()?;
        println!("\naccepted: benches/baseline.toml");
        return Ok(true);
    }
    Ok(judge(&accepted, &now) || !options.check)
}

/// Says what has changed; false when something grew.
fn judge(accepted: &Baseline, now: &Baseline) -> bool {
    let changes = accepted.compare(now);
    let (mut worse, mut better) = (Vec::new(), Vec::new());
    for change in &changes {
        match change {
            Change::Worse(words) => worse.push(words),
            Change::Better(words) => better.push(words),
        }
    }
    if !better.is_empty() {
        println!("\nless than accepted; keep it so with `{ACCEPT}`:");
        for words in better {
            println!("  {words}");
        }
    }
    if worse.is_empty() {
        return true;
    }
    println!("\nmore than accepted by over {:.0} %:", 100.0 * TOLERANCE);
    for words in worse {
        println!("  {words}");
    }
    println!(
        "\nIf that is what it should cost, say why in the commit and accept it:\n  {ACCEPT}\n\
         Where it comes from:\n  callgrind_annotate target/callgrind/ROW.SUBJECT.out"
    );
    let drift = accepted.drift(now);
    if (accepted.rustc != now.rustc || accepted.valgrind != now.valgrind) || drift.abs() > 0.01 {
        println!(
            "\nThe baseline is of {}, {}; this is {}, {}. smoltcp's counts, which nobody here \
             changes, moved by up to {:+.1} %.",
            accepted.rustc,
            accepted.valgrind,
            now.rustc,
            now.valgrind,
            100.0 * drift
        );
    }
    false
}

fn print_table(rows: &[&Row], now: &Baseline, accepted: &Baseline) {
    println!(
        "{:22} {:8} {:>14} {:>12} {:>10} {:>12}",
        "per unit", "", "instructions", "of smoltcp", "accepted", "allocations"
    );
    for row in rows {
        let peer = now.get(row.name, "smoltcp");
        for (subject, _) in row.subjects {
            let Some(counts) = now.get(row.name, subject) else {
                continue;
            };
            let ratio = peer.map_or(String::new(), |peer| {
                format!("{:.2}", counts.instructions / peer.instructions)
            });
            let before = accepted
                .get(row.name, subject)
                .map_or(String::new(), |old| {
                    format!(
                        "{:+.1} %",
                        100.0 * (counts.instructions / old.instructions - 1.0)
                    )
                });
            println!(
                "{:22} {subject:8} {:>14.1} {ratio:>12} {before:>10} {:>12.3}",
                row.name, counts.instructions, counts.allocations
            );
        }
    }
}

/// Counts of all `rows`, as many processes at a time as there are cores.
fn measure(rows: &[&Row]) -> io::Result<Baseline> {
    let directory = output_directory()?;
    let jobs: Vec<_> = rows
        .iter()
        .flat_map(|row| {
            row.subjects
                .iter()
                .map(move |(name, setup)| (*row, *name, *setup))
        })
        .collect();
    let next = AtomicUsize::new(0);
    let instructions = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let index = next.fetch_add(1, Ordering::Relaxed)
                    && let Some((row, subject, _)) = jobs.get(index)
                {
                    let counted = callgrind(row, subject, &directory);
                    instructions
                        .lock()
                        .expect("no panic")
                        .insert(index, counted);
                }
            });
        }
    });
    allocator::start();
    let mut baseline = Baseline {
        rustc: version("rustc")?,
        valgrind: version("valgrind")?,
        ..Baseline::default()
    };
    let instructions = instructions.into_inner().expect("no panic");
    for ((row, subject, setup), counted) in jobs.into_iter().zip(instructions.into_values()) {
        let counts = Counts {
            instructions: counted? / row.units as f64,
            allocations: catalogue::allocations(row, setup),
        };
        let subjects = baseline.counts.entry(row.name.to_owned()).or_default();
        subjects.insert(subject.to_owned(), counts);
    }
    Ok(baseline)
}

/// Beside this program's own file, in the target directory.
fn output_directory() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let target = program.ancestors().nth(3).unwrap_or(Path::new("target"));
    let directory = target.join("callgrind");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Instructions of one row.
fn callgrind(row: &Row, subject: &str, directory: &Path) -> io::Result<f64> {
    let file = directory.join(format!("{}.{subject}.out", row.name));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .args([MEASURED, "--dump-instr=no", "--compress-strings=no"])
        .arg(env::current_exe()?)
        .args(["counts", "--run", row.name, subject])
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        // The routines of the C library that every x86-64 processor has.
        .env(
            "GLIBC_TUNABLES",
            "glibc.cpu.hwcaps=-AVX_Fast_Unaligned_Load,-ERMS,-FSRM",
        )
        .output()
        .map_err(|error| {
            io::Error::other(format!(
                "valgrind: {error}; install it: apt-get install valgrind"
            ))
        })?;
    let fail = |why: String| io::Error::other(format!("{} {subject}: {why}", row.name));
    if !output.status.success() {
        return Err(fail(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let profile = fs::read_to_string(&file)?;
    let total = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .and_then(|total| total.trim().parse::<u64>().ok())
        .filter(|&total| total > 0);
    let total =
        total.ok_or_else(|| fail(format!("no instruction counted in {}", file.display())))?;
    Ok(total as f64)
}

fn version(program: &str) -> io::Result<String> {
    let output = Command::new(program).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
