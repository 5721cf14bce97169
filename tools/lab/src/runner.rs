//! Runs all points of an experiment, on as many threads as asked for; the order of the results is
//! that of the points, whoever finishes first.

use std::fmt::Write as _;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ustack_tcp::time::Duration;

use crate::file::{Experiment, Point};
use crate::recording::{Recording, Run};
use crate::{sim, tables};

/// How to run.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Simulations at a time.
    pub jobs: usize,
    /// Told how far things are, at every sample of every run.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

impl Default for Options<'_> {
    /// All processors, and nobody is told.
    fn default() -> Self {
        Self {
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            progress: None,
        }
    }
}

/// How far an experiment has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Runs that are over.
    pub done: usize,
    /// All runs.
    pub all: usize,
    /// The share of all simulated time that is over.
    pub share: f64,
}

/// Why an experiment could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file does not hold together.
    #[error(transparent)]
    File(#[from] crate::FileError),
    /// A host's settings cannot work.
    #[error("{label}: {source}")]
    Host {
        /// The run.
        label: String,
        /// What the stack says.
        source: io::Error,
    },
}

impl Experiment {
    /// Runs every point.
    pub fn run(&self, options: Options<'_>) -> Result<Recording, RunError> {
        let points = self.points()?;
        let runs = run_all(&points, options)?;
        Ok(Recording {
            name: self.name().to_owned(),
            title: self.title().to_owned(),
            about: self.about().to_owned(),
            command: self.command(),
            seed: self.seed(),
            tables: tables::of(&runs, self.columns()),
            plots: self.plots().to_vec(),
            runs,
        })
    }

    /// The command that runs it like this.
    fn command(&self) -> String {
        let mut command = format!("cargo run --release -p lab -- run {}", self.name());
        for (key, value) in self.settings() {
            let _ = match key.as_str() {
                "experiment.seed" => write!(command, " --seed {value}"),
                _ => write!(command, " --set '{key}={value}'"),
            };
        }
        command
    }
}

fn run_all(points: &[Point], options: Options<'_>) -> Result<Vec<Run>, RunError> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results: Vec<_> = points.iter().map(|_| Mutex::new(None)).collect();
    let all_nanos: u128 = points
        .iter()
        .map(|point| point.scenario.duration.as_nanos())
        .sum();
    let nanos = AtomicU64::new(0);
    let tell = |time: Duration, more: usize| {
        let time = time.as_nanos() as u64;
        let nanos = nanos.fetch_add(time, Ordering::Relaxed) + time;
        let done = done.fetch_add(more, Ordering::Relaxed) + more;
        if let Some(progress) = options.progress {
            progress(Progress {
                done,
                all: points.len(),
                share: nanos as f64 / all_nanos.max(1) as f64,
            });
        }
    };
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((point, result)) = points.get(index).zip(results.get(index)) else {
                return;
            };
            let outcome = run_watched(point, &mut |time| tell(time, 0));
            if let Ok(mut result) = result.lock() {
                *result = Some(outcome);
            }
            tell(Duration::ZERO, 1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..options.jobs.min(points.len()) {
            scope.spawn(work);
        }
        work();
    });
    let results = results
        .into_iter()
        .filter_map(|result| result.into_inner().ok().flatten());
    results.collect()
}

/// Runs one point.
pub fn run_point(point: &Point) -> Result<Run, RunError> {
    run_watched(point, &mut |_| ())
}

fn run_watched(point: &Point, watch: &mut dyn FnMut(Duration)) -> Result<Run, RunError> {
    let words = point
        .params
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let label = words.collect::<Vec<_>>().join(" ");
    match sim::run_watched(&point.scenario, point.seed, watch) {
        Ok(run) => Ok(Run {
            label,
            params: point.params.clone(),
            ..run
        }),
        Err(source) => Err(RunError::Host { label, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "[experiment]\nname = \"two\"\nduration = \"1s\"\n[[link]]\nname = \"l\"\nrate = \"2mbit\"\ndelay = \"5ms\"\n[[flow]]\nname = \"f\"\n[[sweep]]\nname = \"seed\"\nset = \"seed\"\nvalues = [3, 1, 2, 4, 5]\n";

    #[test]
    fn results_are_in_order_whoever_is_first_and_progress_reaches_the_end() {
        let experiment = Experiment::parse(TWO).expect("an experiment");
        let last = Mutex::new(Vec::new());
        let progress = |progress: Progress| last.lock().expect("no panic").push(progress);
        let run = |jobs| {
            let progress: &(dyn Fn(Progress) + Sync) = &progress;
            let options = Options {
                jobs,
                progress: Some(progress),
            };
            experiment.run(options).expect("a run")
        };
        let recording = run(3);
        let labels: Vec<_> = recording
            .runs
            .iter()
            .map(|run| run.label.as_str())
            .collect();
        assert_eq!(labels, ["seed=3", "seed=1", "seed=2", "seed=4", "seed=5"]);
        assert_eq!(recording, run(1));
        let told = last.lock().expect("no panic");
        let most = told
            .iter()
            .map(|progress| progress.share)
            .fold(0.0, f64::max);
        assert!((most - 1.0).abs() < 1e-9, "{most}");
        assert!(told.iter().all(|progress| progress.all == 5));
        assert_eq!(told.iter().map(|progress| progress.done).max(), Some(5));
    }
}
