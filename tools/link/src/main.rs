//! The program: see the README.

use std::ffi::OsString;
use std::fs::{OpenOptions, read_to_string};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use link::compare::cell::Cell;
use link::compare::report::markdown;
use link::compare::run::{HEADER, Job, Outcome, run as run_job};
use link::compare::sender::Sender;
use link::host::{self, make_end};
use link::joint::{Joint, Specs};
use link::namespace::{Namespace, become_root_of_a_namespace};
use ustack::device::impair::ImpairSpec;
use ustack_tcp::Pacing;

/// Two network namespaces joined by an impaired link in real time.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Join two namespaces that exist, until Ctrl-C
    Join {
        /// Namespace A: a name (`ip netns add NAME`) or a path (`/proc/PID/ns/net`)
        #[arg(long, value_name = "NS")]
        a: String,
        /// Namespace B
        #[arg(long, value_name = "NS")]
        b: String,
        #[command(flatten)]
        path: PathArgs,
    },
    /// Run a command in a namespace of its own, with another one at the far end of the link
    Run {
        #[command(flatten)]
        path: PathArgs,
        /// A shell command to run at the far end meanwhile
        #[arg(long, value_name = "CMD")]
        far: Option<String>,
        /// The command and its arguments
        #[arg(last = true, required = true, num_args = 1.., value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Let Linux, ustack and smoltcp send across the same paths, one after the other
    Compare(CompareArgs),
    /// Print the table of what `compare` has written
    Report {
        /// Files that `compare` has written
        #[arg(required = true, value_name = "FILE.csv")]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct PathArgs {
    /// What happens both ways, such as "rate=20mbit,delay=33ms,queue=165kB,loss=1%,seed=7": the
    /// grammar of `ustack --impair`
    #[arg(long, value_name = "FAULTS", default_value = "")]
    both: Faults,
    /// What happens from A to B
    #[arg(long, value_name = "FAULTS", conflicts_with = "both")]
    ab: Option<Faults>,
    /// What happens from B to A
    #[arg(long, value_name = "FAULTS", conflicts_with = "both")]
    ba: Option<Faults>,
    /// Leave the link at ordinary priority
    #[arg(long)]
    no_real_time: bool,
}

/// Faults, or none.
#[derive(Clone, Debug, Default)]
struct Faults(ImpairSpec);

impl std::str::FromStr for Faults {
    type Err = ustack::device::impair::ImpairParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.parse().map(Self)
    }
}

impl PathArgs {
    fn specs(&self) -> Specs {
        let of = |one: &Option<Faults>| one.as_ref().unwrap_or(&self.both).0.clone();
        Specs {
            ab: of(&self.ab),
            ba: of(&self.ba),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Cells {
    /// All combinations of rate, RTT, loss and reordering
    All,
    /// The twelve that are repeated
    Named,
    /// The four that run with Reno
    Reno,
}

/// When ustack paces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PacingChoice {
    /// Never
    Off,
    /// In slow start
    SlowStart,
    /// Always
    On,
}

impl From<PacingChoice> for Pacing {
    fn from(choice: PacingChoice) -> Self {
        match choice {
            PacingChoice::Off => Self::Off,
            PacingChoice::SlowStart => Self::SlowStart,
            PacingChoice::On => Self::On,
        }
    }
}

#[derive(Debug, Args)]
struct CompareArgs {
    /// Which cells
    #[arg(long, value_delimiter = ',', default_values = ["named"])]
    cells: Vec<Cells>,
    /// Only cells whose description holds this, such as "66 ms"
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Who sends
    #[arg(long, value_delimiter = ',', default_values = ["linux", "ustack"])]
    senders: Vec<Sender>,
    /// How often each; every repeat has its own losses
    #[arg(long, default_value_t = 1)]
    repeats: u32,
    /// The number of the first repeat
    #[arg(long, default_value_t = 1)]
    first: u32,
    /// Seconds of a run
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
    /// Runs at the same time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Runs again at most so often when the link was late too often
    #[arg(long, default_value_t = 2)]
    retries: u32,
    /// How ustack paces, if not by its default
    #[arg(long, value_name = "WHEN")]
    pacing: Option<PacingChoice>,
    /// Leave everybody at ordinary priority
    #[arg(long)]
    no_real_time: bool,
    /// Append what comes out to this file
    #[arg(long, value_name = "FILE.csv")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Action::Join { a, b, path } => join(&a, &b, &path),
        Action::Run { path, far, command } => run(&path, far.as_deref(), &command),
        Action::Compare(args) => compare(&args),
        Action::Report { files } => report(&files),
    };
    result.unwrap_or_else(|error| {
        eprintln!("link: error: {error}");
        ExitCode::FAILURE
    })
}

fn join(a: &str, b: &str, path: &PathArgs) -> io::Result<ExitCode> {
    let ends = [
        make_end(&Namespace::open(a)?, host::A)?,
        make_end(&Namespace::open(b)?, host::B)?,
    ];
    let link = Joint::start(ends, path.specs(), !path.no_real_time)?;
    eprintln!(
        "link: {} and {} in {a}, {} and {} in {b}; Ctrl-C ends it",
        host::A.v4,
        host::A.v6,
        host::B.v4,
        host::B.v6
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut look = tokio::time::interval(Duration::from_millis(200));
        let mut end = std::pin::pin!(tokio::signal::ctrl_c());
        while !link.is_over() {
            tokio::select! {
                _ = look.tick() => {}
                _ = &mut end => break,
            }
        }
    });
    eprintln!("{}", link.stop()?);
    Ok(ExitCode::SUCCESS)
}

