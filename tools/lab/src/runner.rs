//! Runs all points of an experiment, on as many threads as asked for; the order of the results is
//! that of the points, whoever finishes first.

use std::fmt::Write as _;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::file::{Experiment, Point};
use crate::recording::{Recording, Run};
use crate::{sim, tables};

/// How to run.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Simulations at a time.
    pub jobs: usize,
    /// Told of every run that is over.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Runs that are over.
    pub done: usize,
    /// All runs.
    pub all: usize,
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
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((point, result)) = points.get(index).zip(results.get(index)) else {
                return;
            };
            let outcome = run_point(point);
            if let Ok(mut result) = result.lock() {
                *result = Some(outcome);
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if let Some(progress) = options.progress {
                progress(Progress {
                    done,
                    all: points.len(),
                });
            }
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
    let words = point
        .params
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let label = words.collect::<Vec<_>>().join(" ");
    match sim::run(&point.scenario, point.seed) {
        Ok(run) => Ok(Run {
            label,
            params: point.params.clone(),
            ..run
        }),
        Err(source) => Err(RunError::Host { label, source }),
    }
}
