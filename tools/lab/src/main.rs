//! `lab list`, `lab run NAME|FILE.toml`: experiments on the command line.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use lab::{Experiment, Options, Progress, Recording, builtin, csv, render, tables};

/// Experiments with the real stack in simulated networks.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the experiments that come with the program.
    List,
    /// Prints the file of an experiment, to begin one's own from.
    Show {
        /// The experiment's name.
        name: String,
    },
    /// Runs an experiment and prints its results.
    Run(Run),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// An experiment's name, or a file that ends in `.toml`.
    experiment: String,
    /// Changes a value of the file, such as link.bottleneck.loss=1%, or the values of an axis of
    /// its sweep, such as congestion=reno,cubic. May be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// The seed of all that is random.
    #[arg(long)]
    seed: Option<u64>,
    /// Writes CSV files and the report into this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Simulations at a time [default: one for each processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write it as KEY=VALUE, such as link.bottleneck.loss=1%".into()),
    }
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::List => list(),
        Command::Show { name } => show(&name),
        Command::Run(run) => run_experiment(&run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("lab: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output; whoever reads there may stop reading.
fn say(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        _ => Ok(()),
    }
}

fn list() -> Result<(), String> {
    let width = builtin::names().map(str::len).max().unwrap_or(0);
    let mut text = String::new();
    for name in builtin::names() {
        if let Ok(experiment) = Experiment::builtin(name) {
            let _ = writeln!(text, "{name:width$}  {}", experiment.title());
        }
    }
    say(&text)
}

fn show(name: &str) -> Result<(), String> {
    Experiment::builtin(name).map_err(|error| error.to_string())?;
    say(builtin::text(name).unwrap_or_default())
}

fn load(name: &str) -> Result<Experiment, String> {
    if Path::new(name)
        .extension()
        .is_none_or(|extension| extension != "toml")
    {
        return Experiment::builtin(name)
            .map_err(|error| format!("{error}. A file's name ends in .toml."));
    }
    let text = std::fs::read_to_string(name).map_err(|error| format!("{name}: {error}"))?;
    Experiment::parse(&text).map_err(|error| format!("{name}: {error}"))
}

fn run_experiment(run: &Run) -> Result<(), String> {
    let mut experiment = load(&run.experiment)?;
    let seed = run
        .seed
        .map(|seed| ("experiment.seed".into(), seed.to_string()));
    for (key, value) in run.set.iter().cloned().chain(seed) {
        experiment
            .set(&key, &value)
            .map_err(|error| format!("--set {key}={value}: {error}"))?;
    }
    let progress = progress();
    let mut options = Options {
        progress: Some(&progress),
        ..Options::default()
    };
    if let Some(jobs) = run.jobs {
        options.jobs = usize::from(jobs);
    }
    let recording = experiment.run(options).map_err(|error| error.to_string())?;
    say(&results(&recording))?;
    let Some(directory) = &run.out else {
        return Ok(());
    };
    let files = save(directory, &recording);
    say(&files.map_err(|error| format!("{}: {error}", directory.display()))?)
}

/// Prints how far things are, now and then, once they take a while.
fn progress() -> impl Fn(Progress) + Sync {
    let begin = Instant::now();
    let printed = Mutex::new(begin);
    let interval = if io::stderr().is_terminal() {
        Duration::from_secs(1)
    } else {
        Duration::from_secs(10)
    };
    move |progress| {
        let Ok(mut last) = printed.lock() else { return };
        if last.elapsed() >= interval {
            *last = Instant::now();
            let seconds = begin.elapsed().as_secs();
            eprintln!(
                "{:.0} %: {} of {} runs over, {seconds} s",
                progress.share * 100.0,
                progress.done,
                progress.all
            );
        }
    }
}

fn results(recording: &Recording) -> String {
    let Recording {
        name, title, seed, ..
    } = recording;
    let tables = recording.tables.iter().map(tables::to_text);
    tables.fold(format!("{name}: {title} (seed {seed})\n"), |text, table| {
        text + "\n" + &table
    })
}

/// Writes the files; what was written, to be told.
fn save(directory: &Path, recording: &Recording) -> io::Result<String> {
    let mut files = csv::write(directory, recording)?;
    files.extend(render::write(directory, recording)?);
    let files = files
        .iter()
        .map(|file| format!("wrote {}\n", file.display()));
    Ok("\n".to_owned() + &files.collect::<String>())
}