fn run(path: &PathArgs, far: Option<&str>, command: &[OsString]) -> io::Result<ExitCode> {
    become_root_of_a_namespace()?;
    let (near_space, far_space) = (Namespace::create()?, Namespace::create()?);
    let ends = [
        make_end(&near_space, host::A)?,
        make_end(&far_space, host::B)?,
    ];
    let link = Joint::start(ends, path.specs(), !path.no_real_time)?;
    let mut companion = match far {
        Some(line) => Some(far_space.run(|| Command::new("sh").arg("-c").arg(line).spawn())?),
        None => None,
    };
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let status = near_space.run(|| {
        let mut child = Command::new(program);
        child
            .args(arguments)
            .env("LINK_NEAR", host::A.v4.to_string());
        child
            .env("LINK_FAR", host::B.v4.to_string())
            .status()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", program.display()))
            })
    });
    if let Some(companion) = &mut companion {
        let _ = companion.kill();
        companion.wait()?;
    }
    eprintln!("{}", link.stop()?);
    let code = status?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn compare(args: &CompareArgs) -> io::Result<ExitCode> {
    become_root_of_a_namespace()?;
    let jobs = plan(args);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let failed = AtomicUsize::new(0);
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            match run_until_punctual(job, args) {
                Ok(outcomes) => {
                    let mut done = done.lock().expect("no poison");
                    done.extend(outcomes);
                    eprint!("\r{} of {} runs ", done.len(), jobs.len());
                }
                Err(error) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    eprintln!("\nlink: {}, {}: {error}", job.cell, job.sender);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(work);
        }
    });
    eprintln!();
    println!("{}", markdown(&done.into_inner().expect("no poison")));
    let all_ran = failed.into_inner() == 0;
    Ok(if all_ran {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is to be run; the senders of a cell follow each other, so that they meet the same machine.
fn plan(args: &CompareArgs) -> Vec<Job> {
    let mut cells: Vec<Cell> = Vec::new();
    for choice in &args.cells {
        let chosen = match choice {
            Cells::All => Cell::all(),
            Cells::Named => Cell::NAMED.to_vec(),
            Cells::Reno => Cell::RENO.to_vec(),
        };
        cells.extend(chosen.into_iter().filter(|cell| {
            let wanted = args.only.as_ref();
            wanted.is_none_or(|text| cell.to_string().contains(text))
        }));
    }
    let mut jobs = Vec::new();
    for repeat in args.first..args.first.saturating_add(args.repeats) {
        for &cell in &cells {
            for &sender in &args.senders {
                let duration = Duration::try_from_secs_f64(args.seconds).unwrap_or_default();
                jobs.push(Job {
                    cell,
                    sender,
                    repeat,
                    duration,
                    pacing: args.pacing.map(Into::into),
                    real_time: !args.no_real_time,
                });
            }
        }
    }
    jobs
}

/// Runs a job again while its link is too late; all outcomes, the one that counts last.
fn run_until_punctual(job: &Job, args: &CompareArgs) -> io::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    loop {
        let outcome = run_job(job)?;
        if let Some(file) = &args.out {
            append(file, &outcome)?;
        }
        outcomes.push(outcome);
        if !outcome.is_spoiled() || outcomes.len() > args.retries as usize {
            return Ok(outcomes);
        }
    }
}

/// Appends one line in one call, so that runs at the same time do not mix theirs.
fn append(path: &Path, outcome: &Outcome) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let is_new = file.metadata()?.len() == 0;
    let header = if is_new {
        format!("{HEADER}\n")
    } else {
        String::new()
    };
    file.write_all(format!("{header}{outcome}\n").as_bytes())
}

fn report(files: &[PathBuf]) -> io::Result<ExitCode> {
    let mut outcomes = Vec::new();
    for path in files {
        let wrong = |what: String| io::Error::other(format!("{}: {what}", path.display()));
        let text = read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        for line in text.lines().filter(|line| *line != HEADER) {
            outcomes.push(line.parse::<Outcome>().map_err(wrong)?);
        }
    }
    print!("{}", markdown(&outcomes));
    Ok(ExitCode::SUCCESS)
}
